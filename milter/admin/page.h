/* page: the status report as a page that a person can read, whole without scripts and without anything from elsewhere. */
#ifndef RCPTGATE_ADMIN_PAGE_H
#define RCPTGATE_ADMIN_PAGE_H

#include <jansson.h>
#include <stdio.h>

/* report is a status_report(). Everything from outside is escaped. */
void page_print(FILE *out, const json_t *report);

extern const char page_css[]; /* served as /style.css */

#endif
