/* loader: what the parsers of this room share.
 *
 * A policy file is read by a table: one row per key (keys.c) with its pointer, its parser, where the value goes,
 * bounds and the default as JSON text. A parser gets a place in the file, says what is wrong with it, or
 * writes the value. The table is on top of all parsers; it comes to them with the loader. */
#ifndef RCPTGATE_CONFIG_LOADER_H
#define RCPTGATE_CONFIG_LOADER_H

#include "jsonmap.h"
#include "base/pool.h"
#include "config/problems.h"
#include "policy/policy.h"

#include <jansson.h>
#include <stdbool.h>

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

/* What a misspelt key does where no last good version says better: never refuse more than the file means. */
enum misspelt {
    MISSPELT_READ,    /* as the key that it is nearest to */
    MISSPELT_DEFAULT, /* nothing, since that key could refuse mail: as if it were not there */
    MISSPELT_COSTS,   /* all of the object that it stands in, which would refuse more without it */
};

struct misspelt_key {
    const char *pointer; /* of its row */
    enum misspelt does;
};

struct loader {
    const struct key *keys; /* the table */
    size_t n_keys;
    const struct misspelt_key *misspelt; /* those that are not MISSPELT_READ; the last has no pointer */
    struct policy *policy;
    struct origin *origins; /* as many as limits */
    struct pool *pool;      /* of the policy */
    struct pool *scratch;   /* of the load */
    struct problems *problems;
    size_t first_problem; /* of this load */
    const char *instead;  /* what is used for a bad key, where its row does not say it */
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
    const char *instead;   /* what is used for a bad value, in words; NULL: the default */
};

/* The draft of a limit: what is read before anything can be put together. */
struct draft {
    struct limit limit;
    bool has_name, has_per, has_max, has_window, has_share;
    bool size_text;             /* max was written as a size */
    unsigned share_of;          /* index into the choices of its row */
    int share_max, share_above; /* percent */
};

/* Every text is about the key at place. NULL: it is not in the list. */
struct problem *loader_problem(struct loader *loader, const struct place *place, enum problem_kind kind,
                               const char *instead, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* A bad entry, replaced by loader->instead, or key->instead, or the default of key; false, to be returned. */
bool loader_bad(struct loader *loader, const struct place *place, const struct key *key, const char *format,
                ...) __attribute__((format(printf, 4, 5)));
/* "is a string, but must be a whole number". */
bool loader_mistyped(struct loader *loader, const struct place *place, const struct key *key,
                     const char *wanted);
/* What is used instead of a bad value of key, in words. */
const char *loader_instead(const struct loader *loader, const struct key *key, char *buffer, size_t size);
/* Are there more problems than are listed? What is misspelt from then on is not known as what it was to be. */
bool loader_is_full(const struct loader *loader);
/* One to be filled in; NULL: there are too many, or memory ran out. */
struct problem *loader_problem_new(struct loader *loader);

#endif
