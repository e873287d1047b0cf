/* utf8: walks over the bytes with the bounds of RFC 3629. Owns nothing; a text that is not UTF-8 is false, not an
 * error. */
#include "base/utf8.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

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

/* Of eight bytes: has one its highest bit set, or is a NUL? A NUL borrows. */
static bool is_suspect(const unsigned char *s)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t word;
    memcpy(&word, s, sizeof word);
    return (((word - ones) | word) & ones << 7) != 0;
}

/* ASCII without a NUL, as nearly every text is. The last eight bytes may overlap those before. */
static bool is_ascii(const unsigned char *s, size_t n)
{
    size_t i = 0;
    if (n < sizeof(uint64_t)) {
        while (i < n && s[i] > 0 && s[i] < 0x80)
            i++;
        return i == n;
    }
    while (i + sizeof(uint64_t) < n && !is_suspect(s + i))
        i += sizeof(uint64_t);
    return i + sizeof(uint64_t) >= n && !is_suspect(s + n - sizeof(uint64_t));
}

bool utf8_valid(const char *string, size_t n)
{
    const unsigned char *s = (const unsigned char *)string, *end = s + n;
    if (is_ascii(s, n))
        return true;
    while (s < end) {
        const size_t bytes = *s == '\0' ? 0 : length(s);
        if (bytes == 0)
            return false;
        s += bytes;
    }
    return true;
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
