/* warnings: what is in force as written, and will hurt. */
#ifndef RCPTGATE_CONFIG_WARNINGS_H
#define RCPTGATE_CONFIG_WARNINGS_H

#include "loader.h"

void warnings_add(struct loader *loader, const struct place *root);

#endif
