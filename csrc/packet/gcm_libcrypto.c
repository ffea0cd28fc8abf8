/* AES-GCM through libcrypto: where no kernel of our own can run, and as their oracle.
 * One context a direction: cipher, key and IV length are set once, only the IV changes a packet. */
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "nonce.h"
#include "suite.h"

enum { TAG_LEN = 16 };

typedef struct gcm_state {
    EVP_CIPHER_CTX *ctx;
    fs_gcm_nonce nonce;
    uint8_t tag[TAG_LEN];
    OSSL_PARAM tag_param[2]; /* made once: names `tag` as where a tag is put or taken */
} gcm_state;

static int gcm_init(void *state, const fs_packet_keys *keys, int sealing)
{
    gcm_state *g = state;
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, fs_cipher_libcrypto_name(keys->cipher), NULL);
    int ok;

    g->ctx = EVP_CIPHER_CTX_new();
    fs_gcm_nonce_init(&g->nonce, keys->iv);
    g->tag_param[0] = OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, g->tag, TAG_LEN);
    g->tag_param[1] = OSSL_PARAM_construct_end();
    /* 12 bytes is the IV length that GCM contexts start with */
    ok = cipher && g->ctx && EVP_CipherInit_ex2(g->ctx, cipher, keys->key, NULL, sealing, NULL) == 1;
    EVP_CIPHER_free(cipher); /* the context holds its own reference */
    return ok ? FS_OK : FS_E_CRYPTO;
}

static void gcm_clear(void *state)
{
    EVP_CIPHER_CTX_free(((gcm_state *)state)->ctx); /* wipes the key schedule */
}

static int gcm_seal(void *state, uint32_t sequence, uint8_t *start, uint32_t length)
{
    gcm_state *g = state;
    int n;
    (void)sequence;
    g->tag_param[0].data = start + 4 + length;
    if (EVP_EncryptInit_ex2(g->ctx, NULL, NULL, g->nonce.bytes, NULL) != 1 ||
        EVP_EncryptUpdate(g->ctx, NULL, &n, start, 4) != 1 ||
        EVP_EncryptUpdate(g->ctx, start + 4, &n, start + 4, (int)length) != 1 ||
        EVP_EncryptFinal_ex(g->ctx, g->tag, &n) != 1 || EVP_CIPHER_CTX_get_params(g->ctx, g->tag_param) != 1)
        return FS_E_CRYPTO;
    fs_gcm_nonce_next(&g->nonce);
    return FS_OK;
}

static int gcm_open(void *state, uint32_t sequence, uint8_t *start, uint32_t length)
{
    gcm_state *g = state;
    int n;
    (void)sequence;
    g->tag_param[0].data = start + 4 + length;
    if (EVP_DecryptInit_ex2(g->ctx, NULL, NULL, g->nonce.bytes, g->tag_param) != 1 ||
        EVP_DecryptUpdate(g->ctx, NULL, &n, start, 4) != 1 ||
        EVP_DecryptUpdate(g->ctx, start + 4, &n, start + 4, (int)length) != 1)
        return FS_E_CRYPTO;
    if (EVP_DecryptFinal_ex(g->ctx, g->tag, &n) != 1) {
        OPENSSL_cleanse(start + 4, length); /* decrypted before it could be verified: must not be seen */
        return FS_E_MAC;
    }
    fs_gcm_nonce_next(&g->nonce);
    return FS_OK;
}

const fs_suite fs_suite_gcm_libcrypto = {
    .state_size = sizeof(gcm_state),
    .length_clear = 1,
    .peek_len = 4,
    .init = gcm_init,
    .clear = gcm_clear,
    .seal = gcm_seal,
    .peek = fs_suite_peek_clear,
    .open = gcm_open,
};
