/* Bytes that wait for a descriptor: a ring, so that what is taken a little at a time is never moved for it. */
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "relay.h"

#define LEAST_RING 4096u

void fs_ring_free(fs_ring *r)
{
    if (r->data != NULL) {
        OPENSSL_cleanse(r->data, r->capacity);
        free(r->data);
    }
    *r = (fs_ring){0};
}

int fs_ring_spans(const fs_ring *r, struct iovec spans[2])
{
    if (r->len == 0)
        return 0;
    size_t first = r->capacity - r->head < r->len ? r->capacity - r->head : r->len;
    spans[0] = (struct iovec){r->data + r->head, first};
    spans[1] = (struct iovec){r->data, r->len - first};
    return first == r->len ? 1 : 2;
}

static int grow(fs_ring *r, size_t needed)
{
    struct iovec spans[2];
    size_t capacity = r->capacity ? r->capacity : LEAST_RING;
    while (capacity < needed)
        capacity *= 2;
    uint8_t *data = malloc(capacity);
    if (data == NULL)
        return FS_E_NO_MEMORY;
    size_t len = r->len, at = 0;
    int count = fs_ring_spans(r, spans);
    for (int i = 0; i < count; i++) {
        memcpy(data + at, spans[i].iov_base, spans[i].iov_len);
        at += spans[i].iov_len;
    }
    fs_ring_free(r);
    *r = (fs_ring){.data = data, .capacity = capacity, .len = len};
    return FS_OK;
}

int fs_ring_put(fs_ring *r, const uint8_t *data, size_t len, size_t limit)
{
    if (r->len > limit || len > limit - r->len)
        return FS_E_QUEUE;
    if (len > r->capacity - r->len) {
        int status = grow(r, r->len + len);
        if (status != FS_OK)
            return status;
    }
    if (len == 0)
        return FS_OK;
    size_t tail = (r->head + r->len) & (r->capacity - 1), first = r->capacity - tail;
    if (first > len)
        first = len;
    memcpy(r->data + tail, data, first);
    memcpy(r->data, data + first, len - first);
    r->len += len;
    return FS_OK;
}

void fs_ring_drop(fs_ring *r, size_t count)
{
    r->len -= count;
    r->head = r->len > 0 ? (r->head + count) & (r->capacity - 1) : 0;
}
