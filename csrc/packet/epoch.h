/* A key epoch in one direction: what sealer and opener share. Internal to csrc/packet. */
#ifndef FS_PACKET_EPOCH_H
#define FS_PACKET_EPOCH_H

#include "suite.h"

typedef struct fs_epoch {
    const fs_suite *suite;
    void *state;                           /* the suite's */
    uint8_t block, tag_len, least_padding; /* bytes; block a power of two, at least 8, or 1 where nothing is padded */
    int status; /* the first fault: after it the key stream's place is lost, so every later call returns it */
    size_t allocated;
    fs_packet_counters counters;
} fs_epoch;

/* One allocation: a zeroed object of object_size bytes that begins with its fs_epoch, and behind it the suite's state.
 * NULL with *status FS_E_ARGUMENT, FS_E_NO_MEMORY or FS_E_CRYPTO. */
void *fs_epoch_new(size_t object_size, const fs_packet_keys *keys, int sealing, int *status);
void fs_epoch_free(fs_epoch *epoch); /* the whole object, wiped; NULL is fine */

/* RFC 4344 section 3 and RFC 4253 section 9: bytes or packets reached their threshold. */
int fs_epoch_rekey_due(const fs_epoch *epoch);

/* FS_OK if `count` more packets may be protected; FS_E_SEQUENCE if a sequence number would come twice under one key. */
int fs_epoch_room(const fs_epoch *epoch, size_t count);

/* Counts a packet of `length` = packet_length. */
static inline void fs_epoch_count(fs_epoch *epoch, uint32_t length)
{
    epoch->counters.sequence++; /* modulo 2^32 (RFC 4253 section 6.4) */
    epoch->counters.packets++;
    epoch->counters.bytes += 4 + (uint64_t)length;
}

#endif
