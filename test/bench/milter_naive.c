/* milter_naive: the limiter that one writes in an afternoon, to measure against. Every thread has a blocking connection to Redis and to
 * the alias database; every RCPT costs one SELECT and one EVALSHA. Limits one window a recipient and gives nothing back.
 *
 *   milter_naive [-n] SOCKET-SPECIFICATION REDIS-SOCKET DATABASE MAX WINDOW-SECONDS
 *
 * -n: negotiates replies away as the gate does. Ends on SIGTERM. */
#include <hiredis/hiredis.h>
#include <libmilter/mfapi.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *redis_path, *database_path, *max_text, *window_text;
static char sha[41];
static bool negotiates;

/* Two buckets of a window, the older one weighted by how much of it is still inside. */
static const char script[] =
    "local time = redis.call('TIME')\n"
    "local now, window = time[1] + time[2] / 1000000, tonumber(ARGV[2])\n"
    "local bucket = math.floor(now / window)\n"
    "local counts = redis.call('HMGET', KEYS[1], bucket, bucket - 1)\n"
    "local used = (tonumber(counts[1]) or 0) + (tonumber(counts[2]) or 0) * (1 - now / window + bucket)\n"
    "if used + 1 > tonumber(ARGV[1]) then return 0 end\n"
    "redis.call('HINCRBY', KEYS[1], bucket, 1)\n"
    "redis.call('EXPIRE', KEYS[1], 2 * window)\n"
    "return 1\n";

static _Thread_local redisContext *redis;
static _Thread_local sqlite3 *database;
static _Thread_local sqlite3_stmt *find;

/* libmilter ends threads as it likes: what they had open goes with them. */
static pthread_key_t thread_end;

static void thread_close(void *unused)
{
    (void)unused;
    redisFree(redis); /* all three take NULL */
    sqlite3_finalize(find);
    sqlite3_close(database);
}

static bool thread_ready(void)
{
    if (redis == NULL) {
        (void)pthread_setspecific(thread_end, &thread_end); /* anything but NULL */
        redis = redisConnectUnix(redis_path);
        if (redis == NULL || redis->err != 0)
            return false;
    }
    return find != NULL || (sqlite3_open_v2(database_path, &database,
                                            SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK &&
                            sqlite3_prepare_v2(database, "SELECT action FROM aliases WHERE address = ?1", -1,
                                               &find, NULL) == SQLITE_OK);
}

static bool is_alias(const char *address)
{
    bool found = sqlite3_bind_text(find, 1, address, -1, SQLITE_STATIC) == SQLITE_OK &&
                 sqlite3_step(find) == SQLITE_ROW;
    sqlite3_reset(find);
    return found;
}

static bool is_within(const char *address)
{
    redisReply *reply =
        redisCommand(redis, "EVALSHA %s 1 naive:%s %s %s", sha, address, max_text, window_text);
    bool within = reply != NULL && reply->type == REDIS_REPLY_INTEGER && reply->integer == 1;
    if (reply != NULL)
        freeReplyObject(reply);
    return within;
}

static sfsistat on_rcpt(SMFICTX *ctx, char **argv)
{
    static char macro[] = "{rcpt_addr}";
    const char *address = smfi_getsymval(ctx, macro);
    char code[] = "450", unknown[] = "550", dsn[] = "4.2.1", unknown_dsn[] = "5.1.1", text[] = "too fast",
         unknown_text[] = "no such alias";
    if (address == NULL)
        address = argv[0];
    if (!thread_ready())
        return SMFIS_TEMPFAIL;
    if (!is_alias(address))
        return smfi_setreply(ctx, unknown, unknown_dsn, unknown_text) == MI_SUCCESS ? SMFIS_REJECT
                                                                                    : SMFIS_TEMPFAIL;
    if (is_within(address))
        return SMFIS_CONTINUE;
    (void)smfi_setreply(ctx, code, dsn, text);
    return SMFIS_TEMPFAIL;
}

static sfsistat on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *address)
{
    (void)ctx, (void)host, (void)address;
    return negotiates ? SMFIS_NOREPLY : SMFIS_CONTINUE;
}

static sfsistat on_mail(SMFICTX *ctx, char **argv)
{
    (void)ctx, (void)argv;
    return negotiates ? SMFIS_NOREPLY : SMFIS_CONTINUE;
}

static sfsistat on_end(SMFICTX *ctx)
{
    (void)ctx;
    return SMFIS_CONTINUE;
}

static sfsistat on_negotiate(SMFICTX *ctx, unsigned long f0, unsigned long f1, unsigned long f2,
                             unsigned long f3, unsigned long *pf0, unsigned long *pf1, unsigned long *pf2,
                             unsigned long *pf3)
{
    (void)ctx, (void)f0, (void)f2, (void)f3;
    unsigned long silent = negotiates ? SMFIP_NR_CONN | SMFIP_NR_MAIL : 0;
    *pf0 = 0;
    *pf1 = f1 & (SMFIP_NOHELO | SMFIP_NOUNKNOWN | SMFIP_NODATA | SMFIP_NOHDRS | SMFIP_NOEOH | SMFIP_NOBODY |
                 silent);
    *pf2 = *pf3 = 0;
    return SMFIS_CONTINUE;
}

static bool load_script(void)
{
    redisContext *context = redisConnectUnix(redis_path);
    redisReply *reply =
        context != NULL && context->err == 0 ? redisCommand(context, "SCRIPT LOAD %s", script) : NULL;
    bool loaded = reply != NULL && reply->type == REDIS_REPLY_STRING && strlen(reply->str) == 40;
    if (loaded)
        memcpy(sha, reply->str, sizeof sha);
    if (reply != NULL)
        freeReplyObject(reply);
    if (context != NULL)
        redisFree(context);
    return loaded;
}

int main(int argc, char **argv)
{
    static char name[] = "naive";
    const struct smfiDesc description = {
        .xxfi_name = name,
        .xxfi_version = SMFI_VERSION,
        .xxfi_connect = on_connect,
        .xxfi_envfrom = on_mail,
        .xxfi_envrcpt = on_rcpt,
        .xxfi_eom = on_end,
        .xxfi_abort = on_end,
        .xxfi_close = on_end,
        .xxfi_negotiate = on_negotiate,
    };
    negotiates = argc > 1 && strcmp(argv[1], "-n") == 0;
    argv += negotiates;
    if (argc - negotiates != 6) {
        fprintf(stderr,
                "usage: milter_naive [-n] SOCKET-SPECIFICATION REDIS-SOCKET DATABASE MAX WINDOW-SECONDS\n");
        return 2;
    }
    redis_path = argv[2];
    database_path = argv[3];
    max_text = argv[4];
    window_text = argv[5];
    if (pthread_key_create(&thread_end, thread_close) != 0 || !load_script() ||
        smfi_setconn(argv[1]) != MI_SUCCESS || smfi_register(description) != MI_SUCCESS) {
        fprintf(stderr, "milter_naive: cannot start\n");
        return 1;
    }
    return smfi_main() == MI_SUCCESS ? 0 : 1;
}
