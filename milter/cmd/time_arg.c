/* time_arg: see time_arg.h. Owns nothing; what it cannot read it refuses, and says what it would take. */
#include "time_arg.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct {
    char unit;
    int64_t seconds;
} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};

enum { DIGITS_MAX = 12 }; /* more seconds than there will be time */

/* A number at *text, which moves behind it; -1 where there is none or too much of one. */
static int64_t take_number(const char **text)
{
    size_t n = strspn(*text, "0123456789");
    if (n == 0 || n > DIGITS_MAX)
        return -1;
    int64_t number = strtoll(*text, NULL, 10);
    *text += n;
    return number;
}

/* Seconds, or -1. */
static int64_t duration(const char *text)
{
    int64_t number = take_number(&text);
    for (size_t i = 0; number > 0 && i < sizeof units / sizeof units[0]; i++)
        if (text[0] == units[i].unit && text[1] == '\0')
            return number <= INT64_MAX / 4 / units[i].seconds ? number * units[i].seconds : -1;
    return -1;
}

int time_arg_duration(const char *text, int64_t *out, struct error *err)
{
    int64_t seconds = duration(text);
    if (seconds < 0) {
        error_set(err, "\"%s\" is no duration such as 90s, 5m, 1h or 30d", text);
        return -1;
    }
    *out = seconds;
    return 0;
}

/* "Z", "+02:00" or "-0530" up to the end: seconds east of UTC. */
static bool take_offset(const char *text, int64_t *east)
{
    if ((text[0] == 'Z' || text[0] == 'z') && text[1] == '\0') {
        *east = 0;
        return true;
    }
    unsigned hours, minutes;
    int end = -1;
    if ((text[0] != '+' && text[0] != '-') || strspn(text + 1, "0123456789:") != strlen(text + 1) ||
        (sscanf(text + 1, "%2u:%2u%n", &hours, &minutes, &end) != 2 &&
         sscanf(text + 1, "%2u%2u%n", &hours, &minutes, &end) != 2) ||
        end < 4 || text[1 + end] != '\0' || hours > 23 || minutes > 59)
        return false;
    *east = (int64_t)(hours * 3600 + minutes * 60) * (text[0] == '-' ? -1 : 1);
    return true;
}

/* A calendar date, with or without a time of day. */
static bool date(const char *text, int64_t *out)
{
    struct tm tm = {0};
    int end = 0;
    if (strspn(text, "0123456789") != 4 ||
        sscanf(text, "%4d-%2d-%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &end) != 3 || end != 10)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    const char *rest = text + end;
    int64_t east = 0;
    if (*rest != '\0') {
        end = 0;
        if (strchr("Tt ", *rest) == NULL ||
            sscanf(rest + 1, "%2d:%2d:%2d%n", &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &end) != 3 || end != 8)
            return false;
        rest += 1 + end;
        if (*rest == '.')
            rest += 1 + strspn(rest + 1, "0123456789");
        if (!take_offset(rest, &east))
            return false;
    }
    struct tm same = tm;
    time_t at = timegm(&same);
    if (same.tm_mday != tm.tm_mday || same.tm_mon != tm.tm_mon || same.tm_hour != tm.tm_hour ||
        same.tm_min != tm.tm_min)
        return false; /* 30 February */
    *out = (int64_t)at - east;
    return *out > 0;
}

int time_arg_parse(const char *text, int64_t now_s, int64_t *out, struct error *err)
{
    int64_t at = -1;
    const char *rest = text;
    int64_t number = take_number(&rest);
    if (strcmp(text, "never") == 0)
        at = 0;
    else if (number > 0 && *rest == '\0')
        at = number;
    else if (duration(text) > 0)
        at = now_s + duration(text);
    else if (!date(text, &at))
        at = -1;
    if (at < 0) {
        error_set(err,
                  "\"%s\" is no time: give 2027-01-31, 2027-01-31T12:00:00Z, Unix time, a duration such as "
                  "30d, or never",
                  text);
        return -1;
    }
    *out = at;
    return 0;
}
