/*
 * test/unit/test_chat_owner.c: conversations that another node owns by the ring, or has owned: when the end of their log is
 * read before the next write, and that it is not read for ever.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "roles/chat.h"
#include "rpc/rpc_internal.h"
#include "rpc/status.h"
#include "test/unit/chat_aid.h"

enum { GROUP = 77, HEAD = 4 };

static const SignalRequest typing = { .type = { (const uint8_t *)"typing", 6 } };

static void wait_status(struct chat_aid *c, const struct chat_answer *a, uint8_t status)
{
    chat_aid_wait(c, a);
    assert_int_equal(a->status, status);
}

/* ---- the view ---------------------------------------------------------------------------------------------------------- */

/* This node, and n - 1 others that serve conversations too; nobody is there, so what they own comes here. */
static void see(struct chat_aid *c, size_t n)
{
    struct registry_node nodes[2] = { *rpc_self(c->rpc), *rpc_self(c->rpc) };

    assert_in_range(n, 1, 2);
    nodes[0].weight = nodes[1].weight = 1;
    nodes[0].is_self = true;
    nodes[1].is_self = false;
    nodes[1].epoch++;
    for (int port = 1; port == 1 || (n > 1 && rpc_owns(c->rpc, BEN, ANN)); port++) {
        assert_true(port < 64);
        snprintf(nodes[1].address, sizeof nodes[1].address, "127.0.0.1:%d", port);
        rpc_peer_get(c->rpc, nodes[1].address)->is_passed_over = true;
        rpc_view_changed(nodes, n, c->rpc);
    }
    assert_int_equal(rpc_owns(c->rpc, BEN, ANN), n == 1);
}

/* So long ago that another node may have written since. */
static void let_grow_old(struct chat_conv *conv)
{
    conv->known_ms -= CHAT_FRESH_MS;
    conv->owned_ms = 0;
}

static struct chat_conv *find_conv(struct chat_aid *c)
{
    struct chat_conv *conv = chat_conv_find(c->chat, BEN, ANN);

    assert_non_null(conv);
    return conv;
}

/* ---- what another node owns --------------------------------------------------------------------------------------------- */

typedef void delay_fn(struct chat_aid *c);

/* Ann's message goes out after so many reads, though there is a delay in each. */
static void check_delayed(struct chat_aid *c, delay_fn *delay, size_t reads)
{
    struct chat_answer *a;

    chat_aid_script(c, HEAD, HEAD);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    see(c, 2);
    fake_db_hold(c->db, true);
    a = chat_aid_send(c, 100, 9000);
    for (size_t i = 1; i <= reads + 2 && fake_db_count(c->db, INSERT) == 0; i++) {
        chat_aid_wait_asked(c, TAIL, i);
        delay(c);
        while (fake_db_count(c->db, TAIL) == i && fake_db_count(c->db, INSERT) == 0) {
            fake_db_release(c->db, 1);
            chat_aid_turn_for(c, 5);
        }
    }
    fake_db_hold(c->db, false);
    wait_status(c, a, RPC_STATUS_OK);
    assert_int_equal(fake_db_count(c->db, TAIL), reads);
}

static void read_slowly(struct chat_aid *c)
{
    let_grow_old(find_conv(c));
}

static void a_message_is_written_though_each_read_of_its_log_takes_long(void **state)
{
    check_delayed(*state, read_slowly, 1);
}

static void stand_still(struct chat_aid *c)
{
    let_grow_old(find_conv(c));
    ((struct chat *)c->chat)->pulse_ms -= 2000;
}

static void a_message_is_written_though_the_process_stands_still_again_and_again(void **state)
{
    check_delayed(*state, stand_still, 2);
}

static void what_was_written_here_while_another_owned_it_is_read_when_it_comes_back(void **state)
{
    struct chat_aid *c = *state;
    size_t asked;

    chat_aid_script(c, HEAD, HEAD + 10);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    see(c, 2);
    wait_status(c, chat_aid_send(c, 100, 5000), RPC_STATUS_OK);
    asked = fake_db_count(c->db, TAIL);
    let_grow_old(find_conv(c));
    see(c, 1);
    wait_status(c, chat_aid_send(c, 101, 5000), RPC_STATUS_OK);
    assert_int_equal(fake_db_count(c->db, TAIL), asked + 1);
    assert_int_equal(chat_aid_inserted(c, 0, 2), HEAD + 11);
}

/* ---- a standstill -------------------------------------------------------------------------------------------------------- */

struct next {
    struct chat_aid *c;
    struct chat_answer *answer;
};

static void sent_done(const struct rpc_reply *reply, void *arg)
{
    struct next *next = arg;

    assert_int_equal(reply->err, BT_OK);
    next->answer = chat_aid_ask(next->c, RPC_CHAT_SIGNAL, GROUP | RPC_TARGET_GROUP, &typing, 5000, NULL);
}

typedef void notice_fn(struct chat_aid *c);

/* The process stood still after the write was done; meanwhile another node took over. That is noticed then, or by the answer itself. */
static void check_old_answer(struct chat_aid *c, notice_fn *notice)
{
    const SendRequest req = { .client_msg_id = 100, .body = rpc_str("hello") };
    const struct rpc_ctx ctx = { .caller = ANN, .target = GROUP | RPC_TARGET_GROUP, .session = 11, .timeout_ms = 9000 };
    const struct db_val tail[] = { I(GROUP), I(0), I(BEN), I(900), I(HEAD), I(7), I(1000) };
    const struct db_val later[] = { I(GROUP), I(0), I(BEN), I(901), I(HEAD + 2), I(7), I(1000) };
    const struct db_val both[] = { I(ANN), I(1), I(0), I(0), I(1), I(0), I(BEN), I(3), I(0), I(0), I(1), I(0) };
    const struct db_val group[] = { I(0), I(0), { .type = DB_BYTES, .len = 1, .p = "g" }, { .type = DB_BYTES, .len = 1, .p = "g" } };
    struct chat *chat = c->chat;
    struct next next = { .c = c };

    fake_db_rows(c->db, TAIL, 1, 1, 7, tail);
    fake_db_rows(c->db, TAIL, FAKE_ALWAYS, 1, 7, later);
    fake_db_rows(c->db, MEMBERS, 1, 2, 6, both);
    fake_db_rows(c->db, MEMBERS, FAKE_ALWAYS, 1, 6, both + 6); /* Ann was removed */
    fake_db_rows(c->db, "SELECT join_mode", FAKE_ALWAYS, 1, 4, group);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    see(c, 2);
    wait_status(c, chat_aid_ask(c, RPC_CHAT_SIGNAL, GROUP | RPC_TARGET_GROUP, &typing, 5000, NULL), RPC_STATUS_OK);
    fake_db_hold(c->db, true);
    rpc_send_msg(c->rpc, RPC_CHAT_SEND, &ctx, &req, sent_done, &next);
    chat_aid_wait_asked(c, INSERT, 1);
    chat_aid_turn_for(c, 5);
    chat->pulse_ms -= 2000;
    chat_conv_find(chat, GROUP, 0)->known_ms -= 2000;
    notice(c);
    fake_db_hold(c->db, false);
    while (next.answer == NULL)
        net_loop_turn(c->loop, 10);
    wait_status(c, next.answer, RPC_STATUS_PERMISSION_DENIED);
}

static void notice_nothing(struct chat_aid *c)
{
    (void)c;
}

static void the_answer_to_a_write_that_lay_here_for_long_says_nothing_of_now(void **state)
{
    check_old_answer(*state, notice_nothing);
}

static void notice_first(struct chat_aid *c)
{
    struct chat *chat = c->chat;
    uint64_t limit_us = net_clock_us() + 10 * UINT64_C(1000000);

    while (chat->away_ms == 0) {
        assert_true(net_clock_us() < limit_us);
        net_loop_turn(c->loop, 10);
    }
    chat_aid_turn_for(c, 5);
}

static void it_says_nothing_of_now_either_if_the_standstill_was_noticed_before_it(void **state)
{
    check_old_answer(*state, notice_first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, chat_aid_setup, chat_aid_teardown)
        T(a_message_is_written_though_each_read_of_its_log_takes_long),
        T(a_message_is_written_though_the_process_stands_still_again_and_again),
        T(what_was_written_here_while_another_owned_it_is_read_when_it_comes_back),
        T(the_answer_to_a_write_that_lay_here_for_long_says_nothing_of_now),
        T(it_says_nothing_of_now_either_if_the_standstill_was_noticed_before_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
