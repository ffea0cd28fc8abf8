/* The rate limit of bulk sending (scp -l): a token bucket of a quarter of a second. */
#include "sftp.h"

#define NANOSECONDS 1000000000u

static uint64_t bucket_size(const fs_plane *p) {
    uint64_t size = p->rate / 4;
    return size < FS_SFTP_MAX_MESSAGE ? FS_SFTP_MAX_MESSAGE : size;
}

void fs_plane_set_send_rate(fs_plane *p, uint64_t bytes_per_second) {
    p->rate = bytes_per_second;
    p->tokens = 0;
    p->tokens_at = fs_now_ns();
    p->wait_until = 0;
}

uint64_t fs_rate_tokens(fs_plane *p, uint64_t now) {
    if (p->rate == 0) return UINT64_MAX;
    uint64_t elapsed = now - p->tokens_at, size = bucket_size(p);
    if (elapsed > NANOSECONDS) elapsed = NANOSECONDS;
    /* rate < 2^33 in practice; clamp so that the product cannot wrap. */
    uint64_t rate = p->rate < (UINT64_C(1) << 34) ? p->rate : UINT64_C(1) << 34;
    uint64_t fresh = rate * elapsed / NANOSECONDS;
    if (fresh > 0) {
        p->tokens = p->tokens + fresh < size ? p->tokens + fresh : size;
        p->tokens_at = now;
    }
    return p->tokens;
}

void fs_rate_spend(fs_plane *p, uint64_t bytes) {
    if (p->rate == 0) return;
    p->tokens = bytes < p->tokens ? p->tokens - bytes : 0;
}

void fs_rate_wait(fs_plane *p, uint64_t now, uint64_t bytes) {
    if (p->rate == 0) return;
    uint64_t size = bucket_size(p);
    if (bytes > size) bytes = size;
    uint64_t missing = bytes > p->tokens ? bytes - p->tokens : 1;
    p->wait_until = now + missing * NANOSECONDS / p->rate + 1;
}

double fs_plane_wait_seconds(const fs_plane *p) {
    uint64_t now = fs_now_ns();
    return p->wait_until > now ? (double)(p->wait_until - now) / 1e9 : 0.0;
}
