/*
 * test/unit/test_mariadb_schema.c: the schema on a real MariaDB: missing, somebody else's, older, newer, half upgraded, made by many at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/unit/mariadb_start.h"

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
    start_server(&first);
    return 0;
}

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
    env_turn_ms(env, 1500);
    assert_false(db_is_up(env->db));
    assert_logged("not used: ByteTalk's tables are missing; run bytetalk --migrate");
    struct store_env other = *env;
    assert_int_equal(env_open(&other, STORE_MIGRATE, NULL), BT_OK);
    mariadb_wait_up(env, true);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start_setup, start_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_missing_schema_is_made_by_migrate_only),
        TEST(tables_of_something_else_are_left_alone),
        TEST(an_older_schema_is_upgraded_even_from_half_way),
        TEST(groups_of_the_first_version_get_their_count_and_owner),
        TEST(many_may_migrate_at_once),
        TEST(a_node_started_too_early_serves_when_the_schema_is_there),
    };
    return cmocka_run_group_tests(tests, start_servers, start_end_servers);
}
