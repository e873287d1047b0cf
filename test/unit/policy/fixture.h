/* fixture: one RCPT and the policy that it meets, for the tests of the decision. */
#ifndef RCPTGATE_TEST_FIXTURE_H
#define RCPTGATE_TEST_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "policy/address.h"
#include "base/network.h"
#include "policy/policy.h"
#include "base/pool.h"
#include "policy/rules.h"

#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum { FIXTURE_NOW = 1700000000 }; /* seconds */

struct fixture {
    struct policy policy;
    struct envelope envelope;
    struct address sender, recipient;
    struct network client;
    struct pool pool;
};

static inline void fixture_client(struct fixture *f, const char *client)
{
    f->client = (struct network){0};
    if (client != NULL)
        assert_int_equal(network_parse(client, &f->client, NULL), 0);
    f->envelope.client_subject = f->client;
    if (f->client.set)
        f->envelope.client_subject = network_mask(&f->client, 32, 64);
}

static inline void fixture_mail(struct fixture *f, const char *from, const char *to)
{
    address_parse(from, "+", &f->sender, NULL);
    address_parse(to, "+", &f->recipient, NULL);
    f->envelope.recipient_raw = to;
}

/* The policy of `{}` with alias rules, b@example.net at 192.0.2.7 writing to a@example.com. */
static inline void fixture_init(struct fixture *f)
{
    *f = (struct fixture){0};
    f->policy.aliases.database = "aliases.db";
    f->policy.aliases.subaddress = "+";
    f->policy.counters.local_share = 100;
    f->policy.counters.ipv4_bits = 32;
    f->policy.counters.ipv6_bits = 64;
    f->policy.counters.max_new_subjects = 1000;
    for (int key = 0; key < REPLY_KEYS; key++)
        f->policy.replies[key] = *reply_default((enum reply_key)key);
    f->envelope = (struct envelope){.client = &f->client,
                                    .sender = &f->sender,
                                    .recipient = &f->recipient,
                                    .resolved = true,
                                    .size = -1,
                                    .host = "mx1.example.com",
                                    .now_ms = INT64_C(1000) * FIXTURE_NOW};
    fixture_client(f, "192.0.2.7");
    fixture_mail(f, "b@example.net", "a@example.com");
}

#endif
