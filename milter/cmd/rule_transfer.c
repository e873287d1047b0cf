/* rule_transfer: see rule_transfer.h. Owns the transfer and the operator's file while it runs; a refusal is said after what would
 * have changed. */
#include "rule_transfer.h"

#include "aliases/check.h"
#include "aliases/transfer.h"
#include "base/clock.h"
#include "command.h"
#include "rule_accept.h"
#include "rule_export.h"
#include "rule_rights.h"
#include "rule_write.h"
#include "sys/ids.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_SHRINK = 50 }; /* percent, where no policy says */

/* With the rights of the directory's owner, until ids_give_back(). */
static enum edit_status begin(const struct rule_transfer *of, struct aliases_transfer **out,
                              struct error *err)
{
    char safe[PATH_MAX];
    if (rule_rights_take(of->database, false, safe, err) < 0)
        return EDIT_FAILED;
    return aliases_transfer_begin(safe, out, err);
}

static void end(struct aliases_transfer *transfer)
{
    aliases_transfer_end(transfer);
    (void)ids_give_back(); /* what follows is then refused for what it is */
}

/* --- snapshot --- */

static void say_made(const struct rule_transfer *of, int64_t serial, const struct aliases_sizes *sizes)
{
    if (of->json)
        printf("{\"serial\": %" PRId64 ", \"rows\": {", serial);
    else
        printf("serial %" PRId64 ": ", serial);
    for (size_t i = 0; i < ALIASES_TABLES; i++)
        printf(of->json ? "%s\"%s\": %" PRId64 : "%s%s %" PRId64, i > 0 ? ", " : "",
               aliases_schema_columns[i].table, sizes->rows[i]);
    puts(of->json ? "}}" : "");
}

static enum edit_status pour(int fd, FILE *out, const char *name, struct error *err)
{
    char bytes[65536];
    ssize_t n;
    off_t at = 0;
    while ((n = pread(fd, bytes, sizeof bytes, at)) > 0 && fwrite(bytes, 1, (size_t)n, out) == (size_t)n)
        at += n;
    if (n == 0 && fflush(out) == 0)
        return EDIT_DONE;
    error_set(err, "%s cannot be written: %s", name, strerror(errno));
    return EDIT_CREATE;
}

int rule_transfer_snapshot(const struct rule_transfer *of, const char *file, struct error *err)
{
    struct rule_export_file out;
    struct aliases_transfer *transfer = NULL;
    struct aliases_sizes sizes = {0};
    int64_t serial = 0;
    int fd = -1;
    if (rule_export_open(&out, file, err) < 0)
        return EXIT_CANNOT_CREATE;
    enum edit_status status = begin(of, &transfer, err);
    if (status == EDIT_DONE)
        status = aliases_transfer_make(transfer, clock_now_ms() / 1000, &serial, &sizes, &fd, err);
    end(transfer);
    if (status == EDIT_DONE)
        status = pour(fd, out.out, out.name, err);
    if (fd >= 0)
        (void)close(fd); /* only read, and gone */
    status = rule_export_close(&out, status, err);
    if (status == EDIT_DONE && out.out != stdout)
        say_made(of, serial, &sizes);
    return rule_write_exit_status(status);
}

/* --- install and rollback --- */

int rule_transfer_open(const char *file, struct error *err)
{
    struct stat st;
    if (strcmp(file, "-") == 0)
        return STDIN_FILENO;
    int fd = open(file, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return fd;
    if (fd < 0)
        error_set(err, "%s cannot be read: %s", file, strerror(errno));
    else
        (void)close(fd); /* nothing was read */
    error_set(err, "%s is no file; a pipe is read as standard input, by the name -", file);
    return -1;
}

static void say_rows(const struct edit_difference *of, bool json)
{
    printf(json ? "\"added\": %" PRId64 ", \"updated\": %" PRId64 ", \"removed\": %" PRId64
                : "%" PRId64 " added, %" PRId64 " updated, %" PRId64 " removed",
           of->added, of->changed, of->removed);
}

static bool changes(const struct edit_difference *of)
{
    return of->added + of->changed + of->removed > 0;
}

static void say_json(const struct transfer_report *report, bool written)
{
    printf("{\"serial\": %" PRId64 ", \"in_force\": %" PRId64 ", ", report->serial, report->in_force);
    say_rows(&report->all, true);
    printf(", \"tables\": {");
    for (size_t i = 0; i < ALIASES_TABLES; i++) {
        printf("%s\"%s\": {", i > 0 ? ", " : "", aliases_schema_columns[i].table);
        say_rows(&report->tables[i], true);
        putchar('}');
    }
    printf("}, \"written\": %s}\n", written ? "true" : "false");
}

static void say_serial(const char *before, int64_t serial, const char *none, const char *after)
{
    if (serial > 0)
        printf("%sserial %" PRId64 "%s", before, serial, after);
    else
        printf("%s%s%s", before, none, after);
}

static void say(const struct rule_transfer *of, const struct transfer_report *report, bool written)
{
    const char *how = rule_write_how(of->dry_run, written);
    if (of->json) {
        say_json(report, written);
        return;
    }
    say_serial(how, report->serial, "rows that no snapshot brought", " ");
    say_serial("in place of ", report->in_force, "rows that no snapshot brought", ": ");
    if (changes(&report->all))
        say_rows(&report->all, false);
    puts(changes(&report->all) ? "" : "nothing changes");
    for (size_t i = 0; i < ALIASES_TABLES; i++) {
        if (!changes(&report->tables[i]))
            continue;
        printf("  %s: ", aliases_schema_columns[i].table);
        say_rows(&report->tables[i], false);
        putchar('\n');
    }
}

/* Would a gate that has taken what is there refuse what is to come? */
static bool shrinks(const struct rule_transfer *of, const struct transfer_report *report, struct error *left)
{
    int max_shrink = of->policy != NULL ? of->policy->aliases.max_shrink : MAX_SHRINK;
    return aliases_check_shrink(&report->before, &report->after, max_shrink, left) == CHECK_BAD;
}

/* Of a snapshot that is whole. The one that is in force may come again: whoever repeats it means these rows. */
static bool may_install(const struct rule_transfer *of, const struct transfer_report *report,
                        struct error *err)
{
    bool again = report->serial == report->in_force;
    struct error left = {0};
    if (of->force)
        return true;
    if (!again && report->serial <= report->newest && report->serial > report->in_force)
        error_set(err,
                  "serial %" PRId64
                  " was made here, or was rolled back here, or is older than one that was (serial %" PRId64
                  "); nothing was written (--force does it)",
                  report->serial, report->newest);
    else if (!again && report->serial <= report->newest)
        error_set(
            err, "serial %" PRId64 " is older than serial %" PRId64 "; nothing was written (--force does it)",
            report->serial, report->newest);
    else if (shrinks(of, report, &left))
        error_set(err, "max_shrink does not allow it: %s; nothing was written (--force does it)", left.text);
    return err->text[0] == '\0';
}

/* A gate that runs here would ask whether the loss of so many rows is right. */
static void accept_loss(const struct rule_transfer *of)
{
    struct error why = {0};
    if (of->policy != NULL && rule_accept(of->policy, of->json, &why) != EXIT_DONE)
        fprintf(stderr,
                "rcptgate alias: done, but the gate could not be told that the loss of so many rows is "
                "right: %s; "
                "run: rcptgate alias accept\n",
                why.text);
}

/* What was received or recalled, into its place. */
static enum edit_status put(const struct rule_transfer *of, struct aliases_transfer *transfer,
                            struct transfer_report *report, bool *written, struct error *err)
{
    enum edit_status status = aliases_transfer_compare(transfer, !of->dry_run, report, err);
    if (status != EDIT_DONE)
        return status;
    bool allowed = may_install(of, report, err);
    if (allowed && !of->dry_run)
        status = aliases_transfer_commit(transfer, err);
    *written = allowed && !of->dry_run && status == EDIT_DONE;
    if (status == EDIT_DONE)
        say(of, report, *written);
    return allowed ? status : EDIT_INVALID;
}

static int finish(const struct rule_transfer *of, struct aliases_transfer *transfer, enum edit_status status,
                  struct error *err)
{
    struct transfer_report report;
    struct error left = {0};
    bool written = false;
    if (status == EDIT_DONE)
        status = put(of, transfer, &report, &written, err);
    end(transfer);
    if (written && shrinks(of, &report, &left))
        accept_loss(of);
    return rule_write_exit_status(status);
}

int rule_transfer_install(const struct rule_transfer *of, const char *file, int fd, struct error *err)
{
    const char *name = fd == STDIN_FILENO ? "standard input" : file;
    struct aliases_transfer *transfer = NULL;
    enum edit_status status = fd != STDIN_FILENO ? aliases_transfer_look(fd, name, err) : EDIT_DONE;
    if (status == EDIT_DONE)
        status = begin(of, &transfer, err);
    if (status == EDIT_DONE)
        status = aliases_transfer_receive(transfer, fd, name, err);
    int exit_status = finish(of, transfer, status, err);
    if (fd != STDIN_FILENO)
        (void)close(fd); /* only read */
    return exit_status;
}

/* Who goes back means it: nothing has to be forced. */
int rule_transfer_rollback(const struct rule_transfer *of, struct error *err)
{
    const struct rule_transfer forced = {.database = of->database,
                                         .policy = of->policy,
                                         .json = of->json,
                                         .dry_run = of->dry_run,
                                         .force = true};
    struct aliases_transfer *transfer = NULL;
    enum edit_status status = begin(of, &transfer, err);
    if (status == EDIT_DONE)
        status = aliases_transfer_recall(transfer, err);
    return finish(&forced, transfer, status, err);
}
