/* fuzz_callbacks: the real callbacks, in any order and with any arguments, on a gate with alias rules, limits of all kinds and a
 * clock that jumps. libmilter is replaced by this file: its frames would cost a socket each, and only calls get through it.
 * An alias that may be refused by nothing is never answered 5xx nor dropped; a line that goes out is a reply; after all
 * sessions have ended nothing is held.
 *
 * The input is a script: a byte chooses the step, its arguments follow. */
#include "fuzz_gate.h"

#include "base/clock.h"
#include "milter/callbacks.h"
#include "sys/log.h"

#include <arpa/inet.h>
#include <libmilter/mfapi.h>
#include <netinet/in.h>

enum { CONTEXTS = 3, ARGUMENTS = 4, TEXT = 300 };

struct smfi_str { /* SMFICTX is a pointer to it: what libmilter knows of one connection */
    void *priv;
    char id[32], login[64], mail[TEXT], rcpt[TEXT];
    bool has_id, has_login, has_mail, has_rcpt;
    char code[8]; /* the last reply; "" where none was set */
    bool open;
    unsigned removed;
};

static struct smfiDesc description;
static struct smfi_str contexts[CONTEXTS];
static struct gate gate;
static struct session_list list;
static int64_t started_ms = INT64_C(1767225600000), now_ms;

/* ---- libmilter ---- */

int smfi_register(smfiDesc_str given)
{
    description = given;
    return MI_SUCCESS;
}

int smfi_settimeout(int seconds)
{
    (void)seconds;
    return MI_SUCCESS;
}

int smfi_setpriv(SMFICTX *ctx, void *priv)
{
    ctx->priv = priv;
    return MI_SUCCESS;
}

void *smfi_getpriv(SMFICTX *ctx)
{
    return ctx->priv;
}

char *smfi_getsymval(SMFICTX *ctx, char *name)
{
    if (strcmp(name, "i") == 0)
        return ctx->has_id ? ctx->id : NULL;
    if (strcmp(name, "{auth_authen}") == 0)
        return ctx->has_login ? ctx->login : NULL;
    if (strcmp(name, "{mail_addr}") == 0)
        return ctx->has_mail ? ctx->mail : NULL;
    return ctx->has_rcpt && strcmp(name, "{rcpt_addr}") == 0 ? ctx->rcpt : NULL;
}

int smfi_setsymlist(SMFICTX *ctx, int stage, char *macros)
{
    (void)ctx, (void)stage;
    demand(macros != NULL);
    return MI_SUCCESS;
}

/* As libmilter's mi_... does it: what it refuses is a reply of ours that it would not send. */
int smfi_setreply(SMFICTX *ctx, char *code, char *dsn, char *text)
{
    demand(strlen(code) == 3 && (code[0] == '4' || code[0] == '5') && strcmp(code + 1, "21") != 0);
    demand(dsn[0] == code[0] && dsn[1] == '.');
    demand(strlen(text) > 0 && strlen(text) <= 980);
    for (const char *c = text; *c != '\0'; c++) {
        demand((unsigned char)*c >= ' ' && (unsigned char)*c <= '~');
        if (*c == '%')
            demand(*++c == '%');
    }
    memcpy(ctx->code, code, 4);
    return MI_SUCCESS;
}

int smfi_delrcpt(SMFICTX *ctx, char *address)
{
    demand(address != NULL);
    ctx->removed++;
    return MI_SUCCESS;
}

/* ---- the gate ---- */

static int64_t clock_of_script(void *arg)
{
    (void)arg;
    return now_ms;
}

static const char policy_text[] =
    "\"exempt\": {\"authenticated\": true},"
    "\"limits\": ["
    "{\"name\": \"soft\", \"per\": \"recipient\", \"max\": 3, \"window\": \"1m\"},"
    "{\"name\": \"hard\", \"per\": \"recipient\", \"max\": 2, \"window\": \"1m\", \"over\": \"reject\", "
    "\"when\": {\"class\": \"hard\"}, \"hold\": \"1m\"},"
    "{\"name\": \"drop\", \"per\": [\"owner\", \"client\"], \"max\": 2, \"window\": \"1m\", \"over\": "
    "\"discard\", \"when\": {\"class\": \"drop\"}},"
    "{\"name\": \"tries\", \"per\": \"client\", \"count\": \"attempts\", \"max\": 9, \"window\": \"1m\"},"
    "{\"name\": \"size\", \"per\": \"mailbox\", \"count\": \"bytes\", \"max\": \"1MB\", \"window\": \"1m\"},"
    "{\"name\": \"mails\", \"per\": \"sender\", \"count\": \"messages\", \"max\": 5, \"window\": \"1h\", "
    "\"ramp\": \"10m\"},"
    "{\"name\": \"part\", \"per\": \"mailbox\", \"max\": 6, \"window\": \"1h\", \"share\": {\"of\": "
    "\"client\", \"max\": \"33%\"}}]";

static const char rows_text[] =
    "INSERT INTO domains(domain) VALUES ('example.com');"
    "INSERT INTO aliases(address, mailbox, owner, class, action) VALUES"
    " ('ok@example.com', 'me@example.org', 'bob', NULL, 'accept'),"
    " ('hard@example.com', 'me@example.org', 'bob', 'hard', 'accept'),"
    " ('drop@example.com', 'you@example.org', 'eve', 'drop', 'accept'),"
    " ('gone@example.com', NULL, 'eve', NULL, 'reject'), ('later@example.com', NULL, NULL, NULL, 'defer'),"
    " ('hole@example.com', NULL, NULL, NULL, 'discard');"
    "INSERT INTO alias_globs(domain, glob, action) VALUES ('example.com', 'shop-*', 'accept');"
    "INSERT INTO sender_rules(scope, pattern, action) VALUES ('*', '@spam.example', 'reject');"
    "INSERT INTO client_rules(network, action) VALUES ('203.0.113.0/24', 'reject')";

static void start_once(void)
{
    struct error err = {0};
    if (gate.counters != NULL)
        return;
    sqlite3_close(fuzz_gate_start(&gate, policy_text, rows_text));
    gate.context.now_ms = clock_of_script;
    session_list_init(&list, &gate);
    demand(callbacks_register(&list, &err) == 0);
}

/* ---- the script ---- */

/* Known ones mostly, or any bytes. */
static char *any_address(struct fuzz_input *in, char buffer[TEXT])
{
    static const char *const known[] = {"<ok@example.com>",
                                        "<OK+tag@Example.COM>",
                                        "<hard@example.com>",
                                        "<drop@example.com>",
                                        "<gone@example.com>",
                                        "<later@example.com>",
                                        "<hole@example.com>",
                                        "<shop-1@example.com>",
                                        "<nobody@example.com>",
                                        "<x@other.example>",
                                        "<>",
                                        "<a@spam.example>",
                                        "<b@example.net>",
                                        "<c@example.net>"};
    unsigned how = fuzz_byte(in);
    if (how >= 224)
        return fuzz_text(in, buffer, TEXT);
    snprintf(buffer, TEXT, "%s", known[how % (sizeof known / sizeof known[0])]);
    return buffer;
}

static void any_macro(struct fuzz_input *in, bool *has, char *out, const char *likely)
{
    unsigned how = fuzz_byte(in);
    *has = how % 4 != 0;
    if (how >= 240)
        fuzz_text(in, out, 32);
    else
        snprintf(out, TEXT, "%.*s", (int)strlen(likely) - (likely[0] == '<' ? 2 : 0),
                 likely + (likely[0] == '<'));
}

static void step_negotiate(struct smfi_str *ctx, struct fuzz_input *in)
{
    unsigned long flags = fuzz_byte(in) % 8 == 7 ? 0 : SMFI_CURR_ACTS,
                  steps = fuzz_byte(in) % 2 ? SMFI_CURR_PROT : 0;
    unsigned long out[4] = {0};
    if (ctx->priv != NULL) /* libmilter negotiates once */
        return;
    sfsistat status = description.xxfi_negotiate(ctx, flags, steps, 0, 0, &out[0], &out[1], &out[2], &out[3]);
    demand(status == SMFIS_CONTINUE || status == SMFIS_REJECT);
    demand((out[1] & ~steps) == 0);
    ctx->open = status == SMFIS_CONTINUE;
    if (!ctx->open)
        (void)description.xxfi_close(ctx);
}

static void step_connect(struct smfi_str *ctx, struct fuzz_input *in)
{
    static const char *const clients[] = {"192.0.2.7", "192.0.2.8", "203.0.113.9", "198.51.100.1"};
    struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(fuzz_byte(in) % 8))};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = 1};
    unsigned how = fuzz_byte(in);
    inet_pton(AF_INET, clients[how % 4], &in4.sin_addr);
    inet_pton(AF_INET6, "2001:db8::1", &in6.sin6_addr);
    static char name[] = "host.example";
    if (how >= 240)
        (void)description.xxfi_connect(ctx, name, NULL);
    else if (how >= 200)
        (void)description.xxfi_connect(ctx, name, (_SOCK_ADDR *)(void *)&in6);
    else
        (void)description.xxfi_connect(ctx, name, (_SOCK_ADDR *)(void *)&in4);
    ctx->open = true;
}

static void step_mail(struct smfi_str *ctx, struct fuzz_input *in)
{
    char address[TEXT], size[64];
    char *arguments[ARGUMENTS] = {any_address(in, address)};
    unsigned how = fuzz_byte(in);
    ctx->has_id = how % 16 == 15;
    strcpy(ctx->id, "4bXy");
    any_macro(in, &ctx->has_mail, ctx->mail, address);
    ctx->has_login = how >= 240;
    strcpy(ctx->login, "login");
    if (how % 4 == 1) {
        snprintf(size, sizeof size, "SIZE=%lld", (long long)fuzz_number(in) * 10000);
        arguments[1] = size;
    } else if (how % 4 == 2) {
        arguments[1] = fuzz_text(in, size, sizeof size);
    }
    (void)description.xxfi_envfrom(ctx, arguments);
}

/* May nothing refuse it for good? */
static bool is_friend(const struct smfi_str *ctx, const char *raw)
{
    const char *address = ctx->has_rcpt ? ctx->rcpt : raw;
    return strcmp(address, "ok@example.com") == 0 || strcmp(address, "<ok@example.com>") == 0;
}

static bool from_friend(const struct smfi_str *ctx)
{
    const struct session *session = ctx->priv != NULL ? *(struct session **)ctx->priv : NULL;
    return session == NULL || (strstr(session->message.sender.domain, "spam.example") == NULL &&
                               strncmp(session->client_text, "203.0.113.", 10) != 0);
}

static void step_rcpt(struct smfi_str *ctx, struct fuzz_input *in)
{
    char address[TEXT];
    char *arguments[ARGUMENTS] = {any_address(in, address)};
    any_macro(in, &ctx->has_rcpt, ctx->rcpt, address);
    ctx->code[0] = '\0';
    sfsistat status = description.xxfi_envrcpt(ctx, arguments);
    demand(status == SMFIS_CONTINUE || status == SMFIS_TEMPFAIL || status == SMFIS_REJECT);
    demand((status == SMFIS_REJECT) == (ctx->code[0] == '5'));
    if (status == SMFIS_REJECT && is_friend(ctx, address))
        demand(!from_friend(ctx));
}

static void step_end(struct smfi_str *ctx)
{
    const struct session *session = ctx->priv != NULL ? *(struct session **)ctx->priv : NULL;
    size_t dropped = 0;
    for (const struct accepted *a = session != NULL ? session->message.accepted : NULL; a != NULL;
         a = a->next)
        dropped += a->discard;
    ctx->removed = 0;
    sfsistat status = description.xxfi_eom(ctx);
    demand(status == SMFIS_CONTINUE || status == SMFIS_TEMPFAIL);
    if (status == SMFIS_CONTINUE && session != NULL && !session->not_smtpd)
        demand(ctx->removed == dropped);
}

static void step_data(struct smfi_str *ctx, struct fuzz_input *in)
{
    static unsigned char bytes[1];
    char name[64], value[64];
    (void)description.xxfi_header(ctx, fuzz_text(in, name, sizeof name), fuzz_text(in, value, sizeof value));
    (void)description.xxfi_eoh(ctx);
    (void)description.xxfi_body(ctx, bytes, (size_t)fuzz_number(in) * 1000);
}

static void step(struct smfi_str *ctx, struct fuzz_input *in)
{
    switch (fuzz_byte(in) % 12) {
    case 0:
        step_negotiate(ctx, in);
        break;
    case 1:
        step_connect(ctx, in);
        break;
    case 2:
    case 3:
        step_mail(ctx, in);
        break;
    case 4:
    case 5:
    case 6:
        step_rcpt(ctx, in);
        break;
    case 7:
        step_data(ctx, in);
        break;
    case 8:
        step_end(ctx);
        break;
    case 9:
        (void)description.xxfi_abort(ctx);
        break;
    case 10:
        (void)description.xxfi_close(ctx);
        demand(ctx->priv == NULL);
        break;
    default:
        now_ms += (fuzz_below(in, 8) == 7 ? -1 : 1) * (fuzz_number(in) % 3000000) * 1000;
    }
}

/* Between two messages nothing is left of the one before. */
static void check_between(const struct smfi_str *ctx)
{
    const struct session *session = ctx->priv != NULL ? *(struct session **)ctx->priv : NULL;
    const struct message *message = session != NULL ? &session->message : NULL;
    if (message != NULL && !message->open)
        demand(message->bytes == 0 && message->receipts == NULL && message->accepted == NULL &&
               message->user == NULL && message->n_accepted == 0 && message->n_duplicate == 0);
}

static void on_view(void *arg, const struct count_view *view)
{
    (void)arg;
    demand(view->used >= 0 && view->used <= INT64_C(1000000000000000));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { FLUSH_EVERY = 64 };
    static const char *const all[] = {"*"};
    static unsigned executions;
    struct fuzz_input in = {data, size};
    size_t n = 0;
    start_once();
    started_ms += 2 * 86400000; /* nothing is left of the input before */
    now_ms = started_ms;
    while (in.left > 0) {
        struct smfi_str *ctx = &contexts[fuzz_below(&in, CONTEXTS)];
        step(ctx, &in);
        check_between(ctx);
    }
    for (size_t i = 0; i < CONTEXTS; i++) {
        (void)description.xxfi_close(&contexts[i]);
        contexts[i] = (struct smfi_str){0};
    }
    demand(list.first == NULL);
    if (++executions % FLUSH_EVERY == 0) /* it waits for another thread */
        demand(refunds_flush(gate.refunds, 10000));
    demand(counters_show(gate.counters, all, 1, now_ms, on_view, NULL) == COUNTERS_OK);
    demand(counters_reset(gate.counters, all, 1, NULL, &n) == COUNTERS_OK);
    return 0;
}
