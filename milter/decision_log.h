/* decision_log: one line for each RCPT, key=value. */
#ifndef RCPTGATE_MILTER_DECISION_LOG_H
#define RCPTGATE_MILTER_DECISION_LOG_H

#include "milter/session.h"
#include "base/text.h"

/* queue: the queue id, NULL while Postfix has none. */
void decision_log_text(const struct session *session, const struct outcome *outcome, const char *queue,
                       struct text *text);

#endif
