/* Binary packet protocol (RFC 4253 section 6, RFC 5647, OpenSSH PROTOCOL and PROTOCOL.chacha20poly1305):
 * sealing and opening, one object a direction and key epoch. No allocation of ours after _new. */
#ifndef FS_PACKET_H
#define FS_PACKET_H

#include <stddef.h>
#include <stdint.h>

#include "fs_status.h"

#define FS_PACKET_HEADER 5                /* uint32 packet_length, byte padding_length */
#define FS_PACKET_MAX_LENGTH (256 * 1024) /* largest packet_length accepted or made, as OpenSSH's PACKET_MAX_SIZE */
#define FS_PACKET_MAX_PAYLOAD (FS_PACKET_MAX_LENGTH - 9)     /* the longest that fits under every cipher */
#define FS_PACKET_MAX_OVERHEAD (FS_PACKET_HEADER + 255 + 64) /* header + padding + longest MAC */

/* Static descriptions, for key derivation and messages. mac fields are 0 for AEAD ciphers. */
typedef struct fs_cipher_info {
    const char *name;
    uint16_t key_len, iv_len, block_len, tag_len; /* bytes; tag_len > 0 only for AEAD; block_len: RFC 4253 section 6 */
} fs_cipher_info;

typedef struct fs_mac_info {
    const char *name;
    uint16_t key_len, tag_len;
    uint8_t etm; /* encrypt-then-MAC (OpenSSH PROTOCOL 1.5) */
} fs_mac_info;

const fs_cipher_info *fs_cipher_find(const char *name); /* and "none", "unpadded"; NULL if unknown */
const fs_mac_info *fs_mac_find(const char *name);       /* "none" or "" for AEAD and for no cipher; NULL if unknown */
extern const fs_cipher_info *const fs_cipher_all[];     /* without "none", ended by NULL */
extern const fs_mac_info *const fs_mac_all[];

typedef struct fs_packet_keys {
    const fs_cipher_info *cipher;
    const fs_mac_info *mac;            /* ignored for AEAD */
    const uint8_t *key, *iv, *mac_key; /* exactly cipher->key_len, cipher->iv_len, mac->key_len bytes; copied */
    uint32_t sequence;                 /* number of the first packet: the old epoch's next one, or 0 under strict KEX */
} fs_packet_keys;

/* What one key epoch has protected so far. */
typedef struct fs_packet_counters {
    uint32_t sequence;       /* of the next packet */
    uint64_t packets, bytes; /* bytes: on the wire, without tags */
    uint64_t rekey_bytes;    /* threshold; the default is RFC 4344 3.2's as OpenSSH applies it: 2^32 blocks for
                                16-byte blocks (64 GiB), 1 GiB for smaller ones, none without a cipher; rekeying is
                                also due after 2^31 packets */
} fs_packet_counters;

/* A packet in a buffer. Sealing: payload at start + FS_PACKET_HEADER, room for fs_sealed_size bytes from start. */
typedef struct fs_packet {
    uint8_t *start;
    uint8_t *payload; /* set by opening; == start + FS_PACKET_HEADER */
    size_t payload_len;
    size_t total; /* bytes on the wire, set by sealing and opening */
} fs_packet;

typedef struct fs_sealer fs_sealer;
typedef struct fs_opener fs_opener;

fs_sealer *fs_sealer_new(const fs_packet_keys *keys, int *status);
void fs_sealer_free(fs_sealer *s); /* wipes; NULL is fine */
fs_packet_counters *fs_sealer_counters(fs_sealer *s);
int fs_sealer_rekey_due(const fs_sealer *s);
/* Bytes on the wire of a packet with this payload; 0 if none may be made (payload_len of 0, or packet_length would be
 * above FS_PACKET_MAX_LENGTH). Pure. */
size_t fs_sealed_size(const fs_sealer *s, size_t payload_len);
/* Seals in place, in order; fills start[0..total) and sets total. Random padding (RFC 4253 section 6) from a pool.
 * FS_E_LENGTH and FS_E_SEQUENCE (2^32 packets in an epoch) before any packet of the batch is touched; FS_E_CRYPTO,
 * after which the sealer returns nothing else. */
int fs_seal_batch(fs_sealer *s, fs_packet *packets, size_t count);

fs_opener *fs_opener_new(const fs_packet_keys *keys, int *status);
void fs_opener_free(fs_opener *o);
fs_packet_counters *fs_opener_counters(fs_opener *o);
int fs_opener_rekey_due(const fs_opener *o);
/* Opens the packets at data[0..len) in place, in order, up to max of them. *count packets were opened and *used
 * bytes consumed. Stops, having consumed it, after a packet whose message number is below 80 (it may change keys
 * or phase: the caller decides before anything after it is touched). Returns FS_OK if it stopped for max or for
 * such a message; FS_AGAIN when the rest is not a whole packet, with *need the number of bytes, counted from data
 * + *used, that the next step takes (at least 1 more than is there); or an error, with *count packets before the
 * bad one valid. Lengths are checked as soon as they are known, before the rest is awaited. A packet that is not
 * whole is left as it is, but its length is looked at once only: present the same bytes again, moved if need be.
 * After an error the opener returns nothing else. */
int fs_open_batch(fs_opener *o, uint8_t *data, size_t len, fs_packet *packets, size_t max, size_t *count, size_t *used,
                  size_t *need);

/* Which AES-GCM is used by new sealers and openers: NULL or "auto" for the best, "libcrypto", or a kernel's name.
 * FS_OK or FS_E_ARGUMENT. Process-wide; for tests and benchmarks. fs_packet_aesgcm() names the one in use. */
int fs_packet_select_aesgcm(const char *name);
const char *fs_packet_aesgcm(void);

#endif
