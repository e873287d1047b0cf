/* policy_reload: which policy is in force, and what became of the file.
 *
 * Watches the policy file, loads it anew, puts it in force as a whole, and keeps the last good one: for a
 * file that is missing, unreadable or no JSON, and entry by entry. Says so in the log, CONDITION_POLICY and
 * CONDITION_POLICY_ENTRIES. A change is taken when two looks found nothing more to change, so that a file is
 * never taken while it is being written. Used by the main thread alone. */
#ifndef RCPTGATE_GATE_POLICY_RELOAD_H
#define RCPTGATE_GATE_POLICY_RELOAD_H

#include "gate/gate.h"
#include "sys/log.h"
#include "config/config.h"

#include <limits.h>
#include <sys/stat.h>

enum { POLICY_LOOK_MS = 200 }; /* between two looks: a change is in force within three of them */

struct policy_reload {
    const char *file;                 /* as it was given */
    char path[PATH_MAX];              /* absolute; "" where its directory does not exist */
    char state[POLICY_STATE_MAX + 1]; /* the directory in use: another one is taken at the next start */
    char *text;                       /* of the policy in force */
    struct stat seen;                 /* at the last look; zeroed: no file */
    struct stat taken;                /* of the file as it was last read */
    int looks;                        /* since it was found changed */
    bool unread;                      /* it could not be read: try again */
    bool unsaved;                     /* text is not in the state directory yet */
    int64_t save_ms;                  /* when to try that next */
    struct error bad;                 /* what is wrong with the file as a whole; "" nothing */
    struct error entries;             /* its bad entries; "" none */
};

/* The policy to start with: that of the file, with its bad entries replaced by their last good version, or the last good
 * policy. NULL with err set where there is neither. Problems of the file are appended. */
const struct policy *policy_reload_start(struct policy_reload *reload, const char *file,
                                         struct problems *problems, struct error *err);

/* Once the gate stands: logs what start found, and keeps the policy for the next start. */
void policy_reload_notify(struct policy_reload *reload, struct gate *gate);

/* Looks at the file, every POLICY_LOOK_MS; now: takes it at once, changed or not. */
void policy_reload_look(struct policy_reload *reload, struct gate *gate, bool now);

void policy_reload_done(struct policy_reload *reload);

void policy_reload_log(const char *file, const struct problems *problems);
enum log_priority policy_reload_log_priority(const struct policy *policy);

#endif
