/* The least that any SSH transfer has to do: file -> AEAD -> one TCP stream -> AEAD -> file, in two processes, one core
 * each, with the packet layer of fastssh and nothing else: no channels, no windows, no SFTP, no replies but one byte at
 * the end.
 *
 *   roofline [-c cipher] [-a auto|libcrypto|kernel] [-p payload] source target
 *
 * Prints one line of JSON: bytes, seconds, CPU seconds of sender and receiver, the AES-GCM implementation. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "packet.h"

enum {
    SLAB = 256 * 1024,  /* sealed at once; stays in L2 */
    RING = 1024 * 1024, /* received at once */
    BATCH = 64,
    MESSAGE = 94,            /* CHANNEL_DATA: a number below 80 would stop the opener */
    DEFAULT_PAYLOAD = 32768, /* what a stock sshd's channel takes */
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void check(int status, const char *what)
{
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", what, fs_status_text(status));
        exit(1);
    }
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu(int who)
{
    struct rusage u;
    if (getrusage(who, &u) != 0)
        fail("getrusage");
    return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
           ((double)u.ru_utime.tv_usec + (double)u.ru_stime.tv_usec) / 1e6;
}

static void *aligned(size_t size)
{
    void *p = aligned_alloc(4096, (size + 4095) & ~(size_t)4095);
    if (p == NULL)
        fail("aligned_alloc");
    memset(p, 0, size);
    return p;
}

static fs_packet_keys make_keys(const char *cipher, uint8_t secret[128])
{
    fs_packet_keys keys = {.cipher = fs_cipher_find(cipher), .mac = fs_mac_find("none")};

    if (keys.cipher == NULL || keys.cipher->tag_len == 0) {
        fprintf(stderr, "%s is not an AEAD cipher\n", cipher);
        exit(2);
    }
    memset(secret, 0x5a, 128); /* nothing secret is sent */
    keys.key = keys.iv = keys.mac_key = secret;
    return keys;
}

static void send_all(int socket_fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(socket_fd, data, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            fail("send");
        data += n;
        len -= (size_t)n;
    }
}

/* Packets are laid out with gaps for the file's bytes; one preadv fills them; sealed in place; one send. */
static void sender(const fs_packet_keys *keys, const char *source, int socket_fd, size_t payload)
{
    int status, file = open(source, O_RDONLY);
    fs_sealer *sealer = fs_sealer_new(keys, &status);
    uint8_t *slab = aligned(SLAB + payload + FS_PACKET_MAX_OVERHEAD);
    fs_packet packets[BATCH];
    struct iovec gaps[BATCH];
    off_t offset = 0;

    if (file < 0)
        fail(source);
    check(sealer == NULL ? status : 0, "sealer");
    size_t slot = fs_sealed_size(sealer, payload + 1), count = SLAB / slot;
    if (count == 0)
        count = 1;
    if (count > BATCH)
        count = BATCH;
    for (;;) {
        for (size_t i = 0; i < count; i++) {
            uint8_t *start = slab + i * slot;
            packets[i] = (fs_packet){.start = start, .payload = start + FS_PACKET_HEADER, .payload_len = payload + 1};
            start[FS_PACKET_HEADER] = MESSAGE;
            gaps[i] = (struct iovec){start + FS_PACKET_HEADER + 1, payload};
        }
        ssize_t n = preadv(file, gaps, (int)count, offset);
        if (n < 0)
            fail("preadv");
        if (n == 0)
            break;
        offset += n;
        size_t whole = (size_t)n / payload, rest = (size_t)n % payload, used = whole + (rest > 0);
        if (rest > 0)
            packets[whole].payload_len = rest + 1;
        check(fs_seal_batch(sealer, packets, used), "seal");
        send_all(socket_fd, slab, (used - 1) * slot + packets[used - 1].total);
    }
    shutdown(socket_fd, SHUT_WR);
    uint8_t done;
    if (recv(socket_fd, &done, 1, 0) != 1)
        fail("waiting for the receiver");
    fs_sealer_free(sealer);
    free(slab);
    close(file);
}

static void write_all(int file, struct iovec *pieces, int count, off_t *offset)
{
    while (count > 0) {
        ssize_t n = pwritev(file, pieces, count, *offset);
        if (n <= 0)
            fail("pwritev");
        *offset += n;
        while (count > 0 && (size_t)n >= pieces->iov_len) {
            n -= (ssize_t)pieces->iov_len;
            pieces++;
            count--;
        }
        if (count > 0) {
            pieces->iov_base = (uint8_t *)pieces->iov_base + n;
            pieces->iov_len -= (size_t)n;
        }
    }
}

/* One recv of up to RING bytes; whole packets opened in place; one pwritev a batch; the tail moved to the front. */
static void receiver(const fs_packet_keys *keys, const char *target, int socket_fd)
{
    int status, file = open(target, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    fs_opener *opener = fs_opener_new(keys, &status);
    uint8_t *ring = aligned(RING);
    fs_packet packets[BATCH];
    struct iovec pieces[BATCH];
    size_t have = 0;
    off_t offset = 0;

    if (file < 0)
        fail(target);
    check(opener == NULL ? status : 0, "opener");
    for (;;) {
        ssize_t n = recv(socket_fd, ring + have, RING - have, 0);
        if (n < 0)
            fail("recv");
        if (n == 0)
            break;
        have += (size_t)n;
        size_t at = 0;
        do {
            size_t count, used, need;
            status = fs_open_batch(opener, ring + at, have - at, packets, BATCH, &count, &used, &need);
            check(status, "open");
            at += used;
            for (size_t i = 0; i < count; i++)
                pieces[i] = (struct iovec){packets[i].payload + 1, packets[i].payload_len - 1};
            write_all(file, pieces, (int)count, &offset);
        } while (status != FS_AGAIN && at < have);
        memmove(ring, ring + at, have - at);
        have -= at;
    }
    send_all(socket_fd, (const uint8_t *)"", 1);
    fs_opener_free(opener);
    free(ring);
    close(file);
}

static int listen_on_loopback(struct sockaddr_in *address)
{
    socklen_t len = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || bind(fd, (struct sockaddr *)address, len) != 0 || listen(fd, 1) != 0 ||
        getsockname(fd, (struct sockaddr *)address, &len) != 0)
        fail("listen");
    return fd;
}

int main(int argc, char **argv)
{
    const char *cipher = "aes128-gcm@openssh.com";
    size_t payload = DEFAULT_PAYLOAD;
    int option, one = 1;

    while ((option = getopt(argc, argv, "c:a:p:")) != -1) {
        if (option == 'c')
            cipher = optarg;
        else if (option == 'a')
            check(fs_packet_select_aesgcm(optarg), optarg);
        else if (option == 'p')
            payload = strtoul(optarg, NULL, 10);
        else
            return 2;
    }
    if (argc - optind != 2 || payload < 1 || payload > FS_PACKET_MAX_LENGTH - 512) {
        fprintf(stderr, "usage: roofline [-c cipher] [-a aesgcm] [-p payload] source target\n");
        return 2;
    }
    struct stat info;
    if (stat(argv[optind], &info) != 0)
        fail(argv[optind]);

    uint8_t secret[128];
    fs_packet_keys keys = make_keys(cipher, secret);
    struct sockaddr_in address;
    int listener = listen_on_loopback(&address);
    double begun = now();
    pid_t child = fork();

    if (child < 0)
        fail("fork");
    if (child == 0) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            fail("accept");
        receiver(&keys, argv[optind + 1], fd);
        return 0;
    }
    int fd = socket(AF_INET, SOCK_STREAM, 0), status;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    sender(&keys, argv[optind], fd, payload);
    double seconds = now() - begun;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "the receiver failed\n");
        return 1;
    }
    printf("{\"bytes\": %lld, \"seconds\": %.6f, \"sender_cpu\": %.6f, \"receiver_cpu\": %.6f, \"aesgcm\": \"%s\"}\n",
           (long long)info.st_size, seconds, cpu(RUSAGE_SELF), cpu(RUSAGE_CHILDREN), fs_packet_aesgcm());
    return 0;
}
