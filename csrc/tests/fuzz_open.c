/* libFuzzer over fs_open_batch with every suite: packets that were sealed, changed by the input or not, then bytes of
 * the input, all presented in pieces. What opens must be what was sealed, in order, up to the first change. */
#include "check.h"
#include "packet.h"

enum { MOST_PACKETS = 8, MOST_PAYLOAD = 600, BUFFER = 1 << 20, BATCH = 3 };

static fs_packet_keys suite(uint8_t choice)
{
    static const uint8_t secret[256] = {9, 8, 7};
    fs_packet_keys keys = {.key = secret, .iv = secret + 64, .mac_key = secret + 128, .mac = fs_mac_find("none")};
    size_t ciphers = 0, macs = 0;
    while (fs_cipher_all[ciphers] != NULL)
        ciphers++;
    while (fs_mac_all[macs] != NULL)
        macs++;
    keys.cipher = choice % 16 == 15 ? fs_cipher_find("none") : fs_cipher_all[choice % 16 % ciphers];
    if (keys.cipher->tag_len == 0 && keys.cipher->key_len > 0)
        keys.mac = fs_mac_all[choice / 16 % macs];
    return keys;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t wire[BUFFER], before[BUFFER], plain[MOST_PACKETS][MOST_PAYLOAD];
    size_t lengths[MOST_PACKETS], sealed = 0, end = 0, intact = 0;
    int status;
    if (size < 6 || size > BUFFER / 2)
        return 0;
    const fs_packet_keys keys = suite(data[0]);
    const size_t packets = data[1] % (MOST_PACKETS + 1), piece = 1 + data[2] * 7u, flips = data[3] % 3;
    fs_sealer *sealer = fs_sealer_new(&keys, &status);
    fs_opener *opener = fs_opener_new(&keys, &status);
    CHECK(sealer != NULL && opener != NULL);
    for (; sealed < packets; sealed++) {
        lengths[sealed] = 1 + (data[4] * (sealed + 1) * 37u) % MOST_PAYLOAD;
        fs_packet packet = {.start = wire + end, .payload_len = lengths[sealed]};
        for (size_t i = 0; i < lengths[sealed]; i++)
            plain[sealed][i] = (uint8_t)(data[5] + i * 31 + sealed);
        memcpy(packet.start + FS_PACKET_HEADER, plain[sealed], lengths[sealed]);
        CHECK(fs_seal_batch(sealer, &packet, 1) == FS_OK);
        end += packet.total;
    }
    data += 6, size -= 6;
    memcpy(before, wire, end);
    for (size_t i = 0; i < flips && size >= 3 && end > 0; i++, data += 3, size -= 3)
        wire[(data[0] << 8 | data[1]) % end] ^= data[2];
    size_t first = 0; /* of the bytes that were changed */
    while (first < end && wire[first] == before[first])
        first++;
    memcpy(wire + end, data, size);
    end += size;

    size_t at = 0, given = 0;
    for (status = FS_AGAIN; status == FS_AGAIN || status == FS_OK;) {
        fs_packet opened[BATCH];
        size_t count, used, need;
        uint8_t *exact = malloc(given - at + 1); /* so that a sanitizer sees its end */
        memcpy(exact, wire + at, given - at);
        status = fs_open_batch(opener, exact, given - at, opened, BATCH, &count, &used, &need);
        CHECK(count <= BATCH && used <= given - at);
        if (status == FS_AGAIN) /* more than is there, and no more than a packet */
            CHECK(need > given - at - used && need <= FS_PACKET_MAX_LENGTH + FS_PACKET_MAX_OVERHEAD);
        for (size_t i = 0, offset = 0; i < count; i++) {
            CHECK(opened[i].start == exact + offset && opened[i].payload_len > 0 && opened[i].total <= used - offset);
            CHECK(opened[i].payload + opened[i].payload_len < opened[i].start + opened[i].total);
            offset += opened[i].total;
            if (keys.cipher->key_len == 0)
                continue; /* anybody makes packets in clear */
            CHECK(intact < sealed && at + offset <= first && opened[i].payload_len == lengths[intact]);
            CHECK_BYTES(opened[i].payload, plain[intact], lengths[intact]);
            intact++;
        }
        free(exact);
        at += used;
        if (status == FS_AGAIN && given == end)
            break;
        if (status == FS_AGAIN)
            given = end - given > piece ? given + piece : end;
    }
    if (status != FS_OK && status != FS_AGAIN) { /* and so it stays */
        fs_packet packet;
        size_t count, used, need;
        CHECK(fs_open_batch(opener, wire + at, end - at, &packet, 1, &count, &used, &need) == status && count == 0);
    }
    fs_sealer_free(sealer);
    fs_opener_free(opener);
    return 0;
}
