/* zlib@openssh.com: one deflate or inflate stream a direction and key epoch, flushed a packet at a time (RFC 4253
 * section 6.2). What comes out is capped, so that a small packet cannot become a large one (zip bombs). */
#include <stdlib.h>

#include <openssl/crypto.h>
#include <zlib.h>

#include "internal.h"

/* Largest payload after inflation, as OpenSSH's sshbuf would hold of one packet. */
#define FS_INFLATED_MAX FS_PACKET_MAX_LENGTH
/* A deflated payload may be a little longer than the plain one: 5 bytes a stored block of 16 KiB, and a flush. */
#define FS_DEFLATED_MAX (FS_PACKET_MAX_LENGTH + FS_PACKET_MAX_LENGTH / 1000 + 1024)

struct fs_zlib {
    z_stream stream;
    int inflating;
    size_t capacity;
    uint8_t out[];
};

fs_zlib *fs_zlib_new(int inflating)
{
    size_t capacity = inflating ? FS_INFLATED_MAX : FS_DEFLATED_MAX;
    fs_zlib *z = calloc(1, sizeof *z + capacity);
    if (z == NULL)
        return NULL;
    z->inflating = inflating;
    z->capacity = capacity;
    int rc = inflating ? inflateInit(&z->stream) : deflateInit(&z->stream, Z_DEFAULT_COMPRESSION);
    if (rc != Z_OK) {
        free(z);
        return NULL;
    }
    return z;
}

void fs_zlib_free(fs_zlib *z)
{
    if (z == NULL)
        return;
    if (z->inflating)
        inflateEnd(&z->stream);
    else
        deflateEnd(&z->stream);
    OPENSSL_cleanse(z->out, z->capacity);
    free(z);
}

int fs_zlib_run(fs_zlib *z, const uint8_t *in, size_t in_len, uint8_t **out, size_t *out_len)
{
    z_stream *s = &z->stream;
    s->next_in = (Bytef *)(uintptr_t)in; /* zlib's interface predates const */
    s->avail_in = (uInt)in_len;
    s->next_out = z->out;
    s->avail_out = (uInt)z->capacity;
    int rc = z->inflating ? inflate(s, Z_SYNC_FLUSH) : deflate(s, Z_PARTIAL_FLUSH);
    /* Z_BUF_ERROR: nothing more to do, which is fine as long as all input went and the cap was not met. */
    if ((rc != Z_OK && rc != Z_BUF_ERROR) || s->avail_in != 0 || s->avail_out == 0)
        return FS_E_COMPRESSION;
    *out = z->out;
    *out_len = z->capacity - s->avail_out;
    return *out_len ? FS_OK : FS_E_COMPRESSION;
}
