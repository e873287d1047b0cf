/* frames: see frames.h. A frame is its length (four bytes, the highest first), a command of one byte, and data. */
#include "frames.h"

#include <endian.h>
#include <string.h>

/* Is the data of this command one or more strings, each with a NUL at its end? */
static bool is_strings(unsigned char command)
{
    switch (command) {
    case 'H':
    case 'L':
    case 'M':
    case 'R':
    case 'U':
        return true;
    default:
        return false;
    }
}

/* Bytes of the length. False: it is none of a frame, as the last of them shows. */
static bool take_length(struct frames *frames, const unsigned char *bytes, size_t n)
{
    uint32_t whole;
    if (n == sizeof whole) { /* nearly always */
        memcpy(&whole, bytes, sizeof whole);
        frames->size = be32toh(whole);
    } else {
        for (size_t i = 0; i < n; i++)
            frames->size = frames->size << 8 | bytes[i];
    }
    frames->length_bytes += (unsigned)n;
    return frames->length_bytes < 4 || (frames->size > 0 && frames->size <= FRAMES_LONGEST);
}

/* A macro frame says by its first byte which command the macros are for; then come names and values in turn. */
static void take_data(struct frames *frames, const unsigned char *data, size_t n)
{
    if (frames->command != 'D')
        return;
    for (const unsigned char *nul = data; (nul = memchr(nul, '\0', n - (size_t)(nul - data))) != NULL; nul++)
        frames->odd = !frames->odd;
}

static inline bool ends_well(const struct frames *frames, unsigned char last)
{
    if (frames->command == 'D')
        return frames->size == 2 ? last != '\0' : frames->size > 2 && last == '\0' && !frames->odd;
    return !is_strings(frames->command) || frames->size == 1 || last == '\0';
}

/* How long the frame is that begins there, where all of it is there, as nearly always, and well formed; else 0. */
static size_t whole_frame(const unsigned char *bytes, size_t n)
{
    struct frames whole = {.command = n > 4 ? bytes[4] : 0};
    if (n <= 4 || !take_length(&whole, bytes, 4) || whole.size > n - 4)
        return 0;
    take_data(&whole, bytes + 4, whole.size);
    return ends_well(&whole, bytes[4 + whole.size - 1]) ? 4 + whole.size : 0;
}

size_t frames_pass(struct frames *frames, const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n;) {
        const size_t whole = frames->length_bytes == 0 ? whole_frame(bytes + i, n - i) : 0;
        if (whole > 0) {
            i += whole;
            continue;
        }
        if (frames->length_bytes < 4) {
            const size_t wanted = 4 - frames->length_bytes, more = n - i < wanted ? n - i : wanted;
            if (!take_length(frames, bytes + i, more))
                return i + more - 1;
            i += more;
            continue;
        }
        if (frames->got == 0) {
            frames->command = bytes[i];
            frames->odd = false;
        }
        size_t left = frames->size - frames->got, part = n - i < left ? n - i : left;
        take_data(frames, bytes + i, part);
        frames->got += (uint32_t)part;
        i += part;
        if (part < left)
            break;
        if (!ends_well(frames, bytes[i - 1]))
            return i - 1;
        *frames = (struct frames){0};
    }
    return n;
}
