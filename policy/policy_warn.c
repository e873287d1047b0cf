/* policy_warn: what is in force as written, and will hurt. Knows nothing of parsing; points at places of the file. */
#include "policy_load.h"

void policy_warn(struct loader *loader, const struct place *root)
{
    (void)loader, (void)root;
}
