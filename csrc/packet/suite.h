/* A suite: how a cipher, with its MAC, protects one packet (RFC 4253 section 6). Internal to csrc/packet.
 * seal.c and open.c know layout, bounds and counting; a suite knows keys, and bytes whose bounds were checked. */
#ifndef FS_PACKET_SUITE_H
#define FS_PACKET_SUITE_H

#include "fs_bytes.h"
#include "packet.h"

enum { FS_TAG_MAX = 64 };

/* `state` is state_size bytes, zeroed, aligned to 64. `start` is a packet; `length` its packet_length, in range and
 * filling whole blocks: a packet is 4 + length bytes, then the tag. Functions return FS_OK, FS_E_MAC or FS_E_CRYPTO. */
typedef struct fs_suite {
    size_t state_size;
    uint8_t length_clear; /* packet_length stands outside the padded blocks: AEAD (RFC 5647 7.3), etm (PROTOCOL 1.5) */
    uint8_t peek_len;     /* bytes that peek takes; no valid packet is shorter */
    int (*init)(void *state, const fs_packet_keys *keys, int sealing);
    void (*clear)(void *state); /* frees what init made, also after a failed init; the memory is wiped by the caller */
    int (*seal)(void *state, uint32_t sequence, uint8_t *start, uint32_t length);
    /* Called once a packet. Leaves `start` as it is. */
    int (*peek)(void *state, uint32_t sequence, const uint8_t *start, uint32_t *length);
    int (*open)(void *state, uint32_t sequence, uint8_t *start, uint32_t length);
} fs_suite;

extern const fs_suite fs_suite_none, fs_suite_gcm, fs_suite_gcm_libcrypto, fs_suite_chacha, fs_suite_ctr_mac,
    fs_suite_ctr_etm;

/* The suite for these keys, or NULL when cipher and MAC do not go together. */
const fs_suite *fs_suite_find(const fs_packet_keys *keys);

/* What libcrypto calls the algorithms of these keys (OSSL_CIPHER and OSSL_DIGEST names). */
const char *fs_cipher_libcrypto_name(const fs_cipher_info *cipher);
const char *fs_mac_digest_name(const fs_mac_info *mac);

/* peek of the suites that send packet_length in clear. */
int fs_suite_peek_clear(void *state, uint32_t sequence, const uint8_t *start, uint32_t *length);

#endif
