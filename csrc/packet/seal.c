/* Sealing: lay packets out (RFC 4253 section 6), protect them, count them. */
#include "epoch.h"
#include "padding.h"

struct fs_sealer {
    fs_epoch epoch;
    fs_padding padding;
};

fs_sealer *fs_sealer_new(const fs_packet_keys *keys, int *status)
{
    return fs_epoch_new(sizeof(fs_sealer), keys, 1, status);
}

void fs_sealer_free(fs_sealer *s)
{
    fs_epoch_free(s ? &s->epoch : NULL);
}

fs_packet_counters *fs_sealer_counters(fs_sealer *s)
{
    return &s->epoch.counters;
}

int fs_sealer_rekey_due(const fs_sealer *s)
{
    return fs_epoch_rekey_due(&s->epoch);
}

/* Bytes of padding; payload_len is at most FS_PACKET_MAX_LENGTH. */
static uint32_t padding_for(const fs_epoch *epoch, size_t payload_len)
{
    const uint32_t outside = epoch->suite->length_clear ? 4 : 0;
    return fs_padding_len(FS_PACKET_HEADER - outside + (uint32_t)payload_len, epoch->block, epoch->least_padding);
}

/* packet_length for a payload; 0 when no such packet may be made. */
static uint32_t length_for(const fs_epoch *epoch, size_t payload_len)
{
    uint32_t length;
    if (payload_len < 1 || payload_len > FS_PACKET_MAX_LENGTH)
        return 0;
    length = 1 + (uint32_t)payload_len + padding_for(epoch, payload_len);
    return length <= FS_PACKET_MAX_LENGTH ? length : 0;
}

size_t fs_sealed_size(const fs_sealer *s, size_t payload_len)
{
    const uint32_t length = length_for(&s->epoch, payload_len);
    return length ? 4 + (size_t)length + s->epoch.tag_len : 0;
}

static int seal_packet(fs_sealer *s, fs_packet *packet)
{
    fs_epoch *epoch = &s->epoch;
    uint8_t *start = packet->start;
    const uint32_t length = length_for(epoch, packet->payload_len);
    const uint32_t padding = length - 1 - (uint32_t)packet->payload_len;
    int status;

    fs_put_u32(start, length);
    start[4] = (uint8_t)padding;
    status = fs_padding_put(&s->padding, start + FS_PACKET_HEADER + packet->payload_len, padding);
    if (status == FS_OK)
        status = epoch->suite->seal(epoch->state, epoch->counters.sequence, start, length);
    if (status != FS_OK)
        return status;
    packet->payload = start + FS_PACKET_HEADER;
    packet->total = 4 + (size_t)length + epoch->tag_len;
    fs_epoch_count(epoch, length);
    return FS_OK;
}

int fs_seal_batch(fs_sealer *s, fs_packet *packets, size_t count)
{
    if (s->epoch.status != FS_OK)
        return s->epoch.status;
    /* what the caller got wrong is refused before the key stream moves, so that the sealer stays usable */
    if (fs_epoch_room(&s->epoch, count) != FS_OK)
        return FS_E_SEQUENCE;
    for (size_t i = 0; i < count; i++)
        if (!length_for(&s->epoch, packets[i].payload_len))
            return FS_E_LENGTH;
    for (size_t i = 0; i < count; i++) {
        s->epoch.status = seal_packet(s, &packets[i]);
        if (s->epoch.status != FS_OK)
            return s->epoch.status;
    }
    return FS_OK;
}
