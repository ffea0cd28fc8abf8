/* What one key epoch counts and allows: sequence numbers, thresholds, nonces, padding; and which keys make one. */
#include <openssl/evp.h>

#include "fs_bytes.h"
#include "packet_pairs.h"

static uint8_t buffer[1 << 16];

static int open_next(fs_opener *opener, size_t len)
{
    fs_packet packet;
    size_t count, used, need;
    return fs_open_batch(opener, buffer, len, &packet, 1, &count, &used, &need);
}

static void counters_of(const fs_packet_keys *keys)
{
    fs_sealer *sealer = pair_sealer(keys);
    fs_opener *opener = pair_opener(keys);
    const fs_packet_counters *sent = fs_sealer_counters(sealer), *taken = fs_opener_counters(opener);
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < 10; i++) { /* the number wraps on the way, the epoch is far from its end */
        CHECK_INT(sent->sequence, (uint32_t)(keys->sequence + i));
        CHECK_INT(taken->sequence, sent->sequence);
        const size_t total = pair_seal(sealer, buffer, 10 * (size_t)i + 1);
        CHECK_INT(open_next(opener, total), FS_OK);
        bytes += total - pair_tag_len(keys);
        CHECK_INT(sent->packets, i + 1);
        CHECK_INT(taken->packets, i + 1);
        CHECK_INT(sent->bytes, bytes);
        CHECK_INT(taken->bytes, bytes);
    }
    fs_sealer_free(sealer);
    fs_opener_free(opener);
}

static void counters_follow_the_wire(void)
{
    pair_each(counters_of);
}

static void end_of(const fs_packet_keys *keys)
{
    const uint64_t all = UINT64_C(1) << 32;
    fs_sealer *sealer = pair_sealer(keys);
    fs_opener *opener = pair_opener(keys);
    uint8_t other[128];
    fs_packet pair[2] = {{.start = buffer, .payload_len = 1}, {.start = other, .payload_len = 1}};

    fs_sealer_counters(sealer)->packets = all - 1;
    fs_opener_counters(opener)->packets = all - 1;
    memset(buffer, 0x55, sizeof buffer);
    memset(other, 0x55, sizeof other);
    CHECK_INT(fs_seal_batch(sealer, pair, 2), FS_E_SEQUENCE);
    CHECK(buffer[0] == 0x55 && other[0] == 0x55); /* all of a batch, or nothing */
    const size_t total = pair_seal(sealer, buffer, 1);
    CHECK_INT(open_next(opener, total), FS_OK);
    CHECK_INT(fs_seal_batch(sealer, pair, 1), FS_E_SEQUENCE);
    CHECK_INT(open_next(opener, total), FS_E_SEQUENCE);
    fs_sealer_free(sealer);
    fs_opener_free(opener);
}

static void row16_an_epoch_ends_before_a_sequence_number_repeats(void)
{
    pair_each(end_of);
}

static void rekey_of(const fs_packet_keys *keys)
{
    fs_sealer *sealer = pair_sealer(keys);
    fs_opener *opener = pair_opener(keys);
    fs_packet_counters *sides[] = {fs_sealer_counters(sealer), fs_opener_counters(opener)};
    const uint64_t wanted = !keys->cipher->key_len          ? UINT64_MAX
                            : keys->cipher->block_len == 16 ? UINT64_C(64) << 30
                                                            : UINT64_C(1) << 30;

    for (int i = 0; i < 2; i++) {
#define DUE (i ? fs_opener_rekey_due(opener) : fs_sealer_rekey_due(sealer))
        CHECK_INT(sides[i]->rekey_bytes, wanted);
        CHECK(!DUE);
        sides[i]->bytes = wanted - 1;
        CHECK(!DUE);
        sides[i]->bytes = wanted;
        CHECK(DUE);
        sides[i]->bytes = 1000;
        sides[i]->rekey_bytes = 1001; /* RekeyLimit */
        CHECK(!DUE);
        sides[i]->rekey_bytes = 1000;
        CHECK(DUE);
        sides[i]->rekey_bytes = wanted;
        sides[i]->packets = (UINT64_C(1) << 31) - 1;
        CHECK(!DUE);
        sides[i]->packets++;
        CHECK(DUE);
#undef DUE
    }
    fs_sealer_free(sealer);
    fs_opener_free(opener);
}

static void rekey_is_due_at_the_thresholds(void)
{
    pair_each(rekey_of);
}

/* Row 16. The nonce of packet i is fixed field || counter + i, carrying through all 64 bits and not beyond. */
static void nonces_of(const fs_packet_keys *keys)
{
    static const uint64_t starts[] = {0, 0xff, 0xffffffff, 0xfffffffffffffffe, 0xffffffffffffffff, 0x0123456789abcdef};
    if (!strstr(keys->cipher->name, "gcm"))
        return;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        uint8_t iv[12] = {0xa0, 0xb1, 0xc2, 0xff};
        fs_packet_keys started = *keys;
        fs_put_u64(iv + 4, starts[i]);
        started.iv = iv;
        fs_sealer *sealer = pair_sealer(&started);
        for (uint64_t n = 0; n < 5; n++) {
            const size_t total = pair_seal(sealer, buffer, 30), length = total - 4 - 16;
            uint8_t clear[64], wanted[30];
            int len;
            EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
            CHECK(ctx && length <= sizeof clear);
            fs_put_u64(iv + 4, starts[i] + n);
            CHECK(EVP_DecryptInit_ex(ctx, keys->cipher->key_len == 16 ? EVP_aes_128_gcm() : EVP_aes_256_gcm(), NULL,
                                     keys->key, iv) == 1);
            CHECK(EVP_DecryptUpdate(ctx, NULL, &len, buffer, 4) == 1);
            CHECK(EVP_DecryptUpdate(ctx, clear, &len, buffer + 4, (int)length) == 1);
            CHECK(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, 16, buffer + 4 + length) == 1);
            CHECK(EVP_DecryptFinal_ex(ctx, clear + length, &len) == 1);
            pair_fill(wanted, 30);
            CHECK_BYTES(clear + 1, wanted, 30);
            EVP_CIPHER_CTX_free(ctx);
        }
        fs_sealer_free(sealer);
    }
}

static void row16_gcm_nonces_count_up_by_one(void)
{
    pair_each(nonces_of);
}

static void padding_is_random_and_fresh(void)
{
    const fs_packet_keys keys = pair_keys("none", "none", 0);
    fs_sealer *sealer = pair_sealer(&keys);
    static uint32_t seen[3000];
    uint32_t zero_bits = 0;

    for (size_t i = 0; i < 3000; i++) { /* more than a pool holds */
        const size_t total = pair_seal(sealer, buffer, 7);
        CHECK_INT(total, 16);
        CHECK_INT(buffer[4], 4);
        seen[i] = fs_get_u32(buffer + 12);
        for (int bit = 0; bit < 32; bit++)
            zero_bits += !(seen[i] >> bit & 1);
        CHECK(i == 0 || seen[i] != seen[i - 1]); /* wrong once in four thousand million packets */
    }
    /* 96,000 coins: 48,000 heads, and 2,000 are more than 12 standard deviations */
    CHECK(zero_bits > 46000 && zero_bits < 50000);
    fs_sealer_free(sealer);
}

static void refused(fs_packet_keys keys)
{
    int status = FS_OK;
    CHECK(!fs_sealer_new(&keys, &status));
    CHECK_INT(status, FS_E_ARGUMENT);
    status = FS_OK;
    CHECK(!fs_opener_new(&keys, &status));
    CHECK_INT(status, FS_E_ARGUMENT);
}

static void keys_that_do_not_go_together_are_refused(void)
{
    fs_packet_keys keys = pair_keys("aes128-ctr", "none", 0);
    refused(keys); /* counter mode without a MAC */
    keys.mac = NULL;
    refused(keys);
    refused(pair_keys("none", "hmac-sha2-256", 0)); /* a MAC that nothing would check */
    refused(pair_keys("aes128-cbc", "hmac-sha2-256", 0));
    CHECK(!fs_cipher_find("aes128-cbc"));
    CHECK(!fs_mac_find("hmac-sha1"));
    CHECK(fs_mac_find("") == fs_mac_find("none"));

    keys = pair_keys("aes128-gcm@openssh.com", "hmac-sha2-256", 0); /* AEAD skips MAC negotiation */
    fs_sealer *sealer = pair_sealer(&keys);
    CHECK_INT(fs_sealed_size(sealer, 11), 4 + 16 + 16);
    fs_sealer_free(sealer);
    keys.mac = NULL;
    fs_sealer_free(pair_sealer(&keys));
    fs_opener_free(pair_opener(&keys));
    fs_sealer_free(NULL);
    fs_opener_free(NULL);
}

static void aesgcm_is_selected_by_name(void)
{
    CHECK_INT(fs_packet_select_aesgcm("nonesuch"), FS_E_ARGUMENT);
    CHECK_INT(fs_packet_select_aesgcm("libcrypto"), FS_OK);
    CHECK(strcmp(fs_packet_aesgcm(), "libcrypto") == 0);
    CHECK_INT(fs_packet_select_aesgcm("nonesuch"), FS_E_ARGUMENT); /* and the choice stands */
    CHECK(strcmp(fs_packet_aesgcm(), "libcrypto") == 0);
    for (const fs_aesgcm_impl *const *impl = fs_aesgcm_impls; *impl; impl++) {
        if ((*impl)->usable()) {
            CHECK_INT(fs_packet_select_aesgcm((*impl)->name), FS_OK);
            CHECK(strcmp(fs_packet_aesgcm(), (*impl)->name) == 0);
        } else {
            CHECK_INT(fs_packet_select_aesgcm((*impl)->name), FS_E_ARGUMENT);
        }
    }
    CHECK_INT(fs_packet_select_aesgcm(NULL), FS_OK);
    const fs_aesgcm_impl *best = fs_aesgcm_best();
    CHECK(strcmp(fs_packet_aesgcm(), best ? best->name : "libcrypto") == 0);
}

static void status_texts_are_told(void)
{
    CHECK(strcmp(fs_status_text(FS_OK), "success") == 0);
    CHECK(strcmp(fs_status_text(FS_E_MAC), "message authentication code incorrect") == 0);
    CHECK(strcmp(fs_status_text(-9999), "unknown status") == 0);
}

static void numbers_are_big_endian(void)
{
    uint8_t bytes[9];
    fs_put_u64(bytes + 1, UINT64_C(0xfedcba9876543210)); /* unaligned */
    CHECK_BYTES(bytes + 1, "\xfe\xdc\xba\x98\x76\x54\x32\x10", 8);
    CHECK(fs_get_u64(bytes + 1) == UINT64_C(0xfedcba9876543210));
    CHECK(fs_get_u32(bytes + 1) == 0xfedcba98);
    fs_put_u32(bytes + 1, 0x01020304);
    CHECK_BYTES(bytes + 1, "\1\2\3\4", 4);
}

int main(void)
{
    RUN(counters_follow_the_wire);
    RUN(row16_an_epoch_ends_before_a_sequence_number_repeats);
    RUN(rekey_is_due_at_the_thresholds);
    RUN(row16_gcm_nonces_count_up_by_one);
    RUN(padding_is_random_and_fresh);
    RUN(keys_that_do_not_go_together_are_refused);
    RUN(aesgcm_is_selected_by_name);
    RUN(status_texts_are_told);
    RUN(numbers_are_big_endian);
    return 0;
}
