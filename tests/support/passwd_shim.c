/* Preloaded into a server under test: the account it is started as gets a home directory and a password of the test's own,
 * so that ~/.ssh and the system's shadow file are never touched. SHIM_USER names the account, SHIM_HOME the directory,
 * SHIM_CRYPT the crypt(3) hash. Everything else comes from the C library. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pwd.h>
#include <shadow.h>
#include <stdlib.h>
#include <string.h>

static void adjust(struct passwd *entry)
{
    const char *user = getenv("SHIM_USER"), *home = getenv("SHIM_HOME"), *hash = getenv("SHIM_CRYPT");

    if (user == NULL || strcmp(entry->pw_name, user) != 0)
        return;
    if (home != NULL)
        entry->pw_dir = (char *)home;
    if (hash != NULL)
        entry->pw_passwd = (char *)hash;
    entry->pw_shell = (char *)"/bin/sh";
}

/* Entries are copied: the C library may keep its own for reuse. */
static struct passwd *adjusted(struct passwd *entry)
{
    static struct passwd copy;

    if (entry == NULL)
        return NULL;
    copy = *entry;
    adjust(&copy);
    return &copy;
}

/* What Python's pwd calls. */
int getpwnam_r(const char *name, struct passwd *entry, char *buffer, size_t size, struct passwd **result)
{
    int (*next)(const char *, struct passwd *, char *, size_t, struct passwd **) =
        (int (*)(const char *, struct passwd *, char *, size_t, struct passwd **))dlsym(RTLD_NEXT, "getpwnam_r");
    int status = next(name, entry, buffer, size, result);
    if (status == 0 && *result != NULL)
        adjust(entry);
    return status;
}

int getpwuid_r(uid_t uid, struct passwd *entry, char *buffer, size_t size, struct passwd **result)
{
    int (*next)(uid_t, struct passwd *, char *, size_t, struct passwd **) =
        (int (*)(uid_t, struct passwd *, char *, size_t, struct passwd **))dlsym(RTLD_NEXT, "getpwuid_r");
    int status = next(uid, entry, buffer, size, result);
    if (status == 0 && *result != NULL)
        adjust(entry);
    return status;
}

struct passwd *getpwnam(const char *name)
{
    struct passwd *(*next)(const char *) = (struct passwd * (*)(const char *)) dlsym(RTLD_NEXT, "getpwnam");
    return adjusted(next(name));
}

struct passwd *getpwuid(uid_t uid)
{
    struct passwd *(*next)(uid_t) = (struct passwd * (*)(uid_t)) dlsym(RTLD_NEXT, "getpwuid");
    return adjusted(next(uid));
}

struct spwd *getspnam(const char *name)
{
    static struct spwd entry;
    const char *user = getenv("SHIM_USER"), *hash = getenv("SHIM_CRYPT");
    struct spwd *(*next)(const char *) = (struct spwd * (*)(const char *)) dlsym(RTLD_NEXT, "getspnam");

    if (user == NULL || hash == NULL || strcmp(name, user) != 0)
        return next(name);
    memset(&entry, 0, sizeof entry);
    entry.sp_namp = (char *)user;
    entry.sp_pwdp = (char *)hash;
    entry.sp_lstchg = 1;
    entry.sp_min = entry.sp_max = entry.sp_warn = entry.sp_inact = entry.sp_expire = -1;
    return &entry;
}
