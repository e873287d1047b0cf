/* proxies: the clients of smtpd processes that hand their mail to a filter before they queue it (smtpd_proxy_filter), until the filter's
 * answer names the queue id. */
#ifndef RCPTGATE_REPLAY_PROXIES_H
#define RCPTGATE_REPLAY_PROXIES_H

#include "base/network.h"
#include "span.h"

struct proxies;

struct proxies *proxies_new(void); /* NULL: out of memory */
void proxies_free(struct proxies *proxies);

/* That process has this client now. user may be empty. */
void proxies_put(struct proxies *proxies, int host, struct span pid, const struct network *client,
                 struct span user);

struct proxy_client {
    struct network client;
    char user[256]; /* "" : not logged in */
};

/* NULL: not known. Until the next call. */
const struct proxy_client *proxies_find(const struct proxies *proxies, int host, struct span pid);

#endif
