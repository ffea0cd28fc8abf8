/* Two planes joined in memory, for the sanitizers and valgrind: transfers both ways through every suite in odd pieces,
 * and replies mutated at random, which may end the connection but nothing else. The behaviour itself is told in
 * tests/test_plane.py. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "fs_bytes.h"
#include "plane.h"

enum { CLIENT_CHANNEL = 0, SERVER_CHANNEL = 7, WINDOW = 2 * 1024 * 1024, MAX_PACKET = 32768 };

static uint64_t random_state = 88172645463325252u;

static uint32_t random_below(uint32_t bound)
{ /* xorshift64: the same course every run */
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state >> 16) % bound);
}

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

static void serve(server *s)
{
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

/* Moves what `from` has to `to` in random pieces; each piece in its own allocation, so that a sanitizer sees its end.
 */
static int deliver(fs_plane *from, fs_plane *to, server *s, size_t *moved)
{
    const uint8_t *data;
    size_t taken, len;
    int status = fs_plane_feed(to, (const uint8_t *)"", 0, &taken);
    if (status != FS_OK || (status = fs_plane_fill(from)) != FS_OK)
        return status;
    while ((len = fs_plane_unsent(from, &data)) > 0) {
        size_t n = random_below(3) ? len : 1 + random_below((uint32_t)len);
        uint8_t *piece = malloc(n);
        memcpy(piece, data, n);
        status = fs_plane_feed(to, piece, n, &taken);
        free(piece);
        if (status != FS_OK)
            return status;
        fs_plane_drop(from, taken);
        *moved += taken;
        if (taken < n && s != NULL)
            serve(s);
    }
    return FS_OK;
}

static void set_keys(fs_plane *from, fs_plane *to, const fs_cipher_info *cipher, const fs_mac_info *mac)
{
    static const uint8_t secret[256] = {1, 2, 3, 4, 5};
    fs_packet_keys keys = {.cipher = cipher, .mac = mac, .key = secret, .iv = secret + 100, .mac_key = secret + 150};
    const uint8_t kexinit = 20, newkeys = 21;
    size_t moved = 0;
    CHECK(fs_plane_send(from, &kexinit, 1) == FS_OK);
    CHECK(deliver(from, to, NULL, &moved) == FS_OK);
    fs_plane_clear_events(to);
    CHECK(fs_plane_send(from, &newkeys, 1) == FS_OK);
    CHECK(deliver(from, to, NULL, &moved) == FS_OK);
    fs_plane_clear_events(to);
    CHECK(fs_plane_set_send_keys(from, keys, 1) == FS_OK);
    CHECK(fs_plane_set_receive_keys(to, keys, 1) == FS_OK);
}

static fs_plane *join(server *s, const fs_cipher_info *cipher, const fs_mac_info *mac)
{
    int status;
    size_t moved = 0;
    uint8_t confirmation[17] = {91};
    fs_plane *client = fs_plane_new(0, 0, &status);
    s->plane = fs_plane_new(0, 0, &status);
    CHECK(client != NULL && s->plane != NULL);
    set_keys(client, s->plane, cipher, mac);
    set_keys(s->plane, client, cipher, mac);
    CHECK(fs_plane_channel_add(client, CLIENT_CHANNEL, WINDOW, MAX_PACKET) == FS_OK);
    CHECK(fs_plane_channel_add(s->plane, SERVER_CHANNEL, WINDOW, MAX_PACKET) == FS_OK);
    fs_put_u32(confirmation + 5, SERVER_CHANNEL);
    fs_put_u32(confirmation + 9, WINDOW);
    fs_put_u32(confirmation + 13, MAX_PACKET);
    CHECK(fs_plane_send(s->plane, confirmation, sizeof confirmation) == FS_OK);
    CHECK(fs_plane_channel_confirm(s->plane, SERVER_CHANNEL, CLIENT_CHANNEL, WINDOW, MAX_PACKET) == FS_OK);
    CHECK(deliver(s->plane, client, NULL, &moved) == FS_OK);
    fs_plane_clear_events(client);
    CHECK(fs_plane_sftp_attach(client, CLIENT_CHANNEL) == FS_OK);
    return client;
}

/* Runs one transfer; FS_OK with its result, or the error that ended the connection. */
static int transfer(fs_plane *client, server *s, const fs_transfer_spec *spec, fs_transfer_result *result)
{
    uint32_t number;
    int status = fs_plane_sftp_start(client, CLIENT_CHANNEL, spec, &number);
    for (size_t moved = 1; status == FS_OK && moved > 0;) {
        moved = 0;
        if ((status = deliver(client, s->plane, s, &moved)) != FS_OK)
            break;
        serve(s);
        status = deliver(s->plane, client, NULL, &moved);
        size_t cursor = 0;
        fs_event event;
        while (fs_plane_event(client, &cursor, &event))
            if (event.kind == FS_EVENT_TRANSFER)
                return fs_plane_transfer_result(client, number, result);
        fs_plane_clear_events(client);
    }
    return status == FS_OK ? FS_AGAIN : status; /* FS_AGAIN: a mutated id or length, waiting for what will not come */
}

static int temporary_file(void)
{
    char name[] = "/tmp/fastssh-test-plane-XXXXXX";
    int fd = mkstemp(name);
    CHECK(fd >= 0);
    unlink(name);
    return fd;
}

static void round_trip(const fs_cipher_info *cipher, const fs_mac_info *mac, size_t size, uint32_t chunk, int mutate)
{
    server s = {.capacity = size + 1, .file = calloc(1, size + 1), .mutate = mutate};
    uint8_t *content = malloc(size + 1), *back = malloc(size + 1);
    int source = temporary_file(), sink = temporary_file();
    for (size_t i = 0; i < size; i++)
        content[i] = (uint8_t)random_below(256);
    CHECK(pwrite(source, content, size, 0) == (ssize_t)size);
    fs_plane *client = join(&s, cipher, mac);
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
