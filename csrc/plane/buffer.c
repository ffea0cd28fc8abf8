/* The growable byte queue behind the send buffer, channel queues, SFTP assembly and events. */
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "internal.h"

void fs_buffer_free(fs_buffer *b)
{
    if (b->data != NULL) {
        OPENSSL_cleanse(b->data, b->capacity); /* plain text and passwords pass through here */
        free(b->data);
    }
    *b = (fs_buffer){0};
}

int fs_buffer_reserve(fs_buffer *b, size_t count, size_t limit)
{
    size_t held = fs_buffer_len(b);
    if (count <= b->capacity - b->tail)
        return FS_OK;
    if (held > limit || count > limit - held)
        return FS_E_QUEUE;
    if (count <= b->capacity - held) {
        memmove(b->data, b->data + b->head, held);
    } else {
        size_t capacity = b->capacity ? b->capacity : 4096;
        while (capacity < held + count)
            capacity *= 2;
        uint8_t *data = malloc(capacity);
        if (data == NULL)
            return FS_E_NO_MEMORY;
        if (held)
            memcpy(data, b->data + b->head, held);
        if (b->data != NULL) {
            OPENSSL_cleanse(b->data, b->capacity);
            free(b->data);
        }
        b->data = data;
        b->capacity = capacity;
    }
    b->head = 0;
    b->tail = held;
    return FS_OK;
}
