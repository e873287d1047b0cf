/* control: the local socket over which the commands speak to the running gate.
 *
 * One request, one answer, each a line of at most CONTROL_MAX bytes; what they say is the caller's business.
 * Each client has a thread of its own, CONTROL_CLIENTS at most; one that stands still for 5 s is sent away. */
#ifndef RCPTGATE_SYS_CONTROL_H
#define RCPTGATE_SYS_CONTROL_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

enum { CONTROL_MAX = 4 << 20, CONTROL_CLIENTS = 64 };

struct control;

/* Answers a request (without newline, NUL-terminated). Returns malloc'd text without newline, freed by the
 * server; NULL: no answer, the connection is closed. Called by several threads at once. */
typedef char *control_answer_fn(void *arg, const char *request);

/* Creates path with mode 0660 and the group (NULL: the process's), replacing what a dead instance left. The
 * caller guarantees by a lock of its own that no other instance lives. NULL with err set. */
struct control *control_start(const char *path, const char *group, control_answer_fn *answer, void *arg,
                              struct error *err);

/* Sends the clients away, and waits for answers under way, at most 5 s. False: one still is, and uses what it
 * was given. NULL is harmless. */
bool control_stop(struct control *control);

/* The client's side. malloc'd answer, or NULL with err set; *absent is set where nobody listens. */
char *control_ask(const char *path, const char *request, int timeout_ms, bool *absent, struct error *err);

#endif
