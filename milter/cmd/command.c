/* command: the options of a command line. Owns nothing; what is wrong is said on standard error. */
#include "command.h"

#include <stdarg.h>
#include <stdio.h>
#include "base/text.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int command_usage(const char *name, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "rcptgate %s: ", name);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return EXIT_USAGE;
}

const char *command_hint(const char *name, const char *const *names, char buffer[COMMAND_HINT])
{
    const char *nearest = text_nearest(name, names);
    snprintf(buffer, COMMAND_HINT, "%s%s%s", nearest != NULL ? "; did you mean \"" : "",
             nearest != NULL ? nearest : "", nearest != NULL ? "\"?" : "");
    return buffer;
}

bool command_reader_gone(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    struct stat st;
    return fstat(STDOUT_FILENO, &st) == 0 && S_ISFIFO(st.st_mode) && poll(&out, 1, 0) == 1 &&
           (out.revents & POLLERR) != 0;
}

static void end_well(int number)
{
    (void)number;
    _exit(EXIT_DONE);
}

void command_end_on_signals(void)
{
    const struct sigaction action = {.sa_handler = end_well};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

bool command_wait(int ms)
{
    struct pollfd out = {.fd = STDOUT_FILENO};
    return ferror(stdout) == 0 && poll(&out, 1, ms) == 0;
}

int command_no_policy(const char *file)
{
    return access(file, R_OK) < 0 && errno == EACCES ? EXIT_NO_RIGHT : EXIT_CONFIG;
}

static const struct option_value *option_find(const struct option_value *options, const char *arg, size_t *n)
{
    const char *equals = arg[1] == '-' ? strchr(arg, '=') : NULL;
    *n = equals != NULL ? (size_t)(equals - arg) : strlen(arg);
    for (const struct option_value *o = options; o->name != NULL; o++)
        if (strlen(o->name) == *n && strncmp(o->name, arg, *n) == 0)
            return o;
    return NULL;
}

/* "-cFILE": the option of one letter whose value follows at once. */
static const struct option_value *option_short(const struct option_value *options, const char *arg)
{
    for (const struct option_value *o = options; o->name != NULL; o++)
        if (o->value != NULL && strlen(o->name) == 2 && strncmp(o->name, arg, 2) == 0)
            return o;
    return NULL;
}

/* False, after saying so. */
static bool option_unknown(const char *name, const char *arg, const struct option_value *options)
{
    enum { OPTIONS_MAX = 32 };
    const char *names[OPTIONS_MAX + 1] = {NULL};
    char typed[64], hint[COMMAND_HINT];
    for (size_t i = 0; i < OPTIONS_MAX && options[i].name != NULL; i++)
        names[i] = options[i].name;
    snprintf(typed, sizeof typed, "%.*s", (int)strcspn(arg, "="), arg);
    command_usage(name, "unknown option %s%s", arg, arg[1] == '-' ? command_hint(typed, names, hint) : "");
    return false;
}

/* Takes one option at argv[*i]. False: complained. */
static bool option_take(const char *name, int argc, char **argv, int *i, const struct option_value *options)
{
    const char *arg = argv[*i];
    size_t n;
    const struct option_value *o = option_find(options, arg, &n);
    if (o == NULL && arg[1] != '-' && (o = option_short(options, arg)) != NULL) {
        *o->value = arg + 2;
        return true;
    }
    if (o == NULL) {
        return option_unknown(name, arg, options);
    }
    if (o->flag != NULL) {
        if (arg[n] == '=') {
            command_usage(name, "%s takes no value", o->name);
            return false;
        }
        *o->flag = true;
        return true;
    }
    if (arg[n] == '=') {
        *o->value = arg + n + 1;
    } else if (*i + 1 < argc) {
        *o->value = argv[++*i];
    } else {
        command_usage(name, "%s needs a value", o->name);
        return false;
    }
    return true;
}

int command_options(const char *name, int argc, char **argv, const struct option_value *options)
{
    int n = 0;
    bool only_positional = false;
    for (int i = 1; i < argc; i++) {
        if (!only_positional && strcmp(argv[i], "--") == 0)
            only_positional = true;
        else if (only_positional || argv[i][0] != '-' || argv[i][1] == '\0')
            argv[++n] = argv[i];
        else if (!option_take(name, argc, argv, &i, options))
            return -1;
    }
    return n;
}
