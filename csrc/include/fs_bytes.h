/* Big-endian numbers in byte buffers (RFC 4251 section 5). Any alignment; compilers make one instruction of each. */
#ifndef FS_BYTES_H
#define FS_BYTES_H

#include <stdint.h>

static inline uint32_t fs_get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

static inline uint64_t fs_get_u64(const uint8_t *p)
{
    return (uint64_t)fs_get_u32(p) << 32 | fs_get_u32(p + 4);
}

static inline void fs_put_u32(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 24);
    p[1] = (uint8_t)(value >> 16);
    p[2] = (uint8_t)(value >> 8);
    p[3] = (uint8_t)value;
}

static inline void fs_put_u64(uint8_t *p, uint64_t value)
{
    fs_put_u32(p, (uint32_t)(value >> 32));
    fs_put_u32(p + 4, (uint32_t)value);
}

#endif
