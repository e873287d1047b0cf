/* html: see html.h. Owns nothing and cannot fail: whoever gave the stream looks at it. */
#include "html.h"

#include "base/text.h"
#include "config/json_get.h"

#include <string.h>

void html_text(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '&':
            fputs("&amp;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        case '\'':
            fputs("&#39;", out);
            break;
        default:
            fputc(*text, out);
        }
    }
}

void html_member(FILE *out, const json_t *object, const char *name)
{
    html_text(out, json_get_text(object, name));
}

void html_duration(FILE *out, json_int_t seconds)
{
    char buffer[32];
    struct text text;
    text_init(&text, buffer, sizeof buffer);
    text_add_duration(&text, (int64_t)seconds * 1000);
    fputs(buffer, out);
}

void html_number(FILE *out, json_int_t n)
{
    char digits[32];
    int length = snprintf(digits, sizeof digits, "%" JSON_INTEGER_FORMAT, n);
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0 && digits[i - 1] != '-')
            fputs("&#8239;", out);
        fputc(digits[i], out);
    }
}

void html_time(FILE *out, const char *time)
{
    if (strlen(time) == 20)
        fprintf(out, "<time datetime=\"%s\">%.10s %.8s UTC</time>", time, time, time + 11);
    else
        html_text(out, time);
}

void html_plural(FILE *out, json_int_t n, const char *one, const char *many)
{
    html_number(out, n);
    fprintf(out, " %s", n == 1 ? one : many);
}
