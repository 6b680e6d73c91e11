/*
 * test/unit/test_mariadb_hosts.c: which MariaDB server is used, and which are refused: urls, passwords, unsafe settings,
 * read-only hosts, promotions, two writable hosts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "store/mariadb.h"
#include "test/unit/db_cases.h"
#include "test/unit/mariadb_start.h"

/* They are no replicas of each other: what a promoted one holds is not asked here. */
static int start_servers(void **state)
{
    (void)state;
    start_server(&first);
    start_server(&second);
    return 0;
}

static void migrate_both(struct store_env *env)
{
    use_url(env, "root", &first, NULL);
    assert_int_equal(env_open(env, STORE_MIGRATE, NULL), BT_OK);
    use_url(env, "root", &second, NULL);
    assert_int_equal(env_open(env, STORE_MIGRATE, NULL), BT_OK);
    use_url(env, "root", &first, &second);
}

static int64_t port_used(struct store_env *env)
{
    return env_int(env, "SELECT @@port");
}

static enum bt_err write_row(struct store_env *env, const char *name)
{
    return env_exec(env, DB_CASE_INSERT, db_case_row(name, 1), 2, 1).err;
}

/* ---- urls and passwords ---------------------------------------------------------------------------------------------- */

static void urls_are_taken_apart(void **state)
{
    struct mariadb_url url;
    char why[256], shown[256];
    (void)state;
    assert_int_equal(mariadb_url_parse("mariadb://u%40x:p%2Fw:1@db1,[::1]:3307,db3:99/chat-1", "", &url, why, sizeof why), BT_OK);
    assert_string_equal(url.user, "u@x");
    assert_string_equal(url.password, "p/w:1");
    assert_string_equal(url.database, "chat-1");
    assert_int_equal(url.nhosts, 3);
    assert_string_equal(url.hosts[0].name, "db1");
    assert_int_equal(url.hosts[0].port, 3306);
    assert_string_equal(url.hosts[1].name, "::1");
    assert_int_equal(url.hosts[1].port, 3307);
    assert_int_equal(url.hosts[2].port, 99);
    mariadb_url_show("mariadb://u:secret@h:1/d", shown, sizeof shown);
    assert_string_equal(shown, "mariadb://u@h:1/d");
    mariadb_url_show("mariadb://u@h:1/d", shown, sizeof shown);
    assert_string_equal(shown, "mariadb://u@h:1/d");
    mariadb_url_show("sqlite:a.db", shown, sizeof shown);
    assert_string_equal(shown, "sqlite:a.db");
}

static void wrong_urls_are_refused(void **state)
{
    static const char *const wrong[] = {
        "mariadb://", "mariadb://u@h", "mariadb://u@h/", "mariadb://@h/d", "mariadb://h/d", "mariadb://u@/d", "mariadb://u@h:0/d",
        "mariadb://u@h:65536/d", "mariadb://u@h:x/d", "mariadb://u@h:1x/d", "mariadb://u@h,/d", "mariadb://u@[::1/d", "mariadb://u@[::1]x/d",
        "mariadb://u@h/d`", "mariadb://u@h/d'", "mariadb://u%4@h/d", "mariadb://u%zz@h/d", "mariadb://u%00@h/d", "mysql://u@h/d",
        "mariadb://u@1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17/d",
    };
    struct mariadb_url url;
    char why[256];
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        why[0] = '\0';
        assert_int_equal(mariadb_url_parse(wrong[i], "", &url, why, sizeof why), BT_EINVAL);
        assert_non_null(strstr(why, "mariadb://USER"));
    }
}

static void a_wrong_password_stops_the_start(void **state)
{
    struct store_env *env = *state;
    char set[600];
    migrate_both(env);
    mariadb_server_sql(&first, "CREATE OR REPLACE USER talk IDENTIFIED BY 'right'$$ GRANT ALL ON bytetalk.* TO talk");
    use_url(env, "talk:wrong", &first, NULL);
    assert_refused(env, STORE_SERVE, BT_EDENIED, "password");
    assert_refused(env, STORE_LOOK, BT_EDENIED, "password");
    assert_null(strstr(env->why, "wrong"));
    FILE *f = fopen(env_path(env, "password"), "w");
    fputs("right\nsecond line\n", f);
    fclose(f);
    snprintf(set, sizeof set, "store.password_file=%s", env_path(env, "password"));
    env_set(env, set);
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    assert_int_equal(write_row(env, "a"), BT_OK);
    env_close(env);
    snprintf(set, sizeof set, "store.password_file=%s", env_path(env, "no-such-file"));
    env_set(env, set);
    assert_refused(env, STORE_SERVE, BT_ENOTFOUND, "no-such-file");
    assert_not_logged("right");
}

static void servers_that_are_away_are_waited_for(void **state)
{
    struct store_env *env = *state;
    migrate_both(env);
    use_url(env, "root", &first, NULL);
    mariadb_server_stop(&first);
    assert_refused(env, STORE_MIGRATE, BT_EDOWN, "is it running");
    assert_refused(env, STORE_OPERATE, BT_EDOWN, "is it running");
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    env_turn_ms(env, 300);
    assert_logged("is it running");
    assert_false(db_is_up(env->db));
    mariadb_server_start(&first, NULL);
    mariadb_wait_up(env, true);
    assert_int_equal(write_row(env, "a"), BT_OK);
}

static void names_are_looked_up_beside_the_loop(void **state)
{
    struct store_env *env = *state;
    char set[128];
    migrate_both(env);
    snprintf(set, sizeof set, "store.url=mariadb://root@localhost:%d/bytetalk", first.port);
    env_set(env, set);
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    assert_int_equal(write_row(env, "a"), BT_OK);
    env_close(env);
    env_set(env, "store.url=mariadb://root@no-such-host.invalid/bytetalk");
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    env_turn_ms(env, 20);
    env_close(env); /* perhaps while it is looked up */
}

/* ---- settings ---------------------------------------------------------------------------------------------------------- */

static void an_unsafe_server_is_refused_unless_told_otherwise(void **state)
{
    struct store_env *env = *state;
    migrate_both(env);
    use_url(env, "root", &first, NULL);
    mariadb_server_sql(&first, "SET GLOBAL sync_binlog = 0, innodb_flush_log_at_trx_commit = 2");
    assert_refused(env, STORE_SERVE, BT_ESTATE, "innodb_flush_log_at_trx_commit=1 sync_binlog=1");
    assert_refused(env, STORE_LOOK, BT_ESTATE, "durable = no");
    env_set(env, "store.durable=no");
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    assert_int_equal(write_row(env, "a"), BT_OK);
    env_close(env);
    env_set(env, "store.durable=yes");
    mariadb_server_sql(&first, "SET GLOBAL sync_binlog = 1, innodb_flush_log_at_trx_commit = 1");
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    mariadb_wait_up(env, true);
    /* While it serves, too. */
    mariadb_server_sql(&first, "SET GLOBAL innodb_flush_log_at_trx_commit = 0");
    mariadb_wait_up(env, false);
    assert_logged("set innodb_flush_log_at_trx_commit=1 in the server");
    mariadb_server_sql(&first, "SET GLOBAL innodb_flush_log_at_trx_commit = 1");
    mariadb_wait_up(env, true);
}

static void a_server_without_a_binary_log_is_refused(void **state)
{
    struct store_env *env = *state;
    migrate_both(env);
    use_url(env, "root", &second, NULL);
    mariadb_server_stop(&second);
    mariadb_server_start(&second, "--skip-log-bin");
    assert_refused(env, STORE_SERVE, BT_ESTATE, "set log_bin in the server");
    mariadb_server_stop(&second);
}

static void sessions_have_the_settings_that_writes_rely_on(void **state)
{
    struct store_env *env = *state;
    migrate_both(env);
    use_url(env, "root", &first, NULL);
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    assert_int_equal(env_int(env, "SELECT @@innodb_lock_wait_timeout = 2 AND @@idle_transaction_timeout = 2 AND @@autocommit = 1"
                                  " AND @@tx_isolation = 'READ-COMMITTED' AND @@sql_mode LIKE '%STRICT_ALL_TABLES%'"
                                  " AND @@default_storage_engine = 'InnoDB'"), 1);
    assert_int_equal(env_int(env, "SELECT @@max_statement_time = 5"), 1); /* of a query */
    /* Strict: what does not fit is no row. */
    assert_int_equal(write_row(env, "a name that is longer than the thirty-two bytes of its column"), BT_EINTERNAL);
    assert_int_equal(env_int(env, "SELECT COUNT(*) FROM id_range"), 0);
}

/* ---- hosts ------------------------------------------------------------------------------------------------------------- */

static void the_writable_host_is_used(void **state)
{
    struct store_env *env = *state;
    migrate_both(env);
    mariadb_server_sql(&first, "SET GLOBAL read_only = 1");
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    assert_int_equal(port_used(env), second.port);
    assert_int_equal(write_row(env, "a"), BT_OK);
    env_close(env);
    mariadb_server_sql(&first, "SET GLOBAL read_only = 0");
    mariadb_server_sql(&second, "SET GLOBAL read_only = 1");
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    assert_int_equal(port_used(env), first.port);
    assert_logged("our user may write to a read-only server");
}

static void without_a_writable_host_nothing_is_written(void **state)
{
    struct store_env *env = *state;
    migrate_both(env);
    mariadb_server_sql(&first, "SET GLOBAL read_only = 1");
    mariadb_server_sql(&second, "SET GLOBAL read_only = 1");
    assert_refused(env, STORE_OPERATE, BT_EDOWN, "read_only=0");
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    assert_logged("none of its hosts is writable");
    assert_int_equal(write_row(env, "a"), BT_EDOWN);
    mariadb_server_sql(&second, "SET GLOBAL read_only = 0");
    mariadb_wait_up(env, true);
    assert_int_equal(write_row(env, "a"), BT_OK);
    assert_int_equal(port_used(env), second.port);
}

static void a_killed_primarys_promoted_replica_is_used(void **state)
{
    struct store_env *env = *state;
    migrate_both(env);
    mariadb_server_sql(&second, "SET GLOBAL read_only = 1");
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    assert_int_equal(port_used(env), first.port);
    uint64_t generation = db_generation(env->db);
    mariadb_server_kill(&first);
    env_turn_ms(env, 300);
    assert_false(db_is_up(env->db));
    uint64_t start = net_clock_us();
    mariadb_server_sql(&second, "SET GLOBAL read_only = 0");
    assert_int_equal(write_row(env, "a"), BT_OK); /* waited for it */
    uint64_t ms = (net_clock_us() - start) / 1000;
    assert_in_range(ms, 0, 2000);
    assert_int_equal(port_used(env), second.port);
    assert_int_equal(db_generation(env->db), generation + 1);
    print_message("writes %llu ms after the promotion\n", (unsigned long long)ms);
}

static void a_frozen_primarys_promoted_replica_is_used(void **state)
{
    struct store_env *env = *state;
    struct env_answer a = { 0 };
    migrate_both(env);
    mariadb_server_sql(&second, "SET GLOBAL read_only = 1");
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    assert_int_equal(port_used(env), first.port);
    assert_int_equal(write_row(env, "before"), BT_OK); /* so that the next one is prepared already */
    mariadb_server_freeze(&first);
    uint64_t start = net_clock_us();
    db_exec(env->db, DB_CASE_INSERT, db_case_row("a", 1), 2, 1, env_answer_done, &a);
    env_turn_ms(env, 100);
    mariadb_server_sql(&second, "SET GLOBAL read_only = 0");
    env_wait(env, &a.is_done);
    assert_int_equal(a.done.err, BT_EUNSURE); /* cut off long before its timeout of 5 s */
    mariadb_wait_up(env, true);
    assert_in_range((net_clock_us() - start) / 1000, 0, 4000);
    assert_int_equal(port_used(env), second.port);
    mariadb_server_thaw(&first);
}

static void a_primary_that_becomes_read_only_is_left_without_loss(void **state)
{
    struct store_env *env = *state;
    enum { N = 400 };
    static struct env_answer a[N];
    int64_t ok = 0;
    memset(a, 0, sizeof a);
    migrate_both(env);
    mariadb_server_sql(&first, "CREATE OR REPLACE USER talk IDENTIFIED BY 'x'$$ GRANT ALL ON bytetalk.* TO talk"); /* root may write anyway */
    mariadb_server_sql(&second, "CREATE OR REPLACE USER talk IDENTIFIED BY 'x'$$ GRANT ALL ON bytetalk.* TO talk$$ SET GLOBAL read_only = 1");
    use_url(env, "talk:x", &first, &second);
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    mariadb_wait_up(env, true);
    assert_not_logged("our user may write");
    for (int i = 0; i < N; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        db_exec(env->db, DB_CASE_INSERT, db_case_row(name, 1), 2, 1, env_answer_done, &a[i]);
        if (i >= 16)
            env_wait(env, &a[i - 16].is_done);
        if (i == N / 2) {
            mariadb_server_sql(&first, "SET GLOBAL read_only = 1");
            mariadb_server_sql(&second, "SET GLOBAL read_only = 0");
        }
    }
    for (int i = 0; i < N; i++) {
        env_wait(env, &a[i].is_done);
        assert_int_equal(a[i].done.err, BT_OK);
        ok++;
    }
    assert_int_equal(port_used(env), second.port);
    int64_t there = env_int(env, "SELECT COUNT(*) FROM id_range");
    env_close(env);
    use_url(env, "talk:x", &first, NULL);
    mariadb_server_sql(&first, "SET GLOBAL read_only = 0");
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    assert_int_equal(there + env_int(env, "SELECT COUNT(*) FROM id_range"), ok);
}

static void two_writable_hosts_are_both_left_until_one_is(void **state)
{
    struct store_env *env = *state;
    migrate_both(env);
    assert_refused(env, STORE_OPERATE, BT_ESTATE, "read_only=1");
    assert_refused(env, STORE_SERVE, BT_ESTATE, "read_only=1");
    mariadb_server_sql(&second, "SET GLOBAL read_only = 1");
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    assert_int_equal(port_used(env), first.port);
    mariadb_server_sql(&second, "SET GLOBAL read_only = 0");
    mariadb_wait_up(env, false);
    assert_logged("two hosts are writable");
    assert_int_equal(write_row(env, "a"), BT_EDOWN);
    mariadb_server_sql(&first, "SET GLOBAL read_only = 1");
    mariadb_wait_up(env, true);
    assert_int_equal(port_used(env), second.port);
    assert_int_equal(write_row(env, "a"), BT_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start_setup, start_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_taken_apart),
        cmocka_unit_test(wrong_urls_are_refused),
        TEST(a_wrong_password_stops_the_start),
        TEST(servers_that_are_away_are_waited_for),
        TEST(names_are_looked_up_beside_the_loop),
        TEST(an_unsafe_server_is_refused_unless_told_otherwise),
        TEST(a_server_without_a_binary_log_is_refused),
        TEST(sessions_have_the_settings_that_writes_rely_on),
        TEST(the_writable_host_is_used),
        TEST(without_a_writable_host_nothing_is_written),
        TEST(a_killed_primarys_promoted_replica_is_used),
        TEST(a_frozen_primarys_promoted_replica_is_used),
        TEST(a_primary_that_becomes_read_only_is_left_without_loss),
        TEST(two_writable_hosts_are_both_left_until_one_is),
    };
    return cmocka_run_group_tests(tests, start_servers, start_end_servers);
}
