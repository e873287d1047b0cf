/* fuzz_cluster: whatever a node of a cluster or a Sentinel answers, it makes no sense, or what is read from it is within its bounds:
 * hosts that can be shown and dialled, ports, slots, and epochs that never fall.
 * The first byte chooses the reader, and whether the rest is RESP as it is, or what a good answer is made of. */
#include "fuzz_reply.h"

#include "sentinels.h"
#include "slots.h"

#include <stdarg.h>

enum { SAID = 3, MADE = 8192 };

static const char host_bytes[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_:%?";

static void check_host(const char *host, size_t size, int port)
{
    size_t n = strnlen(host, size);
    demand(n > 0 && n < size && strspn(host, host_bytes) == n && strcmp(host, "?") != 0);
    demand(port > 0 && port <= 65535);
}

static void check_text(const struct error *err, bool some)
{
    demand(memchr(err->text, '\0', sizeof err->text) != NULL);
    demand((err->text[0] != '\0') == some);
}

/* ---- made-up answers ---- */

struct made {
    char text[MADE];
    size_t n;
};

__attribute__((format(printf, 2, 3))) static void add(struct made *made, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(made->text + made->n, sizeof made->text - made->n, format, args);
    va_end(args);
    demand(n >= 0 && made->n + (size_t)n < sizeof made->text);
    made->n += (size_t)n;
}

static void add_text(struct made *made, const char *text)
{
    add(made, "$%zu\r\n%s\r\n", strlen(text), text);
}

static const char *pick(struct fuzz_input *in)
{
    static const char *const texts[] = {"192.0.2.1", "2001:db8::1", "redis.example", "",   "?", "a b",
                                        "6379",      "0",           "70000",         "-1", "5"};
    return texts[fuzz_below(in, sizeof texts / sizeof texts[0])];
}

static unsigned slot(struct fuzz_input *in)
{
    return fuzz_byte(in) * 66 + fuzz_below(in, 8);
}

/* Ranges of slots, each with a master and replicas. */
static void make_slots(struct fuzz_input *in, struct made *made)
{
    unsigned ranges = fuzz_below(in, 12);
    add(made, "*%u\r\n", ranges);
    for (unsigned i = 0; i < ranges; i++) {
        unsigned nodes = fuzz_below(in, 4), first = slot(in), last = slot(in);
        add(made, "*%u\r\n:%u\r\n:%u\r\n", nodes + 2, first, last);
        for (unsigned k = 0; k < nodes; k++) {
            add(made, "*3\r\n");
            add_text(made, pick(in));
            add(made, ":%lld\r\n$2\r\n%02u\r\n", (long long)fuzz_number(in), fuzz_below(in, 20));
        }
    }
}

/* What Sentinels say: SENTINEL MASTER, and GET-MASTER-ADDR-BY-NAME. */
static void make_said(struct fuzz_input *in, struct made *made)
{
    static const char *const names[] = {"ip", "port", "config-epoch", "flags"};
    for (int i = 0; i < SAID; i++) {
        add(made, "*8\r\n");
        for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
            add_text(made, names[k]);
            add_text(made, k == 3 && fuzz_below(in, 2) == 1 ? "master,failover_in_progress" : pick(in));
        }
        add(made, "*2\r\n");
        add_text(made, pick(in));
        add_text(made, pick(in));
    }
}

/* ---- the readers ---- */

static void read_slots(const redisReply *reply)
{
    static struct redis_slots slots;
    struct error err = {0};
    bool good = redis_slots_read(reply, "asked.example", &slots, &err);
    check_text(&err, !good);
    for (size_t i = 0; good && i < slots.n; i++) {
        const struct redis_slots_master *master = &slots.masters[i];
        check_host(master->node.host, sizeof master->node.host, master->node.port);
        demand(strnlen(master->node.id, sizeof master->node.id) < sizeof master->node.id);
        demand(master->n_replicas <= REDIS_SLOTS_REPLICAS);
    }
    static bool has[REDIS_SLOTS_NODES];
    memset(has, 0, sizeof has);
    for (size_t i = 0; good && i < REDIS_SLOTS; i++) {
        demand(slots.owner[i] < slots.n || slots.owner[i] == REDIS_SLOTS_NONE);
        if (slots.owner[i] != REDIS_SLOTS_NONE)
            has[slots.owner[i]] = true;
    }
    for (size_t i = 0; good && i < slots.n; i++)
        demand(has[i]);
    demand(!good || slots.n <= REDIS_SLOTS_NODES);
}

static void read_info(const redisReply *reply)
{
    struct error err = {0};
    int64_t epoch = -1;
    bool good = redis_slots_read_info(reply, &epoch, &err);
    check_text(&err, !good);
    demand(good == (epoch >= 0));
}

static void read_redirection(const redisReply *reply)
{
    struct redis_slots_redirection to;
    if (reply->type != REDIS_REPLY_ERROR || !redis_slots_read_redirection(reply->str, &to))
        return;
    check_host(to.host[0] != '\0' ? to.host : "asked", sizeof to.host, to.port);
    demand(strncmp(reply->str, to.ask ? "ASK " : "MOVED ", to.ask ? 4 : 6) == 0);
}

/* Several Sentinels, one after the other and then together. */
static void read_said(redisReply *const *replies, size_t n)
{
    struct redis_sentinels_choice choice = {0};
    struct redis_master said[SAID] = {0};
    size_t n_said = 0;
    for (size_t i = 0; i + 1 < n; i += 2) {
        int64_t before = choice.now.epoch;
        if (!redis_sentinels_read(&replies[i], &said[n_said]))
            continue;
        check_host(said[n_said].host, sizeof said[n_said].host, said[n_said].port);
        demand(said[n_said].epoch >= 0);
        redis_sentinels_choose(&choice, &said[n_said++], 1);
        demand(choice.now.epoch >= before);
    }
    redis_sentinels_choose(&choice, said, n_said);
    for (size_t i = 0; i < n_said; i++)
        demand(choice.now.epoch >= said[i].epoch);
    if (n_said > 0)
        check_host(choice.now.host, sizeof choice.now.host, choice.now.port);
    demand(memchr(choice.former, '\0', sizeof choice.former) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct made made;
    struct fuzz_input in = {data, size};
    unsigned how = fuzz_byte(&in);
    redisReply *replies[2 * SAID];
    made.n = 0;
    if ((how & 128) != 0)
        ((how & 3) == 3 ? make_said : make_slots)(&in, &made);
    size_t n = made.n > 0 ? fuzz_reply_read((const uint8_t *)made.text, made.n, replies, 2 * SAID)
                          : fuzz_reply_read(in.at, in.left, replies, 2 * SAID);
    if ((how & 3) == 3)
        read_said(replies, n);
    for (size_t i = 0; i < n && (how & 3) != 3; i++)
        ((how & 3) == 0 ? read_slots : (how & 3) == 1 ? read_info : read_redirection)(replies[i]);
    while (n > 0)
        freeReplyObject(replies[--n]);
    return 0;
}
