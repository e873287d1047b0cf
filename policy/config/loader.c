/* loader: tells of what is wrong at a place: where that is, in words of RFC 6901 and as a line, and what is used instead.
 * Owns nothing. A list of problems too long ends with saying so; where memory runs out the load fails. */
#include "loader.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

/* RFC 6901: '~' and '/' of a name are escaped. Controls would break a line of output. */
static void add_pointer(struct text *text, const struct place *place)
{
    if (place->up == NULL)
        return;
    add_pointer(text, place->up);
    text_add(text, "/");
    if (place->name == NULL) {
        text_addf(text, "%zu", place->index);
        return;
    }
    for (const char *c = place->name; *c != '\0'; c++) {
        if (*c == '~' || *c == '/')
            text_add(text, *c == '~' ? "~0" : "~1");
        else if ((unsigned char)*c < 0x20 || *c == 0x7f)
            text_add(text, "?");
        else
            text_add_bytes(text, c, 1);
    }
}

static int place_line(const struct place *place)
{
    while (place != NULL && place->map == NULL)
        place = place->up;
    return place != NULL ? place->map->line : 0;
}

/* A cut inside a UTF-8 sequence would make the pointer no text at all. */
static void trim_utf8(char *string)
{
    size_t n = strlen(string), tail = 0;
    while (tail < n && tail < 3 && ((unsigned char)string[n - 1 - tail] & 0xc0) == 0x80)
        tail++;
    if (tail >= n)
        return;
    unsigned char lead = (unsigned char)string[n - 1 - tail];
    size_t want = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
    if (want > tail)
        string[n - 1 - tail] = '\0';
}

bool loader_is_full(const struct loader *loader)
{
    return loader->problems->n - loader->first_problem > PROBLEMS_MAX;
}

struct problem *loader_problem_new(struct loader *loader)
{
    size_t n = loader->problems->n - loader->first_problem;
    if (loader_is_full(loader))
        return NULL;
    struct problem *at = problems_append(loader->problems);
    loader->failed = loader->failed || at == NULL;
    if (at == NULL || n < PROBLEMS_MAX)
        return at;
    at->kind = PROBLEM_SKIPPED;
    snprintf(at->text, sizeof at->text, "there are more than %d problems; the others are not listed",
             PROBLEMS_MAX);
    return NULL;
}

struct problem *loader_problem(struct loader *loader, const struct place *place, enum problem_kind kind,
                               const char *instead, const char *format, ...)
{
    struct problem *problem = loader_problem_new(loader);
    if (problem == NULL)
        return NULL;
    struct text pointer;
    problem->kind = kind;
    text_init(&pointer, problem->pointer, sizeof problem->pointer);
    add_pointer(&pointer, place);
    if (pointer.cut)
        trim_utf8(problem->pointer);
    problem->line = place_line(place);
    va_list args;
    va_start(args, format);
    problems_vtext(problem, format, args);
    va_end(args);
    snprintf(problem->instead, sizeof problem->instead, "%s", instead != NULL ? instead : "");
    return problem;
}

const char *loader_instead(const struct loader *loader, const struct key *key, char *buffer, size_t size)
{
    const char *instead = loader->instead != NULL ? loader->instead : key != NULL ? key->instead : NULL;
    if (instead != NULL)
        snprintf(buffer, size, "%s", instead);
    else if (key != NULL && key->otherwise != NULL)
        snprintf(buffer, size, "the default, %s", key->otherwise);
    else
        snprintf(buffer, size, "%s", "");
    return buffer;
}

bool loader_bad(struct loader *loader, const struct place *place, const struct key *key, const char *format,
                ...)
{
    char text[sizeof((struct problem *)NULL)->text], instead[sizeof((struct problem *)NULL)->instead];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    loader_problem(loader, place, PROBLEM_SKIPPED, loader_instead(loader, key, instead, sizeof instead), "%s",
                   text);
    return false;
}

static const char *type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "a number";
    case JSON_REAL:
        return "a number with a fraction or an exponent";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    default:
        return "null or a number out of all bounds";
    }
}

bool loader_mistyped(struct loader *loader, const struct place *place, const struct key *key,
                     const char *wanted)
{
    return loader_bad(loader, place, key, "is %s, but must be %s", type_name(place->value), wanted);
}
