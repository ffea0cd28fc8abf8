/* Every suite that can be negotiated, with keys for tests; and packets forged under those keys. */
#ifndef FS_TEST_PACKET_PAIRS_H
#define FS_TEST_PACKET_PAIRS_H

#include <openssl/crypto.h>

#include "aesgcm.h"
#include "check.h"
#include "packet.h"
#include "suite.h"

enum { CONNECTION_MESSAGE = 94, FEW_PACKETS = 64 };

static uint8_t pair_secret[64 + 16 + 64];

/* Keys without pattern; the same in each run. */
static inline fs_packet_keys pair_keys(const char *cipher, const char *mac, uint32_t sequence)
{
    for (size_t i = 0; i < sizeof pair_secret; i++)
        pair_secret[i] = (uint8_t)(i * i * 37 + i * 11 + 5);
    return (fs_packet_keys){
        .cipher = fs_cipher_find(cipher),
        .mac = fs_mac_find(mac),
        .key = pair_secret,
        .iv = pair_secret + 64,
        .mac_key = pair_secret + 80,
        .sequence = sequence,
    };
}

static inline fs_sealer *pair_sealer(const fs_packet_keys *keys)
{
    int status;
    fs_sealer *sealer = fs_sealer_new(keys, &status);
    CHECK_INT(status, FS_OK);
    return sealer;
}

static inline fs_opener *pair_opener(const fs_packet_keys *keys)
{
    int status;
    fs_opener *opener = fs_opener_new(keys, &status);
    CHECK_INT(status, FS_OK);
    return opener;
}

/* Calls `test` for every cipher x MAC, the AES-GCM ciphers once an implementation that runs here. */
static inline void pair_each(void (*test)(const fs_packet_keys *keys))
{
    const uint32_t sequence = 0xfffffffd; /* wraps within any test */
    fs_packet_keys keys = pair_keys("none", "none", sequence);

    test(&keys);
    for (const fs_cipher_info *const *cipher = fs_cipher_all; *cipher; cipher++) {
        if ((*cipher)->tag_len == 0) {
            for (const fs_mac_info *const *mac = fs_mac_all; *mac; mac++) {
                keys = pair_keys((*cipher)->name, (*mac)->name, sequence);
                test(&keys);
            }
            continue;
        }
        keys = pair_keys((*cipher)->name, "none", sequence);
        if (strstr((*cipher)->name, "gcm")) {
            for (const fs_aesgcm_impl *const *impl = fs_aesgcm_impls; *impl; impl++) {
                if (fs_packet_select_aesgcm((*impl)->name) == FS_OK)
                    test(&keys);
            }
            CHECK_INT(fs_packet_select_aesgcm("libcrypto"), FS_OK);
        }
        test(&keys);
        CHECK_INT(fs_packet_select_aesgcm("auto"), FS_OK);
    }
}

static inline size_t pair_tag_len(const fs_packet_keys *keys)
{
    return keys->cipher->tag_len ? keys->cipher->tag_len : keys->mac->tag_len;
}

/* A connection message of len bytes. */
static inline void pair_fill(uint8_t *payload, size_t len)
{
    for (size_t i = 0; i < len; i++)
        payload[i] = i ? (uint8_t)(i * 7 + len) : CONNECTION_MESSAGE;
}

/* Seals one message at start; returns its bytes on the wire. */
static inline size_t pair_seal(fs_sealer *sealer, uint8_t *start, size_t payload_len)
{
    fs_packet packet = {.start = start, .payload_len = payload_len};
    pair_fill(start + FS_PACKET_HEADER, payload_len);
    CHECK_INT(fs_seal_batch(sealer, &packet, 1), FS_OK);
    CHECK_INT(packet.total, fs_sealed_size(sealer, payload_len));
    return packet.total;
}

static inline void pair_check_payload(const fs_packet *packet, size_t payload_len)
{
    uint8_t *wanted = malloc(payload_len);
    CHECK(wanted);
    pair_fill(wanted, payload_len);
    CHECK_INT(packet->payload_len, payload_len);
    CHECK(packet->payload == packet->start + FS_PACKET_HEADER);
    CHECK_BYTES(packet->payload, wanted, payload_len);
    free(wanted);
}

/* --- forgeries: what a peer that holds the keys can send -------------------------------------------------------- */

typedef struct forger {
    const fs_suite *suite;
    void *state;
    uint32_t sequence;
} forger;

static inline forger forger_new(const fs_packet_keys *keys)
{
    forger f = {.suite = fs_suite_find(keys), .sequence = keys->sequence};
    const size_t size = (f.suite->state_size + 64) / 64 * 64;
    f.state = aligned_alloc(64, size);
    CHECK(f.state);
    memset(f.state, 0, size);
    CHECK_INT(f.suite->init(f.state, keys, 1), FS_OK);
    return f;
}

static inline void forger_free(forger *f)
{
    f->suite->clear(f->state);
    free(f->state);
}

/* start holds 4 + length bytes to protect as they are: any packet_length and padding_length, with a right tag. */
static inline void forge(forger *f, uint8_t *start, uint32_t length)
{
    CHECK_INT(f->suite->seal(f->state, f->sequence++, start, length), FS_OK);
}

#endif
