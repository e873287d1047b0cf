/* policy_json: from bytes to JSON, the walk over its objects, and the problems found on the way. Nothing
 * here knows a key of the policy. Fails as a whole only where there is no JSON object. */
#include "policy_load.h"

#include "text.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBERS_BLANKED_MAX = 32, SIBLINGS_MAX = 32 };

static bool is_comment(const char *name)
{
    return name[0] == '$' || name[0] == '_';
}

struct place place_member(const struct place *up, const char *name)
{
    return (struct place){.up = up,
                          .name = name,
                          .value = json_object_get(up->value, name),
                          .map = jsonmap_member(up->map, name)};
}

struct place place_element(const struct place *up, size_t index, const struct jsonmap *map)
{
    return (struct place){.up = up, .index = index, .value = json_array_get(up->value, index), .map = map};
}

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

static struct problem *problem_new(struct loader *loader)
{
    struct problems *problems = loader->problems;
    size_t n = problems->n - loader->first_problem;
    if (n > POLICY_PROBLEMS_MAX)
        return NULL;
    struct problem *at = realloc(problems->at, (problems->n + 1) * sizeof *at);
    if (at == NULL) {
        loader->failed = true;
        return NULL;
    }
    problems->at = at;
    at += problems->n++;
    memset(at, 0, sizeof *at);
    if (n < POLICY_PROBLEMS_MAX)
        return at;
    at->kind = PROBLEM_SKIPPED;
    snprintf(at->text, sizeof at->text, "there are more than %d problems; the others are not listed",
             POLICY_PROBLEMS_MAX);
    return NULL;
}

static void problem_text(struct problem *problem, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
static void problem_text(struct problem *problem, const char *format, va_list args)
{
    char raw[sizeof problem->text];
    vsnprintf(raw, sizeof raw, format, args);
    struct text text;
    text_init(&text, problem->text, sizeof problem->text);
    text_add_printable(&text, raw);
}

void problem_add(struct loader *loader, const struct place *place, enum problem_kind kind,
                 const char *instead, const char *format, ...)
{
    struct problem *problem = problem_new(loader);
    if (problem == NULL)
        return;
    struct text pointer;
    problem->kind = kind;
    text_init(&pointer, problem->pointer, sizeof problem->pointer);
    add_pointer(&pointer, place);
    if (pointer.cut)
        trim_utf8(problem->pointer);
    problem->line = place_line(place);
    va_list args;
    va_start(args, format);
    problem_text(problem, format, args);
    va_end(args);
    snprintf(problem->instead, sizeof problem->instead, "%s", instead != NULL ? instead : "");
}

bool problem_bad(struct loader *loader, const struct place *place, const struct key *key, const char *format,
                 ...)
{
    char text[sizeof((struct problem *)NULL)->text], instead[sizeof((struct problem *)NULL)->instead] = "";
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (loader->instead != NULL)
        snprintf(instead, sizeof instead, "%s", loader->instead);
    else if (key != NULL && key->parse == parse_url)
        snprintf(instead, sizeof instead, "%s", policy_url_instead);
    else if (key != NULL && key->parse == parse_section)
        snprintf(instead, sizeof instead, "the defaults of all its keys");
    else if (key != NULL && key->parse == parse_reply)
        snprintf(instead, sizeof instead, "the default text");
    else if (key != NULL && key->otherwise != NULL)
        snprintf(instead, sizeof instead, "the default, %s", key->otherwise);
    problem_add(loader, place, PROBLEM_SKIPPED, instead, "%s", text);
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

bool problem_mistyped(struct loader *loader, const struct place *place, const struct key *key,
                      const char *wanted)
{
    return problem_bad(loader, place, key, "is %s, but must be %s", type_name(place->value), wanted);
}

void problems_sort(struct loader *loader)
{
    /* Insertion sort: stable, the list is short, and it arrives nearly sorted. */
    struct problem *at = loader->problems->at;
    for (size_t i = loader->first_problem + 1; i < loader->problems->n; i++) {
        struct problem moved = at[i];
        size_t j = i;
        for (; j > loader->first_problem && moved.line > 0 && at[j - 1].line > moved.line; j--)
            at[j] = at[j - 1];
        at[j] = moved;
    }
}

/* ---- bytes to JSON ---- */

static json_t *fatal(struct loader *loader, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static json_t *fatal(struct loader *loader, int line, const char *format, ...)
{
    struct problem *problem = problem_new(loader);
    if (problem == NULL)
        return NULL;
    problem->kind = PROBLEM_FATAL;
    problem->line = line;
    va_list args;
    va_start(args, format);
    problem_text(problem, format, args);
    va_end(args);
    return NULL;
}

/* jansson's own words quote what stands near the fault, which may be a password. */
static json_t *fatal_syntax(struct loader *loader, const json_error_t *error)
{
    char text[JSON_ERROR_TEXT_LENGTH];
    snprintf(text, sizeof text, "%s", error->text);
    char *near = strstr(text, " near ");
    if (near != NULL && strcmp(near, " near end of file") != 0)
        *near = '\0';
    return fatal(loader, error->line, "is not JSON: line %d, column %d: %s", error->line, error->column,
                 text);
}

/* A number that neither int64 nor double can hold makes jansson refuse the whole file. It is one bad entry,
 * so in a copy it becomes a null of the same length. False where no number ends at position. */
static bool blank_number(char *text, size_t n, size_t position)
{
    if (position > n)
        return false;
    size_t start = position;
    while (start > 0 &&
           (isdigit((unsigned char)text[start - 1]) || strchr("+-.eE", text[start - 1]) != NULL) &&
           text[start - 1] != '\0')
        start--;
    if (position - start < 4)
        return false;
    memset(text + start, ' ', position - start);
    memcpy(text + start, "null", 4);
    return true;
}

static json_t *load_blanked(char *text, size_t n, json_error_t *error)
{
    json_t *json = json_loadb(text, n, 0, error);
    for (int i = 0; json == NULL && i < NUMBERS_BLANKED_MAX; i++) {
        if (json_error_code(error) != json_error_numeric_overflow || error->position < 0 ||
            !blank_number(text, n, (size_t)error->position))
            break;
        json = json_loadb(text, n, 0, error);
    }
    return json;
}

json_t *policy_json(const char *text, size_t n, struct loader *loader)
{
    if (n > POLICY_BYTES_MAX)
        return fatal(loader, 0, "is larger than 16 MB, which is no policy; nothing of it was read");
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        return fatal(loader, 1,
                     "begins with a byte order mark (line 1, column 1); save it as UTF-8 without one");
    json_error_t error;
    char *copy = malloc(n + 1);
    if (copy == NULL) {
        loader->failed = true;
        return NULL;
    }
    memcpy(copy, text, n);
    copy[n] = '\0';
    json_t *json = load_blanked(copy, n, &error);
    free(copy);
    if (json == NULL && json_error_code(&error) == json_error_out_of_memory)
        loader->failed = true;
    if (json == NULL)
        return loader->failed ? NULL : fatal_syntax(loader, &error);
    if (json_is_object(json))
        return json;
    json_decref(json);
    return fatal(loader, 1, "is a list, but a policy is an object: line 1, column 1 must be \"{\"");
}

/* ---- objects ---- */

static const struct key *find_row(const char *prefix, const char *name)
{
    size_t n = strlen(prefix);
    for (size_t i = 0; i < policy_n_keys; i++) {
        const char *pointer = policy_keys[i].pointer;
        if (strncmp(pointer, prefix, n) == 0 && pointer[n] == '/' && strcmp(pointer + n + 1, name) == 0)
            return strchr(name, '/') == NULL ? &policy_keys[i] : NULL;
    }
    return NULL;
}

static const char *nearest_row(const char *prefix, const char *name)
{
    const char *candidates[SIBLINGS_MAX] = {NULL};
    size_t n = strlen(prefix), found = 0;
    for (size_t i = 0; i < policy_n_keys && found < SIBLINGS_MAX - 1; i++) {
        const char *pointer = policy_keys[i].pointer;
        if (strncmp(pointer, prefix, n) == 0 && pointer[n] == '/' && strchr(pointer + n + 1, '/') == NULL)
            candidates[found++] = pointer + n + 1;
    }
    return text_nearest(name, candidates);
}

static void unknown_key(struct loader *loader, const struct place *place, const struct key *section)
{
    const char *nearest = nearest_row(section->choices, place->name);
    const char *instead = section->parse == parse_when ? loader->instead : "";
    problem_add(loader, place, PROBLEM_SKIPPED, instead, "is an unknown key%s%s%s",
                nearest != NULL ? "; did you mean \"" : "", nearest != NULL ? nearest : "",
                nearest != NULL ? "\"?" : "; comments begin with \"$\" or \"_\"");
}

/* True where an earlier member has the same key: it was spoken about then. */
static bool seen_before(const struct place *up, const struct jsonmap *map)
{
    return jsonmap_member(up->map, map->key) != map;
}

static bool parse_member(struct loader *loader, const struct place *place, const struct key *section,
                         void *base, bool *unknown)
{
    const struct key *row = find_row(section->choices, place->name);
    if (row == NULL) {
        unknown_key(loader, place, section);
        if (unknown != NULL)
            *unknown = true;
        return true;
    }
    if (place->map->repeated)
        return problem_bad(loader, place, row,
                           "stands more than once, and which one is meant cannot be told; keep one of them");
    return row->parse(loader, place, row, (char *)base + row->offset);
}

bool policy_members(struct loader *loader, const struct place *place, const struct key *section, void *base,
                    bool *unknown)
{
    bool good = true;
    for (const struct jsonmap *map = place->map->first; map != NULL; map = map->next) {
        if (is_comment(map->key) || (map->repeated && seen_before(place, map)))
            continue;
        const struct place member = {
            .up = place, .name = map->key, .value = json_object_get(place->value, map->key), .map = map};
        good = parse_member(loader, &member, section, base, unknown) && good;
    }
    return good;
}
