/* What a started program has: its descriptors, its directory, its variables, its session; and what a failure says. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "fs_status.h"
#include "spawn.h"

static char output[4096];

/* Runs a shell command and returns its wait status; what it writes is in `output`. */
static int shell_with(const char *command, unsigned long files)
{
    char *arguments[] = {"-sh", "-c", (char *)command, NULL}, *variables[] = {"NAME=value", NULL};
    fs_spawn spawn = {
        .path = "/bin/sh", .arguments = arguments, .variables = variables, .directory = "/", .files = files};
    int ends[2], error = 0, status = -1;
    pid_t pid = 0;
    size_t len = 0;
    ssize_t got;

    CHECK(pipe(ends) == 0);
    const int null = open("/dev/null", O_RDWR);
    spawn.streams[0] = null;
    spawn.streams[1] = spawn.streams[2] = ends[1];
    CHECK_INT(fs_spawn_start(&spawn, &pid, &error), FS_OK);
    close(null);
    close(ends[1]);
    while ((got = read(ends[0], output + len, sizeof output - 1 - len)) > 0)
        len += (size_t)got;
    output[len] = 0;
    close(ends[0]);
    CHECK_INT(getsid(pid), pid);
    CHECK_INT(waitpid(pid, &status, 0), pid);
    return status;
}

static int shell(const char *command)
{
    return shell_with(command, 0);
}

static void arguments_variables_and_directory_arrive(void)
{
    CHECK_INT(shell("echo $0 $NAME; pwd; echo ${HOME-none}"), 0);
    CHECK(strcmp(output, "-sh value\n/\nnone\n") == 0);
}

static void the_program_leads_a_session_without_a_terminal(void)
{
    CHECK_INT(shell("true </dev/tty || echo none"), 0);
    CHECK(strstr(output, "none") != NULL);
}

static void no_other_descriptor_is_inherited(void)
{
    const int leak = fcntl(0, F_DUPFD, 50);
    CHECK_INT(fcntl(leak, F_SETFD, 0), 0);
    CHECK_INT(shell("for fd in 3 4 5 6 7 8 9; do (: >&$fd) 2>/dev/null && echo $fd; done; ls /dev/fd | wc -l"), 0);
    CHECK(strlen(output) <= 3); /* one small number and a line feed */
    close(leak);
}

static void signals_are_at_their_defaults(void)
{
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    signal(SIGPIPE, SIG_IGN);
    const int piped = shell("kill -PIPE $$; echo survived"), ended = shell("kill -TERM $$; echo survived");
    CHECK(WIFSIGNALED(piped) && WTERMSIG(piped) == SIGPIPE);
    CHECK(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGTERM);
    sigprocmask(SIG_UNBLOCK, &blocked, NULL);
}

static void the_limit_of_open_files_is_the_one_asked_for(void)
{
    struct rlimit ours;
    char expected[64];
    const char *preloaded = getenv("LD_PRELOAD");

    if (preloaded != NULL && strstr(preloaded, "vgpreload") != NULL)
        return; /* valgrind keeps limits to itself: no program hears of them */

    CHECK(getrlimit(RLIMIT_NOFILE, &ours) == 0);
    CHECK_INT(shell_with("ulimit -Sn; ulimit -Hn", 100), 0);
    CHECK_INT(strncmp(output, "100\n", 4), 0);
    snprintf(expected, sizeof expected, "%lu\n", (unsigned long)ours.rlim_max);
    CHECK(ours.rlim_max == RLIM_INFINITY || strcmp(output + 4, expected) == 0);
    CHECK_INT(shell("ulimit -Sn"), 0);
    CHECK_INT(strtoul(output, NULL, 10), ours.rlim_cur == RLIM_INFINITY ? 0 : ours.rlim_cur);
    ours.rlim_max = ours.rlim_cur = 200;
    CHECK(setrlimit(RLIMIT_NOFILE, &ours) == 0);
    CHECK_INT(shell_with("ulimit -Sn", 1000), 0); /* not above the hard one */
    CHECK(strcmp(output, "200\n") == 0);
}

static void what_fails_says_so_and_leaves_no_process(void)
{
    char *arguments[] = {"x", NULL}, *variables[] = {NULL};
    const struct {
        const char *path, *directory;
        int stream, controlling, error;
    } cases[] = {
        {"/nonexistent/program", "/", 0, 0, ENOENT},
        {"/bin/sh", "/nonexistent", 0, 0, ENOENT},
        {"/", "/", 0, 0, EACCES},
        {"/bin/sh", "/", 999, 0, EBADF},
        {"/bin/sh", "/", -1, 1, EBADF},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fs_spawn spawn = {cases[i].path,        arguments, variables, cases[i].directory, {cases[i].stream, 1, 2},
                          cases[i].controlling, 0};
        int error = 0;
        pid_t pid = 0;
        CHECK_INT(fs_spawn_start(&spawn, &pid, &error), FS_E_SYSTEM);
        CHECK_INT(error, cases[i].error);
        CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
    }
}

int main(void)
{
    RUN(arguments_variables_and_directory_arrive);
    RUN(the_program_leads_a_session_without_a_terminal);
    RUN(no_other_descriptor_is_inherited);
    RUN(signals_are_at_their_defaults);
    RUN(the_limit_of_open_files_is_the_one_asked_for);
    RUN(what_fails_says_so_and_leaves_no_process);
    return 0;
}
