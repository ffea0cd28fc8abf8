/* Packets that somebody changed on the way, and packets that a hostile peer made with the right keys. */
#include "packet_pairs.h"

enum { ROOM = FS_PACKET_MAX_LENGTH + 128 };

static uint8_t buffer[ROOM];

/* Row 14 of the security requirements: whatever bit of a packet is flipped, nothing of it is ever released. */
static void flips_of(const fs_packet_keys *keys)
{
    static const size_t lengths[] = {1, 11, 40, 300};
    static uint8_t wire[1024];

    if (!keys->cipher->key_len)
        return;
    memset(buffer, 0, sizeof buffer);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        fs_sealer *sealer = pair_sealer(keys);
        const size_t len = lengths[i], total = pair_seal(sealer, wire, len);
        uint8_t clear[300];

        fs_sealer_free(sealer);
        pair_fill(clear, len);
        for (size_t bit = 0; bit < total * 8; bit++) {
            fs_opener *opener = pair_opener(keys);
            fs_packet packet;
            size_t count, used, need;
            memcpy(buffer, wire, total);
            buffer[bit / 8] ^= (uint8_t)(1 << bit % 8);
            /* a changed length may make it a longer packet: there are enough bytes for any */
            const int status = fs_open_batch(opener, buffer, sizeof buffer, &packet, 1, &count, &used, &need);
            CHECK(status == FS_E_MAC || (bit < 32 && status == FS_E_LENGTH));
            CHECK_INT(count, 0);
            CHECK_INT(used, 0);
            CHECK_INT(fs_opener_counters(opener)->packets, 0);
            if (len >= 40) /* the plaintext is not left behind either */
                CHECK(memcmp(buffer + FS_PACKET_HEADER + 16, clear + 16, 20) != 0);
            memcpy(buffer, wire, total); /* the right packet comes too late */
            CHECK_INT(fs_open_batch(opener, buffer, sizeof buffer, &packet, 1, &count, &used, &need), status);
            CHECK_INT(count, 0);
            fs_opener_free(opener);
            if (bit < 32)
                memset(buffer, 0, sizeof buffer);
            else
                memset(buffer, 0, total);
        }
    }
}

static void row14_every_flipped_bit_is_caught(void)
{
    pair_each(flips_of);
}

/* A packet repeated, left out, or under another sequence number does not verify. */
static void order_of(const fs_packet_keys *keys)
{
    uint8_t wire[256];
    fs_packet_keys later = *keys;
    fs_packet packets[2];
    size_t count, used, need;

    if (!keys->cipher->key_len)
        return;
    fs_sealer *sealer = pair_sealer(keys);
    const size_t first = pair_seal(sealer, wire, 20), second = pair_seal(sealer, wire + first, 20);
    fs_sealer_free(sealer);

    fs_opener *opener = pair_opener(keys); /* the second without the first */
    memcpy(buffer, wire + first, second);
    int status = fs_open_batch(opener, buffer, sizeof buffer, packets, 2, &count, &used, &need);
    CHECK(status == FS_E_MAC || status == FS_E_LENGTH);
    CHECK_INT(count, 0);
    fs_opener_free(opener);

    opener = pair_opener(keys); /* the first twice */
    memcpy(buffer, wire, first);
    memcpy(buffer + first, wire, first);
    status = fs_open_batch(opener, buffer, sizeof buffer, packets, 2, &count, &used, &need);
    CHECK(status == FS_E_MAC || status == FS_E_LENGTH);
    CHECK_INT(count, 1); /* what came before the bad one is valid */
    CHECK_INT(used, first);
    pair_check_payload(&packets[0], 20);
    fs_opener_free(opener);

    later.sequence++; /* AES-GCM alone has its own counter instead (RFC 5647 section 7.1) */
    opener = pair_opener(&later);
    memcpy(buffer, wire, first);
    status = fs_open_batch(opener, buffer, sizeof buffer, packets, 1, &count, &used, &need);
    CHECK(strstr(keys->cipher->name, "gcm") ? status == FS_OK : status == FS_E_MAC || status == FS_E_LENGTH);
    fs_opener_free(opener);
}

static void packets_out_of_order_are_caught(void)
{
    pair_each(order_of);
}

/* Row 6: as soon as the length is known, whatever else is there. */
static void lengths_of(const fs_packet_keys *keys)
{
    const fs_suite *suite = fs_suite_find(keys);
    const uint32_t counted = suite->length_clear ? 0 : 4, block = keys->cipher->block_len;
    const uint32_t near[] = {0, 40, 64, 1024, FS_PACKET_MAX_LENGTH, 1u << 24, 1u << 31, 0xffffffffu};

    for (size_t i = 0; i < sizeof near / sizeof *near; i++) {
        for (uint32_t d = 0; d < 80; d++) {
            const uint32_t length = near[i] + d - 40;
            const int good = length >= 5 && length <= FS_PACKET_MAX_LENGTH && (length + counted) % block == 0;
            forger f = forger_new(keys);
            fs_opener *opener = pair_opener(keys);
            fs_packet packet;
            size_t count, used, need;
            uint8_t *exact = malloc(suite->peek_len); /* not a byte more than it takes */

            CHECK(exact);
            memset(buffer, 0, 128);
            fs_put_u32(buffer, length);
            forge(&f, buffer, 60);
            memcpy(exact, buffer, suite->peek_len);
            const int status = fs_open_batch(opener, exact, suite->peek_len, &packet, 1, &count, &used, &need);
            CHECK_INT(status, good ? FS_AGAIN : FS_E_LENGTH);
            CHECK_INT(count, 0);
            CHECK_INT(used, 0);
            CHECK_INT(need, good ? 4 + (size_t)length + pair_tag_len(keys) : 0);
            free(exact);
            fs_opener_free(opener);
            forger_free(&f);
        }
    }
}

static void row06_bad_lengths_are_refused_at_once(void)
{
    pair_each(lengths_of);
}

/* Every padding_length in packets of several lengths, with right tags: 4 at least, and a message must be left. */
static void paddings_of(const fs_packet_keys *keys)
{
    const uint32_t block = keys->cipher->block_len, outside = fs_suite_find(keys)->length_clear ? 0 : 4;

    for (uint32_t blocks = 1; blocks <= 34; blocks += blocks < 4 ? 1 : 10) {
        const uint32_t length = blocks * block - outside;
        for (uint32_t padding = 0; length >= 5 && padding < 256; padding++) {
            const int good = padding >= 4 && padding + 2 <= length;
            forger f = forger_new(keys);
            fs_opener *opener = pair_opener(keys);
            fs_packet packet;
            size_t count, used, need;

            memset(buffer, CONNECTION_MESSAGE, 4 + length);
            fs_put_u32(buffer, length);
            buffer[4] = (uint8_t)padding;
            forge(&f, buffer, length);
            const int status =
                fs_open_batch(opener, buffer, 4 + length + pair_tag_len(keys), &packet, 1, &count, &used, &need);
            CHECK_INT(status, good ? FS_OK : FS_E_PADDING);
            CHECK_INT(count, good);
            if (good)
                CHECK_INT(packet.payload_len, length - 1 - padding);
            fs_opener_free(opener);
            forger_free(&f);
        }
    }
}

static void row06_bad_paddings_are_refused(void)
{
    pair_each(paddings_of);
}

/* Packets of noise end in an error or wait for more; they are never opened and never read past their end. */
static void noise_of(const fs_packet_keys *keys)
{
    uint32_t random = 12345;
    if (!keys->cipher->key_len)
        return;
    for (int round = 0; round < 300; round++) {
        const size_t len = (size_t)round % 150 + 1;
        uint8_t *data = malloc(len);
        fs_opener *opener = pair_opener(keys);
        fs_packet packet;
        size_t count, used, need;

        CHECK(data);
        for (size_t i = 0; i < len; i++)
            data[i] = (uint8_t)((random = random * 1664525 + 1013904223) >> 24);
        if (round % 2 && len >= 4)
            fs_put_u32(data, (uint32_t)len / 16 * 16); /* a length that may be believed, where it is in clear */
        const int status = fs_open_batch(opener, data, len, &packet, 1, &count, &used, &need);
        CHECK(status == FS_E_LENGTH || status == FS_E_MAC || (status == FS_AGAIN && need > len));
        CHECK_INT(count, 0);
        fs_opener_free(opener);
        free(data);
    }
}

static void noise_is_never_opened(void)
{
    pair_each(noise_of);
}

int main(void)
{
    RUN(row14_every_flipped_bit_is_caught);
    RUN(packets_out_of_order_are_caught);
    RUN(row06_bad_lengths_are_refused_at_once);
    RUN(row06_bad_paddings_are_refused);
    RUN(noise_is_never_opened);
    return 0;
}
