/* rule_map: see rule_map.h. Owns the entry at hand; an entry that is too long, or has no value, is bad, and the next one can be read. */
#include "rule_map.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static bool is_blank(int c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static bool is_nothing(const char *line, size_t n)
{
    size_t i = 0;
    while (i < n && is_blank(line[i]))
        i++;
    return i == n || line[i] == '#';
}

/* The rest of a line behind its first byte c, at text + *n. False: there was no room for all of it. */
static bool read_line(struct rule_map *map, int c, size_t *n)
{
    bool fits = true;
    for (; c != EOF && c != '\n'; c = getc_unlocked(map->in)) {
        fits = *n + 1 < RULE_MAP_ENTRY_MAX;
        if (fits)
            map->text[(*n)++] = (char)c;
    }
    map->lines++;
    return fits;
}

/* An entry with all lines that go on with it; *n is 0 at the end of the file. False: it is too long. */
static bool read_entry(struct rule_map *map, size_t *n)
{
    bool fits = true;
    *n = 0;
    for (int c; (c = getc_unlocked(map->in)) != EOF;) {
        if (*n > 0 && c != '\n' && c != '#' && !is_blank(c)) {
            (void)ungetc(c, map->in);
            break;
        }
        size_t begin = *n;
        fits = read_line(map, c, n) && fits;
        if (is_nothing(map->text + begin, *n - begin))
            *n = begin;
        else if (*n < RULE_MAP_ENTRY_MAX)
            map->text[(*n)++] = ' ';
        if (begin == 0)
            map->line = map->lines;
    }
    map->text[*n] = '\0';
    return fits;
}

/* Addresses stand with commas, white space or both between them; in quotes these are bytes as others. */
static void join(char *list)
{
    char *to = list;
    bool quoted = false, pending = false;
    for (const char *c = list; *c != '\0'; c++) {
        if (!quoted && (is_blank(*c) || *c == ',')) {
            pending = to > list;
            continue;
        }
        if (pending)
            *to++ = ',';
        pending = false;
        quoted = *c == '"' ? !quoted : quoted;
        *to++ = *c;
        if (quoted && *c == '\\' && c[1] != '\0')
            *to++ = *++c;
    }
    *to = '\0';
}

/* Up to the first white space that is not in quotes. */
static size_t key_length(const char *entry)
{
    bool quoted = false;
    const char *c = entry;
    for (; *c != '\0' && (quoted || !is_blank(*c)); c++) {
        quoted = *c == '"' ? !quoted : quoted;
        c += quoted && *c == '\\' && c[1] != '\0';
    }
    return (size_t)(c - entry);
}

enum rule_map_status rule_map_read(struct rule_map *map, char **key, char **value, struct error *err)
{
    size_t n;
    bool fits = read_entry(map, &n);
    if (ferror(map->in)) {
        error_set(err, "it cannot be read: %s", strerror(errno));
        return RULE_MAP_FAILED;
    }
    if (n == 0 && fits)
        return RULE_MAP_END;
    size_t key_len = key_length(map->text);
    if (!fits)
        error_set(err, "it is too long");
    else if (key_len == 0)
        error_set(err, "it begins with white space, and there is no line that it goes on with");
    else if (map->text[key_len + strspn(map->text + key_len, " \t\r")] == '\0')
        error_set(err, "there is nothing behind \"%.100s\"", map->text);
    if (err->text[0] != '\0')
        return RULE_MAP_BAD;
    map->text[key_len] = '\0'; /* a blank, as there is something behind it */
    *key = map->text;
    *value = map->text + key_len + 1;
    join(*value);
    return RULE_MAP_ENTRY;
}
