/* One block at a time: loads and stores of any length, AES key expansion and single encryption (FIPS 197), GHASH
 * multiplication. Included by each kernel once INLINE carries its target attribute.
 *
 * GHASH (NIST SP 800-38D, 6.3) numbers bits from the left. A block with its bytes reversed is the bit-reflected
 * polynomial as an integer, and a carry-less product of two such is the reflected product short of one factor x.
 * So powers of H are kept multiplied by x once, at initialisation, and no product needs a shift. */
#include <string.h>

INLINE __m128i x_load(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)(const void *)p); }
INLINE void x_store(uint8_t *p, __m128i v) { _mm_storeu_si128((__m128i *)(void *)p, v); }
INLINE __m128i x_reverse(void) { return _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
INLINE __m128i x_reversed(__m128i v) { return _mm_shuffle_epi8(v, x_reverse()); }
INLINE __m128i x_xor(__m128i a, __m128i b) { return _mm_xor_si128(a, b); }

/* The reflected reduction polynomial x^128 + x^127 + x^126 + x^121 + 1, without its first and last term, over x^64. */
#define GHASH_POLYNOMIAL ((long long)0xc200000000000000ULL)

INLINE uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE uint32_t load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* 0 < n < 16. Overlapping loads, joined in registers: no buffer to wipe, nothing outside p[0..n) is read. */
INLINE __m128i x_load_part(const uint8_t *p, size_t n)
{
    uint64_t low, high = 0;
    if (n >= 8) {
        low = load64(p);
        if (n > 8)
            high = load64(p + n - 8) >> (8 * (16 - n));
    } else if (n >= 4) {
        low = load32(p) | (uint64_t)load32(p + n - 4) << (8 * (n - 4));
    } else {
        low = p[0] | (uint64_t)p[n / 2] << (8 * (n / 2)) | (uint64_t)p[n - 1] << (8 * (n - 1));
    }
    return _mm_set_epi64x((long long)high, (long long)low);
}

/* 0 < n < 16. */
INLINE void x_store_part(uint8_t *p, __m128i v, size_t n)
{
    uint64_t part = (uint64_t)_mm_cvtsi128_si64(v);
    if (n & 8) {
        memcpy(p, &part, 8);
        p += 8;
        part = (uint64_t)_mm_extract_epi64(v, 1);
    }
    if (n & 4) {
        memcpy(p, &part, 4);
        p += 4;
        part >>= 32;
    }
    if (n & 2) {
        memcpy(p, &part, 2);
        p += 2;
        part >>= 16;
    }
    if (n & 1)
        *p = (uint8_t)part;
}

/* FIPS 197, 5.2: fills rounds + 1 keys of 16 bytes. key_len is 16 or 32. Constant time: the S-box is the CPU's. */
INLINE void aes_expand(uint8_t *round_keys, const uint8_t *secret, size_t key_len, unsigned rounds)
{
    int rcon = 1;
    __m128i older = x_load(secret), newer = x_load(secret + key_len - 16);
    x_store(round_keys, older);
    if (key_len == 32)
        x_store(round_keys + 16, newer);
    for (unsigned i = (unsigned)key_len / 16; i <= rounds; i++) {
        /* Its dword 2 is SubWord, dword 3 RotWord(SubWord), of the newest word. Rcon only goes with the rotation. */
        __m128i word = _mm_aeskeygenassist_si128(newer, 0);
        if (key_len == 32 && i % 2 != 0) {
            word = _mm_shuffle_epi32(word, 0xaa);
        } else {
            word = x_xor(_mm_shuffle_epi32(word, 0xff), _mm_set1_epi32(rcon));
            rcon = rcon == 0x80 ? 0x1b : rcon << 1; /* doubled in GF(2^8) */
        }
        __m128i next = x_xor(older, _mm_slli_si128(older, 4));
        next = x_xor(next, _mm_slli_si128(next, 8));
        next = x_xor(next, word);
        x_store(round_keys + (size_t)16 * i, next);
        older = key_len == 32 ? newer : next;
        newer = next;
    }
}

INLINE __m128i aes_block(const uint8_t *round_keys, unsigned rounds, __m128i block)
{
    block = x_xor(block, x_load(round_keys));
    for (unsigned i = 1; i < rounds; i++)
        block = _mm_aesenc_si128(block, x_load(round_keys + (size_t)16 * i));
    return _mm_aesenclast_si128(block, x_load(round_keys + (size_t)16 * rounds));
}

/* The 256-bit sum low + middle x^64 + high x^128 modulo the polynomial: each step cancels the lowest 64 bits. */
INLINE __m128i ghash_reduce(__m128i low, __m128i middle, __m128i high)
{
    __m128i polynomial = _mm_set1_epi64x(GHASH_POLYNOMIAL);
    middle = x_xor(middle, x_xor(_mm_shuffle_epi32(low, 0x4e), _mm_clmulepi64_si128(low, polynomial, 0x00)));
    return x_xor(high, x_xor(_mm_shuffle_epi32(middle, 0x4e), _mm_clmulepi64_si128(middle, polynomial, 0x00)));
}

typedef struct ghash_block_sum {
    __m128i low, middle, high;
} ghash_block_sum;

/* sum += block * power, not reduced. */
INLINE void ghash_block_add(ghash_block_sum *sum, __m128i block, __m128i power)
{
    sum->low = x_xor(sum->low, _mm_clmulepi64_si128(block, power, 0x00));
    sum->middle = x_xor(sum->middle, x_xor(_mm_clmulepi64_si128(block, power, 0x01),
                                           _mm_clmulepi64_si128(block, power, 0x10)));
    sum->high = x_xor(sum->high, _mm_clmulepi64_si128(block, power, 0x11));
}

INLINE __m128i ghash_multiply(__m128i block, __m128i power)
{
    ghash_block_sum sum = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};
    ghash_block_add(&sum, block, power);
    return ghash_reduce(sum.low, sum.middle, sum.high);
}

/* The hash subkey, byte-reversed, times x: a shift left with the carry out folded back. */
INLINE __m128i ghash_times_x(__m128i h)
{
    __m128i carry = _mm_srli_epi64(h, 63); /* of each half */
    __m128i shifted = _mm_or_si128(_mm_slli_epi64(h, 1), _mm_slli_si128(carry, 8));
    __m128i overflow = _mm_shuffle_epi32(_mm_srai_epi32(h, 31), 0xff); /* all ones if bit 127 was set */
    return x_xor(shifted, _mm_and_si128(overflow, _mm_set_epi64x(GHASH_POLYNOMIAL, 1)));
}

/* y after the blocks of data, the last one padded with zeros. */
INLINE __m128i ghash_absorb(__m128i y, __m128i power1, const uint8_t *data, size_t len)
{
    for (; len >= 16; data += 16, len -= 16)
        y = ghash_multiply(x_xor(y, x_reversed(x_load(data))), power1);
    if (len > 0)
        y = ghash_multiply(x_xor(y, x_reversed(x_load_part(data, len))), power1);
    return y;
}
