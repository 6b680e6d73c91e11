/* test/unit/test_rpc_end.c: how calls between nodes end that were given up, refused, or perhaps done by an earlier try. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "log_aid.h"
#include "rpc/rpc_internal.h"
#include "rpc_nodes.h"

/* ---- giving up, but not what is on its way ---- */

static void an_abandoned_call_still_tells_an_answer_that_was_on_its_way(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, ROLES("proxy", "chat"), NULL);
    all.node[1].answers = NODE_PUSHED;
    all.node[0].is_frozen = true; /* what it is sent lies there until it looks */
    struct rpc_pending *p = ask(&all.node[0], RPC_CHAT_SEND, 1, 2, 5000, &t);
    while (all.node[1].requests == 0) {
        net_loop_turn(all.node[0].loop, 0);
        assert_int_equal(t.done, 0);
        net_loop_turn(all.node[1].loop, 0);
    }
    nodes_for_ms(&all, 20); /* answered, and not yet read */
    assert_int_equal(t.done, 0);
    rpc_abandon(p);
    all.node[0].is_frozen = false;
    nodes_until(&all, &t.done, 1);
    assert_int_equal(t.err, BT_OK);
    assert_int_equal(t.flags, RPC_FLAG_PUSHED);
    assert_int_equal(t.len, 5);
    assert_int_equal(all.node[0].rpc->peers->outstanding, 0);
    nodes_deinit(&all);
}

static void a_push_in_an_answer_that_comes_too_late_is_told_as_lost(void **state)
{
    struct nodes all;
    struct told first, late;
    (void)state;
    nodes_open(&all, ROLES("proxy", "chat"), NULL);
    all.node[1].answers = NODE_PUSHED;
    ask(&all.node[0], RPC_CHAT_SEND, 1, 2, 5000, &first);
    nodes_until(&all, &first.done, 1);
    ask(&all.node[0], RPC_CHAT_SEND, 1, 2, 200, &late);
    net_loop_turn(all.node[0].loop, 0);
    all.node[0].is_frozen = true; /* for less time than it takes to be called silent */
    nodes_until(&all, &all.node[1].requests, 2);
    nodes_for_ms(&all, 250);
    assert_int_equal(all.node[0].brokes, 0);
    all.node[0].is_frozen = false;
    nodes_until(&all, &late.done, 1);
    nodes_for_ms(&all, 50);
    assert_int_equal(late.err, BT_ETIMEOUT);
    assert_int_equal(all.node[0].brokes, 1);
    assert_int_equal(all.node[0].ups, 1);
    nodes_deinit(&all);
}

static void an_abandoned_call_that_nobody_answers_ends_within_two_seconds(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, ROLES("proxy", "user"), NULL);
    all.node[1].answers = NODE_KEEPS;
    struct rpc_pending *p = ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 60000, &t);
    nodes_until(&all, &all.node[1].requests, 1);
    rpc_abandon(p);
    assert_int_equal(t.done, 0); /* not inside the call */
    nodes_until(&all, &all.node[1].dead, 1); /* whoever serves it is told */
    nodes_until(&all, &t.done, 1);
    assert_int_not_equal(t.err, BT_OK);
    assert_in_range(t.took_ms, 0, 2500);
    nodes_for_ms(&all, 250);
    assert_int_equal(all.node[1].requests, 1); /* not tried again */
    assert_int_equal(t.done, 1);
    assert_int_equal(all.node[0].rpc->peers->outstanding, 0);
    nodes_deinit(&all);
}

/* Who asks and gives up again and again is to cost no more than what he may have open. */
static void an_abandoned_call_keeps_no_payload(void **state)
{
    static uint8_t body[50000], payload[50100];
    const SendRequest msg = { .body = rpc_bytes(body, sizeof body) };
    size_t len = rpc_encode(SendRequest_fields, &msg, payload, sizeof payload);
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, ROLES("proxy", "chat"), NULL);
    all.node[1].answers = NODE_KEEPS;
    struct rpc_pending *p = ask_with(&all.node[0], RPC_CHAT_SEND, payload, len, &t);
    nodes_until(&all, &all.node[1].requests, 1);
    assert_true(p->cap >= sizeof body); /* it may have to be sent again */
    rpc_abandon(p);
    assert_int_equal(p->cap, 0);
    assert_null(p->payload);
    nodes_until(&all, &t.done, 1);
    nodes_deinit(&all);
}

static void an_abandoned_call_that_fails_is_not_tried_again(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, ROLES("proxy", "user", "user"), NULL);
    all.node[1].answers = all.node[2].answers = NODE_KEEPS;
    struct rpc_pending *p = ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 60000, &t);
    while (all.node[1].requests + all.node[2].requests == 0)
        nodes_turn(&all);
    rpc_abandon(p);
    node_end_kept(&all.node[1], BT_EDOWN); /* on its way when the cancel comes */
    node_end_kept(&all.node[2], BT_EDOWN);
    nodes_until(&all, &t.done, 1);
    assert_int_equal(t.err, BT_EDOWN);
    assert_in_range(t.took_ms, 0, 1000);
    nodes_for_ms(&all, 250);
    assert_int_equal(all.node[1].requests + all.node[2].requests, 1);
    nodes_deinit(&all);
}

/* ---- the same within the process ---- */

enum { DIRECT_MS = 60000 };

/* A node that reaches itself directly, and has done so once. */
static void open_direct(struct nodes *all)
{
    static const char *const direct[] = { "rpc.local=direct", NULL };
    struct told t;

    nodes_open(all, ROLES("user"), direct);
    ask(&all->node[0], RPC_USER_GET_PROFILE, 1, 2, DIRECT_MS, &t);
    nodes_until(all, &t.done, 1);
    assert_int_equal(t.err, BT_OK);
    assert_int_equal(all->node[0].requests, 1);
    all->node[0].answers = NODE_KEEPS;
}

/* Such a node, and a second call, which has not come to its role yet. */
static struct rpc_pending *ask_directly(struct nodes *all, struct told *t)
{
    open_direct(all);
    return ask(&all->node[0], RPC_USER_GET_PROFILE, 1, 2, DIRECT_MS, t);
}

/* The same, and its role has it. */
static struct rpc_pending *ask_until_kept(struct nodes *all, struct told *t)
{
    struct rpc_pending *p = ask_directly(all, t);

    nodes_until(all, &all->node[0].requests, 2);
    return p;
}

static void check_ended(struct nodes *all, const struct told *t, int done, int requests)
{
    assert_int_equal(all->node[0].rpc->self_peer->outstanding, 0);
    nodes_for_ms(all, 250);
    assert_int_equal(t->done, done);
    assert_int_equal(all->node[0].requests, requests); /* not tried again */
    nodes_deinit(all);
}

static void a_direct_call_that_is_abandoned_before_it_arrives_does_not_arrive(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    rpc_abandon(ask_directly(&all, &t));
    assert_int_equal(t.done, 0); /* not inside the call */
    nodes_until(&all, &t.done, 1);
    assert_int_equal(t.err, BT_EDOWN); /* surely not done */
    assert_in_range(t.took_ms, 0, 500);
    check_ended(&all, &t, 1, 1);
}

static void a_direct_call_that_is_cancelled_before_it_arrives_does_not_arrive(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    rpc_cancel(ask_directly(&all, &t));
    check_ended(&all, &t, 0, 1);
}

static void a_direct_call_that_is_abandoned_and_not_answered_ends_within_two_seconds(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    rpc_abandon(ask_until_kept(&all, &t));
    nodes_until(&all, &all.node[0].dead, 1);
    assert_int_equal(t.done, 0);
    nodes_until(&all, &t.done, 1);
    assert_int_equal(t.err, BT_ETIMEOUT);
    assert_in_range(t.took_ms, 1000, 2500);
    check_ended(&all, &t, 1, 2);
}

static void a_direct_call_that_is_cancelled_dies_where_it_is(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    rpc_cancel(ask_until_kept(&all, &t));
    nodes_until(&all, &all.node[0].dead, 1);
    check_ended(&all, &t, 0, 2);
}

static void check_direct_answer(enum bt_err err, bool is_cancelled)
{
    struct nodes all;
    struct told t;
    struct rpc_pending *p = ask_until_kept(&all, &t);
    node_end_kept(&all.node[0], err); /* on its way */
    if (is_cancelled) {
        rpc_cancel(p);
    } else {
        rpc_abandon(p);
        nodes_until(&all, &t.done, 1);
        assert_int_equal(t.err, err);
        assert_in_range(t.took_ms, 0, 1000);
    }
    nodes_for_ms(&all, 20);
    assert_int_equal(all.node[0].dead, 0);
    check_ended(&all, &t, !is_cancelled, 2);
}

static void a_direct_answer_that_was_on_its_way_is_told_unless_its_call_was_cancelled(void **state)
{
    (void)state;
    check_direct_answer(BT_OK, false);
    check_direct_answer(BT_EDOWN, false);
    check_direct_answer(BT_OK, true);
    check_direct_answer(BT_EDOWN, true);
}

static void an_abandoned_call_that_was_not_sent_ends_at_once(void **state)
{
    struct nodes all;
    struct told waiting, pausing;
    (void)state;
    nodes_init(&all, ROLES("proxy", "user"));
    nodes_start(&all, 0, NULL);
    struct rpc_pending *p = ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 60000, &waiting);
    struct rpc_pending *q = ask(&all.node[0], RPC_GROUP_CREATE_GROUP, 1, 2, 60000, &pausing); /* listed nowhere */
    rpc_abandon(p);
    rpc_abandon(q);
    assert_int_equal(waiting.done + pausing.done, 0);
    nodes_until(&all, &waiting.done, 1);
    nodes_until(&all, &pausing.done, 1);
    assert_int_equal(waiting.err, BT_ECANCELLED);
    assert_int_equal(pausing.err, BT_ECANCELLED);
    assert_in_range(waiting.took_ms, 0, 500);
    assert_in_range(pausing.took_ms, 0, 500);
    nodes_for_ms(&all, 50);
    assert_int_equal(waiting.done + pausing.done, 2);
    nodes_deinit(&all);
}

/* ---- how often, and what is told then ---- */

static void refusals_are_passed_on_after_five(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, ROLES("proxy", "user"), NULL);
    all.node[1].answers = NODE_FAILS;
    all.node[1].err = BT_EDOWN;
    ask(&all.node[0], RPC_USER_UPDATE_PROFILE, 1, 2, 60000, &t);
    nodes_until(&all, &t.done, 1);
    assert_int_equal(t.err, BT_EDOWN); /* that nothing was done is still so */
    assert_int_equal(all.node[1].requests, 5);
    assert_int_equal(all.node[1].resends, 0);
    assert_in_range(t.took_ms, 0, 2000);
    nodes_deinit(&all);
}

static void many_refused_calls_do_not_multiply_the_load(void **state)
{
    enum { CALLS = 1000 };
    static struct told t[CALLS];
    struct nodes all;
    (void)state;
    nodes_open(&all, ROLES("proxy", "user"), NULL);
    all.node[1].answers = NODE_FAILS;
    all.node[1].err = BT_EDOWN;
    for (int i = 0; i < CALLS; i++)
        ask(&all.node[0], RPC_USER_UPDATE_PROFILE, 1, 2, 60000, &t[i]);
    for (int i = 0; i < CALLS; i++) {
        nodes_until(&all, &t[i].done, 1);
        assert_int_equal(t[i].err, BT_EDOWN);
    }
    assert_in_range(all.node[1].requests, 2 * CALLS, 2 * CALLS + 300); /* each once again; what was saved up; one for ten */
    nodes_deinit(&all);
}

static void that_the_last_try_did_nothing_is_no_word_on_an_earlier_one(void **state)
{
    static const struct {
        uint16_t method;
        enum bt_err last, told;
    } cases[] = {
        { RPC_CHAT_SEND, BT_EBUSY, BT_EUNSURE },
        { RPC_CHAT_SEND, BT_EDENIED, BT_EUNSURE },    /* the rights were others before */
        { RPC_CHAT_SEND, BT_EEXIST, BT_EEXIST },
        { RPC_USER_UPDATE_PROFILE, BT_EDOWN, BT_EUNSURE },
        { RPC_USER_GET_PROFILE, BT_EBUSY, BT_EBUSY }, /* reading does nothing anyway */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct nodes all;
        struct told t;
        nodes_open(&all, ROLES("proxy", "user+chat"), NULL);
        all.node[1].answers = NODE_KEEPS;
        ask(&all.node[0], cases[i].method, 1, 2, 60000, &t);
        nodes_until(&all, &all.node[1].requests, 1);
        all.node[1].answers = NODE_FAILS;
        all.node[1].err = cases[i].last;
        node_break_links(&all.node[1]);
        nodes_until(&all, &t.done, 1);
        assert_int_equal(t.err, cases[i].told);
        assert_int_equal(all.node[1].requests, 1 + all.node[1].resends);
        assert_true(all.node[1].resends > 0);
        nodes_deinit(&all);
    }
}

static void a_node_that_ends_does_not_say_not_done_of_what_it_has_sent(void **state)
{
    struct nodes all;
    struct told written, read;
    (void)state;
    nodes_open(&all, ROLES("proxy", "user+chat"), NULL);
    all.node[1].answers = NODE_KEEPS;
    ask(&all.node[0], RPC_CHAT_SEND, 1, 2, 60000, &written);
    ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 60000, &read);
    nodes_until(&all, &all.node[1].requests, 2);
    nodes_stop(&all, 0);
    assert_int_equal(written.done + read.done, 2);
    assert_int_equal(written.err, BT_EUNSURE);
    assert_int_equal(read.err, BT_ECLOSING);
    nodes_deinit(&all);
}

static void a_full_queue_is_no_word_on_an_earlier_try(void **state)
{
    static const char *const small[] = { "rpc.queue_bytes=65536", NULL };
    static const uint8_t bulk[60000];
    const struct rpc_ctx ctx = { .caller = 1, .target = 2, .timeout_ms = 60000 };
    struct nodes all;
    struct told once, again;
    (void)state;
    nodes_init(&all, ROLES("proxy", "user+chat"));
    nodes_start(&all, 0, small); /* the other does not run: what it is sent waits here */
    struct rpc_pending *first = rpc_send(all.node[0].rpc, RPC_CHAT_SEND, &ctx, bulk, sizeof bulk, NULL, NULL);
    struct rpc_pending *second = rpc_send(all.node[0].rpc, RPC_CHAT_SEND, &ctx, bulk, sizeof bulk, NULL, NULL);
    ask(&all.node[0], RPC_CHAT_SEND, 1, 2, 60000, &once);
    ask_again(&all.node[0], RPC_CHAT_SEND, &again);
    nodes_until(&all, &once.done, 1);
    nodes_until(&all, &again.done, 1);
    assert_int_equal(once.err, BT_EBUSY);
    assert_int_equal(again.err, BT_EUNSURE);
    rpc_cancel(first);
    rpc_cancel(second);
    nodes_deinit(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_abandoned_call_still_tells_an_answer_that_was_on_its_way),
        cmocka_unit_test(a_push_in_an_answer_that_comes_too_late_is_told_as_lost),
        cmocka_unit_test(an_abandoned_call_that_nobody_answers_ends_within_two_seconds),
        cmocka_unit_test(an_abandoned_call_keeps_no_payload),
        cmocka_unit_test(an_abandoned_call_that_fails_is_not_tried_again),
        cmocka_unit_test(an_abandoned_call_that_was_not_sent_ends_at_once),
        cmocka_unit_test(a_direct_call_that_is_abandoned_before_it_arrives_does_not_arrive),
        cmocka_unit_test(a_direct_call_that_is_cancelled_before_it_arrives_does_not_arrive),
        cmocka_unit_test(a_direct_call_that_is_abandoned_and_not_answered_ends_within_two_seconds),
        cmocka_unit_test(a_direct_call_that_is_cancelled_dies_where_it_is),
        cmocka_unit_test(a_direct_answer_that_was_on_its_way_is_told_unless_its_call_was_cancelled),
        cmocka_unit_test(refusals_are_passed_on_after_five),
        cmocka_unit_test(many_refused_calls_do_not_multiply_the_load),
        cmocka_unit_test(that_the_last_try_did_nothing_is_no_word_on_an_earlier_one),
        cmocka_unit_test(a_node_that_ends_does_not_say_not_done_of_what_it_has_sent),
        cmocka_unit_test(a_full_queue_is_no_word_on_an_earlier_try),
    };
    log_nothing();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
