/* The macros of the C tests: a failed check names file, line and expression, and ends the program with status 1. */
#ifndef FS_CHECK_H
#define FS_CHECK_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                  \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                      \
        }                                                                                 \
    } while (0)

/* Two integers, shown when they differ. */
#define CHECK_INT(got, wanted)                                                                                  \
    do {                                                                                                        \
        const int64_t check_got = (int64_t)(got), check_wanted = (int64_t)(wanted);                             \
        if (check_got != check_wanted) {                                                                        \
            fprintf(stderr, "%s:%d: %s is %" PRId64 ", not %" PRId64 "\n", __FILE__, __LINE__, #got, check_got, \
                    check_wanted);                                                                              \
            exit(1);                                                                                            \
        }                                                                                                       \
    } while (0)

#define CHECK_BYTES(got, wanted, len) check_bytes(__FILE__, __LINE__, #got, got, wanted, len)

static inline void check_bytes(const char *file, int line, const char *what, const void *got, const void *wanted,
                               size_t len)
{
    const uint8_t *a = got, *b = wanted;
    for (size_t i = 0; i < len; i++) {
        if (a[i] != b[i]) {
            fprintf(stderr, "%s:%d: %s differs at byte %zu of %zu: %02x, not %02x\n", file, line, what, i, len, a[i],
                    b[i]);
            exit(1);
        }
    }
}

/* Hexadecimal digits into bytes; returns how many. Spaces are passed over. */
static inline size_t check_unhex(const char *text, uint8_t *out)
{
    size_t digits = 0;
    for (; *text; text++) {
        if (*text == ' ')
            continue;
        const int low = *text | 0x20;
        const uint8_t value = (uint8_t)(low >= 'a' ? low - 'a' + 10 : low - '0');
        if (digits % 2 == 0)
            out[digits / 2] = 0;
        out[digits / 2] = (uint8_t)(out[digits / 2] << 4 | value);
        digits++;
    }
    return digits / 2;
}

/* Runs a test function and says so. */
#define RUN(test)                 \
    do {                          \
        test();                   \
        printf("ok %s\n", #test); \
    } while (0)

#endif
