/* main: the program: finds the subcommand and runs it. */
#include "command.h"
#include "commands.h"
#include "json_memory.h"
#include "sys/ids.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static int run(const struct command *command, int argc, char **argv)
{
    if (argc > 1 && is_help(argv[argc - 1]))
        return commands_help(2, argv - 1);
    int status = command->run(argc, argv);
    if (status == EXIT_USAGE)
        commands_usage(stderr, command);
    return status;
}

static int dispatch(int argc, char **argv)
{
    for (const struct command *c = commands; c->name != NULL; c++)
        if (strcmp(c->name, argv[1]) == 0)
            return run(c, argc - 1, argv + 1);
    if (is_help(argv[1]))
        return commands_help(1, argv);
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
        return puts("rcptgate " RCPTGATE_VERSION) < 0;
    static const char *const options[] = {"--help", "--version", NULL};
    bool option = argv[1][0] == '-';
    char hint[COMMAND_HINT];
    fprintf(stderr, "rcptgate: there is no %s \"%s\"%s; rcptgate help lists the commands\n",
            option ? "option" : "command", argv[1],
            option ? command_hint(argv[1], options, hint) : commands_hint(argv[1], hint));
    return EXIT_USAGE;
}

/* "-c FILE" may stand before the command, too: moved behind it, where every command looks. */
static void move_policy(int argc, char **argv)
{
    if (argc > 3 && strcmp(argv[1], "-c") == 0) {
        char *option = argv[1], *file = argv[2];
        argv[1] = argv[3];
        argv[2] = option;
        argv[3] = file;
    } else if (argc > 2 && strncmp(argv[1], "-c", 2) == 0 && argv[1][2] != '\0') {
        char *option = argv[1];
        argv[1] = argv[2];
        argv[2] = option;
    }
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* a reader that went away is an error of write(), not our end */
    ids_hide_memory();
    json_memory_init();
    if (argc < 2) {
        commands_print(stderr);
        return EXIT_USAGE;
    }
    move_policy(argc, argv);
    int status = dispatch(argc, argv);
    bool failed = fflush(stdout) != 0 || ferror(stdout);
    if (command_reader_gone()) /* `export | head -1`: who reads has enough */
        return status == EXIT_INTERNAL ? EXIT_DONE : status;
    if (failed && status == EXIT_DONE) {
        perror("rcptgate: standard output");
        return EXIT_INTERNAL;
    }
    return status;
}
