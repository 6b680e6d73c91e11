/*
 * The chat role over a database that answers from a script: what happens to messages when a write fails, when its outcome is
 * unknown, when the fence is met. (With a real store, and another writer: test/integration/test_fence.py.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "net/mem.h"
#include "roles/chat.h"
#include "rpc/status.h"
#include "test/unit/chat_aid.h"

static void messages_get_the_next_seqs_in_one_insert(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a[3];

    chat_aid_script(c, 4, 4);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 3);
    for (size_t i = 0; i < 3; i++)
        a[i] = chat_aid_send(c, 100 + i, 5000);
    for (size_t i = 0; i < 3; i++) {
        chat_aid_wait(c, a[i]);
        assert_int_equal(a[i]->status, RPC_STATUS_OK);
        assert_int_equal(a[i]->seq, 5 + i);
    }
    assert_int_equal(fake_db_count(c->db, INSERT), 1);
    assert_int_equal(fake_db_last(c->db, INSERT)->stmts[0].nrows, 3);
    assert_int_equal(fake_db_count(c->db, TAIL), 1);
}

static void what_was_not_written_is_refused_and_its_seq_used_again(void **state)
{
    static const enum bt_err refusals[] = { BT_EDOWN, BT_ETIMEOUT, BT_EFULL, BT_EBUSY };
    struct chat_aid *c = *state;
    const struct chat_load *load = &((struct chat *)c->chat)->load;
    struct chat_answer *a;

    chat_aid_script(c, 4, 4);
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
        fake_db_done(c->db, INSERT, 1, refusals[i], 0, 0);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    a = chat_aid_send(c, 100, 5000); /* the first two are UNAVAILABLE, which whoever calls tries again */
    chat_aid_wait(c, a);
    assert_int_equal(a->status, RPC_STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(fake_db_count(c->db, INSERT), 3);
    a = chat_aid_send(c, 101, 5000);
    chat_aid_wait(c, a);
    assert_int_equal(a->status, RPC_STATUS_RESOURCE_EXHAUSTED);
    assert_true(load->done == 0 && load->rate <= 0); /* nor does it pass for done */
    a = chat_aid_send(c, 102, 5000);
    chat_aid_wait(c, a);
    assert_int_equal(a->status, RPC_STATUS_OK);
    assert_int_equal(a->seq, 5);
    chat_aid_turn_for(c, 20);
    assert_true(load->done > 0 || load->rate > 0);
}

static void an_unknown_outcome_is_settled_by_writing_the_same_rows_again(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a, *b;

    chat_aid_script(c, 4, 4);
    fake_db_done(c->db, INSERT, 2, BT_EUNSURE, 0, 0);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    a = chat_aid_send(c, 100, 5000);
    chat_aid_wait_asked(c, INSERT, 1);
    b = chat_aid_send(c, 101, 5000); /* waits: nothing else is written there before it is known */
    chat_aid_wait_asked(c, INSERT, 2);
    assert_int_equal(chat_aid_inserted(c, 0, 2), 5);
    assert_int_equal(chat_aid_inserted(c, 0, 4), 100);
    assert_int_equal(fake_db_last(c->db, INSERT)->stmts[0].nrows, 1);
    assert_false(a->is_done);
    chat_aid_wait(c, a);
    chat_aid_wait(c, b);
    assert_int_equal(a->seq, 5);
    assert_int_equal(b->seq, 6);
    assert_int_equal(fake_db_count(c->db, INSERT), 4);
}

static void an_unknown_outcome_that_was_a_success_is_found_and_pushed(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a;
    uint64_t digest;

    chat_aid_script(c, 4, 5);
    fake_db_done(c->db, INSERT, 1, BT_EUNSURE, 0, 0);
    fake_db_done(c->db, INSERT, 1, BT_EEXIST, 0, 0);
    a = chat_aid_send(c, 100, 5000);
    chat_aid_wait_asked(c, INSERT, 1);
    digest = (uint64_t)chat_aid_inserted(c, 0, 8);
    const struct db_val found[] = { I(BEN), I(ANN), I(ANN), I(100), I(5), I((int64_t)digest), I(2000) };
    fake_db_rows(c->db, BY_ID, FAKE_ALWAYS, 1, 7, found);
    fake_db_rows(c->db, BY_SEQ, FAKE_ALWAYS, 1, 7, found);
    chat_aid_wait(c, a);
    assert_int_equal(a->status, RPC_STATUS_OK);
    assert_int_equal(a->seq, 5);
    assert_int_equal(fake_db_count(c->db, INSERT), 2);
}

static void a_seq_that_another_took_is_followed_by_a_fresh_one(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a;
    const struct db_val others[] = { I(BEN), I(ANN), I(BEN), I(901), I(5), I(9), I(2000) };

    chat_aid_script(c, 4, 5);
    fake_db_done(c->db, INSERT, 1, BT_EEXIST, 0, 0);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    fake_db_rows(c->db, BY_ID, FAKE_ALWAYS, 0, 7, others);
    fake_db_rows(c->db, BY_SEQ, FAKE_ALWAYS, 1, 7, others);
    a = chat_aid_send(c, 100, 5000);
    chat_aid_wait(c, a);
    assert_int_equal(a->status, RPC_STATUS_OK);
    assert_int_equal(a->seq, 6);
    assert_int_equal(fake_db_count(c->db, TAIL), 2); /* read anew: members may have changed with it */
}

static void a_sender_whose_time_passes_in_doubt_is_told_unknown(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a, *b;

    chat_aid_script(c, 4, 4);
    fake_db_done(c->db, INSERT, 3, BT_EUNSURE, 0, 0);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    a = chat_aid_send(c, 100, 120);
    chat_aid_wait(c, a);
    assert_true(a->status == RPC_STATUS_UNKNOWN || a->status == RPC_STATUS_DEADLINE_EXCEEDED);
    b = chat_aid_send(c, 100, 5000); /* the repeat joins what is being settled */
    chat_aid_wait(c, b);
    assert_int_equal(b->status, RPC_STATUS_OK);
    assert_int_equal(b->seq, 5);
    assert_int_equal(fake_db_count(c->db, INSERT), 4);
}

static void a_conversation_that_cannot_be_read_refuses(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a;

    fake_db_fail(c->db, TAIL, FAKE_ALWAYS, BT_EDOWN);
    a = chat_aid_send(c, 100, 9000); /* and soon: that the store is away is no reason to wait for the deadline */
    chat_aid_wait(c, a);
    assert_int_equal(a->status, RPC_STATUS_UNAVAILABLE);
    assert_in_range(fake_db_count(c->db, TAIL), 2, 10);
    assert_int_equal(fake_db_count(c->db, INSERT), 0);
}

static void a_reconnected_store_is_read_anew(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a;

    chat_aid_script(c, 4, 9);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    a = chat_aid_send(c, 100, 5000);
    chat_aid_wait(c, a);
    assert_int_equal(a->seq, 5);
    fake_db_set_up(c->db, false);
    fake_db_set_up(c->db, true);
    a = chat_aid_send(c, 101, 5000);
    chat_aid_wait(c, a);
    assert_int_equal(a->seq, 10);
}

static void time_does_not_fall_within_a_conversation(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a;

    chat_aid_script(c, 4, 4);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    a = chat_aid_send(c, 100, 5000);
    chat_aid_wait(c, a);
    int64_t first_ms = chat_aid_inserted(c, 0, 5);
    fake_db_set_now(c->db, 1600000000000);
    a = chat_aid_send(c, 101, 5000);
    chat_aid_wait(c, a);
    assert_true(chat_aid_inserted(c, 0, 5) >= first_ms);
}

static void every_failing_allocation_is_an_answer(void **state)
{
    struct chat_aid *c = *state;

    chat_aid_script(c, 4, 4);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    for (long n = 0; n < 30; n++) {
        struct chat_answer *a = chat_aid_send(c, 100 + (uint64_t)n, 2000);
        bt_mem_fail_after(n);
        chat_aid_wait(c, a);
        bt_mem_fail_after(-1);
        assert_true(a->status == RPC_STATUS_OK || a->status == RPC_STATUS_RESOURCE_EXHAUSTED || a->status == RPC_STATUS_UNAVAILABLE ||
                    a->status == RPC_STATUS_UNKNOWN || a->status == RPC_STATUS_DEADLINE_EXCEEDED);
    }
}

/* Whose key is low and who has much to say fills batches by bytes too; he does not go first each time. */
static void a_long_queue_of_long_messages_holds_nobody_up(void **state)
{
    enum { EVE = 5, LONG = 40000, MANY = 40 };
    static uint8_t body[LONG];
    const struct db_val users[] = { I(1), I(ANN), I(0), I(0), I(1), I(BEN), I(0), I(0), I(1), I(EVE), I(0), I(0) };
    struct chat_aid *c = *state;
    struct chat_answer *many[MANY], *one;
    SendRequest req = { .client_msg_id = 100, .body = rpc_bytes(body, sizeof body) };

    fake_db_rows(c->db, PAIR, FAKE_ALWAYS, 3, 4, users);
    chat_aid_script(c, 4, 4);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    for (uint64_t peer = BEN; peer <= EVE; peer += EVE - BEN, req.client_msg_id++) /* the conversations are open from here on */
        chat_aid_wait(c, chat_aid_ask(c, RPC_CHAT_SEND, peer, &req, 9000, NULL));
    fake_db_forget(c->db);
    for (size_t i = 0; i < MANY; i++, req.client_msg_id++)
        many[i] = chat_aid_ask(c, RPC_CHAT_SEND, BEN, &req, 9000, NULL);
    one = chat_aid_ask(c, RPC_CHAT_SEND, EVE, &req, 9000, NULL);
    chat_aid_wait(c, one);
    assert_int_equal(one->status, RPC_STATUS_OK);
    assert_in_range(fake_db_count(c->db, INSERT), 1, 6); /* not after all of them */
    for (size_t i = 0; i < MANY; i++) {
        chat_aid_wait(c, many[i]);
        assert_int_equal(many[i]->status, RPC_STATUS_OK);
        assert_int_equal(many[i]->seq, 6 + i);
    }
    assert_true(fake_db_count(c->db, INSERT) >= MANY / 2); /* two fill a batch */
}

static int setup_small_batches(void **state)
{
    static const char *const settings[] = { "chat.batch_bytes=65536", NULL };

    return chat_aid_setup_with(state, settings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(messages_get_the_next_seqs_in_one_insert, chat_aid_setup, chat_aid_teardown),
        cmocka_unit_test_setup_teardown(what_was_not_written_is_refused_and_its_seq_used_again, chat_aid_setup, chat_aid_teardown),
        cmocka_unit_test_setup_teardown(an_unknown_outcome_is_settled_by_writing_the_same_rows_again, chat_aid_setup, chat_aid_teardown),
        cmocka_unit_test_setup_teardown(an_unknown_outcome_that_was_a_success_is_found_and_pushed, chat_aid_setup, chat_aid_teardown),
        cmocka_unit_test_setup_teardown(a_seq_that_another_took_is_followed_by_a_fresh_one, chat_aid_setup, chat_aid_teardown),
        cmocka_unit_test_setup_teardown(a_sender_whose_time_passes_in_doubt_is_told_unknown, chat_aid_setup, chat_aid_teardown),
        cmocka_unit_test_setup_teardown(a_conversation_that_cannot_be_read_refuses, chat_aid_setup, chat_aid_teardown),
        cmocka_unit_test_setup_teardown(a_reconnected_store_is_read_anew, chat_aid_setup, chat_aid_teardown),
        cmocka_unit_test_setup_teardown(time_does_not_fall_within_a_conversation, chat_aid_setup, chat_aid_teardown),
        cmocka_unit_test_setup_teardown(a_long_queue_of_long_messages_holds_nobody_up, setup_small_batches, chat_aid_teardown),
        cmocka_unit_test_setup_teardown(every_failing_allocation_is_an_answer, chat_aid_setup, chat_aid_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
