/* operate.h: the operator's commands: --check, --migrate, --backup, --passwd, --disable, --enable. */
#ifndef BT_OPERATE_H
#define BT_OPERATE_H

#include "net/conf.h"
#include "options.h"
#include "roles/role.h"

/* Do what options->action asks for. Blocks. Returns an exit status; what was done, or why not, has been written. */
int operate(const struct options *options, const struct role *const *roles, const struct conf *conf);

#endif
