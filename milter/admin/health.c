/* health: the canary, and what it and the conditions say together (see health.h). Owns nothing; fails only for
 * want of memory. */
#include "admin/health.h"

#include "base/clock.h"
#include "milter/decide.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const char canary_recipient[] = "rcptgate-canary@rcptgate.invalid";
static const char canary_key[] = "canary:{rcptgate}";

struct canary {
    struct verdict verdict;
    enum rows_state rows;
    enum counters_status counters;
    enum count_source source;
    int64_t ns;
};

const char *health_word(enum condition_grade grade)
{
    static const char *const words[] = {
        [CONDITION_NOTE] = "healthy", [CONDITION_DEGRADED] = "degraded", [CONDITION_DOWN] = "down"};
    return words[grade];
}

enum condition_grade health_grade(const json_t *report)
{
    const char *word = json_string_value(json_object_get(report, "status"));
    for (int grade = CONDITION_NOTE; word != NULL && grade <= CONDITION_DEGRADED; grade++)
        if (strcmp(word, health_word((enum condition_grade)grade)) == 0)
            return (enum condition_grade)grade;
    return CONDITION_DOWN;
}

json_t *health_reason(const struct policy *policy, enum condition condition, enum condition_grade grade,
                      int64_t since_ms, int64_t now_ms, const char *text)
{
    char since[CLOCK_TEXT];
    int64_t passed = now_ms > since_ms ? now_ms - since_ms : 0;
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:s}", "what", conditions_name(condition), "title",
                     conditions_title(condition), "grade",
                     grade == CONDITION_NOTE ? "note" : health_word(grade), "since",
                     clock_text(since_ms, since), "for_s", (json_int_t)(passed / 1000), "text", text, "means",
                     conditions_meaning(condition, policy));
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
    struct aliases_reading reading = aliases_begin(gate->rules);
    aliases_alias(&reading, &query, pool, &rows);
    aliases_end(&reading);
    return rows.state;
}

static enum counters_status ask_counters(struct gate *gate)
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
    return counters_peek(gate->counters, &request, context_now(&gate->context), &answer);
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
    canary.counters = ask_counters(gate);
    pool_done(&pool);
    return canary;
}

static json_t *canary_json(const struct canary *canary)
{
    static const char *const statuses[] = {"answer", "down", "unsure"};
    static const char *const rows[] = {"unknown", "live", "copy"};
    return json_pack("{s:s, s:s, s:s, s:s, s:f}", "verdict", action_name(canary->verdict.action), "by",
                     verdict_by_name(canary->verdict.by), "counters", statuses[canary->counters], "aliases",
                     rows[canary->rows], "decision_ms", (double)canary->ns / 1e6);
}

/* ---- the reasons ---- */

struct findings {
    const struct policy *policy;
    int64_t now_ms;
    json_t *reasons, *notes;
    enum condition_grade worst;
    bool seen[CONDITIONS], failed;
};

static void find(struct findings *f, enum condition condition, enum condition_grade grade, int64_t since_ms,
                 const char *text)
{
    json_t *reason = health_reason(f->policy, condition, grade, since_ms, f->now_ms, text);
    json_t *list = grade == CONDITION_NOTE ? f->notes : f->reasons;
    int rc;
    if (grade > f->worst) { /* the worst comes first */
        f->worst = grade;
        rc = json_array_insert_new(list, 0, reason);
    } else {
        rc = json_array_append_new(list, reason);
    }
    f->failed |= rc < 0;
    f->seen[condition] = true;
}

static void find_conditions(struct findings *f, struct conditions *conditions)
{
    for (int t = 0; t < CONDITIONS; t++) {
        const struct condition_row row = conditions_get(conditions, (enum condition)t);
        if (row.set)
            find(f, (enum condition)t, row.grade, row.since_ms, row.text);
    }
}

/* What the canary met and nobody has noticed yet. */
static void find_by_canary(struct findings *f, struct gate *gate, const struct canary *canary)
{
    struct error err = {0};
    if (canary->counters != COUNTERS_OK && !f->seen[CONDITION_COUNTERS] &&
        !f->seen[CONDITION_COUNTERS_SHARD]) {
        counters_missing(gate->counters, &err);
        enum condition what = err.text[0] != '\0' ? CONDITION_COUNTERS_SHARD : CONDITION_COUNTERS;
        if (err.text[0] == '\0')
            counters_condition(gate->counters, &err);
        error_set(&err, "the counter store does not answer in time");
        find(f, what, conditions_counters_grade(f->policy), f->now_ms, err.text);
    }
    if (canary->rows != ROWS_LIVE && !f->seen[CONDITION_ALIASES] && !f->seen[CONDITION_ALIASES_REFUSED]) {
        err = (struct error){0};
        aliases_condition(gate->rules, &err);
        error_set(&err, canary->rows == ROWS_COPY ? "the last good copy answers instead of the alias database"
                                                  : "a look-up in the alias database fails");
        find(f, CONDITION_ALIASES, canary->rows == ROWS_COPY ? CONDITION_DEGRADED : CONDITION_DOWN, f->now_ms,
             err.text);
    }
    if (canary->verdict.by == VERDICT_BY_BACKEND && f->worst < CONDITION_DOWN &&
        canary->counters == COUNTERS_OK && canary->rows == ROWS_LIVE)
        find(f, CONDITION_DECISION, CONDITION_DOWN, f->now_ms,
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
    find_conditions(&f, &gate->context.conditions);
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
