/* encoder: RESP, "*<arguments>" and for each "$<length>", the bytes, every part with CR LF
 * (https://redis.io/docs/reference/protocol-spec/). Owns its bytes; fails only when out of memory. */
#include "encoder.h"

#include "base/text.h"
#include "base/unzeroed.h"

#include <stdlib.h>
#include <string.h>

enum {
    NUMBER_MAX = 24,        /* '$' or '*', 20 digits, CR LF, NUL */
    KEEP_BYTES = 256 * 1024 /* a rare giant is not kept for ever */
};

static const char asking[] = "*1\r\n$6\r\nASKING\r\n";

static int encoder_grow(struct redis_encoder *encoder, size_t more)
{
    size_t size = encoder->size > 0 ? encoder->size : 4096;
    while (size - encoder->len < more) {
        if (size > SIZE_MAX / 2)
            return -1;
        size *= 2;
    }
    char *bytes = realloc(encoder->bytes, size);
    if (bytes == NULL)
        return -1;
    encoder->bytes = bytes;
    encoder->size = size;
    return 0;
}

static inline int encoder_room(struct redis_encoder *encoder, size_t more)
{
    return encoder->size - encoder->len >= more ? 0 : encoder_grow(encoder, more);
}

/* These return where they end. */
static inline char *put_number(char *to, char mark, size_t number)
{
    *to++ = mark;
    to = text_put_number(to, number);
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

static inline char *put_arg(char *to, const char *arg, size_t len)
{
    to = put_number(to, '$', len);
    to = (char *)memcpy(to, arg, len) + len;
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

static int add_arg(struct redis_encoder *encoder, const char *arg, size_t len)
{
    if (len > SIZE_MAX / 4 || encoder_room(encoder, len + NUMBER_MAX + 2) != 0)
        return -1;
    encoder->len = (size_t)(put_arg(encoder->bytes + encoder->len, arg, len) - encoder->bytes);
    return 0;
}

/* Of known lengths: there is room for all, or none is added. */
static int add_args(struct redis_encoder *encoder, const char *const *argv, const size_t *lens, int argc)
{
    size_t all = (size_t)argc * (NUMBER_MAX + 2);
    for (int i = 0; i < argc; i++)
        if (__builtin_add_overflow(all, lens[i], &all))
            return -1;
    if (encoder_room(encoder, all) != 0)
        return -1;
    char *to = encoder->bytes + encoder->len;
    for (int i = 0; i < argc; i++)
        to = put_arg(to, argv[i], lens[i]);
    encoder->len = (size_t)(to - encoder->bytes);
    return 0;
}

static int add_bytes(struct redis_encoder *encoder, const char *bytes, size_t n)
{
    if (encoder_room(encoder, n) != 0)
        return -1;
    memcpy(encoder->bytes + encoder->len, bytes, n);
    encoder->len += n;
    return 0;
}

static int add_strings(struct redis_encoder *encoder, const char *const *argv, int argc)
{
    for (int i = 0; i < argc; i++)
        if (add_arg(encoder, argv[i], strlen(argv[i])) != 0)
            return -1;
    return 0;
}

/* The first of its words. */
static int add_rest(struct redis_encoder *encoder, const struct redis_command *rest, int argc)
{
    return rest->lens != NULL ? add_args(encoder, rest->argv, rest->lens, argc)
                              : add_strings(encoder, rest->argv, argc);
}

static int add_count(struct redis_encoder *encoder, bool with_asking, size_t argc)
{
    if (encoder_room(encoder, NUMBER_MAX + sizeof asking) != 0)
        return -1;
    char *to = encoder->bytes + encoder->len;
    if (with_asking)
        to = (char *)memcpy(to, asking, sizeof asking - 1) + sizeof asking - 1;
    encoder->len = (size_t)(put_number(to, '*', argc) - encoder->bytes);
    return 0;
}

/* The head and how many keys there are, then the keys of each; those of the last are followed by what all have. */
static int add_words(struct redis_encoder *encoder, const struct redis_request *const *requests, int n)
{
    const struct redis_request *first = requests[0];
    const struct redis_command *last = requests[n - 1]->rest;
    char number[NUMBER_MAX] UNZEROED;
    char *end = text_put_number(number, (size_t)n * (size_t)first->n_keys);
    int rc = first->head_in_resp != NULL
                 ? add_bytes(encoder, first->head_in_resp, strlen(first->head_in_resp))
                 : add_strings(encoder, first->head, first->n_head);
    if (first->n_head > 0 && rc == 0)
        rc = add_arg(encoder, number, (size_t)(end - number));
    for (int i = 0; i < n - 1 && rc == 0; i++)
        rc = add_rest(encoder, requests[i]->rest, first->n_keys);
    return last == NULL || rc != 0 ? rc : add_rest(encoder, last, last->argc);
}

int redis_encoder_add(struct redis_encoder *encoder, const struct redis_request *const *requests, int n)
{
    const struct redis_request *first = requests[0];
    const size_t before = encoder->len;
    int argc = first->n_head + (first->n_head > 0) + (n - 1) * first->n_keys +
               (first->rest != NULL ? first->rest->argc : 0);
    if (add_count(encoder, first->asking, (size_t)argc) == 0 && add_words(encoder, requests, n) == 0)
        return 0;
    encoder->len = before;
    return -1;
}

bool redis_encoder_may_join(const struct redis_request *request)
{
    return request->rest != NULL && request->rest->joins && !request->asking;
}

bool redis_encoder_joins(const struct redis_request *a, const struct redis_request *b)
{
    const struct redis_command *mine = a->rest, *other = b->rest;
    if (!redis_encoder_may_join(a) || !redis_encoder_may_join(b) || a->n_keys != b->n_keys ||
        mine->argc != other->argc || a->n_head != b->n_head)
        return false;
    for (int i = 0; i < a->n_head; i++)
        if (a->head[i] != b->head[i])
            return false;
    for (int i = a->n_keys; i < mine->argc; i++)
        if (mine->lens[i] != other->lens[i] || memcmp(mine->argv[i], other->argv[i], mine->lens[i]) != 0)
            return false;
    return true;
}

int redis_encoder_add_strings(struct redis_encoder *encoder, const char *const *argv)
{
    int argc = 0;
    while (argv[argc] != NULL)
        argc++;
    const struct redis_command command = {.argc = argc, .argv = argv};
    const struct redis_request request = {.rest = &command};
    return redis_encoder_add(encoder, (const struct redis_request *[]){&request}, 1);
}

void redis_encoder_clear(struct redis_encoder *encoder)
{
    encoder->len = encoder->sent = 0;
    if (encoder->size > KEEP_BYTES) {
        free(encoder->bytes);
        *encoder = (struct redis_encoder){0};
    }
}

void redis_encoder_done(struct redis_encoder *encoder)
{
    if (encoder->bytes != NULL)
        explicit_bzero(encoder->bytes, encoder->size);
    free(encoder->bytes);
    *encoder = (struct redis_encoder){0};
}
