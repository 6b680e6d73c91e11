/*
 * The chat role and those who repeat: what the window does not know is looked for in the store, many ids in one SELECT; who asks for
 * more than a device that comes back ever would waits, and slows himself only.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/status.h"
#include "store/message.h"
#include "test/unit/chat_aid.h"

enum { HEAD = 200, CAT = 3, OPEN_SENDS = 64, RATE = 64, MAX = 240 };

static int setup_slow(void **state)
{
    static const char *const settings[] = { "chat.repeats=64", "chat.repeats_waiting=64", NULL };

    return chat_aid_setup_with(state, settings);
}

static int setup_patient(void **state)
{
    static const char *const settings[] = { "chat.repeats=16", "chat.repeats_waiting=1200", NULL };

    return chat_aid_setup_with(state, settings);
}

static int setup_short_queue(void **state)
{
    static const char *const settings[] = { "chat.repeats=16", "chat.repeats_waiting=1200", "chat.queue=100", NULL };

    return chat_aid_setup_with(state, settings);
}

static uint32_t retry_after_ms; /* of the last refusal */

static void send_done(const struct rpc_reply *reply, void *arg)
{
    struct chat_answer *a = arg;
    SendReply msg = { 0 };
    Error error = { 0 };

    a->is_done = true;
    a->status = reply->status;
    if (reply->err == BT_OK && !(reply->flags & RPC_FLAG_PUSHED) && rpc_decode(SendReply_fields, reply->payload, reply->len, &msg) == BT_OK)
        a->seq = msg.seq;
    if (reply->status == RPC_STATUS_RESOURCE_EXHAUSTED && rpc_decode(Error_fields, reply->payload, reply->len, &error) == BT_OK)
        retry_after_ms = error.retry_after_ms;
}

/* By a user to Ben. */
static struct chat_answer *send_as(struct chat_aid *c, uint64_t user, uint64_t client_msg_id, uint8_t flags)
{
    const SendRequest req = { .client_msg_id = client_msg_id, .body = rpc_str("hello") };
    const struct rpc_ctx ctx = { .caller = user, .target = BEN, .session = 11, .timeout_ms = 8000, .flags = flags };
    struct chat_answer *a = &c->answers[c->ncalls++];

    assert_true(c->ncalls <= CHAT_AID_CALLS);
    a->aid = c;
    rpc_send_msg(c->rpc, RPC_CHAT_SEND, &ctx, &req, send_done, a);
    return a;
}

static struct chat_answer *repeat(struct chat_aid *c, uint64_t client_msg_id)
{
    return send_as(c, ANN, client_msg_id, RPC_FLAG_RESEND);
}

/* The digest of what send_as() sends: learnt from a first message, which has id 1 and the seq after HEAD. */
static int64_t digest_of_hello(struct chat_aid *c)
{
    const struct db_val users[] = { I(1), I(ANN), I(0), I(0), I(1), I(BEN), I(0), I(0), I(1), I(CAT), I(0), I(0) };
    struct chat_answer *a;

    fake_db_rows(c->db, PAIR, FAKE_ALWAYS, 3, 4, users);
    chat_aid_script(c, HEAD, HEAD);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    a = send_as(c, ANN, 1, 0);
    chat_aid_wait(c, a);
    assert_int_equal(a->status, RPC_STATUS_OK);
    return chat_aid_inserted(c, 0, 8);
}

/* Ann's ids 1000, 1000 + step, ... stand at seqs 1, 1 + step, ... */
static void script_ancient(struct chat_aid *c, size_t n, size_t step)
{
    static struct db_val rows[MAX * 7];
    int64_t digest = digest_of_hello(c);
    size_t nrows = 0;

    assert_true(n <= MAX);
    for (size_t i = 0; i < n; i += step) {
        const struct db_val row[] = { I(BEN), I(ANN), I(ANN), I(1000 + (int64_t)i), I(1 + (int64_t)i), I(digest), I(500) };
        memcpy(&rows[nrows++ * 7], row, sizeof row);
    }
    fake_db_rows(c->db, BY_ID, FAKE_ALWAYS, nrows, 7, rows);
}

/* ---- one SELECT for many ------------------------------------------------------------------------------------------------------------ */

static void repeats_that_wait_are_looked_for_together(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a[OPEN_SENDS];

    script_ancient(c, OPEN_SENDS, 1);
    for (size_t i = 0; i < OPEN_SENDS; i++)
        a[i] = repeat(c, 1000 + i);
    for (size_t i = 0; i < OPEN_SENDS; i++) {
        chat_aid_wait(c, a[i]);
        assert_int_equal(a[i]->status, RPC_STATUS_OK);
        assert_int_equal(a[i]->seq, 1 + i);
    }
    /* The first goes alone when it comes before the others do. */
    assert_in_range(fake_db_count(c->db, BY_ID), OPEN_SENDS / STORE_FIND_MAX, OPEN_SENDS / STORE_FIND_MAX + 1);
    assert_int_equal(fake_db_count(c->db, INSERT), 1);
}

static void those_that_do_not_stand_are_written_in_the_order_in_which_they_came(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a[OPEN_SENDS], *fresh;

    script_ancient(c, OPEN_SENDS, 2);
    for (size_t i = 0; i < OPEN_SENDS; i++)
        a[i] = repeat(c, 1000 + i);
    fresh = send_as(c, ANN, 5000, 0);
    for (size_t i = 0; i < OPEN_SENDS; i++) {
        chat_aid_wait(c, a[i]);
        assert_int_equal(a[i]->status, RPC_STATUS_OK);
        if (i % 2 == 0)
            assert_int_equal(a[i]->seq, 1 + i);
    }
    chat_aid_wait(c, fresh);
    assert_int_equal(fresh->status, RPC_STATUS_OK);
    assert_int_equal(chat_aid_inserted(c, fake_db_last(c->db, INSERT)->stmts[0].nrows - 1, 4), 5000);
    int64_t id = 0, seq = HEAD; /* all that was written, in order */
    for (size_t i = 0; i < fake_db_ncalls(c->db); i++) {
        const struct fake_stmt *s = fake_db_call(c->db, i)->stmts;
        size_t width = fake_db_call(c->db, i)->kind == FAKE_INSERT ? s->nvals / s->nrows : 0;
        for (size_t r = 0; width > 0 && r < s->nrows; r++) {
            assert_int_equal(s->vals[r * width + 2].i, ++seq);
            assert_true(s->vals[r * width + 4].i > id);
            id = s->vals[r * width + 4].i;
        }
    }
    assert_int_equal(seq, HEAD + 1 + OPEN_SENDS / 2 + 1);
}

/* What a batch throws back while a later message of the same sender is being looked for came before it. */
static void what_is_thrown_back_during_a_look_goes_before_what_was_looked_for(void **state)
{
    struct chat_aid *c = *state;
    const struct db_val others[] = { I(BEN), I(ANN), I(BEN), I(901), I(HEAD + 2), I(9), I(2000) };
    struct chat_answer *first, *second, *third;

    chat_aid_script(c, HEAD, HEAD + 2);
    fake_db_rows(c->db, BY_ID, FAKE_ALWAYS, 0, 7, others);
    fake_db_rows(c->db, BY_SEQ, FAKE_ALWAYS, 1, 7, others);
    fake_db_done(c->db, INSERT, 1, BT_OK, 0, 1);
    fake_db_done(c->db, INSERT, 1, BT_EEXIST, 0, 0);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    first = send_as(c, ANN, 99, 0);
    chat_aid_wait(c, first);
    fake_db_hold(c->db, true);
    first = send_as(c, ANN, 100, 0);
    chat_aid_wait_asked(c, INSERT, 2);
    fake_db_release(c->db, 1); /* the fence: what stands there is asked for */
    chat_aid_wait_asked(c, BY_SEQ, 1);
    second = send_as(c, ANN, 101, RPC_FLAG_RESEND);
    third = send_as(c, ANN, 102, 0);
    chat_aid_wait_asked(c, BY_ID, 2);
    fake_db_release(c->db, 2); /* the first is thrown back */
    chat_aid_turn_for(c, 20);
    fake_db_hold(c->db, false);
    chat_aid_wait(c, first);
    chat_aid_wait(c, second);
    chat_aid_wait(c, third);
    assert_true(first->status == RPC_STATUS_OK && second->status == RPC_STATUS_OK && third->status == RPC_STATUS_OK);
    int64_t id = 99;
    for (size_t i = 0, ninserts = 0; i < fake_db_ncalls(c->db); i++) {
        const struct fake_stmt *s = fake_db_call(c->db, i)->stmts;
        bool is_written = fake_db_call(c->db, i)->kind == FAKE_INSERT && ++ninserts > 2;
        for (size_t r = 0; is_written && r < s->nrows; r++) {
            const struct db_val *row = s->vals + r * (s->nvals / s->nrows);
            assert_int_equal(row[4].i, ++id);
            assert_int_equal(row[2].i, HEAD + 3 + id - 100);
        }
    }
    assert_int_equal(id, 102);
}

static void a_look_that_fails_is_taken_for_nothing_but_that(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a[3];

    chat_aid_script(c, HEAD, HEAD);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    fake_db_fail(c->db, BY_ID, FAKE_ALWAYS, BT_EBUSY);
    for (size_t i = 0; i < 3; i++)
        a[i] = repeat(c, 1000 + i);
    for (size_t i = 0; i < 3; i++) {
        chat_aid_wait(c, a[i]);
        assert_int_equal(a[i]->status, RPC_STATUS_UNKNOWN); /* the earlier try that the flag speaks of may stand */
    }
    assert_int_equal(fake_db_count(c->db, INSERT), 0);
}

static void what_the_window_knows_is_not_looked_for(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a;

    digest_of_hello(c);
    for (size_t i = 0; i < 3 * RATE; i++) {
        a = repeat(c, 1);
        chat_aid_wait(c, a);
        assert_int_equal(a->status, RPC_STATUS_OK);
        assert_int_equal(a->seq, HEAD + 1);
    }
    assert_int_equal(fake_db_count(c->db, BY_ID), 0);
}

/* ---- the limit -------------------------------------------------------------------------------------------------------------------------- */

static void beyond_the_limit_repeats_wait_and_then_are_refused(void **state)
{
    enum { N = RATE + 64 + 32 };
    struct chat_aid *c = *state;
    struct chat_answer *a[N];
    size_t nrefused = 0;
    uint64_t began_ms;

    script_ancient(c, N, 1);
    began_ms = net_now_ms(c->loop);
    for (size_t i = 0; i < N; i++)
        a[i] = repeat(c, 1000 + i);
    for (size_t i = 0; i < N; i++) {
        chat_aid_wait(c, a[i]);
        assert_int_equal(a[i]->status, i < RATE + 64 ? RPC_STATUS_OK : RPC_STATUS_UNKNOWN); /* refused, but its first try may stand */
        nrefused += a[i]->status != RPC_STATUS_OK;
        if (i < RATE + 64)
            assert_int_equal(a[i]->seq, 1 + i);
    }
    assert_int_equal(nrefused, 32);
    assert_in_range(net_now_ms(c->loop) - began_ms, 900, 4000); /* 64 waited, at 64 a second */
    assert_in_range(fake_db_count(c->db, BY_ID), N / 16 - 2, 16);
}

static void others_do_not_wait_for_him_who_repeats(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *last = NULL, *other;

    script_ancient(c, 2 * RATE, 1);
    for (size_t i = 0; i < 2 * RATE; i++)
        last = repeat(c, 1000 + i);
    other = send_as(c, CAT, 7000, 0);
    chat_aid_wait(c, other);
    assert_int_equal(other->status, RPC_STATUS_OK);
    assert_false(last->is_done);
    other = send_as(c, CAT, 1000, RPC_FLAG_RESEND); /* a look-up of another's is not his */
    chat_aid_wait(c, other);
    assert_int_equal(other->status, RPC_STATUS_OK);
    assert_false(last->is_done);
    chat_aid_wait(c, last);
    assert_int_equal(last->status, RPC_STATUS_OK);
}

/* Nor are they refused: what waits for its sender's sake is no load. */
static void many_repeats_that_wait_are_not_taken_for_load(void **state)
{
    enum { N = 1100 };
    struct chat_aid *c = *state;
    struct chat_answer *last = NULL, *other;

    script_ancient(c, MAX, 1);
    for (size_t i = 0; i < N; i++)
        last = repeat(c, 1000 + i % MAX);
    chat_aid_turn_for(c, 450); /* some come up meanwhile, and it is seen how many do */
    other = send_as(c, CAT, 7000, 0);
    chat_aid_wait(c, other);
    assert_int_equal(other->status, RPC_STATUS_OK);
    assert_false(last->is_done);
}

static void repeats_that_wait_leave_half_of_the_queue_to_others(void **state)
{
    enum { N = 200 };
    struct chat_aid *c = *state;
    struct chat_answer *other;

    script_ancient(c, N, 1);
    for (size_t i = 0; i < N; i++)
        repeat(c, 1000 + i);
    other = send_as(c, CAT, 7000, 0);
    chat_aid_wait(c, other);
    assert_int_equal(other->status, RPC_STATUS_OK);
}

static void his_other_messages_stay_behind_the_repeats_that_wait(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *last = NULL, *fresh;

    script_ancient(c, RATE, 1);
    for (size_t i = 0; i < RATE; i++)
        repeat(c, 1000 + i);
    last = repeat(c, 4000); /* does not stand */
    fresh = send_as(c, ANN, 5000, 0);
    chat_aid_wait(c, fresh);
    assert_true(last->is_done);
    assert_int_equal(last->status, RPC_STATUS_OK);
    assert_int_equal(fresh->status, RPC_STATUS_OK);
    assert_int_equal(chat_aid_inserted(c, fake_db_last(c->db, INSERT)->stmts[0].nrows - 1, 4), 5000);
    assert_int_equal(chat_aid_inserted(c, fake_db_last(c->db, INSERT)->stmts[0].nrows - 1, 2), HEAD + 3);
}

static void repeats_without_the_flag_count_too_once_they_met_the_fence(void **state)
{
    struct chat_aid *c = *state;
    const struct db_val one[] = { I(BEN), I(ANN), I(ANN), I(1000), I(1), I(0), I(500) };
    struct chat_answer *a, *last = NULL;
    size_t inserts;

    chat_aid_script(c, HEAD, HEAD);
    fake_db_rows(c->db, BY_SEQ, FAKE_ALWAYS, 0, 7, NULL);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_EEXIST, 0, 0);
    fake_db_rows(c->db, BY_ID, FAKE_ALWAYS, 1, 7, one);
    a = send_as(c, ANN, 1000, 0);
    chat_aid_wait(c, a);
    assert_int_equal(a->seq, 1);
    inserts = fake_db_count(c->db, INSERT);
    for (size_t i = 0; i < RATE + 64; i++)
        last = send_as(c, ANN, 1000, 0);
    a = send_as(c, ANN, 1000, 0);
    chat_aid_wait(c, a);
    assert_int_equal(a->status, RPC_STATUS_RESOURCE_EXHAUSTED);
    assert_in_range(retry_after_ms, 500, 1500); /* when the 64 before it have gone */
    assert_false(last->is_done);
    chat_aid_wait(c, last);
    assert_int_equal(last->status, RPC_STATUS_OK);
    assert_int_equal(fake_db_count(c->db, INSERT), inserts); /* none of them cost a batch */
}

static void a_stop_answers_the_repeats_that_wait(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a[2 * RATE];

    script_ancient(c, 2 * RATE, 1);
    for (size_t i = 0; i < 2 * RATE; i++)
        a[i] = repeat(c, 1000 + i);
    chat_aid_turn_for(c, 20);
    assert_false(a[2 * RATE - 1]->is_done);
    assert_true(chat_aid_stop(c, 500)); /* sooner than they would have come up */
    for (size_t i = 0; i < 2 * RATE; i++)
        chat_aid_wait(c, a[i]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, chat_aid_setup, chat_aid_teardown)
#define TEST_SLOW(name) cmocka_unit_test_setup_teardown(name, setup_slow, chat_aid_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(repeats_that_wait_are_looked_for_together),
        TEST(those_that_do_not_stand_are_written_in_the_order_in_which_they_came),
        TEST(what_is_thrown_back_during_a_look_goes_before_what_was_looked_for),
        TEST(a_look_that_fails_is_taken_for_nothing_but_that),
        TEST_SLOW(what_the_window_knows_is_not_looked_for),
        TEST_SLOW(beyond_the_limit_repeats_wait_and_then_are_refused),
        TEST_SLOW(others_do_not_wait_for_him_who_repeats),
        cmocka_unit_test_setup_teardown(many_repeats_that_wait_are_not_taken_for_load, setup_patient, chat_aid_teardown),
        cmocka_unit_test_setup_teardown(repeats_that_wait_leave_half_of_the_queue_to_others, setup_short_queue, chat_aid_teardown),
        TEST_SLOW(his_other_messages_stay_behind_the_repeats_that_wait),
        TEST_SLOW(repeats_without_the_flag_count_too_once_they_met_the_fence),
        TEST_SLOW(a_stop_answers_the_repeats_that_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
