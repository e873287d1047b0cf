/* explain: the decision as `explain` shows it: every step between facts and verdict, as JSON. */
#include "admin/explain.h"

#include "config/json_get.h"

static const char *const state_names[] = {
    [ALIAS_UNASKED] = "not asked",
    [ALIAS_NOT_OURS] = "not our domain",
    [ALIAS_FOUND] = "found",
    [ALIAS_UNKNOWN] = "unknown",
    [ALIAS_EXPIRED] = "expired",
    [ALIAS_STALE] = "cannot tell now",
    [ALIAS_INVALID] = "no valid address",
};

static const char *const via_names[] = {
    [VIA_NONE] = "",     [VIA_FULL] = "exact address",  [VIA_BARE] = "address without its subaddress",
    [VIA_GLOB] = "glob", [VIA_CATCH_ALL] = "catch-all",
};

static const char *const ruling_names[] = {
    [VERDICT_BY_NOBODY] = "no rule refuses",
    [VERDICT_BY_CLIENT_RULE] = "client rule",
    [VERDICT_BY_BLOCK] = "block",
    [VERDICT_BY_ALIAS] = "alias rule",
    [VERDICT_BY_SENDER_RULE] = "sender rule",
    [VERDICT_BY_ADDRESS] = "no valid address",
    [VERDICT_BY_BACKEND] = "a backend cannot answer, see `rcptgate status`",
};

static const char *const result_names[] = {
    [COUNT_UNKNOWN] = "unknown",
    [COUNT_ADMITTED] = "admits",
    [COUNT_OVER] = "over",
    [COUNT_HELD] = "held",
};

static const char *const source_names[] = {
    [COUNT_SOURCE_NONE] = "no counter store answers",
    [COUNT_SOURCE_STORE] = "",
    [COUNT_SOURCE_LOCAL] = "counted in this process: the counter store does not answer",
};

static json_t *clean_or_none(const char *text)
{
    return text != NULL ? json_get_clean(text) : NULL;
}

static json_t *explain_mailboxes(const struct policy *policy, const struct alias *alias)
{
    struct pool pool = {0};
    struct strings mailboxes = {0};
    json_t *out = json_array();
    (void)rules_mailboxes(policy, alias, &pool,
                          &mailboxes); /* out of memory: what is made of it will fail, too */
    for (size_t i = 0; i < mailboxes.n; i++)
        json_array_append_new(out, json_get_clean(mailboxes.at[i]));
    pool_done(&pool);
    return out;
}

static json_t *explain_alias(const struct policy *policy, const struct alias *alias)
{
    return json_pack("{s:s, s:s, s:o*, s:s*, s:o*, s:o*, s:o, s:b}", "state", state_names[alias->state],
                     "via", via_names[alias->via], "row", clean_or_none(alias->row), "action",
                     alias->action != ACTION_NONE ? action_name(alias->action) : NULL, "owner",
                     clean_or_none(alias->owner), "class", clean_or_none(alias->class_name), "mailbox",
                     explain_mailboxes(policy, alias), "concealed", alias->concealed);
}

static json_t *explain_limits(const struct decision *d)
{
    json_t *limits = json_array();
    for (size_t i = 0; i < d->plan.request.n; i++) {
        const struct count_ask *ask = &d->plan.request.asks[i];
        const struct count_answer none = {0}, *answer = d->answers != NULL ? &d->answers[i] : &none;
        json_array_append_new(
            limits, json_pack("{s:s, s:s, s:I, s:I, s:I, s:s, s:b, s:b}", "limit", ask->limit, "key",
                              answer->overflowed ? ask->overflow : ask->key, "used", (json_int_t)answer->used,
                              "max", (json_int_t)ask->max, "wait_ms", (json_int_t)answer->wait_ms, "result",
                              result_names[answer->result], "share", ask->share_of >= 0, "shadow",
                              (ask->flags & COUNT_SHADOW) != 0));
    }
    for (size_t i = 0; i < d->plan.n_backlogs; i++) {
        const struct backlog_ask *ask = &d->plan.backlogs[i];
        const char *result = !ask->known ? "unknown" : ask->waiting < ask->max ? "admits" : "over";
        json_array_append_new(limits, json_pack("{s:s, s:s++, s:I, s:I, s:I, s:s, s:b, s:b}", "limit",
                                                ask->limit->name, "key", ask->limit->per_name, ":",
                                                ask->subject, "used", (json_int_t)ask->waiting, "max",
                                                (json_int_t)ask->max, "wait_ms", (json_int_t)0, "result",
                                                result, "share", 0, "shadow", ask->limit->shadow));
    }
    return limits;
}

json_t *explain_decision(const struct policy *policy, const struct decision *d)
{
    const struct envelope *e = &d->envelope;
    const struct verdict *v = &d->verdict;
    char client[NETWORK_TEXT], reply[REPLY_LINE_MAX + 32] = "";
    struct reply_line line;
    decide_reply(d, &line);
    if (line.code[0] != '\0')
        snprintf(reply, sizeof reply, "%s %s %s", line.code, line.dsn, line.text);
    bool invalid = d->recipient.kind == ADDRESS_INVALID, bad_sender = e->sender->kind == ADDRESS_INVALID;
    return json_pack(
        "{s:o, s:o, s:s, s:o, s:b, s:s, s:b, s:b, s:o, s:s, s:o*, s:o, s:s, s:s, s:s, s:s*, s:b, s:o}", //
        "given", json_get_clean(e->recipient_raw), "recipient",
        json_get_clean(invalid ? "" : d->recipient.full),                                                   //
        "invalid", d->invalid.text, "sender", json_get_clean(bad_sender ? e->sender_raw : e->sender->full), //
        "sender_invalid", bad_sender,                                                                       //
        "client", network_format(e->client, client),                                                        //
        "client_exempt", d->ruling.client_exempt, "recipient_exempt", d->ruling.recipient_exempt,           //
        "alias", explain_alias(policy, &d->ruling.alias),                                                   //
        "ruling", ruling_names[d->ruling.by], "rule", clean_or_none(d->ruling.proof),                       //
        "limits", explain_limits(d),                                                                        //
        "counts", d->plan.request.n > 0 ? source_names[d->source] : "",                                     //
        "verdict", action_name(v->action),                                                                  //
        "by", v->by != VERDICT_BY_NOBODY ? verdict_by_name(v->by) : "",                                     //
        "limit", v->limit != NULL ? v->limit->name : NULL,                                                  //
        "shadow_mode", policy->shadow, "reply", json_get_clean(reply));
}
