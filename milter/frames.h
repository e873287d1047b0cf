/* frames: is what comes over a milter connection well formed, frame by frame?
 *
 * libmilter 8.17 reads past an array where a macro frame ends within a pair of name and value (smfi_getsymval), so
 * such a frame must not reach it whole. Bytes may come in any portions. Owns nothing and cannot fail. */
#ifndef RCPTGATE_MILTER_FRAMES_H
#define RCPTGATE_MILTER_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FRAMES_LONGEST = 65536 }; /* command and data; libmilter takes no more, Postfix sends none longer */

struct frames {         /* all zero: a frame begins */
    uint32_t size, got; /* of this frame: bytes after the four of its length */
    unsigned length_bytes;
    unsigned char command;
    bool odd; /* an odd number of strings has ended */
};

/* How many of the n bytes may be handed on. Fewer than n: the next one would complete what is no frame. */
size_t frames_pass(struct frames *frames, const unsigned char *bytes, size_t n);

#endif
