/* refusals: see refusals.h. A table for each of the four under one lock; a row counts by the minute, and keeps what most of its
 * refusals have in common. Cannot fail: what memory is missing for is not counted. */
#include "gate/refusals.h"

#include "base/table.h"
#include "base/text.h"
#include "base/unzeroed.h"
#include "base/utf8.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SLOTS = REFUSALS_MINUTES + 1, /* the minute under way, and those before it */
    MINUTE_MS = 60000,
    LOOK = 8,         /* rows of which the least makes room */
    VOTES_MOST = 100, /* so that a flood that turns elsewhere is soon seen */
    PARTS = 4,
    PART_MAX = 250,
    KEY_MAX = PARTS * (PART_MAX + 1),
};

/* Which name most have, if one does (Boyer and Moore, "MJRTY: a fast majority vote algorithm"). */
struct most {
    char name[REFUSALS_NAME];
    unsigned votes;
};

struct row {
    struct table_row row; /* rule, row, "shadow" or "", who: each with its NUL, but the last */
    int64_t minute;       /* of the last refusal */
    unsigned n[SLOTS];
    struct most client, sender, recipient;
};

struct kind {
    struct table *rows;
    struct row *hand; /* where room is looked for next; NULL: at the beginning */
};

struct refusals {
    pthread_mutex_t lock; /* of all */
    struct kind kinds[REFUSALS_BYS];
};

const char *refusals_by_name(enum refusals_by by)
{
    static const char *const names[] = {"client", "sender", "rule", "subject"};
    return names[by];
}

struct refusals *refusals_new(void)
{
    struct refusals *refusals = calloc(1, sizeof *refusals);
    if (refusals == NULL)
        return NULL;
    pthread_mutex_init(&refusals->lock, NULL);
    for (int by = 0; by < REFUSALS_BYS; by++)
        refusals->kinds[by].rows = table_new(sizeof(struct row), REFUSALS_ROWS);
    for (int by = 0; by < REFUSALS_BYS; by++)
        if (refusals->kinds[by].rows == NULL) {
            refusals_free(refusals);
            return NULL;
        }
    return refusals;
}

void refusals_free(struct refusals *refusals)
{
    if (refusals == NULL)
        return;
    for (int by = 0; by < REFUSALS_BYS; by++)
        table_free(refusals->kinds[by].rows);
    pthread_mutex_destroy(&refusals->lock);
    free(refusals);
}

/* ---- a row ---- */

/* n: refusals that are still counted; who led those before has no more votes than that. */
static void most_vote(struct most *most, const char *name, unsigned n)
{
    if (name == NULL)
        return;
    if (most->votes > n)
        most->votes = n;
    if (most->votes == 0) {
        struct text text;
        text_init(&text, most->name, sizeof most->name);
        text_add(&text, name);
        most->votes = 1;
    } else if (strncmp(most->name, name, sizeof most->name - 1) != 0) {
        most->votes--;
    } else if (most->votes < VOTES_MOST) {
        most->votes++;
    }
}

/* Cleaned. Who is three quarters of n is named, who is named is half of it at least; "": nobody. False: there never was a name. */
static bool most_name(const struct most *most, unsigned n, char name[REFUSALS_NAME])
{
    unsigned of = n < VOTES_MOST ? n : VOTES_MOST;
    snprintf(name, REFUSALS_NAME, "%s", 2 * most->votes >= of ? most->name : "");
    utf8_clean(name);
    return most->name[0] != '\0';
}

static unsigned row_sum(const struct row *row, int64_t minute)
{
    unsigned sum = 0;
    for (int64_t m = minute; m > minute - SLOTS; m--)
        if (m >= 0 && m <= row->minute && m > row->minute - SLOTS)
            sum += row->n[m % SLOTS];
    return sum;
}

static void row_count(struct row *row, int64_t minute)
{
    for (int64_t m = row->minute + 1; m <= minute && m <= row->minute + SLOTS; m++)
        row->n[m % SLOTS] = 0;
    if (minute > row->minute + SLOTS)
        memset(row->n, 0, sizeof row->n);
    if (minute > row->minute)
        row->minute = minute;
    row->n[row->minute % SLOTS]++;
}

/* Of some rows the one that is seen least goes. Over many calls each row comes up; who is seen often is the least of none. */
static void make_room(struct kind *kind, int64_t minute)
{
    struct row *least = NULL;
    unsigned least_sum = 0;
    for (int i = 0; i < LOOK; i++) {
        struct row *row = kind->hand != NULL ? kind->hand : table_next(kind->rows, NULL);
        kind->hand = table_next(kind->rows, row);
        unsigned sum = row_sum(row, minute);
        if (least == NULL || sum < least_sum) {
            least = row;
            least_sum = sum;
        }
    }
    if (kind->hand == least)
        kind->hand = table_next(kind->rows, least);
    table_remove(kind->rows, least);
}

struct key {
    size_t n; /* bytes */
    char text[KEY_MAX];
};

static void key_make(struct key *key, const struct refusal *refusal, enum refusals_by by, const char *who)
{
    const bool apart = by == REFUSALS_BY_RULE || !refusal->for_recipient;
    const char *const parts[PARTS] = {refusal->rule, apart ? refusal->row : "",
                                      refusal->shadow ? "shadow" : "", who};
    key->n = 0;
    for (size_t i = 0; i < PARTS; i++) {
        size_t n = parts[i] != NULL ? strnlen(parts[i], PART_MAX) : 0;
        if (i > 0)
            key->text[key->n++] = '\0';
        if (n > 0)
            memcpy(key->text + key->n, parts[i], n);
        key->n += n;
    }
}

static void count(struct kind *kind, const struct refusal *refusal, const struct key *key, int64_t minute)
{
    struct row *row = table_find(kind->rows, key->text, key->n);
    if (row == NULL) {
        if (table_rows(kind->rows) >= REFUSALS_ROWS)
            make_room(kind, minute);
        row = table_add(kind->rows, key->text, key->n);
        if (row == NULL)
            return;
        row->minute = minute;
    }
    const unsigned n = row_sum(row, minute);
    row_count(row, minute);
    most_vote(&row->client, refusal->client, n);
    most_vote(&row->sender, refusal->sender, n);
    most_vote(&row->recipient, refusal->recipient, n);
}

void refusals_add(struct refusals *refusals, int64_t now_ms, const struct refusal *refusal)
{
    if (refusals == NULL)
        return;
    const char *const whos[REFUSALS_BYS] = {refusal->client, refusal->sender, "", refusal->subject};
    struct key key UNZEROED;
    pthread_mutex_lock(&refusals->lock);
    for (int by = 0; by < REFUSALS_BYS; by++) {
        if (whos[by] == NULL)
            continue;
        key_make(&key, refusal, (enum refusals_by)by, whos[by]);
        count(&refusals->kinds[by], refusal, &key, now_ms / MINUTE_MS);
    }
    pthread_mutex_unlock(&refusals->lock);
}

/* ---- what is shown, cleaned ---- */

struct key_parts {
    char text[KEY_MAX];
    const char *at[PARTS];
};

static void key_split(const struct row *row, struct key_parts *parts)
{
    char *at = parts->text, *end = parts->text + row->row.n;
    memcpy(parts->text, row->row.key, row->row.n + 1);
    for (int i = 0; i < PARTS; i++) {
        parts->at[i] = at;
        at += strlen(at);
        utf8_clean(parts->text + (parts->at[i] - parts->text));
        at += at < end;
    }
}

static json_t *row_report(const struct row *row, enum refusals_by by, unsigned sum)
{
    struct key_parts parts = {0};
    key_split(row, &parts);
    const struct {
        const char *name;
        const struct most *most;
    } mosts[] = {{"client", &row->client}, {"sender", &row->sender}, {"recipient", &row->recipient}};
    json_t *object = json_pack("{s:I, s:s, s:s, s:b}", "refused", (json_int_t)sum, "rule", parts.at[0], "row",
                               parts.at[1], "shadow", parts.at[2][0] != '\0');
    for (size_t i = 0; i < sizeof mosts / sizeof mosts[0]; i++) {
        char name[REFUSALS_NAME];
        if (most_name(mosts[i].most, sum, name))
            json_object_set_new(object, mosts[i].name, json_string(name));
    }
    if (by != REFUSALS_BY_RULE)
        json_object_set_new(object, refusals_by_name(by), json_string(parts.at[PARTS - 1]));
    return object;
}

static bool is_of_limit(const struct row *row, const char *limit)
{
    struct key_parts parts = {0};
    if (limit == NULL)
        return true;
    key_split(row, &parts);
    return strcmp(parts.at[1], limit) == 0 &&
           (strcmp(parts.at[0], "limit") == 0 || strcmp(parts.at[0], "ramp") == 0);
}

struct ranked {
    const struct row *row;
    unsigned sum;
};

static int ranked_compare(const void *left, const void *right)
{
    const struct ranked *a = left, *b = right;
    if (a->sum != b->sum)
        return a->sum < b->sum ? 1 : -1;
    size_t n = a->row->row.n < b->row->row.n ? a->row->row.n : b->row->row.n;
    return memcmp(a->row->row.key, b->row->row.key, n);
}

/* With the lock held. */
static json_t *report(const struct kind *kind, enum refusals_by by, const char *limit, size_t most,
                      int64_t minute)
{
    struct ranked *ranked = calloc(table_rows(kind->rows) + 1, sizeof *ranked);
    json_t *list = json_array();
    size_t n = 0;
    for (const struct row *row = NULL; ranked != NULL && (row = table_next(kind->rows, row)) != NULL;) {
        ranked[n] = (struct ranked){row, row_sum(row, minute)};
        n += ranked[n].sum > 0 && is_of_limit(row, limit);
    }
    if (n > 1)
        qsort(ranked, n, sizeof *ranked, ranked_compare);
    for (size_t i = 0; ranked != NULL && i < n && i < most; i++)
        json_array_append_new(list, row_report(ranked[i].row, by, ranked[i].sum));
    free(ranked);
    return list;
}

json_t *refusals_report(struct refusals *refusals, enum refusals_by by, const char *limit, size_t n,
                        int64_t now_ms)
{
    if (refusals == NULL)
        return json_array();
    pthread_mutex_lock(&refusals->lock);
    json_t *list = report(&refusals->kinds[by], by, limit, n, now_ms / MINUTE_MS);
    pthread_mutex_unlock(&refusals->lock);
    return list;
}

void refusals_find(struct refusals *refusals, const char *limit, const char *subject, bool shadow,
                   struct refusals_who *who)
{
    struct key key;
    *who = (struct refusals_who){0};
    if (refusals == NULL)
        return;
    const struct refusal refusal = {.rule = "limit", .row = limit, .shadow = shadow};
    key_make(&key, &refusal, REFUSALS_BY_SUBJECT, subject);
    pthread_mutex_lock(&refusals->lock);
    const struct row *row = table_find(refusals->kinds[REFUSALS_BY_SUBJECT].rows, key.text, key.n);
    if (row != NULL) {
        unsigned sum = row_sum(row, row->minute);
        (void)most_name(&row->client, sum, who->client);
        (void)most_name(&row->sender, sum, who->sender);
    }
    pthread_mutex_unlock(&refusals->lock);
}
