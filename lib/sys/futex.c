/* futex: futex(2) with FUTEX_WAIT_BITSET: the kernel compares the number of wakes before it lets a thread
 * sleep. The C library has no function for that. Cannot fail: without a futex there would be no mutex
 * either. */
#include "sys/futex.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static_assert(sizeof(atomic_uint) == 4, "a futex is a word of 32 bits");

unsigned futex_count(struct futex *futex)
{
    return atomic_load(&futex->wakes);
}

bool futex_wait(struct futex *futex, unsigned wakes, uint32_t kinds, int64_t deadline)
{
    const struct timespec until = {.tv_sec = deadline / 1000000000, .tv_nsec = deadline % 1000000000};
    long rc = syscall(SYS_futex, &futex->wakes, FUTEX_WAIT_BITSET_PRIVATE, wakes, &until, NULL, kinds);
    return rc == 0 || errno != ETIMEDOUT; /* EAGAIN: it was woken; EINTR: for nothing */
}

void futex_wake(struct futex *futex, uint32_t kinds)
{
    atomic_fetch_add(&futex->wakes, 1);
    (void)syscall(SYS_futex, &futex->wakes, FUTEX_WAKE_BITSET_PRIVATE, INT_MAX, NULL, NULL, kinds);
}
