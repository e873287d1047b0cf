/* member: a member of a JSON object, as the reports are printed from: "" and 0 where it is absent, or of another type. */
#ifndef RCPTGATE_MEMBER_H
#define RCPTGATE_MEMBER_H

#include <jansson.h>
#include <stdio.h>

const char *member_text(const json_t *object, const char *name);
json_int_t member_number(const json_t *object, const char *name);

/* Prints a number of milliseconds as a duration: "1m30s". */
void member_print_ms(FILE *out, const json_t *object, const char *name);

#endif
