/* What the control plane has to decide about, in wire order: records in one buffer, read by Python a batch at a time.
 */
#include <string.h>

#include "internal.h"

typedef struct fs_event_record {
    uint32_t kind, a, b, length;
} fs_event_record;

static size_t record_size(size_t length)
{
    return sizeof(fs_event_record) + ((length + 7) & ~(size_t)7);
}

int fs_push_event(fs_plane *p, uint32_t kind, uint32_t a, uint32_t b, const uint8_t *bytes, size_t len)
{
    if (len > FS_EVENTS_HARD_LIMIT)
        return FS_E_QUEUE;
    size_t size = record_size(len);
    int status = fs_buffer_reserve(&p->events, size, FS_EVENTS_HARD_LIMIT);
    if (status != FS_OK)
        return status;
    fs_event_record record = {kind, a, b, (uint32_t)len};
    uint8_t *at = p->events.data + p->events.tail;
    memcpy(at, &record, sizeof record);
    if (len)
        memcpy(at + sizeof record, bytes, len);
    p->events.tail += size;
    return FS_OK;
}

int fs_plane_has_events(const fs_plane *p)
{
    return fs_buffer_len(&p->events) > 0;
}

int fs_plane_event(const fs_plane *p, size_t *cursor, fs_event *event)
{
    fs_event_record record;
    if (*cursor >= fs_buffer_len(&p->events))
        return 0;
    const uint8_t *at = p->events.data + p->events.head + *cursor;
    memcpy(&record, at, sizeof record);
    *event = (fs_event){record.kind, record.a, record.b, record.length, at + sizeof record};
    *cursor += record_size(record.length);
    return 1;
}

void fs_plane_clear_events(fs_plane *p)
{
    p->events.head = p->events.tail = 0;
    p->paused = 0;
}
