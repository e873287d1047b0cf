#include "words.h"

#include <stdlib.h>
#include <string.h>

int words_init(struct words *words, size_t most, size_t text_size)
{
    words->argc = 0;
    words->block = NULL;
    words->argv = words->few_argv;
    words->lens = words->few_lens;
    words->text = words->few_text;
    if (most <= WORDS_FEW && text_size <= WORDS_FEW_TEXT)
        return 0;
    words->block = malloc(most * (sizeof *words->argv + sizeof *words->lens) + text_size);
    if (words->block == NULL)
        return -1;
    words->argv = words->block;
    words->lens = (size_t *)(words->argv + most);
    words->text = (char *)(words->lens + most);
    return 0;
}

void words_done(struct words *words)
{
    free(words->block);
    words->block = NULL;
}

void words_add(struct words *words, const char *word)
{
    words->argv[words->argc] = word;
    words->lens[words->argc++] = strlen(word);
}

/* Returns where it ends. */
static char *put_number(char *to, int64_t number)
{
    char digits[WORDS_NUMBER], *at = digits + sizeof digits;
    uint64_t left = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do
        *--at = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    if (number < 0)
        *--at = '-';
    size_t n = (size_t)(digits + sizeof digits - at);
    return (char *)memcpy(to, at, n) + n;
}

/* Takes what was written from words->text on. */
static void add_text(struct words *words, char *end)
{
    words->argv[words->argc] = words->text;
    words->lens[words->argc++] = (size_t)(end - words->text);
    words->text = end;
}

void words_add_number(struct words *words, int64_t number)
{
    add_text(words, put_number(words->text, number));
}

void words_add_numbers(struct words *words, const char *first, const int64_t *numbers, size_t n)
{
    char *end = stpcpy(words->text, first);
    for (size_t i = 0; i < n; i++) {
        if (end > words->text)
            *end++ = ' ';
        end = put_number(end, numbers[i]);
    }
    add_text(words, end);
}

void words_add_key(struct words *words, const char *prefix, const char *key)
{
    char *end = stpcpy(stpcpy(stpcpy(words->text, prefix), ":"), key);
    add_text(words, end);
    words->text++; /* the NUL */
}
