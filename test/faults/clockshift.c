/* LD_PRELOAD: a wall clock that is off by as many seconds as the 64-bit number at the beginning of the file CLOCKSHIFT
 * says, at any time; where a second number follows it, the clock stands at so many ms. Each look at it is up to CLOCKSTALE
 * ms old, at random, as if what follows had taken so long.
 * (libfaketime cannot be used with Redis: it deadlocks with jemalloc.) */
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *shift; /* and where it stands; 0, also of a shorter file: it goes */
static unsigned stale_ms;

__attribute__((constructor)) static void shift_open(void)
{
    const char *path = getenv("CLOCKSHIFT");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *at = fd >= 0 ? mmap(NULL, 2 * sizeof *shift, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (at != MAP_FAILED)
        shift = at;
    const char *stale = getenv("CLOCKSTALE");
    stale_ms = stale != NULL ? (unsigned)atoi(stale) : 0;
}

static void make_stale(struct timespec *out)
{
    static _Thread_local unsigned seed;
    seed = seed != 0 ? seed : (unsigned)out->tv_nsec ^ (unsigned)gettid();
    int64_t ns = out->tv_nsec - (int64_t)((unsigned)rand_r(&seed) % (stale_ms + 1)) * 1000000;
    out->tv_sec -= ns < 0;
    out->tv_nsec = ns < 0 ? ns + 1000000000 : ns;
}

int clock_gettime(clockid_t id, struct timespec *out)
{
    int rc = (int)syscall(SYS_clock_gettime, id, out);
    if (rc == 0 && shift != NULL && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        const int64_t stands = shift[1];
        if (stands != 0)
            *out = (struct timespec){.tv_sec = stands / 1000, .tv_nsec = stands % 1000 * 1000000};
        out->tv_sec += shift[0];
    }
    if (rc == 0 && stale_ms > 0 && id == CLOCK_REALTIME)
        make_stale(out);
    return rc;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    int rc = clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return rc;
}

time_t time(time_t *out)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL)
        *out = now.tv_sec;
    return now.tv_sec;
}

/* The kernel knows the real clock alone: a wait until a moment of the other one would end at once, or never. Moments of the
 * monotonic clock, which begins with the machine, are small. */
int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until)
{
    struct timespec shown, real, then = *until;
    if (until->tv_sec < 1000000000)
        return pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, until);
    (void)clock_gettime(CLOCK_REALTIME, &shown);
    (void)syscall(SYS_clock_gettime, CLOCK_REALTIME, &real);
    then.tv_sec += real.tv_sec - shown.tv_sec;
    return pthread_cond_clockwait(cond, mutex, CLOCK_REALTIME, &then);
}
