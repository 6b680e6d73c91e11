/*
 * test/unit/test_mariadb_lost.c: what becomes of calls when connections to a real MariaDB are lost, when it is killed or stopped among
 * them, when it freezes, and when it comes back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "test/unit/db_cases.h"
#include "test/unit/mariadb_env.h"
#include "test/unit/store_env.h"

/* End our connections to the server, but not that of the command line client that does it. only: one more condition. */
static void kill_connections(const char *only)
{
    char sql[400];
    snprintf(sql, sizeof sql,
             "BEGIN NOT ATOMIC FOR c IN (SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND db LIKE 'bytetalk%%' %s)"
             " DO KILL c.id; END FOR; END", only);
    mariadb_server_sql(&mariadb, sql);
}

static void connections_that_the_server_ended_are_made_again_unseen(void **state)
{
    struct store_env *env = *state;
    assert_int_equal(env_exec(env, DB_CASE_INSERT, db_case_row("a", 1), 2, 1).err, BT_OK);
    uint64_t generation = db_generation(env->db);
    kill_connections("");
    assert_int_equal(env_exec(env, DB_CASE_INSERT, db_case_row("b", 1), 2, 1).err, BT_OK);
    assert_int_equal(env_int(env, "SELECT COUNT(*) FROM id_range"), 2);
    assert_int_equal(db_generation(env->db), generation + 1);
}

static void a_list_whose_connection_is_lost_before_its_commit_is_begun_again(void **state)
{
    struct store_env *env = *state;
    struct env_answer a = { 0 };
    struct db_list *list = db_list_new(env->db);
    db_list_add(list, DB_CASE_INSERT, db_case_row("a", 1), 2, 1);
    db_list_add(list, "DO SLEEP(0.7)", NULL, 0, DB_ANY);
    db_list_run(env->db, list, env_answer_done, &a);
    env_turn_ms(env, 200);
    kill_connections("AND info LIKE 'DO SLEEP%'");
    env_wait(env, &a.is_done);
    assert_int_equal(a.done.err, BT_OK);
    assert_int_equal(a.calls, 1);
    assert_int_equal(env_int(env, "SELECT COUNT(*) FROM id_range"), 1);
}

static void a_write_whose_connection_is_lost_may_stand_or_not(void **state)
{
    struct store_env *env = *state;
    struct env_answer a = { 0 }, b = { 0 };
    db_exec(env->db, "INSERT INTO id_range (name, next_id) SELECT 'a', SLEEP(3)", NULL, 0, DB_ANY, env_answer_done, &a);
    db_query(env->db, "SELECT SLEEP(0.5)", NULL, 0, env_answer_rows, &b);
    env_turn_ms(env, 200);
    kill_connections("AND info LIKE '%SLEEP%'");
    env_wait(env, &a.is_done);
    env_wait(env, &b.is_done);
    assert_int_equal(a.done.err, BT_EUNSURE);
    assert_int_equal(b.done.err, BT_OK); /* a query is simply asked again */
}

/* Rows that were said to be written, and those said not to be, after the server was killed among commits. */
static void a_server_killed_among_commits_keeps_what_was_acknowledged(void **state)
{
    struct store_env *env = *state;
    enum { N = 2000, WINDOW = 32 };
    static struct env_answer a[N];
    int unsure = 0, refused = 0, written = 0;
    memset(a, 0, sizeof a);
    assert_int_equal(env_exec(env, "CREATE TABLE t (id BIGINT NOT NULL PRIMARY KEY)", NULL, 0, DB_ANY).err, BT_OK);
    uint64_t generation = db_generation(env->db);
    for (int i = 0; i < N; i++) {
        if (i >= WINDOW)
            env_wait(env, &a[i - WINDOW].is_done);
        if (i == N / 4) /* under way at the end, and commits itself */
            db_exec(env->db, "INSERT INTO t SELECT 1000000 + SLEEP(5)", NULL, 0, DB_ANY, env_answer_done, &a[i]);
        else
            db_exec(env->db, "INSERT INTO t (id) VALUES (?)", (struct db_val[]){ db_int(i) }, 1, 1, env_answer_done, &a[i]);
        if (i == N / 4 + WINDOW - 2)
            mariadb_server_kill(&mariadb);
        if (i == N / 2) {
            mariadb_wait_up(env, false);
            mariadb_server_start(&mariadb, NULL);
            mariadb_wait_up(env, true);
        }
    }
    for (int i = 0; i < N; i++)
        env_wait(env, &a[i].is_done);
    assert_int_equal(a[N / 4].done.err, BT_EUNSURE);
    for (int i = 0; i < N; i++) {
        char sql[64];
        assert_int_equal(a[i].calls, 1);
        unsure += a[i].done.err == BT_EUNSURE;
        refused += a[i].done.err == BT_EDOWN;
        written += a[i].done.err == BT_OK;
        if (i == N / 4 || a[i].done.err == BT_EUNSURE)
            continue;
        assert_true(a[i].done.err == BT_OK || a[i].done.err == BT_EDOWN);
        snprintf(sql, sizeof sql, "SELECT COUNT(*) FROM t WHERE id = %d", i);
        if (i % 7 == 0 || a[i].done.err != BT_OK) /* not every one: each is another statement */
            assert_int_equal(env_int(env, sql), a[i].done.err == BT_OK);
    }
    assert_true(written > N / 2);
    assert_true(env_int(env, "SELECT COUNT(*) FROM t") >= written);
    assert_int_equal(db_generation(env->db), generation + 1);
    print_message("killed among commits: %d written, %d unsure, %d refused\n", written, unsure, refused);
}

static void a_frozen_server_is_given_up_and_used_again_when_it_answers(void **state)
{
    struct store_env *env = *state;
    struct env_answer write = { 0 }, read = { 0 }, late = { 0 };
    mariadb_reopen(env, "store.timeout_ms=1000");
    assert_int_equal(env_exec(env, DB_CASE_INSERT, db_case_row("a", 1), 2, 1).err, BT_OK);
    uint64_t generation = db_generation(env->db), start = net_clock_us();
    mariadb_server_freeze(&mariadb);
    db_exec(env->db, DB_CASE_INSERT, db_case_row("b", 1), 2, 1, env_answer_done, &write);
    env_wait(env, &write.is_done);
    assert_int_equal(write.done.err, BT_EUNSURE);
    assert_in_range(env_ms_since(start), 900, 1500);
    db_query(env->db, "SELECT 1", NULL, 0, env_answer_rows, &read);
    env_wait(env, &read.is_done);
    assert_int_equal(read.done.err, BT_ETIMEOUT);
    mariadb_wait_up(env, false);
    while (late.done.err != BT_EDOWN && env_ms_since(start) < 9000) {
        memset(&late, 0, sizeof late);
        db_query(env->db, "SELECT 1", NULL, 0, env_answer_rows, &late);
        env_wait(env, &late.is_done);
    }
    start = net_clock_us();
    memset(&late, 0, sizeof late);
    db_query(env->db, "SELECT 1", NULL, 0, env_answer_rows, &late);
    env_wait(env, &late.is_done);
    assert_int_equal(late.done.err, BT_EDOWN);
    assert_true(env_ms_since(start) < 100);
    mariadb_server_thaw(&mariadb);
    mariadb_wait_up(env, true);
    assert_true(db_generation(env->db) > generation);
    int64_t rows = env_int(env, "SELECT COUNT(*) FROM id_range");
    assert_true(rows == 1 || rows == 2);
    /* Writing the same again settles it. */
    enum bt_err again = env_exec(env, DB_CASE_INSERT, db_case_row("b", 1), 2, 1).err;
    assert_true(again == BT_OK || again == BT_EEXIST);
    assert_int_equal(env_int(env, "SELECT COUNT(*) FROM id_range"), 2);
}

static void a_stopped_server_is_waited_for_briefly_and_then_refused_at_once(void **state)
{
    struct store_env *env = *state;
    struct env_answer a = { 0 }, b = { 0 }, c = { 0 };
    assert_int_equal(env_int(env, "SELECT 1"), 1);
    mariadb_server_stop(&mariadb);
    mariadb_wait_up(env, false);
    uint64_t start = net_clock_us();
    db_exec(env->db, DB_CASE_INSERT, db_case_row("a", 1), 2, 1, env_answer_done, &a);
    env_wait(env, &a.is_done);
    assert_int_equal(a.done.err, BT_EDOWN);
    assert_in_range(env_ms_since(start), 1000, 3000);
    start = net_clock_us();
    db_exec(env->db, DB_CASE_INSERT, db_case_row("a", 1), 2, 1, env_answer_done, &b);
    env_wait(env, &b.is_done);
    assert_int_equal(b.done.err, BT_EDOWN);
    assert_true(env_ms_since(start) < 100);
    mariadb_server_start(&mariadb, NULL);
    start = net_clock_us();
    mariadb_wait_up(env, true);
    assert_true(env_ms_since(start) < 2000);
    db_exec(env->db, DB_CASE_INSERT, db_case_row("a", 1), 2, 1, env_answer_done, &c);
    env_wait(env, &c.is_done);
    assert_int_equal(c.done.err, BT_OK);
}

static void a_restart_within_the_grace_is_only_a_delay(void **state)
{
    struct store_env *env = *state;
    struct env_answer a = { 0 };
    assert_int_equal(env_int(env, "SELECT 1"), 1);
    mariadb_server_stop(&mariadb);
    mariadb_wait_up(env, false);
    db_exec(env->db, DB_CASE_INSERT, db_case_row("a", 1), 2, 1, env_answer_done, &a);
    mariadb_server_start(&mariadb, NULL);
    env_wait(env, &a.is_done);
    assert_int_equal(a.done.err, BT_OK);
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

static void closing_while_the_server_is_away_answers_all(void **state)
{
    struct store_env *env = *state;
    struct env_answer a[10] = { 0 };
    bool closed = false;
    assert_int_equal(env_int(env, "SELECT 1"), 1);
    mariadb_server_stop(&mariadb);
    mariadb_wait_up(env, false);
    for (int i = 0; i < 10; i++)
        db_exec(env->db, DB_CASE_INSERT, db_case_row("a", i), 2, 1, env_answer_done, &a[i]);
    store_close(env->store, set_flag, &closed);
    env->store = NULL;
    env_wait(env, &closed);
    for (int i = 0; i < 10; i++)
        assert_int_equal(a[i].done.err, BT_EDOWN);
    mariadb_server_start(&mariadb, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(connections_that_the_server_ended_are_made_again_unseen, mariadb_setup, mariadb_teardown),
        cmocka_unit_test_setup_teardown(a_list_whose_connection_is_lost_before_its_commit_is_begun_again, mariadb_setup, mariadb_teardown),
        cmocka_unit_test_setup_teardown(a_write_whose_connection_is_lost_may_stand_or_not, mariadb_setup, mariadb_teardown),
        cmocka_unit_test_setup_teardown(a_server_killed_among_commits_keeps_what_was_acknowledged, mariadb_setup, mariadb_teardown),
        cmocka_unit_test_setup_teardown(a_frozen_server_is_given_up_and_used_again_when_it_answers, mariadb_setup, mariadb_teardown),
        cmocka_unit_test_setup_teardown(a_stopped_server_is_waited_for_briefly_and_then_refused_at_once, mariadb_setup, mariadb_teardown),
        cmocka_unit_test_setup_teardown(a_restart_within_the_grace_is_only_a_delay, mariadb_setup, mariadb_teardown),
        cmocka_unit_test_setup_teardown(closing_while_the_server_is_away_answers_all, mariadb_setup, mariadb_teardown),
    };
    return cmocka_run_group_tests(tests, mariadb_group_setup, mariadb_group_teardown);
}
