#include "padding.h"

#include <string.h>

#include <openssl/rand.h>

#include "fs_status.h"

int fs_padding_put(fs_padding *padding, uint8_t *out, size_t len)
{
    if (padding->left < len) {
        if (RAND_bytes(padding->pool, FS_PADDING_POOL) != 1)
            return FS_E_CRYPTO;
        padding->left = FS_PADDING_POOL;
    }
    memcpy(out, padding->pool + FS_PADDING_POOL - padding->left, len);
    padding->left -= len;
    return FS_OK;
}
