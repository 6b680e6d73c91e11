/*
 * The chat role when several things go wrong at once: writes that are not heard of, no memory, presence or store away, callers
 * that leave, an owner that took over. Nobody misses a push, waits for ever, or is told what is not so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "net/mem.h"
#include "proto/node.pb.h"
#include "rpc/status.h"
#include "test/unit/chat_aid.h"
#include "test/unit/slow_presence.h"

#define ADD_MEMBERS "INSERT INTO member"
#define EMPTY_BODY "UPDATE message SET body"
#define AT_SEQ "SELECT hi, lo, seq, sender_id"

/* ---- small things ------------------------------------------------------------------------------------------------------------------ */

static void script_no_such_ids(struct chat_aid *c, int64_t head)
{
    const struct db_val others[] = { I(BEN), I(ANN), I(BEN), I(901), I(head), I(9), I(2000) };

    fake_db_rows(c->db, BY_ID, FAKE_ALWAYS, 0, 7, others);
    fake_db_rows(c->db, BY_SEQ, FAKE_ALWAYS, 1, 7, others);
}

/* Ann's text at seq, as a recall looks at it. */
static void script_text_at(struct chat_aid *c, uint64_t seq)
{
    const struct db_val at[] = { I(BEN), I(ANN), I((int64_t)seq), I(ANN), I(100), I(2000), I(1), I(0), I(77) };

    fake_db_rows(c->db, AT_SEQ, FAKE_ALWAYS, 1, 9, at);
    fake_db_done(c->db, EMPTY_BODY, FAKE_ALWAYS, BT_OK, 0, 1);
}

static struct chat_answer *recall(struct chat_aid *c, uint64_t client_msg_id, uint64_t seq, uint32_t timeout_ms)
{
    const RecallRequest req = { .client_msg_id = client_msg_id, .refers_to_seq = seq };

    return chat_aid_ask(c, RPC_CHAT_RECALL, BEN, &req, timeout_ms, NULL);
}

static struct chat_answer *send_bytes(struct chat_aid *c, uint64_t client_msg_id, size_t len)
{
    static uint8_t body[65536];
    const SendRequest req = { .client_msg_id = client_msg_id, .body = rpc_bytes(body, len) };

    assert_true(len <= sizeof body);
    return chat_aid_ask(c, RPC_CHAT_SEND, BEN, &req, 9000, NULL);
}

static void wait_ok(struct chat_aid *c, const struct chat_answer *a)
{
    chat_aid_wait(c, a);
    assert_int_equal(a->status, RPC_STATUS_OK);
}

/* ---- writes that are not heard of --------------------------------------------------------------------------------------------------- */

static void a_first_message_that_an_unheard_try_wrote_is_pushed_when_it_is_found(void **state)
{
    struct chat_aid *c = *state;
    const struct db_val pair[] = { I(1), I(ANN), I(0), I(0), I(1), I(BEN), I(0), I(0) };
    const struct db_val members[] = { I(ANN), I(1), I(0), I(0), I(1), I(0), I(BEN), I(1), I(0), I(0), I(1), I(0) };
    struct chat_answer *a;

    fake_db_rows(c->db, TAIL, 1, 0, 7, NULL);
    fake_db_rows(c->db, MEMBERS, 1, 0, 6, NULL);
    fake_db_rows(c->db, PAIR, FAKE_ALWAYS, 2, 4, pair);
    fake_db_done(c->db, ADD_MEMBERS, 1, BT_EUNSURE, 0, 0);
    fake_db_done(c->db, ADD_MEMBERS, 1, BT_EEXIST, 0, 0);
    a = chat_aid_send(c, 100, 5000);
    chat_aid_wait_asked(c, ADD_MEMBERS, 1);
    int64_t digest = fake_db_last(c->db, ADD_MEMBERS)->stmts[2].vals[8].i;
    const struct db_val found[] = { I(BEN), I(ANN), I(ANN), I(100), I(1), I(digest), I(2000) };
    fake_db_rows(c->db, TAIL, FAKE_ALWAYS, 1, 7, found);
    fake_db_rows(c->db, MEMBERS, FAKE_ALWAYS, 2, 6, members);
    fake_db_rows(c->db, BY_ID, FAKE_ALWAYS, 1, 7, found);
    wait_ok(c, a);
    assert_int_equal(a->seq, 1);
    chat_aid_wait_count(c, &c->npushed, 1);
    assert_int_equal(c->pushed[0], 1);
}

static void no_memory_at_the_fence_after_an_unheard_try_is_no_refusal(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a;
    size_t before;

    chat_aid_script(c, 4, 6);
    fake_db_done(c->db, INSERT, 1, BT_OK, 0, 1);
    fake_db_done(c->db, INSERT, 1, BT_EUNSURE, 0, 0);
    fake_db_done(c->db, INSERT, 1, BT_EEXIST, 0, 0);
    wait_ok(c, chat_aid_send(c, 99, 500));
    chat_aid_wait_count(c, &c->npushed, 1);
    before = c->npushed;
    a = chat_aid_send(c, 100, 5000);
    chat_aid_wait_asked(c, INSERT, 2);
    fake_db_hold(c->db, true);
    chat_aid_wait_asked(c, INSERT, 3);
    const struct db_val found[] = { I(BEN), I(ANN), I(ANN), I(100), I(6), I(chat_aid_inserted(c, 0, 8)), I(2000) };
    fake_db_rows(c->db, BY_ID, FAKE_ALWAYS, 1, 7, found);
    fake_db_rows(c->db, BY_SEQ, FAKE_ALWAYS, 1, 7, found);
    fake_db_hold(c->db, false);
    bt_mem_fail_after(0);
    for (int i = 0; i < 3; i++)
        net_loop_turn(c->loop, 5);
    bt_mem_fail_after(-1);
    assert_false(a->is_done);
    wait_ok(c, a);
    assert_int_equal(a->seq, 6);
    chat_aid_wait_count(c, &c->npushed, before + 1);
    assert_int_equal(c->pushed[before], 6);
}

static void a_repeat_is_not_cancelled_with_the_call_that_it_joined(void **state)
{
    struct chat_aid *c = *state;
    const SendRequest req = { .client_msg_id = 100, .body = rpc_str("hello") };
    struct rpc_pending *pending;
    struct chat_answer *gone, *b;

    chat_aid_script(c, 4, 6);
    fake_db_done(c->db, INSERT, 1, BT_OK, 0, 1);
    fake_db_done(c->db, INSERT, 1, BT_EEXIST, 0, 0);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    script_no_such_ids(c, 6);
    wait_ok(c, chat_aid_send(c, 99, 500));
    fake_db_hold(c->db, true);
    gone = chat_aid_ask(c, RPC_CHAT_SEND, BEN, &req, 5000, &pending);
    chat_aid_wait_asked(c, INSERT, 2);
    rpc_cancel(pending); /* the first connection broke */
    b = chat_aid_ask(c, RPC_CHAT_SEND, BEN, &req, 5000, NULL);
    chat_aid_turn_for(c, 20);
    assert_false(b->is_done);
    fake_db_hold(c->db, false);
    wait_ok(c, b);
    assert_int_equal(b->seq, 7);
    assert_int_equal(fake_db_count(c->db, INSERT), 3);
    assert_false(gone->is_done);
}

/* ---- batches ------------------------------------------------------------------------------------------------------------------------- */

static int setup_small_batches(void **state)
{
    static const char *const settings[] = { "chat.batch_bytes=65536", NULL };

    return chat_aid_setup_with(state, settings);
}

static void batch_bytes_hold_within_one_conversation(void **state)
{
    enum { N = 12, BODY = 30000, ROWS_MAX = 65536 / BODY + 1 }; /* the last one may go over */
    struct chat_aid *c = *state;
    struct chat_answer *a[N];
    size_t ninserts = 0;

    chat_aid_script(c, 4, 4);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    fake_db_hold(c->db, true);
    for (size_t i = 0; i < N; i++)
        a[i] = send_bytes(c, 1000 + i, BODY);
    chat_aid_turn_for(c, 50);
    fake_db_hold(c->db, false);
    for (size_t i = 0; i < N; i++) {
        wait_ok(c, a[i]);
        assert_int_equal(a[i]->seq, 5 + i);
    }
    for (size_t i = 0; i < fake_db_ncalls(c->db); i++) {
        const struct fake_call *call = fake_db_call(c->db, i);
        if (call->kind == FAKE_INSERT)
            assert_in_range(call->stmts[0].nrows, 1, ROWS_MAX);
        ninserts += call->kind == FAKE_INSERT;
    }
    assert_in_range(ninserts, N / ROWS_MAX, N - 1); /* and they do go together */
}

static void no_memory_for_a_batch_leaves_nobody_waiting(void **state)
{
    enum { TRIES = 40, TIMEOUT_MS = 1500 };
    struct chat_aid *c = *state;
    size_t nrefused = 0;

    chat_aid_script(c, 4, 4);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    script_text_at(c, 4);
    script_no_such_ids(c, 4);
    wait_ok(c, chat_aid_send(c, 99, TIMEOUT_MS));
    for (long n = 0; n < TRIES; n++) {
        struct chat_answer *a = chat_aid_send(c, 1000 + (uint64_t)n, TIMEOUT_MS), *r = recall(c, 5000 + (uint64_t)n, 4, TIMEOUT_MS);
        bt_mem_fail_after(n);
        for (int i = 0; i < 6; i++)
            net_loop_turn(c->loop, 0);
        bt_mem_fail_after(-1);
        chat_aid_wait(c, a);
        chat_aid_wait(c, r); /* waits behind the send, and is to go on without it */
        assert_true(r->status != RPC_STATUS_DEADLINE_EXCEEDED && r->status != RPC_STATUS_UNKNOWN);
        nrefused += a->status == RPC_STATUS_RESOURCE_EXHAUSTED;
    }
    assert_true(nrefused > 0);
    assert_true(chat_aid_stop(c, 2000));
}

static void a_stop_does_not_wait_for_a_store_that_is_away(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a;

    chat_aid_script(c, 4, 4);
    fake_db_done(c->db, INSERT, 1, BT_OK, 0, 1);
    fake_db_done(c->db, INSERT, 1, BT_EUNSURE, 0, 0);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_EDOWN, 0, 0);
    wait_ok(c, chat_aid_send(c, 99, 500));
    fake_db_hold(c->db, true);
    a = chat_aid_send(c, 100, 9000);
    chat_aid_wait_asked(c, INSERT, 2);
    fake_db_release(c->db, 1); /* once the stop has begun */
    assert_true(chat_aid_stop(c, 1500));
    chat_aid_wait(c, a);
    assert_int_equal(a->status, RPC_STATUS_UNKNOWN);
    fake_db_hold(c->db, false);
}

/* ---- pushes ---------------------------------------------------------------------------------------------------------------------------- */

static void a_recall_is_answered_after_the_text_that_waited_was_pushed(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a, *r;
    size_t before;

    chat_aid_script(c, 4, 4);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    wait_ok(c, chat_aid_send(c, 99, 5000));
    chat_aid_wait_count(c, &c->npushed, 1);
    before = c->npushed;
    slow_presence_hold(c->presence);
    a = chat_aid_send(c, 100, 5000);
    wait_ok(c, a);
    slow_presence_wait(c->loop);
    script_text_at(c, a->seq);
    r = recall(c, 101, a->seq, 5000);
    chat_aid_wait_asked(c, EMPTY_BODY, 1);
    chat_aid_turn_for(c, 30);
    assert_false(r->is_done);
    assert_int_equal(c->npushed, before);
    slow_presence_release(c->presence);
    wait_ok(c, r);
    assert_true(r->npushed > before); /* the text was there before the answer */
    assert_int_equal(c->pushed[before], a->seq);
    chat_aid_wait_count(c, &c->npushed, before + 2);
    assert_int_equal(c->pushed[before + 1], r->seq);
}

static void without_presence_every_live_proxy_is_asked(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a;

    chat_aid_script(c, 4, 4);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    slow_presence_hold(c->presence);
    a = chat_aid_send(c, 100, 5000);
    wait_ok(c, a);
    slow_presence_wait(c->loop);
    assert_int_equal(c->npushed, 0);
    slow_presence_fail(c->presence, BT_EDOWN);
    chat_aid_wait_count(c, &c->npushed, 1);
    assert_int_equal(c->pushed[0], a->seq);
}

static int setup_small_queues(void **state)
{
    static const char *const settings[] = { "rpc.queue_bytes=65536", NULL };

    return chat_aid_setup_with(state, settings);
}

static void pushes_that_a_full_queue_refuses_are_told_as_lost(void **state)
{
    enum { N = 8, BODY = 30000 };
    struct chat_aid *c = *state;

    chat_aid_script(c, 4, 4);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    slow_presence_hold(c->presence);
    for (size_t i = 0; i < N; i++)
        wait_ok(c, send_bytes(c, 100 + i, BODY));
    slow_presence_wait(c->loop);
    slow_presence_release(c->presence); /* now all go at once */
    chat_aid_wait_count(c, &c->nlost, 1);
    assert_in_range(c->npushed, 1, N - 1);
}

/* A new node that had a push to send while one allocation failed: the one after the next n. */
static struct chat_aid *push_without_memory(long n)
{
    void *made;
    assert_int_equal(chat_aid_setup(&made), 0);
    struct chat_aid *c = made;
    chat_aid_script(c, 4, 4);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    slow_presence_hold(c->presence);
    wait_ok(c, chat_aid_send(c, 100, 5000));
    slow_presence_wait(c->loop);
    slow_presence_release(c->presence);
    bt_mem_fail_after(n);
    for (int i = 0; i < 4; i++)
        net_loop_turn(c->loop, 0);
    bt_mem_fail_after(-1);
    return c;
}

/* Each try is a node of its own, so that all of them wait for the same second. */
static void pushes_that_no_memory_is_left_for_are_told_as_lost(void **state)
{
    enum { N = 12 };
    struct chat_aid *nodes[N];
    size_t nlosses = 0;

    (void)state;
    for (long n = 0; n < N; n++)
        nodes[n] = push_without_memory(n);
    for (size_t n = 0; n < N; n++) {
        struct chat_aid *c = nodes[n];
        chat_aid_turn_for(c, 10);
        if (c->npushed == 0) {
            chat_aid_wait_count(c, &c->nlost, 1);
            nlosses++;
        }
        void *made = c;
        chat_aid_teardown(&made);
    }
    assert_in_range(nlosses, 2, N - 1);
}

static void a_push_that_no_memory_is_left_for_takes_no_later_ones_with_it(void **state)
{
    (void)state;
    for (long n = 0; n < 12; n++) {
        struct chat_aid *c = push_without_memory(n);
        void *made = c;
        chat_aid_turn_for(c, 10);
        size_t before = c->npushed;
        wait_ok(c, chat_aid_send(c, 101, 5000));
        chat_aid_wait_count(c, &c->npushed, before + 1);
        chat_aid_teardown(&made);
    }
}

static int setup_short_frames(void **state)
{
    static const char *const set[] = { "rpc.max_frame_bytes=65536", NULL };

    return chat_aid_setup_with(state, set);
}

static void an_answer_stays_one_where_its_push_has_no_room_beside_it(void **state)
{
    enum { LEN = 65470 }; /* its request fits into a frame, its push does not */
    struct chat_aid *c = *state;

    chat_aid_script(c, 4, 4);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    wait_ok(c, chat_aid_send(c, 100, 5000));
    chat_aid_wait_count(c, &c->npushed, 1);
    wait_ok(c, send_bytes(c, 101, LEN));
    chat_aid_wait_count(c, &c->nlost, 1);
    wait_ok(c, send_bytes(c, 102, LEN / 2));
    chat_aid_wait_count(c, &c->npushed, 2);
    assert_int_equal(c->pushed[1], 7);
}

/* ---- groups ------------------------------------------------------------------------------------------------------------------------------- */

static void signals_of_one_whom_another_owner_removed_are_refused(void **state)
{
    enum { GROUP = 50 };
    struct chat_aid *c = *state;
    const struct db_val both[] = { I(ANN), I(1), I(0), I(0), I(1), I(0), I(BEN), I(3), I(0), I(0), I(1), I(0) };
    const struct db_val ben[] = { I(BEN), I(3), I(0), I(0), I(1), I(0) };
    const struct db_val tail[] = { I(GROUP), I(0), I(BEN), I(900), I(4), I(7), I(1000) };
    const struct db_val later[] = { I(GROUP), I(0), I(BEN), I(901), I(5), I(7), I(1000) };
    const struct db_val group[] = { I(0), I(0), { .type = DB_BYTES, .len = 1, .p = "g" }, { .type = DB_BYTES, .len = 1, .p = "g" } };
    const SignalRequest req = { .type = rpc_str("typing"), .body = rpc_str("secret") };
    struct chat_answer *a;

    fake_db_rows(c->db, TAIL, 1, 1, 7, tail);
    fake_db_rows(c->db, TAIL, FAKE_ALWAYS, 1, 7, later);
    fake_db_rows(c->db, MEMBERS, 1, 2, 6, both);
    fake_db_rows(c->db, MEMBERS, FAKE_ALWAYS, 1, 6, ben);
    fake_db_rows(c->db, "SELECT join_mode", FAKE_ALWAYS, 1, 4, group);
    wait_ok(c, chat_aid_ask(c, RPC_CHAT_SIGNAL, GROUP | RPC_TARGET_GROUP, &req, 1500, NULL));
    chat_aid_wait_count(c, &c->npushed, 1);
    chat_aid_turn_for(c, 1050); /* what was read just now is trusted for a second */
    a = chat_aid_ask(c, RPC_CHAT_SIGNAL, GROUP | RPC_TARGET_GROUP, &req, 1500, NULL);
    chat_aid_wait(c, a);
    assert_int_equal(a->status, RPC_STATUS_PERMISSION_DENIED);
    chat_aid_turn_for(c, 20);
    assert_int_equal(c->npushed, 1);
}

/*
 * A message of the group waits for a place in a batch; a signal after it has the group read anew, which takes the message back, and
 * its caller has left. The batch that goes out while a change of the group is under way has nothing to do with the group.
 */
static void what_was_taken_back_from_the_next_batch_is_not_in_it(void **state)
{
    enum { GROUP = 50 };
    struct chat_aid *c = *state;
    const struct db_val pair[] = { I(BEN), I(ANN), I(BEN), I(900), I(4), I(7), I(1000) };
    const struct db_val tail[] = { I(GROUP), I(0), I(BEN), I(900), I(4), I(7), I(1000) };
    const struct db_val later[] = { I(GROUP), I(0), I(BEN), I(901), I(5), I(7), I(1000) };
    const struct db_val members[] = { I(ANN), I(3), I(0), I(0), I(1), I(0), I(BEN), I(1), I(0), I(0), I(1), I(0) };
    const struct db_val users[] = { I(1), I(ANN), I(0), I(0), I(1), I(BEN), I(0), I(0) };
    const struct db_val group[] = { I(0), I(0), { .type = DB_BYTES, .len = 1, .p = "g" }, { .type = DB_BYTES, .len = 1, .p = "g" } };
    const SignalRequest signal = { .type = rpc_str("typing") };
    const SendRequest text = { .client_msg_id = 200, .body = rpc_str("nobody waits for this") };
    const ApplyRequest update = { .has_change = true, .change = { .change = MembershipChange_UPDATED, .name = rpc_str("new") }, .keep_about = true, .keep_join_mode = true };
    struct chat_answer *first, *second, *typing, *change;
    struct rpc_pending *left;

    fake_db_rows(c->db, TAIL, 1, 1, 7, pair);
    fake_db_rows(c->db, TAIL, 1, 1, 7, tail);
    fake_db_rows(c->db, TAIL, FAKE_ALWAYS, 1, 7, later);
    fake_db_rows(c->db, MEMBERS, FAKE_ALWAYS, 2, 6, members);
    fake_db_rows(c->db, PAIR, FAKE_ALWAYS, 2, 4, users);
    fake_db_rows(c->db, "SELECT join_mode", FAKE_ALWAYS, 1, 4, group);
    fake_db_done(c->db, INSERT, 1, BT_OK, 0, 1);
    fake_db_done(c->db, INSERT, 4, BT_EUNSURE, 0, 0); /* tried again after 50, 100, 200 and 400 ms */
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    fake_db_done(c->db, "UPDATE chat_group", 1, BT_OK, 0, 1);
    wait_ok(c, chat_aid_send(c, 99, 5000));
    wait_ok(c, chat_aid_ask(c, RPC_CHAT_SIGNAL, GROUP | RPC_TARGET_GROUP, &signal, 5000, NULL));
    chat_aid_turn_for(c, 1050); /* what was read just now is trusted for a second */
    first = chat_aid_send(c, 100, 20000);
    chat_aid_wait_asked(c, INSERT, 5); /* for 400 ms nothing goes out now */
    second = chat_aid_send(c, 101, 20000);
    chat_aid_ask(c, RPC_CHAT_SEND, GROUP | RPC_TARGET_GROUP, &text, 20000, &left);
    typing = chat_aid_ask(c, RPC_CHAT_SIGNAL, GROUP | RPC_TARGET_GROUP, &signal, 20000, NULL);
    rpc_cancel(left);
    wait_ok(c, typing);
    fake_db_hold(c->db, true);
    change = chat_aid_ask(c, RPC_CHAT_APPLY, GROUP | RPC_TARGET_GROUP, &update, 20000, NULL);
    chat_aid_wait_asked(c, "SELECT join_mode", 3);
    chat_aid_wait_asked(c, INSERT, 6);
    fake_db_release(c->db, 1); /* the group; its member is asked for */
    chat_aid_wait_asked(c, "SELECT user_id", 4);
    fake_db_release(c->db, 1); /* the first text; the second goes out */
    wait_ok(c, first);
    chat_aid_wait_asked(c, INSERT, 7);
    fake_db_release(c->db, 1); /* the member; the change goes out */
    chat_aid_wait_asked(c, "UPDATE chat_group", 1);
    fake_db_hold(c->db, false);
    wait_ok(c, change);
    wait_ok(c, second);
    assert_int_equal(change->seq, 6);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, chat_aid_setup, chat_aid_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_first_message_that_an_unheard_try_wrote_is_pushed_when_it_is_found),
        TEST(no_memory_at_the_fence_after_an_unheard_try_is_no_refusal),
        TEST(a_repeat_is_not_cancelled_with_the_call_that_it_joined),
        cmocka_unit_test_setup_teardown(batch_bytes_hold_within_one_conversation, setup_small_batches, chat_aid_teardown),
        TEST(no_memory_for_a_batch_leaves_nobody_waiting),
        TEST(a_stop_does_not_wait_for_a_store_that_is_away),
        TEST(a_recall_is_answered_after_the_text_that_waited_was_pushed),
        TEST(without_presence_every_live_proxy_is_asked),
        cmocka_unit_test_setup_teardown(pushes_that_a_full_queue_refuses_are_told_as_lost, setup_small_queues, chat_aid_teardown),
        cmocka_unit_test(pushes_that_no_memory_is_left_for_are_told_as_lost),
        cmocka_unit_test(a_push_that_no_memory_is_left_for_takes_no_later_ones_with_it),
        cmocka_unit_test_setup_teardown(an_answer_stays_one_where_its_push_has_no_room_beside_it, setup_short_frames, chat_aid_teardown),
        TEST(signals_of_one_whom_another_owner_removed_are_refused),
        TEST(what_was_taken_back_from_the_next_batch_is_not_in_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
