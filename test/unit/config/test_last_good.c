/* policy_patch: what is bad in a new file keeps its last good version, and nothing else is touched; what changed so
 * much that somebody should look. */
#include "config/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LIMIT(name, max) "{\"name\":" name ",\"per\":\"recipient\",\"max\":" max ",\"window\":\"1m\"}"
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

struct loaded {
    const struct policy *policy;
    struct problems problems;
    char *effective;
};

static struct loaded load(const char *last, const char *json)
{
    struct loaded l = {0};
    l.policy = config_last_good_patch(json, strlen(json), last, last != NULL ? strlen(last) : 0, &l.problems,
                                      &l.effective);
    return l;
}

static void done(struct loaded *l)
{
    policy_unref(l->policy);
    problems_done(&l->problems);
    free(l->effective);
}

static const struct problem *problem_at(const struct loaded *l, const char *pointer)
{
    for (size_t i = 0; i < l->problems.n; i++)
        if (strcmp(l->problems.at[i].pointer, pointer) == 0 && l->problems.at[i].kind == PROBLEM_SKIPPED)
            return &l->problems.at[i];
    return NULL;
}

static int64_t max_of(const struct policy *policy, const char *name)
{
    for (size_t i = 0; i < policy->n_limits; i++)
        if (strcmp(policy->limits[i].name, name) == 0)
            return policy->limits[i].max;
    return -1;
}

/* What is told of a key does not depend on whether it has a default. */
static void keys_without_a_default(void **state)
{
    (void)state;
    static const char last[] = "{\"user\":\"root\",\"counters\":{\"password_file\":\"/p\","
                               "\"sentinel_password_file\":\"/s\",\"tls\":{\"cert\":\"/c\",\"key\":\"/k\"}}}";
    static const char bad[] = "{\"user\":1,\"counters\":{\"password_file\":1,"
                              "\"sentinel_password_file\":1,\"tls\":{\"cert\":1,\"key\":1}}}";
    static const char *const pointers[] = {"/user", "/counters/password_file",
                                           "/counters/sentinel_password_file", "/counters/tls/cert",
                                           "/counters/tls/key"};
    struct loaded kept = load(last, bad), fresh = load(NULL, bad);
    for (size_t i = 0; i < COUNT_OF(pointers); i++) {
        assert_string_equal(problem_at(&kept, pointers[i])->instead, "its last good version");
        assert_string_not_equal(problem_at(&fresh, pointers[i])->instead, "");
    }
    assert_string_equal(kept.policy->user, "root");
    done(&kept);
    done(&fresh);
}

static void limits_by_name(void **state)
{
    (void)state;
    static const char last[] = "{\"limits\":[" LIMIT("\"a\"", "1") "," LIMIT("\"b\"", "2") "]}";
    static const struct {
        const char *json, *pointer;
        bool kept;
        int64_t a, b;
        size_t n;
    } cases[] = {
        {"{\"limits\":[" LIMIT("\"b\"", "\"20\"") "," LIMIT("\"a\"", "10") "]}", "/limits/0/max", true, 10, 2,
         2},
        {"{\"limits\":[" LIMIT("\"a\"", "null") "," LIMIT("\"b\"", "[]") "]}", "/limits/1/max", true, 1, 2,
         2},
        {"{\"limits\":[" LIMIT("\"c\"", "\"x\"") "," LIMIT("\"b\"", "3") "]}", "/limits/0/max", false, -1, 3,
         1},
        {"{\"limits\":[" LIMIT("5", "9") "," LIMIT("\"b\"", "3") "]}", "/limits/0/name", false, -1, 3, 1},
        {"{\"limits\":[7," LIMIT("\"b\"", "3") "]}", "/limits/0", false, -1, 3, 1},
        {"{\"limits\":[" LIMIT("\"a\"", "7") "," LIMIT("\"a\"", "8") "]}", "/limits/1/name", false, 7, -1, 1},
        {"{\"limits\":[" LIMIT("\"a\"", "7,\"max\":9") "]}", "/limits/0/max", true, 1, -1, 1},
        {"{\"limits\":[" LIMIT("\"c\"", "7,\"max\":9") "," LIMIT("\"a\"", "\"\"") "]}", "/limits/0/max",
         false, 1, -1, 1},
        {"{\"limits\":5}", "/limits", true, 1, 2, 2},
        {"{\"limits\":{}}", "/limits", true, 1, 2, 2},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct loaded l = load(last, cases[i].json);
        assert_non_null(l.policy);
        const struct problem *problem = problem_at(&l, cases[i].pointer);
        assert_non_null(problem);
        assert_int_equal(strcmp(problem->instead, "its last good version") == 0, cases[i].kept);
        assert_int_equal(l.policy->n_limits, cases[i].n);
        assert_int_equal(max_of(l.policy, "a"), cases[i].a);
        assert_int_equal(max_of(l.policy, "b"), cases[i].b);
        done(&l);
    }
}

static void keys_by_place(void **state)
{
    (void)state;
    static const char last[] =
        "{\"mode\":\"shadow\",\"aliases\":{\"max_shrink\":\"20%\"},\"counters\":{\"timeout\":\"70ms\"},"
        "\"exempt\":{\"clients\":[\"192.0.2.0/24\",\"198.51.100.0/24\"]},"
        "\"replies\":{\"unknown\":\"550 5.1.1 nobody\"}}";
    struct loaded l = load(last, "{\"mode\":\"enforc\",\"aliases\":{\"max_shrink\":20},\"counters\":7,"
                                 "\"exempt\":{\"clients\":[\"192.0.2.0/24\",\"198.51.100.0/99\"]},"
                                 "\"replies\":{\"unknown\":\"421 4.3.0 bye\",\"backend\":\"451 5.1.1 x\"}}");
    assert_non_null(l.policy);
    assert_true(l.policy->shadow);
    assert_int_equal(l.policy->aliases.max_shrink, 20);
    assert_int_equal(l.policy->counters.redis.timeout_ms, 70);
    assert_int_equal(l.policy->exempt.clients.n, 2);
    assert_string_equal(l.policy->replies[REPLY_UNKNOWN].code, "550");
    assert_string_equal(l.policy->replies[REPLY_BACKEND].code, "451");
    assert_string_equal(problem_at(&l, "/mode")->instead, "its last good version");
    assert_string_equal(problem_at(&l, "/exempt/clients/1")->instead, "its last good version");
    done(&l);
}

/* Another list: what stood at the same number means nothing. */
static void elements_of_another_list(void **state)
{
    (void)state;
    struct loaded l = load("{\"exempt\":{\"clients\":[\"192.0.2.0/24\",\"10.0.0.0/8\"]}}",
                           "{\"exempt\":{\"clients\":[\"198.51.100.0/24\",\"10.0.0.0/99\"]}}");
    assert_non_null(l.policy);
    assert_int_equal(l.policy->exempt.clients.n, 1);
    assert_string_not_equal(problem_at(&l, "/exempt/clients/1")->instead, "its last good version");
    done(&l);
}

static void twice_the_same_key(void **state)
{
    (void)state;
    struct loaded first = load(NULL, "{\"mode\":\"enforce\",\"mode\":\"shadow\"}");
    assert_non_null(first.policy);
    assert_true(first.policy->shadow); /* which is meant cannot be told: nothing is refused */
    struct loaded second = load(first.effective, "{\"mode\":7,\"state\":\"/x\",\"state\":\"/y\"}");
    assert_true(second.policy->shadow); /* the last one of two was never good */
    assert_string_equal(second.policy->state, "/var/lib/rcptgate");
    done(&second);
    done(&first);
}

/* Over and over: what is in force stays the same while the file stays bad. */
static void stays_while_bad(void **state)
{
    (void)state;
    struct loaded l = load(NULL, "{\"limits\":[" LIMIT("\"a\"", "5") "]}");
    for (int i = 0; i < 3; i++) {
        struct loaded next =
            load(l.effective, "{\"limits\":[" LIMIT("\"a\"", "-5") "," LIMIT("\"z\"", "-1") "]}");
        assert_int_equal(next.policy->n_limits, 1);
        assert_int_equal(max_of(next.policy, "a"), 5);
        assert_string_equal(problem_at(&next, "/limits/0/max")->instead, "its last good version");
        assert_string_not_equal(problem_at(&next, "/limits/1/max")->instead, "its last good version");
        done(&l);
        l = next;
    }
    struct loaded mended = load(l.effective, "{\"limits\":[" LIMIT("\"a\"", "6") "]}");
    assert_int_equal(max_of(mended.policy, "a"), 6);
    assert_int_equal(problems_status(&mended.problems), 0);
    done(&mended);
    done(&l);
}

static void no_json_is_no_policy(void **state)
{
    (void)state;
    static const char json[] = "{\"limits\":[" LIMIT("\"a\"", "5") "],\"mode\":\"shadow\"}";
    for (size_t n = 0; n + 1 < sizeof json; n++) {
        struct problems problems = {0};
        char *effective = NULL;
        assert_null(config_last_good_patch(json, n, json, sizeof json - 1, &problems, &effective));
        assert_null(effective);
        assert_int_equal(problems_status(&problems), 78);
        problems_done(&problems);
    }
    struct loaded l = load("not json", "{\"mode\":5}"); /* a last good one that is bad, too, is none */
    assert_non_null(l.policy);
    done(&l);
}

static void a_reply_of_a_limit(void **state)
{
    (void)state;
    struct loaded l = load("{\"limits\":[" LIMIT("\"a\"", "5,\"reply\":\"450 4.2.1 slow\"") "]}",
                           "{\"limits\":[" LIMIT("\"a\"", "6,\"reply\":\"550 5.2.1 slow\"") "]}");
    assert_int_equal(max_of(l.policy, "a"), 6);
    assert_string_equal(l.policy->limits[0].reply.code, "450");
    assert_string_equal(problem_at(&l, "/limits/0/reply")->instead, "its last good version");
    done(&l);
    l = load("{\"limits\":[" LIMIT("\"a\"", "5") "]}", /* had none: the default text */
             "{\"limits\":[" LIMIT("\"a\"", "6,\"reply\":\"550 5.2.1 slow\"") "]}");
    assert_int_equal(max_of(l.policy, "a"), 6);
    assert_string_equal(l.policy->limits[0].reply.code, "");
    done(&l);
}

/* A key that is one slip away from a known one: what is in force stays, whatever stands there. */
static void misspelt_keys(void **state)
{
    (void)state;
    static const char last[] =
        "{\"mode\":\"enforce\",\"aliases\":{\"database\":\"/db\",\"subaddress\":\"-\"},"
        "\"counters\":{\"timeout\":\"70ms\"},\"exempt\":{\"clients\":[\"192.0.2.0/24\"]},"
        "\"limits\":[{\"name\":\"a\",\"per\":\"host\",\"max\":1,\"window\":\"1m\",\"hold\":\"1h\"}]}";
    static const struct {
        const char *json, *pointer;
    } cases[] = {
        {"{\"mdoe\":\"shadow\",", "/mdoe"},
        {"{\"alises\":{\"database\":\"/other\"},", "/alises"},
        {"{\"aliases\":{\"databse\":\"/other\",\"subaddress\":\"-\"},", "/aliases/databse"},
        {"{\"aliases\":{\"database\":\"/db\",\"subadress\":\"+\"},", "/aliases/subadress"},
        {"{\"conters\":{\"timeout\":\"1s\"},", "/conters"},
        {"{\"counters\":{\"timout\":\"1s\"},", "/counters/timout"},
        {"{\"exemt\":{\"clients\":[\"198.51.100.7\"]},", "/exemt"},
        {"{\"exempt\":{\"clents\":[]},", "/exempt/clents"},
        {"{\"limts\":[],", "/limts"},
        {"{\"limits\":[{\"name\":\"a\",\"per\":\"host\",\"max\":1,\"windw\":\"1h\"}],", "/limits/0/windw"},
        {"{\"limits\":[{\"name\":\"a\",\"per\":\"host\",\"max\":1,\"window\":\"1m\",\"holdd\":\"2h\"}],",
         "/limits/0/holdd"},
        {"{\"limits\":[{\"name\":\"a\",\"per\":\"host\",\"max\":1,\"window\":\"1m\",\"shadw\":true}],",
         "/limits/0/shadw"},
    };
    static const char *const rest[] = {
        "\"mode\":\"enforce\"", "\"aliases\":{\"database\":\"/db\",\"subaddress\":\"-\"}",
        "\"counters\":{\"timeout\":\"70ms\"}", "\"exempt\":{\"clients\":[\"192.0.2.0/24\"]}",
        "\"limits\":[{\"name\":\"a\",\"per\":\"host\",\"max\":1,\"window\":\"1m\",\"hold\":\"1h\"}]"};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char json[1000];
        snprintf(json, sizeof json, "%s", cases[i].json);
        for (size_t j = 0; j < COUNT_OF(rest); j++) /* all other keys as before */
            if (json[2] != rest[j][1])
                snprintf(json + strlen(json), sizeof json - strlen(json), "%s,", rest[j]);
        json[strlen(json) - 1] = '}';
        struct loaded before = load(NULL, last);
        for (int again = 0; again < 2; again++) { /* a restart finds the text that is in force */
            struct loaded l = load(before.effective, json);
            assert_non_null(l.policy);
            if (problem_at(&l, cases[i].pointer) == NULL)
                fail_msg("%s: no problem at %s", json, cases[i].pointer);
            assert_string_equal(problem_at(&l, cases[i].pointer)->instead, "its last good version");
            assert_false(l.policy->shadow);
            assert_string_equal(l.policy->aliases.database, "/db");
            assert_string_equal(l.policy->aliases.subaddress, "-");
            assert_int_equal(l.policy->counters.redis.timeout_ms, 70);
            assert_int_equal(l.policy->exempt.clients.n, 1);
            assert_int_equal(l.policy->exempt.clients.at[0].bits, 96 + 24);
            assert_int_equal(l.policy->n_limits, 1);
            assert_int_equal(l.policy->limits[0].window_ms, 60000);
            assert_int_equal(l.policy->limits[0].hold_ms, 3600000);
            assert_false(l.policy->limits[0].shadow);
            done(&before);
            before = l;
        }
        done(&before);
    }
}

/* The first start was with the mistake, and a mistake that was read stays read. */
static void misspelt_from_the_start(void **state)
{
    (void)state;
    struct loaded first = load(NULL, "{\"exemt\":{\"authenticated\":true}}");
    assert_true(first.policy->exempt.authenticated);
    struct loaded second = load(first.effective, "{\"exemt\":{\"authenticated\":false},\"log\":{}}");
    assert_true(second.policy->exempt.authenticated);
    struct loaded mended = load(second.effective, "{\"exempt\":{\"authenticated\":false}}");
    assert_false(mended.policy->exempt.authenticated);
    done(&mended);
    done(&second);
    done(&first);
    first = load("{}", "{\"alises\":{}}"); /* there were none before */
    assert_null(first.policy->aliases.database);
    done(&first);
}

/* The last good value of one key and the new ones of the others would be a limit that nobody wrote: one that rejects from 10 on
 * where 1000 were admitted before, and 10 deferred from now on. */
static void a_limit_is_not_mixed(void **state)
{
    (void)state;
    static const char last[] = "{\"limits\":[" LIMIT(
        "\"a\"", "1000,\"over\":\"reject\",\"share\":{\"of\":\"client\",\"max\":\"10%\"}") "]}";
    static const char *const cases[] = {
        "{\"limits\":[" LIMIT("\"a\"", "10,\"ovr\":\"defer\"") "]}",
        "{\"limits\":[" LIMIT("\"a\"", "10,\"share\":{\"of\":\"client\",\"max\":33}") "]}",
        "{\"limits\":[" LIMIT("\"a\"", "10,\"shar\":{\"of\":\"client\",\"max\":\"33%\"}") "]}",
        "{\"limits\":[" LIMIT("\"a\"", "10,\"reply\":7,\"ovr\":\"defer\"") "]}",
        "{\"limits\":[" LIMIT("\"a\"", "10,\"ovr\":\"defer\",\"reply\":7") "]}",
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct loaded before = load(NULL, last);
        for (int again = 0; again < 2; again++) {
            struct loaded l = load(before.effective, cases[i]);
            const struct limit *limit = &l.policy->limits[0];
            if (l.policy->n_limits != 1 || limit->max != 1000 || limit->over != ACTION_REJECT ||
                !limit->share.set || limit->share.max != 100 || limit->reply.code[0] != '\0')
                fail_msg("%s: %s", cases[i], l.effective);
            for (size_t j = 0; j < l.problems.n; j++)
                if (l.problems.at[j].kind == PROBLEM_SKIPPED)
                    assert_string_equal(l.problems.at[j].instead, "its last good version");
            done(&before);
            before = l;
        }
        done(&before);
    }
}

#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

/* A name that no pointer spells as it is: too long, or with controls in it. */
static void keys_without_a_pointer(void **state)
{
    (void)state;
    static const char *const keys[] = {"x\\u0001y", "mo\\u0001de", HUNDRED HUNDRED HUNDRED};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        char json[1000];
        snprintf(json, sizeof json,
                 "{\"%s\":1,\"limits\":[" LIMIT("\"a\"", "6,\"%s\":1") "," LIMIT("\"b\"", "7") "]}", keys[i],
                 keys[i]);
        struct loaded before = load(NULL, "{\"mode\":\"enforce\",\"limits\":[" LIMIT("\"a\"", "5") "]}");
        struct loaded l = load(before.effective, json);
        assert_non_null(l.policy);
        assert_int_equal(max_of(l.policy, "a"), 5);
        assert_int_equal(max_of(l.policy, "b"), 7);
        done(&l);
        done(&before);
    }
}

static void compares(void **state)
{
    (void)state;
    static const struct {
        const char *old, *new, *says; /* says NULL: nothing */
    } cases[] = {
        {"{}", "{}", NULL},
        {"{\"mode\":\"shadow\"}", "{}", "enforce"},
        {"{}", "{\"mode\":\"shadow\"}", "shadow"},
        {"{\"aliases\":{}}", "{}", "no alias rule"},
        {"{}", "{\"aliases\":{}}", "is new"},
        {"{\"limits\":[" LIMIT("\"a\"", "5") "]}", "{\"limits\":[]}", "all 1 limits are gone"},
        {"{\"limits\":[" LIMIT("\"a\"", "5") "," LIMIT("\"b\"", "5") "]}",
         "{\"limits\":[" LIMIT("\"b\"", "6") "]}", "\"a\" is the first"},
        {"{\"limits\":[" LIMIT("\"a\"", "5") "]}", "{\"limits\":[" LIMIT("\"a\"", "0") "]}", "refuses all"},
        {"{\"limits\":[" LIMIT("\"a\"", "500") "]}", "{\"limits\":[" LIMIT("\"a\"", "5") "]}",
         "allows 5 now"},
        {"{\"limits\":[" LIMIT("\"a\"", "5") "]}", "{\"limits\":[" LIMIT("\"a\"", "500") "]}", "may not act"},
        {"{\"limits\":[" LIMIT("\"a\"", "5") "]}",
         "{\"limits\":[" LIMIT("\"a\"", "5,\"over\":\"reject\"") "]}", "does not come back"},
        {"{\"limits\":[" LIMIT("\"a\"", "5") "]}", "{\"limits\":[" LIMIT("\"a\"", "7") "]}", NULL},
        {"{}", "{\"limits\":[" LIMIT("\"a\"", "0") "]}", "every limit"},
        {"{}", "{\"exempt\":{\"authenticated\":true}}", "logged-in"},
        {"{}", "{\"counters\":{\"when_down\":\"accept\"}}", "no limit at all"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct loaded old = load(NULL, cases[i].old), new = load(NULL, cases[i].new);
        struct problems problems = {0};
        config_compare(old.policy, new.policy, &problems);
        bool said = false;
        for (size_t j = 0; j < problems.n; j++) {
            assert_int_equal(problems.at[j].kind, PROBLEM_WARNING);
            said = said || (cases[i].says != NULL && strstr(problems.at[j].text, cases[i].says) != NULL);
        }
        if (said != (cases[i].says != NULL) || (cases[i].says == NULL && problems.n > 0))
            fail_msg("%s -> %s", cases[i].old, cases[i].new);
        problems_done(&problems);
        done(&old);
        done(&new);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_without_a_default),
        cmocka_unit_test(limits_by_name),
        cmocka_unit_test(keys_by_place),
        cmocka_unit_test(elements_of_another_list),
        cmocka_unit_test(twice_the_same_key),
        cmocka_unit_test(stays_while_bad),
        cmocka_unit_test(no_json_is_no_policy),
        cmocka_unit_test(a_reply_of_a_limit),
        cmocka_unit_test(compares),
        cmocka_unit_test(misspelt_keys),
        cmocka_unit_test(misspelt_from_the_start),
        cmocka_unit_test(a_limit_is_not_mixed),
        cmocka_unit_test(keys_without_a_pointer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
