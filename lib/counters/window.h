/* window: the sliding count. Pure arithmetic over int64: no clock, no memory of its own, cannot fail.
 *
 * A window is cut into 10 slots by the clock: slot k holds the milliseconds t with floor(t * 10 / window_ms)
 * == k. What is used is the sum of the current slot and the 10 before it. Two moments at most window_ms apart
 * are at most 10 slots apart, so no span of one window ever holds more than was checked against; moments 1.1
 * windows apart are at least 11 slots apart, so after that silence nothing is left.
 *
 * Of the count of each slot some is open: reserved by messages that have not reached their end. The rest is taken.
 *
 * counters.lua does the same in Lua; test/data/counts.txt holds both to the same answers. */
#ifndef RCPTGATE_COUNTERS_WINDOW_H
#define RCPTGATE_COUNTERS_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

enum {
    WINDOW_SLOTS = 11,
    WINDOW_STALE_MS =
        10000, /* who comes with a time so long past has looked at the clock before others did */
};

/* No slot holds more than this: sums stay exact in int64, and nearly so in the doubles of Lua. */
#define WINDOW_MOST INT64_C(1000000000000000)

struct window { /* zeroed: nothing was ever counted */
    int64_t window_ms;
    int64_t slot; /* number of count[0], the oldest; the current one is count[10] */
    int64_t count[WINDOW_SLOTS];
    int64_t open[WINDOW_SLOTS]; /* of that; never more */
};

/* The number of the slot that holds now_ms. window_ms >= 1; a now_ms below 0 counts as 0. */
int64_t window_slot(int64_t window_ms, int64_t now_ms);

/* The last millisecond of a slot. */
int64_t window_slot_end(int64_t window_ms, int64_t slot);

/* The moment that stands for all of a slot where another clock, or the same a little later, asks for its age: where the clocks agree it is
 * in the slot of that number, and where they do not it is off by half a slot at most. */
int64_t window_slot_middle(int64_t window_ms, int64_t slot);

/* Moves the window on to now_ms, and to another length. A window in which something is ahead stays there, so that what is charged now
 * joins the newest slot and nothing newer moves back; if it is ahead by more than WINDOW_STALE_MS (the clock was set back), or
 * by another length, what is in the future is folded into the slot of now_ms. When the length changes, each old slot goes to
 * the new slot that holds its last millisecond. What is folded, or comes from longer slots, may have been charged before this window began:
 * from then on all of it is open. */
void window_move(struct window *window, int64_t window_ms, int64_t now_ms);

int64_t window_used(const struct window *window);
int64_t window_taken(const struct window *window);

/* Is anything open? */
bool window_is_open(const struct window *window);

/* Has any count more than 32 bits? */
bool window_is_wide(const struct window *window);

/* The number of the slot that window_add() adds to. */
int64_t window_newest(const struct window *window);

/* Adds amount >= 0 to the newest slot; open of it (0..amount) is open. */
void window_add(struct window *window, int64_t amount, int64_t open);

/* All of it is open from now on; or nothing is. */
void window_open_all(struct window *window);
void window_close_all(struct window *window);

/* Is a slot that was numbered when the window was slot_window_ms long still in it? */
bool window_has(const struct window *window, int64_t slot, int64_t slot_window_ms);

/* Changes what was charged in a slot that was numbered when the window was slot_window_ms long: its count, and how much of it
 * is open; neither below 0. What was charged in a longer slot stays open. Nothing where that slot has left the window. False: nothing was changed. */
bool window_change(struct window *window, int64_t slot, int64_t slot_window_ms, int64_t amount, int64_t open);

/* Leaves at most `most` in it: what is oldest goes. */
void window_trim(struct window *window, int64_t most);

/* Milliseconds from now_ms (to which it was moved) until need fits under max; 0: it fits now. For a need
 * above max, that never fits: 1.1 windows. */
int64_t window_wait(const struct window *window, int64_t now_ms, int64_t max, int64_t need);

/* The same of what is taken: how long a refusal is sure to stay hard. 0: it fits. */
int64_t window_hard_wait(const struct window *window, int64_t now_ms, int64_t max, int64_t need);

/* Milliseconds from now_ms (to which it was moved) until nothing is left in it. */
int64_t window_rest(const struct window *window, int64_t now_ms);

#endif
