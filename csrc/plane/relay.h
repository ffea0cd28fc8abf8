/* The descriptor relay of a channel: what its sources give is sent, what arrives is written to its sinks. */
#ifndef FS_PLANE_RELAY_H
#define FS_PLANE_RELAY_H

#include "internal.h"

/* A queue of bytes whose capacity is a power of two, or 0. */
typedef struct fs_ring {
    uint8_t *data;
    size_t capacity, head, len;
    uint32_t idle; /* turns that it was empty */
} fs_ring;

void fs_ring_free(fs_ring *r);
/* FS_E_QUEUE when more than limit would be held. */
int fs_ring_put(fs_ring *r, const uint8_t *data, size_t len, size_t limit);
void fs_ring_drop(fs_ring *r, size_t count);                /* at most as many as it holds */
int fs_ring_spans(const fs_ring *r, struct iovec spans[2]); /* returns how many of the two hold bytes */

/* Ends by number: sources of stream 0 and 1, then sinks of stream 0 and 1. The bit of each: FS_RELAY_. */
enum { FS_FIRST_SINK = FS_RELAY_STREAMS };

struct fs_relay {
    int fds[FS_RELAY_ENDS];
    uint8_t waits;    /* ends whose descriptor was not ready: it is asked again when the caller says that it is */
    uint8_t told;     /* ... as the caller knows it */
    uint8_t sockets;  /* ends that are sockets */
    uint8_t gathered; /* the stream whose bytes the plane's gather holds, if it is this channel's */
    uint8_t first;    /* the source that is read first the next time: the two share the window */
    /* Arrived and not taken by the sink, so without credit: the channel's window bounds it. */
    fs_ring kept[FS_RELAY_STREAMS];
};

#endif
