/*
 * test/unit/mariadb_env.h: real MariaDB servers in scratch directories, on free ports of the loopback, for one test program.
 *
 * A server dies with the program that started it. All functions block and assert that what they do goes well.
 */
#ifndef BT_TEST_MARIADB_ENV_H
#define BT_TEST_MARIADB_ENV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "test/unit/store_env.h"

struct mariadb_server {
    char dir[64];
    int port;
    pid_t pid;      /* 0: not running */
    bool is_frozen;
};

/* Make the server's files; it is not started. */
void mariadb_server_init(struct mariadb_server *s);
/* Start it and wait until it answers. option: one more, as "--read-only", or NULL; the defaults are those that we accept. */
void mariadb_server_start(struct mariadb_server *s, const char *option);
void mariadb_server_stop(struct mariadb_server *s);   /* in order */
void mariadb_server_kill(struct mariadb_server *s);   /* -9 */
void mariadb_server_freeze(struct mariadb_server *s); /* SIGSTOP, SIGCONT */
void mariadb_server_thaw(struct mariadb_server *s);
void mariadb_server_deinit(struct mariadb_server *s); /* ends it and removes its files */

/* Run statements as root, with the command line client. */
void mariadb_server_sql(const struct mariadb_server *s, const char *sql);

/* One for all tests of a program: the fixtures of a cmocka group, which start and remove it. */
extern struct mariadb_server mariadb;
int mariadb_group_setup(void **state);
int mariadb_group_teardown(void **state);

/* Fixtures of a test: a database of its own on that server, opened in a struct store_env; a server that is frozen goes on then. */
int mariadb_setup(void **state);
int mariadb_teardown(void **state);
void mariadb_reopen(struct store_env *env, const char *assignment); /* with one setting changed */
void mariadb_wait_up(struct store_env *env, bool is_up);            /* turns the loop until the database is up, or down */

#endif
