/* bench_ruledb: what one RCPT costs in the rule database.
 *
 *   bench_ruledb [ALIASES [LOOK-UPS [THREADS]]]
 *
 * Builds a database with the shipped schema in a temporary directory, then makes look-ups for random
 * aliases, with a last good copy beside it: a reading with the alias, sender and client look-up in it. Prints median and p99 for each kind of recipient. */
#include "aliases/aliases.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern const char aliases_schema_sql[];

enum { DOMAINS = 100 };

struct job {
    struct aliases *db;
    long aliases, rounds;
    const char *kind; /* what the local part looks like */
    bool bare, rules; /* with a subaddress; with sender and client look-ups */
    unsigned seed;
    double *took;
    long wrong;
};

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void must(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        fprintf(stderr, "%s\n", sqlite3_errmsg(db));
        exit(1);
    }
}

static void build(const char *path, long aliases)
{
    sqlite3 *db = NULL;
    if (sqlite3_open(path, &db) != SQLITE_OK)
        exit(1);
    must(db, aliases_schema_sql);
    char sql[1024];
    snprintf(
        sql, sizeof sql,
        "BEGIN;"
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < %ld)"
        " INSERT INTO aliases SELECT 'alias' || i || '@domain' || (i %% %d) || '.example', 'mailbox' || (i "
        "%% 50000) ||"
        " '@mail.example.net', 'owner' || (i %% 50000), 'free', 'accept', NULL, NULL FROM n;"
        "INSERT INTO domains(domain) SELECT DISTINCT substr(address, instr(address, '@') + 1) FROM aliases;"
        "INSERT INTO alias_globs(domain, glob) VALUES ('domain1.example', 'shop-*');"
        "INSERT INTO sender_rules VALUES ('*', '@spam.example', 'reject', NULL), ('owner:owner7', '*', "
        "'reject', NULL);"
        "INSERT INTO client_rules VALUES ('192.0.2.0/24', 'reject', NULL, NULL), ('198.51.100.7', 'accept', "
        "NULL, NULL);"
        "COMMIT; PRAGMA wal_checkpoint(TRUNCATE);",
        aliases, DOMAINS);
    must(db, sql);
    sqlite3_close(db);
}

static bool look_up(const struct job *job, unsigned *seed, struct pool *pool)
{
    long i =
        (long)(((unsigned long)rand_r(seed) << 16 ^ (unsigned)rand_r(seed)) % (unsigned long)job->aliases);
    char full[96], bare[96], domain[32], local[48], owner[48];
    snprintf(domain, sizeof domain, "domain%ld.example", i % DOMAINS);
    snprintf(owner, sizeof owner, "owner:owner%ld", i % 50000);
    snprintf(local, sizeof local, "%s%ld", job->kind, i);
    snprintf(bare, sizeof bare, "%s@%s", local, domain);
    snprintf(full, sizeof full, "%s%s@%s", local, job->bare ? "+tag" : "", domain);
    struct alias_query query = {
        .full = {full}, .bare = {job->bare ? bare : NULL}, .domain = {domain}, .local_full = local};
    struct sender_query senders = {.scopes = {full, domain, owner, "*"},
                                   .n_scopes = 4,
                                   .patterns = {"someone@sub.example.org", "@sub.example.org",
                                                "@.sub.example.org", "@.example.org", "@.org", "*"},
                                   .n_patterns = 6};
    struct network client;
    if (network_parse("203.0.113.9", &client, NULL) < 0)
        return false;
    struct alias_rows rows;
    struct sender_rows sender = {.state = ROWS_LIVE};
    struct client_row row = {.state = ROWS_LIVE};
    struct aliases_reading reading = aliases_begin(job->db);
    aliases_alias(&reading, &query, pool, &rows);
    if (job->rules) {
        aliases_sender(&reading, &senders, pool, &sender);
        aliases_client(&reading, &client, 1, pool, &row);
    }
    aliases_end(&reading);
    bool expected = strcmp(job->kind, "alias") == 0;
    bool found = rows.full.key != NULL || rows.bare.key != NULL;
    return rows.state == ROWS_LIVE && sender.state == ROWS_LIVE && row.state == ROWS_LIVE &&
           found == expected;
}

static void *work(void *context)
{
    struct job *job = context;
    struct pool pool = {0};
    for (long n = 0; n < job->rounds; n++) {
        double start = now_us();
        job->wrong += !look_up(job, &job->seed, &pool);
        job->took[n] = now_us() - start;
        pool_reset(&pool);
    }
    pool_done(&pool);
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const char *title, struct job job, long threads)
{
    struct job *jobs = calloc((size_t)threads, sizeof *jobs);
    pthread_t *ids = calloc((size_t)threads, sizeof *ids);
    double *took = calloc((size_t)(threads * job.rounds), sizeof *took);
    if (jobs == NULL || ids == NULL || took == NULL)
        exit(1);
    double start = now_us();
    for (long t = 0; t < threads; t++) {
        jobs[t] = job;
        jobs[t].seed = (unsigned)t + 1;
        jobs[t].took = took + t * job.rounds;
        if (pthread_create(&ids[t], NULL, work, &jobs[t]) != 0)
            exit(1);
    }
    long wrong = 0, n = threads * job.rounds;
    for (long t = 0; t < threads; t++) {
        pthread_join(ids[t], NULL);
        wrong += jobs[t].wrong;
    }
    double seconds = (now_us() - start) / 1e6;
    qsort(took, (size_t)n, sizeof *took, by_size);
    printf("%-34s median %6.1f us   p99 %6.1f us   %8.0f/s   wrong %ld\n", title, took[n / 2],
           took[n / 100 * 99], (double)n / seconds, wrong);
    free(jobs);
    free(ids);
    free(took);
}

int main(int argc, char **argv)
{
    long aliases = argc > 1 ? atol(argv[1]) : 1000000, rounds = argc > 2 ? atol(argv[2]) : 200000;
    long threads = argc > 3 ? atol(argv[3]) : 1;
    char dir[] = "/tmp/bench_ruledb.XXXXXX", path[64];
    if (aliases < 1 || rounds < 100 || threads < 1 || mkdtemp(dir) == NULL)
        return 1;
    snprintf(path, sizeof path, "%s/aliases.db", dir);
    build(path, aliases);
    char copy[80];
    snprintf(copy, sizeof copy, "%s/copy.db", dir);
    const struct aliases_config config = {
        .path = path, .copy_path = copy, .max_stale_ms = 3600000, .max_shrink = 50};
    struct job job = {.db = aliases_new(&config), .aliases = aliases, .rounds = rounds, .kind = "alias"};
    double start = now_us();
    struct error err = {0};
    if (job.db == NULL || aliases_start(job.db, 600000, 600000, &err) < 0)
        return 1;
    printf("%-34s %.2f s\n", "first copy and check", (now_us() - start) / 1e6);
    measure("(warming up)", job, threads);
    measure("alias", job, threads);
    job.rules = true;
    measure("alias, sender, client", job, threads);
    job.bare = true;
    measure("alias+tag, sender, client", job, threads);
    job.kind = "nobody";
    measure("unknown+tag, sender, client", job, threads);
    aliases_free(job.db);
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        char file[80];
        snprintf(file, sizeof file, "%s%s", path, suffixes[i]);
        unlink(file);
    }
    unlink(copy);
    return rmdir(dir) != 0;
}
