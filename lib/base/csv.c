/* csv: a record is read byte by byte into one buffer, in which every field ends with NUL. What is wrong with a record is
 * remembered (the first only), and reading goes on to its end, so that the next record is found. */
#include "base/csv.h"

#include <errno.h>
#include <string.h>

void csv_init(struct csv *csv, FILE *in)
{
    csv->in = in;
    csv->line = csv->now = 1;
    csv->n = csv->used = 0;
    static const char mark[] = "\xef\xbb\xbf";
    for (size_t i = 0; i < 3; i++) {
        int c = getc_unlocked(in);
        if (c == (unsigned char)mark[i])
            continue;
        if (c != EOF)
            ungetc(c, in);
        return; /* a mark that is cut short is nothing that a header could begin with */
    }
}

static int get(struct csv *csv)
{
    int c = getc_unlocked(csv->in);
    if (c == '\n')
        csv->now++;
    return c;
}

/* CRLF is one line end; a CR elsewhere is a byte like others. */
static int get_folded(struct csv *csv)
{
    int c = get(csv);
    if (c != '\r')
        return c;
    int next = get(csv);
    if (next == '\n')
        return next;
    if (next != EOF)
        ungetc(next, csv->in);
    return c;
}

struct record { /* under way */
    struct csv *csv;
    struct error *err;
    bool bad;
};

static void spoil(struct record *record, const char *text)
{
    if (!record->bad)
        error_set(record->err, "%s", text);
    record->bad = true;
}

static void put(struct record *record, int c)
{
    struct csv *csv = record->csv;
    if (c == '\0')
        spoil(record, "it has a NUL byte");
    if (csv->used >= CSV_BYTES)
        spoil(record, "it is too long; is a closing quote missing?");
    else
        csv->bytes[csv->used++] = (char)c;
}

/* The rest of a field behind its opening quote. Returns what follows the closing one. */
static int quoted(struct record *record)
{
    struct csv *csv = record->csv;
    for (;;) {
        int c = get(csv); /* line breaks in quotes are kept as they are */
        if (c == EOF) {
            spoil(record, "its closing quote is missing");
            return c;
        }
        if (c == '"') {
            c = get_folded(csv);
            if (c != '"')
                return c;
        }
        put(record, c);
    }
}

/* One field, whose first byte is c. Returns the comma, line end or EOF behind it. */
static int field(struct record *record, int c)
{
    struct csv *csv = record->csv;
    const size_t start = csv->used;
    const bool in_quotes = c == '"';
    if (in_quotes)
        c = quoted(record);
    for (; c != ',' && c != '\n' && c != EOF; c = get_folded(csv)) {
        if (in_quotes)
            spoil(record, "there is text behind a closing quote");
        else if (c == '"')
            spoil(record, "there is a quote inside a field that is not quoted");
        put(record, c);
    }
    put(record, ' '); /* the NUL's place */
    csv->bytes[csv->used - 1] = '\0';
    if (csv->n < CSV_FIELDS)
        csv->field[csv->n++] = csv->bytes + start;
    else
        spoil(record, "it has too many fields");
    return c;
}

enum csv_status csv_read(struct csv *csv, struct error *err)
{
    struct record record = {.csv = csv, .err = err};
    int c;
    do {
        csv->line = csv->now;
        c = get_folded(csv);
    } while (c == '\n');
    csv->n = csv->used = 0;
    if (c != EOF) {
        int end = field(&record, c);
        while (end == ',')
            end = field(&record, get_folded(csv));
        if (!ferror(csv->in))
            return record.bad ? CSV_BAD : CSV_RECORD;
    }
    if (!ferror(csv->in))
        return CSV_END;
    if (!record.bad)
        error_set(err, "it cannot be read: %s", strerror(errno));
    return CSV_FAILED;
}

void csv_write(FILE *out, const char *text)
{
    size_t n = strlen(text);
    if (strpbrk(text, ",\"\r\n") == NULL && (n == 0 || (text[0] != ' ' && text[n - 1] != ' '))) {
        fputs(text, out);
        return;
    }
    putc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"')
            putc('"', out);
        putc(*text, out);
    }
    putc('"', out);
}
