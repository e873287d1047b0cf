/* block_log: one line in the log for each block that begins, changes or ends. */
#ifndef RCPTGATE_GATE_BLOCK_LOG_H
#define RCPTGATE_GATE_BLOCK_LOG_H

#include "blocks/blocks.h"

/* A blocks_event_fn; arg is the context. */
void block_log_event(void *arg, const struct blocks_event *event);

#endif
