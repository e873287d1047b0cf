/* command: the options of a command line. Owns nothing; what is wrong is said on standard error. */
#include "command.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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
        command_usage(name, "unknown option %s", arg);
        return false;
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
