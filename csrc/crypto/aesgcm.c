/* Which AES-GCM kernels exist and which of them this CPU and operating system can run. */
#include "aesgcm.h"

#include "aesgcm_x86.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

/* Intel SDM volume 2, CPUID; AMD64 APM volume 3, appendix E: the same bits. */
#define LEAF1_ECX_KERNEL (bit_PCLMUL | bit_SSSE3 | bit_SSE4_1 | bit_AES | bit_AVX)
#define LEAF7_ECX_KERNEL (bit_VAES | bit_VPCLMULQDQ)
#define LEAF7_EBX_AVX512 (bit_AVX512F | bit_AVX512BW | bit_AVX512VL)

#define XCR0_YMM 0x06u /* XMM and YMM halves */
#define XCR0_ZMM 0xe6u /* these, opmask registers, upper halves of ZMM0-15, ZMM16-31 */

#define HAS_ALL(bits, wanted) (((bits) & (unsigned)(wanted)) == (unsigned)(wanted))

__attribute__((target("xsave"))) static unsigned saved_registers(void)
{
    return (unsigned)_xgetbv(0);
}

static int cpu_has(unsigned leaf7_ebx, unsigned xcr0)
{
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !HAS_ALL(ecx, LEAF1_ECX_KERNEL | bit_OSXSAVE))
        return 0; /* XGETBV itself needs OSXSAVE */
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
        return 0;
    return HAS_ALL(ecx, LEAF7_ECX_KERNEL) && HAS_ALL(ebx, leaf7_ebx) && HAS_ALL(saved_registers(), xcr0);
}

int fs_aesgcm_has_vaes_avx2(void)
{
    return cpu_has(bit_AVX2, XCR0_YMM);
}

int fs_aesgcm_has_vaes_avx512(void)
{
    return cpu_has(bit_AVX2 | LEAF7_EBX_AVX512, XCR0_ZMM);
}

const fs_aesgcm_impl *const fs_aesgcm_impls[] = {&fs_aesgcm_vaes_avx512, &fs_aesgcm_vaes_avx2, NULL};

#else

const fs_aesgcm_impl *const fs_aesgcm_impls[] = {NULL};

#endif

const fs_aesgcm_impl *fs_aesgcm_best(void)
{
    for (const fs_aesgcm_impl *const *impl = fs_aesgcm_impls; *impl != NULL; impl++)
        if ((*impl)->usable())
            return *impl;
    return NULL;
}
