/* fuzz_import: any bytes are a file of rows or bad rows: what gets into the database is canonical, and what CSV writes it
 * reads back. The first byte chooses the table and the format. */
#include "fuzz.h"

#include "rule_import.h"

#include "base/csv.h"
#include "base/network.h"
#include "policy/address.h"
#include "policy/reply.h"

static struct aliases_edit *edit;

static void open_once(void)
{
    static char path[300];
    struct error err = {0};
    if (edit != NULL)
        return;
    snprintf(path, sizeof path, "%s/aliases.db", fuzz_dir());
    demand(aliases_edit_create(path, NULL, &err) == EDIT_DONE);
    demand(aliases_edit_open(path, true, &edit, &err) == EDIT_DONE);
}

static const char *text_of(enum aliases_table table, const struct edit_record *record, const char *column)
{
    const char *text = rule_args_text(table, record, column);
    return text != NULL ? text : "";
}

static void check_address(const char *text)
{
    struct address address;
    demand(address_parse(text, "", &address, NULL) == ADDRESS_MAILBOX && strcmp(address.full, text) == 0);
}

static void check_reply(enum aliases_table table, const struct edit_record *record)
{
    const char *reply = text_of(table, record, "reply"), *action = text_of(table, record, "action");
    struct reply parsed;
    if (reply[0] != '\0' && (strcmp(action, "reject") == 0 || strcmp(action, "defer") == 0))
        demand(reply_parse(reply, action[0] == 'r' ? ACTION_REJECT : ACTION_DEFER, NULL, &parsed, NULL) == 0);
}

static bool check_row(enum aliases_table table, const struct edit_record *record, void *n)
{
    char domain[ADDRESS_DOMAIN_MAX + 1], text[NETWORK_TEXT];
    struct network network;
    ++*(int64_t *)n;
    if (table == ALIASES_ALIASES)
        check_address(text_of(table, record, "address"));
    if (table == ALIASES_DOMAINS || table == ALIASES_GLOBS) {
        const char *name = text_of(table, record, "domain");
        name += name[0] == '.'; /* ".example.com": all domains below it */
        demand(address_domain(name, domain, NULL) == 0 && strcmp(domain, name) == 0);
    }
    if (table == ALIASES_CLIENTS) {
        const char *name = text_of(table, record, "network");
        demand(network_parse(name, &network, NULL) == 0 && strcmp(network_format(&network, text), name) == 0);
    }
    for (const char *at = text_of(table, record, "mailbox"); *at != '\0'; at++)
        demand((unsigned char)*at >= ' ');
    check_reply(table, record);
    return true;
}

static void check_import(enum rule_noun noun, enum rule_format format, bool update, FILE *in)
{
    static const char *const nouns[NOUNS] = {"alias", "domain", "sender", "client"};
    struct pool pool = {0};
    struct error err = {0};
    struct import_result result;
    const struct rule_args args = {.noun = noun, .subaddress = "+", .now_s = 1700000000, .pool = &pool};
    const struct import_options options = {
        .format = format, .update = update, .skip_bad = true, .noun = nouns[noun]};
    int64_t rows = 0;
    enum edit_status status = rule_import(edit, &args, in, "file", &options, &result, &err);
    demand(status == EDIT_DONE || err.text[0] != '\0');
    for (int table = 0; table < ALIASES_TABLES; table++) {
        demand(aliases_edit_list(edit, (enum aliases_table)table, NULL, check_row, &rows, &err) == EDIT_DONE);
        demand(aliases_edit_clear(edit, (enum aliases_table)table, &err) == EDIT_DONE);
    }
    demand(rows == result.added);
    pool_done(&pool);
}

/* Every record that can be read is read again from what csv_write() makes of it. */
static void check_csv(FILE *in)
{
    static struct csv csv, again;
    struct error err = {0};
    enum csv_status status;
    csv_init(&csv, in);
    while ((status = csv_read(&csv, &err)) != CSV_END && status != CSV_FAILED) {
        char *text = NULL;
        size_t n = 0;
        if (status == CSV_BAD)
            continue;
        FILE *out = open_memstream(&text, &n);
        for (size_t i = 0; i < csv.n; i++) {
            fputs(i > 0 ? "," : "", out);
            csv_write(out, csv.field[i]);
        }
        fputs("\n", out);
        fclose(out);
        FILE *back = fmemopen(text, n, "r");
        csv_init(&again, back);
        bool is_empty = csv.n == 1 && csv.field[0][0] == '\0', is_long = n > CSV_BYTES / 2;
        bool is_marked = text[0] == '\xef'; /* what begins like a byte order mark is cut */
        if (!is_empty && !is_long && !is_marked) {
            demand(csv_read(&again, &err) == CSV_RECORD && again.n == csv.n);
            for (size_t i = 0; i < csv.n; i++)
                demand(strcmp(csv.field[i], again.field[i]) == 0);
        }
        fclose(back);
        free(text);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    open_once();
    unsigned how = data[0];
    FILE *in = fmemopen((void *)(uintptr_t)(data + 1), size - 1, "r");
    demand(in != NULL);
    if (how % 16 == 15)
        check_csv(in);
    else if ((how & 16) != 0)
        check_import(how % 2 == 0 ? NOUN_ALIAS : NOUN_DOMAIN, RULE_FORMAT_POSTFIX, (how & 8) != 0, in);
    else
        check_import((enum rule_noun)(how % 4), how & 4 ? RULE_FORMAT_JSONL : RULE_FORMAT_CSV, (how & 8) != 0,
                     in);
    fclose(in);
    return 0;
}
