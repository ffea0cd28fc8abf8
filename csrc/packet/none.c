/* No protection: the packets before the first NEWKEYS (RFC 4253 section 6). */
#include "suite.h"

static int none_init(void *state, const fs_packet_keys *keys, int sealing)
{
    (void)state, (void)keys, (void)sealing;
    return FS_OK;
}

static void none_clear(void *state)
{
    (void)state;
}

static int none_pass(void *state, uint32_t sequence, uint8_t *start, uint32_t length)
{
    (void)state, (void)sequence, (void)start, (void)length;
    return FS_OK;
}

int fs_suite_peek_clear(void *state, uint32_t sequence, const uint8_t *start, uint32_t *length)
{
    (void)state, (void)sequence;
    *length = fs_get_u32(start);
    return FS_OK;
}

const fs_suite fs_suite_none = {
    .length_clear = 0,
    .peek_len = 4,
    .init = none_init,
    .clear = none_clear,
    .seal = none_pass,
    .peek = fs_suite_peek_clear,
    .open = none_pass,
};
