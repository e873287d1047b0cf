/* refusals: who was refused or dropped in the last minutes, and by what: clients, senders, rules, and the subjects of limits.
 *
 * Bounded: of each the REFUSALS_ROWS that are seen most; where strangers make up more, those that are seen once go first, so
 * that who makes up one in a thousand is still found. What is told is of this gate. Only what is refused costs anything: a
 * short lock. Any thread. */
#ifndef RCPTGATE_GATE_REFUSALS_H
#define RCPTGATE_GATE_REFUSALS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { REFUSALS_MINUTES = 5, REFUSALS_ROWS = 1000, REFUSALS_NAME = 128 };

enum refusals_by {
    REFUSALS_BY_CLIENT,
    REFUSALS_BY_SENDER,
    REFUSALS_BY_RULE,
    REFUSALS_BY_SUBJECT, /* of a limit: the key of its counter */
    REFUSALS_BYS
};

/* "client", "sender", "rule", "subject". */
const char *refusals_by_name(enum refusals_by by);

struct refusals;

struct refusals *refusals_new(void); /* NULL: out of memory */
void refusals_free(struct refusals *refusals);

struct refusal {        /* borrowed; NULL: not known */
    const char *rule;   /* "limit", "unknown", "sender" ... */
    const char *row;    /* the limit's name, the row of the rule; "": none */
    bool for_recipient; /* that row is of this recipient alone: only "rule" tells such rows apart */
    bool shadow;        /* it only would have been */
    const char *client; /* its network, as limits count it */
    const char *sender; /* "<>": the null sender */
    const char *recipient;
    const char *subject;
};

/* now_ms: monotonic. refusals NULL is harmless. */
void refusals_add(struct refusals *refusals, int64_t now_ms, const struct refusal *refusal);

/* The n that were refused most, the most first: [{"client" | "sender" | "subject": who, "refused": N, "rule", "row", "shadow",
 * "client", "sender", "recipient": what most of them have in common, "" where nothing, left out where it is not known}]. limit: what that
 * one refused; NULL: all. */
json_t *refusals_report(struct refusals *refusals, enum refusals_by by, const char *limit, size_t n,
                        int64_t now_ms);

/* Who was refused most by that limit at that subject; "" where nobody stands out. */
struct refusals_who {
    char client[REFUSALS_NAME], sender[REFUSALS_NAME];
};
void refusals_find(struct refusals *refusals, const char *limit, const char *subject, bool shadow,
                   struct refusals_who *who);

#endif
