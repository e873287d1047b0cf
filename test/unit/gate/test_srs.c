/* srs: whose sender rewriting is ours, with alias rules and without, and what then stands for the sender. */
#include "gate/srs.h"

#include "aliases/edit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[] = "/tmp/test_srs.XXXXXX", path[64];

static void add_domain(struct aliases_edit *edit, const char *domain)
{
    struct edit_record record = {.at = {{EDIT_TEXT, domain, 0}}};
    struct error err = {0};
    assert_int_equal(aliases_edit_add(edit, ALIASES_DOMAINS, &record, &err), EDIT_DONE);
}

static int set_up(void **state)
{
    struct error err = {0};
    struct aliases_edit *edit = NULL;
    (void)state;
    if (mkdtemp(directory) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/aliases.db", directory);
    if (aliases_edit_create(path, NULL, &err) != EDIT_DONE ||
        aliases_edit_open(path, true, &edit, &err) != EDIT_DONE)
        return -1;
    add_domain(edit, "example.com");
    add_domain(edit, ".users.example");
    int rc = aliases_edit_commit(edit, &err) == EDIT_DONE ? 0 : -1;
    aliases_edit_close(edit);
    return rc;
}

static int tear_down(void **state)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        (void)unlink(name);
    }
    return rmdir(directory);
}

static void test_ours(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *want;
    } rows[] = {
        {"joe@sender.example", "joe@sender.example"},
        {"SRS0=Ab1c=TT=sender.example=joe@example.com", "joe@sender.example"},
        {"SRS0+Ab1c=TT=sender.example=joe@srs.example.com", "joe@sender.example"},
        {"SRS0-Ab1c=TT=sender.example=joe@a.users.example", "joe@sender.example"},
        {"SRS0=Ab1c=TT=sender.example=joe@example.org", "SRS0=Ab1c=TT=sender.example=joe@example.org"},
        {"SRS1=Cd=far.example==Ab=TT=sender.example=joe@EXAMPLE.com",
         "SRS0=Ab=TT=sender.example=joe@far.example"},
        {"SRS0=opaque@example.com", "SRS0=opaque@example.com"},
    };
    struct aliases *rules = aliases_new(&(struct aliases_config){.path = path});
    assert_non_null(rules);
    struct srs srs = {.rules = rules};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_string_equal(srs_original(&srs, rows[i].raw), rows[i].want);
    assert_int_equal(srs.undone, 4);
    assert_int_equal(srs.foreign, 1);
    assert_int_equal(srs.opaque, 1);
    aliases_free(rules);
}

/* Nobody says whose a domain is: no rules, and a database that cannot be read. */
static void test_unknown(void **state)
{
    (void)state;
    static const char sender[] = "SRS0=Ab1c=TT=sender.example=joe@example.org";
    struct srs none = {.rules = NULL}, missing = {.rules = NULL};
    assert_string_equal(srs_original(&none, sender), "joe@sender.example");
    missing.rules = aliases_new(&(struct aliases_config){.path = "/nonexistent/aliases.db"});
    assert_non_null(missing.rules);
    assert_string_equal(srs_original(&missing, sender), "joe@sender.example");
    aliases_free(missing.rules);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ours), cmocka_unit_test(test_unknown)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
