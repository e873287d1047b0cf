/* json_get: see json_get.h. Owns nothing and cannot fail. */
#include "config/json_get.h"

#include "base/text.h"

const char *json_get_text(const json_t *object, const char *name)
{
    const char *value = json_string_value(json_object_get(object, name));
    return value != NULL ? value : "";
}

json_int_t json_get_number(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

void json_get_print_ms(FILE *out, const json_t *object, const char *name)
{
    char buffer[32];
    struct text text;
    text_init(&text, buffer, sizeof buffer);
    text_add_duration(&text, json_get_number(object, name));
    fputs(buffer, out);
}
