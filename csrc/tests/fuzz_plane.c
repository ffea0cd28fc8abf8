/* libFuzzer over plane_script.h: every input is a script of both sides. */
#include "plane_script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    run_script(data, size);
    return 0;
}
