/* json_memory: what jansson does when memory runs out.
 *
 * Its parser goes on after a failed allocation and then reads past the end of a string. So no allocation of
 * its ever fails: it is tried again for a second, and then the process ends with a word, to be started again
 * by systemd. No session waits for that: JSON is read and written only by the policy, the commands and the
 * reports. */
#ifndef RCPTGATE_CMD_JSON_MEMORY_H
#define RCPTGATE_CMD_JSON_MEMORY_H

/* Once, before any JSON. */
void json_memory_init(void);

#endif
