/* settings.h: the settings of all modules together: declared, read from the file, overridden by --set. */
#ifndef BT_SETTINGS_H
#define BT_SETTINGS_H

#include <stddef.h>

#include "net/conf.h"
#include "net/err.h"
#include "options.h"
#include "roles/role.h"

/* Every key of every module, with its default. *out is owned by the caller. BT_ENOMEM. */
enum bt_err settings_new(const struct role *const *roles, struct conf **out);

/* The same, then the file that the options name and their --set. BT_ENOTFOUND (no file), BT_EINVAL, BT_ENOMEM, with why. */
enum bt_err settings_load(const struct options *options, const struct role *const *roles, struct conf **out, char *why,
                          size_t why_size);

/* Let [log] level count from here on. */
void settings_apply_log(const struct conf *conf);

#endif
