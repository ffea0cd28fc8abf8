/* AES-GCM with VAES and VPCLMULQDQ on 256-bit registers: two blocks a vector, for CPUs without AVX-512. */
#include "aesgcm_x86.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define ISA "avx2,aes,pclmul,vaes,vpclmulqdq"
#define KERNEL __attribute__((target(ISA)))
#define INLINE static inline __attribute__((always_inline, target(ISA)))

typedef __m256i vec;
#define LANES 2
#define EACH_VECTOR(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)

#include "aesgcm_xmm.h"

#define v_clmul(a, b, halves) _mm256_clmulepi64_epi128(a, b, halves)

INLINE vec v_zero(void) { return _mm256_setzero_si256(); }
INLINE vec v_load(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }
INLINE void v_store(uint8_t *p, vec v) { _mm256_storeu_si256((__m256i *)(void *)p, v); }
INLINE vec v_broadcast(__m128i block) { return _mm256_broadcastsi128_si256(block); }
INLINE vec v_from_block(__m128i block) { return _mm256_zextsi128_si256(block); }
INLINE vec v_xor(vec a, vec b) { return _mm256_xor_si256(a, b); }
INLINE vec v_xor3(vec a, vec b, vec c) { return v_xor(a, v_xor(b, c)); }
INLINE vec v_add32(vec a, vec b) { return _mm256_add_epi32(a, b); }
INLINE vec v_shuffle8(vec v, vec order) { return _mm256_shuffle_epi8(v, order); }
INLINE vec v_swap64(vec v) { return _mm256_shuffle_epi32(v, 0x4e); }
INLINE vec v_low64(vec a, vec b) { return _mm256_unpacklo_epi64(a, b); }
INLINE vec v_high64(vec a, vec b) { return _mm256_unpackhi_epi64(a, b); }
INLINE vec v_aesenc(vec v, vec key) { return _mm256_aesenc_epi128(v, key); }
INLINE vec v_aesenclast(vec v, vec key) { return _mm256_aesenclast_epi128(v, key); }

INLINE void v_clear_registers(void) { _mm256_zeroall(); }

INLINE __m128i v_fold(vec v)
{
    return _mm_xor_si128(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}

/* Of a chunk's last vector: the first counter is 16 past the chunk's base. */
INLINE vec v_straddle(vec base, vec next)
{
    (void)base;
    return next;
}

/* 0 < n < 32. Bytes from n on are zero; nothing outside p[0..n) is read. */
INLINE vec v_load_part(const uint8_t *p, size_t n)
{
    if (n < 16)
        return v_from_block(x_load_part(p, n));
    __m128i high = n > 16 ? x_load_part(p + 16, n - 16) : _mm_setzero_si128();
    return _mm256_inserti128_si256(v_from_block(x_load(p)), high, 1);
}

/* 0 < n < 32. Stores n bytes, nothing else; returns v with the bytes from n on made zero. */
INLINE vec v_store_part(uint8_t *p, vec v, size_t n)
{
    static const uint8_t keep[64] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    };
    __m128i low = _mm256_castsi256_si128(v);
    if (n < 16) {
        x_store_part(p, low, n);
    } else {
        x_store(p, low);
        if (n > 16)
            x_store_part(p + 16, _mm256_extracti128_si256(v, 1), n - 16);
    }
    return _mm256_and_si256(v, v_load(keep + 32 - n));
}

#define IMPL fs_aesgcm_vaes_avx2
#define IMPL_NAME "vaes-avx2"
#define IMPL_USABLE fs_aesgcm_has_vaes_avx2
#include "aesgcm_vaes.h"

#endif
