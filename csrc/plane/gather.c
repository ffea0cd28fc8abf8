/* Bytes for files, written where they were decrypted: as many as possible with one pwritev. */
#include <errno.h>

#include "sftp.h"

void fs_gather_prepare(fs_plane *p, fs_transfer *t, fs_channel *c, int fd, uint64_t offset)
{
    fs_gather *g = &p->gather;
    if (g->count > 0 &&
        (g->transfer != t || g->channel != c || g->fd != fd || g->count == FS_GATHER || g->offset + g->bytes != offset))
        fs_gather_flush(p);
    if (g->count == 0) {
        g->transfer = t;
        g->channel = c;
        g->fd = fd;
        g->offset = offset;
        g->bytes = 0;
    }
}

void fs_gather_add(fs_gather *g, uint8_t *data, uint32_t len)
{
    g->iov[g->count++] = (struct iovec){data, len};
    g->bytes += len;
}

void fs_gather_skip(fs_gather *g, size_t bytes)
{
    g->offset += bytes;
    for (; g->first < g->count && bytes >= g->iov[g->first].iov_len; g->first++)
        bytes -= g->iov[g->first].iov_len;
    if (g->first < g->count) {
        struct iovec *cut = &g->iov[g->first];
        *cut = (struct iovec){(uint8_t *)cut->iov_base + bytes, cut->iov_len - bytes};
    }
}

ssize_t fs_gather_write(fs_gather *g)
{
    ssize_t n;
    do
        n = pwritev(g->fd, g->iov + g->first, g->count - g->first, (off_t)g->offset);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n < 0 ? -errno : -ENOSPC;
    fs_gather_skip(g, (size_t)n);
    return n;
}

void fs_gather_flush(fs_plane *p)
{
    fs_gather *g = &p->gather;
    if (g->count > 0 && g->transfer != NULL)
        fs_get_flush(g);
    else if (g->count > 0 && g->channel->relay != NULL)
        fs_relay_flush(p, g);
    else if (g->count > 0)
        fs_serve_flush(p, g);
    g->transfer = NULL;
    g->channel = NULL;
    g->first = g->count = 0;
}
