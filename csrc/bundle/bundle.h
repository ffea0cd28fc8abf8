/* Bundles: small files of one directory, whole, one after the other, so that many of them travel in one message.
 *
 *     bundle: entry...
 *     entry:  byte kind, string name, ATTRS, string content
 *
 * ATTRS is SFTP's (draft-ietf-secsh-filexfer-02 section 5), always with size, owner, permissions and times. An entry of
 * kind FS_ENTRY_NAMED is a file, directory or anything else that is only named: whoever wants it asks for it by itself.
 */
#ifndef FS_BUNDLE_H
#define FS_BUNDLE_H

#include <dirent.h>
#include <stddef.h>
#include <stdint.h>

enum { FS_ENTRY_NAMED = 0, FS_ENTRY_WHOLE = 1 };
enum {
    FS_NAME_MAX = 255,
    FS_ENTRY_ATTRIBUTES = 32,
    FS_ENTRY_OVERHEAD = 1 + 4 + FS_NAME_MAX + FS_ENTRY_ATTRIBUTES + 4 /* bytes of an entry beside its content */
};

/* --- reading a directory -------------------------------------------------------------------------------------------
 */

typedef struct fs_packer {
    DIR *stream;
    char held[FS_NAME_MAX + 1]; /* an entry that had no room in the last bundle; empty: none */
    int held_regular;           /* whether it may be a regular file: nothing else is opened */
} fs_packer;

/* Takes `directory`, a descriptor, over. FS_E_SYSTEM with errno, and the descriptor is the caller's still. */
int fs_packer_open(fs_packer *packer, int directory);
void fs_packer_close(fs_packer *packer);

/* The next entries, as many as fit `room` bytes, which is at least FS_ENTRY_OVERHEAD + 1. *len is 0 at the end of the
 * directory. Regular files whose content fits are whole, and of one moment: one that changed while it was read is only
 * named. FS_E_SYSTEM with errno when the directory cannot be read; what came before that is lost. */
int fs_packer_next(fs_packer *packer, uint8_t *out, size_t room, size_t *len);

/* --- writing files -------------------------------------------------------------------------------------------------
 */

typedef struct fs_entry {
    int kind;
    const uint8_t *name; /* not terminated; neither empty nor longer than FS_NAME_MAX */
    uint32_t name_len;
    const uint8_t *attributes; /* FS_ENTRY_ATTRIBUTES bytes */
    uint64_t size;
    uint32_t mode, atime, mtime;
    const uint8_t *content;
    uint32_t content_len;
} fs_entry;

/* The entry at *offset, which then is behind it. FS_AGAIN at the end; FS_E_MALFORMED for anything that is no entry, and
 * for a whole one whose size is not that of its content. */
int fs_entry_next(const uint8_t *bundle, size_t len, size_t *offset, fs_entry *entry);

enum {
    FS_UNPACK_PRESERVE = 1, /* mode and times exactly as stated */
    FS_UNPACK_SET_ID = 2,   /* ... with set-id and sticky bits */
    FS_UNPACK_OPTIONS = 3   /* all there are */
};

/* Makes or replaces the file of a whole entry in `directory`. 0, or an errno: then it is not there as it should be,
 * never with all of its content, and somebody who can tell why has to do it again. Nothing is followed or replaced but
 * regular files, and no such file that could be the source itself (EEXIST). */
int fs_entry_write(const fs_entry *entry, int directory, unsigned options);

#endif
