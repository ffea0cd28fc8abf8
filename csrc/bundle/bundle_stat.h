/* What the two directions share. */
#ifndef FS_BUNDLE_STAT_H
#define FS_BUNDLE_STAT_H

#include <stdint.h>
#include <sys/stat.h>

enum { FS_ATTRIBUTES_ALL = 0xf }; /* SSH_FILEXFER_ATTR_SIZE, _UIDGID, _PERMISSIONS, _ACMODTIME */

#ifdef __APPLE__
#define FS_MTIM st_mtimespec
#else
#define FS_MTIM st_mtim
#endif

/* SFTP has 32 bits for seconds since 1970, without a sign. */
static inline uint32_t fs_wire_time(time_t seconds)
{
    if (seconds < 0)
        return 0;
    return (uint64_t)seconds > UINT32_MAX ? UINT32_MAX : (uint32_t)seconds;
}

static inline int fs_same_mtime(const struct stat *a, const struct stat *b)
{
    return a->FS_MTIM.tv_sec == b->FS_MTIM.tv_sec && a->FS_MTIM.tv_nsec == b->FS_MTIM.tv_nsec;
}

#endif
