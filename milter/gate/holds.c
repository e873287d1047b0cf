/* holds: see holds.h. The file has a line for each hold: until when (Unix time in ms), window in ms, limit, key,
 * what is counted, max (older files do not say the last, or the last two: recipients, and none). */
#include "gate/holds.h"

#include "base/file.h"
#include "counters/window.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LIMIT_MAX = 64 };

struct saving {
    FILE *out;
    int64_t now_ms;
    size_t n;
};

static void save_one(void *arg, const struct count_view *view)
{
    struct saving *saving = arg;
    if (view->held_ms <= 0)
        return;
    fprintf(saving->out, "%" PRId64 " %" PRId64 " %s %s %s %" PRId64 "\n", saving->now_ms + view->held_ms,
            view->window_ms, view->limit, view->key, count_unit_name(view->unit), view->max);
    saving->n++;
}

/* All holds as text, which is the caller's to free; NULL with errno set. In memory first: who walks through
 * the counters holds the locks that sessions wait for, and no disk shall be waited for then. */
static char *text_make(struct counters *counters, int64_t now_ms, size_t *bytes, size_t *n)
{
    static const char *const all[] = {"*"};
    char *text = NULL;
    struct saving saving = {.out = open_memstream(&text, bytes), .now_ms = now_ms};
    if (saving.out == NULL)
        return NULL;
    bool ok =
        counters_show(counters, all, 1, now_ms, save_one, &saving) == COUNTERS_OK && ferror(saving.out) == 0;
    if (fclose(saving.out) == 0 && ok) {
        *n = saving.n;
        return text;
    }
    free(text);
    errno = ENOMEM; /* nothing else goes wrong in memory */
    return NULL;
}

int holds_save(struct counters *counters, const char *path, int64_t now_ms, struct error *err)
{
    size_t n = 0, bytes = 0;
    char *text = text_make(counters, now_ms, &bytes, &n);
    int rc = text == NULL ? -1 : 0;
    if (rc == 0 && n > 0)
        rc = file_write(path, text, bytes, 0640);
    else if (rc == 0)
        rc = unlink(path) < 0 && errno != ENOENT ? -1 : 0;
    if (rc < 0)
        error_set(err, "cannot write %s: %s; what limits hold now is lost at a restart", path,
                  strerror(errno));
    free(text);
    return rc;
}

/* False: the line makes no sense. What has ended is passed over. */
static bool load_line(struct counters *counters, char *line, int64_t now_ms)
{
    char limit[LIMIT_MAX + 1];
    int64_t until, window, max = WINDOW_MOST;
    int key = 0;
    enum count_unit unit = COUNT_UNIT_RECIPIENTS;
    if (sscanf(line, "%" SCNd64 " %" SCNd64 " %64s %n", &until, &window, limit, &key) != 3 || key == 0)
        return false;
    size_t n = strcspn(line + key, " \n");
    char *rest = line + key + n;
    if (*rest == ' ' && count_unit_find(rest + 1, strcspn(rest + 1, " \n"), &unit))
        rest += 1 + strlen(count_unit_name(unit));
    if (*rest == ' ' && sscanf(rest, " %" SCNd64, &max) == 1)
        rest += strcspn(rest, "\n");
    if (n == 0 || *rest != '\n' || window <= 0 || max < 0)
        return false;
    line[key + (int)n] = '\0';
    if (until <= now_ms)
        return true;
    const struct count_ask ask = {.key = line + key,
                                  .limit = limit,
                                  .unit = unit,
                                  .max = max,
                                  .window_ms = window,
                                  .hold_ms = until - now_ms,
                                  .ttl_ms = until - now_ms + window,
                                  .share_of = -1};
    const struct count_request request = {.asks = &ask, .n = 1};
    return counters_charge(counters, &request, now_ms) == COUNTERS_OK;
}

int holds_load(struct counters *counters, const char *path, int64_t now_ms, struct error *err)
{
    char *line = NULL; /* keys of several subjects are long */
    size_t room = 0, bad = 0;
    int fd = file_open_own(path, O_RDONLY, 0);
    FILE *in = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (in == NULL && errno == ENOENT)
        return 0;
    while (in != NULL && getline(&line, &room, in) > 0)
        bad += !load_line(counters, line, now_ms);
    free(line);
    bool ok = in != NULL && ferror(in) == 0;
    if (!ok)
        error_set(err, "cannot read %s: %s", path, strerror(errno));
    if (in != NULL)
        (void)fclose(in); /* only read: nothing can be lost */
    if (bad > 0)
        error_set(err, "%zu lines of %s make no sense and are passed over", bad, path);
    return ok && bad == 0 ? 0 : -1;
}
