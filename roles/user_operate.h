/*
 * roles/user_operate.h: what an operator does to an account, beside a running server or without one.
 *
 * Each opens the store, does its work in a loop of its own, and says on stdout or stderr, in one line, how it went.
 * Returns the process's exit code: 0 done, 1 not done. Running servers learn of ended sessions within 2 s.
 * `conf` has the keys of the store and of the user role. `name` is the account's, in any case of letters.
 */
#ifndef BT_ROLES_USER_OPERATE_H
#define BT_ROLES_USER_OPERATE_H

struct conf;

/* Give the account a new password, and end all its sessions. The caller overwrites `password`. */
int user_operate_passwd(const struct conf *conf, const char *name, const char *password);

/* Shut the account and end all its sessions; nothing of it is deleted. */
int user_operate_disable(const struct conf *conf, const char *name);

/* Let it log in again. */
int user_operate_enable(const struct conf *conf, const char *name);

#endif
