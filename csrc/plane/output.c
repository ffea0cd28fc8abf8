/* The send buffer: packets are built where they are sent from. */
#include <string.h>

#include "internal.h"

/* What deflating may add to a payload (see compress.c). */
static size_t compression_slack(const fs_plane *p, size_t payload_len)
{
    return p->deflate == NULL ? 0 : payload_len / 1000 + 1024;
}

size_t fs_out_slot_size(const fs_plane *p, size_t payload_len)
{
    return fs_sealed_size(p->sealer, payload_len + compression_slack(p, payload_len));
}

int fs_out_reserve(fs_plane *p, size_t size, uint8_t **slot)
{
    int status = fs_buffer_reserve(&p->out, size, FS_OUT_LIMIT);
    if (status == FS_OK)
        *slot = p->out.data + p->out.tail;
    return status;
}

/* Deflates one payload and puts it at the tail: never past its own slot, which had room for the slack. */
static int compress_packet(fs_plane *p, fs_packet *packet)
{
    uint8_t *out;
    size_t len, most = packet->payload_len + compression_slack(p, packet->payload_len);
    int status = fs_zlib_run(p->deflate, packet->start + FS_PACKET_HEADER, packet->payload_len, &out, &len);
    if (status != FS_OK)
        return status;
    if (len > most)
        return FS_E_COMPRESSION;
    packet->start = p->out.data + p->out.tail;
    memcpy(packet->start + FS_PACKET_HEADER, out, len);
    packet->payload_len = len;
    return FS_OK;
}

int fs_out_seal(fs_plane *p, fs_packet *packets, size_t count)
{
    size_t group = p->deflate != NULL ? 1 : count; /* compressed packets move together, so they go one by one */
    for (size_t first = 0; first < count; first += group) {
        int status = p->deflate != NULL ? compress_packet(p, &packets[first]) : FS_OK;
        if (status == FS_OK)
            status = fs_seal_batch(p->sealer, packets + first, group);
        if (status != FS_OK)
            return status;
        for (size_t i = first; i < first + group; i++)
            p->out.tail += packets[i].total;
    }
    return FS_OK;
}

int fs_out_message(fs_plane *p, const uint8_t *payload, size_t len)
{
    uint8_t *slot;
    size_t size = fs_out_slot_size(p, len);
    if (size == 0)
        return FS_E_LENGTH; /* longer, with what compression may add, than a packet may be */
    int status = fs_out_reserve(p, size, &slot);
    if (status != FS_OK)
        return status;
    memcpy(slot + FS_PACKET_HEADER, payload, len);
    fs_packet packet = {.start = slot, .payload_len = len};
    return fs_out_seal(p, &packet, 1);
}

size_t fs_out_room(const fs_plane *p)
{
    size_t held = fs_buffer_len(&p->out);
    return held < p->out_target ? p->out_target - held : 0;
}

/* RFC 4253 section 7.1: after our KEXINIT and until our NEWKEYS only these may go out. */
static int allowed_during_kex(uint8_t number)
{
    return number <= SSH_MSG_DEBUG || number == SSH_MSG_NEWKEYS ||
           (number >= SSH_MSG_KEX_FIRST && number <= SSH_MSG_KEX_LAST);
}

int fs_plane_send(fs_plane *p, const uint8_t *payload, size_t len)
{
    if (len == 0)
        return FS_E_ARGUMENT;
    if (p->sending_kex && !allowed_during_kex(payload[0]))
        return FS_E_STATE;
    int status = fs_out_message(p, payload, len);
    if (status == FS_OK && payload[0] == SSH_MSG_KEXINIT)
        p->sending_kex = 1;
    if (status == FS_OK && payload[0] == SSH_MSG_DISCONNECT)
        p->disconnected = 1;
    return status;
}

size_t fs_plane_unsent(const fs_plane *p, const uint8_t **data)
{
    if (data != NULL)
        *data = p->out.data + p->out.head;
    return fs_buffer_len(&p->out);
}

void fs_plane_drop(fs_plane *p, size_t count)
{
    size_t held = fs_buffer_len(&p->out);
    if (count > held)
        count = held;
    fs_buffer_drop(&p->out, count);
    p->bytes_sent += count;
}
