#include "gate.h"

#include "block_log.h"
#include "clock.h"
#include "session.h"
#include "state_dir.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    MEMORY_SUBJECTS = 500000,
    MIRROR_SUBJECTS = 200000, /* beside Redis: some 160 bytes each with one limit */
};

static int64_t system_now(void *arg)
{
    (void)arg;
    return clock_now_ms();
}

int64_t gate_now(const struct gate *gate)
{
    return gate->now_ms(gate->now_arg);
}

static int64_t clock_of(void *gate)
{
    return gate_now(gate); /* the clock that charged must be the one that gives back */
}

static int counts_init(struct gate *gate, const struct counters_config *config, counts_event_fn *event,
                       struct error *err)
{
    bool alone = config->kind == COUNTERS_MEMORY;
    struct counts *memory = counts_memory_new(alone ? MEMORY_SUBJECTS : MIRROR_SUBJECTS);
    if (memory == NULL) {
        error_set(err, "out of memory for the counters");
        return -1;
    }
    if (alone) {
        gate->counts = memory;
        return 0;
    }
    struct counts_redis_config redis = {
        .host = config->host,
        .path = config->path,
        .port = config->port,
        .db = config->db,
        .user = config->user,
        .password = config->password,
        .password_file = config->password_file,
        .prefix = config->prefix,
        .timeout_ms = config->timeout_ms,
    };
    struct counts *far = NULL;
    if (config->kind != COUNTERS_NONE && (far = counts_redis_new(&redis, event, gate, err)) == NULL) {
        counts_free(memory);
        return -1;
    }
    gate->counts = counts_pair_new(far, memory, clock_of, gate, err);
    if (gate->counts == NULL)
        return -1;
    gate->redis = far;
    gate->local = memory;
    return 0;
}

/* What changes in the table of troubles is an event; notes are not worth one. */
static void on_trouble(void *arg, enum trouble trouble, bool set, const char *text)
{
    struct gate *gate = arg;
    char name[64];
    if (!set && (trouble == TROUBLE_COUNTERS || trouble == TROUBLE_ALIASES))
        ramp_clock_begin(&gate->ramp, gate, trouble_name(trouble));
    if (trouble_get(&gate->troubles, trouble).grade == TROUBLE_NOTE)
        return;
    snprintf(name, sizeof name, "%s-%s", trouble_name(trouble), set ? "trouble" : "well");
    const struct event_field fields[] = {{"text", text}};
    events_add(gate->events, gate_now(gate), name, fields, 1);
}

static int events_init(struct gate *gate, struct error *err)
{
    gate->events = events_new(gate->host, err);
    gate->troubles.changed = on_trouble;
    gate->troubles.arg = gate;
    return gate->events != NULL ? 0 : -1;
}

static int rules_init(struct gate *gate, const struct policy *policy)
{
    char copy[STATE_DIR_PATH];
    state_dir_path(policy->state, STATE_DIR_ALIASES_COPY, copy);
    const struct ruledb_config config = {.path = policy->aliases.database,
                                         .copy_path = copy,
                                         .max_stale_ms = policy->aliases.max_stale_ms,
                                         .max_shrink = policy->aliases.max_shrink};
    gate->rules = ruledb_new(&config);
    return gate->rules != NULL ? 0 : -1;
}

int gate_init(struct gate *gate, const struct policy *policy, counts_event_fn *event, struct error *err)
{
    *gate = (struct gate){.policy = policy, .now_ms = system_now};
    pthread_mutex_init(&gate->lock, NULL);
    troubles_init(&gate->troubles);
    metrics_init(&gate->metrics);
    metrics_know(&gate->metrics, policy);
    gate->started_ms = gate->policy_since_ms = gate_now(gate);
    if (gethostname(gate->host, sizeof gate->host - 1) < 0)
        memcpy(gate->host, "localhost", sizeof "localhost");
    if (events_init(gate, err) < 0 || counts_init(gate, &policy->counters, event, err) < 0 ||
        events_start(gate->events, gate->redis, err) < 0)
        return -1;
    const struct blocks_config blocks = {
        .redis = gate->redis,
        .prefix = policy->counters.prefix,
        .host = gate->host,
        .now_ms = clock_of,
        .event = block_log_event,
        .arg = gate,
    };
    if ((gate->blocks = blocks_new(&blocks, err)) == NULL)
        return -1;
    if (policy->aliases.database != NULL && rules_init(gate, policy) < 0) {
        error_set(err, "out of memory for the alias rules");
        return -1;
    }
    gate->backlog = backlog_new(gate, err);
    if (gate->backlog == NULL)
        return -1;
    gate->later = later_new(clock_of, gate, err);
    return gate->later != NULL ? 0 : -1;
}

void gate_done(struct gate *gate)
{
    backlog_stop(gate->backlog);
    later_free(gate->later, 1000);
    blocks_free(gate->blocks);
    events_stop(gate->events, 500);
    counts_free(gate->counts);
    ruledb_free(gate->rules);
    backlog_free(gate->backlog);
    policy_unref(gate->policy);
    troubles_done(&gate->troubles);
    events_free(gate->events);
    metrics_done(&gate->metrics);
    gate->later = NULL;
    gate->events = NULL;
    gate->counts = gate->local = NULL;
    gate->rules = NULL;
    gate->backlog = NULL;
    gate->policy = NULL;
    gate->stopping = true; /* the lock stays: a callback that comes late asks whether it may enter */
}

const struct policy *gate_policy(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    const struct policy *policy = policy_ref(gate->policy);
    pthread_mutex_unlock(&gate->lock);
    return policy;
}

void gate_set_policy(struct gate *gate, const struct policy *policy)
{
    metrics_know(&gate->metrics, policy);
    ruledb_configure(gate->rules, policy->aliases.max_stale_ms, policy->aliases.max_shrink);
    pthread_mutex_lock(&gate->lock);
    const struct policy *old = gate->policy;
    gate->policy = policy;
    gate->policy_since_ms = gate_now(gate);
    pthread_mutex_unlock(&gate->lock);
    policy_unref(old);
}

bool gate_enter(struct gate *gate, struct session *session)
{
    atomic_store(&session->busy,
                 true); /* said before it is looked: gate_stop() does it the other way round */
    if (atomic_load(&gate->stopping)) {
        atomic_store(&session->busy, false);
        return false;
    }
    session->entered_ns = clock_monotonic_ns();
    return true;
}

void gate_leave(struct gate *gate, struct session *session)
{
    metrics_callback(&gate->metrics, clock_monotonic_ns() - session->entered_ns);
    atomic_store_explicit(&session->busy, false, memory_order_release);
}

/* With the lock held. */
static bool any_busy(const struct gate *gate)
{
    for (const struct session *s = gate->sessions; s != NULL; s = s->next)
        if (atomic_load(&s->busy))
            return true;
    return false;
}

bool gate_stop(struct gate *gate, int wait_ms)
{
    enum { FLUSH_MS = 2000 };
    atomic_store(&gate->stopping, true);
    pthread_mutex_lock(&gate->lock);
    bool idle = !any_busy(gate);
    for (int waited = 0; waited < wait_ms && !idle; waited++) {
        pthread_mutex_unlock(&gate->lock);
        usleep(1000);
        pthread_mutex_lock(&gate->lock);
        idle = !any_busy(gate);
    }
    for (struct session *s = gate->sessions; s != NULL; s = s->next)
        if (idle || !atomic_load(&s->busy)) /* who comes now is being turned away, and busy for a moment */
            message_leave(s);
    pthread_mutex_unlock(&gate->lock);
    (void)later_flush(gate->later, FLUSH_MS); /* what is left ends with its window */
    return idle;
}
