/* The Redis client against a real redis-server, and against a scripted peer for what a real one cannot be made to say.
 * Times are bounded generously from above: the machine may be busy; TIMEOUT is far from both ends. */
#include "redis/client.h"
#include "errors.h"

#include "peer.h"
#include "rights.h"
#include "base/clock.h"
#include "patience.h"
#include "redis_server.h"
#include "redis_together.h"

#include <fcntl.h>
#include <netdb.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include <cmocka.h>

enum {
    TIMEOUT = 1000,          /* of a call, ms */
    LATE = 5000,             /* a call may overrun by this where the machine is busy */
    AT_ONCE = TIMEOUT - 100, /* what does not wait at all */
    HANG = 3000,             /* of the name service */
};

/* ---- helpers ---- */

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

#define TCP(name, number) .addresses = &(const struct redis_address){name, number}, .n_addresses = 1

static struct redis_client *client(const struct redis_config *config)
{
    struct error err = {0};
    struct redis_client *redis = redis_client_new(config, NULL, NULL, &err);
    assert_non_null(redis);
    assert_string_equal(err.text, "");
    return redis;
}

static struct redis_client *client_of_path(const char *path)
{
    struct redis_client *redis = client(&(struct redis_config){.path = path, .timeout_ms = TIMEOUT});
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    return redis;
}

static enum redis_status repeat(struct redis_client *redis, const char *word, redisReply **reply)
{
    const char *argv[] = {"ECHO", word};
    return redis_client_call(redis, &(struct redis_command){.argc = 2, .argv = argv}, reply);
}

/* Calls, and asserts that the answer is the right one. */
static void assert_repeat(struct redis_client *redis, const char *word)
{
    redisReply *reply = NULL;
    assert_int_equal(repeat(redis, word, &reply), REDIS_ANSWERED);
    assert_int_equal(reply->type, REDIS_REPLY_STRING);
    assert_string_equal(reply->str, word);
    freeReplyObject(reply);
}

static void assert_status(struct redis_client *redis, enum redis_status expected, int64_t at_least,
                          int64_t at_most)
{
    redisReply *untouched = (void *)redis, *reply = untouched;
    int64_t start = clock_monotonic_ms();
    assert_int_equal(repeat(redis, "word", &reply), expected);
    int64_t took = clock_monotonic_ms() - start;
    assert_ptr_equal(reply, untouched);
    assert_in_range(took, at_least, at_most);
}

static void assert_condition(struct redis_client *redis, const char *part)
{
    struct error condition = {0};
    int64_t until = clock_monotonic_ms() + PATIENCE_MS;
    do {
        redis_client_condition(redis, &condition);
        if (part[0] == '\0' ? condition.text[0] == '\0' : strstr(condition.text, part) != NULL)
            return;
        nap(10);
    } while (clock_monotonic_ms() < until);
    fail_msg("condition is \"%s\", expected \"%s\"", condition.text, part);
}

static void wait_restarts(struct redis_client *redis, unsigned restarts)
{
    for (int64_t until = clock_monotonic_ms() + PATIENCE_MS;
         redis_client_restarts(redis, 0) != restarts && clock_monotonic_ms() < until;)
        nap(10);
    assert_int_equal(redis_client_restarts(redis, 0), restarts);
}

static struct redis_server server; /* one for all tests that leave it as they found it */

/* ---- a real server ---- */

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
    assert_status(redis, REDIS_DOWN, 0, AT_ONCE);
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
    enum redis_status status = repeat(redis, "word", &reply);
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
        if (repeat(self->redis, word, &reply) != REDIS_ANSWERED)
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
    static const char *const sources[] = {"return redis.error_reply('MINE is an error')",
                                          "local out = {} for i = 1, #KEYS do out[i] = i == 2 and {err = "
                                          "'MINE is one'} or 'well' end return out",
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

static void test_frozen(void **state)
{
    (void)state;
    struct events events = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct error err = {0};
    int downs, ups;
    struct redis_client *redis = redis_client_new(
        &(struct redis_config){.path = server.socket, .timeout_ms = TIMEOUT}, events_note, &events, &err);
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    kill(server.pid, SIGSTOP);
    assert_status(redis, REDIS_LOST, TIMEOUT - 1, TIMEOUT + LATE);
    for (int i = 0; i < 20; i++)
        assert_status(redis, REDIS_DOWN, 0, AT_ONCE);
    assert_condition(redis, "in time");
    kill(server.pid, SIGCONT);
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    assert_repeat(redis, "back");
    redis_client_free(redis);
    events_get(&events, &downs, &ups);
    assert_in_range(downs, 1, 20);
    assert_int_equal(ups, downs + 1);
}

/* A herd meets a server that freezes: each waits once at most, and nobody reads what another asked. */
static void *freeze_main(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        nap(100);
        kill(server.pid, SIGSTOP);
        nap(600);
        kill(server.pid, SIGCONT);
    }
    return NULL;
}

/* The deadline that a caller hands down holds for all its calls, whatever the timeout is; who sets none has the timeout. */
static void test_deadline_is_handed_down(void **state)
{
    (void)state;
    struct redis_client *redis =
        client(&(struct redis_config){.path = server.socket, .timeout_ms = 10 * LATE});
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    const char *argv[] = {"ECHO", "word"};
    struct redis_command command = {.argc = 2, .argv = argv};
    redisReply *reply = NULL;
    int64_t start = clock_monotonic_ms(), whole = redis_client_deadline(redis) / 1000000;
    assert_in_range(whole - clock_monotonic_ms(), 9 * LATE, 10 * LATE);
    command.deadline = redis_client_deadline(redis);
    assert_int_equal(redis_client_call(redis, &command, &reply), REDIS_ANSWERED);
    freeReplyObject(reply);
    kill(server.pid, SIGSTOP);
    command.deadline = clock_monotonic_ns() + INT64_C(100000000);
    assert_int_equal(redis_client_call(redis, &command, &reply), REDIS_LOST);
    assert_in_range(clock_monotonic_ms() - start, 99, 2 * LATE);
    kill(server.pid, SIGCONT);
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    command.deadline = 1; /* long ago: nothing is asked, and Redis is as well as before */
    assert_int_equal(redis_client_call(redis, &command, &reply), REDIS_DOWN);
    assert_repeat(redis, "still here");
    redis_client_free(redis);
}

static void test_frozen_herd(void **state)
{
    (void)state;
    pthread_t thread;
    struct redis_client *redis = client(&(struct redis_config){.path = server.socket, .timeout_ms = 100});
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    assert_int_equal(pthread_create(&thread, NULL, freeze_main, NULL), 0);
    for (int64_t until = clock_monotonic_ms() + 2200; clock_monotonic_ms() < until;)
        assert_true(herd_run(redis, 50) >= 0);
    pthread_join(thread, NULL);
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    redis_client_free(redis);
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
        assert_true(redis_client_wait(redis, PATIENCE_MS));
        for (int i = 0; i < 5; i++) {
            assert_repeat(redis, "before");
            nap(40); /* idle, so that the look before the write happens */
            server_do(&server, "CLIENT KILL TYPE normal SKIPME yes");
            assert_true(redis_client_wait(
                redis, PATIENCE_MS)); /* the connector may have been in the middle of connecting */
            assert_repeat(redis, "after");
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
    assert_false(redis_client_wait(redis, 300));
    assert_status(redis, REDIS_DOWN, 0, AT_ONCE);
    assert_condition(redis, "refused");
    redis_client_free(redis);
    events_get(&events, &downs, &ups);
    assert_int_equal(downs, 1);
    assert_int_equal(ups, 0);
    assert_non_null(strstr(events.text, "refused"));
}

static void write_password(const char *path, const char *password)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(password, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void test_password(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/password", server.dir);
    server_do(&server, "CONFIG SET requirepass secret");
    server.password = "secret";
    struct redis_client *redis = client(&(struct redis_config){.path = server.socket, .timeout_ms = TIMEOUT});
    assert_condition(redis, "NOAUTH");
    assert_condition(redis, "password_file");
    assert_status(redis, REDIS_DOWN, 0, AT_ONCE);
    redis_client_free(redis);
    redis = client(&(struct redis_config){.path = server.socket, .password = "guess", .timeout_ms = TIMEOUT});
    assert_condition(redis, "WRONGPASS");
    redis_client_free(redis);
    redis = client(&(struct redis_config){
        .path = server.socket, .user = "default", .password = "secret", .timeout_ms = TIMEOUT});
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    assert_repeat(redis, "user and password");
    redis_client_free(redis);
    redis =
        client(&(struct redis_config){.path = server.socket, .password_file = path, .timeout_ms = TIMEOUT});
    assert_condition(redis, "No such file");
    write_password(path, "");
    assert_condition(redis, "is empty");
    write_password(path, "guess\n");
    assert_condition(redis, "WRONGPASS");
    write_password(path, "secret\n");
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    assert_repeat(redis, "from the file");
    redis_client_free(redis);
    server_do(&server, "CONFIG SET requirepass %s", "");
    server.password = NULL;
    redis =
        client(&(struct redis_config){.path = server.socket, .password = "needless", .timeout_ms = TIMEOUT});
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    assert_condition(redis, "has no password");
    redis_client_free(redis);
}

static void test_acl(void **state)
{
    (void)state;
    struct redis_config config = {
        .path = server.socket, .user = "gate", .password = "p", .timeout_ms = TIMEOUT};
    server_do(&server, "ACL SETUSER gate reset on >p ~rcptgate:* +@scripting +setrange +echo");
    struct redis_client *redis = client(&config);
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    assert_condition(redis, "+info");
    const char *argv[] = {"GET", "rcptgate:x"};
    redisReply *reply = NULL;
    assert_int_equal(redis_client_call(redis, &(struct redis_command){.argc = 2, .argv = argv}, &reply),
                     REDIS_DOWN);
    assert_condition(redis, "NOPERM");
    assert_repeat(redis, "what is allowed still is");
    server_do(&server, "ACL SETUSER gate ~rcptgate:* -evalsha");
    assert_int_equal(redis_client_call(redis, &(struct redis_command){.argc = 2, .argv = argv}, &reply),
                     REDIS_DOWN);
    for (int64_t until = clock_monotonic_ms() + PATIENCE_MS;
         redis_client_wait(redis, 0) && clock_monotonic_ms() < until;)
        nap(10);
    assert_status(redis, REDIS_DOWN, 0, AT_ONCE);
    assert_condition(redis, "NOPERM");
    server_do(&server, "ACL SETUSER gate +evalsha");
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    redis_client_free(redis);
    config.prefix = "elsewhere";
    redis = client(&config);
    assert_condition(redis, "NOPERM");
    redis_client_free(redis);
    server_do(&server, "ACL DELUSER gate");
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
        assert_status(redis, REDIS_DOWN, 0, AT_ONCE);
        assert_condition(redis, rows[i].condition);
        assert_false(redis_client_wait(redis, 500)); /* the probe sees it too */
        argc = rows[i].off[3] != NULL ? 4 : 3;
        freeReplyObject(redisCommandArgv(context, argc, (const char **)(uintptr_t)rows[i].off, NULL));
        assert_true(redis_client_wait(redis, PATIENCE_MS));
        assert_condition(redis, "");
        assert_int_equal(redis_client_call(redis, &(struct redis_command){.argc = 5, .argv = set}, &reply),
                         REDIS_ANSWERED);
        freeReplyObject(reply);
        redisFree(context);
        redis_client_free(redis);
    }
}

static void test_max_clients(void **state)
{
    (void)state;
    redisContext *held = server_connect(&server), *more[8];
    freeReplyObject(redisCommand(held, "CONFIG SET maxclients 5"));
    for (int i = 0; i < 8; i++) {
        more[i] = server_connect(&server); /* writes nothing: hiredis raises SIGPIPE, and here it is deadly */
    }
    nap(100);
    struct redis_client *redis = client(&(struct redis_config){.path = server.socket, .timeout_ms = TIMEOUT});
    assert_condition(redis, "maxclients");
    freeReplyObject(redisCommand(held, "CONFIG SET maxclients 1000"));
    for (int i = 0; i < 8; i++)
        redisFree(more[i]);
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    redis_client_free(redis);
    redisFree(held);
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
    nap(200);
    assert_status(redis, REDIS_DOWN, 0, TIMEOUT + LATE);
    assert_condition(redis, "SCRIPT KILL");
    server_do(&server, "SCRIPT KILL");
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    assert_repeat(redis, "not busy");
    redisFree(context);
    redis_client_free(redis);
}

static void test_eviction(void **state)
{
    (void)state;
    server_do(&server, "CONFIG SET maxmemory-policy allkeys-lru");
    struct redis_client *redis = client_of_path(server.socket);
    assert_condition(redis, "allkeys-lru");
    assert_repeat(redis, "it works all the same");
    server_do(&server, "CONFIG SET maxmemory-policy noeviction");
    assert_condition(redis, "");
    redis_client_free(redis);
}

static void test_restart(void **state)
{
    (void)state;
    struct redis_client *redis = client_of_path(server.socket);
    assert_repeat(redis, "one");
    server_kill(&server);
    for (int64_t until = clock_monotonic_ms() + PATIENCE_MS;
         redis_client_wait(redis, 0) && clock_monotonic_ms() < until;)
        nap(5); /* noticed without a call */
    assert_status(redis, REDIS_DOWN, 0, AT_ONCE);
    server_launch(&server);
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    assert_repeat(redis, "two");
    wait_restarts(redis, 1);
    redis_client_free(redis);
}

/* ---- the scripted peer ---- */

static struct peer *peer_new(void)
{
    struct peer *peer = malloc(sizeof *peer);
    assert_non_null(peer);
    peer_start(peer);
    return peer;
}

static void peer_free(struct peer *peer)
{
    peer_stop(peer);
    free(peer);
}

/* Whatever the peer does, a call ends in time, the breaker is open then, and when the peer is well again so
 * is the client; no answer is ever read as another's. */
static void test_peer(void **state)
{
    (void)state;
    static const struct {
        enum peer_mode mode;
        int64_t at_least;
    } rows[] = {
        {PEER_DRIP, TIMEOUT - 1}, {PEER_LATE, TIMEOUT - 1}, {PEER_SILENT, TIMEOUT - 1}, {PEER_HANGUP, 0},
        {PEER_HALF, 0},           {PEER_TRUNCATE, 0},       {PEER_GARBAGE, 0},          {PEER_HUGE_BULK, 0},
        {PEER_HUGE_ARRAY, 0},     {PEER_DEEP, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct peer *peer = peer_new();
        struct redis_client *redis = client_of_path(peer->path);
        redisReply *reply = NULL;
        char word[64];
        memset(word, 'w', sizeof word);
        word[sizeof word - 1] = '\0';
        assert_repeat(redis, word);
        atomic_store(&peer->late_ms, TIMEOUT + 200);
        atomic_store(&peer->mode, rows[i].mode);
        int64_t start = clock_monotonic_ms();
        assert_int_equal(repeat(redis, word, &reply), REDIS_LOST);
        assert_in_range(clock_monotonic_ms() - start, rows[i].at_least, TIMEOUT + LATE);
        assert_status(redis, REDIS_DOWN, 0, AT_ONCE);
        atomic_store(&peer->mode, PEER_WELL);
        assert_true(redis_client_wait(redis, PATIENCE_MS));
        for (int n = 0; n < 50; n++) {
            snprintf(word, sizeof word, "answer-%d", n);
            assert_repeat(redis, word);
            if (rows[i].mode == PEER_LATE)
                nap(10);
        }
        redis_client_free(redis);
        peer_free(peer);
    }
}

static void test_peer_twice(void **state)
{
    (void)state;
    struct peer *peer = peer_new();
    struct redis_client *redis = client_of_path(peer->path);
    atomic_store(&peer->mode, PEER_TWICE);
    for (int i = 0; i < 10; i++) { /* an answer too many must not become the next one's */
        char word[32];
        redisReply *reply = NULL;
        snprintf(word, sizeof word, "word-%d", i);
        if (repeat(redis, word, &reply) == REDIS_ANSWERED) {
            assert_string_equal(reply->str, word);
            freeReplyObject(reply);
        }
        nap(30);
    }
    redis_client_free(redis);
    peer_free(peer);
}

static void test_peer_errors(void **state)
{
    (void)state;
    static const struct {
        const char *error, *advice;
    } rows[] = {
        {"LOADING Redis is loading the dataset in memory", "loaded"},
        {"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "replica"},
        {"MISCONF Redis is configured to save RDB snapshots, but", "disk"},
        {"MOVED 3999 127.0.0.1:6381", "redis+cluster"},
        {"ASK 3999 127.0.0.1:6381", "redis+cluster"},
        {"TRYAGAIN Multiple keys request during rehashing of slot", "redis+cluster"},
        {"CLUSTERDOWN Hash slot not served", "redis+cluster"},
        {"NOAUTH Authentication required.", "password"},
        {"ERR Error running script (call to f_x): @user_script:1: @user_script: 1: -OOM command not allowed",
         "maxmemory"},
    };
    struct peer *peer = peer_new();
    struct redis_client *redis = client_of_path(peer->path);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        atomic_store(&peer->error, rows[i].error);
        atomic_store(&peer->probe_error, rows[i].error);
        atomic_store(&peer->mode, PEER_ERROR);
        assert_status(redis, REDIS_DOWN, 0, TIMEOUT + LATE);
        assert_condition(redis, rows[i].advice);
        int asked = atomic_load(&peer->commands);
        for (int n = 0; n < 100; n++)
            assert_status(redis, REDIS_DOWN, 0, AT_ONCE);
        assert_int_equal(atomic_load(&peer->commands), asked); /* not hammered */
        assert_false(redis_client_wait(redis, 200));
        atomic_store(&peer->probe_error, NULL);
        atomic_store(&peer->mode, PEER_WELL);
        assert_true(redis_client_wait(redis, PATIENCE_MS));
    }
    redis_client_free(redis);
    peer_free(peer);
}

static void test_peer_greeting(void **state)
{
    (void)state;
    struct peer *peer = peer_new();
    atomic_store(&peer->greeting, "-DENIED Redis is running in protected mode\r\n");
    struct redis_client *redis = client(&(struct redis_config){.path = peer->path, .timeout_ms = TIMEOUT});
    assert_condition(redis, "protected mode");
    assert_false(redis_client_wait(redis, 1000));
    assert_in_range(atomic_load(&peer->accepted), 1, 12); /* some, but no storm */
    for (int64_t until = clock_monotonic_ms() + PATIENCE_MS;
         atomic_load(&peer->accepted) < 2 && clock_monotonic_ms() < until;)
        nap(10);
    assert_true(atomic_load(&peer->accepted) >= 2);
    redis_client_free(redis);
    peer_free(peer);
}

/* Everything closes while idle: the next call is answered, on a connection of its own making. */
static void test_peer_idle(void **state)
{
    (void)state;
    struct peer *peer = peer_new();
    struct redis_client *redis = client_of_path(peer->path);
    int answered = 0;
    for (int i = 0; i < 20; i++) {
        redisReply *reply = NULL;
        nap(40);
        peer_disconnect(peer);
        enum redis_status status = repeat(redis, "again", &reply);
        assert_int_not_equal(status, REDIS_LOST);
        if (status == REDIS_ANSWERED) {
            answered++;
            freeReplyObject(reply);
        } else { /* the connector was just connecting, and takes it for a fault */
            assert_true(redis_client_wait(redis, PATIENCE_MS));
        }
    }
    assert_in_range(answered, 5, 20);
    redis_client_free(redis);
    peer_free(peer);
}

/* It accepts connections and says nothing: one wait on the path of a session, of which it is known that
 * nothing was done. */
static void test_peer_mute(void **state)
{
    (void)state;
    struct peer *peer = peer_new();
    struct redis_client *redis = client_of_path(peer->path);
    assert_repeat(redis, "word");
    nap(40);
    atomic_store(&peer->mute, true);
    peer_disconnect(peer);
    assert_status(redis, REDIS_DOWN, 0, TIMEOUT + LATE);
    assert_condition(redis, "in time");
    for (int i = 0; i < 20; i++)
        assert_status(redis, REDIS_DOWN, 0, AT_ONCE);
    atomic_store(&peer->mute, false);
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    assert_repeat(redis, "word");
    redis_client_free(redis);
    peer_free(peer);
}

/* One stall, many callers: nobody waits longer than its own deadline, and those whose command was not sent know it. */
struct staller {
    struct redis_client *redis;
    enum redis_status status;
    int64_t took;
};

static void *staller_main(void *arg)
{
    struct staller *self = arg;
    redisReply *reply = NULL;
    int64_t start = clock_monotonic_ms();
    self->status = repeat(self->redis, "word", &reply);
    self->took = clock_monotonic_ms() - start;
    return NULL;
}

static void test_stall(void **state)
{
    (void)state;
    enum { N = 40 };
    pthread_t threads[N];
    struct staller stallers[N];
    struct peer *peer = peer_new();
    struct redis_client *redis = client_of_path(peer->path);
    atomic_store(&peer->mode, PEER_SILENT);
    for (int i = 0; i < N; i++) {
        stallers[i] = (struct staller){.redis = redis};
        assert_int_equal(pthread_create(&threads[i], NULL, staller_main, &stallers[i]), 0);
        nap(5);
    }
    int lost = 0;
    for (int i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
        assert_int_not_equal(stallers[i].status, REDIS_ANSWERED);
        assert_in_range(stallers[i].took, 0, TIMEOUT + LATE);
        lost += stallers[i].status == REDIS_LOST;
    }
    assert_in_range(atomic_load(&peer->commands), 1, lost); /* who was told DOWN was not sent */
    assert_in_range(lost, 1, N / 4); /* the first of each pipeline, had all come in time */
    redis_client_free(redis);
    peer_free(peer);
}

/* ---- names ---- */

/* Takes the place of libc's for the whole program: a name service that fails, hangs, or knows one name. */
int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **out)
{
    (void)hints;
    if (strcmp(host, "hangs.test") == 0)
        nap(HANG);
    if (strcmp(host, "here.test") != 0)
        return EAI_NONAME;
    struct addrinfo *info = calloc(1, sizeof *info + sizeof(struct sockaddr_in));
    if (info == NULL)
        return EAI_MEMORY;
    struct sockaddr_in *in = (void *)(info + 1);
    in->sin_family = AF_INET;
    in->sin_port = htons((uint16_t)atoi(port));
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    info->ai_family = AF_INET;
    info->ai_addr = (void *)in;
    info->ai_addrlen = sizeof *in;
    *out = info;
    return 0;
}

void freeaddrinfo(struct addrinfo *info)
{
    free(info);
}

static void test_names(void **state)
{
    (void)state;
    struct redis_config config = {TCP("here.test", server.port), .timeout_ms = TIMEOUT};
    struct redis_client *redis = client(&config);
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    assert_repeat(redis, "found");
    redis_client_free(redis);
    config.addresses = &(const struct redis_address){"nowhere.test", server.port};
    redis = client(&config);
    assert_condition(redis, "nowhere.test");
    assert_status(redis, REDIS_DOWN, 0, AT_ONCE);
    redis_client_free(redis);
    config.addresses = &(const struct redis_address){"hangs.test", server.port};
    redis = client(&config);
    assert_condition(redis, "has not ended");
    assert_status(redis, REDIS_DOWN, 0, AT_ONCE);
    int64_t start = clock_monotonic_ms();
    redis_client_free(redis);
    assert_in_range(clock_monotonic_ms() - start, 0, HANG - 500);
    redis = client(&config);
    start = clock_monotonic_ms();
    redis_client_free(redis); /* in the middle of a look-up */
    assert_in_range(clock_monotonic_ms() - start, 0, HANG - 500);
    nap(HANG + 500); /* let the look-ups end, so that the leak checker sees that they clean up */
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum redis_error node_error;
    } rows[] = {
        {"BUSY Redis is busy running a script", REDIS_ERROR_NODE},
        {"BUSYGROUP Consumer Group name already exists", REDIS_ERROR_NONE},
        {"BUSYKEY Target key name already exists.", REDIS_ERROR_NONE},
        {"OOM", REDIS_ERROR_NODE},
        {"OOMPH", REDIS_ERROR_NONE},
        {"NOPERM this user has no permissions", REDIS_ERROR_COMMAND},
        {"ERR ACL failure in script: The user executing the script can't run this command or subcommand",
         REDIS_ERROR_COMMAND},
        {"ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -NOPERM this user has no "
         "permissions",
         REDIS_ERROR_COMMAND},
        {"ERR Error running script (call to f_1): @user_script:1: The user executing the script can't run "
         "this command or "
         "subcommand",
         REDIS_ERROR_COMMAND},
        {"NOSCRIPT No matching script.", REDIS_ERROR_NONE},
        {"WRONGTYPE Operation against a key", REDIS_ERROR_NONE},
        {"ERR max number of clients reached", REDIS_ERROR_NODE},
        {"ERR Error running script (call to f_1): @user_script:1: x", REDIS_ERROR_NONE},
        {"ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -READONLY You can't",
         REDIS_ERROR_NODE},
        {"", REDIS_ERROR_NONE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error err = {0};
        assert_int_equal(redis_errors_find(rows[i].text, "here", &err), rows[i].node_error);
        assert_int_equal(err.text[0] != '\0', rows[i].node_error != REDIS_ERROR_NONE);
    }
}

/* In all wordings of Redis 6, 7.0, 7.2 and 8, outside and within a script, the command that is missing is named. */
static void test_rights(void **state)
{
    (void)state;
    static const char source[] = "local call = redis.call\nlocal now = call('TIME')\n"
                                 "if now then call('HSET', KEYS[1], 'a', 'b') end\nreturn 'call('";
    static const struct {
        const char *format; /* of the name of source */
        const char *right;  /* NULL: not told */
    } rows[] = {
        {"NOPERM this user has no permissions to run the 'evalsha' command or its subcommand", "evalsha"},
        {"NOPERM User x has no permissions to run the 'cluster|slots' command", "cluster|slots"},
        {"ERR ACL failure in script: User x has no permissions to run the 'time' command script: %s, on "
         "@user_script:9.",
         "time"}, /* Redis 8.0, Valkey 8.1 */
        {"NOPERM ACL failure in script: User x has no permissions to run the 'TIME' command", "time"},
        {"ERR The user executing the script can't run this command or subcommand script: %s, on "
         "@user_script:2.",
         "time"},
        {"ERR The user executing the script can't run this command or subcommand script: %s, on "
         "@user_script:3.",
         "hset"},
        {"ERR Error running script (call to f_%s): @user_script:3: @user_script: 3: The user executing the "
         "script can't run this command or subcommand",
         "hset"},
        {"ERR user_script:4: no permissions to run the 'HGET' command script: %s, on @user_script:1.",
         "hget"},
        {"ERR The user executing the script can't run this command or subcommand script: %s, on "
         "@user_script:4.",
         NULL},
        {"ERR The user executing the script can't run this command or subcommand script: %s, on "
         "@user_script:5.",
         NULL},
        {"ERR The user executing the script can't run this command or subcommand script: %s, on "
         "@user_script:",
         NULL},
        {"ERR The user executing the script can't run this command or subcommand script: 0%s, on "
         "@user_script:2.",
         NULL},
        {"ERR ACL failure in script: The user executing the script can't run this command or subcommand "
         "script: %s, on @user_script:3.",
         "hset"},
        {"ERR The user executing the script can't run this command or subcommand", NULL},
        {"NOPERM No permissions to access a key", NULL},
        {"NOPERM this user has no permissions to run the '' command", NULL},
        {"NOPERM this user has no permissions to run the 'a command that never ends and that nobody would "
         "have'",
         NULL},
    };
    struct redis_script script;
    redis_script_init(&script, source);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error err = {0};
        char text[300], right[40] = "untouched", want[60];
        const char *s = strstr(rows[i].format, "%s");
        snprintf(text, sizeof text, "%.*s%s%s", s != NULL ? (int)(s - rows[i].format) : 300, rows[i].format,
                 s != NULL ? script.sha : "", s != NULL ? s + 2 : "");
        if (rights_find(text, right, sizeof right) != (rows[i].right != NULL))
            fail_msg("%s: %s", text, right);
        assert_string_equal(right, rows[i].right != NULL ? rows[i].right : "untouched");
        assert_int_equal(redis_errors_find(text, "here", &err), REDIS_ERROR_COMMAND);
        snprintf(want, sizeof want, "lacks +%s;", right);
        assert_int_equal(strstr(err.text, want) != NULL, rows[i].right != NULL);
        assert_non_null(strstr(err.text, "ACL SETUSER"));
    }
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
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_rights),
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
        cmocka_unit_test(test_password),
        cmocka_unit_test(test_acl),
        cmocka_unit_test(test_node_states),
        cmocka_unit_test(test_max_clients),
        cmocka_unit_test(test_busy),
        cmocka_unit_test(test_eviction),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_peer),
        cmocka_unit_test(test_peer_twice),
        cmocka_unit_test(test_peer_errors),
        cmocka_unit_test(test_peer_greeting),
        cmocka_unit_test(test_peer_idle),
        cmocka_unit_test(test_peer_mute),
        cmocka_unit_test(test_stall),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
