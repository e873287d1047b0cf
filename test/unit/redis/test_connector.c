/* What the connector thread finds out, against a real redis-server: names, passwords, rights, what a probe tells. */
#include "calls.h"
#include "redis_server.h"

#include <dirent.h>
#include <netdb.h>
#include <stdatomic.h>

static struct redis_server server; /* one for all tests that leave it as they found it */

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
    assert_at_once(redis, REDIS_DOWN);
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
    assert_at_once(redis, REDIS_DOWN);
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

static void test_max_clients(void **state)
{
    (void)state;
    redisContext *held = server_connect(&server), *more[8];
    freeReplyObject(redisCommand(held, "CONFIG SET maxclients 5"));
    for (int i = 0; i < 8; i++) {
        more[i] = server_connect(&server); /* writes nothing: hiredis raises SIGPIPE, and here it is deadly */
    }
    struct redis_client *redis = client(&(struct redis_config){.path = server.socket, .timeout_ms = TIMEOUT});
    assert_condition(redis, "maxclients");
    freeReplyObject(redisCommand(held, "CONFIG SET maxclients 1000"));
    for (int i = 0; i < 8; i++)
        redisFree(more[i]);
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    redis_client_free(redis);
    redisFree(held);
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

static void wait_restarts(struct redis_client *redis, unsigned restarts)
{
    for (int64_t until = clock_monotonic_ms() + PATIENCE_MS;
         redis_client_restarts(redis, 0) != restarts && clock_monotonic_ms() < until;)
        nap(10);
    assert_int_equal(redis_client_restarts(redis, 0), restarts);
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
    assert_at_once(redis, REDIS_DOWN);
    server_launch(&server);
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    assert_repeat(redis, "two");
    wait_restarts(redis, 1);
    redis_client_free(redis);
}

/* ---- names ---- */

static atomic_bool hangs = true;

/* Takes the place of libc's for the whole program: a name service that fails, hangs, or knows one name. */
int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **out)
{
    (void)hints;
    for (int64_t until = clock_monotonic_ms() + PATIENCE_MS;
         strcmp(host, "hangs.test") == 0 && atomic_load(&hangs) && clock_monotonic_ms() < until;)
        nap(10);
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

static int count_threads(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/task");
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        n++;
    assert_int_equal(closedir(dir), 0);
    return n;
}

/* It waits for no look-up that hangs. */
static void free_at_once(struct redis_client *redis)
{
    int64_t start = clock_monotonic_ms();
    redis_client_free(redis);
    assert_in_range(clock_monotonic_ms() - start, 0, LATE);
}

static void test_names(void **state)
{
    (void)state;
    int threads = count_threads();
    struct redis_config config = {TCP("hangs.test", server.port), .timeout_ms = TIMEOUT};
    struct redis_client *hanging = client(&config);
    config.addresses = &(const struct redis_address){"here.test", server.port};
    struct redis_client *redis = client(&config);
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    assert_repeat(redis, "found");
    redis_client_free(redis);
    config.addresses = &(const struct redis_address){"nowhere.test", server.port};
    redis = client(&config);
    assert_condition(redis, "nowhere.test");
    assert_at_once(redis, REDIS_DOWN);
    redis_client_free(redis);
    assert_condition(hanging, "has not ended");
    assert_at_once(hanging, REDIS_DOWN);
    free_at_once(hanging);
    config.addresses = &(const struct redis_address){"hangs.test", server.port};
    free_at_once(client(&config)); /* in the middle of a look-up */
    atomic_store(&hangs, false);
    for (int64_t until = clock_monotonic_ms() + PATIENCE_MS;
         count_threads() > threads && clock_monotonic_ms() < until;)
        nap(10); /* the look-ups end, so that the leak checker sees that they clean up */
    assert_int_equal(count_threads(), threads);
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
        cmocka_unit_test(test_password), cmocka_unit_test(test_acl),     cmocka_unit_test(test_max_clients),
        cmocka_unit_test(test_eviction), cmocka_unit_test(test_restart), cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
