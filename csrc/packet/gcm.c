/* aes128-gcm@openssh.com and aes256-gcm@openssh.com with our own kernels: RFC 5647 section 7, where packet_length stays
 * in clear and is the AAD. */
#include "gcm.h"

#include <string.h>

#include "nonce.h"
#include "suite.h"

typedef struct gcm_state {
    fs_aesgcm_key key;
    const fs_aesgcm_impl *impl;
    fs_gcm_nonce nonce;
} gcm_state;

static int gcm_init(void *state, const fs_packet_keys *keys, int sealing)
{
    gcm_state *g = state;
    (void)sealing;
    g->impl = fs_gcm_kernel();
    if (!g->impl)
        return FS_E_ARGUMENT;
    fs_gcm_nonce_init(&g->nonce, keys->iv);
    return g->impl->init(&g->key, keys->key, keys->cipher->key_len);
}

static void gcm_clear(void *state)
{
    (void)state; /* owns nothing beside its own bytes */
}

static int gcm_seal(void *state, uint32_t sequence, uint8_t *start, uint32_t length)
{
    gcm_state *g = state;
    (void)sequence;
    g->impl->seal(&g->key, g->nonce.bytes, start, 4, start + 4, start + 4, length, start + 4 + length);
    fs_gcm_nonce_next(&g->nonce);
    return FS_OK;
}

static int gcm_open(void *state, uint32_t sequence, uint8_t *start, uint32_t length)
{
    gcm_state *g = state;
    (void)sequence;
    if (g->impl->open(&g->key, g->nonce.bytes, start, 4, start + 4, start + 4, length, start + 4 + length) != FS_OK)
        return FS_E_MAC;
    fs_gcm_nonce_next(&g->nonce);
    return FS_OK;
}

const fs_suite fs_suite_gcm = {
    .state_size = sizeof(gcm_state),
    .length_clear = 1,
    .peek_len = 4,
    .init = gcm_init,
    .clear = gcm_clear,
    .seal = gcm_seal,
    .peek = fs_suite_peek_clear,
    .open = gcm_open,
};

/* --- selection ----------------------------------------------------------------------------------------------- */

static enum { SELECT_BEST, SELECT_LIBCRYPTO, SELECT_KERNEL } selection = SELECT_BEST;
static const fs_aesgcm_impl *selected;

const fs_aesgcm_impl *fs_gcm_kernel(void)
{
    switch (selection) {
    case SELECT_LIBCRYPTO:
        return NULL;
    case SELECT_KERNEL:
        return selected;
    case SELECT_BEST:
        break;
    }
    return fs_aesgcm_best();
}

int fs_packet_select_aesgcm(const char *name)
{
    if (!name || strcmp(name, "auto") == 0) {
        selection = SELECT_BEST;
        return FS_OK;
    }
    if (strcmp(name, "libcrypto") == 0) {
        selection = SELECT_LIBCRYPTO;
        return FS_OK;
    }
    for (const fs_aesgcm_impl *const *impl = fs_aesgcm_impls; *impl; impl++) {
        if (strcmp(name, (*impl)->name) == 0 && (*impl)->usable()) {
            selected = *impl;
            selection = SELECT_KERNEL;
            return FS_OK;
        }
    }
    return FS_E_ARGUMENT;
}

const char *fs_packet_aesgcm(void)
{
    const fs_aesgcm_impl *kernel = fs_gcm_kernel();
    return kernel ? kernel->name : "libcrypto";
}
