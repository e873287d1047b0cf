/* window: see window.h. */
#include "counters/window.h"

#include <assert.h>
#include <string.h>

enum { PARTS = 10, NEWEST = WINDOW_SLOTS - 1 };

int64_t window_slot(int64_t window_ms, int64_t now_ms)
{
    return now_ms < 0 ? 0 : now_ms * PARTS / window_ms;
}

/* The first millisecond of a slot. */
static int64_t slot_start(int64_t window_ms, int64_t slot)
{
    return (slot * window_ms + PARTS - 1) / PARTS;
}

int64_t window_slot_end(int64_t window_ms, int64_t slot)
{
    return slot_start(window_ms, slot + 1) - 1;
}

int64_t window_slot_middle(int64_t window_ms, int64_t slot)
{
    return (slot_start(window_ms, slot) + slot_start(window_ms, slot + 1)) / 2;
}

/* The number that a slot of another window length has in this one, by its last millisecond. */
static int64_t slot_map(int64_t slot, int64_t slot_window_ms, int64_t window_ms)
{
    return slot_window_ms == window_ms ? slot : window_slot(window_ms, window_slot_end(slot_window_ms, slot));
}

static void count_add(int64_t *count, int64_t amount)
{
    if (amount > WINDOW_MOST - *count)
        *count = WINDOW_MOST;
    else
        *count = *count + amount > 0 ? *count + amount : 0;
}

/* One slot into another, both parts of it. */
static void slot_add(struct window *window, int64_t at, int64_t amount, int64_t open)
{
    count_add(&window->count[at], amount);
    count_add(&window->open[at], open);
    if (window->open[at] > window->count[at])
        window->open[at] = window->count[at];
}

/* The newest slot in which something is; -1: nothing is. */
static int64_t newest_filled(const struct window *window)
{
    for (int i = NEWEST; i >= 0; i--)
        if (window->count[i] > 0)
            return window->slot + i;
    return -1;
}

/* The slot that is to be the newest: that of now, or one that somebody charged who looked at the clock a little later. */
static int64_t newest_at(const struct window *window, int64_t window_ms, int64_t now_ms)
{
    int64_t current = window_slot(window_ms, now_ms), filled = newest_filled(window);
    bool ahead = window->window_ms == window_ms && filled > current &&
                 slot_start(window_ms, filled) - now_ms <= WINDOW_STALE_MS;
    return ahead ? filled : current;
}

void window_move(struct window *window, int64_t window_ms, int64_t now_ms)
{
    if (window->window_ms == 0) { /* nothing to move, as for nearly every key that comes now and then */
        window->window_ms = window_ms;
        window->slot = window_slot(window_ms, now_ms) - NEWEST;
        return;
    }
    int64_t oldest = newest_at(window, window_ms, now_ms) - NEWEST;
    if (window->window_ms == window_ms && window->slot == oldest)
        return;
    struct window moved = {.window_ms = window_ms, .slot = oldest};
    for (int i = 0; i < WINDOW_SLOTS; i++) {
        if (window->count[i] == 0)
            continue;
        int64_t at = slot_map(window->slot + i, window->window_ms, window_ms) - oldest;
        bool undated = at > NEWEST || window->window_ms > window_ms;
        if (at >= 0)
            slot_add(&moved, at > NEWEST ? NEWEST : at, window->count[i],
                     undated ? window->count[i] : window->open[i]);
    }
    *window = moved;
}

int64_t window_used(const struct window *window)
{
    int64_t used = 0;
    for (int i = 0; i < WINDOW_SLOTS; i++)
        used += window->count[i];
    return used;
}

int64_t window_taken(const struct window *window)
{
    int64_t taken = 0;
    for (int i = 0; i < WINDOW_SLOTS; i++)
        taken += window->count[i] - window->open[i];
    return taken;
}

/* On the path of a RCPT: a loop costs four times as much. */
static int64_t any_of(const int64_t n[WINDOW_SLOTS])
{
    static_assert(WINDOW_SLOTS == 11, "all of them");
    return n[0] | n[1] | n[2] | n[3] | n[4] | n[5] | n[6] | n[7] | n[8] | n[9] | n[10];
}

bool window_is_open(const struct window *window)
{
    return any_of(window->open) != 0;
}

bool window_is_wide(const struct window *window)
{
    return any_of(window->count) > UINT32_MAX;
}

int64_t window_newest(const struct window *window)
{
    return window->slot + NEWEST;
}

void window_add(struct window *window, int64_t amount, int64_t open)
{
    slot_add(window, NEWEST, amount, open);
}

void window_open_all(struct window *window)
{
    memcpy(window->open, window->count, sizeof window->open);
}

void window_close_all(struct window *window)
{
    memset(window->open, 0, sizeof window->open);
}

/* Where it is; below 0: it has left. */
static int64_t slot_place(const struct window *window, int64_t slot, int64_t slot_window_ms)
{
    int64_t at = slot_map(slot, slot_window_ms, window->window_ms) - window->slot;
    return at > NEWEST ? NEWEST : at;
}

bool window_has(const struct window *window, int64_t slot, int64_t slot_window_ms)
{
    return slot_place(window, slot, slot_window_ms) >= 0;
}

bool window_change(struct window *window, int64_t slot, int64_t slot_window_ms, int64_t amount, int64_t open)
{
    int64_t at = slot_place(window, slot, slot_window_ms);
    if (at < 0)
        return false;
    int64_t count_before = window->count[at], open_before = window->open[at];
    bool undated =
        slot_window_ms > window->window_ms; /* what is taken of it may have been before this window */
    slot_add(window, at, amount, undated && open < amount ? amount : open);
    return window->count[at] != count_before || window->open[at] != open_before;
}

void window_trim(struct window *window, int64_t most)
{
    int64_t over = window_used(window) - most;
    for (int i = 0; over > 0 && i < WINDOW_SLOTS; i++) {
        int64_t gone = window->count[i] < over ? window->count[i] : over;
        window->count[i] -= gone;
        if (window->open[i] > window->count[i])
            window->open[i] = window->count[i];
        over -= gone;
    }
}

/* When the slot count[i] leaves the window, from now on. */
static int64_t leaves_in(const struct window *window, int i, int64_t now_ms)
{
    return slot_start(window->window_ms, window->slot + i + WINDOW_SLOTS) - (now_ms < 0 ? 0 : now_ms);
}

/* Until need fits under max, beside all that was charged or what of it is taken. */
static int64_t wait_beside(const struct window *window, int64_t now_ms, int64_t max, int64_t need, bool taken)
{
    if (need > max)
        return window->window_ms + window->window_ms / PARTS;
    int64_t over = (taken ? window_taken(window) : window_used(window)) - (max - need);
    int64_t wait = 0;
    for (int i = 0; over > 0 && i < WINDOW_SLOTS; i++) {
        over -= window->count[i] - (taken ? window->open[i] : 0);
        wait = leaves_in(window, i, now_ms);
    }
    return wait;
}

int64_t window_wait(const struct window *window, int64_t now_ms, int64_t max, int64_t need)
{
    return wait_beside(window, now_ms, max, need, false);
}

int64_t window_hard_wait(const struct window *window, int64_t now_ms, int64_t max, int64_t need)
{
    return wait_beside(window, now_ms, max, need, true);
}

int64_t window_rest(const struct window *window, int64_t now_ms)
{
    for (int i = NEWEST; i >= 0; i--)
        if (window->count[i] > 0)
            return leaves_in(window, i, now_ms);
    return 0;
}
