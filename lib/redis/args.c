/* args: see redis/args.h. */
#include "redis/args.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

int args_init(struct args *args, size_t most, size_t text_size)
{
    args->argc = 0;
    args->block = NULL;
    args->joins = args->repeats = false;
    args->argv = args->few_argv;
    args->lens = args->few_lens;
    args->text = args->few_text;
    if (most <= ARGS_FEW && text_size <= ARGS_FEW_TEXT)
        return 0;
    args->block = malloc(most * (sizeof *args->argv + sizeof *args->lens) + text_size);
    if (args->block == NULL)
        return -1;
    args->argv = args->block;
    args->lens = (size_t *)(args->argv + most);
    args->text = (char *)(args->lens + most);
    return 0;
}

void args_done(struct args *args)
{
    free(args->block);
    args->block = NULL;
}

void args_add(struct args *args, const char *word)
{
    args->argv[args->argc] = word;
    args->lens[args->argc++] = strlen(word);
}

/* Returns where it ends. */
static char *put_number(char *to, int64_t number)
{
    if (number < 0)
        *to++ = '-';
    return text_put_number(to, number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
}

/* Takes what was written from args->text on. */
static void add_text(struct args *args, char *end)
{
    args->argv[args->argc] = args->text;
    args->lens[args->argc++] = (size_t)(end - args->text);
    args->text = end;
}

void args_add_number(struct args *args, int64_t number)
{
    add_text(args, put_number(args->text, number));
}

void args_add_numbers(struct args *args, const char *first, const int64_t *numbers, size_t n)
{
    char *end = stpcpy(args->text, first);
    for (size_t i = 0; i < n; i++) {
        if (end > args->text)
            *end++ = ' ';
        end = put_number(end, numbers[i]);
    }
    add_text(args, end);
}

void args_add_key(struct args *args, const char *prefix, const char *key)
{
    char *end = stpcpy(stpcpy(stpcpy(args->text, prefix), ":"), key);
    add_text(args, end);
    args->text++; /* the NUL */
}
