/* blocklist: see blocklist.h. A list owns three blocks of memory (entries, their strings, the set of
 * networks), so that giving one back takes no longer for 100,000 entries than for one. Fails only for want of
 * memory. */
#include "blocks/blocklist.h"

#include "netset.h"
#include "base/clock.h"
#include "base/utf8.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct blocklist {
    atomic_uint references;
    struct block *blocks; /* sorted, each network once */
    size_t n, live;
    int64_t next_end;
    char *strings;
    struct netset *set; /* indices are those of blocks */
};

/* ---- one block as text ---- */

const char *blocklist_time(int64_t unix_s, char buffer[BLOCK_TIME])
{
    if (unix_s != 0)
        return clock_text(unix_s * 1000, buffer);
    snprintf(buffer, BLOCK_TIME, "never");
    return buffer;
}

const char *blocklist_time_ms(int64_t unix_ms, char buffer[BLOCK_TIME])
{
    char seconds[BLOCK_TIME];
    buffer[0] = '\0';
    if (unix_ms == 0)
        return buffer;
    clock_text(unix_ms, seconds);
    size_t n = strcspn(seconds, "Z");
    memcpy(buffer, seconds, n);
    snprintf(buffer + n, BLOCK_TIME - n, ".%03dZ", (int)(unix_ms % 1000));
    return buffer;
}

/* Unix time in ms of a text as blocklist_time() and blocklist_time_ms() write it; 0 for "never", -1 where it is no time. */
static int64_t time_parse(const char *text)
{
    struct tm tm = {0};
    int ms = 0, end = 0;
    if (strcmp(text, "never") == 0)
        return 0;
    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour,
               &tm.tm_min, &tm.tm_sec, &end) != 6)
        return -1;
    int more = 0;
    if (text[end] == '.' && sscanf(text + end, ".%3d%n", &ms, &more) != 1)
        return -1;
    if (strcmp(text + end + more, "Z") != 0 || ms < 0)
        return -1;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    int64_t seconds = timegm(&tm);
    return seconds > 0 ? seconds * 1000 + ms : -1;
}

static const struct {
    enum action action;
    const char *name;
} actions[] = {{ACTION_REJECT, "reject"}, {ACTION_DEFER, "defer"}, {ACTION_ACCEPT, "unblocked"}};

enum { ACTIONS = sizeof actions / sizeof actions[0] };

void blocklist_format(const struct block *block, struct text *out)
{
    char until[BLOCK_TIME], at[BLOCK_TIME];
    for (size_t i = 0; i < ACTIONS; i++)
        if (actions[i].action == block->action)
            text_addf(out, "action=%s", actions[i].name);
    text_addf(out, " until=%s", blocklist_time(block->until_s, until));
    if (block->changed_ms != 0)
        text_addf(out, " at=%s", blocklist_time_ms(block->changed_ms, at));
    if (block->forced)
        text_add(out, " forced=yes");
    if (block->host[0] != '\0') {
        text_add(out, " by=");
        text_add_percent(out, block->host);
    }
    if (block->reason[0] != '\0') {
        char reason[BLOCK_REASON + 1];
        snprintf(reason, sizeof reason, "%s", block->reason);
        text_add(out, " reason=");
        text_add_printable(out, reason);
    }
}

/* One word "name=value" of the text. False: it makes no sense. Words that nobody knows are passed over. */
static bool word_parse(const char *word, struct block *out)
{
    if (strncmp(word, "action=", 7) == 0) {
        for (size_t i = 0; i < ACTIONS; i++)
            if (strcmp(word + 7, actions[i].name) == 0)
                out->action = actions[i].action;
        return out->action != ACTION_NONE;
    }
    out->forced = out->forced || strcmp(word, "forced=yes") == 0;
    bool until = strncmp(word, "until=", 6) == 0;
    if (!until && strncmp(word, "at=", 3) != 0)
        return true;
    int64_t ms = time_parse(strchr(word, '=') + 1);
    if (until)
        out->until_s = ms / 1000;
    else
        out->changed_ms = ms;
    return ms >= 0;
}

bool blocklist_is_wide(const struct network *network)
{
    enum { IPV4_LEAST = 8, IPV6_LEAST = 32 };
    return network->bits < (network_is_ipv4(network) ? 128 - 32 + IPV4_LEAST : IPV6_LEAST);
}

static const char *clean(char *string)
{
    if (string != NULL)
        utf8_clean(string);
    return string;
}

/* The host in "by=HOST"; NULL: there is a NUL in it, or memory ran out. */
static const char *host_parse(const char *word, struct pool *pool)
{
    char host[BLOCK_TEXT];
    struct text text;
    text_init(&text, host, sizeof host);
    return text_add_decoded(&text, word, strlen(word)) ? clean(pool_strdup(pool, host)) : NULL;
}

int blocklist_parse(const char *network, const char *text, struct pool *pool, struct block *out)
{
    struct block block = {.action = ACTION_NONE, .host = "", .reason = ""};
    char word[BLOCK_TEXT];
    if (network_parse(network, &block.network, NULL) < 0)
        return -1;
    for (const char *at = text + strspn(text, " "); *at != '\0'; at += strspn(at, " ")) {
        if (strncmp(at, "reason=", 7) == 0) { /* the last: it may hold spaces */
            block.reason = clean(pool_strndup(pool, at + 7, strnlen(at + 7, BLOCK_REASON)));
            break;
        }
        size_t n = strcspn(at, " ");
        if (n >= sizeof word)
            return -1;
        memcpy(word, at, n);
        word[n] = '\0';
        at += n;
        if (strncmp(word, "by=", 3) == 0)
            block.host = host_parse(word + 3, pool);
        else if (!word_parse(word, &block))
            return -1;
    }
    if (block.action == ACTION_NONE || block.host == NULL || block.reason == NULL)
        return -1;
    *out = block;
    return 0;
}

bool blocklist_is_newer(const struct block *a, const struct block *b)
{
    char a_text[BLOCK_TEXT], b_text[BLOCK_TEXT];
    struct text text;
    if (a->changed_ms != b->changed_ms)
        return a->changed_ms > b->changed_ms;
    /* In the same ms on two hosts: any order will do, where all hosts have the same. */
    text_init(&text, a_text, sizeof a_text);
    blocklist_format(a, &text);
    text_init(&text, b_text, sizeof b_text);
    blocklist_format(b, &text);
    return strcmp(a_text, b_text) > 0;
}

/* ---- the list ---- */

struct blocklist *blocklist_new(void)
{
    struct blocklist *list = calloc(1, sizeof *list);
    if (list == NULL)
        return NULL;
    atomic_init(&list->references, 1);
    list->next_end = INT64_MAX;
    list->set = netset_new(NULL, 0);
    if (list->set == NULL) {
        blocklist_unref(list);
        return NULL;
    }
    return list;
}

struct blocklist *blocklist_ref(struct blocklist *list)
{
    atomic_fetch_add_explicit(&list->references, 1, memory_order_relaxed);
    return list;
}

void blocklist_unref(struct blocklist *list)
{
    if (list == NULL || atomic_fetch_sub_explicit(&list->references, 1, memory_order_acq_rel) > 1)
        return;
    netset_free(list->set);
    free(list->blocks);
    free(list->strings);
    free(list);
}

size_t blocklist_size(const struct blocklist *list)
{
    return list->n;
}

size_t blocklist_live(const struct blocklist *list)
{
    return list->live;
}

const struct block *blocklist_at(const struct blocklist *list, size_t i)
{
    return &list->blocks[i];
}

int64_t blocklist_next_end(const struct blocklist *list)
{
    return list->next_end;
}

size_t blocklist_after(const struct blocklist *list, const struct network *network)
{
    size_t low = 0, high = network != NULL ? list->n : 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (netset_compare(&list->blocks[middle].network, network) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct block *blocklist_get(const struct blocklist *list, const struct network *network)
{
    size_t i = blocklist_after(list, network);
    return i > 0 && network_equal(&list->blocks[i - 1].network, network) ? &list->blocks[i - 1] : NULL;
}

static bool has_ended(const struct block *block, int64_t now_s)
{
    return block->until_s != 0 && block->until_s <= now_s;
}

const struct block *blocklist_find(const struct blocklist *list, const struct network *address, int64_t now_s)
{
    for (long i = netset_find(list->set, address); i >= 0; i = netset_wider(list->set, i))
        if (list->blocks[i].action != ACTION_ACCEPT && !has_ended(&list->blocks[i], now_s))
            return &list->blocks[i];
    return NULL;
}

/* ---- merging ---- */

struct change { /* borrowed */
    const struct block *block;
};

static int change_compare(const void *a, const void *b)
{
    const struct change *x = a, *y = b;
    return netset_compare(&x->block->network, &y->block->network);
}

/* The changes in the order of their networks, of each network the one that counts. NULL: out of memory. */
static struct change *changes_sorted(const struct block *changes, size_t n, size_t *n_kept)
{
    struct change *sorted = calloc(n + 1, sizeof *sorted);
    if (sorted == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++)
        sorted[i].block = &changes[i];
    qsort(sorted, n, sizeof *sorted, change_compare);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        bool same = kept > 0 && network_equal(&sorted[kept - 1].block->network, &sorted[i].block->network);
        if (!same)
            sorted[kept++] = sorted[i];
        else if (blocklist_is_newer(sorted[i].block, sorted[kept - 1].block))
            sorted[kept - 1] = sorted[i];
    }
    *n_kept = kept;
    return sorted;
}

struct merge {
    struct blocklist *list;
    int64_t now_s;
    blocklist_changed_fn *changed;
    void *arg;
};

static void merge_keep(struct merge *merge, const struct block *block)
{
    struct blocklist *list = merge->list;
    assert(block->host != NULL && block->reason != NULL);
    list->blocks[list->n++] = *block;
    list->live += block->action != ACTION_ACCEPT;
    if (block->until_s != 0 && block->until_s < list->next_end)
        list->next_end = block->until_s;
}

/* One network: what the list had and what the change says, either may be NULL. */
static void merge_one(struct merge *merge, const struct block *was, const struct block *change)
{
    assert(was != NULL || change != NULL);
    const struct block *is =
        change != NULL && (was == NULL || blocklist_is_newer(change, was)) ? change : was;
    bool ended = has_ended(is, merge->now_s);
    if (!ended)
        merge_keep(merge, is);
    if (merge->changed != NULL && (ended ? was != NULL : is != was))
        merge->changed(merge->arg, was, ended ? NULL : is);
}

/* The strings move into memory of the list. The same ones often follow each other, and then are kept once. */
static int strings_own(struct blocklist *list)
{
    size_t size = 1;
    for (size_t i = 0; i < list->n; i++) {
        const struct block *b = &list->blocks[i];
        assert(b->host != NULL && b->reason != NULL);
        size += strlen(b->host) + strlen(b->reason) + 2;
    }
    char *at = list->strings = malloc(size);
    if (at == NULL)
        return -1;
    const char *host = "", *reason = "";
    for (size_t i = 0; i < list->n; i++) {
        struct block *b = &list->blocks[i];
        if (strcmp(b->host, host) != 0) {
            host = at;
            at = stpcpy(at, b->host) + 1;
        }
        if (strcmp(b->reason, reason) != 0) {
            reason = at;
            at = stpcpy(at, b->reason) + 1;
        }
        b->host = host;
        b->reason = reason;
    }
    return 0;
}

static struct netset *set_make(const struct blocklist *list)
{
    struct network *networks = calloc(list->n + 1, sizeof *networks);
    struct netset *set = NULL;
    for (size_t i = 0; networks != NULL && i < list->n; i++)
        networks[i] = list->blocks[i].network;
    if (networks != NULL)
        set = netset_new(networks, list->n);
    free(networks);
    return set;
}

static struct blocklist *list_alloc(size_t most)
{
    struct blocklist *list = calloc(1, sizeof *list);
    if (list == NULL)
        return NULL;
    atomic_init(&list->references, 1);
    list->next_end = INT64_MAX;
    list->blocks = calloc(most + 1, sizeof *list->blocks);
    if (list->blocks == NULL) {
        free(list);
        return NULL;
    }
    return list;
}

struct blocklist *blocklist_merge(const struct blocklist *old, const struct block *changes, size_t n,
                                  int64_t now_s, blocklist_changed_fn *changed, void *arg)
{
    size_t n_sorted = 0, i = 0, j = 0;
    struct change *sorted = changes_sorted(changes, n, &n_sorted);
    struct merge merge = {list_alloc(old->n + n), now_s, changed, arg};
    if (sorted == NULL || merge.list == NULL) {
        free(sorted);
        blocklist_unref(merge.list);
        return NULL;
    }
    while (i < old->n || j < n_sorted) {
        int order = i == old->n     ? 1
                    : j == n_sorted ? -1
                                    : netset_compare(&old->blocks[i].network, &sorted[j].block->network);
        merge_one(&merge, order <= 0 ? &old->blocks[i] : NULL, order >= 0 ? sorted[j].block : NULL);
        i += order <= 0;
        j += order >= 0;
    }
    free(sorted);
    if (strings_own(merge.list) < 0 || (merge.list->set = set_make(merge.list)) == NULL) {
        blocklist_unref(merge.list);
        return NULL;
    }
    return merge.list;
}
