/* loader: what the files of this room share. Not for anybody else.
 *
 * The loader is a table: one row per key (keys.c) with its pointer, its parser, where the value goes,
 * bounds and the default as JSON text. A parser gets a place in the file, says what is wrong with it, or
 * writes the value. */
#ifndef RCPTGATE_CONFIG_LOADER_H
#define RCPTGATE_CONFIG_LOADER_H

#include "jsonmap.h"
#include "config/config.h"
#include "base/pool.h"

#include <jansson.h>
#include <stdarg.h>

enum { POLICY_BYTES_MAX = 16 << 20, POLICY_LIMITS_MAX = 1000, PROBLEMS_MAX = 1000 };

/* A place in the file. Lives on the stack of the walk; pointers are spelled only when there is a problem. */
struct place {
    const struct place *up; /* NULL: the root */
    const char *name;       /* of a member; NULL: element number index */
    size_t index;
    const json_t *value;       /* NULL: the key as a whole */
    const struct jsonmap *map; /* NULL for defaults, which stand in no file */
};

struct origin { /* where a member of policy->limits stands in the file */
    size_t index;
    const struct jsonmap *map;
};

struct loader {
    struct policy *policy;
    struct origin *origins; /* as many as limits */
    struct pool *pool;      /* of the policy */
    struct pool *scratch;   /* of the load */
    struct problems *problems;
    size_t first_problem; /* of this load */
    const char *instead;  /* what is used for a bad key, where it is not the default of its row */
    bool url_password;    /* counters.url has a password, and so is there a password_file */
    bool failed;          /* out of memory */
};

struct key;
/* Writes the value at place to field; false where it is bad, after saying so. */
typedef bool key_parser(struct loader *loader, const struct place *place, const struct key *key, void *field);

struct key {
    const char *pointer; /* "/limits/ * /max" without the spaces */
    key_parser *parse;
    size_t offset;         /* of the field in the struct that the section fills */
    int64_t min, max;      /* bounds where the parser has some */
    const char *choices;   /* "enforce|shadow", or the prefix of the rows of a section */
    const char *otherwise; /* the default, as JSON; NULL: none */
};

/* The draft of a limit: what is read before anything can be put together. */
struct draft {
    struct limit limit;
    bool has_name, has_per, has_max, has_window, has_share;
    bool size_text;             /* max was written as a size */
    unsigned share_of;          /* index into the choices of its row */
    int share_max, share_above; /* percent */
};

/* problems.c. Every text is about the key at place. */
void problems_add(struct loader *loader, const struct place *place, enum problem_kind kind,
                  const char *instead, const char *format, ...) __attribute__((format(printf, 5, 6)));
/* A bad entry, replaced by loader->instead or the default of key; false, to be returned. */
bool problems_bad(struct loader *loader, const struct place *place, const struct key *key, const char *format,
                  ...) __attribute__((format(printf, 4, 5)));
/* "is a string, but must be a whole number". */
bool problems_mistyped(struct loader *loader, const struct place *place, const struct key *key,
                       const char *wanted);
/* One to be filled in; NULL: there are too many, or memory ran out. */
struct problem *problems_new(struct loader *loader);
void problems_vtext(struct problem *problem, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
void problems_sort(struct loader *loader);

/* json.c */
json_t *config_json_read(const char *text, size_t n, struct loader *loader);
/* Calls the parser of every member of an object; false where one was bad. *unknown (may be NULL): a key that
 * no row has. */
bool config_json_members(struct loader *loader, const struct place *place, const struct key *section,
                         void *base, bool *unknown);
struct place config_json_member(const struct place *up, const char *name);
struct place config_json_element(const struct place *up, size_t index, const struct jsonmap *map);

/* keys.c */
extern const struct key config_keys[];
extern const size_t config_keys_n;

extern const char endpoints_url_instead[]; /* what stands in for a counters.url that cannot be used */

/* json.c, values.c, endpoints.c and limit.c: the parsers. */
key_parser config_json_section, values_flag, values_choice, values_choice_flag, values_action, values_integer,
    values_bits, values_max, values_duration, values_percent, values_path, values_group, values_user,
    values_mode, values_prefix, values_subaddress, endpoints_socket, endpoints_url, endpoints_listen,
    endpoints_command, endpoints_networks, endpoints_patterns, values_reply, limit_list, values_limit_name,
    limit_per, limit_reply, limit_share, limit_when, values_tristate, limit_classes, limit_domains,
    limit_clients;

/* warnings.c */
void warnings_add(struct loader *loader, const struct place *root);
/* limit.c: fills in ttl_ms of all limits. */
void limit_ttl(struct policy *policy);

#endif
