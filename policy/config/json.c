/* json: from bytes to JSON, the walk over its objects, and the sections. Nothing
 * here knows a key of the policy. Fails as a whole only where there is no JSON object. */
#include "json.h"

#include "base/text.h"

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

struct place config_json_member(const struct place *up, const char *name)
{
    return (struct place){.up = up,
                          .name = name,
                          .value = json_object_get(up->value, name),
                          .map = jsonmap_member(up->map, name)};
}

struct place config_json_element(const struct place *up, size_t index, const struct jsonmap *map)
{
    return (struct place){.up = up, .index = index, .value = json_array_get(up->value, index), .map = map};
}

/* ---- bytes to JSON ---- */

static json_t *fatal(struct loader *loader, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static json_t *fatal(struct loader *loader, int line, const char *format, ...)
{
    struct problem *problem = loader_problem_new(loader);
    if (problem == NULL)
        return NULL;
    problem->kind = PROBLEM_FATAL;
    problem->line = line;
    va_list args;
    va_start(args, format);
    problems_vtext(problem, format, args);
    va_end(args);
    return NULL;
}

/* jansson's own words quote what stands near the fault, which may be a password. */
static json_t *fatal_syntax(struct loader *loader, const json_error_t *error)
{
    char text[JSON_ERROR_TEXT_LENGTH];
    snprintf(text, sizeof text, "%s", error->text);
    char *nearest = strstr(text, " near ");
    if (nearest != NULL && strcmp(nearest, " near end of file") != 0)
        *nearest = '\0';
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

json_t *config_json_read(const char *text, size_t n, struct loader *loader)
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

static const struct key *find_row(const struct loader *loader, const char *prefix, const char *name)
{
    size_t n = strlen(prefix);
    for (size_t i = 0; i < loader->n_keys; i++) {
        const char *pointer = loader->keys[i].pointer;
        if (strncmp(pointer, prefix, n) == 0 && pointer[n] == '/' && strcmp(pointer + n + 1, name) == 0)
            return strchr(name, '/') == NULL ? &loader->keys[i] : NULL;
    }
    return NULL;
}

/* The row of the key that name is nearest to, among those that the object lacks; NULL where there is none. */
static const struct key *nearest_row(const struct loader *loader, const struct place *object,
                                     const char *prefix, const char *name)
{
    const char *candidates[SIBLINGS_MAX] = {NULL};
    size_t n = strlen(prefix), found = 0;
    for (size_t i = 0; i < loader->n_keys && found < SIBLINGS_MAX - 1; i++) {
        const char *pointer = loader->keys[i].pointer;
        if (strncmp(pointer, prefix, n) == 0 && pointer[n] == '/' && strchr(pointer + n + 1, '/') == NULL &&
            json_object_get(object->value, pointer + n + 1) == NULL)
            candidates[found++] = pointer + n + 1;
    }
    const char *nearest = text_nearest(name, candidates);
    return nearest != NULL ? find_row(loader, prefix, nearest) : NULL;
}

static enum misspelt misspelt_does(const struct loader *loader, const struct key *row)
{
    for (const struct misspelt_key *at = loader->misspelt; at->pointer != NULL; at++) {
        size_t n = strlen(at->pointer);
        bool below = at->pointer[n - 1] == '/';
        if (strncmp(at->pointer, row->pointer, n + !below) == 0)
            return at->does;
    }
    return MISSPELT_READ;
}

/* Who misspelt a key meant it. True: it is to be read as that of row. In a limit what is more than one slip away may have
 * meant anything. */
static bool misspelt_key(struct loader *loader, const struct place *place, const struct key *row, bool *costs)
{
    enum misspelt does = misspelt_does(loader, row);
    const char *name = strrchr(row->pointer, '/') + 1;
    char instead[sizeof((struct problem *)NULL)->instead];
    if (costs != NULL && !text_is_slip(place->name, name))
        does = MISSPELT_COSTS;
    if (costs != NULL)
        *costs = *costs || does == MISSPELT_COSTS;
    if (does == MISSPELT_READ)
        snprintf(instead, sizeof instead, "it is read as \"%s\"", name);
    else if (does == MISSPELT_DEFAULT && loader->instead != NULL)
        snprintf(instead, sizeof instead, "the limit without \"%s\"", name);
    else
        loader_instead(loader, row, instead, sizeof instead);
    struct problem *problem = loader_problem(loader, place, PROBLEM_SKIPPED, instead,
                                             "is an unknown key; did you mean \"%s\"?", name);
    if (problem != NULL)
        problem->meant = row->pointer;
    return does == MISSPELT_READ;
}

/* True where an earlier member has the same key: it was spoken about then. */
static bool seen_before(const struct place *up, const struct jsonmap *map)
{
    return jsonmap_member(up->map, map->key) != map;
}

static bool parse_member(struct loader *loader, const struct place *place, const struct key *section,
                         void *base, bool *costs)
{
    const struct key *row = find_row(loader, section->choices, place->name);
    if (row == NULL &&
        loader_is_full(loader)) { /* nobody will read it, and a file of megabytes has a million */
        if (costs != NULL)
            *costs = true;
        return true;
    }
    if (row == NULL) {
        row = nearest_row(loader, place->up, section->choices, place->name);
        if (row == NULL && costs != NULL)
            *costs = true;
        if (row == NULL)
            loader_problem(loader, place, PROBLEM_SKIPPED, costs != NULL ? loader->instead : "",
                           "is an unknown key; comments begin with \"$\" or \"_\"");
        if (row == NULL || !misspelt_key(loader, place, row, costs))
            return true;
    }
    if (place->map->repeated)
        return loader_bad(loader, place, row,
                          "stands more than once, and which one is meant cannot be told; keep one of them");
    return row->parse(loader, place, row, (char *)base + row->offset);
}

bool config_json_members(struct loader *loader, const struct place *place, const struct key *section,
                         void *base, bool *costs)
{
    bool good = true;
    for (const struct jsonmap *map = place->map->first; map != NULL; map = map->next) {
        if (is_comment(map->key) || (map->repeated && seen_before(place, map)))
            continue;
        const struct place member = {
            .up = place, .name = map->key, .value = json_object_get(place->value, map->key), .map = map};
        good = parse_member(loader, &member, section, base, costs) && good;
    }
    return good;
}

bool config_json_section(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    (void)field;
    if (!json_is_object(place->value))
        return loader_mistyped(loader, place, key, "an object");
    return config_json_members(loader, place, key, loader->policy, NULL);
}
