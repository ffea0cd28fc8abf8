/* Bundles: a directory read into them and files made from them, and what is refused on the way. */
#include <errno.h>
#include <fcntl.h>
#ifdef __linux__
#include <sys/inotify.h>
#endif
#include <sys/stat.h>
#include <unistd.h>

#include "bundle.h"
#include "check.h"
#include "fs_bytes.h"
#include "fs_status.h"

enum { ROOM = 64 * 1024 };

static char top[] = "/tmp/fastssh-bundle-XXXXXX";
static uint8_t bundle[ROOM], content[2 * ROOM];

static int make_directory(const char *name)
{
    CHECK(mkdir(name, 0700) == 0);
    const int fd = open(name, O_RDONLY | O_DIRECTORY);
    CHECK(fd >= 0);
    return fd;
}

static void make_file(int directory, const char *name, size_t size)
{
    const int fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL, 0644);
    CHECK(fd >= 0);
    CHECK_INT(write(fd, content, size), size);
    close(fd);
}

static size_t file_size(int directory, const char *name)
{
    struct stat st;
    return fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? (size_t)st.st_size : (size_t)-1;
}

/* One entry, as a peer might make it. */
static size_t forge(int kind, const char *name, size_t name_len, uint32_t mode, uint32_t mtime, size_t size)
{
    uint8_t *p = bundle;
    *p++ = (uint8_t)kind;
    fs_put_u32(p, (uint32_t)name_len);
    memcpy(p + 4, name, name_len);
    p += 4 + name_len;
    memset(p, 0, FS_ENTRY_ATTRIBUTES);
    fs_put_u32(p, 0xf);
    fs_put_u64(p + 4, size);
    fs_put_u32(p + 20, mode);
    fs_put_u32(p + 28, mtime);
    p += FS_ENTRY_ATTRIBUTES;
    fs_put_u32(p, (uint32_t)size);
    memcpy(p + 4, content, size);
    return (size_t)(p + 4 - bundle) + size;
}

static int write_forged(int directory, const char *name, size_t name_len, uint32_t mtime, size_t size, unsigned options)
{
    const size_t len = forge(FS_ENTRY_WHOLE, name, name_len, S_IFREG | 06751, mtime, size);
    size_t offset = 0;
    fs_entry entry;
    CHECK_INT(fs_entry_next(bundle, len, &offset, &entry), FS_OK);
    CHECK_INT(offset, len);
    return fs_entry_write(&entry, directory, options);
}

static void a_directory_becomes_bundles_and_those_its_files(void)
{
    const int source = make_directory("source"), target = make_directory("target");
    char name[32];
    size_t len, files = 0, bundles = 0, named = 0;
    fs_packer packer;
    fs_entry entry;

    for (size_t i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "file%zu", i);
        make_file(source, name, i * 7 % 2000);
    }
    make_file(source, "large", ROOM);
    make_file(source, "nearly", ROOM - 60);
    CHECK(mkdirat(source, "directory", 0700) == 0);
    CHECK(symlinkat("file1", source, "link") == 0);
    CHECK(mkfifoat(source, "fifo", 0600) == 0);
    CHECK_INT(fs_packer_open(&packer, dup(source)), FS_OK);
    for (;; bundles++) {
        size_t offset = 0;
        CHECK_INT(fs_packer_next(&packer, bundle, ROOM, &len), FS_OK);
        CHECK(len <= ROOM);
        if (len == 0)
            break;
        while (fs_entry_next(bundle, len, &offset, &entry) == FS_OK) {
            if (entry.kind == FS_ENTRY_WHOLE)
                CHECK_INT(fs_entry_write(&entry, target, 0), 0);
            else
                named++;
            files += entry.kind == FS_ENTRY_WHOLE;
        }
        CHECK_INT(offset, len);
    }
    fs_packer_close(&packer);
    CHECK_INT(files, 301);
    CHECK_INT(named, 4);
    CHECK(bundles > 3);
    for (size_t i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "file%zu", i);
        CHECK_INT(file_size(target, name), i * 7 % 2000);
    }
    CHECK_INT(file_size(target, "nearly"), ROOM - 60);
    CHECK_INT(file_size(target, "large"), -1);
    close(source);
    close(target);
}

static void what_is_no_entry_is_malformed(void)
{
    size_t offset;
    fs_entry entry;
    const size_t len = forge(FS_ENTRY_WHOLE, "name", 4, 0, 0, 10);
    for (size_t cut = 1; cut < len; cut++) {
        offset = 0;
        CHECK_INT(fs_entry_next(bundle, cut, &offset, &entry), FS_E_MALFORMED);
    }
    offset = len;
    CHECK_INT(fs_entry_next(bundle, len, &offset, &entry), FS_AGAIN);
    const struct {
        size_t at;
        uint32_t value;
    } wrong[] = {
        {1, 0},  {1, 256}, {1, UINT32_MAX}, {1, UINT32_MAX - 4}, {9, 0}, {9, 0x8000000f}, {17, 9}, {17, 11},
        {13, 1}, {41, 9},  {41, 11},        {41, UINT32_MAX},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        forge(FS_ENTRY_WHOLE, "name", 4, 0, 0, 10);
        fs_put_u32(bundle + wrong[i].at, wrong[i].value);
        offset = 0;
        CHECK_INT(fs_entry_next(bundle, len, &offset, &entry), FS_E_MALFORMED);
    }
    forge(2, "name", 4, 0, 0, 10);
    offset = 0;
    CHECK_INT(fs_entry_next(bundle, len, &offset, &entry), FS_E_MALFORMED);
    forge(FS_ENTRY_NAMED, "name", 4, 0, 0, 10);
    offset = 0;
    CHECK_INT(fs_entry_next(bundle, len, &offset, &entry), FS_E_MALFORMED);
}

static void names_that_lead_elsewhere_are_refused(void)
{
    const int directory = make_directory("names");
    const struct {
        const char *name;
        size_t len;
    } names[] = {{".", 1}, {"..", 2}, {"/", 1}, {"../x", 4}, {"/tmp/x", 6}, {"a/b", 3}, {"a\0b", 3}, {"a/", 2}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        CHECK_INT(write_forged(directory, names[i].name, names[i].len, 0, 3, 0), EINVAL);
    CHECK_INT(write_forged(directory, "...", 3, 0, 3, 0), 0);
    close(directory);
}

static void only_regular_files_are_replaced_and_none_that_may_be_the_source(void)
{
    const int directory = make_directory("replaced");
    struct stat st;
    make_file(directory, "outside", 50);
    CHECK(symlinkat("outside", directory, "link") == 0);
    CHECK(symlinkat("nowhere", directory, "dangling") == 0);
    CHECK(mkfifoat(directory, "fifo", 0600) == 0);
    CHECK(mkdirat(directory, "directory", 0700) == 0);
    CHECK(write_forged(directory, "link", 4, 0, 3, 0) != 0);
    CHECK(write_forged(directory, "dangling", 8, 0, 3, 0) != 0);
    CHECK(write_forged(directory, "fifo", 4, 0, 3, 0) != 0);
    CHECK(write_forged(directory, "directory", 9, 0, 3, 0) != 0);
    CHECK_INT(file_size(directory, "outside"), 50);
    CHECK_INT(file_size(directory, "nowhere"), -1);
    CHECK(fstatat(directory, "outside", &st, 0) == 0);
    CHECK_INT(write_forged(directory, "outside", 7, (uint32_t)st.st_mtime, 50, 0), EEXIST);
    CHECK_INT(file_size(directory, "outside"), 50);
    CHECK_INT(write_forged(directory, "outside", 7, (uint32_t)st.st_mtime, 40, 0), 0);
    CHECK_INT(file_size(directory, "outside"), 40);
    const struct timespec before_1970[2] = {{.tv_sec = -5}, {.tv_sec = -5}}; /* which is 1970 on the wire */
    CHECK(utimensat(directory, "outside", before_1970, 0) == 0);
    CHECK(fstatat(directory, "outside", &st, 0) == 0);
    if (st.st_mtime < 0) /* a file system that has such times */
        CHECK_INT(write_forged(directory, "outside", 7, 0, 40, 0), EEXIST);
    close(directory);
}

static void mode_and_times_follow_the_options(void)
{
    const int directory = make_directory("options");
    struct stat st;
    const mode_t mask = umask(027);
    CHECK_INT(write_forged(directory, "plain", 5, 1000, 3, 0), 0);
    CHECK_INT(write_forged(directory, "kept", 4, 1000, 3, FS_UNPACK_PRESERVE), 0);
    CHECK_INT(write_forged(directory, "all", 3, 1000, 3, FS_UNPACK_PRESERVE | FS_UNPACK_SET_ID), 0);
    umask(mask);
    CHECK(fstatat(directory, "plain", &st, 0) == 0);
    CHECK_INT(st.st_mode & 07777, 0750);
    CHECK(st.st_mtime != 1000);
    CHECK(fstatat(directory, "kept", &st, 0) == 0);
    CHECK_INT(st.st_mode & 07777, 0751);
    CHECK_INT(st.st_mtime, 1000);
    CHECK(fstatat(directory, "all", &st, 0) == 0);
    CHECK_INT(st.st_mode & 07777, 06751);
    close(directory);
}

static void a_room_without_room_is_refused_and_the_smallest_suffices(void)
{
    const int source = make_directory("rooms");
    char name[FS_NAME_MAX + 1];
    fs_packer packer;
    size_t len, entries = 0;
    memset(name, 'n', sizeof name);
    name[FS_NAME_MAX] = 0;
    make_file(source, name, 0);
    make_file(source, "other", 300);
    CHECK_INT(fs_packer_open(&packer, dup(source)), FS_OK);
    CHECK_INT(fs_packer_next(&packer, bundle, FS_ENTRY_OVERHEAD, &len), FS_E_ARGUMENT);
    do {
        CHECK_INT(fs_packer_next(&packer, bundle, FS_ENTRY_OVERHEAD + 1, &len), FS_OK);
        entries += len > 0;
    } while (len > 0);
    CHECK_INT(entries, 2);
    fs_packer_close(&packer);
    close(source);
}

#ifdef __linux__
/* To open a FIFO wakes who waits to write to it, and breaks their pipe a moment later. */
static void what_is_no_regular_file_is_never_opened(void)
{
    enum { FIFOS = 5 };
    const int source = make_directory("fifos"), watch = inotify_init1(IN_NONBLOCK);
    char name[32], events[4096];
    fs_packer packer;
    size_t len, bundles = 0;
    CHECK(watch >= 0);
    for (int i = 0; i < FIFOS; i++) {
        snprintf(name, sizeof name, "fifos/fifo%d", i);
        CHECK(mkfifo(name, 0600) == 0);
        CHECK(inotify_add_watch(watch, name, IN_OPEN) >= 0);
    }
    CHECK_INT(fs_packer_open(&packer, dup(source)), FS_OK);
    do { /* all but the first wait for the next bundle */
        CHECK_INT(fs_packer_next(&packer, bundle, FS_ENTRY_OVERHEAD + 1, &len), FS_OK);
        bundles += len > 0;
    } while (len > 0);
    CHECK_INT(bundles, FIFOS);
    CHECK(read(watch, events, sizeof events) < 0 && errno == EAGAIN);
    fs_packer_close(&packer);
    close(watch);
    close(source);
}
#endif

static void what_cannot_be_looked_at_is_named_all_the_same(void)
{
    const int source = make_directory("unsearchable");
    const uid_t us = geteuid();
    fs_packer packer;
    fs_entry entry;
    size_t len, offset = 0, named = 0;
    make_file(source, "one", 10);
    make_file(source, "two", 10);
    CHECK(fchmod(source, 0444) == 0);
    CHECK_INT(fs_packer_open(&packer, dup(source)), FS_OK);
    CHECK(us != 0 || seteuid(65534) == 0); /* root may look at everything */
    CHECK_INT(fs_packer_next(&packer, bundle, ROOM, &len), FS_OK);
    CHECK(us != 0 || seteuid(us) == 0);
    while (fs_entry_next(bundle, len, &offset, &entry) == FS_OK) {
        CHECK_INT(entry.kind, FS_ENTRY_NAMED);
        CHECK_INT(entry.mode, 0);
        named++;
    }
    CHECK_INT(named, 2);
    fs_packer_close(&packer);
    CHECK(fchmod(source, 0700) == 0);
    close(source);
}

int main(void)
{
    char command[128];
    CHECK(mkdtemp(top) != NULL && chdir(top) == 0);
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (uint8_t)(i * 31 >> 3);
    RUN(a_directory_becomes_bundles_and_those_its_files);
    RUN(what_is_no_entry_is_malformed);
    RUN(names_that_lead_elsewhere_are_refused);
    RUN(only_regular_files_are_replaced_and_none_that_may_be_the_source);
    RUN(mode_and_times_follow_the_options);
    RUN(what_cannot_be_looked_at_is_named_all_the_same);
    RUN(a_room_without_room_is_refused_and_the_smallest_suffices);
#ifdef __linux__
    RUN(what_is_no_regular_file_is_never_opened);
#endif
    snprintf(command, sizeof command, "rm -rf %s", top);
    CHECK(chdir("/") == 0 && system(command) == 0);
    return 0;
}
