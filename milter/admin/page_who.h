/* page_who: tables of who is refused, who is near a limit, who is held and who is blocked. */
#ifndef RCPTGATE_ADMIN_PAGE_WHO_H
#define RCPTGATE_ADMIN_PAGE_WHO_H

#include <jansson.h>
#include <stdio.h>

/* report: an overview_report(). Where it may not show subjects, one sentence says so. */
void page_who_print(FILE *out, const json_t *report);

#endif
