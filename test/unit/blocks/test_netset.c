/* netset: what is known of small sets, and a property loop against brute force. */
#include "netset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 400 };

static struct network net(const char *text)
{
    struct network network;
    struct error err = {0};
    if (network_parse(text, &network, &err) < 0)
        fail_msg("%s", err.text);
    return network;
}

static void test_longest_wins(void **state)
{
    (void)state;
    const struct network nets[] = {net("10.0.0.0/8"),      net("10.1.0.0/16"),   net("10.1.2.3"),
                                   net("0.0.0.0/0"),       net("2001:db8::/32"), net("2001:db8::1"),
                                   net("255.255.255.255"), net("10.1.255.255")};
    static const struct {
        const char *address;
        long found;
    } rows[] = {
        {"10.2.0.1", 0},
        {"10.1.0.0", 1},
        {"10.1.255.254", 1},
        {"10.1.2.3", 2},
        {"10.1.2.4", 1},
        {"10.1.255.255", 7},
        {"10.2.0.0", 0},
        {"11.0.0.0", 3},
        {"9.255.255.255", 3},
        {"0.0.0.0", 3},
        {"255.255.255.255", 6},
        {"255.255.255.254", 3},
        {"2001:db8::1", 5},
        {"2001:db8::2", 4},
        {"2001:db8::", 4},
        {"2001:db9::", NETSET_NONE},
        {"2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", NETSET_NONE},
        {"::", NETSET_NONE},
    };
    struct netset *set = netset_new(nets, sizeof nets / sizeof nets[0]);
    assert_non_null(set);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct network address = net(rows[i].address);
        if (netset_find(set, &address) != rows[i].found)
            fail_msg("%s: %ld", rows[i].address, netset_find(set, &address));
    }
    assert_int_equal(netset_wider(set, 2), 1);
    assert_int_equal(netset_wider(set, 1), 0);
    assert_int_equal(netset_wider(set, 0), 3);
    assert_int_equal(netset_wider(set, 3), NETSET_NONE);
    assert_int_equal(netset_wider(set, 5), 4);
    assert_int_equal(netset_wider(set, 4), NETSET_NONE);
    assert_int_equal(netset_wider(set, 99), NETSET_NONE);
    netset_free(set);
}

static void test_families_are_apart(void **state)
{
    (void)state;
    const struct network nets[] = {net("::/0"), net("::/64")};
    struct netset *set = netset_new(nets, 2);
    struct network v4 = net("192.0.2.1"), v6 = net("2001:db8::1"), low = net("::1"),
                   top = net("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), unknown = {0};
    assert_int_equal(netset_find(set, &v4), NETSET_NONE);
    assert_int_equal(netset_find(set, &v6), 0);
    assert_int_equal(netset_find(set, &low), 1);
    assert_int_equal(netset_find(set, &top), 0);
    assert_int_equal(netset_find(set, &unknown), NETSET_NONE);
    netset_free(set);

    const struct network all = net("0.0.0.0/0");
    set = netset_new(&all, 1);
    assert_int_equal(netset_find(set, &v4), 0);
    assert_int_equal(netset_find(set, &v6), NETSET_NONE);
    netset_free(set);

    set = netset_new(NULL, 0);
    assert_int_equal(netset_find(set, &v4), NETSET_NONE);
    netset_free(set);
    netset_free(NULL);
}

/* Few different bytes, so that networks hold one another often and reach the ends of the space. */
static struct network any_network(bool whole)
{
    static const uint8_t bytes[] = {0, 0, 1, 127, 128, 254, 255, 255};
    struct network network = {.set = true};
    bool ipv4 = random() % 2 == 0;
    if (ipv4)
        network = net("0.0.0.0");
    for (int i = ipv4 ? 12 : 0; i < 16; i++)
        network.addr[i] = bytes[random() % 8];
    network.bits = 128;
    unsigned ipv4_bits = whole ? 32 : (unsigned)(random() % 33),
             ipv6_bits = whole ? 128 : (unsigned)(random() % 129);
    return network_mask(&network, ipv4_bits, ipv6_bits);
}

static long brute(const struct network *nets, size_t n, const struct network *inner, bool proper)
{
    long best = NETSET_NONE;
    for (size_t i = 0; i < n; i++)
        if (network_contains(&nets[i], inner) && !(proper && network_equal(&nets[i], inner)) &&
            (best < 0 || nets[i].bits > nets[best].bits))
            best = (long)i;
    return best;
}

static void test_like_brute_force(void **state)
{
    (void)state;
    struct network nets[MOST];
    size_t found = 0, missed = 0;
    srandom(7);
    for (int round = 0; round < 300; round++) {
        size_t n = (size_t)random() % MOST;
        for (size_t i = 0; i < n; i++)
            nets[i] = any_network(false);
        struct netset *set = netset_new(nets, n);
        assert_non_null(set);
        for (int i = 0; i < 300; i++) {
            struct network address = any_network(true);
            long want = brute(nets, n, &address, false), got = netset_find(set, &address);
            if (want != got)
                fail_msg("round %d: got %ld, want %ld", round, got, want);
            found += got >= 0;
            missed += got < 0;
        }
        for (size_t i = 0; i < n; i++)
            assert_int_equal(netset_wider(set, (long)i), brute(nets, n, &nets[i], true));
        netset_free(set);
    }
    assert_true(found > 10000 && missed > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_longest_wins),
        cmocka_unit_test(test_families_are_apart),
        cmocka_unit_test(test_like_brute_force),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
