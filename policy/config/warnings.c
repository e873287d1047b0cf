/* warnings: what is in force as written, and will hurt: floods that nothing ends, limits that never act
 * or refuse everything, sockets that anybody may open. Looks at a finished policy; a warning changes nothing
 * in it. */
#include "warnings.h"

#include "json.h"

#include <grp.h>
#include <string.h>

enum {
    WIDE_IPV4 = 96 + 8,
    WIDE_IPV6 = 32
}; /* prefix lengths below which a network is most of the Internet */

static bool has_subject(const struct limit *limit, enum subject subject)
{
    for (size_t i = 0; i < limit->n_per; i++)
        if (limit->per[i] == subject)
            return true;
    return false;
}

/* Does wider count all that limit counts, for the same subject or for a part of it? */
static bool per_covers(const struct limit *wider, const struct limit *limit)
{
    for (size_t i = 0; i < wider->n_per; i++)
        if (!has_subject(limit, wider->per[i]))
            return false;
    return true;
}

static bool same_strings(const struct strings *a, const struct strings *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++)
        same = strcmp(a->at[i], b->at[i]) == 0;
    return same;
}

static bool same_networks(const struct networks *a, const struct networks *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++)
        same = network_equal(&a->at[i], &b->at[i]);
    return same;
}

/* Does wider hold wherever limit does, with its own answer? Each condition must be the same or absent; to the null sender
 * only a limit that names it rejects. */
static bool when_covers(const struct when *wider, const struct when *limit)
{
    const enum tristate a[] = {wider->null_sender, wider->authenticated, wider->catch_all, wider->unknown};
    const enum tristate b[] = {limit->null_sender, limit->authenticated, limit->catch_all, limit->unknown};
    for (size_t i = 0; i < sizeof a / sizeof a[0]; i++)
        if (a[i] != ANY && a[i] != b[i])
            return false;
    if (limit->null_sender == YES && wider->null_sender != YES)
        return false;
    return (wider->class_name.n == 0 || same_strings(&wider->class_name, &limit->class_name)) &&
           (wider->recipient_domain.n == 0 ||
            same_strings(&wider->recipient_domain, &limit->recipient_domain)) &&
           (wider->sender_domain.n == 0 || same_strings(&wider->sender_domain, &limit->sender_domain)) &&
           (wider->client.n == 0 || same_networks(&wider->client, &limit->client));
}

/* Of what the first limit lets through, can the second ever see more than its max? */
static bool can_be_reached(const struct limit *limit, const struct limit *wider)
{
    if (limit->count != wider->count || wider->count == LIMIT_ATTEMPTS || wider->count == LIMIT_BACKLOG)
        return true;
    int64_t spans = (wider->window_ms + limit->window_ms - 1) / limit->window_ms;
    return limit->max > wider->max / spans;
}

static bool ends_flood(const struct limit *limit, const struct limit *wider)
{
    return wider->over == ACTION_REJECT && !wider->shadow && per_covers(wider, limit) &&
           (wider->window_ms > limit->window_ms || wider->count == LIMIT_ATTEMPTS) &&
           when_covers(&wider->when, &limit->when) && can_be_reached(limit, wider);
}

static void warn_endless(struct loader *loader, const struct place *place, const struct limit *limit)
{
    const struct policy *policy = loader->policy;
    if (limit->over != ACTION_DEFER || limit->shadow || limit->count == LIMIT_BACKLOG ||
        limit->when.unknown == YES)
        return; /* a backlog ends when the queue is delivered, and what is unknown is rejected without it */
    for (size_t i = 0; i < policy->n_limits; i++)
        if (ends_flood(limit, &policy->limits[i]))
            return;
    loader_problem(loader, place, PROBLEM_WARNING, "",
                   "defers, but nothing ends a flood: senders come back for days. Add a limit that rejects, "
                   "also per %s, "
                   "over a longer window and with a max that can be reached, or one that counts attempts",
                   limit->per_name);
}

static void warn_reply(struct loader *loader, const struct place *place, const struct reply *reply)
{
    if (place->value != NULL && reply_tells_limit(reply))
        loader_problem(
            loader, place, PROBLEM_WARNING, "",
            "shows %%{limit}, %%{used} or %%{max}: a sender learns how much gets through before anybody "
            "notices. Leave them to the log");
}

/* Why the limit can never act without alias rules; NULL where it can. */
static const char *needs_aliases(const struct limit *limit)
{
    const struct when *when = &limit->when;
    if (has_subject(limit, SUBJECT_OWNER) || has_subject(limit, SUBJECT_MAILBOX) ||
        has_subject(limit, SUBJECT_MAILBOX_DOMAIN))
        return "without \"aliases\" no recipient has an owner or a mailbox";
    if (when->class_name.n > 0 || when->catch_all == YES || when->unknown == YES)
        return "without \"aliases\" no recipient has a class, a catch-all, or is unknown";
    return NULL;
}

static bool all_exempt(const struct policy *policy, const struct networks *clients)
{
    size_t exempt = 0;
    for (size_t i = 0; i < clients->n; i++) {
        size_t j = 0;
        while (j < policy->exempt.clients.n &&
               !network_contains(&policy->exempt.clients.at[j], &clients->at[i]))
            j++;
        exempt += j < policy->exempt.clients.n;
    }
    return clients->n > 0 && exempt == clients->n;
}

/* Does other refuse whatever would fill the limit, before it is full? */
static bool is_shielded(const struct limit *limit, const struct limit *other)
{
    bool takes = limit->count == LIMIT_RECIPIENTS || limit->count == LIMIT_MESSAGES;
    return other != limit && takes && other->count == limit->count && !other->shadow &&
           other->window_ms >= limit->window_ms && other->max < limit->max && per_covers(other, limit) &&
           when_covers(&other->when, &limit->when);
}

/* Why the limit can never act; NULL where it can. Conditions that exclude what `per` or `count` needs. */
static const char *never_acts(const struct policy *policy, const struct limit *limit)
{
    const struct when *when = &limit->when;
    bool sender = has_subject(limit, SUBJECT_SENDER) || has_subject(limit, SUBJECT_SENDER_DOMAIN);
    if (when->null_sender == YES && (sender || when->sender_domain.n > 0))
        return "the null sender has neither a sender nor a sender domain";
    if (when->authenticated == NO && has_subject(limit, SUBJECT_USER))
        return "only an authenticated session has a user";
    if (policy->exempt.authenticated && (when->authenticated == YES || has_subject(limit, SUBJECT_USER)))
        return "\"exempt\" excepts all authenticated sessions from limits";
    if (policy->aliases.database == NULL && needs_aliases(limit) != NULL)
        return needs_aliases(limit);
    if (all_exempt(policy, &when->client))
        return "all clients that it is for are in exempt.clients";
    for (size_t i = 0; i < policy->n_limits; i++)
        if (is_shielded(limit, &policy->limits[i]))
            return "another limit over as long a window is full before it, and has refused by then";
    if (when->unknown == YES && when->catch_all == YES)
        return "a recipient that a catch-all accepts is not unknown";
    for (size_t i = 0; when->unknown == YES && i < limit->n_per; i++) {
        if (((POLICY_WIDE | 1 << SUBJECT_RECIPIENT_DOMAIN) & 1 << limit->per[i]) == 0)
            return "unknown recipients are counted only per client, user, recipient_domain, host and all";
    }
    return NULL;
}

static void warn_limit(struct loader *loader, const struct place *place, const struct limit *limit)
{
    const struct place max = config_json_member(place, "max"), hold = config_json_member(place, "hold"),
                       reply = config_json_member(place, "reply"), per = config_json_member(place, "per");
    const char *never = never_acts(loader->policy, limit);
    if (never == NULL)
        warn_endless(loader, place, limit);
    warn_reply(loader, &reply, &limit->reply);
    if (never != NULL)
        loader_problem(loader, place, PROBLEM_WARNING, "", "never acts: %s. Remove the limit, or change it",
                       never);
    if (limit->count == LIMIT_BACKLOG && limit->over != ACTION_DEFER && !limit->shadow)
        loader_problem(
            loader, place, PROBLEM_WARNING, "",
            "refuses for good what comes while mail waits here, even if only a mailbox's own server "
            "is down. Use "
            "\"over\": \"defer\"");
    if (limit->max == 0)
        loader_problem(
            loader, &max, PROBLEM_WARNING, "",
            "is 0: the limit refuses everything that it applies to. Use a rule or a block for that, or a "
            "greater max");
    if (policy_holds_client(limit) && limit->over == ACTION_REJECT && !limit->shadow)
        loader_problem(
            loader, &hold, PROBLEM_WARNING, "",
            "rejects everything from a client for as long as it is held: large providers share addresses "
            "among many senders. Use \"over\": \"defer\", or a shorter window without hold");
    if (loader->policy->counters.kind == COUNTERS_MEMORY && has_subject(limit, SUBJECT_ALL))
        loader_problem(
            loader, &per, PROBLEM_WARNING, "",
            "counts what all gates see, but the counters are those of this process alone (memory:). Set "
            "counters.url to a Redis that the gates share, or count per host");
}

static void warn_limits(struct loader *loader, const struct place *root)
{
    const struct place limits = config_json_member(root, "limits");
    for (size_t i = 0; i < loader->policy->n_limits; i++) {
        const struct origin *origin = &loader->origins[i];
        const struct place place = config_json_element(&limits, origin->index, origin->map);
        warn_limit(loader, &place, &loader->policy->limits[i]);
    }
}

static bool is_loopback(const char *socket)
{
    struct network network, ipv4, ipv6;
    const char *host = strchr(socket, '@');
    if (strncmp(socket, "unix:", 5) == 0 || host == NULL || strcmp(host + 1, "localhost") == 0)
        return true;
    return network_parse("127.0.0.0/8", &ipv4, NULL) == 0 && network_parse("::1", &ipv6, NULL) == 0 &&
           network_parse(host + 1, &network, NULL) == 0 &&
           (network_contains(&ipv4, &network) || network_contains(&ipv6, &network));
}

static void warn_milter(struct loader *loader, const struct place *root)
{
    const struct place milter = config_json_member(root, "milter"),
                       group = config_json_member(&milter, "group"),
                       mode = config_json_member(&milter, "mode"),
                       socket = config_json_member(&milter, "socket");
    const struct policy *policy = loader->policy;
    if (group.value != NULL && policy->milter.group != NULL &&
        strncmp(policy->milter.socket, "unix:", 5) == 0 && getgrnam(policy->milter.group) == NULL)
        loader_problem(
            loader, &group, PROBLEM_WARNING, "",
            "there is no group \"%s\" on this host: the socket keeps the gate's own, Postfix cannot "
            "open it, and all mail is delayed",
            policy->milter.group);
    if ((policy->milter.mode & 02) != 0 && strncmp(policy->milter.socket, "unix:", 5) == 0)
        loader_problem(
            loader, &mode, PROBLEM_WARNING, "",
            "lets every user of this machine open the socket and use up anybody's limits. Use \"0660\" with "
            "\"group\"");
    if (strncmp(policy->milter.socket, "unix:", 5) != 0 && is_loopback(policy->milter.socket))
        loader_problem(loader, &socket, PROBLEM_WARNING, "",
                       "can be reached by every user of this machine, who can fill anybody's limits and have "
                       "networks held. "
                       "Use a unix socket with \"group\" and \"mode\"");
    if (!is_loopback(policy->milter.socket))
        loader_problem(
            loader, &socket, PROBLEM_WARNING, "",
            "can be reached from outside this machine, and a milter asks for no password. Use a unix "
            "socket or "
            "127.0.0.1, or let a firewall admit nobody but Postfix");
}

static void warn_maps(struct loader *loader, const struct place *root)
{
    const struct place maps = config_json_member(root, "maps"), socket = config_json_member(&maps, "socket");
    const char *at = loader->policy->maps.socket;
    if (at != NULL && !is_loopback(at))
        loader_problem(
            loader, &socket, PROBLEM_WARNING, "",
            "can be reached from outside this machine, and tells everybody which aliases exist and where "
            "they forward to. Use a unix socket or 127.0.0.1, or let a firewall admit nobody but Postfix");
    if (at != NULL && strcmp(at, loader->policy->milter.socket) == 0)
        loader_problem(
            loader, &socket, PROBLEM_WARNING, "",
            "is the socket of the milter too, and only one of them can have it. Name another one, or leave "
            "this out");
}

static void warn_http(struct loader *loader, const struct place *root)
{
    const struct place http = config_json_member(root, "http"), listen = config_json_member(&http, "listen");
    const char *host = loader->policy->http.host;
    if (host[0] != '\0' && strncmp(host, "127.", 4) != 0 && strcmp(host, "::1") != 0)
        loader_problem(loader, &listen, PROBLEM_WARNING, "",
                       "can be reached from outside this machine, and nobody is asked for a password%s. Use "
                       "127.0.0.1, or let a firewall admit nobody but your monitoring",
                       loader->policy->http.subjects ? ", while http.subjects shows the addresses of people"
                                                     : "");
}

/* What stands beside a URL that has no use for it. */
static void warn_unread(struct loader *loader, const struct place *counters)
{
    const struct redis_config *redis = &loader->policy->counters.redis;
    const struct place sentinels = config_json_member(counters, "sentinel_password_file"),
                       tls = config_json_member(counters, "tls"), key = config_json_member(&tls, "key");
    if (redis->sentinel_password_file != NULL && redis->topology != REDIS_TOPOLOGY_SENTINEL)
        loader_problem(loader, &sentinels, PROBLEM_WARNING, "",
                       "is never read, since counters.url names no Sentinels. Leave it out");
    if (!redis->tls && (redis->tls_ca != NULL || redis->tls_cert != NULL || redis->tls_key != NULL ||
                        redis->tls_name != NULL))
        loader_problem(
            loader, &tls, PROBLEM_WARNING, "",
            "is never read: counters.url says plain text. Write rediss:// there, or leave this out");
    if (redis->tls_key != NULL && redis->tls_cert == NULL)
        loader_problem(loader, &key, PROBLEM_WARNING, "",
                       "is never read, since there is no counters.tls.cert that it could be the key of");
}

static void warn_counters(struct loader *loader, const struct place *root)
{
    const struct counters_config *config = &loader->policy->counters;
    const struct place counters = config_json_member(root, "counters"),
                       file = config_json_member(&counters, "password_file");
    if (config->kind != COUNTERS_NONE)
        warn_unread(loader, &counters);
    if (config->redis.password_file == NULL || file.value == NULL)
        return;
    if (config->kind == COUNTERS_MEMORY)
        loader_problem(
            loader, &file, PROBLEM_WARNING, "",
            "is never read, since counters.url names no Redis. Set counters.url, or leave this out");
    else if (loader->url_password)
        loader_problem(
            loader, &file, PROBLEM_WARNING, "",
            "comes on top of a password in counters.url; the one in the file is used. Take it out of "
            "the URL");
}

static void warn_replies(struct loader *loader, const struct place *root)
{
    const struct place replies = config_json_member(root, "replies");
    for (int i = 0; i < REPLY_KEYS; i++) {
        const struct place reply = config_json_member(&replies, reply_key_name((enum reply_key)i));
        warn_reply(loader, &reply, &loader->policy->replies[i]);
    }
}

static void warn_exempt(struct loader *loader, const struct place *root)
{
    const struct place exempt = config_json_member(root, "exempt"),
                       clients = config_json_member(&exempt, "clients"),
                       recipients = config_json_member(&exempt, "recipients");
    const struct policy *policy = loader->policy;
    bool wide = false, all = false;
    for (size_t i = 0; i < policy->exempt.clients.n; i++) {
        const struct network *net = &policy->exempt.clients.at[i];
        wide = wide || net->bits < (network_is_ipv4(net) ? WIDE_IPV4 : WIDE_IPV6);
    }
    for (size_t i = 0; i < policy->exempt.recipients.n; i++)
        all = all || (policy->exempt.recipients.at[i].local == NULL &&
                      policy->exempt.recipients.at[i].domain == NULL);
    if (wide)
        loader_problem(
            loader, &clients, PROBLEM_WARNING, "",
            "has a network wider than /8 (IPv6 /32): no limit, rule or block holds for so much of the "
            "Internet. Name the hosts that you trust");
    if (all)
        loader_problem(
            loader, &recipients, PROBLEM_WARNING, "",
            "excepts every address: nobody is ever answered \"unknown\", and no limit rejects. Name the "
            "addresses");
}

void warnings_add(struct loader *loader, const struct place *root)
{
    warn_milter(loader, root);
    warn_maps(loader, root);
    warn_counters(loader, root);
    warn_http(loader, root);
    warn_exempt(loader, root);
    warn_limits(loader, root);
    warn_replies(loader, root);
}
