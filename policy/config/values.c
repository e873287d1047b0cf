/* values: the parsers of plain values: numbers, durations, shares, choices, names. Each writes one
 * field, or says what is wrong and leaves it alone. */
#include "values.h"

#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <pwd.h>
#include <string.h>

/* Digits at the beginning of at, as a number up to 10^17; NULL where there are none or too many. */
static const char *read_number(const char *at, int64_t *out)
{
    size_t n = strspn(at, "0123456789");
    if (n < 1 || n > 17)
        return NULL;
    *out = strtoll(at, NULL, 10);
    return at + n;
}

struct unit {
    const char *name;
    int64_t factor;
};

/* "90s": a whole number, at once followed by a unit. -1 where it is none, or more than 10^15. */
static int read_with_unit(const char *string, const struct unit *units, int64_t *out)
{
    int64_t number = 0;
    const char *rest = read_number(string, &number);
    for (; rest != NULL && units->name != NULL; units++) {
        if (strcmp(units->name, rest) != 0)
            continue;
        if (number > INT64_C(1000000000000000) / units->factor)
            return -1;
        *out = number * units->factor;
        return 0;
    }
    return -1;
}

static const char *format_duration(char *buffer, size_t size, int64_t ms)
{
    static const struct unit units[] = {
        {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    size_t i = 0;
    while (i < 4 && (ms < units[i].factor || ms % units[i].factor != 0))
        i++;
    snprintf(buffer, size, "%lld%s", (long long)(ms / units[i].factor), units[i].name);
    return buffer;
}

bool values_duration(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    static const struct unit units[] = {{"ms", 1},      {"s", 1000},     {"m", 60000},
                                        {"h", 3600000}, {"d", 86400000}, {NULL, 0}};
    const char *string = json_string_value(place->value);
    char least[32], most[32];
    int64_t ms = 0;
    if (string == NULL)
        return loader_mistyped(loader, place, key,
                               "a duration in quotes, such as \"90s\" (ms, s, m, h or d)");
    if (read_with_unit(string, units, &ms) != 0)
        return loader_bad(loader, place, key,
                          "is no duration: write a whole number and ms, s, m, h or d, such as \"90s\"");
    if (ms < key->min || ms > key->max)
        return loader_bad(loader, place, key, "is out of bounds: from %s to %s",
                          format_duration(least, sizeof least, key->min),
                          format_duration(most, sizeof most, key->max));
    *(int64_t *)field = ms;
    return true;
}

bool values_percent(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    static const struct unit units[] = {{"%", 1}, {NULL, 0}};
    const char *string = json_string_value(place->value);
    int64_t percent = 0;
    if (string == NULL)
        return loader_mistyped(loader, place, key, "a share in quotes, such as \"33%\"");
    if (read_with_unit(string, units, &percent) != 0)
        return loader_bad(loader, place, key,
                          "is no share: write a whole number and a percent sign, such as \"33%%\"");
    if (percent < key->min || percent > key->max)
        return loader_bad(loader, place, key, "is out of bounds: from %d%% to %d%%", (int)key->min,
                          (int)key->max);
    *(int *)field = (int)percent;
    return true;
}

static bool read_integer(struct loader *loader, const struct place *place, const struct key *key,
                         int64_t *out)
{
    if (!json_is_integer(place->value))
        return loader_mistyped(loader, place, key, "a whole number without quotes, such as 10");
    int64_t value = json_integer_value(place->value);
    if (value < key->min || value > key->max)
        return loader_bad(loader, place, key, "is out of bounds: from %lld to %lld", (long long)key->min,
                          (long long)key->max);
    *out = value;
    return true;
}

bool values_integer(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    return read_integer(loader, place, key, field);
}

bool values_bits(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    int64_t value = 0;
    if (!read_integer(loader, place, key, &value))
        return false;
    *(unsigned *)field = (unsigned)value;
    return true;
}

/* A limit's max: a number, for bytes also a size. The field is the draft. */
bool values_max(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    static const struct unit units[] = {
        {"B", 1},
        {"kB", 1000},
        {"KB", 1000},
        {"KiB", 1024},
        {"MB", 1000000},
        {"MiB", 1048576},
        {"GB", 1000000000},
        {"GiB", 1073741824},
        {"TB", 1000000000000},
        {"TiB", 1099511627776},
        {NULL, 0},
    };
    struct draft *draft = field;
    const char *string = json_string_value(place->value);
    if (string == NULL) {
        draft->has_max = read_integer(loader, place, key, &draft->limit.max);
        return draft->has_max;
    }
    draft->has_max = true; /* it is there, however bad: not to be called missing, too */
    if (read_with_unit(string, units, &draft->limit.max) != 0)
        return loader_bad(
            loader, place, key,
            "is a string, but must be a whole number without quotes, such as 10, or for a limit that "
            "counts bytes a size, such as \"10MB\" or \"1MiB\"");
    draft->size_text = true;
    return true;
}

bool values_flag(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    if (!json_is_boolean(place->value))
        return loader_mistyped(loader, place, key, "true or false without quotes");
    *(bool *)field = json_is_true(place->value);
    return true;
}

bool values_tristate(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    bool flag = false;
    if (!values_flag(loader, place, key, &flag))
        return false;
    *(enum tristate *)field = flag ? YES : NO;
    return true;
}

/* The index of the string in "a|b|c"; false after saying what there is to choose from. */
static bool read_choice(struct loader *loader, const struct place *place, const struct key *key,
                        unsigned *out)
{
    char buffer[256], listed[256] = "", *rest = buffer;
    const char *names[16] = {NULL};
    const char *string = json_string_value(place->value);
    snprintf(buffer, sizeof buffer, "%s", key->choices);
    for (unsigned i = 0; rest != NULL && i < 15; i++) {
        names[i] = strsep(&rest, "|");
        if (string != NULL && strcmp(string, names[i]) == 0) {
            *out = i;
            return true;
        }
        size_t n = strlen(listed);
        snprintf(listed + n, sizeof listed - n, "%s\"%s\"",
                 i == 0         ? ""
                 : rest == NULL ? " or "
                                : ", ",
                 names[i]);
    }
    if (string == NULL)
        return loader_mistyped(loader, place, key, listed);
    const char *nearest = text_nearest(string, names);
    return loader_bad(loader, place, key, "must be %s%s%s%s", listed,
                      nearest != NULL ? "; did you mean \"" : "", nearest != NULL ? nearest : "",
                      nearest != NULL ? "\"?" : "");
}

bool values_choice(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    return read_choice(loader, place, key, field);
}

bool values_choice_flag(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    unsigned choice = 0;
    if (!read_choice(loader, place, key, &choice))
        return false;
    *(bool *)field = choice == 1;
    return true;
}

bool values_action(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    unsigned choice = 0;
    if (!read_choice(loader, place, key, &choice))
        return false;
    *(enum action *)field = action_from_name(json_string_value(place->value));
    return true;
}

/* A copy in the policy; false when out of memory. */
static bool keep(struct loader *loader, const char *string, void *field)
{
    char *copy = pool_strdup(loader->pool, string);
    loader->failed = loader->failed || copy == NULL;
    *(const char **)field = copy;
    return copy != NULL;
}

static bool has_control(const char *string)
{
    for (; *string != '\0'; string++)
        if ((unsigned char)*string < 0x20 || *string == 0x7f)
            return true;
    return false;
}

bool values_path(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    const char *string = json_string_value(place->value);
    if (string == NULL)
        return loader_mistyped(loader, place, key, "a path in quotes");
    if (string[0] != '/' || strlen(string) > (size_t)key->max || has_control(string))
        return loader_bad(loader, place, key,
                          "must be an absolute path of at most %d bytes without control characters",
                          (int)key->max);
    return keep(loader, string, field);
}

/* A string of these characters, length from key->min to key->max. */
static bool parse_name(struct loader *loader, const struct place *place, const struct key *key,
                       const char *allowed, const char *wanted, void *field)
{
    const char *string = json_string_value(place->value);
    if (string == NULL)
        return loader_mistyped(loader, place, key, wanted);
    size_t n = strlen(string);
    if (n < (size_t)key->min || n > (size_t)key->max || strspn(string, allowed) != n)
        return loader_bad(loader, place, key, "must be %s", wanted);
    return keep(loader, string, field);
}

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

bool values_group(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    const char *group = NULL;
    if (!parse_name(loader, place, key, LOWER UPPER DIGITS "_.-",
                    "the name of a group in quotes, or \"\" to leave the socket's group alone", &group))
        return false;
    *(const char **)field = group != NULL && group[0] != '\0' ? group : NULL;
    return true;
}

bool values_user(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    const char *user = json_string_value(place->value);
    if (user == NULL)
        return loader_mistyped(loader, place, key, "the name of a user in quotes");
    if (user[0] == '\0' || strlen(user) > (size_t)key->max || getpwnam(user) == NULL)
        return loader_bad(loader, place, key, "must be a user of this host");
    return keep(loader, user, field);
}

bool values_prefix(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    return parse_name(loader, place, key, LOWER UPPER DIGITS "_.:-",
                      "1 to 64 letters, digits, \"_\", \".\", \":\" or \"-\" in quotes", field);
}

bool values_subaddress(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    return parse_name(loader, place, key, "+-=_#~^/&*?$!%'`{|}",
                      "up to 8 separator characters in quotes, such as \"+\", or \"\" for none", field);
}

bool values_limit_name(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    struct draft *draft = field;
    draft->has_name = true;
    return parse_name(loader, place, key, LOWER DIGITS "-", "1 to 64 of a-z, 0-9 and \"-\" in quotes",
                      &draft->limit.name);
}

bool values_mode(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    const char *string = json_string_value(place->value);
    if (string == NULL)
        return loader_mistyped(loader, place, key, "a file mode in quotes, such as \"0660\"");
    size_t n = strspn(string, "01234567");
    if (n != strlen(string) || n < 3 || n > 4 || (n == 4 && string[0] != '0'))
        return loader_bad(loader, place, key, "must be a file mode of octal digits, such as \"0660\"");
    *(unsigned *)field = (unsigned)strtoul(string, NULL, 8);
    return true;
}

bool values_reply(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    struct error err = {{0}};
    enum reply_key reply = (enum reply_key)key->min;
    const char *string = json_string_value(place->value);
    if (string == NULL)
        return loader_mistyped(loader, place, key,
                               "a reply in quotes, such as \"450 4.2.1 try again later\"");
    if (reply_parse(string, reply_key_action(reply), reply_default(reply)->dsn, field, &err) != 0)
        return loader_bad(loader, place, key, "%s", err.text);
    return true;
}
