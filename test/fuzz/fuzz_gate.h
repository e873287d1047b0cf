/* fuzz_gate: a gate that counts in memory, with alias rules in a database of its own. Stays until the process ends. */
#ifndef RCPTGATE_TEST_FUZZ_GATE_H
#define RCPTGATE_TEST_FUZZ_GATE_H

#include "fuzz.h"

#include "config/config.h"
#include "gate/gate.h"

#include <sqlite3.h>

extern const char aliases_schema_sql[];

static inline void fuzz_gate_sql(sqlite3 *db, const char *sql)
{
    char *said = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &said) != SQLITE_OK)
        fuzz_fail(__FILE__, __LINE__, said);
}

/* rest: the keys of the policy behind state and aliases. rows: SQL. Returns the database, open. */
static inline sqlite3 *fuzz_gate_start(struct gate *gate, const char *rest, const char *rows)
{
    char path[300], text[4096];
    struct problems problems = {0};
    struct error err = {0};
    sqlite3 *db = NULL;
    snprintf(path, sizeof path, "%s/aliases.db", fuzz_dir());
    demand(sqlite3_open(path, &db) == SQLITE_OK);
    fuzz_gate_sql(db, aliases_schema_sql);
    fuzz_gate_sql(db, rows);
    int n = snprintf(text, sizeof text, "{\"state\": \"%s\", \"aliases\": {\"database\": \"%s\"}, %s}",
                     fuzz_dir(), path, rest);
    demand(n > 0 && (size_t)n < sizeof text);
    const struct policy *policy = config_load(text, (size_t)n, &problems);
    demand(policy != NULL && problems_status(&problems) == 0);
    problems_done(&problems);
    demand(gate_init(gate, policy, NULL, &err) == 0);
    return db;
}

#endif
