/* count: the names of what is counted (see count.h). */
#include "base/count.h"

#include <string.h>

static const char *const names[COUNT_UNITS] = {
    [COUNT_UNIT_RECIPIENTS] = "recipients",
    [COUNT_UNIT_MESSAGES] = "messages",
    [COUNT_UNIT_BYTES] = "bytes",
    [COUNT_UNIT_ATTEMPTS] = "attempts",
};

const char *count_unit_name(enum count_unit unit)
{
    return names[unit];
}

bool count_unit_find(const char *name, size_t n, enum count_unit *out)
{
    for (enum count_unit unit = 0; unit < COUNT_UNITS; unit++)
        if (strlen(names[unit]) == n && memcmp(names[unit], name, n) == 0) {
            *out = unit;
            return true;
        }
    return false;
}
