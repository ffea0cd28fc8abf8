/* The AES-GCM nonce of SSH (RFC 5647 section 7.1): a fixed field of 4 bytes, then an invocation counter of 64 bits
 * that starts where key derivation put it and goes up by one a packet. An epoch ends after 2^32 packets, so none
 * comes twice under a key. */
#ifndef FS_PACKET_NONCE_H
#define FS_PACKET_NONCE_H

#include <string.h>

#include "fs_bytes.h"

typedef struct fs_gcm_nonce {
    uint8_t bytes[12];
} fs_gcm_nonce;

static inline void fs_gcm_nonce_init(fs_gcm_nonce *nonce, const uint8_t iv[12])
{
    memcpy(nonce->bytes, iv, sizeof nonce->bytes);
}

static inline void fs_gcm_nonce_next(fs_gcm_nonce *nonce)
{
    fs_put_u64(nonce->bytes + 4, fs_get_u64(nonce->bytes + 4) + 1); /* modulo 2^64 */
}

#endif
