/* Packets that both sides mean well: every length, in batches, in any pieces, wherever the buffer lies. */
#include "packet_pairs.h"

enum { ROOM = FS_PACKET_MAX_LENGTH + 128 };

static uint8_t buffer[4 * ROOM];

static void open_one(fs_opener *opener, uint8_t *data, size_t len, fs_packet *packet)
{
    size_t count, used, need;
    CHECK_INT(fs_open_batch(opener, data, len, packet, 1, &count, &used, &need), FS_OK);
    CHECK_INT(count, 1);
    CHECK_INT(used, len);
    CHECK_INT(packet->total, len);
    CHECK(packet->start == data);
}

static void every_length_of(const fs_packet_keys *keys)
{
    static const size_t long_ones[] = {1023,  1024,  1025,  4095,  4096,   4097,   32766,  32767,
                                       32768, 32769, 32770, 32781, 261120, 261139, 262134, FS_PACKET_MAX_PAYLOAD};
    const size_t outside = keys->cipher->tag_len || keys->mac->etm ? 4 : 0;
    const size_t block = keys->cipher->block_len, tag = pair_tag_len(keys);
    fs_sealer *sealer = pair_sealer(keys);
    fs_opener *opener = pair_opener(keys);
    fs_packet packet;

    for (size_t i = 1; i < 620 + sizeof long_ones / sizeof *long_ones; i++) {
        const size_t len = i < 620 ? i : long_ones[i - 620];
        const size_t total = pair_seal(sealer, buffer, len);
        CHECK((total - tag - outside) % block == 0);
        CHECK(total >= FS_PACKET_HEADER + len + 4 + tag && total < FS_PACKET_HEADER + len + 4 + block + tag);
        CHECK(total <= len + FS_PACKET_MAX_OVERHEAD);
        if (keys->cipher->key_len && len >= 16) {
            uint8_t clear[16];
            pair_fill(clear, len > 16 ? 16 : len);
            CHECK(memcmp(buffer + FS_PACKET_HEADER + 1, clear + 1, 15) != 0); /* is encrypted */
        }
        open_one(opener, buffer, total, &packet);
        pair_check_payload(&packet, len);
    }
    fs_sealer_free(sealer);
    fs_opener_free(opener);
}

static void every_length_passes(void)
{
    pair_each(every_length_of);
}

/* The longest payload a packet may have, and one byte more. */
static void longest_of(const fs_packet_keys *keys)
{
    fs_sealer *sealer = pair_sealer(keys);
    fs_opener *opener = pair_opener(keys);
    size_t longest = FS_PACKET_MAX_PAYLOAD;
    fs_packet packet;

    while (fs_sealed_size(sealer, longest + 1))
        longest++;
    CHECK(longest < FS_PACKET_MAX_LENGTH - 4);
    for (size_t len = longest + 1; len < longest + 300; len++)
        CHECK_INT(fs_sealed_size(sealer, len), 0);
    CHECK_INT(fs_sealed_size(sealer, 0), 0);
    CHECK_INT(fs_sealed_size(sealer, SIZE_MAX), 0);
    CHECK_INT(fs_sealed_size(sealer, (size_t)UINT32_MAX + 10), 0);

    packet = (fs_packet){.start = buffer, .payload_len = longest + 1};
    CHECK_INT(fs_seal_batch(sealer, &packet, 1), FS_E_LENGTH);
    packet.payload_len = 0;
    CHECK_INT(fs_seal_batch(sealer, &packet, 1), FS_E_LENGTH);
    CHECK_INT(fs_sealer_counters(sealer)->packets, 0); /* refused, and nothing moved */

    open_one(opener, buffer, pair_seal(sealer, buffer, longest), &packet);
    pair_check_payload(&packet, longest);
    fs_sealer_free(sealer);
    fs_opener_free(opener);
}

static void longest_passes_and_longer_is_refused(void)
{
    pair_each(longest_of);
}

/* Lays `count` messages out behind each other, seals them in batches of `step`; returns their bytes. */
static size_t seal_run(const fs_packet_keys *keys, size_t count, size_t step)
{
    fs_sealer *sealer = pair_sealer(keys);
    fs_packet packets[FEW_PACKETS];
    uint8_t *at = buffer;

    CHECK(count <= FEW_PACKETS);
    for (size_t i = 0; i < count; i++) {
        const size_t len = 1 + i * i % 97;
        packets[i] = (fs_packet){.start = at, .payload_len = len};
        pair_fill(at + FS_PACKET_HEADER, len);
        at += fs_sealed_size(sealer, len);
    }
    for (size_t i = 0; i < count; i += step)
        CHECK_INT(fs_seal_batch(sealer, packets + i, count - i < step ? count - i : step), FS_OK);
    CHECK_INT(fs_seal_batch(sealer, packets, 0), FS_OK);
    fs_sealer_free(sealer);
    return (size_t)(at - buffer);
}

/* Opens at most `max` at a time; everything must come out. */
static void open_run(const fs_packet_keys *keys, size_t len, size_t count, size_t max)
{
    fs_opener *opener = pair_opener(keys);
    fs_packet packets[FEW_PACKETS];
    size_t done = 0, at = 0, got, used, need;

    while (done < count) {
        const int status = fs_open_batch(opener, buffer + at, len - at, packets, max, &got, &used, &need);
        CHECK_INT(status, got == max ? FS_OK : FS_AGAIN);
        for (size_t i = 0; i < got; i++, done++)
            pair_check_payload(&packets[i], 1 + done * done % 97);
        at += used;
        CHECK(got > 0);
    }
    CHECK_INT(at, len);
    CHECK_INT(fs_opener_counters(opener)->packets, count);
    fs_opener_free(opener);
}

static void batches_of(const fs_packet_keys *keys)
{
    static const size_t steps[] = {1, 2, 7, FEW_PACKETS};
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < 4; j++)
            open_run(keys, seal_run(keys, 50, steps[i]), 50, steps[j]);
}

static void batch_is_one_by_one(void)
{
    pair_each(batches_of);
}

/* Each call gets one byte more, at another place, in a block that ends with the last byte. */
static void byte_by_byte(const fs_packet_keys *keys)
{
    const size_t peek = fs_suite_find(keys)->peek_len;
    fs_sealer *sealer = pair_sealer(keys);
    fs_opener *opener = pair_opener(keys);

    for (size_t len = 1; len < 120; len += len < 40 ? 1 : 13) {
        const size_t total = pair_seal(sealer, buffer, len);
        for (size_t there = 0; there <= total; there++) {
            uint8_t *moved = malloc(there ? there : 1);
            size_t count = 9, used = 9, need = 9;
            fs_packet packet;
            CHECK(moved);
            memcpy(moved, buffer, there);
            const int status = fs_open_batch(opener, moved, there, &packet, 1, &count, &used, &need);
            CHECK_INT(count, there == total);
            CHECK_INT(used, there == total ? total : 0);
            CHECK_INT(status, there == total ? FS_OK : FS_AGAIN);
            if (there < total) {
                CHECK_INT(need, there < peek ? peek : total);
                CHECK_BYTES(moved, buffer, there); /* what is not whole is left as it is */
            } else {
                pair_check_payload(&packet, len);
            }
            free(moved);
        }
    }
    fs_sealer_free(sealer);
    fs_opener_free(opener);
}

static void byte_by_byte_tells_exactly_what_is_needed(void)
{
    pair_each(byte_by_byte);
}

/* Whole packets with each possible piece of another behind them. */
static void tail_of(const fs_packet_keys *keys)
{
    const size_t peek = fs_suite_find(keys)->peek_len;
    uint8_t wire[512];
    fs_sealer *sealer = pair_sealer(keys);
    const size_t first = pair_seal(sealer, wire, 20), second = pair_seal(sealer, wire + first, 33);
    const size_t third = pair_seal(sealer, wire + first + second, 50), all = first + second + third;

    fs_sealer_free(sealer);
    for (size_t tail = 0; tail < third; tail++) {
        fs_opener *opener = pair_opener(keys);
        fs_packet packets[4];
        size_t count, used, need;
        memcpy(buffer, wire, all);
        CHECK_INT(fs_open_batch(opener, buffer, first + second + tail, packets, 4, &count, &used, &need), FS_AGAIN);
        CHECK_INT(count, 2);
        CHECK_INT(used, first + second);
        CHECK_INT(need, tail < peek ? peek : third);
        pair_check_payload(&packets[0], 20);
        pair_check_payload(&packets[1], 33);
        CHECK_BYTES(buffer + used, wire + used, third);
        memmove(buffer, buffer + used, third);
        open_one(opener, buffer, third, packets);
        pair_check_payload(&packets[0], 50);
        fs_opener_free(opener);
    }
}

static void a_tail_waits(void)
{
    pair_each(tail_of);
}

static void stops_of(const fs_packet_keys *keys)
{
    for (unsigned number = 0; number < 256; number++) {
        fs_sealer *sealer = pair_sealer(keys);
        fs_opener *opener = pair_opener(keys);
        fs_packet packets[3] = {{.start = buffer, .payload_len = 3}};
        size_t count, used, need;

        memset(buffer + FS_PACKET_HEADER, (int)number, 3);
        CHECK_INT(fs_seal_batch(sealer, packets, 1), FS_OK);
        const size_t first = packets[0].total;
        const size_t second = pair_seal(sealer, buffer + first, 9);
        const int status = fs_open_batch(opener, buffer, first + second, packets, 3, &count, &used, &need);
        CHECK_INT(status, number < 80 ? FS_OK : FS_AGAIN);
        CHECK_INT(count, number < 80 ? 1 : 2);
        CHECK_INT(used, number < 80 ? first : first + second);
        fs_sealer_free(sealer);
        fs_opener_free(opener);
    }
}

static void opening_stops_after_messages_below_80(void)
{
    pair_each(stops_of);
}

int main(void)
{
    RUN(every_length_passes);
    RUN(longest_passes_and_longer_is_refused);
    RUN(batch_is_one_by_one);
    RUN(byte_by_byte_tells_exactly_what_is_needed);
    RUN(a_tail_waits);
    RUN(opening_stops_after_messages_below_80);
    return 0;
}
