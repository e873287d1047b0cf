/* plan: which limits one RCPT meets, and under which keys (see plan.h).
 *
 * Three tables carry it: subject_readers (what a RCPT has of each subject of `per`), conditions (one
 * function for each key of `when`) and, in scope_of(), which counts and subjects a refused, discarded or
 * exempt RCPT still meets. Owns nothing, all memory is the pool's. Fails only for want of memory. */
#include "policy/plan.h"

#include "ramp.h"
#include "base/hash.h"
#include "base/text.h"
#include "base/unzeroed.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* One RCPT, and what is being made for it. */
struct planner {
    const struct policy *policy;
    const struct envelope *envelope;
    const struct ruling *ruling;
    const struct receipt *held;
    struct pool *pool;
    struct strings values[SUBJECTS]; /* of each subject; empty: the RCPT lacks it */
    const char *overflow_recipient;  /* "@domain" where a new recipient may have to share a key, else NULL */
    struct count_ask *asks;
    const struct limit **limits;
    size_t n, room;
    struct backlog_ask *backlogs;
    size_t n_backlogs;
    const char *key, *key_per, *key_text; /* the last key of one subject, and what it was made of */
};

/* --- keys ---------------------------------------------------------------------------------------------- */

/* "recipient:{a@example.com}" for a single subject and its text, "recipient+client:{a@example.com}|192.0.2.7" for
 * two. NULL: out of memory. */
static const char *make_key(struct pool *pool, const char *per_name, const char *const *subjects, size_t n)
{
    size_t size = strlen(per_name) + sizeof ":{}";
    for (size_t i = 0; i < n; i++)
        size += strlen("|") + strlen("%00") * strlen(subjects[i]);
    char *buffer = pool_alloc(pool, size);
    if (buffer == NULL)
        return NULL;
    struct text key;
    text_init(&key, buffer, size);
    text_add(&key, per_name);
    for (size_t i = 0; i < n; i++) {
        text_add(&key, i == 0 ? ":{" : "|");
        text_add_percent(&key, subjects[i]);
        if (i == 0)
            text_add(&key, "}");
    }
    assert(!key.cut);
    return buffer;
}

/* --- subjects ------------------------------------------------------------------------------------------ */

/* Adds text to a subject's values, each once; nothing where text is NULL or empty. -1: out of memory. */
static int add_value(struct planner *planner, struct strings *values, size_t room, const char *text)
{
    if (text == NULL || text[0] == '\0')
        return 0;
    if (values->at == NULL)
        values->at = pool_alloc(planner->pool, room * sizeof *values->at);
    if (values->at == NULL)
        return -1;
    for (size_t i = 0; i < values->n; i++)
        if (strcmp(values->at[i], text) == 0)
            return 0;
    assert(values->n < room);
    values->at[values->n++] = text;
    return 0;
}

/* An address, or what stands for one that cannot be parsed: it must not slip through the limits. */
static int read_address(struct planner *planner, const struct address *address, const char *raw,
                        struct strings *out)
{
    if (address->kind == ADDRESS_MAILBOX || address->kind == ADDRESS_BARE)
        return add_value(planner, out, 1, address->bare);
    char *key = pool_alloc(planner->pool, ADDRESS_MAX + 1);
    if (key == NULL)
        return -1;
    address_fallback_key(raw, key, ADDRESS_MAX + 1);
    return add_value(planner, out, 1, key);
}

static int read_recipient(struct planner *planner, struct strings *out)
{
    return read_address(planner, planner->envelope->recipient, planner->envelope->recipient_raw, out);
}

static int read_mailbox(struct planner *planner, struct strings *out)
{
    return rules_mailboxes(planner->policy, &planner->ruling->alias, planner->pool, out);
}

static int read_mailbox_domain(struct planner *planner, struct strings *out)
{
    struct strings mailboxes;
    if (read_mailbox(planner, &mailboxes) != 0)
        return -1;
    for (size_t i = 0; i < mailboxes.n; i++) {
        const char *at = strrchr(mailboxes.at[i], '@');
        if (add_value(planner, out, mailboxes.n, at == NULL ? NULL : at + 1) != 0)
            return -1;
    }
    return 0;
}

static int read_owner(struct planner *planner, struct strings *out)
{
    return add_value(planner, out, 1, planner->ruling->alias.owner);
}

/* Below ".example.com" anybody can make up domains: those that no alias row names are one. */
static const char *counted_domain(const struct planner *planner)
{
    const struct alias *alias = &planner->ruling->alias;
    bool made_up =
        alias->domain != NULL && alias->domain[0] == '.' && alias->via != VIA_FULL && alias->via != VIA_BARE;
    return made_up ? alias->domain : planner->envelope->recipient->domain;
}

/* Of a refused RCPT only where the domain is ours: anybody can make up others, and each would be a key. */
static int read_recipient_domain(struct planner *planner, struct strings *out)
{
    if (planner->ruling->alias_refused && !planner->ruling->alias.ours)
        return 0;
    return add_value(planner, out, 1, counted_domain(planner));
}

static int read_sender(struct planner *planner, struct strings *out)
{
    const struct address *sender = planner->envelope->sender;
    if (sender->kind == ADDRESS_NULL ||
        (sender->kind == ADDRESS_INVALID && planner->envelope->sender_raw == NULL))
        return 0;
    return read_address(planner, sender, planner->envelope->sender_raw, out);
}

static int read_sender_domain(struct planner *planner, struct strings *out)
{
    return add_value(planner, out, 1, planner->envelope->sender->domain);
}

static int read_client(struct planner *planner, struct strings *out)
{
    if (!planner->envelope->client_subject.set)
        return 0;
    char *buffer = pool_alloc(planner->pool, NETWORK_TEXT);
    if (buffer == NULL)
        return -1;
    return add_value(planner, out, 1, network_format(&planner->envelope->client_subject, buffer));
}

static int read_user(struct planner *planner, struct strings *out)
{
    return add_value(planner, out, 1, planner->envelope->user);
}

static int read_host(struct planner *planner, struct strings *out)
{
    return add_value(planner, out, 1, planner->envelope->host);
}

static int read_all(struct planner *planner, struct strings *out)
{
    return add_value(planner, out, 1, "*");
}

typedef int subject_reader(struct planner *planner, struct strings *out); /* -1: out of memory */

static subject_reader *const subject_readers[SUBJECTS] = {
    [SUBJECT_RECIPIENT] = read_recipient,
    [SUBJECT_MAILBOX] = read_mailbox,
    [SUBJECT_MAILBOX_DOMAIN] = read_mailbox_domain,
    [SUBJECT_OWNER] = read_owner,
    [SUBJECT_RECIPIENT_DOMAIN] = read_recipient_domain,
    [SUBJECT_SENDER] = read_sender,
    [SUBJECT_SENDER_DOMAIN] = read_sender_domain,
    [SUBJECT_CLIENT] = read_client,
    [SUBJECT_USER] = read_user,
    [SUBJECT_HOST] = read_host,
    [SUBJECT_ALL] = read_all,
};

/* What the limits ask for, as a set of bits: nothing else is worth a reading. */
static unsigned subjects_asked(const struct policy *policy)
{
    unsigned asked = 0;
    for (size_t i = 0; i < policy->n_limits; i++) {
        const struct limit *limit = &policy->limits[i];
        for (size_t k = 0; k < limit->n_per; k++)
            asked |= 1u << limit->per[k];
        if (limit->share.set)
            asked |= 1u << limit->share.of;
    }
    return asked;
}

static int read_subjects(struct planner *planner)
{
    for (unsigned asked = subjects_asked(planner->policy); asked != 0; asked &= asked - 1) {
        int subject = ffs((int)asked) - 1; /* one bit after the other */
        if (subject_readers[subject](planner, &planner->values[subject]) != 0)
            return -1;
    }
    return 0;
}

/* --- conditions ---------------------------------------------------------------------------------------- */

static bool string_holds(const struct strings *wanted, const char *value)
{
    for (size_t i = 0; value != NULL && i < wanted->n; i++)
        if (strcmp(wanted->at[i], value) == 0)
            return true;
    return wanted->n == 0;
}

static bool truth_holds(enum tristate wanted, bool value)
{
    return wanted == ANY || (wanted == YES) == value;
}

static bool exists_only_as_pattern(const struct ruling *ruling)
{
    return ruling->alias.state == ALIAS_FOUND && !ruling->alias.concealed &&
           (ruling->alias.via == VIA_GLOB || ruling->alias.via == VIA_CATCH_ALL);
}

static bool class_holds(const struct when *when, const struct envelope *envelope, const struct ruling *ruling)
{
    (void)envelope;
    return string_holds(&when->class_name, ruling->alias.class_name);
}

static bool recipient_domain_holds(const struct when *when, const struct envelope *envelope,
                                   const struct ruling *ruling)
{
    (void)ruling;
    return string_holds(&when->recipient_domain, envelope->recipient->domain);
}

static bool sender_domain_holds(const struct when *when, const struct envelope *envelope,
                                const struct ruling *ruling)
{
    (void)ruling;
    return string_holds(&when->sender_domain, envelope->sender->domain);
}

static bool client_holds(const struct when *when, const struct envelope *envelope,
                         const struct ruling *ruling)
{
    (void)ruling;
    return when->client.n == 0 || policy_networks_contain(&when->client, envelope->client);
}

static bool null_sender_holds(const struct when *when, const struct envelope *envelope,
                              const struct ruling *ruling)
{
    (void)ruling;
    return truth_holds(when->null_sender, envelope->sender->kind == ADDRESS_NULL);
}

static bool authenticated_holds(const struct when *when, const struct envelope *envelope,
                                const struct ruling *ruling)
{
    (void)ruling;
    return truth_holds(when->authenticated, envelope->user != NULL);
}

static bool catch_all_holds(const struct when *when, const struct envelope *envelope,
                            const struct ruling *ruling)
{
    (void)envelope;
    return truth_holds(when->catch_all, exists_only_as_pattern(ruling));
}

static bool unknown_holds(const struct when *when, const struct envelope *envelope,
                          const struct ruling *ruling)
{
    (void)envelope; /* an exempt recipient is never answered "unknown" */
    bool unknown = ruling->alias.state == ALIAS_UNKNOWN || ruling->alias.concealed;
    return truth_holds(when->unknown, unknown && !ruling->recipient_exempt);
}

typedef bool condition(const struct when *when, const struct envelope *envelope, const struct ruling *ruling);

static condition *const conditions[] = {
    class_holds,       recipient_domain_holds, sender_domain_holds, client_holds,
    null_sender_holds, authenticated_holds,    catch_all_holds,     unknown_holds,
};

static bool when_holds(const struct planner *planner, const struct when *when)
{
    static const struct when always;
    if (memcmp(when, &always, sizeof always) == 0)
        return true;
    for (size_t i = 0; i < sizeof conditions / sizeof conditions[0]; i++)
        if (!conditions[i](when, planner->envelope, planner->ruling))
            return false;
    return true;
}

/* --- which limits a RCPT meets ------------------------------------------------------------------------- */

enum {
    ALL_KINDS = 1 << LIMIT_RECIPIENTS | 1 << LIMIT_MESSAGES | 1 << LIMIT_BYTES | 1 << LIMIT_ATTEMPTS |
                1 << LIMIT_BACKLOG,
    ALL_SUBJECTS = (1 << SUBJECTS) - 1,
};

struct scope { /* bit sets of enum limit_count and enum subject */
    unsigned kinds, subjects;
};

static struct scope scope_of(const struct ruling *ruling)
{
    struct scope scope = {ALL_KINDS, ALL_SUBJECTS};
    if (ruling->action != ACTION_ACCEPT && ruling->action != ACTION_DISCARD)
        scope.kinds = 1 << LIMIT_ATTEMPTS; /* refused anyway: nothing else is charged */
    if (ruling->alias_refused) {
        scope.kinds &= 1 << LIMIT_ATTEMPTS;
        scope.subjects &= POLICY_WIDE | 1 << SUBJECT_RECIPIENT_DOMAIN;
    }
    if (ruling->action == ACTION_DISCARD || ruling->alias.action == ACTION_DISCARD)
        scope.subjects &= POLICY_WIDE; /* a discarded recipient never shows itself */
    return scope;
}

static bool limit_applies(const struct planner *planner, const struct limit *limit)
{
    const struct scope scope = scope_of(planner->ruling);
    if ((scope.kinds & 1u << limit->count) == 0)
        return false;
    for (size_t i = 0; i < limit->n_per; i++)
        if ((scope.subjects & 1u << limit->per[i]) == 0 || planner->values[limit->per[i]].n == 0)
            return false;
    return when_holds(planner, &limit->when);
}

/* The answer of its hold is one that a client can get when it connects. */
static bool refuses_at_connect(const struct limit *limit)
{
    return policy_holds_client(limit) && limit->over == ACTION_REJECT && !limit->shadow;
}

/* More than any max can be, and little enough to be added to what was used. */
#define SIZE_MOST (INT64_C(1000000000000000) + 1)

/* --- asks ---------------------------------------------------------------------------------------------- */

static bool is_held(const struct planner *planner, const struct limit *limit, const char *key)
{
    for (const struct receipt *receipt = planner->held; receipt != NULL; receipt = receipt->next)
        if (receipt->limit == limit && strcmp(receipt->key, key) == 0)
            return true;
    return false;
}

/* Room for one more ask, which add_ask() then adds. NULL: out of memory. */
static struct count_ask *next_ask(struct planner *planner)
{
    if (planner->n == planner->room) {
        size_t room = planner->room == 0 ? 4 : 2 * planner->room;
        struct count_ask *asks = pool_alloc(planner->pool, room * sizeof *asks);
        const struct limit **limits = pool_alloc(planner->pool, room * sizeof(void *));
        if (asks == NULL || limits == NULL)
            return NULL;
        for (size_t i = 0; i < planner->n; i++) {
            asks[i] = planner->asks[i];
            limits[i] = planner->limits[i];
        }
        planner->asks = asks;
        planner->limits = limits;
        planner->room = room;
    }
    return &planner->asks[planner->n];
}

static void add_ask(struct planner *planner, const struct limit *limit)
{
    planner->limits[planner->n++] = limit;
}

enum count_unit plan_unit(const struct limit *limit)
{
    static const enum count_unit units[] = {
        [LIMIT_RECIPIENTS] = COUNT_UNIT_RECIPIENTS,
        [LIMIT_MESSAGES] = COUNT_UNIT_MESSAGES,
        [LIMIT_BYTES] = COUNT_UNIT_BYTES,
        [LIMIT_ATTEMPTS] = COUNT_UNIT_ATTEMPTS,
    };
    assert(limit->count < sizeof units / sizeof units[0]);
    return units[limit->count];
}

int64_t plan_ramp_age(const struct envelope *envelope, const struct limit *limit, const char *key)
{
    int64_t since = envelope->ramp_since_ms;
    if (limit->ramp_ms > 0 && key != NULL && envelope->ramp_since != NULL) {
        int64_t own = envelope->ramp_since(envelope->ramp_arg, key);
        since = own > since && own <= envelope->now_ms ? own : since; /* unless the clock was set back */
    }
    return envelope->now_ms - since;
}

/* The max of a limit or of its share, under the key of the ask, while its ramp lasts, and what is missing to the whole. */
static void set_max(const struct limit *limit, const struct envelope *envelope, int64_t whole,
                    struct count_ask *ask)
{
    ask->max = ramp_max(whole, limit->ramp_ms, plan_ramp_age(envelope, limit, ask->key));
    ask->headroom = whole - ask->max;
}

/* May it refuse for good, or hold? Then what it reserves is open until the message has ended. */
static bool is_hard(const struct limit *limit)
{
    return limit->count != LIMIT_ATTEMPTS &&
           (limit->over == ACTION_REJECT || limit->over == ACTION_DISCARD || limit->hold_ms > 0);
}

bool plan_is_soft(const struct envelope *envelope, const struct ruling *ruling, const struct limit *limit)
{
    return ruling->recipient_exempt ||
           (envelope->sender->kind == ADDRESS_NULL && limit->when.null_sender != YES);
}

static bool rejects(const struct planner *planner, const struct limit *limit)
{
    return limit->over == ACTION_REJECT && limit->count != LIMIT_ATTEMPTS && !limit->shadow &&
           !plan_is_soft(planner->envelope, planner->ruling, limit);
}

/* One RCPT's worth of a limit; its key, and by that its max, are still to be set. */
static struct count_ask limit_ask(const struct planner *planner, const struct limit *limit)
{
    const struct envelope *envelope = planner->envelope;
    struct count_ask ask = {
        .limit = limit->name,
        .unit = plan_unit(limit),
        .window_ms = limit->window_ms,
        .amount = 1,
        .need = 1,
        .hold_ms = limit->hold_ms,
        .ttl_ms = limit->ttl_ms,
        .flags = (limit->shadow ? COUNT_SHADOW : 0) | (limit->count == LIMIT_ATTEMPTS ? COUNT_ATTEMPT : 0) |
                 (is_hard(limit) && !envelope->as_taken ? COUNT_HARD : 0) |
                 (rejects(planner, limit) ? COUNT_REJECT : 0),
        .share_of = -1,
    };
    if (limit->count == LIMIT_BYTES) {
        ask.amount = envelope->size > SIZE_MOST ? SIZE_MOST : envelope->size > 0 ? envelope->size : 0;
        ask.need = ask.amount > 0 ? ask.amount : 1; /* one message may overshoot, but not what is full */
    }
    return ask;
}

/* A look at the hold alone: nothing is counted. */
static struct count_ask hold_ask(const struct limit *limit)
{
    return (struct count_ask){
        .limit = limit->name,
        .unit = plan_unit(limit),
        .max = limit->max,
        .window_ms = limit->window_ms,
        .hold_ms = limit->hold_ms,
        .ttl_ms = limit->ttl_ms,
        .flags = COUNT_HOLD_ONLY | (limit->shadow ? COUNT_SHADOW : 0),
        .share_of = -1,
    };
}

/* One combination of what a limit counts: its subjects and a text of each. There is room for the source of
 * a share. */
struct combination {
    enum subject subjects[SUBJECTS + 1];
    const char *texts[SUBJECTS + 1];
    size_t n;
};

/* Can anybody make up as many of these as he likes, with nothing before it in the key that bounds them? */
static bool is_made_up(const struct planner *planner, enum subject subject)
{
    return subject == SUBJECT_SENDER || subject == SUBJECT_SENDER_DOMAIN ||
           (subject == SUBJECT_CLIENT && !network_is_ipv4(&planner->envelope->client_subject));
}

/* Does one of them, behind the first of a list, come from strangers? A domain of ours does not. */
static bool has_strangers(const struct planner *planner, const struct combination *of)
{
    unsigned strangers =
        1u << SUBJECT_RECIPIENT | 1u << SUBJECT_SENDER | 1u << SUBJECT_SENDER_DOMAIN | 1u << SUBJECT_CLIENT;
    if (!planner->ruling->alias.ours)
        strangers |= 1u << SUBJECT_RECIPIENT_DOMAIN;
    for (size_t i = 1; i < of->n; i++)
        if ((strangers & 1u << of->subjects[i]) != 0)
            return true;
    return false;
}

enum { MADE_UP_FACTOR = 100 }; /* so many times as many of them as of what has a bound in it */

/* Where an ask goes when strangers have made enough new keys, and where those are counted: for recipients that exist only
 * through a catch-all or glob of their domain, for what can be made up of the limit, for lists of the first subject. No subject has a bare
 * '|' in its text, so that these keys are nobody's. */
static int set_overflow(struct planner *planner, const struct limit *limit, const char *per_name,
                        const struct combination *of, struct count_ask *ask)
{
    const char *overflow[] = {of->texts[0], "*"}, *counted[] = {of->texts[0], "*"};
    size_t n_overflow = 2, n_counted = 2;
    ask->new_max = planner->policy->counters.max_new_subjects;
    if (of->subjects[0] == SUBJECT_RECIPIENT && planner->overflow_recipient != NULL) {
        overflow[0] = planner->overflow_recipient;
        n_overflow = of->n > 1 ? 2 : 1;
        counted[0] = counted_domain(planner);
        n_counted = 1;
    } else if (is_made_up(planner, of->subjects[0])) {
        overflow[0] = counted[0] = "*";
        counted[1] = limit->name;
        ask->new_max *= MADE_UP_FACTOR;
    } else if (!has_strangers(planner, of)) {
        return 0;
    }
    ask->overflow = make_key(planner->pool, per_name, overflow, n_overflow);
    ask->new_key = make_key(planner->pool, "new", counted, n_counted);
    return ask->overflow == NULL || ask->new_key == NULL ? -1 : 0;
}

/* Limits with several windows follow each other, and count under one key. */
static const char *key_of(struct planner *planner, const char *per_name, const struct combination *of)
{
    if (of->n != 1)
        return make_key(planner->pool, per_name, of->texts, of->n);
    if (planner->key == NULL || planner->key_text != of->texts[0] ||
        strcmp(planner->key_per, per_name) != 0) {
        planner->key = make_key(planner->pool, per_name, of->texts, 1);
        planner->key_per = per_name;
        planner->key_text = of->texts[0];
    }
    return planner->key;
}

static int set_keys(struct planner *planner, const struct limit *limit, const char *per_name,
                    const struct combination *of, struct count_ask *ask)
{
    ask->key = key_of(planner, per_name, of);
    return ask->key == NULL ? -1 : set_overflow(planner, limit, per_name, of, ask);
}

/* What one source holds of the limit whose ask came last. */
static int add_share(struct planner *planner, const struct limit *limit, const struct combination *of)
{
    const struct strings *source = &planner->values[limit->share.of];
    if (source->n == 0 || (scope_of(planner->ruling).subjects & 1u << limit->share.of) == 0)
        return 0; /* the null sender is no source, nor is what a refused or discarded RCPT must not count */
    struct combination with_source = *of;
    with_source.subjects[of->n] = limit->share.of;
    with_source.texts[of->n] = source->at[0];
    with_source.n++;
    struct count_ask *ask = next_ask(planner);
    if (ask == NULL)
        return -1;
    *ask = limit_ask(planner, limit);
    ask->hold_ms = 0; /* a hold is for all sources; the others still get through */
    if (limit->over == ACTION_DEFER)
        ask->flags &= ~(unsigned)COUNT_HARD;
    ask->share_of = (int)planner->n - 1;
    if (set_keys(planner, limit, limit->share.per, &with_source, ask) != 0)
        return -1;
    set_max(limit, planner->envelope, limit->share.max, ask);
    ask->share_above =
        ramp_max(limit->share.above, limit->ramp_ms, plan_ramp_age(planner->envelope, limit, ask->key));
    add_ask(planner, limit);
    return 0;
}

/* Where this message was charged for that combination before, only a client's hold is left to look at. */
static int add_combination(struct planner *planner, const struct limit *limit, const struct combination *of)
{
    struct count_ask *ask = next_ask(planner);
    if (ask == NULL)
        return -1;
    *ask = limit_ask(planner, limit);
    if (set_keys(planner, limit, limit->per_name, of, ask) != 0)
        return -1;
    set_max(limit, planner->envelope, limit->max, ask);
    bool once = limit->count == LIMIT_MESSAGES || limit->count == LIMIT_BYTES;
    bool held = once && is_held(planner, limit, ask->key);
    if (held && !policy_holds_client(limit))
        return 0;
    if (held) {
        const char *key = ask->key;
        *ask = hold_ask(limit);
        ask->key = key;
    }
    add_ask(planner, limit);
    return !held && limit->share.set ? add_share(planner, limit, of) : 0;
}

/* Every combination of the subjects' texts: an odometer with one wheel for each subject, the last turning
 * fastest. */
static int add_combinations(struct planner *planner, const struct limit *limit)
{
    size_t wheels[SUBJECTS] = {0};
    for (;;) {
        struct combination of UNZEROED;
        of.n = limit->n_per;
        for (size_t i = 0; i < limit->n_per; i++) {
            of.subjects[i] = limit->per[i];
            of.texts[i] = planner->values[limit->per[i]].at[wheels[i]];
        }
        if (add_combination(planner, limit, &of) != 0)
            return -1;
        size_t turning = limit->n_per;
        while (turning > 0 && ++wheels[turning - 1] == planner->values[limit->per[turning - 1]].n)
            wheels[--turning] = 0;
        if (turning == 0)
            return 0;
    }
}

static int add_hold(struct planner *planner, const struct limit *limit)
{
    if (planner->values[SUBJECT_CLIENT].n == 0)
        return 0;
    struct count_ask *ask = next_ask(planner);
    if (ask == NULL)
        return -1;
    *ask = hold_ask(limit);
    ask->key = make_key(planner->pool, limit->per_name, planner->values[SUBJECT_CLIENT].at, 1);
    if (ask->key == NULL)
        return -1;
    add_ask(planner, limit);
    return 0;
}

/* One for each text of its subject. */
static int add_backlog(struct planner *planner, const struct limit *limit)
{
    const struct strings *texts = &planner->values[limit->per[0]];
    size_t n = planner->n_backlogs;
    struct backlog_ask *more = pool_alloc(planner->pool, (n + texts->n) * sizeof *more);
    if (more == NULL)
        return -1;
    for (size_t i = 0; i < n; i++)
        more[i] = planner->backlogs[i];
    for (size_t i = 0; i < texts->n; i++) {
        struct count_ask ask = {0};
        set_max(limit, planner->envelope, limit->max, &ask);
        more[n + i] = (struct backlog_ask){
            .limit = limit, .subject = texts->at[i], .max = ask.max, .headroom = ask.headroom};
    }
    planner->backlogs = more;
    planner->n_backlogs = n + texts->n;
    return 0;
}

static int add_limit(struct planner *planner, const struct limit *limit)
{
    if (limit->count == LIMIT_BACKLOG)
        return limit_applies(planner, limit) ? add_backlog(planner, limit) : 0;
    if (limit_applies(planner, limit))
        return add_combinations(planner, limit);
    return policy_holds_client(limit) ? add_hold(planner, limit) : 0;
}

/* --- the request around them --------------------------------------------------------------------------- */

/* With its final NUL, which parts it from the next one. */
static uint64_t hash_add(uint64_t hash, const char *string)
{
    const unsigned char *byte = (const unsigned char *)string;
    do {
        hash = hash_fnv(hash, *byte);
    } while (*byte++ != '\0');
    return hash;
}

/* An address with its subaddress (another one's deferral is not its own); its key where it is none. key: room for one. */
static const char *whole_of(const struct address *address, const char *raw, char key[ADDRESS_MAX + 1])
{
    if (address->full[0] != '\0' || address->kind != ADDRESS_INVALID || raw == NULL)
        return address->full;
    address_fallback_key(raw, key, ADDRESS_MAX + 1);
    return key;
}

void plan_pair(const struct envelope *envelope, struct count_pair *out)
{
    char client[NETWORK_TEXT] = "", sender[ADDRESS_MAX + 1], recipient[ADDRESS_MAX + 1];
    if (envelope->sender->kind == ADDRESS_NULL) /* which half of the world sends bounces from */
        network_format(&envelope->client_subject, client);
    const char *parts[] = {client, whole_of(envelope->sender, envelope->sender_raw, sender),
                           whole_of(envelope->recipient, envelope->recipient_raw, recipient)};
    uint64_t left = HASH_FNV, right = UINT64_C(0x9ae16a3b2f90404f);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        left = hash_add(left, parts[i]);
        right = hash_add(right ^ left >> 32,
                         parts[i]); /* fed by the other half, so that they do not run in step */
    }
    out->client = envelope->client_subject;
    snprintf(out->id, sizeof out->id, "%016" PRIx64 "%016" PRIx64, left, right);
}

static int finish(const struct planner *planner, struct plan *out)
{
    struct plan plan = {.request = {.asks = planner->asks, .n = planner->n},
                        .limits = planner->limits,
                        .backlogs = planner->backlogs,
                        .n_backlogs = planner->n_backlogs};
    bool has_attempt = false;
    for (size_t i = 0; i < planner->n; i++)
        has_attempt = has_attempt || (planner->asks[i].flags & COUNT_ATTEMPT) != 0;
    if (has_attempt &&
        !planner->policy->shadow) { /* in shadow nothing was deferred, and nothing is a retry */
        struct count_pair *pair = pool_alloc(planner->pool, sizeof *pair);
        if (pair == NULL)
            return -1;
        plan_pair(planner->envelope, pair);
        plan.request.pair = pair;
    }
    *out = plan;
    return 0;
}

int plan_make(const struct policy *policy, const struct envelope *envelope, const struct ruling *ruling,
              const struct receipt *held, struct pool *pool, struct plan *out)
{
    struct planner planner = {
        .policy = policy, .envelope = envelope, .ruling = ruling, .held = held, .pool = pool};
    if (ruling->client_exempt || policy->n_limits == 0) {
        *out = (struct plan){0};
        return 0;
    }
    if (read_subjects(&planner) != 0)
        return -1;
    if (exists_only_as_pattern(ruling)) {
        planner.overflow_recipient = pool_join(pool, "@", counted_domain(&planner), "");
        if (planner.overflow_recipient == NULL)
            return -1;
    }
    for (size_t i = 0; i < policy->n_limits; i++)
        if (add_limit(&planner, &policy->limits[i]) != 0)
            return -1;
    return finish(&planner, out);
}

int plan_connect(const struct policy *policy, const struct network *client, struct pool *pool,
                 struct plan *out)
{
    struct planner planner = {.policy = policy, .pool = pool};
    char text[NETWORK_TEXT];
    const char *value = text;
    if (!client->set || policy_networks_contain(&policy->exempt.clients, client)) {
        *out = (struct plan){0};
        return 0;
    }
    struct network subject = network_mask(client, policy->counters.ipv4_bits, policy->counters.ipv6_bits);
    network_format(&subject, text);
    planner.values[SUBJECT_CLIENT] = (struct strings){&value, 1};
    for (size_t i = 0; i < policy->n_limits; i++) {
        const struct limit *limit = &policy->limits[i];
        if (refuses_at_connect(limit) && add_hold(&planner, limit) != 0)
            return -1;
    }
    return finish(&planner, out);
}

bool plan_looks_at_connect(const struct policy *policy)
{
    for (size_t i = 0; i < policy->n_limits; i++)
        if (refuses_at_connect(&policy->limits[i]))
            return true;
    return false;
}

/* At least 1, unless the whole is 0. Without overflow up to 10^15 and beyond. */
static int64_t share_of(int64_t whole, int64_t percent)
{
    int64_t part = whole / 100 * percent + whole % 100 * percent / 100;
    return part > 0 || whole == 0 ? part : 1;
}

int64_t plan_local_max(const struct policy *policy, int64_t max)
{
    int64_t percent = policy->counters.local_share;
    return percent < 100 ? share_of(max, percent) : max;
}

int plan_again(struct plan *plan, const struct count_answer *answers, struct pool *pool)
{
    size_t n = plan->request.n;
    struct count_ask *asks = pool_alloc(pool, n * sizeof *asks);
    if (asks == NULL)
        return -1;
    for (size_t i = 0; i < n; i++) {
        asks[i] = plan->request.asks[i];
        asks[i].flags &= ~(unsigned)COUNT_AGAIN;
        if (answers[i].result == COUNT_OVER || answers[i].result == COUNT_HELD)
            asks[i].flags |= COUNT_AGAIN;
        if ((asks[i].flags & COUNT_ATTEMPT) == 0)
            continue;
        asks[i].amount = asks[i].need = 0;
        if ((asks[i].flags & COUNT_SHADOW) == 0) /* of which none refused, else it would not be asked again */
            asks[i].flags |= COUNT_HOLD_ONLY;
    }
    plan->request.asks = asks;
    plan->request.pair = NULL;
    return 0;
}

int plan_localise(const struct policy *policy, struct plan *plan, struct pool *pool)
{
    size_t n = plan->request.n;
    plan->request.local = plan->request.asks;
    if (policy->counters.local_share >= 100 || n == 0)
        return 0;
    struct count_ask *asks = pool_alloc(pool, n * sizeof *asks);
    plan->request.local = asks;
    if (asks == NULL)
        return -1;
    for (size_t i = 0; i < n; i++) {
        asks[i] = plan->request.asks[i];
        asks[i].max = plan_local_max(policy, asks[i].max);
        asks[i].headroom += plan->request.asks[i].max - asks[i].max;
        asks[i].share_above = plan_local_max(policy, asks[i].share_above);
    }
    return 0;
}
