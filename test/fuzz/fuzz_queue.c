/* fuzz_queue: whatever `postqueue -j` prints, the numbers add up: no subject has more messages than there are. */
#include "fuzz.h"

#include "gate/queue_monitor.h"
#include "queue_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned pers = 1u << SUBJECT_MAILBOX | 1u << SUBJECT_MAILBOX_DOMAIN | 1u << SUBJECT_SENDER |
                                 1u << SUBJECT_SENDER_DOMAIN | 1u << SUBJECT_HOST | 1u << SUBJECT_ALL;
    struct queue_parse queue;
    int64_t lines = 0;
    demand(queue_parse_init(&queue, pers, "mx1", "+", NULL) == 0);
    for (size_t at = 0; at < size; lines++) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t n = end != NULL ? (size_t)(end - data) - at : size - at;
        char *line = malloc(n + 1); /* of its own, so that a read beyond its end is seen */
        demand(line != NULL);
        memcpy(line, data + at, n);
        line[n] = '\0';
        queue_parse_line(&queue, line, n);
        free(line);
        at += n + 1;
    }
    demand(queue.messages >= 0 && queue.messages <= lines && queue.bad <= lines);
    demand(queue_parse_of(queue.of[SUBJECT_HOST], "mx1") <= lines);
    demand(queue_parse_of(queue.of[SUBJECT_MAILBOX], "a@example.com") <= queue.messages);
    queue_parse_done(&queue);
    return 0;
}
