/* sentinels: owns a connection to each, and what they said. Whatever a Sentinel answers, it is one answer: what makes no sense counts
 * as none. */
#include "sentinels.h"

#include "base/clock.h"
#include "connection.h"
#include "password.h"
#include "redis/answer.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A Sentinel is near and answers in less than a millisecond; none may hold up the others for long. */
static const int64_t ASK_MAX_NS = 250 * 1000000, REST_NS = 2000 * (int64_t)1000000;

struct sentinel {
    struct redis_host host;
    struct redis_connection *connection;
    int64_t rest_until; /* it kept us waiting the last time */
    struct error why;   /* it did not */
};

struct redis_sentinels {
    const struct redis_config *config;
    int wake_fd;
    struct redis_sentinels_choice choice;
    struct redis_master *said; /* room for what each says */
    size_t n;
    struct sentinel at[];
};

/* ---- what it says ---- */

/* The value of a field in the flat list of SENTINEL MASTER; "" where it is not. */
static const char *field(const redisReply *reply, const char *name)
{
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i + 1 < reply->elements; i += 2) {
        const redisReply *key = reply->element[i], *value = reply->element[i + 1];
        if (key->type == REDIS_REPLY_STRING && value->type == REDIS_REPLY_STRING &&
            strcmp(key->str, name) == 0)
            return value->str;
    }
    return "";
}

static bool read_host(const redisReply *reply, char *out, size_t size)
{
    if (!redis_answer_is_text(reply) || reply->len == 0 || reply->len >= size)
        return false;
    for (size_t i = 0; i < reply->len; i++)
        if (!isalnum((unsigned char)reply->str[i]) && strchr(".-_:%", reply->str[i]) == NULL)
            return false;
    memcpy(out, reply->str, reply->len + 1);
    return true;
}

/* A number in digits, from 0 to most; -1: it is none. */
static int64_t read_number(const char *text, int64_t most)
{
    size_t n = strspn(text, "0123456789");
    if (n < 1 || n > 18 || text[n] != '\0')
        return -1;
    int64_t number = strtoll(text, NULL, 10);
    return number <= most ? number : -1;
}

/* A failover under way is seen at the Sentinel that leads it. */
bool redis_sentinels_read(redisReply *const *replies, struct redis_master *out)
{
    const redisReply *master = replies[0], *address = replies[1];
    struct redis_master said = {0};
    if (address->type != REDIS_REPLY_ARRAY || address->elements != 2 ||
        !read_host(address->element[0], said.host, sizeof said.host) ||
        address->element[1]->type != REDIS_REPLY_STRING)
        return false;
    said.port = (int)read_number(address->element[1]->str, 65535);
    said.epoch = read_number(field(master, "config-epoch"), INT64_MAX);
    const char *port = field(master, "port");
    bool switching = strcmp(field(master, "ip"), said.host) != 0 || read_number(port, 65535) != said.port;
    said.leaving = !switching && strstr(field(master, "flags"), "failover_in_progress") != NULL;
    *out = said;
    return said.port > 0 && said.epoch >= 0;
}

static bool judge(const struct redis_config *config, const char *who, redisReply *const *replies,
                  struct redis_master *out, struct error *err)
{
    if (redis_sentinels_read(replies, out))
        return true;
    const char *text = replies[0]->type == REDIS_REPLY_ERROR ? replies[0]->str : "";
    if (strncmp(text, "ERR No such master", 18) == 0)
        error_set(err,
                  "the Sentinel at %s knows no master \"%s\": see its \"sentinel monitor\", and counters.url",
                  who, config->master);
    else if (text[0] != '\0')
        error_set(err, "the Sentinel at %s says \"%.160s\"", who, text);
    else
        error_set(err, "the Sentinel at %s names no master: is it a Sentinel that listens there?", who);
    return false;
}

/* ---- asking ---- */

/* False: it names no master. */
static bool sentinel_call(struct sentinel *sentinel, const struct redis_config *config, const char *who,
                          int64_t deadline, struct redis_master *out, struct error *err)
{
    const char *const *const questions[] = {
        (const char *[]){"SENTINEL", "MASTER", config->master, NULL},
        (const char *[]){"SENTINEL", "GET-MASTER-ADDR-BY-NAME", config->master, NULL},
    };
    enum { QUESTIONS = sizeof questions / sizeof questions[0] };
    redisReply *replies[QUESTIONS];
    if (redis_connection_ask(sentinel->connection, questions, QUESTIONS, deadline, replies, err) !=
        REDIS_CONNECTION_OK)
        return false;
    bool good = judge(config, who, replies, out, err);
    for (int i = 0; i < QUESTIONS; i++)
        freeReplyObject(replies[i]);
    return good;
}

static struct redis_endpoint *sentinel_endpoint(const struct sentinel *sentinel,
                                                const struct redis_config *config, struct redis_tls *tls,
                                                int i, struct error *err)
{
    char password[PASSWORD_MAX];
    struct redis_login login = {.host = sentinel->host.name, .note = " (a Sentinel)", .tls = tls};
    if (config->sentinel_password_file != NULL) {
        if (redis_password_read(config->sentinel_password_file, "counters.sentinel_password_file", password,
                                err) != 0)
            return NULL;
        login.password = password;
    }
    const struct redis_host_address *address = &sentinel->host.addresses[i];
    struct redis_endpoint *endpoint =
        redis_endpoint_new((const struct sockaddr *)&address->addr, address->len, &login);
    if (endpoint == NULL)
        error_set(err, "out of memory");
    explicit_bzero(password, sizeof password);
    return endpoint;
}

static bool sentinel_connect(struct sentinel *sentinel, const struct redis_config *config,
                             struct redis_tls *tls, int wake_fd, int64_t wait_ns, struct error *err)
{
    struct error lookup = {0};
    if (redis_host_resolve(&sentinel->host, wake_fd, &lookup) != 0)
        error_set(err, "%s", lookup.text);
    for (int i = 0; i < sentinel->host.n_addresses; i++) {
        struct redis_endpoint *endpoint = sentinel_endpoint(sentinel, config, tls, i, err);
        if (endpoint == NULL)
            return false;
        enum redis_connection_status status =
            redis_connection_open(sentinel->connection, endpoint, clock_monotonic_ns() + wait_ns, err, NULL);
        redis_endpoint_unref(endpoint);
        if (status == REDIS_CONNECTION_OK)
            return true;
    }
    return false;
}

static bool sentinel_ask(struct redis_sentinels *sentinels, struct sentinel *sentinel, struct redis_tls *tls,
                         struct redis_master *out, struct error *err)
{
    const struct redis_config *config = sentinels->config;
    char who[300];
    int64_t wait_ns = config->timeout_ms * 1000000 < ASK_MAX_NS ? config->timeout_ms * 1000000 : ASK_MAX_NS;
    redis_config_address(&(struct redis_address){sentinel->host.name, sentinel->host.port}, who, sizeof who);
    int64_t began = clock_monotonic_ns();
    if (!redis_connection_is_quiet(sentinel->connection, true))
        redis_connection_close(sentinel->connection);
    bool good = (redis_connection_is_open(sentinel->connection) ||
                 sentinel_connect(sentinel, config, tls, sentinels->wake_fd, wait_ns, err)) &&
                sentinel_call(sentinel, config, who, clock_monotonic_ns() + wait_ns, out, err);
    if (!good) {
        int64_t now = clock_monotonic_ns();
        redis_connection_close(sentinel->connection);
        sentinel->rest_until = now + (now - began > wait_ns / 2 ? REST_NS : 0);
    }
    return good;
}

/* ---- the choice ---- */

static void address_of(const struct redis_master *master, char out[300])
{
    redis_config_address(&(struct redis_address){master->host, master->port}, out, 300);
}

static bool same_address(const struct redis_master *a, const struct redis_master *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* Of two addresses under one epoch, that one is new which was not known before. */
static void choice_take(struct redis_sentinels_choice *choice, const struct redis_master *said, bool cold)
{
    struct redis_master *now = &choice->now;
    bool same = same_address(said, now), newer = now->host[0] == '\0' || said->epoch > now->epoch;
    char address[300];
    address_of(said, address);
    if (!newer && (cold || same || said->epoch < now->epoch || strcmp(address, choice->former) == 0))
        return;
    choice->former[0] = '\0';
    if (!same && now->host[0] != '\0')
        address_of(now, choice->former);
    *now = *said;
}

void redis_sentinels_choose(struct redis_sentinels_choice *choice, const struct redis_master *said, size_t n)
{
    bool cold = choice->now.host[0] == '\0';
    for (size_t i = 0; i < n; i++)
        choice_take(choice, &said[i], cold);
    choice->now.leaving = false;
    choice->now.disputed = n > 0;
    for (size_t i = 0; i < n; i++) {
        bool same = same_address(&said[i], &choice->now);
        choice->now.leaving = choice->now.leaving || (same && said[i].leaving);
        choice->now.disputed = choice->now.disputed && !same && said[i].epoch < choice->now.epoch;
    }
}

/* ---- all of them ---- */

int redis_sentinels_ask(struct redis_sentinels *sentinels, struct redis_tls *tls, struct redis_master *out,
                        struct error *err)
{
    struct redis_master *said = sentinels->said;
    struct error why = {0};
    int n = 0;
    for (size_t i = 0; i < sentinels->n; i++) {
        struct sentinel *sentinel = &sentinels->at[i];
        if (clock_monotonic_ns() >= sentinel->rest_until) {
            sentinel->why = (struct error){0};
            n += sentinel_ask(sentinels, sentinel, tls, &said[n], &sentinel->why);
        }
        if (sentinel->why.text[0] != '\0')
            error_set(&why, "%s", sentinel->why.text);
    }
    redis_sentinels_choose(&sentinels->choice, said, (size_t)n);
    *out = sentinels->choice.now;
    if (n == 0)
        *err = why;
    return n;
}

size_t redis_sentinels_count(const struct redis_sentinels *sentinels)
{
    return sentinels->n;
}

const struct redis_host *redis_sentinels_host(const struct redis_sentinels *sentinels, size_t i)
{
    return &sentinels->at[i].host;
}

const char *redis_sentinels_reason(const struct redis_sentinels *sentinels, size_t i)
{
    return sentinels->at[i].why.text;
}

struct redis_sentinels *redis_sentinels_new(const struct redis_config *config, int wake_fd)
{
    struct redis_sentinels *sentinels =
        calloc(1, sizeof *sentinels + config->n_addresses * sizeof sentinels->at[0]);
    if (sentinels == NULL)
        return NULL;
    sentinels->config = config;
    sentinels->wake_fd = wake_fd;
    sentinels->n = config->n_addresses;
    sentinels->said = calloc(config->n_addresses, sizeof *sentinels->said);
    bool good = sentinels->said != NULL;
    for (size_t i = 0; i < sentinels->n; i++) {
        sentinels->at[i].host =
            (struct redis_host){.name = config->addresses[i].host, .port = config->addresses[i].port};
        sentinels->at[i].connection = redis_connection_new();
        good = good && sentinels->at[i].connection != NULL;
    }
    if (good)
        return sentinels;
    redis_sentinels_free(sentinels);
    return NULL;
}

void redis_sentinels_free(struct redis_sentinels *sentinels)
{
    if (sentinels == NULL)
        return;
    for (size_t i = 0; i < sentinels->n; i++) {
        redis_host_done(&sentinels->at[i].host);
        redis_connection_free(sentinels->at[i].connection);
    }
    free(sentinels->said);
    free(sentinels);
}
