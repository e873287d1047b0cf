/* date: the dates that logs are written with. Pure.
 *
 *   Nov  3 02:08:24 [2026]   Nov 03 02:08:24.123   Nov 3 2026 02:08:24        RFC 3164, and what syslogds make of it
 *   2026-11-23T02:08:24.123456+01:00   2026-11-23 02:08:24 CET   2026/11/23 02:08:24   RFC 3339, journald, docker
 *   1764000000.123456   [1764000000]                                           Unix time */
#ifndef RCPTGATE_REPLAY_DATE_H
#define RCPTGATE_REPLAY_DATE_H

#include "span.h"

#include <stdint.h>

struct date {
    bool set;
    int year;                                 /* 0: it names none */
    int month, day, hour, minute, second, ms; /* month and day from 1; within their ranges */
    bool zoned;                               /* offset_s is known; else local time */
    int offset_s;                             /* east of UTC */
    char zone[8];                             /* a zone's name, where that is all there is ("CET") */
};

/* Takes a date from the beginning of text, with a blank behind it, or the end. False: out is not set. */
bool date_take(struct span *text, struct date *out);

/* Takes a zone behind it that journald's "short-full" writes: "CET ", "UTC ", "+03 ". */
void date_take_zone(struct span *text, struct date *date);

struct date date_of_unix(int64_t ms); /* a zoned one */

/* Days since 1970-01-01 of a date of the Gregorian calendar. */
int64_t date_days(int year, int month, int day);

/* Its seconds as if it were of UTC. */
int64_t date_as_utc_s(const struct date *date, int year);

bool date_is_leap(int year);

#endif
