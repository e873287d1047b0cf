/* html: the small parts of a page. Whatever is text is escaped here, and nowhere else. */
#ifndef RCPTGATE_ADMIN_HTML_H
#define RCPTGATE_ADMIN_HTML_H

#include <jansson.h>
#include <stdio.h>

void html_text(FILE *out, const char *text);
void html_member(FILE *out, const json_t *object, const char *name); /* its text; "" where there is none */

void html_duration(FILE *out, json_int_t seconds);
void html_number(FILE *out, json_int_t n);   /* 1234567 as "1 234 567", with thin spaces */
void html_time(FILE *out, const char *time); /* "2026-11-23T02:01:11Z" as "2026-11-23 02:01:11 UTC" */
void html_plural(FILE *out, json_int_t n, const char *one, const char *many); /* "1 alias", "2 aliases" */

#endif
