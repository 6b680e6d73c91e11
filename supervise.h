/*
 * supervise.h: --unit: one process that starts the nodes of a unit as copies of this program, keeps them running, and
 * ends them in order. The nodes do not need it: it holds no connection and no data, and may be killed.
 */
#ifndef BT_SUPERVISE_H
#define BT_SUPERVISE_H

#include "net/conf.h"
#include "options.h"
#include "roles/role.h"

extern const struct conf_key supervise_keys[]; /* [unit]: how many nodes of each role */

/*
 * Start [unit]'s nodes of the roles that the options name, and stay until a signal ends all of them. roles: in the order
 * of starting, ends with NULL. conf is borrowed; what is set is handed to the nodes as it was given: the same ini, the same
 * --set. Blocks, makes no loop. Returns an exit status; what is wrong has been logged.
 *
 * A node that ends is started again, after 100 ms, twice as much at each further time, at most 10 s. SIGTERM or SIGINT ends
 * proxies, then the others, chat last; a second one kills. SIGHUP goes to all. When this process dies, the kernel sends
 * its nodes SIGTERM.
 */
int supervise(const struct options *options, const struct role *const *roles, const struct conf *conf);

#endif
