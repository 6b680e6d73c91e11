/*
 * test/unit/test_store_reads.c: what statements read does not grow with what others have: the planners of both databases go by the
 * right index, where they would not by themselves. (What the statements answer: test_store_sql.c.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/account.h"
#include "store/history.h"
#include "store/member.h"
#include "store/message.h"
#include "store/session.h"
#include "test/unit/fake_db.h"
#include "test/unit/mariadb_env.h"
#include "test/unit/store_env.h"

/* ---- MariaDB: rows that were read ----------------------------------------------------------------------------------------------- */

enum { READS_MAX = 5000 }; /* where there are 20000 of what is looked at; to count reads costs some itself */

static struct mariadb_server server;

/* A user in 200 short conversations and a long one; many sessions of others. */
static const char *const crowd[] = {
    "INSERT INTO chat_group (group_id, creator_id, request_id, name, about, join_mode, created_ms)"
    " SELECT 1000 + seq, 1, seq, 'g', '', 0, 1 FROM seq_1_to_4000",
    "INSERT INTO member (hi, lo, user_id, role, joined_seq) SELECT 1000 + seq, 0, 7, 1, 1 FROM seq_1_to_200",
    "INSERT INTO member (hi, lo, user_id, role, joined_seq) SELECT 5000, 0, 7, 1, 1",
    "INSERT INTO message (hi, lo, seq, sender_id, client_msg_id, sent_ms, kind, digest, content_type, body)"
    " SELECT 1000 + g.seq, 0, m.seq, 7, m.seq, 1, 1, 1, '', 'hello' FROM seq_1_to_3999 g, seq_1_to_3 m",
    "INSERT INTO message (hi, lo, seq, sender_id, client_msg_id, sent_ms, kind, digest, content_type, body)"
    " SELECT 5000, 0, seq, seq % 50, seq, 1, 1, 1, '', 'hello' FROM seq_1_to_20000",
    "INSERT INTO member (hi, lo, user_id, role, joined_seq) SELECT 9000, seq, 9000, 1, 1 FROM seq_1_to_20",
    "INSERT INTO message (hi, lo, seq, sender_id, client_msg_id, sent_ms, kind, digest, content_type, body)"
    " SELECT 9000, c.seq, m.seq, 7, m.seq, 1, 1, 1, '', 'hello' FROM seq_1_to_20 c, seq_1_to_9 m",
    "INSERT INTO session (user_id, session_id, device_id, device, created_ms, ended_ms) SELECT seq, seq, -seq, '', 1, seq FROM seq_1_to_20000",
    "ANALYZE TABLE member, message, session, chat_group",
};

static int start_server(void **state)
{
    struct store_env *env = calloc(1, sizeof *env);
    char url[128], sql[512];
    mariadb_server_init(&server);
    mariadb_server_start(&server, NULL);
    env_init(env);
    snprintf(url, sizeof url, "store.url=mariadb://root@127.0.0.1:%d/bytetalk", server.port);
    env_set(env, url);
    assert_int_equal(env_open(env, STORE_MIGRATE, NULL), BT_OK);
    for (size_t i = 0; i < sizeof crowd / sizeof crowd[0]; i++) {
        snprintf(sql, sizeof sql, "USE bytetalk$$ %s", crowd[i]);
        mariadb_server_sql(&server, sql);
    }
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    *state = env;
    return 0;
}

static int end_server(void **state)
{
    env_deinit(*state);
    free(*state);
    mariadb_server_deinit(&server);
    return 0;
}

/* All that the server has read so far, step by step along an index or a table. */
static int64_t count_reads(struct store_env *env)
{
    return env_int(env, "SELECT CAST(SUM(variable_value) AS SIGNED) FROM information_schema.global_status"
                        " WHERE variable_name IN ('Handler_read_next', 'Handler_read_prev', 'Handler_read_rnd_next')");
}

/* What was armed reads little, and answers n rows. */
static void assert_reads_little(struct store_env *env, int64_t before, struct env_answer *a, size_t nrows)
{
    env_wait(env, &a->is_done);
    assert_int_equal(a->done.err, BT_OK);
    assert_int_equal(a->nrows, nrows);
    int64_t n = count_reads(env) - before;
    print_message("%zu rows for %lld reads\n", nrows, (long long)n);
    assert_in_range(n, 0, READS_MAX);
}

static void the_head_of_a_long_log_is_found_without_reading_it(void **state)
{
    struct store_env *env = *state;
    struct env_answer all = { 0 }, one = { 0 };
    int64_t before = count_reads(env);
    store_places(env->store, 7, 0, 0, INT64_MAX, INT64_MAX, 500, env_answer_rows, &all);
    assert_reads_little(env, before, &all, 201);
    before = count_reads(env);
    store_places_find(env->store, &(struct store_place){ .hi = 5000, .user_id = 7 }, 1, env_answer_rows, &one);
    assert_reads_little(env, before, &one, 1);
}

static void a_page_of_a_long_log_reads_no_more_than_it_shows(void **state)
{
    struct store_env *env = *state;
    struct env_answer page = { 0 }, newest = { 0 };
    int64_t before = count_reads(env);
    store_history(env->store, &(struct store_range){ .hi = 5000, .first = 1000, .last = 1099 }, 1, env_answer_rows, &page);
    assert_reads_little(env, before, &page, 100);
    before = count_reads(env);
    store_message_newest(env->store, 5000, 0, 64, env_answer_rows, &newest);
    assert_reads_little(env, before, &newest, 64);
}

static void pages_of_many_logs_and_their_outlines_read_no_more_than_they_show(void **state)
{
    struct store_env *env = *state;
    struct store_range ranges[STORE_RANGES_MAX];
    struct env_answer pages = { 0 }, outlines = { 0 };
    for (size_t i = 0; i < STORE_RANGES_MAX; i++)
        ranges[i] = (struct store_range){ .hi = 5000 - STORE_RANGES_MAX + 1 + i, .first = 2, .last = 3, .user_id = 7 };
    ranges[STORE_RANGES_MAX - 1].first = 1000;
    ranges[STORE_RANGES_MAX - 1].last = 1069;
    int64_t before = count_reads(env);
    store_history(env->store, ranges, STORE_RANGES_MAX, env_answer_rows, &pages);
    assert_reads_little(env, before, &pages, 100);
    for (size_t i = 0; i < STORE_RANGES_MAX; i++)
        ranges[i].hi = 1001 + i;
    before = count_reads(env);
    store_outlines(env->store, 7, ranges, STORE_OUTLINES_MAX, false, env_answer_rows, &outlines);
    assert_reads_little(env, before, &outlines, STORE_OUTLINES_MAX);
}

struct rising {
    size_t ncols; /* that rows must rise by */
    bool is_done;
    size_t nrows;
};

static void take_rising(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct rising *a = arg;
    assert_int_equal(err, BT_OK);
    for (size_t r = 1; r < rows->nrows; r++) {
        size_t c = 0;
        while (c + 1 < a->ncols && db_at(rows, r - 1, c)->i == db_at(rows, r, c)->i)
            c++;
        assert_true(db_at(rows, r - 1, c)->i < db_at(rows, r, c)->i);
    }
    a->nrows = rows->nrows;
    a->is_done = true;
}

/* MariaDB forgets for good to order by a column that is the same in all that was asked once. */
static void rows_of_many_keys_are_in_order_whatever_was_asked_before(void **state)
{
    struct store_env *env = *state;
    for (size_t round = 0; round < 20; round++) {
        size_t n = 2 + (round * 5) % (STORE_RANGES_MAX - 2);
        struct store_range ranges[STORE_RANGES_MAX];
        struct store_place keys[STORE_RANGES_MAX];
        struct rising pages = { .ncols = 3 }, outlines = { .ncols = 2 }, places = { .ncols = 3 };
        for (size_t i = 0; i < n; i++) {
            bool is_pair = round % 2 != 0;
            ranges[i] = (struct store_range){ .hi = is_pair ? 9000 : 1001 + i, .lo = is_pair ? 1 + i : 0, .first = 1 + i % 2, .last = 3, .user_id = is_pair ? 9000 : 7 };
            keys[i] = (struct store_place){ .hi = ranges[i].hi, .lo = ranges[i].lo, .user_id = ranges[i].user_id };
        }
        store_history(env->store, ranges, n, take_rising, &pages);
        store_outlines(env->store, ranges[0].user_id, ranges, n, false, take_rising, &outlines);
        store_places_find(env->store, keys, n, take_rising, &places);
        env_wait(env, &pages.is_done);
        env_wait(env, &outlines.is_done);
        env_wait(env, &places.is_done);
        assert_int_equal(pages.nrows, n * 3 - n / 2);
        assert_int_equal(outlines.nrows, n);
        assert_int_equal(places.nrows, n);
    }
}

static void a_page_of_ended_sessions_reads_only_itself(void **state)
{
    struct store_env *env = *state;
    struct env_answer page = { 0 };
    int64_t before = count_reads(env);
    store_session_ended(env->store, 1, env_answer_rows, &page);
    assert_reads_little(env, before, &page, STORE_ENDED_PAGE);
}

/* ---- SQLite: plans -------------------------------------------------------------------------------------------------------------- */

struct plan {
    bool is_done;
    char text[1024];
};

static void take_plan(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct plan *p = arg;
    size_t at = 0;
    assert_int_equal(err, BT_OK);
    for (size_t r = 0; r < rows->nrows; r++)
        at += (size_t)snprintf(p->text + at, sizeof p->text - at, "%.*s\n", (int)db_at(rows, r, 3)->len, (const char *)db_at(rows, r, 3)->p);
    p->is_done = true;
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

/* The sessions of a user are found by him, and not by whether they are live: most of all users' are. */
static void assert_by_user(struct store_env *env, const struct fake_stmt *stmt)
{
    struct plan plan = { 0 };
    char sql[1024];
    snprintf(sql, sizeof sql, "EXPLAIN QUERY PLAN %s", stmt->sql);
    db_query(env->db, sql, stmt->vals, stmt->nvals, take_plan, &plan);
    env_wait(env, &plan.is_done);
    if (strstr(plan.text, "SEARCH session ") == NULL || strstr(plan.text, "(user_id=?") == NULL)
        fail_msg("%s\n%s", stmt->sql, plan.text);
}

static void a_login_looks_at_no_sessions_of_others(void **state)
{
    struct store_env env;
    struct env_answer asked[3] = { 0 };
    struct store *store;
    struct fake_db *fake;
    const struct store_text text = { "x", 1 };
    bool is_closed = false;
    (void)state;
    env_init(&env);
    assert_int_equal(env_open(&env, STORE_SERVE, NULL), BT_OK);
    fake = fake_db_new(env.loop);
    fake_db_fail(fake, "", FAKE_ALWAYS, BT_EDOWN);
    assert_int_equal(store_over(env.loop, fake_db_base(fake), &store), BT_OK);
    store_session_live(store, 7, env_answer_rows, &asked[0]);
    store_account_set_password(store, 7, text, text, 9, 1, env_answer_done, &asked[1]);
    store_account_disable(store, 7, 1, env_answer_done, &asked[2]);
    for (size_t i = 0; i < 3; i++)
        env_wait(&env, &asked[i].is_done);
    for (size_t i = 0; i < 3; i++)
        assert_by_user(&env, &fake_db_call(fake, i)->stmts[i == 0 ? 0 : 1]);
    store_close(store, set_flag, &is_closed);
    env_wait(&env, &is_closed);
    env_deinit(&env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_head_of_a_long_log_is_found_without_reading_it),
        cmocka_unit_test(a_page_of_a_long_log_reads_no_more_than_it_shows),
        cmocka_unit_test(pages_of_many_logs_and_their_outlines_read_no_more_than_they_show),
        cmocka_unit_test(rows_of_many_keys_are_in_order_whatever_was_asked_before),
        cmocka_unit_test(a_page_of_ended_sessions_reads_only_itself),
        cmocka_unit_test(a_login_looks_at_no_sessions_of_others),
    };
    return cmocka_run_group_tests(tests, start_server, end_server);
}
