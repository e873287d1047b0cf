/* fuzz_maillog: whatever a log holds, every text that is found lies inside the line, and numbers are in their ranges. */
#include "maillog.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool truth)
{
    if (!truth)
        abort();
}

static void check_text(struct maillog_text text, const char *line, size_t n)
{
    char out[64];
    demand(text.n == 0 || (text.at >= line && text.n <= n && (size_t)(text.at - line) <= n - text.n));
    if (maillog_decode(text, out, sizeof out))
        demand(strlen(out) <= text.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct maillog_line parsed;
    char *line = malloc(size + 1);
    if (line == NULL)
        return 0;
    if (size > 0)
        memcpy(line, data, size);
    enum maillog_kind kind = maillog_parse(line, size, &parsed);
    const struct maillog_text texts[] = {parsed.host, parsed.queue, parsed.client,
                                         parsed.user, parsed.from,  parsed.to};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        check_text(texts[i], line, size);
    const struct maillog_time *t = &parsed.time;
    if (kind != MAILLOG_GARBAGE)
        demand(t->month >= 1 && t->month <= 12 && t->day >= 1 && t->day <= 31 && t->hour <= 23 &&
               t->minute <= 59 && t->second <= 60 && t->ms <= 999 && parsed.host.n > 0);
    demand(parsed.size >= -1 && (parsed.size == -1) == (kind != MAILLOG_QUEUED));
    demand(kind != MAILLOG_DELIVERY || (parsed.to.n > 0 && parsed.queue.n > 0));
    free(line);
    return 0;
}
