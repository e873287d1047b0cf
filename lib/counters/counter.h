/* counter: one counter of a store: the sliding count of one limit on one subject, with what was refused by it
 * and its hold. Pure; owns nothing.
 *
 * As text (the value of a field in Redis):
 *
 *     7/10 window=60000 born=1732320000000 slot=28872000 4:1,0,3 refused=12 held=1732320600000
 *
 * used and max at the last write, the window in milliseconds, when the counter was created (Unix time in ms), the number of
 * a slot and the counts of it and those before it (so that going on from there means to write in front); "4:1" are four of
 * which one is open, that is not yet taken; ":0" is not written. Then, only where they are not 0, how often it refused since
 * then, and until when it is held; then what it counts, where that is not recipients ("bytes"), and "h" where it is hard: only
 * then is what is not open known to be taken. Words that follow and that a reader does not know are kept. Zero slots at both
 * ends are left out, so that a quiet counter fits into 64 bytes, up to which Redis packs a hash tightly.
 */
#ifndef RCPTGATE_COUNTERS_COUNTER_H
#define RCPTGATE_COUNTERS_COUNTER_H

#include "base/count.h"
#include "counters/window.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct counter { /* zeroed: does not exist yet */
    struct window window;
    enum count_unit unit;
    bool hard;       /* what is not open is known to be taken (attempts always are) */
    int64_t max;     /* at the last write */
    int64_t created; /* Unix time in ms; `born` in the text */
    int64_t refused; /* since then */
    int64_t held;    /* until this Unix time in ms; 0: not held */
};

/* Brings a counter up to now_ms: moves the window, ends holds, clips one that a clock that jumped back left in the future
 * (a hold lasts at most hold_ms from now). A counter that does not exist is made. */
void counter_move(struct counter *counter, int64_t window_ms, int64_t hold_ms, int64_t now_ms);

/* Makes it hard for a hard limit (COUNT_HARD): what was charged until now, by a soft one, is open until it has left the window. */
void counter_harden(struct counter *counter);

/* Charges the newest slot for a hard limit, or a soft one. What a soft one charges to a hard counter stays open, until nothing
 * there is taken: then the counter is soft again. */
void counter_charge(struct counter *counter, int64_t amount, bool hard);

/* What is in it at now_ms. key and limit of *out are the caller's. */
void counter_view(const struct counter *counter, int64_t now_ms, struct count_view *out);

/* Reads the text of n bytes; false, and *out untouched, when it is not one of ours. */
bool counter_parse(const char *text, size_t n, struct counter *out);

#endif
