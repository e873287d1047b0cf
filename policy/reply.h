/* reply: an SMTP reply line, from the policy, from a row, or built in.
 *
 * A template is "450 4.2.1 text with %{name}" (RFC 5321 4.2, RFC 3463). 421 and 521 are never allowed: Postfix
 * hangs up on the other recipients too. */
#ifndef RCPTGATE_POLICY_REPLY_H
#define RCPTGATE_POLICY_REPLY_H

#include "base/action.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { REPLY_TEXT_MAX = 400, REPLY_LINE_MAX = 512 };

enum reply_key {
    REPLY_UNKNOWN,
    REPLY_ALIAS_REJECT,
    REPLY_ALIAS_DEFER,
    REPLY_SENDER_REJECT,
    REPLY_SENDER_DEFER,
    REPLY_CLIENT_REJECT,
    REPLY_CLIENT_DEFER,
    REPLY_OVER_DEFER,
    REPLY_OVER_REJECT,
    REPLY_BYTES_DEFER,
    REPLY_BYTES_REJECT,
    REPLY_BACKEND,
    REPLY_RAMP,
    REPLY_INVALID,
    REPLY_KEYS
};

struct reply {
    char code[4];                  /* "450"; "" in a zeroed struct: no reply */
    char dsn[12];                  /* "4.2.1", same class as code */
    char text[REPLY_TEXT_MAX + 1]; /* template */
};

/* What %{...} stands for; NULL or negative: unknown, replaced by "-". */
struct reply_values {
    const char *recipient, *sender, *client, *limit;
    int64_t used, max, wait_ms;
};

/* A reply as it goes to Postfix. text has no control and no non-ASCII byte. */
struct reply_line {
    char code[4];
    char dsn[12];
    char text[REPLY_LINE_MAX];
};

/* The name as in the policy ("over_defer"), and the action whose class the reply must have. */
const char *reply_key_name(enum reply_key key);
enum action reply_key_action(enum reply_key key);
const struct reply *reply_default(enum reply_key key);

/* Parses a template that must fit action (ACTION_DEFER: 4yz 4.x.x, ACTION_REJECT: 5yz 5.x.x). dsn: what an enhanced code that
 * is absent becomes, mostly that of the text which this one is in place of; NULL, or of another class: "4.2.1" / "5.7.1". 0, or
 * -1 with err set and *out untouched. */
int reply_parse(const char *source, enum action action, const char *dsn, struct reply *out,
                struct error *err);

/* True where the template shows %{limit}, %{used} or %{max}: it tells a sender how the gate is tuned. */
bool reply_tells_limit(const struct reply *reply);

void reply_render(const struct reply *reply, const struct reply_values *values, struct reply_line *out);

#endif
