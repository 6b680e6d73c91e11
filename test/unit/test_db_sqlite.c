/* test/unit/test_db_sqlite.c: the SQLite backend: what all backends keep to, and groups, time limits, checkpoints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "net/loop.h"
#include "store/sqlite_internal.h"
#include "test/unit/db_cases.h"
#include "test/unit/store_env.h"

static int setup(void **state)
{
    env_setup(state);
    env_set(*state, "store.queue=100");
    env_set(*state, "store.wal_kib=64");
    assert_int_equal(env_open(*state, STORE_SERVE, NULL), BT_OK);
    return 0;
}

static void the_reading_connection_refuses_to_write(void **state)
{
    struct store_env *env = *state;
    struct env_answer a = { 0 };
    db_query(env->db, "DELETE FROM schema_version", NULL, 0, env_answer_rows, &a);
    env_wait(env, &a.is_done);
    assert_int_not_equal(a.done.err, BT_OK);
    assert_int_equal(env_int(env, "SELECT COUNT(*) FROM schema_version"), 1);
}

/* A burst of writes shares commits, and each keeps its own outcome. */
static void grouped_writes_keep_their_own_outcomes(void **state)
{
    struct store_env *env = *state;
    struct env_answer a[90] = { 0 };
    uint64_t commits = env->db->stats.commits;
    for (int i = 0; i < 90; i++) { /* every third repeats its predecessor's key */
        char name[32];
        snprintf(name, sizeof name, "k%d", i % 3 == 2 ? i - 1 : i);
        struct db_list *list = db_list_new(env->db);
        db_list_add(list, DB_CASE_INSERT, db_case_row(name, i), 2, 1);
        db_list_run(env->db, list, env_answer_done, &a[i]);
    }
    env_wait(env, &a[89].is_done);
    for (int i = 0; i < 90; i++) {
        assert_int_equal(a[i].calls, 1);
        assert_int_equal(a[i].done.err, i % 3 == 2 ? BT_EEXIST : BT_OK);
    }
    assert_int_equal(env_int(env, "SELECT COUNT(*) FROM id_range"), 60);
    assert_true(env->db->stats.commits - commits < 60);
}

static void a_query_that_runs_too_long_is_broken_off(void **state)
{
    struct store_env *env = *state;
    struct env_answer a = { 0 };
    env_close(env);
    env_set(env, "store.timeout_ms=100");
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    db_query(env->db, "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT COUNT(*) FROM n", NULL, 0,
             env_answer_rows, &a);
    env_wait(env, &a.is_done);
    assert_int_equal(a.done.err, BT_ETIMEOUT);
    assert_int_equal(env_int(env, "SELECT 1"), 1);
}

static bool is_writing(struct store_env *env)
{
    struct sqlite_db *db = (struct sqlite_db *)env->db;

    pthread_mutex_lock(&db->lock);
    bool answer = db->in_transaction;
    pthread_mutex_unlock(&db->lock);
    return answer;
}

static void a_write_that_waited_too_long_is_not_begun(void **state)
{
    struct store_env *env = *state;
    struct env_answer a = { 0 }, b = { 0 };
    env_close(env);
    env_set(env, "store.timeout_ms=100");
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    assert_int_equal(env_exec(env, "CREATE TABLE n (x BIGINT)", NULL, 0, DB_ANY).err, BT_OK);
    db_exec(env->db, "INSERT INTO n WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 10000000) "
                     "SELECT COUNT(*) FROM c", NULL, 0, 1, env_answer_done, &a);
    uint64_t limit_us = net_clock_us() + 10 * UINT64_C(1000000);
    while (!is_writing(env)) /* else both might go in one group */
        assert_true(net_clock_us() < limit_us);
    db_exec(env->db, "INSERT INTO n VALUES (7)", NULL, 0, 1, env_answer_done, &b);
    env_wait(env, &a.is_done);
    env_wait(env, &b.is_done);
    assert_int_equal(a.done.err, BT_OK);
    assert_int_equal(b.done.err, BT_ETIMEOUT);
    assert_int_equal(env_int(env, "SELECT COUNT(*) FROM n"), 1);
}

static void the_log_stays_short_under_continuous_writes(void **state)
{
    struct store_env *env = *state;
    struct env_answer a[8] = { 0 };
    static uint8_t body[16384];
    struct stat st;
    off_t longest = 0;
    assert_int_equal(env_exec(env, "CREATE TABLE t (id BIGINT NOT NULL PRIMARY KEY, body BLOB)", NULL, 0, DB_ANY).err, BT_OK);
    for (int i = 0; i < 1500; i++) { /* 24 MiB, always eight writes under way */
        struct env_answer *mine = &a[i % 8];
        if (i >= 8)
            env_wait(env, &mine->is_done);
        mine->is_done = false;
        struct db_val row[] = { db_int(i), db_bytes(body, sizeof body) };
        db_exec(env->db, "INSERT INTO t (id, body) VALUES (?, ?)", row, 2, 1, env_answer_done, mine);
        if (stat(env_path(env, "bytetalk.db-wal"), &st) == 0 && st.st_size > longest)
            longest = st.st_size;
    }
    for (int i = 0; i < 8; i++)
        env_wait(env, &a[i].is_done);
    assert_true(longest > 0 && longest < 4 * 1024 * 1024);
    assert_true(env->db->stats.checkpoints > 3);
    assert_int_equal(env_int(env, "SELECT COUNT(*) FROM t"), 1500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DB_CASES(setup, env_teardown),
        cmocka_unit_test_setup_teardown(the_reading_connection_refuses_to_write, setup, env_teardown),
        cmocka_unit_test_setup_teardown(grouped_writes_keep_their_own_outcomes, setup, env_teardown),
        cmocka_unit_test_setup_teardown(a_query_that_runs_too_long_is_broken_off, setup, env_teardown),
        cmocka_unit_test_setup_teardown(a_write_that_waited_too_long_is_not_begun, setup, env_teardown),
        cmocka_unit_test_setup_teardown(the_log_stays_short_under_continuous_writes, setup, env_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
