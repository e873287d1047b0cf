/* commands: the table of all subcommands, and `help`, which prints it. A command is a row here and a file cmd_*.c. */
#include "commands.h"

#include "command.h"

#include <stdio.h>
#include <string.h>

#define RULE_OPTIONS                                                                                         \
    "  -c FILE            policy (default /etc/rcptgate/policy.json)\n"                                      \
    "  --database FILE    the alias database, instead of the policy's\n"                                     \
    "  --action WORD      accept, defer, reject or discard\n"                                                \
    "  --reply TEXT       own reply line, e.g. \"550 5.1.1 gone for good\"\n"
#define FILE_OPTIONS                                                                                         \
    "  --json             list and import, for programs\n"                                                   \
    "import [FILE], export [FILE]: CSV with the names of the columns, or JSON Lines; - is standard input "   \
    "or output\n"                                                                                            \
    "  --format WORD      csv, jsonl, or postfix for a map such as virtual(5)\n"                             \
    "  --update           import: a row that exists takes the file's columns\n"                              \
    "  --replace          import: in place of all rows that are there\n"                                     \
    "  --force            import: also where --replace removes more than max_shrink\n"                       \
    "  --skip-bad         import: write the good rows although some are bad\n"                               \
    "  --dry-run          import: only say what would be done\n"

const struct command commands[] = {
    {"run", cmd_run, "[-c FILE]", "Runs the milter in the foreground.",
     "  -c FILE            policy (default /etc/rcptgate/policy.json)\n"},
    {"check", cmd_check, "[-c FILE | FILE] [--connect] [--json]",
     "Validates a policy and names every problem; - is standard input.",
     "  --connect          try what it names, too: Redis, and what systemd's unit lets the gate do\n"
     "  --json             for programs\n"
     "Exit status: 0 clean, 1 usable with entries skipped or what they name not usable, 78 unusable.\n"},
    {"explain", cmd_explain,
     "--to ADDRESS [--from ADDRESS] [--client IP] [--user LOGIN] [--size BYTES] [-c FILE] [--json]",
     "Tells what this RCPT would be answered now, and why. Charges nothing.",
     "  --to ADDRESS       the recipient\n"
     "  --from ADDRESS     the sender (default <>)\n"
     "  --client IP        the client (default: unknown)\n"
     "  --user LOGIN       as if logged in\n"
     "  --size BYTES       as if MAIL FROM declared SIZE=\n"
     "  --json             for programs\n"},
    {"replay", cmd_replay,
     "[--policy NEW] [--against OLD] [--no-aliases] [-n N] [-c FILE] [--json] MAILLOG...",
     "Runs mail logs through a policy: what would have been refused? Never asks Redis.",
     "  MAILLOG            a log of Postfix, plain or compressed, the oldest first; - is standard input\n"
     "  --policy NEW       the policy to try, instead of that of -c\n"
     "  --against OLD      say what it would change compared with this one\n"
     "  --no-aliases       without the alias rules of the policy's database\n"
     "  -n N               lines of a list (default 20, 0: all)\n"
     "  --json             for programs\n"
     "Exit status: 0 done, 1 nothing usable in the logs, 66 a log cannot be read, 78 a policy cannot be "
     "used.\n"},
    {"show", cmd_show, "SUBJECT... [-c FILE] [--json]",
     "Shows the counters of an address, domain, client or login.",
     "  SUBJECT            a@example.com, example.com, 192.0.2.7, owner:bob, or a whole key\n"
     "  --json             for programs\n"},
    {"top", cmd_top, "[--by WORD] [--limit NAME] [-n N] [--watch] [-c FILE] [--json]",
     "Shows what is refused most or nearest to a limit, and who floods it.",
     "  --by WORD          subject (the default), or of the last minutes client, sender or rule\n"
     "  --limit NAME       only this limit\n"
     "  -n N               how many of each (default 10)\n"
     "  --watch            again and again, until Ctrl-C\n"
     "  --json             for programs\n"},
    {"events", cmd_events, "[--follow] [-n N] [-c FILE] [--json]",
     "Shows the last events of all hosts: limits hit, backends down and up, blocks.",
     "  --follow           and those that come, until Ctrl-C\n"
     "  -n N               how many of the last (default 20)\n"
     "  --json             for programs; with --follow an object a line\n"},
    {"reset", cmd_show_reset, "SUBJECT... [--limit NAME] [-c FILE] [--json]",
     "Clears counters and holds of a subject.",
     "  --limit NAME       only this limit\n"
     "  --json             for programs\n"},
    {"alias", cmd_rules,
     "init | add | set | remove | list | show | import | export | accept | snapshot | install | rollback"
     "  [ADDRESS] [MAILBOX] [FILE] [OPTION...]",
     "Edits the aliases; an address with * or ? in its local part is a glob.",
     RULE_OPTIONS "  --mailbox A[,B]    where it forwards to\n"
                  "  --owner NAME       whose it is\n"
                  "  --class NAME       for `when` in limits\n"
                  "  --expires WHEN     Unix time, date, or a duration such as 30d, never\n"
                  "  --group NAME       init: who shares the database with the gate\n" FILE_OPTIONS
                  "  accept             take the present data although it lost more than max_shrink\n"
                  "  show ADDRESS       which row answers for it, and the sender rules that apply\n"
                  "  snapshot FILE      all alias data, for other hosts: serial and checksum are in it\n"
                  "  install FILE       takes a snapshot, in one transaction\n"
                  "  rollback           back to what was there before the last install\n"
                  "  --dry-run          install, rollback: only say what would be done\n"
                  "  --force            install: also what is older, was rolled back, or lost much\n"
                  "  --json             show, snapshot, install, rollback: for programs\n"},
    {"domain", cmd_rules, "add | set | remove | list | import | export  [DOMAIN] [OPTION...]",
     "Edits the domains that are ours.",
     RULE_OPTIONS "  --catch-all WORD   accept or reject what no alias matches\n"
                  "  --owner NAME, --class NAME\n" FILE_OPTIONS},
    {"sender", cmd_rules,
     "add | set | remove | list | import | export  [SCOPE] [PATTERN] [ACTION] [OPTION...]",
     "Edits the sender rules of an alias, a domain, an owner, or all.",
     RULE_OPTIONS "  SCOPE              an alias address, @domain, @.domain (the domains below), owner:NAME "
                  "or * (the default)\n"
                  "  PATTERN            an address, @domain, @.domain (subdomains too), <> or *\n"
                  "  --scope SCOPE      instead of SCOPE before PATTERN\n" FILE_OPTIONS},
    {"client", cmd_rules, "add | set | remove | list | import | export  [NETWORK] [ACTION] [OPTION...]",
     "Edits the client rules; the longest prefix wins, accept exempts.",
     RULE_OPTIONS "  --expires WHEN     Unix time, date, or a duration such as 1h, never\n"
                  "  --for 1h           the same as --expires 1h\n" FILE_OPTIONS},
    {"status", cmd_status, "[-c FILE] [--json]",
     "Asks the running gate whether it is well, and if not: what, since when, and what to do.",
     "  --json             for programs\n"
     "Exit status: 0 healthy, 1 degraded, 2 down (also where no gate runs).\n"},
    {"block", cmd_block,
     "[ADDRESS/LEN...] [--file LIST] [--for 1h] [--reason TEXT] [--action WORD] [--force] [-c FILE] [--json]",
     "Refuses clients from now on, on every host.",
     "  --file LIST        networks, one a line, comments and all (- is standard input)\n"
     "  --for 1h           ends by itself; without, unblock ends it\n"
     "  --reason TEXT      shown by blocks, and in the log\n"
     "  --action WORD      reject (554 at connect, the default) or defer (450 at RCPT)\n"
     "  --force            also wider than /8 (IPv6 /32), or over an exempt client\n"
     "  --json             for programs\n"},
    {"unblock", cmd_block_undo, "[ADDRESS/LEN...] [--file LIST] [-c FILE] [--json]",
     "Ends blocks, on every host.",
     "  --file LIST        as for block\n"
     "  --json             for programs\n"},
    {"blocks", cmd_block_list, "[-c FILE] [--json]", "Lists the blocked networks.",
     "  --json             for programs\n"},
    {"postfix-lines", cmd_postfix_lines, "[--check] [-c FILE]",
     "Prints Postfix's settings for this host, as lines to paste; changes nothing.",
     "  --check            say instead what Postfix lacks of them\n"
     "Exit status of --check: 0 nothing, 1 something, 69 postconf cannot be asked.\n"},
    {"help", commands_help, "[COMMAND]", "Says how a command is used.", ""},
    {NULL, NULL, NULL, NULL, NULL},
};

void commands_print(FILE *out)
{
    fprintf(out,
            "rcptgate " RCPTGATE_VERSION ": alias rules and rate limits at RCPT TO, as a Postfix milter\n\n");
    for (const struct command *c = commands; c->name != NULL; c++)
        fprintf(out, "  %-14s %s\n", c->name, c->summary);
    fprintf(out, "\nrcptgate help COMMAND says more; rcptgate(8) and rcptgate-policy(5) say all.\n");
}

void commands_usage(FILE *out, const struct command *command)
{
    fprintf(out, "usage: rcptgate %s %s\n(rcptgate help %s says more)\n", command->name, command->arguments,
            command->name);
}

const char *commands_hint(const char *name, char buffer[COMMAND_HINT])
{
    const char *names[sizeof commands / sizeof commands[0]];
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        names[i] = commands[i].name;
    return command_hint(name, names, buffer);
}

int commands_help(int argc, char **argv)
{
    char hint[COMMAND_HINT];
    const char *policy = NULL; /* every command takes -c; there is nothing to ask it for */
    const struct option_value options[] = {{"-c", &policy, NULL}, {NULL, NULL, NULL}};
    int n = command_options("help", argc, argv, options);
    if (n < 0)
        return EXIT_USAGE;
    argc = n + 1;
    for (const struct command *c = commands; argc > 1 && c->name != NULL; c++) {
        if (strcmp(c->name, argv[1]) != 0)
            continue;
        printf("usage: rcptgate %s %s\n\n%s\n%s", c->name, c->arguments, c->summary, c->help);
        return EXIT_DONE;
    }
    if (argc > 1)
        return command_usage("help", "there is no command \"%s\"%s", argv[1], commands_hint(argv[1], hint));
    commands_print(stdout);
    return EXIT_DONE;
}
