/* decision_log: one line for each RCPT, and one for each message, key=value; of printable bytes alone. */
#ifndef RCPTGATE_MILTER_DECISION_LOG_H
#define RCPTGATE_MILTER_DECISION_LOG_H

#include "milter/session.h"
#include "base/text.h"

/* queue: the queue id, NULL while Postfix has none. */
void decision_log_text(const struct session *session, const struct outcome *outcome, const char *queue,
                       struct text *text);

/* At the end of a message, before it is forgotten. */
void decision_log_message(const struct session *session, const char *queue, struct text *text);

#endif
