/* The Redis client against a real redis-server: its calls. */
#include "calls.h"
#include "redis_server.h"
#include "redis_together.h"

#include <poll.h>
#include <sys/resource.h>

struct events {
    pthread_mutex_t mutex;
    int downs, ups, wrong; /* wrong: two of a kind in a row */
    bool last_down, any;
    char text[512];
};

static void events_note(void *arg, bool down, const char *text)
{
    struct events *events = arg;
    pthread_mutex_lock(&events->mutex);
    if (events->any && events->last_down == down)
        events->wrong++;
    events->any = true;
    events->last_down = down;
    *(down ? &events->downs : &events->ups) += 1;
    snprintf(events->text, sizeof events->text, "%s", text);
    pthread_mutex_unlock(&events->mutex);
}

static void events_get(struct events *events, int *downs, int *ups)
{
    pthread_mutex_lock(&events->mutex);
    *downs = events->downs;
    *ups = events->ups;
    assert_int_equal(events->wrong, 0);
    pthread_mutex_unlock(&events->mutex);
}

static struct redis_server server; /* one for all tests that leave it as they found it */

static void test_call(void **state)
{
    (void)state;
    struct redis_client *redis = client_of_path(server.socket);
    assert_repeat(redis, "hello");
    assert_repeat(redis, "");
    redisReply *reply = NULL;
    const char *argv[] = {"ECHO", "a\0b\r\n"};
    const size_t lens[] = {4, 5};
    assert_int_equal(
        redis_client_call(redis, &(struct redis_command){.argc = 2, .argv = argv, .lens = lens}, &reply),
        REDIS_ANSWERED);
    assert_int_equal(reply->len, 5);
    assert_memory_equal(reply->str, "a\0b\r\n", 5);
    freeReplyObject(reply);
    const char *wrong[] = {"NOSUCHCOMMAND"};
    assert_int_equal(redis_client_call(redis, &(struct redis_command){.argc = 1, .argv = wrong}, &reply),
                     REDIS_ANSWERED);
    assert_int_equal(reply->type, REDIS_REPLY_ERROR);
    freeReplyObject(reply);
    assert_condition(redis, "");
    assert_int_equal(redis_client_restarts(redis, 0), 0);
    redis_client_free(redis);
    redis_client_free(NULL);
}

static void test_database(void **state)
{
    (void)state;
    struct redis_client *redis =
        client(&(struct redis_config){TCP("127.0.0.1", server.port), .db = 3, .timeout_ms = TIMEOUT});
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    const char *argv[] = {"SET", "in-three", "1"};
    redisReply *reply = NULL;
    assert_int_equal(redis_client_call(redis, &(struct redis_command){.argc = 3, .argv = argv}, &reply),
                     REDIS_ANSWERED);
    freeReplyObject(reply);
    redis_client_free(redis);
    redisContext *context = server_connect(&server);
    freeReplyObject(redisCommand(context, "SELECT 3"));
    reply = redisCommand(context, "DEL in-three");
    assert_int_equal(reply->integer, 1);
    freeReplyObject(reply);
    freeReplyObject(redisCommand(context, "SELECT 0"));
    reply = redisCommand(context, "DBSIZE"); /* the probe has left nothing */
    assert_int_equal(reply->integer, 0);
    freeReplyObject(reply);
    redisFree(context);
    redis = client(&(struct redis_config){.path = server.socket, .db = 99, .timeout_ms = TIMEOUT});
    assert_condition(redis, "SELECT");
    assert_at_once(redis, REDIS_DOWN);
    redis_client_free(redis);
}

/* Where the system cannot wait at all the call is over long before its deadline. */
static void test_no_wait(void **state)
{
    (void)state;
    struct redis_client *redis = client_of_path(server.socket);
    struct rlimit limit, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0); /* poll() takes no more descriptors than that */
    redisReply *reply = NULL;
    enum redis_status status = repeat(redis, "word", LONG, &reply);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_not_equal(status, REDIS_ANSWERED);
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    assert_repeat(redis, "again");
    redis_client_free(redis);
}

enum { THREADS = 50, CALLS = 2000 };

struct herd {
    struct redis_client *redis;
    int number, calls;
    int wrong, answered;
};

static void *herd_main(void *arg)
{
    struct herd *self = arg;
    for (int i = 0; i < self->calls; i++) {
        char word[64];
        redisReply *reply = NULL;
        snprintf(word, sizeof word, "%d-%d-%.*s", self->number, i, i % 30,
                 "abcdefghijklmnopqrstuvwxyz1234567890");
        if (repeat(self->redis, word, 0, &reply) != REDIS_ANSWERED)
            continue;
        self->answered++;
        if (reply->type != REDIS_REPLY_STRING || strcmp(reply->str, word) != 0)
            self->wrong++;
        freeReplyObject(reply);
    }
    return NULL;
}

static int herd_run(struct redis_client *redis, int calls)
{
    pthread_t threads[THREADS];
    struct herd herd[THREADS] = {0};
    int answered = 0;
    for (int i = 0; i < THREADS; i++) {
        herd[i] = (struct herd){.redis = redis, .number = i, .calls = calls};
        assert_int_equal(pthread_create(&threads[i], NULL, herd_main, &herd[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(herd[i].wrong, 0);
        answered += herd[i].answered;
    }
    return answered;
}

static void test_threads(void **state)
{
    (void)state;
    struct redis_client *redis =
        client(&(struct redis_config){.path = server.socket, .timeout_ms = PATIENCE_MS});
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    assert_int_equal(herd_run(redis, CALLS), THREADS * CALLS);
    redis_client_free(redis);
    redis = client(&(struct redis_config){TCP("127.0.0.1", server.port), .timeout_ms = PATIENCE_MS});
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    assert_int_equal(herd_run(redis, CALLS / 10), THREADS * CALLS / 10);
    redis_client_free(redis);
}

static void test_large(void **state)
{
    (void)state;
    enum { SIZE = 1000 * 1000 };
    struct redis_client *redis =
        client(&(struct redis_config){.path = server.socket, .timeout_ms = PATIENCE_MS});
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    char *word = malloc(SIZE + 1);
    assert_non_null(word);
    memset(word, 'w', SIZE);
    word[SIZE] = '\0';
    assert_repeat(redis, word);
    assert_repeat(redis, "small");
    free(word);
    redis_client_free(redis);
}

static struct redis_script make_script(const char *source)
{
    struct redis_script script;
    redis_script_init(&script, source);
    return script;
}

static void test_sha(void **state)
{
    (void)state;
    char source[200];
    redisContext *context = server_connect(&server);
    assert_string_equal(make_script("abc").sha, "a9993e364706816aba3e25717850c26c9cd0d89d");
    for (int len = 11; len < 190; len++) { /* every place of the padding */
        memset(source, 'x', sizeof source);
        memcpy(source, "return 1 --", 11);
        source[len] = '\0';
        redisReply *reply = redisCommand(context, "SCRIPT LOAD %s", source);
        assert_int_equal(reply->type, REDIS_REPLY_STRING);
        assert_string_equal(make_script(source).sha, reply->str);
        freeReplyObject(reply);
    }
    redisFree(context);
}

static void assert_eval(struct redis_client *redis, const struct redis_script *script)
{
    redisReply *reply = NULL;
    const char *argv[] = {"key", "value"};
    const struct redis_command args = {.argc = 2, .argv = argv};
    assert_int_equal(redis_client_eval(redis, script, 1, &args, &reply), REDIS_ANSWERED);
    assert_int_equal(reply->type, REDIS_REPLY_ARRAY);
    assert_int_equal(reply->elements, 2);
    assert_string_equal(reply->element[0]->str, "key");
    assert_string_equal(reply->element[1]->str, "value");
    freeReplyObject(reply);
}

static void test_eval(void **state)
{
    (void)state;
    struct redis_client *redis = client_of_path(server.socket);
    struct redis_script script;
    redis_script_init(&script, "return {KEYS[1], ARGV[1]}");
    assert_eval(redis, &script);
    assert_eval(redis, &script);
    server_do(&server, "SCRIPT FLUSH");
    assert_eval(redis, &script);
    redisReply *reply = NULL;
    redis_script_init(&script, "return redis.error_reply('MINE is an ordinary error')");
    assert_int_equal(redis_client_eval(redis, &script, 0, &(struct redis_command){0}, &reply),
                     REDIS_ANSWERED);
    assert_int_equal(reply->type, REDIS_REPLY_ERROR);
    freeReplyObject(reply);
    assert_repeat(redis, "still here");
    redis_client_free(redis);
}

/* ---- calls of a script that join ---- */

static struct redis_client *patient_client(void)
{
    struct redis_client *redis =
        client(&(struct redis_config){.path = server.socket, .timeout_ms = PATIENCE_MS});
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    return redis;
}

struct joining {
    struct redis_client *redis;
    const struct redis_script *script;
    const char *key, *word;
    int64_t deadline;
    bool apart;
    enum redis_status status;
    redisReply *reply;
};

static void joining_call(void *arg)
{
    struct joining *self = arg;
    const char *argv[] = {self->key, self->word};
    const size_t lens[] = {strlen(self->key), strlen(self->word)};
    const struct redis_command args = {2, argv, lens, self->deadline, .joins = !self->apart};
    self->status = redis_client_eval(self->redis, self->script, 1, &args, &self->reply);
}

/* Each key and word of a call becomes "key word how many keys the call had": */
static const char joint_source[] =
    "local out = {} for i, key in ipairs(KEYS) do out[i] = key .. ' ' .. ARGV[1] .. ' ' .. #KEYS end "
    "return #KEYS == 1 and out[1] or out";

static void joining_run(struct joining *all, size_t n, struct redis_client *redis, const char *source)
{
    struct redis_script script;
    struct together together;
    redisContext *cli = server_connect(&server);
    redis_script_init(&script, source);
    together_begin(&together, redis, cli);
    for (size_t i = 0; i < n; i++) {
        all[i].redis = redis;
        all[i].script = &script;
        together_call(&together, joining_call, &all[i]);
    }
    together_go(&together);
    redisFree(cli);
}

static void joining_expect(struct joining *self, const char *text)
{
    assert_int_equal(self->status, REDIS_ANSWERED);
    assert_non_null(self->reply->str);
    assert_string_equal(self->reply->str, text);
    freeReplyObject(self->reply);
}

/* As one call, those whose words are the same; the others go as they came. The script is not there, and is then asked for by everybody. */
static void test_joint(void **state)
{
    (void)state;
    struct redis_client *redis = patient_client();
    for (int again = 0; again < 2; again++) {
        struct joining all[] = {{.key = "a", .word = "x"},  {.key = "b", .word = "xx"},
                                {.key = "c", .word = "x"},  {.key = "d", .word = "y"},
                                {.key = "a", .word = "x"},  {.key = "f", .word = "x", .apart = true},
                                {.key = "b", .word = "xx"}, {.key = "g", .word = ""}};
        if (again == 0)
            server_do(&server, "SCRIPT FLUSH");
        joining_run(all, 8, redis, joint_source);
        if (again == 0) { /* asked again, in the order in which they woke */
            for (size_t i = 0; i < 8; i++) {
                assert_int_equal(all[i].status, REDIS_ANSWERED);
                assert_memory_equal(all[i].reply->str, all[i].key, 1);
                freeReplyObject(all[i].reply);
            }
            continue;
        }
        static const char *const texts[] = {"a x 3", "b xx 2", "c x 3",  "d y 1",
                                            "a x 3", "f x 1",  "b xx 2", "g  1"};
        for (size_t i = 0; i < 8; i++)
            joining_expect(&all[i], texts[i]);
    }
    redis_client_free(redis);
}

static void test_joint_most(void **state)
{
    (void)state;
    enum { MANY = 2 * REDIS_JOINT_MOST + 3 };
    struct redis_client *redis = patient_client();
    struct joining all[MANY];
    char keys[MANY][8], text[32];
    for (int i = 0; i < MANY; i++) {
        snprintf(keys[i], sizeof keys[i], "%d", i);
        all[i] = (struct joining){.key = keys[i], .word = "x"};
    }
    joining_run(all, 1, redis, joint_source);
    joining_expect(&all[0], "0 x 1");
    joining_run(all, MANY, redis, joint_source);
    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof text, "%d x %d", i, i < 2 * REDIS_JOINT_MOST ? REDIS_JOINT_MOST : 3);
        joining_expect(&all[i], text);
    }
    redis_client_free(redis);
}

/* An error of the whole call is everybody's, an element that is one only that caller's; what is no list of so many is no answer. */
static void test_joint_errors(void **state)
{
    (void)state;
    struct redis_client *redis = patient_client();
    static const char second[] = "local out = {} for i = 1, #KEYS do "
                                 "out[i] = i == 2 and {err = 'MINE is one'} or 'well' end return out";
    static const char *const sources[] = {"return redis.error_reply('MINE is an error')", second,
                                          "return {1, 2, 3, 4}", "return 7"};
    for (size_t s = 0; s < 4; s++) {
        struct joining all[] = {
            {.key = "a", .word = "x"}, {.key = "b", .word = "x"}, {.key = "c", .word = "x"}};
        struct redis_script script;
        redis_script_init(&script, sources[s]);
        redisContext *cli = server_connect(&server);
        freeReplyObject(redisCommand(cli, "SCRIPT LOAD %s", sources[s]));
        redisFree(cli);
        joining_run(all, 3, redis, sources[s]);
        for (int i = 0; i < 3; i++) {
            bool error = s == 0 || (s == 1 && i == 1);
            assert_int_equal(all[i].status, REDIS_ANSWERED);
            assert_int_equal(all[i].reply->type, error    ? REDIS_REPLY_ERROR
                                                 : s == 1 ? REDIS_REPLY_STRING
                                                          : REDIS_REPLY_NIL);
            if (error)
                assert_memory_equal(all[i].reply->str, "MINE is", 7);
            freeReplyObject(all[i].reply);
        }
    }
    redis_client_free(redis);
}

/* Who has no time left goes, and the others have their answers. */
static void test_joint_late(void **state)
{
    (void)state;
    struct redis_client *redis = patient_client();
    struct joining all[] = {{.key = "a", .word = "x"},
                            {.key = "b", .word = "x", .deadline = clock_monotonic_ns()},
                            {.key = "c", .word = "x"}};
    joining_run(&all[2], 1, redis, joint_source);
    joining_expect(&all[2], "c x 1");
    joining_run(all, 3, redis, joint_source);
    joining_expect(&all[0], "a x 2");
    assert_int_equal(all[1].status, REDIS_DOWN);
    joining_expect(&all[2], "c x 2");
    redis_client_free(redis);
}

/* Its timeout holds for who sets no deadline. */
static void test_frozen(void **state)
{
    (void)state;
    struct events events = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct error err = {0};
    int downs, ups;
    struct redis_client *redis = redis_client_new(
        &(struct redis_config){.path = server.socket, .timeout_ms = 300}, events_note, &events, &err);
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    kill(server.pid, SIGSTOP);
    assert_lost(redis, 300);
    for (int i = 0; i < 20; i++)
        assert_at_once(redis, REDIS_DOWN);
    assert_condition(redis, "in time");
    kill(server.pid, SIGCONT);
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    assert_repeat(redis, "back");
    redis_client_free(redis);
    events_get(&events, &downs, &ups);
    assert_in_range(downs, 1, 20);
    assert_int_equal(ups, downs + 1);
}

/* The deadline that a caller hands down holds for all its calls, whatever the timeout is. */
static void test_deadline_is_handed_down(void **state)
{
    (void)state;
    struct redis_client *redis = client(&(struct redis_config){.path = server.socket, .timeout_ms = LONG});
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    const char *argv[] = {"ECHO", "word"};
    struct redis_command command = {.argc = 2, .argv = argv};
    redisReply *reply = NULL;
    int64_t whole = redis_client_deadline(redis, clock_monotonic_ns()) / 1000000;
    assert_in_range(whole - clock_monotonic_ms(), LONG - LATE, LONG);
    command.deadline = redis_client_deadline(redis, clock_monotonic_ns());
    assert_int_equal(redis_client_call(redis, &command, &reply), REDIS_ANSWERED);
    freeReplyObject(reply);
    kill(server.pid, SIGSTOP);
    assert_lost(redis, 0);
    kill(server.pid, SIGCONT);
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    command.deadline = 1; /* long ago: nothing is asked, and Redis is as well as before */
    assert_int_equal(redis_client_call(redis, &command, &reply), REDIS_DOWN);
    assert_repeat(redis, "still here");
    redis_client_free(redis);
}

struct freeze {
    struct redis_client *redis;
    atomic_bool ended;
};

/* Each time until the herd has found it, and longer: what it was asked by then is answered when nobody waits for it any more. */
static void *freeze_main(void *arg)
{
    struct freeze *self = arg;
    for (int i = 0; i < 3; i++) {
        (void)redis_client_wait(self->redis, PATIENCE_MS);
        nap(50);
        kill(server.pid, SIGSTOP);
        for (int64_t until = clock_monotonic_ms() + PATIENCE_MS;
             redis_client_is_up(self->redis) && clock_monotonic_ms() < until;)
            nap(5);
        nap(i * 100);
        kill(server.pid, SIGCONT);
    }
    atomic_store(&self->ended, true);
    return NULL;
}

/* A herd meets a server that freezes: each waits once at most, and nobody reads what another asked. */
static void test_frozen_herd(void **state)
{
    (void)state;
    pthread_t thread;
    struct redis_client *redis = client(&(struct redis_config){.path = server.socket, .timeout_ms = 100});
    struct freeze freeze = {.redis = redis};
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    assert_int_equal(pthread_create(&thread, NULL, freeze_main, &freeze), 0);
    while (!atomic_load(&freeze.ended))
        assert_true(herd_run(redis, 50) >= 0);
    pthread_join(thread, NULL);
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    redis_client_free(redis);
}

enum { CONNECTIONS = 3 }; /* two pipelines and the connector */

/* How many it has, and (ids, as Redis numbers them) which. */
static int list_connections(long ids[CONNECTIONS])
{
    redisContext *context = server_connect(&server);
    redisReply *reply = redisCommand(context, "CLIENT LIST");
    int n = 0;
    assert_non_null(reply);
    for (char *line = strtok(reply->str, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        if (strstr(line, " name=rcptgate ") == NULL)
            continue;
        if (n < CONNECTIONS)
            assert_int_equal(sscanf(line, "id=%ld", &ids[n]), 1);
        n++;
    }
    freeReplyObject(reply);
    redisFree(context);
    return n;
}

/* It has all its connections, and was idle long enough for the look before the next write. */
static void wait_settled(struct redis_client *redis)
{
    long before[CONNECTIONS], after[CONNECTIONS];
    bool settled = false;
    for (int64_t until = clock_monotonic_ms() + PATIENCE_MS; !settled && clock_monotonic_ms() < until;) {
        bool there = redis_client_is_up(redis) && list_connections(before) == CONNECTIONS;
        nap(50);
        settled = there && list_connections(after) == CONNECTIONS && memcmp(before, after, sizeof after) == 0;
    }
    assert_true(settled);
}

/* Kills all connections, and waits until that is seen at this end: Redis closes them in the order in which they came. */
static void kill_connections(void)
{
    redisContext *last = redisConnect("127.0.0.1", server.port);
    freeReplyObject(redisCommand(last, "PING"));
    server_do(&server, "CLIENT KILL TYPE normal SKIPME yes");
    assert_int_equal(poll(&(struct pollfd){.fd = last->fd, .events = POLLIN}, 1, PATIENCE_MS), 1);
    redisFree(last);
}

static void test_killed_while_idle(void **state)
{
    (void)state;
    const struct redis_address address = {"127.0.0.1", server.port};
    for (int tcp = 0; tcp <= 1; tcp++) {
        struct redis_client *redis = client(&(struct redis_config){.addresses = &address,
                                                                   .n_addresses = (size_t)tcp,
                                                                   .path = tcp ? NULL : server.socket,
                                                                   .timeout_ms = TIMEOUT});
        for (int answered = 0, unsettled = 0; answered < 5;) {
            redisReply *reply = NULL;
            assert_true(redis_client_wait(redis, PATIENCE_MS));
            assert_repeat(redis, "before");
            wait_settled(redis);
            kill_connections();
            if (repeat(redis, "after", LONG, &reply) == REDIS_ANSWERED) {
                assert_string_equal(reply->str, "after");
                freeReplyObject(reply);
                answered++;
            } else { /* the connector was about to make a connection all the same, and hung for long */
                assert_true(++unsettled <= 2);
            }
        }
        redis_client_free(redis);
    }
}

static void test_refused(void **state)
{
    (void)state;
    struct events events = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct error err = {0};
    int downs, ups;
    struct redis_client *redis =
        redis_client_new(&(struct redis_config){TCP("127.0.0.1", server_free_port()), .timeout_ms = TIMEOUT},
                         events_note, &events, &err);
    assert_false(redis_client_wait(redis, 50));
    assert_at_once(redis, REDIS_DOWN);
    assert_condition(redis, "refused");
    redis_client_free(redis);
    events_get(&events, &downs, &ups);
    assert_int_equal(downs, 1);
    assert_int_equal(ups, 0);
    assert_non_null(strstr(events.text, "refused"));
}

/* The states in which Redis answers and refuses: the call is DOWN, so are the next ones without asking, the
 * text says what to do, and it comes back by itself. */
static void test_node_states(void **state)
{
    (void)state;
    static const struct {
        const char *on[5], *off[5], *condition;
    } rows[] = {
        {{"CONFIG", "SET", "maxmemory", "1"}, {"CONFIG", "SET", "maxmemory", "0"}, "maxmemory"},
        {{"REPLICAOF", "127.0.0.1", "1"}, {"REPLICAOF", "NO", "ONE"}, "replica"},
        {{"CONFIG", "SET", "min-replicas-to-write", "1"},
         {"CONFIG", "SET", "min-replicas-to-write", "0"},
         "NOREPLICAS"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct redis_client *redis = client_of_path(server.socket);
        redisContext *context = server_connect(&server);
        const char *set[] = {"SET", "key", "value", "EX", "1"};
        redisReply *reply = NULL;
        int argc = rows[i].on[3] != NULL ? 4 : 3;
        freeReplyObject(redisCommandArgv(context, argc, (const char **)(uintptr_t)rows[i].on, NULL));
        assert_int_equal(redis_client_call(redis, &(struct redis_command){.argc = 5, .argv = set}, &reply),
                         REDIS_DOWN);
        assert_at_once(redis, REDIS_DOWN);
        assert_condition(redis, rows[i].condition);
        struct redis_client *other =
            client(&(struct redis_config){.path = server.socket, .timeout_ms = TIMEOUT});
        assert_condition(other, rows[i].condition); /* a probe sees it too */
        assert_false(redis_client_wait(other, 0) || redis_client_wait(redis, 0));
        argc = rows[i].off[3] != NULL ? 4 : 3;
        freeReplyObject(redisCommandArgv(context, argc, (const char **)(uintptr_t)rows[i].off, NULL));
        assert_true(redis_client_wait(redis, PATIENCE_MS) && redis_client_wait(other, PATIENCE_MS));
        redis_client_free(other);
        assert_condition(redis, "");
        assert_int_equal(redis_client_call(redis, &(struct redis_command){.argc = 5, .argv = set}, &reply),
                         REDIS_ANSWERED);
        freeReplyObject(reply);
        redisFree(context);
        redis_client_free(redis);
    }
}

static void test_busy(void **state)
{
    (void)state;
    struct redis_client *redis = client_of_path(server.socket);
    redisContext *context = server_connect(&server);
    server_do(&server, "CONFIG SET busy-reply-threshold 50");
    assert_int_equal(redisAppendCommand(context, "EVAL %s 0", "while true do end"), 0);
    int written = 0;
    assert_int_equal(redisBufferWrite(context, &written), 0);
    redisReply *reply = NULL;
    enum redis_status status;
    while ((status = repeat(redis, "not yet busy", LONG, &reply)) == REDIS_ANSWERED)
        freeReplyObject(reply);
    assert_int_equal(status, REDIS_DOWN);
    assert_condition(redis, "SCRIPT KILL");
    server_do(&server, "SCRIPT KILL");
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    assert_repeat(redis, "not busy");
    redisFree(context);
    redis_client_free(redis);
}

static int setup(void **state)
{
    (void)state;
    server_start(&server);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    server_remove(&server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_call),
        cmocka_unit_test(test_database),
        cmocka_unit_test(test_no_wait),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_sha),
        cmocka_unit_test(test_eval),
        cmocka_unit_test(test_joint),
        cmocka_unit_test(test_joint_most),
        cmocka_unit_test(test_joint_errors),
        cmocka_unit_test(test_joint_late),
        cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_deadline_is_handed_down),
        cmocka_unit_test(test_frozen_herd),
        cmocka_unit_test(test_killed_while_idle),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_node_states),
        cmocka_unit_test(test_busy),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
