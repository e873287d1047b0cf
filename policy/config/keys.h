/* keys: the table of all keys of a policy file. */
#ifndef RCPTGATE_CONFIG_KEYS_H
#define RCPTGATE_CONFIG_KEYS_H

#include "loader.h"

extern const struct key config_keys[];
extern const size_t config_keys_n;
extern const struct misspelt_key config_keys_misspelt[];

/* The names of all keys that the parser knows, as JSON pointers with '*' for a member of a list
 * ("/limits/ * /share/of" without the spaces), NULL-terminated. For the test that holds schema, manual and parser together. */
const char *const *config_keys_names(void);

#endif
