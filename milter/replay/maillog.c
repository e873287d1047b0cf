/* maillog: every look at the line is bounded by its end: a cursor that never moves beyond it. */
#include "maillog.h"

#include <string.h>

/* --- small things --- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool begins(struct maillog_text text, const char *with)
{
    size_t n = strlen(with);
    return text.n >= n && memcmp(text.at, with, n) == 0;
}

static bool equals(struct maillog_text text, const char *with)
{
    return text.n == strlen(with) && begins(text, with);
}

static void skip(struct maillog_text *text, size_t n)
{
    text->at += n;
    text->n -= n;
}

/* Skips `with` where the text begins so. */
static bool take(struct maillog_text *text, const char *with)
{
    if (!begins(*text, with))
        return false;
    skip(text, strlen(with));
    return true;
}

/* The place of the first `what` in the text; NULL: none. */
static const char *find(struct maillog_text text, const char *what)
{
    return memmem(text.at, text.n, what, strlen(what));
}

/* What stands before `end`, and skips both. False (nothing is skipped) where there is no `end`. */
static bool take_until(struct maillog_text *text, const char *end, struct maillog_text *out)
{
    const char *at = find(*text, end);
    if (at == NULL)
        return false;
    *out = (struct maillog_text){text->at, (size_t)(at - text->at)};
    skip(text, out->n + strlen(end));
    return true;
}

static bool take_number(struct maillog_text *text, size_t digits, int least, int most, int *out)
{
    int number = 0;
    if (text->n < digits)
        return false;
    for (size_t i = 0; i < digits; i++) {
        if (!is_digit(text->at[i]))
            return false;
        number = number * 10 + text->at[i] - '0';
    }
    if (number < least || number > most)
        return false;
    skip(text, digits);
    *out = number;
    return true;
}

/* --- dates --- */

static bool take_clock(struct maillog_text *text, struct maillog_time *time)
{
    return take_number(text, 2, 0, 23, &time->hour) && take(text, ":") &&
           take_number(text, 2, 0, 59, &time->minute) && take(text, ":") &&
           take_number(text, 2, 0, 60, &time->second);
}

/* "Nov  3 02:08:24" */
static bool take_syslog_date(struct maillog_text *text, struct maillog_time *time)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    if (text->n < 7)
        return false;
    for (int month = 0; month < 12; month++)
        if (memcmp(text->at, months + 3 * month, 3) == 0)
            time->month = month + 1;
    skip(text, 3);
    if (time->month == 0 || !take(text, " "))
        return false;
    bool day =
        take(text, " ") ? take_number(text, 1, 1, 9, &time->day) : take_number(text, 2, 1, 31, &time->day);
    return day && take(text, " ") && take_clock(text, time);
}

/* "Z", "+02:00", "+0200", or nothing. */
static bool take_zone(struct maillog_text *text, struct maillog_time *time)
{
    int hours = 0, minutes = 0;
    if (take(text, "Z")) {
        time->zoned = true;
        return true;
    }
    int sign = begins(*text, "-") ? -1 : 1;
    if (!take(text, "+") && !take(text, "-"))
        return true;
    if (!take_number(text, 2, 0, 23, &hours))
        return false;
    (void)take(text, ":"); /* with or without */
    if (!take_number(text, 2, 0, 59, &minutes))
        return false;
    time->zoned = true;
    time->offset_s = sign * (hours * 3600 + minutes * 60);
    return true;
}

/* "2026-11-23T02:08:24.123456+01:00" */
static bool take_iso_date(struct maillog_text *text, struct maillog_time *time)
{
    if (!take_number(text, 4, 1970, 9999, &time->year) || !take(text, "-") ||
        !take_number(text, 2, 1, 12, &time->month) || !take(text, "-") ||
        !take_number(text, 2, 1, 31, &time->day) || (!take(text, "T") && !take(text, " ")) ||
        !take_clock(text, time))
        return false;
    if (take(text, ".") || take(text, ",")) {
        int scale = 100;
        for (; text->n > 0 && is_digit(text->at[0]); skip(text, 1)) {
            time->ms += (text->at[0] - '0') * scale;
            scale /= 10;
        }
    }
    return take_zone(text, time);
}

static bool take_date(struct maillog_text *text, struct maillog_time *time)
{
    bool dated =
        text->n > 0 && is_digit(text->at[0]) ? take_iso_date(text, time) : take_syslog_date(text, time);
    return dated && take(text, " ");
}

/* --- Postfix --- */

/* "unknown[192.0.2.1]" or with ":port" behind: what stands in the brackets. */
static bool take_client(struct maillog_text *text, struct maillog_text *client)
{
    struct maillog_text name;
    return take_until(text, "[", &name) && find(name, " ") == NULL && take_until(text, "]", client);
}

/* A letter or digit of a queue id. */
static bool is_alnum(char c)
{
    return is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* "6BBBEABCADB: " */
static bool take_queue(struct maillog_text *text, struct maillog_text *queue)
{
    size_t n = 0;
    while (n < text->n && n <= 32 && is_alnum(text->at[n]))
        n++;
    if (n < 5 || n > 32 || text->n < n + 2 || text->at[n] != ':' || text->at[n + 1] != ' ')
        return false;
    *queue = (struct maillog_text){text->at, n};
    skip(text, n + 2);
    return true;
}

static void take_user(struct maillog_text text, const char *begin, const char *end, struct maillog_text *user)
{
    const char *at = find(text, begin);
    if (at == NULL)
        return;
    skip(&text, (size_t)(at - text.at) + strlen(begin));
    if (!take_until(&text, end, user))
        *user = text; /* the last on its line */
}

static enum maillog_kind parse_client(struct maillog_text text, struct maillog_line *out)
{
    if (!take_client(&text, &out->client))
        return MAILLOG_OTHER;
    take_user(text, ", sasl_username=", ", ", &out->user);
    out->reinjected = find(text, ", orig_queue_id=") != NULL;
    return MAILLOG_CLIENT;
}

/* "RCPT from unknown[192.0.2.1]: 450 4.2.1 text; from=<a> to=<b> proto=ESMTP helo=<c> sasl_username=<d>" */
static enum maillog_kind parse_milter_refusal(struct maillog_text text, struct maillog_line *out)
{
    struct maillog_text reply;
    if (!take_client(&text, &out->client) || !take_until(&text, "; from=<", &reply) ||
        !take_until(&text, "> to=<", &out->from) || !take_until(&text, "> proto=", &out->to))
        return MAILLOG_OTHER;
    take_user(text, " sasl_username=<", ">", &out->user);
    return MAILLOG_MILTER_REFUSED;
}

/* Behind "reject: " or "milter-reject: ". */
static enum maillog_kind parse_refusal(struct maillog_text text, bool by_milter, struct maillog_line *out)
{
    if (take(&text, "RCPT from "))
        return by_milter ? parse_milter_refusal(text, out) : MAILLOG_REFUSED;
    if (out->queue.n > 0 && (begins(text, "END-OF-MESSAGE ") || begins(text, "DATA ") ||
                             begins(text, "BODY ") || begins(text, "HEADER ") || begins(text, "EOH ")))
        return MAILLOG_ABORTED;
    return MAILLOG_OTHER;
}

/* "from=<bob@sender.example>, size=363, nrcpt=4 (queue active)" */
static enum maillog_kind parse_queued(struct maillog_text text, struct maillog_line *out)
{
    if (!take_until(&text, ">, size=", &out->from))
        return MAILLOG_OTHER;
    int64_t size = 0;
    size_t n = 0;
    for (; n < text.n && n < 18 && is_digit(text.at[n]); n++)
        size = size * 10 + text.at[n] - '0';
    if (n == 0)
        return MAILLOG_OTHER;
    out->size = size;
    return MAILLOG_QUEUED;
}

/* "to=<joe@mailbox.example>, orig_to=<one@example.com>, relay=…, status=sent (…)": orig_to is what the client said. */
static enum maillog_kind parse_delivery(struct maillog_text text, struct maillog_line *out)
{
    if (!take_until(&text, ">, ", &out->to) || out->to.n == 0)
        return MAILLOG_OTHER;
    struct maillog_text original;
    if (take(&text, "orig_to=<") && take_until(&text, ">, ", &original) && original.n > 0)
        out->to = original;
    return find(text, "status=") != NULL ? MAILLOG_DELIVERY : MAILLOG_OTHER;
}

static enum maillog_kind parse_postfix(struct maillog_text daemon, struct maillog_text text,
                                       struct maillog_line *out)
{
    bool smtpd = equals(daemon, "smtpd") || equals(daemon, "cleanup") || equals(daemon, "postscreen");
    if (!take(&text, "NOQUEUE: ") && !take_queue(&text, &out->queue))
        return MAILLOG_OTHER;
    if (smtpd && take(&text, "milter-reject: "))
        return parse_refusal(text, true, out);
    if (smtpd && take(&text, "reject: "))
        return parse_refusal(text, false, out);
    if (out->queue.n == 0)
        return MAILLOG_OTHER;
    if (smtpd)
        return take(&text, "client=") ? parse_client(text, out) : MAILLOG_OTHER;
    if (take(&text, "to=<"))
        return parse_delivery(text, out);
    if (equals(daemon, "qmgr") && take(&text, "from=<"))
        return parse_queued(text, out);
    return equals(text, "removed") ? MAILLOG_REMOVED : MAILLOG_OTHER;
}

/* --- rcptgate --- */

/* "from=<b@example.net> ": nothing in it can end it early, the gate has seen to that. */
static bool take_address(struct maillog_text *text, const char *begin, struct maillog_text *out)
{
    return take(text, begin) && take_until(text, "> ", out);
}

/* "queue=4cXy client=192.0.2.7 from=<a> to=<b> user=c verdict=defer …" */
static enum maillog_kind parse_decision(struct maillog_text text, struct maillog_line *out)
{
    struct maillog_text word;
    if (!take(&text, "queue=") || !take_until(&text, " ", &out->queue) || !take(&text, "client=") ||
        !take_until(&text, " ", &out->client) || !take_address(&text, "from=<", &out->from) ||
        !take_address(&text, "to=<", &out->to))
        return MAILLOG_OTHER;
    if (take(&text, "user=") && !take_until(&text, " ", &out->user))
        return MAILLOG_OTHER;
    if (!take(&text, "verdict="))
        return MAILLOG_OTHER;
    if (!take_until(&text, " ", &word))
        word = text; /* the last on its line */
    char name[16] = "";
    if (word.n < sizeof name)
        memcpy(name, word.at, word.n);
    out->action = action_from_name(name); /* none for "duplicate" */
    if (equals(out->queue, "-"))
        out->queue = (struct maillog_text){0};
    return MAILLOG_DECISION;
}

/* --- lines --- */

/* "postfix/smtpd[20796]: ": the program, and what stands behind its last '/'. */
static bool take_program(struct maillog_text *text, struct maillog_text *program, struct maillog_text *daemon)
{
    if (!take_until(text, ": ", program))
        return false;
    const char *pid = memchr(program->at, '[', program->n);
    if (pid != NULL)
        program->n = (size_t)(pid - program->at);
    const char *slash = memrchr(program->at, '/', program->n);
    *daemon = *program;
    if (slash != NULL)
        skip(daemon, (size_t)(slash - program->at) + 1);
    return program->n > 0 && memchr(program->at, ' ', program->n) == NULL;
}

enum maillog_kind maillog_parse(const char *line, size_t n, struct maillog_line *out)
{
    struct maillog_text text = {line, n}, program, daemon;
    *out = (struct maillog_line){.size = -1};
    while (text.n > 0 && (text.at[text.n - 1] == '\r' || text.at[text.n - 1] == ' '))
        text.n--;
    struct maillog_line bare = *out;
    enum maillog_kind kind = MAILLOG_OTHER;
    if (!take_date(&text, &out->time) || !take_until(&text, " ", &out->host) || out->host.n == 0) {
        *out = bare;
        return MAILLOG_GARBAGE;
    }
    bare.time = out->time;
    bare.host = out->host;
    if (take_program(&text, &program, &daemon)) {
        if (equals(daemon, "rcptgate"))
            kind = parse_decision(text, out);
        else if (daemon.n < program.n)
            kind = parse_postfix(daemon, text, out);
    }
    if (kind == MAILLOG_OTHER || kind == MAILLOG_REFUSED)
        *out = bare; /* what was found on the way to nothing */
    return kind;
}

static int hex(char c)
{
    return is_digit(c)            ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool maillog_decode(struct maillog_text text, char *out, size_t room)
{
    size_t used = 0;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.at[i];
        if (c == '%' && i + 2 < text.n && hex(text.at[i + 1]) >= 0 && hex(text.at[i + 2]) >= 0) {
            c = (char)(hex(text.at[i + 1]) * 16 + hex(text.at[i + 2]));
            i += 2;
        }
        if (used + 1 >= room || c == '\0') {
            out[0] = '\0';
            return false;
        }
        out[used++] = c;
    }
    out[used] = '\0';
    return true;
}
