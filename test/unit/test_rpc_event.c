/* test/unit/test_rpc_event.c: events between nodes, the news of their connections, and connections that break again and again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "log_aid.h"
#include "net/mem.h"
#include "rpc/bytes.h"
#include "rpc/rpc_internal.h"
#include "rpc_nodes.h"

static const char *const proxy_and_user[] = { "proxy+friend", "user", NULL };
static const struct rpc_ctx no_ctx = { .trace = 1 };

static void events_wait_for_the_connection_and_keep_their_order(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, proxy_and_user, NULL);
    struct node *user = &all.node[1], *proxy = &all.node[0];
    for (int i = 0; i < 5; i++)
        assert_int_equal(rpc_event_to(user->rpc, proxy->address, RPC_PROXY_PUSH, &no_ctx, NULL, 0), BT_OK);
    assert_int_equal(rpc_event(user->rpc, RPC_FRIEND_PRESENCE_CHANGED, &no_ctx, &(PresenceEvent){ .user_id = 4 }), BT_OK);
    assert_int_equal(proxy->events, 0);
    nodes_until(&all, &proxy->events, 6);
    assert_int_equal(proxy->last.method, RPC_FRIEND_PRESENCE_CHANGED);
    ask(proxy, RPC_USER_GET_PROFILE, 1, 2, 1000, &t);
    nodes_until(&all, &t.done, 1);
    assert_int_equal(user->ups, 1);
    assert_int_equal(rpc_event_to(user->rpc, user->address, RPC_PROXY_PUSH, &no_ctx, NULL, 0), BT_OK); /* itself: dropped, no such role */
    nodes_deinit(&all);
}

static void events_to_nobody_are_refused_or_reported_lost(void **state)
{
    struct nodes all;
    (void)state;
    nodes_init(&all, proxy_and_user);
    nodes_start(&all, 1, NULL);
    struct node *user = &all.node[1];
    assert_int_equal(rpc_event(user->rpc, RPC_CHAT_NOTIFY, &no_ctx, &(PushEvent){ .method = 1 }), BT_EDOWN);
    assert_int_equal(rpc_event_to(user->rpc, all.node[0].address, RPC_PROXY_PUSH, &no_ctx, NULL, 0), BT_OK);
    nodes_until(&all, &user->brokes, 1); /* it was not running: what waited is lost, and that is told */
    assert_int_equal(rpc_event_to(user->rpc, all.node[0].address, RPC_PROXY_PUSH, &no_ctx, NULL, 0), BT_EDOWN);
    nodes_start(&all, 0, NULL);
    for (int i = 0; i < 500 && rpc_event_to(user->rpc, all.node[0].address, RPC_PROXY_PUSH, &no_ctx, NULL, 0) != BT_OK; i++)
        nodes_for_ms(&all, 10);
    nodes_until(&all, &all.node[0].events, 1);
    nodes_deinit(&all);
}

static void a_full_queue_of_events_is_refused_and_drains(void **state)
{
    static const char *const set[] = { "rpc.queue_bytes=65536", NULL };
    static uint8_t event[4096], body[4000];
    struct nodes all;
    struct told t;
    int sent = 0;
    (void)state;
    nodes_open(&all, proxy_and_user, set);
    struct node *user = &all.node[1], *proxy = &all.node[0];
    ask(proxy, RPC_USER_GET_PROFILE, 1, 2, 1000, &t);
    nodes_until(&all, &t.done, 1);
    const PushEvent msg = { .method = 1, .event = rpc_bytes(body, sizeof body) };
    size_t len = rpc_encode(PushEvent_fields, &msg, event, sizeof event);
    while (sent < 10000 && rpc_event_to(user->rpc, proxy->address, RPC_PROXY_PUSH, &no_ctx, event, len) == BT_OK)
        sent++;
    assert_in_range(sent, 10, 30);
    nodes_until(&all, &proxy->events, sent);
    assert_int_equal(user->draineds, 1);
    assert_int_equal(rpc_event_to(user->rpc, proxy->address, RPC_PROXY_PUSH, &no_ctx, event, len), BT_OK);
    nodes_until(&all, &proxy->events, sent + 1);
    nodes_deinit(&all);
}

static void an_event_that_was_taken_comes_or_is_told_as_lost_whichever_allocation_fails(void **state)
{
    static uint8_t event[8192], body[8000]; /* it needs memory on every stretch of its way */
    const PushEvent msg = { .method = 1, .event = rpc_bytes(body, sizeof body) };
    size_t len = rpc_encode(PushEvent_fields, &msg, event, sizeof event);
    (void)state;
    for (long n = 0; n < 40; n++) {
        struct nodes all;
        nodes_open(&all, proxy_and_user, NULL);
        struct node *user = &all.node[1], *proxy = &all.node[0];
        bt_mem_fail_after(n);
        enum bt_err err = rpc_event_to(user->rpc, proxy->address, RPC_PROXY_PUSH, &no_ctx, event, len);
        for (int i = 0; i < 3000 && err == BT_OK && proxy->events + user->brokes + proxy->brokes == 0; i++)
            nodes_turn(&all);
        bt_mem_fail_after(-1);
        assert_true(err == BT_ENOMEM || proxy->events + user->brokes + proxy->brokes > 0);
        nodes_deinit(&all);
    }
}

static void a_broken_link_is_told_and_stands_again(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, proxy_and_user, NULL);
    ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 1000, &t);
    nodes_until(&all, &t.done, 1);
    rpc_link_close(all.node[1].rpc->links->link, BT_OK);
    nodes_until(&all, &all.node[0].brokes, 1);
    nodes_until(&all, &all.node[1].brokes, 1);
    nodes_until(&all, &all.node[0].ups, 2);
    nodes_until(&all, &all.node[1].ups, 2);
    nodes_for_ms(&all, 50);
    assert_int_equal(node_ready_links(&all.node[0]), 1);
    nodes_deinit(&all);
}

/* Every call is told once, whatever breaks under it, and none is forgotten. */
static void calls_survive_connections_that_break_again_and_again(void **state)
{
    enum { CALLS = 400 };
    static struct told t[CALLS];
    struct nodes all;
    unsigned dice = 1;
    (void)state;
    nodes_open(&all, ROLES("proxy+user", "user+chat", "chat+proxy"), NULL);
    for (int i = 0; i < CALLS; i++) {
        struct rpc_pending *p = ask(&all.node[i % 3], i % 2 ? RPC_CHAT_SEND : RPC_USER_UPDATE_PROFILE, 1, (uint64_t)(2 + i), 6000, &t[i]);
        dice = dice * 1103515245 + 12345;
        if (i % 11 == 10) {
            rpc_cancel(p);
            t[i].done = 1;
        }
        struct node_link *nl = all.node[dice >> 16 & 1].rpc->links;
        if ((dice >> 20 & 7) == 0 && nl)
            rpc_link_close(nl->link, BT_OK);
        if ((dice >> 24 & 3) == 0)
            nodes_turn(&all);
    }
    for (int i = 0; i < CALLS; i++)
        nodes_until(&all, &t[i].done, 1);
    nodes_for_ms(&all, 100);
    for (int i = 0; i < CALLS; i++) {
        assert_int_equal(t[i].done, 1);
        assert_int_equal(t[i].err, BT_OK);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(rpc_open_calls(all.node[i].rpc), 0);
        assert_null(all.node[i].rpc->pendings);
        for (const struct node_peer *peer = all.node[i].rpc->peers; peer; peer = peer->next)
            assert_int_equal(peer->outstanding, 0);
    }
    nodes_deinit(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_wait_for_the_connection_and_keep_their_order),
        cmocka_unit_test(events_to_nobody_are_refused_or_reported_lost),
        cmocka_unit_test(a_full_queue_of_events_is_refused_and_drains),
        cmocka_unit_test(an_event_that_was_taken_comes_or_is_told_as_lost_whichever_allocation_fails),
        cmocka_unit_test(a_broken_link_is_told_and_stands_again),
        cmocka_unit_test(calls_survive_connections_that_break_again_and_again),
    };
    log_nothing();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
