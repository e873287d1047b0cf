/* lease: see lease.h. */
#include "lease.h"

enum { NS = 1000000, DRIFT = 500 }; /* clocks run faster than others by less than 1 in DRIFT */

static bool has_share(const struct count_request *request, size_t i)
{
    for (size_t k = 0; k < request->n; k++)
        if (request->asks[k].share_of == (int)i)
            return true;
    return false;
}

bool lease_is_for(const struct count_request *request, size_t i)
{
    const struct count_ask *ask = &request->asks[i];
    return ask->max >= LEASE_LEAST_MAX && ask->flags == 0 && ask->hold_ms == 0 && ask->share_of < 0 &&
           ask->overflow == NULL && ask->amount == 1 && ask->need == 1 &&
           (ask->unit == COUNT_UNIT_RECIPIENTS || ask->unit == COUNT_UNIT_MESSAGES) && !has_share(request, i);
}

static int64_t period_of(int64_t now_ns)
{
    return now_ns / ((int64_t)LEASE_PERIOD_MS * NS);
}

/* How many were asked for in the last whole period. */
static int64_t asked_before(const struct lease *lease, int64_t now_ns)
{
    int64_t ago = period_of(now_ns) - lease->period;
    return ago == 0 ? lease->before : ago == 1 ? lease->asked : 0;
}

static bool is_hot(int64_t asked)
{
    return asked * 1000 >= (int64_t)LEASE_HOT * LEASE_PERIOD_MS;
}

void lease_count(struct lease *lease, int64_t now_ns)
{
    int64_t period = period_of(now_ns);
    if (period != lease->period) {
        lease->before = asked_before(lease, now_ns);
        lease->asked = 0;
        lease->period = period;
    }
    lease->asked++;
}

static bool has_ended(const struct lease *lease, int64_t now_ns)
{
    return now_ns >= lease->until_ns;
}

int64_t lease_wanted(const struct lease *lease, int64_t now_ns)
{
    int64_t asked = asked_before(lease, now_ns);
    bool has_units = lease->units > 0 && !has_ended(lease, now_ns);
    if (has_units || lease->asking || now_ns < lease->again_ns || !is_hot(asked))
        return 0;
    return asked * LEASE_AHEAD_MS / LEASE_PERIOD_MS;
}

static void rest_take(struct lease *lease, struct lease_rest *rest)
{
    *rest = (struct lease_rest){.units = lease->units, .slot = lease->slot, .created = lease->created};
    lease->units = 0;
}

void lease_ask(struct lease *lease, struct lease_rest *rest)
{
    rest_take(lease, rest);
    lease->asking = true;
}

bool lease_take(struct lease *lease, int64_t max, int64_t now_ns, struct count_answer *out)
{
    if (lease->units == 0 || has_ended(lease, now_ns) || max < lease->max)
        return false;
    lease->units--;
    *out = (struct count_answer){.result = COUNT_ADMITTED,
                                 .used = lease->used++,
                                 .slot = lease->slot,
                                 .created = lease->created,
                                 .here = -1};
    return true;
}

bool lease_put_back(struct lease *lease, const struct count_answer *answer, int64_t now_ns)
{
    if (lease->asking || has_ended(lease, now_ns) || answer->slot != lease->slot ||
        answer->created != lease->created)
        return false;
    lease->units++;
    lease->used--;
    return true;
}

void lease_grant(struct lease *lease, const struct lease_grant *grant, int64_t max, int64_t asked_ns)
{
    lease->asking = false;
    if (grant == NULL || grant->units == 0) {
        lease->again_ns = asked_ns + (int64_t)LEASE_PAUSE_MS * NS;
        return;
    }
    /* The store looked at its clock after it was asked, so that its slot ends no sooner than this. */
    int64_t left = grant->left_ms - grant->left_ms / DRIFT - 1;
    lease->units = grant->units;
    lease->max = max;
    lease->used = grant->used;
    lease->slot = grant->slot;
    lease->created = grant->created;
    lease->until_ns = asked_ns + (left < 0 ? 0 : left < LEASE_MS ? left : LEASE_MS) * NS;
}

bool lease_rest(struct lease *lease, int64_t now_ns, struct lease_rest *rest)
{
    if (lease->units == 0 || !has_ended(lease, now_ns))
        return false;
    rest_take(lease, rest);
    return true;
}

void lease_end(struct lease *lease, bool is_void)
{
    lease->until_ns = 0;
    if (is_void)
        lease->units = 0;
}

bool lease_is_idle(const struct lease *lease, int64_t now_ns)
{
    return lease->units == 0 && !lease->asking && period_of(now_ns) != lease->period &&
           !is_hot(asked_before(lease, now_ns));
}
