/* node.h: this process as a node: starts what it serves, runs it, and on a signal drains and ends it. */
#ifndef BT_NODE_H
#define BT_NODE_H

#include "net/conf.h"
#include "options.h"
#include "roles/role.h"

/*
 * Serve until a signal ends it. roles: in the order of starting, ends with NULL; those that the options name are
 * started. conf is borrowed. Returns an exit status; a failure has been logged.
 */
int node_run(const struct options *options, const struct role *const *roles, const struct conf *conf);

#endif
