/* failmalloc: LD_PRELOAD, and the nth allocation of the process fails, or each from the nth on.
 *
 * FAILMALLOC_FILE names a file that says which: "N" (that one alone) or "N+" (that one and all later ones);
 * it is looked at again when SIGUSR2 arrives, from where allocations count anew. Without it nothing fails. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct { /* the allocator behind us: libc's, or a sanitizer's */
    void *(*malloc)(size_t size);
    void *(*calloc)(size_t n, size_t size);
    void *(*realloc)(void *old, size_t size);
} real;

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

/* A sanitizer cannot bear that libc lacks memory while a thread is made. */
static bool is_libc(const void *caller)
{
    Dl_info info;
    return getenv("FAILMALLOC_SPARES_LIBC") != NULL && dladdr(caller, &info) != 0 && info.dli_fname != NULL &&
           strstr(info.dli_fname, "libc.so") != NULL;
}

static bool fails(const void *caller)
{
    if (atomic_load(&countdown) <= 0 || is_libc(caller))
        return false;
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

/* What dlsym() itself asks for before it has told us where to get it; never freed. */
static void *first_bytes(size_t size)
{
    static _Alignas(max_align_t) char arena[16384];
    static size_t used;
    size_t at = used;
    used += (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    return used <= sizeof arena ? arena + at : NULL;
}

static bool ready(void)
{
    static bool asking;
    if (real.realloc != NULL)
        return true;
    if (asking)
        return false;
    asking = true;
    real.malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    real.calloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
    real.realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
    asking = false;
    return true;
}

void *malloc(size_t size)
{
    if (!ready())
        return first_bytes(size);
    return fails(__builtin_return_address(0)) ? NULL : real.malloc(size);
}

void *calloc(size_t n, size_t size)
{
    if (!ready())
        return first_bytes(n * size);
    return fails(__builtin_return_address(0)) ? NULL : real.calloc(n, size);
}

void *realloc(void *old, size_t size)
{
    if (!ready())
        return first_bytes(size);
    return fails(__builtin_return_address(0)) ? NULL : real.realloc(old, size);
}
