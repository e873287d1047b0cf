/* fuzz_frames: whatever comes over a milter connection, in two portions as in one: as much passes, and what passed passes again. */
#include "frames.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool truth)
{
    if (!truth)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frames whole = {0}, parts = {0}, again = {0};
    size_t passed = frames_pass(&whole, data, size), cut = size > 0 ? data[0] % (size + 1) : 0;
    size_t first = frames_pass(&parts, data, cut);
    demand(passed <= size && first <= cut);
    if (first == cut)
        first += frames_pass(&parts, data + cut, size - cut);
    demand(first == passed);
    demand(frames_pass(&again, data, passed) == passed);
    return 0;
}
