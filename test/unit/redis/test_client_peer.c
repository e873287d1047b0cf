/* The Redis client against a scripted peer, for what a real server cannot be made to say. */
#include "calls.h"
#include "peer.h"

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
        bool waits;
    } rows[] = {
        {PEER_DRIP, true},        {PEER_LATE, true},      {PEER_SILENT, true},   {PEER_HANGUP, false},
        {PEER_HALF, false},       {PEER_TRUNCATE, false}, {PEER_GARBAGE, false}, {PEER_HUGE_BULK, false},
        {PEER_HUGE_ARRAY, false}, {PEER_DEEP, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct peer *peer = peer_new();
        struct redis_client *redis = client_of_path(peer->path);
        char word[64];
        memset(word, 'w', sizeof word);
        word[sizeof word - 1] = '\0';
        assert_repeat(redis, word);
        atomic_store(&peer->held, true);
        atomic_store(&peer->mode, rows[i].mode);
        if (rows[i].waits)
            assert_lost(redis, 0);
        else
            assert_at_once(redis, REDIS_LOST);
        assert_at_once(redis, REDIS_DOWN);
        atomic_store(&peer->mode, PEER_WELL);
        assert_true(redis_client_wait(redis, PATIENCE_MS));
        for (int n = 0; n < 50; n++) {
            snprintf(word, sizeof word, "answer-%d", n);
            assert_repeat(redis, word);
            if (n == 10)
                atomic_store(&peer->held, false);
            if (rows[i].mode == PEER_LATE)
                nap(1);
        }
        redis_client_free(redis);
        peer_free(peer);
    }
}

/* Of whatever length, and whatever is in it. */
static void test_peer_lengths(void **state)
{
    (void)state;
    struct peer *peer = peer_new();
    struct redis_client *redis = client_of_path(peer->path);
    char word[201];
    for (size_t n = 0; n < sizeof word; n++) {
        for (size_t i = 0; i < n; i++)
            word[i] = "$11\r\n-"[(n + i) % 6];
        word[n] = '\0';
        assert_repeat(redis, word);
    }
    redis_client_free(redis);
    peer_free(peer);
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
        snprintf(word, sizeof word, i % 2 == 0 ? "word-%d" : "a longer word-%d", i);
        if (repeat(redis, word, LONG, &reply) == REDIS_ANSWERED) {
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
    enum { ROWS = sizeof rows / sizeof rows[0] };
    struct peer *peers[ROWS];
    struct redis_client *all[ROWS];
    int probes[ROWS];
    for (size_t i = 0; i < ROWS; i++) {
        peers[i] = peer_new();
        all[i] = client_of_path(peers[i]->path);
        atomic_store(&peers[i]->error, rows[i].error);
        atomic_store(&peers[i]->probe_error, rows[i].error);
        atomic_store(&peers[i]->mode, PEER_ERROR);
        probes[i] = atomic_load(&peers[i]->probes);
        assert_at_once(all[i], REDIS_DOWN);
        assert_condition(all[i], rows[i].advice);
        int asked = atomic_load(&peers[i]->commands);
        for (int n = 0; n < 100; n++)
            assert_at_once(all[i], REDIS_DOWN);
        assert_int_equal(atomic_load(&peers[i]->commands), asked); /* not hammered */
    }
    for (size_t i = 0; i < ROWS; i++) { /* a probe sees it too: the one before the last that was read */
        for (int64_t until = clock_monotonic_ms() + PATIENCE_MS;
             atomic_load(&peers[i]->probes) < probes[i] + 2 && clock_monotonic_ms() < until;)
            nap(5);
        assert_true(atomic_load(&peers[i]->probes) >= probes[i] + 2);
        assert_false(redis_client_wait(all[i], 0));
        assert_condition(all[i], rows[i].advice);
        atomic_store(&peers[i]->probe_error, NULL);
        atomic_store(&peers[i]->mode, PEER_WELL);
    }
    for (size_t i = 0; i < ROWS; i++) {
        assert_true(redis_client_wait(all[i], PATIENCE_MS));
        redis_client_free(all[i]);
        peer_free(peers[i]);
    }
}

static void test_peer_greeting(void **state)
{
    (void)state;
    struct peer *peer = peer_new();
    atomic_store(&peer->greeting, "-DENIED Redis is running in protected mode\r\n");
    int64_t start = clock_monotonic_ms();
    struct redis_client *redis = client(&(struct redis_config){.path = peer->path, .timeout_ms = TIMEOUT});
    assert_condition(redis, "protected mode");
    assert_false(redis_client_wait(redis, 300));
    int accepted = atomic_load(&peer->accepted);
    assert_in_range(accepted, 1, 1 + (clock_monotonic_ms() - start) / 75); /* some, but no storm */
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
        nap(25);
        peer_disconnect(peer);
        enum redis_status status = repeat(redis, "again", LONG, &reply);
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
    struct redis_client *redis = client(&(struct redis_config){.path = peer->path, .timeout_ms = 300});
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    assert_repeat(redis, "word");
    nap(25);
    atomic_store(&peer->mute, true);
    peer_disconnect(peer);
    redisReply *reply = NULL;
    int64_t start = clock_monotonic_ms();
    assert_int_equal(repeat(redis, "word", 0, &reply), REDIS_DOWN);
    assert_in_range(clock_monotonic_ms() - start, 0, 300 + LATE);
    assert_condition(redis, "in time");
    for (int i = 0; i < 20; i++)
        assert_at_once(redis, REDIS_DOWN);
    atomic_store(&peer->mute, false);
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    assert_repeat(redis, "word");
    redis_client_free(redis);
    peer_free(peer);
}

enum { STALL = 300 };

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
    self->status = repeat(self->redis, "word", STALL, &reply);
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
        nap(1);
    }
    int lost = 0;
    for (int i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
        assert_int_not_equal(stallers[i].status, REDIS_ANSWERED);
        assert_in_range(stallers[i].took, 0, STALL + LATE);
        lost += stallers[i].status == REDIS_LOST;
    }
    for (int64_t until = clock_monotonic_ms() + PATIENCE_MS;
         atomic_load(&peer->commands) == 0 && clock_monotonic_ms() < until;)
        nap(5);
    assert_in_range(atomic_load(&peer->commands), 1, lost); /* who was told DOWN was not sent */
    assert_in_range(lost, 1, N / 4); /* the first of each pipeline, had all come in time */
    redis_client_free(redis);
    peer_free(peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peer),          cmocka_unit_test(test_peer_lengths),
        cmocka_unit_test(test_peer_twice),    cmocka_unit_test(test_peer_errors),
        cmocka_unit_test(test_peer_greeting), cmocka_unit_test(test_peer_idle),
        cmocka_unit_test(test_peer_mute),     cmocka_unit_test(test_stall),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
