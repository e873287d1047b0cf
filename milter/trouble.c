#include "trouble.h"

#include "log.h"
#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const names[TROUBLES] = {
    [TROUBLE_COUNTERS] = "counters",
    [TROUBLE_COUNTERS_EVICT] = "counters-evict",
    [TROUBLE_ALIASES] = "aliases",
    [TROUBLE_ALIASES_REFUSED] = "aliases-refused",
    [TROUBLE_ALIASES_COPY] = "aliases-copy",
    [TROUBLE_POLICY] = "policy",
    [TROUBLE_POLICY_ENTRIES] = "policy-entries",
    [TROUBLE_POLICY_COPY] = "policy-copy",
    [TROUBLE_BLOCKS] = "blocks",
    [TROUBLE_QUEUE] = "queue",
    [TROUBLE_STATE] = "state",
    [TROUBLE_LOG] = "log",
    [TROUBLE_HTTP] = "http",
    [TROUBLE_SOCKET] = "socket",
};

const char *trouble_name(enum trouble trouble)
{
    return (unsigned)trouble < TROUBLES ? names[trouble] : "unknown";
}

enum trouble_grade trouble_counters_grade(const struct policy *policy)
{
    bool defers = policy->counters.when_down == WHEN_DOWN_DEFER && policy->n_limits > 0;
    return defers ? TROUBLE_DOWN : TROUBLE_DEGRADED;
}

void troubles_init(struct troubles *troubles)
{
    *troubles = (struct troubles){0};
    pthread_mutex_init(&troubles->lock, NULL);
}

void troubles_done(struct troubles *troubles)
{
    pthread_mutex_destroy(&troubles->lock);
}

static void tell(struct troubles *troubles, enum trouble trouble, bool set, enum trouble_grade grade,
                 const char *text)
{
    char line[1200];
    struct text quoted;
    text_init(&quoted, line, sizeof line);
    text_add_quoted(&quoted, text);
    log_line(!set                    ? LOG_AT_WARNING
             : grade == TROUBLE_NOTE ? LOG_AT_WARNING
                                     : LOG_AT_ERROR,
             "event=%s-%s text=%s", trouble_name(trouble), set ? "trouble" : "well", line);
    if (troubles->changed != NULL)
        troubles->changed(troubles->arg, trouble, set, text);
}

void trouble_set(struct troubles *troubles, enum trouble trouble, enum trouble_grade grade, int64_t now_ms,
                 const char *format, ...)
{
    char text[sizeof troubles->rows[0].text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);

    pthread_mutex_lock(&troubles->lock);
    struct trouble_row *row = &troubles->rows[trouble];
    bool changed = !row->set || strcmp(row->text, text) != 0;
    if (!row->set) {
        row->since_ms = now_ms;
        row->times++;
    }
    row->set = true;
    row->grade = grade;
    memcpy(row->text, text, sizeof text);
    pthread_mutex_unlock(&troubles->lock);
    if (changed)
        tell(troubles, trouble, true, grade, text);
}

void trouble_clear(struct troubles *troubles, enum trouble trouble, int64_t now_ms)
{
    char text[64];
    pthread_mutex_lock(&troubles->lock);
    struct trouble_row *row = &troubles->rows[trouble];
    bool changed = row->set;
    snprintf(text, sizeof text, "well again after %lld s", (long long)((now_ms - row->since_ms) / 1000));
    if (changed) {
        row->set = false;
        row->cleared_ms = now_ms;
    }
    pthread_mutex_unlock(&troubles->lock);
    if (changed)
        tell(troubles, trouble, false, TROUBLE_NOTE, text);
}

void trouble_follow(struct troubles *troubles, enum trouble trouble, enum trouble_grade grade, int64_t now_ms,
                    const struct error *err)
{
    if (err->text[0] != '\0')
        trouble_set(troubles, trouble, grade, now_ms, "%s", err->text);
    else
        trouble_clear(troubles, trouble, now_ms);
}

struct trouble_row trouble_get(struct troubles *troubles, enum trouble trouble)
{
    pthread_mutex_lock(&troubles->lock);
    struct trouble_row row = troubles->rows[trouble];
    pthread_mutex_unlock(&troubles->lock);
    return row;
}
