/* Owns the handler of SIGBUS, which calls nothing that could be interrupted in its midst. */
#include "cut_map.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static atomic_uint cuts;
static uintptr_t page_size;

enum place {
    ELSEWHERE, /* there nothing is as it should be */
    IN_SHM,
    MENDED, /* another thread was there first: no file is mapped there any more */
};

/* "7f12a000-7f132000 rw-s 00000000 08:01 1234 /path/to/aliases.db-shm"; false: the address is not in it. */
static bool is_in_line(const char *line, uintptr_t address, enum place *place)
{
    char *end;
    uintptr_t from = strtoul(line, &end, 16);
    uintptr_t to = *end == '-' ? strtoul(end + 1, &end, 16) : 0;
    if (address < from || address >= to)
        return false;
    if (strstr(end, "-shm") != NULL)
        *place = IN_SHM;
    else if (strchr(end, '/') == NULL)
        *place = MENDED;
    return true;
}

static enum place place_of(uintptr_t address)
{
    enum place place = ELSEWHERE;
    char line[4352], bytes[1024]; /* a path, and what stands before it */
    size_t used = 0;
    ssize_t n;
    bool found = false;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && !found && (n = read(fd, bytes, sizeof bytes)) > 0) {
        for (ssize_t i = 0; i < n && !found; i++) {
            if (bytes[i] != '\n') {
                line[used] = bytes[i];
                used += used < sizeof line - 1;
                continue;
            }
            line[used] = '\0';
            used = 0;
            found = is_in_line(line, address, &place);
        }
    }
    if (fd >= 0)
        (void)close(fd);
    return place;
}

static void on_bus(int number, siginfo_t *info, void *context)
{
    (void)context;
    int before = errno;
    uintptr_t address = (uintptr_t)info->si_addr;
    void *page = (char *)info->si_addr - address % page_size;
    enum place place = info->si_code == BUS_ADRERR ? place_of(address) : ELSEWHERE;
    if (place == IN_SHM)
        atomic_fetch_add(&cuts, 1); /* before: who reads the empty page shall know of it */
    bool mended =
        place == MENDED || (place == IN_SHM && mmap(page, page_size, PROT_READ | PROT_WRITE,
                                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page);
    if (!mended)
        (void)signal(number, SIG_DFL); /* it comes again, and ends us */
    errno = before;
}

static void survive(void)
{
    struct sigaction action = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
    page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    sigemptyset(&action.sa_mask);
    (void)sigaction(SIGBUS, &action, NULL);
}

void cut_map_survive(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, survive);
}

unsigned cut_map_count(void)
{
    return atomic_load(&cuts);
}
