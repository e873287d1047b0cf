/* json: from bytes to JSON, and the walk over its objects by the rows of the table. */
#ifndef RCPTGATE_CONFIG_JSON_H
#define RCPTGATE_CONFIG_JSON_H

#include "loader.h"

json_t *config_json_read(const char *text, size_t n, struct loader *loader);

/* Calls the parser of every member of an object; false where one was bad. costs: NULL, or set where a key that no row has
 * costs the object, and not only itself: what it was to say might have spared mail that the rest would refuse. */
bool config_json_members(struct loader *loader, const struct place *place, const struct key *section,
                         void *base, bool *costs);

struct place config_json_member(const struct place *up, const char *name);
struct place config_json_element(const struct place *up, size_t index, const struct jsonmap *map);

key_parser config_json_section;

#endif
