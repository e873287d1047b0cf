/* timeline: the dates of a log as moments that follow each other, whatever clock wrote them.
 *
 * A date with a zone is a moment. One without is of the local zone (TZ), or of that of another date on its line; in the hour that comes
 * twice, of the time that goes on from the line before. One without a year is of the last year in which it fits before the file's last
 * change, or the one that goes on from the line before. Where a file turns out to be of an earlier year (29 February in a year without
 * one; more than a year in a file), time goes on without a step, and what was handed out is years late: timeline_shown() puts that right
 * once the log has been read. */
#ifndef RCPTGATE_REPLAY_TIMELINE_H
#define RCPTGATE_REPLAY_TIMELINE_H

#include "date.h"

#include <stdbool.h>
#include <stdint.h>

struct timeline_numbers { /* lines, unless it says another thing */
    uint64_t local;       /* without a zone */
    uint64_t other_zone;  /* with a zone's name that is not one of TZ's: taken as local */
    uint64_t yearless;
    uint64_t twice;   /* in an hour that comes twice, told by their order alone */
    uint64_t skipped; /* in an hour that there was not */
    uint64_t back;    /* times that the dates went back by more than a minute */
    int64_t back_most_s, back_at_ms;
    int moved_years; /* how far the year was guessed too late */
    bool leap;       /* by a 29 February */
    bool backwards;  /* a file begins before the one before it ended */
};

struct timeline {
    struct timeline_numbers numbers;
    int64_t modified_s; /* of the file */
    int64_t end_s;      /* of the file before; INT64_MIN: none */
    int64_t last_s;     /* of the line before; INT64_MIN: this file has had none */
    struct date last;
    int last_year;   /* of a last without a year */
    int64_t shift_s; /* what is added, so that no guess that was wrong makes a step */
    struct {         /* what was asked last: a quarter of an hour of local time */
        int year, month, day, hour, quarter;
        int n;
        int64_t offset_s[2]; /* east of UTC; the one that comes first in time */
        char zone[2][8];
    } cache;
};

void timeline_init(struct timeline *timeline);

/* modified_s: the file's last change, for dates without a year. */
void timeline_file(struct timeline *timeline, int64_t modified_s);

/* outer: another date of the line, or not set. Unix time in ms, but for guesses that prove wrong later. */
int64_t timeline_of(struct timeline *timeline, const struct date *date, const struct date *outer);

/* What timeline_of() said, put right. */
int64_t timeline_shown(const struct timeline *timeline, int64_t ms);

#endif
