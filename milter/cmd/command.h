/* command: what every subcommand needs: its table row, exit statuses, option parsing. */
#ifndef RCPTGATE_CMD_COMMAND_H
#define RCPTGATE_CMD_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { /* exit statuses, as in sysexits.h */
       EXIT_DONE = 0,
       EXIT_REFUSED = 1,
       EXIT_USAGE = 64,
       EXIT_NO_INPUT = 66,
       EXIT_UNAVAILABLE = 69,
       EXIT_INTERNAL = 70,
       EXIT_CONFIG = 78,
};

/* Each takes its own name as argv[0] and returns the exit status. */
int cmd_run(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_show_reset(int argc, char **argv);
int cmd_rules(int argc, char **argv); /* alias, domain, sender, client */
int cmd_status(int argc, char **argv);
int cmd_block(int argc, char **argv);
int cmd_block_undo(int argc, char **argv);
int cmd_block_list(int argc, char **argv);

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *arguments; /* for the usage line */
    const char *summary;   /* one sentence */
    const char *help;      /* a line for each option */
};

/* commands.c */
extern const struct command commands[];   /* name NULL ends it */
void commands_print(FILE *out);           /* one line each */
int commands_help(int argc, char **argv); /* "help" */

/* Prints the usage of that command to stderr; returns EXIT_USAGE. */
int command_usage(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* One option of a command line. */
struct option_value {
    const char *name;   /* "--from" */
    const char **value; /* its value goes there, or */
    bool *flag;         /* for an option without one */
};

/* Parses argv[1..]: fills the options ("--from X", "--from=X"; "-c FILE" and "-cFILE" go by the name "-c"),
 * moves all else to the front of argv from index 1 on. A "--" ends the options. options ends with a NULL
 * name. How many positional arguments there are, or -1 after command_usage() has told what is wrong. */
int command_options(const char *name, int argc, char **argv, const struct option_value *options);

#endif
