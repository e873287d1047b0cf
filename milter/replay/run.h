/* run: one policy and what it would have answered. A gate of its own with embedded counters and the clock
 * of the log: nothing outside is asked but the alias database, read-only. */
#ifndef RCPTGATE_REPLAY_RUN_H
#define RCPTGATE_REPLAY_RUN_H

#include "gate/gate.h"
#include "gate/srs.h"
#include "replay/event.h"
#include "milter/session.h"
#include "replay/totals.h"

enum { REPLAY_WHAT = 256 }; /* bytes of an answer's "what" */

struct replay_answer {  /* what one RCPT would have got */
    enum action action; /* ACTION_NONE: as a backend that failed */
    bool duplicate;
    char what
        [REPLAY_WHAT]; /* "limit alias-minute", "alias", "sender", "client", "address", "backend"; "" where accepted */
    const char *subject; /* the counter's key, or the rule; valid until the next event */
};

struct replay {
    struct gate gate;
    struct session_list sessions;
    const char *file;
    const char *assumed; /* in words: what stands for the alias rules, and for the queue */
    char assumption[512];
    bool shadow; /* the policy only watches */
    int index;   /* which of replay_message.open is ours */
    int64_t now_ms;
    struct replay_open *open_first, *open_last; /* messages, the oldest first */
    struct replay_open *idle, *all;             /* sessions for reuse; all there are */
    size_t n_open;
    uint64_t actions[5]; /* RCPTs, by enum action */
    uint64_t shadowed;   /* RCPTs that a limit in shadow would have refused */
    uint64_t early;      /* messages that were ended before the log did, as too many were open */
    struct srs srs;
    struct totals *causes;  /* "defer limit alias-minute"; no subject */
    struct totals *refused; /* the same by subject */
    struct pool pool;
};

/* file: the policy, which policy_file_load() has taken already. aliases: read its alias rules. 0, or -1 with err
 * set; replay_run_done() is harmless either way. */
int replay_run_init(struct replay *replay, const char *file, int index, bool aliases, struct error *err);
void replay_run_done(struct replay *replay);

/* Plays one event. answer is filled for REPLAY_RCPT. False: out of memory. */
bool replay_run_play(struct replay *replay, const struct replay_event *event, struct replay_answer *answer);

#endif
