/* health: see health.h. */
#include "health.h"

#include "clock.h"
#include "decide.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const char canary_recipient[] = "rcptgate-canary@rcptgate.invalid";
static const char canary_key[] = "canary:{rcptgate}";

struct canary {
    struct verdict verdict;
    enum rows_state rows;
    enum counts_status counts;
    enum counts_source source;
    int64_t ns;
};

const char *health_word(enum trouble_grade grade)
{
    static const char *const words[] = {
        [TROUBLE_NOTE] = "healthy", [TROUBLE_DEGRADED] = "degraded", [TROUBLE_DOWN] = "down"};
    return words[grade];
}

enum trouble_grade health_grade(const json_t *report)
{
    const char *word = json_string_value(json_object_get(report, "status"));
    for (int grade = TROUBLE_NOTE; word != NULL && grade <= TROUBLE_DEGRADED; grade++)
        if (strcmp(word, health_word((enum trouble_grade)grade)) == 0)
            return (enum trouble_grade)grade;
    return TROUBLE_DOWN;
}

/* What a person calls it. */
static const char *title(enum trouble trouble)
{
    static const char *const titles[TROUBLES] = {
        [TROUBLE_COUNTERS] = "Counter store",
        [TROUBLE_COUNTERS_EVICT] = "Counter store, a warning",
        [TROUBLE_ALIASES] = "Alias database",
        [TROUBLE_ALIASES_REFUSED] = "New alias data was not taken",
        [TROUBLE_ALIASES_COPY] = "Last good copy of the aliases",
        [TROUBLE_POLICY] = "Policy file",
        [TROUBLE_POLICY_ENTRIES] = "Entries of the policy",
        [TROUBLE_POLICY_COPY] = "Last good copy of the policy",
        [TROUBLE_BLOCKS] = "Blocks",
        [TROUBLE_QUEUE] = "Postfix's queue",
        [TROUBLE_STATE] = "State directory",
        [TROUBLE_LOG] = "Log",
        [TROUBLE_HTTP] = "HTTP port",
        [TROUBLE_SOCKET] = "Milter socket",
    };
    return titles[trouble] != NULL ? titles[trouble] : trouble_name(trouble);
}

/* What it means for mail. The trouble's own text says what to do. */
static const char *meaning(const struct policy *policy, enum trouble trouble)
{
    static const char *const down[] = {
        [WHEN_DOWN_LOCAL] = "Limits go on in this process alone; mail flows.",
        [WHEN_DOWN_DEFER] = "Every recipient that meets a limit gets 451 until it is mended (when_down).",
        [WHEN_DOWN_ACCEPT] = "No limit holds until it is mended (when_down); mail flows.",
    };
    static const char *const means[TROUBLES] = {
        [TROUBLE_COUNTERS_EVICT] = "It answers; until it is mended, what it counts or keeps may be lost.",
        [TROUBLE_ALIASES] = "No recipient is answered 550 for being unknown until it is mended: 451 instead.",
        [TROUBLE_ALIASES_REFUSED] = "The data from before goes on answering.",
        [TROUBLE_ALIASES_COPY] = "Mail is not affected, as long as the database can be read.",
        [TROUBLE_POLICY] = "Whatever is changed in the file waits until it is mended.",
        [TROUBLE_POLICY_ENTRIES] = "All other entries are in force.",
        [TROUBLE_POLICY_COPY] =
            "Mail is not affected; should the file break, a restart finds no good policy to go on with.",
        [TROUBLE_BLOCKS] =
            "Blocks in force stay so; new ones may be missing after a restart, or on other hosts.",
        [TROUBLE_QUEUE] = "Limits that count the backlog go by old numbers for a while, then refuse nothing.",
        [TROUBLE_STATE] = "Mail is not affected; a restart may find less than it should.",
        [TROUBLE_LOG] = "Mail is not affected; decisions are missing from the log.",
        [TROUBLE_HTTP] = "Mail is not affected; metrics and health cannot be read over HTTP.",
        [TROUBLE_SOCKET] = "As long as Postfix cannot reach the gate it answers 451.",
    };
    const char *text = trouble == TROUBLE_COUNTERS ? down[policy->counters.when_down] : means[trouble];
    return text != NULL ? text : "";
}

json_t *health_reason(const struct policy *policy, enum trouble trouble, enum trouble_grade grade,
                      int64_t since_ms, int64_t now_ms, const char *text)
{
    char since[CLOCK_TEXT];
    int64_t passed = now_ms > since_ms ? now_ms - since_ms : 0;
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:s}", "what", trouble_name(trouble), "title",
                     title(trouble), "grade", grade == TROUBLE_NOTE ? "note" : health_word(grade), "since",
                     clock_text(since_ms, since), "for_s", (json_int_t)(passed / 1000), "text", text, "means",
                     meaning(policy, trouble));
}

/* ---- the canary ---- */

static enum rows_state ask_rules(struct gate *gate, const struct address *recipient, struct pool *pool)
{
    struct alias_rows rows = {0};
    struct alias_query query;
    if (gate->rules == NULL)
        return ROWS_LIVE;
    if (rules_alias_query(recipient, pool, &query) < 0)
        return ROWS_UNKNOWN;
    struct ruledb_snapshot snapshot = ruledb_begin(gate->rules);
    ruledb_alias(&snapshot, &query, pool, &rows);
    ruledb_end(&snapshot);
    return rows.state;
}

static enum counts_status ask_counts(struct gate *gate)
{
    const struct count_ask ask = {.key = canary_key,
                                  .limit = "canary",
                                  .max = 1,
                                  .window_ms = 1000,
                                  .amount = 1,
                                  .need = 1,
                                  .share_of = -1};
    const struct count_request request = {.asks = &ask, .n = 1};
    struct count_answer answer;
    return counts_peek(gate->counts, &request, context_now(&gate->context), &answer);
}

static struct canary canary_fly(struct gate *gate, const struct policy *policy)
{
    const struct network nowhere = {0};
    const struct address nobody = {.kind = ADDRESS_NULL};
    const struct facts facts = {.client = &nowhere,
                                .sender = &nobody,
                                .sender_raw = "<>",
                                .recipient = canary_recipient,
                                .resolved = true,
                                .size = -1};
    struct pool pool = {0};
    struct decision decision;
    struct canary canary = {0};
    int64_t began = clock_monotonic_ns();
    decide_recipient(policy, facts.recipient, &decision);
    decide(gate, policy, &facts, true, &pool, &decision);
    canary.ns = clock_monotonic_ns() - began;
    canary.rows = ask_rules(gate, &decision.recipient, &pool);
    canary.verdict = decision.verdict;
    canary.verdict.proof = NULL; /* the pool's */
    canary.source = decision.source;
    canary.counts = ask_counts(gate);
    pool_done(&pool);
    return canary;
}

static json_t *canary_json(const struct canary *canary)
{
    static const char *const statuses[] = {"answer", "down", "unsure"};
    static const char *const rows[] = {"unknown", "live", "copy"};
    return json_pack("{s:s, s:s, s:s, s:s, s:f}", "verdict", action_name(canary->verdict.action), "by",
                     verdict_by_name(canary->verdict.by), "counters", statuses[canary->counts], "aliases",
                     rows[canary->rows], "decision_ms", (double)canary->ns / 1e6);
}

/* ---- the reasons ---- */

struct findings {
    const struct policy *policy;
    int64_t now_ms;
    json_t *reasons, *notes;
    enum trouble_grade worst;
    bool seen[TROUBLES], failed;
};

static void find(struct findings *f, enum trouble trouble, enum trouble_grade grade, int64_t since_ms,
                 const char *text)
{
    json_t *reason = health_reason(f->policy, trouble, grade, since_ms, f->now_ms, text);
    json_t *list = grade == TROUBLE_NOTE ? f->notes : f->reasons;
    int rc;
    if (grade > f->worst) { /* the worst comes first */
        f->worst = grade;
        rc = json_array_insert_new(list, 0, reason);
    } else {
        rc = json_array_append_new(list, reason);
    }
    f->failed |= rc < 0;
    f->seen[trouble] = true;
}

static void find_troubles(struct findings *f, struct troubles *troubles)
{
    for (int t = 0; t < TROUBLES; t++) {
        const struct trouble_row row = trouble_get(troubles, (enum trouble)t);
        if (row.set)
            find(f, (enum trouble)t, row.grade, row.since_ms, row.text);
    }
}

/* What the canary met and nobody has noticed yet. */
static void find_by_canary(struct findings *f, struct gate *gate, const struct canary *canary)
{
    struct error err = {0};
    if (canary->counts != COUNTS_OK && !f->seen[TROUBLE_COUNTERS]) {
        counts_trouble(gate->counts, &err);
        error_set(&err, "the counter store does not answer in time");
        find(f, TROUBLE_COUNTERS, trouble_counters_grade(f->policy), f->now_ms, err.text);
    }
    if (canary->rows != ROWS_LIVE && !f->seen[TROUBLE_ALIASES] && !f->seen[TROUBLE_ALIASES_REFUSED]) {
        err = (struct error){0};
        ruledb_trouble(gate->rules, &err);
        error_set(&err, canary->rows == ROWS_COPY ? "the last good copy answers instead of the alias database"
                                                  : "a look-up in the alias database fails");
        find(f, TROUBLE_ALIASES, canary->rows == ROWS_COPY ? TROUBLE_DEGRADED : TROUBLE_DOWN, f->now_ms,
             err.text);
    }
    if (canary->verdict.by == VERDICT_BY_BACKEND && f->worst < TROUBLE_DOWN && canary->counts == COUNTS_OK &&
        canary->rows == ROWS_LIVE)
        find(f, TROUBLE_STATE, TROUBLE_DOWN, f->now_ms,
             "a decision failed though all parts are well: is the machine out of memory?");
}

json_t *health_report(struct gate *gate)
{
    char time[CLOCK_TEXT];
    const struct policy *policy = context_policy(&gate->context);
    const struct canary canary = canary_fly(gate, policy);
    struct findings f = {.policy = policy,
                         .now_ms = context_now(&gate->context),
                         .reasons = json_array(),
                         .notes = json_array()};
    find_troubles(&f, &gate->context.troubles);
    find_by_canary(&f, gate, &canary);
    policy_unref(policy);
    json_t *report = json_pack("{s:s, s:s, s:o, s:o, s:o}", "status", health_word(f.worst), "checked_at",
                               clock_text(f.now_ms, time), "canary", canary_json(&canary), "reasons",
                               f.reasons, "notes", f.notes);
    if (f.failed) {
        json_decref(report);
        report = NULL;
    }
    return report;
}
