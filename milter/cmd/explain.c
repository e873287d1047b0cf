/* explain: what a RCPT would be answered now, and why. Charges nothing. */
#include "command.h"

#include "ask.h"
#include "config/json_get.h"
#include "gate/policy_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int size_parse(const char *text, json_int_t *out)
{
    char *end;
    errno = 0;
    long long size = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || size < 0)
        return -1;
    *out = size;
    return 0;
}

/* ---- for a person ---- */

static void print_limits(FILE *out, const json_t *report)
{
    const json_t *limits = json_object_get(report, "limits");
    for (size_t i = 0; i < json_array_size(limits); i++) {
        const json_t *l = json_array_get(limits, i);
        fprintf(out, "limit      %-24s %" JSON_INTEGER_FORMAT "/%" JSON_INTEGER_FORMAT " %s",
                json_get_text(l, "limit"), json_get_number(l, "used"), json_get_number(l, "max"),
                json_get_text(l, "result"));
        if (json_get_number(l, "wait_ms") > 0) {
            fputs(", wait ", out);
            json_get_print_ms(out, l, "wait_ms");
        }
        fprintf(out, "  %s%s\n", json_get_text(l, "key"),
                json_is_true(json_object_get(l, "shadow")) ? " (shadow)" : "");
    }
    if (json_array_size(limits) == 0)
        fputs("limit      none applies\n", out);
}

static void print_alias(FILE *out, const json_t *alias)
{
    const json_t *mailboxes = json_object_get(alias, "mailbox");
    fprintf(out, "alias      %s", json_get_text(alias, "state"));
    if (*json_get_text(alias, "via") != '\0')
        fprintf(out, " as %s", json_get_text(alias, "via"));
    if (*json_get_text(alias, "row") != '\0')
        fprintf(out, ": %s", json_get_text(alias, "row"));
    if (*json_get_text(alias, "action") != '\0')
        fprintf(out, ", %s", json_get_text(alias, "action"));
    if (*json_get_text(alias, "owner") != '\0')
        fprintf(out, ", owner %s", json_get_text(alias, "owner"));
    if (*json_get_text(alias, "class") != '\0')
        fprintf(out, ", class %s", json_get_text(alias, "class"));
    for (size_t i = 0; i < json_array_size(mailboxes); i++)
        fprintf(out, "%s%s", i == 0 ? ", to " : ", ", json_string_value(json_array_get(mailboxes, i)));
    if (json_is_true(json_object_get(alias, "concealed")))
        fputs(" (answered as unknown: aliases.conceal)", out);
    fputc('\n', out);
}

static bool is_held_client(const json_t *report)
{
    const json_t *limits = json_object_get(report, "limits");
    for (size_t i = 0; i < json_array_size(limits); i++) {
        const json_t *l = json_array_get(limits, i);
        if (strcmp(json_get_text(l, "limit"), json_get_text(report, "limit")) == 0 &&
            strcmp(json_get_text(l, "result"), "held") == 0 &&
            strncmp(json_get_text(l, "key"), "client:{", 8) == 0)
            return true;
    }
    return false;
}

/* Is the reply one that only sessions hear that were open before? */
static bool ends_at_connect(const json_t *report)
{
    const char *by = json_get_text(report, "by");
    return strcmp(json_get_text(report, "verdict"), "reject") == 0 &&
           (strcmp(by, "client") == 0 || strcmp(by, "block") == 0 || is_held_client(report));
}

static void print_explain(FILE *out, const json_t *report)
{
    const char *recipient = json_get_text(report, "recipient"), *given = json_get_text(report, "given");
    const char *exempt = json_is_true(json_object_get(report, "recipient_exempt")) ? " (exempt)" : "";
    if (*json_get_text(report, "invalid") != '\0')
        fprintf(out, "recipient  %s\n           no valid address: %s\n", given,
                json_get_text(report, "invalid"));
    else if (strcmp(recipient, given) == 0)
        fprintf(out, "recipient  %s%s\n", recipient, exempt);
    else
        fprintf(out, "recipient  %s (given: %s)%s\n", recipient, given, exempt);
    fprintf(out, "sender     <%s>%s\n", json_get_text(report, "sender"),
            json_is_true(json_object_get(report, "sender_invalid")) ? " (no valid address)"
            : *json_get_text(report, "sender") == '\0'              ? " (a bounce; --from names another)"
                                                                    : "");
    const char *client = json_get_text(report, "client");
    fprintf(out, "client     %s%s\n", client,
            json_is_true(json_object_get(report, "client_exempt")) ? " (exempt)"
            : strcmp(client, "unknown") == 0 ? ": no limit per client is looked at without --client"
                                             : "");
    print_alias(out, json_object_get(report, "alias"));
    fprintf(out, "rule       %s%s%s\n", json_get_text(report, "ruling"),
            *json_get_text(report, "rule") != '\0' ? ": " : "", json_get_text(report, "rule"));
    print_limits(out, report);
    if (*json_get_text(report, "counts") != '\0')
        fprintf(out, "counts     %s\n", json_get_text(report, "counts"));
    fprintf(out, "verdict    %s", json_get_text(report, "verdict"));
    if (*json_get_text(report, "by") != '\0')
        fprintf(out, " by %s", json_get_text(report, "by"));
    if (*json_get_text(report, "limit") != '\0')
        fprintf(out, " %s", json_get_text(report, "limit"));
    fprintf(out, "%s\n",
            json_is_true(json_object_get(report, "shadow_mode")) ? " (mode shadow: nothing is refused)" : "");
    fprintf(out, "reply      %s\n",
            *json_get_text(report, "reply") != '\0' ? json_get_text(report, "reply") : "250 (go on)");
    if (ends_at_connect(report))
        fputs("           in open sessions; from the next connection on 554 at connect\n", out);
}

int cmd_explain(int argc, char **argv)
{
    const char *file = POLICY_FILE_DEFAULT, *to = NULL, *from = NULL, *client = NULL, *user = NULL,
               *size = NULL;
    bool json = false;
    const struct option_value options[] = {{"-c", &file, NULL},     {"--to", &to, NULL},
                                           {"--from", &from, NULL}, {"--client", &client, NULL},
                                           {"--user", &user, NULL}, {"--size", &size, NULL},
                                           {"--json", NULL, &json}, {NULL, NULL, NULL}};
    int n = command_options("explain", argc, argv, options);
    if (n < 0)
        return EXIT_USAGE;
    json_int_t bytes = -1;
    if (n > 0 || to == NULL || to[0] == '\0')
        return command_usage("explain", "--to ADDRESS is needed");
    if (size != NULL && size_parse(size, &bytes) < 0)
        return command_usage("explain", "--size takes a number of bytes, not \"%s\"", size);
    const struct policy *policy = policy_file_load_or_complain(file);
    if (policy == NULL)
        return command_no_policy(file);
    json_t *request = json_pack("{s:s, s:s, s:s*, s:s*, s:s*, s:I}", "do", "explain", "to", to, "from", from,
                                "client", client, "user", user, "size", bytes);
    int status;
    json_t *report = ask_gate(policy, request, &status);
    policy_unref(policy);
    return report != NULL ? ask_print(report, json, print_explain) : status;
}
