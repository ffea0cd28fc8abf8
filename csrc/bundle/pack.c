/* A directory as bundles. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bundle.h"
#include "bundle_stat.h"
#include "fs_bytes.h"
#include "fs_status.h"

/* A FIFO without a writer must not stop us, a terminal not become ours, and a link is not followed. */
enum { OPEN_FLAGS = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC };

int fs_packer_open(fs_packer *packer, int directory)
{
    packer->held[0] = 0;
    packer->stream = fdopendir(directory);
    return packer->stream != NULL ? FS_OK : FS_E_SYSTEM;
}

void fs_packer_close(fs_packer *packer)
{
    if (packer->stream != NULL)
        closedir(packer->stream);
    packer->stream = NULL;
}

static size_t put_head(uint8_t *out, int kind, const char *name, size_t name_len, const struct stat *st)
{
    uint8_t *p = out;
    *p++ = (uint8_t)kind;
    fs_put_u32(p, (uint32_t)name_len);
    memcpy(p + 4, name, name_len);
    p += 4 + name_len;
    fs_put_u32(p, FS_ATTRIBUTES_ALL);
    fs_put_u64(p + 4, st->st_size < 0 ? 0 : (uint64_t)st->st_size);
    fs_put_u32(p + 12, (uint32_t)st->st_uid);
    fs_put_u32(p + 16, (uint32_t)st->st_gid);
    fs_put_u32(p + 20, (uint32_t)st->st_mode);
    fs_put_u32(p + 24, fs_wire_time(st->st_atime));
    fs_put_u32(p + 28, fs_wire_time(st->st_mtime));
    return (size_t)(p - out) + FS_ENTRY_ATTRIBUTES;
}

/* Exactly `size` bytes, and no more there are. A read of a regular file is short only at its end. */
static int read_whole(int fd, uint8_t *out, size_t size)
{
    ssize_t got;
    do
        got = read(fd, out, size + 1);
    while (got < 0 && errno == EINTR);
    return got == (ssize_t)size;
}

/* Bytes of the whole entry; 0 when it is to be named only, or does not fit `room` but would fit `most`: *later is 1
 * then. */
static size_t put_whole(int directory, const char *name, size_t name_len, uint8_t *out, size_t room, size_t most,
                        int *later)
{
    const size_t head = 1 + 4 + name_len + FS_ENTRY_ATTRIBUTES + 4;
    struct stat before, after;
    size_t len = 0;
    const int fd = openat(directory, name, OPEN_FLAGS);
    if (fd < 0)
        return 0;
    /* One byte more than there should be, to see the end. */
    if (fstat(fd, &before) == 0 && S_ISREG(before.st_mode) && before.st_size >= 0 &&
        (uint64_t)before.st_size < most - head) {
        const size_t size = (size_t)before.st_size;
        if (size >= room - head)
            *later = 1;
        else if (read_whole(fd, out + head, size) && fstat(fd, &after) == 0 && after.st_size == before.st_size &&
                 fs_same_mtime(&before, &after)) {
            len = put_head(out, FS_ENTRY_WHOLE, name, name_len, &before);
            fs_put_u32(out + len, (uint32_t)size);
            len += 4 + size;
        }
    }
    close(fd);
    return len;
}

/* Bytes of the entry; 0 for one that is gone by now. *later: it has to wait for the next bundle. */
static size_t put_entry(int directory, const char *name, int regular, uint8_t *out, size_t room, size_t most,
                        int *later)
{
    const size_t name_len = strlen(name);
    struct stat st;
    if (room < FS_ENTRY_OVERHEAD + 1) {
        *later = 1;
        return 0;
    }
    if (regular) {
        const size_t len = put_whole(directory, name, name_len, out, room, most, later);
        if (len > 0 || *later)
            return len;
    }
    if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT)
            return 0;
        memset(&st, 0, sizeof st); /* it is there: whoever asks for it by itself is told what is wrong */
    }
    const size_t len = put_head(out, FS_ENTRY_NAMED, name, name_len, &st);
    fs_put_u32(out + len, 0);
    return len + 4;
}

static int is_itself_or_parent(const char *name)
{
    return name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0));
}

int fs_packer_next(fs_packer *packer, uint8_t *out, size_t room, size_t *len)
{
    const int directory = dirfd(packer->stream);
    int later = 0;

    *len = 0;
    if (room < FS_ENTRY_OVERHEAD + 1)
        return FS_E_ARGUMENT;
    if (packer->held[0] != 0) {
        *len = put_entry(directory, packer->held, packer->held_regular, out, room, room, &later);
        packer->held[0] = 0;
    }
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(packer->stream);
        if (entry == NULL)
            return errno == 0 ? FS_OK : FS_E_SYSTEM;
        const size_t name_len = strlen(entry->d_name);
        if (is_itself_or_parent(entry->d_name))
            continue;
        if (name_len > FS_NAME_MAX) { /* not on Linux; never left out in silence */
            errno = ENAMETOOLONG;
            return FS_E_SYSTEM;
        }
        const int regular = entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN;
        *len += put_entry(directory, entry->d_name, regular, out + *len, room - *len, room, &later);
        if (later) {
            memcpy(packer->held, entry->d_name, name_len + 1);
            packer->held_regular = regular;
            return FS_OK;
        }
    }
}
