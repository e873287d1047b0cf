/* commands: the table of all subcommands, and what is printed of it. */
#ifndef RCPTGATE_CMD_COMMANDS_H
#define RCPTGATE_CMD_COMMANDS_H

#include "command.h"

#include <stdio.h>

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *arguments; /* for the usage line */
    const char *summary;   /* one sentence */
    const char *help;      /* a line for each option */
};

extern const struct command commands[]; /* name NULL ends it */

void commands_print(FILE *out);                                /* one line each */
void commands_usage(FILE *out, const struct command *command); /* how it is called, and where more is said */
const char *commands_hint(const char *name, char buffer[COMMAND_HINT]); /* as command_hint() */
int commands_help(int argc, char **argv);                               /* "help" */

#endif
