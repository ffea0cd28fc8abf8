/* Opening: find packets in a byte stream, bound them, verify them, count them. */
#include "epoch.h"
#include "padding.h"

enum { FIRST_CONNECTION_MESSAGE = 80 }; /* RFC 4250 4.1.2: below are transport, KEX, authentication */

struct fs_opener {
    fs_epoch epoch;
    uint32_t length; /* packet_length of the packet that data begins with; 0: not known yet */
};

fs_opener *fs_opener_new(const fs_packet_keys *keys, int *status)
{
    return fs_epoch_new(sizeof(fs_opener), keys, 0, status);
}

void fs_opener_free(fs_opener *o)
{
    fs_epoch_free(o ? &o->epoch : NULL);
}

fs_packet_counters *fs_opener_counters(fs_opener *o)
{
    return &o->epoch.counters;
}

int fs_opener_rekey_due(const fs_opener *o)
{
    return fs_epoch_rekey_due(&o->epoch);
}

/* Finds out packet_length and checks it, before anything is done or awaited on its account.
 *
 * With encrypt-and-MAC the length is not authenticated yet, so whoever changes ciphertext can see whether we fail here
 * at once or later. For CBC that told something about the plaintext (CVE-2008-5161), which is why OpenSSH reads on up
 * to the longest packet before it fails. There is no CBC here: in counter mode a changed bit of ciphertext changes that
 * bit of the length, whatever the block holds, and the length is no secret to somebody who sees packets pass. So we
 * fail at once. */
static int learn_length(fs_opener *o, const uint8_t *start)
{
    const fs_epoch *epoch = &o->epoch;
    const uint32_t outside = epoch->suite->length_clear ? 0 : 4;
    uint32_t length;
    int status = epoch->suite->peek(epoch->state, epoch->counters.sequence, start, &length);

    if (status != FS_OK)
        return status;
    /* at least padding_length, a message's number and the least padding; and the padded part is whole blocks */
    if (length < 2u + epoch->least_padding || length > FS_PACKET_MAX_LENGTH || (outside + length) % epoch->block != 0)
        return FS_E_LENGTH;
    o->length = length;
    return FS_OK;
}

/* start holds the whole packet. */
static int open_packet(fs_opener *o, uint8_t *start, fs_packet *packet)
{
    fs_epoch *epoch = &o->epoch;
    const uint32_t length = o->length;
    uint32_t padding;
    int status = epoch->suite->open(epoch->state, epoch->counters.sequence, start, length);

    if (status != FS_OK)
        return status;
    padding = start[4];
    /* packet_length counts the byte padding_length, and a message has at least its number */
    if (padding < epoch->least_padding || padding > length - 2)
        return FS_E_PADDING;
    packet->start = start;
    packet->payload = start + FS_PACKET_HEADER;
    packet->payload_len = length - 1 - padding;
    packet->total = 4 + (size_t)length + epoch->tag_len;
    fs_epoch_count(epoch, length);
    o->length = 0;
    return FS_OK;
}

int fs_open_batch(fs_opener *o, uint8_t *data, size_t len, fs_packet *packets, size_t max, size_t *count, size_t *used,
                  size_t *need)
{
    fs_epoch *epoch = &o->epoch;

    *count = *used = *need = 0;
    while (epoch->status == FS_OK && *count < max) {
        uint8_t *start = data + *used;
        const size_t left = len - *used;

        if (!o->length) {
            if (left < epoch->suite->peek_len) {
                *need = epoch->suite->peek_len;
                return FS_AGAIN;
            }
            epoch->status = fs_epoch_room(epoch, 1);
            if (epoch->status == FS_OK)
                epoch->status = learn_length(o, start);
            if (epoch->status != FS_OK)
                break;
        }
        const size_t total = 4 + (size_t)o->length + epoch->tag_len;
        if (left < total) {
            *need = total;
            return FS_AGAIN;
        }
        epoch->status = open_packet(o, start, &packets[*count]);
        if (epoch->status != FS_OK)
            break;
        *used += total;
        if (packets[(*count)++].payload[0] < FIRST_CONNECTION_MESSAGE)
            break;
    }
    return epoch->status;
}
