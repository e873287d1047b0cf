/* glob: matches by going over the text once, with one place to go back to. Owns nothing, allocates nothing, cannot
 * fail. */
#include "base/glob.h"

#include <stddef.h>
#include <string.h>

/* The length of the character at text, which is not at its end: a lead byte and the continuation bytes after it. */
static size_t character(const char *text)
{
    size_t n = 1;
    if ((unsigned char)text[0] >= 0xc0)
        while (n < 4 && ((unsigned char)text[n] & 0xc0) == 0x80)
            n++;
    return n;
}

/* Greedy with one place to go back to: only the last '*' can ever need more text, since what an earlier one
 * matched has already reached the earliest possible place. */
bool glob_match(const char *pattern, const char *text)
{
    const char *star = NULL, *resume = NULL;
    while (*text != '\0') {
        if (*pattern == '*') {
            star = ++pattern;
            resume = text;
        } else if (*pattern == '?') {
            pattern++;
            text += character(text);
        } else if (*pattern == *text) {
            pattern++;
            text++;
        } else if (star != NULL) {
            resume += character(resume);
            pattern = star;
            text = resume;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

bool glob_is(const char *string)
{
    return strpbrk(string, "*?") != NULL;
}
