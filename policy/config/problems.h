/* problems: what is wrong with a policy file, where, and what is used instead. */
#ifndef RCPTGATE_CONFIG_PROBLEMS_H
#define RCPTGATE_CONFIG_PROBLEMS_H

#include <stdarg.h>
#include <stddef.h>

enum problem_kind {
    PROBLEM_WARNING, /* in force as written, but dangerous */
    PROBLEM_FAILED,  /* in force as written, and does not work as things are: of check --connect */
    PROBLEM_SKIPPED, /* bad entry: skipped or replaced by a default */
    PROBLEM_FATAL,   /* no JSON object: nothing can be used */
};

struct problem {
    enum problem_kind kind;
    char pointer[256]; /* RFC 6901, "" for the file as a whole; cut at the end when longer */
    int line;          /* 0: unknown */
    char text[512];    /* what it means and what to do */
    char instead[128]; /* what is used instead; "" where nothing is */
    const char *meant; /* the row of the key that a misspelt one is nearest to, "/mode"; NULL: not misspelt */
};

struct problems {
    struct problem *at;
    size_t n;
};

/* "warning", "failed", "skipped", "unusable": for programs. */
const char *problems_kind_name(enum problem_kind kind);

void problems_done(struct problems *problems); /* frees the list */

/* A zeroed one at the end of the list, to be filled in. NULL: out of memory. */
struct problem *problems_append(struct problems *problems);

/* The exit status of `check`: 0 no entry skipped, 1 usable with entries skipped (or what they need failed), 78 unusable. */
int problems_status(const struct problems *problems);

/* The text of a problem: controls and bytes that no terminal shows become '?'. */
void problems_vtext(struct problem *problem, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

/* Those from index first on, by line; what has none stays behind what it followed. */
void problems_sort(struct problems *problems, size_t first);

#endif
