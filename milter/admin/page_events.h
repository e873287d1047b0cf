/* page_events: what happened lately, in words. */
#ifndef RCPTGATE_ADMIN_PAGE_EVENTS_H
#define RCPTGATE_ADMIN_PAGE_EVENTS_H

#include <jansson.h>
#include <stdio.h>

/* events: as of events_recent(). What went wrong or well is not in it: the page tells that at another place. */
void page_events_print(FILE *out, const json_t *events);

#endif
