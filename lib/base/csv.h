/* csv: reads comma-separated values, RFC 4180, one record at a time.
 *
 * Fields in double quotes may hold commas, line breaks and doubled quotes. Lines end with LF or CRLF. A byte
 * order mark at the beginning and empty lines are skipped. Bounded: a record has at most CSV_FIELDS fields
 * and CSV_BYTES bytes. */
#ifndef RCPTGATE_BASE_CSV_H
#define RCPTGATE_BASE_CSV_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { CSV_FIELDS = 32, CSV_BYTES = 65536 };

struct csv { /* init with csv_init() */
    FILE *in;
    int64_t line; /* where the record begins, from 1 */
    size_t n;     /* fields of the record */
    const char *field[CSV_FIELDS];

    /* for csv.c alone */
    int64_t now; /* the line that is being read */
    size_t used;
    char bytes[CSV_BYTES];
};

enum csv_status {
    CSV_RECORD, /* line, n and field are set, until the next call */
    CSV_END,
    CSV_BAD, /* err says what is wrong with the record that begins on line; the next call goes on behind it */
    CSV_FAILED, /* the file cannot be read on */
};

void csv_init(struct csv *csv, FILE *in);
enum csv_status csv_read(struct csv *csv, struct error *err);

/* Writes one field, in quotes where it needs them. */
void csv_write(FILE *out, const char *text);

#endif
