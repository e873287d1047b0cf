/* page_hour: see page_hour.h. Owns nothing but one plot at a time, and cannot fail. */
#include "page_hour.h"

#include "plot.h"

#include <inttypes.h>
#include <string.h>

_Static_assert((int)PLOT_POINTS == (int)HISTORY_MINUTES, "a bar is a minute");

static void plot_begin(struct plot *plot, const struct history_minute *hour, const char *title,
                       const char *unit)
{
    memset(plot, 0, sizeof *plot);
    plot->title = title;
    plot->unit = unit;
    for (size_t i = 0; i < PLOT_POINTS; i++) {
        plot->points[i].known = hour[i].minute > 0;
        plot->points[i].minute = hour[i].minute;
    }
}

static size_t series_add(struct plot *plot, const char *name, const char *class)
{
    plot->series[plot->n].name = name;
    plot->series[plot->n].class = class;
    return plot->n++;
}

/* Sums behind the names, and "14 accepted, 2 deferred" for each minute. */
static void say_sums(struct plot *plot)
{
    for (size_t s = 0; s < plot->n; s++) {
        double sum = 0;
        for (size_t i = 0; i < PLOT_POINTS; i++)
            sum += plot->points[i].at[s];
        plot->series[s].sum = sum;
        snprintf(plot->series[s].value, sizeof plot->series[s].value, "%.0f", sum);
    }
    for (size_t i = 0; i < PLOT_POINTS; i++) {
        size_t used = 0;
        char *says = plot->points[i].says;
        for (size_t s = 0; s < plot->n; s++) {
            int n = plot->points[i].at[s] > 0 && used < sizeof plot->points[i].says
                        ? snprintf(says + used, sizeof plot->points[i].says - used, "%s%.0f %s",
                                   used > 0 ? ", " : "", plot->points[i].at[s], plot->series[s].name)
                        : 0;
            used += n > 0 ? (size_t)n : 0;
        }
        if (used == 0)
            snprintf(says, sizeof plot->points[i].says, "none");
    }
}

static void print_answers(FILE *out, const struct history_minute *hour)
{
    static const struct {
        enum action action;
        const char *name, *class;
    } rows[] = {{ACTION_ACCEPT, "accepted", "good"},
                {ACTION_DEFER, "deferred", "warn"},
                {ACTION_REJECT, "rejected", "bad"},
                {ACTION_DISCARD, "dropped", "dim"}};
    struct plot plot;
    plot_begin(&plot, hour, "What was answered", "recipients a minute");
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        size_t s = series_add(&plot, rows[r].name, rows[r].class);
        for (size_t i = 0; i < PLOT_POINTS; i++)
            plot.points[i].at[s] = hour[i].answered[rows[r].action];
    }
    say_sums(&plot);
    plot_print(out, &plot);
}

static void print_refused(FILE *out, const struct history_minute *hour)
{
    static const struct {
        const char *name, *class;
        unsigned bys;
    } rows[] = {{"by limits", "c1", 1U << VERDICT_BY_LIMIT},
                {"by alias rules, or unknown", "c2", 1U << VERDICT_BY_ALIAS},
                {"by sender rules", "c3", 1U << VERDICT_BY_SENDER_RULE},
                {"by client rules and blocks", "c4", 1U << VERDICT_BY_CLIENT_RULE | 1U << VERDICT_BY_BLOCK},
                {"no valid address", "c5", 1U << VERDICT_BY_ADDRESS},
                {"for a fault, or on a ramp", "c6", 1U << VERDICT_BY_BACKEND | 1U << VERDICT_BY_RAMP}};
    struct plot plot;
    plot_begin(&plot, hour, "What was refused or dropped, and why", "a minute");
    plot.hides_zeros = true;
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        size_t s = series_add(&plot, rows[r].name, rows[r].class);
        for (size_t i = 0; i < PLOT_POINTS; i++)
            for (int by = 0; by < METRICS_BYS; by++)
                if ((rows[r].bys & 1U << by) != 0)
                    plot.points[i].at[s] += hour[i].refused[by];
    }
    say_sums(&plot);
    plot_print(out, &plot);
}

static double ms_of(uint64_t ns)
{
    return (double)ns / 1e6;
}

static void print_decisions(FILE *out, const struct history_minute *hour)
{
    struct plot plot;
    uint64_t sum_ns = 0, max_ns = 0, n = 0;
    plot_begin(&plot, hour, "How long decisions took", "ms");
    size_t mean = series_add(&plot, "on average", "good"), slowest = series_add(&plot, "the slowest", "dim");
    for (size_t i = 0; i < PLOT_POINTS; i++) {
        double average = hour[i].decisions > 0 ? ms_of(hour[i].sum_ns) / hour[i].decisions : 0;
        double most = ms_of(hour[i].max_ns) > average ? ms_of(hour[i].max_ns) : average;
        plot.points[i].at[mean] = average;
        plot.points[i].at[slowest] = most - average;
        snprintf(plot.points[i].says, sizeof plot.points[i].says, "%.2f ms on average, %.1f ms the slowest",
                 average, most);
        sum_ns += hour[i].sum_ns;
        n += hour[i].decisions;
        max_ns = hour[i].max_ns > max_ns ? hour[i].max_ns : max_ns;
    }
    snprintf(plot.series[mean].value, sizeof plot.series[mean].value, "%.2f ms",
             n > 0 ? ms_of(sum_ns) / (double)n : 0);
    snprintf(plot.series[slowest].value, sizeof plot.series[slowest].value, "%.1f ms", ms_of(max_ns));
    plot_print(out, &plot);
}

static void print_queue(FILE *out, const struct history_minute *hour)
{
    struct plot plot;
    int64_t last = -1;
    plot_begin(&plot, hour, "What waited in Postfix's queue", "messages");
    size_t s = series_add(&plot, "messages, the last time", "c2");
    for (size_t i = 0; i < PLOT_POINTS; i++) {
        plot.points[i].known = hour[i].queue >= 0;
        plot.points[i].at[s] = hour[i].queue > 0 ? (double)hour[i].queue : 0;
        snprintf(plot.points[i].says, sizeof plot.points[i].says, "%" PRId64 " message%s", hour[i].queue,
                 hour[i].queue == 1 ? "" : "s");
        last = hour[i].queue >= 0 ? hour[i].queue : last;
    }
    snprintf(plot.series[s].value, sizeof plot.series[s].value, "%" PRId64, last);
    if (last >= 0)
        plot_print(out, &plot);
}

void page_hour_print(FILE *out, const struct history_minute hour[HISTORY_MINUTES])
{
    fputs("<h2>The last hour</h2>\n<div class=\"plots\">\n", out);
    print_answers(out, hour);
    print_refused(out, hour);
    print_decisions(out, hour);
    print_queue(out, hour);
    fputs("</div>\n", out);
}
