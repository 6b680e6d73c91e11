/*
 * test/unit/mariadb_start.h: one or two real MariaDB servers without a database yet, for tests of which is used and how a start fails.
 */
#ifndef BT_TEST_MARIADB_START_H
#define BT_TEST_MARIADB_START_H

#include "test/unit/mariadb_env.h"
#include "test/unit/store_env.h"

extern struct mariadb_server first, second;

/* For a cmocka group: start_server() makes and starts one of the two, start_end_servers() ends those that there are. */
void start_server(struct mariadb_server *s);
int start_end_servers(void **state);

/* Fixtures of a test: *state is a struct store_env without a url; the servers run, are writable and have no database. */
int start_setup(void **state);
int start_teardown(void **state);

/* who: "root" or "user:password". b NULL: one host. */
void use_url(struct store_env *env, const char *who, const struct mariadb_server *a, const struct mariadb_server *b);

void assert_refused(struct store_env *env, enum store_mode mode, enum bt_err err, const char *part); /* and says why */
void assert_logged(const char *part);     /* as a warning or an error, since the test began */
void assert_not_logged(const char *part);

#endif
