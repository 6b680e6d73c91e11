/* supervise_copy.h: what the copies that make up a unit are told: which of the settings differ from copy to copy. */
#ifndef BT_SUPERVISE_COPY_H
#define BT_SUPERVISE_COPY_H

#include <stddef.h>

#include "net/conf.h"
#include "net/err.h"
#include "options.h"

enum {
    SUPERVISE_COPY_SETS = 5, /* settings that may differ */
    SUPERVISE_SET_SIZE = 128,
};

/* One copy's own settings, as arguments of --set. */
struct supervise_copy {
    char sets[SUPERVISE_COPY_SETS][SUPERVISE_SET_SIZE];
    size_t nsets;
};

/*
 * Copy i (from 0) of that role, which is the unit's process number p (from 0). A port that is set is the first copy's, the
 * others take the next ones: the proxies' [proxy] listen is counted by i, [node] listen by p. Port 0 stays. A name that is
 * set gets role and number behind it. BT_EINVAL with why: a port beyond 65535, a name too long.
 */
enum bt_err supervise_copy_settings(const struct conf *conf, const struct role *role, unsigned i, unsigned p, struct supervise_copy *out,
                                    char *why, size_t why_size);

/* Whether processes can work together with these settings at all. BT_EINVAL with a line that says what to set. */
enum bt_err supervise_check_shared(const struct conf *conf, char *why, size_t why_size);

/* The arguments with which exe becomes the copy; ends with NULL. NULL: no memory. The array is the caller's to bt_free(); its strings are borrowed. */
char **supervise_copy_argv(const char *exe, const struct options *options, const char *role_arg, const struct supervise_copy *copy);

#endif
