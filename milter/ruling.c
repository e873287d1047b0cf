/* ruling: walks from the envelope to the ruling: which questions are asked of the database, in which order, and whether its last good
 * copy has to say the same. Owns nothing. What cannot be read is a ruling like any other ("cannot tell"); only want of
 * memory is a failure. */
#include "milter/ruling.h"

#include "base/unzeroed.h"

/* Most clients have no rule: what was found so for one RCPT of a session holds for the others, until the data changes. */
static void read_client(const struct ruling_question *q, struct aliases_reading *reading,
                        struct client_row *out)
{
    uint64_t generation = aliases_generation(reading), *none = reading->second ? NULL : q->no_client_rule;
    if (none != NULL && *none != 0 && *none == generation) {
        *out = (struct client_row){.state = ROWS_LIVE};
        return;
    }
    aliases_client(reading, q->envelope->client, q->envelope->now_ms / 1000, q->pool, out);
    if (none != NULL && out->state == ROWS_LIVE && out->network == NULL)
        *none = generation;
}

static int read_alias(const struct ruling_question *q, struct aliases_reading *reading, struct alias *out)
{
    struct alias_rows rows UNZEROED;
    struct alias_query query UNZEROED;
    *out = (struct alias){0};
    if (q->gate->rules == NULL || q->envelope->recipient->domain[0] == '\0')
        return 0;
    if (rules_alias_query(q->envelope->recipient, q->pool, &query) < 0)
        return -1;
    aliases_alias(reading, &query, q->pool, &rows);
    rules_alias(q->policy, q->envelope, &rows, out);
    return 0;
}

static int read_senders(const struct ruling_question *q, struct aliases_reading *reading, const char *owner,
                        struct sender_rows *out)
{
    struct sender_query query UNZEROED;
    *out = (struct sender_rows){.state = ROWS_LIVE};
    if (!aliases_has_senders(reading))
        return 0;
    if (rules_sender_query(q->envelope->sender, q->envelope->recipient, owner, q->pool, &query) < 0)
        return -1;
    aliases_sender(reading, &query, q->pool, out);
    return 0;
}

static int read_rules(const struct ruling_question *q, struct aliases_reading *reading, struct ruling *out)
{
    struct alias alias UNZEROED;
    struct client_row client = {.state = ROWS_LIVE};
    struct sender_rows senders = {.state = ROWS_LIVE};
    if (!q->alias_only)
        read_client(q, reading, &client);
    if (q->client_only) {
        rules_client(q->policy, q->envelope, &client, out);
        return 0;
    }
    if (read_alias(q, reading, &alias) < 0)
        return -1;
    if (!q->alias_only && !rules_client_exempt(q->policy, q->envelope, &client) &&
        read_senders(q, reading, alias.owner, &senders) < 0)
        return -1;
    rules_rule(q->policy, q->envelope, &alias, &senders, &client, out);
    return 0;
}

/* Does the copy say the same? All of it, or whether the client is exempt, or what that limit asks; NULL: the hold of a client. */
struct confirmation {
    enum { OF_ALL, OF_CLIENT, OF_LIMIT } of;
    const struct limit *limit;
};

static bool agrees(const struct ruling_question *q, const struct ruling *ruling, const struct ruling *second,
                   struct confirmation confirmation)
{
    switch (confirmation.of) {
    case OF_CLIENT:
        return ruling->client_exempt == second->client_exempt;
    case OF_LIMIT:
        return rules_agree_on_limit(q->envelope, confirmation.limit, ruling, second);
    case OF_ALL:
        break;
    }
    return rules_agree(ruling, second);
}

static bool copy_agrees(const struct ruling_question *q, const struct ruling *ruling, struct confirmation of)
{
    struct ruling second;
    struct aliases_reading copy = aliases_begin_copy(q->gate->rules);
    bool same = read_rules(q, &copy, &second) == 0 && agrees(q, ruling, &second, of);
    aliases_end(&copy);
    return same;
}

/* Nothing is checked out meanwhile: the recheck may take a moment. */
static bool copy_confirms(const struct ruling_question *q, const struct ruling *ruling,
                          struct confirmation of)
{
    return copy_agrees(q, ruling, of) || (aliases_recheck(q->gate->rules) && copy_agrees(q, ruling, of));
}

int ruling_read(const struct ruling_question *q, struct ruling *out)
{
    struct aliases_reading reading = aliases_begin(q->gate->rules);
    int rc = read_rules(q, &reading, out);
    bool exact = rc == 0 && rules_are_exact(q->envelope, out);
    /* an exact sender rule alone: no sender rule is for who is exempt, and the row that says so may be lost */
    bool proved = rc < 0 || (exact && out->by != VERDICT_BY_SENDER_RULE) || aliases_is_proof(&reading);
    aliases_end(&reading);
    if (!proved && !copy_confirms(q, out, (struct confirmation){.of = exact ? OF_CLIENT : OF_ALL}))
        rules_cannot_say(out);
    return rc;
}

bool ruling_confirms_limit(const struct ruling_question *q, const struct ruling *ruling,
                           const struct limit *limit)
{
    struct aliases_reading reading = aliases_begin(q->gate->rules);
    bool proved = aliases_is_proof(&reading);
    aliases_end(&reading);
    return proved || copy_confirms(q, ruling, (struct confirmation){.of = OF_LIMIT, .limit = limit});
}

/* Takes over the reading. */
static enum alias_state state_in(const struct ruling_question *q, struct aliases_reading reading)
{
    struct alias alias;
    enum alias_state state = read_alias(q, &reading, &alias) == 0 ? alias.state : ALIAS_STALE;
    aliases_end(&reading);
    return state;
}

bool ruling_disowns(const struct ruling_question *q)
{
    if (state_in(q, aliases_begin_copy(q->gate->rules)) != ALIAS_NOT_OURS)
        return false;
    enum alias_state unverified = state_in(q, aliases_begin_unverified(q->gate->rules));
    return unverified == ALIAS_NOT_OURS || unverified == ALIAS_STALE;
}

bool ruling_confirms_alias(const struct ruling_question *question, const struct ruling *ruling)
{
    static const struct limit of_recipient = {.count = LIMIT_RECIPIENTS}; /* what asks for all of the alias */
    return ruling_confirms_limit(question, ruling, &of_recipient);
}
