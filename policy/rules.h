/* rules: which of the candidate rows counts, and what it says. Pure.
 *
 * The order of the look-up (address, without subaddress, best glob, catch-all), sender scopes and patterns
 * from the most to the least specific, client networks by longest prefix. Permanent rules speak before
 * temporary ones. */
#ifndef RCPTGATE_POLICY_RULES_H
#define RCPTGATE_POLICY_RULES_H

#include "policy/address.h"
#include "base/network.h"
#include "policy/policy.h"
#include "base/pool.h"
#include "base/rows.h"
#include "policy/verdict_by.h"

/* What is known of one RCPT before anything is looked up. Borrowed for the time of one decision. */
struct envelope {
    const struct network *client;  /* whole address; set == false: unknown */
    const struct block_row *block; /* over that client; NULL: none */
    struct network client_subject; /* masked by counters.client_network */
    const char *user;              /* SASL login; NULL: not authenticated */
    const struct address *sender;  /* ADDRESS_NULL: <> ; ADDRESS_INVALID: its key is made of sender_raw */
    const char *sender_raw;        /* as received; NULL: not known */
    const struct address *recipient;
    const char *recipient_raw; /* as received, for keys of what cannot be parsed */
    bool resolved;             /* recipient is what Postfix resolved ({rcpt_addr}) */
    bool as_taken;    /* what is reserved is taken at once: a log is read, which does not show each end */
    int64_t size;     /* declared SIZE=, -1: none */
    const char *host; /* this gate */
    int64_t now_ms;   /* Unix time */
    int64_t ramp_since_ms; /* when ramps began; far in the past: no limit is on its ramp */
    /* The same of what is counted under one key, where that came back later than the rest; NULL: nothing did. */
    int64_t (*ramp_since)(void *arg, const char *key);
    void *ramp_arg;
};

enum alias_state {
    ALIAS_UNASKED = 0, /* no alias rules are configured */
    ALIAS_NOT_OURS,    /* its domain is not in `domains` */
    ALIAS_FOUND,
    ALIAS_UNKNOWN, /* proved absent */
    ALIAS_EXPIRED,
    ALIAS_INVALID, /* no valid address, in one of our domains */
    ALIAS_STALE,   /* nobody can tell now */
};

enum alias_via { VIA_NONE = 0, VIA_FULL, VIA_BARE, VIA_GLOB, VIA_CATCH_ALL };

struct alias {
    enum alias_state state;
    enum alias_via via;
    bool ours;          /* its domain is in `domains`, as far as that could be read */
    const char *domain; /* the key of its row; ".example.com" where it is only below that */
    const char *row;    /* proof: the key of the row that counts, or the domain; NULL where there is none */
    const char *owner, *class_name, *reply;
    enum action action; /* of the row and its domain together, the harder one (of an exempt recipient the
                              row's alone); ACTION_NONE unless FOUND */
    const char *mailbox_text; /* as the row has it; see rules_mailboxes(). NULL: none */
    bool concealed;           /* expired or refused by its row, and answered as unknown (aliases.conceal) */
};

struct ruling {         /* zeroed: undecided */
    enum action action; /* ACTION_ACCEPT: on to the limits */
    enum verdict_by by;
    const char *proof; /* the row's key, network or pattern; the domain where an alias is absent or its
                              address is invalid; NULL for ACCEPT and VERDICT_BY_BACKEND */
    const char *scope; /* of the sender rule; NULL for the rest */
    const char *reply; /* the row's own reply, NULL: the default of key */
    enum reply_key key;
    bool client_exempt;    /* no client or sender rule, block, hold or limit applies */
    bool recipient_exempt; /* never unknown; limits 4xx at most */
    bool alias_refused;    /* the alias rules alone would refuse it, whoever spoke first: only some
                                `attempts` limits count it */
    struct alias alias;
};

/* The queries for the look-ups. Strings from the pool or the arguments. -1: out of memory. An invalid
 * recipient has empty addresses: only its domain is looked up. The lists of a sender query never outgrow
 * their arrays: of a domain with very many labels the longest "@.parent" patterns go, and the U-label
 * forms before them. */
int rules_alias_query(const struct address *recipient, struct pool *pool, struct alias_query *out);
int rules_sender_query(const struct address *sender, const struct address *recipient, const char *owner,
                       struct pool *pool, struct sender_query *out);

/* Step one, before the sender look-up, which needs the owner. rows may be zeroed where no rules are configured. */
void rules_alias(const struct policy *policy, const struct envelope *envelope, const struct alias_rows *rows,
                 struct alias *out);

/* Where an alias forwards to: canonical, each once. Most RCPTs meet no limit that asks. -1: out of memory. */
int rules_mailboxes(const struct policy *policy, const struct alias *alias, struct pool *pool,
                    struct strings *out);

/* The first member of a list of mailboxes, as it stands there ("" too), and *list is behind it; a list that is "" has none. NULL: out of
 * memory. */
const char *rules_next_mailbox(const char **list, struct pool *pool);

/* Is the client or the session exempt? Asked before the sender look-up, to save it. */
bool rules_client_exempt(const struct policy *policy, const struct envelope *envelope,
                         const struct client_row *row);

/* What the client alone brings about, before any recipient is known: a client rule or a block. */
void rules_client(const struct policy *policy, const struct envelope *envelope, const struct client_row *row,
                  struct ruling *out);

/* "No such address" from a gate that conceals: what else would refuse an alias that exists must speak first, or
 * the answers tell them apart. */
bool rules_is_concealed(const struct policy *policy, const struct ruling *ruling);

/* Step two: all that the rules have to say. A look-up that was not made because nothing is configured, or
 * the client is exempt, has state ROWS_LIVE and no row. "Cannot tell" speaks louder than a discard, as it
 * may hide a reject, and not as loud as a reject that is proved. */
void rules_rule(const struct policy *policy, const struct envelope *envelope, const struct alias *alias,
                const struct sender_rows *senders, const struct client_row *client, struct ruling *out);

/* Rows that were lost from the live file a moment ago leave the field to wider ones, or to absence. So what is refused,
 * dropped or not ours needs a second reading: the same questions, asked of the last good copy, and ruled on in the same way.
 *
 * Needs none: what goes on or comes back later; and what stands on an exact row, than which none is more specific:
 * the alias row of the address as received, a sender rule for that address and that sender, a rule for that
 * client alone. The syntax of an address is its own proof. Of a sender rule one thing is asked again: is the client exempt?
 * Then no sender rule is for it, and the row that says so may be the one that was lost. */
bool rules_are_exact(const struct envelope *envelope, const struct ruling *ruling);

/* Do both readings say the same, for the same reason? */
bool rules_agree(const struct ruling *live, const struct ruling *copy);

/* The same for a limit or a hold that refuses or drops, whatever the rules say: is the client no more exempt in the copy, and
 * what the limit reads of the alias the same, unless that stands on an exact row? limit NULL: the hold of a client. */
bool rules_agree_on_limit(const struct envelope *envelope, const struct limit *limit,
                          const struct ruling *live, const struct ruling *copy);

/* What becomes of a ruling where they do not. */
void rules_cannot_say(struct ruling *ruling);

#endif
