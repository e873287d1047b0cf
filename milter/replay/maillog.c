/* maillog: owns nothing. Every look at the line is bounded by its end: a cursor that never moves beyond it. */
#include "maillog.h"

#include "base/text.h"

#include <string.h>

/* --- Postfix --- */

/* "unknown[192.0.2.1]" or with ":port" behind: what stands in the brackets. */
static bool take_client(struct span *text, struct span *client)
{
    struct span name;
    return span_until(text, "[", &name) && !span_has(name, " ") && span_until(text, "]", client);
}

/* A queue id, without what stands behind it. */
static struct span queue_id(struct span text)
{
    size_t n = 0;
    while (n < text.n && n <= 32 && span_is_alnum(text.at[n]))
        n++;
    return n >= 5 && n <= 32 ? (struct span){text.at, n} : (struct span){text.at, 0};
}

/* "6BBBEABCADB: " */
static bool take_queue(struct span *text, struct span *queue)
{
    struct span id = queue_id(*text), rest = *text;
    span_skip(&rest, id.n);
    if (id.n == 0 || !span_take(&rest, ": "))
        return false;
    *queue = id;
    *text = rest;
    return true;
}

/* What stands between begin, anywhere, and end. */
static bool find_between(struct span text, const char *begin, const char *end, struct span *out)
{
    struct span before;
    if (!span_until(&text, begin, &before))
        return false;
    if (!span_until(&text, end, out))
        *out = text; /* the last on its line */
    return true;
}

/* "client=unknown[192.0.2.1], sasl_username=ann, orig_queue_id=AAAAA1, orig_client=unknown[192.0.2.7]" */
static enum maillog_kind parse_client(struct span text, struct maillog_line *out)
{
    struct span forwarded;
    if (!take_client(&text, &out->text[MAILLOG_CLIENT_ADDRESS]))
        return MAILLOG_OTHER;
    (void)find_between(text, ", sasl_username=", ", ", &out->text[MAILLOG_USER]);
    (void)find_between(text, ", orig_queue_id=", ", ", &out->text[MAILLOG_ORIGIN]);
    if (find_between(text, ", orig_client=", ", ", &forwarded))
        out->forwarded = take_client(&forwarded, &out->text[MAILLOG_CLIENT_ADDRESS]);
    return out->text[MAILLOG_QUEUE].n > 0 ? MAILLOG_CLIENT : MAILLOG_PROXIED;
}

/* "… queued as 4ABC123", in what another server said. */
static void find_queued_as(struct span text, struct maillog_line *out)
{
    struct span rest;
    if (find_between(text, " queued as ", "\n", &rest))
        out->text[MAILLOG_QUEUED_AS] = queue_id(rest);
}

/* "RCPT from unknown[192.0.2.1]: 450 4.2.1 text; from=<a> to=<b> proto=ESMTP helo=<c> sasl_username=<d>" */
static enum maillog_kind parse_milter_refusal(struct span text, struct maillog_line *out)
{
    struct span reply;
    if (!take_client(&text, &out->text[MAILLOG_CLIENT_ADDRESS]) || !span_until(&text, "; from=<", &reply) ||
        !span_until(&text, "> to=<", &out->text[MAILLOG_FROM]) ||
        !span_until(&text, "> proto=", &out->text[MAILLOG_TO]))
        return MAILLOG_OTHER;
    (void)find_between(text, " sasl_username=<", ">", &out->text[MAILLOG_USER]);
    return MAILLOG_MILTER_REFUSED;
}

/* Behind "reject: " or "milter-reject: ". */
static enum maillog_kind parse_refusal(struct span text, bool by_milter, struct maillog_line *out)
{
    static const char *const behind_rcpt[] = {"END-OF-MESSAGE ", "DATA ", "BODY ", "HEADER ", "EOH "};
    if (span_take(&text, "RCPT from "))
        return by_milter ? parse_milter_refusal(text, out) : MAILLOG_REFUSED;
    if (by_milter && span_begins(text, "CONNECT from "))
        return MAILLOG_TURNED_AWAY;
    for (size_t i = 0; out->text[MAILLOG_QUEUE].n > 0 && i < sizeof behind_rcpt / sizeof behind_rcpt[0]; i++)
        if (span_begins(text, behind_rcpt[i]))
            return MAILLOG_ABORTED;
    return MAILLOG_OTHER;
}

/* The number that the text begins with; false: none. */
static bool read_size(struct span text, struct maillog_line *out)
{
    int64_t size = 0;
    size_t n = 0;
    for (; n < text.n && n < 18 && span_is_digit(text.at[n]); n++)
        size = size * 10 + text.at[n] - '0';
    if (n > 0)
        out->size = size;
    return n > 0;
}

/* "from=<bob@sender.example>, size=363, nrcpt=4 (queue active)" */
static enum maillog_kind parse_queued(struct span text, struct maillog_line *out)
{
    bool whole = span_until(&text, ">, size=", &out->text[MAILLOG_FROM]) && read_size(text, out);
    return whole ? MAILLOG_QUEUED : MAILLOG_OTHER;
}

/* "to=<joe@mailbox.example>, orig_to=<one@example.com>, relay=…, status=sent (…)": orig_to is what the client said. */
static enum maillog_kind parse_delivery(struct span text, struct maillog_line *out)
{
    struct span *to = &out->text[MAILLOG_TO], original, before;
    if (!span_until(&text, ">, ", to) || to->n == 0)
        return MAILLOG_OTHER;
    if (span_take(&text, "orig_to=<") && span_until(&text, ">, ", &original) && original.n > 0)
        *to = original;
    if (!span_until(&text, "status=", &before))
        return MAILLOG_OTHER;
    if (span_begins(text, "sent "))
        find_queued_as(text, out);
    return MAILLOG_DELIVERY;
}

/* "proxy-accept: END-OF-MESSAGE: 250 2.0.0 Ok: queued as 4ABC123; from=<a> to=<b> proto=ESMTP helo=<c>" */
static enum maillog_kind parse_proxy_accept(struct span text, struct maillog_line *out)
{
    struct span said;
    if (!span_begins(text, "END-OF-MESSAGE") || !span_until(&text, "; from=<", &said))
        return MAILLOG_OTHER;
    find_queued_as(said, out);
    return out->text[MAILLOG_QUEUED_AS].n > 0 ? MAILLOG_PROXY_ACCEPT : MAILLOG_OTHER;
}

static enum maillog_kind parse_smtpd(struct span text, struct maillog_line *out)
{
    if (span_take(&text, "milter-reject: "))
        return parse_refusal(text, true, out);
    if (span_take(&text, "reject: "))
        return parse_refusal(text, false, out);
    if (span_take(&text, "proxy-accept: "))
        return parse_proxy_accept(text, out);
    if (out->text[MAILLOG_QUEUE].n > 0 && span_begins(text, "milter-discard: END-OF-MESSAGE "))
        return MAILLOG_DROPPED;
    return span_take(&text, "client=") ? parse_client(text, out) : MAILLOG_OTHER;
}

static enum maillog_kind parse_postfix(struct span daemon, struct span text, struct maillog_line *out)
{
    bool noqueue = span_take(&text, "NOQUEUE: ") || span_begins(text, "proxy-accept: ");
    if (!noqueue && !take_queue(&text, &out->text[MAILLOG_QUEUE]))
        return MAILLOG_OTHER;
    if (span_equals(daemon, "smtpd") || span_equals(daemon, "cleanup") || span_equals(daemon, "postscreen"))
        return parse_smtpd(text, out);
    if (noqueue)
        return MAILLOG_OTHER;
    if (span_take(&text, "to=<"))
        return parse_delivery(text, out);
    if (span_equals(daemon, "qmgr") && span_take(&text, "from=<"))
        return parse_queued(text, out);
    return span_equals(text, "removed") ? MAILLOG_REMOVED : MAILLOG_OTHER;
}

/* --- rcptgate --- */

/* "from=<b@example.net> ": nothing in it can end it early, the gate has seen to that. */
static bool take_address(struct span *text, const char *begin, struct span *out)
{
    return span_take(text, begin) && span_until(text, "> ", out);
}

/* "queue=4cXy client=192.0.2.7 from=<a> to=<b> user=c ", with or without the last two. */
static bool take_envelope(struct span *text, struct maillog_line *out)
{
    if (!span_take(text, "queue=") || !span_until(text, " ", &out->text[MAILLOG_QUEUE]) ||
        !span_take(text, "client=") || !span_until(text, " ", &out->text[MAILLOG_CLIENT_ADDRESS]) ||
        !take_address(text, "from=<", &out->text[MAILLOG_FROM]))
        return false;
    (void)take_address(text, "to=<", &out->text[MAILLOG_TO]);
    return !span_take(text, "user=") || span_until(text, " ", &out->text[MAILLOG_USER]);
}

/* In mode shadow nothing is refused, whatever the line says. */
static bool is_shadow(struct span text)
{
    return span_begins(text, "mode=shadow") || span_has(text, " mode=shadow");
}

/* "queue=4cXy client=192.0.2.7 from=<a> to=<b> user=c verdict=defer …" */
static enum maillog_kind parse_decision(struct span text, struct maillog_line *out)
{
    struct span *queue = &out->text[MAILLOG_QUEUE];
    if (!take_envelope(&text, out) || out->text[MAILLOG_TO].at == NULL || !span_take(&text, "verdict="))
        return MAILLOG_OTHER;
    struct span word = span_word(&text);
    char name[16] = "";
    if (word.n < sizeof name)
        memcpy(name, word.at, word.n);
    out->action = action_from_name(name); /* none for "duplicate" */
    out->through = (out->action != ACTION_DEFER && out->action != ACTION_REJECT) || is_shadow(text);
    if (span_equals(*queue, "-"))
        *queue = (struct span){NULL, 0};
    return MAILLOG_DECISION;
}

/* Behind "event=message ": "queue=4cXy client=192.0.2.7 from=<a> to=<b> accepted=1 … size=363 reply="452 4.2.2" …" */
static enum maillog_kind parse_message_end(struct span text, struct maillog_line *out)
{
    struct span size;
    if (!take_envelope(&text, out) || queue_id(out->text[MAILLOG_QUEUE]).n == 0)
        return MAILLOG_OTHER;
    if (find_between(text, " size=", " ", &size))
        (void)read_size(size, out);
    out->through = !span_has(text, " reply=") || is_shadow(text);
    return MAILLOG_OUR_END;
}

static enum maillog_kind parse_ours(struct span text, struct maillog_line *out)
{
    return span_take(&text, "event=message ") ? parse_message_end(text, out) : parse_decision(text, out);
}

/* --- lines --- */

enum maillog_kind maillog_parse(const struct frame *frame, struct maillog_line *out)
{
    *out = (struct maillog_line){.size = -1, .repeats = frame->repeats};
    out->kind = span_equals(frame->daemon, "rcptgate") ? parse_ours(frame->text, out)
                                                       : parse_postfix(frame->daemon, frame->text, out);
    if (out->kind == MAILLOG_OTHER || out->kind == MAILLOG_REFUSED || out->kind == MAILLOG_TURNED_AWAY)
        memset(out->text, 0, sizeof out->text); /* what was found on the way to nothing */
    out->text[MAILLOG_HOST] = frame->host;
    if (out->kind == MAILLOG_PROXIED || out->kind == MAILLOG_PROXY_ACCEPT)
        out->text[MAILLOG_PID] = frame->pid;
    return out->kind;
}

bool maillog_decode(struct span text, char *out, size_t room)
{
    struct text decoded;
    text_init(&decoded, out, room);
    bool whole = text_add_decoded(&decoded, text.at, text.n);
    if (!whole)
        out[0] = '\0';
    return whole;
}
