/* test/unit/mariadb_start.c: see mariadb_start.h. */
#include "test/unit/mariadb_start.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "net/log.h"

struct mariadb_server first, second;

void start_server(struct mariadb_server *s)
{
    mariadb_server_init(s);
    mariadb_server_start(s, NULL);
}

int start_end_servers(void **state)
{
    (void)state;
    mariadb_server_deinit(&first);
    mariadb_server_deinit(&second);
    return 0;
}

static char logged[65536]; /* lines of warn and error */

static void keep_line(enum log_level level, const char *line, void *arg)
{
    (void)arg;
    size_t len = strlen(logged);
    if (level <= LOG_LEVEL_WARN)
        snprintf(logged + len, sizeof logged - len, "%s\n", line);
}

/* A test before may have stopped it. */
static void make_new(struct mariadb_server *s)
{
    if (s->dir[0] == '\0')
        return;
    if (s->pid == 0)
        mariadb_server_start(s, NULL);
    mariadb_server_sql(s, "SET GLOBAL read_only = 0$$ DROP DATABASE IF EXISTS bytetalk");
}

int start_setup(void **state)
{
    logged[0] = '\0';
    log_set_sink(keep_line, NULL);
    make_new(&first);
    make_new(&second);
    return env_setup(state);
}

int start_teardown(void **state)
{
    mariadb_server_thaw(&first);
    mariadb_server_thaw(&second);
    env_teardown(state);
    log_set_sink(NULL, NULL);
    return 0;
}

void use_url(struct store_env *env, const char *who, const struct mariadb_server *a, const struct mariadb_server *b)
{
    char set[256], more[64] = "";
    if (b != NULL)
        snprintf(more, sizeof more, ",127.0.0.1:%d", b->port);
    snprintf(set, sizeof set, "store.url=mariadb://%s@127.0.0.1:%d%s/bytetalk", who, a->port, more);
    env_set(env, set);
}

void assert_refused(struct store_env *env, enum store_mode mode, enum bt_err err, const char *part)
{
    assert_int_equal(env_open(env, mode, NULL), err);
    if (strstr(env->why, part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", env->why, part);
}

void assert_logged(const char *part)
{
    if (strstr(logged, part) == NULL)
        fail_msg("\"%s\" was not logged, but:\n%s", part, logged);
}

void assert_not_logged(const char *part)
{
    assert_null(strstr(logged, part));
}
