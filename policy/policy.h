/* policy: the one JSON file, as an immutable typed structure.
 *
 * Parsed once at the edge; nothing is looked up by string afterwards. Everything in it belongs to the policy
 * and lives until the last policy_unref(). Shared freely between threads: nobody writes to it after config_load(). */
#ifndef RCPTGATE_POLICY_H
#define RCPTGATE_POLICY_H

#include "base/action.h"
#include "base/error.h"
#include "base/network.h"
#include "base/pool.h"
#include "base/redis_config.h"
#include "policy/reply.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of `state`: the control socket below it must fit into the address of a socket. */
enum { POLICY_STATE_MAX = 94 };

/* What `per` counts. A new one has a name in policy.c (subjects), policy.schema.json, config/limit.c (per_wanted) and
 * admin/words.c, a reader in plan.c (subject_readers), which reads the envelope (rules.h; milter/decide.c fills it in) or the
 * alias, and its place in the answers to: may RCPTs that are refused or discarded count it (POLICY_WIDE)? can strangers make up
 * as many as they like (plan.c, is_made_up)? can it be the source of a share (config/limit.c and keys.c)? does the queue show it
 * (config/limit.c, gate/queue_parse.c)? how does a person type it (admin/show.c)? The manual says what it is. */
enum subject {
    SUBJECT_RECIPIENT,
    SUBJECT_MAILBOX,
    SUBJECT_MAILBOX_DOMAIN,
    SUBJECT_OWNER,
    SUBJECT_RECIPIENT_DOMAIN,
    SUBJECT_SENDER,
    SUBJECT_SENDER_DOMAIN,
    SUBJECT_CLIENT,
    SUBJECT_USER,
    SUBJECT_HOST,
    SUBJECT_ALL,
    SUBJECTS
};

const char *policy_subject_name(enum subject subject); /* "recipient_domain" */

/* A set, by 1 << subject: what every RCPT of a session has, whatever its recipient is. */
enum { POLICY_WIDE = 1 << SUBJECT_CLIENT | 1 << SUBJECT_USER | 1 << SUBJECT_HOST | 1 << SUBJECT_ALL };

enum limit_count {
    LIMIT_RECIPIENTS,
    LIMIT_MESSAGES,
    LIMIT_BYTES,
    LIMIT_ATTEMPTS,
    LIMIT_BACKLOG, /* n_per is 1; no window, hold or share */
};

enum tristate { ANY = 0, NO, YES };

struct strings { /* a list of canonical strings */
    const char **at;
    size_t n;
};

struct networks {
    struct network *at;
    size_t n;
};

struct when { /* all that are set must hold */
    struct strings class_name, recipient_domain, sender_domain;
    struct networks client;
    enum tristate null_sender, authenticated, catch_all, unknown;
};

struct share {
    bool set;
    enum subject of; /* client, sender, sender_domain or recipient */
    int64_t max;     /* absolute: the percentage of the limit's max, rounded, at least 1 */
    int64_t above;   /* absolute: binds once the limit's used is at least this; 0 where not given: always */
    const char *per; /* the limit's per with `of` appended: "recipient+client" */
};

struct limit {
    const char *name;
    enum subject per[SUBJECTS];
    size_t n_per;
    const char *per_name; /* "recipient+client": the beginning of its keys */
    int64_t max;          /* >= 0; bytes for LIMIT_BYTES */
    int64_t window_ms;    /* 0 only for LIMIT_BACKLOG */
    enum limit_count count;
    enum action over;   /* ACTION_DEFER, _REJECT or _DISCARD */
    struct reply reply; /* code "" : the default text */
    int64_t hold_ms;    /* 0: none */
    struct share share;
    struct when when;
    int64_t ramp_ms; /* after a start or an outage max grows from a tenth; 0: none */
    bool shadow;
    int64_t ttl_ms; /* of its keys: the longest of any limit with this `per` needs this long */
};

struct pattern {        /* an address pattern of `exempt`: exact, "local@*", "*@domain" or "@domain" */
    const char *local;  /* canonical; NULL: any */
    const char *domain; /* canonical; NULL: any */
};

struct patterns {
    struct pattern *at;
    size_t n;
};

enum counters_kind {
    COUNTERS_MEMORY,
    COUNTERS_REDIS_TCP,
    COUNTERS_REDIS_UNIX,
    COUNTERS_NONE, /* the URL asks for what cannot be had: when_down answers */
};
enum when_down { WHEN_DOWN_LOCAL, WHEN_DOWN_DEFER, WHEN_DOWN_ACCEPT };
enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

struct counters_config {
    const char *url; /* as written, "" for COUNTERS_NONE; never logged: it can carry a password */
    enum counters_kind kind;
    struct redis_config redis; /* addresses or path by the kind; NULL where the URL has none */
    enum when_down when_down;
    int local_share; /* percent */
    unsigned ipv4_bits, ipv6_bits;
    int64_t max_new_subjects;
    int64_t local_subjects;
};

struct http_config {
    const char *host; /* an address without brackets; "": no HTTP */
    int port;
    bool subjects;        /* pages may show the addresses of people */
    struct strings hosts; /* names besides its own that a Host header may have; lower case, without a port */
};

struct policy {
    bool shadow; /* mode */
    struct {
        const char *socket, *group; /* group NULL only where the policy says "" */
        unsigned mode;              /* permission bits */
    } milter;
    struct {
        const char *socket; /* of Postfix's maps, as milter.socket; NULL: none */
    } maps;
    const char *state;
    const char *user; /* whose rights a gate takes that root starts; NULL: the owner of `state` */
    struct {
        const char *database;   /* NULL: no alias rules */
        const char *subaddress; /* separator characters */
        int64_t max_stale_ms;
        int max_shrink;           /* percent */
        bool conceal;             /* what is disabled or expired answers as what never was */
        const char *role_mailbox; /* where postmaster and abuse at our domains go that have no row */
    } aliases;
    struct counters_config counters;
    struct http_config http;
    struct {
        bool to_stderr;
        enum log_level level;
    } log;
    struct {
        int64_t every_ms;
        const char **command; /* ends with NULL */
    } queue;
    struct {
        struct patterns recipients, senders;
        struct networks clients;
        bool authenticated;
    } exempt;
    struct limit *limits;
    size_t n_limits;
    bool needs_bytes; /* some limit counts bytes: the milter asks for headers and body */
    unsigned
        backlog_pers; /* bits of enum subject: what backlog limits ask for; 0: Postfix's queue is not read */
    int64_t longest_ramp_ms;          /* of all limits; 0: none has a ramp */
    bool needs_attempts;              /* some limit counts attempts: retries are remembered */
    struct reply replies[REPLY_KEYS]; /* defaults filled in */
};

/* For the loader alone: an empty policy with one reference, and the pool for its values, which goes with it. NULL: out
 * of memory. */
struct policy *policy_new(struct pool **pool);

const struct policy *policy_ref(const struct policy *policy);
void policy_unref(const struct policy *policy); /* NULL is harmless */

/* Does its hold cover all that a client sends, whatever the limit itself counts? */
bool policy_holds_client(const struct limit *limit);

/* Is the address, its halves canonical, one of these? */
bool policy_patterns_match(const struct patterns *patterns, const char *local, const char *domain);

/* Is the address in one of them? Never for one that is not known. */
bool policy_networks_contain(const struct networks *networks, const struct network *address);

#endif
