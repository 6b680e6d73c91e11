/*
 * roles/user_tries.h: how often somebody's password was guessed at lately, on this node, whoever did it over whatever connections.
 *
 * A try counts as wrong from its beginning until its end says otherwise, so that many at once are no way around it. After `max` of one
 * name within `window_ms` one more is let through after window_ms / max, then after twice as long, up to a quarter of an hour; the right
 * password, or that long a rest, forgets it all. It is the same for names that nobody has: nothing can be learnt from it.
 *
 * The table has a fixed size; where it is full, whoever would be forgotten soonest gives way. To push a name out takes more tries than
 * hashes can be computed in that time. Loop thread only; times are net_now_ms().
 */
#ifndef BT_ROLES_USER_TRIES_H
#define BT_ROLES_USER_TRIES_H

#include <stddef.h>
#include <stdint.h>

#include "net/err.h"

struct user_tries;

/* max 0: nothing is ever refused. BT_ENOMEM, BT_EINTERNAL. */
enum bt_err user_tries_new(uint32_t max, uint32_t window_ms, struct user_tries **out);
void user_tries_free(struct user_tries *t); /* NULL is fine */

/* What a name is. Anybody may send any bytes as the name of an account: they are never taken for somebody's number. */
enum user_tries_by { USER_TRIES_BY_NAME, USER_TRIES_BY_NUMBER };

/* One try of that name begins: 0, and *key_out is for exactly one user_tries_end(). Else it is refused: for how many ms. */
uint32_t user_tries_begin(struct user_tries *t, uint64_t now_ms, enum user_tries_by by, const void *name, size_t len, uint64_t *key_out);

/* The same try looks at one password more, which counts too; it is let through, and what it makes others wait grows. */
void user_tries_more(struct user_tries *t, uint64_t now_ms, uint64_t key);

enum user_try { USER_TRY_NONE, USER_TRY_WRONG, USER_TRY_RIGHT }; /* NONE: a password was not looked at */
void user_tries_end(struct user_tries *t, uint64_t key, enum user_try what);

#endif
