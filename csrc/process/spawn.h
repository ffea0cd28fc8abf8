/* Starts a program as a login does: in a session of its own, with a controlling terminal if there is one.
 *
 * posix_spawn(3) and Python's subprocess can do neither the terminal nor both together without code of ours running
 * between fork and exec, and Python code there may deadlock where there are threads. So that part is C, and nothing but
 * system calls. On Linux the parent's memory is not copied for it (vfork(2)), however large a server has grown. */
#ifndef FS_SPAWN_H
#define FS_SPAWN_H

#include <sys/types.h>

typedef struct fs_spawn {
    const char *path;       /* the program, not searched for */
    char *const *arguments; /* the first is the program's name for itself; NULL ends them */
    char *const *variables; /* NAME=value; NULL ends them */
    const char *directory;  /* where it starts */
    int streams[3];         /* become its descriptors 0, 1 and 2; it gets no others */
    int controlling;        /* streams[0] is a terminal, and becomes the controlling one */
    unsigned long files;    /* its soft RLIMIT_NOFILE, at most the hard one; 0: this process's own */
} fs_spawn;

/* Signals are at their defaults, none is blocked. FS_E_SYSTEM, with the error's number in *error, when the program
 * could not be started: there is no process then. */
int fs_spawn_start(const fs_spawn *spawn, pid_t *pid, int *error);

#endif
