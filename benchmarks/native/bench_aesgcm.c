/* AES-GCM a packet at a time: libcrypto and each kernel in turn (A B C A B C ...) on one core. For each size: the
 * median rate of each, and the median and quartiles of its ratio to libcrypto within the same turn.
 * Usage: bench_aesgcm [turns] */
#define _POSIX_C_SOURCE 200809L

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "aesgcm.h"
#include "fs_status.h"

#define MAX_CONTESTANTS 8
#define MAX_TURNS 1000
#define SLICE_BYTES ((size_t)1 << 20) /* what a contestant handles in its slice of a turn, at most ... */
#define SLICE_PACKETS ((size_t)2048)  /* ... and in how many packets */
#define LARGEST ((size_t)255 * 1024)

static const size_t sizes[] = {64, 1024, 8192, 32768, LARGEST};
static _Alignas(64) uint8_t sealed[LARGEST], opened[LARGEST];
static uint8_t secret[32], iv[12], aad[4], tag[16];

/* Keeps its key set up, as a connection does: from packet to packet only the IV is given. */
typedef struct contestant {
    const char *name;
    const fs_aesgcm_impl *impl; /* NULL: libcrypto */
    fs_aesgcm_key key;
    EVP_CIPHER_CTX *contexts[2]; /* sealing, opening */
    double rates[MAX_TURNS];     /* bytes per second */
} contestant;

static contestant contestants[MAX_CONTESTANTS];
static size_t contestant_count;

static void check(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "bench_aesgcm: %s failed\n", what);
        exit(1);
    }
}

/* Sealing works in place; opening reads the sealed packet of the slice before, so that its tag is right. */
static int libcrypto_packet(contestant *c, int opening, size_t len)
{
    EVP_CIPHER_CTX *context = c->contexts[opening];
    uint8_t *out = opening ? opened : sealed;
    int done;
    return EVP_CipherInit_ex(context, NULL, NULL, NULL, iv, -1) == 1 &&
           (!opening || EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, sizeof tag, tag) == 1) &&
           EVP_CipherUpdate(context, NULL, &done, aad, sizeof aad) == 1 &&
           EVP_CipherUpdate(context, out, &done, sealed, (int)len) == 1 &&
           EVP_CipherFinal_ex(context, out + len, &done) == 1 &&
           (opening || EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, sizeof tag, tag) == 1);
}

static int kernel_packet(contestant *c, int opening, size_t len)
{
    if (opening)
        return c->impl->open(&c->key, iv, aad, sizeof aad, sealed, opened, len, tag) == FS_OK;
    c->impl->seal(&c->key, iv, aad, sizeof aad, sealed, sealed, len, tag);
    return 1;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double measure(contestant *c, int opening, size_t len)
{
    const size_t packets = SLICE_BYTES / len < SLICE_PACKETS ? SLICE_BYTES / len : SLICE_PACKETS;
    int ok = 1;
    if (opening)
        check(c->impl ? kernel_packet(c, 0, len) : libcrypto_packet(c, 0, len), c->name);
    const double start = seconds();
    for (size_t i = 0; i < packets; i++)
        ok &= c->impl ? kernel_packet(c, opening, len) : libcrypto_packet(c, opening, len);
    const double elapsed = seconds() - start;
    check(ok, c->name);
    return (double)(packets * len) / elapsed;
}

static void enter(const char *name, const fs_aesgcm_impl *impl, size_t key_len)
{
    contestant *c = &contestants[contestant_count++];
    c->name = name;
    c->impl = impl;
    if (impl != NULL) {
        check(impl->init(&c->key, secret, key_len) == FS_OK, name);
        return;
    }
    const EVP_CIPHER *cipher = key_len == 16 ? EVP_aes_128_gcm() : EVP_aes_256_gcm();
    for (int opening = 0; opening < 2; opening++) {
        check((c->contexts[opening] = EVP_CIPHER_CTX_new()) != NULL, name);
        check(EVP_CipherInit_ex(c->contexts[opening], cipher, NULL, secret, NULL, !opening) == 1, name);
    }
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const contestant *c, size_t turns, size_t len)
{
    static double rates[MAX_TURNS], ratios[MAX_TURNS];
    for (size_t t = 0; t < turns; t++) {
        rates[t] = c->rates[t];
        ratios[t] = c->rates[t] / contestants[0].rates[t];
    }
    qsort(rates, turns, sizeof *rates, ascending);
    qsort(ratios, turns, sizeof *ratios, ascending);
    printf("  %7zu  %-12s %6.2f GB/s  x %.2f (%.2f - %.2f)\n", len, c->name, rates[turns / 2] / 1e9, ratios[turns / 2],
           ratios[turns / 4], ratios[turns * 3 / 4]);
}

static void compare(size_t key_len, int opening, size_t turns)
{
    contestant_count = 0;
    enter("libcrypto", NULL, key_len);
    for (const fs_aesgcm_impl *const *impl = fs_aesgcm_impls; *impl != NULL; impl++)
        if ((*impl)->usable() && contestant_count < MAX_CONTESTANTS)
            enter((*impl)->name, *impl, key_len);
    printf("aes%zu-gcm, %s\n", key_len * 8, opening ? "opening" : "sealing");
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (size_t i = 0; i < contestant_count; i++)
            measure(&contestants[i], opening, sizes[s]); /* warm-up */
        for (size_t t = 0; t < turns; t++)
            for (size_t i = 0; i < contestant_count; i++)
                contestants[i].rates[t] = measure(&contestants[i], opening, sizes[s]);
        for (size_t i = 0; i < contestant_count; i++)
            report(&contestants[i], turns, sizes[s]);
    }
    EVP_CIPHER_CTX_free(contestants[0].contexts[0]);
    EVP_CIPHER_CTX_free(contestants[0].contexts[1]);
}

int main(int argc, char **argv)
{
    const unsigned long turns = argc > 1 ? strtoul(argv[1], NULL, 10) : 101;
    check(turns >= 1 && turns <= MAX_TURNS, "the number of turns (1 to 1000)");
    printf("%s; %lu turns\nbytes, median rate, ratio to libcrypto: median (quartiles)\n",
           OpenSSL_version(OPENSSL_VERSION), turns);
    for (size_t key_len = 16; key_len <= 32; key_len += 16)
        for (int opening = 0; opening < 2; opening++)
            compare(key_len, opening, turns);
    return 0;
}
