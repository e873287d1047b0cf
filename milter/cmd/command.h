/* command: what every subcommand needs: its function, exit statuses, option parsing. The table of them is in commands.h. */
#ifndef RCPTGATE_CMD_COMMAND_H
#define RCPTGATE_CMD_COMMAND_H

#include <stdbool.h>

enum { /* exit statuses, as in sysexits.h */
       EXIT_DONE = 0,
       EXIT_REFUSED = 1,
       EXIT_USAGE = 64,
       EXIT_NO_INPUT = 66,
       EXIT_UNAVAILABLE = 69,
       EXIT_INTERNAL = 70,
       EXIT_CANNOT_CREATE = 73,
       EXIT_BUSY = 75,
       EXIT_NO_RIGHT = 77,
       EXIT_CONFIG = 78,
       EXIT_INTERRUPTED = 130, /* as the shell says of SIGINT */
};

/* Each takes its own name as argv[0] and returns the exit status. */
int cmd_run(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_events(int argc, char **argv);
int cmd_show_reset(int argc, char **argv);
int cmd_rules(int argc, char **argv); /* alias, domain, sender, client */
int cmd_status(int argc, char **argv);
int cmd_block(int argc, char **argv);
int cmd_block_undo(int argc, char **argv);
int cmd_block_list(int argc, char **argv);
int cmd_postfix_lines(int argc, char **argv);

/* Tells on stderr what is wrong with the arguments of that command; returns EXIT_USAGE, for which main() shows its usage. */
int command_usage(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* `; did you mean "status"?`, or "" where none of names (which end with NULL) is near. Returns buffer. */
enum { COMMAND_HINT = 64 };
const char *command_hint(const char *name, const char *const *names, char buffer[COMMAND_HINT]);

/* Has whoever read our standard output, a pipe, gone away? Then it had enough, which is no error. */
bool command_reader_gone(void);

/* For a command that goes on until it is told to end: Ctrl-C is then its end as it should be. What it prints it flushes. */
void command_end_on_signals(void);

/* Waits so long. False, at once: nobody reads standard output any more. */
bool command_wait(int ms);

/* How to exit where no policy was found, of which was spoken: EXIT_NO_RIGHT or EXIT_CONFIG. */
int command_no_policy(const char *file);

/* One option of a command line. */
struct option_value {
    const char *name;   /* "--from" */
    const char **value; /* its value goes there, or */
    bool *flag;         /* for an option without one */
};

/* Parses argv[1..]: fills the options ("--from X", "--from=X"; "-c FILE" and "-cFILE" go by the name "-c"),
 * moves all else to the front of argv from index 1 on. A "--" ends the options. options ends with a NULL
 * name. How many positional arguments there are, or -1 after command_usage() has said what is wrong. */
int command_options(const char *name, int argc, char **argv, const struct option_value *options);

#endif
