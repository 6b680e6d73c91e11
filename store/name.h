/*
 * store/name.h: what a name may look like, and the form in which two names are the same.
 *
 * Bytes come from clients: everything here answers for any bytes. No state; any thread.
 */
#ifndef BT_STORE_NAME_H
#define BT_STORE_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/err.h"

/* True for well-formed UTF-8 of any content, also none: what a text body must be. */
bool name_is_utf8(const void *text, size_t len);

/*
 * True if text may be shown as the name of a person, group or device: min..max bytes of UTF-8; no control, format
 * or bidirectional characters (emoji joiners within the name are fine), no line breaks, no private code points;
 * something visible in it; no white space at either end. With min 0 an empty text is a name.
 */
bool name_check(const void *text, size_t len, size_t min, size_t max);

/*
 * The canonical form of an account name: names that are equal by case folding and canonical equivalence have the
 * same one; it is its own canonical form. The name must satisfy name_check() for 1..max bytes and hold no
 * invisible and no unassigned character, and of all spaces only U+0020.
 *   out       gets the form, at most out_size bytes, not terminated
 * Errors: BT_EINVAL (not such a name, or its form is longer than out_size), BT_ENOMEM.
 */
enum bt_err name_canon(const void *text, size_t len, size_t max, uint8_t *out, size_t out_size, size_t *len_out);

#endif
