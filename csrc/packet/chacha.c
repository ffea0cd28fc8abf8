/* chacha20-poly1305@openssh.com (OpenSSH PROTOCOL.chacha20poly1305). Not RFC 8439's AEAD: the length has a key of its
 * own, the nonce is the sequence number as 64 bits, and the tag covers encrypted length and payload, nothing else. */
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "suite.h"

enum { KEY = 32, TAG = 16, BLOCK = 64 };

typedef struct chacha_state {
    EVP_CIPHER_CTX *main, *header; /* K_2: payload, and in block 0 the Poly1305 key; K_1: the length */
    EVP_MAC_CTX *poly1305;
} chacha_state;

static int chacha_init(void *state, const fs_packet_keys *keys, int sealing)
{
    chacha_state *c = state;
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, fs_cipher_libcrypto_name(keys->cipher), NULL);
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "POLY1305", NULL);
    int ok;
    (void)sealing; /* the same key stream serves both */

    c->main = EVP_CIPHER_CTX_new();
    c->header = EVP_CIPHER_CTX_new();
    c->poly1305 = mac ? EVP_MAC_CTX_new(mac) : NULL;
    ok = cipher && c->main && c->header && c->poly1305 &&
         EVP_EncryptInit_ex2(c->main, cipher, keys->key, NULL, NULL) == 1 &&
         EVP_EncryptInit_ex2(c->header, cipher, keys->key + KEY, NULL, NULL) == 1;
    EVP_CIPHER_free(cipher); /* the contexts hold their own references */
    EVP_MAC_free(mac);
    return ok ? FS_OK : FS_E_CRYPTO;
}

static void chacha_clear(void *state)
{
    chacha_state *c = state;
    EVP_CIPHER_CTX_free(c->main);
    EVP_CIPHER_CTX_free(c->header);
    EVP_MAC_CTX_free(c->poly1305);
}

/* libcrypto's ChaCha20 IV: a little-endian block counter, here of 64 bits and 0, then the nonce, big-endian. */
static int chacha_nonce(EVP_CIPHER_CTX *ctx, uint32_t sequence)
{
    uint8_t iv[16] = {0};
    fs_put_u32(iv + 12, sequence);
    return EVP_EncryptInit_ex2(ctx, NULL, NULL, iv, NULL) == 1 ? FS_OK : FS_E_CRYPTO;
}

static int chacha_crypt(EVP_CIPHER_CTX *ctx, uint8_t *out, const uint8_t *in, uint32_t len)
{
    int n;
    return EVP_EncryptUpdate(ctx, out, &n, in, (int)len) == 1 ? FS_OK : FS_E_CRYPTO;
}

/* Block 0 of the main key stream begins with the Poly1305 key; then the context stands at block 1, the payload's. */
static int chacha_poly_key(chacha_state *c, uint32_t sequence, uint8_t block[BLOCK])
{
    static const uint8_t zeros[BLOCK];
    int status = chacha_nonce(c->main, sequence);
    return status == FS_OK ? chacha_crypt(c->main, block, zeros, BLOCK) : status;
}

static int chacha_tag(chacha_state *c, const uint8_t *poly_key, const uint8_t *start, uint32_t length, uint8_t *tag)
{
    size_t n;
    if (EVP_MAC_init(c->poly1305, poly_key, KEY, NULL) != 1 ||
        EVP_MAC_update(c->poly1305, start, 4 + (size_t)length) != 1 || EVP_MAC_final(c->poly1305, tag, &n, TAG) != 1)
        return FS_E_CRYPTO;
    return FS_OK;
}

static int chacha_length(chacha_state *c, uint32_t sequence, const uint8_t *in, uint8_t *out)
{
    int status = chacha_nonce(c->header, sequence);
    return status == FS_OK ? chacha_crypt(c->header, out, in, 4) : status;
}

static int chacha_seal(void *state, uint32_t sequence, uint8_t *start, uint32_t length)
{
    chacha_state *c = state;
    uint8_t block[BLOCK];
    int status = chacha_length(c, sequence, start, start);

    if (status == FS_OK)
        status = chacha_poly_key(c, sequence, block);
    if (status == FS_OK)
        status = chacha_crypt(c->main, start + 4, start + 4, length);
    if (status == FS_OK)
        status = chacha_tag(c, block, start, length, start + 4 + length);
    OPENSSL_cleanse(block, sizeof block);
    return status;
}

static int chacha_peek(void *state, uint32_t sequence, const uint8_t *start, uint32_t *length)
{
    uint8_t clear[4];
    int status = chacha_length(state, sequence, start, clear);
    *length = fs_get_u32(clear);
    return status;
}

static int chacha_open(void *state, uint32_t sequence, uint8_t *start, uint32_t length)
{
    chacha_state *c = state;
    uint8_t block[BLOCK], tag[TAG];
    int status = chacha_poly_key(c, sequence, block);

    if (status == FS_OK)
        status = chacha_tag(c, block, start, length, tag);
    if (status == FS_OK && CRYPTO_memcmp(tag, start + 4 + length, TAG) != 0)
        status = FS_E_MAC;
    if (status == FS_OK)
        status = chacha_crypt(c->main, start + 4, start + 4, length);
    OPENSSL_cleanse(block, sizeof block);
    OPENSSL_cleanse(tag, sizeof tag);
    return status;
}

const fs_suite fs_suite_chacha = {
    .state_size = sizeof(chacha_state),
    .length_clear = 1,
    .peek_len = 4,
    .init = chacha_init,
    .clear = chacha_clear,
    .seal = chacha_seal,
    .peek = chacha_peek,
    .open = chacha_open,
};
