/* fuzz_redis: whatever Redis answers, the counter store says that it is unsure and zeroes its answers, or gives answers that
 * are within their bounds. The client of lib/redis is replaced by unit/redis_fed.h: bytes go in as RESP, no socket is needed.
 * The first byte chooses the call, and whether the rest is RESP as it is, or numbers of which a good array is made. */
#include "fuzz_reply.h"

#include "../unit/redis_fed.h"
#include "counters/stores.h"
#include "remote.h"
#include "store.h"

enum { ASKS = 3 };

static const uint8_t *feed;
static size_t feed_len;

static enum redis_status redis_fed_answer(redisReply **out)
{
    return fuzz_reply_read(feed, feed_len, out, 1) == 1
               ? REDIS_ANSWERED
               : REDIS_LOST; /* what the client says of bytes that are no answer */
}

/* ---- calls ---- */

static const struct count_ask asks[ASKS] = {
    {.key = "recipient:{a}",
     .limit = "one",
     .max = 9,
     .window_ms = 1000,
     .amount = 1,
     .need = 1,
     .share_of = -1},
    {.key = "recipient:{a}",
     .limit = "two",
     .max = 5,
     .window_ms = 60000,
     .amount = 1,
     .need = 1,
     .share_of = -1,
     .hold_ms = 1000},
    {.key = "client:{b}",
     .limit = "three",
     .max = 5,
     .window_ms = 60000,
     .amount = 1,
     .need = 1,
     .share_of = 1,
     .flags = COUNT_ATTEMPT},
};

static void check_answers(enum counters_status status, const struct count_answer *answers, size_t n)
{
    static const struct count_answer zero;
    for (size_t i = 0; i < n; i++) {
        const struct count_answer *a = &answers[i];
        if (status != COUNTERS_OK) {
            demand(a->result == COUNT_UNKNOWN && a->used == zero.used);
            continue;
        }
        demand(a->result >= COUNT_ADMITTED && a->result <= COUNT_HELD);
        demand(a->used >= 0 && a->wait_ms >= 0);
    }
}

static void call_request(struct counters *counters, size_t n, bool peek)
{
    static const struct count_pair pair = {.id = "0123456789abcdef0123456789abcdef"};
    const struct count_request request = {.asks = asks, .n = n, .pair = n == ASKS ? &pair : NULL};
    struct count_answer got[ASKS];
    memset(got, 0x55, sizeof got);
    check_answers((peek ? counters_peek : counters_reserve)(counters, &request, 0, got), got, n);
}

static void call_lease(struct counters *counters)
{
    static const struct lease_rest rest = {.units = 2, .slot = 5, .created = 5};
    struct lease_grant grant;
    if (counters->ops->lease(counters, &asks[0], 5, &rest, 0, 0, &grant) == COUNTERS_OK)
        demand(grant.units >= 0 && grant.units <= 5 && grant.used >= 0 && grant.slot >= 0);
}

static void see(void *arg, const struct count_view *view)
{
    (void)arg;
    demand(strlen(view->key) > 0 && strlen(view->limit) < 65536);
    demand(view->used >= 0 && view->max >= 0 && view->refused >= 0 && view->held_ms >= 0 &&
           view->reset_ms >= 0);
}

static void call_settle(struct counters *counters)
{
    static const struct count_change changes[] = {{.key = "recipient:{a}",
                                                   .limit = "one",
                                                   .window_ms = 1000,
                                                   .slot = 5,
                                                   .created = 5,
                                                   .amount = 9,
                                                   .max = 100,
                                                   .check = COUNT_CHECK_FULL},
                                                  {.key = "client:{b}", .limit = "two", .slot = -1},
                                                  {.key = "client:{b}",
                                                   .limit = "three",
                                                   .window_ms = 1000,
                                                   .slot = 5,
                                                   .created = 5,
                                                   .amount = 9,
                                                   .max = 100,
                                                   .check = COUNT_CHECK_FIT}};
    struct count_answer got[3];
    memset(got, 0x55, sizeof got);
    if (counters_settle(counters, changes, 3, 0, 0, got) != COUNTERS_OK)
        return; /* then nobody looks at them */
    for (size_t i = 0; i < 3; i++)
        demand((got[i].result == COUNT_ADMITTED || got[i].result == COUNT_OVER) && got[i].used >= 0 &&
               got[i].wait_ms >= 0);
}

static void call(struct counters *counters, unsigned how)
{
    static const char *const keys[] = {"recipient:{a}", "*", "client*"};
    const struct count_change change = {
        .key = "recipient:{a}", .limit = "one", .window_ms = 1000, .slot = 5, .created = 5, .amount = -1};
    size_t n = 0;
    switch (how % 8) {
    case 0:
    case 1:
    case 2:
        call_request(counters, how % 8 + 1, (how & 64) != 0);
        break;
    case 3:
        if ((how & 64) != 0)
            call_settle(counters);
        demand(counters_change(counters, (struct count_change[]){change}, 1, 0) <= COUNTERS_UNSURE);
        break;
    case 4:
        if ((how & 64) != 0)
            call_lease(counters);
        demand(counters_deferred(counters, &(struct count_deferral){.pair.id = "00", .n = 1}, 1, 0) <=
               COUNTERS_UNSURE);
        break;
    case 5:
        demand(counters_charge(counters, &(struct count_request){.asks = asks, .n = 1}, 0) <=
               COUNTERS_UNSURE);
        break;
    case 6:
        demand(counters_reset(counters, keys, 3, NULL, &n) <= COUNTERS_UNSURE);
        break;
    default:
        demand(counters_show(counters, keys, 3, 1700000000000, see, NULL) <= COUNTERS_UNSURE);
    }
}

/* "*N" of as many numbers as the bytes give. */
static size_t make_numbers(struct fuzz_input *in, char *out, size_t size)
{
    size_t n = 0, count = fuzz_below(in, 24);
    n += (size_t)snprintf(out, size, "*%zu\r\n", count);
    for (size_t i = 0; i < count && n + 32 < size; i++)
        n += (size_t)snprintf(out + n, size - n, ":%lld\r\n",
                              (long long)(fuzz_below(in, 8) == 7 ? -fuzz_number(in) : fuzz_number(in)));
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct redis_client client;
    static char made[1024];
    struct fuzz_input in = {data, size};
    struct error condition = {0};
    unsigned how = fuzz_byte(&in);
    struct counters *counters = counters_remote_new(&client, NULL);
    demand(counters != NULL);
    if ((how & 128) != 0) {
        feed_len = make_numbers(&in, made, sizeof made);
        feed = (const uint8_t *)made;
    } else {
        feed = in.at;
        feed_len = in.left;
    }
    if ((how & 32) == 0)
        remote_follow_caller_clock(counters); /* else the clock is asked first */
    call(counters, how);
    counters_condition(counters, &condition);
    demand(memchr(condition.text, '\0', sizeof condition.text) != NULL);
    counters_free(counters);
    return 0;
}
