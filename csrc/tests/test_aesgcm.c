/* AES-GCM kernels against published vectors and against libcrypto, for every kernel that this CPU can run. */
#define _DEFAULT_SOURCE

#include <openssl/evp.h>
#include <sys/mman.h>
#include <unistd.h>

#include "aesgcm.h"
#include "check.h"
#include "fs_status.h"

#define EVERY_LENGTH 1100
#define LARGEST ((size_t)256 * 1024 + 37)
#define GUARD ((size_t)64)
#define FILL 0xa5

static const fs_aesgcm_impl *impl; /* the one under test */
static uint8_t noise[LARGEST];     /* plaintext, keys, IVs and AAD: the same bytes in every run */

static void fill_noise(void)
{
    uint64_t state = 0x9e3779b97f4a7c15u; /* xorshift64 */
    for (size_t i = 0; i < sizeof noise; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        noise[i] = (uint8_t)(state >> 32);
    }
}

/* size bytes that end where an inaccessible page begins, after another one: reading past either end is a crash. */
static uint8_t *fenced(size_t size)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), inner = (size + page - 1) / page * page;
    uint8_t *map = mmap(NULL, inner + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED);
    CHECK(mprotect(map + page, inner, PROT_READ | PROT_WRITE) == 0);
    return map + page + inner - size;
}

/* --- libcrypto, the oracle --------------------------------------------------------------------------------------- */

static void oracle_seal(const uint8_t *secret, size_t key_len, const uint8_t *iv, const uint8_t *aad, size_t aad_len,
                        const uint8_t *in, uint8_t *out, size_t len, uint8_t *tag)
{
    static EVP_CIPHER_CTX *contexts[2];
    EVP_CIPHER_CTX **context = &contexts[key_len == 32];
    int done;
    if (*context == NULL) {
        CHECK((*context = EVP_CIPHER_CTX_new()) != NULL);
        CHECK(EVP_EncryptInit_ex(*context, key_len == 32 ? EVP_aes_256_gcm() : EVP_aes_128_gcm(), NULL, NULL, NULL));
    }
    CHECK(EVP_EncryptInit_ex(*context, NULL, NULL, secret, iv) == 1);
    CHECK(aad_len == 0 || EVP_EncryptUpdate(*context, NULL, &done, aad, (int)aad_len) == 1);
    CHECK(EVP_EncryptUpdate(*context, out, &done, in, (int)len) == 1);
    CHECK(EVP_EncryptFinal_ex(*context, out + len, &done) == 1);
    CHECK(EVP_CIPHER_CTX_ctrl(*context, EVP_CTRL_GCM_GET_TAG, 16, tag) == 1);
}

/* --- published vectors ------------------------------------------------------------------------------------------- */

/* McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", the submission to NIST as revised in 2005,
 * appendix B: every case with a key of 128 or 256 bits and an IV of 96. */
#define KEY128 "feffe9928665731c6d6a8f9467308308"
#define IV "cafebabefacedbaddecaf888"
#define ZERO128 "00000000000000000000000000000000"
#define ZERO96 "000000000000000000000000"
#define AAD "feedfacedeadbeeffeedfacedeadbeefabaddad2"
#define PLAIN60                                                        \
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72" \
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"

static const struct vector {
    const char *name, *key, *iv, *aad, *plaintext, *ciphertext, *tag;
} vectors[] = {
    {"test case 1", ZERO128, ZERO96, "", "", "", "58e2fccefa7e3061367f1d57a4e7455a"},
    {"test case 2", ZERO128, ZERO96, "", ZERO128, "0388dace60b6a392f328c2b971b2fe78",
     "ab6e47d42cec13bdf53a67b21257bddf"},
    {"test case 3", KEY128, IV, "", PLAIN60 "1aafd255",
     "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
     "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985",
     "4d5c2af327cd64a62cf35abd2ba6fab4"},
    {"test case 4", KEY128, IV, AAD, PLAIN60,
     "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
     "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
     "5bc94fbc3221a5db94fae95ae7121a47"},
    {"test case 13", ZERO128 ZERO128, ZERO96, "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
    {"test case 14", ZERO128 ZERO128, ZERO96, "", ZERO128, "cea7403d4d606b6e074ec5d3baf39d18",
     "d0d1c8a799996bf0265b98b5d48ab919"},
    {"test case 15", KEY128 KEY128, IV, "", PLAIN60 "1aafd255",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
     "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
     "b094dac5d93471bdec1a502270e3cc6c"},
    {"test case 16", KEY128 KEY128, IV, AAD, PLAIN60,
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
     "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
     "76fc6ece0f4e1768cddf8853bb2d551b"},
};

static void published_vectors(void)
{
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        const struct vector *v = &vectors[i];
        uint8_t secret[32], iv[12], aad[20], plain[64], cipher[64], tag[16], out[64], got[16];
        const size_t key_len = check_unhex(v->key, secret), aad_len = check_unhex(v->aad, aad);
        const size_t len = check_unhex(v->plaintext, plain);
        CHECK_INT(check_unhex(v->iv, iv), 12);
        CHECK_INT(check_unhex(v->tag, tag), 16);
        CHECK_INT(check_unhex(v->ciphertext, cipher), len);
        fs_aesgcm_key key;
        CHECK_INT(impl->init(&key, secret, key_len), FS_OK);
        impl->seal(&key, iv, aad, aad_len, plain, out, len, got);
        CHECK_BYTES(out, cipher, len);
        CHECK_BYTES(got, tag, 16);
        CHECK_INT(impl->open(&key, iv, aad, aad_len, cipher, out, len, tag), FS_OK);
        CHECK_BYTES(out, plain, len);
    }
}

/* --- against the oracle ------------------------------------------------------------------------------------------ */

/* Buffers end at inaccessible pages; what lies GUARD bytes before and after each output is checked. */
struct arena {
    uint8_t *in, *out, *aad; /* the ends of what may be read or written */
    uint8_t *expected;
};

static struct arena arena;

static void check_guard(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        CHECK_INT(p[i], FILL);
}

/* Seals and opens one message whose input, output and AAD end `gap` bytes before an inaccessible page. */
static void check_message(const fs_aesgcm_key *key, const uint8_t *secret, size_t key_len, size_t aad_len, size_t len,
                          size_t gap)
{
    const uint8_t *iv = noise + (len + aad_len) % 4096;
    uint8_t *in = arena.in - gap - len, *out = arena.out - gap - len, *aad = arena.aad - gap - aad_len;
    uint8_t *fresh = arena.out - gap - len - GUARD;
    uint8_t expected_tag[16], tag[16];
    memcpy(in, noise + gap, len);
    memcpy(aad, noise + 100 + gap, aad_len);
    oracle_seal(secret, key_len, iv, aad, aad_len, in, arena.expected, len, expected_tag);

    memset(fresh, FILL, GUARD + len + gap);
    impl->seal(key, iv, aad, aad_len, in, out, len, tag);
    CHECK_BYTES(out, arena.expected, len);
    CHECK_BYTES(tag, expected_tag, 16);
    CHECK_BYTES(in, noise + gap, len);
    check_guard(fresh, GUARD);
    check_guard(out + len, gap);

    memset(in - GUARD, FILL, GUARD);
    memset(in + len, FILL, gap);
    impl->seal(key, iv, aad, aad_len, in, in, len, tag);
    CHECK_BYTES(in, arena.expected, len);
    CHECK_BYTES(tag, expected_tag, 16);

    memset(fresh, FILL, GUARD + len + gap);
    CHECK_INT(impl->open(key, iv, aad, aad_len, in, out, len, expected_tag), FS_OK);
    CHECK_BYTES(out, noise + gap, len);
    CHECK_BYTES(in, arena.expected, len);
    check_guard(fresh, GUARD);
    check_guard(out + len, gap);

    CHECK_INT(impl->open(key, iv, aad, aad_len, in, in, len, expected_tag), FS_OK);
    CHECK_BYTES(in, noise + gap, len);
    check_guard(in - GUARD, GUARD);
    check_guard(in + len, gap);
}

/* Calls check_message with a 128-bit and with a 256-bit key. */
static void check_both_keys(const size_t *lengths, size_t count, const size_t *aad_lengths, size_t aad_count,
                            size_t gaps)
{
    for (size_t key_len = 16; key_len <= 32; key_len += 16) {
        const uint8_t *secret = noise + 5000 + key_len;
        fs_aesgcm_key key;
        CHECK_INT(impl->init(&key, secret, key_len), FS_OK);
        for (size_t i = 0; i < count; i++)
            for (size_t j = 0; j < aad_count; j++)
                for (size_t gap = 0; gap < gaps; gap++)
                    check_message(&key, secret, key_len, aad_lengths[j], lengths[i], gap);
    }
}

static const size_t ssh_aad[] = {4};

static void every_length_agrees_with_libcrypto(void)
{
    static size_t lengths[EVERY_LENGTH + 1];
    for (size_t i = 0; i <= EVERY_LENGTH; i++)
        lengths[i] = i;
    check_both_keys(lengths, EVERY_LENGTH + 1, ssh_aad, 1, 1);
}

static void every_aad_length_agrees_with_libcrypto(void)
{
    static const size_t lengths[] = {0, 1, 16, 31, 240, 255, 256, 257, 300, 512};
    size_t aad_lengths[41];
    for (size_t i = 0; i <= 40; i++)
        aad_lengths[i] = i;
    check_both_keys(lengths, sizeof lengths / sizeof *lengths, aad_lengths, 41, 1);
}

static void misaligned_buffers_agree_with_libcrypto(void)
{
    static const size_t lengths[] = {1, 15, 17, 63, 64, 65, 255, 256, 272, 511, 1040, 1099};
    check_both_keys(lengths, sizeof lengths / sizeof *lengths, ssh_aad, 1, 65);
}

/* The counter starts at 2: past 254 blocks it carries into its second byte. */
static void long_messages_carry_the_counter(void)
{
    static const size_t lengths[] = {
        254 * 16 - 1, 254 * 16,  254 * 16 + 1, 255 * 16,    256 * 16,   257 * 16 + 3,   8 * 1024,        32 * 1024 + 16,
        65536 - 16,   65536 + 5, 255 * 1024,   261120 + 32, 256 * 1024, 256 * 1024 + 1, 256 * 1024 + 16, LARGEST - 2};
    check_both_keys(lengths, sizeof lengths / sizeof *lengths, ssh_aad, 1, 2);
}

/* Past 65,534 blocks: longer than any packet. */
static void carry_into_the_third_counter_byte(void)
{
    const size_t len = (size_t)65536 * 16 + 999;
    uint8_t *in = calloc(1, len), *out = malloc(len), *expected = malloc(len), tag[16], expected_tag[16];
    fs_aesgcm_key key;
    CHECK(in != NULL && out != NULL && expected != NULL);
    CHECK_INT(impl->init(&key, noise, 16), FS_OK);
    oracle_seal(noise, 16, noise + 16, NULL, 0, in, expected, len, expected_tag);
    impl->seal(&key, noise + 16, NULL, 0, in, out, len, tag);
    CHECK_BYTES(out, expected, len);
    CHECK_BYTES(tag, expected_tag, 16);
    CHECK_INT(impl->open(&key, noise + 16, NULL, 0, out, out, len, tag), FS_OK);
    CHECK_BYTES(out, in, len);
    free(in);
    free(out);
    free(expected);
}

/* --- forgeries --------------------------------------------------------------------------------------------------- */

/* Opening must fail, in place and not, and leave zeros in the output and nothing changed around it. */
static void check_refused(const fs_aesgcm_key *key, const uint8_t *iv, const uint8_t *aad, size_t aad_len,
                          const uint8_t *cipher, size_t len, const uint8_t *tag)
{
    static const uint8_t zeros[LARGEST];
    uint8_t *out = arena.out - GUARD - len;
    memset(out - GUARD, FILL, GUARD + len + GUARD);
    CHECK_INT(impl->open(key, iv, aad, aad_len, cipher, out, len, tag), FS_E_MAC);
    CHECK_BYTES(out, zeros, len);
    check_guard(out - GUARD, GUARD);
    check_guard(out + len, GUARD);
    memcpy(out, cipher, len);
    CHECK_INT(impl->open(key, iv, aad, aad_len, out, out, len, tag), FS_E_MAC);
    CHECK_BYTES(out, zeros, len);
    check_guard(out - GUARD, GUARD);
    check_guard(out + len, GUARD);
}

static void every_flipped_bit_is_refused(void)
{
    static const size_t lengths[] = {0, 1, 20, 32, 300};
    for (size_t key_len = 16; key_len <= 32; key_len += 16) {
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            const size_t len = lengths[i], total = 4 + len + 16;
            const uint8_t *iv = noise + 700;
            uint8_t packet[4 + 300 + 16]; /* AAD, ciphertext, tag: as on the wire (RFC 5647) */
            fs_aesgcm_key key;
            CHECK_INT(impl->init(&key, noise + 600, key_len), FS_OK);
            memcpy(packet, noise, 4 + len);
            impl->seal(&key, iv, packet, 4, packet + 4, packet + 4, len, packet + 4 + len);
            for (size_t bit = 0; bit < 8 * total; bit++) {
                packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
                check_refused(&key, iv, packet, 4, packet + 4, len, packet + 4 + len);
                packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
            }
            CHECK_INT(impl->open(&key, iv, packet, 4, packet + 4, packet + 4, len, packet + 4 + len), FS_OK);
            CHECK_BYTES(packet, noise, 4 + len);
        }
    }
}

static void a_large_forgery_is_wiped(void)
{
    fs_aesgcm_key key;
    uint8_t *cipher = arena.expected, tag[16];
    CHECK_INT(impl->init(&key, noise, 16), FS_OK);
    impl->seal(&key, noise, NULL, 0, noise, cipher, LARGEST - 2, tag);
    cipher[LARGEST - 3] ^= 0x80;
    check_refused(&key, noise, NULL, 0, cipher, LARGEST - 2, tag);
}

static void another_iv_or_aad_length_is_refused(void)
{
    fs_aesgcm_key key;
    uint8_t iv[12], aad[32] = {0}, cipher[48], tag[16];
    CHECK_INT(impl->init(&key, noise, 16), FS_OK);
    memcpy(iv, noise, 12);
    impl->seal(&key, iv, aad, 16, noise, cipher, sizeof cipher, tag);
    check_refused(&key, iv, aad, 15, cipher, sizeof cipher, tag); /* zeros, as the padding would be */
    check_refused(&key, iv, aad, 32, cipher, sizeof cipher, tag);
    for (size_t bit = 0; bit < 96; bit++) {
        iv[bit / 8] ^= (uint8_t)(1 << bit % 8);
        check_refused(&key, iv, aad, 16, cipher, sizeof cipher, tag);
        iv[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void other_key_sizes_are_refused(void)
{
    fs_aesgcm_key key;
    for (size_t len = 0; len <= 64; len++)
        if (len != 16 && len != 32)
            CHECK_INT(impl->init(&key, noise, len), FS_E_ARGUMENT);
}

int main(void)
{
    fill_noise();
    arena = (struct arena){fenced(GUARD + LARGEST + GUARD), fenced(GUARD + LARGEST + GUARD), fenced(256), NULL};
    arena.in += GUARD + LARGEST + GUARD;
    arena.out += GUARD + LARGEST + GUARD;
    arena.aad += 256;
    arena.expected = malloc(LARGEST);
    CHECK(arena.expected != NULL);

    const fs_aesgcm_impl *best = NULL;
    for (const fs_aesgcm_impl *const *each = fs_aesgcm_impls; *each != NULL; each++) {
        impl = *each;
        if (!impl->usable()) {
            printf("%s: not run, this CPU or operating system lacks it\n", impl->name);
            continue;
        }
        printf("%s:\n", impl->name);
        best = best != NULL ? best : impl;
        RUN(published_vectors);
        RUN(every_length_agrees_with_libcrypto);
        RUN(every_aad_length_agrees_with_libcrypto);
        RUN(misaligned_buffers_agree_with_libcrypto);
        RUN(long_messages_carry_the_counter);
        RUN(carry_into_the_third_counter_byte);
        RUN(every_flipped_bit_is_refused);
        RUN(a_large_forgery_is_wiped);
        RUN(another_iv_or_aad_length_is_refused);
        RUN(other_key_sizes_are_refused);
    }
    CHECK(fs_aesgcm_best() == best);
    printf("best: %s\n", best != NULL ? best->name : "none of ours; libcrypto's AES-GCM stays in use");
    return 0;
}
