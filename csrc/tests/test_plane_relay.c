/* Two planes whose channel is joined to descriptors at both ends, for the sanitizers and valgrind as well: what moves,
 * what waits, and how it ends. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

#include "plane_pairs.h"
#include "relay.h"

enum { IN, OUT }; /* of a pipe */

static void pipe_pair(int ends[2])
{
    CHECK(pipe(ends) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(fcntl(ends[i], F_SETFL, O_NONBLOCK) == 0 && fcntl(ends[i], F_SETFD, FD_CLOEXEC) == 0);
}

static void close_pair(int ends[2])
{
    for (int i = 0; i < 2; i++)
        if (ends[i] >= 0)
            close(ends[i]);
}

static void shut(int *fd)
{
    close(*fd);
    *fd = -1;
}

static void attach(fs_plane *p, uint32_t channel, int source, int source_stderr, int sink, int sink_stderr)
{
    CHECK_INT(fs_plane_relay_attach(p, channel, (int[]){source, source_stderr, sink, sink_stderr}), FS_OK);
}

static fs_relay *relay_of(const fs_plane *p, uint32_t channel)
{
    return fs_channel_find(p, channel)->relay;
}

/* What became of the ends of one side. */
typedef struct ends {
    uint32_t done;             /* bits */
    int errors[FS_RELAY_ENDS]; /* errno */
    size_t data;               /* bytes of events */
} ends;

static void look(fs_plane *p, ends *seen)
{
    size_t cursor = 0;
    fs_event event;
    while (fs_plane_event(p, &cursor, &event)) {
        seen->data += event.kind == FS_EVENT_DATA ? event.length : 0;
        if (event.kind != FS_EVENT_RELAY)
            continue;
        uint32_t bit = event.b & ((1u << FS_RELAY_ENDS) - 1);
        CHECK(!(seen->done & bit)); /* once */
        seen->done |= bit;
        for (int end = 0; end < FS_RELAY_ENDS; end++)
            if (bit == 1u << end)
                seen->errors[end] = (int)(event.b >> FS_RELAY_ENDS);
    }
    fs_plane_clear_events(p);
}

/* As if every descriptor that is waited for were ready. */
static void all_ready(fs_plane *p, uint32_t channel)
{
    CHECK_INT(fs_plane_relay_ready(p, channel, 15), FS_OK);
}

static void turn(fs_plane *client, fs_plane *server, ends *at_client, ends *at_server)
{
    size_t moved = 0;
    all_ready(client, CLIENT_CHANNEL);
    all_ready(server, SERVER_CHANNEL);
    CHECK_INT(deliver(client, server, NULL, NULL, &moved), FS_OK);
    look(server, at_server);
    CHECK_INT(deliver(server, client, NULL, NULL, &moved), FS_OK);
    CHECK_INT(fs_plane_fill(client), FS_OK);
    look(client, at_client);
    look(server, at_server);
}

static const fs_cipher_info *gcm(void)
{
    return fs_cipher_find("aes128-gcm@openssh.com");
}

/* --- what moves -------------------------------------------------------------------------------------------------- */

/* size bytes through two pipes and the planes between them, written and read in odd pieces. */
static void stream(fs_plane *client, fs_plane *server, size_t size, ends *at_client, ends *at_server)
{
    int up[2], down[2];
    uint8_t *content = random_bytes(size), *back = malloc(size + 1);
    size_t written = 0, read_back = 0;
    pipe_pair(up);
    pipe_pair(down);
    attach(client, CLIENT_CHANNEL, up[IN], -1, -1, -1);
    attach(server, SERVER_CHANNEL, -1, -1, down[OUT], -1);
    for (int rounds = 0; !(at_server->done & FS_RELAY_SINK); rounds++) {
        CHECK(rounds < 1000000);
        size_t n = 1 + random_below(100000), left = size - written;
        ssize_t done = left ? write(up[OUT], content + written, n < left ? n : left) : 0;
        written += done > 0 ? (size_t)done : 0;
        if (written == size && up[OUT] >= 0)
            shut(&up[OUT]);
        turn(client, server, at_client, at_server);
        if (at_client->done & FS_RELAY_SOURCE && !fs_channel_find(client, CLIENT_CHANNEL)->eof_wanted)
            CHECK_INT(fs_plane_channel_eof(client, CLIENT_CHANNEL), FS_OK);
        if (random_below(3)) {
            done = read(down[IN], back + read_back, size + 1 - read_back < n ? size + 1 - read_back : n);
            read_back += done > 0 ? (size_t)done : 0;
        }
    }
    for (ssize_t done; (done = read(down[IN], back + read_back, size + 1 - read_back)) > 0;)
        read_back += (size_t)done;
    CHECK_INT(read_back, size);
    CHECK_BYTES(back, content, size);
    CHECK(at_client->errors[0] == 0 && at_server->errors[2] == 0);
    CHECK_INT(at_server->data, 0); /* none of it for the caller */
    fs_plane_free(client);
    fs_plane_free(server);
    free(content);
    free(back);
    close_pair(up);
    close_pair(down);
}

static void every_suite_carries_a_stream(void)
{
    for (const fs_cipher_info *const *cipher = fs_cipher_all; *cipher != NULL; cipher++) {
        for (const fs_mac_info *const *mac = fs_mac_all; *mac != NULL; mac++) {
            int aead = (*cipher)->tag_len > 0;
            if (aead != (strcmp((*mac)->name, "none") == 0) || strcmp((*cipher)->name, "none") == 0)
                continue;
            ends at_client = {0}, at_server = {0};
            fs_plane *client, *server = join(&client, *cipher, *mac);
            stream(client, server, 400001, &at_client, &at_server);
        }
    }
}

static void every_size_arrives_whole_and_then_its_end(void)
{
    static const size_t sizes[] = {0, 1, 32767, 32768, 32769, 65536, 65537, 3000001};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int compressed = 0; compressed < 2; compressed++) {
            ends at_client = {0}, at_server = {0};
            fs_plane *client, *server = join(&client, gcm(), fs_mac_find("none"));
            CHECK_INT(fs_plane_set_send_compression(client, compressed), FS_OK);
            CHECK_INT(fs_plane_set_receive_compression(server, compressed), FS_OK);
            stream(client, server, sizes[i], &at_client, &at_server);
        }
}

static void stderr_goes_apart(void)
{
    int out[2], err[2], sink[2], sink_err[2];
    uint8_t got[64];
    ends at_client = {0}, at_server = {0};
    fs_plane *client, *server = join(&client, gcm(), fs_mac_find("none"));
    pipe_pair(out);
    pipe_pair(err);
    pipe_pair(sink);
    pipe_pair(sink_err);
    attach(server, SERVER_CHANNEL, out[IN], err[IN], -1, -1);
    attach(client, CLIENT_CHANNEL, -1, -1, sink[OUT], sink_err[OUT]);
    for (int i = 0; i < 100; i++) {
        uint8_t words[2] = {(uint8_t)i, (uint8_t)~i};
        CHECK(write(out[OUT], words, 1) == 1 && write(err[OUT], words + 1, 1) == 1);
        turn(client, server, &at_client, &at_server);
        CHECK(read(sink[IN], got, sizeof got) == 1 && got[0] == words[0]);
        CHECK(read(sink_err[IN], got, sizeof got) == 1 && got[0] == words[1]);
    }
    shut(&err[OUT]);
    turn(client, server, &at_client, &at_server);
    CHECK_INT(at_server.done, FS_RELAY_SOURCE_STDERR);
    shut(&out[OUT]);
    turn(client, server, &at_client, &at_server);
    CHECK_INT(at_server.done, FS_RELAY_SOURCE_STDERR | FS_RELAY_SOURCE);
    CHECK_INT(at_client.done, 0); /* until the server says EOF */
    CHECK_INT(fs_plane_channel_eof(server, SERVER_CHANNEL), FS_OK);
    turn(client, server, &at_client, &at_server);
    CHECK_INT(at_client.done, FS_RELAY_SINK | FS_RELAY_SINK_STDERR);
    fs_plane_free(client);
    fs_plane_free(server);
    close_pair(out);
    close_pair(err);
    close_pair(sink);
    close_pair(sink_err);
}

/* Both write without end: the one that is read first must not have all of the window. */
static void neither_source_starves_the_other(void)
{
    static uint8_t block[65536];
    int out[2], err[2];
    ends at_server = {0};
    size_t moved = 0, pending = 0;
    fs_plane *client, *server = join(&client, gcm(), fs_mac_find("none"));
    pipe_pair(out);
    pipe_pair(err);
    attach(server, SERVER_CHANNEL, out[IN], err[IN], -1, -1);
    size_t streams[2] = {0};
    for (int i = 0; i < 400; i++) {
        size_t cursor = 0;
        fs_event event;
        while (write(out[OUT], block, sizeof block) > 0) {
        }
        while (write(err[OUT], block, sizeof block) > 0) {
        }
        all_ready(server, SERVER_CHANNEL);
        CHECK_INT(deliver(server, client, NULL, NULL, &moved), FS_OK);
        while (fs_plane_event(client, &cursor, &event)) {
            CHECK(event.kind == FS_EVENT_DATA);
            streams[event.b] += event.length;
            pending += event.length;
        }
        fs_plane_clear_events(client);
        if (pending > WINDOW / 2) { /* a client that gives little at a time */
            CHECK_INT(fs_plane_channel_consumed(client, CLIENT_CHANNEL, (uint32_t)pending), FS_OK);
            pending = 0;
        }
        CHECK_INT(deliver(client, server, NULL, NULL, &moved), FS_OK);
        look(server, &at_server);
    }
    CHECK(streams[0] > WINDOW && streams[1] > streams[0] / 2 && streams[0] > streams[1] / 2);
    fs_plane_free(client);
    fs_plane_free(server);
    close_pair(out);
    close_pair(err);
}

/* --- what waits -------------------------------------------------------------------------------------------------- */

/* Fills a pipe that nobody reads. */
static size_t fill_pipe(int fd)
{
    static const uint8_t block[4096];
    size_t filled = 0;
    for (ssize_t n; (n = write(fd, block, sizeof block)) > 0;)
        filled += (size_t)n;
    return filled;
}

static size_t kept_of(const fs_plane *p, uint32_t channel)
{
    fs_relay_kept kept;
    CHECK_INT(fs_plane_relay_kept(p, channel, 0, &kept), FS_OK);
    return kept.lengths[0] + kept.lengths[1];
}

/* A sink that takes nothing is kept for within the window, and has credit for nothing. */
static void row12_a_sink_that_takes_nothing_costs_no_more_than_its_window(void)
{
    static uint8_t block[MAX_PACKET];
    int sink[2];
    ends at_client = {0}, at_server = {0};
    size_t waiting = 0;
    fs_plane *client, *server = join(&client, gcm(), fs_mac_find("none"));
    pipe_pair(sink);
    fill_pipe(sink[OUT]);
    attach(server, SERVER_CHANNEL, -1, -1, sink[OUT], -1);
    attach(client, CLIENT_CHANNEL, -1, -1, -1, -1);
    for (int i = 0; i < 2 * WINDOW / MAX_PACKET; i++) {
        CHECK_INT(fs_plane_channel_write(client, CLIENT_CHANNEL, 0, block, sizeof block, &waiting), FS_OK);
        turn(client, server, &at_client, &at_server);
    }
    CHECK_INT(kept_of(server, SERVER_CHANNEL), WINDOW);
    CHECK_INT(fs_channel_find(server, SERVER_CHANNEL)->unacknowledged, 0);
    CHECK(relay_of(server, SERVER_CHANNEL)->kept[0].capacity <= 2 * (size_t)WINDOW);
    CHECK_INT(waiting, WINDOW); /* the rest stays with its sender */
    /* A peer that sends all the same is found out. */
    fs_channel_find(client, CLIENT_CHANNEL)->remote_window = MAX_PACKET;
    size_t moved = 0;
    CHECK_INT(deliver(client, server, NULL, NULL, &moved), FS_E_WINDOW);
    fs_plane_free(client);
    fs_plane_free(server);
    close_pair(sink);
}

static void row12_single_bytes_cost_what_they_weigh(void)
{
    enum { BYTES = 20000 };
    int sink[2];
    ends at_client = {0}, at_server = {0};
    size_t waiting;
    fs_plane *client, *server = join(&client, gcm(), fs_mac_find("none"));
    pipe_pair(sink);
    fill_pipe(sink[OUT]);
    attach(server, SERVER_CHANNEL, -1, -1, sink[OUT], -1);
    attach(client, CLIENT_CHANNEL, -1, -1, -1, -1);
    for (int i = 0; i < BYTES; i++) {
        CHECK_INT(fs_plane_channel_write(client, CLIENT_CHANNEL, 0, (const uint8_t *)"x", 1, &waiting), FS_OK);
        CHECK_INT(fs_plane_fill(client), FS_OK); /* a packet of its own */
        if (i % 1000 == 999)
            turn(client, server, &at_client, &at_server);
    }
    CHECK_INT(kept_of(server, SERVER_CHANNEL), BYTES);
    CHECK(relay_of(server, SERVER_CHANNEL)->kept[0].capacity < 2 * BYTES);
    fs_plane_free(client);
    fs_plane_free(server);
    close_pair(sink);
}

/* What is watched follows what waits, and is told once; nothing is where linger() waits. */
static void the_caller_hears_what_to_watch(void)
{
    int source[2], sink[2];
    ends at_client = {0}, at_server = {0};
    size_t waiting, cursor = 0, moved = 0;
    fs_event event;
    fs_plane *client, *server = join(&client, gcm(), fs_mac_find("none"));
    pipe_pair(source);
    pipe_pair(sink);
    size_t filled = fill_pipe(sink[OUT]);
    attach(server, SERVER_CHANNEL, source[IN], -1, sink[OUT], -1);
    attach(client, CLIENT_CHANNEL, -1, -1, -1, -1);
    CHECK(!fs_plane_relay_waits(server, 1, &cursor, &event)); /* nothing was tried yet */
    turn(client, server, &at_client, &at_server);
    cursor = 0;
    CHECK(fs_plane_relay_waits(server, 1, &cursor, &event));
    CHECK(event.kind == FS_EVENT_RELAY_WAITS && event.a == SERVER_CHANNEL && event.b == FS_RELAY_SOURCE);
    CHECK(!fs_plane_relay_waits(server, 1, &cursor, &event));
    CHECK_INT(fs_plane_channel_write(client, CLIENT_CHANNEL, 0, (const uint8_t *)"word", 4, &waiting), FS_OK);
    CHECK_INT(deliver(client, server, NULL, NULL, &moved), FS_OK);
    cursor = 0;
    CHECK(fs_plane_relay_waits(server, 1, &cursor, &event) && event.b == (FS_RELAY_SOURCE | FS_RELAY_SINK));
    cursor = 0;
    CHECK(fs_plane_relay_waits(server, 0, &cursor, &event) && event.b == 0);
    cursor = 0;
    CHECK(!fs_plane_relay_waits(server, 0, &cursor, &event));
    CHECK_INT(kept_of(server, SERVER_CHANNEL), 4);
    uint8_t *got = malloc(filled + 4);
    CHECK(read(sink[IN], got, filled) == (ssize_t)filled);
    CHECK_INT(fs_plane_relay_ready(server, SERVER_CHANNEL, FS_RELAY_SINK), FS_OK);
    CHECK_INT(fs_plane_fill(server), FS_OK);
    CHECK_INT(kept_of(server, SERVER_CHANNEL), 0);
    CHECK(read(sink[IN], got, filled) == 4 && memcmp(got, "word", 4) == 0);
    cursor = 0;
    CHECK(fs_plane_relay_waits(server, 1, &cursor, &event) && event.b == FS_RELAY_SOURCE);
    free(got);
    fs_plane_free(client);
    fs_plane_free(server);
    close_pair(source);
    close_pair(sink);
}

/* Between our KEXINIT and our new keys nothing of a source goes out, and a sink goes on. */
static void a_key_exchange_holds_sources_back_and_not_sinks(void)
{
    const uint8_t kexinit = 20, newkeys = 21, word[] = "word";
    static const uint8_t secret[256] = {9};
    fs_packet_keys keys = {.cipher = gcm(), .mac = fs_mac_find("none"), .key = secret, .iv = secret, .mac_key = secret};
    int source[2], sink[2];
    uint8_t got[16];
    size_t waiting, moved = 0;
    ends at_client = {0};
    fs_plane *client, *server = join(&client, gcm(), fs_mac_find("none"));
    pipe_pair(source);
    pipe_pair(sink);
    attach(server, SERVER_CHANNEL, source[IN], -1, sink[OUT], -1);
    CHECK_INT(fs_plane_send(server, &kexinit, 1), FS_OK);
    CHECK(write(source[OUT], word, 4) == 4);
    CHECK_INT(deliver(server, client, NULL, NULL, &moved), FS_OK);
    look(client, &at_client);
    CHECK_INT(at_client.data, 0);
    CHECK_INT(fs_plane_channel_write(client, CLIENT_CHANNEL, 0, word, 4, &waiting), FS_OK);
    CHECK_INT(deliver(client, server, NULL, NULL, &moved), FS_OK);
    CHECK(read(sink[IN], got, sizeof got) == 4);
    CHECK_INT(fs_plane_send(server, &newkeys, 1), FS_OK);
    CHECK_INT(deliver(server, client, NULL, NULL, &moved), FS_OK);
    fs_plane_clear_events(client);
    CHECK_INT(fs_plane_set_send_keys(server, keys, 0), FS_OK);
    CHECK_INT(fs_plane_set_receive_keys(client, keys, 0), FS_OK);
    CHECK_INT(deliver(server, client, NULL, NULL, &moved), FS_OK); /* by itself */
    look(client, &at_client);
    CHECK_INT(at_client.data, 4);
    fs_plane_free(client);
    fs_plane_free(server);
    close_pair(source);
    close_pair(sink);
}

/* --- how it ends ------------------------------------------------------------------------------------------------- */

/* A peer without window still hears that there is no more. */
static void an_end_is_found_without_window(void)
{
    int source[2];
    ends at_client = {0}, at_server = {0};
    static uint8_t block[WINDOW];
    fs_plane *client, *server = join(&client, gcm(), fs_mac_find("none"));
    pipe_pair(source);
    attach(server, SERVER_CHANNEL, source[IN], -1, -1, -1);
    attach(client, CLIENT_CHANNEL, -1, -1, -1, -1);
    fs_channel_find(server, SERVER_CHANNEL)->remote_window = 10;
    CHECK(write(source[OUT], block, 10) == 10);
    turn(client, server, &at_client, &at_server);
    CHECK_INT(at_server.done, 0);
    shut(&source[OUT]);
    turn(client, server, &at_client, &at_server);
    CHECK_INT(at_server.done, FS_RELAY_SOURCE);
    fs_plane_free(client);
    fs_plane_free(server);
    close_pair(source);
}

/* ... and what the source gives then is bounded, waits for the window, and comes first. */
static void what_is_read_ahead_stays_in_order(void)
{
    int source[2];
    uint8_t *content = random_bytes(60000), *back = malloc(60000);
    size_t moved = 0, got = 0, pending;
    ends at_server = {0};
    fs_plane *client, *server = join(&client, gcm(), fs_mac_find("none"));
    pipe_pair(source);
    attach(server, SERVER_CHANNEL, source[IN], -1, -1, -1);
    fs_channel *c = fs_channel_find(server, SERVER_CHANNEL);
    c->remote_window = 0;
    CHECK(write(source[OUT], content, 60000) == 60000);
    for (int i = 0; got < 60000; i++) {
        CHECK(i < 60000);
        for (int k = 0; k < 5; k++)
            CHECK_INT(fs_plane_fill(server), FS_OK);
        CHECK_INT(fs_plane_channel_pending(server, SERVER_CHANNEL, &pending), FS_OK);
        CHECK(pending <= 4096);
        c->remote_window += 1 + random_below(3000);
        all_ready(server, SERVER_CHANNEL);
        CHECK_INT(deliver(server, client, NULL, NULL, &moved), FS_OK);
        size_t cursor = 0;
        fs_event event;
        while (fs_plane_event(client, &cursor, &event)) {
            CHECK(event.kind == FS_EVENT_DATA && got + event.length <= 60000);
            memcpy(back + got, event.bytes, event.length);
            got += event.length;
        }
        fs_plane_clear_events(client);
        look(server, &at_server);
    }
    CHECK_BYTES(back, content, 60000);
    free(content);
    free(back);
    fs_plane_free(client);
    fs_plane_free(server);
    close_pair(source);
}

/* A program that closed its input: the caller is told once, and everything after it is dropped with credit. */
static void a_sink_that_breaks_drops_what_follows(void)
{
    static uint8_t block[MAX_PACKET];
    int sink[2];
    ends at_client = {0}, at_server = {0};
    size_t waiting = 0;
    fs_plane *client, *server = join(&client, gcm(), fs_mac_find("none"));
    pipe_pair(sink);
    fill_pipe(sink[OUT]);
    attach(server, SERVER_CHANNEL, -1, -1, sink[OUT], -1);
    attach(client, CLIENT_CHANNEL, -1, -1, -1, -1);
    for (int i = 0; i < 10; i++)
        CHECK_INT(fs_plane_channel_write(client, CLIENT_CHANNEL, 0, block, sizeof block, &waiting), FS_OK);
    turn(client, server, &at_client, &at_server);
    CHECK_INT(kept_of(server, SERVER_CHANNEL), 10 * MAX_PACKET);
    shut(&sink[IN]);
    for (int i = 0; i < 2 * WINDOW / MAX_PACKET; i++) {
        CHECK_INT(fs_plane_channel_write(client, CLIENT_CHANNEL, 0, block, sizeof block, &waiting), FS_OK);
        turn(client, server, &at_client, &at_server);
    }
    turn(client, server, &at_client, &at_server);
    CHECK_INT(fs_plane_channel_pending(client, CLIENT_CHANNEL, &waiting), FS_OK);
    CHECK_INT(waiting, 0);
    CHECK_INT(at_server.done, FS_RELAY_SINK);
    CHECK_INT(at_server.errors[2], EPIPE);
    fs_plane_free(client);
    fs_plane_free(server);
    close_pair(sink);
}

static void released_ends_are_not_touched_any_more(void)
{
    static uint8_t block[1000];
    int both[2], sink[2];
    ends at_client = {0}, at_server = {0};
    size_t waiting;
    fs_plane *client, *server = join(&client, gcm(), fs_mac_find("none"));
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, both) == 0);
    pipe_pair(sink);
    fill_pipe(sink[OUT]);
    attach(server, SERVER_CHANNEL, both[0], -1, sink[OUT], -1);
    attach(client, CLIENT_CHANNEL, -1, -1, -1, -1);
    CHECK_INT(fs_plane_channel_write(client, CLIENT_CHANNEL, 0, block, sizeof block, &waiting), FS_OK);
    turn(client, server, &at_client, &at_server);
    CHECK_INT(kept_of(server, SERVER_CHANNEL), sizeof block);
    CHECK_INT(fs_plane_relay_release(server, SERVER_CHANNEL, FS_RELAY_SOURCE | FS_RELAY_SINK), FS_OK);
    CHECK_INT(fs_plane_relay_release(server, SERVER_CHANNEL, 15), FS_OK); /* again */
    CHECK_INT(kept_of(server, SERVER_CHANNEL), 0);
    CHECK_INT(fs_channel_find(server, SERVER_CHANNEL)->unacknowledged, sizeof block);
    CHECK(write(both[1], block, 10) == 10);
    CHECK_INT(fs_plane_channel_write(client, CLIENT_CHANNEL, 0, block, sizeof block, &waiting), FS_OK);
    CHECK_INT(fs_plane_channel_eof(client, CLIENT_CHANNEL), FS_OK);
    turn(client, server, &at_client, &at_server);
    CHECK_INT(at_server.done, 0);
    CHECK(read(both[0], block, sizeof block) == 10); /* it was left alone */
    fs_plane_free(client);
    fs_plane_free(server);
    close_pair(both);
    close_pair(sink);
}

static void a_socket_that_is_both_ends_half_closes(void)
{
    int near[2], far[2];
    uint8_t got[16];
    ends at_client = {0}, at_server = {0};
    fs_plane *client, *server = join(&client, gcm(), fs_mac_find("none"));
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, near) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, far) == 0);
    attach(client, CLIENT_CHANNEL, near[0], -1, near[0], -1);
    attach(server, SERVER_CHANNEL, far[0], -1, far[0], -1);
    CHECK(write(near[1], "ask", 3) == 3 && shutdown(near[1], SHUT_WR) == 0);
    for (int i = 0; i < 2; i++) /* what there is, then its end */
        turn(client, server, &at_client, &at_server);
    CHECK_INT(at_client.done, FS_RELAY_SOURCE);
    CHECK(read(far[1], got, sizeof got) == 3 && at_server.done == 0);
    CHECK_INT(fs_plane_channel_eof(client, CLIENT_CHANNEL), FS_OK);
    turn(client, server, &at_client, &at_server);
    CHECK_INT(at_server.done, FS_RELAY_SINK);
    CHECK(write(far[1], "answer", 6) == 6);
    turn(client, server, &at_client, &at_server);
    CHECK(read(near[1], got, sizeof got) == 6);
    shut(&far[1]);
    turn(client, server, &at_client, &at_server);
    CHECK_INT(at_server.done, FS_RELAY_SINK | FS_RELAY_SOURCE);
    fs_plane_free(client);
    fs_plane_free(server);
    close_pair(near);
    close_pair(far);
}

/* After the peer's CLOSE the caller takes over what its sink has not taken. */
static void what_waits_survives_the_close_for_the_caller(void)
{
    int sink[2];
    ends at_client = {0}, at_server = {0};
    size_t waiting;
    fs_relay_kept kept;
    fs_plane *client, *server = join(&client, gcm(), fs_mac_find("none"));
    pipe_pair(sink);
    fill_pipe(sink[OUT]);
    attach(server, SERVER_CHANNEL, -1, -1, sink[OUT], -1);
    attach(client, CLIENT_CHANNEL, -1, -1, -1, -1);
    CHECK_INT(fs_plane_channel_write(client, CLIENT_CHANNEL, 0, (const uint8_t *)"last", 4, &waiting), FS_OK);
    CHECK_INT(fs_plane_channel_close(client, CLIENT_CHANNEL), FS_OK);
    turn(client, server, &at_client, &at_server);
    CHECK_INT(fs_plane_channel_close(server, SERVER_CHANNEL), FS_OK);
    CHECK_INT(fs_plane_relay_kept(server, SERVER_CHANNEL, 0, &kept), FS_OK);
    CHECK(kept.lengths[0] == 4 && memcmp(kept.bytes[0], "last", 4) == 0);
    turn(client, server, &at_client, &at_server);
    CHECK_INT(at_server.done, 0);
    fs_plane_channel_remove(server, SERVER_CHANNEL);
    fs_plane_free(client);
    fs_plane_free(server);
    close_pair(sink);
}

static void what_came_before_the_descriptors_is_fed(void)
{
    int sink[2];
    uint8_t got[16];
    size_t waiting, moved = 0;
    ends at_client = {0}, at_server = {0};
    fs_plane *client, *server = join(&client, gcm(), fs_mac_find("none"));
    pipe_pair(sink);
    CHECK_INT(fs_plane_channel_write(client, CLIENT_CHANNEL, 0, (const uint8_t *)"early", 5, &waiting), FS_OK);
    CHECK_INT(fs_plane_channel_eof(client, CLIENT_CHANNEL), FS_OK);
    CHECK_INT(deliver(client, server, NULL, NULL, &moved), FS_OK);
    look(server, &at_server);
    CHECK_INT(at_server.data, 5);
    attach(server, SERVER_CHANNEL, -1, -1, sink[OUT], -1);
    attach(client, CLIENT_CHANNEL, -1, -1, -1, -1);
    CHECK_INT(fs_plane_relay_feed(server, SERVER_CHANNEL, 0, (const uint8_t *)"too much", 8), FS_E_ARGUMENT);
    CHECK_INT(fs_plane_relay_feed(server, SERVER_CHANNEL, 0, (const uint8_t *)"early", 5), FS_OK);
    CHECK_INT(fs_plane_relay_feed(server, SERVER_CHANNEL, 0, (const uint8_t *)"again", 5), FS_E_ARGUMENT);
    turn(client, server, &at_client, &at_server);
    CHECK(read(sink[IN], got, sizeof got) == 5 && memcmp(got, "early", 5) == 0);
    CHECK_INT(at_server.done, FS_RELAY_SINK);
    CHECK_INT(fs_plane_relay_attach(server, SERVER_CHANNEL, (int[]){-1, -1, -1, -1}), FS_E_CHANNEL); /* once */
    CHECK_INT(fs_plane_relay_feed(server, 99, 0, NULL, 0), FS_E_CHANNEL);
    fs_plane_free(client);
    fs_plane_free(server);
    close_pair(sink);
}

/* --- the ring ---------------------------------------------------------------------------------------------------- */

static void a_ring_is_a_queue(void)
{
    fs_ring ring = {0};
    uint8_t *content = random_bytes(300000);
    size_t put = 0, taken = 0;
    while (taken < 300000) {
        size_t n = random_below(20000), left = 300000 - put;
        if (n > left)
            n = left;
        int full = ring.len + n > 50000;
        CHECK_INT(fs_ring_put(&ring, content + put, n, 50000), full ? FS_E_QUEUE : FS_OK);
        put += full ? 0 : n;
        CHECK(ring.len == put - taken && ring.capacity <= 65536);
        struct iovec spans[2];
        int count = fs_ring_spans(&ring, spans);
        size_t at = taken;
        for (int i = 0; i < count; i++) {
            CHECK(spans[i].iov_len > 0 && at + spans[i].iov_len <= put);
            CHECK_BYTES(spans[i].iov_base, content + at, spans[i].iov_len);
            at += spans[i].iov_len;
        }
        CHECK_INT(at, put);
        n = random_below(25000);
        if (n > ring.len)
            n = ring.len;
        fs_ring_drop(&ring, n);
        taken += n;
    }
    fs_ring_free(&ring);
    free(content);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as Python does */
    RUN(a_ring_is_a_queue);
    RUN(every_suite_carries_a_stream);
    RUN(every_size_arrives_whole_and_then_its_end);
    RUN(stderr_goes_apart);
    RUN(neither_source_starves_the_other);
    RUN(row12_a_sink_that_takes_nothing_costs_no_more_than_its_window);
    RUN(row12_single_bytes_cost_what_they_weigh);
    RUN(the_caller_hears_what_to_watch);
    RUN(a_key_exchange_holds_sources_back_and_not_sinks);
    RUN(an_end_is_found_without_window);
    RUN(what_is_read_ahead_stays_in_order);
    RUN(a_sink_that_breaks_drops_what_follows);
    RUN(released_ends_are_not_touched_any_more);
    RUN(a_socket_that_is_both_ends_half_closes);
    RUN(what_waits_survives_the_close_for_the_caller);
    RUN(what_came_before_the_descriptors_is_fed);
    return 0;
}
