// leak: LD_PRELOAD for a gate that leaks, so that the soak is seen to notice. LEAK=descriptors, memory or threads: eight, or 3 MB,
// with each connection that is accepted.

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TIMES = 8, KEPT = 384 << 10 };

static void *wait_for_ever(void *unused)
{
    for (;;)
        pause();
    return unused;
}

static void leak(const char *what, int fd)
{
    pthread_t thread;

    if (strcmp(what, "descriptors") == 0) {
        (void)fcntl(fd, F_DUPFD_CLOEXEC, 0);
    } else if (strcmp(what, "memory") == 0) {
        char *kept = malloc(KEPT);
        if (kept)
            explicit_bzero(kept, KEPT);
    } else if (pthread_create(&thread, NULL, wait_for_ever, NULL) == 0) {
        pthread_detach(thread);
    }
}

int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    static int (*next)(int, struct sockaddr *, socklen_t *, int);
    const char *what = getenv("LEAK");

    if (!next)
        next = (int (*)(int, struct sockaddr *, socklen_t *, int))dlsym(RTLD_NEXT, "accept4");
    int got = next(fd, address, size, flags);
    for (int i = 0; got >= 0 && what && i < TIMES; i++)
        leak(what, got);
    return got;
}
