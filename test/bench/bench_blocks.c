/* bench_netset: what a look-up in a set of blocked networks costs, and how long a new set takes.
 *
 *   bench_netset [NETWORKS [LOOK-UPS]]
 *
 * Networks are random (IPv4 /16../32, every tenth IPv6 /32../64), addresses are half from them, half random. */
#include "blocks/blocklist.h"
#include "netset.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t random_state = 88172645463325252u;

static uint64_t any(void) /* xorshift64 */
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static struct network any_address(bool ipv6)
{
    static const uint8_t mapped[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    struct network network = {.bits = 128, .set = true};
    for (int i = 0; i < 16; i++)
        network.addr[i] = ipv6 || i >= 12 ? (uint8_t)(any() >> 20) : mapped[i];
    if (ipv6)
        network.addr[0] = 0x20;
    return network;
}

static struct network any_network(void)
{
    bool ipv6 = any() % 10 == 0;
    struct network address = any_address(ipv6);
    return network_mask(&address, 16 + (unsigned)(any() % 17), 32 + (unsigned)(any() % 33));
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void look_up(const struct netset *set, const struct network *networks, size_t n, size_t look_ups)
{
    enum { BATCH = 1000 };
    struct network *asked = calloc(look_ups, sizeof *asked);
    double *took = calloc(look_ups / BATCH + 1, sizeof *took);
    if (asked == NULL || took == NULL)
        exit(1);
    for (size_t i = 0; i < look_ups; i++) {
        struct network address = networks[any() % n];
        asked[i] = any() % 2 == 0 ? any_address(any() % 10 == 0) : network_mask(&address, 32, 128);
        asked[i].bits = 128;
    }
    size_t found = 0, batches = 0;
    double begin = now();
    for (size_t i = 0; i + BATCH <= look_ups; batches++) {
        double from = now();
        for (size_t end = i + BATCH; i < end; i++)
            found += netset_find(set, &asked[i]) != NETSET_NONE;
        took[batches] = (now() - from) / BATCH * 1e9;
    }
    double all = now() - begin;
    qsort(took, batches, sizeof *took, by_value);
    printf("look-up: mean %.0f ns, of 1000 each: median %.0f ns, p99 %.0f ns; %zu of %zu found\n",
           all / (double)(batches * BATCH) * 1e9, took[batches / 2], took[batches * 99 / 100], found,
           batches * BATCH);
    free(asked);
    free(took);
}

/* A block added to a list of n, as a command does it. */
static void merge(const struct network *networks, size_t n)
{
    struct block *blocks = calloc(n, sizeof *blocks);
    struct blocklist *empty = blocklist_new();
    if (blocks == NULL || empty == NULL)
        exit(1);
    for (size_t i = 0; i < n; i++)
        blocks[i] = (struct block){networks[i], ACTION_REJECT, 1, 0, "mx1.example.com", "published list"};
    double begin = now();
    struct blocklist *list = blocklist_merge(empty, blocks, n, 1, NULL, NULL);
    double loaded = now();
    struct block one = blocks[0];
    one.changed_ms = 2;
    struct blocklist *next = list != NULL ? blocklist_merge(list, &one, 1, 1, NULL, NULL) : NULL;
    double changed = now();
    if (next == NULL)
        exit(1);
    blocklist_unref(list);
    double freed = now();
    printf("list: %zu networks in %.1f ms, one more change in %.1f ms, the old one freed in %.3f ms\n",
           blocklist_size(next), (loaded - begin) * 1e3, (changed - loaded) * 1e3, (freed - changed) * 1e3);
    blocklist_unref(next);
    blocklist_unref(empty);
    free(blocks);
}

int main(int argc, char **argv)
{
    size_t n = argc > 1 ? strtoul(argv[1], NULL, 10) : 100000;
    size_t look_ups = argc > 2 ? strtoul(argv[2], NULL, 10) : 2000000;
    struct network *networks = calloc(n + 1, sizeof *networks);
    if (networks == NULL || n == 0 || look_ups < 1000)
        return 1;
    for (size_t i = 0; i < n; i++)
        networks[i] = any_network();
    double begin = now();
    struct netset *set = netset_new(networks, n);
    if (set == NULL)
        return 1;
    printf("set: %zu networks in %.1f ms\n", n, (now() - begin) * 1e3);
    look_up(set, networks, n, look_ups);
    merge(networks, n);
    netset_free(set);
    free(networks);
    return 0;
}
