/* A number is written seven bits at a time, the lowest first; the highest bit of a byte says that more follow.
 * Of the slots, the empty ones at the old end are left out. */
#include "record.h"

enum { NUMBERS = 9, NUMBER_BYTES = 10, NEWEST = WINDOW_SLOTS - 1 };

_Static_assert((NUMBERS + WINDOW_SLOTS) * NUMBER_BYTES <= RECORD_MOST,
               "a record of the largest numbers fits");

static uint8_t *put(uint8_t *at, int64_t number)
{
    uint64_t rest = (uint64_t)number;
    for (; rest >= 0x80; rest >>= 7)
        *at++ = (uint8_t)(rest | 0x80);
    *at++ = (uint8_t)rest;
    return at;
}

static int64_t take(const uint8_t **at)
{
    uint64_t number = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint8_t byte = *(*at)++;
        number |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return (int64_t)number;
    }
}

size_t record_pack(const struct record *record, uint8_t bytes[RECORD_MOST])
{
    const struct counter *counter = &record->counter;
    const struct window *window = &counter->window;
    int first = 0;
    while (first < WINDOW_SLOTS && window->count[first] == 0)
        first++;
    const int64_t numbers[NUMBERS] = {window->window_ms,
                                      window->slot + NEWEST, /* the current one: never below 0 */
                                      counter->max,
                                      counter->born,
                                      counter->refused,
                                      counter->held,
                                      record->far_born,
                                      record->owed,
                                      first};
    uint8_t *at = bytes;
    for (int i = 0; i < NUMBERS; i++)
        at = put(at, numbers[i]);
    for (int i = first; i < WINDOW_SLOTS; i++)
        at = put(at, window->count[i]);
    return (size_t)(at - bytes);
}

void record_unpack(const uint8_t *bytes, struct record *out)
{
    const uint8_t *at = bytes;
    int64_t numbers[NUMBERS];
    for (int i = 0; i < NUMBERS; i++)
        numbers[i] = take(&at);
    *out = (struct record){.counter = {.window = {.window_ms = numbers[0], .slot = numbers[1] - NEWEST},
                                       .max = numbers[2],
                                       .born = numbers[3],
                                       .refused = numbers[4],
                                       .held = numbers[5]},
                           .far_born = numbers[6],
                           .owed = numbers[7]};
    for (int64_t i = numbers[8]; i < WINDOW_SLOTS; i++)
        out->counter.window.count[i] = take(&at);
}
