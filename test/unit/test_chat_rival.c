/*
 * The chat role while another node writes the same conversation: every try meets rows of the other, until one does not. Nobody is
 * refused as long as he waits, neither node hammers the database, and whoever has won leaves the other room.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "rpc/rpc_internal.h"
#include "rpc/status.h"
#include "test/unit/chat_aid.h"

#define EMPTY_BODY "UPDATE message SET body"
#define AT_SEQ "SELECT hi, lo, seq, sender_id"

enum { HEAD = 4, GROUP = 50, CAT = 3 };

/* From now on the other node takes the next seq before each of our next n tries, the first of which is head + 1. */
static void script_losses(struct chat_aid *c, const char *write, int64_t head, int n)
{
    for (int i = 0; i < n; i++) {
        const struct db_val others[] = { I(BEN), I(ANN), I(BEN), I(1000 + i), I(head + 1 + i), I(9), I(2000) };
        fake_db_rows(c->db, BY_SEQ, 1, 1, 7, others);
        fake_db_rows(c->db, TAIL, 1, 1, 7, others);
    }
    fake_db_done(c->db, write, n, BT_EEXIST, 0, 0);
    fake_db_rows(c->db, BY_ID, FAKE_ALWAYS, 0, 7, NULL);
}

/* Ann and Ben's conversation, open here and at HEAD. */
static void script_open(struct chat_aid *c)
{
    const struct db_val tail[] = { I(BEN), I(ANN), I(BEN), I(900), I(HEAD), I(7), I(1000) };
    const struct db_val members[] = { I(ANN), I(1), I(0), I(0), I(1), I(0), I(BEN), I(1), I(0), I(0), I(1), I(0) };
    const struct db_val pair[] = { I(1), I(ANN), I(0), I(0), I(1), I(BEN), I(0), I(0), I(1), I(CAT), I(0), I(0) };

    fake_db_rows(c->db, TAIL, 1, 1, 7, tail);
    fake_db_rows(c->db, MEMBERS, FAKE_ALWAYS, 2, 6, members);
    fake_db_rows(c->db, PAIR, FAKE_ALWAYS, 3, 4, pair);
}

static void script_tail(struct chat_aid *c, int64_t head)
{
    const struct db_val tail[] = { I(BEN), I(ANN), I(BEN), I(901), I(head), I(9), I(2000) };

    fake_db_rows(c->db, TAIL, FAKE_ALWAYS, 1, 7, tail);
}

static void wait_ok(struct chat_aid *c, const struct chat_answer *a)
{
    chat_aid_wait(c, a);
    assert_int_equal(a->status, RPC_STATUS_OK);
}

/* ---- losing ------------------------------------------------------------------------------------------------------------------------ */

static void a_message_is_tried_as_long_as_its_sender_waits(void **state)
{
    enum { LOSSES = 60 }; /* more than the eight tries that it once had, and whoever calls asks five times */
    struct chat_aid *c = *state;
    struct chat_answer *a;

    script_open(c);
    script_losses(c, INSERT, HEAD, LOSSES);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    a = chat_aid_send(c, 100, 5000);
    wait_ok(c, a);
    assert_int_equal(a->seq, HEAD + LOSSES + 1);
    assert_int_equal(fake_db_count(c->db, INSERT), LOSSES + 1);
}

static void a_recall_is_tried_as_long_as_its_sender_waits(void **state)
{
    enum { LOSSES = 60 }; /* more than the eight tries that it once had, and whoever calls asks five times */
    const RecallRequest req = { .client_msg_id = 101, .refers_to_seq = 3 };
    const struct db_val at[] = { I(BEN), I(ANN), I(3), I(ANN), I(50), I(2000), I(1), I(0), I(77) };
    struct chat_aid *c = *state;
    struct chat_answer *a;

    script_open(c);
    script_losses(c, EMPTY_BODY, HEAD, LOSSES);
    fake_db_done(c->db, EMPTY_BODY, FAKE_ALWAYS, BT_OK, 0, 1);
    fake_db_rows(c->db, AT_SEQ, FAKE_ALWAYS, 1, 9, at);
    a = chat_aid_ask(c, RPC_CHAT_RECALL, BEN, &req, 5000, NULL);
    wait_ok(c, a);
    assert_int_equal(a->seq, HEAD + LOSSES + 1);
}

static void who_never_wins_is_told_in_time_that_nothing_was_written(void **state)
{
    enum { TIMEOUT_MS = 500, EARLY_MS = 300 };
    struct chat_aid *c = *state;
    uint64_t began_ms = net_now_ms(c->loop);
    struct chat_answer *a;

    script_open(c);
    script_losses(c, INSERT, HEAD, 1000);
    a = chat_aid_send(c, 100, TIMEOUT_MS);
    chat_aid_wait(c, a);
    assert_true(rpc_status_is_not_done(a->status)); /* ABORTED, or what became of it on the way */
    assert_in_range(net_now_ms(c->loop) - began_ms, EARLY_MS, 2 * TIMEOUT_MS);
    /* Tried again and again, but with pauses: each is 12 ms at most, and the first follows at once. */
    assert_in_range(fake_db_count(c->db, INSERT), 8, 200);
}

static void who_gives_up_waiting_is_not_tried_for_any_more(void **state)
{
    const SendRequest req = { .client_msg_id = 100, .body = rpc_str("hello") };
    struct chat_aid *c = *state;
    struct rpc_pending *pending;
    size_t tries;

    script_open(c);
    script_losses(c, INSERT, HEAD, 1000);
    chat_aid_ask(c, RPC_CHAT_SEND, BEN, &req, 60000, &pending);
    chat_aid_wait_asked(c, INSERT, 4);
    rpc_cancel(pending);
    chat_aid_turn_for(c, 30);
    tries = fake_db_count(c->db, INSERT);
    chat_aid_turn_for(c, 150);
    assert_int_equal(fake_db_count(c->db, INSERT), tries);
}

static void what_waits_while_the_other_writes_goes_in_one_write_and_in_order(void **state)
{
    enum { N = 20, LOSSES = 6 };
    struct chat_aid *c = *state;
    struct chat_answer *a[N];

    script_open(c);
    script_losses(c, INSERT, HEAD, LOSSES);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, N);
    for (size_t i = 0; i < N; i++)
        a[i] = chat_aid_send(c, 100 + i, 5000);
    for (size_t i = 0; i < N; i++) {
        wait_ok(c, a[i]);
        assert_int_equal(a[i]->seq, HEAD + LOSSES + 1 + i);
    }
    assert_int_equal(fake_db_last(c->db, INSERT)->stmts[0].nrows, N);
}

/* ---- winning ------------------------------------------------------------------------------------------------------------------------ */

static void who_has_won_leaves_the_other_room_and_looks_what_he_wrote(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a, *b;

    script_open(c);
    script_losses(c, INSERT, HEAD, 1);
    script_tail(c, 9); /* the other has used the room */
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    wait_ok(c, a = chat_aid_send(c, 100, 5000));
    assert_int_equal(a->seq, HEAD + 2);
    assert_int_equal(fake_db_count(c->db, TAIL), 2);
    wait_ok(c, b = chat_aid_send(c, 101, 5000));
    assert_int_equal(b->seq, 10);
    assert_int_equal(fake_db_count(c->db, TAIL), 3);
    assert_int_equal(fake_db_count(c->db, INSERT), 3);
}

static void the_pauses_end_a_second_after_the_other_was_last_met(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a;
    size_t tails;

    script_open(c);
    script_losses(c, INSERT, HEAD, 1);
    script_tail(c, HEAD + 2);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    wait_ok(c, chat_aid_send(c, 100, 5000));
    chat_aid_turn_for(c, 1100);
    tails = fake_db_count(c->db, TAIL);
    for (uint64_t i = 0; i < 5; i++) {
        wait_ok(c, a = chat_aid_send(c, 200 + i, 5000));
        assert_int_equal(a->seq, HEAD + 3 + i);
    }
    assert_int_equal(fake_db_count(c->db, TAIL), tails);
}

static void a_stop_does_not_wait_for_anybodys_turn(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a;

    script_open(c);
    script_losses(c, INSERT, HEAD, 3);
    script_tail(c, HEAD + 3);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    a = chat_aid_send(c, 100, 5000);
    chat_aid_wait_asked(c, INSERT, 2); /* lost twice: now it pauses */
    assert_true(chat_aid_stop(c, 2000));
    chat_aid_wait(c, a);
    assert_true(a->is_done);
}

/* ---- who goes with whom ----------------------------------------------------------------------------------------------------------------- */

/* Ann writes to Ben and to Cat in the same moment; both are answered. */
static void send_two(struct chat_aid *c, uint64_t client_msg_id)
{
    const SendRequest req = { .client_msg_id = client_msg_id + 1, .body = rpc_str("hello") };
    struct chat_answer *ben = chat_aid_send(c, client_msg_id, 5000), *cat = chat_aid_ask(c, RPC_CHAT_SEND, CAT, &req, 5000, NULL);

    wait_ok(c, ben);
    wait_ok(c, cat);
}

static size_t last_insert(struct chat_aid *c)
{
    return fake_db_last(c->db, INSERT)->stmts[0].nrows;
}

static void who_met_the_fence_lately_holds_up_nobody_else(void **state)
{
    struct chat_aid *c = *state;

    script_open(c);
    script_losses(c, INSERT, HEAD, 1);
    script_tail(c, HEAD + 2);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    wait_ok(c, chat_aid_send(c, 100, 5000));
    wait_ok(c, chat_aid_ask(c, RPC_CHAT_SEND, CAT, &(SendRequest){ .client_msg_id = 101, .body = rpc_str("open") }, 5000, NULL));
    chat_aid_turn_for(c, 1100); /* the pauses are over */
    send_two(c, 200);
    assert_int_equal(last_insert(c), 1);
    assert_int_equal(fake_db_count(c->db, INSERT), 5);
}

static void who_met_it_lately_goes_with_others_who_did(void **state)
{
    const struct db_val others[] = { I(BEN), I(ANN), I(BEN), I(900), I(HEAD + 2), I(9), I(2000), I(CAT), I(ANN), I(CAT), I(901), I(HEAD + 2), I(9), I(2000) };
    const struct db_val tail[] = { I(CAT), I(ANN), I(CAT), I(902), I(HEAD), I(7), I(1000) };
    struct chat_aid *c = *state;

    script_open(c);
    fake_db_rows(c->db, TAIL, 1, 1, 7, tail);
    script_tail(c, HEAD + 2);
    fake_db_rows(c->db, BY_SEQ, FAKE_ALWAYS, 2, 7, others);
    fake_db_rows(c->db, BY_ID, FAKE_ALWAYS, 0, 7, NULL);
    fake_db_done(c->db, INSERT, 2, BT_OK, 0, 1);
    fake_db_done(c->db, INSERT, 1, BT_EEXIST, 0, 0);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 2);
    wait_ok(c, chat_aid_send(c, 100, 5000));
    wait_ok(c, chat_aid_ask(c, RPC_CHAT_SEND, CAT, &(SendRequest){ .client_msg_id = 101, .body = rpc_str("open") }, 5000, NULL));
    send_two(c, 200);
    assert_int_equal(fake_db_count(c->db, INSERT), 4);
    chat_aid_turn_for(c, 1100);
    send_two(c, 300);
    assert_int_equal(last_insert(c), 2);
    assert_int_equal(fake_db_count(c->db, INSERT), 5);
}

/* ---- what is read anew ------------------------------------------------------------------------------------------------------------------ */

static void of_a_pair_only_the_end_of_the_log_is_read_anew(void **state)
{
    struct chat_aid *c = *state;

    script_open(c);
    script_losses(c, INSERT, HEAD, 5);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    wait_ok(c, chat_aid_send(c, 100, 5000));
    assert_int_equal(fake_db_count(c->db, TAIL), 6);
    assert_int_equal(fake_db_count(c->db, MEMBERS), 1);
}

enum other { OTHER_GONE, OTHER_OWNS, OTHER_OWNS_LITTLE };

/* The view as it would be with another chat node, which can't be reached. Most conversations, and that of Ann and Ben, are the heavier one's. */
static void see_other(struct chat_aid *c, enum other other)
{
    struct registry_node nodes[2] = { *rpc_self(c->rpc), { .address = "127.0.0.1:1", .roles = UINT32_C(1) << RPC_ROLE_CHAT, .epoch = 1 } };

    nodes[0].is_self = true;
    nodes[0].weight = other == OTHER_OWNS_LITTLE ? 100 : 1;
    nodes[1].weight = other == OTHER_OWNS ? 100 : 1;
    rpc_view_changed(nodes, other != OTHER_GONE ? 2 : 1, c->rpc);
    assert_true(rpc_owns(c->rpc, BEN, ANN) == (other != OTHER_OWNS));
}

static void what_another_node_has_owned_meanwhile_is_read_before_the_next_write(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a;

    script_open(c);
    script_tail(c, 9);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    see_other(c, OTHER_GONE);
    wait_ok(c, a = chat_aid_send(c, 100, 5000));
    assert_int_equal(a->seq, HEAD + 1);
    see_other(c, OTHER_GONE); /* nobody came or went */
    wait_ok(c, a = chat_aid_send(c, 101, 5000));
    assert_int_equal(a->seq, HEAD + 2);
    assert_int_equal(fake_db_count(c->db, TAIL), 1);
    see_other(c, OTHER_OWNS);
    see_other(c, OTHER_GONE);
    wait_ok(c, a = chat_aid_send(c, 102, 5000));
    assert_int_equal(a->seq, 10);
    assert_int_equal(fake_db_count(c->db, TAIL), 2);
    assert_int_equal(fake_db_count(c->db, INSERT), 3);
}

static void what_another_node_owns_is_read_before_a_write_that_follows_a_pause(void **state)
{
    struct chat_aid *c = *state;

    script_open(c);
    script_tail(c, 9);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    wait_ok(c, chat_aid_send(c, 100, 5000));
    chat_aid_turn_for(c, 1100);
    wait_ok(c, chat_aid_send(c, 101, 5000)); /* its own */
    assert_int_equal(fake_db_count(c->db, TAIL), 1);
    see_other(c, OTHER_OWNS);
    wait_ok(c, chat_aid_send(c, 102, 5000)); /* the other is not there: this one serves for it */
    assert_int_equal(fake_db_count(c->db, TAIL), 2);
    wait_ok(c, chat_aid_send(c, 103, 5000));
    assert_int_equal(fake_db_count(c->db, TAIL), 2);
    chat_aid_turn_for(c, 1100);
    wait_ok(c, chat_aid_send(c, 104, 5000));
    assert_int_equal(fake_db_count(c->db, TAIL), 3);
}

static void after_a_standstill_all_is_read_before_the_next_write(void **state)
{
    struct chat_aid *c = *state;

    script_open(c);
    script_tail(c, 9);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    see_other(c, OTHER_OWNS_LITTLE);
    wait_ok(c, chat_aid_send(c, 100, 5000));
    assert_int_equal(fake_db_count(c->db, TAIL), 1);
    chat_aid_turn_for(c, 1200);
    wait_ok(c, chat_aid_send(c, 101, 5000));
    assert_int_equal(fake_db_count(c->db, TAIL), 1);
    usleep(1200 * 1000); /* as if the process were stopped: the loop does not turn */
    wait_ok(c, chat_aid_send(c, 102, 5000));
    assert_int_equal(fake_db_count(c->db, TAIL), 2);
    wait_ok(c, chat_aid_send(c, 103, 5000));
    assert_int_equal(fake_db_count(c->db, TAIL), 2);
}

/* The other node removed Ann with the message that is met: she may not write behind it. */
static void of_a_group_the_members_are_read_anew_with_the_log(void **state)
{
    struct chat_aid *c = *state;
    const struct db_val both[] = { I(ANN), I(1), I(0), I(0), I(1), I(0), I(BEN), I(3), I(0), I(0), I(1), I(0) };
    const struct db_val ben[] = { I(BEN), I(3), I(0), I(0), I(1), I(0) };
    const struct db_val tail[] = { I(GROUP), I(0), I(BEN), I(900), I(HEAD), I(7), I(1000) };
    const struct db_val later[] = { I(GROUP), I(0), I(BEN), I(901), I(HEAD + 1), I(7), I(1000) };
    const struct db_val group[] = { I(0), I(0), { .type = DB_BYTES, .len = 1, .p = "g" }, { .type = DB_BYTES, .len = 1, .p = "g" } };
    const SendRequest req = { .client_msg_id = 100, .body = rpc_str("hello") };
    struct chat_answer *a;

    fake_db_rows(c->db, TAIL, 1, 1, 7, tail);
    fake_db_rows(c->db, TAIL, FAKE_ALWAYS, 1, 7, later);
    fake_db_rows(c->db, BY_SEQ, FAKE_ALWAYS, 1, 7, later);
    fake_db_rows(c->db, BY_ID, FAKE_ALWAYS, 0, 7, NULL);
    fake_db_rows(c->db, MEMBERS, 1, 2, 6, both);
    fake_db_rows(c->db, MEMBERS, FAKE_ALWAYS, 1, 6, ben);
    fake_db_rows(c->db, "SELECT join_mode", FAKE_ALWAYS, 1, 4, group);
    fake_db_done(c->db, INSERT, 1, BT_EEXIST, 0, 0);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    a = chat_aid_ask(c, RPC_CHAT_SEND, GROUP | RPC_TARGET_GROUP, &req, 5000, NULL);
    chat_aid_wait(c, a);
    assert_int_equal(a->status, RPC_STATUS_PERMISSION_DENIED);
    assert_int_equal(fake_db_count(c->db, INSERT), 1);
    assert_int_equal(fake_db_count(c->db, MEMBERS), 2);
}

/*
 * The other node removed Ben, then wrote Ann's message behind that, which she had also sent there. Ben is not shown it, and this
 * node knows the members as the other left them.
 */
static void what_the_other_wrote_behind_a_change_of_members_is_pushed_to_those_that_are_left(void **state)
{
    struct chat_aid *c = *state;
    const struct db_val both[] = { I(ANN), I(3), I(0), I(0), I(1), I(0), I(BEN), I(1), I(0), I(0), I(1), I(0) };
    const struct db_val ann[] = { I(ANN), I(3), I(0), I(0), I(1), I(0) };
    const struct db_val tail[] = { I(GROUP), I(0), I(BEN), I(900), I(HEAD), I(7), I(1000) };
    const struct db_val removal[] = { I(GROUP), I(0), I(ANN), I(901), I(HEAD + 1), I(7), I(1000) };
    const struct db_val group[] = { I(0), I(0), { .type = DB_BYTES, .len = 1, .p = "g" }, { .type = DB_BYTES, .len = 1, .p = "g" } };
    const SendRequest req = { .client_msg_id = 100, .body = rpc_str("Ben is gone") };
    const SignalRequest signal = { .type = rpc_str("typing") };
    struct chat_answer *a;

    fake_db_rows(c->db, TAIL, 1, 1, 7, tail);
    fake_db_rows(c->db, BY_SEQ, FAKE_ALWAYS, 1, 7, removal);
    fake_db_rows(c->db, MEMBERS, 1, 2, 6, both);
    fake_db_rows(c->db, MEMBERS, FAKE_ALWAYS, 1, 6, ann);
    fake_db_rows(c->db, "SELECT join_mode", FAKE_ALWAYS, 1, 4, group);
    fake_db_done(c->db, INSERT, 1, BT_EEXIST, 0, 0);
    wait_ok(c, chat_aid_ask(c, RPC_CHAT_SIGNAL, GROUP | RPC_TARGET_GROUP, &signal, 5000, NULL));
    chat_aid_wait_count(c, &c->npushed, 1);
    fake_db_hold(c->db, true);
    a = chat_aid_ask(c, RPC_CHAT_SEND, GROUP | RPC_TARGET_GROUP, &req, 5000, NULL);
    chat_aid_wait_asked(c, INSERT, 1);
    const struct db_val stands[] = { I(GROUP), I(0), I(ANN), I(100), I(HEAD + 2), I(chat_aid_inserted(c, 0, 8)), I(2000) };
    fake_db_rows(c->db, BY_ID, FAKE_ALWAYS, 1, 7, stands);
    fake_db_rows(c->db, TAIL, FAKE_ALWAYS, 1, 7, stands);
    fake_db_hold(c->db, false);
    wait_ok(c, a);
    assert_int_equal(a->seq, HEAD + 2);
    wait_ok(c, chat_aid_ask(c, RPC_CHAT_SIGNAL, GROUP | RPC_TARGET_GROUP, &signal, 5000, NULL));
    chat_aid_turn_for(c, 50);
    assert_int_equal(c->npushed, 1);
    assert_int_equal(fake_db_count(c->db, MEMBERS), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, chat_aid_setup, chat_aid_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_message_is_tried_as_long_as_its_sender_waits),
        TEST(a_recall_is_tried_as_long_as_its_sender_waits),
        TEST(who_never_wins_is_told_in_time_that_nothing_was_written),
        TEST(who_gives_up_waiting_is_not_tried_for_any_more),
        TEST(what_waits_while_the_other_writes_goes_in_one_write_and_in_order),
        TEST(who_has_won_leaves_the_other_room_and_looks_what_he_wrote),
        TEST(the_pauses_end_a_second_after_the_other_was_last_met),
        TEST(a_stop_does_not_wait_for_anybodys_turn),
        TEST(who_met_the_fence_lately_holds_up_nobody_else),
        TEST(who_met_it_lately_goes_with_others_who_did),
        TEST(of_a_pair_only_the_end_of_the_log_is_read_anew),
        TEST(what_another_node_has_owned_meanwhile_is_read_before_the_next_write),
        TEST(what_another_node_owns_is_read_before_a_write_that_follows_a_pause),
        TEST(after_a_standstill_all_is_read_before_the_next_write),
        TEST(of_a_group_the_members_are_read_anew_with_the_log),
        TEST(what_the_other_wrote_behind_a_change_of_members_is_pushed_to_those_that_are_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
