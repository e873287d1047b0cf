/* json_get: see json_get.h. Owns nothing and cannot fail. */
#include "config/json_get.h"

#include "base/text.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

const char *json_get_text(const json_t *object, const char *name)
{
    const char *value = json_string_value(json_object_get(object, name));
    return value != NULL ? value : "";
}

json_int_t json_get_number(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

json_t *json_get_clean(const char *text)
{
    if (text == NULL)
        return json_string("");
    json_t *string = json_string(text);
    char *copy = string == NULL ? strdup(text) : NULL;
    if (copy == NULL)
        return string;
    utf8_clean(copy);
    string = json_string(copy);
    free(copy);
    return string;
}

void json_get_print_ms(FILE *out, const json_t *object, const char *name)
{
    char buffer[32];
    struct text text;
    text_init(&text, buffer, sizeof buffer);
    text_add_duration(&text, json_get_number(object, name));
    fputs(buffer, out);
}
