/* rule_write: see rule_write.h. Owns nothing; the transaction is the caller's. */
#include "rule_write.h"

#include "command.h"

struct check {
    const struct rule *rule;
    struct error *err;
    bool ok;
};

static bool check_row(enum aliases_table table, const struct edit_record *existing, void *context)
{
    struct check *check = context;
    (void)table;
    check->ok = rule_args_check_reply(check->rule, existing, check->err) == 0;
    return false;
}

static bool given(const struct rule *rule, const char *column)
{
    return rule->record.at[aliases_schema_column(rule->table, column)].kind != EDIT_UNSET;
}

enum edit_status rule_write_update(struct aliases_edit *edit, const struct rule *rule, struct error *err)
{
    struct check check = {.rule = rule, .err = err};
    enum edit_status status = EDIT_DONE;
    if (given(rule, "action") && given(rule, "reply"))
        check.ok = rule_args_check_reply(rule, NULL, err) == 0; /* whatever the row has now */
    else
        status = aliases_edit_list(edit, rule->table, &rule->record, check_row, &check, err);
    if (status != EDIT_DONE)
        return status;
    return check.ok ? aliases_edit_set(edit, rule->table, &rule->record, err) : EDIT_INVALID;
}

enum edit_status rule_write_insert(struct aliases_edit *edit, const struct rule *rule, bool update,
                                   bool *updated, struct error *err)
{
    struct error missing = {0};
    *updated = false;
    if (update) {
        enum edit_status status = rule_write_update(edit, rule, &missing);
        *updated = status == EDIT_DONE;
        if (status != EDIT_NOT_FOUND) {
            if (status != EDIT_DONE)
                error_set(err, "%s", missing.text);
            return status;
        }
    }
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
