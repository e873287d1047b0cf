/* slots: see slots.h. CRC16 as XMODEM has it (polynomial 0x1021, begun with 0), half a byte at a time. Owns one table, the tags,
 * which is made once. */
#include "slots.h"

#include "redis/answer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint16_t crc16(const char *bytes, size_t n)
{
    static const uint16_t table[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
                                       0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};
    unsigned crc = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned byte = (unsigned char)bytes[i];
        crc = (crc << 4 ^ table[(crc >> 12 ^ byte >> 4) & 15]) & 0xffff;
        crc = (crc << 4 ^ table[(crc >> 12 ^ byte) & 15]) & 0xffff;
    }
    return (uint16_t)crc;
}

unsigned redis_slots_of(const char *key, size_t n)
{
    const char *open = memchr(key, '{', n);
    if (open != NULL) {
        const char *tag = open + 1, *close = memchr(tag, '}', n - (size_t)(tag - key));
        if (close != NULL && close > tag) {
            key = tag;
            n = (size_t)(close - tag);
        }
    }
    return crc16(key, n) % REDIS_SLOTS;
}

/* ---- tags ---- */

static unsigned tags[REDIS_SLOTS];

/* The smallest number of each slot; the last is found after some 200,000. */
static void tags_make(void)
{
    bool found[REDIS_SLOTS] = {false};
    unsigned left = REDIS_SLOTS;
    for (unsigned number = 0; left > 0; number++) {
        char digits[12];
        int n = snprintf(digits, sizeof digits, "%u", number);
        unsigned slot = redis_slots_of(digits, (size_t)n);
        if (found[slot])
            continue;
        found[slot] = true;
        tags[slot] = number;
        left--;
    }
}

unsigned redis_slots_tag(unsigned slot)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, tags_make);
    return tags[slot % REDIS_SLOTS];
}

/* ---- CLUSTER SLOTS ---- */

static bool is_array(const redisReply *reply, size_t least)
{
    return reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements >= least;
}

static bool is_number(const redisReply *reply, long long most)
{
    return reply != NULL && reply->type == REDIS_REPLY_INTEGER && reply->integer >= 0 &&
           reply->integer <= most;
}

static bool is_text(const redisReply *reply, size_t size)
{
    return redis_answer_is_text(reply) && reply->len < size;
}

/* A name, or an address without brackets; what it is made of can be shown anywhere. */
static bool is_host(const char *text)
{
    return text[strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_:%?")] == '\0';
}

/* [host, port, id, ...]; host nil or "": the one that was asked. "?": the cluster does not know. */
static bool read_node(const redisReply *node, const char *asked, struct redis_slots_node *out)
{
    if (!is_array(node, 3) || !is_number(node->element[1], 65535) ||
        !is_text(node->element[2], sizeof out->id))
        return false;
    const redisReply *host = node->element[0];
    bool named = is_text(host, sizeof out->host) && host->len > 0 && is_host(host->str);
    if (!named && host->type != REDIS_REPLY_NIL && (host->type != REDIS_REPLY_STRING || host->len > 0))
        return false;
    snprintf(out->host, sizeof out->host, "%s", named ? host->str : asked);
    snprintf(out->id, sizeof out->id, "%s", node->element[2]->str);
    out->port = (int)node->element[1]->integer;
    return true;
}

/* The index of a master; SIZE_MAX: there are too many. */
static size_t master_add(struct redis_slots *slots, const struct redis_slots_master *master)
{
    size_t i = 0;
    while (i < slots->n && strcmp(slots->masters[i].node.id, master->node.id) != 0)
        i++;
    if (i < slots->n)
        return i;
    if (i == REDIS_SLOTS_NODES)
        return SIZE_MAX;
    slots->masters[slots->n++] = *master;
    return i;
}

/* [first, last, master, replica, ...]; none of its slots is in another range, so that every master has some. */
static bool read_range(const redisReply *range, const char *asked, struct redis_slots *out)
{
    struct redis_slots_master master = {.n_replicas = 0};
    if (!is_array(range, 3) || !is_number(range->element[0], REDIS_SLOTS - 1) ||
        !is_number(range->element[1], REDIS_SLOTS - 1) || !read_node(range->element[2], asked, &master.node))
        return false;
    for (size_t i = 3; i < range->elements && master.n_replicas < REDIS_SLOTS_REPLICAS; i++)
        if (!read_node(range->element[i], asked, &master.replicas[master.n_replicas++]))
            return false;
    bool reachable = strcmp(master.node.host, "?") != 0 && master.node.port > 0;
    size_t at = reachable ? master_add(out, &master) : REDIS_SLOTS_NONE;
    long long first = range->element[0]->integer, last = range->element[1]->integer;
    bool good = at != SIZE_MAX && first <= last;
    for (long long slot = first; slot <= last && good; slot++) {
        good = out->owner[slot] == REDIS_SLOTS_NONE;
        out->owner[slot] = (uint16_t)at;
    }
    return good;
}

bool redis_slots_read(const redisReply *reply, const char *asked, struct redis_slots *out, struct error *err)
{
    out->n = 0;
    for (size_t i = 0; i < REDIS_SLOTS; i++)
        out->owner[i] = REDIS_SLOTS_NONE;
    bool good = is_array(reply, 0);
    for (size_t i = 0; good && i < reply->elements; i++)
        good = read_range(reply->element[i], asked, out);
    if (!good)
        error_set(err, "Redis at %s answers CLUSTER SLOTS with what makes no sense%s%.160s", asked,
                  reply->type == REDIS_REPLY_ERROR ? ": " : "",
                  reply->type == REDIS_REPLY_ERROR ? reply->str : "");
    return good;
}

/* ---- replicas ---- */

bool redis_slots_is_replica(const struct redis_slots_master *master, const struct redis_slots_node *node)
{
    for (size_t i = 0; i < master->n_replicas; i++) {
        const struct redis_slots_node *replica = &master->replicas[i];
        if ((node->id[0] != '\0' && strcmp(replica->id, node->id) == 0) ||
            (replica->port == node->port && strcmp(replica->host, node->host) == 0))
            return true;
    }
    return false;
}

static bool is_master(const struct redis_slots *map, const struct redis_slots_node *node)
{
    for (size_t i = 0; i < map->n; i++)
        if (strcmp(map->masters[i].node.id, node->id) == 0)
            return true;
    return false;
}

void redis_slots_see(struct redis_slots_master *seen, const struct redis_slots_master *now,
                     const struct redis_slots *map)
{
    const struct redis_slots_master before = *seen;
    *seen = *now;
    if (strcmp(before.node.id, now->node.id) != 0)
        return;
    for (size_t i = 0; i < before.n_replicas && seen->n_replicas < REDIS_SLOTS_REPLICAS; i++)
        if (!redis_slots_is_replica(seen, &before.replicas[i]) && !is_master(map, &before.replicas[i]))
            seen->replicas[seen->n_replicas++] = before.replicas[i];
}

/* ---- CLUSTER INFO ---- */

bool redis_slots_read_info(const redisReply *reply, int64_t *epoch, struct error *err)
{
    char state[8], current[24];
    redis_answer_field(reply, "cluster_state", state, sizeof state);
    redis_answer_field(reply, "cluster_current_epoch", current, sizeof current);
    if (reply->type == REDIS_REPLY_ERROR)
        error_set(err, "it says \"%.160s\" to CLUSTER INFO: is it a node of a cluster?", reply->str);
    else if (state[0] == '\0' || current[0] < '0' || current[0] > '9')
        error_set(err, "its answer to CLUSTER INFO makes no sense");
    else if (strcmp(state, "ok") != 0)
        error_set(
            err,
            "it says that its cluster is down (cluster_state): see CLUSTER INFO and CLUSTER NODES there");
    else {
        *epoch = strtoll(current, NULL, 10);
        return true;
    }
    return false;
}

/* ---- redirections ---- */

bool redis_slots_read_redirection(const char *text, struct redis_slots_redirection *out)
{
    out->ask = strncmp(text, "ASK ", 4) == 0;
    if (!out->ask && strncmp(text, "MOVED ", 6) != 0)
        return false;
    const char *host = strchr(strchr(text, ' ') + 1, ' '), *colon = strrchr(text, ':');
    if (host == NULL || colon == NULL || colon <= host || (size_t)(colon - host) > sizeof out->host)
        return false;
    snprintf(out->host, sizeof out->host, "%.*s", (int)(colon - host - 1), host + 1);
    char *end;
    long port = strtol(colon + 1, &end, 10);
    out->port = (int)port;
    return end > colon + 1 && *end == '\0' && port > 0 && port <= 65535 && strcmp(out->host, "?") != 0 &&
           is_host(out->host);
}
