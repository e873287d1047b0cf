/* csv: records as RFC 4180 has them, what is wrong with others, bounds, and that what is written is read back. */
#include "base/csv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* All records as text: fields in [], records behind their line; "!" and the reason for a bad one. */
static void render(const char *bytes, size_t n, char *out, size_t room)
{
    struct csv *csv = malloc(sizeof *csv);
    FILE *in = tmpfile();
    assert_non_null(csv);
    assert_non_null(in);
    assert_int_equal(fwrite(bytes, 1, n, in), n);
    rewind(in);
    csv_init(csv, in);
    out[0] = '\0';
    for (;;) {
        struct error err = {0};
        enum csv_status status = csv_read(csv, &err);
        assert_int_not_equal(status, CSV_FAILED);
        if (status == CSV_END)
            break;
        size_t used = strlen(out);
        used += (size_t)snprintf(out + used, room - used, "%d", (int)csv->line);
        if (status == CSV_BAD)
            used += (size_t)snprintf(out + used, room - used, "!%s", err.text);
        for (size_t i = 0; status == CSV_RECORD && i < csv->n; i++)
            used += (size_t)snprintf(out + used, room - used, "[%.40s]", csv->field[i]);
        snprintf(out + used, room - used, ";");
    }
    fclose(in);
    free(csv);
}

static void test_read(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *want;
    } rows[] = {
        {"", ""},
        {"\n\r\n\n", ""},
        {"a", "1[a];"},
        {"a,b\nc,d\n", "1[a][b];2[c][d];"},
        {"a,b\r\nc,d\r\n", "1[a][b];2[c][d];"},
        {"a,\n,b\n,\n", "1[a][];2[][b];3[][];"},
        {"a,", "1[a][];"},
        {"\xef\xbb\xbf"
         "a,b\n",
         "1[a][b];"},
        {"\n\na\n", "3[a];"},
        {"\"a,b\",\"c\"\"d\",\"\"\n", "1[a,b][c\"d][];"},
        {"\"a\nb\r\nc\",d\ne\n", "1[a\nb\r\nc][d];4[e];"},
        {"\"a\"\r\n\"b\"", "1[a];2[b];"},
        {" a , b \n", "1[ a ][ b ];"},
        {"a\rb,c\n", "1[a\rb][c];"},
        {"a\"b,c\nd\n", "1!there is a quote inside a field that is not quoted;2[d];"},
        {"\"a\"b,c\nd\n", "1!there is text behind a closing quote;2[d];"},
        {"a,\"b\nc\n", "1!its closing quote is missing;"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char got[512];
        render(rows[i].bytes, strlen(rows[i].bytes), got, sizeof got);
        if (strcmp(got, rows[i].want) != 0)
            fail_msg("row %zu: got %s, want %s", i, got, rows[i].want);
    }
    char got[512];
    render("a\0b\nc\n", 6, got, sizeof got);
    assert_string_equal(got, "1!it has a NUL byte;2[c];");
}

static void test_bounds(void **state)
{
    (void)state;
    char got[512], *bytes = malloc(2 * CSV_BYTES);
    assert_non_null(bytes);
    memset(bytes, 'x', CSV_BYTES - 1); /* and its NUL: just fits */
    memcpy(bytes + CSV_BYTES - 1, "\nb\n", 3);
    render(bytes, CSV_BYTES + 2, got, sizeof got);
    assert_non_null(strstr(got, ";2[b];"));
    assert_non_null(strstr(got, "1[xxx"));
    memset(bytes, 'x', CSV_BYTES);
    memcpy(bytes + CSV_BYTES, "\nb\n", 3);
    render(bytes, CSV_BYTES + 3, got, sizeof got);
    assert_string_equal(got, "1!it is too long; is a closing quote missing?;2[b];");
    memset(bytes, ',', 2 * CSV_BYTES - 2); /* every field needs room for its NUL */
    memcpy(bytes + 2 * CSV_BYTES - 3, "\nb\n", 3);
    render(bytes, 2 * CSV_BYTES, got, sizeof got);
    assert_string_equal(got, "1!it has too many fields;2[b];");
    free(bytes);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const char alphabet[] = "ab ,\"\r\n\xc3\xa4";
    srand(4180);
    for (int round = 0; round < 2000; round++) {
        char field[3][12];
        FILE *file = tmpfile();
        struct csv *csv = malloc(sizeof *csv);
        struct error err = {0};
        assert_non_null(file);
        assert_non_null(csv);
        for (size_t i = 0; i < 3; i++) {
            size_t n = (size_t)rand() % sizeof field[i];
            for (size_t j = 0; j < n; j++)
                field[i][j] = alphabet[(size_t)rand() % (sizeof alphabet - 1)];
            field[i][n] = '\0';
            csv_write(file, field[i]);
            fputs(i < 2 ? "," : "\r\n", file);
        }
        rewind(file);
        csv_init(csv, file);
        assert_int_equal(csv_read(csv, &err), CSV_RECORD);
        assert_int_equal(csv->n, 3);
        for (size_t i = 0; i < 3; i++)
            assert_string_equal(csv->field[i], field[i]);
        assert_int_equal(csv_read(csv, &err), CSV_END);
        fclose(file);
        free(csv);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
