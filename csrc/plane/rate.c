/* The rate limit of bulk sending (scp -l): a token bucket of a quarter of a second. */
#include "sftp.h"

#define NANOSECONDS 1000000000u
#define MOST_RATE (UINT64_C(1) << 34) /* no link is faster, and no product below wraps */

static uint64_t bucket_size(const fs_plane *p)
{
    uint64_t size = p->rate / 4;
    return size < FS_SFTP_MAX_MESSAGE ? FS_SFTP_MAX_MESSAGE : size;
}

void fs_plane_set_send_rate(fs_plane *p, uint64_t bytes_per_second)
{
    p->rate = bytes_per_second < MOST_RATE ? bytes_per_second : MOST_RATE;
    p->tokens = 0;
    p->tokens_at = fs_now_ns();
    p->wait_until = 0;
}

uint64_t fs_rate_tokens(fs_plane *p, uint64_t now)
{
    if (p->rate == 0)
        return UINT64_MAX;
    uint64_t elapsed = now - p->tokens_at, size = bucket_size(p);
    uint64_t full = size * NANOSECONDS / p->rate + 1; /* however slow the rate, so long a wait counts in full */
    uint64_t fresh = elapsed < full ? p->rate * elapsed / NANOSECONDS : size;
    if (fresh > 0) {
        p->tokens = p->tokens + fresh < size ? p->tokens + fresh : size;
        p->tokens_at =
            elapsed < full ? p->tokens_at + fresh * NANOSECONDS / p->rate : now; /* fractions of a byte add up */
    }
    return p->tokens;
}

void fs_rate_spend(fs_plane *p, uint64_t bytes)
{
    if (p->rate == 0)
        return;
    p->tokens = bytes < p->tokens ? p->tokens - bytes : 0;
}

void fs_rate_wait(fs_plane *p, uint64_t now, uint64_t bytes)
{
    if (p->rate == 0)
        return;
    uint64_t size = bucket_size(p);
    if (bytes > size)
        bytes = size;
    uint64_t missing = bytes > p->tokens ? bytes - p->tokens : 1;
    p->wait_until = now + missing * NANOSECONDS / p->rate + 1;
}

double fs_plane_wait_seconds(const fs_plane *p)
{
    if (p->wait_until == 0)
        return 0.0;
    uint64_t now = fs_now_ns();
    /* Never 0 for a wait that passed meanwhile: nothing but that wait would make the caller come back. */
    return p->wait_until > now ? (double)(p->wait_until - now) / 1e9 : 1e-6;
}
