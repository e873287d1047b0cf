/* verdict_by: by whom a verdict speaks, of a rule as of a limit: in replies to operators, the log, metrics and replay. */
#ifndef RCPTGATE_POLICY_VERDICT_BY_H
#define RCPTGATE_POLICY_VERDICT_BY_H

enum verdict_by {
    VERDICT_BY_NOBODY = 0,
    VERDICT_BY_CLIENT_RULE,
    VERDICT_BY_BLOCK,
    VERDICT_BY_ALIAS,
    VERDICT_BY_SENDER_RULE,
    VERDICT_BY_ADDRESS,
    VERDICT_BY_LIMIT,
    VERDICT_BY_BACKEND,
    VERDICT_BY_RAMP,
    VERDICT_BYS
};

/* "client", "block", "alias", "sender", "address", "limit", "backend", "ramp"; "nobody" for the rest. */
const char *verdict_by_name(enum verdict_by by);

#endif
