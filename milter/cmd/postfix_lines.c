/* postfix_lines: what Postfix has to know of this gate, as `postconf -e` lines to paste, and whether it knows. Changes nothing. The
 * lines are contrib/postfix/postconf-lines with the sockets and the mode of the policy. Fails where postconf cannot be run. */
#include "command.h"

#include "gate/policy_file.h"
#include "sys/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const char postfix_lines_text[]; /* contrib/postfix/postconf-lines */

enum { SOCKET_TEXT = 400, POSTCONF_MS = 10000, SOFT_ERRORS = 100, HARD_ERRORS = 200 };

static const char spool[] =
    "/var/spool/postfix/"; /* queue_directory: what a chrooted smtpd sees as its root */
static const char shipped_socket[] = "unix:rcptgate/milter.sock", shipped_maps[] = "unix:rcptgate/map.sock";
static const char unlisted[] = "#postconf -e 'smtpd_reject_unlisted_recipient";

/* "inet:8893@host" is "inet:host:8893" for Postfix, and a socket below its queue directory has a relative name. */
static const char *socket_of_postfix(const char *socket, char out[SOCKET_TEXT])
{
    const char *at = strchr(socket, '@'), *port = strchr(socket, ':') + 1;
    if (strncmp(socket, "unix:", 5) == 0)
        snprintf(out, SOCKET_TEXT, "unix:%s",
                 port + (strncmp(port, spool, sizeof spool - 1) == 0 ? sizeof spool - 1 : 0));
    else
        snprintf(out, SOCKET_TEXT, strchr(at + 1, ':') != NULL ? "inet:[%s]:%.*s" : "inet:%s:%.*s", at + 1,
                 (int)(at - port), port);
    return out;
}

/* Does it answer Postfix's maps? Without alias rules it could only say "later", to all mail. */
static bool has_maps(const struct policy *policy)
{
    return policy->maps.socket != NULL && policy->aliases.database != NULL;
}

/* Is which alias exists for the gate to say? */
static bool refuses_unknown(const struct policy *policy)
{
    return !policy->shadow && policy->aliases.database != NULL;
}

/* False: the line has none. */
static bool print_with(const char *line, size_t n, const char *shipped, const char *socket)
{
    char text[SOCKET_TEXT];
    const char *at = memmem(line, n, shipped, strlen(shipped));
    if (at == NULL)
        return false;
    const char *rest = at + strlen(shipped);
    if (socket == NULL)
        printf("#%.*s", (int)n, line); /* not with this policy */
    else
        printf("%.*s%s%.*s", (int)(at - line), line, socket_of_postfix(socket, text), (int)(line + n - rest),
               rest);
    return true;
}

static void print_lines(const struct policy *policy)
{
    const char *maps = has_maps(policy) ? policy->maps.socket : NULL;
    for (const char *line = postfix_lines_text; *line != '\0';) {
        size_t n = strcspn(line, "\n"), end = line[n] == '\n';
        bool comes_in = refuses_unknown(policy) && strncmp(line, unlisted, sizeof unlisted - 1) == 0;
        n += end;
        if (!print_with(line, n, shipped_socket, policy->milter.socket) &&
            !print_with(line, n, shipped_maps, maps))
            printf("%.*s", (int)n - comes_in, line + comes_in); /* the gate enforces: no comment */
        line += n;
    }
}

/* ---- what Postfix knows ---- */

struct settings { /* of main.cf; "" where unknown */
    char milters[1000], domains[1000], aliases[1000], action[200], original[64], unlisted[64], soft[64],
        hard[64], sleep[64];
    char canonical[400], recipient_canonical[400], masquerade[400];          /* what renames addresses, */
    char canonical_of[200], recipient_canonical_of[200], masquerade_of[200]; /* and which */
    size_t submissions; /* ports where users hand in mail, without a value of their own */
};

/* "name = value" */
static void take_line(void *arg, char *line, size_t n)
{
    struct settings *s = arg;
    char *equals = strstr(line, " =");
    (void)n;
    if (equals == NULL)
        return;
    *equals = '\0';
    const char *value = equals + 2 + strspn(equals + 2, " ");
    const struct {
        const char *name;
        char *out;
        size_t size;
    } names[] = {{"smtpd_milters", s->milters, sizeof s->milters},
                 {"virtual_alias_domains", s->domains, sizeof s->domains},
                 {"virtual_alias_maps", s->aliases, sizeof s->aliases},
                 {"milter_default_action", s->action, sizeof s->action},
                 {"enable_original_recipient", s->original, sizeof s->original},
                 {"smtpd_reject_unlisted_recipient", s->unlisted, sizeof s->unlisted},
                 {"smtpd_soft_error_limit", s->soft, sizeof s->soft},
                 {"smtpd_hard_error_limit", s->hard, sizeof s->hard},
                 {"smtpd_error_sleep_time", s->sleep, sizeof s->sleep},
                 {"canonical_maps", s->canonical, sizeof s->canonical},
                 {"canonical_classes", s->canonical_of, sizeof s->canonical_of},
                 {"recipient_canonical_maps", s->recipient_canonical, sizeof s->recipient_canonical},
                 {"recipient_canonical_classes", s->recipient_canonical_of, sizeof s->recipient_canonical_of},
                 {"masquerade_domains", s->masquerade, sizeof s->masquerade},
                 {"masquerade_classes", s->masquerade_of, sizeof s->masquerade_of}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(line, names[i].name) == 0)
            snprintf(names[i].out, names[i].size, "%s", value);
}

/* "submission inet n ..." of master.cf */
static void take_service(void *arg, char *line, size_t n)
{
    struct settings *s = arg;
    (void)n;
    s->submissions += strncmp(line, "submission", 10) == 0;
}

/* "submission/inet/smtpd_milters = ..." */
static void take_override(void *arg, char *line, size_t n)
{
    struct settings *s = arg;
    (void)n;
    s->submissions -= s->submissions > 0 && strstr(line, "/smtpd_milters =") != NULL;
}

static int postconf(const char *const *argv, program_line_fn *line, struct settings *s, struct error *err)
{
    const struct program program = {
        .argv = argv, .timeout_ms = POSTCONF_MS, .stop_fd = -1, .line = line, .arg = s};
    return program_run(&program, err);
}

static int read_settings(struct settings *s, struct error *err)
{
    static const char path[] = "/usr/sbin/postconf";
    const char *const values[] = {path,
                                  "smtpd_milters",
                                  "virtual_alias_domains",
                                  "virtual_alias_maps",
                                  "milter_default_action",
                                  "enable_original_recipient",
                                  "smtpd_reject_unlisted_recipient",
                                  "smtpd_soft_error_limit",
                                  "smtpd_hard_error_limit",
                                  "smtpd_error_sleep_time",
                                  "canonical_maps",
                                  "canonical_classes",
                                  "recipient_canonical_maps",
                                  "recipient_canonical_classes",
                                  "masquerade_domains",
                                  "masquerade_classes",
                                  NULL};
    const char *const services[] = {path, "-M", NULL};
    const char *const overrides[] = {path, "-P", "submission/inet/smtpd_milters",
                                     "submissions/inet/smtpd_milters", NULL};
    struct error ignored = {0};
    *s = (struct settings){0};
    if (postconf(values, take_line, s, err) < 0 || postconf(services, take_service, s, err) < 0)
        return -1;
    if (s->submissions > 0)
        (void)postconf(overrides, take_override, s,
                       &ignored); /* a service that is not there is an error to it */
    return 0;
}

/* Prints what is wrong; true where it is. */
static bool wrong(bool is, const char *name, const char *value, const char *means)
{
    if (is)
        printf("%s = %s: %s\n", name, value[0] != '\0' ? value : "(empty)", means);
    return is;
}

/* Postfix's defaults are ${stress?{1}:{20}}: under load 1, which is no number here. */
static bool is_less(const char *value, long least)
{
    char *end;
    long number = strtol(value, &end, 10);
    return end == value || *end != '\0' || number < least;
}

/* Who has maps of his own need not ask the gate's; but what nobody answers delays all mail. */
static bool check_map(const struct policy *policy, const char *name, const char *value)
{
    char socket[SOCKET_TEXT] = "", map[SOCKET_TEXT + 40];
    if (has_maps(policy))
        socket_of_postfix(policy->maps.socket, socket);
    snprintf(map, sizeof map, "socketmap:%s:", socket);
    bool of_a_gate = strstr(value, "socketmap:") != NULL && strstr(value, "map.sock:") != NULL;
    return wrong(of_a_gate && (socket[0] == '\0' || strstr(value, map) == NULL), name, value,
                 socket[0] == '\0'
                     ? "this gate answers no maps, and without an answer all mail is delayed"
                     : "is not the map of this gate, and without an answer all mail is delayed");
}

static bool check_settings(const struct policy *policy, const struct settings *s)
{
    char socket[SOCKET_TEXT];
    const char *action = strstr(s->milters, "default_action=tempfail") != NULL ? "tempfail" : s->action;
    socket_of_postfix(policy->milter.socket, socket);
    bool ask = strstr(s->milters, socket) != NULL, bad = false;
    bad |= wrong(!ask, "smtpd_milters", s->milters, "the gate is not asked");
    bad |= check_map(policy, "virtual_alias_domains", s->domains);
    bad |= check_map(policy, "virtual_alias_maps", s->aliases);
    bad |= wrong(ask && strcmp(action, "tempfail") != 0, "milter_default_action", action,
                 "must be tempfail: accept lets floods by while the gate restarts, reject bounces");
    bad |= wrong(strcmp(s->original, "yes") != 0, "enable_original_recipient", s->original,
                 "must be yes, or a discarded alias takes an accepted one of the same mailbox with it");
    bad |= wrong(refuses_unknown(policy) && strcmp(s->unlisted, "no") != 0, "smtpd_reject_unlisted_recipient",
                 s->unlisted, "should be no while the gate enforces: which alias exists is for it to say");
    bad |=
        wrong(!refuses_unknown(policy) && strcmp(s->unlisted, "yes") != 0, "smtpd_reject_unlisted_recipient",
              s->unlisted,
              policy->shadow
                  ? "must be yes while the gate is in shadow, or mail for unknown addresses is taken and "
                    "bounces"
                  : "must be yes where the gate has no alias rules, or mail for unknown addresses is taken "
                    "and bounces");
    bad |= wrong(is_less(s->soft, SOFT_ERRORS), "smtpd_soft_error_limit", s->soft,
                 "should be a plain number from 100 on, or refused recipients slow the others");
    bad |= wrong(is_less(s->hard, HARD_ERRORS), "smtpd_hard_error_limit", s->hard,
                 "should be a plain number from 200 on, or refused recipients end the session of the others");
    bad |= wrong(s->sleep[0] != '0', "smtpd_error_sleep_time", s->sleep,
                 "should be 0s, or refused recipients slow the others");
    bad |= wrong(ask && s->submissions > 0, "submission/inet/smtpd_milters", "(as smtpd_milters)",
                 "ports where your own users hand in mail ask the gate, too");
    return bad;
}

/* Not wrong by itself: the gate may know the addresses from before, too. */
static void warn_of_renames(const struct policy *policy, const struct settings *s)
{
    const struct {
        const char *name, *value, *classes;
    } renames[] = {{"canonical_maps", s->canonical, s->canonical_of},
                   {"recipient_canonical_maps", s->recipient_canonical, s->recipient_canonical_of},
                   {"masquerade_domains", s->masquerade, s->masquerade_of}};
    for (size_t i = 0; i < sizeof renames / sizeof renames[0]; i++)
        (void)wrong(
            policy->aliases.database != NULL && renames[i].value[0] != '\0' &&
                strstr(renames[i].classes, "envelope_recipient") != NULL,
            renames[i].name, renames[i].value,
            "warning: renames recipients only after the gate has decided: an address of our domains that is "
            "known here alone is refused as unknown (rcptgate(8), Forwarding with SRS, has the aliases for "
            "returning mail)");
}

static int check(const struct policy *policy)
{
    struct settings settings;
    struct error err = {0};
    if (read_settings(&settings, &err) < 0) {
        fprintf(stderr, "rcptgate postfix-lines: %s\n", err.text);
        return EXIT_UNAVAILABLE;
    }
    bool bad = check_settings(policy, &settings);
    warn_of_renames(policy, &settings);
    if (bad) {
        puts("`rcptgate postfix-lines` prints the lines for this host");
        return EXIT_REFUSED;
    }
    puts("Postfix has what it needs");
    return EXIT_DONE;
}

int cmd_postfix_lines(int argc, char **argv)
{
    const char *file = POLICY_FILE_DEFAULT;
    bool checks = false;
    const struct option_value options[] = {
        {"-c", &file, NULL}, {"--check", NULL, &checks}, {NULL, NULL, NULL}};
    int n = command_options("postfix-lines", argc, argv, options);
    if (n < 0)
        return EXIT_USAGE;
    if (n > 0)
        return command_usage("postfix-lines", "unexpected argument %s", argv[1]);
    const struct policy *policy = policy_file_load_or_complain(file);
    if (policy == NULL)
        return command_no_policy(file);
    int status = EXIT_DONE;
    if (checks)
        status = check(policy);
    else
        print_lines(policy);
    policy_unref(policy);
    return status;
}
