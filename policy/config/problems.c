/* problems: the list belongs to the caller of config_load(). A problem that finds no memory is not in it, which whoever
 * adds it is told. */
#include "config/problems.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void problems_done(struct problems *problems)
{
    free(problems->at);
    *problems = (struct problems){0};
}

const char *problems_kind_name(enum problem_kind kind)
{
    static const char *const names[] = {
        [PROBLEM_WARNING] = "warning",
        [PROBLEM_FAILED] = "failed",
        [PROBLEM_SKIPPED] = "skipped",
        [PROBLEM_FATAL] = "unusable",
    };
    return names[kind];
}

/* A warning skips nothing; all else means that the file does not do what it says. */
int problems_status(const struct problems *problems)
{
    int status = 0;
    for (size_t i = 0; i < problems->n; i++) {
        if (problems->at[i].kind == PROBLEM_FATAL)
            return 78;
        if (problems->at[i].kind != PROBLEM_WARNING)
            status = 1;
    }
    return status;
}

struct problem *problems_append(struct problems *problems)
{
    struct problem *at = realloc(problems->at, (problems->n + 1) * sizeof *at);
    if (at == NULL)
        return NULL;
    problems->at = at;
    at += problems->n++;
    *at = (struct problem){0};
    return at;
}

void problems_vtext(struct problem *problem, const char *format, va_list args)
{
    char raw[sizeof problem->text];
    vsnprintf(raw, sizeof raw, format, args);
    struct text text;
    text_init(&text, problem->text, sizeof problem->text);
    text_add_printable(&text, raw);
}

void problems_sort(struct problems *problems, size_t first)
{
    /* Insertion sort: stable, the list is short, and it arrives nearly sorted. */
    struct problem *at = problems->at;
    for (size_t i = first + 1; i < problems->n; i++) {
        struct problem moved = at[i];
        size_t j = i;
        for (; j > first && moved.line > 0 && at[j - 1].line > moved.line; j--)
            at[j] = at[j - 1];
        at[j] = moved;
    }
}
