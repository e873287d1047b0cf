/* date: owns nothing. What does not look like a date to the last digit is none. */
#include "date.h"

#include <string.h>
#include <time.h>

int64_t date_days(int year, int month, int day)
{
    int64_t y = year - (month <= 2), era = y / 400, of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

int64_t date_as_utc_s(const struct date *date, int year)
{
    return date_days(year, date->month, date->day) * 86400 + date->hour * 3600 + date->minute * 60 +
           date->second;
}

bool date_is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* Is there such a day? 29 February without a year is one. */
static bool is_day(const struct date *date)
{
    static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (date->month == 2 && date->day == 29 && date->year != 0 && !date_is_leap(date->year))
        return false;
    return date->day <= days[date->month - 1];
}

static bool take_clock(struct span *text, struct date *date)
{
    return span_digits(text, 2, 0, 23, &date->hour) && span_take(text, ":") &&
           span_digits(text, 2, 0, 59, &date->minute) && span_take(text, ":") &&
           span_digits(text, 2, 0, 60, &date->second);
}

static void take_fraction(struct span *text, struct date *date)
{
    if (text->n < 2 || (text->at[0] != '.' && text->at[0] != ',') || !span_is_digit(text->at[1]))
        return;
    span_skip(text, 1);
    int scale = 100;
    for (; text->n > 0 && span_is_digit(text->at[0]); span_skip(text, 1)) {
        date->ms += (text->at[0] - '0') * scale;
        scale /= 10;
    }
}

/* "Nov" of "Nov 23". */
static bool take_month(struct span *text, struct date *date)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    if (text->n < 4 || text->at[3] != ' ')
        return false;
    for (int month = 0; month < 12; month++)
        if (memcmp(text->at, months + 3 * (size_t)month, 3) == 0)
            date->month = month + 1;
    if (date->month != 0)
        span_skip(text, 4);
    return date->month != 0;
}

/* A year before the clock or behind it, with a blank or the end behind. */
static void take_year(struct span *text, struct date *date)
{
    struct span rest = *text;
    int year = 0;
    if (span_digits(&rest, 4, 1970, 2099, &year) && (rest.n == 0 || rest.at[0] == ' ')) {
        date->year = year;
        *text = rest;
    }
}

static bool take_syslog_date(struct span *text, struct date *date)
{
    if (!take_month(text, date))
        return false;
    (void)span_take(text, " "); /* the day has two places, or one */
    if (!span_digits(text, 2, 1, 31, &date->day) && !span_digits(text, 1, 1, 9, &date->day))
        return false;
    if (!span_take(text, " "))
        return false;
    struct span year = *text;
    take_year(&year, date);
    if (date->year != 0 && span_take(&year, " "))
        *text = year;
    if (!take_clock(text, date))
        return false;
    take_fraction(text, date);
    struct span behind = *text;
    if (date->year == 0 && span_take(&behind, " ")) {
        take_year(&behind, date);
        if (date->year != 0)
            *text = behind;
    }
    return true;
}

/* "Z", "+02:00", "+0200", "+02", or nothing. */
static bool take_offset(struct span *text, struct date *date)
{
    int hours = 0, minutes = 0;
    if (span_take(text, "Z")) {
        date->zoned = true;
        return true;
    }
    int sign = span_begins(*text, "-") ? -1 : 1;
    if (!span_take(text, "+") && !span_take(text, "-"))
        return true;
    if (!span_digits(text, 2, 0, 23, &hours))
        return false;
    bool colon = span_take(text, ":");
    if (!span_digits(text, 2, 0, 59, &minutes) && colon)
        return false;
    date->zoned = true;
    date->offset_s = sign * (hours * 3600 + minutes * 60);
    return true;
}

static bool take_iso_date(struct span *text, struct date *date)
{
    if (!span_digits(text, 4, 1970, 9999, &date->year) || text->n == 0)
        return false;
    const char *separator = text->at[0] == '/' ? "/" : "-";
    if (!span_take(text, separator) || !span_digits(text, 2, 1, 12, &date->month) ||
        !span_take(text, separator) || !span_digits(text, 2, 1, 31, &date->day) ||
        (!span_take(text, "T") && !span_take(text, " ")) || !take_clock(text, date))
        return false;
    take_fraction(text, date);
    return take_offset(text, date);
}

struct date date_of_unix(int64_t ms)
{
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    if (ms < 0 || gmtime_r(&s, &tm) == NULL || tm.tm_year > 9999 - 1900)
        return (struct date){.set = false};
    return (struct date){.set = true,
                         .year = tm.tm_year + 1900,
                         .month = tm.tm_mon + 1,
                         .day = tm.tm_mday,
                         .hour = tm.tm_hour,
                         .minute = tm.tm_min,
                         .second = tm.tm_sec,
                         .ms = (int)(ms % 1000),
                         .zoned = true};
}

/* Ten digits, of this century. */
static bool take_unix_date(struct span *text, struct date *date)
{
    int64_t s = 0;
    if (text->n < 10 || text->at[0] < '1' || text->at[0] > '3')
        return false;
    for (size_t i = 0; i < 10; i++) {
        if (!span_is_digit(text->at[i]))
            return false;
        s = s * 10 + text->at[i] - '0';
    }
    span_skip(text, 10);
    take_fraction(text, date);
    int ms = date->ms;
    *date = date_of_unix(s * 1000 + ms);
    return date->set;
}

bool date_take(struct span *text, struct date *out)
{
    struct span rest = *text;
    struct date date = {.set = true};
    bool bracket = span_take(&rest, "[");
    struct span begin = rest;
    if (rest.n < 10)
        return false;
    bool taken = rest.at[0] >= 'A' && rest.at[0] <= 'S' && take_syslog_date(&rest, &date);
    if (span_is_digit(begin.at[0])) {
        taken = take_iso_date(&rest, &date);
        if (!taken) {
            rest = begin;
            date = (struct date){.set = true};
            taken = take_unix_date(&rest, &date);
        }
    }
    if (bracket)
        (void)span_take(&rest, "]");
    if (!taken || !is_day(&date) || (rest.n > 0 && !span_take(&rest, " ")))
        return false;
    *out = date;
    *text = rest;
    return true;
}

void date_take_zone(struct span *text, struct date *date)
{
    struct span rest = *text, zone = span_word(&rest);
    if (date->zoned || zone.n < 3 || zone.n >= sizeof date->zone)
        return;
    if (span_equals(zone, "UTC") || span_equals(zone, "GMT")) {
        date->zoned = true;
    } else if (zone.at[0] == '+' || zone.at[0] == '-') {
        if (!take_offset(&zone, date) || zone.n > 0) {
            date->zoned = false;
            date->offset_s = 0;
            return;
        }
    } else {
        for (size_t i = 0; i < zone.n; i++)
            if (zone.at[i] < 'A' || zone.at[i] > 'Z')
                return;
        memcpy(date->zone, zone.at, zone.n);
    }
    *text = rest;
}
