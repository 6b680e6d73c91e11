/* test/unit/test_rpc_late.c: a node that stood still does not do late what may have been done elsewhere, and undone, since. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "log_aid.h"
#include "rpc/rpc_internal.h"
#include "rpc_nodes.h"

enum { CALLS = 12, AGAIN_MAX = 100 };

static const char *const quick[] = { "rpc.silent_ms=300", NULL };
static const char *const patient[] = { "rpc.silent_ms=5000", NULL };

static void let_stand_still(struct nodes *all, struct node *node)
{
    node->is_frozen = true;
    nodes_for_ms(all, NET_STOOD_MS + 50);
}

static void all_stand_still(struct nodes *all)
{
    usleep((NET_STOOD_MS + 50) * 1000);
    (void)all; /* none of them has a turn */
}

static void ask_many(struct nodes *all, uint16_t method, struct told *t)
{
    for (int i = 0; i < CALLS; i++)
        ask(&all->node[0], method, 1, 2, 6000, &t[i]);
}

static void take_answers(struct nodes *all, struct told *t)
{
    for (int i = 0; i < CALLS; i++) {
        nodes_until(all, &t[i].done, 1);
        assert_int_equal(t[i].err, BT_OK);
    }
}

/* As a client does that is refused. How often it was. */
static int ask_until_done(struct nodes *all, uint16_t method)
{
    struct told t;

    for (int refused = 0; refused < AGAIN_MAX; refused++) {
        ask(&all->node[0], method, 1, 2, 6000, &t);
        nodes_until(all, &t.done, 1);
        if (t.err == BT_OK)
            return refused;
        assert_int_equal(t.err, BT_EDOWN); /* that nothing was done is certain */
        nodes_for_ms(all, 20);
    }
    fail_msg("refused %d times", AGAIN_MAX);
    return AGAIN_MAX;
}

static void what_lay_in_the_socket_of_a_node_that_stood_still_is_not_done(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, ROLES("proxy", "user"), patient);
    assert_int_equal(ask_until_done(&all, RPC_USER_UPDATE_PROFILE), 0);
    all.node[1].is_frozen = true;
    for (int i = 0; i < CALLS; i++) {
        ask(&all.node[0], RPC_USER_UPDATE_PROFILE, 1, 2, 10, &t);
        nodes_until(&all, &t.done, 1);
        assert_int_equal(t.err, BT_ETIMEOUT); /* the caller goes elsewhere */
    }
    let_stand_still(&all, &all.node[1]);
    all.node[1].is_frozen = false;
    nodes_for_ms(&all, 300);
    assert_int_equal(rpc_stats(all.node[1].rpc)->late, CALLS); /* they came */
    assert_int_equal(all.node[1].requests, 1);
    nodes_deinit(&all);
}

static void what_was_done_elsewhere_is_not_done_by_the_one_that_stood_still(void **state)
{
    struct nodes all;
    struct told t[CALLS];
    (void)state;
    nodes_open(&all, ROLES("proxy", "user", "user"), quick);
    ask_many(&all, RPC_USER_UPDATE_PROFILE, t);
    take_answers(&all, t);
    int stuck = all.node[1].requests, others = all.node[2].requests;
    assert_true(stuck > 0 && others > 0);
    all.node[1].is_frozen = true;
    ask_many(&all, RPC_USER_UPDATE_PROFILE, t);
    take_answers(&all, t);
    assert_int_equal(all.node[2].requests, others + CALLS);
    assert_true(rpc_stats(all.node[0].rpc)->resends > 0);
    let_stand_still(&all, &all.node[1]);
    all.node[1].is_frozen = false;
    nodes_for_ms(&all, 300);
    assert_int_equal(all.node[1].requests, stuck);
    nodes_deinit(&all);
}

static void what_can_do_no_harm_is_done_late(void **state)
{
    static const uint16_t methods[] = { RPC_USER_GET_PROFILE, RPC_CHAT_SEND,   RPC_GROUP_CREATE_GROUP,
                                        RPC_USER_LOGOUT,      RPC_CHAT_SIGNAL, RPC_CHAT_DROP_RIGHTS };
    struct nodes all;
    struct told t;
    (void)state;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        nodes_open(&all, ROLES("proxy", "user+chat+group"), patient);
        assert_int_equal(ask_until_done(&all, methods[i]), 0);
        all.node[1].is_frozen = true;
        ask(&all.node[0], methods[i], 1, 2, 6000, &t);
        let_stand_still(&all, &all.node[1]);
        all.node[1].is_frozen = false;
        nodes_until(&all, &t.done, 1);
        assert_int_equal(t.err, BT_OK);
        assert_int_equal(all.node[1].requests, 2);
        assert_int_equal(rpc_stats(all.node[1].rpc)->late, 0);
        nodes_deinit(&all);
    }
}

static void a_caller_who_still_waits_is_served_when_that_is_over(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, ROLES("proxy", "user"), patient);
    assert_int_equal(ask_until_done(&all, RPC_USER_UPDATE_PROFILE), 0);
    all.node[1].is_frozen = true;
    ask(&all.node[0], RPC_USER_UPDATE_PROFILE, 1, 2, 6000, &t);
    let_stand_still(&all, &all.node[1]);
    all.node[1].is_frozen = false;
    nodes_until(&all, &t.done, 1);
    assert_int_equal(t.err, BT_OK);
    assert_int_equal(all.node[1].requests, 2);
    assert_in_range(rpc_stats(all.node[1].rpc)->late, 1, 3); /* he comes again when he was told to */
    nodes_deinit(&all);
}

static void when_all_stood_still_all_go_on(void **state)
{
    static const char *const locals[][2] = { { "rpc.local=direct", NULL }, { "rpc.local=socket", NULL } };
    struct nodes all;
    (void)state;
    nodes_open(&all, ROLES("proxy", "user"), NULL);
    all_stand_still(&all);
    ask_until_done(&all, RPC_USER_UPDATE_PROFILE);
    assert_int_equal(all.node[1].requests, 1);
    assert_int_equal(all.node[0].brokes + all.node[1].brokes, 0);
    nodes_deinit(&all);
    for (int i = 0; i < 2; i++) { /* one process that is all */
        nodes_open(&all, ROLES("proxy+user"), locals[i]);
        all_stand_still(&all);
        ask_until_done(&all, RPC_USER_UPDATE_PROFILE);
        assert_int_equal(all.node[0].requests, 1);
        nodes_deinit(&all);
    }
}

static void a_call_within_the_process_is_not_refused_for_what_its_sockets_hold(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, ROLES("proxy+user"), NULL);
    all_stand_still(&all);
    nodes_turn(&all);
    nodes_turn(&all);
    ask(&all.node[0], RPC_USER_UPDATE_PROFILE, 1, 2, 6000, &t);
    nodes_until(&all, &t.done, 1);
    assert_int_equal(t.err, BT_OK);
    assert_int_equal(rpc_stats(all.node[0].rpc)->late, 0);
    nodes_deinit(&all);
}

static void what_was_not_sent_before_the_caller_stood_still_is_not_sent_after(void **state)
{
    struct nodes all;
    struct told late, fresh, read;
    (void)state;
    nodes_init(&all, ROLES("proxy", "user"));
    nodes_start(&all, 0, NULL);
    ask(&all.node[0], RPC_USER_UPDATE_PROFILE, 1, 2, 60000, &late); /* it waits: nobody is there */
    ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 60000, &read);
    nodes_for_ms(&all, 50);
    assert_int_equal(late.done, 0);
    all_stand_still(&all);
    ask(&all.node[0], RPC_USER_UPDATE_PROFILE, 1, 2, 60000, &fresh);
    nodes_start(&all, 1, NULL);
    nodes_until(&all, &late.done, 1);
    nodes_until(&all, &fresh.done, 1);
    nodes_until(&all, &read.done, 1);
    assert_int_equal(late.err, BT_EDOWN);
    assert_int_equal(fresh.err, BT_OK);
    assert_int_equal(read.err, BT_OK);
    assert_int_equal(all.node[1].requests, 2);
    nodes_deinit(&all);
}

static void a_handler_that_goes_on_after_it_can_tell(void **state)
{
    struct nodes all;
    struct told t[2];
    (void)state;
    nodes_open(&all, ROLES("proxy", "user"), patient);
    all.node[1].answers = NODE_KEEPS;
    ask(&all.node[0], RPC_USER_UPDATE_PROFILE, 1, 2, 6000, &t[0]);
    ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 6000, &t[1]);
    nodes_until(&all, &all.node[1].requests, 2);
    assert_false(rpc_call_is_late(all.node[1].kept[0]));
    all_stand_still(&all);
    for (int i = 0; i < 2; i++) {
        const struct rpc_call *call = all.node[1].kept[i];
        assert_int_equal(rpc_call_is_late(call), rpc_call_header(call)->method == RPC_USER_UPDATE_PROFILE);
    }
    nodes_deinit(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_lay_in_the_socket_of_a_node_that_stood_still_is_not_done),
        cmocka_unit_test(what_was_done_elsewhere_is_not_done_by_the_one_that_stood_still),
        cmocka_unit_test(what_can_do_no_harm_is_done_late),
        cmocka_unit_test(a_caller_who_still_waits_is_served_when_that_is_over),
        cmocka_unit_test(when_all_stood_still_all_go_on),
        cmocka_unit_test(a_call_within_the_process_is_not_refused_for_what_its_sockets_hold),
        cmocka_unit_test(what_was_not_sent_before_the_caller_stood_still_is_not_sent_after),
        cmocka_unit_test(a_handler_that_goes_on_after_it_can_tell),
    };
    log_nothing();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
