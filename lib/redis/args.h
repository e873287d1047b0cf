/* args: the words of one command for Redis, with memory for pointers, lengths and text that is sized
 * beforehand: in the struct itself, on the caller's stack, where they are few; else one block. A word is
 * borrowed unless it is a number or a key; the caller frees with args_done(). */
#ifndef RCPTGATE_REDIS_ARGS_H
#define RCPTGATE_REDIS_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ARGS_NUMBER = 20,     /* bytes that a number takes at most */
    ARGS_FEW = 40,        /* words, and bytes of numbers and keys, for which nothing is */
    ARGS_FEW_TEXT = 1536, /* allocated: a RCPT with five limits or so */
};

struct args { /* not to be copied */
    int argc;
    const char **argv;
    size_t *lens;
    char *text;
    void *block;         /* what is to be freed; NULL: nothing */
    bool joins, repeats; /* the caller's to set, for struct redis_command; false */
    const char *few_argv[ARGS_FEW];
    size_t few_lens[ARGS_FEW];
    char few_text[ARGS_FEW_TEXT];
};

/* Room for most words and for text_size bytes of numbers and keys; adding more is a bug. -1: out of memory. */
int args_init(struct args *args, size_t most, size_t text_size);
void args_done(struct args *args);

void args_add(struct args *args, const char *word); /* borrowed */
void args_add_number(struct args *args, int64_t number);
/* One word: first (may be ""), then the numbers, between spaces. */
void args_add_numbers(struct args *args, const char *first, const int64_t *numbers, size_t n);
void args_add_key(struct args *args, const char *prefix, const char *key); /* "prefix:key", and a NUL */

#endif
