/* test/unit/test_store.c: opening a store, its lock, its schema's life, copies, ids, the clock. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/unit/fake_db.h"
#include "test/unit/store_env.h"

/* A program to come: its schema has one column and one table more. */
static const char *steps_to_come[64] = { /* behind those that there are */
    "ALTER TABLE account ADD COLUMN motto VARBINARY(64)",
    "CREATE TABLE later (id BIGINT NOT NULL PRIMARY KEY); UPDATE account SET motto = 'new'",
};
static const char *steps_broken[64] = { "CREATE TABLE half (id BIGINT); ALTER TABLE nowhere ADD COLUMN x INT" };
static struct schema schema_next = { .create = store_schema_sql, .steps = steps_to_come };
static struct schema schema_broken = { .create = store_schema_sql, .steps = steps_broken };

/* Put what comes behind the steps that there are. */
static void come(struct schema *next, const char **steps, int n)
{
    int before = store_schema.version - 1;

    memmove(steps + before, steps, (size_t)n * sizeof *steps);
    for (int i = 0; i < before; i++)
        steps[i] = store_schema.steps[i];
    next->version = store_schema.version + n;
}

static void add_account(struct store_env *env, int64_t id)
{
    struct db_val v[] = { db_int(id), db_bytes("n", 1), db_bytes("", 0) };
    assert_int_equal(env_exec(env, "INSERT INTO account (user_id, name, password_hash, about, avatar, created_ms) "
                                   "VALUES (?, ?, 'x', 'x', 'x', 1)", v, 2, 1).err, BT_OK);
}

static void a_first_start_makes_everything(void **state)
{
    struct store_env *env = *state;
    struct stat st;
    char sub[128], set[160];
    snprintf(sub, sizeof sub, "%s/new", env->dir);
    snprintf(set, sizeof set, "data.dir=%s", sub);
    env_set(env, set);
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    assert_string_equal(store_data_dir(env->store), sub);
    assert_true(db_is_up(env->db));
    assert_int_equal(env_int(env, "SELECT version FROM schema_version"), store_schema.version);
    assert_int_equal(stat(sub, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(stat(env_path(env, "new/bytetalk.db"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    add_account(env, 7);
    env_close(env);
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    assert_int_equal(env_int(env, "SELECT user_id FROM account"), 7);
    env_close(env);
    unlink(env_path(env, "new/bytetalk.db"));
    unlink(env_path(env, "new/bytetalk.lock"));
    rmdir(sub);
}

static void a_second_server_is_told_who_serves(void **state)
{
    struct store_env *env = *state;
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    struct store_env second = *env;
    char pid[32];
    snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    assert_int_equal(env_open(&second, STORE_SERVE, NULL), BT_EEXIST);
    assert_null(second.store);
    assert_non_null(strstr(second.why, pid));
    env_close(env);
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
}

static void the_lock_dies_with_its_process(void **state)
{
    struct store_env *env = *state;
    pid_t child = fork();
    if (child == 0) {
        _exit(env_open(env, STORE_SERVE, NULL) == BT_OK ? 42 : 1); /* without closing anything */
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 42);
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
}

static void an_operator_works_beside_a_server(void **state)
{
    struct store_env *env = *state;
    assert_int_equal(env_open(env, STORE_OPERATE, NULL), BT_ENOTFOUND);
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    add_account(env, 1);
    struct store_env operator= *env;
    operator.store = NULL;
    assert_int_equal(env_open(&operator, STORE_OPERATE, NULL), BT_OK);
    assert_int_equal(env_int(&operator, "SELECT COUNT(*) FROM account"), 1);
    add_account(&operator, 2);
    assert_int_equal(env_int(env, "SELECT COUNT(*) FROM account"), 2);
    env_close(&operator);
    add_account(env, 3);
}

static size_t count_files(const struct store_env *env)
{
    char cmd[256];
    size_t n = 0;
    snprintf(cmd, sizeof cmd, "ls -a %s", env->dir);
    FILE *ls = popen(cmd, "r");
    for (int c; (c = fgetc(ls)) != EOF;)
        n += c == '\n';
    pclose(ls);
    return n;
}

static void looking_changes_nothing(void **state)
{
    struct store_env *env = *state;
    size_t files = count_files(env);
    assert_int_equal(env_open(env, STORE_LOOK, NULL), BT_OK);
    assert_null(env->store);
    assert_int_equal(count_files(env), files);
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    struct store_env look = *env;
    assert_int_equal(env_open(&look, STORE_LOOK, NULL), BT_OK); /* beside a server */
    env_close(env);
    files = count_files(env);
    assert_int_equal(env_open(env, STORE_LOOK, &schema_next), BT_OK);
    assert_non_null(strstr(env->why, "will be upgraded"));
    assert_int_equal(env_open(env, STORE_LOOK, NULL), BT_OK);
    assert_int_equal(count_files(env), files);
}

/* Version 1 had neither count nor owner in a group's row. */
static void groups_of_the_first_version_get_their_count_and_owner(void **state)
{
    static const char *const back[] = {
        "INSERT INTO chat_group (group_id, creator_id, request_id, name, about, join_mode, created_ms) VALUES (9, 1, 1, 'g', '', 0, 1)",
        "INSERT INTO chat_group (group_id, creator_id, request_id, name, about, join_mode, created_ms) VALUES (10, 1, 2, 'h', '', 0, 1)",
        "INSERT INTO member (hi, lo, user_id, role) VALUES (9, 0, 1, 1), (9, 0, 2, 3), (9, 0, 3, 2), (9, 0, 4, 0), (9, 1, 5, 1)",
        "ALTER TABLE chat_group DROP COLUMN member_count",
        "ALTER TABLE chat_group DROP COLUMN owner_id",
        "UPDATE schema_version SET version = 1",
    };
    struct store_env *env = *state;
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    for (size_t i = 0; i < sizeof back / sizeof back[0]; i++)
        assert_int_equal(env_exec(env, back[i], NULL, 0, DB_ANY).err, BT_OK);
    env_close(env);
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    assert_int_equal(env_int(env, "SELECT version FROM schema_version"), store_schema.version);
    assert_int_equal(env_int(env, "SELECT member_count FROM chat_group WHERE group_id = 9"), 3);
    assert_int_equal(env_int(env, "SELECT owner_id FROM chat_group WHERE group_id = 9"), 2);
    assert_int_equal(env_int(env, "SELECT member_count + owner_id FROM chat_group WHERE group_id = 10"), 0);
}

static void an_older_schema_is_upgraded_after_a_copy(void **state)
{
    struct store_env *env = *state;
    char old[64];
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    add_account(env, 7);
    env_close(env);

    assert_int_equal(env_open(env, STORE_OPERATE, &schema_next), BT_ESTATE);
    assert_int_equal(env_open(env, STORE_SERVE, &schema_next), BT_OK);
    assert_int_equal(env_int(env, "SELECT version FROM schema_version"), store_schema.version + 2);
    assert_int_equal(env_int(env, "SELECT COUNT(*) FROM later"), 0);
    assert_int_equal(env_int(env, "SELECT COUNT(*) FROM account WHERE motto = 'new'"), 1);
    env_close(env);

    /* The copy is a whole database of the old version. */
    snprintf(old, sizeof old, "bytetalk.db.v%d", store_schema.version);
    assert_int_equal(rename(env_path(env, old), env_path(env, "old.db")), 0);
    env_set(env, "store.url=sqlite:old.db");
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    assert_int_equal(env_int(env, "SELECT version FROM schema_version"), store_schema.version);
    assert_int_equal(env_int(env, "SELECT user_id FROM account"), 7);
}

static void a_newer_schema_is_refused(void **state)
{
    struct store_env *env = *state;
    assert_int_equal(env_open(env, STORE_SERVE, &schema_next), BT_OK);
    env_close(env);
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_ESTATE);
    assert_non_null(strstr(env->why, "newer than this program"));
    assert_int_equal(env_open(env, STORE_OPERATE, NULL), BT_ESTATE);
    assert_int_equal(env_open(env, STORE_LOOK, NULL), BT_ESTATE);
    assert_int_equal(env_open(env, STORE_SERVE, &schema_next), BT_OK);
}

static void a_failed_upgrade_leaves_the_old_schema(void **state)
{
    struct store_env *env = *state;
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    add_account(env, 7);
    env_close(env);
    assert_int_not_equal(env_open(env, STORE_SERVE, &schema_broken), BT_OK);
    assert_non_null(strstr(env->why, "nowhere"));
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    assert_int_equal(env_int(env, "SELECT user_id FROM account"), 7);
    assert_int_equal(env_int(env, "SELECT COUNT(*) FROM sqlite_master WHERE name = 'half'"), 0);
}

static void what_is_no_database_of_ours_is_refused(void **state)
{
    struct store_env *env = *state;
    int fd = open(env_path(env, "bytetalk.db"), O_WRONLY | O_CREAT, 0600);
    for (int i = 0; i < 200; i++)
        assert_int_equal(write(fd, "This is a letter to my aunt.\n", 29), 29);
    close(fd);
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_ESTATE);
    assert_non_null(strstr(env->why, "bytetalk.db"));

    env_set(env, "store.url=sqlite:other.db");
    assert_int_equal(env_open(env, STORE_SERVE, &(struct schema){ .create = "CREATE TABLE schema_version (id INT, version INT)",
                                                                  .version = 1 }), BT_OK);
    assert_int_equal(env_exec(env, "CREATE TABLE foreign_one (x INT)", NULL, 0, DB_ANY).err, BT_OK);
    assert_int_equal(env_exec(env, "DROP TABLE schema_version", NULL, 0, DB_ANY).err, BT_OK);
    env_close(env);
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_ESTATE);
    assert_non_null(strstr(env->why, "something else"));
}

static void urls_and_directories_that_cannot_be_are_named(void **state)
{
    struct store_env *env = *state;
    env_set(env, "store.url=oracle:x");
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_EINVAL);
    assert_non_null(strstr(env->why, "oracle:x"));
    env_set(env, "store.url=sqlite:");
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_EINVAL);
    env_set(env, "store.url=sqlite:no/such/dir.db");
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_ENOTFOUND);
    env_set(env, "data.dir=/nonexistent/deep/data");
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_ENOTFOUND);
    assert_non_null(strstr(env->why, "/nonexistent/deep/data"));
    env_set(env, "data.dir=/dev/null");
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_ENOTFOUND);
}

static void an_absolute_path_is_taken_as_it_is(void **state)
{
    struct store_env *env = *state;
    char set[160];
    snprintf(set, sizeof set, "store.url=sqlite:%s/else.db", env->dir);
    env_set(env, set);
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    assert_int_equal(access(env_path(env, "else.db"), F_OK), 0);
}

static void a_backup_of_a_busy_database_is_whole(void **state)
{
    struct store_env *env = *state;
    char to[128];
    struct stat st;
    struct env_answer a[50] = { 0 };
    snprintf(to, sizeof to, "%s/copy.db", env->dir);
    assert_int_equal(store_backup(env->conf, to, env->why, sizeof env->why), BT_ENOTFOUND);
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    for (int i = 0; i < 50; i++) { /* pairs: a copy has both or neither */
        struct db_list *list = db_list_new(env->db);
        struct db_val one[] = { db_int(2 * i), db_int(0) }, two[] = { db_int(2 * i + 1), db_int(0) };
        db_list_add(list, "INSERT INTO friend (user_id, peer_id, state, changed_ms) VALUES (?, ?, 0, 0)", one, 2, 1);
        db_list_add(list, "INSERT INTO friend (user_id, peer_id, state, changed_ms) VALUES (?, ?, 0, 0)", two, 2, 1);
        db_list_run(env->db, list, env_answer_done, &a[i]);
        if (i == 25)
            assert_int_equal(store_backup(env->conf, to, env->why, sizeof env->why), BT_OK);
    }
    env_wait(env, &a[49].is_done);
    assert_int_equal(stat(to, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(store_backup(env->conf, to, env->why, sizeof env->why), BT_EEXIST);
    env_close(env);
    env_set(env, "store.url=sqlite:copy.db");
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    assert_int_equal(env_int(env, "SELECT COUNT(*) % 2 FROM friend"), 0);
    assert_int_equal(env_int(env, "SELECT version FROM schema_version"), store_schema.version);
}

struct ids {
    size_t n;
    uint64_t id[3000];
    enum bt_err err;
    bool is_done;
    size_t want;
};

static void id_got(enum bt_err err, uint64_t id, void *arg)
{
    struct ids *ids = arg;
    if (err != BT_OK)
        ids->err = err;
    ids->id[ids->n++] = id;
    ids->is_done = ids->n == ids->want;
}

static void ids_take(struct store_env *env, struct ids *ids, size_t n)
{
    ids->is_done = false;
    ids->want = ids->n + n;
    for (size_t i = 0; i < n; i++)
        store_next_id(env->store, "entity", id_got, ids);
    env_wait(env, &ids->is_done);
    assert_int_equal(ids->err, BT_OK);
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void ids_are_unique_over_processes_and_restarts(void **state)
{
    struct store_env *env = *state;
    static struct ids ids;
    memset(&ids, 0, sizeof ids);
    env_set(env, "store.id_lease=10");
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    struct store_env other = *env;
    assert_int_equal(env_open(&other, STORE_OPERATE, NULL), BT_OK);
    ids_take(env, &ids, 1);
    assert_true(ids.id[0] >= 1);
    for (int i = 0; i < 20; i++) {
        ids_take(env, &ids, 25);
        ids_take(&other, &ids, 7);
    }
    env_close(&other);
    env_close(env);
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    ids_take(env, &ids, 100);
    qsort(ids.id, ids.n, sizeof ids.id[0], compare_ids);
    assert_true(ids.id[0] > 0);
    for (size_t i = 1; i < ids.n; i++)
        assert_true(ids.id[i] > ids.id[i - 1]);
}

static void two_processes_that_lease_at_once_get_different_ranges(void **state)
{
    struct store_env *env = *state;
    static struct ids mine, theirs;
    memset(&mine, 0, sizeof mine);
    memset(&theirs, 0, sizeof theirs);
    env_set(env, "store.id_lease=1");
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    struct store_env other = *env;
    assert_int_equal(env_open(&other, STORE_OPERATE, NULL), BT_OK);
    mine.want = theirs.want = 60;
    for (int i = 0; i < 60; i++) {
        store_next_id(env->store, "entity", id_got, &mine);
        store_next_id(other.store, "entity", id_got, &theirs);
    }
    env_wait(env, &mine.is_done);
    env_wait(env, &theirs.is_done);
    assert_int_equal(mine.err, BT_OK);
    assert_int_equal(theirs.err, BT_OK);
    memcpy(mine.id + 60, theirs.id, 60 * sizeof theirs.id[0]);
    qsort(mine.id, 120, sizeof mine.id[0], compare_ids);
    for (size_t i = 1; i < 120; i++)
        assert_true(mine.id[i] > mine.id[i - 1]);
    env_close(&other);
}

/* A store over a scripted database. */
static struct fake_db *open_fake(struct store_env *env)
{
    struct fake_db *f = fake_db_new(env->loop);
    assert_int_equal(store_over(env->loop, fake_db_base(f), &env->store), BT_OK);
    env->db = store_db(env->store);
    return f;
}

/* The first lease fails with err; the second, from another number on, is had. */
static void script_two_leases(struct fake_db *f, int64_t first, enum bt_err err, int64_t second)
{
    struct db_val from_first = db_int(first), from_second = db_int(second);
    fake_db_rows(f, "SELECT next_id", 1, 1, 1, &from_first);
    fake_db_rows(f, "SELECT next_id", 1, 1, 1, &from_second);
    fake_db_done(f, "UPDATE id_range", 1, err, 0, 0);
    fake_db_done(f, "UPDATE id_range", 1, BT_OK, 0, 1);
}

static void a_lost_lease_race_reads_again(void **state)
{
    struct store_env *env = *state;
    struct fake_db *f = open_fake(env);
    struct ids ids = { .want = 1 };
    script_two_leases(f, 5000, BT_ECONFLICT, 9000);
    store_next_id(env->store, "entity", id_got, &ids);
    assert_int_equal(ids.n, 0);
    env_wait(env, &ids.is_done);
    assert_int_equal(ids.id[0], 9000);
    const struct fake_call *update = fake_db_last(f, "UPDATE id_range");
    assert_int_equal(update->stmts[0].expect, 1);
    assert_int_equal(update->stmts[0].vals[0].i, 10000);
    assert_int_equal(update->stmts[0].vals[2].i, 9000);
}

static void an_uncertain_lease_is_given_up_and_leased_anew(void **state)
{
    struct store_env *env = *state;
    struct fake_db *f = open_fake(env);
    struct ids ids = { .want = 1 };
    script_two_leases(f, 1, BT_EUNSURE, 1001);
    store_next_id(env->store, "entity", id_got, &ids);
    env_wait(env, &ids.is_done);
    assert_int_equal(ids.id[0], 1001);
}

static void a_failed_lease_is_told_and_tried_again_by_the_next_call(void **state)
{
    struct store_env *env = *state;
    struct fake_db *f = open_fake(env);
    struct ids ids = { .want = 2 };
    struct db_val none = db_int(1);
    fake_db_fail(f, "SELECT next_id", 1, BT_EDOWN);
    fake_db_rows(f, "SELECT next_id", 1, 0, 1, &none);
    fake_db_done(f, "INSERT INTO id_range", 1, BT_OK, 0, 1);
    store_next_id(env->store, "entity", id_got, &ids);
    store_next_id(env->store, "entity", id_got, &ids);
    env_wait(env, &ids.is_done);
    assert_int_equal(ids.err, BT_EDOWN);
    ids = (struct ids){ .want = 1 };
    store_next_id(env->store, "entity", id_got, &ids);
    env_wait(env, &ids.is_done);
    assert_int_equal(ids.err, BT_OK);
    assert_int_equal(ids.id[0], 1);
}

static void ids_leased_over_an_old_connection_are_given_up(void **state)
{
    struct store_env *env = *state;
    struct fake_db *f = open_fake(env);
    struct ids ids = { .want = 1 };
    struct db_val first = db_int(1), second = db_int(7000);
    fake_db_rows(f, "SELECT next_id", 1, 1, 1, &first);
    fake_db_rows(f, "SELECT next_id", 1, 1, 1, &second);
    fake_db_done(f, "UPDATE id_range", FAKE_ALWAYS, BT_OK, 0, 1);
    store_next_id(env->store, "entity", id_got, &ids);
    env_wait(env, &ids.is_done);
    assert_int_equal(ids.id[0], 1);
    fake_db_set_up(f, false);
    fake_db_set_up(f, true);
    ids = (struct ids){ .want = 1 };
    store_next_id(env->store, "entity", id_got, &ids);
    env_wait(env, &ids.is_done);
    assert_int_equal(ids.id[0], 7000);
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

static void ids_asked_while_closing_are_answered(void **state)
{
    struct store_env *env = *state;
    static struct ids before, after;
    memset(&before, 0, sizeof before);
    memset(&after, 0, sizeof after);
    before.want = after.want = 1;
    bool closed = false;
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    store_next_id(env->store, "entity", id_got, &before);
    struct store *st = env->store;
    env->store = NULL;
    store_close(st, set_flag, &closed);
    store_next_id(st, "entity", id_got, &after);
    env_wait(env, &closed);
    assert_int_equal(before.n, 1);
    assert_int_equal(before.err, BT_ECLOSING); /* its lease's write came too late */
    assert_int_equal(after.n, 1);
    assert_int_equal(after.err, BT_ECLOSING);
}

static void the_clock_never_goes_back(void **state)
{
    struct store_env *env = *state;
    struct fake_db *f = open_fake(env);
    fake_db_set_now(f, 5000);
    assert_int_equal(store_now_ms(env->store), 5000);
    fake_db_set_now(f, 4000);
    assert_int_equal(store_now_ms(env->store), 5000);
    fake_db_set_now(f, 6000);
    assert_int_equal(store_now_ms(env->store), 6000);
}

int main(void)
{
    come(&schema_next, steps_to_come, 2);
    come(&schema_broken, steps_broken, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_first_start_makes_everything, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(a_second_server_is_told_who_serves, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(the_lock_dies_with_its_process, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(an_operator_works_beside_a_server, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(looking_changes_nothing, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(an_older_schema_is_upgraded_after_a_copy, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(groups_of_the_first_version_get_their_count_and_owner, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(a_newer_schema_is_refused, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(a_failed_upgrade_leaves_the_old_schema, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(what_is_no_database_of_ours_is_refused, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(urls_and_directories_that_cannot_be_are_named, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(an_absolute_path_is_taken_as_it_is, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(a_backup_of_a_busy_database_is_whole, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(ids_are_unique_over_processes_and_restarts, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(two_processes_that_lease_at_once_get_different_ranges, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(a_lost_lease_race_reads_again, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(an_uncertain_lease_is_given_up_and_leased_anew, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(a_failed_lease_is_told_and_tried_again_by_the_next_call, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(ids_leased_over_an_old_connection_are_given_up, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(ids_asked_while_closing_are_answered, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(the_clock_never_goes_back, env_setup, env_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
