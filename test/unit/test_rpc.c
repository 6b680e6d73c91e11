/* test/unit/test_rpc.c: calls between nodes: whom they reach, when they are tried again, how they end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "log_aid.h"
#include "net/mem.h"
#include "rpc/rpc_internal.h"
#include "rpc_nodes.h"

static const char *const quick[] = { "rpc.silent_ms=300", NULL };

/* ---- one process ---- */

static void check_alone(const char *local, size_t links)
{
    const char *const settings[] = { local, NULL };
    struct nodes all;
    struct told t, u;
    nodes_open(&all, ROLES("user+chat"), settings);
    struct node *n = &all.node[0];
    ask(n, RPC_USER_GET_PROFILE, 3, 4, 1000, &t);
    ask(n, RPC_CHAT_SEND, 3, 4, 1000, &u);
    nodes_until(&all, &t.done, 1);
    nodes_until(&all, &u.done, 1);
    assert_int_equal(t.err, BT_OK);
    assert_int_equal(u.err, BT_OK);
    assert_int_equal(n->requests, 2);
    assert_int_equal(n->last.caller, 3);
    assert_int_equal(n->last.target, 4);
    assert_int_equal(n->last.session, 5);
    assert_int_equal(n->last.trace, 77);
    assert_in_range(n->last_left_ms, 500, 1000);
    assert_int_equal(node_ready_links(n), links);
    assert_true(rpc_owns(n->rpc, 4, 3));
    assert_int_equal(rpc_stats(n->rpc)->calls, 2);
    assert_int_equal(rpc_stats(n->rpc)->retries, 0);
    assert_int_equal(rpc_last_request_ms(n->rpc), 0); /* from another node */
    nodes_deinit(&all);
}

static void roles_of_one_process_reach_each_other_either_way(void **state)
{
    (void)state;
    check_alone("rpc.local=direct", 2);
    check_alone("rpc.local=socket", 2);
}

static void a_node_alone_without_sockets_listens_to_nobody(void **state)
{
    struct nodes all;
    (void)state;
    nodes_open(&all, ROLES("user"), NULL);
    assert_null(all.node[0].rpc->listener);
    nodes_deinit(&all);
}

static void before_joining_and_after_leaving_a_node_does_its_own_work(void **state)
{
    struct nodes all;
    struct told t, u;
    (void)state;
    nodes_open(&all, ROLES("user+chat"), NULL);
    int views = all.node[0].views;
    rpc_leave(all.node[0].rpc);
    nodes_until(&all, &all.node[0].views, views + 1);
    size_t n;
    rpc_nodes(all.node[0].rpc, &n);
    assert_int_equal(n, 0);
    ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 1000, &t);
    ask(&all.node[0], RPC_CHAT_SEND, 1, 2, 1000, &u);
    nodes_until(&all, &t.done, 1);
    nodes_until(&all, &u.done, 1);
    assert_int_equal(t.err, BT_OK);
    assert_int_equal(u.err, BT_OK);
    nodes_deinit(&all);
}

static void methods_that_nobody_serves_here_are_unimplemented(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, ROLES("user"), NULL);
    ask(&all.node[0], RPC_USER_LIST_SESSIONS, 1, 2, 1000, &t); /* of the role, but in no table */
    nodes_until(&all, &t.done, 1);
    assert_int_equal(t.err, BT_ENOMETHOD);
    nodes_deinit(&all);
}

static void a_payload_that_is_no_such_request_is_refused(void **state)
{
    static const uint8_t junk[] = { 0x0a, 0x7f, 1 };
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, ROLES("user"), NULL);
    ask_with(&all.node[0], RPC_USER_GET_USERS, junk, sizeof junk, &t);
    nodes_until(&all, &t.done, 1);
    assert_int_equal(t.err, BT_EINVAL);
    assert_int_equal(all.node[0].requests, 0);
    nodes_deinit(&all);
}

/* ---- several ---- */

static void a_call_goes_to_the_node_that_serves_it(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, ROLES("proxy", "user"), NULL);
    ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 1000, &t);
    nodes_until(&all, &t.done, 1);
    assert_int_equal(t.err, BT_OK);
    assert_int_equal(all.node[1].requests, 1);
    assert_true(rpc_last_request_ms(all.node[1].rpc) > 0);
    assert_int_equal(all.node[0].ups, 1);
    nodes_deinit(&all);
}

static void a_deadline_shrinks_from_node_to_node(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, ROLES("proxy", "user", "chat"), NULL);
    all.node[1].answers = NODE_ASKS;
    all.node[2].answers = NODE_KEEPS;
    ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 400, &t);
    nodes_for_ms(&all, 100);
    assert_int_equal(all.node[2].requests, 1);
    assert_in_range(all.node[1].last_left_ms, 1, 400);
    assert_in_range(all.node[2].last_left_ms, 1, all.node[1].last_left_ms);
    nodes_until(&all, &t.done, 1);
    assert_int_equal(t.err, BT_ETIMEOUT);
    assert_in_range(t.took_ms, 380, 600);
    nodes_until(&all, &all.node[2].dead, 1);
    nodes_deinit(&all);
}

static void cancelling_reaches_whoever_serves_it(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, ROLES("proxy", "user"), NULL);
    all.node[1].answers = NODE_KEEPS;
    struct rpc_pending *p = ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 3000, &t);
    nodes_until(&all, &all.node[1].requests, 1);
    rpc_cancel(p);
    nodes_until(&all, &all.node[1].dead, 1);
    p = ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 3000, &t);
    rpc_cancel(p); /* at once */
    nodes_for_ms(&all, 30);
    assert_int_equal(t.done, 0);
    assert_int_equal(all.node[0].rpc->peers->outstanding, 0);
    nodes_deinit(&all);
}

static void what_was_not_done_is_tried_at_another_instance(void **state)
{
    static const enum bt_err errs[] = { BT_EDOWN, BT_ECONFLICT };
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct nodes all;
        struct told t[10];
        nodes_open(&all, ROLES("proxy", "user", "user"), NULL);
        all.node[1].answers = NODE_FAILS;
        all.node[1].err = errs[i];
        for (int k = 0; k < 10; k++)
            ask(&all.node[0], RPC_USER_UPDATE_PROFILE, 1, 2, 3000, &t[k]);
        for (int k = 0; k < 10; k++) {
            nodes_until(&all, &t[k].done, 1);
            assert_int_equal(t[k].err, BT_OK);
        }
        assert_int_equal(all.node[2].requests, 10);
        assert_int_equal(all.node[2].resends, 0);
        assert_true(all.node[1].requests > 0);
        assert_int_equal(rpc_stats(all.node[0].rpc)->retries, all.node[1].requests);
        nodes_deinit(&all);
    }
}

static void other_errors_are_the_callers(void **state)
{
    static const enum bt_err errs[] = { BT_EBUSY, BT_EINVAL, BT_EUNSURE, BT_ENOTFOUND, BT_EINTERNAL };
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, ROLES("proxy", "user"), NULL);
    all.node[1].answers = NODE_FAILS;
    for (size_t i = 0; i < sizeof errs / sizeof *errs; i++) {
        all.node[1].err = errs[i];
        ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 1000, &t);
        nodes_until(&all, &t.done, 1);
        assert_int_equal(t.err, errs[i]);
    }
    assert_int_equal(rpc_stats(all.node[0].rpc)->retries, 0);
    nodes_deinit(&all);
}

static void with_nobody_there_a_call_ends_at_its_deadline_as_not_done(void **state)
{
    struct nodes all;
    struct told t, u;
    (void)state;
    nodes_init(&all, ROLES("proxy", "user"));
    nodes_start(&all, 0, NULL);
    ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 300, &t);     /* listed, not running */
    ask(&all.node[0], RPC_GROUP_CREATE_GROUP, 1, 2, 200, &u);   /* not even listed */
    nodes_until(&all, &t.done, 1);
    nodes_until(&all, &u.done, 1);
    assert_int_equal(t.err, BT_EDOWN);
    assert_int_equal(u.err, BT_EDOWN);
    assert_in_range(t.took_ms, 290, 500);
    nodes_deinit(&all);
}

static void a_node_that_comes_in_time_answers_the_waiting_call(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_init(&all, ROLES("proxy", "user"));
    nodes_start(&all, 0, NULL);
    ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 5000, &t);
    nodes_for_ms(&all, 100);
    assert_int_equal(t.done, 0);
    nodes_start(&all, 1, NULL);
    nodes_until(&all, &t.done, 1);
    assert_int_equal(t.err, BT_OK);
    nodes_deinit(&all);
}

static void a_repeatable_call_lost_with_its_link_is_sent_again_and_says_so(void **state)
{
    static const uint16_t methods[] = { RPC_USER_GET_PROFILE, RPC_USER_UPDATE_PROFILE, RPC_CHAT_SEND };
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct nodes all;
        struct told t;
        nodes_open(&all, ROLES("proxy", "user+chat"), NULL);
        all.node[1].answers = NODE_KEEPS;
        ask(&all.node[0], methods[i], 1, 2, 3000, &t);
        nodes_until(&all, &all.node[1].requests, 1);
        assert_int_equal(all.node[1].resends, 0);
        all.node[1].answers = NODE_OK;
        node_break_links(&all.node[1]);
        nodes_until(&all, &t.done, 1);
        assert_int_equal(t.err, BT_OK);
        assert_int_equal(all.node[1].requests, 2);
        assert_int_equal(all.node[1].resends, 1);
        assert_int_equal(rpc_stats(all.node[0].rpc)->resends, 1);
        assert_true(all.node[0].brokes >= 1);
        nodes_deinit(&all);
    }
}

static void after_a_lost_link_running_out_of_time_is_no_promise(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, ROLES("proxy", "user"), NULL);
    all.node[1].answers = NODE_KEEPS;
    ask(&all.node[0], RPC_USER_UPDATE_PROFILE, 1, 2, 500, &t);
    nodes_until(&all, &all.node[1].requests, 1);
    nodes_stop(&all, 1);
    nodes_until(&all, &t.done, 1);
    /* The node ended its calls with UNAVAILABLE before it went, so nothing was done; it may also be seen as lost. */
    assert_true(t.err == BT_EDOWN || t.err == BT_ETIMEOUT);
    nodes_start(&all, 1, NULL);
    ask(&all.node[0], RPC_USER_UPDATE_PROFILE, 1, 2, 3000, &t);
    nodes_until(&all, &all.node[1].requests, 2);
    node_break_links(&all.node[0]);
    all.node[1].is_frozen = true;
    nodes_until(&all, &t.done, 1);
    assert_int_equal(t.err, BT_ETIMEOUT);
    nodes_deinit(&all);
}

static void a_callers_resend_flag_stays_set(void **state)
{
    const struct rpc_ctx ctx = { .caller = 1, .target = 2, .flags = RPC_FLAG_RESEND, .timeout_ms = 1000 };
    struct nodes all;
    (void)state;
    nodes_open(&all, ROLES("chat"), NULL);
    all.node[0].answers = NODE_KEEPS;
    struct rpc_pending *p = rpc_send(all.node[0].rpc, RPC_CHAT_SEND, &ctx, NULL, 0, NULL, NULL);
    nodes_until(&all, &all.node[0].requests, 1);
    assert_int_equal(all.node[0].resends, 1);
    rpc_cancel(p);
    nodes_deinit(&all);
}

static void check_late(const char *local, enum bt_err err, uint64_t expired)
{
    const char *settings[] = { local, NULL };
    struct nodes all;
    struct told t;
    nodes_open(&all, ROLES("user"), settings);
    struct node *n = &all.node[0];
    ask(n, RPC_USER_GET_PROFILE, 1, 2, 1000, &t);
    nodes_until(&all, &t.done, 1);
    for (struct node_link *nl = n->rpc->links; nl; nl = nl->next)
        rpc_link_pause(nl->link);
    ask(n, RPC_USER_GET_PROFILE, 1, 2, 50, &t);
    nodes_until(&all, &t.done, 1);
    assert_int_equal(t.err, err);
    for (struct node_link *nl = n->rpc->links; nl; nl = nl->next)
        rpc_link_resume(nl->link);
    nodes_for_ms(&all, 20);
    assert_int_equal(n->requests, 1);
    assert_int_equal(rpc_stats(n->rpc)->expired, expired);
    nodes_deinit(&all);
}

static void a_request_that_comes_too_late_is_not_begun(void **state)
{
    (void)state;
    check_late("rpc.local=socket", BT_ETIMEOUT, 1); /* it was on its way */
    check_late("rpc.local=direct", BT_EDOWN, 0);    /* it was taken back: surely not done */
}

static void pushed_replies_keep_their_flag(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, ROLES("proxy", "chat"), NULL);
    all.node[1].answers = NODE_PUSHED;
    ask(&all.node[0], RPC_CHAT_SEND, 1, 2, 1000, &t);
    nodes_until(&all, &t.done, 1);
    assert_int_equal(t.flags, RPC_FLAG_PUSHED);
    assert_int_equal(t.len, 5);
    nodes_deinit(&all);
}

/* ---- whom ---- */

static void calls_spread_over_the_instances(void **state)
{
    enum { N = 60 };
    struct nodes all;
    struct told t[N];
    (void)state;
    nodes_open(&all, ROLES("proxy", "user", "user", "user"), NULL);
    for (size_t i = 1; i < 4; i++)
        all.node[i].answers = NODE_KEEPS;
    for (int i = 0; i < N; i++)
        ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 5000, &t[i]);
    nodes_for_ms(&all, 200);
    for (size_t i = 1; i < 4; i++) {
        assert_in_range(all.node[i].requests, N / 3 - 8, N / 3 + 8); /* the less busy of two: tight */
        node_end_kept(&all.node[i], BT_OK);
    }
    for (int i = 0; i < N; i++)
        nodes_until(&all, &t[i].done, 1);
    nodes_deinit(&all);
}

static void the_own_unit_comes_first(void **state)
{
    struct nodes all;
    (void)state;
    nodes_init(&all, ROLES("proxy", "user"));
    nodes_start(&all, 0, NULL);
    struct rpc *rpc = all.node[0].rpc;
    struct registry_node view[2] = { { .roles = 1u << RPC_ROLE_GROUP, .weight = 1 }, { .roles = 1u << RPC_ROLE_GROUP, .weight = 1 } };
    strcpy(view[0].address, "127.0.0.1:1");
    strcpy(view[0].unit, "other");
    strcpy(view[1].address, "127.0.0.1:2");
    strcpy(view[1].unit, "unit1");
    rpc_view_changed(view, 2, rpc);
    const struct rpc_method_info *info = rpc_method_info(RPC_GROUP_CREATE_GROUP);
    for (int i = 0; i < 50; i++)
        assert_string_equal(rpc_choose(rpc, info, 1, 2, 0, NULL)->address, "127.0.0.1:2");
    rpc_peer_find(rpc, "127.0.0.1:2")->is_passed_over = true;
    assert_string_equal(rpc_choose(rpc, info, 1, 2, 0, NULL)->address, "127.0.0.1:1");
    rpc_peer_find(rpc, "127.0.0.1:1")->is_passed_over = true;
    assert_null(rpc_choose(rpc, info, 1, 2, 0, NULL));
    nodes_deinit(&all);
}

static void a_new_node_is_given_less_at_first(void **state)
{
    struct nodes all;
    int fresh = 0;
    (void)state;
    nodes_init(&all, ROLES("proxy", "user"));
    nodes_start(&all, 0, NULL);
    struct rpc *rpc = all.node[0].rpc;
    uint64_t now_ms = net_now_ms(all.node[0].loop);
    struct registry_node view[2] = {
        { .roles = 1u << RPC_ROLE_GROUP, .weight = 1, .address = "127.0.0.1:1", .since_ms = now_ms - 500 },
        { .roles = 1u << RPC_ROLE_GROUP, .weight = 1, .address = "127.0.0.1:2", .since_ms = now_ms - 60000 },
    };
    rpc_view_changed(view, 2, rpc);
    for (int i = 0; i < 1000; i++) {
        struct node_peer *peer = rpc_choose(rpc, rpc_method_info(RPC_GROUP_CREATE_GROUP), 1, 2, 0, NULL);
        fresh += strcmp(peer->address, "127.0.0.1:1") == 0;
    }
    assert_in_range(fresh, 10, 300);
    nodes_deinit(&all);
}

static void a_conversation_has_one_owner_whoever_asks(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, ROLES("proxy", "proxy", "chat", "chat"), NULL);
    for (uint64_t user = 2; user < 12; user++) {
        int before = all.node[2].requests;
        ask(&all.node[0], RPC_CHAT_SEND, 1, user, 1000, &t);
        nodes_until(&all, &t.done, 1);
        bool first = all.node[2].requests == before + 1;
        before = all.node[2].requests;
        ask(&all.node[1], RPC_CHAT_SEND, user, 1, 1000, &t); /* the other of the two, by another proxy */
        nodes_until(&all, &t.done, 1);
        assert_int_equal(all.node[2].requests == before + 1, first);
        assert_int_equal(rpc_owns(all.node[2].rpc, user, 1), first);
        assert_int_equal(rpc_owns(all.node[3].rpc, user, 1), !first);
    }
    assert_true(all.node[2].requests > 0 && all.node[3].requests > 0);
    nodes_deinit(&all);
}

static void the_key_of_a_conversation_does_not_depend_on_who_writes(void **state)
{
    uint64_t hi, lo;
    (void)state;
    rpc_key_of(3, 9, &hi, &lo);
    assert_true(hi == 9 && lo == 3);
    rpc_key_of(9, 3, &hi, &lo);
    assert_true(hi == 9 && lo == 3);
    rpc_key_of(3, RPC_TARGET_GROUP | 12, &hi, &lo);
    assert_true(hi == 12 && lo == 0);
}

/* ---- ending ---- */

static void closing_tells_every_call(void **state)
{
    struct nodes all;
    struct told sent, waiting, pausing;
    (void)state;
    nodes_init(&all, ROLES("proxy", "user", "chat"));
    nodes_start(&all, 0, quick);
    nodes_start(&all, 1, quick);
    all.node[1].answers = NODE_KEEPS;
    ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 5000, &sent);
    nodes_until(&all, &all.node[1].requests, 1);
    ask(&all.node[0], RPC_CHAT_SEND, 1, 2, 5000, &pausing); /* that node does not run */
    nodes_for_ms(&all, 50);
    ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 5000, &waiting);
    nodes_stop(&all, 0);
    assert_int_equal(sent.done + waiting.done + pausing.done, 3);
    assert_int_equal(sent.err, BT_ECLOSING);
    assert_int_equal(waiting.err, BT_ECLOSING);
    assert_int_equal(pausing.err, BT_ECLOSING);
    nodes_deinit(&all);
}

static void every_call_ends_whichever_allocation_fails(void **state)
{
    (void)state;
    for (long n = 0; n < 30; n++) {
        struct nodes all;
        struct told t[3];
        nodes_open(&all, ROLES("proxy", "user"), NULL);
        bt_mem_fail_after(n);
        for (int i = 0; i < 3; i++)
            ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 1000, &t[i]);
        for (int i = 0; i < 3; i++)
            nodes_until(&all, &t[i].done, 1);
        bt_mem_fail_after(-1);
        nodes_deinit(&all);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roles_of_one_process_reach_each_other_either_way),
        cmocka_unit_test(a_node_alone_without_sockets_listens_to_nobody),
        cmocka_unit_test(before_joining_and_after_leaving_a_node_does_its_own_work),
        cmocka_unit_test(methods_that_nobody_serves_here_are_unimplemented),
        cmocka_unit_test(a_payload_that_is_no_such_request_is_refused),
        cmocka_unit_test(a_call_goes_to_the_node_that_serves_it),
        cmocka_unit_test(a_deadline_shrinks_from_node_to_node),
        cmocka_unit_test(cancelling_reaches_whoever_serves_it),
        cmocka_unit_test(what_was_not_done_is_tried_at_another_instance),
        cmocka_unit_test(other_errors_are_the_callers),
        cmocka_unit_test(with_nobody_there_a_call_ends_at_its_deadline_as_not_done),
        cmocka_unit_test(a_node_that_comes_in_time_answers_the_waiting_call),
        cmocka_unit_test(a_repeatable_call_lost_with_its_link_is_sent_again_and_says_so),
        cmocka_unit_test(after_a_lost_link_running_out_of_time_is_no_promise),
        cmocka_unit_test(a_callers_resend_flag_stays_set),
        cmocka_unit_test(a_request_that_comes_too_late_is_not_begun),
        cmocka_unit_test(pushed_replies_keep_their_flag),
        cmocka_unit_test(calls_spread_over_the_instances),
        cmocka_unit_test(the_own_unit_comes_first),
        cmocka_unit_test(a_new_node_is_given_less_at_first),
        cmocka_unit_test(a_conversation_has_one_owner_whoever_asks),
        cmocka_unit_test(the_key_of_a_conversation_does_not_depend_on_who_writes),
        cmocka_unit_test(closing_tells_every_call),
        cmocka_unit_test(every_call_ends_whichever_allocation_fails),
    };
    log_nothing();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
