/* rules: which of the candidate rows counts, and what it says (see rules.h).
 *
 * Three sources have an opinion about a RCPT: the client rules, the alias rules and the sender rules. Each
 * is a function of its own; rules_rule() ranks what they said. Owns nothing. Fails only for want of
 * memory; data that could not be read is an opinion like any other ("cannot tell"). */
#include "policy/rules.h"

#include "base/text.h"
#include "base/unzeroed.h"

#include <string.h>

enum { UNICODE_MAX = 1024 }; /* a domain of 255 octets in A-labels, as UTF-8, with room to spare */

/* --- queries ------------------------------------------------------------------------------------------- */

int rules_alias_query(const struct address *recipient, struct pool *pool, struct alias_query *out)
{
    struct alias_query query = {
        .full = {recipient->full}, .domain = {recipient->domain}, .local_full = recipient->local_full};
    bool tagged = strcmp(recipient->full, recipient->bare) != 0;
    if (tagged) {
        query.bare[0] = recipient->bare;
        query.local_bare = recipient->local_bare;
    }
    char unicode[UNICODE_MAX] UNZEROED;
    if (address_domain_unicode(recipient->domain, unicode, sizeof unicode)) {
        query.domain[1] = pool_strdup(pool, unicode);
        if (query.domain[1] == NULL)
            return -1;
        if (recipient->kind == ADDRESS_MAILBOX) {
            query.full[1] = pool_join(pool, recipient->local_full, "@", unicode);
            if (query.full[1] == NULL)
                return -1;
        }
        if (tagged) {
            query.bare[1] = pool_join(pool, recipient->local_bare, "@", unicode);
            if (query.bare[1] == NULL)
                return -1;
        }
    }
    *out = query;
    return 0;
}

struct list { /* strings in order, in an array of the query */
    struct pool *pool;
    const char **at;
    size_t n, max;
    bool failed; /* out of memory */
};

/* string NULL: memory ran out while it was made. What does not fit is left out. */
static void list_add(struct list *list, const char *string)
{
    if (string == NULL)
        list->failed = true;
    else if (list->n < list->max)
        list->at[list->n++] = string;
}

/* local, mark and domain; then, where that is another one, with U-labels. */
static void list_add_domain(struct list *list, const char *local, const char *mark, const char *domain,
                            bool with_unicode)
{
    char unicode[UNICODE_MAX];
    list_add(list, pool_join(list->pool, local, mark, domain));
    if (with_unicode && address_domain_unicode(domain, unicode, sizeof unicode))
        list_add(list, pool_join(list->pool, local, mark, unicode));
}

/* The address with its subaddress and without, nothing where it is invalid. */
static void list_add_address(struct list *list, const struct address *address)
{
    if (address->kind != ADDRESS_MAILBOX && address->kind != ADDRESS_BARE)
        return;
    const char *mark = address->kind == ADDRESS_MAILBOX ? "@" : "";
    list_add_domain(list, address->local_full, mark, address->domain, true);
    if (strcmp(address->local_full, address->local_bare) != 0)
        list_add_domain(list, address->local_bare, mark, address->domain, true);
}

static size_t count_labels(const char *domain)
{
    size_t n = 1;
    for (; *domain != '\0'; domain++)
        n += *domain == '.';
    return n;
}

/* "@.a.b.c", "@.b.c", "@.c". When they are too many the longest go: a rule names a domain that somebody
 * owns, and a sender can put as many labels in front of it as he likes. */
static void list_add_parents(struct list *list, const char *domain)
{
    if (domain[0] == '[') /* an address literal has no parents */
        return;
    size_t labels = count_labels(domain), room = list->max - list->n;
    for (; labels > room; labels--)
        domain = strchr(domain, '.') + 1;
    bool with_unicode = 2 * labels <= room;
    for (; labels > 0; labels--) {
        list_add_domain(list, "", "@.", domain, with_unicode);
        if (labels > 1)
            domain = strchr(domain, '.') + 1;
    }
}

int rules_sender_query(const struct address *sender, const struct address *recipient, const char *owner,
                       struct pool *pool, struct sender_query *out)
{
    struct sender_query query = {0};
    struct list scopes = {pool, query.scopes, 0, SENDER_SCOPES - 2, false}; /* two for what follows */
    list_add_address(&scopes, recipient);
    if (recipient->domain[0] != '\0')
        list_add_domain(&scopes, "", "@", recipient->domain, true);
    const char *parent = strchr(recipient->domain, '.');
    if (parent != NULL && recipient->domain[0] != '[')
        list_add_parents(&scopes, parent + 1);
    scopes.max = SENDER_SCOPES;
    if (owner != NULL && owner[0] != '\0') {
        char *scope = pool_join(pool, "owner:", owner, "");
        if (scope != NULL)
            text_lower(scope);
        list_add(&scopes, scope);
    }
    list_add(&scopes, "*");

    struct list patterns = {pool, query.patterns, 0, SENDER_PATTERNS - 1, false}; /* one is kept for "*" */
    if (sender->kind == ADDRESS_NULL)
        list_add(&patterns, "<>");
    list_add_address(&patterns, sender);
    if (sender->domain[0] != '\0') {
        list_add_domain(&patterns, "", "@", sender->domain, true);
        list_add_parents(&patterns, sender->domain);
    }
    patterns.max = SENDER_PATTERNS;
    list_add(&patterns, "*");
    if (scopes.failed || patterns.failed)
        return -1;
    query.n_scopes = scopes.n;
    query.n_patterns = patterns.n;
    *out = query;
    return 0;
}

/* --- who is exempt ------------------------------------------------------------------------------------- */

static bool address_matches(const struct patterns *patterns, const struct address *address)
{
    if (patterns->n == 0)
        return false;
    return policy_patterns_match(patterns, address->local_full, address->domain) ||
           (strcmp(address->local_full, address->local_bare) != 0 &&
            policy_patterns_match(patterns, address->local_bare, address->domain));
}

static bool recipient_is_exempt(const struct policy *policy, const struct envelope *envelope)
{
    const struct address *recipient = envelope->recipient;
    if (recipient->kind == ADDRESS_BARE && strcmp(recipient->local_bare, "postmaster") == 0)
        return true; /* RFC 5321 4.5.1 */
    return recipient->kind != ADDRESS_NULL && address_matches(&policy->exempt.recipients, recipient);
}

static bool sender_is_exempt(const struct policy *policy, const struct envelope *envelope)
{
    const struct address *sender = envelope->sender;
    return sender->kind != ADDRESS_INVALID && address_matches(&policy->exempt.senders, sender);
}

bool rules_client_exempt(const struct policy *policy, const struct envelope *envelope,
                         const struct client_row *row)
{
    if (policy->exempt.authenticated && envelope->user != NULL)
        return true;
    if (policy_networks_contain(&policy->exempt.clients, envelope->client))
        return true;
    return row->state != ROWS_UNKNOWN && row->network != NULL && row->action == ACTION_ACCEPT;
}

/* --- step one: the alias ------------------------------------------------------------------------------- */

static size_t count_literals(const char *glob)
{
    size_t n = 0;
    for (; *glob != '\0'; glob++) /* UTF-8: a character is counted by its first byte */
        n += *glob != '*' && *glob != '?' && ((unsigned char)*glob & 0xc0) != 0x80;
    return n;
}

static bool glob_is_better(const struct alias_row *a, const struct alias_row *b)
{
    size_t in_a = count_literals(a->key), in_b = count_literals(b->key);
    return in_a != in_b ? in_a > in_b : strcmp(a->key, b->key) < 0;
}

static const struct alias_row *best_glob(const struct alias_rows *rows)
{
    const struct alias_row *best = NULL;
    for (size_t i = 0; i < rows->n_globs; i++)
        if (best == NULL || glob_is_better(&rows->globs[i], best))
            best = &rows->globs[i];
    return best;
}

/* The row that counts, NULL where none does; *via says how it was found. */
static const struct alias_row *find_row(const struct alias_rows *rows, enum alias_via *via)
{
    *via = VIA_FULL;
    if (rows->full.key != NULL)
        return &rows->full;
    *via = VIA_BARE;
    if (rows->bare.key != NULL)
        return &rows->bare;
    *via = VIA_GLOB;
    return best_glob(rows);
}

/* The end of the list's first member: a comma that is not in quotes, or the end of the text. */
static const char *member_end(const char *at)
{
    bool quoted = false;
    for (; *at != '\0' && (quoted || *at != ','); at++) {
        if (*at == '"')
            quoted = !quoted;
        else if (*at == '\\' && quoted && at[1] != '\0')
            at++;
    }
    return at;
}

static bool holds_string(const char *const *list, size_t n, const char *string)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], string) == 0)
            return true;
    return false;
}

/* One member of a mailbox list, in the form in which it is counted; "" where there is nothing. NULL: out
 * of memory. */
static const char *mailbox_key(const char *member, const char *subaddress, struct pool *pool)
{
    struct address address;
    char fallback[ADDRESS_MAX + 1];
    if (member[strspn(member, " \t\r\n")] == '\0')
        return "";
    switch (address_parse(member, subaddress, &address, NULL)) {
    case ADDRESS_MAILBOX:
    case ADDRESS_BARE:
        return pool_strdup(pool, address.bare);
    case ADDRESS_NULL:
        return "";
    case ADDRESS_INVALID:
    default:
        address_fallback_key(member, fallback, sizeof fallback);
        return pool_strdup(pool, fallback);
    }
}

const char *rules_next_mailbox(const char **list, struct pool *pool)
{
    const char *at = *list + strspn(*list, " \t\r\n"), *end = member_end(at);
    size_t length = (size_t)(end - at);
    while (length > 0 && strchr(" \t\r\n", at[length - 1]) != NULL)
        length--;
    *list = *end == ',' ? end + 1 : end;
    return pool_strndup(pool, at, length);
}

int rules_mailboxes(const struct policy *policy, const struct alias *alias, struct pool *pool,
                    struct strings *out)
{
    const char *text = alias->mailbox_text != NULL ? alias->mailbox_text : "";
    struct strings list = {0};
    size_t n = 1;
    for (const char *at = text; *at != '\0'; at++)
        n += *at == ',';
    list.at = pool_alloc(pool, n * sizeof *list.at);
    if (list.at == NULL)
        return -1;
    while (*text != '\0') {
        const char *member = rules_next_mailbox(&text, pool);
        const char *key = member == NULL ? NULL : mailbox_key(member, policy->aliases.subaddress, pool);
        if (key == NULL)
            return -1;
        if (key[0] != '\0' && !holds_string(list.at, list.n, key))
            list.at[list.n++] = key;
    }
    *out = list;
    return 0;
}

static const char *first_text(const char *a, const char *b)
{
    return a != NULL && a[0] != '\0' ? a : b != NULL && b[0] != '\0' ? b : NULL;
}

/* The harder action of row and domain, with the proof and the reply of the one that it came from. An action that could
 * not be read (ACTION_NONE) leaves the whole undecided. */
static void set_action(const struct domain_row *domain, enum action row_action, const char *row_reply,
                       struct alias *out)
{
    if (domain->action == ACTION_NONE || row_action == ACTION_NONE) {
        out->state = ALIAS_STALE;
        return;
    }
    out->state = ALIAS_FOUND;
    out->action = row_action;
    out->reply = first_text(row_reply, NULL);
    if (domain->action == row_action)
        out->reply = first_text(row_reply, domain->reply);
    if (domain->action > row_action) {
        out->action = domain->action;
        out->row = domain->domain;
        out->reply = first_text(domain->reply, NULL);
    }
}

static bool is_expired(const struct alias_row *row, int64_t now_ms)
{
    return row->expires_at != 0 && row->expires_at <= now_ms / 1000;
}

/* Nothing that a sender can see may come of the row; what it is remains for the log and for `explain`. */
static void conceal(const struct domain_row *domain, struct alias *out)
{
    out->concealed = true;
    out->owner = first_text(domain->owner, NULL);
    out->class_name = first_text(domain->class_name, NULL);
}

/* A copy proves only what an exact row of its own says: whatever else would refuse or drop becomes "cannot
 * tell". */
static void suspect_copy(const struct alias_row *row, struct alias *out)
{
    bool own_action = out->via == VIA_FULL && row != NULL && out->row == row->key;
    if (out->state != ALIAS_FOUND || out->concealed || (out->action != ACTION_ACCEPT && !own_action)) {
        out->state = ALIAS_STALE;
        out->action = ACTION_NONE;
        out->concealed = false;
    }
}

/* Looks the recipient up in the rows of one of our domains. */
static void look_up(const struct policy *policy, const struct envelope *envelope,
                    const struct alias_rows *rows, struct alias *out)
{
    struct domain_row domain = rows->domain;
    if (domain.action != ACTION_ACCEPT && recipient_is_exempt(policy, envelope))
        domain.action = ACTION_ACCEPT; /* of an exempt recipient only its own rows count */
    const struct alias_row *row = find_row(rows, &out->via);
    out->row = row != NULL ? row->key : domain.domain;
    out->owner = first_text(row != NULL ? row->owner : NULL, domain.owner);
    out->class_name = first_text(row != NULL ? row->class_name : NULL, domain.class_name);
    out->mailbox_text = row != NULL ? row->mailbox : NULL;
    if (row != NULL && out->via != VIA_GLOB && is_expired(row, envelope->now_ms)) {
        out->state = ALIAS_EXPIRED;
    } else if (row != NULL) {
        set_action(&domain, row->action, row->reply, out);
    } else if (domain.catch_all == ACTION_ACCEPT) {
        out->via = VIA_CATCH_ALL;
        set_action(&domain, ACTION_ACCEPT, NULL, out);
    } else {
        out->via = VIA_NONE;
        out->state = ALIAS_UNKNOWN;
    }
    bool shut = out->state == ALIAS_EXPIRED || out->action == ACTION_REJECT;
    if (policy->aliases.conceal && shut && !recipient_is_exempt(policy, envelope))
        conceal(&domain, out);
    if (rows->state == ROWS_COPY)
        suspect_copy(row, out);
}

void rules_alias(const struct policy *policy, const struct envelope *envelope, const struct alias_rows *rows,
                 struct alias *out)
{
    struct alias alias = {0};
    if (policy->aliases.database == NULL) {
        alias.state = ALIAS_UNASKED;
    } else if (envelope->recipient->domain[0] == '\0') {
        alias.state = ALIAS_NOT_OURS; /* an address without a domain cannot be in `domains` */
    } else if (rows->state == ROWS_UNKNOWN) {
        alias.state = ALIAS_STALE;
    } else if (rows->domain.domain == NULL) {
        alias.state = rows->state == ROWS_LIVE ? ALIAS_NOT_OURS : ALIAS_STALE;
    } else {
        alias.ours = true;
        alias.row = alias.domain = rows->domain.domain;
        alias.state = ALIAS_INVALID;
        if (envelope->recipient->kind != ADDRESS_INVALID)
            look_up(policy, envelope, rows, &alias);
    }
    *out = alias;
}

/* --- step two: all opinions ---------------------------------------------------------------------------- */

struct opinion {
    enum action action;
    enum verdict_by by;
    const char *proof, *scope, *reply;
    enum reply_key key;
};

static const struct opinion agrees = {.action = ACTION_ACCEPT};
static const struct opinion cannot_say = {
    .action = ACTION_DEFER, .by = VERDICT_BY_BACKEND, .key = REPLY_BACKEND};

/* What a row says; keys are those of its reject and its defer. */
static struct opinion row_says(enum action action, enum verdict_by by, const char *proof, const char *reply,
                               enum reply_key reject, enum reply_key defer)
{
    if (action == ACTION_ACCEPT)
        return agrees;
    if (action == ACTION_NONE) /* a row that nobody understands */
        return cannot_say;
    return (struct opinion){.action = action,
                            .by = by,
                            .proof = proof,
                            .reply = reply,
                            .key = action == ACTION_REJECT ? reject : defer};
}

static struct opinion client_says(const struct client_row *row)
{
    if (row->state == ROWS_UNKNOWN)
        return cannot_say;
    if (row->network == NULL || row->action == ACTION_ACCEPT)
        return agrees;
    if (row->state == ROWS_COPY)
        return cannot_say;
    return row_says(row->action, VERDICT_BY_CLIENT_RULE, row->network, row->reply, REPLY_CLIENT_REJECT,
                    REPLY_CLIENT_DEFER);
}

/* The block itself is the proof, but where the client rules cannot be read one of them may exempt the client. */
static struct opinion block_says(const struct block_row *block, const struct client_row *row)
{
    if (block == NULL)
        return agrees;
    if (row->state == ROWS_UNKNOWN)
        return cannot_say;
    return row_says(block->action, VERDICT_BY_BLOCK, block->network, NULL, REPLY_CLIENT_REJECT,
                    REPLY_CLIENT_DEFER);
}

/* Without what Postfix resolved, nobody knows whose address that is. */
static bool is_unresolved(const struct envelope *envelope, bool exempt)
{
    const struct address *recipient = envelope->recipient;
    return !envelope->resolved &&
           (recipient->percent_or_bang || (recipient->kind == ADDRESS_BARE && !exempt));
}

static struct opinion unknown_says(const struct alias *alias)
{
    return row_says(ACTION_REJECT, VERDICT_BY_ALIAS, alias->row, NULL, REPLY_UNKNOWN, REPLY_UNKNOWN);
}

/* exempt: the recipient is. Then only a rule that was written for it speaks against it. */
static struct opinion alias_says(const struct envelope *envelope, const struct alias *alias, bool exempt)
{
    if (is_unresolved(envelope, exempt))
        return cannot_say;
    if (alias->concealed)
        return unknown_says(alias);
    switch (alias->state) {
    case ALIAS_FOUND:
        return row_says(alias->action, VERDICT_BY_ALIAS, alias->row, alias->reply, REPLY_ALIAS_REJECT,
                        REPLY_ALIAS_DEFER);
    case ALIAS_UNKNOWN:
    case ALIAS_EXPIRED:
        return exempt ? agrees : unknown_says(alias);
    case ALIAS_INVALID:
        return exempt ? agrees
                      : row_says(ACTION_REJECT, VERDICT_BY_ADDRESS, alias->row, NULL, REPLY_INVALID,
                                 REPLY_INVALID);
    case ALIAS_STALE:
        return exempt ? agrees : cannot_say;
    case ALIAS_UNASKED:
    case ALIAS_NOT_OURS:
        return agrees;
    }
    return cannot_say;
}

enum { RANK_FULL, RANK_BARE, RANK_DOMAIN, RANK_OWNER = 500, RANK_ANY = 1000 };

static int address_rank(const char *text, const struct address *address)
{
    const char *at = strrchr(text, '@');
    size_t n = at == NULL ? strlen(text) : (size_t)(at - text);
    return strlen(address->local_full) == n && memcmp(address->local_full, text, n) == 0 ? RANK_FULL
                                                                                         : RANK_BARE;
}

/* How specific, least is most: the order in which rules_sender_query() lists them. */
static int scope_rank(const char *scope, const struct address *recipient)
{
    if (strcmp(scope, "*") == 0)
        return RANK_ANY;
    if (strncmp(scope, "owner:", strlen("owner:")) == 0)
        return RANK_OWNER;
    if (strncmp(scope, "@.", 2) == 0)
        return RANK_OWNER - 1 - (int)count_labels(scope + 2);
    return scope[0] == '@' ? RANK_DOMAIN : address_rank(scope, recipient);
}

static int pattern_rank(const char *pattern, const struct address *sender)
{
    if (strcmp(pattern, "*") == 0)
        return RANK_ANY;
    if (strcmp(pattern, "<>") == 0)
        return RANK_FULL;
    if (strncmp(pattern, "@.", 2) == 0) /* the more labels, the more specific; A- and U-labels are as many */
        return RANK_ANY - 1 - (int)count_labels(pattern + 2);
    return pattern[0] == '@' ? RANK_DOMAIN : address_rank(pattern, sender);
}

static bool is_ascii(const char *string)
{
    while (*string != '\0' && (unsigned char)*string < 0x80)
        string++;
    return *string == '\0';
}

/* A- and U-labels of the same: the A-labels first. */
static int compare_labels(const char *a, const char *b)
{
    int by_ascii = (int)is_ascii(b) - (int)is_ascii(a);
    return by_ascii != 0 ? by_ascii : strcmp(a, b);
}

static bool sender_row_is_better(const struct sender_row *a, const struct sender_row *b,
                                 const struct envelope *envelope)
{
    int by_scope = scope_rank(a->scope, envelope->recipient) - scope_rank(b->scope, envelope->recipient);
    if (by_scope != 0)
        return by_scope < 0;
    int by_pattern = pattern_rank(a->pattern, envelope->sender) - pattern_rank(b->pattern, envelope->sender);
    if (by_pattern != 0)
        return by_pattern < 0;
    int by_labels = compare_labels(a->scope, b->scope);
    return by_labels != 0 ? by_labels < 0 : compare_labels(a->pattern, b->pattern) < 0;
}

static const struct sender_row *best_sender_row(const struct sender_rows *senders,
                                                const struct envelope *envelope)
{
    const struct sender_row *best = NULL;
    for (size_t i = 0; i < senders->n_rows; i++)
        if (best == NULL || sender_row_is_better(&senders->rows[i], best, envelope))
            best = &senders->rows[i];
    return best;
}

/* For that alias and that sender, as received: no other could be more specific. */
static bool sender_row_is_exact(const char *scope, const char *pattern, const struct envelope *envelope)
{
    const struct address *sender = envelope->sender;
    return strcmp(scope, envelope->recipient->full) == 0 &&
           strcmp(pattern, sender->kind == ADDRESS_NULL ? "<>" : sender->full) == 0;
}

static struct opinion sender_says(const struct envelope *envelope, const struct sender_rows *senders)
{
    if (senders->state == ROWS_UNKNOWN)
        return cannot_say;
    const struct sender_row *row = best_sender_row(senders, envelope);
    if (row == NULL || row->action == ACTION_ACCEPT)
        return agrees;
    if (senders->state == ROWS_COPY && !sender_row_is_exact(row->scope, row->pattern, envelope))
        return cannot_say;
    struct opinion opinion = row_says(row->action, VERDICT_BY_SENDER_RULE, row->pattern, row->reply,
                                      REPLY_SENDER_REJECT, REPLY_SENDER_DEFER);
    opinion.scope = opinion.by == VERDICT_BY_SENDER_RULE ? row->scope : NULL;
    return opinion;
}

/* The louder one is heard: reject, then cannot tell (it may hide a reject), then discard, then defer. */
static int loudness(const struct opinion *opinion)
{
    return opinion->by == VERDICT_BY_BACKEND ? 2 * ACTION_REJECT - 1 : 2 * (int)opinion->action;
}

static void hear(struct opinion *heard, struct opinion next)
{
    if (loudness(&next) > loudness(heard)) /* among equals, who spoke first */
        *heard = next;
}

void rules_client(const struct policy *policy, const struct envelope *envelope, const struct client_row *row,
                  struct ruling *out)
{
    struct opinion heard = agrees;
    bool exempt = rules_client_exempt(policy, envelope, row);
    if (!exempt) {
        hear(&heard, client_says(row));
        hear(&heard, block_says(envelope->block, row));
    }
    *out = (struct ruling){.action = heard.action,
                           .by = heard.by,
                           .proof = heard.proof,
                           .reply = heard.reply,
                           .key = heard.key,
                           .client_exempt = exempt};
}

static bool is_concealed(const struct policy *policy, enum action action, enum reply_key key)
{
    return policy->aliases.conceal && action == ACTION_REJECT && key == REPLY_UNKNOWN;
}

bool rules_is_concealed(const struct policy *policy, const struct ruling *ruling)
{
    return is_concealed(policy, ruling->action, ruling->key);
}

void rules_rule(const struct policy *policy, const struct envelope *envelope, const struct alias *alias,
                const struct sender_rows *senders, const struct client_row *client, struct ruling *out)
{
    bool client_exempt = rules_client_exempt(policy, envelope, client);
    bool exempt = recipient_is_exempt(policy, envelope);
    /* Where nobody can read the rules at all, an exempt recipient still gets its mail. */
    bool ask_client = !client_exempt && !(exempt && client->state == ROWS_UNKNOWN);
    bool ask_sender =
        !client_exempt && !sender_is_exempt(policy, envelope) && !(exempt && senders->state == ROWS_UNKNOWN);

    struct opinion by_alias = alias_says(envelope, alias, exempt);
    struct opinion heard = agrees;
    if (ask_client) {
        hear(&heard, client_says(client));
        hear(&heard, block_says(envelope->block, client));
    }
    /* Whom the gate refuses anyway does not learn which aliases exist. */
    if (heard.action == ACTION_ACCEPT || !is_concealed(policy, by_alias.action, by_alias.key))
        hear(&heard, by_alias);
    if (ask_sender)
        hear(&heard, sender_says(envelope, senders));

    *out = (struct ruling){
        .action = heard.action,
        .by = heard.by,
        .proof = heard.proof,
        .scope = heard.scope,
        .reply = heard.reply,
        .key = heard.key,
        .client_exempt = client_exempt,
        .recipient_exempt = exempt,
        .alias_refused = by_alias.action == ACTION_DEFER || by_alias.action == ACTION_REJECT,
        .alias = *alias,
    };
}

/* --- the second reading -------------------------------------------------------------------------------- */

static bool alias_is_exact(const struct envelope *envelope, const struct alias *alias)
{
    return alias->via == VIA_FULL && strcmp(alias->row, envelope->recipient->full) == 0;
}

bool rules_are_exact(const struct envelope *envelope, const struct ruling *ruling)
{
    char client[NETWORK_TEXT];
    if (ruling->action == ACTION_ACCEPT || ruling->action == ACTION_DEFER)
        return ruling->alias.state != ALIAS_NOT_OURS;
    switch (ruling->by) {
    case VERDICT_BY_ALIAS:
        return alias_is_exact(envelope, &ruling->alias);
    case VERDICT_BY_SENDER_RULE:
        return sender_row_is_exact(ruling->scope, ruling->proof, envelope);
    case VERDICT_BY_CLIENT_RULE:
        return strcmp(ruling->proof, network_format(envelope->client, client)) == 0;
    case VERDICT_BY_ADDRESS:
        return true;
    case VERDICT_BY_BLOCK: /* a client rule could exempt the client */
    default:
        return false;
    }
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool same_alias(const struct alias *a, const struct alias *b)
{
    return a->state == b->state && a->via == b->via && a->action == b->action && same_text(a->row, b->row) &&
           same_text(a->owner, b->owner) && same_text(a->class_name, b->class_name) &&
           same_text(a->mailbox_text, b->mailbox_text);
}

bool rules_agree(const struct ruling *live, const struct ruling *copy)
{
    return live->action == copy->action && live->by == copy->by && live->key == copy->key &&
           live->client_exempt == copy->client_exempt &&
           (live->alias.state != ALIAS_NOT_OURS || copy->alias.state == ALIAS_NOT_OURS);
}

/* Every alias meets these, those that are refused, dropped or gone too, and nothing of the alias is asked. */
static bool reads_no_alias(const struct limit *limit)
{
    const struct when *when = &limit->when;
    for (size_t i = 0; i < limit->n_per; i++)
        if ((POLICY_WIDE & 1 << limit->per[i]) == 0)
            return false;
    return limit->count == LIMIT_ATTEMPTS && when->class_name.n == 0 && when->catch_all == ANY &&
           when->unknown == ANY;
}

/* The hold of a client covers all that it sends: its limit may have been met by another recipient. */
static bool is_hold_of_client(const struct limit *limit)
{
    return limit == NULL || policy_holds_client(limit);
}

bool rules_agree_on_limit(const struct envelope *envelope, const struct limit *limit,
                          const struct ruling *live, const struct ruling *copy)
{
    return live->client_exempt == copy->client_exempt &&
           (is_hold_of_client(limit) || reads_no_alias(limit) || alias_is_exact(envelope, &live->alias) ||
            same_alias(&live->alias, &copy->alias));
}

void rules_cannot_say(struct ruling *ruling)
{
    ruling->action = cannot_say.action;
    ruling->by = cannot_say.by;
    ruling->key = cannot_say.key;
    ruling->proof = ruling->scope = ruling->reply = NULL;
    ruling->alias_refused = true;
    ruling->alias.state = ALIAS_STALE;
    ruling->alias.action = ACTION_NONE;
    ruling->alias.concealed = false;
}
