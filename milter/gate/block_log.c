/* block_log: see block_log.h. */
#include "block_log.h"

#include "gate/context.h"
#include "sys/log.h"
#include "base/text.h"

#include <string.h>

/* "block", "unblock" or "block-ended". */
static const char *name_of(const struct blocks_event *event)
{
    if (event->is == NULL)
        return "block-ended";
    return event->is->action == ACTION_ACCEPT ? "unblock" : "block";
}

void block_log_event(void *arg, const struct blocks_event *event)
{
    const struct context *context = arg;
    if (event->more > 0) {
        log_line(LOG_AT_WARNING, "event=block text=\"and %zu other networks\"", event->more);
        return;
    }
    const struct block *block = event->is != NULL ? event->is : event->was;
    char network[NETWORK_TEXT], until[BLOCK_TIME], line[LOG_LINE_MAX];
    struct text text;
    text_init(&text, line, sizeof line);
    text_addf(&text, "event=%s network=%s", name_of(event), network_format(&block->network, network));
    if (event->is != NULL && block->action != ACTION_ACCEPT)
        text_addf(&text, " action=%s until=%s", action_name(block->action),
                  blocklist_time(block->until_s, until));
    text_add(&text, " by=");
    text_add_percent(&text, block->host);
    if (block->reason[0] != '\0') {
        text_add(&text, " reason=");
        text_add_quoted(&text, block->reason);
    }
    log_line(LOG_AT_WARNING, "%s", line);
    const struct event_field fields[] = {
        {"subject", network},
        {"action", event->is != NULL && block->action != ACTION_ACCEPT ? action_name(block->action) : ""},
        {"by", block->host},
        {"reason", block->reason}};
    if (strcmp(block->host, context->host) != 0)
        return; /* its own gate logs all */
    events_add(context->events, context_now(context), name_of(event), fields,
               sizeof fields / sizeof fields[0]);
}
