/* SHA-256: the examples of FIPS 180-4, and every length around a block, however the bytes come in. */
#include "base/sha256.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static const char *hash_of(const char *bytes, size_t n, size_t step, char text[SHA256_TEXT])
{
    struct sha256 hash;
    sha256_init(&hash);
    for (size_t i = 0; i < n; i += step)
        sha256_add(&hash, bytes + i, n - i < step ? n - i : step);
    return sha256_text(&hash, text);
}

static void examples(void **state)
{
    static const struct {
        const char *bytes, *want;
    } rows[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[SHA256_TEXT];
        assert_string_equal(hash_of(rows[i].bytes, strlen(rows[i].bytes), 1000, text), rows[i].want);
    }
}

static void a_million(void **state)
{
    struct sha256 hash;
    char bytes[1000], text[SHA256_TEXT];
    (void)state;
    memset(bytes, 'a', sizeof bytes);
    sha256_init(&hash);
    for (int i = 0; i < 1000; i++)
        sha256_add(&hash, bytes, sizeof bytes);
    assert_string_equal(sha256_text(&hash, text),
                        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void the_same_in_any_pieces(void **state)
{
    char bytes[300], whole[SHA256_TEXT], pieces[SHA256_TEXT];
    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 7);
    for (size_t n = 1; n <= sizeof bytes; n++)
        for (size_t step = 1; step < 70; step += 3)
            assert_string_equal(hash_of(bytes, n, n, whole), hash_of(bytes, n, step, pieces));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples),
        cmocka_unit_test(a_million),
        cmocka_unit_test(the_same_in_any_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
