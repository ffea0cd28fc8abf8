#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdnoreturn.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs_status.h"

#define REPORT 3               /* the child's descriptor for its error; closed by exec */
#define MOST_DESCRIPTORS 65536 /* looked at where the kernel cannot close them all at once */

#ifdef __linux__
#define FORK vfork
#else
#define FORK fork
#endif

static void close_from(int first)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, (unsigned)first, ~0U, 0U) == 0)
        return;
#endif
    long count = sysconf(_SC_OPEN_MAX);
    if (count < 0 || count > MOST_DESCRIPTORS)
        count = MOST_DESCRIPTORS;
    for (int fd = first; fd < count; fd++)
        close(fd);
}

static void default_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;

    for (int number = 1; number < NSIG; number++)
        sigaction(number, &action,
                  NULL); /* fails for KILL, STOP and those of the C library, which is as it should be */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The descriptors 0 to 3, whatever the numbers were before: first all out of the way, then into their places. */
static int arrange(const fs_spawn *spawn, int report)
{
    int high[REPORT + 1];

    for (int i = 0; i <= REPORT; i++)
        if ((high[i] = fcntl(i < REPORT ? spawn->streams[i] : report, F_DUPFD, REPORT + 1)) < 0)
            return -1;
    for (int i = 0; i <= REPORT; i++)
        if (dup2(high[i], i) < 0)
            return -1;
    close_from(REPORT + 1);
    return fcntl(REPORT, F_SETFD, FD_CLOEXEC);
}

/* A server may have raised its own limit; programs that use select(2) rely on the usual one. */
static int limit_files(unsigned long files)
{
    struct rlimit limit;

    if (files == 0)
        return 0;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -1;
    limit.rlim_cur = limit.rlim_max != RLIM_INFINITY && files > limit.rlim_max ? limit.rlim_max : files;
    return setrlimit(RLIMIT_NOFILE, &limit);
}

/* The new process, up to exec. It shares the parent's memory: it changes none of it, and calls the system alone. */
static noreturn void become(const fs_spawn *spawn, int report)
{
    int at = report;

    if (setsid() >= 0 && (!spawn->controlling || ioctl(spawn->streams[0], TIOCSCTTY, 0) == 0) &&
        arrange(spawn, report) == 0) {
        at = REPORT;
        if (limit_files(spawn->files) == 0 && chdir(spawn->directory) == 0) {
            default_signals();
            execve(spawn->path, spawn->arguments, spawn->variables);
        }
    }
    const int error = errno;
    while (write(at, &error, sizeof error) < 0 && errno == EINTR)
        continue;
    _exit(127);
}

static pid_t begin(const fs_spawn *spawn, int report)
{
    const pid_t pid = FORK();
    if (pid == 0)
        become(spawn, report);
    return pid;
}

/* A pipe that no other program started meanwhile inherits, as far as the system has it. */
static int private_pipe(int ends[2])
{
#ifdef __linux__
    return pipe2(ends, O_CLOEXEC);
#else
    if (pipe(ends) < 0)
        return -1;
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    return 0;
#endif
}

int fs_spawn_start(const fs_spawn *spawn, pid_t *pid, int *error)
{
    int ends[2], reported = 0;
    sigset_t all, before;
    ssize_t got;

    if (private_pipe(ends) < 0) {
        *error = errno;
        return FS_E_SYSTEM;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* no handler of the parent's may run in the child */
    *pid = begin(spawn, ends[1]);
    *error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(ends[1]);
    if (*pid > 0) {
        while ((got = read(ends[0], &reported, sizeof reported)) < 0 && errno == EINTR)
            continue;
        if (got == (ssize_t)sizeof reported) {
            while (waitpid(*pid, NULL, 0) < 0 && errno == EINTR)
                continue;
            *error = reported;
            *pid = -1;
        }
    }
    close(ends[0]);
    return *pid > 0 ? FS_OK : FS_E_SYSTEM;
}
