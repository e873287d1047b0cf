/* words: the words of one command for Redis: one block of memory for pointers, lengths and text, sized
 * beforehand, so that a command costs one allocation. A word is borrowed unless it is a number or a key; the
 * caller frees with words_done(). */
#ifndef RCPTGATE_WORDS_H
#define RCPTGATE_WORDS_H

#include <stddef.h>
#include <stdint.h>

enum { WORDS_NUMBER = 20 }; /* bytes that a number takes at most */

struct words {
    int argc;
    const char **argv;
    size_t *lens;
    char *text;
    void *block;
};

/* Room for most words and for text_size bytes of numbers and keys; adding more is a bug. -1: out of memory. */
int words_init(struct words *words, size_t most, size_t text_size);
void words_done(struct words *words);

void words_add(struct words *words, const char *word); /* borrowed */
void words_add_number(struct words *words, int64_t number);
/* One word: first (may be ""), then the numbers, between spaces. */
void words_add_numbers(struct words *words, const char *first, const int64_t *numbers, size_t n);
void words_add_key(struct words *words, const char *prefix, const char *key); /* "prefix:key", and a NUL */

#endif
