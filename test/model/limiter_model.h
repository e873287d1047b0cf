/* limiter_model: a counter store as COUNTING tells it, slow and obvious: every counter is a list of slots that is searched from end to
 * end. Written apart from lib/counters, to be compared with it. Aborts when out of memory. */
#ifndef RCPTGATE_TEST_LIMITER_MODEL_H
#define RCPTGATE_TEST_LIMITER_MODEL_H

#include "base/count.h"
#include "store.h"

struct limiter_model;

/* forgets: keys end when their time to live is over. */
struct limiter_model *limiter_model_new(bool forgets);
void limiter_model_free(struct limiter_model *model);

void limiter_model_ask(struct limiter_model *model, enum counters_mode mode,
                       const struct count_request *request, int64_t now_ms, struct count_answer *answers);
void limiter_model_change(struct limiter_model *model, const struct count_change *changes, size_t n,
                          int64_t now_ms);
void limiter_model_settle(struct limiter_model *model, const struct count_change *changes, size_t n,
                          int64_t now_ms, struct count_answer *answers);

/* False: there is none. */
bool limiter_model_show(struct limiter_model *model, const char *key, const char *limit, int64_t now_ms,
                        struct count_view *out);

/* How many there were. */
size_t limiter_model_reset(struct limiter_model *model, const char *key, const char *limit, int64_t now_ms);

#endif
