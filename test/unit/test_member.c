/* test/unit/test_member.c: store/member.c and store/history.c over a real database: places, outlines, logs, marks, receipts. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "store/history.h"
#include "store/member.h"
#include "test/unit/seed.h"

enum { MAX = 64 };

/* What a query gave, of whichever sort. */
struct got {
    bool is_done;
    size_t n;
    struct store_place places[MAX];
    struct store_outline outlines[MAX];
    char text[MAX][32]; /* names and bodies */
    struct store_logged logged[MAX];
};

static void places_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct got *got = arg;
    assert_int_equal(err, BT_OK);
    for (got->n = 0; got->n < rows->nrows; got->n++)
        got->places[got->n] = store_place_of(rows, got->n);
    got->is_done = true;
}

static void outlines_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct got *got = arg;
    assert_int_equal(err, BT_OK);
    for (got->n = 0; got->n < rows->nrows; got->n++) {
        struct store_outline *o = &got->outlines[got->n];
        *o = store_outline_of(rows, got->n);
        if (o->name_len)
            memcpy(got->text[got->n], o->name, o->name_len);
    }
    got->is_done = true;
}

static void logged_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct got *got = arg;
    assert_int_equal(err, BT_OK);
    for (got->n = 0; got->n < rows->nrows; got->n++) {
        struct store_logged *m = &got->logged[got->n];
        *m = store_logged_of(rows, got->n);
        if (m->body_len)
            memcpy(got->text[got->n], m->body, m->body_len);
    }
    got->is_done = true;
}

static int setup(void **state)
{
    static struct store_env env;
    env_init(&env);
    env_set(&env, "store.durable=no");
    assert_int_equal(env_open(&env, STORE_SERVE, NULL), BT_OK);
    *state = &env;
    return 0;
}

static int teardown(void **state)
{
    env_deinit(*state);
    return 0;
}

/* ---- places -------------------------------------------------------------------------------------------------------- */

static void list(struct store_env *env, struct got *got, uint64_t user, uint64_t hi, uint64_t lo, uint64_t until_hi, uint64_t until_lo, size_t limit)
{
    *got = (struct got){ 0 };
    store_places(env->store, user, hi, lo, until_hi, until_lo, limit, places_done, got);
    assert_false(got->is_done);
    env_wait(env, &got->is_done);
}

static void places_come_in_order_between_two_keys(void **state)
{
    struct store_env *env = *state;
    static struct got got;
    seed_pair(env, 9, 4);
    seed_pair(env, 9, 5);
    seed_pair(env, 12, 9);
    seed_member(env, 10, 0, 9, 2, 1, 0);
    for (int i = 0; i < 4; i++) {
        static const uint64_t keys[4][2] = { { 12, 9 }, { 10, 0 }, { 9, 5 }, { 9, 4 } };
        seed_texts(env, keys[i][0], keys[i][1], 1, (uint64_t)i + 1, 9);
    }
    list(env, &got, 9, 0, 0, UINT64_MAX, UINT64_MAX, 100);
    assert_int_equal(got.n, 4);
    assert_int_equal(got.places[0].lo, 4);
    assert_int_equal(got.places[0].head_seq, 4);
    assert_int_equal(got.places[1].lo, 5);
    assert_int_equal(got.places[2].hi, 10);
    assert_int_equal(got.places[3].hi, 12);
    assert_int_equal(got.places[3].head_seq, 1);
    list(env, &got, 9, 9, 4, 10, 0, 100);
    assert_int_equal(got.n, 2);
    assert_int_equal(got.places[0].lo, 5);
    assert_int_equal(got.places[1].hi, 10);
    list(env, &got, 9, 9, 5, 9, UINT64_MAX, 100);
    assert_int_equal(got.n, 0);
    list(env, &got, 9, 0, 0, UINT64_MAX, UINT64_MAX, 3);
    assert_int_equal(got.n, 3);
}

static void what_is_empty_or_only_pending_is_no_place(void **state)
{
    struct store_env *env = *state;
    static struct got got;
    seed_pair(env, 9, 4);                   /* nobody has written */
    seed_pending(env, 20, 9, 1);
    seed_texts(env, 20, 0, 1, 3, 5);
    seed_member(env, 21, 0, 9, 0, 2, 3);    /* was in it from 2 to 3 */
    seed_texts(env, 21, 0, 1, 8, 5);
    list(env, &got, 9, 0, 0, UINT64_MAX, UINT64_MAX, 100);
    assert_int_equal(got.n, 1);
    assert_int_equal(got.places[0].hi, 21);
    assert_int_equal(got.places[0].joined_seq, 2);
    assert_int_equal(got.places[0].head_seq, 8);
    assert_int_equal(store_place_top(&got.places[0]), 3);
}

static void places_are_found_by_their_keys(void **state)
{
    struct store_env *env = *state;
    struct store_place keys[STORE_PLACES_MAX];
    static struct got got;
    for (uint64_t i = 0; i < STORE_PLACES_MAX; i++) {
        keys[i] = (struct store_place){ .hi = 100 + i, .lo = i % 2, .user_id = 7 };
        if (i % 3 == 0)
            seed_member(env, 100 + i, i % 2, 7, 1, 1, 0);
    }
    seed_member(env, 101, 1, 8, 1, 1, 0); /* another's */
    seed_texts(env, 103, 1, 1, 5, 7);
    got.is_done = false;
    store_places_find(env->store, keys, STORE_PLACES_MAX, places_done, &got);
    env_wait(env, &got.is_done);
    assert_int_equal(got.n, 6);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(got.places[i].hi, 100 + 3 * i);
    assert_int_equal(got.places[0].head_seq, 0);
    assert_int_equal(got.places[1].head_seq, 5);
    got.is_done = false;
    store_places_find(env->store, &keys[3], 1, places_done, &got);
    env_wait(env, &got.is_done);
    assert_int_equal(got.n, 1);
    assert_int_equal(got.places[0].head_seq, 5);
}

/* ---- outlines ------------------------------------------------------------------------------------------------------ */

static void outlines(struct store_env *env, struct got *got, uint64_t user, const struct store_range *ranges, size_t n, bool is_counted)
{
    *got = (struct got){ 0 };
    store_outlines(env->store, user, ranges, n, is_counted, outlines_done, got);
    env_wait(env, &got->is_done);
}

static void outlines_name_the_peer_or_the_group(void **state)
{
    struct store_env *env = *state;
    const struct store_range ranges[] = { { 9, 4, 1, 10, 0, 0 }, { 9, 9, 1, 10, 0, 0 }, { 30, 0, 1, 10, 0, 0 } };
    static struct got got;
    seed_account(env, 4, "anna");
    seed_account(env, 9, "bert");
    seed_pair(env, 9, 4);
    seed_pair(env, 9, 9);
    seed_marks(env, 9, 4, 4, 6, 5);
    seed_group(env, 30, 4, "choir", 0);
    seed_member(env, 30, 0, 9, 1, 1, 0);
    for (int is_counted = 0; is_counted < 2; is_counted++) {
        outlines(env, &got, 9, ranges, 3, is_counted);
        assert_int_equal(got.n, 3);
        assert_string_equal(got.text[0], "anna");
        assert_int_equal(got.outlines[0].peer_delivered_seq, 6);
        assert_int_equal(got.outlines[0].peer_read_seq, 5);
        assert_string_equal(got.text[1], "bert");
        assert_string_equal(got.text[2], "choir");
        assert_int_equal(got.outlines[2].peer_read_seq, 0);
        outlines(env, &got, 9, ranges, 1, is_counted);
        assert_string_equal(got.text[0], "anna");
    }
}

static void only_what_others_said_and_did_not_take_back_is_unread(void **state)
{
    struct store_env *env = *state;
    const struct store_range all = { 9, 4, 1, 8, 0, 0 }, late = { 9, 4, 4, 8, 0, 0 }, none = { 9, 4, 9, 8, 0, 0 };
    static struct got got;
    seed_pair(env, 9, 4);
    seed_message(env, 9, 4, 1, 4, 1, 0, "hello");
    seed_message(env, 9, 4, 2, 9, 1, 0, "mine");
    seed_message(env, 9, 4, 3, 4, 1, 0, "soon recalled");
    seed_message(env, 9, 4, 4, 4, 5, 0, "application");
    seed_message(env, 9, 4, 5, 4, 3, 3, "");
    seed_empty(env, 9, 4, 3);
    seed_message(env, 9, 4, 6, 4, 2, 1, "");
    seed_message(env, 9, 4, 7, 4, 4, 0, "membership");
    seed_message(env, 9, 4, 8, 4, 1, 0, "last");
    outlines(env, &got, 9, &all, 1, true);
    assert_int_equal(got.outlines[0].unread, 3);
    outlines(env, &got, 9, &late, 1, true);
    assert_int_equal(got.outlines[0].unread, 2);
    outlines(env, &got, 9, &none, 1, true);
    assert_int_equal(got.outlines[0].unread, 0);
    outlines(env, &got, 9, &all, 1, false);
    assert_int_equal(got.outlines[0].unread, 0);
}

/* ---- logs ---------------------------------------------------------------------------------------------------------- */

static void history_reads_many_stretches_in_order(void **state)
{
    struct store_env *env = *state;
    const struct store_range ranges[] = { { 9, 4, 3, 4, 0, 0 }, { 9, 5, 2, 2, 0, 0 }, { 30, 0, 9, 12, 0, 0 }, { 31, 0, 1, 5, 0, 0 } };
    static struct got got;
    seed_texts(env, 9, 4, 1, 9, 9);
    seed_texts(env, 9, 5, 1, 9, 9);
    seed_texts(env, 30, 0, 1, 10, 9);
    got = (struct got){ 0 };
    store_history(env->store, ranges, 4, logged_done, &got);
    env_wait(env, &got.is_done);
    assert_int_equal(got.n, 5);
    assert_int_equal(got.logged[0].seq, 3);
    assert_int_equal(got.logged[1].seq, 4);
    assert_int_equal(got.logged[2].lo, 5);
    assert_int_equal(got.logged[3].seq, 9);
    assert_string_equal(got.text[4], "m10");
    assert_int_equal(got.logged[4].sent_ms, 10);
}

static void a_text_from_an_edit_after_one_left_is_not_served_to_him(void **state)
{
    struct store_env *env = *state;
    const struct store_range in = { 30, 0, 1, 5, 0, 0 }, left[] = { { 30, 0, 1, 4, 4, 0 }, { 31, 0, 1, 1, 4, 0 } };
    static struct got got;
    seed_message(env, 30, 0, 1, 9, 1, 0, "first");
    seed_message(env, 30, 0, 2, 9, 1, 0, "second");
    seed_message(env, 30, 0, 3, 9, 2, 1, "");
    seed_message(env, 30, 0, 4, 9, 4, 0, "he left");
    seed_message(env, 30, 0, 5, 9, 2, 1, "");
    seed_replace(env, 30, 0, 1, "later");
    assert_int_equal(env_exec(env, "UPDATE message SET edited_seq = 5 WHERE hi = 30 AND lo = 0 AND seq = 1", NULL, 0, 1).err, BT_OK);
    for (int with_others = 0; with_others < 2; with_others++) {
        got = (struct got){ 0 };
        store_history(env->store, left, 1 + (size_t)with_others, logged_done, &got);
        env_wait(env, &got.is_done);
        assert_int_equal(got.n, 4);
        assert_int_equal(got.logged[0].body_len + got.logged[0].content_type_len, 0);
        assert_string_equal(got.text[1], "second");
        assert_int_equal(got.logged[2].body_len + got.logged[2].content_type_len, 0); /* an edit of before says the same */
        assert_string_equal(got.text[3], "he left");
    }
    got = (struct got){ 0 };
    store_history(env->store, &in, 1, logged_done, &got);
    env_wait(env, &got.is_done);
    assert_string_equal(got.text[0], "later");
    assert_string_equal(got.text[4], "later");
    assert_int_equal(env_exec(env, "UPDATE message SET edited_seq = 3 WHERE hi = 30 AND lo = 0 AND seq = 1", NULL, 0, 1).err, BT_OK);
    got = (struct got){ 0 };
    store_history(env->store, left, 1, logged_done, &got);
    env_wait(env, &got.is_done);
    assert_string_equal(got.text[0], "later");
    assert_string_equal(got.text[2], "later");
}

/* His place was read when he was in; when the texts are read he is not any more, and one of them is a later one. */
static void a_text_from_an_edit_after_one_left_meanwhile_is_not_served_to_him(void **state)
{
    struct store_env *env = *state;
    const struct store_range ranges[] = { { 30, 0, 1, 2, 0, 8 }, { 31, 0, 1, 1, 0, 8 } };
    static struct got got;
    seed_message(env, 30, 0, 1, 9, 1, 0, "first");
    seed_message(env, 30, 0, 2, 9, 1, 0, "second");
    seed_message(env, 31, 0, 1, 9, 1, 0, "elsewhere");
    seed_member(env, 30, 0, 8, 1, 1, 0);
    seed_replace(env, 30, 0, 1, "later");
    assert_int_equal(env_exec(env, "UPDATE message SET edited_seq = 5 WHERE hi = 30 AND lo = 0 AND seq = 1", NULL, 0, 1).err, BT_OK);
    for (int left_seq = 0; left_seq <= 5; left_seq++) {
        const struct db_val at[] = { db_int(left_seq) };
        env_exec(env, "UPDATE member SET left_seq = ? WHERE hi = 30 AND lo = 0 AND user_id = 8", at, 1, DB_ANY);
        for (size_t n = 1; n <= 2; n++) {
            got = (struct got){ 0 };
            store_history(env->store, ranges, n, logged_done, &got);
            env_wait(env, &got.is_done);
            assert_int_equal(got.n, n + 1);
            assert_string_equal(got.text[0], left_seq == 0 || left_seq == 5 ? "later" : "");
            assert_string_equal(got.text[1], "second");
        }
    }
}

static void an_edit_is_served_with_what_its_message_says_now(void **state)
{
    struct store_env *env = *state;
    const struct store_range range = { 9, 4, 1, 5, 0, 0 };
    static struct got got;
    seed_message(env, 9, 4, 1, 4, 1, 0, "first");
    seed_message(env, 9, 4, 2, 4, 1, 0, "secret");
    seed_message(env, 9, 4, 3, 4, 2, 1, "");
    seed_replace(env, 9, 4, 1, "better");
    seed_message(env, 9, 4, 4, 4, 2, 2, "");
    seed_message(env, 9, 4, 5, 4, 3, 2, "");
    seed_empty(env, 9, 4, 2);
    got = (struct got){ 0 };
    store_history(env->store, &range, 1, logged_done, &got);
    env_wait(env, &got.is_done);
    assert_int_equal(got.n, 5);
    assert_string_equal(got.text[0], "better");
    assert_string_equal(got.text[2], "better");
    assert_int_equal(got.logged[2].kind, 2);
    assert_int_equal(got.logged[2].refers_to_seq, 1);
    assert_int_equal(got.logged[2].content_type_len, 1);
    assert_int_equal(got.logged[1].body_len, 0);
    assert_int_equal(got.logged[3].body_len, 0);
    assert_int_equal(got.logged[4].body_len, 0);
}

/* ---- marks and receipts -------------------------------------------------------------------------------------------- */

static void marks_only_rise(void **state)
{
    struct store_env *env = *state;
    struct store_place up = { .hi = 9, .lo = 4, .user_id = 9, .delivered_seq = 8, .read_seq = 3 };
    struct store_place mixed = { .hi = 9, .lo = 4, .user_id = 9, .delivered_seq = 5, .read_seq = 5 };
    struct db_list *both = db_list_new(env->db);
    seed_pair(env, 9, 4);
    store_marks_add(both, &up);
    store_marks_add(both, &mixed);
    assert_int_equal(env_list(env, both).err, BT_OK);
    assert_int_equal(env_int(env, "SELECT delivered_seq FROM member WHERE user_id = 9"), 8);
    assert_int_equal(env_int(env, "SELECT read_seq FROM member WHERE user_id = 9"), 5);
    assert_int_equal(env_int(env, "SELECT delivered_seq FROM member WHERE user_id = 4"), 0);
}

struct receipts {
    bool is_done;
    size_t n;
    struct store_receipt_counts counts;
    struct store_receipt page[8];
};

static void counts_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct receipts *got = arg;
    assert_int_equal(err, BT_OK);
    got->n = rows->nrows;
    if (got->n)
        got->counts = store_receipt_counts_of(rows);
    got->is_done = true;
}

static void page_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct receipts *got = arg;
    assert_int_equal(err, BT_OK);
    for (got->n = 0; got->n < rows->nrows; got->n++)
        got->page[got->n] = store_receipt_of(rows, got->n, 4);
    got->is_done = true;
}

static size_t count(struct store_env *env, struct receipts *got, uint64_t seq, uint64_t user_id)
{
    *got = (struct receipts){ 0 };
    store_receipt_counts(env->store, 30, 0, seq, user_id, true, counts_done, got);
    env_wait(env, &got->is_done);
    return got->n;
}

static void receipts_count_who_was_in_and_still_is(void **state)
{
    struct store_env *env = *state;
    struct receipts got;
    seed_texts(env, 30, 0, 1, 6, 1);
    seed_member(env, 30, 0, 1, 3, 1, 0);
    seed_member(env, 30, 0, 2, 1, 2, 0);
    seed_marks(env, 30, 0, 2, 4, 4);
    seed_member(env, 30, 0, 3, 1, 3, 0);
    seed_marks(env, 30, 0, 3, 5, 2);
    seed_member(env, 30, 0, 4, 1, 5, 0);    /* came later */
    seed_member(env, 30, 0, 5, 0, 1, 5);    /* left since */
    seed_pending(env, 30, 6, 1);
    assert_int_equal(count(env, &got, 4, 2), 1);
    assert_int_equal(got.counts.sender_id, 1);
    assert_int_equal(got.counts.members, 2);
    assert_int_equal(got.counts.delivered, 2);
    assert_int_equal(got.counts.read, 1);
    assert_int_equal(count(env, &got, 7, 2), 0); /* no such message */
    assert_int_equal(count(env, &got, 4, 4), 0); /* before his time */
    assert_int_equal(count(env, &got, 4, 5), 0); /* after it */
    assert_int_equal(count(env, &got, 4, 6), 0);
    got.is_done = false;
    store_receipts(env->store, 30, 0, 4, 1, 0, 10, page_done, &got);
    env_wait(env, &got.is_done);
    assert_int_equal(got.n, 2);
    assert_int_equal(got.page[0].user_id, 2);
    assert_true(got.page[0].read);
    assert_int_equal(got.page[1].user_id, 3);
    assert_true(got.page[1].delivered);
    assert_false(got.page[1].read);
    got.is_done = false;
    store_receipts(env->store, 30, 0, 4, 1, 2, 10, page_done, &got);
    env_wait(env, &got.is_done);
    assert_int_equal(got.n, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(places_come_in_order_between_two_keys),
        TEST(what_is_empty_or_only_pending_is_no_place),
        TEST(places_are_found_by_their_keys),
        TEST(outlines_name_the_peer_or_the_group),
        TEST(only_what_others_said_and_did_not_take_back_is_unread),
        TEST(history_reads_many_stretches_in_order),
        TEST(a_text_from_an_edit_after_one_left_is_not_served_to_him),
        TEST(a_text_from_an_edit_after_one_left_meanwhile_is_not_served_to_him),
        TEST(an_edit_is_served_with_what_its_message_says_now),
        TEST(marks_only_rise),
        TEST(receipts_count_who_was_in_and_still_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
