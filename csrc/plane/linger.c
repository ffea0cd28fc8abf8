/* Waiting for several sockets at once, without a round through the event loop for each answer.
 *
 * During a transfer answers are small (a status, a window adjustment) or come as the kernel hands them out, some tens
 * of KiB at a time. A round through the event loop costs more than handling them does. */
#include <errno.h>

#include "internal.h"

/* Bytes may move without the control plane. */
static int moving(const fs_plane *p)
{
    if (p->active_transfers > 0 || p->relays > 0)
        return 1;
    for (uint32_t i = 0; i < p->channel_slots; i++)
        if (p->channels[i] != NULL && p->channels[i]->serve != NULL)
            return 1;
    return 0;
}

int fs_plane_content(const fs_plane *p, int flags)
{
    return moving(p) && fs_relay_polled(p, NULL, 0) <= FS_MAX_WAITING && p->wait_until == 0 &&
           !(flags & ~(FS_STEP_WANT_WRITE | FS_STEP_MORE)) && !fs_plane_rekey_due(p);
}

void fs_planes_linger(fs_lingering *lingering, size_t count, int wakeup, uint64_t ns)
{
    struct pollfd polled[FS_MAX_LINGERING * (1 + FS_MAX_WAITING) + 1];
    size_t waiting[FS_MAX_LINGERING];
    uint64_t now = fs_now_ns(), end = now + (ns < FS_MAX_LINGER ? ns : FS_MAX_LINGER);
    int busy = 0;

    if (count > FS_MAX_LINGERING)
        count = FS_MAX_LINGERING;
    for (size_t i = 0; i < count; i++)
        lingering[i].status = lingering[i].sys_errno = FS_OK;
    do {
        int more = 0;
        nfds_t filled = 0;
        for (size_t i = 0; i < count; i++) {
            const fs_lingering *l = &lingering[i];
            more |= l->flags & FS_STEP_MORE;
            polled[filled++] =
                (struct pollfd){.fd = l->fd, .events = POLLIN | (l->flags & FS_STEP_WANT_WRITE ? POLLOUT : 0)};
            waiting[i] = fs_relay_polled(l->plane, polled + filled, FS_MAX_WAITING);
            if (waiting[i] > FS_MAX_WAITING) /* not content, which its next turn tells */
                waiting[i] = FS_MAX_WAITING;
            filled += waiting[i];
        }
        const struct pollfd *at = polled, *woken = polled + filled;
        polled[filled++] = (struct pollfd){.fd = wakeup, .events = POLLIN};
        int ready = poll(polled, filled, more ? 0 : (int)((end - now + 999999) / 1000000));
        if (ready < 0)
            return; /* a signal that Python should see */
        now = fs_now_ns();
        if (!busy && (ready > 0 || more)) {
            busy = 1;
            if (end > now + FS_MAX_BUSY)
                end = now + FS_MAX_BUSY;
        }
        int told = woken->revents != 0;
        for (size_t i = 0; i < count; i++) {
            fs_lingering *l = &lingering[i];
            short events = at->revents;
            int relays = fs_relay_polled_ready(l->plane, at + 1, waiting[i]);
            at += 1 + waiting[i];
            if (events == 0 && !relays && !(l->flags & FS_STEP_MORE))
                continue;
            l->status = fs_plane_step(l->plane, l->fd, events & ~POLLOUT, &l->flags);
            l->sys_errno = l->status == FS_E_SYSTEM ? errno : 0;
            told |= l->status != FS_OK || !fs_plane_content(l->plane, l->flags);
        }
        if (told)
            return;
        now = fs_now_ns();
    } while (now < end);
}
