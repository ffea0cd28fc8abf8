/* The tables: every cipher and MAC by its name on the wire, and which suite serves it. */
#include "suite.h"

#include <string.h>

#include "gcm.h"

typedef struct cipher_entry {
    fs_cipher_info info;
    const char *libcrypto_name;
    const fs_suite *suite, *etm_suite; /* etm_suite NULL: the cipher brings its own tag, or wants no MAC */
} cipher_entry;

typedef struct mac_entry {
    fs_mac_info info;
    const char *digest_name;
} mac_entry;

/* AES in counter mode: RFC 4344 section 4. GCM: RFC 5647, under OpenSSH's names. chacha20-poly1305: two 32-byte keys,
 * and the sequence number as nonce, so no IV; "none" and it pad to 8 (RFC 4253 section 6). */
static const cipher_entry NONE = {{"none", 0, 0, 8, 0}, NULL, &fs_suite_none, NULL};
/* Neither protection nor padding: between a program and the master whose connection it shares (OpenSSH's PROTOCOL.mux
 * section 9). Never negotiated: no peer can name it. */
static const cipher_entry UNPADDED = {{"unpadded", 0, 0, 1, 0}, NULL, &fs_suite_none, NULL};
static const cipher_entry AES128_GCM = {{"aes128-gcm@openssh.com", 16, 12, 16, 16}, "AES-128-GCM", &fs_suite_gcm, NULL};
static const cipher_entry AES256_GCM = {{"aes256-gcm@openssh.com", 32, 12, 16, 16}, "AES-256-GCM", &fs_suite_gcm, NULL};
static const cipher_entry CHACHA = {
    {"chacha20-poly1305@openssh.com", 64, 0, 8, 16}, "ChaCha20", &fs_suite_chacha, NULL};
static const cipher_entry AES128_CTR = {
    {"aes128-ctr", 16, 16, 16, 0}, "AES-128-CTR", &fs_suite_ctr_mac, &fs_suite_ctr_etm};
static const cipher_entry AES192_CTR = {
    {"aes192-ctr", 24, 16, 16, 0}, "AES-192-CTR", &fs_suite_ctr_mac, &fs_suite_ctr_etm};
static const cipher_entry AES256_CTR = {
    {"aes256-ctr", 32, 16, 16, 0}, "AES-256-CTR", &fs_suite_ctr_mac, &fs_suite_ctr_etm};

const fs_cipher_info *const fs_cipher_all[] = {
    &AES128_GCM.info, &AES256_GCM.info, &CHACHA.info, &AES128_CTR.info, &AES192_CTR.info, &AES256_CTR.info, NULL,
};

/* RFC 6668; the etm forms: OpenSSH PROTOCOL section 1.5. */
static const mac_entry NO_MAC = {{"none", 0, 0, 0}, NULL};
static const mac_entry SHA2_256_ETM = {{"hmac-sha2-256-etm@openssh.com", 32, 32, 1}, "SHA2-256"};
static const mac_entry SHA2_512_ETM = {{"hmac-sha2-512-etm@openssh.com", 64, 64, 1}, "SHA2-512"};
static const mac_entry SHA2_256 = {{"hmac-sha2-256", 32, 32, 0}, "SHA2-256"};
static const mac_entry SHA2_512 = {{"hmac-sha2-512", 64, 64, 0}, "SHA2-512"};

const fs_mac_info *const fs_mac_all[] = {
    &SHA2_256_ETM.info, &SHA2_512_ETM.info, &SHA2_256.info, &SHA2_512.info, NULL,
};

const fs_cipher_info *fs_cipher_find(const char *name)
{
    if (strcmp(name, NONE.info.name) == 0)
        return &NONE.info;
    if (strcmp(name, UNPADDED.info.name) == 0)
        return &UNPADDED.info;
    for (const fs_cipher_info *const *cipher = fs_cipher_all; *cipher; cipher++)
        if (strcmp(name, (*cipher)->name) == 0)
            return *cipher;
    return NULL;
}

const fs_mac_info *fs_mac_find(const char *name)
{
    if (*name == '\0' || strcmp(name, NO_MAC.info.name) == 0)
        return &NO_MAC.info;
    for (const fs_mac_info *const *mac = fs_mac_all; *mac; mac++)
        if (strcmp(name, (*mac)->name) == 0)
            return *mac;
    return NULL;
}

/* info is the first member of its entry, and there are no others than ours. */
static const cipher_entry *cipher_of(const fs_cipher_info *info)
{
    return (const cipher_entry *)(const void *)info;
}

const char *fs_cipher_libcrypto_name(const fs_cipher_info *cipher)
{
    return cipher_of(cipher)->libcrypto_name;
}

const char *fs_mac_digest_name(const fs_mac_info *mac)
{
    return ((const mac_entry *)(const void *)mac)->digest_name;
}

const fs_suite *fs_suite_find(const fs_packet_keys *keys)
{
    const cipher_entry *cipher = cipher_of(keys->cipher);
    const int has_mac = keys->mac && keys->mac->tag_len > 0;

    if (cipher->info.tag_len > 0)
        return cipher->suite == &fs_suite_gcm && !fs_gcm_kernel() ? &fs_suite_gcm_libcrypto : cipher->suite;
    if (!cipher->etm_suite)
        return has_mac ? NULL : cipher->suite; /* nothing protected that a MAC could be meant for */
    if (!has_mac)
        return NULL; /* a stream cipher without a MAC protects nothing */
    return keys->mac->etm ? cipher->etm_suite : cipher->suite;
}
