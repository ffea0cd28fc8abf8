/* AES-GCM kernels of our own (NIST SP 800-38D), chosen at run time; libcrypto is the portable path.
 * 96-bit IVs, 128-bit tags, 128- and 256-bit keys, AAD of any length (SSH uses 4 bytes). No allocation. */
#ifndef FS_AESGCM_H
#define FS_AESGCM_H

#include <stddef.h>
#include <stdint.h>

#define FS_AESGCM_IV 12
#define FS_AESGCM_TAG 16
#define FS_AESGCM_STATE 1024 /* round keys and powers of H; every kernel's layout fits, checked at compile time */

/* Secret: wipe with OPENSSL_cleanse when done. */
typedef struct fs_aesgcm_key {
    _Alignas(64) uint8_t state[FS_AESGCM_STATE];
} fs_aesgcm_key;

typedef struct fs_aesgcm_impl {
    const char *name;   /* "vaes-avx512", "vaes-avx2", ... as shown by --version */
    int (*usable)(void); /* this CPU and operating system can run it */
    /* key_len is 16 or 32; returns FS_OK or FS_E_ARGUMENT. */
    int (*init)(fs_aesgcm_key *key, const uint8_t *secret, size_t key_len);
    /* in == out (in place) or disjoint. len may be 0. */
    void (*seal)(const fs_aesgcm_key *key, const uint8_t iv[FS_AESGCM_IV], const uint8_t *aad, size_t aad_len,
                 const uint8_t *in, uint8_t *out, size_t len, uint8_t tag[FS_AESGCM_TAG]);
    /* FS_OK, or FS_E_MAC with out wiped: no unverified byte is ever released. Tags compare in constant time. */
    int (*open)(const fs_aesgcm_key *key, const uint8_t iv[FS_AESGCM_IV], const uint8_t *aad, size_t aad_len,
                const uint8_t *in, uint8_t *out, size_t len, const uint8_t tag[FS_AESGCM_TAG]);
} fs_aesgcm_impl;

/* All kernels compiled in, best first, ended by NULL (so just {NULL} on other architectures). */
extern const fs_aesgcm_impl *const fs_aesgcm_impls[];

/* The best usable kernel, or NULL: the caller then uses libcrypto. */
const fs_aesgcm_impl *fs_aesgcm_best(void);

#endif
