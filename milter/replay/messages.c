/* messages: owns the table, its order of use, and every message until its last reference is gone. */
#include "messages.h"

#include "base/hash.h"
#include "base/table.h"

#include <stdlib.h>
#include <string.h>

enum { ID_MAX = 32 };

struct slot { /* of the table; its key is host and id */
    struct table_row row;
    struct mail *message;
};

struct messages {
    void (*gone)(void *arg, struct replay_message *message);
    void *arg;
    uint64_t seed[2]; /* of message->seen */
    struct table *table;
    struct mail *newest, *oldest;
    uint64_t next, forgotten;
};

struct key {
    char bytes[sizeof(int) + ID_MAX];
    size_t n;
};

/* False: no id that Postfix gives. */
static bool key_make(struct key *key, int host, struct span id)
{
    if (id.n == 0 || id.n > ID_MAX)
        return false;
    memcpy(key->bytes, &host, sizeof host);
    memcpy(key->bytes + sizeof host, id.at, id.n);
    key->n = sizeof host + id.n;
    return true;
}

/* --- the order of use --- */

static void order_remove(struct messages *messages, struct mail *message)
{
    *(message->newer != NULL ? &message->newer->older : &messages->newest) = message->older;
    *(message->older != NULL ? &message->older->newer : &messages->oldest) = message->newer;
    message->newer = message->older = NULL;
}

static void order_first(struct messages *messages, struct mail *message)
{
    message->older = messages->newest;
    *(messages->newest != NULL ? &messages->newest->newer : &messages->oldest) = message;
    messages->newest = message;
}

static void forget(struct messages *messages, struct mail *message)
{
    table_remove(messages->table, message->slot);
    message->slot = NULL;
    order_remove(messages, message);
    messages_unref(messages, message);
}

/* --- messages --- */

void messages_unref(struct messages *messages, struct mail *message)
{
    if (message == NULL || --message->references > 0)
        return;
    messages->gone(messages->arg, &message->known);
    free(message->user);
    free(message->sender);
    free(message->seen);
    free(message);
}

struct mail *messages_make(struct messages *messages, int host, int64_t time_ms)
{
    struct mail *message = calloc(1, sizeof *message);
    if (message == NULL)
        return NULL;
    message->references = 1;
    message->host = host;
    message->time_ms = time_ms;
    message->known.number = messages->next++;
    message->known.size = -1;
    return message;
}

struct mail *messages_find(struct messages *messages, int host, struct span id)
{
    struct key key;
    const struct slot *slot = key_make(&key, host, id) ? table_find(messages->table, key.bytes, key.n) : NULL;
    if (slot == NULL)
        return NULL;
    order_remove(messages, slot->message);
    order_first(messages, slot->message);
    return slot->message;
}

bool messages_name(struct messages *messages, struct mail *message, struct span id)
{
    struct mail *other = messages_find(messages, message->host, id);
    struct key key;
    if (message->named || !key_make(&key, message->host, id))
        return true;
    if (other != NULL) {
        forget(messages, other);
    } else if (table_rows(messages->table) >= MESSAGES_MAX) {
        messages->forgotten += !messages->oldest->ended;
        forget(messages, messages->oldest);
    }
    message->slot = table_add(messages->table, key.bytes, key.n);
    if (message->slot == NULL)
        return false;
    message->slot->message = message;
    message->named = true;
    order_first(messages, message);
    message->references++;
    return true;
}

enum messages_seen messages_see(struct messages *messages, struct mail *message, const char *recipient)
{
    uint64_t hash = hash_string(messages->seed, recipient);
    for (size_t i = 0; i < message->n_seen; i++)
        if (message->seen[i] == hash)
            return SEEN_BEFORE;
    if (message->n_seen >= MESSAGES_SEEN)
        return SEEN_LOST;
    if (message->n_seen == message->room) {
        size_t room = message->room > 0 ? message->room * 2 : 1;
        uint64_t *more = realloc(message->seen, room * sizeof *more);
        if (more == NULL)
            return SEEN_LOST;
        message->seen = more;
        message->room = room;
    }
    message->seen[message->n_seen++] = hash;
    return SEEN_NEW;
}

uint64_t messages_forgotten(const struct messages *messages)
{
    return messages->forgotten;
}

struct messages *messages_new(void (*gone)(void *arg, struct replay_message *message), void *arg)
{
    struct messages *messages = calloc(1, sizeof *messages);
    if (messages == NULL)
        return NULL;
    messages->gone = gone;
    messages->arg = arg;
    messages->table = table_new(sizeof(struct slot), MESSAGES_MAX);
    if (messages->table == NULL) {
        free(messages);
        return NULL;
    }
    hash_seed(messages->seed);
    return messages;
}

void messages_free(struct messages *messages)
{
    if (messages == NULL)
        return;
    for (struct mail *message = messages->newest, *older; message != NULL; message = older) {
        older = message->older;
        messages_unref(messages, message);
    }
    table_free(messages->table);
    free(messages);
}
