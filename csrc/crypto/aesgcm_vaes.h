/* AES-GCM for one vector width. The including file defines vec, LANES (16-byte blocks a vector), EACH_VECTOR (a chunk's
 * vectors), the v_ primitives, IMPL, IMPL_NAME and IMPL_USABLE.
 *
 * A chunk is 16 blocks. Its counter blocks pass the AES rounds side by side while GHASH multiplies 16 ciphertext blocks
 * by H^16 ... H^1 between the rounds, and reduces once. When sealing, these are the previous chunk's, just written;
 * when opening, its own, read before they are overwritten: so in and out may be the same.
 * What is shorter than a chunk goes vector by vector; vectors are independent, so the CPU overlaps them.
 *
 * Secrets: nothing here puts key material into a stack buffer, and the registers are cleared at the end. What a
 * compiler spills under register pressure (round keys, key stream, GHASH sums) cannot be reached from C and stays
 * below the stack pointer until it is overwritten. */
#include <assert.h>
#include <openssl/crypto.h>

#include "fs_status.h"

#define VECTOR ((size_t)16 * LANES)
#define CHUNK ((size_t)256)
#define VECTORS (16 / LANES)
#define PAIRS (VECTORS / 2)

typedef struct schedule {
    uint8_t round_keys[15 * 16];
    /* H^17 ... H^1, each times x, then zeros, which a vector load near the end runs into. H^16 begins a cache line. */
    uint8_t powers[(17 + LANES - 1) * 16];
    _Alignas(64) uint8_t folded[16 * 8]; /* of H^16 ... H^1: high half + low half, in the order of ghash_pair */
    uint8_t rounds; /* bytes throughout: the state is an array of them, and so nothing aliases */
} schedule;

static_assert(sizeof(schedule) <= FS_AESGCM_STATE, "the key state holds the schedule");
static_assert(offsetof(schedule, powers) % 64 == 48, "H^16 begins a cache line");

/* Counters 2 ... 15 of a chunk differ from its base (a multiple of 16) in these bits; 16 and 17, from the next base. */
_Alignas(64) static const uint8_t counter_bits[256] = {
    [15] = 2,   [31] = 3,   [47] = 4,   [63] = 5,   [79] = 6,   [95] = 7,   [111] = 8, [127] = 9,
    [143] = 10, [159] = 11, [175] = 12, [191] = 13, [207] = 14, [223] = 15, [239] = 0, [255] = 1,
};

INLINE vec v_block(const uint8_t *p) { return v_broadcast(x_load(p)); }
INLINE vec v_reversed(vec v) { return v_shuffle8(v, v_broadcast(x_reverse())); }

INLINE const uint8_t *power_of_h(const schedule *k, size_t n) { return k->powers + 16 * (17 - n); }
INLINE vec v_round_key(const schedule *k, unsigned round) { return v_block(k->round_keys + (size_t)16 * round); }

/* The same pointer, with nothing known about it: loops load keys and constants where they need them, instead of loading
 * all before and keeping copies on the stack. */
INLINE const void *unforeseen(const void *p)
{
    __asm__("" : "+r"(p));
    return p;
}

INLINE const schedule *schedule_of(const fs_aesgcm_key *key)
{
    return (const schedule *)(const void *)key->state;
}

/* Karatsuba: middle lacks low and high until the sum is reduced. */
typedef struct ghash_sum {
    vec low, middle, high;
} ghash_sum;

/* Adds the products of vectors 2 * pair and 2 * pair + 1 of a chunk of ciphertext. */
INLINE void ghash_pair(const schedule *k, ghash_sum *sum, const uint8_t *text, size_t pair, vec y)
{
    vec a = v_reversed(v_load(text + 2 * pair * VECTOR)), b = v_reversed(v_load(text + (2 * pair + 1) * VECTOR));
    const uint8_t *powers = power_of_h(k, 16) + 2 * pair * VECTOR;
    vec power_a = v_load(powers), power_b = v_load(powers + VECTOR);
    vec folded_power = v_load(k->folded + pair * VECTOR);
    if (pair == 0)
        a = v_xor(a, y); /* pairs run backwards: what waits for the previous chunk's reduction comes last */
    vec folded = v_xor(v_low64(a, b), v_high64(a, b));
    sum->low = v_xor3(sum->low, v_clmul(a, power_a, 0x00), v_clmul(b, power_b, 0x00));
    sum->high = v_xor3(sum->high, v_clmul(a, power_a, 0x11), v_clmul(b, power_b, 0x11));
    sum->middle = v_xor3(sum->middle, v_clmul(folded, folded_power, 0x00), v_clmul(folded, folded_power, 0x11));
    /* A fixed point: or else the compiler regroups the XORs of all pairs, and products wait on the stack. */
    __asm__("" : "+v"(sum->low), "+v"(sum->middle), "+v"(sum->high));
}

/* Reduces each lane and adds the lanes up; the hash is in the first lane, zero in the others. */
INLINE vec ghash_sum_reduce(const ghash_sum *sum)
{
    vec polynomial = v_broadcast(_mm_set1_epi64x(GHASH_POLYNOMIAL));
    vec middle = v_xor3(sum->middle, sum->low, sum->high);
    middle = v_xor3(middle, v_swap64(sum->low), v_clmul(sum->low, polynomial, 0x00));
    vec lanes = v_xor3(sum->high, v_swap64(middle), v_clmul(middle, polynomial, 0x00));
    return v_from_block(v_fold(lanes));
}

INLINE vec ghash_chunk(const schedule *k, vec y, const uint8_t *text)
{
    ghash_sum sum = {v_zero(), v_zero(), v_zero()};
    for (size_t pair = PAIRS; pair-- > 0;)
        ghash_pair(k, &sum, text, pair, y);
    return ghash_sum_reduce(&sum);
}

/* Of the next chunk; every lane holds the same: a counter that is a multiple of 16. */
typedef struct counters {
    vec counter; /* byte-reversed: the 32-bit counter is the lowest dword of each lane */
    vec base;    /* the counter block, already whitened with the first round key */
} counters;

INLINE vec counters_whitened(const schedule *k, vec counter)
{
    return v_xor(v_reversed(counter), v_round_key(k, 0));
}

/* Encrypts or decrypts a chunk while hashing the chunk at text, unless that is NULL. */
INLINE vec crypt_chunk(const schedule *k, unsigned rounds, counters *c, vec y, const uint8_t *text, const uint8_t *in,
                       uint8_t *out)
{
    ghash_sum sum = {v_zero(), v_zero(), v_zero()};
    vec base = c->base;
    const uint8_t *bits = unforeseen(counter_bits);
    k = unforeseen(k);
    c->counter = v_add32(c->counter, v_broadcast(_mm_cvtsi32_si128(16)));
    c->base = counters_whitened(k, c->counter);
    vec last = v_straddle(base, c->base);

#define COUNTER_BLOCK(i) vec b##i = v_xor(i == VECTORS - 1 ? last : base, v_load(bits + i * VECTOR));
#define ENCRYPT_ROUND(i) b##i = v_aesenc(b##i, round_key);
#define LAST_ROUND(i) b##i = v_aesenclast(b##i, v_xor(round_key, v_load(in + i * VECTOR)));
#define STORE(i) v_store(out + i * VECTOR, b##i);
#define ROUND(r)                                                                                                       \
    {                                                                                                                  \
        vec round_key = v_round_key(k, r);                                                                      \
        EACH_VECTOR(ENCRYPT_ROUND)                                                                                     \
        if (text != NULL && r <= 8 && r % (8 / PAIRS) == 0)                                                            \
            ghash_pair(k, &sum, text, PAIRS - r / (8 / PAIRS), y);                                                     \
    }

    EACH_VECTOR(COUNTER_BLOCK)
    ROUND(1) ROUND(2) ROUND(3) ROUND(4) ROUND(5) ROUND(6) ROUND(7) ROUND(8) ROUND(9)
    if (rounds == 14) {
        ROUND(10) ROUND(11) ROUND(12) ROUND(13)
    }
    if (text != NULL)
        y = ghash_sum_reduce(&sum);
    vec round_key = v_round_key(k, rounds);
    EACH_VECTOR(LAST_ROUND)
    EACH_VECTOR(STORE)

#undef COUNTER_BLOCK
#undef ENCRYPT_ROUND
#undef LAST_ROUND
#undef STORE
#undef ROUND
    return y;
}

/* What is left after the chunks (len < CHUNK), the block of lengths, and the last reduction. */
INLINE __m128i crypt_tail(const schedule *k, unsigned rounds, int opening, counters *c, vec y, const uint8_t *in,
                          uint8_t *out, size_t len, __m128i lengths)
{
    const uint8_t *powers = power_of_h(k, 1 + (len + 15) / 16);
    vec counter = v_add32(c->counter, v_reversed(v_load(counter_bits)));
    vec low = v_zero(), middle = v_zero(), high = v_zero();
    while (len > 0) {
        size_t n = len < VECTOR ? len : VECTOR;
        vec text = n == VECTOR ? v_load(in) : v_load_part(in, n);
        k = unforeseen(k);
        vec block = counters_whitened(k, counter);
        for (unsigned r = 1; r < rounds; r++)
            block = v_aesenc(block, v_round_key(k, r));
        block = v_aesenclast(block, v_xor(text, v_round_key(k, rounds)));
        if (n == VECTOR)
            v_store(out, block);
        else
            block = v_store_part(out, block, n);
        vec hashed = v_xor(v_reversed(opening ? text : block), y), power = v_load(powers);
        low = v_xor(low, v_clmul(hashed, power, 0x00));
        middle = v_xor3(middle, v_clmul(hashed, power, 0x01), v_clmul(hashed, power, 0x10));
        high = v_xor(high, v_clmul(hashed, power, 0x11));
        y = v_zero();
        counter = v_add32(counter, v_broadcast(_mm_cvtsi32_si128(LANES)));
        in += n, out += n, len -= n, powers += VECTOR;
    }
    ghash_block_sum sum = {v_fold(low), v_fold(middle), v_fold(high)};
    ghash_block_add(&sum, x_xor(lengths, v_fold(y)), x_load(power_of_h(k, 1)));
    return ghash_reduce(sum.low, sum.middle, sum.high);
}

INLINE __m128i load_iv(const uint8_t iv[FS_AESGCM_IV])
{
    return _mm_set_epi64x((long long)load32(iv + 8), (long long)load64(iv));
}

/* Returns the tag. rounds and opening are constants to the compiler. */
INLINE __m128i gcm_crypt(const schedule *k, unsigned rounds, int opening, const uint8_t *iv, const uint8_t *aad,
                         size_t aad_len, const uint8_t *in, uint8_t *out, size_t len)
{
    __m128i lengths = _mm_set_epi64x((long long)((uint64_t)aad_len * 8), (long long)((uint64_t)len * 8));
    __m128i block0 = load_iv(iv); /* counter 0: 1 is the tag's, 2 the first of the text */
    vec y = v_from_block(ghash_absorb(_mm_setzero_si128(), x_load(power_of_h(k, 1)), aad, aad_len));
    counters c;
    c.counter = v_broadcast(x_reversed(block0));
    c.base = counters_whitened(k, c.counter);

    if (opening) {
        for (; len >= CHUNK; in += CHUNK, out += CHUNK, len -= CHUNK)
            y = crypt_chunk(k, rounds, &c, y, in, in, out);
    } else if (len >= CHUNK) {
        y = crypt_chunk(k, rounds, &c, y, NULL, in, out);
        for (in += CHUNK, out += CHUNK, len -= CHUNK; len >= CHUNK; in += CHUNK, out += CHUNK, len -= CHUNK)
            y = crypt_chunk(k, rounds, &c, y, out - CHUNK, in, out);
        y = ghash_chunk(k, y, out - CHUNK);
    }
    __m128i mask = aes_block(k->round_keys, rounds, _mm_insert_epi32(block0, 0x01000000, 3));
    return x_xor(mask, x_reversed(crypt_tail(k, rounds, opening, &c, y, in, out, len, lengths)));
}

KERNEL static int gcm_init(fs_aesgcm_key *key, const uint8_t *secret, size_t key_len)
{
    if (key_len != 16 && key_len != 32)
        return FS_E_ARGUMENT;
    schedule *k = (schedule *)(void *)key->state;
    memset(k, 0, sizeof *k);
    k->rounds = key_len == 16 ? 10 : 14;
    aes_expand(k->round_keys, secret, key_len, k->rounds);
    __m128i h = ghash_times_x(x_reversed(aes_block(k->round_keys, k->rounds, _mm_setzero_si128())));
    __m128i power = h;
    for (size_t n = 1; n <= 17; n++, power = ghash_multiply(power, h))
        x_store(k->powers + 16 * (17 - n), power);
    for (size_t pair = 0; pair < PAIRS; pair++) {
        const uint8_t *powers = power_of_h(k, 16) + 2 * pair * VECTOR;
        vec a = v_load(powers), b = v_load(powers + VECTOR);
        v_store(k->folded + pair * VECTOR, v_xor(v_low64(a, b), v_high64(a, b)));
    }
    v_clear_registers();
    return FS_OK;
}

KERNEL static void gcm_seal(const fs_aesgcm_key *key, const uint8_t iv[FS_AESGCM_IV], const uint8_t *aad,
                            size_t aad_len, const uint8_t *in, uint8_t *out, size_t len, uint8_t tag[FS_AESGCM_TAG])
{
    const schedule *k = schedule_of(key);
    x_store(tag, k->rounds == 10 ? gcm_crypt(k, 10, 0, iv, aad, aad_len, in, out, len)
                                 : gcm_crypt(k, 14, 0, iv, aad, aad_len, in, out, len));
    v_clear_registers();
}

KERNEL static int gcm_open(const fs_aesgcm_key *key, const uint8_t iv[FS_AESGCM_IV], const uint8_t *aad,
                           size_t aad_len, const uint8_t *in, uint8_t *out, size_t len,
                           const uint8_t tag[FS_AESGCM_TAG])
{
    const schedule *k = schedule_of(key);
    __m128i difference = x_xor(x_load(tag), k->rounds == 10 ? gcm_crypt(k, 10, 1, iv, aad, aad_len, in, out, len)
                                                            : gcm_crypt(k, 14, 1, iv, aad, aad_len, in, out, len));
    int equal = _mm_testz_si128(difference, difference); /* all 128 bits at once: no early end */
    v_clear_registers();
    if (equal != 1) {
        OPENSSL_cleanse(out, len);
        return FS_E_MAC;
    }
    return FS_OK;
}

const fs_aesgcm_impl IMPL = {IMPL_NAME, IMPL_USABLE, gcm_init, gcm_seal, gcm_open};
