/* Powers modulo an odd number, in time that does not depend on the exponent: classic Diffie-Hellman (RFC 4253 section 8). */
#ifndef FS_MODEXP_H
#define FS_MODEXP_H

#include <stddef.h>
#include <stdint.h>

#include "fs_status.h"

#define FS_MODEXP_MAX 1024 /* bytes of a number: 8192 bits, the largest group of RFC 4419 */

/* result = base^exponent mod modulus; all numbers big endian, the result with leading zeros to modulus_len bytes.
 * FS_E_ARGUMENT for a number that is longer than FS_MODEXP_MAX, a modulus that is even or below 3, or base >= modulus. */
int fs_modexp(const uint8_t *base, size_t base_len, const uint8_t *exponent, size_t exponent_len,
              const uint8_t *modulus, size_t modulus_len, uint8_t *result);

#endif
