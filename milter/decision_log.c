/* decision_log: the words of a decision line (see decision_log.h). Owns nothing; a text too long is cut, the
 * verdict never. All that is not ours is added by what makes it printable. */
#include "decision_log.h"

#include "base/unzeroed.h"

#include <string.h>

enum { ADDRESS_TEXT = 512 };

/* What stands for itself between < and >: all from '!' to '~' but '%' and what ends it. */
static const bool plain[256] = {
    ['!' ... '$'] = true, ['&' ... ';'] = true, ['='] = true, ['?' ... '~'] = true};

static size_t plain_part(const char *address)
{
    size_t n = 0;
    while (plain[(unsigned char)address[n]])
        n++;
    return n;
}

/* <address>, all else percent-encoded, so that nothing can end it early and nothing is lost; cut, so that the verdict
 * behind it is never lost. */
static void add_encoded(struct text *text, const char *address)
{
    char safe[ADDRESS_TEXT] UNZEROED;
    struct text out;
    text_init(&out, safe, sizeof safe);
    while (*address != '\0' && !out.cut) {
        const size_t n = plain_part(address);
        text_add_bytes(&out, address, n);
        address += n;
        if (*address != '\0')
            text_addf(&out, "%%%02X", (unsigned char)*address++);
    }
    text_add_bytes(text, safe, out.len);
    text_add(text, out.cut ? "...>" : ">");
}

/* Behind a "<". */
static void add_address(struct text *text, const char *address)
{
    const size_t n = plain_part(address);
    if (address[n] != '\0' || n >= ADDRESS_TEXT) {
        add_encoded(text, address);
        return;
    }
    text_add_bytes(text, address, n); /* nearly every one */
    text_add(text, ">");
}

static void add_word(struct text *text, const char *key, const char *value)
{
    text_add(text, key);
    text_add_percent(text, value);
}

/* Cut, too: a login can be as long as its client likes. */
static void add_user(struct text *text, const char *user)
{
    char safe[ADDRESS_TEXT] UNZEROED;
    struct text out;
    if (user == NULL)
        return;
    text_init(&out, safe, sizeof safe);
    text_add_percent(&out, user);
    text_add(text, " user=");
    text_add(text, safe);
    text_add(text, out.cut ? "..." : "");
}

static void add_number(struct text *text, const char *key, int64_t number)
{
    text_add(text, key);
    text_add_number(text, number);
}

static void add_limit(struct text *text, const struct verdict *v)
{
    text_add(text, " limit=");
    text_add_printable(text, v->limit->name);
    add_number(text, " used=", v->used);
    add_number(text, " max=", v->max);
    add_number(text, " wait=", (v->wait_ms + 999) / 1000);
    text_add(text, "s");
    if (v->limit->count == LIMIT_BACKLOG) {
        add_number(text, " age=", v->age_ms / 1000);
        text_add(text, "s");
    }
}

static void add_reply(struct text *text, const struct reply_line *line)
{
    text_add(text, " reply=\"");
    text_add_printable(text, line->code);
    text_add(text, " ");
    text_add_printable(text, line->dsn);
    text_add(text, "\"");
}

/* The same of what is known to be usual, or not. */
static void add_known(struct text *text, bool usual, const char *address)
{
    if (!usual) {
        add_address(text, address);
        return;
    }
    text_add(text, address);
    text_add(text, ">");
}

/* Behind a "<". raw: what is shown of one that is invalid; may be NULL. */
static void add_mailbox(struct text *text, const struct address *address, const char *raw)
{
    add_known(text, address->usual,
              address->kind != ADDRESS_INVALID ? address->full
              : raw != NULL                    ? raw
                                               : "");
}

/* Whom no limit, or only some of the rules apply to. */
static void add_exempt(struct text *text, bool client, bool recipient)
{
    if (client || recipient)
        text_addf(text, " exempt=%s%s%s", client ? "client" : "", client && recipient ? "," : "",
                  recipient ? "recipient" : "");
}

static void add_envelope(struct text *text, const struct session *session, const char *queue)
{
    const struct message *message = &session->message;
    text_add(text, "queue=");
    text_add_printable(text, queue != NULL ? queue : "-");
    text_add(text, " client=");
    text_add(text, session->client_text);
    text_add(text, " from=<");
    add_mailbox(text, &message->sender, message->sender_raw);
}

void decision_log_text(const struct session *session, const struct outcome *outcome, const char *queue,
                       struct text *text)
{
    const struct message *message = &session->message;
    const struct decision *d = &outcome->decision;
    const struct verdict *v = &d->verdict;
    add_envelope(text, session, queue);
    text_add(text, " to=<");
    add_mailbox(text, &d->recipient, d->envelope.recipient_raw);
    add_user(text, message->user);
    text_add(text, " verdict=");
    text_add(text, outcome->duplicate ? "duplicate" : action_name(v->action));
    if (outcome->line.code[0] != '\0')
        add_reply(text, &outcome->line);
    if (v->by != VERDICT_BY_NOBODY)
        add_word(text, " by=", verdict_by_name(v->by));
    if (v->proof != NULL && v->proof[0] != '\0')
        add_word(text, " rule=", v->proof);
    if (d->ruling.alias.concealed)
        text_addf(text, " concealed=%s", d->ruling.alias.state == ALIAS_EXPIRED ? "expired" : "reject");
    if (v->limit != NULL)
        add_limit(text, v);
    if (!outcome->duplicate)
        add_exempt(text, d->ruling.client_exempt, d->ruling.recipient_exempt);
    if (d->source == COUNT_SOURCE_LOCAL)
        text_add(text, " counts=local");
    if (d->plan.request.n > 0 && d->source == COUNT_SOURCE_NONE)
        text_add(text, " counts=none");
    if (!outcome->enforced)
        text_add(text, " mode=shadow");
    if (d->shadow.limit != NULL) {
        text_add(text, " shadow=");
        text_add_printable(text, d->shadow.limit->name);
        text_add(text, ":");
        text_add(text, action_name(d->shadow.action));
    }
}

void decision_log_message(const struct session *session, const char *queue, struct text *text)
{
    const struct message *message = &session->message;
    bool enforced = message->policy == NULL || !message->policy->shadow;
    int64_t size = message->bytes > 0 ? message->bytes : message->size;
    text_add(text, "event=message ");
    add_envelope(text, session, queue);
    if (message->first != NULL) {
        text_add(text, " to=<");
        add_known(text, message->first_usual, message->first);
    }
    add_user(text, message->user);
    add_number(text, " accepted=", (int64_t)message->n_decided[ACTION_ACCEPT]);
    add_number(text,
               " refused=", (int64_t)(message->n_decided[ACTION_DEFER] + message->n_decided[ACTION_REJECT]));
    add_number(text, " discarded=", (int64_t)message->n_decided[ACTION_DISCARD]);
    if (message->n_duplicate > 0)
        add_number(text, " duplicates=", (int64_t)message->n_duplicate);
    if (size >= 0)
        add_number(text, " size=", size);
    add_exempt(text, message->client_exempt, false);
    if (!enforced)
        text_add(text, " mode=shadow");
}
