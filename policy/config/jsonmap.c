/* jsonmap: a scanner over JSON that is known to be good. Fails only for want of memory; on a text that is no
 * JSON it stops early, within bounds. Recursion is bounded by what jansson accepts (2,048 levels). */
#include "jsonmap.h"

#include <stdlib.h>
#include <string.h>

struct scan {
    struct pool *pool;
    const char *at, *end;
    int line;
    bool failed;
};

static struct jsonmap *scan_value(struct scan *scan);

static char peek(const struct scan *scan)
{
    return scan->at < scan->end ? *scan->at : '\0';
}

static void skip_space(struct scan *scan)
{
    for (; scan->at < scan->end && strchr(" \t\r\n", *scan->at) != NULL; scan->at++)
        scan->line += *scan->at == '\n';
}

/* True, and past it, where the next token is c. */
static bool take(struct scan *scan, char c)
{
    skip_space(scan);
    if (peek(scan) != c || scan->at >= scan->end)
        return false;
    scan->at++;
    return true;
}

static void skip_string(struct scan *scan) /* behind its opening quote */
{
    while (scan->at < scan->end && *scan->at != '"')
        scan->at += *scan->at == '\\' && scan->at + 1 < scan->end ? 2 : 1;
    if (scan->at < scan->end)
        scan->at++;
}

static unsigned hex4(const char *at)
{
    char digits[5] = {at[0], at[1], at[2], at[3], '\0'};
    return (unsigned)strtoul(digits, NULL, 16);
}

static char *add_utf8(char *out, unsigned c)
{
    if (c < 0x80) {
        *out++ = (char)c;
        return out;
    }
    if (c < 0x800) {
        *out++ = (char)(0xc0 | c >> 6);
    } else {
        if (c < 0x10000) {
            *out++ = (char)(0xe0 | c >> 12);
        } else {
            *out++ = (char)(0xf0 | c >> 18);
            *out++ = (char)(0x80 | (c >> 12 & 0x3f));
        }
        *out++ = (char)(0x80 | (c >> 6 & 0x3f));
    }
    *out++ = (char)(0x80 | (c & 0x3f));
    return out;
}

/* The escape behind a backslash at `at`; writes what it stands for, returns what follows it. */
static const char *unescape(const char *at, const char *end, char **out)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    if (*at != 'u' || end - at < 5) {
        const char *known = *at != '\0' ? strchr(from, *at) : NULL;
        *(*out)++ = known != NULL ? to[known - from] : *at;
        return at + 1;
    }
    unsigned c = hex4(at + 1);
    at += 5;
    if (c >= 0xd800 && c < 0xdc00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u') {
        c = 0x10000 + ((c - 0xd800) << 10) + ((hex4(at + 2) - 0xdc00) & 0x3ff);
        at += 6;
    }
    *out = add_utf8(*out, c);
    return at;
}

static const char *scan_key(struct scan *scan)
{
    const char *at = scan->at;
    skip_string(scan);
    const char *end = scan->at - 1;
    char *key = end >= at ? pool_alloc(scan->pool, (size_t)(end - at) + 1) : NULL;
    if (key == NULL) {
        scan->failed = true;
        return NULL;
    }
    char *out = key; /* an escape is never shorter than what it stands for */
    while (at < end) {
        if (*at == '\\' && at + 1 < end)
            at = unescape(at + 1, end, &out);
        else
            *out++ = *at++;
    }
    *out = '\0';
    return key;
}

static void scan_members(struct scan *scan, struct jsonmap *map, char close)
{
    struct jsonmap **link = &map->first;
    while (!scan->failed && scan->at < scan->end && !take(scan, close)) {
        const char *key = NULL;
        int line = scan->line;
        if (close == '}') {
            if (!take(scan, '"'))
                return;
            line = scan->line;
            key = scan_key(scan);
            take(scan, ':');
        }
        struct jsonmap *member = scan_value(scan);
        if (member == NULL)
            return;
        member->key = key;
        member->line = key != NULL ? line : member->line;
        *link = member;
        link = &member->next;
        take(scan, ',');
    }
}

struct entry { /* of the sorted list */
    struct jsonmap *map;
};

static int by_key(const void *a, const void *b)
{
    const struct entry *left = a, *right = b;
    return strcmp(left->map->key, right->map->key);
}

/* Sorting instead of comparing all with all: a file of hostile size must not take minutes. */
static void mark_repeated(struct scan *scan, struct jsonmap *map)
{
    size_t n = 0;
    for (struct jsonmap *member = map->first; member != NULL; member = member->next)
        n++;
    if (n < 2)
        return;
    struct entry *sorted = calloc(n, sizeof *sorted);
    if (sorted == NULL) {
        scan->failed = true;
        return;
    }
    n = 0;
    for (struct jsonmap *member = map->first; member != NULL; member = member->next)
        sorted[n++].map = member;
    qsort(sorted, n, sizeof *sorted, by_key);
    for (size_t i = 1; i < n; i++)
        if (strcmp(sorted[i - 1].map->key, sorted[i].map->key) == 0)
            sorted[i - 1].map->repeated = sorted[i].map->repeated = true;
    free(sorted);
}

static struct jsonmap *scan_value(struct scan *scan)
{
    skip_space(scan);
    struct jsonmap *map = pool_alloc(scan->pool, sizeof *map);
    if (map == NULL || scan->at >= scan->end) {
        scan->failed = true;
        return NULL;
    }
    map->line = scan->line;
    if (take(scan, '{')) {
        scan_members(scan, map, '}');
        if (!scan->failed)
            mark_repeated(scan, map);
    } else if (take(scan, '[')) {
        scan_members(scan, map, ']');
    } else if (take(scan, '"')) {
        skip_string(scan);
    } else {
        scan->at++;
        while (scan->at < scan->end && strchr(" \t\r\n,:]}", *scan->at) == NULL)
            scan->at++;
    }
    return scan->failed ? NULL : map;
}

const struct jsonmap *jsonmap_new(struct pool *pool, const char *text, size_t n)
{
    struct scan scan = {.pool = pool, .at = text, .end = text + n, .line = 1};
    return scan_value(&scan);
}

const struct jsonmap *jsonmap_member(const struct jsonmap *map, const char *key)
{
    const struct jsonmap *member = map != NULL ? map->first : NULL;
    while (member != NULL && (member->key == NULL || strcmp(member->key, key) != 0))
        member = member->next;
    return member;
}
