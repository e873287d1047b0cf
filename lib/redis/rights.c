/* rights: see rights.h. Owns nothing; only what Redis itself writes is searched for, within bounds. */
#include "rights.h"

#include "base/text.h"
#include "redis/script.h"

#include <stdlib.h>
#include <string.h>

enum { COMMAND_MAX = 32 };

/* The n bytes at word as a command. */
static bool take(const char *word, size_t n, char *out, size_t size)
{
    if (n == 0 || n > COMMAND_MAX || n >= size)
        return false;
    memcpy(out, word, n);
    out[n] = '\0';
    text_lower(out);
    return true;
}

/* "... no permissions to run the 'hset' command" */
static bool find_named(const char *text, char *out, size_t size)
{
    static const char words[] = "permissions to run the '";
    const char *at = strstr(text, words);
    return at != NULL && take(at + sizeof words - 1, strcspn(at + sizeof words - 1, "'"), out, size);
}

/* "... script: <sha1>, on @user_script:34." of Redis 7, "(call to f_<sha1>): @user_script:34: ..." of Redis 6: the line of
 * our script, in which the command stands as call('HSET', ...). */
static const char *find_line(const char *text)
{
    static const char place[] = "@user_script:", *const names[] = {"script: ", "(call to f_"};
    const char *number = strstr(text, place);
    for (size_t i = 0; number != NULL && i < sizeof names / sizeof names[0]; i++) {
        const char *sha = text, *line = NULL;
        while (line == NULL && (sha = strstr(sha, names[i])) != NULL && sha < number)
            line = redis_script_line(sha += strlen(names[i]), strtoul(number + sizeof place - 1, NULL, 10));
        if (line != NULL)
            return line;
    }
    return NULL;
}

static bool find_in_script(const char *text, char *out, size_t size)
{
    static const char words[] = "call('";
    const char *line = find_line(text), *call = line != NULL ? strstr(line, words) : NULL;
    return call != NULL && call < line + strcspn(line, "\n") &&
           take(call + sizeof words - 1, strcspn(call + sizeof words - 1, "'\n"), out, size);
}

bool rights_find(const char *text, char *out, size_t size)
{
    return find_named(text, out, size) ||
           (strstr(text, "can't run this command") != NULL && find_in_script(text, out, size));
}
