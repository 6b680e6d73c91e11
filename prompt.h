/* prompt.h: ask a person for a password, or take it from standard input. */
#ifndef BT_PROMPT_H
#define BT_PROMPT_H

#include <stddef.h>

#include "net/err.h"

/*
 * Read a new password into buf: on a terminal it is asked for twice and not shown; else it is the first line of standard
 * input. prompt names whose it is. Blocks. Wipe buf after use. BT_EINVAL (empty, too long, the two differ, no input),
 * with why.
 */
enum bt_err prompt_new_password(const char *prompt, char *buf, size_t size, char *why, size_t why_size);

#endif
