/* text: a bounded writer over a buffer of the caller, and the few string helpers that both the
 * core and the I/O library need. Never allocates, always terminates, remembers that it had to cut. */
#ifndef RCPTGATE_BASE_TEXT_H
#define RCPTGATE_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct text {
    char *at;    /* the caller's buffer, always NUL-terminated */
    size_t size; /* of the buffer, at least 1 */
    size_t len;  /* bytes in it, without the NUL */
    bool cut;    /* something did not fit */
};

void text_init(struct text *text, char *buffer, size_t size);

/* As much of it as fits, where that is not all. */
void text_add_start(struct text *text, const char *bytes);

/* Both here, so that a constant is measured and copied by the compiler. */
static inline void text_add_bytes(struct text *text, const char *bytes, size_t n)
{
    if (text->cut || n >= text->size - text->len) {
        text_add_start(text, bytes);
        return;
    }
    char *at = text->at + text->len;
    memcpy(at, bytes, n);
    at[n] = '\0';
    text->len += n;
}

static inline void text_add(struct text *text, const char *string)
{
    text_add_bytes(text, string, strlen(string));
}

void text_addf(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

enum { TEXT_NUMBER = 20 }; /* bytes that a number takes at most */

/* In decimal, to where there is room for it, without a NUL; returns where it ends. For the path of a RCPT: printf costs ten times as
 * much. */
char *text_put_digits(char *to, uint64_t number);
static inline char *text_put_number(char *to, uint64_t number)
{
    if (number > 99)
        return text_put_digits(to, number);
    if (number > 9) {
        *to++ = (char)('0' + number / 10);
        number %= 10;
    }
    *to++ = (char)('0' + number);
    return to;
}

void text_add_number(struct text *text, int64_t number);

/* Percent-encodes what could break a Redis key: '%', '{', '}', '|', space, controls, DEL and every byte
 * above 0x7e; all else is copied. "a b" becomes "a%20b". */
void text_add_percent(struct text *text, const char *string);

/* The other way round; a '%' that begins no escape is one. False: there is a NUL in it, or no room for all; what fitted is there. */
bool text_add_decoded(struct text *text, const char *bytes, size_t n);

/* Makes bytes safe inside a log line or a reply: controls, DEL and bytes above 0x7e become '?'. */
void text_add_printable(struct text *text, const char *string);

/* The same between double quotes, in which '"' and '\\' are escaped by '\\': a value of a log line that holds spaces. */
void text_add_quoted(struct text *text, const char *string);

/* A duration as a person reads it, rounded up: "23s", "2m", "5h", "3d"; seconds up to 119 s,
 * minutes up to 119 min, hours up to 47 h. ms below 1 gives "0s". */
void text_add_duration(struct text *text, int64_t ms);

/* ASCII only, in place: what a locale would do to an address is of no use here. */
void text_lower(char *string);

/* Is word, which is not meant, one slip away from it: a letter too many, too few or another, or two swapped? */
bool text_is_slip(const char *word, const char *meant);

/* The candidate nearest to word in edit distance, NULL where none is within a third of its length
 * (at least 2). candidates ends with NULL. For "did you mean". */
const char *text_nearest(const char *word, const char *const *candidates);

#endif
