/* fields: owns the room that decoded text lies in. A reader of its own, as JSON of a journal has forty fields of which six count: a tree
 * of it would take longer than all the rest of replay. */
#include "fields.h"

#include <stdlib.h>
#include <string.h>

enum { FIELD_DATE = FIELDS_TEXTS, FIELD_UNIX_US, FIELD_NONE };

#define NAME(text) (text), sizeof(text) - 1

/* What is looked at, by name; the earlier one of a kind counts. */
static const struct {
    const char *name;
    size_t n;
    int field;
} names[] = {
    {NAME("MESSAGE"), FIELD_MESSAGE},
    {NAME("log"), FIELD_MESSAGE},
    {NAME("message"), FIELD_MESSAGE},
    {NAME("msg"), FIELD_MESSAGE},
    {NAME("SYSLOG_IDENTIFIER"), FIELD_PROGRAM},
    {NAME("program"), FIELD_PROGRAM},
    {NAME("programname"), FIELD_PROGRAM},
    {NAME("appname"), FIELD_PROGRAM},
    {NAME("app-name"), FIELD_PROGRAM},
    {NAME("SYSLOG_PID"), FIELD_PID},
    {NAME("_PID"), FIELD_PID},
    {NAME("procid"), FIELD_PID},
    {NAME("pid"), FIELD_PID},
    {NAME("_HOSTNAME"), FIELD_HOST},
    {NAME("hostname"), FIELD_HOST},
    {NAME("host"), FIELD_HOST},
    {NAME("_SOURCE_REALTIME_TIMESTAMP"), FIELD_UNIX_US},
    {NAME("__REALTIME_TIMESTAMP"), FIELD_UNIX_US},
    {NAME("timereported"), FIELD_DATE},
    {NAME("time"), FIELD_DATE},
    {NAME("@timestamp"), FIELD_DATE},
    {NAME("timestamp"), FIELD_DATE},
};
enum { NAMES = sizeof names / sizeof names[0] };

static int name_rank(struct span name)
{
    for (int i = 0; i < NAMES; i++)
        if (names[i].n == name.n && memcmp(names[i].name, name.at, name.n) == 0)
            return i;
    return NAMES;
}

void fields_clear(struct fields *fields)
{
    memset(fields->text, 0, sizeof fields->text);
    fields->date = (struct date){.set = false};
    fields->date_rank = NAMES;
}

void fields_reset(struct fields *fields)
{
    fields_clear(fields);
    fields->used = 0;
}

static void set_date(struct fields *fields, int rank, struct date date)
{
    if (!date.set || rank >= fields->date_rank)
        return;
    fields->date = date;
    fields->date_rank = rank;
}

static struct date unix_us(struct span text)
{
    int64_t us = 0;
    if (!span_is_number(text) || text.n > 17)
        return (struct date){.set = false};
    for (size_t i = 0; i < text.n; i++)
        us = us * 10 + text.at[i] - '0';
    return date_of_unix(us / 1000);
}

static void set(struct fields *fields, int rank, struct span value)
{
    struct date date = {.set = false};
    int field = names[rank].field;
    if (field == FIELD_UNIX_US) {
        set_date(fields, rank, unix_us(value));
    } else if (field == FIELD_DATE) {
        if (date_take(&value, &date))
            set_date(fields, rank, date);
    } else if (fields->text[field].n == 0) {
        fields->text[field] = value;
    }
}

static bool put(struct fields *fields, const char *bytes, size_t n)
{
    if (n > FIELDS_ROOM - fields->used)
        return false;
    memcpy(fields->room + fields->used, bytes, n);
    fields->used += n;
    return true;
}

/* --- JSON --- */

static void skip_blanks(struct span *text)
{
    while (text->n > 0 &&
           (text->at[0] == ' ' || text->at[0] == '\t' || text->at[0] == '\r' || text->at[0] == '\n'))
        span_skip(text, 1);
}

/* What stands between the quotes, as it is written. */
static bool take_string(struct span *text, struct span *out)
{
    if (!span_take(text, "\""))
        return false;
    for (size_t from = 0; from < text->n;) {
        const char *quote = memchr(text->at + from, '"', text->n - from);
        if (quote == NULL)
            return false;
        size_t n = (size_t)(quote - text->at), escapes = 0;
        while (escapes < n && text->at[n - 1 - escapes] == '\\')
            escapes++;
        if (escapes % 2 == 0) {
            *out = (struct span){text->at, n};
            span_skip(text, n + 1);
            return true;
        }
        from = n + 1;
    }
    return false;
}

/* Anything else up to the ',' or the '}' behind it, which stays. */
static bool take_value(struct span *text, struct span *out)
{
    int depth = 0;
    struct span begin = *text, string;
    while (text->n > 0) {
        char c = text->at[0];
        if (c == '"') {
            if (!take_string(text, &string))
                return false;
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}' || c == ']'))
            break;
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        span_skip(text, 1);
    }
    *out = (struct span){begin.at, begin.n - text->n};
    return text->n > 0;
}

static int hex_digit(char c)
{
    return span_is_digit(c)       ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool take_hex(struct span *text, unsigned *out)
{
    unsigned value = 0;
    if (text->n < 4)
        return false;
    for (size_t i = 0; i < 4; i++) {
        int digit = hex_digit(text->at[i]);
        if (digit < 0)
            return false;
        value = value * 16 + (unsigned)digit;
    }
    span_skip(text, 4);
    *out = value;
    return true;
}

/* Behind "\u". */
static bool put_unicode(struct fields *fields, struct span *text)
{
    unsigned code = 0, low = 0;
    if (!take_hex(text, &code))
        return false;
    struct span pair = *text;
    if (code >= 0xd800 && code < 0xdc00 && span_take(&pair, "\\u") && take_hex(&pair, &low) &&
        low >= 0xdc00 && low < 0xe000) {
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        *text = pair;
    }
    char out[4];
    size_t n = 1;
    if (code < 0x80) {
        out[0] = (char)code;
    } else if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        n = 2;
    } else if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        n = 3;
    } else {
        out[0] = (char)(0xf0 | code >> 18);
        n = 4;
    }
    for (size_t i = 1; i < n; i++)
        out[i] = (char)(0x80 | (code >> 6 * (n - 1 - i) & 0x3f));
    return put(fields, out, n);
}

/* A string without its escapes; of one without any, itself. */
static bool decode(struct fields *fields, struct span raw, struct span *out)
{
    static const char from[] = "nrtbf\"\\/", to[] = "\n\r\t\b\f\"\\/";
    *out = raw;
    if (raw.n == 0 || memchr(raw.at, '\\', raw.n) == NULL)
        return true;
    size_t begin = fields->used;
    while (raw.n > 0) {
        const char *escape = memchr(raw.at, '\\', raw.n);
        size_t plain = escape != NULL ? (size_t)(escape - raw.at) : raw.n;
        if (!put(fields, raw.at, plain))
            return false;
        span_skip(&raw, plain);
        if (raw.n == 0)
            break;
        if (raw.n < 2)
            return false;
        const char *which = raw.at[1] != '\0' ? strchr(from, raw.at[1]) : NULL;
        bool unicode = raw.at[1] == 'u';
        span_skip(&raw, 2);
        if (unicode ? !put_unicode(fields, &raw) : which == NULL || !put(fields, to + (which - from), 1))
            return false;
    }
    *out = (struct span){fields->room + begin, fields->used - begin};
    return true;
}

/* "[77,69,83]": how a journal writes bytes that are not UTF-8. Of a list of strings, the first. */
static bool decode_list(struct fields *fields, struct span list, struct span *out)
{
    size_t begin = fields->used;
    (void)span_take(&list, "[");
    skip_blanks(&list);
    if (list.n > 0 && list.at[0] == '"') {
        struct span string;
        return take_string(&list, &string) && decode(fields, string, out);
    }
    while (list.n > 0 && span_is_digit(list.at[0])) {
        int value = 0;
        for (; list.n > 0 && span_is_digit(list.at[0]) && value < 256; span_skip(&list, 1))
            value = value * 10 + list.at[0] - '0';
        char byte = (char)(unsigned char)value;
        if (value > 255 || !put(fields, &byte, 1))
            return false;
        (void)span_take(&list, ",");
        skip_blanks(&list);
    }
    *out = (struct span){fields->room + begin, fields->used - begin};
    return true;
}

/* Behind the name and its colon. */
static bool take_field(struct fields *fields, int rank, struct span *text)
{
    struct span raw, value;
    if (text->n > 0 && text->at[0] == '"') {
        if (!take_string(text, &raw))
            return false;
        if (rank == NAMES)
            return true;
        if (!decode(fields, raw, &value))
            return false;
        set(fields, rank, value);
        return true;
    }
    if (!take_value(text, &raw))
        return false;
    if (rank == NAMES || raw.n == 0 || raw.at[0] == '{')
        return true;
    if (raw.at[0] == '[') {
        if (!decode_list(fields, raw, &value))
            return false;
    } else {
        value = raw;
    }
    if (names[rank].field != FIELD_MESSAGE || raw.at[0] == '[')
        set(fields, rank, value); /* null, true and numbers are no message */
    return true;
}

enum fields_found fields_json(struct fields *fields, struct span text)
{
    struct span name;
    (void)span_take(&text, "{");
    for (;;) {
        skip_blanks(&text);
        if (span_take(&text, "}"))
            break;
        if (!take_string(&text, &name))
            return FIELDS_CUT;
        skip_blanks(&text);
        if (!span_take(&text, ":"))
            return FIELDS_CUT;
        skip_blanks(&text);
        if (!take_field(fields, name_rank(name), &text))
            return FIELDS_CUT;
        skip_blanks(&text);
        (void)span_take(&text, ",");
    }
    return fields->text[FIELD_MESSAGE].n > 0 || fields->date.set ? FIELDS_WHOLE : FIELDS_NONE;
}

/* --- export --- */

/* "MESSAGE" of "MESSAGE=…", or the whole line where there is no '='. Empty: no name of a field. */
static struct span field_name(struct span line)
{
    struct span name = {line.at, 0};
    while (name.n < line.n && line.at[name.n] != '=') {
        char c = line.at[name.n];
        if (c != '_' && !(c >= 'A' && c <= 'Z') && !(span_is_digit(c) && name.n > 0))
            return (struct span){line.at, 0};
        name.n++;
    }
    return name.n <= 64 ? name : (struct span){line.at, 0};
}

/* A field whose length and bytes have been collected; false: not all of it yet. */
static bool end_binary(struct fields *fields)
{
    const unsigned char *at = (const unsigned char *)fields->room + fields->record.begin;
    size_t n = fields->used - fields->record.begin;
    uint64_t length = 0;
    if (n < 8)
        return false;
    for (size_t i = 0; i < 8; i++)
        length |= (uint64_t)at[i] << 8 * i;
    if (length > n - 8)
        return false;
    struct span name = {fields->record.name, strlen(fields->record.name)};
    int rank = name_rank(name);
    if (rank < NAMES)
        set(fields, rank, (struct span){(const char *)at + 8, (size_t)length});
    else
        fields->used = fields->record.begin;
    fields->record.binary = false;
    return true;
}

static void add_line(struct fields *fields, struct span line)
{
    struct span name = field_name(line);
    if (fields->record.binary) {
        fields->record.whole = fields->record.whole && put(fields, line.at, line.n) &&
                               (end_binary(fields) || put(fields, "\n", 1));
        return;
    }
    int rank = name_rank(name);
    if (name.n == line.n) { /* no '=' */
        fields->record.binary = true;
        fields->record.begin = fields->used;
        fields->record.name[0] = '\0';
        if (rank < NAMES && name.n < sizeof fields->record.name) {
            memcpy(fields->record.name, name.at, name.n);
            fields->record.name[name.n] = '\0';
        }
    } else if (rank < NAMES) {
        size_t begin = fields->used, n = line.n - name.n - 1;
        fields->record.whole = fields->record.whole && put(fields, line.at + name.n + 1, n);
        if (fields->record.whole)
            set(fields, rank, (struct span){fields->room + begin, n});
    }
}

enum fields_found fields_export(struct fields *fields, struct span line)
{
    if (!fields->record.open) {
        if (!span_begins(line, "__") || field_name(line).n == 0 || field_name(line).n == line.n)
            return FIELDS_NONE;
        fields_reset(fields);
        fields->record.open = fields->record.whole = true;
        fields->record.binary = false;
    }
    if (fields->record.binary || (line.n > 0 && field_name(line).n > 0)) {
        add_line(fields, line);
        if (fields->record.whole)
            return FIELDS_MORE;
    }
    bool whole = fields->record.whole && !fields->record.binary && line.n == 0;
    fields->record.open = fields->record.binary = false;
    return whole ? FIELDS_WHOLE : FIELDS_CUT;
}

enum fields_found fields_export_end(struct fields *fields)
{
    if (!fields->record.open)
        return FIELDS_NONE;
    bool whole = fields->record.whole && !fields->record.binary;
    fields->record.open = fields->record.binary = false;
    return whole ? FIELDS_WHOLE : FIELDS_CUT;
}
