#include "monotonic.h"

int64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t monotonic_ms(void)
{
    return monotonic_ns() / 1000000;
}

struct timespec monotonic_in_ms(int64_t ms)
{
    int64_t then = monotonic_ns() + ms * 1000000;
    return (struct timespec){.tv_sec = then / 1000000000, .tv_nsec = then % 1000000000};
}
