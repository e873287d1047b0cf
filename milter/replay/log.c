/* log: owns the lines and the events that are held back, the messages that either names, and who is who among hosts and clients. */
#include "replay/log.h"

#include "base/text.h"
#include "heap.h"
#include "maillog.h"
#include "messages.h"
#include "proxies.h"
#include "timeline.h"

#include <stdlib.h>
#include <string.h>

enum {
    RECENT = 256,      /* decisions that wait for their queue id */
    TOGETHER_MS = 2000 /* by which clocks of processes may differ */
};

enum source { SOURCE_DECISION, SOURCE_DELIVERY, SOURCE_REFUSAL };

struct held {
    int64_t time_ms;
    uint64_t number;
    enum replay_what what;
    enum source source;
    bool through; /* it was not refused, as a gate's line says */
    struct mail *message;
    char recipient[];
};

struct held_line {
    int64_t time_ms;
    uint64_t number;
    int host, rank;
    struct maillog_line line;
    char bytes[];
};

struct host {
    char name[256];
    int64_t decided_ms;       /* from when on its RCPTs are in decision lines; INT64_MAX: they are not */
    int decided_file;         /* in which such lines were read last */
    int gate;                 /* the host that those name */
    bool ends;                /* they tell of the ends of messages, too */
    uint64_t begun, finished; /* messages of Postfix's lines */
};

struct replay_log {
    replay_each *each;
    void *arg;
    struct replay_numbers numbers;
    bool stopped;

    struct frame_reader *reader;
    struct timeline timeline;
    struct heap lines, events;
    struct held_line *previous; /* the line before, where a "last message repeated" could mean it */
    uint64_t next_line, next_event;
    int64_t released_ms, first_ms, last_ms;

    struct host hosts[REPLAY_HOSTS];
    int n_hosts, file;
    struct messages *messages;
    struct proxies *proxies;
    struct mail *recent[RECENT]; /* a ring; NULL: taken */
    size_t n_recent;
};

/* --- events --- */

static bool earlier_event(const void *left, const void *right)
{
    const struct held *a = left, *b = right;
    if (a->time_ms != b->time_ms)
        return a->time_ms < b->time_ms;
    if (a->message->known.number != b->message->known.number)
        return a->message->known.number < b->message->known.number;
    if ((a->what == REPLAY_RCPT) != (b->what == REPLAY_RCPT))
        return a->what == REPLAY_RCPT;
    return a->number < b->number;
}

/* What was learned since: the message came from a filter, or the gate's own lines tell of it. */
static bool is_void(const struct replay_log *log, const struct held *held)
{
    return held->message->given_back ||
           (held->source != SOURCE_DECISION && held->time_ms >= log->hosts[held->message->host].decided_ms);
}

static bool is_loopback(const struct network *client)
{
    static const struct network v6 = {.addr = {[15] = 1}, .bits = 128, .set = true};
    return (network_is_ipv4(client) && client->addr[12] == 127) || network_equal(client, &v6);
}

static void count_rcpt(struct replay_log *log, const struct held *held)
{
    struct replay_numbers *numbers = &log->numbers;
    uint64_t *const sources[] = {[SOURCE_DECISION] = &numbers->decisions,
                                 [SOURCE_DELIVERY] = &numbers->deliveries,
                                 [SOURCE_REFUSAL] = &numbers->milter_refused};
    ++*sources[held->source];
    numbers->this_host += held->source == SOURCE_DELIVERY && is_loopback(&held->message->known.client);
    numbers->no_sender += held->message->sender == NULL;
    numbers->no_client += !held->message->known.client.set;
    held->message->released++;
    log->first_ms = log->first_ms == 0 ? held->time_ms : log->first_ms;
    log->last_ms = held->time_ms;
}

/* Where a gate tells of each end, what has none was given up before: the client went away, or only tried the address. */
static bool is_unended(const struct replay_log *log, const struct held *held)
{
    return held->what == REPLAY_RCPT && held->through && !held->message->ended &&
           log->hosts[held->message->host].ends;
}

static void give_up(struct replay_log *log, const struct held *held)
{
    const struct replay_event event = {
        .what = REPLAY_ABORT, .time_ms = held->time_ms, .message = &held->message->known};
    log->numbers.unended++;
    log->stopped = log->stopped || !log->each(log->arg, &event);
}

static void release(struct replay_log *log)
{
    struct held *held = heap_pop(&log->events);
    bool drop = held->what == REPLAY_RCPT && is_void(log, held);
    if (held->time_ms < log->released_ms) {
        log->numbers.late += held->what == REPLAY_RCPT && !drop;
        held->time_ms = log->released_ms;
    }
    log->released_ms = held->time_ms;
    if (held->what == REPLAY_RCPT && !drop)
        count_rcpt(log, held);
    const struct replay_event event = {.what = held->what,
                                       .time_ms = held->time_ms,
                                       .message = &held->message->known,
                                       .recipient = held->recipient};
    if (!drop)
        log->stopped = log->stopped || !log->each(log->arg, &event);
    if (!drop && is_unended(log, held))
        give_up(log, held);
    messages_unref(log->messages, held->message);
    free(held);
}

static struct held *hold(struct replay_log *log, struct mail *message, enum replay_what what, int64_t time_ms,
                         const char *recipient)
{
    size_t n = strlen(recipient) + 1;
    struct held *held = malloc(sizeof *held + n);
    if (held == NULL) {
        log->stopped = true;
        return NULL;
    }
    if (log->events.n == log->events.max)
        release(log);
    *held = (struct held){.time_ms = time_ms, .number = log->next_event++, .what = what, .message = message};
    memcpy(held->recipient, recipient, n);
    message->known.ends = message->known.ends || what != REPLAY_RCPT;
    message->references++;
    heap_push(&log->events, held);
    return held;
}

static void hold_rcpt(struct replay_log *log, struct mail *message, int64_t time_ms, const char *recipient,
                      enum source source, bool through)
{
    struct held *held = hold(log, message, REPLAY_RCPT, time_ms, recipient);
    if (held == NULL)
        return;
    held->source = source;
    held->through = through;
}

static void on_message_gone(void *arg, struct replay_message *message)
{
    struct replay_log *log = arg;
    const struct replay_event gone = {.what = REPLAY_FREE, .time_ms = log->released_ms, .message = message};
    (void)log->each(log->arg, &gone);
}

/* --- hosts --- */

static struct network client_of(struct span text)
{
    struct network client = {.set = false}; /* "unknown" */
    char copy[NETWORK_TEXT] = "";
    if (text.n < sizeof copy) {
        memcpy(copy, text.at, text.n);
        (void)network_parse(copy, &client, NULL);
    }
    return client;
}

static int host_index(struct replay_log *log, struct span host)
{
    for (int i = 0; i < log->n_hosts; i++)
        if (span_equals(host, log->hosts[i].name))
            return i;
    if (log->n_hosts == REPLAY_HOSTS || host.n >= sizeof log->hosts[0].name) {
        log->numbers.hosts++;
        return log->n_hosts > 0 ? log->n_hosts - 1 : 0;
    }
    struct host *made = &log->hosts[log->n_hosts];
    if (host.n > 0)
        memcpy(made->name, host.at, host.n);
    made->decided_ms = INT64_MAX;
    made->decided_file = -1;
    made->gate = log->n_hosts;
    return log->n_hosts++;
}

static bool is_decided(const struct replay_log *log, int host, int64_t time_ms)
{
    return time_ms >= log->hosts[host].decided_ms;
}

static void link_host(struct replay_log *log, int host, int gate)
{
    if (host == gate || log->hosts[host].gate != host || log->hosts[host].decided_ms != INT64_MAX)
        return;
    log->hosts[host].gate = gate;
    log->hosts[host].decided_ms = log->hosts[gate].decided_ms;
    log->hosts[host].begun = log->hosts[host].finished = 0;
}

/* A gate names a queue id: the Postfix that gave it, under whatever name, is one of its. */
static void link_gate(struct replay_log *log, int gate, struct span id)
{
    for (int i = 0; i < log->n_hosts && id.n > 0; i++) {
        const struct mail *message = i != gate ? messages_find(log->messages, i, id) : NULL;
        if (message != NULL && message->from_postfix)
            link_host(log, i, gate);
    }
}

/* The other way round: Postfix gives an id that a gate has named. */
static void link_postfix(struct replay_log *log, int host, int64_t time_ms, const struct maillog_line *line)
{
    struct network client = client_of(line->text[MAILLOG_CLIENT_ADDRESS]);
    for (int i = 0; i < log->n_hosts; i++) {
        const struct mail *message = i != host && is_decided(log, i, time_ms)
                                         ? messages_find(log->messages, i, line->text[MAILLOG_QUEUE])
                                         : NULL;
        if (message != NULL && !message->from_postfix && time_ms - message->time_ms <= TOGETHER_MS &&
            network_equal(&message->known.client, &client))
            link_host(log, host, i);
    }
}

/* --- messages --- */

/* A text of the line as a string of its own; NULL: absurdly long, or out of memory. */
static char *copy_text(struct replay_log *log, struct span text, bool encoded)
{
    char buffer[MESSAGES_TEXT];
    bool fits = text.n < sizeof buffer;
    if (fits && encoded)
        fits = maillog_decode(text, buffer, sizeof buffer);
    else if (fits)
        fits = text.n == 0 || memchr(text.at, '\0', text.n) == NULL;
    if (!fits) {
        log->numbers.too_long++;
        return NULL;
    }
    return encoded ? strdup(buffer) : strndup(text.n > 0 ? text.at : "", text.n);
}

static void set_user(struct replay_log *log, struct mail *message, struct span user, bool encoded)
{
    free(message->user);
    message->user = user.n > 0 ? copy_text(log, user, encoded) : NULL;
    if (message->user != NULL)
        text_lower(message->user);
    message->known.user = message->user;
}

/* With one reference, the caller's. NULL: out of memory. */
static struct mail *message_new(struct replay_log *log, int host, int64_t time_ms,
                                const struct maillog_line *line, bool encoded)
{
    struct mail *message = messages_make(log->messages, host, time_ms);
    if (message == NULL) {
        log->stopped = true;
        return NULL;
    }
    message->known.client = client_of(line->text[MAILLOG_CLIENT_ADDRESS]);
    message->known.host = log->hosts[host].name;
    set_user(log, message, line->text[MAILLOG_USER], encoded);
    return message;
}

static void set_sender(struct replay_log *log, struct mail *message, struct span sender, bool encoded)
{
    if (message->sender == NULL)
        message->known.sender = message->sender = copy_text(log, sender, encoded);
}

static void name_message(struct replay_log *log, struct mail *message, struct span id)
{
    log->stopped = log->stopped || !messages_name(log->messages, message, id);
}

static struct mail *find_anywhere(struct replay_log *log, int host, struct span id)
{
    struct mail *message = messages_find(log->messages, host, id);
    for (int i = 0; i < log->n_hosts && message == NULL && id.n > 0; i++)
        message = i != host ? messages_find(log->messages, i, id) : NULL;
    return message;
}

/* One whose queue id is its own still. */
static struct mail *find_live(struct replay_log *log, int host, struct span id)
{
    struct mail *message = messages_find(log->messages, host, id);
    return message != NULL && !message->gone ? message : NULL;
}

/* The message of a line that tells of its queue: of the gate's lines where these are the source. */
static struct mail *find_queued(struct replay_log *log, int host, const struct maillog_line *line)
{
    struct span id = line->text[MAILLOG_QUEUE];
    int gate = log->hosts[host].gate;
    struct mail *message = gate != host ? find_live(log, gate, id) : NULL;
    return message != NULL ? message : find_live(log, host, id);
}

/* --- content filters and proxies --- */

static void give_back(struct replay_log *log, struct mail *message)
{
    if (message->given_back)
        return;
    message->given_back = true;
    log->numbers.given_back++;
    log->numbers.given_back_late += message->released;
}

/* Another server took the message under that id. Was that we ourselves, behind a filter? */
static void follow(struct replay_log *log, const struct mail *from, int host, int64_t time_ms, struct span id)
{
    struct mail *message = id.n > 0 ? find_anywhere(log, host, id) : NULL;
    if (message == NULL || message == from || !message->from_postfix ||
        message->time_ms > time_ms + TOGETHER_MS)
        return;
    if (from != NULL ? message->time_ms + TOGETHER_MS >= from->time_ms : message->host == host)
        give_back(log, message);
}

static void on_proxied(struct replay_log *log, int host, const struct maillog_line *line)
{
    struct proxy_client proxied = {.client = client_of(line->text[MAILLOG_CLIENT_ADDRESS])};
    struct span user = line->text[MAILLOG_USER];
    if (user.n < sizeof proxied.user)
        memcpy(proxied.user, user.at, user.n);
    proxies_put(log->proxies, host, line->text[MAILLOG_PID], &proxied);
    log->hosts[host].begun++;
}

static void set_client(struct replay_log *log, struct mail *message, const struct proxy_client *proxied)
{
    if (message->forwarded && !network_equal(&message->known.client, &proxied->client))
        return; /* XFORWARD says so, and of this message alone */
    message->known.client = proxied->client;
    if (proxied->user[0] != '\0')
        set_user(log, message, (struct span){proxied->user, strlen(proxied->user)}, false);
    log->numbers.forwarded += !message->forwarded;
    message->forwarded = true;
}

static void on_proxy_accept(struct replay_log *log, int host, const struct maillog_line *line)
{
    struct span id = line->text[MAILLOG_QUEUED_AS];
    const struct proxy_client *proxied = proxies_find(log->proxies, host, line->text[MAILLOG_PID]);
    struct mail *message = find_anywhere(log, host, id);
    if (proxied == NULL)
        return;
    log->hosts[host].finished++;
    if (message == NULL) /* its line comes later */
        proxies_put(log->proxies, PROXIES_BY_ID, id, proxied);
    else if (message->from_postfix)
        set_client(log, message, proxied);
}
/* --- decisions --- */

static bool same(const char *string, const char *other)
{
    return strcmp(string != NULL ? string : "", other != NULL ? other : "") == 0;
}

/* What a message is known by, until the other half comes: its first decision (of that sender; or of that client, whoever sends), or the
 * queue id that Postfix gave it. Either line may come first: processes write when they can. */
enum half { HALF_DECIDED, HALF_OF_CLIENT, HALF_NAMED };

static bool is_half(const struct mail *message, const struct mail *like, enum half half)
{
    if (message->host != like->host || message->named != (half == HALF_NAMED) ||
        !network_equal(&message->known.client, &like->known.client) || !same(message->user, like->user))
        return false;
    if (half == HALF_DECIDED)
        return same(message->sender, like->sender);
    return llabs(message->time_ms - like->time_ms) <= TOGETHER_MS;
}

/* The newest from that client that waits for its other half. Takes it out; the caller owns the reference. */
static struct mail *recent_take(struct replay_log *log, const struct mail *like, enum half half)
{
    for (size_t i = 1; i <= RECENT && i <= log->n_recent; i++) {
        struct mail **at = &log->recent[(log->n_recent - i) % RECENT];
        struct mail *message = *at;
        if (message == NULL || !is_half(message, like, half))
            continue;
        *at = NULL;
        return message;
    }
    return NULL;
}

static void recent_put(struct replay_log *log, struct mail *message)
{
    struct mail **at = &log->recent[log->n_recent++ % RECENT];
    messages_unref(log->messages, *at);
    message->references++;
    *at = message;
}

/* Else its queue id was that of another message, which never came to its end. */
static bool is_from(const struct mail *message, struct span sender)
{
    char text[MESSAGES_TEXT];
    return message->sender == NULL ||
           (maillog_decode(sender, text, sizeof text) && strcmp(text, message->sender) == 0);
}

/* The first accepted RCPT of a message has no queue id yet, the lines behind it name it. With one reference, the caller's. */
static struct mail *decided_message(struct replay_log *log, int host, int64_t time_ms,
                                    const struct maillog_line *line)
{
    struct span id = line->text[MAILLOG_QUEUE];
    struct mail *message = find_live(log, host, id);
    if (message != NULL && !message->from_postfix && is_from(message, line->text[MAILLOG_FROM])) {
        message->references++;
        return message;
    }
    message = message_new(log, host, time_ms, line, true);
    if (message == NULL)
        return NULL;
    set_sender(log, message, line->text[MAILLOG_FROM], true);
    enum half half = id.n > 0 ? HALF_DECIDED : HALF_NAMED;
    struct mail *first = id.n > 0 || line->through ? recent_take(log, message, half) : NULL;
    if (first != NULL) {
        set_sender(log, first, line->text[MAILLOG_FROM], true);
        messages_unref(log->messages, message);
        message = first;
    }
    name_message(log, message, id);
    return message;
}

static void on_decision(struct replay_log *log, int host, int64_t time_ms, const struct maillog_line *line)
{
    link_gate(log, host, line->text[MAILLOG_QUEUE]);
    struct mail *message = decided_message(log, host, time_ms, line);
    char *to = message != NULL ? copy_text(log, line->text[MAILLOG_TO], true) : NULL;
    if (to != NULL)
        hold_rcpt(log, message, time_ms, to, SOURCE_DECISION, line->through);
    if (message != NULL && line->text[MAILLOG_QUEUE].n == 0) {
        if (!line->through)
            (void)hold(log, message, REPLAY_END, time_ms, "");
        else if (!message->named)
            recent_put(log, message);
    }
    free(to);
    messages_unref(log->messages, message);
}

static void on_our_end(struct replay_log *log, int host, int64_t time_ms, const struct maillog_line *line)
{
    link_gate(log, host, line->text[MAILLOG_QUEUE]);
    log->hosts[host].ends = true;
    struct mail *message = decided_message(log, host, time_ms, line);
    if (message != NULL && !message->ended) {
        message->ended = true;
        if (line->size >= 0)
            message->known.size = line->size;
        (void)hold(log, message, line->through ? REPLAY_END : REPLAY_ABORT, time_ms, "");
    }
    messages_unref(log->messages, message);
}

/* --- Postfix --- */

/* The id of a message whose RCPT was decided: just now, else the id was that of another one, which never came to its end. */
static void name_decided(struct replay_log *log, struct mail *like, struct span id)
{
    like->host = log->hosts[like->host].gate;
    const struct mail *known = find_live(log, like->host, id);
    if (known != NULL && !known->from_postfix && like->time_ms - known->time_ms <= TOGETHER_MS)
        return;
    struct mail *first = recent_take(log, like, HALF_OF_CLIENT);
    name_message(log, first != NULL ? first : like, id);
    if (first == NULL)
        recent_put(log, like);
    messages_unref(log->messages, first);
}

static void on_client(struct replay_log *log, int host, int64_t time_ms, const struct maillog_line *line)
{
    struct span id = line->text[MAILLOG_QUEUE];
    link_postfix(log, host, time_ms, line);
    bool decided = is_decided(log, host, time_ms);
    const struct mail *origin = find_anywhere(log, host, line->text[MAILLOG_ORIGIN]);
    if (decided && (line->forwarded || line->text[MAILLOG_ORIGIN].n > 0))
        return;
    struct mail *made = message_new(log, host, time_ms, line, false);
    if (made == NULL)
        return;
    if (decided) {
        name_decided(log, made, id);
    } else {
        made->from_postfix = true;
        log->hosts[host].begun++;
        made->forwarded = line->forwarded;
        name_message(log, made, id);
        const struct proxy_client *proxied = proxies_find(log->proxies, PROXIES_BY_ID, id);
        if (origin != NULL && origin != made)
            give_back(log, made);
        else
            log->numbers.forwarded += line->forwarded;
        if (proxied != NULL)
            set_client(log, made, proxied);
    }
    messages_unref(log->messages, made);
}

static void on_milter_refused(struct replay_log *log, int host, int64_t time_ms,
                              const struct maillog_line *line)
{
    if (is_decided(log, host, time_ms))
        return;
    struct mail *message = find_live(log, host, line->text[MAILLOG_QUEUE]), *made = NULL;
    if (message == NULL)
        message = made = message_new(log, host, time_ms, line, false);
    if (message == NULL)
        return;
    message->from_postfix = true;
    set_sender(log, message, line->text[MAILLOG_FROM], false);
    char *to = copy_text(log, line->text[MAILLOG_TO], false);
    if (to != NULL)
        hold_rcpt(log, message, time_ms, to, SOURCE_REFUSAL, false);
    free(to);
    if (made != NULL)
        (void)hold(log, made, REPLAY_END, time_ms, "");
    messages_unref(log->messages, made);
}

static void finish(struct replay_log *log, struct mail *message)
{
    log->hosts[message->host].finished += message->from_postfix && message->named && !message->ended;
    message->ended = true;
}

static void on_queued(struct replay_log *log, int host, int64_t time_ms, const struct maillog_line *line)
{
    struct mail *message = find_queued(log, host, line);
    if (message == NULL || message->ended)
        return; /* not by SMTP, or another run of the queue */
    finish(log, message);
    message->known.size = line->size;
    if (message->sender == NULL && line->text[MAILLOG_FROM].n > 0 && !message->given_back) {
        message->known.sender_queued = true;
        log->numbers.queued_senders++;
    }
    set_sender(log, message, line->text[MAILLOG_FROM], false);
    (void)hold(log, message, REPLAY_END, time_ms, "");
}

static void on_delivery(struct replay_log *log, int host, int64_t time_ms, const struct maillog_line *line)
{
    struct mail *message = find_queued(log, host, line);
    follow(log, message, host, time_ms, line->text[MAILLOG_QUEUED_AS]);
    if (message == NULL) {
        log->numbers.unknown += !is_decided(log, host, time_ms);
        return;
    }
    if (!message->from_postfix || message->given_back)
        return;
    char *to = copy_text(log, line->text[MAILLOG_TO], false);
    enum messages_seen seen = to != NULL ? messages_see(log->messages, message, to) : SEEN_BEFORE;
    log->numbers.recipients += seen == SEEN_LOST;
    if (seen == SEEN_NEW)
        hold_rcpt(log, message, message->time_ms, to, SOURCE_DELIVERY, true);
    free(to);
}

/* A message that is gone from the queue is still known: a filter's answer that names it may come later. */
static void on_gone(struct replay_log *log, int host, int64_t time_ms, const struct maillog_line *line)
{
    struct mail *message = find_queued(log, host, line);
    if (message == NULL)
        return;
    if (line->kind == MAILLOG_ABORTED && !message->ended)
        (void)hold(log, message, REPLAY_ABORT, time_ms, "");
    log->numbers.dropped += line->kind == MAILLOG_DROPPED && message->from_postfix;
    finish(log, message);
    message->gone = true;
}

/* --- lines --- */

/* What a message's lines come after, where a clock of seconds does not tell. */
static int rank(const struct maillog_line *line)
{
    switch (line->kind) {
    case MAILLOG_MILTER_REFUSED:
        return line->text[MAILLOG_QUEUE].n > 0;
    case MAILLOG_QUEUED:
    case MAILLOG_OUR_END:
        return 2;
    case MAILLOG_DELIVERY:
        return 3;
    case MAILLOG_ABORTED:
    case MAILLOG_DROPPED:
    case MAILLOG_REMOVED:
        return 4;
    default:
        return 0;
    }
}

static bool earlier_line(const void *left, const void *right)
{
    const struct held_line *a = left, *b = right;
    if (a->time_ms != b->time_ms)
        return a->time_ms < b->time_ms;
    return a->rank != b->rank ? a->rank < b->rank : a->number < b->number;
}

static void play_line(struct replay_log *log)
{
    struct held_line *held = heap_pop(&log->lines);
    const struct maillog_line *line = &held->line;
    int64_t time_ms = held->time_ms;
    int host = held->host;
    switch (line->kind) {
    case MAILLOG_CLIENT:
        on_client(log, host, time_ms, line);
        break;
    case MAILLOG_PROXIED:
        on_proxied(log, host, line);
        break;
    case MAILLOG_PROXY_ACCEPT:
        on_proxy_accept(log, host, line);
        break;
    case MAILLOG_REFUSED:
        log->numbers.refused++;
        break;
    case MAILLOG_MILTER_REFUSED:
        on_milter_refused(log, host, time_ms, line);
        break;
    case MAILLOG_QUEUED:
        on_queued(log, host, time_ms, line);
        break;
    case MAILLOG_DELIVERY:
        on_delivery(log, host, time_ms, line);
        break;
    case MAILLOG_ABORTED:
    case MAILLOG_DROPPED:
    case MAILLOG_REMOVED:
        on_gone(log, host, time_ms, line);
        break;
    case MAILLOG_DECISION:
        on_decision(log, host, time_ms, line);
        break;
    case MAILLOG_OUR_END:
        on_our_end(log, host, time_ms, line);
        break;
    case MAILLOG_TURNED_AWAY:
        log->numbers.turned_away++;
        break;
    default:
        break;
    }
    free(held);
}

/* With its texts behind it. */
static struct held_line *line_copy(const struct maillog_line *line, int host, int64_t time_ms)
{
    size_t n = 0;
    for (int i = 0; i < MAILLOG_TEXTS; i++)
        n += line->text[i].n;
    struct held_line *held = malloc(sizeof *held + n);
    if (held == NULL)
        return NULL;
    held->time_ms = time_ms;
    held->host = host;
    held->rank = rank(line);
    held->line = *line;
    char *at = held->bytes;
    for (int i = 0; i < MAILLOG_TEXTS; i++) {
        struct span *text = &held->line.text[i];
        if (text->n > 0)
            memcpy(at, text->at, text->n);
        text->at = at;
        at += text->n;
    }
    return held;
}

/* As often as a syslogd says that it was. */
static void hold_line(struct replay_log *log, const struct maillog_line *line, int host, int64_t time_ms,
                      unsigned times)
{
    if (times > REPLAY_REPEATS) {
        log->numbers.repeats += times - REPLAY_REPEATS;
        times = REPLAY_REPEATS;
    }
    for (unsigned i = 0; i < times && !log->stopped; i++) {
        struct held_line *held = line_copy(line, host, time_ms);
        if (held == NULL) {
            log->stopped = true;
            return;
        }
        held->number = log->next_line++;
        if (log->lines.n == log->lines.max)
            play_line(log);
        heap_push(&log->lines, held);
    }
}

static bool may_repeat(enum maillog_kind kind)
{
    return kind == MAILLOG_DECISION || kind == MAILLOG_MILTER_REFUSED || kind == MAILLOG_REFUSED;
}

/* From its first decision line on, by time or in its file, a gate's lines are the source. */
static void note_source(struct replay_log *log, int host, enum maillog_kind kind, int64_t time_ms)
{
    struct host *known = &log->hosts[host];
    if (kind == MAILLOG_DECISION)
        known->decided_file = log->file;
    if (known->decided_file == log->file && time_ms < known->decided_ms)
        known->decided_ms = time_ms;
}

static void on_line(struct replay_log *log, const struct frame *frame, int64_t time_ms)
{
    struct maillog_line line;
    free(log->previous);
    log->previous = NULL;
    if (maillog_parse(frame, &line) == MAILLOG_OTHER)
        return;
    int host = host_index(log, line.text[MAILLOG_HOST]);
    note_source(log, host, line.kind, time_ms);
    hold_line(log, &line, host, time_ms, line.repeats);
    log->numbers.repeated += line.repeats - 1;
    if (may_repeat(line.kind))
        log->previous = line_copy(&line, host, time_ms);
}

static void on_repeated(struct replay_log *log, const struct frame *frame, int64_t time_ms)
{
    if (log->previous == NULL)
        return;
    log->numbers.repeated += frame->repeats;
    hold_line(log, &log->previous->line, log->previous->host, time_ms, frame->repeats);
}

static void on_frame(struct replay_log *log, enum frame_kind kind, const struct frame *frame)
{
    struct replay_numbers *numbers = &log->numbers;
    if (kind == FRAME_NOTHING)
        numbers->garbage++;
    if (kind == FRAME_NOTHING || frame->unread != FRAME_UNREAD_UNKNOWN)
        numbers->unread[frame->unread]++;
    numbers->undated += kind == FRAME_UNDATED;
    if (kind == FRAME_EMPTY || kind == FRAME_PART)
        return;
    int64_t time_ms = frame->date.set ? timeline_of(&log->timeline, &frame->date, &frame->outer) : 0;
    if (kind == FRAME_LINE) {
        on_line(log, frame, time_ms);
    } else if (kind == FRAME_REPEATED) {
        on_repeated(log, frame, time_ms);
    } else {
        free(log->previous);
        log->previous = NULL;
    }
}

bool replay_log_line(struct replay_log *log, const char *line, size_t n)
{
    struct frame frame;
    log->numbers.lines++;
    on_frame(log, frame_read(log->reader, (struct span){line, n}, &frame), &frame);
    return !log->stopped;
}

/* --- the whole --- */

/* A record that the last line of a file did not end. */
static void end_record(struct replay_log *log)
{
    struct frame frame;
    on_frame(log, frame_end(log->reader, &frame), &frame);
}

struct replay_log *replay_log_new(replay_each *each, void *arg)
{
    _Static_assert((int)FRAMES_UNREAD == (int)REPLAY_UNREAD, "as many as there are names");
    struct replay_log *log = calloc(1, sizeof *log);
    if (log == NULL)
        return NULL;
    log->each = each;
    log->arg = arg;
    timeline_init(&log->timeline);
    bool made = heap_init(&log->events, REPLAY_HELD, earlier_event);
    made = heap_init(&log->lines, REPLAY_LINES, earlier_line) && made;
    log->reader = frame_reader_new();
    log->messages = messages_new(on_message_gone, log);
    log->proxies = proxies_new();
    if (made && log->reader != NULL && log->messages != NULL && log->proxies != NULL)
        return log;
    replay_log_free(log);
    return NULL;
}

void replay_log_file(struct replay_log *log, int64_t modified_s)
{
    end_record(log);
    timeline_file(&log->timeline, modified_s);
    log->file++;
}

void replay_log_skipped(struct replay_log *log, uint64_t lines)
{
    log->numbers.lines += lines;
    log->numbers.long_lines += lines;
}

/* What the other layers counted, and dates as they proved to be. */
static void take_numbers(struct replay_log *log)
{
    struct replay_numbers *numbers = &log->numbers;
    const struct timeline_numbers *dates = &log->timeline.numbers;
    numbers->local = dates->local;
    numbers->other_zone = dates->other_zone;
    numbers->yearless = dates->yearless;
    numbers->twice = dates->twice;
    numbers->skipped = dates->skipped;
    numbers->back = dates->back;
    numbers->back_most_s = dates->back_most_s;
    numbers->back_at_ms = replay_log_shown(log, dates->back_at_ms);
    numbers->moved_years = dates->moved_years;
    numbers->leap = dates->leap;
    numbers->backwards = dates->backwards;
    numbers->forgotten = messages_forgotten(log->messages);
    for (int i = 0; i < log->n_hosts; i++)
        if (log->hosts[i].begun > log->hosts[i].finished)
            numbers->unfinished += log->hosts[i].begun - log->hosts[i].finished;
    if (log->first_ms != 0) {
        numbers->first_ms = replay_log_shown(log, log->first_ms);
        numbers->last_ms = replay_log_shown(log, log->last_ms);
    }
}

bool replay_log_end(struct replay_log *log)
{
    end_record(log);
    while (log->lines.n > 0)
        play_line(log);
    while (log->events.n > 0)
        release(log);
    take_numbers(log);
    return !log->stopped;
}

const struct replay_numbers *replay_log_numbers(const struct replay_log *log)
{
    return &log->numbers;
}

int64_t replay_log_shown(const struct replay_log *log, int64_t time_ms)
{
    return timeline_shown(&log->timeline, time_ms);
}

void replay_log_free(struct replay_log *log)
{
    if (log == NULL)
        return;
    while (log->lines.n > 0)
        free(heap_pop(&log->lines));
    while (log->events.n > 0) {
        struct held *held = heap_pop(&log->events);
        messages_unref(log->messages, held->message);
        free(held);
    }
    for (size_t i = 0; i < RECENT && log->messages != NULL; i++)
        messages_unref(log->messages, log->recent[i]);
    messages_free(log->messages);
    proxies_free(log->proxies);
    frame_reader_free(log->reader);
    heap_done(&log->lines);
    heap_done(&log->events);
    free(log->previous);
    free(log);
}
