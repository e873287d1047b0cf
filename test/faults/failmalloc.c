/* failmalloc: LD_PRELOAD, and the nth allocation of the process fails, or each from the nth on.
 *
 * FAILMALLOC_FILE names a file that says which: "N" (that one alone) or "N+" (that one and all later ones); it is looked at again
 * when SIGUSR2 arrives, from where allocations count anew. Without it nothing fails. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);

static atomic_long countdown = -1; /* negative: never */
static atomic_bool for_ever;

static void look(int number)
{
    (void)number;
    char text[32];
    int saved = errno;
    const char *name = getenv("FAILMALLOC_FILE");
    int fd = name != NULL ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    long at = 0;
    bool plus = false;
    for (ssize_t i = 0; i < n; i++) {
        if (text[i] >= '0' && text[i] <= '9')
            at = at * 10 + (text[i] - '0');
        plus = plus || text[i] == '+';
    }
    if (fd >= 0)
        close(fd);
    atomic_store(&for_ever, plus);
    atomic_store(&countdown, n > 0 && at > 0 ? at : -1);
    errno = saved;
}

__attribute__((constructor)) static void start(void)
{
    struct sigaction action = {.sa_handler = look, .sa_flags = SA_RESTART};
    sigaction(SIGUSR2, &action, NULL);
    look(0);
}

static bool fails(void)
{
    long left = atomic_load(&countdown), next;
    do {
        if (left <= 0)
            return false;
        next = left > 1 ? left - 1 : atomic_load(&for_ever) ? 1 : -1;
    } while (!atomic_compare_exchange_weak(&countdown, &left, next));
    if (left == 1)
        errno = ENOMEM;
    return left == 1;
}

void *malloc(size_t size)
{
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
    return fails() ? NULL : __libc_realloc(old, size);
}
