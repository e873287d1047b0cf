/* srs: owns nothing that lasts; remembers the domain of the last sender, as nearly all have the same. Cannot fail: who cannot be told
 * stays as he is. */
#include "gate/srs.h"

#include "base/pool.h"
#include "policy/rules.h"

#include <stdio.h>
#include <string.h>

/* False: it is proved that it is not. */
static bool is_row(struct aliases_reading *reading, const char *domain, struct pool *pool)
{
    char text[ADDRESS_DOMAIN_MAX + 8];
    struct address address;
    struct alias_query query;
    struct alias_rows rows = {0};
    snprintf(text, sizeof text, "srs0@%s", domain);
    if (address_parse(text, "", &address, NULL) != ADDRESS_MAILBOX ||
        rules_alias_query(&address, pool, &query) < 0)
        return true;
    aliases_alias(reading, &query, pool, &rows);
    return rows.domain.domain != NULL || rows.state != ROWS_LIVE;
}

static bool is_ours(struct aliases *rules, const char *domain)
{
    if (rules == NULL)
        return true;
    struct aliases_reading reading = aliases_begin(rules);
    struct pool pool = {0};
    bool ours = is_row(&reading, domain, &pool);
    for (const char *dot = strchr(domain, '.'); !ours && dot != NULL && strchr(dot + 1, '.') != NULL;
         dot = strchr(dot + 1, '.'))
        ours = is_row(&reading, dot + 1, &pool);
    pool_done(&pool);
    aliases_end(&reading);
    return ours;
}

const char *srs_original(struct srs *srs, const char *raw)
{
    char domain[ADDRESS_DOMAIN_MAX + 1];
    enum address_srs found = address_srs(raw, srs->text, sizeof srs->text, domain);
    if (found == ADDRESS_SRS_NONE)
        return raw;
    if (strcmp(domain, srs->domain) != 0) {
        memcpy(srs->domain, domain, sizeof domain);
        srs->ours = is_ours(srs->rules, domain);
    }
    if (!srs->ours) {
        srs->foreign++;
        return raw;
    }
    srs->opaque += found == ADDRESS_SRS_OPAQUE;
    srs->undone += found == ADDRESS_SRS_ORIGINAL;
    return found == ADDRESS_SRS_ORIGINAL ? srs->text : raw;
}
