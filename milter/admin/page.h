/* page: what the gate knows of itself as a page that a person can read, whole without scripts and without anything from elsewhere. */
#ifndef RCPTGATE_ADMIN_PAGE_H
#define RCPTGATE_ADMIN_PAGE_H

#include "gate/history.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* report is an overview_report(). Everything from outside is escaped. still: it does not come anew by itself. */
void page_print(FILE *out, const json_t *report, const struct history_minute hour[HISTORY_MINUTES],
                bool still);

extern const char page_css[]; /* served as /style.css */

#endif
