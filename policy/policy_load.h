/* policy_load: what the files of the policy loader share. Not for anybody else.
 *
 * The loader is a table: one row per key (policy.c) with its pointer, its parser, where the value goes,
 * bounds and the default as JSON text. A parser gets a place in the file, says what is wrong with it, or
 * writes the value. */
#ifndef RCPTGATE_POLICY_LOAD_H
#define RCPTGATE_POLICY_LOAD_H

#include "jsonmap.h"
#include "policy.h"
#include "pool.h"

#include <jansson.h>

enum { POLICY_BYTES_MAX = 16 << 20, POLICY_LIMITS_MAX = 1000, POLICY_PROBLEMS_MAX = 1000 };

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

/* policy_json.c: problems and places. Every text is about the key at place. */
void problem_add(struct loader *loader, const struct place *place, enum problem_kind kind,
                 const char *instead, const char *format, ...) __attribute__((format(printf, 5, 6)));
/* A bad entry, replaced by loader->instead or the default of key; false, to be returned. */
bool problem_bad(struct loader *loader, const struct place *place, const struct key *key, const char *format,
                 ...) __attribute__((format(printf, 4, 5)));
/* "is a string, but must be a whole number". */
bool problem_mistyped(struct loader *loader, const struct place *place, const struct key *key,
                      const char *wanted);
void problems_sort(struct loader *loader);

json_t *policy_json(const char *text, size_t n, struct loader *loader);
/* Calls the parser of every member of an object; false where one was bad. *unknown (may be NULL): a key that
 * no row has. */
bool policy_members(struct loader *loader, const struct place *place, const struct key *section, void *base,
                    bool *unknown);
struct place place_member(const struct place *up, const char *name);
struct place place_element(const struct place *up, size_t index, const struct jsonmap *map);

/* policy.c */
extern const struct key policy_keys[];
extern const size_t policy_n_keys;

extern const char policy_url_instead[]; /* what stands in for a counters.url that cannot be used */

/* policy_values.c, policy_places.c and policy_limit.c: the parsers. */
key_parser parse_section, parse_flag, parse_choice, parse_choice_flag, parse_action, parse_integer,
    parse_bits, parse_max, parse_duration, parse_percent, parse_path, parse_group, parse_mode, parse_prefix,
    parse_subaddress, parse_socket, parse_url, parse_listen, parse_command, parse_networks, parse_patterns,
    parse_reply, parse_limits, parse_limit_name, parse_per, parse_limit_reply, parse_share, parse_when,
    parse_tristate, parse_classes, parse_domains, parse_client_condition;

/* policy_warn.c */
void policy_warn(struct loader *loader, const struct place *root);
/* policy_limit.c: fills in ttl_ms of all limits. */
void limits_ttl(struct policy *policy);

#endif
