/* AES-GCM with VAES and VPCLMULQDQ on 512-bit registers: four blocks a vector, masked tails, three-way XOR. */
#include "aesgcm_x86.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define ISA "avx2,avx512f,avx512bw,avx512vl,aes,pclmul,vaes,vpclmulqdq"
#define KERNEL __attribute__((target(ISA)))
#define INLINE static inline __attribute__((always_inline, target(ISA)))

typedef __m512i vec;
#define LANES 4
#define EACH_VECTOR(X) X(0) X(1) X(2) X(3)

#include "aesgcm_xmm.h"

#define v_clmul(a, b, halves) _mm512_clmulepi64_epi128(a, b, halves)

INLINE vec v_zero(void) { return _mm512_setzero_si512(); }
INLINE vec v_load(const uint8_t *p) { return _mm512_loadu_si512(p); }
INLINE void v_store(uint8_t *p, vec v) { _mm512_storeu_si512(p, v); }
INLINE vec v_broadcast(__m128i block) { return _mm512_broadcast_i32x4(block); }
INLINE vec v_from_block(__m128i block) { return _mm512_zextsi128_si512(block); }
INLINE vec v_xor(vec a, vec b) { return _mm512_xor_si512(a, b); }
INLINE vec v_xor3(vec a, vec b, vec c) { return _mm512_ternarylogic_epi64(a, b, c, 0x96); }
INLINE vec v_add32(vec a, vec b) { return _mm512_add_epi32(a, b); }
INLINE vec v_shuffle8(vec v, vec order) { return _mm512_shuffle_epi8(v, order); }
INLINE vec v_swap64(vec v) { return _mm512_shuffle_epi32(v, 0x4e); }
INLINE vec v_low64(vec a, vec b) { return _mm512_unpacklo_epi64(a, b); }
INLINE vec v_high64(vec a, vec b) { return _mm512_unpackhi_epi64(a, b); }
INLINE vec v_aesenc(vec v, vec key) { return _mm512_aesenc_epi128(v, key); }
INLINE vec v_aesenclast(vec v, vec key) { return _mm512_aesenclast_epi128(v, key); }

INLINE void v_clear_registers(void)
{
#define CLEAR(n) "vpxorq %%xmm" #n ", %%xmm" #n ", %%xmm" #n "\n\t"
    _mm256_zeroall(); /* does not know the upper 16 */
    __asm__ volatile(CLEAR(16) CLEAR(17) CLEAR(18) CLEAR(19) CLEAR(20) CLEAR(21) CLEAR(22) CLEAR(23)
                     CLEAR(24) CLEAR(25) CLEAR(26) CLEAR(27) CLEAR(28) CLEAR(29) CLEAR(30) CLEAR(31) :::
                     "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23",
                     "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
#undef CLEAR
}

INLINE __m128i v_fold(vec v)
{
    __m256i half = _mm256_xor_si256(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
    return _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

/* Of a chunk's last vector: the third and fourth counters are 16 past the chunk's base. */
INLINE vec v_straddle(vec base, vec next)
{
    return _mm512_mask_mov_epi64(base, 0xf0, next);
}

/* 0 < n < 64. Bytes from n on are zero; masked-off bytes are not accessed (they raise no fault). */
INLINE vec v_load_part(const uint8_t *p, size_t n)
{
    return _mm512_maskz_loadu_epi8((__mmask64)(UINT64_MAX >> (64 - n)), p);
}

/* 0 < n < 64. Stores n bytes, nothing else; returns v with the bytes from n on made zero. */
INLINE vec v_store_part(uint8_t *p, vec v, size_t n)
{
    __mmask64 keep = (__mmask64)(UINT64_MAX >> (64 - n));
    _mm512_mask_storeu_epi8(p, keep, v);
    return _mm512_maskz_mov_epi8(keep, v);
}

#define IMPL fs_aesgcm_vaes_avx512
#define IMPL_NAME "vaes-avx512"
#define IMPL_USABLE fs_aesgcm_has_vaes_avx512
#include "aesgcm_vaes.h"

#endif
