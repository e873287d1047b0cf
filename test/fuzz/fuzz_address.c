/* fuzz_address: whatever a client sends, the canonical form is a fixed point, has only legal bytes and fits. */
#include "policy/address.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool truth)
{
    if (!truth)
        abort();
}

static void check_domain(const struct address *address)
{
    char again[ADDRESS_DOMAIN_MAX + 1], unicode[4 * ADDRESS_DOMAIN_MAX];
    if (address->domain[0] == '\0')
        return;
    demand(strspn(address->domain, "abcdefghijklmnopqrstuvwxyz0123456789.-_[]:") == strlen(address->domain));
    demand(address_domain(address->domain, again, NULL) == 0 && strcmp(again, address->domain) == 0);
    if (address_domain_unicode(address->domain, unicode, sizeof unicode))
        demand(address_domain(unicode, again, NULL) == 0 && strcmp(again, address->domain) == 0);
}

/* Their strings: what is behind the end of one is nobody's. */
static bool are_same(const struct address *a, const struct address *b)
{
    return a->kind == b->kind && a->percent_or_bang == b->percent_or_bang && strcmp(a->full, b->full) == 0 &&
           strcmp(a->bare, b->bare) == 0 && strcmp(a->local_full, b->local_full) == 0 &&
           strcmp(a->local_bare, b->local_bare) == 0 && strcmp(a->domain, b->domain) == 0;
}

static void check_address(const struct address *address, const char *subaddress)
{
    struct address again;
    if (address->kind != ADDRESS_BARE && address->kind != ADDRESS_MAILBOX)
        return;
    demand(strlen(address->full) <= ADDRESS_MAX && strlen(address->local_full) <= ADDRESS_LOCAL_MAX);
    demand(strlen(address->bare) <= ADDRESS_MAX && strlen(address->local_bare) <= ADDRESS_LOCAL_MAX);
    for (const char *c = address->full; *c != '\0'; c++)
        demand((unsigned char)*c >= ' ' && *c != 0x7f && (*c < 'A' || *c > 'Z'));
    demand(address_parse(address->full, subaddress, &again, NULL) == address->kind);
    demand(are_same(&again, address));
    demand(address_parse(address->bare, subaddress, &again, NULL) == address->kind);
    demand(strcmp(again.full, address->bare) == 0 && strcmp(again.bare, address->bare) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const separators[] = {"+", "", "-+", "."};
    struct address address;
    struct error err = {0};
    char key[ADDRESS_MAX + 1];
    char *raw = malloc(size + 1); /* of its own, so that a read beyond its end is seen */
    if (raw == NULL)
        return 0;
    if (size > 0)
        memcpy(raw, data, size);
    raw[size] = '\0';
    for (size_t i = 0; i < sizeof separators / sizeof separators[0]; i++) {
        err.text[0] = '\0';
        demand((address_parse(raw, separators[i], &address, &err) == ADDRESS_INVALID) ==
               (err.text[0] != '\0'));
        check_domain(&address);
        check_address(&address, separators[i]);
    }
    address_fallback_key(raw, key, sizeof key);
    demand(strlen(key) <= ADDRESS_MAX);
    free(raw);
    return 0;
}
