/* test/unit/db_cases.c: see db_cases.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "net/mem.h"
#include "test/unit/db_cases.h"
#include "test/unit/store_env.h"

struct db_val *db_case_row(const char *name, int64_t id)
{
    static struct db_val v[2];
    v[0] = db_bytes(name, strlen(name));
    v[1] = db_int(id);
    return v;
}

struct values_seen {
    bool is_done;
    struct db_val vals[4];
    uint8_t bytes[64];
};

static void values_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct values_seen *seen = arg;
    assert_int_equal(err, BT_OK);
    assert_int_equal(rows->nrows, 1);
    assert_int_equal(rows->ncols, 4);
    memcpy(seen->vals, rows->vals, sizeof seen->vals);
    assert_int_equal(seen->vals[1].len, 5);
    memcpy(seen->bytes, seen->vals[1].p, 5);
    seen->is_done = true;
}

void values_come_back_as_they_went_in(void **state)
{
    struct store_env *env = *state;
    struct values_seen seen = { 0 };
    assert_int_equal(env_exec(env, "CREATE TABLE t (a BIGINT, b VARBINARY(10), c VARBINARY(10) NOT NULL, d BLOB)", NULL, 0, DB_ANY).err, BT_OK);
    struct db_val row[] = { db_int(INT64_MIN), db_bytes("12\0\xff" "4", 5), db_bytes(NULL, 0), db_null() };
    assert_int_equal(env_exec(env, "INSERT INTO t (a, b, c, d) VALUES (?, ?, ?, ?)", row, 4, 1).err, BT_OK);
    db_query(env->db, "SELECT a, b, c, d FROM t WHERE b = ? AND c = ?", &row[1], 2, values_done, &seen);
    env_wait(env, &seen.is_done);
    assert_int_equal(seen.vals[0].type, DB_INT);
    assert_true(seen.vals[0].i == INT64_MIN);
    assert_int_equal(seen.vals[1].type, DB_BYTES);
    assert_memory_equal(seen.bytes, "12\0\xff" "4", 5);
    assert_int_equal(seen.vals[2].type, DB_BYTES);
    assert_int_equal(seen.vals[2].len, 0);
    assert_non_null(seen.vals[2].p);
    assert_int_equal(seen.vals[3].type, DB_NULL);
}

void digits_stay_bytes_in_a_varbinary_column(void **state)
{
    struct store_env *env = *state;
    assert_int_equal(env_exec(env, DB_CASE_INSERT, db_case_row("007", 1), 2, 1).err, BT_OK);
    assert_int_equal(env_exec(env, DB_CASE_INSERT, db_case_row("7", 2), 2, 1).err, BT_OK);
    assert_int_equal(env_exec(env, "UPDATE id_range SET next_id = 9 WHERE name = ?", db_case_row("7", 0), 1, 1).err, BT_OK);
    assert_int_equal(env_int(env, "SELECT next_id FROM id_range ORDER BY name LIMIT 1"), 1);
}

void a_duplicate_key_is_named_and_nothing_of_the_list_stands(void **state)
{
    struct store_env *env = *state;
    assert_int_equal(env_exec(env, DB_CASE_INSERT, db_case_row("a", 1), 2, 1).err, BT_OK);
    struct db_list *list = db_list_new(env->db);
    db_list_add(list, DB_CASE_INSERT, db_case_row("b", 1), 2, 1);
    db_list_add(list, DB_CASE_INSERT, db_case_row("a", 1), 2, 1);
    db_list_add(list, DB_CASE_INSERT, db_case_row("c", 1), 2, 1);
    assert_int_equal(db_list_len(list), 3);
    struct db_done done = env_list(env, list);
    assert_int_equal(done.err, BT_EEXIST);
    assert_int_equal(done.item, 1);
    assert_int_equal(env_int(env, "SELECT COUNT(*) FROM id_range"), 1);
}

void a_failed_expectation_is_named_and_nothing_of_the_list_stands(void **state)
{
    struct store_env *env = *state;
    struct db_list *list = db_list_new(env->db);
    db_list_add(list, DB_CASE_INSERT, db_case_row("a", 1), 2, 1);
    db_list_add(list, "UPDATE id_range SET next_id = 2 WHERE name = ?", db_case_row("nobody", 0), 1, 1);
    struct db_done done = env_list(env, list);
    assert_int_equal(done.err, BT_ECONFLICT);
    assert_int_equal(done.item, 1);
    assert_int_equal(env_int(env, "SELECT COUNT(*) FROM id_range"), 0);
}

void changed_counts_the_last_statement(void **state)
{
    struct store_env *env = *state;
    struct db_list *list = db_list_new(env->db);
    db_list_add(list, DB_CASE_INSERT, db_case_row("a", 1), 2, 1);
    db_list_add(list, DB_CASE_INSERT, db_case_row("b", 1), 2, 1);
    db_list_add(list, "UPDATE id_range SET next_id = 5", NULL, 0, DB_ANY);
    struct db_done done = env_list(env, list);
    assert_int_equal(done.err, BT_OK);
    assert_int_equal(done.changed, 2);
}

void a_many_row_insert_is_all_or_nothing(void **state)
{
    struct store_env *env = *state;
    struct env_answer a = { 0 }, b = { 0 };
    struct db_val rows[40][2];
    char names[40][16];
    for (int i = 0; i < 40; i++) {
        snprintf(names[i], sizeof names[i], "n%d", i);
        rows[i][0] = db_bytes(names[i], strlen(names[i]));
        rows[i][1] = db_int(i);
    }
    db_insert(env->db, "INSERT INTO id_range (name, next_id) VALUES", 2, rows[0], 20, env_answer_done, &a);
    env_wait(env, &a.is_done);
    db_insert(env->db, "INSERT INTO id_range (name, next_id) VALUES", 2, rows[19], 21, env_answer_done, &b);
    memset(names, 'x', sizeof names); /* what the calls needed was copied */
    env_wait(env, &b.is_done);
    assert_int_equal(a.done.err, BT_OK);
    assert_int_equal(a.done.changed, 20);
    assert_int_equal(b.done.err, BT_EEXIST);
    assert_int_equal(env_int(env, "SELECT COUNT(*) FROM id_range"), 20);
}

void a_wrong_statement_is_an_internal_error(void **state)
{
    struct store_env *env = *state;
    struct env_answer a = { 0 };
    assert_int_equal(env_exec(env, "INSERT INTO nowhere VALUES (1)", NULL, 0, 1).err, BT_EINTERNAL);
    assert_int_equal(env_exec(env, DB_CASE_INSERT, db_case_row("a", 1), 1, 1).err, BT_EINTERNAL); /* a parameter too few */
    assert_int_equal(env_exec(env, "INSERT INTO id_range (name, next_id) VALUES (NULL, 1)", NULL, 0, 1).err, BT_EINTERNAL);
    db_query(env->db, "SELECT nothing FROM nowhere", NULL, 0, env_answer_rows, &a);
    env_wait(env, &a.is_done);
    assert_int_equal(a.done.err, BT_EINTERNAL);
    assert_int_equal(env_int(env, "SELECT COUNT(*) FROM id_range"), 0);
}

void beyond_the_queue_limit_calls_are_refused(void **state)
{
    struct store_env *env = *state;
    struct env_answer a[150] = { 0 };
    int refused = 0;
    for (int i = 0; i < 150; i++)
        db_query(env->db, "SELECT 1", NULL, 0, env_answer_rows, &a[i]);
    assert_int_equal(db_load(env->db), 150);
    for (int i = 0; i < 150; i++) {
        env_wait(env, &a[i].is_done);
        assert_int_equal(a[i].calls, 1);
        assert_int_equal(a[i].done.err, i < 100 ? BT_OK : BT_EBUSY);
        refused += a[i].done.err == BT_EBUSY;
    }
    assert_int_equal(refused, 50);
    assert_int_equal(env->db->stats.refused, 50);
    assert_int_equal(db_load(env->db), 0);
}

struct read_your_write {
    struct store_env *env;
    int round;
    bool is_done;
    struct env_answer read;
};

static void write_seen(enum bt_err err, const struct db_rows *rows, void *arg);

static void write_done(const struct db_done *done, void *arg)
{
    struct read_your_write *w = arg;
    assert_int_equal(done->err, BT_OK);
    db_query(w->env->db, "SELECT next_id FROM id_range WHERE name = ?", db_case_row("w", 0), 1, write_seen, w);
}

static void write_next(struct read_your_write *w)
{
    struct db_val v[] = { db_int(w->round), db_bytes("w", 1) };
    db_exec(w->env->db, "UPDATE id_range SET next_id = ? WHERE name = ?", v, 2, 1, write_done, w);
}

static void write_seen(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct read_your_write *w = arg;
    assert_int_equal(err, BT_OK);
    assert_int_equal(db_at(rows, 0, 0)->i, w->round);
    if (++w->round == 200)
        w->is_done = true;
    else
        write_next(w);
}

void a_read_sees_every_write_whose_callback_has_run(void **state)
{
    struct store_env *env = *state;
    struct read_your_write w = { .env = env };
    assert_int_equal(env_exec(env, DB_CASE_INSERT, db_case_row("w", 0), 2, 1).err, BT_OK);
    write_next(&w);
    env_wait(env, &w.is_done);
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

void closing_finishes_what_is_queued_and_refuses_the_rest(void **state)
{
    struct store_env *env = *state;
    struct env_answer a[20] = { 0 }, late = { 0 }, late_read = { 0 };
    bool closed = false;
    for (int i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof name, "c%d", i);
        db_exec(env->db, DB_CASE_INSERT, db_case_row(name, i), 2, 1, env_answer_done, &a[i]);
    }
    struct db *db = env->db;
    store_close(env->store, set_flag, &closed);
    env->store = NULL;
    db_exec(db, DB_CASE_INSERT, db_case_row("late", 1), 2, 1, env_answer_done, &late);
    db_query(db, "SELECT 1", NULL, 0, env_answer_rows, &late_read);
    env_wait(env, &closed);
    for (int i = 0; i < 20; i++)
        assert_int_equal(a[i].done.err, BT_OK);
    assert_int_equal(late.calls, 1);
    assert_int_equal(late.done.err, BT_ECLOSING);
    assert_int_equal(late_read.done.err, BT_ECLOSING);
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    assert_int_equal(env_int(env, "SELECT COUNT(*) FROM id_range"), 20);
}

void a_failed_allocation_is_answered_and_harms_nothing(void **state)
{
    struct store_env *env = *state;
    assert_int_equal(env_int(env, "SELECT 1"), 1); /* what a networked backend needs to connect is not counted */
    for (long n = 0; n < 12; n++) {
        struct env_answer a = { 0 };
        char name[32];
        snprintf(name, sizeof name, "m%ld", n);
        bt_mem_fail_after(n);
        db_exec(env->db, DB_CASE_INSERT, db_case_row(name, 1), 2, 1, env_answer_done, &a);
        env_wait(env, &a.is_done);
        bool has_failed = bt_mem_has_failed();
        bt_mem_fail_after(-1);
        assert_int_equal(a.calls, 1);
        assert_int_equal(a.done.err, has_failed ? BT_ENOMEM : BT_OK);
    }
    for (long n = 0; n < 12; n++) {
        struct env_answer a = { 0 };
        bt_mem_fail_after(n);
        db_query(env->db, "SELECT COUNT(*), name FROM id_range", NULL, 0, env_answer_rows, &a);
        env_wait(env, &a.is_done);
        bool has_failed = bt_mem_has_failed();
        bt_mem_fail_after(-1);
        assert_int_equal(a.done.err, has_failed ? BT_ENOMEM : BT_OK);
    }
    assert_true(env_int(env, "SELECT COUNT(*) FROM id_range") > 0);
}

void the_lists_of_failed_allocations_are_accepted_everywhere(void **state)
{
    struct store_env *env = *state;
    db_list_add(NULL, "SELECT 1", NULL, 0, DB_ANY);
    assert_int_equal(db_list_len(NULL), 0);
    db_list_drop(NULL);
    assert_int_equal(env_list(env, NULL).err, BT_ENOMEM);
}
