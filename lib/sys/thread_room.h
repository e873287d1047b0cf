/* thread_room: for how many threads there is room, as far as can be told. */
#ifndef RCPTGATE_SYS_THREAD_ROOM_H
#define RCPTGATE_SYS_THREAD_ROOM_H

/* The lesser of RLIMIT_NPROC and the control group's pids.max; LONG_MAX where neither bounds it. What others
 * use of it is not counted. */
long thread_room(void);

#endif
