/* aes128/192/256-ctr (RFC 4344 section 4) with HMAC-SHA2, in both orders:
 * encrypt-and-MAC (RFC 4253 section 6.4: over the plaintext) and encrypt-then-MAC (OpenSSH PROTOCOL section 1.5). */
#include <string.h>

#include <openssl/crypto.h>

#include "hmac.h"
#include "suite.h"

enum { BLOCK = 16 };

typedef struct ctr_state {
    EVP_CIPHER_CTX *cipher; /* one key stream for the whole epoch: never given an IV again */
    fs_hmac mac;
    uint8_t first[BLOCK]; /* encrypt-and-MAC, opening: the first block, decrypted when the length was asked for */
} ctr_state;

static int ctr_init(void *state, const fs_packet_keys *keys, int sealing)
{
    ctr_state *c = state;
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, fs_cipher_libcrypto_name(keys->cipher), NULL);
    int ok;

    c->cipher = EVP_CIPHER_CTX_new();
    ok = cipher && c->cipher && EVP_CipherInit_ex2(c->cipher, cipher, keys->key, keys->iv, sealing, NULL) == 1;
    EVP_CIPHER_free(cipher);
    return ok ? fs_hmac_init(&c->mac, fs_mac_digest_name(keys->mac), keys->mac_key, keys->mac->key_len) : FS_E_CRYPTO;
}

static void ctr_clear(void *state)
{
    ctr_state *c = state;
    EVP_CIPHER_CTX_free(c->cipher);
    fs_hmac_clear(&c->mac);
}

/* Encryption and decryption are the same. Whole blocks only, so the key stream never stops within one. */
static int ctr_crypt(ctr_state *c, uint8_t *out, const uint8_t *in, uint32_t len)
{
    int n;
    return EVP_CipherUpdate(c->cipher, out, &n, in, (int)len) == 1 && (uint32_t)n == len ? FS_OK : FS_E_CRYPTO;
}

/* Compares with the tag behind the packet. */
static int ctr_verify(ctr_state *c, uint32_t sequence, const uint8_t *start, uint32_t length)
{
    uint8_t tag[FS_TAG_MAX];
    int status = fs_hmac_packet(&c->mac, sequence, start, 4 + (size_t)length, tag);
    if (status == FS_OK && CRYPTO_memcmp(tag, start + 4 + length, c->mac.tag_len) != 0)
        status = FS_E_MAC;
    OPENSSL_cleanse(tag, sizeof tag); /* the right tag of a forged packet is worth having */
    return status;
}

/* --- encrypt-and-MAC ------------------------------------------------------------------------------------------- */

static int mac_seal(void *state, uint32_t sequence, uint8_t *start, uint32_t length)
{
    ctr_state *c = state;
    int status = fs_hmac_packet(&c->mac, sequence, start, 4 + (size_t)length, start + 4 + length);
    return status == FS_OK ? ctr_crypt(c, start, start, 4 + length) : status;
}

static int mac_peek(void *state, uint32_t sequence, const uint8_t *start, uint32_t *length)
{
    ctr_state *c = state;
    int status = ctr_crypt(c, c->first, start, BLOCK);
    (void)sequence;
    *length = fs_get_u32(c->first);
    return status;
}

static int mac_open(void *state, uint32_t sequence, uint8_t *start, uint32_t length)
{
    ctr_state *c = state;
    const uint32_t rest = 4 + length - BLOCK;
    int status = rest ? ctr_crypt(c, start + BLOCK, start + BLOCK, rest) : FS_OK;

    memcpy(start, c->first, BLOCK);
    if (status == FS_OK)
        status = ctr_verify(c, sequence, start, length);
    if (status != FS_OK)
        OPENSSL_cleanse(start, 4 + (size_t)length); /* decrypted before it could be verified: must not be seen */
    return status;
}

const fs_suite fs_suite_ctr_mac = {
    .state_size = sizeof(ctr_state),
    .length_clear = 0,
    .peek_len = BLOCK,
    .init = ctr_init,
    .clear = ctr_clear,
    .seal = mac_seal,
    .peek = mac_peek,
    .open = mac_open,
};

/* --- encrypt-then-MAC ------------------------------------------------------------------------------------------ */

static int etm_seal(void *state, uint32_t sequence, uint8_t *start, uint32_t length)
{
    ctr_state *c = state;
    int status = ctr_crypt(c, start + 4, start + 4, length);
    return status == FS_OK ? fs_hmac_packet(&c->mac, sequence, start, 4 + (size_t)length, start + 4 + length) : status;
}

static int etm_open(void *state, uint32_t sequence, uint8_t *start, uint32_t length)
{
    ctr_state *c = state;
    int status = ctr_verify(c, sequence, start, length);
    return status == FS_OK ? ctr_crypt(c, start + 4, start + 4, length) : status;
}

const fs_suite fs_suite_ctr_etm = {
    .state_size = sizeof(ctr_state),
    .length_clear = 1,
    .peek_len = 4,
    .init = ctr_init,
    .clear = ctr_clear,
    .seal = etm_seal,
    .peek = fs_suite_peek_clear,
    .open = etm_open,
};
