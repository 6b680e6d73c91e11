/*
 * test/unit/test_mariadb_hosts.c: which MariaDB server is used, and which are refused: urls, passwords, unsafe settings,
 * schemas and --migrate, read-only hosts, promotions, two writable hosts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/log.h"
#include "store/mariadb.h"
#include "test/unit/db_cases.h"
#include "test/unit/mariadb_env.h"
#include "test/unit/store_env.h"

/* No replica of each other: what a promoted one holds is not asked here. */
static struct mariadb_server first, second;

/* A program to come, two versions later: one column and one table more. */
static const char *next_steps[64];
static struct schema schema_next = { .create = store_schema_sql, .steps = next_steps };

static int start_servers(void **state)
{
    (void)state;
    for (int v = 1; v < store_schema.version; v++)
        next_steps[v - 1] = store_schema.steps[v - 1];
    next_steps[store_schema.version - 1] = "ALTER TABLE account ADD COLUMN motto VARBINARY(64)";
    next_steps[store_schema.version] =
        "CREATE TABLE later (id BIGINT NOT NULL PRIMARY KEY, word VARBINARY(9) DEFAULT ';'); UPDATE account SET motto = 'new'";
    schema_next.version = store_schema.version + 2;
    mariadb_server_init(&first);
    mariadb_server_init(&second);
    mariadb_server_start(&first, NULL);
    mariadb_server_start(&second, NULL);
    return 0;
}

static int end_servers(void **state)
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

static int setup(void **state)
{
    struct store_env *env = calloc(1, sizeof *env);
    env_init(env);
    logged[0] = '\0';
    log_set_sink(keep_line, NULL);
    if (first.pid == 0)
        mariadb_server_start(&first, NULL);
    if (second.pid == 0)
        mariadb_server_start(&second, NULL);
    mariadb_server_sql(&first, "SET GLOBAL read_only = 0$$ DROP DATABASE IF EXISTS bytetalk");
    mariadb_server_sql(&second, "SET GLOBAL read_only = 0$$ DROP DATABASE IF EXISTS bytetalk");
    *state = env;
    return 0;
}

static int teardown(void **state)
{
    struct store_env *env = *state;
    mariadb_server_thaw(&first);
    mariadb_server_thaw(&second);
    env_deinit(env);
    free(env);
    log_set_sink(NULL, NULL);
    return 0;
}

/* who: "root" or "user:password". b NULL: one host. */
static void use_url(struct store_env *env, const char *who, const struct mariadb_server *a, const struct mariadb_server *b)
{
    char set[256], more[64] = "";
    if (b != NULL)
        snprintf(more, sizeof more, ",127.0.0.1:%d", b->port);
    snprintf(set, sizeof set, "store.url=mariadb://%s@127.0.0.1:%d%s/bytetalk", who, a->port, more);
    env_set(env, set);
}

static void migrate_both(struct store_env *env)
{
    use_url(env, "root", &first, NULL);
    assert_int_equal(env_open(env, STORE_MIGRATE, NULL), BT_OK);
    use_url(env, "root", &second, NULL);
    assert_int_equal(env_open(env, STORE_MIGRATE, NULL), BT_OK);
    use_url(env, "root", &first, &second);
}

static void assert_refused(struct store_env *env, enum store_mode mode, enum bt_err err, const char *part)
{
    assert_int_equal(env_open(env, mode, NULL), err);
    if (strstr(env->why, part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", env->why, part);
}

static void assert_logged(const char *part)
{
    if (strstr(logged, part) == NULL)
        fail_msg("\"%s\" was not logged, but:\n%s", part, logged);
}

static void wait_up(struct store_env *env, bool is_up)
{
    uint64_t end = net_clock_us() + 10 * 1000000;
    while (db_is_up(env->db) != is_up && net_clock_us() < end)
        net_loop_turn(env->loop, 20);
    assert_int_equal(db_is_up(env->db), is_up);
}

static void turn_for(struct store_env *env, uint64_t ms)
{
    for (uint64_t end = net_clock_us() + ms * 1000; net_clock_us() < end;)
        net_loop_turn(env->loop, 20);
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
    assert_null(strstr(logged, "right"));
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
    turn_for(env, 300);
    assert_logged("is it running");
    assert_false(db_is_up(env->db));
    mariadb_server_start(&first, NULL);
    wait_up(env, true);
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
    turn_for(env, 20);
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
    wait_up(env, true);
    /* While it serves, too. */
    mariadb_server_sql(&first, "SET GLOBAL innodb_flush_log_at_trx_commit = 0");
    wait_up(env, false);
    assert_logged("set innodb_flush_log_at_trx_commit=1 in the server");
    mariadb_server_sql(&first, "SET GLOBAL innodb_flush_log_at_trx_commit = 1");
    wait_up(env, true);
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

/* ---- the schema -------------------------------------------------------------------------------------------------------- */

static void a_missing_schema_is_made_by_migrate_only(void **state)
{
    struct store_env *env = *state;
    use_url(env, "root", &first, NULL);
    assert_refused(env, STORE_SERVE, BT_ESTATE, "--migrate");
    mariadb_server_sql(&first, "CREATE DATABASE bytetalk");
    assert_refused(env, STORE_SERVE, BT_ESTATE, "--migrate");
    assert_refused(env, STORE_LOOK, BT_ESTATE, "--migrate");
    assert_refused(env, STORE_OPERATE, BT_ESTATE, "--migrate");
    assert_int_equal(env_open(env, STORE_MIGRATE, NULL), BT_OK);
    assert_null(env->store);
    assert_int_equal(env_open(env, STORE_LOOK, NULL), BT_OK);
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    assert_int_equal(env_int(env, "SELECT version FROM schema_version"), store_schema.version);
}

static void tables_of_something_else_are_left_alone(void **state)
{
    struct store_env *env = *state;
    use_url(env, "root", &first, NULL);
    mariadb_server_sql(&first, "CREATE DATABASE bytetalk$$ CREATE TABLE bytetalk.theirs (id INT)");
    assert_refused(env, STORE_MIGRATE, BT_ESTATE, "something else");
}

static void an_older_schema_is_upgraded_even_from_half_way(void **state)
{
    struct store_env *env = *state;
    use_url(env, "root", &first, NULL);
    assert_int_equal(env_open(env, STORE_MIGRATE, NULL), BT_OK);
    assert_int_equal(env_open(env, STORE_SERVE, &schema_next), BT_ESTATE);
    assert_non_null(strstr(env->why, "--migrate"));
    mariadb_server_sql(&first, "ALTER TABLE bytetalk.account ADD COLUMN motto VARBINARY(64)"); /* and then it was broken off */
    assert_int_equal(env_open(env, STORE_MIGRATE, &schema_next), BT_OK);
    assert_int_equal(env_open(env, STORE_SERVE, &schema_next), BT_OK);
    assert_int_equal(env_int(env, "SELECT version FROM schema_version"), schema_next.version);
    assert_int_equal(env_int(env, "SELECT COUNT(motto) FROM account"), 0);
    assert_int_equal(env_int(env, "SELECT COUNT(*) FROM later"), 0);
    env_close(env);
    assert_refused(env, STORE_SERVE, BT_ESTATE, "newer program");
    assert_refused(env, STORE_MIGRATE, BT_ESTATE, "newer program");
}

/* Version 1 had neither count nor owner in a group's row. Its upgrade, too, may have been broken off behind the first of the two. */
static void groups_of_the_first_version_get_their_count_and_owner(void **state)
{
    static const char *const back[] = {
        "INSERT INTO bytetalk.chat_group (group_id, creator_id, request_id, name, about, join_mode, created_ms) VALUES (9, 1, 1, 'g', '', 0, 1), (10, 1, 2, 'h', '', 0, 1)",
        "INSERT INTO bytetalk.member (hi, lo, user_id, role) VALUES (9, 0, 1, 1), (9, 0, 2, 3), (9, 0, 3, 2), (9, 0, 4, 0), (9, 1, 5, 1)",
        "ALTER TABLE bytetalk.chat_group DROP COLUMN owner_id",
        "UPDATE bytetalk.schema_version SET version = 1",
    };
    struct store_env *env = *state;
    use_url(env, "root", &first, NULL);
    for (int is_half = 0; is_half <= 1; is_half++) {
        assert_int_equal(env_open(env, STORE_MIGRATE, NULL), BT_OK);
        for (size_t i = 0; i < sizeof back / sizeof back[0]; i++)
            mariadb_server_sql(&first, back[i]);
        if (!is_half)
            mariadb_server_sql(&first, "ALTER TABLE bytetalk.chat_group DROP COLUMN member_count");
        assert_refused(env, STORE_SERVE, BT_ESTATE, "--migrate");
        assert_int_equal(env_open(env, STORE_MIGRATE, NULL), BT_OK);
        assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
        assert_int_equal(env_int(env, "SELECT version FROM schema_version"), store_schema.version);
        assert_int_equal(env_int(env, "SELECT member_count FROM chat_group WHERE group_id = 9"), 3);
        assert_int_equal(env_int(env, "SELECT owner_id FROM chat_group WHERE group_id = 9"), 2);
        assert_int_equal(env_int(env, "SELECT member_count + owner_id FROM chat_group WHERE group_id = 10"), 0);
        env_close(env);
        mariadb_server_sql(&first, "DROP DATABASE bytetalk");
    }
}

static void many_may_migrate_at_once(void **state)
{
    struct store_env *env = *state;
    enum { N = 6 };
    pid_t children[N];
    use_url(env, "root", &first, NULL);
    for (int i = 0; i < N; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0)
            _exit(env_open(env, STORE_MIGRATE, i % 2 == 0 ? NULL : &schema_next) == BT_OK ? 0 : strstr(env->why, "newer") != NULL ? 1 : 2);
    }
    for (int i = 0; i < N; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status));
        assert_in_range(WEXITSTATUS(status), 0, i % 2 == 0); /* the older program may come too late */
    }
}

static void a_node_started_too_early_serves_when_the_schema_is_there(void **state)
{
    struct store_env *env = *state;
    use_url(env, "root", &first, NULL);
    mariadb_server_sql(&first, "CREATE DATABASE bytetalk");
    mariadb_server_stop(&first);
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK); /* nobody is there to say that it is missing */
    mariadb_server_start(&first, NULL);
    turn_for(env, 1500);
    assert_false(db_is_up(env->db));
    assert_logged("not used: ByteTalk's tables are missing; run bytetalk --migrate");
    struct store_env other = *env;
    assert_int_equal(env_open(&other, STORE_MIGRATE, NULL), BT_OK);
    wait_up(env, true);
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
    wait_up(env, true);
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
    turn_for(env, 300);
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
    turn_for(env, 100);
    mariadb_server_sql(&second, "SET GLOBAL read_only = 0");
    env_wait(env, &a.is_done);
    assert_int_equal(a.done.err, BT_EUNSURE); /* cut off long before its timeout of 5 s */
    wait_up(env, true);
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
    wait_up(env, true);
    assert_null(strstr(logged, "our user may write"));
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
    wait_up(env, false);
    assert_logged("two hosts are writable");
    assert_int_equal(write_row(env, "a"), BT_EDOWN);
    mariadb_server_sql(&first, "SET GLOBAL read_only = 1");
    wait_up(env, true);
    assert_int_equal(port_used(env), second.port);
    assert_int_equal(write_row(env, "a"), BT_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_taken_apart),
        cmocka_unit_test(wrong_urls_are_refused),
        cmocka_unit_test_setup_teardown(a_wrong_password_stops_the_start, setup, teardown),
        cmocka_unit_test_setup_teardown(servers_that_are_away_are_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(names_are_looked_up_beside_the_loop, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unsafe_server_is_refused_unless_told_otherwise, setup, teardown),
        cmocka_unit_test_setup_teardown(a_server_without_a_binary_log_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(sessions_have_the_settings_that_writes_rely_on, setup, teardown),
        cmocka_unit_test_setup_teardown(a_missing_schema_is_made_by_migrate_only, setup, teardown),
        cmocka_unit_test_setup_teardown(tables_of_something_else_are_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(an_older_schema_is_upgraded_even_from_half_way, setup, teardown),
        cmocka_unit_test_setup_teardown(groups_of_the_first_version_get_their_count_and_owner, setup, teardown),
        cmocka_unit_test_setup_teardown(many_may_migrate_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_node_started_too_early_serves_when_the_schema_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(the_writable_host_is_used, setup, teardown),
        cmocka_unit_test_setup_teardown(without_a_writable_host_nothing_is_written, setup, teardown),
        cmocka_unit_test_setup_teardown(a_killed_primarys_promoted_replica_is_used, setup, teardown),
        cmocka_unit_test_setup_teardown(a_frozen_primarys_promoted_replica_is_used, setup, teardown),
        cmocka_unit_test_setup_teardown(a_primary_that_becomes_read_only_is_left_without_loss, setup, teardown),
        cmocka_unit_test_setup_teardown(two_writable_hosts_are_both_left_until_one_is, setup, teardown),
    };
    return cmocka_run_group_tests(tests, start_servers, end_servers);
}
