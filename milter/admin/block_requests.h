/* block_requests: what the commands block, unblock and blocks ask of a gate, answered as JSON (see requests.h).
 *
 *   {"do": "block", "networks": [text], "action": "reject" | "defer", "for_s": N, "reason": text, "force": bool, "more": bool}
 *   {"do": "unblock", "networks": [text], "more": bool}
 *       -> {"done": N, "refused": [{"network", "text"}], "trouble": text}
 *   {"do": "blocks", "after": text, "most": N}
 *       -> {"blocks": [{"network", "action", "until", "at", "by", "reason"}], "more": bool} in the order of addresses
 *
 * "more" in a request: others follow at once. "for_s" 0 or missing: for good. "trouble": it is done, but. */
#ifndef RCPTGATE_ADMIN_BLOCK_REQUESTS_H
#define RCPTGATE_ADMIN_BLOCK_REQUESTS_H

#include "gate/gate.h"

#include <jansson.h>

json_t *block_requests_block(struct gate *gate, const json_t *request);
json_t *block_requests_unblock(struct gate *gate, const json_t *request);
json_t *block_requests_list(struct gate *gate, const json_t *request);

/* For a gate that serves nobody: takes in the state directory's blocks and keeps another gate out of it.
 * Returns a descriptor to close when all is done, or -1 with err set where they cannot be read or another
 * gate is there. */
int block_requests_open(struct gate *gate, const char *state, struct error *err);

#endif
