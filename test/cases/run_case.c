/* run_case DIRECTORY...: plays the SMTP steps of a case through the gate, libmilter aside, on a virtual clock
 * and the embedded counter store, and compares every answer.
 *
 *   policy.json   the policy; aliases.database is put in when rules.sql exists
 *   rules.sql     rows of the alias database (optional)
 *   problems      JSON pointers of the entries of policy.json that must be found bad, one a line (optional: none)
 *   steps         one step a line; '#' begins a comment, "  # " one behind a step
 *
 *   at 2026-01-01T00:00:00Z      sets the clock; it starts there
 *   +90s                         lets time go by (ms, s, m, h, d)
 *   [NAME:] connect ADDRESS [-> 554]
 *   [NAME:] mail <SENDER> [size=N] [user=LOGIN]
 *   [NAME:] rcpt <RECIPIENT> [raw] -> 250 | drop | CODE DSN [TEXT]     raw: Postfix has not resolved it
 *   [NAME:] data N [-> K dropped | CODE DSN [TEXT]]   end of message after N bytes; K of the RCPTs that were accepted are
 *                                dropped, or the message is refused
 *   [NAME:] send <SENDER> <RECIPIENT> [size=N] [user=LOGIN] [bytes=N] [raw] -> ANSWER
 *                                a whole message: mail, rcpt, and data where it was accepted, else rset
 *   [NAME:] rset | quit | lost   quit takes leave, lost is a connection that breaks
 *   sql STATEMENT                the application writes
 *   queue FILE                   Postfix's queue is read, and shows what is in the file, as `postqueue -j` does
 *   ramp                         ramps begin, as after a start; without this step there is none
 *   policy FILE                  another policy of the case comes into force, as by a reload
 *   used KEY LIMIT N             what `show` would say; 0 where there is no such counter
 *   keys PATTERN N               how many counters match; '*' at its beginning or end
 *   reset PATTERN [LIMIT]        clears counters and holds
 *   3x STEP                      the step three times; {n} in it is 1, 2, 3
 */
#include "config/config.h"
#include "milter/session.h"

#include <jansson.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern const char aliases_schema_sql[];

enum { SESSIONS = 32 };

static struct {
    int64_t now_ms;
    struct gate gate;
    struct session_list list;
    struct {
        char name[32];
        struct session *session;
    } sessions[SESSIONS];
    const char *cases; /* the directory of the case */
    bool rules;        /* it has a database */
    char dir[64], database[96];
    int line, failures, checks;
} world = {.now_ms = 1767225600000 /* 2026-01-01 */};

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("line %d: ", world.line);
    vprintf(format, args);
    putchar('\n');
    va_end(args);
    world.failures++;
}

static void die(const char *what, const char *why)
{
    fprintf(stderr, "line %d: %s: %s\n", world.line, what, why);
    exit(2);
}

static int64_t virtual_now(void *arg)
{
    (void)arg;
    return world.now_ms;
}

static void sql(const char *statements)
{
    sqlite3 *db = NULL;
    char *message = NULL;
    if (sqlite3_open(world.database, &db) != SQLITE_OK ||
        sqlite3_exec(db, statements, NULL, NULL, &message) != SQLITE_OK)
        die("sql", message != NULL ? message : sqlite3_errmsg(db));
    sqlite3_close(db);
}

static char *read_file(const char *dir, const char *name, bool must)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *in = fopen(path, "r");
    if (in == NULL && must)
        die(path, "cannot be read");
    if (in == NULL)
        return NULL;
    char *text = NULL;
    size_t n = 0;
    if (getdelim(&text, &n, '\0', in) < 0)
        die(path, "is empty");
    fclose(in);
    return text;
}

/* The pointers of the bad entries, one a line, must be those of the file `problems`. */
static void problems_check(const struct problems *problems)
{
    char *want = read_file(world.cases, "problems", false), got[4096] = "";
    for (size_t i = 0; i < problems->n; i++) {
        size_t n = strlen(got);
        if (problems->at[i].kind != PROBLEM_WARNING)
            snprintf(got + n, sizeof got - n, "%s\n", problems->at[i].pointer);
    }
    if (strcmp(got, want != NULL ? want : "") != 0)
        die("problems of the policy", got);
    free(want);
}

static const struct policy *load(const char *file)
{
    char *text = read_file(world.cases, file, true);
    json_error_t error;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL)
        die(file, error.text);
    if (world.rules) {
        if (json_object_get(json, "aliases") == NULL)
            json_object_set_new(json, "aliases", json_object());
        json_object_set_new(json_object_get(json, "aliases"), "database", json_string(world.database));
    }
    char *whole = json_dumps(json, 0);
    struct problems problems = {0};
    const struct policy *policy = config_load(whole, strlen(whole), &problems);
    problems_check(&problems);
    if (policy == NULL)
        die(file, "cannot be used");
    problems_done(&problems);
    free(whole);
    json_decref(json);
    free(text);
    return policy;
}

static struct session **session_named(const char *name)
{
    for (size_t i = 0; i < SESSIONS; i++) {
        if (world.sessions[i].session == NULL) {
            snprintf(world.sessions[i].name, sizeof world.sessions[i].name, "%.31s", name);
            world.sessions[i].session = session_new(&world.list);
        }
        if (strcmp(world.sessions[i].name, name) == 0)
            return &world.sessions[i].session;
    }
    die(name, "too many sessions");
    return NULL;
}

static void expect(const char *what, const char *got, const char *want)
{
    world.checks++;
    if (strncmp(got, want, strlen(want)) != 0)
        fail("%s: got \"%s\", want \"%s\"", what, got, want);
}

static void step_connect(struct session *session, char *arg, const char *want)
{
    struct network client;
    struct error err = {0};
    struct pool pool = {0};
    if (network_parse(arg, &client, &err) < 0)
        die(arg, err.text);
    session_connect(session, &client);
    struct verdict verdict = session_judge(session, &pool);
    expect(arg, verdict.action == ACTION_REJECT ? "554" : "220", want != NULL ? want : "220");
    pool_done(&pool);
}

struct options {
    int64_t size, bytes;
    const char *user;
    bool raw;
};

static struct options options_read(char *text)
{
    struct options options = {.size = -1};
    char *save = NULL;
    for (char *word = strtok_r(text, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
        if (strncmp(word, "size=", 5) == 0)
            options.size = atoll(word + 5);
        else if (strncmp(word, "bytes=", 6) == 0)
            options.bytes = atoll(word + 6);
        else if (strncmp(word, "user=", 5) == 0)
            options.user = word + 5;
        else if (strcmp(word, "raw") == 0)
            options.raw = true;
        else
            die(word, "no such option");
    }
    return options;
}

/* Ends the <ADDRESS> that text begins with, and returns what follows it. A quoted local part may hold spaces. */
static char *address_end(char *text)
{
    char *end = text[0] == '<' ? strchr(text, '>') : NULL;
    if (end == NULL)
        die(text, "no <ADDRESS>");
    end++;
    if (*end == '\0')
        return end;
    *end++ = '\0';
    return end + strspn(end, " ");
}

static void step_mail(struct session *session, char *arg)
{
    const struct options options = options_read(address_end(arg));
    session_mail(session, arg, NULL, options.user, options.size);
}

/* True where the recipient was accepted. */
static bool recipient(struct session *session, const char *raw, const char *resolved, const char *want)
{
    char got[1024];
    struct outcome outcome;
    session_rcpt(session, raw, resolved, &outcome);
    const struct reply_line *line = &outcome.line;
    enum action action = outcome.decision.verdict.action;
    if (!outcome.enforced || action == ACTION_ACCEPT)
        snprintf(got, sizeof got, "250");
    else if (action == ACTION_DISCARD)
        snprintf(got, sizeof got, "drop");
    else
        snprintf(got, sizeof got, "%s %s %s", line->code, line->dsn, line->text);
    expect(raw, got, want);
    return got[0] == '2' || got[0] == 'd';
}

static bool step_rcpt(struct session *session, char *arg, bool raw, const char *want)
{
    char resolved[4096];
    size_t n = strlen(arg);
    if (want == NULL)
        die(arg, "what is the answer?");
    snprintf(resolved, sizeof resolved, "%.*s", (int)n - 2, arg + 1);
    return recipient(session, arg, raw ? NULL : resolved, want);
}

static void step_send(struct session *session, char *arg, const char *want)
{
    char *to = address_end(arg);
    const struct options options = options_read(address_end(to));
    session_mail(session, arg, NULL, options.user, options.size);
    if (step_rcpt(session, to, options.raw, want)) {
        struct ending ending;
        message_bytes(&session->message, options.bytes > 0 ? (size_t)options.bytes : 1);
        message_end(&session->message, &ending);
        if (ending.refused)
            fail("%s: got \"%s %s\" at its end", arg, ending.line.code, ending.line.dsn);
    } else {
        message_abort(&session->message);
    }
}

static void step_data(struct session *session, const char *arg, const char *want)
{
    char got[1024];
    struct ending ending;
    size_t dropped = 0;
    for (const struct accepted *a = session->message.accepted; a != NULL; a = a->next)
        dropped += a->discard;
    snprintf(got, sizeof got, "%zu dropped", dropped);
    message_bytes(&session->message, strtoull(arg, NULL, 10));
    message_end(&session->message, &ending);
    if (ending.refused && ending.enforced)
        snprintf(got, sizeof got, "%s %s %s", ending.line.code, ending.line.dsn, ending.line.text);
    if (want != NULL)
        expect("data", got, want);
    else if (got[0] == '4')
        fail("data: got \"%s\"", got);
}

static void step_reset(char *arg)
{
    char *save, *key = strtok_r(arg, " ", &save);
    const char *keys[] = {key};
    size_t n = 0;
    if (key == NULL)
        die("reset", "reset PATTERN [LIMIT]");
    if (counters_reset(world.gate.counters, keys, 1, strtok_r(NULL, " ", &save), &n) != COUNTERS_OK || n == 0)
        fail("%s: nothing was reset", key);
}

/* What was left for later must not happen at another time. */
static void settle(void)
{
    if (!refunds_flush(world.gate.refunds, 5000))
        die("later", "is not done with its work after 5 s");
}

static void used_find(void *arg, const struct count_view *view)
{
    void **pair = arg;
    if (strcmp(view->limit, pair[0]) == 0)
        *(int64_t *)pair[1] += view->used;
}

static void step_used(char *arg)
{
    char *save, *key = strtok_r(arg, " ", &save), *limit = strtok_r(NULL, " ", &save);
    char *want = strtok_r(NULL, " ", &save);
    int64_t used = 0;
    if (want == NULL)
        die(arg, "used KEY LIMIT N");
    const char *keys[] = {key};
    void *pair[] = {limit, &used};
    counters_show(world.gate.counters, keys, 1, world.now_ms, used_find, pair);
    world.checks++;
    if (used != atoll(want))
        fail("%s %s: used %lld, want %s", key, limit, (long long)used, want);
}

static void keys_count(void *arg, const struct count_view *view)
{
    (void)view;
    ++*(int64_t *)arg;
}

static void step_keys(char *arg)
{
    char *save, *key = strtok_r(arg, " ", &save), *want = strtok_r(NULL, " ", &save);
    int64_t n = 0;
    if (want == NULL)
        die(arg, "keys PATTERN N");
    const char *keys[] = {key};
    counters_show(world.gate.counters, keys, 1, world.now_ms, keys_count, &n);
    world.checks++;
    if (n != atoll(want))
        fail("%s: %lld counters, want %s", key, (long long)n, want);
}

static void step_queue(const char *file)
{
    char *lines = read_file(world.cases, file, true);
    const struct policy *policy = context_policy(&world.gate.context);
    queue_monitor_put(world.gate.backlog, policy, lines);
    policy_unref(policy);
    free(lines);
}

static void step_time(const char *arg)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    char *unit;
    int64_t n = strtoll(arg, &unit, 10);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(unit, units[i].unit) == 0) {
            world.now_ms += n * units[i].ms;
            return;
        }
    }
    die(arg, "no such unit of time");
}

static void step_at(const char *arg)
{
    struct tm tm = {0};
    const char *end = strptime(arg, "%Y-%m-%dT%H:%M:%SZ", &tm);
    if (end == NULL || *end != '\0')
        die(arg, "at YYYY-MM-DDTHH:MM:SSZ");
    world.now_ms = (int64_t)timegm(&tm) * 1000;
}

static void step_session(const char *name, const char *verb, char *arg, const char *want)
{
    struct session **at = session_named(name), *session = *at;
    if (session == NULL)
        die(name, "out of memory");
    if (strcmp(verb, "connect") == 0) {
        step_connect(session, arg, want);
    } else if (strcmp(verb, "mail") == 0) {
        step_mail(session, arg);
    } else if (strcmp(verb, "rcpt") == 0) {
        const struct options options = options_read(address_end(arg));
        step_rcpt(session, arg, options.raw, want);
    } else if (strcmp(verb, "data") == 0) {
        step_data(session, arg, want);
    } else if (strcmp(verb, "send") == 0) {
        step_send(session, arg, want);
    } else if (strcmp(verb, "rset") == 0) {
        message_abort(&session->message);
    } else if (strcmp(verb, "quit") == 0 || strcmp(verb, "lost") == 0) {
        if (verb[0] == 'q')
            message_abort(&session->message);
        session_free(session);
        *at = NULL;
    } else {
        die(verb, "no such step");
    }
}

static void trim(char *text)
{
    for (size_t n = strlen(text); n > 0 && text[n - 1] == ' '; n--)
        text[n - 1] = '\0';
}

static void step(char *line)
{
    static char anonymous[] = "-";
    char *want = strstr(line, " -> "), *name = anonymous, *verb = line;
    if (want != NULL) {
        *want = '\0';
        want += 4;
    }
    char *colon = strchr(line, ':'), *space = strchr(line, ' ');
    if (colon != NULL && (space == NULL || colon < space)) {
        *colon = '\0';
        name = line;
        verb = colon + 1 + strspn(colon + 1, " ");
    }
    char *arg = verb + strcspn(verb, " ");
    if (*arg != '\0') {
        *arg++ = '\0';
        arg += strspn(arg, " ");
    }
    trim(arg);
    if (want != NULL)
        trim(want);
    if (verb[0] == '+')
        step_time(verb + 1);
    else if (strcmp(verb, "at") == 0)
        step_at(arg);
    else if (strcmp(verb, "sql") == 0)
        sql(arg);
    else if (strcmp(verb, "policy") == 0)
        gate_set_policy(&world.gate, load(arg));
    else if (strcmp(verb, "queue") == 0)
        step_queue(arg);
    else if (strcmp(verb, "ramp") == 0)
        ramp_clock_begin(&world.gate.ramp, &world.gate.context, "start");
    else if (strcmp(verb, "reset") == 0)
        step_reset(arg);
    else if (strcmp(verb, "used") == 0)
        step_used(arg);
    else if (strcmp(verb, "keys") == 0)
        step_keys(arg);
    else
        step_session(name, verb, arg, want);
}

/* Copies line to out with every {n} replaced; out of no line of a case is longer than its room. */
static void number_insert(const char *line, long n, char *out, size_t room)
{
    size_t used = 0;
    while (*line != '\0' && used + 32 < room) {
        if (strncmp(line, "{n}", 3) == 0) {
            used += (size_t)snprintf(out + used, room - used, "%ld", n);
            line += 3;
        } else {
            out[used++] = *line++;
        }
    }
    out[used] = '\0';
    if (*line != '\0')
        die(line, "line too long");
}

/* "3x STEP", or just a step. */
static void steps_repeat(const char *line)
{
    char *rest, once[4096];
    long times = strtol(line, &rest, 10);
    if (rest == line || rest[0] != 'x' || rest[1] != ' ' || line[0] == '+') {
        times = 1;
        rest = NULL;
    }
    for (long n = 1; n <= times; n++) {
        number_insert(rest != NULL ? rest + 2 : line, n, once, sizeof once);
        step(once);
        settle();
    }
}

static void play(char *steps)
{
    for (char *line = steps, *next; line != NULL; line = next) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        world.line++;
        line += strspn(line, " ");
        char *comment = strstr(line, "  # ");
        if (comment != NULL)
            *comment = '\0';
        if (*line != '\0' && *line != '#')
            steps_repeat(line);
    }
}

static void cleanup(void)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    char path[128];
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s%s", world.database, suffixes[i]);
        unlink(path);
    }
    rmdir(world.dir);
}

static int run(const char *directory)
{
    snprintf(world.dir, sizeof world.dir, "/tmp/rcptgate-case-XXXXXX");
    if (mkdtemp(world.dir) == NULL)
        die(world.dir, "cannot be made");
    snprintf(world.database, sizeof world.database, "%s/aliases.db", world.dir);
    atexit(cleanup);
    world.cases = directory;
    char *rows = read_file(directory, "rules.sql", false);
    world.rules = rows != NULL;
    if (rows != NULL) {
        sql(aliases_schema_sql);
        sql(rows);
    }
    struct error err = {0};
    session_list_init(&world.list, &world.gate);
    if (gate_init(&world.gate, load("policy.json"), NULL, &err) < 0)
        die("gate", err.text);
    snprintf(world.gate.context.host, sizeof world.gate.context.host, "mx1.example.com");
    world.gate.context.now_ms = virtual_now;
    char *steps = read_file(directory, "steps", true);
    play(steps);
    free(steps);
    free(rows);
    for (size_t i = 0; i < SESSIONS; i++)
        session_free(world.sessions[i].session);
    gate_done(&world.gate);
    if (world.checks == 0)
        die(directory, "checks nothing");
    printf("%d checks, %d failed\n", world.checks, world.failures);
    return world.failures == 0 ? 0 : 1;
}

/* Each in a process of its own, up to the first that fails. */
int main(int argc, char **argv)
{
    int status = 0;
    if (argc < 2)
        die("usage", "run_case DIRECTORY...");
    if (argc == 2)
        return run(argv[1]);
    for (int i = 1; i < argc && status == 0; i++) {
        pid_t pid = fork();
        if (pid == 0)
            return run(argv[i]);
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
            die(argv[i], "cannot be run");
        if (status != 0)
            printf("%s failed\n", argv[i]);
    }
    return status == 0 ? 0 : 1;
}
