/* fuzz_netset: lists of networks: what is found is what a look at each of them finds; text and network are the same. */
#include "fuzz.h"

#include "base/network.h"
#include "netset.h"

enum { MOST = 64 };

/* Few different bytes, so that networks nest. */
static struct network network_any(struct fuzz_input *in)
{
    static const uint8_t bytes[] = {0, 0, 0xff, 0x80, 1, 10};
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct network whole = {.bits = 128, .set = true};
    unsigned shape = fuzz_byte(in), bits = fuzz_byte(in);
    bool ipv4 = (shape & 1) != 0;
    for (size_t i = 0; i < 16; i++)
        whole.addr[i] = ipv4 && i < 12                         ? mapped[i]
                        : i >= (shape & 2 ? 4u : 15u) && !ipv4 ? 0
                                                               : bytes[fuzz_below(in, 6)];
    return network_mask(&whole, bits % 33, bits % 129);
}

static struct network whole_of(struct network network)
{
    network.bits = 128;
    return network;
}

/* The first of the longest; -1: none. */
static long naive_find(const struct network *all, size_t n, const struct network *address)
{
    long found = -1;
    for (size_t i = 0; i < n; i++)
        if (network_contains(&all[i], address) && (found < 0 || all[i].bits > all[found].bits))
            found = (long)i;
    return found;
}

static void check_text(const struct network *network)
{
    char text[NETWORK_TEXT];
    struct network again;
    network_format(network, text);
    demand(network_parse(text, &again, NULL) == 0 && network_equal(network, &again));
}

static void check_wider(const struct netset *set, const struct network *all, size_t n, size_t i)
{
    long wider = netset_wider(set, (long)i), want = -1;
    for (size_t j = 0; j < n; j++)
        if (network_contains(&all[j], &all[i]) && !network_equal(&all[j], &all[i]) &&
            (want < 0 || all[j].bits > all[want].bits))
            want = (long)j;
    demand((wider < 0) == (want < 0));
    demand(wider < 0 || network_equal(&all[wider], &all[want]));
}

static void check_parse(const uint8_t *data, size_t size)
{
    char text[80], canonical[NETWORK_TEXT];
    struct fuzz_input in = {data, size};
    struct network network;
    struct error err = {0};
    fuzz_text(&in, text, sizeof text);
    if (network_parse(text, &network, &err) < 0) {
        demand(err.text[0] != '\0');
        return;
    }
    check_text(&network);
    demand(network_parse(network_format(&network, canonical), &network, NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct network all[MOST];
    struct fuzz_input in = {data, size};
    size_t n = 0;
    check_parse(data, size);
    while (in.left > 0 && n < MOST)
        all[n++] = network_any(&in);
    struct netset *set = netset_new(all, n);
    demand(set != NULL);
    for (size_t i = 0; i < n; i++) {
        struct network address = whole_of(all[i]);
        check_text(&all[i]);
        for (int step = 0; step < 3; step++) { /* its first address, and those beside it */
            long want = naive_find(all, n, &address);
            demand(netset_find(set, &address) == want);
            address.addr[15] += step == 0 ? 1 : 0xfe;
        }
        check_wider(set, all, n, i);
    }
    netset_free(set);
    return 0;
}
