/* frame: owns a buffer for what has to be decoded, and the record of an export that is being read. What does not fit there
 * cannot be read, and is named. */
#include "frame.h"

#include "fields.h"

#include <stdlib.h>
#include <string.h>

enum {
    WORDS_MAX = 32, /* before the program */
    NAMES_MAX = 3,  /* of them, to the next date, those that could be anything: hosts, pods, zones */
    DEPTH_MAX = 3,  /* frames in frames */
};

struct frame_reader {
    struct fields fields;
};

struct search { /* a walk over the words of a line */
    struct frame *out;
    struct span rest;
    size_t host_words; /* seen since the date */
    size_t names;      /* as well, and before it */
    bool weekday;      /* the word before is one */
    bool tagged;       /* a program's name has passed: now only a date, a stream or the program may follow */
    bool unit;         /* the tag was a unit of systemd */
};

/* --- words --- */

static void skip_blanks(struct span *text)
{
    while (text->n > 0 && (text->at[0] == ' ' || text->at[0] == '\t'))
        span_skip(text, 1);
}

static bool is_name_byte(char c)
{
    return span_is_alnum(c) || (c != '\0' && strchr("._-+@/", c) != NULL);
}

/* "postfix/smtpd", "mx-in/postfix/submission/smtpd", "rcptgate". */
static bool is_program(struct span name)
{
    if (span_equals(name, "rcptgate"))
        return true;
    const char *slash = name.n > 0 ? memrchr(name.at, '/', name.n) : NULL;
    if (slash == NULL || slash == name.at || slash == name.at + name.n - 1 || name.at[0] == '/')
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (!is_name_byte(name.at[i]))
            return false;
    return true;
}

static void set_daemon(struct frame *out, struct span name)
{
    const char *slash = memrchr(name.at, '/', name.n);
    out->daemon = name;
    if (slash != NULL)
        span_skip(&out->daemon, (size_t)(slash - name.at) + 1);
}

static bool is_weekday(struct span word)
{
    static const char days[] = "Mon Tue Wed Thu Fri Sat Sun ";
    char day[5] = "";
    if (word.n != 3 && !(word.n == 4 && word.at[3] == ','))
        return false;
    memcpy(day, word.at, 3);
    day[3] = ' ';
    const char *at = strstr(days, day);
    return at != NULL && (at - days) % 4 == 0;
}

/* Words of frames that are no host: container runtimes name the stream, some syslogds the facility. */
static bool is_stream(struct span word)
{
    return span_equals(word, "stdout") || span_equals(word, "stderr") || span_equals(word, "F") ||
           span_equals(word, "P") || span_equals(word, "|") || span_equals(word, "-");
}

/* "<mail.info>", "mail.info" */
static bool is_facility(struct span word)
{
    static const char *const levels[] = {"emerg",   "alert",  "crit", "err",  "warn",
                                         "warning", "notice", "info", "debug"};
    struct span facility;
    if (word.n > 1 && word.at[0] == '<')
        return true;
    if (!span_until(&word, ".", &facility) ||
        !(span_equals(facility, "mail") || (facility.n == 6 && span_begins(facility, "local"))))
        return false;
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
        if (span_equals(word, levels[i]))
            return true;
    return false;
}

/* "<22>" and "<mail.info>" in front of something. */
static void strip_priority(struct span *text)
{
    const char *end =
        text->n > 2 && text->at[0] == '<' ? memchr(text->at, '>', text->n < 20 ? text->n : 20) : NULL;
    if (end == NULL || memchr(text->at, ' ', (size_t)(end - text->at)) != NULL)
        return;
    span_skip(text, (size_t)(end - text->at) + 1);
}

/* "postfix/smtpd[123]:", "postfix/smtpd:" */
static bool is_tag(struct span word, struct frame *out)
{
    if (word.n < 3 || word.at[word.n - 1] != ':')
        return false;
    word.n--;
    const char *bracket = word.at[word.n - 1] == ']' ? memrchr(word.at, '[', word.n) : NULL;
    struct span name = word, pid = {NULL, 0};
    if (bracket != NULL) {
        name.n = (size_t)(bracket - word.at);
        pid = (struct span){bracket + 1, word.n - name.n - 2};
        if (!span_is_number(pid))
            return false;
    } else if (!span_begins(name, "postfix") && !span_equals(name, "rcptgate")) {
        return false;
    }
    if (!is_program(name))
        return false;
    set_daemon(out, name);
    out->pid = pid;
    return true;
}

/* "[a@1 b=\"c]\"][d@1]", or "-". False: neither. */
static bool take_structured_data(struct span *text)
{
    if (span_take(text, "- ") || span_equals(*text, "-"))
        return true;
    while (text->n > 0 && text->at[0] == '[') {
        bool quoted = false;
        size_t i = 1;
        for (; i < text->n && (quoted || text->at[i] != ']'); i++) {
            if (text->at[i] == '\\' && i + 1 < text->n)
                i++;
            else if (text->at[i] == '"')
                quoted = !quoted;
        }
        if (i >= text->n)
            return false;
        span_skip(text, i + 1);
    }
    return span_take(text, " ");
}

/* RFC 5424: "123 MSGID SD text", behind the name of the program. */
static bool take_rfc5424(struct span *text, struct span *pid)
{
    struct span rest = *text;
    *pid = span_word(&rest);
    if ((!span_is_number(*pid) && !span_equals(*pid, "-")) || span_word(&rest).n == 0 ||
        !take_structured_data(&rest))
        return false;
    (void)span_take(&rest, "\xef\xbb\xbf");
    *text = rest;
    return true;
}

/* "postfix/smtpd 123 MSGID SD text", word being the first of it. */
static bool is_rfc5424(struct span word, struct span rest, struct frame *out)
{
    struct span pid;
    if (!is_program(word) || !take_rfc5424(&rest, &pid))
        return false;
    set_daemon(out, word);
    out->pid = span_is_number(pid) ? pid : (struct span){NULL, 0};
    out->text = rest;
    return true;
}

/* --- what stands behind the program --- */

/* rsyslog: "message repeated 3 times: [ text]". */
static void take_repeats(struct frame *out)
{
    struct span text = out->text, number;
    if (!span_take(&text, "message repeated ") || !span_until(&text, " times: [", &number) || number.n > 6 ||
        !span_is_number(number) || text.n == 0 || text.at[text.n - 1] != ']')
        return;
    text.n--;
    (void)span_take(&text, " ");
    out->repeats = 0;
    for (size_t i = 0; i < number.n; i++)
        out->repeats = out->repeats * 10 + (unsigned)(number.at[i] - '0');
    out->text = text;
}

static enum frame_kind finish(struct frame *out)
{
    struct span text = out->text, id;
    skip_blanks(&text);
    if (span_take(&text, "[ID ") && !span_until(&text, "] ", &id)) /* Solaris */
        text = out->text;
    while (text.n > 0 && strchr("\r\n ", text.at[text.n - 1]) != NULL && text.at[text.n - 1] != '\0')
        text.n--;
    out->text = text;
    out->repeats = 1;
    take_repeats(out);
    return out->date.set ? FRAME_LINE : FRAME_UNDATED;
}

/* --- the walk --- */

static enum frame_kind read_text(struct frame_reader *reader, struct span text, bool tagged,
                                 struct frame *out, int depth);

static void take_date(struct search *search, struct date date)
{
    struct frame *out = search->out;
    if (search->weekday || (search->rest.n > 0 && (search->rest.at[0] == '+' || search->rest.at[0] == '-')))
        date_take_zone(&search->rest, &date);
    if (out->date.set && out->date.zoned && !date.zoned)
        out->outer = out->date;
    if (date.zoned)
        out->outer = (struct date){.set = false};
    out->date = date;
    out->host = (struct span){NULL, 0};
    search->host_words = search->names = 0;
    search->tagged = false;
}

/* What a line of the gate's own begins with, where no syslog names its program. */
static bool is_ours(const struct search *search, struct span word)
{
    bool decision = span_begins(word, "queue=") && span_begins(search->rest, "client=");
    bool end = span_equals(word, "event=message") && span_begins(search->rest, "queue=");
    return (decision || end) && (search->host_words == 0 || search->tagged);
}

/* Fields that JSON or an export had. */
static enum frame_kind read_fields(struct frame_reader *reader, struct frame *out, int depth)
{
    const struct fields *fields = &reader->fields;
    struct span host = fields->text[FIELD_HOST], program = fields->text[FIELD_PROGRAM];
    struct span message = fields->text[FIELD_MESSAGE];
    if (fields->date.set) {
        out->date = fields->date;
        out->outer = (struct date){.set = false};
    }
    if (is_program(program)) {
        set_daemon(out, program);
        out->pid = fields->text[FIELD_PID];
        out->host = host;
        out->text = message;
        return finish(out);
    }
    if (message.n == 0 || depth >= DEPTH_MAX)
        return out->date.set ? FRAME_OTHER : FRAME_NOTHING;
    enum frame_kind kind = read_text(reader, message, program.n > 0, out, depth + 1);
    if (out->host.n == 0)
        out->host = host;
    return kind == FRAME_NOTHING && out->date.set ? FRAME_OTHER : kind;
}

static enum frame_kind read_json(struct frame_reader *reader, struct span text, struct frame *out, int depth)
{
    if (depth == 0)
        fields_reset(&reader->fields);
    else
        fields_clear(&reader->fields);
    switch (fields_json(&reader->fields, text)) {
    case FIELDS_CUT:
        out->unread = text.n < 3 ? FRAME_UNREAD_PRETTY : FRAME_UNREAD_CUT;
        return FRAME_NOTHING;
    case FIELDS_NONE:
        return out->date.set ? FRAME_OTHER : FRAME_NOTHING;
    default:
        return read_fields(reader, out, depth);
    }
}

/* "mx last message repeated 3 times" */
static bool is_repetition(struct span rest, struct frame *out)
{
    int times = 0;
    if (!span_take(&rest, "message repeated "))
        return false;
    for (; rest.n > 0 && span_is_digit(rest.at[0]) && times < 100000; span_skip(&rest, 1))
        times = times * 10 + rest.at[0] - '0';
    out->repeats = (unsigned)times;
    return times > 0 && span_begins(rest, " time");
}

/* Another word of the frame. False: this is no frame of Postfix's. */
static bool pass(struct search *search, struct span word)
{
    bool stream = is_stream(word), facility = is_facility(word);
    search->weekday = is_weekday(word);
    if (search->tagged && !stream && !search->weekday)
        return false;
    if (word.n > 1 && word.at[word.n - 1] == ':') {
        search->tagged = true;
        search->unit = search->unit || span_begins(word, "postfix@") ||
                       span_begins(word, "postfix.service") || span_has(word, ".slice/");
    }
    if (stream || search->weekday || facility)
        return true;
    if (search->out->date.set && search->host_words == 0 && !search->tagged) {
        search->out->host = word;
        search->host_words = 1;
    }
    bool many = ++search->names > NAMES_MAX; /* without a date it is still worth knowing whose line this is */
    return !(many && search->out->date.set) && !span_has(word, "=<");
}

/* The end of the walk without a program. */
static enum frame_kind nothing(const struct search *search)
{
    struct frame *out = search->out;
    if (search->unit)
        out->unread = FRAME_UNREAD_UNIT;
    return out->date.set ? FRAME_OTHER : FRAME_NOTHING;
}

/* tagged: the name of another program came with it. */
static enum frame_kind read_text(struct frame_reader *reader, struct span text, bool tagged,
                                 struct frame *out, int depth)
{
    struct search search = {.out = out, .rest = text, .tagged = tagged};
    struct span pid;
    struct date date;
    for (int words = 0; words < WORDS_MAX && search.rest.n > 0; words++) {
        skip_blanks(&search.rest);
        strip_priority(&search.rest);
        skip_blanks(&search.rest);
        if (search.names <= NAMES_MAX && date_take(&search.rest, &date)) {
            take_date(&search, date);
            continue;
        }
        struct span begin = search.rest, word = span_word(&search.rest);
        if (is_tag(word, out)) {
            out->text = search.rest;
            return finish(out);
        }
        if (!search.tagged && is_rfc5424(word, search.rest, out))
            return finish(out);
        if (search.host_words == 1 && !search.tagged && take_rfc5424(&search.rest, &pid)) {
            search.tagged = true; /* of another program, such as the one that a container is */
            continue;
        }
        if (word.n > 0 && word.at[0] == '{' && depth < DEPTH_MAX)
            return read_json(reader, begin, out, depth);
        if (is_ours(&search, word)) {
            out->daemon = (struct span){"rcptgate", 8};
            out->text = begin;
            return finish(out);
        }
        if (out->date.set && span_equals(word, "last") && is_repetition(search.rest, out))
            return FRAME_REPEATED;
        if (!pass(&search, word))
            break;
    }
    return nothing(&search);
}

/* --- frames that cannot be read --- */

static const struct {
    const char *name, *help;
} unread[] = {
    [FRAME_UNREAD_UNKNOWN] = {"unknown", "is it a mail log of Postfix, or of rcptgate?"},
    [FRAME_UNREAD_BINARY_JOURNAL] = {"journal file", "journalctl --file FILE -o export | rcptgate replay -"},
    [FRAME_UNREAD_VERBOSE] = {"journald verbose", "journalctl -o short-iso"},
    [FRAME_UNREAD_PRETTY] = {"JSON over several lines", "journalctl -o json, or jq -c ."},
    [FRAME_UNREAD_MONOTONIC] = {"time since boot", "journalctl -o short-iso"},
    [FRAME_UNREAD_UNIT] = {"journald with-unit", "journalctl -o short-iso"},
    [FRAME_UNREAD_UTF16] = {"UTF-16", "iconv -f UTF-16 -t UTF-8"},
    [FRAME_UNREAD_CUT] = {"a record that ends in its middle", ""},
};

const char *frame_unread_name(enum frame_unread which)
{
    return unread[which].name;
}

const char *frame_unread_help(enum frame_unread which)
{
    return unread[which].help;
}

/* "[   12.345678] mx postfix/smtpd[1]: " */
static bool is_monotonic(struct span line)
{
    if (!span_take(&line, "["))
        return false;
    while (span_take(&line, " "))
        ;
    struct span seconds;
    return span_until(&line, ".", &seconds) && span_is_number(seconds) && line.n > 6 && line.at[6] == ']';
}

static enum frame_unread looks_like(struct span line)
{
    if (span_begins(line, "LPKSHHRH"))
        return FRAME_UNREAD_BINARY_JOURNAL;
    if (span_begins(line, "\xff\xfe") || span_begins(line, "\xfe\xff"))
        return FRAME_UNREAD_UTF16;
    if (span_begins(line, "    _") || span_begins(line, "    MESSAGE=") || span_begins(line, "    SYSLOG_"))
        return FRAME_UNREAD_VERBOSE;
    if (span_begins(line, "\t\"") || span_begins(line, "        \"") || span_equals(line, "}") ||
        span_equals(line, "},") || span_equals(line, "["))
        return FRAME_UNREAD_PRETTY;
    if (is_monotonic(line))
        return FRAME_UNREAD_MONOTONIC;
    return FRAME_UNREAD_UNKNOWN;
}

/* --- lines --- */

static enum frame_kind read_export(struct frame_reader *reader, enum fields_found found, struct frame *out)
{
    if (found == FIELDS_WHOLE)
        return read_fields(reader, out, 0);
    if (found == FIELDS_CUT)
        out->unread = FRAME_UNREAD_CUT;
    return found == FIELDS_MORE ? FRAME_PART : found == FIELDS_CUT ? FRAME_NOTHING : FRAME_EMPTY;
}

enum frame_kind frame_read(struct frame_reader *reader, struct span line, struct frame *out)
{
    *out = (struct frame){.repeats = 1};
    enum fields_found found = fields_export(&reader->fields, line);
    if (found != FIELDS_NONE)
        return read_export(reader, found, out);
    while (line.n > 0 && (line.at[line.n - 1] == '\r' || line.at[line.n - 1] == ' '))
        line.n--;
    if (line.n == 0)
        return FRAME_EMPTY;
    enum frame_kind kind = read_text(reader, line, false, out, 0);
    if (kind == FRAME_UNDATED && is_monotonic(line))
        out->unread = FRAME_UNREAD_MONOTONIC;
    if (kind == FRAME_NOTHING && out->unread == FRAME_UNREAD_UNKNOWN)
        out->unread = looks_like(line);
    return kind;
}

enum frame_kind frame_end(struct frame_reader *reader, struct frame *out)
{
    *out = (struct frame){.repeats = 1};
    return read_export(reader, fields_export_end(&reader->fields), out);
}

struct frame_reader *frame_reader_new(void)
{
    return calloc(1, sizeof(struct frame_reader));
}

void frame_reader_free(struct frame_reader *reader)
{
    free(reader);
}
