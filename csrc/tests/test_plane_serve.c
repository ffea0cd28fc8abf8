/* A client's plane joined to one that serves, for the sanitizers and valgrind: transfers both ways through every suite
 * in odd pieces, requests mutated at random, and what the caller may do at any moment. The behaviour itself is told in
 * tests/test_plane_serve.py. */
#include <errno.h>
#include <fcntl.h>

#include "plane_pairs.h"

enum { HANDLE = 0x00030002, REQUEST = 29 };

static const uint8_t statuses[] = {0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 4};

static void attach(fs_plane *p)
{
    fs_serve_spec spec = {261120, 262144, statuses, sizeof statuses};
    CHECK_INT(fs_plane_serve_attach(p, SERVER_CHANNEL, &spec), FS_OK);
}

/* What is for the caller is answered with a status, as if it knew nothing. */
static void answer(void *context)
{
    fs_plane *p = context;
    uint8_t status[13] = {0, 0, 0, 9, 101, 0, 0, 0, 0, 0, 0, 0, 8};
    size_t cursor = 0, waiting;
    fs_event event;
    while (fs_plane_event(p, &cursor, &event)) {
        if (event.kind != FS_EVENT_SFTP)
            continue;
        if (event.length >= 5)
            memcpy(status + 5, event.bytes + 1, 4);
        CHECK_INT(fs_plane_channel_write(p, SERVER_CHANNEL, 0, status, sizeof status, &waiting), FS_OK);
        CHECK_INT(fs_plane_serve_resume(p, SERVER_CHANNEL), FS_OK);
    }
    fs_plane_clear_events(p);
}

static void pass_over(void *context)
{
    fs_plane_clear_events(context);
}

/* Until nothing moves any more, or one of the two gives up. */
static int exchange(fs_plane *client, fs_plane *server)
{
    int status = FS_OK;
    for (size_t moved = 1; status == FS_OK && moved > 0;) {
        moved = fs_plane_has_events(server);
        if ((status = deliver(client, server, answer, server, &moved)) != FS_OK)
            break;
        answer(server);
        status = deliver(server, client, pass_over, client, &moved);
    }
    return status;
}

static int run_transfer(fs_plane *client, fs_plane *server, const fs_transfer_spec *spec, fs_transfer_result *result)
{
    uint32_t number;
    CHECK_INT(fs_plane_sftp_start(client, CLIENT_CHANNEL, spec, &number), FS_OK);
    int status = exchange(client, server);
    fs_plane_clear_events(client);
    return status == FS_OK ? fs_plane_transfer_result(client, number, result) : status;
}

static void round_trip(const fs_cipher_info *cipher, const fs_mac_info *mac, size_t size, uint32_t chunk)
{
    uint8_t *content = random_bytes(size), *back = malloc(size + 1);
    int source = file_of(content, size), served = temporary_file(), sink = temporary_file();
    const uint8_t handle[4] = {0, 3, 0, 2};
    uint64_t bytes_read, bytes_written;
    fs_transfer_result result;
    fs_plane *client, *server = join(&client, cipher, mac);
    attach(server);
    CHECK_INT(fs_plane_serve_register(server, SERVER_CHANNEL, HANDLE, served, 1, 1), FS_OK);
    CHECK_INT(fs_plane_sftp_attach(client, CLIENT_CHANNEL), FS_OK);
    fs_transfer_spec spec = {
        .kind = FS_TRANSFER_PUT, .fd = source, .handle = handle, .handle_len = 4, .size = -1, .chunk = chunk};
    CHECK_INT(run_transfer(client, server, &spec, &result), FS_OK);
    CHECK(result.status == 0 && result.bytes == size);
    CHECK(pread(served, back, size + 1, 0) == (ssize_t)size);
    CHECK_BYTES(back, content, size);
    spec.kind = FS_TRANSFER_GET;
    spec.fd = sink;
    spec.size = (int64_t)size;
    spec.to_end = 1;
    CHECK_INT(run_transfer(client, server, &spec, &result), FS_OK);
    CHECK(result.status == 0 && result.bytes == size && result.end_of_file == (int64_t)size);
    CHECK(pread(sink, back, size + 1, 0) == (ssize_t)size);
    CHECK_BYTES(back, content, size);
    CHECK_INT(fs_plane_serve_counters(server, SERVER_CHANNEL, &bytes_read, &bytes_written), FS_OK);
    CHECK(bytes_read == size && bytes_written == size);
    fs_plane_free(client);
    fs_plane_free(server);
    free(content);
    free(back);
    close(source);
    close(served);
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
            round_trip(*cipher, fs_mac_find("none"), 700001, 32768);
            continue;
        }
        for (const fs_mac_info *const *mac = fs_mac_all; *mac != NULL; mac++)
            if (strcmp((*cipher)->name, "none") != 0 && (*mac)->key_len > 0)
                round_trip(*cipher, *mac, 300001, 32768);
    }
}

static void every_size_arrives_whole(void)
{
    const size_t sizes[] = {0, 1, 32767, 32768, 32769, 261119, 261120, 261121, 2000003};
    const uint32_t chunks[] = {261120, 32768, 4099};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t k = 0; k < sizeof chunks / sizeof *chunks; k++)
            round_trip(gcm(), fs_mac_find("none"), sizes[i], chunks[k]);
}

/* A READ or WRITE of len bytes at a random place; returns how long it is. */
static size_t make_request(uint8_t *at, uint32_t id, uint32_t len)
{
    int reads = (int)random_below(2);
    fs_put_u32(at, REQUEST - 4 + (reads ? 0 : len));
    at[4] = reads ? 5 : 6;
    fs_put_u32(at + 5, id);
    fs_put_u32(at + 9, 4);
    fs_put_u32(at + 13, HANDLE);
    fs_put_u64(at + 17, random_below(50000));
    fs_put_u32(at + 25, len);
    memset(at + REQUEST, (int)id, reads ? 0 : len);
    return REQUEST + (reads ? 0 : len);
}

static void mutated_requests_never_do_worse_than_end_the_connection(void)
{
    static uint8_t request[REQUEST + 5000];
    for (int i = 0; i < 400; i++) {
        int file = temporary_file(), status = FS_OK;
        size_t waiting;
        fs_plane *client, *server = join(&client, gcm(), fs_mac_find("none"));
        attach(server);
        CHECK_INT(fs_plane_serve_register(server, SERVER_CHANNEL, HANDLE, file, 1, 1), FS_OK);
        for (uint32_t id = 0; id < 60 && status == FS_OK; id++) {
            size_t len = make_request(request, id, 1 + random_below(5000));
            if (random_below(20) == 0) /* the highest bits of an offset would make a file of exabytes */
                request[random_below(2) ? random_below(17) : 25 + random_below(4)] ^= (uint8_t)(1u << random_below(8));
            fs_plane_channel_write(client, CLIENT_CHANNEL, 0, request, len, &waiting);
            if (random_below(3) == 0)
                status = exchange(client, server);
            fs_plane_clear_events(client);
        }
        CHECK(status == FS_OK || status == FS_E_MALFORMED);
        fs_plane_free(client);
        fs_plane_free(server);
        close(file);
    }
}

static void a_file_may_be_forgotten_at_any_moment(void)
{
    static uint8_t request[REQUEST + 200000];
    for (int i = 0; i < 200; i++) {
        int file = i & 1 ? open("/dev/full", O_RDWR) : temporary_file();
        size_t waiting, moved = 0;
        fs_plane *client, *server = join(&client, gcm(), fs_mac_find("none"));
        attach(server);
        CHECK_INT(fs_plane_serve_register(server, SERVER_CHANNEL, HANDLE, file, 1, 1), FS_OK);
        for (uint32_t id = 0; id < 10; id++) {
            size_t len = make_request(request, id, 1 + random_below(200000));
            size_t cut = id == 9 ? random_below((uint32_t)len) : len;
            fs_plane_channel_write(client, CLIENT_CHANNEL, 0, request, cut, &waiting);
        }
        int rounds = (int)random_below(4);
        while (rounds-- > 0) {
            CHECK_INT(deliver(client, server, answer, server, &moved), FS_OK);
            CHECK_INT(deliver(server, client, pass_over, client, &moved), FS_OK);
            fs_plane_clear_events(client);
        }
        CHECK_INT(fs_plane_serve_forget(server, SERVER_CHANNEL, HANDLE), FS_OK);
        close(file); /* whoever touched it now would say EBADF, or write into somebody else's */
        file = temporary_file();
        CHECK_INT(exchange(client, server), FS_OK);
        CHECK(lseek(file, 0, SEEK_END) == 0);
        if (i % 3 == 0)
            fs_plane_channel_close(server, SERVER_CHANNEL);
        if (i % 3 == 1)
            fs_plane_channel_remove(server, SERVER_CHANNEL);
        fs_plane_free(client);
        fs_plane_free(server);
        close(file);
    }
}

static void the_backlog_is_within_the_window(void)
{
    static uint8_t request[REQUEST + 5000];
    const uint8_t stat[] = {0, 0, 0, 9, 17, 0, 0, 0, 1, 0, 0, 0, 0};
    int file = temporary_file();
    size_t waiting, moved = 0, sent = sizeof stat;
    fs_plane *client, *server = join(&client, gcm(), fs_mac_find("none"));
    attach(server);
    CHECK_INT(fs_plane_serve_register(server, SERVER_CHANNEL, HANDLE, file, 1, 1), FS_OK);
    fs_plane_channel_write(client, CLIENT_CHANNEL, 0, stat, sizeof stat, &waiting);
    while (sent < 2 * WINDOW) {
        size_t len = make_request(request, 1, 5000);
        CHECK_INT(fs_plane_channel_write(client, CLIENT_CHANNEL, 0, request, len, &waiting), FS_OK);
        sent += len;
    }
    for (int i = 0; i < 20; i++) { /* nobody answers the STAT */
        CHECK_INT(deliver(client, server, NULL, NULL, &moved), FS_OK);
        CHECK_INT(deliver(server, client, pass_over, client, &moved), FS_OK);
    }
    CHECK_INT(fs_plane_channel_pending(client, CLIENT_CHANNEL, &waiting), FS_OK);
    CHECK_INT(waiting, sent - WINDOW);
    CHECK(lseek(file, 0, SEEK_END) == 0);
    CHECK_INT(exchange(client, server), FS_OK);
    CHECK_INT(fs_plane_channel_pending(client, CLIENT_CHANNEL, &waiting), FS_OK);
    CHECK(waiting < sent);
    fs_plane_free(client);
    fs_plane_free(server);
    close(file);
}

int main(void)
{
    RUN(every_suite_carries_transfers);
    RUN(every_size_arrives_whole);
    RUN(mutated_requests_never_do_worse_than_end_the_connection);
    RUN(a_file_may_be_forgotten_at_any_moment);
    RUN(the_backlog_is_within_the_window);
    return 0;
}
