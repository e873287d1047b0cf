/* utf8: walks over the bytes with the bounds of RFC 3629. Owns nothing; a text that is not UTF-8 is false, not an
 * error. */
#include "base/utf8.h"

/* The first continuation byte is where overlong forms, surrogates and numbers beyond Unicode show. */
bool utf8_valid(const char *string)
{
    const unsigned char *s = (const unsigned char *)string;
    while (*s != '\0') {
        unsigned char lead = *s++;
        if (lead < 0x80)
            continue;
        int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
        unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
        unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
        if (lead < 0xc2 || lead > 0xf4 || *s < low || *s > high)
            return false;
        for (s++; more > 1; more--, s++)
            if ((*s & 0xc0) != 0x80)
                return false;
    }
    return true;
}
