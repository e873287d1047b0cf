/* refused: the words under which a refusal is remembered. Owns nothing and cannot fail. */
#include "refused.h"

#include "base/clock.h"
#include "base/unzeroed.h"
#include "limit_events.h"

/* As in the log, but that an alias that is not there, or not any more, is no row of somebody's. */
static const char *rule_of(const struct verdict *verdict, enum alias_state state)
{
    if (verdict->by == VERDICT_BY_ALIAS && state == ALIAS_UNKNOWN)
        return "unknown";
    if (verdict->by == VERDICT_BY_ALIAS && state == ALIAS_EXPIRED)
        return "expired";
    return verdict_by_name(verdict->by);
}

static const char *row_of(const struct verdict *verdict)
{
    return verdict->limit != NULL ? verdict->limit->name : verdict->proof != NULL ? verdict->proof : "";
}

/* Is the row that spoke the alias itself? */
static bool is_for_recipient(const struct verdict *verdict, enum alias_via via)
{
    return verdict->by == VERDICT_BY_ALIAS && (via == VIA_FULL || via == VIA_BARE);
}

static const char *name_of(const struct address *address, const char *raw)
{
    return address->kind == ADDRESS_NULL                     ? "<>"
           : address->kind == ADDRESS_INVALID && raw != NULL ? raw
                                                             : address->bare;
}

static void add(struct gate *gate, const struct decision *d, const struct verdict *verdict, bool shadow)
{
    char client[NETWORK_TEXT], buffer[LIMIT_EVENTS_KEY] UNZEROED;
    const struct envelope *e = &d->envelope;
    const struct refusal refusal = {
        .rule = rule_of(verdict, d->ruling.alias.state),
        .row = row_of(verdict),
        .for_recipient = is_for_recipient(verdict, d->ruling.alias.via),
        .shadow = shadow,
        .client = network_format(&e->client_subject, client),
        .sender = name_of(e->sender, e->sender_raw),
        .recipient = name_of(&d->recipient, e->recipient_raw),
        .subject = verdict->by == VERDICT_BY_LIMIT ? limit_events_key(d, verdict->limit, buffer) : NULL,
    };
    refusals_add(gate->context.refusals, clock_monotonic_ms(), &refusal);
}

void refused_add(struct gate *gate, const struct decision *d)
{
    if (d->verdict.action != ACTION_ACCEPT)
        add(gate, d, &d->verdict, false);
    if (d->shadow.limit != NULL)
        add(gate, d, &d->shadow, true);
}

void refused_add_whole(struct gate *gate, const struct policy *policy, const struct network *client,
                       const char *sender, const struct verdict *verdict)
{
    char text[NETWORK_TEXT];
    const struct network network =
        network_mask(client, policy->counters.ipv4_bits, policy->counters.ipv6_bits);
    const struct refusal refusal = {.rule = rule_of(verdict, ALIAS_UNASKED),
                                    .row = row_of(verdict),
                                    .client = network_format(&network, text),
                                    .sender = sender};
    refusals_add(gate->context.refusals, clock_monotonic_ms(), &refusal);
}
