#include "modexp.h"

#include <openssl/bn.h>

int fs_modexp(const uint8_t *base, size_t base_len, const uint8_t *exponent, size_t exponent_len,
              const uint8_t *modulus, size_t modulus_len, uint8_t *result)
{
    if (base_len > FS_MODEXP_MAX || exponent_len > FS_MODEXP_MAX || modulus_len > FS_MODEXP_MAX)
        return FS_E_ARGUMENT;
    int status = FS_E_NO_MEMORY;
    BN_CTX *context = BN_CTX_new();
    BIGNUM *b = BN_bin2bn(base, (int)base_len, NULL), *e = BN_bin2bn(exponent, (int)exponent_len, NULL);
    BIGNUM *m = BN_bin2bn(modulus, (int)modulus_len, NULL), *r = BN_new();
    if (context == NULL || b == NULL || e == NULL || m == NULL || r == NULL)
        goto done;
    status = FS_E_ARGUMENT;
    if (!BN_is_odd(m) || BN_is_one(m) || BN_ucmp(b, m) >= 0)
        goto done;
    status = FS_E_CRYPTO;
    BN_set_flags(e, BN_FLG_CONSTTIME);
    if (BN_mod_exp_mont_consttime(r, b, e, m, context, NULL) == 1 &&
        BN_bn2binpad(r, result, (int)modulus_len) == (int)modulus_len)
        status = FS_OK;
done:
    BN_clear_free(b);
    BN_clear_free(e);
    BN_clear_free(m);
    BN_clear_free(r);
    BN_CTX_free(context);
    return status;
}
