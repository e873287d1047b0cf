/* json_get: a member of a JSON object, as the reports are printed from: "" and 0 where it is absent, or of another type. */
#ifndef RCPTGATE_CONFIG_JSON_GET_H
#define RCPTGATE_CONFIG_JSON_GET_H

#include <jansson.h>
#include <stdio.h>

const char *json_get_text(const json_t *object, const char *name);
json_int_t json_get_number(const json_t *object, const char *name);

/* Prints a number of milliseconds as a duration: "1m30s". */
/* A string of a text that others may have written: what is no UTF-8 in it becomes "?". NULL: "". */
json_t *json_get_clean(const char *text);

void json_get_print_ms(FILE *out, const json_t *object, const char *name);

#endif
