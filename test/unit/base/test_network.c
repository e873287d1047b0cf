/* network: parsing, formatting and comparing, by table and by a random property loop. */
#include "base/network.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

static void test_parse(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want; /* want NULL: an error */
    } rows[] = {
        {"192.0.2.7", "192.0.2.7"},
        {"192.0.2.7/32", "192.0.2.7"},
        {"192.0.2.0/24", "192.0.2.0/24"},
        {"[192.0.2.7]", "192.0.2.7"},
        {"0.0.0.0/0", "0.0.0.0/0"},
        {"0.0.0.0", "0.0.0.0"},
        {"255.255.255.255", "255.255.255.255"},
        {"::ffff:192.0.2.7", "192.0.2.7"},
        {"::FFFF:c000:0207", "192.0.2.7"},
        {"::ffff:192.0.2.0/120", "192.0.2.0/24"},
        {"::ffff:0:0/96", "0.0.0.0/0"},
        {"2001:db8::/32", "2001:db8::/32"},
        {"64:ff9b::192.0.2.7", "192.0.2.7"}, /* NAT64 */
        {"64:ff9b::c000:207", "192.0.2.7"},
        {"64:ff9b::/96", "64:ff9b::/96"}, /* not all of IPv4 */
        {"64:ff9b:1::c000:207", "64:ff9b:1::c000:207"},
        {"2001:DB8:0:0:0:0:0:1", "2001:db8::1"},
        {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"}, /* one zero group is not shortened */
        {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
        {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
        {"[2001:db8::1]", "2001:db8::1"},
        {"[::1]/128", "::1"},
        {"[2001:db8::]/32", "2001:db8::/32"},
        {"IPv6:2001:db8::1", "2001:db8::1"},
        {"[ipv6:2001:db8::1]", "2001:db8::1"},
        {"IPv6:::ffff:192.0.2.7", "192.0.2.7"},
        {"::/0", "::/0"},
        {"::", "::"},
        {"2001:db8::8000/113", "2001:db8::8000/113"},
        {"", NULL},
        {"/24", NULL},
        {"localhost", NULL},
        {"192.0.2", NULL},
        {"192.0.2.256", NULL},
        {"192.0.2.07", NULL},
        {" 192.0.2.7", NULL},
        {"192.0.2.7 ", NULL},
        {"192.0.2.0/", NULL},
        {"192.0.2.0/33", NULL},
        {"192.0.2.0/024", NULL},
        {"192.0.2.0/+24", NULL},
        {"192.0.2.0/-1", NULL},
        {"192.0.2.0/24/24", NULL},
        {"192.0.2.0/99999999999999999999", NULL},
        {"::1/129", NULL},
        {"[::1", NULL},
        {"[", NULL},
        {"[]", NULL},
        {"::1]", NULL},
        {"IPv6:192.0.2.7", NULL},
        {"fe80::1%eth0", NULL},
        {"1:2:3:4:5:6:7:8:9", NULL},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct network got, before;
        struct error err = {0};
        char text[NETWORK_TEXT];
        memset(&got, 0x5a, sizeof got);
        before = got;
        const int rc = network_parse(rows[i].in, &got, &err);
        if (rows[i].want == NULL) {
            if (rc != -1)
                fail_msg("\"%s\" was taken as %s", rows[i].in, network_format(&got, text));
            assert_memory_equal(&got, &before, sizeof got);
            assert_string_not_equal(err.text, "");
        } else {
            if (rc != 0)
                fail_msg("\"%s\": %s", rows[i].in, err.text);
            assert_string_equal(network_format(&got, text), rows[i].want);
            assert_string_equal(err.text, "");
        }
    }
}

static void test_host_bits_name_the_network(void **state)
{
    (void)state;
    static const struct {
        const char *in, *meant;
    } rows[] = {
        {"192.0.2.7/24", "192.0.2.0/24"},
        {"10.0.0.1/0", "0.0.0.0/0"},
        {"2001:db8::1/32", "2001:db8::/32"},
        {"2001:db8::c000/113", "2001:db8::8000/113"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct network got = {0};
        struct error err = {0};
        assert_int_equal(network_parse(rows[i].in, &got, &err), -1);
        assert_false(got.set);
        assert_non_null(strstr(err.text, rows[i].meant));
    }
    struct network got;
    assert_int_equal(network_parse("192.0.2.7/24", &got, NULL), -1);
}

static struct network parsed(const char *text)
{
    struct network net;
    struct error err = {0};
    if (text == NULL)
        return (struct network){0};
    if (network_parse(text, &net, &err) != 0)
        fail_msg("%s", err.text);
    return net;
}

static void test_contains(void **state)
{
    (void)state;
    static const struct {
        const char *outer, *inner;
        bool want;
    } rows[] = {
        {"192.0.2.0/24", "192.0.2.7", true},
        {"192.0.2.0/24", "192.0.3.7", false},
        {"192.0.2.0/24", "192.0.2.0/24", true},
        {"192.0.2.0/24", "192.0.2.128/25", true},
        {"192.0.2.128/25", "192.0.2.0/24", false},
        {"192.0.2.64/27", "192.0.2.95", true},
        {"192.0.2.64/27", "192.0.2.96", false},
        {"0.0.0.0/0", "255.1.2.3", true},
        {"0.0.0.0/0", "2001:db8::1", false},
        {"192.0.2.7", "::ffff:192.0.2.7", true},
        {"::/0", "2001:db8::1", true},
        {"::/0", "192.0.2.7", false},
        {"2001:db8::/33", "2001:db8:7fff::1", true},
        {"2001:db8::/33", "2001:db8:8000::1", false},
        {"::1", "::1", true},
        {"::1", "::2", false},
        {NULL, "::1", false},
        {"::/0", NULL, false},
        {NULL, NULL, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct network outer = parsed(rows[i].outer), inner = parsed(rows[i].inner);
        if (network_contains(&outer, &inner) != rows[i].want)
            fail_msg("row %zu: %s, %s", i, rows[i].outer, rows[i].inner);
    }
}

static void test_equal(void **state)
{
    (void)state;
    struct network a = parsed("192.0.2.0/24"), b = parsed("::ffff:192.0.2.0/120"), c = parsed("192.0.2.0/25");
    struct network unset = {0}, zero = parsed("::/0");
    assert_true(network_equal(&a, &b));
    assert_false(network_equal(&a, &c));
    assert_true(network_equal(&unset, &unset));
    assert_false(network_equal(&unset, &zero));
}

static void test_mask(void **state)
{
    (void)state;
    static const struct {
        const char *client;
        unsigned ipv4, ipv6;
        const char *want;
    } rows[] = {
        {"192.0.2.7", 32, 64, "192.0.2.7"},
        {"192.0.2.7", 24, 64, "192.0.2.0/24"},
        {"192.0.2.7", 0, 64, "0.0.0.0/0"},
        {"2001:db8:1:2:3:4:5:6", 32, 64, "2001:db8:1:2::/64"},
        {"2001:db8:1:2:3:4:5:6", 32, 128, "2001:db8:1:2:3:4:5:6"},
        {"2001:db8:1:2:3:4:5:6", 32, 0, "::/0"},
        {"192.0.2.0/24", 32, 64, "192.0.2.0/24"},
        {NULL, 32, 64, "unknown"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[NETWORK_TEXT];
        const struct network client = parsed(rows[i].client);
        const struct network got = network_mask(&client, rows[i].ipv4, rows[i].ipv6);
        assert_string_equal(network_format(&got, text), rows[i].want);
    }
}

static void test_sockaddr(void **state)
{
    (void)state;
    char text[NETWORK_TEXT];
    struct network net;
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    } address = {.in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000207)}};
    network_from_sockaddr(&address.any, &net);
    assert_string_equal(network_format(&net, text), "192.0.2.7");
    assert_true(network_is_ipv4(&net));

    memset(&address, 0, sizeof address);
    address.in6.sin6_family = AF_INET6;
    assert_int_equal(inet_pton(AF_INET6, "2001:db8::1", &address.in6.sin6_addr), 1);
    network_from_sockaddr(&address.any, &net);
    assert_string_equal(network_format(&net, text), "2001:db8::1");
    assert_false(network_is_ipv4(&net));

    assert_int_equal(inet_pton(AF_INET6, "::ffff:192.0.2.7", &address.in6.sin6_addr), 1);
    network_from_sockaddr(&address.any, &net);
    assert_string_equal(network_format(&net, text), "192.0.2.7");

    memset(&address, 0, sizeof address);
    address.un.sun_family = AF_UNIX;
    network_from_sockaddr(&address.any, &net);
    assert_false(net.set);
    assert_string_equal(network_format(&net, text), "unknown");
    network_from_sockaddr(NULL, &net);
    assert_false(net.set);
}

/* What is formatted is parsed again as the same, and every mask contains what it was made of. */
static void test_random(void **state)
{
    (void)state;
    unsigned seed = 20240607;
    for (int round = 0; round < 20000; round++) {
        struct network net = {.bits = 128, .set = true}, again, masked;
        struct error err = {0};
        char text[NETWORK_TEXT];
        for (size_t i = 0; i < sizeof net.addr; i++)
            net.addr[i] = rand_r(&seed) % 3 == 0 ? (uint8_t)rand_r(&seed) : 0;
        if (round % 2 == 0)
            memcpy(net.addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
        masked = network_mask(&net, (unsigned)rand_r(&seed) % 33, (unsigned)rand_r(&seed) % 129);
        assert_int_equal(network_is_ipv4(&masked), network_is_ipv4(&net));
        assert_true(network_contains(&masked, &net));
        assert_true(masked.bits == 128 || !network_contains(&net, &masked));
        if (network_parse(network_format(&masked, text), &again, &err) != 0)
            fail_msg("%s", err.text);
        assert_true(network_equal(&masked, &again));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),    cmocka_unit_test(test_host_bits_name_the_network),
        cmocka_unit_test(test_contains), cmocka_unit_test(test_equal),
        cmocka_unit_test(test_mask),     cmocka_unit_test(test_sockaddr),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
