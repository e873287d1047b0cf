/* window: see window.h. */
#include "counters/window.h"

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

/* The number that a slot of another window length has in this one, by its last millisecond. */
static int64_t slot_map(int64_t slot, int64_t slot_window_ms, int64_t window_ms)
{
    if (slot_window_ms == window_ms || slot_window_ms < 1 || slot < 0)
        return slot;
    return window_slot(window_ms, slot_start(slot_window_ms, slot + 1) - 1);
}

static void count_add(int64_t *count, int64_t amount)
{
    if (amount > WINDOW_MOST - *count)
        *count = WINDOW_MOST;
    else
        *count = *count + amount > 0 ? *count + amount : 0;
}

void window_move(struct window *window, int64_t window_ms, int64_t now_ms)
{
    int64_t oldest = window_slot(window_ms, now_ms) - NEWEST;
    if (window->window_ms == window_ms && window->slot == oldest)
        return;
    struct window moved = {.window_ms = window_ms, .slot = oldest};
    for (int i = 0; window->window_ms > 0 && i < WINDOW_SLOTS; i++) {
        if (window->count[i] == 0)
            continue;
        int64_t at = slot_map(window->slot + i, window->window_ms, window_ms) - oldest;
        if (at >= 0)
            count_add(&moved.count[at > NEWEST ? NEWEST : at], window->count[i]);
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

void window_add(struct window *window, int64_t amount)
{
    count_add(&window->count[NEWEST], amount);
}

bool window_change(struct window *window, int64_t slot, int64_t slot_window_ms, int64_t amount)
{
    int64_t at = slot_map(slot, slot_window_ms, window->window_ms) - window->slot;
    if (at < 0 && amount <= 0)
        return false;
    if (at < 0 || at > NEWEST)
        at = NEWEST;
    int64_t before = window->count[at];
    count_add(&window->count[at], amount);
    return window->count[at] != before;
}

void window_trim(struct window *window, int64_t most)
{
    int64_t over = window_used(window) - most;
    for (int i = 0; over > 0 && i < WINDOW_SLOTS; i++) {
        int64_t gone = window->count[i] < over ? window->count[i] : over;
        window->count[i] -= gone;
        over -= gone;
    }
}

/* When the slot count[i] leaves the window, from now on. */
static int64_t leaves_in(const struct window *window, int i, int64_t now_ms)
{
    return slot_start(window->window_ms, window->slot + i + WINDOW_SLOTS) - (now_ms < 0 ? 0 : now_ms);
}

int64_t window_wait(const struct window *window, int64_t now_ms, int64_t max, int64_t need)
{
    if (need > max)
        return window->window_ms + window->window_ms / PARTS;
    int64_t over = window_used(window) - (max - need);
    int64_t wait = 0;
    for (int i = 0; over > 0 && i < WINDOW_SLOTS; i++) {
        over -= window->count[i];
        wait = leaves_in(window, i, now_ms);
    }
    return wait;
}

int64_t window_rest(const struct window *window, int64_t now_ms)
{
    for (int i = NEWEST; i >= 0; i--)
        if (window->count[i] > 0)
            return leaves_in(window, i, now_ms);
    return 0;
}
