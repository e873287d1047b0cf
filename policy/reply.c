/* reply: parses and renders SMTP reply lines. Owns the built-in texts. Pure; the only failure is a template
 * that could not be sent as it is, and its error says why. */
#include "policy/reply.h"

#include "base/text.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum {
    VALUE_MAX = 300
}; /* of one %{...}: a recipient of 1,500 bytes must not push the text out of the line */

static const struct {
    const char *name;
    enum action action;
    struct reply reply;
} keys[REPLY_KEYS] = {
    [REPLY_UNKNOWN] = {"unknown", ACTION_REJECT, {"550", "5.1.1", "<%{recipient}>: no such address"}},
    [REPLY_ALIAS_REJECT] = {"alias_reject",
                            ACTION_REJECT,
                            {"550", "5.2.1", "<%{recipient}>: address is disabled"}},
    [REPLY_ALIAS_DEFER] = {"alias_defer",
                           ACTION_DEFER,
                           {"450", "4.2.1", "<%{recipient}>: not accepting mail now, try again later"}},
    [REPLY_SENDER_REJECT] = {"sender_reject",
                             ACTION_REJECT,
                             {"550", "5.7.1", "<%{recipient}>: sender is not accepted here"}},
    [REPLY_SENDER_DEFER] = {"sender_defer",
                            ACTION_DEFER,
                            {"450", "4.7.1", "<%{recipient}>: sender is not accepted now, try again later"}},
    [REPLY_CLIENT_REJECT] = {"client_reject",
                             ACTION_REJECT,
                             {"554", "5.7.1", "[%{client}]: client is refused"}},
    [REPLY_CLIENT_DEFER] = {"client_defer",
                            ACTION_DEFER,
                            {"450", "4.7.1", "[%{client}]: client is refused now, try again later"}},
    [REPLY_OVER_DEFER] = {"over_defer",
                          ACTION_DEFER,
                          {"450", "4.2.1", "<%{recipient}>: receiving mail too fast, try again in %{wait}"}},
    [REPLY_OVER_REJECT] = {"over_reject",
                           ACTION_REJECT,
                           {"550", "5.7.1", "<%{recipient}>: receiving too much mail"}},
    [REPLY_BYTES_DEFER] = {"bytes_defer",
                           ACTION_DEFER,
                           {"452", "4.2.2",
                            "<%{recipient}>: no room for this message, try again in %{wait}"}},
    [REPLY_BYTES_REJECT] = {"bytes_reject",
                            ACTION_REJECT,
                            {"552", "5.2.2", "<%{recipient}>: no room for this message"}},
    [REPLY_BACKEND] = {"backend", ACTION_DEFER, {"451", "4.3.0", "Temporary failure, try again later"}},
    [REPLY_RAMP] = {"ramp", ACTION_DEFER, {"451", "4.3.2", "Starting up again, try again in %{wait}"}},
    [REPLY_INVALID] = {"invalid", ACTION_REJECT, {"553", "5.1.3", "<%{recipient}>: not a valid address"}},
};

static const char *const variables[] = {"recipient", "sender", "client", "limit",
                                        "used",      "max",    "wait",   NULL};

const char *reply_key_name(enum reply_key key)
{
    return keys[key].name;
}

enum action reply_key_action(enum reply_key key)
{
    return keys[key].action;
}

const struct reply *reply_default(enum reply_key key)
{
    return &keys[key].reply;
}

/* The three digits (RFC 5321 4.2): the class of the action, second digit 0 to 5. */
static int parse_code(const char *source, char class, char code[4], struct error *err)
{
    size_t digits = strspn(source, "0123456789");
    if (digits != 3 || (source[3] != ' ' && source[3] != '\0')) {
        error_set(err, "does not begin with a three-digit code and a space, as in \"%c50 %c.7.1 text\"",
                  class, class);
        return -1;
    }
    if (source[0] != class || source[1] > '5') {
        error_set(err, "has code %.3s, but %s needs %cyz (y is 0 to 5)", source,
                  class == '4' ? "a deferral" : "a rejection", class);
        return -1;
    }
    if (memcmp(source + 1, "21", 2) == 0) {
        error_set(err, "has code %.3s, on which Postfix hangs up on all recipients; use %s", source,
                  class == '4' ? "450" : "550");
        return -1;
    }
    memcpy(code, source, 3);
    code[3] = '\0';
    return 0;
}

/* One to three digits without a leading zero (RFC 3463 2); NULL where there are none, else what follows. */
static const char *skip_number(const char *at)
{
    size_t n = strspn(at, "0123456789");
    return n < 1 || n > 3 || (at[0] == '0' && n > 1) ? NULL : at + n;
}

/* What stands for an enhanced code that is absent. */
static const char *absent_dsn(const char *usual, char class)
{
    if (usual != NULL && usual[0] == class)
        return usual;
    return class == '4' ? "4.2.1" : "5.7.1";
}

/* The enhanced code, where there is one. Returns what follows it; NULL with err set where it is wrong. */
static const char *parse_dsn(const char *at, char class, const char *usual, char *dsn, size_t size,
                             struct error *err)
{
    if (!isdigit((unsigned char)at[0]) || at[1] != '.' || !isdigit((unsigned char)at[2])) {
        snprintf(dsn, size, "%s", absent_dsn(usual, class));
        return at;
    }
    const char *end = skip_number(at + 2);
    end = end != NULL && *end == '.' ? skip_number(end + 1) : NULL;
    if (end == NULL || (*end != ' ' && *end != '\0')) {
        error_set(err, "has an enhanced code that is none; it has three numbers, as in \"%c.7.1\"", class);
        return NULL;
    }
    if (at[0] != class) {
        error_set(
            err,
            "has an enhanced code of class %c behind a code of class %c; Postfix would answer 451 to the "
            "whole session",
            at[0], class);
        return NULL;
    }
    assert((size_t)(end - at) < size); /* nine characters at most */
    memcpy(dsn, at, (size_t)(end - at));
    dsn[end - at] = '\0';
    return end;
}

/* The length of the %{name} at the beginning of at, and its name; 0 where there is none. */
static size_t variable_at(const char *at, char name[32])
{
    const char *end = strncmp(at, "%{", 2) == 0 ? strchr(at, '}') : NULL;
    if (end == NULL || end - at - 2 >= 32)
        return 0;
    memcpy(name, at + 2, (size_t)(end - at - 2));
    name[end - at - 2] = '\0';
    return (size_t)(end - at) + 1;
}

static int check_text(const char *text, struct error *err)
{
    if (strlen(text) > REPLY_TEXT_MAX) {
        error_set(err, "is too long: a text has at most %d characters", REPLY_TEXT_MAX);
        return -1;
    }
    for (const char *c = text; *c != '\0'; c++) {
        char name[32] = "";
        if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e) {
            error_set(err, "has a control or non-ASCII character, which SMTP replies cannot carry");
            return -1;
        }
        if (strncmp(c, "%{", 2) != 0)
            continue;
        bool known = false;
        (void)variable_at(c, name); /* one that does not end, or is too long, has no name */
        for (size_t i = 0; variables[i] != NULL; i++)
            known = known || strcmp(name, variables[i]) == 0;
        if (!known) {
            const char *nearest = text_nearest(name, variables);
            error_set(
                err,
                "has an unknown %%{...}%s%s; known are recipient, sender, client, limit, used, max, wait",
                nearest != NULL ? ", did you mean " : "", nearest != NULL ? nearest : "");
            return -1;
        }
    }
    return 0;
}

int reply_parse(const char *source, enum action action, const char *dsn, struct reply *out, struct error *err)
{
    if (action != ACTION_DEFER && action != ACTION_REJECT) {
        error_set(err, "cannot be used: only defer and reject have a reply");
        return -1;
    }
    struct reply reply = {0};
    const char class = action == ACTION_DEFER ? '4' : '5';
    if (parse_code(source, class, reply.code, err) != 0)
        return -1;
    const char *at = source + 3;
    at = parse_dsn(at + strspn(at, " "), class, dsn, reply.dsn, sizeof reply.dsn, err);
    if (at == NULL)
        return -1;
    at += strspn(at, " ");
    if (*at == '\0')
        at = action == ACTION_DEFER ? "Try again later" : "Refused";
    if (check_text(at, err) != 0)
        return -1;
    memcpy(reply.text, at, strlen(at)); /* check_text() measured it */
    *out = reply;
    return 0;
}

bool reply_tells_limit(const struct reply *reply)
{
    return strstr(reply->text, "%{limit}") != NULL || strstr(reply->text, "%{used}") != NULL ||
           strstr(reply->text, "%{max}") != NULL;
}

static void add_string(struct text *out, const char *value)
{
    char buffer[VALUE_MAX];
    struct text bounded;
    text_init(&bounded, buffer, sizeof buffer);
    text_add_printable(&bounded, value != NULL ? value : "-");
    text_add(out, buffer);
    if (bounded.cut)
        text_add(out, "...");
}

static void add_number(struct text *out, int64_t value)
{
    if (value < 0)
        text_add(out, "-");
    else
        text_add_number(out, value);
}

static void add_variable(struct text *out, const char *name, const struct reply_values *values)
{
    const char *strings[] = {values->recipient, values->sender, values->client, values->limit};
    const int64_t numbers[] = {values->used, values->max};
    size_t i = 0;
    while (variables[i] != NULL && strcmp(variables[i], name) != 0)
        i++;
    if (i < 4)
        add_string(out, strings[i]);
    else if (i < 6)
        add_number(out, numbers[i - 4]);
    else if (values->wait_ms < 0)
        text_add(out, "-");
    else
        text_add_duration(out, values->wait_ms);
}

void reply_render(const struct reply *reply, const struct reply_values *values, struct reply_line *out)
{
    memcpy(out->code, reply->code, sizeof out->code);
    memcpy(out->dsn, reply->dsn, sizeof out->dsn);
    /* The whole line, codes and CRLF included, has at most 512 octets (RFC 5321 4.5.3.1.5). */
    struct text text;
    text_init(&text, out->text, REPLY_LINE_MAX - strlen(out->code) - strlen(out->dsn) - 2 - 2 + 1);
    for (const char *c = reply->text; *c != '\0';) {
        char name[32];
        size_t n = variable_at(c, name);
        if (n > 0) {
            add_variable(&text, name, values);
            c += n;
        } else {
            n = 1 + strcspn(c + 1, "%");
            text_add_bytes(&text, c, n);
            c += n;
        }
    }
}
