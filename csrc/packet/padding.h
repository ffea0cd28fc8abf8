/* Random padding (RFC 4253 section 6), drawn in bulk. Internal to csrc/packet. */
#ifndef FS_PACKET_PADDING_H
#define FS_PACKET_PADDING_H

#include <stddef.h>
#include <stdint.h>

enum { FS_PADDING_MIN = 4, FS_PADDING_POOL = 4096 };

typedef struct fs_padding {
    size_t left; /* bytes of pool not used yet: the last ones */
    uint8_t pool[FS_PADDING_POOL];
} fs_padding;

/* Padding for `unpadded` bytes so that blocks are full: least to block + least - 1 bytes. block is a power of two. */
static inline uint32_t fs_padding_len(uint32_t unpadded, uint32_t block, uint32_t least)
{
    return least + ((0u - (unpadded + least)) & (block - 1));
}

/* Puts len <= 255 random bytes. FS_OK or FS_E_CRYPTO. */
int fs_padding_put(fs_padding *padding, uint8_t *out, size_t len);

#endif
