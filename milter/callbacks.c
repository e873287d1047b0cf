/* callbacks: see callbacks.h. */
#include "milter/callbacks.h"

#include "answer.h"
#include "base/clock.h"
#include "decision_log.h"
#include "sys/log.h"
#include "milter/session.h"
#include "milter/wire.h"
#include "base/text.h"
#include "base/unzeroed.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct session_list *sessions; /* set once, before smfi_main */

/* What a milter connection has: the session, and what was agreed at its beginning. */
struct connection {
    struct session *session;
    bool silent_connect, silent_mail, silent_data; /* no reply is awaited */
};

static struct connection *connection_of(SMFICTX *ctx)
{
    return smfi_getpriv(ctx);
}

static struct connection *connection_new(SMFICTX *ctx)
{
    struct connection *c = calloc(1, sizeof *c);
    if (c != NULL && smfi_setpriv(ctx, c) == MI_SUCCESS && (c->session = session_new(sessions)) != NULL)
        return c;
    (void)smfi_setpriv(ctx, NULL);
    free(c);
    return NULL;
}

/* libmilter takes no const, and writes to none of them */
static char queue_id[] = "i", login[] = "{auth_authen}", mail_address[] = "{mail_addr}",
            rcpt_address[] = "{rcpt_addr}";

static int ask_macros(SMFICTX *ctx)
{
    static char at_mail[] = "i {auth_authen} {mail_addr}", at_rcpt[] = "i {rcpt_addr}";
    return smfi_setsymlist(ctx, SMFIM_ENVFROM, at_mail) == MI_SUCCESS &&
                   smfi_setsymlist(ctx, SMFIM_ENVRCPT, at_rcpt) == MI_SUCCESS &&
                   smfi_setsymlist(ctx, SMFIM_EOM, queue_id) == MI_SUCCESS
               ? 0
               : -1;
}

static sfsistat on_negotiate(SMFICTX *ctx, unsigned long f0, unsigned long f1, unsigned long f2,
                             unsigned long f3, unsigned long *pf0, unsigned long *pf1, unsigned long *pf2,
                             unsigned long *pf3)
{
    (void)f2, (void)f3;
    if ((f0 & SMFIF_DELRCPT) == 0) {
        log_line(LOG_AT_ERROR, "event=negotiate text=\"the MTA does not let a milter delete recipients\"");
        return SMFIS_REJECT;
    }
    struct connection *c = connection_new(ctx);
    if (c == NULL)
        return SMFIS_REJECT; /* this milter connection ends; Postfix answers 451 */
    if (!session_enter(c->session))
        return SMFIS_REJECT;
    struct gate *gate = sessions->gate;
    const struct policy *policy = context_policy(&gate->context);
    unsigned long want = SMFIP_NOHELO | SMFIP_NOUNKNOWN | SMFIP_NODATA | SMFIP_NR_HELO | SMFIP_NR_MAIL |
                         SMFIP_NR_HDR | SMFIP_NR_EOH | SMFIP_NR_BODY;
    if (!policy->needs_bytes)
        want |= SMFIP_NOHDRS | SMFIP_NOEOH | SMFIP_NOBODY;
    if (!session_may_refuse(gate, policy))
        want |= SMFIP_NR_CONN;
    policy_unref(policy);
    session_leave(c->session);
    want &= f1;
    c->silent_connect = (want & SMFIP_NR_CONN) != 0;
    c->silent_mail = (want & SMFIP_NR_MAIL) != 0;
    c->silent_data = (want & SMFIP_NR_HDR) != 0 && (want & SMFIP_NR_EOH) != 0 && (want & SMFIP_NR_BODY) != 0;
    *pf0 = SMFIF_DELRCPT | (f0 & SMFIF_SETSYMLIST);
    *pf1 = want;
    *pf2 = *pf3 = 0;
    if ((f0 & SMFIF_SETSYMLIST) != 0 && ask_macros(ctx) < 0)
        log_line(LOG_AT_WARNING, "event=negotiate text=\"cannot ask for macros; the defaults must do\"");
    return SMFIS_CONTINUE;
}

/* main.cf says non_smtpd_milters: there a recipient may not be refused. */
static void say_not_smtpd(void)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&said))
        log_line(LOG_AT_WARNING,
                 "event=non-smtpd text=\"rcptgate is set in non_smtpd_milters, where it does nothing; "
                 "name it in smtpd_milters only\"");
}

static void log_refused(const struct session *session, const struct verdict *verdict)
{
    const char *rule = verdict->proof != NULL ? verdict->proof : "";
    log_line(LOG_AT_INFO, "client=%s verdict=%s by=%s at=connect%s%s%s%s", session->client_text,
             action_name(verdict->action), verdict_by_name(verdict->by), rule[0] != '\0' ? " rule=" : "",
             rule, verdict->limit != NULL ? " limit=" : "",
             verdict->limit != NULL ? verdict->limit->name : "");
}

static sfsistat on_connect(SMFICTX *ctx, char *hostname, _SOCK_ADDR *address)
{
    (void)hostname;
    struct connection *c = connection_of(ctx);
    if (c == NULL && (c = connection_new(ctx)) == NULL)
        return SMFIS_TEMPFAIL;
    struct session *session = c->session;
    struct network client = {0};
    if (address != NULL)
        network_from_sockaddr(address, &client);
    session->not_smtpd = address != NULL && address->sa_family == AF_INET &&
                         ((const struct sockaddr_in *)(const void *)address)->sin_port == 0;
    session_connect(session, &client);
    if (c->silent_connect)
        return SMFIS_NOREPLY;
    if (!session_enter(session))
        return SMFIS_TEMPFAIL;
    struct pool pool = {0};
    struct verdict verdict = session_judge(session, &pool);
    bool refused = verdict.action == ACTION_REJECT && !session->not_smtpd;
    if (refused)
        log_refused(session, &verdict);
    pool_done(&pool);
    session_leave(session);
    return refused ? SMFIS_REJECT : SMFIS_CONTINUE; /* Postfix makes its own 554 banner of it */
}

/* SIZE= of MAIL FROM (RFC 1870); -1 where there is none. */
static int64_t declared_size(char **parameters)
{
    for (; *parameters != NULL; parameters++) {
        char *end = NULL;
        if (strncasecmp(*parameters, "SIZE=", 5) != 0)
            continue;
        long long size = strtoll(*parameters + 5, &end, 10);
        return *end == '\0' && size >= 0 ? size : -1;
    }
    return -1;
}

static sfsistat on_mail(SMFICTX *ctx, char **argv)
{
    struct connection *c = connection_of(ctx);
    if (c == NULL)
        return SMFIS_TEMPFAIL;
    struct session *session = c->session;
    sfsistat status = c->silent_mail ? SMFIS_NOREPLY : SMFIS_CONTINUE;
    if (session->not_smtpd) {
        if (smfi_getsymval(ctx, queue_id) != NULL) {
            say_not_smtpd();
            return status;
        }
        session->not_smtpd = false;
    }
    if (!session_enter(session))
        return c->silent_mail ? SMFIS_NOREPLY : SMFIS_TEMPFAIL;
    session_mail(session, argv[0], smfi_getsymval(ctx, mail_address), smfi_getsymval(ctx, login),
                 declared_size(argv + 1));
    session_leave(session);
    return status;
}

static void log_decision(const struct session *session, const struct outcome *outcome, const char *queue)
{
    if (!log_wants(LOG_AT_INFO))
        return;
    char line[LOG_LINE_MAX] UNZEROED;
    struct text text;
    text_init(&text, line, sizeof line);
    decision_log_text(session, outcome, queue, &text);
    log_printable(LOG_AT_INFO, line, text.len);
}

/* Under aliases.conceal a refusal is padded to the next 10 ms after its RCPT came: what was looked up to find it is much less
 * work, and shows no more. */
static void pad_reply(const struct session *session, const struct outcome *outcome)
{
    enum { PADDING_NS = 10 * 1000 * 1000 };
    if (!session->message.policy->aliases.conceal || outcome->line.code[0] == '\0')
        return;
    int64_t took = clock_monotonic_ns() - session->entered_ns;
    const struct timespec rest = {.tv_nsec = PADDING_NS - took % PADDING_NS};
    (void)nanosleep(&rest, NULL); /* cut short only by a signal to this thread, and they all go elsewhere */
}

/* The session, entered, at a RCPT or at the end of a message. NULL: the answer is *status. */
static struct session *session_entered(SMFICTX *ctx, sfsistat *status)
{
    struct connection *c = connection_of(ctx);
    bool not_ours = c != NULL && c->session->not_smtpd;
    *status = not_ours ? SMFIS_CONTINUE : SMFIS_TEMPFAIL;
    return c != NULL && !not_ours && session_enter(c->session) ? c->session : NULL;
}

static sfsistat on_rcpt(SMFICTX *ctx, char **argv)
{
    sfsistat status;
    struct session *session = session_entered(ctx, &status);
    if (session == NULL)
        return status;
    struct outcome outcome UNZEROED;
    session_rcpt(session, argv[0], smfi_getsymval(ctx, rcpt_address), &outcome);
    log_decision(session, &outcome, smfi_getsymval(ctx, queue_id));
    status = SMFIS_CONTINUE;
    if (outcome.enforced) {
        pad_reply(session, &outcome);
        status = answer(ctx, &outcome.line);
    }
    session_leave(session);
    return status;
}

static sfsistat seen(SMFICTX *ctx, size_t bytes)
{
    struct connection *c = connection_of(ctx);
    if (c == NULL)
        return SMFIS_CONTINUE;
    if (session_enter(c->session)) { /* else session_list_stop() may have the message */
        message_bytes(&c->session->message, bytes);
        session_leave(c->session);
    }
    return c->silent_data ? SMFIS_NOREPLY : SMFIS_CONTINUE;
}

static sfsistat on_header(SMFICTX *ctx, char *name, char *value)
{
    return seen(ctx, strlen(name) + strlen(value) + 4); /* ": " and CRLF */
}

static sfsistat on_end_of_headers(SMFICTX *ctx)
{
    return seen(ctx, 2);
}

static sfsistat on_body(SMFICTX *ctx, unsigned char *bytes, size_t n)
{
    (void)bytes;
    return seen(ctx, n);
}

/* Postfix reads whom to remove from this text as it read the recipient from the argument, but from that it first took the brackets
 * around all of it, then a source route at its start. Brackets change nothing around letters, digits and such. */
static char *discard_text(char *raw)
{
    char *at = raw;
    const size_t n = strlen(raw);
    bool bracket = n > 1 && raw[0] == '<' && raw[n - 1] == '>';
    if (bracket) {
        raw[n - 1] = '\0';
        at++;
    }
    char *colon = *at == '@' ? strchr(at, ':') : NULL;
    if (colon != NULL)
        at = colon + 1;
    if (bracket && strpbrk(at, "<>()[],:;\"\\") == NULL) {
        *--at = '<';
        raw[n - 1] = '>';
    }
    return at;
}

/* raw is changed: nobody needs it any more. */
static void discard_recipient(SMFICTX *ctx, char *raw)
{
    char *at = discard_text(raw);
    if (smfi_delrcpt(ctx, at) == MI_SUCCESS)
        return;
    char quoted[LOG_LINE_MAX];
    struct text text;
    text_init(&text, quoted, sizeof quoted);
    text_add_quoted(&text, at);
    log_line(LOG_AT_ERROR, "event=discard-failed to=%s text=\"the recipient could not be removed\"", quoted);
}

static void log_ending(const struct session *session, const struct ending *ending, const char *queue)
{
    const struct verdict *v = &ending->verdict;
    log_line(LOG_AT_INFO,
             "queue=%s client=%s at=end verdict=%s reply=\"%s %s\" by=%s limit=%s used=%" PRId64
             " max=%" PRId64 "%s",
             queue != NULL ? queue : "-", session->client_text, action_name(v->action), ending->line.code,
             ending->line.dsn, verdict_by_name(v->by), v->limit != NULL ? v->limit->name : "-", v->used,
             v->max, ending->enforced ? "" : " mode=shadow");
}

/* The line of a message, as far as it is known before its end; false: none is wanted. */
static bool message_line(const struct session *session, const char *queue, struct text *text)
{
    if (!log_wants(LOG_AT_INFO) || !session->message.open)
        return false;
    decision_log_message(session, queue, text);
    return true;
}

/* Recipients are dropped before the message ends: what ends takes them with it. Where nobody is left, Postfix has nothing to deliver; to
 * discard the message would take who was added since (always_bcc, another milter), too. */
static sfsistat end_message(SMFICTX *ctx, struct session *session)
{
    struct message *message = &session->message;
    struct ending ending UNZEROED;
    char line[LOG_LINE_MAX] UNZEROED;
    struct text text;
    for (const struct accepted *a = message->accepted; a != NULL; a = a->next)
        if (a->discard)
            discard_recipient(ctx, a->raw);
    text_init(&text, line, sizeof line);
    bool logged = message_line(session, smfi_getsymval(ctx, queue_id), &text);
    message_end(message, &ending);
    if (ending.refused)
        text_addf(&text, " reply=\"%s %s\"", ending.line.code, ending.line.dsn);
    if (logged)
        log_printable(LOG_AT_INFO, line, text.len);
    if (ending.refused)
        log_ending(session, &ending, smfi_getsymval(ctx, queue_id));
    return ending.refused && ending.enforced ? answer(ctx, &ending.line) : SMFIS_CONTINUE;
}

static sfsistat on_end_of_message(SMFICTX *ctx)
{
    sfsistat status;
    struct session *session = session_entered(ctx, &status);
    if (session == NULL)
        return status;
    status = end_message(ctx, session);
    session_leave(session);
    return status;
}

static sfsistat on_abort(SMFICTX *ctx)
{
    struct connection *c = connection_of(ctx);
    if (c != NULL && session_enter(c->session)) {
        message_abort(&c->session->message);
        session_leave(c->session);
    }
    return SMFIS_CONTINUE;
}

static sfsistat on_close(SMFICTX *ctx)
{
    struct connection *c = connection_of(ctx);
    if (c == NULL)
        return SMFIS_CONTINUE;
    (void)smfi_setpriv(ctx, NULL);
    if (session_enter(c->session)) /* else session_list_stop() looks after the session */
        session_free(c->session);
    free(c);
    return SMFIS_CONTINUE;
}

int callbacks_register(struct session_list *list, struct error *err)
{
    sessions = list;
    static char name[] = "rcptgate";
    const struct smfiDesc description = {
        .xxfi_name = name,
        .xxfi_version = SMFI_VERSION,
        .xxfi_flags = SMFIF_DELRCPT,
        .xxfi_connect = on_connect,
        .xxfi_envfrom = on_mail,
        .xxfi_envrcpt = on_rcpt,
        .xxfi_header = on_header,
        .xxfi_eoh = on_end_of_headers,
        .xxfi_body = on_body,
        .xxfi_eom = on_end_of_message,
        .xxfi_abort = on_abort,
        .xxfi_close = on_close,
        .xxfi_negotiate = on_negotiate,
    };
    if (smfi_register(description) != MI_SUCCESS || smfi_settimeout(WIRE_TIMEOUT_S) != MI_SUCCESS) {
        error_set(err, "libmilter refuses to be set up");
        return -1;
    }
    return 0;
}
