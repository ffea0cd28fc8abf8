/* Two planes joined in memory, for the sanitizers and valgrind: transfers both ways through every suite in odd pieces,
 * and replies mutated at random, which may end the connection but nothing else. The behaviour itself is told in
 * tests/test_plane.py. */
#include "plane_pairs.h"

/* A server end: a plane, the bytes of one file, and the requests not yet whole. */
typedef struct server {
    fs_plane *plane;
    uint8_t *file;
    size_t size, capacity;
    uint8_t *pending;
    size_t pending_len, pending_capacity;
    int mutate; /* one reply in so many has a byte changed; 0 for none */
} server;

static void reply(server *s, uint8_t *message, size_t len)
{
    size_t waiting;
    if (s->mutate && random_below((uint32_t)s->mutate) == 0)
        message[random_below(len < 24 ? (uint32_t)len : 24)] ^= (uint8_t)(1u << random_below(8));
    CHECK(fs_plane_channel_write(s->plane, SERVER_CHANNEL, 0, message, len, &waiting) == FS_OK);
}

static void answer(server *s, const uint8_t *request, size_t len)
{
    static uint8_t out[300000];
    uint32_t id = fs_get_u32(request + 5), handle = fs_get_u32(request + 9);
    uint64_t offset = fs_get_u64(request + 13 + handle);
    uint32_t length = fs_get_u32(request + 21 + handle);
    if (request[4] == 6) {
        CHECK(len == 25 + handle + length && offset + length <= s->capacity);
        memcpy(s->file + offset, request + 25 + handle, length);
        if (offset + length > s->size)
            s->size = offset + length;
    } else if (offset < s->size) {
        if (length > s->size - offset)
            length = (uint32_t)(s->size - offset);
        fs_put_u32(out, 9 + length);
        out[4] = 103;
        fs_put_u32(out + 5, id);
        fs_put_u32(out + 9, length);
        memcpy(out + 13, s->file + offset, length);
        reply(s, out, 13 + length);
        return;
    }
    memset(out, 0, 21);
    fs_put_u32(out, 17);
    out[4] = 101;
    fs_put_u32(out + 5, id);
    fs_put_u32(out + 9, request[4] == 6 ? 0 : 1);
    reply(s, out, 21);
}

static void serve(void *context)
{
    server *s = context;
    size_t cursor = 0;
    fs_event event;
    while (fs_plane_event(s->plane, &cursor, &event)) {
        if (event.kind != FS_EVENT_DATA)
            continue;
        if (s->pending_len + event.length > s->pending_capacity) {
            s->pending_capacity = 2 * (s->pending_len + event.length);
            s->pending = realloc(s->pending, s->pending_capacity);
        }
        memcpy(s->pending + s->pending_len, event.bytes, event.length);
        s->pending_len += event.length;
        CHECK(fs_plane_channel_consumed(s->plane, SERVER_CHANNEL, event.length) == FS_OK);
    }
    fs_plane_clear_events(s->plane);
    size_t at = 0;
    while (s->pending_len - at >= 4 && s->pending_len - at >= 4 + (size_t)fs_get_u32(s->pending + at)) {
        size_t len = 4 + (size_t)fs_get_u32(s->pending + at);
        answer(s, s->pending + at, len);
        at += len;
    }
    if (at > 0)
        memmove(s->pending, s->pending + at, s->pending_len - at);
    s->pending_len -= at;
}

/* Runs one transfer; FS_OK with its result, or the error that ended the connection. */
static int transfer(fs_plane *client, server *s, const fs_transfer_spec *spec, fs_transfer_result *result)
{
    uint32_t number;
    int status = fs_plane_sftp_start(client, CLIENT_CHANNEL, spec, &number);
    for (size_t moved = 1; status == FS_OK && moved > 0;) {
        moved = 0;
        if ((status = deliver(client, s->plane, serve, s, &moved)) != FS_OK)
            break;
        serve(s);
        status = deliver(s->plane, client, NULL, NULL, &moved);
        size_t cursor = 0;
        fs_event event;
        while (fs_plane_event(client, &cursor, &event))
            if (event.kind == FS_EVENT_TRANSFER)
                return fs_plane_transfer_result(client, number, result);
        fs_plane_clear_events(client);
    }
    return status == FS_OK ? FS_AGAIN : status; /* FS_AGAIN: a mutated id or length, waiting for what will not come */
}

static void round_trip(const fs_cipher_info *cipher, const fs_mac_info *mac, size_t size, uint32_t chunk, int mutate)
{
    server s = {.capacity = size + 1, .file = calloc(1, size + 1), .mutate = mutate};
    uint8_t *content = random_bytes(size), *back = malloc(size + 1);
    int source = file_of(content, size), sink = temporary_file();
    fs_plane *client;
    s.plane = join(&client, cipher, mac);
    CHECK(fs_plane_sftp_attach(client, CLIENT_CHANNEL) == FS_OK);
    fs_transfer_spec spec = {.kind = FS_TRANSFER_PUT,
                             .fd = source,
                             .handle = (const uint8_t *)"h",
                             .handle_len = 1,
                             .size = -1,
                             .chunk = chunk};
    fs_transfer_result result;
    int status = transfer(client, &s, &spec, &result);
    if (!mutate) {
        CHECK(status == FS_OK && result.status == 0 && result.bytes == size && s.size == size);
        CHECK(memcmp(content, s.file, size) == 0);
    } else {
        memcpy(s.file, content, size);
        s.size = size;
    }
    spec.kind = FS_TRANSFER_GET;
    spec.fd = sink;
    spec.size = (int64_t)size;
    spec.to_end = 1;
    if (status == FS_OK) {
        fs_plane_clear_events(client);
        status = transfer(client, &s, &spec, &result);
    }
    if (!mutate) {
        CHECK(status == FS_OK && result.status == 0 && result.bytes == size && result.end_of_file == (int64_t)size);
        CHECK(pread(sink, back, size + 1, 0) == (ssize_t)size && memcmp(back, content, size) == 0);
    }
    fs_plane_free(client);
    fs_plane_free(s.plane);
    free(s.pending);
    free(s.file);
    free(content);
    free(back);
    close(source);
    close(sink);
}

static const fs_cipher_info *gcm(void)
{
    return fs_cipher_find("aes128-gcm@openssh.com");
}

static void every_suite_carries_transfers(void)
{
    for (const fs_cipher_info *const *cipher = fs_cipher_all; *cipher != NULL; cipher++) {
        if ((*cipher)->tag_len > 0) {
            round_trip(*cipher, fs_mac_find("none"), 700001, 32768, 0);
            continue;
        }
        for (const fs_mac_info *const *mac = fs_mac_all; *mac != NULL; mac++)
            if (strcmp((*cipher)->name, "none") != 0 && (*mac)->key_len > 0)
                round_trip(*cipher, *mac, 300001, 32768, 0);
    }
}

static void every_size_arrives_whole(void)
{
    const size_t sizes[] = {0, 1, 32767, 32768, 32769, 261119, 261120, 261121, 2000003};
    const uint32_t chunks[] = {261120, 32768, 4099};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t k = 0; k < sizeof chunks / sizeof *chunks; k++)
            round_trip(gcm(), fs_mac_find("none"), sizes[i], chunks[k], 0);
}

static void mutated_replies_never_do_worse_than_end_the_connection(void)
{
    for (int i = 0; i < 400; i++)
        round_trip(gcm(), fs_mac_find("none"), 50000 + random_below(50000), 1 + random_below(5000),
                   1 + (int)random_below(40));
}

int main(void)
{
    RUN(every_suite_carries_transfers);
    RUN(every_size_arrives_whole);
    RUN(mutated_replies_never_do_worse_than_end_the_connection);
    return 0;
}
