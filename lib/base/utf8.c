/* utf8: walks over the bytes with the bounds of RFC 3629. Owns nothing; a text that is not UTF-8 is false, not an
 * error. */
#include "base/utf8.h"

#include <stddef.h>

/* Bytes of the character that begins there; 0: it is none. The first continuation byte is where overlong forms, surrogates and
 * numbers beyond Unicode show. */
static size_t length(const unsigned char *s)
{
    unsigned char lead = *s;
    if (lead < 0x80)
        return 1;
    size_t more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (lead < 0xc2 || lead > 0xf4 || s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i <= more; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return more + 1;
}

bool utf8_valid(const char *string)
{
    const unsigned char *s = (const unsigned char *)string;
    for (size_t n;;) {
        while (*s > 0 && *s < 0x80)
            s++;
        if (*s == '\0')
            return true;
        if ((n = length(s)) == 0)
            return false;
        s += n;
    }
}

/* Of the character of n bytes that begins there: does a terminal obey it, or show what is around it in another order or line? C0 and
 * C1, and what Unicode has for directions and for the ends of lines. */
static bool is_control(const unsigned char *s, size_t n)
{
    static const struct {
        unsigned first, last;
    } controls[] = {{0, 0x1f},        {0x7f, 0x9f},     {0x61c, 0x61c},
                    {0x200e, 0x200f}, {0x2028, 0x202e}, {0x2066, 0x2069}};
    unsigned number = n == 1 ? *s : *s & 0x7fu >> n;
    for (size_t i = 1; i < n; i++)
        number = number << 6 | (s[i] & 0x3fu);
    for (size_t i = 0; i < sizeof controls / sizeof controls[0]; i++)
        if (number >= controls[i].first && number <= controls[i].last)
            return true;
    return false;
}

void utf8_clean(char *string)
{
    for (char *s = string; *s != '\0';) {
        size_t n = length((const unsigned char *)s);
        if (n == 0 || is_control((const unsigned char *)s, n))
            for (size_t left = n > 0 ? n : 1; left > 0; left--)
                *s++ = '?';
        else
            s += n;
    }
}
