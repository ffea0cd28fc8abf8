/* HMAC of packets (RFC 4253 section 6.4, RFC 2104): keyed once, computed over uint32 sequence number || data. */
#ifndef FS_PACKET_HMAC_H
#define FS_PACKET_HMAC_H

#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>

typedef struct fs_hmac {
    EVP_MAC_CTX *ctx;
    size_t tag_len;
} fs_hmac;

/* digest as libcrypto names it. FS_OK or FS_E_CRYPTO. */
int fs_hmac_init(fs_hmac *mac, const char *digest, const uint8_t *key, size_t key_len);
void fs_hmac_clear(fs_hmac *mac);
/* Puts tag_len bytes. FS_OK or FS_E_CRYPTO. */
int fs_hmac_packet(fs_hmac *mac, uint32_t sequence, const uint8_t *data, size_t len, uint8_t *tag);

#endif
