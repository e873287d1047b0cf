/* blocklist: text and back, merging, what ends; and many hosts that hear of the same changes in any order. */
#include "blocks/blocklist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NOW = 1800000000 };

static struct block block(const char *network, enum action action, int64_t at_ms, int64_t until_s)
{
    struct block b = {.action = action, .changed_ms = at_ms, .until_s = until_s, .host = "mx1", .reason = ""};
    struct error err = {0};
    if (network_parse(network, &b.network, &err) < 0)
        fail_msg("%s", err.text);
    return b;
}

static struct network net(const char *text)
{
    return block(text, ACTION_REJECT, 0, 0).network;
}

/* The text of a block that was read from one; "": there is none. */
static const char *written(const char *network, const char *text, char got[BLOCK_TEXT])
{
    struct pool pool = {0};
    struct block b;
    struct text out;
    text_init(&out, got, BLOCK_TEXT);
    if (blocklist_parse(network, text, &pool, &b) == 0)
        blocklist_format(&b, &out);
    pool_done(&pool);
    return got;
}

static void test_text(void **state)
{
    static const struct {
        const char *network, *text, *again; /* again NULL: as text; "": no block */
    } rows[] = {
        {"192.0.2.0/24",
         "action=reject until=2027-01-15T08:00:00Z at=2027-01-15T07:00:00.123Z by=mx1.example.com "
         "reason=spam wave, all of it",
         NULL},
        {"192.0.2.1", "action=defer until=never at=2027-01-15T07:00:00.000Z", NULL},
        {"2001:db8::/32", "action=unblocked until=2027-01-15T08:00:00Z at=2027-01-15T07:00:00.999Z by=mx1",
         NULL},
        {"192.0.2.1", "action=reject", "action=reject until=never"},
        {"192.0.2.1", " colour=blue  action=reject until=never at=2027-01-15T07:00:00.007Z",
         "action=reject until=never at=2027-01-15T07:00:00.007Z"},
        {"192.0.2.1", "action=reject until=never by=a%25%20b", NULL},
        {"192.0.2.1", "action=reject until=never by=a%b", "action=reject until=never by=a%25b"},
        {"192.0.2.1", "action=reject by=a%00", ""},
        {"192.0.2.1", "until=never", ""},
        {"192.0.2.1", "", ""},
        {"192.0.2.1", "action=discard", ""},
        {"192.0.2.1", "action=reject until=tomorrow", ""},
        {"192.0.2.1", "action=reject until=2027-01-15", ""},
        {"192.0.2.1", "action=reject at=2027-01-15T07:00:00.7", ""},
        {"192.0.2.1/24", "action=reject", ""},
        {"example.com", "action=reject", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *again = rows[i].again != NULL ? rows[i].again : rows[i].text;
        char got[BLOCK_TEXT];
        if (strcmp(written(rows[i].network, rows[i].text, got), again) != 0)
            fail_msg("%s: %s", rows[i].text, got);
        if (again[0] != '\0' && strcmp(written(rows[i].network, again, got), again) != 0)
            fail_msg("what was written cannot be read: %s: %s", again, got);
    }
}

static struct blocklist *merged(struct blocklist *list, const struct block *changes, size_t n, int64_t now_s)
{
    struct blocklist *next = blocklist_merge(list, changes, n, now_s, NULL, NULL);
    assert_non_null(next);
    blocklist_unref(list);
    return next;
}

static void test_find(void **state)
{
    (void)state;
    const struct block changes[] = {
        block("10.0.0.0/8", ACTION_REJECT, 1, 0), block("10.1.0.0/16", ACTION_DEFER, 1, NOW + 10),
        block("10.1.2.0/24", ACTION_ACCEPT, 1, NOW + 100), block("10.1.2.3", ACTION_REJECT, 1, NOW + 5),
        block("2001:db8::/32", ACTION_REJECT, 1, NOW - 1)};
    struct blocklist *list = merged(blocklist_new(), changes, 5, NOW);
    struct network at = net("10.1.2.3"), beside = net("10.1.2.4"), v6 = net("2001:db8::1"),
                   gap = net("10.1.2.0/24");
    assert_int_equal(blocklist_size(list), 4);
    assert_int_equal(blocklist_live(list), 3);
    assert_int_equal(blocklist_next_end(list), NOW + 5);
    assert_int_equal(blocklist_find(list, &at, NOW)->network.bits, 128);
    assert_int_equal(blocklist_find(list, &at, NOW + 5)->action,
                     ACTION_DEFER); /* it ends between two merges */
    assert_int_equal(blocklist_find(list, &beside, NOW)->action,
                     ACTION_DEFER); /* a tombstone hides nothing */
    assert_int_equal(blocklist_find(list, &beside, NOW + 10)->network.bits, 96 + 8);
    assert_null(blocklist_find(list, &v6, NOW));
    assert_int_equal(blocklist_get(list, &gap)->action, ACTION_ACCEPT);
    assert_null(blocklist_get(list, &v6));
    list = merged(list, NULL, 0, NOW + 50);
    assert_int_equal(blocklist_size(list), 2);
    assert_int_equal(blocklist_after(list, NULL), 0);
    assert_int_equal(blocklist_after(list, &gap), 2);
    blocklist_unref(list);
}

struct notified {
    int made, changed, ended;
};

static void notify(void *arg, const struct block *was, const struct block *is)
{
    struct notified *notified = arg;
    notified->made += was == NULL;
    notified->ended += is == NULL;
    notified->changed += was != NULL && is != NULL;
}

static void test_notified(void **state)
{
    (void)state;
    struct notified notified = {0};
    struct block changes[] = {
        block("10.0.0.0/8", ACTION_REJECT, 5, NOW + 5), block("10.0.0.0/8", ACTION_REJECT, 7, 0),
        block("192.0.2.1", ACTION_REJECT, 5, NOW + 5), block("192.0.2.2", ACTION_REJECT, 5, NOW)};
    changes[1].reason = "the later one";
    struct blocklist *empty = blocklist_new();
    struct blocklist *list = blocklist_merge(empty, changes, 4, NOW, notify, &notified);
    blocklist_unref(empty);
    assert_int_equal(notified.made, 2);
    assert_int_equal(notified.ended + notified.changed, 0); /* what came too late is no news */
    assert_string_equal(blocklist_at(list, 0)->reason, "the later one");
    assert_string_equal(blocklist_at(list, 1)->reason, "");
    assert_string_equal(blocklist_at(list, 1)->host, "mx1");

    const struct block after[] = {block("10.0.0.0/8", ACTION_ACCEPT, 6, 0),
                                  block("192.0.2.1", ACTION_DEFER, 6, 0)};
    notified = (struct notified){0};
    struct blocklist *next = blocklist_merge(list, after, 2, NOW, notify, &notified);
    assert_int_equal(notified.changed, 1);
    assert_int_equal(notified.made + notified.ended, 0);
    assert_int_equal(blocklist_at(next, 0)->action, ACTION_REJECT);
    blocklist_unref(next);
    notified = (struct notified){0};
    next = blocklist_merge(list, NULL, 0, NOW + 5, notify, &notified);
    assert_int_equal(notified.ended, 1);
    blocklist_unref(next);
    blocklist_unref(list);
}

/* The same changes, shuffled and cut into portions: every host ends with the same list. */
static void test_all_hosts_agree(void **state)
{
    enum { CHANGES = 60, HOSTS = 5, NETWORKS = 12 };
    (void)state;
    srandom(3);
    for (int round = 0; round < 200; round++) {
        struct block changes[CHANGES];
        struct blocklist *lists[HOSTS];
        static const char *const reasons[] = {"a", "b", ""};
        static const enum action actions[] = {ACTION_REJECT, ACTION_DEFER, ACTION_ACCEPT};
        for (int i = 0; i < CHANGES; i++) {
            char network[32];
            snprintf(network, sizeof network, "192.0.2.%ld", random() % NETWORKS);
            changes[i] = block(network, actions[random() % 3], 1 + random() % 20, 0);
            changes[i].reason = reasons[random() % 3];
        }
        for (int h = 0; h < HOSTS; h++) {
            lists[h] = blocklist_new();
            for (size_t i = CHANGES - 1; i > 0; i--) {
                size_t j = (size_t)random() % (i + 1);
                struct block swap = changes[i];
                changes[i] = changes[j];
                changes[j] = swap;
            }
            for (size_t done = 0, n; done < CHANGES; done += n) {
                n = 1 + (size_t)random() % 9;
                n = n < CHANGES - done ? n : CHANGES - done;
                lists[h] = merged(lists[h], changes + done, n, NOW);
            }
            assert_int_equal(blocklist_size(lists[h]), blocklist_size(lists[0]));
            for (size_t i = 0; i < blocklist_size(lists[h]); i++) {
                assert_false(blocklist_is_newer(blocklist_at(lists[h], i), blocklist_at(lists[0], i)));
                assert_false(blocklist_is_newer(blocklist_at(lists[0], i), blocklist_at(lists[h], i)));
            }
        }
        assert_true(blocklist_size(lists[0]) > 8);
        for (int h = 0; h < HOSTS; h++)
            blocklist_unref(lists[h]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_notified),
        cmocka_unit_test(test_all_hosts_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
