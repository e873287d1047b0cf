/* proxies: the clients of smtpd processes that hand their mail to a filter before they queue it (smtpd_proxy_filter), until the filter's
 * answer names the queue id. */
#ifndef RCPTGATE_REPLAY_PROXIES_H
#define RCPTGATE_REPLAY_PROXIES_H

#include "base/network.h"
#include "span.h"

struct proxies;

struct proxy_client {
    struct network client;
    char user[256]; /* "" : not logged in */
};

enum { PROXIES_BY_ID = -1 }; /* for a host: the key is a queue id, whose message has not been seen yet */

struct proxies *proxies_new(void); /* NULL: out of memory */
void proxies_free(struct proxies *proxies);

/* That process (key: its id) has this client now. */
void proxies_put(struct proxies *proxies, int host, struct span key, const struct proxy_client *client);

/* NULL: not known. Until the next call. */
const struct proxy_client *proxies_find(const struct proxies *proxies, int host, struct span key);

#endif
