/* json_memory: owns nothing. Fails by ending the process, with a word on stderr, after a second of trying. */
#include "json_memory.h"

#include "command.h"

#include <jansson.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void *allocate(size_t size)
{
    enum { TRIES = 100, PAUSE_MS = 10 };
    const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000};
    static const char word[] = "rcptgate: out of memory\n";
    for (int i = 0; i < TRIES; i++) {
        void *memory = malloc(size);
        if (memory != NULL)
            return memory;
        nanosleep(&pause, NULL);
    }
    (void)!write(STDERR_FILENO, word, sizeof word - 1);
    _exit(EXIT_UNAVAILABLE);
}

void json_memory_init(void)
{
    json_set_alloc_funcs(allocate, free);
}
