/* page_explain: a box that asks for a recipient, and what a RCPT would be answered now, step by step. */
#ifndef RCPTGATE_ADMIN_PAGE_EXPLAIN_H
#define RCPTGATE_ADMIN_PAGE_EXPLAIN_H

#include <jansson.h>
#include <stdio.h>

/* report: an overview_report(). Where it may not show subjects, the box says so, and asks nothing. */
void page_explain_print(FILE *out, const json_t *report);

#endif
