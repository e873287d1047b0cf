/* timeline: owns nothing. What it cannot know it decides in one way, and counts. */
#include "timeline.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    DAY_S = 86400,
    HALF_YEAR_S = 183 * DAY_S,
    TOGETHER_S =
        600, /* lines that are no further out of order may belong to one pass of an hour that comes twice */
    BACK_S = 60,
    QUARTER_S = 900,
    SAME_S = 90, /* a line's two dates are of one moment */
};

void timeline_init(struct timeline *timeline)
{
    *timeline = (struct timeline){.end_s = INT64_MIN, .last_s = INT64_MIN};
}

void timeline_file(struct timeline *timeline, int64_t modified_s)
{
    if (timeline->last_s != INT64_MIN)
        timeline->end_s = timeline->last_s;
    timeline->last_s = INT64_MIN;
    timeline->modified_s = modified_s;
}

/* --- local time --- */

static bool offset_at(int64_t s, int64_t *offset, char zone[8])
{
    time_t at = (time_t)s;
    struct tm tm;
    if (localtime_r(&at, &tm) == NULL)
        return false;
    *offset = tm.tm_gmtoff;
    strncpy(zone, tm.tm_zone, 7);
    zone[7] = '\0';
    return true;
}

/* The offsets under which that quarter of an hour was: one, two where the clock went back over it, none where it was skipped (then
 * that of before, with n 0). What holds a day before and a day after is all that can be. */
static void find_offsets(struct timeline *timeline, const struct date *date, int year)
{
    int64_t wall = date_as_utc_s(date, year), offsets[2] = {0, 0};
    char zone[8];
    timeline->cache.n = 0;
    memset(timeline->cache.zone, 0, sizeof timeline->cache.zone);
    for (int i = 0; i < 2; i++)
        if (!offset_at(wall + (i == 0 ? -DAY_S : DAY_S), &offsets[i], zone))
            offsets[i] = 0;
    for (int i = 0; i < (offsets[0] == offsets[1] ? 1 : 2); i++) {
        int64_t real = 0;
        if (offset_at(wall - offsets[i], &real, zone) && real == offsets[i]) {
            timeline->cache.offset_s[timeline->cache.n] = offsets[i];
            memcpy(timeline->cache.zone[timeline->cache.n++], zone, sizeof zone);
        }
    }
    if (timeline->cache.n == 0)
        timeline->cache.offset_s[0] = offsets[0];
}

static void look_up(struct timeline *timeline, const struct date *date, int year)
{
    int quarter = date->minute / 15;
    if (timeline->cache.year == year && timeline->cache.month == date->month &&
        timeline->cache.day == date->day && timeline->cache.hour == date->hour &&
        timeline->cache.quarter == quarter)
        return;
    timeline->cache.year = year;
    timeline->cache.month = date->month;
    timeline->cache.day = date->day;
    timeline->cache.hour = date->hour;
    timeline->cache.quarter = quarter;
    find_offsets(timeline, date, year);
}

/* The first moment that it can be. */
static int64_t first_s(struct timeline *timeline, const struct date *date, int year)
{
    look_up(timeline, date, year);
    return date_as_utc_s(date, year) - timeline->cache.offset_s[0];
}

/* Does the second one of an hour that comes twice go on from the line before, or from the file before? */
static bool is_second(const struct timeline *timeline, int64_t first)
{
    int64_t second = first + timeline->cache.offset_s[0] - timeline->cache.offset_s[1];
    if (timeline->last_s != INT64_MIN)
        return first < timeline->last_s - TOGETHER_S;
    return timeline->end_s != INT64_MIN && first < timeline->end_s - TOGETHER_S &&
           second >= timeline->end_s - TOGETHER_S;
}

/* The moment of a date without a zone in that year; counts what is not sure. */
static int64_t local_s(struct timeline *timeline, const struct date *date, int year)
{
    struct timeline_numbers *numbers = &timeline->numbers;
    int64_t first = first_s(timeline, date, year);
    int which = 0;
    numbers->local++;
    numbers->skipped += timeline->cache.n == 0;
    if (timeline->cache.n == 2) {
        bool named = date->zone[0] != '\0' && strcmp(timeline->cache.zone[0], timeline->cache.zone[1]) != 0;
        if (named)
            which = strcmp(date->zone, timeline->cache.zone[1]) == 0;
        else
            which = is_second(timeline, first);
        numbers->twice += !named;
    }
    if (date->zone[0] != '\0' && strcmp(date->zone, timeline->cache.zone[which]) != 0)
        numbers->other_zone++;
    return date_as_utc_s(date, year) - timeline->cache.offset_s[which];
}

/* --- years --- */

static bool is_in(const struct date *date, int year)
{
    return date->month != 2 || date->day != 29 || date_is_leap(year);
}

/* The last year up to that one which has such a day. */
static int year_down(const struct date *date, int year)
{
    while (!is_in(date, year))
        year--;
    return year;
}

static int year_of(int64_t s)
{
    time_t at = (time_t)s;
    struct tm tm;
    return localtime_r(&at, &tm) != NULL ? tm.tm_year + 1900 : 1970;
}

/* The file is of an earlier year than it was taken for. */
static void move_years(struct timeline *timeline, int years)
{
    if (timeline->last_s == INT64_MIN || years <= 0)
        return;
    int year = timeline->last_year - years;
    int64_t moved = first_s(timeline, &timeline->last, year);
    timeline->shift_s += timeline->last_s - moved;
    timeline->numbers.moved_years += years;
    timeline->last_s = moved;
    timeline->last_year = year;
}

/* The year in which it is next to the line before; 0: there is no such day near it. */
static int next_year(struct timeline *timeline, const struct date *date)
{
    int about = year_of(timeline->last_s), best = 0;
    int64_t least = INT64_MAX;
    for (int year = about - 1; year <= about + 1; year++) {
        int64_t away =
            is_in(date, year) ? llabs(first_s(timeline, date, year) - timeline->last_s) : INT64_MAX;
        if (away < least) {
            least = away;
            best = year;
        }
    }
    return least <= HALF_YEAR_S + DAY_S ? best : 0;
}

/* Most lines are of the day of the line before. */
static bool is_same_day(const struct timeline *timeline, const struct date *date)
{
    return timeline->last.year == 0 && timeline->last.month == date->month && timeline->last.day == date->day;
}

static int guess_year(struct timeline *timeline, const struct date *date)
{
    int64_t latest = timeline->modified_s + DAY_S;
    if (timeline->last_s == INT64_MIN) {
        int year = year_down(date, year_of(latest));
        return first_s(timeline, date, year) > latest ? year_down(date, year - 1) : year;
    }
    if (is_same_day(timeline, date))
        return timeline->last_year;
    int year = next_year(timeline, date);
    if (year == 0) {
        int leap = year_down(date, timeline->last_year);
        move_years(timeline, timeline->last_year - leap);
        timeline->numbers.leap = true;
        return leap;
    }
    if (first_s(timeline, date, year) > latest && timeline->last_year > 0) {
        timeline->last_year = year_of(timeline->last_s);
        move_years(timeline, 1);
        year = next_year(timeline, date);
    }
    return year;
}

/* --- moments --- */

/* The moment of that year that is next to about. */
static int64_t nearest_s(struct timeline *timeline, const struct date *date, int year, int64_t about)
{
    int64_t best = first_s(timeline, date, year);
    if (timeline->cache.n < 2)
        return best;
    int64_t second = date_as_utc_s(date, year) - timeline->cache.offset_s[1];
    return llabs(second - about) < llabs(best - about) ? second : best;
}

/* Of a date that another one on its line explains: its year, which of two hours, and a zone that is not ours. */
static int64_t explained_s(struct timeline *timeline, const struct date *date, const struct date *outer,
                           int *year)
{
    int64_t about = date_as_utc_s(outer, outer->year) - outer->offset_s, best = INT64_MAX;
    for (int i = 0; i < 3; i++) {
        int try = date->year != 0 ? date->year : outer->year + (i == 1 ? 1 : i == 2 ? -1 : 0);
        int64_t s = is_in(date, try) ? nearest_s(timeline, date, try, about) : INT64_MAX;
        if (s != INT64_MAX && (best == INT64_MAX || llabs(s - about) < llabs(best - about))) {
            best = s;
            *year = try;
        }
        if (best != INT64_MAX && llabs(best - about) < HALF_YEAR_S)
            break;
    }
    if (best == INT64_MAX)
        return about;
    /* A container's clock is often of another zone than ours: by quarters of an hour. */
    int64_t wall = date_as_utc_s(date, *year), away = wall - about;
    int64_t offset = (away + (away > 0 ? QUARTER_S / 2 : -QUARTER_S / 2)) / QUARTER_S * QUARTER_S;
    bool elsewhere =
        llabs(best - about) > SAME_S && llabs(away - offset) <= SAME_S && llabs(offset) <= 14 * 3600;
    return elsewhere ? wall - offset : best;
}

static int64_t moment_s(struct timeline *timeline, const struct date *date, const struct date *outer,
                        int *year)
{
    *year = date->year;
    if (date->zoned)
        return date_as_utc_s(date, date->year) - date->offset_s;
    if (outer->set)
        return explained_s(timeline, date, outer, year);
    if (date->year == 0) {
        *year = guess_year(timeline, date);
        timeline->numbers.yearless++;
    }
    return local_s(timeline, date, *year);
}

int64_t timeline_of(struct timeline *timeline, const struct date *date, const struct date *outer)
{
    struct timeline_numbers *numbers = &timeline->numbers;
    int year = 0;
    int64_t s = moment_s(timeline, date, outer, &year);
    if (timeline->last_s == INT64_MIN && s < timeline->end_s)
        numbers->backwards = true;
    if (timeline->last_s != INT64_MIN && timeline->last_s - s > BACK_S) {
        numbers->back++;
        if (timeline->last_s - s > numbers->back_most_s) {
            numbers->back_most_s = timeline->last_s - s;
            numbers->back_at_ms = (timeline->last_s + timeline->shift_s) * 1000;
        }
    }
    timeline->last_s = s;
    timeline->last = *date;
    timeline->last_year = year;
    return (s + timeline->shift_s) * 1000 + date->ms;
}

int64_t timeline_shown(const struct timeline *timeline, int64_t ms)
{
    return ms - timeline->shift_s * 1000;
}
