/* clock: see clock.h. */
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

int64_t clock_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t clock_monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t clock_monotonic_ms(void)
{
    return clock_monotonic_ns() / 1000000;
}

struct timespec clock_in_ms(int64_t ms)
{
    int64_t then = clock_monotonic_ns() + ms * 1000000;
    return (struct timespec){.tv_sec = then / 1000000000, .tv_nsec = then % 1000000000};
}

int64_t clock_about(int64_t ns)
{
    return ns - ns / 4 + (int64_t)arc4random_uniform((uint32_t)(ns / 2 / 1000) + 1) * 1000;
}

const char *clock_text(int64_t unix_ms, char buffer[CLOCK_TEXT])
{
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm tm;
    if (gmtime_r(&seconds, &tm) == NULL || strftime(buffer, CLOCK_TEXT, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        snprintf(buffer, CLOCK_TEXT, "%lld", (long long)seconds);
    return buffer;
}
