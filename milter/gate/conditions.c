/* conditions: the table of what can be wrong, and what is (see conditions.h). A change is logged and passed on
 * outside the lock. Cannot fail: a text too long is cut. */
#include "gate/conditions.h"

#include "sys/log.h"
#include "base/text.h"
#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *title, *meaning; /* the text says what to do */
} table[CONDITIONS] = {
    [CONDITION_COUNTERS] = {"counters", "Counter store", NULL}, /* the policy says: when_down */
    [CONDITION_COUNTERS_SHARD] = {"counters-shard", "Counter store, a part of it",
                                  NULL}, /* the same, of that part */
    [CONDITION_COUNTERS_WARNING] = {"counters-evict", "Counter store, a warning",
                                    "It answers; until it is mended, what it counts or keeps may be lost."},
    [CONDITION_COUNTERS_LOCAL] = {"counters-local", "Counters beside Redis",
                                  "Redis counts all; should it fail, limits start from less."},
    [CONDITION_ALIASES] = {"aliases", "Alias database",
                           "No recipient is answered 550 for being unknown until it is mended: 451 instead."},
    [CONDITION_ALIASES_REFUSED] = {"aliases-refused", "New alias data was not taken",
                                   "The data from before goes on answering."},
    [CONDITION_ALIASES_COPY] = {"aliases-copy", "Last good copy of the aliases",
                                "Mail is not affected, as long as the database can be read."},
    [CONDITION_ALIASES_MAILBOX] = {"aliases-mailbox", "Mail that cannot be delivered",
                                   "What is accepted there bounces, to whoever is named as its sender."},
    [CONDITION_POLICY] = {"policy", "Policy file",
                          "Whatever is changed in the file waits until it is mended."},
    [CONDITION_POLICY_ENTRIES] = {"policy-entries", "Entries of the policy",
                                  "All other entries are in force."},
    [CONDITION_POLICY_COPY] =
        {"policy-copy", "Last good copy of the policy",
         "Mail is not affected; should the file break, a restart finds no good policy to go on with."},
    [CONDITION_RESTART] = {"restart", "A restart is due", "Until then the gate goes on as it was started."},
    [CONDITION_BLOCKS] =
        {"blocks", "Blocks",
         "Blocks in force stay so; new ones may be missing after a restart, or on other hosts."},
    [CONDITION_HOLDS] = {"holds", "Holds", "What is held stays so; a restart lets in what it does not find."},
    [CONDITION_QUEUE] = {"queue", "Postfix's queue",
                         "Limits that count the backlog go by old numbers for a while, then refuse nothing."},
    [CONDITION_STATE] = {"state", "State directory",
                         "Mail is not affected; a restart may find less than it should."},
    [CONDITION_DECISION] = {"decision", "Decisions", "Recipients are answered 451."},
    [CONDITION_LOG] = {"log", "Log", "Mail is not affected; decisions are missing from the log."},
    [CONDITION_HTTP] = {"http", "HTTP port",
                        "Mail is not affected; metrics and health cannot be read over HTTP."},
    [CONDITION_ROOT] = {"root", "Rights",
                        "Mail is not affected; a fault in the gate could harm the whole host."},
    [CONDITION_SOCKET] = {"socket", "Milter socket",
                          "As long as Postfix cannot reach the gate it answers 451."},
    [CONDITION_MAPS] = {"maps", "Map socket",
                        "As long as Postfix cannot ask its maps of the gate it answers 451."},
};

const char *conditions_name(enum condition condition)
{
    return table[condition].name;
}

const char *conditions_title(enum condition condition)
{
    return table[condition].title;
}

const char *conditions_meaning(enum condition condition, const struct policy *policy)
{
    static const char *const down[] = {
        [WHEN_DOWN_LOCAL] = "Limits go on in this process alone; mail flows.",
        [WHEN_DOWN_DEFER] = "Every recipient that meets a limit gets 451 until it is mended (when_down).",
        [WHEN_DOWN_ACCEPT] = "No limit holds until it is mended (when_down); mail flows.",
    };
    static const char *const partly[] = {
        [WHEN_DOWN_LOCAL] = "Limits on what is counted there go on in this process alone; mail flows.",
        [WHEN_DOWN_DEFER] =
            "Recipients that meet a limit on what is counted there get 451 until it is mended (when_down).",
        [WHEN_DOWN_ACCEPT] =
            "Limits on what is counted there do not hold until it is mended (when_down); mail flows.",
    };
    return condition == CONDITION_COUNTERS         ? down[policy->counters.when_down]
           : condition == CONDITION_COUNTERS_SHARD ? partly[policy->counters.when_down]
                                                   : table[condition].meaning;
}

enum condition_grade conditions_counters_grade(const struct policy *policy)
{
    bool defers = policy->counters.when_down == WHEN_DOWN_DEFER && policy->n_limits > 0;
    return defers ? CONDITION_DOWN : CONDITION_DEGRADED;
}

void conditions_init(struct conditions *conditions)
{
    *conditions = (struct conditions){0};
    pthread_mutex_init(&conditions->lock, NULL);
}

void conditions_done(struct conditions *conditions)
{
    pthread_mutex_destroy(&conditions->lock);
}

static void notify(struct conditions *conditions, enum condition condition, bool set,
                   enum condition_grade grade, const char *text)
{
    char line[1200];
    struct text quoted;
    text_init(&quoted, line, sizeof line);
    text_add_quoted(&quoted, text);
    log_line(!set                      ? LOG_AT_WARNING
             : grade == CONDITION_NOTE ? LOG_AT_WARNING
                                       : LOG_AT_ERROR,
             "event=%s-%s text=%s", conditions_name(condition), set ? "trouble" : "well", line);
    if (conditions->changed != NULL)
        conditions->changed(conditions->arg, condition, set, text);
}

void conditions_set(struct conditions *conditions, enum condition condition, enum condition_grade grade,
                    int64_t now_ms, const char *format, ...)
{
    char text[sizeof conditions->rows[0].text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    utf8_clean(text);

    pthread_mutex_lock(&conditions->lock);
    struct condition_row *row = &conditions->rows[condition];
    bool changed = !row->set || strcmp(row->text, text) != 0;
    if (!row->set) {
        row->since_ms = now_ms;
        row->times++;
    }
    row->set = true;
    row->grade = grade;
    memcpy(row->text, text, sizeof text);
    pthread_mutex_unlock(&conditions->lock);
    if (changed)
        notify(conditions, condition, true, grade, text);
}

void conditions_clear(struct conditions *conditions, enum condition condition, int64_t now_ms)
{
    char text[64];
    pthread_mutex_lock(&conditions->lock);
    struct condition_row *row = &conditions->rows[condition];
    bool changed = row->set;
    if (changed) {
        snprintf(text, sizeof text, "well again after %lld s", (long long)((now_ms - row->since_ms) / 1000));
        row->set = false;
        row->cleared_ms = now_ms;
    }
    pthread_mutex_unlock(&conditions->lock);
    if (changed)
        notify(conditions, condition, false, CONDITION_NOTE, text);
}

void conditions_follow(struct conditions *conditions, enum condition condition, enum condition_grade grade,
                       int64_t now_ms, const struct error *err)
{
    if (err->text[0] != '\0')
        conditions_set(conditions, condition, grade, now_ms, "%s", err->text);
    else
        conditions_clear(conditions, condition, now_ms);
}

struct condition_row conditions_get(struct conditions *conditions, enum condition condition)
{
    pthread_mutex_lock(&conditions->lock);
    struct condition_row row = conditions->rows[condition];
    pthread_mutex_unlock(&conditions->lock);
    return row;
}
