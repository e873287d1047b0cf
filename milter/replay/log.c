/* log: messages live in a table by host and queue id (the least recently used one goes when it is full), and as
 * long as an event that is held back names them. Events are held back in a binary heap by time, then by
 * message, then in the order of the log. */
#include "replay/log.h"

#include "base/hash.h"
#include "maillog.h"
#include "base/table.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    ID_MAX = 32,
    RECENT = 256,        /* decisions that wait for their queue id */
    ADDRESS_ROOM = 2048, /* bytes of an address or login; Postfix lets long ones pass */
    SEEN_MAX = 10000,    /* recipients of a message that are told apart */
};

struct message {
    struct replay_message known; /* first: what the events show */
    unsigned references;
    bool from_postfix, ended, named; /* named: had its queue id, which it may have lost to another */
    int host;
    int64_t time_ms;
    char *user, *sender; /* own copies behind known */
    uint64_t *seen;      /* hashes of the recipients that had their event */
    size_t n_seen, room;
    struct slot *slot;             /* NULL: not in the table */
    struct message *newer, *older; /* in the order of use */
};

struct slot { /* of the table; its key is host and id */
    struct table_row row;
    struct message *message;
};

struct held {
    int64_t time_ms;
    uint64_t number;
    enum replay_what what;
    enum action logged;
    struct message *message;
    char recipient[];
};

struct replay_log {
    replay_each *each;
    void *arg;
    struct replay_numbers numbers;
    bool stopped;

    struct { /* dates */
        int64_t modified_s;
        int64_t last_s; /* of the line before; INT64_MIN: this file has had none */
        int64_t end_s;  /* of the file before */
        struct tm hour; /* the hour of local time that was asked for last, */
        int64_t hour_s; /* and when it began */
    } clock;

    struct {
        char name[256];
        bool decides; /* a decision line was seen */
    } hosts[REPLAY_HOSTS];
    int n_hosts;

    uint64_t seed[2]; /* of message->seen */
    struct table *messages;
    struct message *newest, *oldest;
    uint64_t next_message, next_event;

    struct message *recent[RECENT]; /* a ring; NULL: taken */
    size_t n_recent;

    struct held **heap;
    size_t n_held;
    int64_t released_ms;
};

/* --- dates --- */

static int64_t days_from_civil(int year, int month, int day)
{
    int64_t y = year - (month <= 2), era = y / 400, of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int64_t local_s(struct replay_log *log, int year, const struct maillog_time *at)
{
    struct tm *hour = &log->clock.hour;
    if (hour->tm_year != year - 1900 || hour->tm_mon != at->month - 1 || hour->tm_mday != at->day ||
        hour->tm_hour != at->hour) {
        struct tm tm = {.tm_year = year - 1900,
                        .tm_mon = at->month - 1,
                        .tm_mday = at->day,
                        .tm_hour = at->hour,
                        .tm_isdst = -1};
        *hour = tm;
        log->clock.hour_s = (int64_t)mktime(&tm);
    }
    return log->clock.hour_s + at->minute * 60 + at->second;
}

/* The year of a date that names none: the last one in which it is not after the file's end, then the one that keeps it
 * near the line before. */
static int64_t guessed_s(struct replay_log *log, const struct maillog_time *at)
{
    bool first = log->clock.last_s == INT64_MIN;
    time_t about = (time_t)(first ? log->clock.modified_s : log->clock.last_s);
    struct tm tm;
    if (localtime_r(&about, &tm) == NULL)
        return 0;
    int year = tm.tm_year + 1900;
    int64_t at_s = local_s(log, year, at), half = INT64_C(183) * 86400;
    if (first)
        return at_s > log->clock.modified_s + 86400 ? local_s(log, year - 1, at) : at_s;
    if (at_s - (int64_t)about > half)
        return local_s(log, year - 1, at);
    return (int64_t)about - at_s > half ? local_s(log, year + 1, at) : at_s;
}

static int64_t time_of(struct replay_log *log, const struct maillog_time *at)
{
    int64_t s = at->zoned ? days_from_civil(at->year, at->month, at->day) * 86400 + at->hour * 3600 +
                                at->minute * 60 + at->second - at->offset_s
                : at->year != 0 ? local_s(log, at->year, at)
                                : guessed_s(log, at);
    if (log->clock.last_s == INT64_MIN && s < log->clock.end_s)
        log->numbers.backwards = true;
    log->clock.last_s = s;
    return s * 1000 + at->ms;
}

/* --- messages --- */

static void unref(struct replay_log *log, struct message *message)
{
    if (message == NULL || --message->references > 0)
        return;
    const struct replay_event gone = {
        .what = REPLAY_FREE, .time_ms = log->released_ms, .message = &message->known};
    (void)log->each(log->arg, &gone);
    free(message->user);
    free(message->sender);
    free(message->seen);
    free(message);
}

struct message_key {
    char bytes[sizeof(int) + ID_MAX];
    size_t n;
};

/* False: no id that Postfix gives. */
static bool key_make(struct message_key *key, int host, struct maillog_text id)
{
    if (id.n == 0 || id.n > ID_MAX)
        return false;
    memcpy(key->bytes, &host, sizeof host);
    memcpy(key->bytes + sizeof host, id.at, id.n);
    key->n = sizeof host + id.n;
    return true;
}

static void order_remove(struct replay_log *log, struct message *message)
{
    *(message->newer != NULL ? &message->newer->older : &log->newest) = message->older;
    *(message->older != NULL ? &message->older->newer : &log->oldest) = message->newer;
    message->newer = message->older = NULL;
}

static void order_first(struct replay_log *log, struct message *message)
{
    message->older = log->newest;
    *(log->newest != NULL ? &log->newest->newer : &log->oldest) = message;
    log->newest = message;
}

static void forget(struct replay_log *log, struct message *message)
{
    table_remove(log->messages, message->slot);
    message->slot = NULL;
    order_remove(log, message);
    unref(log, message);
}

static struct message *lookup(struct replay_log *log, int host, struct maillog_text id)
{
    struct message_key key;
    const struct slot *slot = key_make(&key, host, id) ? table_find(log->messages, key.bytes, key.n) : NULL;
    if (slot == NULL)
        return NULL;
    order_remove(log, slot->message);
    order_first(log, slot->message);
    return slot->message;
}

/* Puts a message into the table, under an id that may have been another message's. */
static void remember(struct replay_log *log, struct message *message, struct maillog_text id)
{
    struct message *other = lookup(log, message->host, id);
    struct message_key key;
    if (message->named || !key_make(&key, message->host, id))
        return;
    if (other != NULL)
        forget(log, other);
    else if (table_rows(log->messages) >= REPLAY_MESSAGES)
        forget(log, log->oldest);
    message->slot = table_add(log->messages, key.bytes, key.n);
    if (message->slot == NULL) {
        log->stopped = true;
        return;
    }
    message->slot->message = message;
    message->named = true;
    order_first(log, message);
    message->references++;
}

/* A text of the line as a string of its own; NULL: out of memory, or absurdly long. */
static char *copy_text(struct maillog_text text, bool encoded)
{
    char buffer[ADDRESS_ROOM];
    if (text.n >= sizeof buffer)
        return NULL;
    if (encoded)
        return maillog_decode(text, buffer, sizeof buffer) ? strdup(buffer) : NULL;
    if (text.n > 0 && memchr(text.at, '\0', text.n) != NULL)
        return NULL;
    return strndup(text.n > 0 ? text.at : "", text.n);
}

/* With one reference, the caller's. NULL: out of memory. */
static struct message *message_new(struct replay_log *log, int host, int64_t time_ms,
                                   const struct maillog_line *line, bool encoded)
{
    struct message *message = calloc(1, sizeof *message);
    char client[NETWORK_TEXT] = "";
    if (message == NULL)
        return NULL;
    if (line->client.n < sizeof client)
        memcpy(client, line->client.at, line->client.n);
    if (network_parse(client, &message->known.client, NULL) < 0)
        message->known.client = (struct network){0}; /* "unknown" */
    message->references = 1;
    message->host = host;
    message->time_ms = time_ms;
    message->known.number = log->next_message++;
    message->known.host = log->hosts[host].name;
    message->known.size = -1;
    message->user = line->user.n > 0 ? copy_text(line->user, encoded) : NULL;
    if (message->user != NULL)
        text_lower(message->user);
    message->known.user = message->user;
    return message;
}

static void set_sender(struct message *message, struct maillog_text sender, bool encoded)
{
    if (message->sender == NULL)
        message->known.sender = message->sender = copy_text(sender, encoded);
}

/* Was there an event for this recipient of the message? Remembers it. */
static bool seen_before(struct replay_log *log, struct message *message, const char *recipient)
{
    uint64_t hash = hash_string(log->seed, recipient);
    for (size_t i = 0; i < message->n_seen; i++)
        if (message->seen[i] == hash)
            return true;
    if (message->n_seen >= SEEN_MAX)
        return true;
    if (message->n_seen == message->room) {
        size_t room = message->room > 0 ? message->room * 2 : 2;
        uint64_t *more = realloc(message->seen, room * sizeof *more);
        if (more == NULL)
            return true;
        message->seen = more;
        message->room = room;
    }
    message->seen[message->n_seen++] = hash;
    return false;
}

/* --- holding back --- */

static bool earlier(const struct held *a, const struct held *b)
{
    if (a->time_ms != b->time_ms)
        return a->time_ms < b->time_ms;
    if (a->message->known.number != b->message->known.number)
        return a->message->known.number < b->message->known.number;
    if ((a->what == REPLAY_RCPT) != (b->what == REPLAY_RCPT))
        return a->what == REPLAY_RCPT;
    return a->number < b->number;
}

static struct held *heap_pop(struct replay_log *log)
{
    struct held **heap = log->heap, *first = heap[0], *moved = heap[--log->n_held];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= log->n_held)
            break;
        if (child + 1 < log->n_held && earlier(heap[child + 1], heap[child]))
            child++;
        if (!earlier(heap[child], moved))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
    return first;
}

static void heap_push(struct replay_log *log, struct held *held)
{
    size_t at = log->n_held++;
    for (; at > 0 && earlier(held, log->heap[(at - 1) / 2]); at = (at - 1) / 2)
        log->heap[at] = log->heap[(at - 1) / 2];
    log->heap[at] = held;
}

static void release(struct replay_log *log)
{
    struct held *held = heap_pop(log);
    struct replay_numbers *numbers = &log->numbers;
    if (held->time_ms < log->released_ms) {
        numbers->late += held->what == REPLAY_RCPT;
        held->time_ms = log->released_ms;
    }
    log->released_ms = held->time_ms;
    if (held->what == REPLAY_RCPT) {
        numbers->first_ms = numbers->first_ms == 0 ? held->time_ms : numbers->first_ms;
        numbers->last_ms = held->time_ms;
    }
    const struct replay_event event = {.what = held->what,
                                       .time_ms = held->time_ms,
                                       .message = &held->message->known,
                                       .recipient = held->recipient,
                                       .logged = held->logged};
    log->stopped = log->stopped || !log->each(log->arg, &event);
    unref(log, held->message);
    free(held);
}

static void hold(struct replay_log *log, struct message *message, enum replay_what what, int64_t time_ms,
                 const char *recipient, enum action logged)
{
    size_t n = strlen(recipient) + 1;
    struct held *held = malloc(sizeof *held + n);
    if (held == NULL) {
        log->stopped = true;
        return;
    }
    if (log->n_held == REPLAY_HELD)
        release(log);
    *held = (struct held){
        .time_ms = time_ms, .number = log->next_event++, .what = what, .logged = logged, .message = message};
    memcpy(held->recipient, recipient, n);
    message->references++;
    heap_push(log, held);
}

/* --- lines --- */

static int host_index(struct replay_log *log, struct maillog_text host)
{
    for (int i = 0; i < log->n_hosts; i++)
        if (strlen(log->hosts[i].name) == host.n && memcmp(log->hosts[i].name, host.at, host.n) == 0)
            return i;
    if (log->n_hosts == REPLAY_HOSTS || host.n >= sizeof log->hosts[0].name)
        return log->n_hosts > 0 ? log->n_hosts - 1 : 0;
    memcpy(log->hosts[log->n_hosts].name, host.at, host.n);
    return log->n_hosts++;
}

static bool same(const char *string, const char *other)
{
    return strcmp(string != NULL ? string : "", other != NULL ? other : "") == 0;
}

/* The decision that waits for its queue id: the newest from that client (and sender). Takes it out; the
 * caller owns the reference. */
static struct message *recent_take(struct replay_log *log, const struct message *like, bool sender)
{
    for (size_t i = 1; i <= RECENT && i <= log->n_recent; i++) {
        struct message **at = &log->recent[(log->n_recent - i) % RECENT];
        struct message *message = *at;
        if (message == NULL || message->host != like->host ||
            !network_equal(&message->known.client, &like->known.client) || !same(message->user, like->user) ||
            (sender && !same(message->sender, like->sender)))
            continue;
        *at = NULL;
        return message;
    }
    return NULL;
}

static void recent_put(struct replay_log *log, struct message *message)
{
    struct message **at = &log->recent[log->n_recent++ % RECENT];
    unref(log, *at);
    message->references++;
    *at = message;
}

/* The first accepted RCPT of a message has no queue id yet, the others name it. */
static void on_decision(struct replay_log *log, int host, int64_t time_ms, const struct maillog_line *line)
{
    struct message *message = lookup(log, host, line->queue), *made = NULL;
    log->hosts[host].decides = true;
    log->numbers.decisions++;
    if (message == NULL) {
        message = made = message_new(log, host, time_ms, line, true);
        if (made == NULL) {
            log->stopped = true;
            return;
        }
        set_sender(made, line->from, true);
        struct message *first = line->queue.n > 0 ? recent_take(log, made, true) : NULL;
        if (first != NULL) {
            unref(log, made);
            message = made = first;
        }
        remember(log, message, line->queue);
        if (line->queue.n == 0 && line->action != ACTION_REJECT && line->action != ACTION_DEFER)
            recent_put(log, message);
    }
    char *to = copy_text(line->to, true);
    if (to != NULL)
        hold(log, message, REPLAY_RCPT, time_ms, to, line->action);
    free(to);
    unref(log, made);
}

static void on_client(struct replay_log *log, int host, int64_t time_ms, const struct maillog_line *line)
{
    if (line->reinjected)
        return;
    struct message *made = message_new(log, host, time_ms, line, false);
    if (made == NULL) {
        log->stopped = true;
        return;
    }
    if (log->hosts[host].decides) { /* the id of a message whose RCPT was decided */
        struct message *known = lookup(log, host, line->queue);
        struct message *first = known == NULL ? recent_take(log, made, false) : NULL;
        if (first != NULL)
            remember(log, first, line->queue);
        unref(log, first);
    } else {
        made->from_postfix = true;
        remember(log, made, line->queue);
    }
    unref(log, made);
}

static void on_milter_refused(struct replay_log *log, int host, int64_t time_ms,
                              const struct maillog_line *line)
{
    if (log->hosts[host].decides)
        return;
    struct message *message = lookup(log, host, line->queue), *made = NULL;
    if (message == NULL)
        message = made = message_new(log, host, time_ms, line, false);
    if (message == NULL) {
        log->stopped = true;
        return;
    }
    set_sender(message, line->from, false);
    log->numbers.milter_refused++;
    char *to = copy_text(line->to, false);
    if (to != NULL)
        hold(log, message, REPLAY_RCPT, time_ms, to, ACTION_NONE);
    free(to);
    if (made != NULL)
        hold(log, made, REPLAY_END, time_ms, "", ACTION_NONE);
    unref(log, made);
}

static void on_queued(struct replay_log *log, int host, int64_t time_ms, const struct maillog_line *line)
{
    struct message *message = lookup(log, host, line->queue);
    if (message == NULL || message->ended)
        return; /* not by SMTP, or another run of the queue */
    message->ended = true;
    message->known.size = line->size;
    set_sender(message, line->from, false);
    hold(log, message, REPLAY_END, time_ms, "", ACTION_NONE);
}

static void on_delivery(struct replay_log *log, int host, const struct maillog_line *line)
{
    struct message *message = lookup(log, host, line->queue);
    if (message == NULL) {
        log->numbers.unknown += !log->hosts[host].decides;
        return;
    }
    if (!message->from_postfix)
        return;
    char *to = copy_text(line->to, false);
    if (to != NULL && !seen_before(log, message, to)) {
        log->numbers.deliveries++;
        hold(log, message, REPLAY_RCPT, message->time_ms, to, ACTION_ACCEPT);
    }
    free(to);
}

static void on_gone(struct replay_log *log, int host, int64_t time_ms, const struct maillog_line *line,
                    bool abort)
{
    struct message *message = lookup(log, host, line->queue);
    if (message == NULL)
        return;
    if (abort && !message->ended)
        hold(log, message, REPLAY_ABORT, time_ms, "", ACTION_NONE);
    forget(log, message);
}

bool replay_log_line(struct replay_log *log, const char *line, size_t n)
{
    struct maillog_line parsed;
    enum maillog_kind kind = maillog_parse(line, n, &parsed);
    log->numbers.lines++;
    if (kind == MAILLOG_GARBAGE) {
        log->numbers.garbage += n > 0;
        return !log->stopped;
    }
    int64_t time_ms = time_of(log, &parsed.time);
    if (kind == MAILLOG_OTHER)
        return !log->stopped;
    int host = host_index(log, parsed.host);
    if (kind == MAILLOG_CLIENT)
        on_client(log, host, time_ms, &parsed);
    else if (kind == MAILLOG_REFUSED)
        log->numbers.refused++;
    else if (kind == MAILLOG_MILTER_REFUSED)
        on_milter_refused(log, host, time_ms, &parsed);
    else if (kind == MAILLOG_QUEUED)
        on_queued(log, host, time_ms, &parsed);
    else if (kind == MAILLOG_DELIVERY)
        on_delivery(log, host, &parsed);
    else if (kind == MAILLOG_DECISION)
        on_decision(log, host, time_ms, &parsed);
    else
        on_gone(log, host, time_ms, &parsed, kind == MAILLOG_ABORTED);
    return !log->stopped;
}

/* --- the whole --- */

struct replay_log *replay_log_new(replay_each *each, void *arg)
{
    struct replay_log *log = calloc(1, sizeof *log);
    if (log == NULL)
        return NULL;
    log->heap = malloc(REPLAY_HELD * sizeof(struct held *));
    log->messages = table_new(sizeof(struct slot), REPLAY_MESSAGES);
    if (log->heap == NULL || log->messages == NULL) {
        replay_log_free(log);
        return NULL;
    }
    hash_seed(log->seed);
    log->each = each;
    log->arg = arg;
    log->clock.end_s = log->clock.last_s = INT64_MIN;
    return log;
}

void replay_log_file(struct replay_log *log, int64_t modified_s)
{
    if (log->clock.last_s != INT64_MIN)
        log->clock.end_s = log->clock.last_s;
    log->clock.last_s = INT64_MIN;
    log->clock.modified_s = modified_s;
}

bool replay_log_end(struct replay_log *log)
{
    while (log->n_held > 0)
        release(log);
    return !log->stopped;
}

const struct replay_numbers *replay_log_numbers(const struct replay_log *log)
{
    return &log->numbers;
}

void replay_log_free(struct replay_log *log)
{
    if (log == NULL)
        return;
    while (log->n_held > 0) {
        struct held *held = heap_pop(log);
        unref(log, held->message);
        free(held);
    }
    for (size_t i = 0; i < RECENT; i++)
        unref(log, log->recent[i]);
    while (log->oldest != NULL)
        forget(log, log->oldest);
    table_free(log->messages);
    free(log->heap);
    free(log);
}
