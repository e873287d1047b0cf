/* page_hour: the last hour as plots: what was answered, what was refused by whom, how long decisions took, Postfix's queue. */
#ifndef RCPTGATE_ADMIN_PAGE_HOUR_H
#define RCPTGATE_ADMIN_PAGE_HOUR_H

#include "gate/history.h"

#include <stdio.h>

void page_hour_print(FILE *out, const struct history_minute hour[HISTORY_MINUTES]);

#endif
