/* ramp: how a limit grows back to its max (see ramp.h). Owns nothing, cannot fail. */
#include "ramp.h"

/* a * b / c for a up to 10^15 and b < c up to a month in ms, without overflow: the quotient of a and c first. */
static int64_t scale(int64_t a, int64_t b, int64_t c)
{
    return a / c * b + a % c * b / c;
}

int64_t ramp_max(int64_t max, int64_t ramp_ms, int64_t since_ms)
{
    if (ramp_ms <= 0 || since_ms >= ramp_ms || max <= 1)
        return max;
    int64_t first = max / 10;
    int64_t now = first + scale(max - first, since_ms > 0 ? since_ms : 0, ramp_ms);
    return now > 1 ? now : 1;
}

int64_t ramp_wait(int64_t max, int64_t ramp_ms, int64_t since_ms, int64_t wanted)
{
    if (wanted > max)
        wanted = max;
    int64_t since = since_ms > 0 ? since_ms : 0;
    if (ramp_max(max, ramp_ms, since) >= wanted)
        return 0;
    int64_t low = since, high = ramp_ms; /* the first moment lies in (low, high] */
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (ramp_max(max, ramp_ms, middle) >= wanted)
            high = middle;
        else
            low = middle;
    }
    return high - since;
}
