/* Bundles as files. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bundle.h"
#include "bundle_stat.h"
#include "fs_bytes.h"
#include "fs_status.h"

enum { OPEN_FLAGS = O_WRONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC };

/* A string at *offset; bounds are checked against what remains, before anything is added. */
static int get_string(const uint8_t *bundle, size_t len, size_t *offset, const uint8_t **string, uint32_t *string_len)
{
    if (len - *offset < 4)
        return FS_E_MALFORMED;
    *string_len = fs_get_u32(bundle + *offset);
    if (*string_len > len - *offset - 4)
        return FS_E_MALFORMED;
    *string = bundle + *offset + 4;
    *offset += 4 + (size_t)*string_len;
    return FS_OK;
}

int fs_entry_next(const uint8_t *bundle, size_t len, size_t *offset, fs_entry *entry)
{
    if (*offset >= len)
        return FS_AGAIN;
    entry->kind = bundle[(*offset)++];
    if (entry->kind != FS_ENTRY_NAMED && entry->kind != FS_ENTRY_WHOLE)
        return FS_E_MALFORMED;
    if (get_string(bundle, len, offset, &entry->name, &entry->name_len) != FS_OK)
        return FS_E_MALFORMED;
    if (entry->name_len == 0 || entry->name_len > FS_NAME_MAX || len - *offset < FS_ENTRY_ATTRIBUTES)
        return FS_E_MALFORMED;
    const uint8_t *attributes = entry->attributes = bundle + *offset;
    *offset += FS_ENTRY_ATTRIBUTES;
    if (fs_get_u32(attributes) != FS_ATTRIBUTES_ALL)
        return FS_E_MALFORMED;
    entry->size = fs_get_u64(attributes + 4);
    entry->mode = fs_get_u32(attributes + 20);
    entry->atime = fs_get_u32(attributes + 24);
    entry->mtime = fs_get_u32(attributes + 28);
    if (get_string(bundle, len, offset, &entry->content, &entry->content_len) != FS_OK)
        return FS_E_MALFORMED;
    if (entry->kind == FS_ENTRY_WHOLE ? entry->size != entry->content_len : entry->content_len != 0)
        return FS_E_MALFORMED;
    return FS_OK;
}

/* The name as the system takes it; 0 for one that leads anywhere else (CVE-2019-6111). */
static int safe_name(const fs_entry *entry, char name[FS_NAME_MAX + 1])
{
    if (memchr(entry->name, '/', entry->name_len) != NULL || memchr(entry->name, 0, entry->name_len) != NULL)
        return 0;
    memcpy(name, entry->name, entry->name_len);
    name[entry->name_len] = 0;
    return strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* Opens what is there already, and empties it. -1 with errno. */
static int open_existing(const fs_entry *entry, int directory, const char *name)
{
    struct stat st;
    const int fd = openat(directory, name, OPEN_FLAGS);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) == 0) {
        /* Of the same size and time, it may be the very file that is copied: emptied, nothing were left of it. */
        const int may_be_source =
            (uint64_t)st.st_size == entry->size && st.st_size > 0 && fs_wire_time(st.st_mtime) == entry->mtime;
        if (!S_ISREG(st.st_mode) || may_be_source)
            errno = EEXIST;
        else if (ftruncate(fd, 0) == 0)
            return fd;
    }
    const int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int write_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        const ssize_t done = write(fd, data, len);
        if (done < 0 && errno != EINTR)
            return -1;
        if (done > 0) {
            data += done;
            len -= (size_t)done;
        }
    }
    return 0;
}

static int set_attributes(int fd, const fs_entry *entry, unsigned options)
{
    const mode_t bits = options & FS_UNPACK_SET_ID ? 07777 : 0777;
    const struct timespec times[2] = {{.tv_sec = entry->atime}, {.tv_sec = entry->mtime}};
    if (!(options & FS_UNPACK_PRESERVE))
        return 0;
    return fchmod(fd, (mode_t)entry->mode & bits) == 0 ? futimens(fd, times) : -1;
}

int fs_entry_write(const fs_entry *entry, int directory, unsigned options)
{
    char name[FS_NAME_MAX + 1];
    int error = 0;

    if (entry->kind != FS_ENTRY_WHOLE || !safe_name(entry, name))
        return EINVAL;
    int fd = openat(directory, name, OPEN_FLAGS | O_CREAT | O_EXCL, (mode_t)entry->mode & 0777);
    if (fd < 0 && errno == EEXIST)
        fd = open_existing(entry, directory, name);
    if (fd < 0)
        return errno;
    if (write_all(fd, entry->content, entry->content_len) != 0 || set_attributes(fd, entry, options) != 0) {
        error = errno;
        if (ftruncate(fd, 0) != 0) /* what is there must not pass for the whole */
            unlinkat(directory, name, 0);
    }
    if (close(fd) != 0 && error == 0)
        error = errno;
    return error;
}
