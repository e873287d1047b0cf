/* ids: whose rights this process has.
 *
 * Who may write to a directory decides what a program finds there: links to other files, an SQLite journal that names
 * files to delete. So root gives up its rights for those of the directory's owner before it opens anything in it, as
 * Postfix's postmap does; and it refuses a directory of its own that others may change. Owns nothing. For a process
 * that has one thread yet; whoever is not root keeps the rights it has. */
#ifndef RCPTGATE_SYS_IDS_H
#define RCPTGATE_SYS_IDS_H

#include "base/error.h"

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct ids {
    uid_t uid;
    gid_t gid;
};

bool ids_are_roots(void); /* this process has root's rights */

/* Whose the directory is. -1 with err set: it cannot be looked at; or it is root's, as this process is, and it or one
 * above it can be changed by others. real: the directory's name without links, which nobody but root can then change
 * the meaning of; may be NULL. */
int ids_of_directory(const char *dir, struct ids *out, char real[PATH_MAX], struct error *err);

/* The ids of a user by name. -1: there is none. */
int ids_of_user(const char *name, struct ids *out, struct error *err);

/* Is the user with this uid a member of the group? */
bool ids_is_member(uid_t uid, const char *group);

/* Takes these ids for good, and no other group but `also` (n of them). Nothing where the process is not root's, or the
 * ids are root's. -1 with err set: do not go on. */
int ids_take(const struct ids *ids, const gid_t *also, size_t n, struct error *err);

/* The same with the groups that the user is a member of by name instead of ids->gid, where the uid has a name. */
int ids_take_as_user(const struct ids *ids, const gid_t *also, size_t n, struct error *err);

/* Takes them until ids_give_back(): for a command that has a file of root's to finish. */
int ids_borrow(const struct ids *ids, struct error *err);
int ids_give_back(void);

/* Whose the directory of `file` is, as ids_of_directory(). safe: the name to open the file by with these ids. */
int ids_of_file(const char *file, struct ids *out, char safe[PATH_MAX], struct error *err);

/* No other process of this user reads our memory, and no core file has it: passwords are in it. */
void ids_hide_memory(void);

#endif
