/* text: see text.h. Owns nothing. Fails only by running out of room: it then keeps what fitted, sets `cut` and
 * takes no more, so that the text is always a prefix of the whole and never has a hole. */
#include "base/text.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void text_init(struct text *text, char *buffer, size_t size)
{
    assert(size > 0);
    *text = (struct text){.at = buffer, .size = size};
    buffer[0] = '\0';
}

static size_t room(const struct text *text)
{
    return text->cut ? 0 : text->size - 1 - text->len;
}

void text_add_start(struct text *text, const char *bytes)
{
    const size_t fits = room(text);
    memcpy(text->at + text->len, bytes, fits);
    text->len += fits;
    text->at[text->len] = '\0';
    text->cut = true;
}

void text_addf(struct text *text, const char *format, ...)
{
    if (text->cut)
        return;
    const size_t fits = room(text);
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(text->at + text->len, fits + 1, format, args);
    va_end(args);
    if (n < 0) { /* no such character in this locale: what vsnprintf left behind is not to be trusted */
        text->at[text->len] = '\0';
        text->cut = true;
    } else if ((size_t)n > fits) {
        text->len += fits;
        text->cut = true;
    } else {
        text->len += (size_t)n;
    }
}

/* Two digits at a time, from the last ones on. */
char *text_put_digits(char *to, uint64_t number)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                                "25262728293031323334353637383940414243444546474849"
                                "50515253545556575859606162636465666768697071727374"
                                "75767778798081828384858687888990919293949596979899";
    char *end = to + 1;
    for (uint64_t least = 10; number >= least && end < to + TEXT_NUMBER; least *= 10)
        end++;
    char *at = end;
    for (; at - to > 1; number /= 100)
        memcpy(at -= 2, pairs + number % 100 * 2, 2);
    if (at > to)
        *to = (char)('0' + number);
    return end;
}

void text_add_number(struct text *text, int64_t number)
{
    char digits[1 + TEXT_NUMBER], *at = digits;
    if (number < 0)
        *at++ = '-';
    const char *end = text_put_number(at, number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
    text_add_bytes(text, digits, (size_t)(end - digits));
}

/* What stands for itself in a Redis key: all from '!' to '~' but '%', '{', '|' and '}'. */
static const bool key_bytes[256] = {['!' ... '$'] = true, ['&' ... 'z'] = true, ['~'] = true};

void text_add_percent(struct text *text, const char *string)
{
    static const char hex[] = "0123456789ABCDEF";
    while (*string != '\0') {
        size_t n = 0;
        while (key_bytes[(unsigned char)string[n]])
            n++;
        text_add_bytes(text, string, n);
        string += n;
        if (*string == '\0')
            break;
        const unsigned char c = (unsigned char)*string++;
        const char escape[] = {'%', hex[c >> 4], hex[c & 15]};
        if (room(text) >= sizeof escape)
            text_add_bytes(text, escape, sizeof escape);
        else /* half an escape would be another key */
            text->cut = true;
    }
}

/* The value of a hexadecimal digit; -1: it is none. */
static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool text_add_decoded(struct text *text, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char c = bytes[i];
        if (c == '%' && i + 2 < n && digit(bytes[i + 1]) >= 0 && digit(bytes[i + 2]) >= 0) {
            c = (char)(digit(bytes[i + 1]) * 16 + digit(bytes[i + 2]));
            i += 2;
        }
        if (c == '\0')
            return false;
        text_add_bytes(text, &c, 1);
        if (text->cut)
            return false;
    }
    return true;
}

/* With how many bytes from ' ' to '~' they begin. Eight at a time: one below ' ' borrows, one above '~' is above, or carries. */
static size_t printable_part(const char *bytes, size_t n)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones << 7, blanks = ones * ' ';
    size_t i = 0;
    for (uint64_t word; i + sizeof word <= n; i += sizeof word) {
        memcpy(&word, bytes + i, sizeof word);
        if ((((word - blanks) | word | (word + ones)) & highs) != 0)
            break;
    }
    while (i < n && bytes[i] >= ' ' && bytes[i] < 0x7f) /* bytes above are negative, or greater */
        i++;
    return i;
}

static void add_printable(struct text *text, const char *bytes, size_t n)
{
    for (const char *end = bytes + n; bytes < end; bytes++) {
        const size_t part = printable_part(bytes, (size_t)(end - bytes));
        text_add_bytes(text, bytes, part);
        bytes += part;
        if (bytes < end)
            text_add_bytes(text, "?", 1);
    }
}

void text_add_printable(struct text *text, const char *string)
{
    add_printable(text, string, strlen(string));
}

void text_add_quoted(struct text *text, const char *string)
{
    text_add(text, "\"");
    while (*string != '\0') {
        const size_t n = strcspn(string, "\"\\");
        add_printable(text, string, n);
        string += n;
        if (*string != '\0') {
            text_add(text, "\\");
            text_add_bytes(text, string++, 1);
        }
    }
    text_add(text, "\"");
}

void text_add_duration(struct text *text, int64_t ms)
{
    static const struct {
        int64_t ms, most;
        char name;
    } units[] = {
        {1000, 119, 's'},
        {60 * 1000, 119, 'm'},
        {3600 * 1000, 47, 'h'},
        {24 * 3600 * 1000, INT64_MAX, 'd'},
    };
    if (ms < 0)
        ms = 0;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        const int64_t n = ms / units[i].ms + (ms % units[i].ms != 0);
        if (n <= units[i].most) {
            text_add_number(text, n);
            text_add_bytes(text, &units[i].name, 1);
            return;
        }
    }
}

void text_lower(char *string)
{
    for (; *string != '\0'; string++)
        if (*string >= 'A' && *string <= 'Z')
            *string = (char)(*string - 'A' + 'a');
}

enum { WORD_MAX = 128 }; /* longer words are nobody's typing error */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Levenshtein's distance, one row at a time; b is at most WORD_MAX bytes long. */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t row[WORD_MAX + 1];
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            const size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = least(replaced, least(row[j], row[j - 1]) + 1);
        }
    }
    return row[b_len];
}

bool text_is_slip(const char *word, const char *meant)
{
    while (*word != '\0' && *word == *meant) {
        word++;
        meant++;
    }
    size_t n = strlen(word), m = strlen(meant);
    while (n > 0 && m > 0 && word[n - 1] == meant[m - 1]) {
        n--;
        m--;
    }
    return (n <= 1 && m <= 1) || (n == 2 && m == 2 && word[0] == meant[1] && word[1] == meant[0]);
}

const char *text_nearest(const char *word, const char *const *candidates)
{
    const size_t len = strlen(word);
    if (len > WORD_MAX)
        return NULL;
    const char *nearest = NULL;
    size_t limit = len / 3 < 2 ? 2 : len / 3;
    for (; *candidates != NULL; candidates++) {
        const size_t other = strlen(*candidates);
        if (other > WORD_MAX)
            continue;
        const size_t d = distance(*candidates, other, word, len);
        if (d < limit || (d == limit && nearest == NULL)) { /* among equals the first */
            nearest = *candidates;
            limit = d;
        }
    }
    return nearest;
}
