/* The text of a Postfix map, entry by entry. */
#include "rule_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

/* What is read, one entry a piece: "line:key=value;", "line:!" for a bad one. */
static void read_all(const char *text, size_t n, char *out, size_t size)
{
    struct rule_map *map = calloc(1, sizeof *map);
    char *key, *value;
    size_t used = 0;
    assert_non_null(map);
    map->in = n > 0 ? fmemopen((void *)(uintptr_t)text, n, "r") : fopen("/dev/null", "re");
    assert_non_null(map->in);
    out[0] = '\0';
    for (;;) {
        struct error err = {0};
        enum rule_map_status status = rule_map_read(map, &key, &value, &err);
        assert_true(status == RULE_MAP_ENTRY || status == RULE_MAP_END || status == RULE_MAP_BAD);
        assert_int_equal(err.text[0] != '\0', status == RULE_MAP_BAD);
        if (status == RULE_MAP_END)
            break;
        int written = status == RULE_MAP_BAD
                          ? snprintf(out + used, size - used, "%d:!;", (int)map->line)
                          : snprintf(out + used, size - used, "%d:%s=%s;", (int)map->line, key, value);
        used += (size_t)written;
    }
    assert_int_equal(fclose(map->in), 0);
    free(map);
}

static void test_entries(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"", ""},
        {"\n  \n# nothing\n\t# nothing\n", ""},
        {"a@x.example b@y.example\n", "1:a@x.example=b@y.example;"},
        {"a@x.example\tb@y.example", "1:a@x.example=b@y.example;"},
        {"a@x b, c ,d\te,,f,\n", "1:a@x=b,c,d,e,f;"},
        {"a@x b,\n  c\n\td\nb@x e\n", "1:a@x=b,c,d;4:b@x=e;"},
        {"# c\na@x\n  b\n# c\n\n \n  c # d\nb@x e\n", "2:a@x=b,c,#,d;8:b@x=e;"},
        {"a@x b\r\nb@x c\r\n", "1:a@x=b;2:b@x=c;"},
        {"example.com anything at all\n@example.com b\n", "1:example.com=anything,at,all;2:@example.com=b;"},
        {"a@x \"b, c\"@y, \"d\\\" e\"@y f@y\n", "1:a@x=\"b, c\"@y,\"d\\\" e\"@y,f@y;"},
        {"\"a b\"@x c\n\"d\\\" e\"@x\tf\n", "1:\"a b\"@x=c;2:\"d\\\" e\"@x=f;"},
        {"\"a b@x c\nd@x e\n", "1:!;2:d@x=e;"},
        {"a@x\nb@x c\n", "1:!;2:b@x=c;"},
        {"  a@x b\nb@x c\n", "1:!;2:b@x=c;"},
        {"a@x ,\n", "1:a@x=;"},
        {"a@x b\\", "1:a@x=b\\;"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char out[1000];
        read_all(rows[i].text, strlen(rows[i].text), out, sizeof out);
        if (strcmp(out, rows[i].want) != 0)
            fail_msg("\"%s\": %s", rows[i].text, out);
    }
}

/* Of any length, in one line or in many: bounded, and the next one is read. */
static void test_long(void **state)
{
    (void)state;
    enum { MUCH = 3 * RULE_MAP_ENTRY_MAX };
    static const char end[] = "\nb@x c\n";
    char *text = malloc(MUCH + 100), out[100];
    assert_non_null(text);
    for (int step = 1; step <= 3; step++) {
        memset(text, 'a', MUCH);
        for (int i = 50; i < MUCH && step > 1; i += step)
            memcpy(text + i, step == 2 ? "\n " : "\n b", (size_t)step);
        memcpy(text + MUCH, end, sizeof end);
        read_all(text, strlen(text), out, sizeof out);
        assert_non_null(strstr(out, "1:!;"));
        assert_non_null(strstr(out, ":b@x=c;"));
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_entries), cmocka_unit_test(test_long)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
