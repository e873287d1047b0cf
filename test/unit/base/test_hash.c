/* SipHash-1-3: its test vector for nothing, and that every byte and the length matter. */
#include "base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_hash(void **state)
{
    (void)state;
    static const uint64_t seed[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    static const uint64_t other[2] = {UINT64_C(0x0706050403020101), UINT64_C(0x0f0e0d0c0b0a0908)};
    char text[40] = "";
    uint64_t seen[sizeof text];
    assert_true(hash_string(seed, "") == UINT64_C(0xabac0158050fc4dc)); /* SipHash-1-3 of nothing */
    for (size_t n = 0; n < sizeof text; n++) { /* every length counts, and every byte of it */
        seen[n] = hash_string(seed, text);
        assert_true(seen[n] != hash_string(other, text));
        for (size_t i = 0; i < n; i++)
            assert_true(seen[i] != seen[n]);
        if (n + 1 < sizeof text)
            text[n] = 'a';
    }
}

static void test_bytes(void **state)
{
    (void)state;
    static const uint64_t seed[2] = {1, 2};
    assert_true(hash_bytes(seed, "alias", 5) == hash_string(seed, "alias"));
    assert_true(hash_bytes(seed, "a\0b", 3) != hash_bytes(seed, "a\0c", 3)); /* a NUL is a byte like others */
}

/* The published vectors: "" and "foobar". */
static void test_fnv(void **state)
{
    (void)state;
    uint64_t hash = HASH_FNV;
    assert_true(hash == UINT64_C(0xcbf29ce484222325));
    for (const char *c = "foobar"; *c != '\0'; c++)
        hash = hash_fnv(hash, (unsigned char)*c);
    assert_true(hash == UINT64_C(0x85944171f73967e8));
}

static void test_seed(void **state)
{
    (void)state;
    uint64_t one[2], other[2];
    hash_seed(one);
    hash_seed(other);
    assert_true(one[0] != other[0] && one[1] != other[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_hash), cmocka_unit_test(test_bytes),
                                       cmocka_unit_test(test_fnv), cmocka_unit_test(test_seed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
