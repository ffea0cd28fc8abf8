/* Published vectors and recorded packets. */
#include "hmac.h"
#include "packet_pairs.h"

/* --- HMAC: RFC 4231 sections 4.2 and 4.4 ------------------------------------------------------------------------- */

typedef struct hmac_vector {
    const char *digest;
    uint8_t key_byte, key_len;
    const char *data;
    const char *tag;
} hmac_vector;

static const hmac_vector HMAC_VECTORS[] = {
    {"SHA2-256", 0x0b, 20, "4869205468657265", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
    {"SHA2-512", 0x0b, 20, "4869205468657265",
     "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"
     "daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"},
    {"SHA2-256", 0xaa, 20,
     "dddddddddddddddddddddddddddddddddddddddddddddddddd"
     "dddddddddddddddddddddddddddddddddddddddddddddddddd",
     "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
    {"SHA2-512", 0xaa, 20,
     "dddddddddddddddddddddddddddddddddddddddddddddddddd"
     "dddddddddddddddddddddddddddddddddddddddddddddddddd",
     "fa73b0089d56a284efb0f0756c890be9b1b5dbdd8ee81a3655f83e33b2279d39"
     "bf3e848279a722c806b485a47e67c807b946a337bee8942674278859e13292fb"},
};

/* The first four bytes of the data go in as the sequence number. Twice: a MAC is keyed once, for many packets. */
static void hmac_of_rfc_4231(void)
{
    for (size_t i = 0; i < sizeof HMAC_VECTORS / sizeof *HMAC_VECTORS; i++) {
        const hmac_vector *v = &HMAC_VECTORS[i];
        uint8_t key[64], data[64], wanted[64], tag[64];
        fs_hmac mac;
        const size_t len = check_unhex(v->data, data), tag_len = check_unhex(v->tag, wanted);

        memset(key, v->key_byte, sizeof key);
        CHECK_INT(fs_hmac_init(&mac, v->digest, key, v->key_len), FS_OK);
        CHECK_INT(mac.tag_len, tag_len);
        for (int round = 0; round < 2; round++) {
            CHECK_INT(fs_hmac_packet(&mac, fs_get_u32(data), data + 4, len - 4, tag), FS_OK);
            CHECK_BYTES(tag, wanted, tag_len);
        }
        fs_hmac_clear(&mac);
    }
}

/* --- key streams ------------------------------------------------------------------------------------------------- */

typedef struct stream_vector {
    const char *cipher, *mac;
    const char *key, *iv;
    uint32_t sequence;
    size_t offset;      /* where on the wire the key stream begins */
    const char *stream; /* clear bytes xor wire bytes from there on */
} stream_vector;

#define SP800_38A_STREAM_128           \
    "ec8cdf7398607cb0f2d21675ea9ea1e4" \
    "362b7c3c6773516318a077d7fc5073ae" \
    "6a2cc3787889374fbeb4c81b17ba6c44" \
    "e89c399ff0f198c6d40a31db"
#define SP800_38A_STREAM_192           \
    "717d2dc639128334a6167a488ded7921" \
    "a72eb3bb14a556734b7bad6ab16100c5" \
    "2efeae2d72b722613446dc7f4c2af918" \
    "b9e783b30dd7924ff7bc9b97"
#define SP800_38A_STREAM_256           \
    "0bdf7df1591716335e9a8b15c860c502" \
    "5a6e699d536119065433863c8f657b94" \
    "1bc12c9c01610d5d0d8bd6a3378eca62" \
    "2956e1c8693536b1bee99c73"
#define SP800_38A_IV "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
#define ZEROS_32 "00000000000000000000000000000000"
#define ZEROS_64 ZEROS_32 ZEROS_32

static const stream_vector STREAM_VECTORS[] = {
    /* NIST SP 800-38A F.5.1, F.5.3, F.5.5: the output blocks; etm leaves the length out */
    {"aes128-ctr", "hmac-sha2-256", "2b7e151628aed2a6abf7158809cf4f3c", SP800_38A_IV, 0, 0, SP800_38A_STREAM_128},
    {"aes192-ctr", "hmac-sha2-256", "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b", SP800_38A_IV, 0, 0,
     SP800_38A_STREAM_192},
    {"aes256-ctr", "hmac-sha2-512", "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", SP800_38A_IV, 0,
     0, SP800_38A_STREAM_256},
    {"aes128-ctr", "hmac-sha2-512-etm@openssh.com", "2b7e151628aed2a6abf7158809cf4f3c", SP800_38A_IV, 0, 4,
     SP800_38A_STREAM_128},
    /* RFC 8439 A.1: vector 1 (block 0) for the length, vector 2 (block 1) for the payload; nonce 0 is sequence 0 */
    {"chacha20-poly1305@openssh.com", "", ZEROS_64 ZEROS_64, "", 0, 0, "76b8e0ad"},
    {"chacha20-poly1305@openssh.com", "", ZEROS_64 ZEROS_64, "", 0, 4,
     "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
     "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f"},
    /* draft-agl-tls-chacha20poly1305-04 section 7, with a nonce of 64 bits: key 0, nonce 1 */
    {"chacha20-poly1305@openssh.com", "", ZEROS_64 ZEROS_64, "", 1, 0, "de9cba7b"},
    /* McGrew and Viega, The Galois/Counter Mode of Operation, test cases 2 and 14: key, IV and plaintext 0 */
    {"aes128-gcm@openssh.com", "", ZEROS_32, "000000000000000000000000", 0, 4, "0388dace60b6a392f328c2b971b2fe78"},
    {"aes256-gcm@openssh.com", "", ZEROS_64, "000000000000000000000000", 0, 4, "cea7403d4d606b6e074ec5d3baf39d18"},
};

static void streams_are_the_published_ones(void)
{
    for (size_t i = 0; i < sizeof STREAM_VECTORS / sizeof *STREAM_VECTORS; i++) {
        const stream_vector *v = &STREAM_VECTORS[i];
        uint8_t key[64] = {0}, iv[16] = {0}, mac_key[64] = {0}, wire[256], clear[256], stream[64];
        fs_packet_keys keys = {fs_cipher_find(v->cipher), fs_mac_find(v->mac), key, iv, mac_key, v->sequence};
        const size_t len = check_unhex(v->stream, stream), payload_len = 70;
        size_t padding;

        CHECK_INT(check_unhex(v->key, key), keys.cipher->key_len);
        CHECK_INT(check_unhex(v->iv, iv), keys.cipher->iv_len);
        fs_sealer *sealer = pair_sealer(&keys);
        const size_t total = pair_seal(sealer, wire, payload_len), length = total - 4 - pair_tag_len(&keys);
        padding = length - 1 - payload_len;
        fs_put_u32(clear, (uint32_t)length);
        clear[4] = (uint8_t)padding;
        pair_fill(clear + FS_PACKET_HEADER, payload_len);
        for (size_t j = 0; j < len; j++)
            clear[v->offset + j] ^= wire[v->offset + j];
        CHECK_BYTES(clear + v->offset, stream, len);
        fs_sealer_free(sealer);
    }
}

/* --- recorded packets --------------------------------------------------------------------------------------------
 * SERVICE_ACCEPT "ssh-userauth" as sealed by sshd of OpenSSH 9.2p1 (Debian 2+deb12u10), its second packet under the
 * first keys, so the IVs are those of key derivation advanced by the first packet: by 1 for GCM, by 19 blocks for CTR.
 * tests/reference/recordings has all packets and suites, tests/reference/record_openssh.py says how they were taken. */

typedef struct recorded {
    const char *cipher, *mac;
    const char *key, *iv, *mac_key;
    const char *wire;
} recorded;

static const recorded RECORDED[] = {
    {"aes128-gcm@openssh.com", "", "c96f81768b2b116d6b7c7bba1726de43", "1485a9468c481bc9fd7d4a75", "",
     "00000020d0fb69d1ff79b7ae275ac67b77c5cda9927513484525a1c67e49ba0552640e665ce1d9ac4d8730a9eb00a97eca51d4e4"},
    {"aes256-gcm@openssh.com", "", "b8ea70e4d5d97f5d8504450daa3afa7c5acfbf9f76b1e6ff497311ce47038175",
     "5eadd631645cac91d78947b9", "",
     "000000207c4820af31404ae8a3bfe41208f45f0c24015fa380945ff253d4e960b75842831d96db2f87e44804eb0910956051b386"},
    {"chacha20-poly1305@openssh.com", "",
     "ff1dde1ea3348b150036a46741c22339844dbd5e1d5058dbcf0227273160857f"
     "4d7814a9b2742872b72b654e33e841db2a731b9ad7a5978f27fa2102290dee3b",
     "", "", "9a1bd0646f1404c891e1feb2e1819efa7b98853d362b789b2fdaad304777e1fee9be75bdf4e75a9b3ccfdd0e"},
    {"aes256-ctr", "hmac-sha2-512-etm@openssh.com", "cbfa5e4b3c9cd1b20b7448ee571eebe06c53581ba3a6a89b053a49e419a1e325",
     "693d77449bbb570e8d5a984cfee28953",
     "a7bc4524e24b0c77b89411deeaf0a91122c5481f5b3bd7374770197250c9f135"
     "17cb15041847757bbb2f0a592fd6f237de3cda27abc930962e772c26df37bc1e",
     "00000020c7bbaacd49ee9e7e2e31ed231c984be4a0159855c3b448fdc22495a445524dae"
     "e2f6d35029ec637a5be88216f70fbb65c48b7752ac1414773ced2498cece483a"
     "c4604872e6678927248c8d4e4214e053cccf2c90d73ad800583fb8add3bc5c77"},
    {"aes256-ctr", "hmac-sha2-256", "fdba87661219f7c21f0cf56a8b5f7a4a3e8804dd85b1f3c76d4a359793d8e6ec",
     "c72375f70a11b6f69d199d7a90e0305d", "ab908b579c7fd77d017d8f83b0a83a2b370ea82453e621e955cd30d168e1d6db",
     "f4be3f74cdc3763cd2ca67a5bc17a556efb560d707d98ea6c4b3c73dd061f5a3"
     "9dc0895abb9a307fb5078ea2826b2063d812642b1bc31ecc37d7a1d2c0c7314b"},
};

static void packets_that_openssh_sealed(void)
{
    static const char PAYLOAD[] = "\6\0\0\0\14ssh-userauth";

    for (size_t i = 0; i < sizeof RECORDED / sizeof *RECORDED; i++) {
        const recorded *r = &RECORDED[i];
        uint8_t key[64], iv[16], mac_key[64], wire[256];
        fs_packet_keys keys = {fs_cipher_find(r->cipher), fs_mac_find(r->mac), key, iv, mac_key, 1};
        const size_t len = check_unhex(r->wire, wire);
        fs_packet packet;
        size_t count, used, need;

        CHECK_INT(check_unhex(r->key, key), keys.cipher->key_len);
        CHECK_INT(check_unhex(r->iv, iv), keys.cipher->iv_len);
        CHECK_INT(check_unhex(r->mac_key, mac_key), keys.mac->key_len);
        fs_opener *opener = pair_opener(&keys);
        CHECK_INT(fs_open_batch(opener, wire, len, &packet, 1, &count, &used, &need), FS_OK);
        CHECK_INT(used, len);
        CHECK_INT(packet.payload_len, sizeof PAYLOAD - 1);
        CHECK_BYTES(packet.payload, PAYLOAD, sizeof PAYLOAD - 1);
        fs_opener_free(opener);
    }
}

int main(void)
{
    RUN(hmac_of_rfc_4231);
    for (const fs_aesgcm_impl *const *impl = fs_aesgcm_impls; *impl; impl++) {
        if (fs_packet_select_aesgcm((*impl)->name) == FS_OK) {
            RUN(streams_are_the_published_ones);
            RUN(packets_that_openssh_sealed);
        }
    }
    CHECK_INT(fs_packet_select_aesgcm("libcrypto"), FS_OK);
    RUN(streams_are_the_published_ones);
    RUN(packets_that_openssh_sealed);
    return 0;
}
