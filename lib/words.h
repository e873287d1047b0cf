/* words: the words of one command for Redis, with memory for pointers, lengths and text that is sized
 * beforehand: in the struct itself, on the caller's stack, where they are few; else one block. A word is
 * borrowed unless it is a number or a key; the caller frees with words_done(). */
#ifndef RCPTGATE_WORDS_H
#define RCPTGATE_WORDS_H

#include <stddef.h>
#include <stdint.h>

enum {
    WORDS_NUMBER = 20,     /* bytes that a number takes at most */
    WORDS_FEW = 40,        /* words, and bytes of numbers and keys, for which nothing is */
    WORDS_FEW_TEXT = 1536, /* allocated: a RCPT with five limits or so */
};

struct words { /* not to be copied */
    int argc;
    const char **argv;
    size_t *lens;
    char *text;
    void *block; /* what is to be freed; NULL: nothing */
    const char *few_argv[WORDS_FEW];
    size_t few_lens[WORDS_FEW];
    char few_text[WORDS_FEW_TEXT];
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
