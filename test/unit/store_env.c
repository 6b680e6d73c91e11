/* test/unit/store_env.c: see store_env.h. */
#include "test/unit/store_env.h"

#include <dirent.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/store_internal.h"

void env_init(struct store_env *env)
{
    char set[128];
    memset(env, 0, sizeof *env);
    snprintf(env->dir, sizeof env->dir, "/tmp/bytetalk-test-XXXXXX");
    assert_non_null(mkdtemp(env->dir));
    assert_int_equal(net_loop_new(&env->loop), BT_OK);
    assert_int_equal(conf_new(&env->conf), BT_OK);
    conf_declare(env->conf, store_keys);
    snprintf(set, sizeof set, "data.dir=%s", env->dir);
    env_set(env, set);
}

void env_set(struct store_env *env, const char *assignment)
{
    assert_int_equal(conf_set(env->conf, assignment, env->why, sizeof env->why), BT_OK);
}

enum bt_err env_open(struct store_env *env, enum store_mode mode, const struct schema *schema)
{
    enum bt_err err = store_open_schema(env->loop, env->conf, mode, schema != NULL ? schema : &store_schema, &env->store,
                                        env->why, sizeof env->why);
    env->db = env->store != NULL ? store_db(env->store) : NULL;
    return err;
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

void env_close(struct store_env *env)
{
    bool closed = false;
    if (env->store == NULL)
        return;
    store_close(env->store, set_flag, &closed);
    env->store = NULL;
    env->db = NULL;
    assert_false(closed);
    env_wait(env, &closed);
}

void env_deinit(struct store_env *env)
{
    env_close(env);
    net_loop_turn(env->loop, 0);
    net_loop_turn(env->loop, 0);
    net_loop_free(env->loop);
    conf_free(env->conf);
    DIR *d = opendir(env->dir);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        unlink(env_path(env, e->d_name));
    closedir(d);
    rmdir(env->dir);
}

int env_setup(void **state)
{
    struct store_env *env = calloc(1, sizeof *env);
    env_init(env);
    *state = env;
    return 0;
}

int env_teardown(void **state)
{
    env_deinit(*state);
    free(*state);
    return 0;
}

const char *env_path(const struct store_env *env, const char *name)
{
    static char paths[2][512];
    static unsigned turn;
    char *path = paths[turn++ % 2];
    snprintf(path, sizeof paths[0], "%s/%s", env->dir, name);
    return path;
}

void env_wait(struct store_env *env, const bool *flag)
{
    uint64_t end = net_clock_us() + 10 * 1000000;
    while (!*flag && net_clock_us() < end)
        net_loop_turn(env->loop, 50);
    assert_true(*flag);
}

void env_turn_ms(struct store_env *env, uint64_t ms)
{
    for (uint64_t start = net_clock_us(); env_ms_since(start) < ms;)
        net_loop_turn(env->loop, 20);
}

void env_answer_done(const struct db_done *done, void *arg)
{
    struct env_answer *a = arg;
    a->done = *done;
    a->calls++;
    a->is_done = true;
}

void env_answer_rows(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct env_answer *a = arg;
    assert_true((err == BT_OK) == (rows != NULL));
    a->done.err = err;
    a->nrows = rows != NULL ? rows->nrows : 0;
    a->first = a->nrows > 0 && rows->ncols > 0 && db_at(rows, 0, 0)->type == DB_INT ? db_at(rows, 0, 0)->i : -1;
    a->calls++;
    a->is_done = true;
}

struct db_done env_list(struct store_env *env, struct db_list *list)
{
    struct env_answer a = { 0 };
    db_list_run(env->db, list, env_answer_done, &a);
    assert_false(a.is_done);
    env_wait(env, &a.is_done);
    return a.done;
}

uint64_t env_ms_since(uint64_t start_us)
{
    return (net_clock_us() - start_us) / 1000;
}

struct db_done env_exec(struct store_env *env, const char *sql, const struct db_val *params, size_t nparams, int64_t expect)
{
    struct db_list *list = db_list_new(env->db);
    db_list_add(list, sql, params, nparams, expect);
    return env_list(env, list);
}

int64_t env_int(struct store_env *env, const char *sql)
{
    struct env_answer a = { 0 };
    db_query(env->db, sql, NULL, 0, env_answer_rows, &a);
    assert_false(a.is_done);
    env_wait(env, &a.is_done);
    assert_int_equal(a.done.err, BT_OK);
    return a.first;
}
