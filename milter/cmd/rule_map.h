/* rule_map: the text of a Postfix map such as virtual(5), as postmap(1) reads it: a key, white space, a value; a line that begins with
 * white space goes on with the one before; empty lines and those whose first word begins with '#' are nothing. */
#ifndef RCPTGATE_CMD_RULE_MAP_H
#define RCPTGATE_CMD_RULE_MAP_H

#include "base/error.h"

#include <stdint.h>
#include <stdio.h>

enum { RULE_MAP_ENTRY_MAX = 65536 };

struct rule_map {
    FILE *in;
    int64_t lines; /* read so far */
    int64_t line;  /* at which the entry began */
    char text[RULE_MAP_ENTRY_MAX + 1];
};

enum rule_map_status { RULE_MAP_ENTRY, RULE_MAP_END, RULE_MAP_BAD, RULE_MAP_FAILED };

/* The next entry; both live until the call after. value: the addresses, with commas between them and nothing else. */
enum rule_map_status rule_map_read(struct rule_map *map, char **key, char **value, struct error *err);

#endif
