/* fs_modexp: small numbers against repeated multiplication, a large modulus whose powers are known, what it refuses. */
#include <string.h>

#include "check.h"
#include "modexp.h"

static unsigned slow(unsigned base, unsigned exponent, unsigned modulus)
{
    unsigned long long r = 1 % modulus;
    while (exponent-- > 0)
        r = r * base % modulus;
    return (unsigned)r;
}

static void small_numbers_are_as_multiplied(void)
{
    for (unsigned m = 3; m < 64; m += 2)
        for (unsigned b = 0; b < m; b++)
            for (unsigned e = 0; e < 40; e++) {
                uint8_t base = (uint8_t)b, exponent = (uint8_t)e, modulus = (uint8_t)m, result = 0xff;
                CHECK(fs_modexp(&base, 1, &exponent, 1, &modulus, 1, &result) == FS_OK);
                CHECK(result == slow(b, e, m));
            }
}

/* 2^e mod p with p = 2^127 - 1, a Mersenne prime: 2^127 = 1, so that 2^(127 k + i) = 2^i. */
static void a_large_modulus_works(void)
{
    uint8_t modulus[16], base = 2, result[16], expected[16];
    memset(modulus, 0xff, sizeof modulus);
    modulus[0] = 0x7f;
    for (unsigned i = 0; i < 127; i++) {
        unsigned e = 127 * 300 + i;
        uint8_t exponent[4] = {0, (uint8_t)(e >> 16), (uint8_t)(e >> 8), (uint8_t)e};
        CHECK(fs_modexp(&base, 1, exponent, sizeof exponent, modulus, sizeof modulus, result) == FS_OK);
        memset(expected, 0, sizeof expected);
        expected[15 - i / 8] = (uint8_t)(1u << (i % 8));
        CHECK(memcmp(result, expected, sizeof result) == 0);
    }
}

static void other_numbers_are_refused(void)
{
    static uint8_t longest[FS_MODEXP_MAX + 1], result[FS_MODEXP_MAX + 1];
    uint8_t two = 2, three = 3, four = 4, one = 1;
    memset(longest, 0xff, sizeof longest);
    CHECK(fs_modexp(&two, 1, &three, 1, &four, 1, result) == FS_E_ARGUMENT);  /* even */
    CHECK(fs_modexp(&one, 0, &three, 1, &one, 1, result) == FS_E_ARGUMENT);   /* 1 */
    CHECK(fs_modexp(&three, 1, &two, 1, &three, 1, result) == FS_E_ARGUMENT); /* base = modulus */
    CHECK(fs_modexp(&two, 1, &three, 1, longest, sizeof longest, result) == FS_E_ARGUMENT);
    CHECK(fs_modexp(&two, 1, longest, sizeof longest, &three, 1, result) == FS_E_ARGUMENT);
    CHECK(fs_modexp(&two, 1, longest, FS_MODEXP_MAX, longest, FS_MODEXP_MAX, result) == FS_OK);
}

int main(void)
{
    RUN(small_numbers_are_as_multiplied);
    RUN(a_large_modulus_works);
    RUN(other_numbers_are_refused);
    return 0;
}
