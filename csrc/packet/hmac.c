#include "hmac.h"

#include <openssl/core_names.h>

#include "fs_bytes.h"
#include "fs_status.h"

int fs_hmac_init(fs_hmac *mac, const char *digest, const uint8_t *key, size_t key_len)
{
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)digest, 0),
        OSSL_PARAM_construct_end(),
    };

    mac->ctx = hmac ? EVP_MAC_CTX_new(hmac) : NULL;
    EVP_MAC_free(hmac); /* the context holds its own reference */
    if (!mac->ctx || EVP_MAC_init(mac->ctx, key, key_len, params) != 1)
        return FS_E_CRYPTO;
    mac->tag_len = EVP_MAC_CTX_get_mac_size(mac->ctx);
    return mac->tag_len > 0 ? FS_OK : FS_E_CRYPTO;
}

void fs_hmac_clear(fs_hmac *mac)
{
    EVP_MAC_CTX_free(mac->ctx);
}

int fs_hmac_packet(fs_hmac *mac, uint32_t sequence, const uint8_t *data, size_t len, uint8_t *tag)
{
    uint8_t number[4];
    size_t n;

    fs_put_u32(number, sequence);
    /* No key: starts again from the padded key's states, which were computed once. libcrypto 3.0 copies those with two
     * small allocations: 184 ns for 32 bytes, against 152 with HMAC_CTX and 98 with SHA256_Update, both deprecated.
     * At 32 KiB all are within 2% of each other (OpenSSL 3.0.19 on an AVX-512 Xeon). */
    if (EVP_MAC_init(mac->ctx, NULL, 0, NULL) != 1 || EVP_MAC_update(mac->ctx, number, sizeof number) != 1 ||
        EVP_MAC_update(mac->ctx, data, len) != 1 || EVP_MAC_final(mac->ctx, tag, &n, mac->tag_len) != 1)
        return FS_E_CRYPTO;
    return FS_OK;
}
