/* Chance that can be repeated: the same numbers after the same seed. Of one thread. */
#ifndef RCPTGATE_TEST_CHANCE_H
#define RCPTGATE_TEST_CHANCE_H

#include <stdbool.h>
#include <stdint.h>

static uint64_t chance_state = 1;

static inline void chance_begin(uint64_t seed)
{
    chance_state = (seed + 1) * UINT64_C(0x9E3779B97F4A7C15);
}

static inline uint64_t chance_next(void) /* xorshift64* */
{
    chance_state ^= chance_state >> 12;
    chance_state ^= chance_state << 25;
    chance_state ^= chance_state >> 27;
    return chance_state * UINT64_C(2685821657736338717);
}

/* 0..n-1; 0 where that is none. */
static inline int64_t below(int64_t n)
{
    return n < 1 ? 0 : (int64_t)(chance_next() >> 11) % n;
}

static inline bool one_in(int64_t n)
{
    return below(n) == 0;
}

#define pick(list) ((list)[below((int64_t)(sizeof(list) / sizeof(list)[0]))])

#endif
