/* remote_script: what the counter store in Redis asks of its script counters.lua. The functions are those of struct
 * counters_ops (store.h). */
#ifndef RCPTGATE_COUNTERS_REMOTE_SCRIPT_H
#define RCPTGATE_COUNTERS_REMOTE_SCRIPT_H

#include "store.h"

enum counters_status remote_script_ask(struct counters *counters, enum counters_mode mode,
                                       const struct count_request *request, int64_t now_ms,
                                       struct count_answer *answers);
enum counters_status remote_script_change(struct counters *counters, struct count_change *changes, size_t n,
                                          int64_t now_ms);
enum counters_status remote_script_sync(struct counters *counters, const struct count_change *changes,
                                        size_t n, int64_t now_ms, int64_t sequence);
enum counters_status remote_script_settle(struct counters *counters, const struct count_change *changes,
                                          size_t n, int64_t now_ms, int64_t deadline,
                                          struct count_answer *answers);
enum counters_status remote_script_lease(struct counters *counters, const struct count_ask *ask, int64_t most,
                                         const struct lease_rest *rest, int64_t now_ms, int64_t deadline,
                                         struct lease_grant *out);
enum counters_status remote_script_refused(struct counters *counters, const char *key, const char *limit,
                                           int64_t n, int64_t now_ms);
enum counters_status remote_script_deferred(struct counters *counters, struct count_deferral *deferrals,
                                            size_t n, int64_t now_ms);
enum counters_status remote_script_retry(struct counters *counters, const struct count_request *request,
                                         bool look, int64_t now_ms, bool *out);

#endif
