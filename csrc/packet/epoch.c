#include "epoch.h"
#include "padding.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

enum { ALIGNMENT = 64 };

static const uint64_t REKEY_PACKETS = UINT64_C(1) << 31; /* RFC 4344 section 3.1 */
static const uint64_t MAX_PACKETS = UINT64_C(1) << 32;   /* RFC 4344 section 3.1: never more under one key */

/* RFC 4344 section 3.2: 2^(L/4) blocks of L bits, where that is no danger to long blocks; 1 GiB for shorter ones. */
static uint64_t rekey_bytes(const fs_cipher_info *cipher)
{
    if (cipher->key_len == 0)
        return UINT64_MAX; /* no key to wear out */
    return cipher->block_len >= 16 ? (UINT64_C(1) << 32) * cipher->block_len : UINT64_C(1) << 30;
}

static size_t aligned(size_t size)
{
    return (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
}

void *fs_epoch_new(size_t object_size, const fs_packet_keys *keys, int sealing, int *status)
{
    const fs_suite *suite = keys->cipher ? fs_suite_find(keys) : NULL;
    fs_epoch *epoch;
    size_t size;

    if (!suite) {
        *status = FS_E_ARGUMENT;
        return NULL;
    }
    size = aligned(object_size) + aligned(suite->state_size);
    epoch = aligned_alloc(ALIGNMENT, size);
    if (!epoch) {
        *status = FS_E_NO_MEMORY;
        return NULL;
    }
    memset(epoch, 0, size);
    epoch->suite = suite;
    epoch->state = (uint8_t *)epoch + aligned(object_size);
    epoch->block = (uint8_t)keys->cipher->block_len;
    epoch->least_padding = epoch->block > 1 ? FS_PADDING_MIN : 0;
    epoch->tag_len = (uint8_t)(keys->cipher->tag_len ? keys->cipher->tag_len : keys->mac ? keys->mac->tag_len : 0);
    epoch->allocated = size;
    epoch->counters.sequence = keys->sequence;
    epoch->counters.rekey_bytes = rekey_bytes(keys->cipher);
    *status = suite->init(epoch->state, keys, sealing);
    if (*status != FS_OK) {
        fs_epoch_free(epoch);
        return NULL;
    }
    return epoch;
}

void fs_epoch_free(fs_epoch *epoch)
{
    if (!epoch)
        return;
    epoch->suite->clear(epoch->state);
    OPENSSL_cleanse(epoch, epoch->allocated);
    free(epoch);
}

int fs_epoch_rekey_due(const fs_epoch *epoch)
{
    return epoch->counters.packets >= REKEY_PACKETS || epoch->counters.bytes >= epoch->counters.rekey_bytes;
}

int fs_epoch_room(const fs_epoch *epoch, size_t count)
{
    const uint64_t packets = epoch->counters.packets;
    return packets <= MAX_PACKETS && count <= MAX_PACKETS - packets ? FS_OK : FS_E_SEQUENCE;
}
