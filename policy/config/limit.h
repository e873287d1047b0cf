/* limit: the parsers of "limits". */
#ifndef RCPTGATE_CONFIG_LIMIT_H
#define RCPTGATE_CONFIG_LIMIT_H

#include "loader.h"

key_parser limit_list, limit_per, limit_reply, limit_share, limit_when, limit_classes, limit_domains,
    limit_clients;

/* Fills in ttl_ms of all limits. */
void limit_ttl(struct policy *policy);

#endif
