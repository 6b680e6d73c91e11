/*
 * test/unit/test_chat_signal.c: signals: those that nothing stands before are pushed at once, and cost no memory; the others
 * wait as messages do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/mem.h"
#include "roles/chat.h"
#include "rpc/status.h"
#include "test/unit/chat_aid.h"
#include "test/unit/slow_presence.h"

enum { GROUP = 77, HEAD = 4 };

static const SignalRequest typing = { .type = { (const uint8_t *)"typing", 6 }, .body = { (const uint8_t *)"a body", 6 } };

static struct chat_answer *signal_ben(struct chat_aid *c)
{
    return chat_aid_ask(c, RPC_CHAT_SIGNAL, BEN, &typing, 5000, NULL);
}

static void wait_status(struct chat_aid *c, const struct chat_answer *a, uint8_t status)
{
    chat_aid_wait(c, a);
    assert_int_equal(a->status, status);
}

/* The conversation is open and known from then on. */
static struct chat_conv *open_conv(struct chat_aid *c)
{
    struct chat_conv *conv;

    chat_aid_script(c, 4, 4);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    for (int i = 0; i < 3; i++)
        wait_status(c, signal_ben(c), RPC_STATUS_OK);
    conv = chat_conv_find(c->chat, BEN, ANN);
    assert_non_null(conv);
    assert_int_equal(c->npushed, 3);
    return conv;
}

static void a_signal_that_nothing_stands_before_needs_no_memory(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a;

#ifdef __SANITIZE_ADDRESS__
    skip(); /* its frame does, as none is kept for reuse */
#endif
    open_conv(c);
    bt_mem_fail_after(0);
    a = signal_ben(c);
    chat_aid_wait(c, a);
    assert_false(bt_mem_has_failed());
    bt_mem_fail_after(-1);
    assert_int_equal(a->status, RPC_STATUS_OK);
    assert_int_equal(c->npushed, 4);
    assert_int_equal(c->nreceivers, 4); /* Ben alone: Ann is not connected */
    assert_int_equal(((struct chat *)c->chat)->nops, 0);
}

static void a_signal_waits_behind_what_is_being_decided_on(void **state)
{
    const EditRequest edit = { .client_msg_id = 200, .refers_to_seq = 4, .body = rpc_str("another text") };
    const struct db_val none[9] = { I(0) };
    struct chat_aid *c = *state;
    struct chat_answer *first, *a;

    open_conv(c);
    fake_db_rows(c->db, "SELECT hi, lo, seq", FAKE_ALWAYS, 0, 9, none);
    fake_db_rows(c->db, BY_ID, FAKE_ALWAYS, 0, 7, none);
    fake_db_hold(c->db, true);
    first = chat_aid_ask(c, RPC_CHAT_EDIT, BEN, &edit, 5000, NULL);
    a = signal_ben(c);
    chat_aid_turn_for(c, 20);
    assert_false(first->is_done || a->is_done);
    assert_int_equal(c->npushed, 3);
    fake_db_hold(c->db, false);
    chat_aid_wait(c, first);
    wait_status(c, a, RPC_STATUS_OK);
    assert_int_equal(c->npushed, 4);
}

/* A message in a batch under way is no reason to wait: nobody is promised an order with what is not stored. */
static void a_signal_passes_a_message_that_is_being_written(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *first;

    open_conv(c);
    fake_db_hold(c->db, true);
    first = chat_aid_send(c, 100, 5000);
    wait_status(c, signal_ben(c), RPC_STATUS_OK);
    assert_false(first->is_done);
    fake_db_hold(c->db, false);
    wait_status(c, first, RPC_STATUS_OK);
}

static void rights_that_are_old_are_read_before_a_signal(void **state)
{
    struct chat_aid *c = *state;
    struct chat_conv *conv = open_conv(c);
    size_t asked = fake_db_count(c->db, PAIR);

    wait_status(c, signal_ben(c), RPC_STATUS_OK);
    assert_int_equal(fake_db_count(c->db, PAIR), asked);
    conv->rights_ms = 0; /* a block was answered */
    wait_status(c, signal_ben(c), RPC_STATUS_OK);
    assert_int_equal(fake_db_count(c->db, PAIR), asked + 1);
    conv->rights_ms -= CHAT_RIGHTS_MS;
    wait_status(c, signal_ben(c), RPC_STATUS_OK);
    assert_int_equal(fake_db_count(c->db, PAIR), asked + 2);
}

static void a_signal_to_one_who_blocks_its_sender_is_refused(void **state)
{
    struct chat_aid *c = *state;
    struct chat_conv *conv = open_conv(c);

    conv->pair.hi_blocks = true; /* Ben has the larger id */
    wait_status(c, signal_ben(c), RPC_STATUS_PERMISSION_DENIED);
    chat_aid_turn_for(c, 20);
    assert_int_equal(c->npushed, 3);
}

static void after_the_store_reconnects_a_signal_has_its_conversation_read(void **state)
{
    struct chat_aid *c = *state;
    size_t asked;

    open_conv(c);
    asked = fake_db_count(c->db, TAIL);
    fake_db_set_up(c->db, false);
    fake_db_set_up(c->db, true);
    wait_status(c, signal_ben(c), RPC_STATUS_OK);
    assert_int_equal(fake_db_count(c->db, TAIL), asked + 1);
    assert_int_equal(c->npushed, 4);
}

/* Whoever came after the copy was read is found, and the sender does not wait for that. */
static void a_signal_finds_who_has_just_come(void **state)
{
    struct chat_aid *c = *state;

    open_conv(c);
    presence_set(c->presence, ANN, true, NULL, NULL);
    chat_aid_turn_for(c, 20);
    wait_status(c, signal_ben(c), RPC_STATUS_OK);
    chat_aid_wait_count(c, &c->npushed, 4);
    assert_int_equal(c->nreceivers, 3 + 2); /* of Ann another session might be there */
}

/* They are answered at once nevertheless, and pushed in their order. */
static void signals_while_presence_is_read_are_pushed_after_that(void **state)
{
    struct chat_aid *c = *state;

    open_conv(c);
    slow_presence_hold(c->presence);
    wait_status(c, signal_ben(c), RPC_STATUS_OK);
    slow_presence_wait(c->loop);
    wait_status(c, signal_ben(c), RPC_STATUS_OK);
    chat_aid_turn_for(c, 20);
    assert_int_equal(c->npushed, 3);
    assert_int_equal(((struct chat *)c->chat)->nops, 2);
    slow_presence_release(c->presence);
    chat_aid_wait_count(c, &c->npushed, 5);
    assert_int_equal(((struct chat *)c->chat)->nops, 0);
}

/* ---- while presence is being read for another ---- */

static struct {
    struct chat_wait wait;
    bool has_run;
} other;

static void other_run(struct chat *chat, struct chat_wait *w, enum bt_err err)
{
    (void)chat, (void)w, (void)err;
    other.has_run = true;
}

/* Until slow_presence_release(): presence is as in a cluster, and another waits for it. */
static struct chat_conv *read_for_another(struct chat_aid *c)
{
    struct chat_conv *conv = open_conv(c);

    other.has_run = false;
    other.wait.run = other_run;
    slow_presence_hold(c->presence);
    chat_presence_look(c->chat, &other.wait);
    slow_presence_wait(c->loop);
    return conv;
}

static void assert_other_waits_and_end(struct chat_aid *c)
{
    assert_false(other.has_run);
    slow_presence_release(c->presence);
    chat_aid_turn_until(c, &other.has_run);
}

static size_t under_way(const struct chat_aid *c)
{
    return ((const struct chat *)c->chat)->nops;
}

/* However many they are, nothing is kept of them. */
static void signals_go_by_the_copy_while_presence_is_read_for_another(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a[20];

    read_for_another(c);
    for (int i = 0; i < 20; i++)
        a[i] = signal_ben(c);
    for (int i = 0; i < 20; i++)
        wait_status(c, a[i], RPC_STATUS_OK);
    assert_int_equal(c->npushed, 23);
    assert_int_equal(c->nreceivers, 23);
    assert_int_equal(under_way(c), 0);
    assert_other_waits_and_end(c);
    assert_int_equal(c->npushed, 23);
}

static void a_signal_does_not_go_by_a_copy_that_is_old(void **state)
{
    struct chat_aid *c = *state;

    read_for_another(c);
    ((struct chat *)c->chat)->presence_as_of_ms -= CHAT_RECENT_MS; /* Redis is slow */
    wait_status(c, signal_ben(c), RPC_STATUS_OK);
    chat_aid_turn_for(c, 20);
    assert_int_equal(c->npushed, 3);
    assert_int_equal(under_way(c), 1);
    assert_other_waits_and_end(c);
    chat_aid_wait_count(c, &c->npushed, 4);
}

static void how_old_a_copy_is_counts_from_when_its_read_began(void **state)
{
    struct chat_aid *c = *state;
    struct chat *chat;
    uint64_t began_ms;

    read_for_another(c);
    chat = c->chat;
    began_ms = net_now_ms(c->loop);
    chat_aid_turn_for(c, 20);
    assert_other_waits_and_end(c);
    assert_in_range(chat->presence_as_of_ms, 1, began_ms);
}

/* He may have come just now: only the read tells. */
static void a_signal_to_one_who_seems_away_waits_for_the_read(void **state)
{
    struct chat_aid *c = *state;

    presence_set(c->presence, BEN, false, NULL, NULL);
    chat_aid_turn_for(c, 20);
    chat_aid_script(c, 4, 4);
    wait_status(c, signal_ben(c), RPC_STATUS_OK);
    chat_aid_turn_for(c, 20);
    assert_int_equal(c->npushed, 0);
    presence_set(c->presence, BEN, true, NULL, NULL);
    slow_presence_hold(c->presence);
    other.has_run = false;
    other.wait.run = other_run;
    chat_presence_look(c->chat, &other.wait);
    slow_presence_wait(c->loop);
    wait_status(c, signal_ben(c), RPC_STATUS_OK);
    assert_int_equal(under_way(c), 1);
    assert_other_waits_and_end(c);
    chat_aid_wait_count(c, &c->npushed, 1);
}

static void a_signal_does_not_overtake_a_message_that_waits_to_be_pushed(void **state)
{
    struct chat_aid *c = *state;

    read_for_another(c);
    wait_status(c, chat_aid_send(c, 100, 5000), RPC_STATUS_OK);
    wait_status(c, signal_ben(c), RPC_STATUS_OK);
    wait_status(c, signal_ben(c), RPC_STATUS_OK);
    chat_aid_turn_for(c, 20);
    assert_int_equal(c->npushed, 3);
    assert_other_waits_and_end(c);
    chat_aid_wait_count(c, &c->npushed, 6);
    assert_int_equal(c->pushed[3], HEAD + 1);
    assert_int_equal(c->pushed[4], 0);
    assert_int_equal(c->pushed[5], 0);
}

static void rights_that_were_lost_meanwhile_are_not_passed_over(void **state)
{
    struct chat_aid *c = *state;
    struct chat_conv *conv = read_for_another(c);
    size_t asked = fake_db_count(c->db, PAIR);

    wait_status(c, signal_ben(c), RPC_STATUS_OK);
    assert_int_equal(c->npushed, 4);
    conv->rights_ms = 0; /* a block was answered */
    wait_status(c, signal_ben(c), RPC_STATUS_OK);
    assert_int_equal(fake_db_count(c->db, PAIR), asked + 1);
    assert_int_equal(c->npushed, 4); /* it has an op of its own, and waits with that */
    assert_other_waits_and_end(c);
    chat_aid_wait_count(c, &c->npushed, 5);
    conv->pair.hi_blocks = true;
    wait_status(c, signal_ben(c), RPC_STATUS_PERMISSION_DENIED);
    chat_aid_turn_for(c, 20);
    assert_int_equal(c->npushed, 5);
}

static void a_block_that_is_known_refuses_a_signal_while_presence_is_read(void **state)
{
    struct chat_aid *c = *state;
    struct chat_conv *conv = read_for_another(c);

    conv->pair.hi_blocks = true;
    wait_status(c, signal_ben(c), RPC_STATUS_PERMISSION_DENIED);
    assert_other_waits_and_end(c);
    chat_aid_turn_for(c, 20);
    assert_int_equal(c->npushed, 3);
}

/* From then on proxies are asked, for all that comes. */
static void once_presence_fails_no_signal_goes_by_the_copy(void **state)
{
    struct chat_aid *c = *state;

    read_for_another(c);
    slow_presence_fail(c->presence, BT_EDOWN);
    chat_aid_turn_until(c, &other.has_run);
    for (int i = 0; i < 2; i++) { /* lost, then back, but perhaps without those who have yet to be written */
        other.has_run = false;
        if (i == 0)
            slow_presence_hold(c->presence);
        chat_presence_look(c->chat, &other.wait);
        assert_true(((struct chat *)c->chat)->presence_reading);
        assert_false(chat_presence_is_recent(c->chat));
        if (i == 0) {
            slow_presence_wait(c->loop);
            slow_presence_release(c->presence);
        }
        chat_aid_turn_until(c, &other.has_run);
    }
    wait_status(c, signal_ben(c), RPC_STATUS_OK);
    chat_aid_wait_count(c, &c->npushed, 4);
}

static void a_signal_that_is_too_long_is_refused(void **state)
{
    static const uint8_t bytes[8192];
    struct chat_aid *c = *state;
    size_t max;

    open_conv(c);
    max = ((struct chat *)c->chat)->set.signal_max;
    for (size_t over = 0; over < 2; over++) {
        const SignalRequest body = { .type = rpc_str("typing"), .body = rpc_bytes(bytes, max + over) };
        struct chat_answer *a = chat_aid_ask(c, RPC_CHAT_SIGNAL, BEN, &body, 5000, NULL);
        wait_status(c, a, over == 0 ? RPC_STATUS_OK : RPC_STATUS_INVALID_ARGUMENT);
    }
    const SignalRequest type = { .type = rpc_bytes(bytes, 65) };
    wait_status(c, chat_aid_ask(c, RPC_CHAT_SIGNAL, BEN, &type, 5000, NULL), RPC_STATUS_INVALID_ARGUMENT);
    chat_aid_turn_for(c, 20);
    assert_int_equal(c->npushed, 4);
}

/* ---- to a group ---- */

static const struct db_val tail[] = { I(GROUP), I(0), I(BEN), I(900), I(HEAD), I(7), I(1000) };

static struct chat_answer *signal_group(struct chat_aid *c)
{
    return chat_aid_ask(c, RPC_CHAT_SIGNAL, GROUP | RPC_TARGET_GROUP, &typing, 5000, NULL);
}

/* Of Ann and Ben; open, and known to stand as it is known here. */
static struct chat_conv *open_group(struct chat_aid *c)
{
    const struct db_val both[] = { I(ANN), I(1), I(0), I(0), I(1), I(0), I(BEN), I(3), I(0), I(0), I(1), I(0) };
    const struct db_val group[] = { I(0), I(0), { .type = DB_BYTES, .len = 1, .p = "g" }, { .type = DB_BYTES, .len = 1, .p = "g" } };
    struct chat_conv *conv;

    fake_db_rows(c->db, TAIL, 1, 1, 7, tail);
    fake_db_rows(c->db, MEMBERS, 1, 2, 6, both);
    fake_db_rows(c->db, "SELECT join_mode", FAKE_ALWAYS, 1, 4, group);
    wait_status(c, signal_group(c), RPC_STATUS_OK);
    chat_aid_wait_count(c, &c->npushed, 1);
    conv = chat_conv_find(c->chat, GROUP, 0);
    assert_non_null(conv);
    return conv;
}

/* So long ago that another node may have changed it since. */
static void let_grow_old(struct chat_conv *conv)
{
    conv->known_ms -= CHAT_FRESH_MS;
}

static void a_group_that_is_old_is_looked_at_before_a_signal(void **state)
{
    struct chat_aid *c = *state;
    struct chat_conv *conv = open_group(c);

    fake_db_rows(c->db, TAIL, FAKE_ALWAYS, 1, 7, tail);
    conv->known_ms = net_now_ms(c->loop);
    wait_status(c, signal_group(c), RPC_STATUS_OK);
    assert_int_equal(fake_db_count(c->db, TAIL), 1);
    let_grow_old(conv);
    wait_status(c, signal_group(c), RPC_STATUS_OK);
    assert_int_equal(fake_db_count(c->db, TAIL), 2);
    wait_status(c, signal_group(c), RPC_STATUS_OK); /* that was enough for a while */
    assert_int_equal(fake_db_count(c->db, TAIL), 2);
    assert_int_equal(fake_db_count(c->db, MEMBERS), 1);
    assert_int_equal(c->npushed, 4);
    assert_int_equal(c->nreceivers, 4); /* Ben: Ann is not connected */
}

static void who_is_muted_signals_nothing_until_that_is_over(void **state)
{
    struct chat_aid *c = *state;
    struct chat_conv *conv = open_group(c);
    struct chat_member *ann = chat_conv_member(conv, ANN);

    fake_db_rows(c->db, TAIL, FAKE_ALWAYS, 1, 7, tail);
    conv->known_ms = net_now_ms(c->loop);
    ann->muted_until_ms = INT64_MAX;
    wait_status(c, signal_group(c), RPC_STATUS_PERMISSION_DENIED);
    assert_int_equal(fake_db_count(c->db, TAIL), 1);
    let_grow_old(conv);
    wait_status(c, signal_group(c), RPC_STATUS_PERMISSION_DENIED);
    assert_int_equal(fake_db_count(c->db, TAIL), 2); /* a refusal is made sure of */
    assert_int_equal(c->npushed, 1);
    ann->muted_until_ms = 1;
    wait_status(c, signal_group(c), RPC_STATUS_OK);
    assert_int_equal(c->npushed, 2);
}

static void who_was_removed_here_signals_nothing(void **state)
{
    struct chat_aid *c = *state;
    struct chat_conv *conv = open_group(c);

    conv->known_ms = net_now_ms(c->loop);
    chat_conv_drop_member(conv, ANN);
    wait_status(c, signal_group(c), RPC_STATUS_PERMISSION_DENIED);
    chat_aid_turn_for(c, 20);
    assert_int_equal(c->npushed, 1);
}

static void who_was_removed_by_another_node_signals_for_a_second_at_most(void **state)
{
    const struct db_val later[] = { I(GROUP), I(0), I(BEN), I(901), I(HEAD + 1), I(7), I(1000) };
    const struct db_val ben[] = { I(BEN), I(3), I(0), I(0), I(1), I(0) };
    struct chat_aid *c = *state;
    struct chat_conv *conv = open_group(c);

    fake_db_rows(c->db, TAIL, FAKE_ALWAYS, 1, 7, later);
    fake_db_rows(c->db, MEMBERS, FAKE_ALWAYS, 1, 6, ben);
    conv->known_ms = net_now_ms(c->loop);
    wait_status(c, signal_group(c), RPC_STATUS_OK);
    assert_int_equal(c->npushed, 2);
    let_grow_old(conv);
    wait_status(c, signal_group(c), RPC_STATUS_PERMISSION_DENIED);
    wait_status(c, signal_group(c), RPC_STATUS_PERMISSION_DENIED);
    chat_aid_turn_for(c, 20);
    assert_int_equal(c->npushed, 2);
}

static void every_failing_allocation_is_an_answer(void **state)
{
    struct chat_aid *c = *state;

    chat_aid_script(c, 4, 4);
    for (long n = 0; n < 30; n++) {
        struct chat_answer *a = signal_ben(c);
        bt_mem_fail_after(n);
        chat_aid_wait(c, a);
        bt_mem_fail_after(-1);
        assert_true(a->status == RPC_STATUS_OK || a->status == RPC_STATUS_RESOURCE_EXHAUSTED ||
                    a->status == RPC_STATUS_UNAVAILABLE || a->status == RPC_STATUS_DEADLINE_EXCEEDED ||
                    a->status == RPC_STATUS_UNKNOWN); /* its answer was lost */
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, chat_aid_setup, chat_aid_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_signal_that_nothing_stands_before_needs_no_memory),
        TEST(a_signal_waits_behind_what_is_being_decided_on),
        TEST(a_signal_passes_a_message_that_is_being_written),
        TEST(rights_that_are_old_are_read_before_a_signal),
        TEST(a_signal_to_one_who_blocks_its_sender_is_refused),
        TEST(after_the_store_reconnects_a_signal_has_its_conversation_read),
        TEST(a_signal_finds_who_has_just_come),
        TEST(signals_while_presence_is_read_are_pushed_after_that),
        TEST(signals_go_by_the_copy_while_presence_is_read_for_another),
        TEST(a_signal_does_not_go_by_a_copy_that_is_old),
        TEST(how_old_a_copy_is_counts_from_when_its_read_began),
        TEST(a_signal_to_one_who_seems_away_waits_for_the_read),
        TEST(a_signal_does_not_overtake_a_message_that_waits_to_be_pushed),
        TEST(rights_that_were_lost_meanwhile_are_not_passed_over),
        TEST(a_block_that_is_known_refuses_a_signal_while_presence_is_read),
        TEST(once_presence_fails_no_signal_goes_by_the_copy),
        TEST(a_signal_that_is_too_long_is_refused),
        TEST(a_group_that_is_old_is_looked_at_before_a_signal),
        TEST(who_is_muted_signals_nothing_until_that_is_over),
        TEST(who_was_removed_here_signals_nothing),
        TEST(who_was_removed_by_another_node_signals_for_a_second_at_most),
        TEST(every_failing_allocation_is_an_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
