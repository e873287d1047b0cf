/* rule_write: see rule_write.h. Owns nothing; the transaction is the caller's. */
#include "rule_write.h"

#include "command.h"

#include <string.h>

struct check {
    const struct rule *rule;
    struct error *err;
    bool ok;
    bool same; /* the row is already as rule wants it */
};

static bool is_same(const struct edit_value *wanted, const struct edit_value *existing)
{
    if (wanted->kind != existing->kind)
        return wanted->kind == EDIT_UNSET;
    return wanted->kind == EDIT_TEXT     ? strcmp(wanted->text, existing->text) == 0
           : wanted->kind == EDIT_NUMBER ? wanted->number == existing->number
                                         : true;
}

static bool check_row(enum aliases_table table, const struct edit_record *existing, void *context)
{
    struct check *check = context;
    check->ok = rule_args_check_reply(check->rule, existing, check->err) == 0;
    check->same = true;
    for (size_t i = 0; i < aliases_schema_columns[table].n; i++)
        check->same = check->same && is_same(&check->rule->record.at[i], &existing->at[i]);
    return false;
}

/* changed: NULL, or where a row that is as it should be is left alone. */
static enum edit_status update_row(struct aliases_edit *edit, const struct rule *rule, bool *changed,
                                   struct error *err)
{
    struct check check = {.rule = rule, .err = err};
    enum edit_status status = aliases_edit_list(edit, rule->table, &rule->record, check_row, &check, err);
    if (status != EDIT_DONE)
        return status;
    if (!check.ok)
        return EDIT_INVALID;
    if (changed != NULL && check.same)
        return EDIT_DONE;
    status = aliases_edit_set(edit, rule->table, &rule->record, err);
    if (changed != NULL)
        *changed = status == EDIT_DONE;
    return status;
}

enum edit_status rule_write_update(struct aliases_edit *edit, const struct rule *rule, struct error *err)
{
    return update_row(edit, rule, NULL, err);
}

enum edit_status rule_write_insert(struct aliases_edit *edit, const struct rule *rule, bool update,
                                   enum rule_written *written, struct error *err)
{
    struct error missing = {0};
    bool changed = false;
    if (update) {
        enum edit_status status = update_row(edit, rule, &changed, &missing);
        *written = changed ? RULE_UPDATED : RULE_UNCHANGED;
        if (status != EDIT_NOT_FOUND) {
            if (status != EDIT_DONE)
                error_set(err, "%s", missing.text);
            return status;
        }
    }
    *written = RULE_ADDED;
    if (rule_args_check_reply(rule, NULL, err) < 0)
        return EDIT_INVALID;
    return aliases_edit_add(edit, rule->table, &rule->record, err);
}

const char *rule_write_how(bool dry_run, bool written)
{
    return written ? "" : dry_run ? "would be: " : "refused: ";
}

int rule_write_exit_status(enum edit_status status)
{
    static const int statuses[] = {
        [EDIT_DONE] = EXIT_DONE,
        [EDIT_EXISTS] = EXIT_REFUSED,
        [EDIT_NOT_FOUND] = EXIT_REFUSED,
        [EDIT_MISSING] = EXIT_REFUSED,
        [EDIT_INVALID] = EXIT_REFUSED,
        [EDIT_BUSY] = EXIT_BUSY,
        [EDIT_CREATE] = EXIT_CANNOT_CREATE,
        [EDIT_NO_RIGHT] = EXIT_NO_RIGHT,
        [EDIT_FAILED] = EXIT_REFUSED,
    };
    return statuses[status];
}
