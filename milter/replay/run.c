/* run: owns the gate, with its memory store and the clock of the log, and the messages whose end the log has not shown
 * yet. Fails with err where the policy or its alias database cannot be used, or out of memory; a RCPT without a
 * decision is one that a failed backend would have had. */
#include "replay/run.h"

#include "base/file.h"
#include "gate/policy_file.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    OPEN_MAX = 4096
}; /* messages at once; those whose end the log does not tell are ended when they are the oldest */

struct replay_open {
    struct session *session;
    struct replay_message *message; /* NULL: idle */
    struct verdict connect;         /* rejecting: nothing of it was taken */
    struct pool proof;
    struct replay_open *next, *previous; /* of those in use in their order, or of the idle ones */
    struct replay_open *all_next;
};

/* --- the gate --- */

static int64_t virtual_now(void *arg)
{
    const struct replay *replay = arg;
    return replay->now_ms;
}

/* The policy with embedded counters, and without alias rules where there are none to read. */
static const struct policy *policy_alone(const char *file, bool aliases, struct error *err)
{
    char *bytes = NULL;
    size_t n = 0;
    if (file_read(file, &bytes, &n, err) < 0)
        return NULL;
    json_t *json = json_loadb(bytes, n, 0, NULL);
    free(bytes);
    if (!json_is_object(json)) {
        error_set(err, "%s is no JSON object", file);
        json_decref(json);
        return NULL;
    }
    json_t *counters = json_object_get(json, "counters");
    if (!json_is_object(counters)) {
        json_object_set_new(json, "counters", json_object());
        counters = json_object_get(json, "counters");
    }
    json_object_del(counters, "password_file");
    json_object_del(counters, "sentinel_password_file");
    json_object_del(counters, "tls");
    int rc = json_object_set_new(counters, "url", json_string("memory:"));
    if (!aliases)
        json_object_del(json, "aliases");
    char *text = rc == 0 ? json_dumps(json, 0) : NULL;
    json_decref(json);
    struct problems problems = {0};
    const struct policy *policy = text != NULL ? config_load(text, strlen(text), &problems) : NULL;
    problems_done(&problems);
    free(text);
    if (policy == NULL)
        error_set(err, "out of memory");
    return policy;
}

static int check_rules(struct replay *replay, struct error *err)
{
    struct error why = {0};
    if (replay->gate.rules == NULL)
        return 0;
    struct aliases_reading reading = aliases_begin(replay->gate.rules);
    aliases_end(&reading);
    aliases_condition(replay->gate.rules, &why);
    if (why.text[0] == '\0')
        return 0;
    error_set(err, "%s; --no-aliases does without", why.text);
    return -1;
}

static void assume_where(struct replay *replay, const struct policy *policy, enum limit_count count,
                         const char *what)
{
    bool asked = false;
    for (size_t i = 0; i < policy->n_limits; i++)
        asked = asked || policy->limits[i].count == count;
    size_t used = strlen(replay->assumption);
    if (asked)
        snprintf(replay->assumption + used, sizeof replay->assumption - used, "%s", what);
}

/* A log does not tell what waited when, nor what a client declared. */
static void assume_of_limits(struct replay *replay, const struct policy *policy)
{
    assume_where(replay, policy, LIMIT_BACKLOG, "; with an empty queue: no limit on the backlog refuses");
    assume_where(replay, policy, LIMIT_BYTES,
                 "; with the sizes of what was taken: what was refused has none, and limits on bytes refuse "
                 "less of it");
}

int replay_run_init(struct replay *replay, const char *file, int index, bool aliases, struct error *err)
{
    *replay = (struct replay){.file = file, .index = index, .assumed = replay->assumption};
    const struct policy *policy = policy_alone(file, aliases, err);
    if (policy == NULL)
        return -1;
    const char *database = policy->aliases.database;
    if (database == NULL) {
        snprintf(replay->assumption, sizeof replay->assumption, "%s",
                 aliases ? "no alias rules: the policy names none" : "no alias rules: --no-aliases");
    } else if (access(database, F_OK) < 0) {
        snprintf(replay->assumption, sizeof replay->assumption, "no alias rules: %s does not exist",
                 database);
        policy_unref(policy);
        policy = policy_alone(file, false, err);
        if (policy == NULL)
            return -1;
    } else {
        snprintf(replay->assumption, sizeof replay->assumption, "the alias rules of now: %s", database);
    }
    assume_of_limits(replay, policy);
    replay->shadow = policy->shadow;
    session_list_init(&replay->sessions, &replay->gate);
    if (gate_init(&replay->gate, policy, NULL, err) < 0)
        return -1;
    replay->gate.context.now_ms = virtual_now;
    replay->gate.context.now_arg = replay;
    replay->srs.rules = replay->gate.rules;
    replay->causes = totals_new();
    replay->refused = totals_new();
    if (replay->causes == NULL || replay->refused == NULL) {
        error_set(err, "out of memory");
        return -1;
    }
    return check_rules(replay, err);
}

/* --- messages --- */

static void open_unlink(struct replay *replay, struct replay_open *open)
{
    if (open->previous != NULL)
        open->previous->next = open->next;
    else
        replay->open_first = open->next;
    if (open->next != NULL)
        open->next->previous = open->previous;
    else
        replay->open_last = open->previous;
    open->next = open->previous = NULL;
    replay->n_open--;
}

static void open_append(struct replay *replay, struct replay_open *open)
{
    open->previous = replay->open_last;
    if (open->previous != NULL)
        open->previous->next = open;
    else
        replay->open_first = open;
    replay->open_last = open;
    replay->n_open++;
}

static void message_finish(struct replay *replay, struct replay_open *open, bool abort)
{
    struct replay_message *message = open->message;
    if (abort) {
        message_abort(&open->session->message);
    } else {
        if (message->size > 0)
            message_bytes(&open->session->message, (size_t)message->size);
        struct ending ending; /* nothing: a log tells the size, and so it was declared */
        message_end(&open->session->message, &ending);
    }
    message->open[replay->index] = NULL;
    open->message = NULL;
    pool_reset(&open->proof);
    open_unlink(replay, open);
    open->next = replay->idle;
    replay->idle = open;
}

static struct replay_open *open_new(struct replay *replay)
{
    struct replay_open *open = replay->idle;
    if (open != NULL) {
        replay->idle = open->next;
        open->next = NULL;
        return open;
    }
    open = calloc(1, sizeof *open);
    if (open != NULL && (open->session = session_new(&replay->sessions)) == NULL) {
        free(open);
        open = NULL;
    }
    if (open != NULL) {
        open->all_next = replay->all;
        replay->all = open;
    }
    return open;
}

static const char *in_brackets(struct pool *pool, const char *address)
{
    return address != NULL && address[0] == '<' ? address
                                                : pool_printf(pool, "<%s>", address != NULL ? address : "");
}

/* As MAIL FROM had it. */
static const char *sender_of(struct replay *replay, const struct replay_message *message)
{
    const char *sender = message->sender;
    if (sender != NULL && message->sender_queued)
        sender = srs_original(&replay->srs, sender);
    return in_brackets(&replay->pool, sender);
}

/* Each message stands for a connection: what was made of its session is not in the log. */
static struct replay_open *message_start(struct replay *replay, struct replay_message *message)
{
    if (replay->n_open >= OPEN_MAX) {
        message_finish(replay, replay->open_first, false);
        replay->early++;
    }
    struct replay_open *open = open_new(replay);
    if (open == NULL)
        return NULL;
    open->message = message;
    message->open[replay->index] = open;
    open_append(replay, open);
    session_connect(open->session, &message->client);
    open->connect = session_judge(open->session, &open->proof);
    const char *sender = sender_of(replay, message);
    session_mail(open->session, sender != NULL ? sender : "<>", NULL, message->user, message->size);
    return open;
}

/* --- answers --- */

/* The key of the counter that refused. */
static const char *counter_of(const struct decision *d)
{
    for (size_t i = 0; i < d->plan.request.n && d->answers != NULL; i++)
        if (d->plan.limits[i] == d->verdict.limit &&
            (d->answers[i].result == COUNT_OVER || d->answers[i].result == COUNT_HELD))
            return d->answers[i].overflowed ? d->plan.request.asks[i].overflow : d->plan.request.asks[i].key;
    return "";
}

static void describe(const struct verdict *verdict, const char *subject, struct replay_answer *answer)
{
    answer->action = verdict->action;
    answer->subject = subject;
    answer->what[0] = '\0';
    if (verdict->action == ACTION_ACCEPT)
        return;
    if (verdict->limit != NULL)
        snprintf(answer->what, sizeof answer->what, "limit %s", verdict->limit->name);
    else
        snprintf(answer->what, sizeof answer->what, "%s", verdict_by_name(verdict->by));
}

static void play_rcpt(struct replay *replay, struct replay_open *open, const char *recipient,
                      struct replay_answer *answer)
{
    struct outcome outcome;
    char client[NETWORK_TEXT];
    *answer = (struct replay_answer){.subject = ""};
    if (open->connect.action == ACTION_REJECT) {
        const char *proof = open->connect.proof;
        describe(&open->connect,
                 pool_strdup(&replay->pool, proof != NULL && proof[0] != '\0'
                                                ? proof
                                                : network_format(&open->message->client, client)),
                 answer);
    } else {
        const char *raw = in_brackets(&replay->pool, recipient);
        replay->gate.as_taken = !open->message->ends;
        session_rcpt(open->session, raw != NULL ? raw : recipient, recipient, &outcome);
        const struct decision *d = &outcome.decision;
        const char *subject = d->verdict.limit != NULL                                  ? counter_of(d)
                              : d->verdict.proof != NULL && d->verdict.proof[0] != '\0' ? d->verdict.proof
                                                                                        : d->recipient.full;
        describe(&d->verdict, subject, answer);
        answer->duplicate = outcome.duplicate;
        replay->shadowed += d->shadow.limit != NULL;
        if (d->verdict.action == ACTION_DEFER)
            (void)refunds_flush(replay->gate.refunds,
                                5000); /* what was left for later belongs to this moment */
    }
    replay->actions[answer->action]++;
    if (answer->what[0] != '\0') {
        char what[REPLAY_WHAT + 16];
        snprintf(what, sizeof what, "%s %s", action_name(answer->action), answer->what);
        totals_add(replay->causes, what, "", replay->now_ms);
        totals_add(replay->refused, what, answer->subject != NULL ? answer->subject : "", replay->now_ms);
    }
}

bool replay_run_play(struct replay *replay, const struct replay_event *event, struct replay_answer *answer)
{
    struct replay_open *open = event->message->open[replay->index];
    replay->now_ms = event->time_ms;
    pool_reset(&replay->pool);
    if (event->what != REPLAY_RCPT) {
        if (open != NULL)
            message_finish(replay, open, event->what == REPLAY_ABORT);
        return true;
    }
    if (open == NULL && (open = message_start(replay, event->message)) == NULL)
        return false;
    snprintf(replay->gate.context.host, sizeof replay->gate.context.host, "%s", event->message->host);
    play_rcpt(replay, open, event->recipient, answer);
    return true;
}

void replay_run_done(struct replay *replay)
{
    for (struct replay_open *open = replay->all; open != NULL; open = open->all_next)
        if (open->message != NULL)
            message_finish(replay, open, false);
    for (struct replay_open *open = replay->all, *next; open != NULL; open = next) {
        next = open->all_next;
        session_free(open->session);
        pool_done(&open->proof);
        free(open);
    }
    replay->all = replay->idle = NULL;
    if (replay->gate.context.policy != NULL)
        gate_done(&replay->gate);
    totals_free(replay->causes);
    totals_free(replay->refused);
    pool_done(&replay->pool);
}
