/* verdict_by: the names (see verdict_by.h). Cannot fail. */
#include "policy/verdict_by.h"

static const char *const names[VERDICT_BYS] = {
    [VERDICT_BY_NOBODY] = "nobody", [VERDICT_BY_CLIENT_RULE] = "client", [VERDICT_BY_BLOCK] = "block",
    [VERDICT_BY_ALIAS] = "alias",   [VERDICT_BY_SENDER_RULE] = "sender", [VERDICT_BY_ADDRESS] = "address",
    [VERDICT_BY_LIMIT] = "limit",   [VERDICT_BY_BACKEND] = "backend",    [VERDICT_BY_RAMP] = "ramp",
};

const char *verdict_by_name(enum verdict_by by)
{
    return (unsigned)by < VERDICT_BYS ? names[by] : names[VERDICT_BY_NOBODY];
}
