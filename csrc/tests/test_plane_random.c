/* plane_script.h with scripts from a generator: a short, always equal slice of what fuzz_plane does without end.
 * Arguments are files that hold scripts, a fuzzer's findings, to be run instead. */
#include "plane_script.h"

enum { SCRIPTS = 1500, LONGEST = 3000 };

static void scripts_of_both_sides_break_no_rule(void)
{
    static uint8_t bytes[LONGEST];
    uint64_t state = UINT64_C(88172645463325252);
    for (int i = 0; i < SCRIPTS; i++) {
        size_t len = 100 + (size_t)i * 7919 % (LONGEST - 100);
        for (size_t k = 0; k < len; k++) { /* xorshift64 */
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes[k] = (uint8_t)(state >> 16);
        }
        /* Both sides begin with a channel of each kind in turn, as everything else is about one. */
        memcpy(bytes, (const uint8_t[]){0, 255, (uint8_t)(i % 3 ? i % 8 : 4), 3, 255, 255, 21}, 7);
        run_script(bytes, len);
    }
}

static void run_file(const char *name)
{
    static uint8_t bytes[1 << 20];
    FILE *file = fopen(name, "rb");
    CHECK(file != NULL);
    size_t len = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    run_script(bytes, len);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        run_file(argv[i]);
    if (argc == 1)
        RUN(scripts_of_both_sides_break_no_rule);
    return 0;
}
