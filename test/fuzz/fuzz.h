/* fuzz: what the harnesses share: a demand that ends the run, and the input as a stream of numbers and texts. */
#ifndef RCPTGATE_TEST_FUZZ_H
#define RCPTGATE_TEST_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define demand(truth) ((truth) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #truth))

static inline void fuzz_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
    abort();
}

struct fuzz_input { /* an input that has ended goes on with zeroes */
    const uint8_t *at;
    size_t left;
};

static inline unsigned fuzz_byte(struct fuzz_input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

/* 0..n-1 */
static inline unsigned fuzz_below(struct fuzz_input *in, unsigned n)
{
    return fuzz_byte(in) % n;
}

/* Small ones mostly; now and then one near a bound. */
static inline int64_t fuzz_number(struct fuzz_input *in)
{
    unsigned byte = fuzz_byte(in);
    if (byte < 240)
        return (int64_t)byte % 30;
    return byte < 248 ? INT64_C(1) << (fuzz_byte(in) % 50) : (int64_t)byte * 1000;
}

/* Bytes up to the next newline, at most size - 1; without a NUL in it. Returns buffer. */
static inline char *fuzz_text(struct fuzz_input *in, char *buffer, size_t size)
{
    size_t n = 0;
    for (unsigned byte; in->left > 0 && n + 1 < size && (byte = fuzz_byte(in)) != '\n';)
        if (byte != '\0')
            buffer[n++] = (char)byte;
    buffer[n] = '\0';
    return buffer;
}

/* A directory of its own for this process, made once, below TMPDIR. */
static inline const char *fuzz_dir(void)
{
    static char dir[256];
    const char *where = getenv("TMPDIR");
    if (dir[0] != '\0')
        return dir;
    snprintf(dir, sizeof dir, "%s/rcptgate-fuzz.XXXXXX", where != NULL ? where : "/tmp");
    demand(mkdtemp(dir) != NULL);
    return dir;
}

#endif
