/* span: owns nothing; cannot fail but by saying no. */
#include "span.h"

#include <string.h>

bool span_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool span_is_alnum(char c)
{
    return span_is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

bool span_is_number(struct span text)
{
    for (size_t i = 0; i < text.n; i++)
        if (!span_is_digit(text.at[i]))
            return false;
    return text.n > 0;
}

bool span_begins(struct span text, const char *with)
{
    size_t n = strlen(with);
    return text.n >= n && (n == 0 || memcmp(text.at, with, n) == 0);
}

bool span_equals(struct span text, const char *with)
{
    return text.n == strlen(with) && span_begins(text, with);
}

bool span_has(struct span text, const char *what)
{
    return text.n > 0 && memmem(text.at, text.n, what, strlen(what)) != NULL;
}

void span_skip(struct span *text, size_t n)
{
    if (n == 0)
        return; /* an empty one may be nowhere */
    text->at += n;
    text->n -= n;
}

bool span_take(struct span *text, const char *with)
{
    if (!span_begins(*text, with))
        return false;
    span_skip(text, strlen(with));
    return true;
}

bool span_until(struct span *text, const char *end, struct span *out)
{
    const char *at = text->n > 0 ? memmem(text->at, text->n, end, strlen(end)) : NULL;
    if (at == NULL)
        return false;
    *out = (struct span){text->at, (size_t)(at - text->at)};
    span_skip(text, out->n + strlen(end));
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct span span_word(struct span *text)
{
    struct span word = {text->at, 0};
    while (word.n < text->n && !is_blank(word.at[word.n]))
        word.n++;
    span_skip(text, word.n);
    while (text->n > 0 && is_blank(text->at[0]))
        span_skip(text, 1);
    return word;
}

bool span_digits(struct span *text, size_t digits, int least, int most, int *out)
{
    int number = 0;
    if (text->n < digits)
        return false;
    for (size_t i = 0; i < digits; i++) {
        if (!span_is_digit(text->at[i]))
            return false;
        number = number * 10 + text->at[i] - '0';
    }
    if (number < least || number > most)
        return false;
    span_skip(text, digits);
    *out = number;
    return true;
}
