/* jsonmap: lines, order, repeated keys, and that it agrees with jansson on how many values there are and
 * what the keys are called. */
#include "jsonmap.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_lines(void **state)
{
    (void)state;
    static const char text[] =
        "\n{ \"a\":\n 1, \"b\" : [\r\n true ,\n{}\n, \"x\\\"]}\"], \n\"c\":{\"d\"\n:null} }\n";
    struct pool pool = {0};
    const struct jsonmap *map = jsonmap_new(&pool, text, strlen(text));
    const struct jsonmap *a = jsonmap_member(map, "a"), *b = jsonmap_member(map, "b"),
                         *c = jsonmap_member(map, "c");
    assert_int_equal(map->line, 2);
    assert_int_equal(a->line, 2);
    assert_int_equal(b->line, 3);
    assert_int_equal(b->first->line, 4);
    assert_int_equal(b->first->next->line, 5);
    assert_int_equal(b->first->next->next->line, 6);
    assert_null(b->first->next->next->next);
    assert_int_equal(c->line, 7);
    assert_int_equal(jsonmap_member(c, "d")->line, 7);
    assert_null(jsonmap_member(c, "e"));
    assert_null(jsonmap_member(NULL, "e"));
    assert_null(jsonmap_member(b, "e"));
    pool_done(&pool);
}

static void test_repeated(void **state)
{
    (void)state;
    static const char text[] =
        "{\"a\":1,\"b\":{\"a\":1,\"c\":1},\"\\u0061\":2,\"d\":[{\"a\":1},{\"a\":1}],\"a\":3}";
    struct pool pool = {0};
    const struct jsonmap *map = jsonmap_new(&pool, text, strlen(text));
    static const bool want[] = {true, false, true, false, true};
    const struct jsonmap *member = map->first;
    for (size_t i = 0; i < 5; i++, member = member->next)
        assert_int_equal(member->repeated, want[i]);
    assert_null(member);
    assert_false(jsonmap_member(jsonmap_member(map, "b"), "a")->repeated);
    assert_false(jsonmap_member(map, "d")->first->first->repeated);
    pool_done(&pool);
}

static void agree(const struct jsonmap *map, const json_t *json)
{
    size_t n = 0;
    for (const struct jsonmap *at = map->first; at != NULL; at = at->next, n++) {
        const json_t *value = json_is_object(json) ? json_object_get(json, at->key) : json_array_get(json, n);
        assert_non_null(value);
        agree(at, value);
    }
    assert_int_equal(n, json_is_object(json) ? json_object_size(json) : json_array_size(json));
}

static void test_agrees_with_jansson(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{}",
        "[]",
        "[[],{},\"\",0,-1.5e+3,true,null,[[[1,2],3],4]]",
        "{\"\":1,\" \":2,\"\\\\\":3,\"\\\"\":4,\"\\/\":5,\"\\b\\f\\n\\r\\t\":6}",
        "{\"\\u00e4\":1,\"\\u20ac\":2,\"\\ud83d\\ude00\":3,\"\\u007F\":4,\"a\\u0041\":5,\"\xc3\xb6\":6}",
        "{\"a\":{\"b\":{\"c\":[{\"d\":\"]}{[,:\\\\\"}]}}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct pool pool = {0};
        json_t *json = json_loads(texts[i], JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(json);
        agree(jsonmap_new(&pool, texts[i], strlen(texts[i])), json);
        json_decref(json);
        pool_done(&pool);
    }
}

/* What jansson would refuse never gets here, but if it did, nothing beyond the end would be read. */
static void test_prefixes(void **state)
{
    (void)state;
    static const char text[] = "{\"a\\u00e4\\ud83d\\ude00\":[1,\"\\\"\",{\"b\":null}],\"c\\\\\":-1}";
    for (size_t i = 0; i < sizeof text; i++) {
        struct pool pool = {0};
        (void)jsonmap_new(&pool, text, i);
        pool_done(&pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_repeated),
        cmocka_unit_test(test_agrees_with_jansson),
        cmocka_unit_test(test_prefixes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
