/* Both counter stores against test/data/counts.txt: the same steps, the same answers. */
#include "remote.h"
#include "counters/stores.h"
#include "base/pool.h"

#include "redis_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <ctype.h>

enum { MOST_ASKS = 12, MOST_RECEIPTS = 8, MOST_STEPS = 64 };

#define START INT64_C(1732320000000)
#define DAY (INT64_C(86400) * 1000)

struct named_ask {
    const char *name;
    struct count_ask ask;
    const char *share; /* the name of the ask it is a share of */
};

struct receipt {
    const char *name;
    struct count_request request;
    struct count_answer answers[MOST_ASKS];
};

struct run { /* one test of the file on one store */
    struct counters *counters;
    struct pool pool;
    int64_t now;
    struct named_ask asks[MOST_ASKS];
    size_t n_asks;
    struct receipt receipts[MOST_RECEIPTS];
    size_t n_receipts;
    const char *new_key;
    int64_t new_max;
    int line;
    size_t steps;
};

static struct redis_server server;

#define fail_at(run, ...) (print_error("counts.txt:%d: ", (run)->line), print_error(__VA_ARGS__), fail())

static char *next_word(char **at)
{
    while (**at == ' ')
        (*at)++;
    if (**at == '\0')
        return NULL;
    char *word = *at;
    while (**at != ' ' && **at != '\0')
        (*at)++;
    if (**at == ' ')
        *(*at)++ = '\0';
    return word;
}

static struct named_ask *find_ask(struct run *run, const char *name)
{
    for (size_t i = 0; i < run->n_asks; i++)
        if (strcmp(run->asks[i].name, name) == 0)
            return &run->asks[i];
    fail_at(run, "no ask %s\n", name);
    return NULL;
}

static unsigned parse_flags(struct run *run, const char *value)
{
    unsigned flags = 0;
    for (const char *at = value; *at != '\0'; at += strcspn(at, ",") + (at[strcspn(at, ",")] == ',')) {
        size_t n = strcspn(at, ",");
        if (strncmp(at, "attempt", n) == 0)
            flags |= COUNT_ATTEMPT;
        else if (strncmp(at, "shadow", n) == 0)
            flags |= COUNT_SHADOW;
        else if (strncmp(at, "again", n) == 0)
            flags |= COUNT_AGAIN;
        else if (strncmp(at, "look", n) == 0)
            flags |= COUNT_HOLD_ONLY;
        else if (strncmp(at, "hard", n) == 0)
            flags |= COUNT_HARD;
        else
            fail_at(run, "no flag %s\n", at);
    }
    return flags;
}

static void set_field(struct run *run, struct named_ask *named, const char *field, char *value)
{
    struct count_ask *ask = &named->ask;
    const struct {
        const char *name;
        int64_t *to;
    } numbers[] = {{"max", &ask->max},       {"window", &ask->window_ms}, {"amount", &ask->amount},
                   {"need", &ask->need},     {"hold", &ask->hold_ms},     {"ttl", &ask->ttl_ms},
                   {"slack", &ask->headroom}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (strcmp(field, numbers[i].name) == 0) {
            *numbers[i].to = strtoll(value, NULL, 10);
            return;
        }
    if (strcmp(field, "key") == 0)
        ask->key = pool_strdup(&run->pool, value);
    else if (strcmp(field, "unit") == 0)
        assert_true(count_unit_find(value, strlen(value), &ask->unit));
    else if (strcmp(field, "limit") == 0)
        ask->limit = pool_strdup(&run->pool, value);
    else if (strcmp(field, "spill") == 0)
        ask->overflow = pool_strdup(&run->pool, value);
    else if (strcmp(field, "flags") == 0)
        ask->flags = parse_flags(run, value);
    else if (strcmp(field, "share") == 0) {
        char *slash = strchr(value, '/');
        assert_non_null(slash);
        ask->share_above = strtoll(slash + 1, NULL, 10);
        named->share = pool_strndup(&run->pool, value, (size_t)(slash - value));
    } else
        fail_at(run, "no field %s\n", field);
}

static void step_ask(struct run *run, char *line)
{
    assert_true(run->n_asks < MOST_ASKS);
    struct named_ask *named = &run->asks[run->n_asks++];
    *named = (struct named_ask){.name = pool_strdup(&run->pool, next_word(&line)),
                                .ask = {.amount = 1, .need = -1, .ttl_ms = DAY, .share_of = -1}};
    for (char *word; (word = next_word(&line)) != NULL;) {
        char *equals = strchr(word, '=');
        assert_non_null(equals);
        *equals = '\0';
        set_field(run, named, word, equals + 1);
    }
    named->ask.new_key = run->new_key;
    named->ask.new_max = run->new_max;
    if (named->ask.need < 0)
        named->ask.need = named->ask.amount;
    assert_non_null(named->ask.key);
    assert_non_null(named->ask.limit);
}

/* "ID" or "ID@CLIENT" */
static struct count_pair parse_pair(struct run *run, char *word)
{
    struct count_pair pair = {0};
    char *at = strchr(word, '@');
    if (at != NULL && network_parse(at + 1, &pair.client, NULL) != 0)
        fail_at(run, "no client %s\n", at + 1);
    snprintf(pair.id, sizeof pair.id, "%.*s", (int)strcspn(word, "@"), word);
    return pair;
}

/* "a b retry=ID@CLIENT as R"; the receipt's name, or NULL. */
static const char *make_request(struct run *run, char *line, struct count_request *out)
{
    struct count_ask *asks = pool_alloc(&run->pool, MOST_ASKS * sizeof *asks);
    const char *names[MOST_ASKS], *receipt = NULL;
    *out = (struct count_request){.asks = asks, .n = 0};
    for (char *word; (word = next_word(&line)) != NULL;) {
        if (strcmp(word, "as") == 0) {
            receipt = pool_strdup(&run->pool, next_word(&line));
        } else if (strncmp(word, "retry=", 6) == 0) {
            struct count_pair *pair = pool_alloc(&run->pool, sizeof *pair);
            *pair = parse_pair(run, word + 6);
            out->pair = pair;
        } else {
            const struct named_ask *named = find_ask(run, word);
            names[out->n] = named->name;
            asks[out->n] = named->ask;
            for (size_t i = 0; named->share != NULL && i < out->n; i++)
                if (strcmp(names[i], named->share) == 0)
                    asks[out->n].share_of = (int)i;
            assert_true(named->share == NULL || asks[out->n].share_of >= 0);
            out->n++;
        }
    }
    return receipt;
}

static void write_answers(char *to, size_t size, const struct count_answer *answers, size_t n)
{
    static const char *const results[] = {"unknown", "admitted", "over", "held"};
    size_t len = 0;
    to[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        const struct count_answer *a = &answers[i];
        char wait[40] = "";
        if (a->wait_ms != 0)
            snprintf(wait, sizeof wait, " wait %lld", (long long)a->wait_ms);
        bool soft = a->result != COUNT_ADMITTED && !a->hard;
        len += (size_t)snprintf(to + len, size - len, "%s%s %lld%s%s%s%s%s", i > 0 ? "; " : "",
                                results[a->result], (long long)a->used, wait, soft ? " soft" : "",
                                a->overflowed ? " spilled" : "", a->slot >= 0 ? " charged" : "",
                                a->retry ? " retry" : "");
    }
}

static void keep_receipt(struct run *run, const char *name, const struct count_request *request,
                         const struct count_answer *answers)
{
    size_t i = 0;
    while (i < run->n_receipts && strcmp(run->receipts[i].name, name) != 0)
        i++;
    assert_true(i < MOST_RECEIPTS);
    if (i == run->n_receipts)
        run->n_receipts++;
    run->receipts[i] = (struct receipt){.name = name, .request = *request};
    memcpy(run->receipts[i].answers, answers, request->n * sizeof *answers);
}

static void step_request(struct run *run, bool peek, char *line, const char *want)
{
    struct count_request request;
    struct count_answer answers[MOST_ASKS];
    char got[2048];
    const char *receipt = make_request(run, line, &request);
    memset(answers, 0x55, sizeof answers);
    enum counters_status status =
        (peek ? counters_peek : counters_reserve)(run->counters, &request, run->now, answers);
    assert_int_equal(status, COUNTERS_OK);
    write_answers(got, sizeof got, answers, request.n);
    if (want[0] != '\0' && strcmp(got, want) != 0)
        fail_at(run, "got\n  %s\nwant\n  %s\n", got, want);
    for (size_t i = 0; i < request.n; i++)
        if (answers[i].slot >= 0)
            assert_true(answers[i].created > 0);
    if (receipt != NULL)
        keep_receipt(run, receipt, &request, answers);
}

static void step_charge(struct run *run, char *line)
{
    struct count_request request;
    make_request(run, line, &request);
    assert_int_equal(counters_charge(run->counters, &request, run->now), COUNTERS_OK);
}

static const struct receipt *find_receipt(struct run *run, const char *name)
{
    for (size_t i = 0; i < run->n_receipts; i++)
        if (strcmp(run->receipts[i].name, name) == 0)
            return &run->receipts[i];
    fail_at(run, "no receipt %s\n", name);
    return NULL;
}

/* "RECEIPT AMOUNT [OPEN] [late=N] [full=MAX] [fit=MAX] [ago=MS | ended=MS]"; returns how many. */
static size_t make_changes(struct run *run, char *line, struct count_change *changes)
{
    const struct receipt *receipt = find_receipt(run, next_word(&line));
    struct count_change like = {.amount = strtoll(next_word(&line), NULL, 10), .ttl_ms = DAY};
    bool by_age = false;
    for (char *word; (word = next_word(&line)) != NULL;) {
        int64_t number = strtoll(word + strcspn(word, "=") + (strchr(word, '=') != NULL), NULL, 10);
        if (strncmp(word, "late=", 5) == 0)
            like.late = number;
        else if (strncmp(word, "ago=", 4) == 0 || strncmp(word, "ended=", 6) == 0) {
            like.at_ms = run->now - number;
            by_age = word[0] == 'a';
        } else if (strncmp(word, "full=", 5) == 0 || strncmp(word, "fit=", 4) == 0) {
            like.check = word[1] == 'u' ? COUNT_CHECK_FULL : COUNT_CHECK_FIT;
            like.max = number;
        } else
            like.open = strtoll(word, NULL, 10);
    }
    for (size_t i = 0; i < receipt->request.n; i++) {
        const struct count_ask *ask = &receipt->request.asks[i];
        const struct count_answer *answer = &receipt->answers[i];
        changes[i] = like;
        changes[i].key = answer->overflowed ? ask->overflow : ask->key;
        changes[i].limit = ask->limit;
        changes[i].unit = ask->unit;
        changes[i].window_ms = ask->window_ms;
        changes[i].slot = answer->slot;
        changes[i].created = answer->created;
        changes[i].max = like.max > 0 ? like.max : ask->max;
        if (by_age) {
            changes[i].slot = -1;
            changes[i].created = INT64_MAX;
        }
    }
    return receipt->request.n;
}

static void step_change(struct run *run, char *line)
{
    struct count_change changes[MOST_ASKS];
    size_t n = make_changes(run, line, changes);
    assert_int_equal(counters_change(run->counters, changes, n, run->now), COUNTERS_OK);
}

static void step_settle(struct run *run, char *line, const char *want)
{
    struct count_change changes[MOST_ASKS];
    struct count_answer answers[MOST_ASKS];
    char got[2048];
    size_t n = make_changes(run, line, changes);
    assert_int_equal(counters_settle(run->counters, changes, n, run->now, 0, answers), COUNTERS_OK);
    for (size_t i = 0; i < n; i++)
        answers[i].hard = true; /* it says no more than "later" */
    write_answers(got, sizeof got, answers, n);
    if (strcmp(got, want) != 0)
        fail_at(run, "got\n  %s\nwant\n  %s\n", got, want);
}

struct seen {
    size_t n;
    char rows[32][160];
};

static void see(void *arg, const struct count_view *view)
{
    struct seen *seen = arg;
    assert_true(seen->n < sizeof seen->rows / sizeof seen->rows[0]);
    char *to = seen->rows[seen->n++];
    size_t size = sizeof seen->rows[0];
    int len = snprintf(to, size, "%s %lld/%lld", view->limit, (long long)view->used, (long long)view->max);
    if (view->refused > 0)
        len += snprintf(to + len, size - (size_t)len, " refused=%lld", (long long)view->refused);
    if (view->held_ms > 0)
        len += snprintf(to + len, size - (size_t)len, " held=%lld", (long long)view->held_ms);
    if (view->reset_ms > 0)
        snprintf(to + len, size - (size_t)len, " rest=%lld", (long long)view->reset_ms);
}

static int compare_rows(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void step_show(struct run *run, char *line, const char *want)
{
    struct seen seen = {0};
    const char *const keys[] = {next_word(&line)};
    char got[4096] = "";
    assert_int_equal(counters_show(run->counters, keys, 1, run->now, see, &seen), COUNTERS_OK);
    qsort(seen.rows, seen.n, sizeof seen.rows[0], compare_rows);
    for (size_t i = 0; i < seen.n; i++) {
        strcat(got, i > 0 ? "; " : "");
        strcat(got, seen.rows[i]);
    }
    if (strcmp(got, want) != 0)
        fail_at(run, "show %s: got\n  %s\nwant\n  %s\n", keys[0], got, want);
}

static void step_deferred(struct run *run, char *line)
{
    struct count_deferral deferral = {.pair = parse_pair(run, next_word(&line)), .at_ms = run->now, .n = 1};
    for (char *word; (word = next_word(&line)) != NULL;) {
        if (strncmp(word, "n=", 2) == 0)
            deferral.n = atoi(word + 2);
        else if (strncmp(word, "ago=", 4) == 0)
            deferral.at_ms -= atoi(word + 4);
        else
            deferral.least = true;
    }
    assert_int_equal(counters_deferred(run->counters, &deferral, 1, run->now), COUNTERS_OK);
}

static void step_reset(struct run *run, char *line, const char *want)
{
    const char *const keys[] = {next_word(&line)};
    const char *limit = next_word(&line);
    size_t n = 99;
    assert_int_equal(counters_reset(run->counters, keys, 1, limit, &n), COUNTERS_OK);
    if (n != strtoul(want, NULL, 10))
        fail_at(run, "reset %s: got %zu, want %s\n", keys[0], n, want);
}

static void run_step(struct run *run, const char *source)
{
    char copy[1024];
    assert_true(strlen(source) < sizeof copy);
    strcpy(copy, source);
    char *want = strstr(copy, " ->");
    if (want != NULL) {
        *want = '\0';
        want += 3 + (want[3] == ' ');
    }
    char *line = copy;
    const char *verb = next_word(&line);
    run->steps++;
    if (strcmp(verb, "ask") == 0)
        step_ask(run, line);
    else if (strcmp(verb, "new") == 0) {
        run->new_key = pool_strdup(&run->pool, next_word(&line));
        run->new_max = strtoll(next_word(&line), NULL, 10);
    } else if (strcmp(verb, "+") == 0 || strcmp(verb, "-") == 0)
        run->now += (verb[0] == '+' ? 1 : -1) * strtoll(next_word(&line), NULL, 10);
    else if (strcmp(verb, "charge") == 0)
        step_charge(run, line);
    else if (strcmp(verb, "change") == 0)
        step_change(run, line);
    else if (strcmp(verb, "deferred") == 0)
        step_deferred(run, line);
    else if (want == NULL)
        fail_at(run, "no answer, or no such step: %s\n", source);
    else if (strcmp(verb, "reserve") == 0 || strcmp(verb, "peek") == 0)
        step_request(run, verb[0] == 'p', line, want);
    else if (strcmp(verb, "settle") == 0)
        step_settle(run, line, want);
    else if (strcmp(verb, "show") == 0)
        step_show(run, line, want);
    else if (strcmp(verb, "reset") == 0)
        step_reset(run, line, want);
    else
        fail_at(run, "no such step: %s\n", source);
}

struct step {
    char *text;
    int line;
};

/* Runs what stands between `repeat` and `end`. */
static size_t run_repeat(struct run *run, const struct step *steps, size_t at, size_t n)
{
    long times = strtol(steps[at].text + strlen("repeat "), NULL, 10);
    size_t end = at + 1;
    while (end < n && strcmp(steps[end].text, "end") != 0)
        end++;
    assert_true(end < n && times > 0);
    for (long t = 0; t < times; t++)
        for (size_t i = at + 1; i < end; i++) {
            run->line = steps[i].line;
            run_step(run, steps[i].text);
        }
    return end;
}

/* One `test` of the file. */
static size_t run_vector(const struct step *steps, size_t n, struct counters *counters)
{
    struct run run = {.counters = counters, .now = START};
    for (size_t i = 1; i < n; i++) {
        run.line = steps[i].line;
        if (strncmp(steps[i].text, "repeat ", 7) == 0)
            i = run_repeat(&run, steps, i, n);
        else
            run_step(&run, steps[i].text);
    }
    pool_done(&run.pool);
    return run.steps;
}

typedef struct counters *store_new_fn(void);

static struct redis_client *client;

static struct counters *new_memory(void)
{
    return counters_memory_new(100000);
}

static struct counters *new_redis(void)
{
    struct error err = {0};
    server_do(&server, "FLUSHALL");
    client = redis_client_new(
        &(struct redis_config){.path = server.socket, .prefix = "t[e]st", .timeout_ms = 5000}, NULL, NULL,
        &err);
    assert_non_null(client);
    struct counters *counters = counters_remote_new(client, &err);
    assert_non_null(counters);
    remote_follow_caller_clock(counters);
    assert_true(redis_client_wait(client, 5000));
    return counters;
}

static void run_file(store_new_fn *store_new, size_t *tests, size_t *n_steps)
{
    FILE *file = fopen(SOURCE_DIR "/test/data/counts.txt", "r");
    assert_non_null(file);
    struct step steps[MOST_STEPS];
    char *line = NULL;
    size_t size = 0, n = 0;
    for (int number = 1, more = 1; more; number++) {
        more = getline(&line, &size, file) > 0;
        if (more)
            line[strcspn(line, "\n")] = '\0';
        if (n > 0 && (!more || strncmp(line, "test ", 5) == 0)) {
            print_message("  %s\n", steps[0].text + 5);
            struct counters *counters = store_new();
            *n_steps += run_vector(steps, n, counters);
            assert_int_equal(counters_junk_resets(counters), 0);
            struct error condition = {0};
            counters_condition(counters, &condition);
            assert_string_equal(condition.text, "");
            counters_free(counters);
            redis_client_free(client);
            client = NULL;
            (*tests)++;
            while (n > 0)
                free(steps[--n].text);
        }
        if (more && line[0] != '\0' && line[0] != '#') {
            assert_true(n < MOST_STEPS);
            steps[n++] = (struct step){.text = strdup(line), .line = number};
        }
    }
    free(line);
    fclose(file);
}

static void test_memory(void **state)
{
    (void)state;
    size_t tests = 0, steps = 0;
    run_file(new_memory, &tests, &steps);
    assert_true(tests >= 25 && steps >= 2000);
}

static void test_redis(void **state)
{
    (void)state;
    size_t tests = 0, steps = 0;
    run_file(new_redis, &tests, &steps);
    assert_true(tests >= 25 && steps >= 2000);
}

static int start(void **state)
{
    (void)state;
    server_start(&server);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    server_remove(&server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_redis),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
