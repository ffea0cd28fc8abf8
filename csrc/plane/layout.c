/* Messages with file bytes, laid out over the packets that carry them: the file is read into its place. */
#include <string.h>

#include "internal.h"

void fs_layout_of(const fs_plane *p, const fs_channel *c, int extended, fs_layout *l)
{
    *l = (fs_layout){.width = c->remote_max_packet, .header = extended ? FS_EXTENDED_HEADER : FS_DATA_HEADER};
    l->stride = fs_out_slot_size(p, l->header + l->width);
}

static size_t stream_of(const fs_layout *l, size_t bytes)
{
    size_t packets = bytes / l->stride;
    return (packets < FS_BATCH ? packets : FS_BATCH) * l->width;
}

size_t fs_layout_room(const fs_plane *p, const fs_layout *l)
{
    return stream_of(l, fs_out_room(p));
}

size_t fs_layout_most(const fs_plane *p, const fs_layout *l)
{
    return stream_of(l, p->out_target);
}

int fs_layout_begin(fs_plane *p, fs_layout *l, size_t stream)
{
    size_t packets = (stream + l->width - 1) / l->width;
    return fs_out_reserve(p, packets * l->stride, &l->base);
}

static uint8_t *place(const fs_layout *l, size_t at, size_t *contiguous)
{
    size_t packet = at / l->width, offset = at % l->width;
    *contiguous = l->width - offset;
    return l->base + packet * l->stride + FS_PACKET_HEADER + l->header + offset;
}

void fs_layout_put(fs_layout *l, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        size_t n;
        uint8_t *at = place(l, l->length, &n);
        if (n > len)
            n = len;
        memcpy(at, bytes, n);
        bytes += n;
        len -= n;
        l->length += n;
    }
}

/* Appends the segments that len file bytes take; returns how many. */
int fs_layout_gap(fs_layout *l, size_t len, struct iovec *iov)
{
    int count = 0;
    while (len > 0) {
        size_t n;
        uint8_t *at = place(l, l->length, &n);
        if (n > len)
            n = len;
        iov[count++] = (struct iovec){at, n};
        len -= n;
        l->length += n;
    }
    return count;
}

int fs_layout_seal(fs_plane *p, fs_channel *c, const fs_layout *l)
{
    fs_packet sealed[FS_BATCH];
    size_t packets = (l->length + l->width - 1) / l->width;
    for (size_t i = 0; i < packets; i++) {
        size_t bytes = i + 1 < packets ? l->width : l->length - i * l->width;
        uint8_t *payload = l->base + i * l->stride + FS_PACKET_HEADER;
        fs_channel_put_header(payload, c, l->header, (uint32_t)bytes);
        sealed[i] = (fs_packet){.start = payload - FS_PACKET_HEADER, .payload_len = l->header + bytes};
    }
    c->remote_window -= (uint32_t)l->length;
    return fs_out_seal(p, sealed, packets);
}
