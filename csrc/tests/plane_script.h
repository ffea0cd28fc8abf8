/* A client plane run by a script of bytes: what the peer sends, what the caller asks for and how the bytes are cut all
 * come out of the script, so that a fuzzer or a random generator drives both sides at once. The peer's packets are in
 * clear (cipher "none").
 *
 * A model beside the plane knows what each side may do, and everything that the plane sends is held against it:
 * windows, packet sizes, states, key exchange, what files and pipes hold. As long as the script only does what is
 * allowed
 * (`trusted`) the plane must not fail, and at the end, when the peer has answered everything, every transfer must have
 * ended. */
#ifndef FS_PLANE_SCRIPT_H
#define FS_PLANE_SCRIPT_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "internal.h"
#include "serve.h"

enum { CHANNELS = 3, FILE_SIZE = 150001, LOCAL_PACKET = 32768, MOST_OPS = 3000 };
enum { OUTSTANDING = CHANNELS * FS_SFTP_REQUESTS, TRANSFERS = 256 };
enum { ASKED = 512, SLOTS = 4, USES = 64, SYSTEM = 1000, CALLER = 8 }; /* SYSTEM + errno: codes of our table */
enum { FD_FILE, FD_FULL, FD_NULL, FD_PIPE, FDS };

typedef struct script_request {
    uint32_t channel, id, length;
    uint64_t offset;
    uint8_t type;
} script_request;

/* A request of the peer's on a channel that is served; by: the caller answers it. */
typedef struct script_asked {
    uint32_t id, handle, length;
    uint64_t offset;
    uint8_t type, by_caller;
} script_asked;

/* What is registered with a channel: handles by slot, and what each handle ever led to. */
typedef struct script_files {
    uint32_t handles[SLOTS];
    uint8_t registered[SLOTS], fds[USES];
    uint32_t uses;
} script_files;

/* A channel joined to four pipes, by end. Of each stream the n-th byte is content(n). */
typedef struct script_relay {
    int theirs[FS_RELAY_ENDS], ours[FS_RELAY_ENDS]; /* the plane's, and the other side of each; -1: closed */
    uint64_t in[FS_RELAY_ENDS];                     /* bytes given to a source, or sent by the peer for a sink */
    uint64_t out[FS_RELAY_ENDS];                    /* bytes sent by the plane, or found behind a sink */
    uint32_t done, left;                            /* ends: told of; broken or released by the script */
} script_relay;

typedef struct script_channel {
    uint8_t added, open, attached, serving, relayed, stalled, end, eof_sent, close_sent, peer_eof, peer_closed,
        eof_asked, close_asked;
    uint32_t credit, max_packet; /* what the plane may send */
    uint64_t window;             /* what the peer may send */
    uint32_t window_max, unread; /* unread: events not yet consumed */
    fs_buffer stream;            /* SFTP replies on their way */
    fs_buffer received;          /* SFTP requests, not yet whole */
    /* served: then stream holds requests, received replies */
    script_asked asked[ASKED]; /* a ring: not yet answered */
    uint32_t asked_next, asked_count, ids, stalled_id;
    script_files files;
    script_relay relay;
} script_channel;

typedef struct script_transfer {
    uint8_t used, kind, fd, to_end, ended;
    uint32_t channel;
    uint64_t offset;
    int64_t size;
} script_transfer;

typedef struct script {
    const uint8_t *data;
    size_t len;
    fs_plane *plane;
    fs_sealer *sealer; /* the peer's */
    fs_opener *opener;
    fs_zlib *deflate, *inflate; /* the peer's */
    fs_buffer wire;             /* sealed by the peer, not yet fed */
    fs_buffer sent;             /* taken from the plane, not yet a whole packet */
    uint8_t trusted, our_kex, peer_kex, awaiting, disconnected;
    size_t fragment;
    script_channel channels[CHANNELS];
    script_request requests[OUTSTANDING];
    uint32_t request_count;
    script_transfer transfers[TRANSFERS];
} script;

static int script_fds[FDS] = {-1};

static uint8_t content(uint64_t offset)
{
    return (uint8_t)(offset ^ offset >> 8 ^ (offset >> 16) * 7);
}

static void open_files(void)
{
    static uint8_t bytes[FILE_SIZE];
    int ends[2];
    if (script_fds[FD_FILE] < 0) {
        signal(SIGPIPE, SIG_IGN); /* as Python does */
        script_fds[FD_FILE] = memfd_create("script", MFD_CLOEXEC);
        script_fds[FD_FULL] = open("/dev/full", O_RDWR | O_CLOEXEC);
        script_fds[FD_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC);
        CHECK(pipe(ends) == 0);
        script_fds[FD_PIPE] = ends[0]; /* cannot seek */
        for (size_t i = 0; i < FILE_SIZE; i++)
            bytes[i] = content(i);
    }
    CHECK(ftruncate(script_fds[FD_FILE], 0) == 0); /* source and sink: a get writes what is there already */
    CHECK(pwrite(script_fds[FD_FILE], bytes, FILE_SIZE, 0) == FILE_SIZE);
}

/* --- the script's numbers ----------------------------------------------------------------------------------------- */

static uint32_t script_byte(script *s)
{
    if (s->len == 0)
        return 0;
    s->len--;
    return *s->data++;
}

/* 0..bound - 1: small, large or edges, as one byte says. */
static uint32_t script_number(script *s, uint32_t bound)
{
    uint32_t how = script_byte(s), value;
    if (how < 128)
        value = how;
    else if (how < 224)
        value = (how << 16 | script_byte(s) << 8 | script_byte(s)) * 2654435761u >> 8;
    else if (how < 240)
        value = how - 224;
    else
        value = bound - 1 - (how - 240);
    return bound ? value % bound : value;
}

static void append(fs_buffer *b, const void *bytes, size_t len)
{
    CHECK(fs_buffer_reserve(b, len, SIZE_MAX / 2) == FS_OK);
    if (len)
        memcpy(b->data + b->tail, bytes, len);
    b->tail += len;
}

#include "plane_script_sftp.h"

/* --- what the plane sends ----------------------------------------------------------------------------------------- */

/* What the sources gave, in order. */
static void relay_sent(script_relay *r, int end, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        CHECK(bytes[i] == content(r->out[end] + i));
    r->out[end] += len;
    CHECK(r->out[end] <= r->in[end]);
}

static void plane_channel_message(script *s, const uint8_t *m, size_t len)
{
    CHECK(len >= 5);
    uint32_t number = fs_get_u32(m + 1) - 100; /* the peer's number for it */
    CHECK(number < CHANNELS);
    script_channel *c = &s->channels[number];
    CHECK(c->open && !c->close_sent);
    if (m[0] == SSH_MSG_CHANNEL_WINDOW_ADJUST) {
        CHECK(len == 9 && fs_get_u32(m + 5) > 0);
        c->window += fs_get_u32(m + 5);
        CHECK(c->window <= c->window_max);
    } else if (m[0] == SSH_MSG_CHANNEL_DATA || m[0] == SSH_MSG_CHANNEL_EXTENDED_DATA) {
        size_t header = m[0] == SSH_MSG_CHANNEL_DATA ? 9 : 13;
        CHECK(len > header && fs_get_u32(m + header - 4) == len - header && !c->eof_sent);
        CHECK(len - header <= c->credit && len - header <= c->max_packet);
        c->credit -= (uint32_t)(len - header);
        if (c->attached && m[0] == SSH_MSG_CHANNEL_DATA) {
            append(&c->received, m + header, len - header);
            plane_requests(s, number);
        }
        if (c->serving && m[0] == SSH_MSG_CHANNEL_DATA) {
            append(&c->received, m + header, len - header);
            plane_replies(s, number);
        }
        if (c->relayed)
            relay_sent(&c->relay, m[0] == SSH_MSG_CHANNEL_EXTENDED_DATA, m + header, len - header);
    } else if (m[0] == SSH_MSG_CHANNEL_EOF) {
        CHECK(len == 5 && !c->eof_sent && c->eof_asked);
        c->eof_sent = 1;
    } else {
        CHECK(m[0] == SSH_MSG_CHANNEL_CLOSE && len == 5 && c->close_asked);
        c->close_sent = 1;
    }
}

static void plane_message(script *s, const uint8_t *m, size_t len)
{
    CHECK(!s->disconnected);
    if (s->our_kex == 1)
        CHECK(m[0] <= SSH_MSG_DEBUG || m[0] == SSH_MSG_NEWKEYS);
    if (m[0] == SSH_MSG_KEXINIT)
        s->our_kex = 1;
    if (m[0] == SSH_MSG_NEWKEYS)
        s->our_kex = 0;
    if (m[0] == SSH_MSG_DISCONNECT)
        s->disconnected = 1;
    if (m[0] >= SSH_MSG_CHANNEL_WINDOW_ADJUST && m[0] <= SSH_MSG_CHANNEL_CLOSE)
        plane_channel_message(s, m, len);
}

/* Takes at most `most` bytes of what is sealed, and looks at every packet that is whole. */
static size_t take(script *s, size_t most)
{
    const uint8_t *data;
    int status = fs_plane_fill(s->plane);
    CHECK(status == FS_OK || !s->trusted);
    size_t n = fs_plane_unsent(s->plane, &data), count, used, need;
    CHECK(n <= FS_OUT_LIMIT);
    if (n > most)
        n = most;
    append(&s->sent, data, n);
    fs_plane_drop(s->plane, n);
    fs_packet packet;
    while (fs_buffer_len(&s->sent) > 0 && fs_open_batch(s->opener, s->sent.data + s->sent.head, fs_buffer_len(&s->sent),
                                                        &packet, 1, &count, &used, &need) == FS_OK) {
        uint8_t *payload = packet.payload;
        size_t len = packet.payload_len;
        if (s->inflate != NULL)
            CHECK(fs_zlib_run(s->inflate, payload, len, &payload, &len) == FS_OK);
        plane_message(s, payload, len);
        fs_buffer_drop(&s->sent, used);
    }
    return n;
}

/* --- what the peer sends ------------------------------------------------------------------------------------------ */

static void peer_send(script *s, const uint8_t *message, size_t len)
{
    uint8_t *payload = (uint8_t *)(uintptr_t)message;
    if (s->deflate != NULL)
        CHECK(fs_zlib_run(s->deflate, message, len, &payload, &len) == FS_OK);
    size_t size = fs_sealed_size(s->sealer, len);
    CHECK(size > 0 && fs_buffer_reserve(&s->wire, size, SIZE_MAX / 2) == FS_OK);
    fs_packet packet = {.start = s->wire.data + s->wire.tail, .payload_len = len};
    memcpy(packet.start + FS_PACKET_HEADER, payload, len);
    CHECK(fs_seal_batch(s->sealer, &packet, 1) == FS_OK);
    s->wire.tail += packet.total;
}

static void peer_numbers(script *s, uint8_t number, const uint32_t *values, size_t count)
{
    uint8_t message[64] = {number};
    for (size_t i = 0; i < count; i++)
        fs_put_u32(message + 1 + 4 * i, values[i]);
    peer_send(s, message, 1 + 4 * count);
}

static int peer_may_send(const script *s, const script_channel *c)
{
    return c->open && !c->peer_closed && !s->peer_kex && !s->awaiting;
}

static void peer_data(script *s, uint32_t number, const uint8_t *data, size_t len, uint32_t extended)
{
    static uint8_t message[13 + LOCAL_PACKET] = {0};
    size_t header = extended ? 13 : 9;
    message[0] = extended ? SSH_MSG_CHANNEL_EXTENDED_DATA : SSH_MSG_CHANNEL_DATA;
    fs_put_u32(message + 1, number);
    if (extended)
        fs_put_u32(message + 5, extended);
    fs_put_u32(message + header - 4, (uint32_t)len);
    memcpy(message + header, data, len);
    peer_send(s, message, header + len);
    s->channels[number].window -= len;
}

/* A packet of the channel's stream of SFTP messages. */
static int peer_stream(script *s, uint32_t number, size_t most)
{
    script_channel *c = &s->channels[number];
    size_t n = fs_buffer_len(&c->stream);
    if (n > most)
        n = most;
    if (n > c->window)
        n = (size_t)c->window;
    if (n > LOCAL_PACKET)
        n = LOCAL_PACKET;
    if (n == 0 || !peer_may_send(s, c) || c->peer_eof)
        return 0;
    peer_data(s, number, c->stream.data + c->stream.head, n, 0);
    fs_buffer_drop(&c->stream, n);
    return 1;
}

/* --- what the caller does ----------------------------------------------------------------------------------------- */

#include "plane_script_relay.h"

static void read_events(script *s)
{
    size_t cursor = 0;
    fs_event event;
    uint8_t newkeys = 0;
    while (fs_plane_event(s->plane, &cursor, &event)) {
        if (event.kind == FS_EVENT_MESSAGE && event.bytes[0] == SSH_MSG_NEWKEYS)
            newkeys = 1;
        if (event.kind == FS_EVENT_DATA && event.a < CHANNELS)
            s->channels[event.a].unread += event.length;
        if (event.kind == FS_EVENT_SFTP && event.a < CHANNELS && s->channels[event.a].serving)
            served_event(s, event.a, event.bytes, event.length);
        if (event.kind == FS_EVENT_RELAY && event.a < CHANNELS)
            relay_event(s, &s->channels[event.a], event.b);
        if (event.kind == FS_EVENT_SFTP_END) {
            CHECK(event.a < CHANNELS && s->channels[event.a].peer_eof && !s->channels[event.a].end);
            s->channels[event.a].end = 1;
        }
        if (event.kind == FS_EVENT_TRANSFER) {
            CHECK(event.b < TRANSFERS && s->transfers[event.b].used && !s->transfers[event.b].ended);
            s->transfers[event.b].ended = 1;
        }
    }
    CHECK(cursor <= FS_EVENTS_HARD_LIMIT);
    fs_plane_clear_events(s->plane);
    if (newkeys) {
        fs_packet_keys none = {.cipher = fs_cipher_find("none"),
                               .mac = fs_mac_find("none"),
                               .key = (const uint8_t *)"",
                               .iv = (const uint8_t *)"",
                               .mac_key = (const uint8_t *)""};
        CHECK(fs_plane_set_receive_keys(s->plane, none, 1) == FS_OK);
        s->awaiting = 0;
    }
}

/* Feeds what is on the wire in fragments; 0 when the plane has failed. */
static int feed(script *s, int events)
{
    size_t taken = 0;
    int status = FS_OK;
    for (int more = 1; status == FS_OK && more;) {
        size_t n = fs_buffer_len(&s->wire);
        if (n > s->fragment)
            n = s->fragment;
        uint8_t *piece = malloc(n + 1); /* of its own, so that a sanitizer sees its end */
        if (n)
            memcpy(piece, s->wire.data + s->wire.head, n);
        status = fs_plane_feed(s->plane, piece, n, &taken);
        free(piece);
        fs_buffer_drop(&s->wire, taken);
        more = taken > 0;
        if (events && fs_plane_has_events(s->plane)) {
            read_events(s);
            more = 1;
        }
    }
    if (s->trusted)
        CHECK_INT(status, FS_OK);
    return status == FS_OK;
}

static void local_call(script *s, uint32_t number)
{
    script_channel *c = &s->channels[number];
    static const uint8_t zeros[70000];
    size_t pending;
    switch (script_byte(s) % 12) {
    case 0: /* a request of the caller's own, or any bytes */
        if (c->relayed) {
            relay_call(s, number);
        } else if (c->serving) {
            served_answer(s, number); /* anything else is none of the peer's business */
        } else if (c->attached) {
            uint8_t message[9] = {0, 0, 0, 5, 5, 0, 0, 0, 1};
            fs_plane_channel_write(s->plane, number, 0, message, sizeof message, &pending);
        } else {
            uint32_t stream = script_byte(s) & 1;
            fs_plane_channel_write(s->plane, number, stream, zeros, script_number(s, sizeof zeros), &pending);
        }
        break;
    case 1:
        if (fs_plane_channel_eof(s->plane, number) == FS_OK)
            c->eof_asked = 1;
        break;
    case 2:
        if (fs_plane_channel_close(s->plane, number) == FS_OK)
            c->close_asked = 1;
        break;
    case 3: {
        uint32_t n = script_number(s, c->unread + 1);
        if (c->added && n > 0) {
            CHECK(fs_plane_channel_consumed(s->plane, number, n) == FS_OK || !s->trusted); /* not if removed */
            c->unread -= n;
        }
        break;
    }
    case 4:
        if (c->added && !c->open && !c->attached && !c->serving && !c->relayed)
            c->attached = fs_plane_sftp_attach(s->plane, number) == FS_OK;
        break;
    case 5:
    case 6:
    case 7:
        start_transfer(s, number);
        break;
    case 8:
        fs_plane_transfer_cancel(s->plane, script_number(s, TRANSFERS));
        break;
    case 9: {
        fs_transfer_result result;
        uint32_t transfer = script_number(s, TRANSFERS);
        script_transfer *t = &s->transfers[transfer];
        fs_plane_transfer_progress(s->plane, transfer);
        if (!t->ended)
            break;
        CHECK(fs_plane_transfer_result(s->plane, transfer, &result) == FS_OK);
        check_result(s, t, &result);
        t->used = t->ended = 0;
        break;
    }
    case 10: {
        uint64_t rate = script_byte(s) & 1 ? 0 : script_number(s, 0);
        fs_plane_set_send_rate(s->plane, rate << (script_byte(s) % 40));
        break;
    }
    case 11:
        if (c->close_sent && c->peer_closed && fs_buffer_len(&s->wire) == 0) {
            read_events(s);
            fs_plane_channel_remove(s->plane, number);
            relay_over(c);
            fs_buffer_free(&c->stream);
            fs_buffer_free(&c->received);
            *c = (script_channel){0};
            for (uint32_t i = s->request_count; i-- > 0;)
                if (s->requests[i].channel == number)
                    s->requests[i] = s->requests[--s->request_count];
        } else if (script_byte(s) == 7) { /* at any moment */
            fs_plane_channel_remove(s->plane, number);
            s->trusted = 0;
        }
        break;
    }
}

static void local_kex(script *s)
{
    const uint8_t kexinit = SSH_MSG_KEXINIT, newkeys = SSH_MSG_NEWKEYS;
    fs_packet_keys none = {.cipher = fs_cipher_find("none"),
                           .mac = fs_mac_find("none"),
                           .key = (const uint8_t *)"",
                           .iv = (const uint8_t *)"",
                           .mac_key = (const uint8_t *)""};
    if (fs_plane_sending_kex(s->plane)) {
        CHECK(fs_plane_send(s->plane, &newkeys, 1) == FS_OK);
        CHECK(fs_plane_set_send_keys(s->plane, none, 1) == FS_OK);
    } else {
        CHECK(fs_plane_send(s->plane, &kexinit, 1) == FS_OK);
    }
}

static void peer_kex(script *s)
{
    if (s->awaiting)
        return;
    peer_numbers(s, s->peer_kex ? SSH_MSG_NEWKEYS : SSH_MSG_KEXINIT, NULL, 0);
    s->awaiting = s->peer_kex;
    s->peer_kex = !s->peer_kex;
}

/* Switches at points where both sides agree that nothing is under way. */
static void switch_compression(script *s, int receiving, int on)
{
    fs_plane *p = s->plane;
    s->fragment = SIZE_MAX / 4;
    if (receiving) {
        if (!feed(s, 1) || s->awaiting || p->in_head != p->in_tail || p->batch_next != p->batch_count)
            return;
        CHECK(fs_plane_set_receive_compression(p, 0) == FS_OK && fs_plane_set_receive_compression(p, on) == FS_OK);
        fs_zlib_free(s->deflate);
        s->deflate = on ? fs_zlib_new(0) : NULL;
    } else {
        take(s, SIZE_MAX);
        while (take(s, SIZE_MAX) > 0) {
        }
        CHECK(fs_plane_set_send_compression(p, 0) == FS_OK && fs_plane_set_send_compression(p, on) == FS_OK);
        fs_zlib_free(s->inflate);
        s->inflate = on ? fs_zlib_new(1) : NULL;
    }
}

/* --- one operation ------------------------------------------------------------------------------------------------ */

static void add_channel(script *s, uint32_t number)
{
    script_channel *c = &s->channels[number];
    uint32_t window = script_number(s, 4000000);
    if (c->added)
        return;
    uint32_t how = script_byte(s) & 7;
    if (how == 4)
        window = 500 + window % 60000; /* soon used up */
    CHECK(fs_plane_channel_add(s->plane, number, window, LOCAL_PACKET) == FS_OK);
    *c = (script_channel){.added = 1, .window = window, .window_max = window};
    if (how == 4)
        relay_channel(s, number);
    else if ((how & 3) == 3)
        serve_channel(s, number);
    else if ((how & 3) > 0)
        c->attached = fs_plane_sftp_attach(s->plane, number) == FS_OK;
}

static void confirm_channel(script *s, uint32_t number)
{
    script_channel *c = &s->channels[number];
    if (!c->added || c->open || s->peer_kex || s->awaiting)
        return;
    c->credit = script_number(s, 3000000);
    c->max_packet = FS_CHANNEL_MIN_PACKET + script_number(s, 200000);
    c->open = 1;
    peer_numbers(s, SSH_MSG_CHANNEL_OPEN_CONFIRMATION, (uint32_t[]){number, 100 + number, c->credit, c->max_packet}, 4);
}

static void peer_adjust(script *s, uint32_t number, uint32_t count)
{
    script_channel *c = &s->channels[number];
    if (!peer_may_send(s, c) || count > UINT32_MAX - c->credit)
        return;
    c->credit += count;
    peer_numbers(s, SSH_MSG_CHANNEL_WINDOW_ADJUST, (uint32_t[]){number, count}, 2);
}

static void peer_ends(script *s, uint32_t number, int closes)
{
    script_channel *c = &s->channels[number];
    if (!peer_may_send(s, c) || (!closes && c->peer_eof))
        return;
    c->peer_eof = 1;
    c->peer_closed = (uint8_t)closes;
    peer_numbers(s, closes ? SSH_MSG_CHANNEL_CLOSE : SSH_MSG_CHANNEL_EOF, (uint32_t[]){number}, 1);
}

/* Anything at all, in one packet or as bytes of an SFTP channel. */
static void peer_malice(script *s, uint32_t number)
{
    uint8_t message[300];
    uint32_t how = script_byte(s), len = 1 + script_number(s, sizeof message - 1);
    if (how < 248)
        return; /* rare, or nothing else would get far */
    for (uint32_t i = 0; i < len; i++)
        message[i] = (uint8_t)script_byte(s);
    s->trusted = 0;
    if (how < 251)
        peer_send(s, message, len);
    else if (how < 254 && s->channels[number].added)
        append(&s->channels[number].stream, message, len);
    else
        append(&s->wire, message, len);
}

static void operation(script *s)
{
    uint32_t op = script_byte(s), number = op % CHANNELS;
    static const uint8_t zeros[LOCAL_PACKET];
    script_channel *c = &s->channels[number];
    switch (op / CHANNELS % 24) {
    case 0:
        add_channel(s, number);
        break;
    case 1:
        confirm_channel(s, number);
        break;
    case 2:
    case 3:
    case 4:
        local_call(s, number);
        break;
    case 5:
        take(s, SIZE_MAX);
        break;
    case 6:
        take(s, script_number(s, 100000));
        break;
    case 7:
        feed(s, 1);
        break;
    case 8:
        feed(s, script_byte(s) & 1);
        break;
    case 9:
        s->fragment = 1 + script_number(s, 70000);
        break;
    case 10:
        read_events(s);
        break;
    case 11:
        peer_adjust(s, number, script_number(s, 0));
        break;
    case 12:
    case 13:
        for (uint32_t n = 1 + script_number(s, 64); n > 0 && s->request_count > 0; n--) {
            uint32_t how = script_byte(s), length = how < 128 ? 0 : script_number(s, 40000);
            peer_reply(s, script_number(s, s->request_count), length, how == 127 ? 4 : 0);
        }
        break;
    case 14:
        for (uint32_t n = 1 + script_number(s, 64), most = 1 + script_number(s, LOCAL_PACKET); n > 0; n--) {
            if (c->relayed)
                peer_relay_data(s, number, n & 1, most);
            else
                peer_stream(s, number, most);
        }
        break;
    case 15:
        if (c->relayed) {
            uint32_t kind = script_byte(s) % 3;
            peer_relay_data(s, number, kind, script_number(s, LOCAL_PACKET + 1));
        } else if (peer_may_send(s, c) && !c->peer_eof) {
            uint32_t extended = c->attached || c->serving ? 1 : script_byte(s) % 3,
                     n = script_number(s, LOCAL_PACKET + 1);
            peer_data(s, number, zeros, n < c->window ? n : (size_t)c->window, extended);
        }
        break;
    case 16:
        if (script_byte(s) < 80)
            peer_ends(s, number, script_byte(s) & 1);
        break;
    case 17:
        if (script_byte(s) & 1)
            local_kex(s);
        else
            peer_kex(s);
        break;
    case 18: {
        uint32_t how = script_byte(s);
        switch_compression(s, how & 1, how & 2);
        break;
    }
    case 19:
        peer_malice(s, number);
        break;
    case 20:
    case 21:
        if (c->relayed)
            relay_call(s, number);
        else
            for (uint32_t n = 1 + script_number(s, 64); n > 0; n--)
                peer_request(s, number);
        break;
    case 22:
    case 23:
        if (c->relayed)
            relay_call(s, number);
        else
            served_call(s, number);
        break;
    }
}

/* The peer does all that it owes, until nothing moves any more: then nothing may be left undone. */
static void settle_all(script *s)
{
    for (uint32_t i = 0; i < CHANNELS; i++)
        if (s->channels[i].added && s->channels[i].window_max < 500)
            return; /* the peer could hardly answer */
    fs_plane_set_send_rate(s->plane, 0);
    s->fragment = SIZE_MAX / 4;
    if (fs_plane_sending_kex(s->plane))
        local_kex(s);
    if (s->peer_kex)
        peer_kex(s);
    for (int quiet = 0, rounds = 0; quiet < 2; quiet++, rounds++) {
        CHECK(rounds < 100000);
        if (!feed(s, 1))
            return;
        if (take(s, SIZE_MAX) > 0)
            quiet = 0;
        if (fs_plane_has_events(s->plane) || s->request_count > 0)
            quiet = 0;
        while (s->request_count > 0)
            peer_reply(s, s->request_count - 1, 0, 0);
        for (uint32_t i = 0; i < CHANNELS; i++) {
            if (s->channels[i].credit < 1000000)
                peer_adjust(s, i, 1000000);
            while (peer_stream(s, i, LOCAL_PACKET))
                quiet = 0;
            if (s->channels[i].stalled || relay_settle(s, i))
                quiet = 0;
            served_answer(s, i);
        }
    }
    if (!s->trusted)
        return;
    for (uint32_t i = 0; i < TRANSFERS; i++) {
        const script_transfer *t = &s->transfers[i];
        fs_transfer_result result;
        if (!t->used)
            continue;
        CHECK(t->ended);
        CHECK(fs_plane_transfer_result(s->plane, i, &result) == FS_OK);
        check_result(s, t, &result);
    }
    CHECK_INT(s->plane->active_transfers, 0);
    for (uint32_t i = 0; i < CHANNELS; i++) {
        const script_channel *c = &s->channels[i];
        relay_check_settled(c);
        if (!c->serving || !c->open || c->eof_asked || c->close_asked || c->peer_closed)
            continue;
        if (!c->peer_eof || fs_buffer_len(&c->stream) == 0)
            CHECK_INT(c->asked_count, 0);
        CHECK_INT(c->end, c->peer_eof);
    }
}

static void run_script(const uint8_t *data, size_t len)
{
    int status;
    fs_packet_keys none = {.cipher = fs_cipher_find("none"),
                           .mac = fs_mac_find("none"),
                           .key = (const uint8_t *)"",
                           .iv = (const uint8_t *)"",
                           .mac_key = (const uint8_t *)""};
    script *s = calloc(1, sizeof *s);
    open_files();
    *s = (script){.data = data, .len = len, .trusted = 1, .fragment = 30000};
    s->plane = fs_plane_new(0, 0, &status);
    s->sealer = fs_sealer_new(&none, &status);
    s->opener = fs_opener_new(&none, &status);
    CHECK(s->plane != NULL && s->sealer != NULL && s->opener != NULL);
    for (int ops = 0; s->len > 0 && ops < MOST_OPS && s->plane->failed == FS_OK; ops++)
        operation(s);
    if (s->plane->failed == FS_OK && len % 8 != 0)
        settle_all(s); /* or freed as it stands */
    const uint8_t disconnect = SSH_MSG_DISCONNECT;
    if (s->trusted) {
        CHECK(fs_plane_send(s->plane, &disconnect, 1) == FS_OK);
        take(s, SIZE_MAX);
        CHECK(s->disconnected && take(s, SIZE_MAX) == 0);
    }
    for (uint32_t i = 0; i < CHANNELS; i++) {
        if (len & 8)
            fs_plane_channel_remove(s->plane, i);
        fs_buffer_free(&s->channels[i].stream);
        fs_buffer_free(&s->channels[i].received);
    }
    fs_plane_free(s->plane);
    for (uint32_t i = 0; i < CHANNELS; i++)
        relay_over(&s->channels[i]);
    fs_sealer_free(s->sealer);
    fs_opener_free(s->opener);
    fs_zlib_free(s->deflate);
    fs_zlib_free(s->inflate);
    fs_buffer_free(&s->wire);
    fs_buffer_free(&s->sent);
    free(s);
}

#endif
