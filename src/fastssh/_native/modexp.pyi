"""Powers modulo an odd number, in time that does not depend on the exponent (csrc/crypto/modexp.h)."""

def power(base: int, exponent: int, modulus: int) -> int:
    """``base ** exponent % modulus`` for a modulus that is odd, above 2 and at most 8192 bits long, and 0 <= base <
    modulus; the exponent is not negative and at most 8192 bits long. Raises ValueError for other numbers."""
