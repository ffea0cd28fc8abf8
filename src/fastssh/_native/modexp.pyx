# cython: language_level=3, auto_pickle=False
"""See modexp.pyi."""

from libc.stdint cimport uint8_t

from fastssh._native.status cimport raise_status

cdef extern from "openssl/crypto.h":
    void OPENSSL_cleanse(void *start, size_t length)

cdef extern from "modexp.h":
    int FS_MODEXP_MAX
    int fs_modexp(const uint8_t *base, size_t base_len, const uint8_t *exponent, size_t exponent_len,
                  const uint8_t *modulus, size_t modulus_len, uint8_t *result) nogil


def power(object base, object exponent, object modulus):
    cdef uint8_t result[1024]
    cdef int status
    if base < 0 or exponent < 0 or modulus < 3 or modulus.bit_length() > 8 * FS_MODEXP_MAX:
        raise ValueError("numbers out of range")
    cdef size_t length = (modulus.bit_length() + 7) // 8
    cdef bytes b = to_bytes(base), e = to_bytes(exponent), m = to_bytes(modulus)
    cdef const uint8_t *b_at = b
    cdef const uint8_t *e_at = e
    cdef const uint8_t *m_at = m
    cdef size_t b_len = len(b), e_len = len(e), m_len = len(m)
    with nogil:
        status = fs_modexp(b_at, b_len, e_at, e_len, m_at, m_len, result)
    raise_status(status)
    value = int.from_bytes(result[:length], "big")
    OPENSSL_cleanse(result, sizeof(result))
    return value


cdef bytes to_bytes(object number):
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
