/* Two planes joined in memory, a client's and a server's, with keys of any suite and one channel. */
#ifndef FS_TEST_PLANE_PAIRS_H
#define FS_TEST_PLANE_PAIRS_H

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

/* Moves what `from` has to `to` in random pieces; each piece in its own allocation, so that a sanitizer sees its end.
 * `blocked` is called when `to` wants its events to be read first. */
static int deliver(fs_plane *from, fs_plane *to, void (*blocked)(void *), void *context, size_t *moved)
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
        if (taken < n && blocked != NULL)
            blocked(context);
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
    CHECK(deliver(from, to, NULL, NULL, &moved) == FS_OK);
    fs_plane_clear_events(to);
    CHECK(fs_plane_send(from, &newkeys, 1) == FS_OK);
    CHECK(deliver(from, to, NULL, NULL, &moved) == FS_OK);
    fs_plane_clear_events(to);
    CHECK(fs_plane_set_send_keys(from, keys, 1) == FS_OK);
    CHECK(fs_plane_set_receive_keys(to, keys, 1) == FS_OK);
}

/* A server's plane with the channel open at both sides; *client: the other one. */
static fs_plane *join(fs_plane **client, const fs_cipher_info *cipher, const fs_mac_info *mac)
{
    int status;
    size_t moved = 0;
    uint8_t confirmation[17] = {91};
    fs_plane *server = fs_plane_new(0, 0, &status);
    *client = fs_plane_new(0, 0, &status);
    CHECK(*client != NULL && server != NULL);
    set_keys(*client, server, cipher, mac);
    set_keys(server, *client, cipher, mac);
    CHECK(fs_plane_channel_add(*client, CLIENT_CHANNEL, WINDOW, MAX_PACKET) == FS_OK);
    CHECK(fs_plane_channel_add(server, SERVER_CHANNEL, WINDOW, MAX_PACKET) == FS_OK);
    fs_put_u32(confirmation + 5, SERVER_CHANNEL);
    fs_put_u32(confirmation + 9, WINDOW);
    fs_put_u32(confirmation + 13, MAX_PACKET);
    CHECK(fs_plane_send(server, confirmation, sizeof confirmation) == FS_OK);
    CHECK(fs_plane_channel_confirm(server, SERVER_CHANNEL, CLIENT_CHANNEL, WINDOW, MAX_PACKET) == FS_OK);
    CHECK(deliver(server, *client, NULL, NULL, &moved) == FS_OK);
    fs_plane_clear_events(*client);
    return server;
}

static inline int temporary_file(void)
{
    char name[] = "/tmp/fastssh-test-plane-XXXXXX";
    int fd = mkstemp(name);
    CHECK(fd >= 0);
    unlink(name);
    return fd;
}

/* Random bytes; a file that holds them. */
static uint8_t *random_bytes(size_t size)
{
    uint8_t *bytes = malloc(size + 1);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)random_below(256);
    return bytes;
}

static inline int file_of(const uint8_t *bytes, size_t size)
{
    int fd = temporary_file();
    CHECK(pwrite(fd, bytes, size, 0) == (ssize_t)size);
    return fd;
}

#endif
