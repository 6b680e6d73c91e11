/* test/unit/test_rpc_node.c: connections between nodes: hello, one for each pair, who is passed over. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "log_aid.h"
#include "rpc/bytes.h"
#include "rpc/frame.h"
#include "rpc/rpc_internal.h"
#include "rpc_nodes.h"

static const char *const quick[] = { "rpc.silent_ms=300", NULL };
static const char *const proxy_and_user[] = { "proxy+friend", "user", NULL };

/* ---- one connection ---- */

static void check_one_link(struct nodes *all)
{
    const struct node_link *a = all->node[0].rpc->links, *b = all->node[1].rpc->links;
    bool first_is_smaller = strcmp(all->node[0].address, all->node[1].address) < 0;
    assert_int_equal(node_ready_links(&all->node[0]), 1);
    assert_int_equal(node_ready_links(&all->node[1]), 1);
    assert_null(a->next);
    assert_null(b->next);
    assert_int_equal(a->is_dialled, first_is_smaller);
    assert_int_equal(b->is_dialled, !first_is_smaller);
}

static void of_two_dialled_at_once_that_of_the_smaller_address_stays(void **state)
{
    (void)state;
    for (int round = 0; round < 12; round++) {
        struct nodes all;
        struct told t, u;
        nodes_open(&all, ROLES("user", "chat"), NULL);
        ask(&all.node[0], RPC_CHAT_SEND, 1, 2, 4000, &t);
        for (int i = 0; i < round / 2; i++)
            net_loop_turn(all.node[round % 2].loop, 0); /* one is ahead by some turns */
        ask(&all.node[1], RPC_USER_UPDATE_PROFILE, 1, 2, 4000, &u);
        nodes_until(&all, &t.done, 1);
        nodes_until(&all, &u.done, 1);
        assert_int_equal(t.err, BT_OK);
        assert_int_equal(u.err, BT_OK);
        assert_int_equal(all.node[0].requests + all.node[1].requests, 2); /* nothing was done twice */
        nodes_for_ms(&all, 30);
        if (round < 2)
            check_one_link(&all);
        assert_int_equal(node_ready_links(&all.node[0]), 1);
        assert_int_equal(node_ready_links(&all.node[1]), 1);
        nodes_deinit(&all);
    }
}

static void both_ways_share_one_connection(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, ROLES("user", "chat"), NULL);
    ask(&all.node[0], RPC_CHAT_SEND, 1, 2, 1000, &t);
    nodes_until(&all, &t.done, 1);
    ask(&all.node[1], RPC_USER_GET_PROFILE, 1, 2, 1000, &t);
    nodes_until(&all, &t.done, 1);
    assert_int_equal(t.err, BT_OK);
    assert_int_equal(node_ready_links(&all.node[0]), 1);
    assert_int_equal(node_ready_links(&all.node[1]), 1);
    nodes_deinit(&all);
}

static void a_node_that_was_started_anew_is_connected_to_anew(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, proxy_and_user, NULL);
    for (int i = 0; i < 3; i++) {
        ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 4000, &t);
        nodes_until(&all, &t.done, 1);
        assert_int_equal(t.err, BT_OK);
        nodes_stop(&all, 1);
        nodes_start(&all, 1, NULL);
    }
    assert_int_equal(all.node[1].requests, 3);
    nodes_deinit(&all);
}

/* ---- what strangers may do at the node listener ---- */

static int dial_raw(const char *address)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    to.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void put_frame(int fd, enum rpc_kind kind, uint16_t method, uint32_t call, const void *payload, size_t len)
{
    const struct rpc_header h = { .length = (uint32_t)(44 + len), .method = method, .kind = kind, .call = call, .timeout_ms = 1000 };
    uint8_t wire[512];
    rpc_header_encode(&h, wire);
    memcpy(wire + RPC_HEADER_SIZE, payload, len);
    assert_int_equal(send(fd, wire, RPC_HEADER_SIZE + len, 0), RPC_HEADER_SIZE + len);
}

/* The status of one reply, or -1 when the connection ends without one. */
static int get_status(struct nodes *all, int fd)
{
    uint8_t wire[512];
    size_t len = 0;
    for (uint64_t start_us = net_clock_us(); net_clock_us() - start_us < 8000000;) {
        struct rpc_frame f;
        size_t used, need;
        ssize_t n = recv(fd, wire + len, sizeof wire - len, MSG_DONTWAIT);
        if (n == 0)
            return -1;
        len += n > 0 ? (size_t)n : 0;
        assert_int_equal(rpc_frame_take(wire, len, sizeof wire, RPC_FLAGS_NODE, &f, &used, &need), BT_OK);
        if (used > 0)
            return f.h.status;
        nodes_turn(all);
    }
    fail_msg("neither a reply nor an end");
    return -2;
}

static size_t hello_payload(uint8_t *out, size_t size, uint32_t version, const char *address)
{
    const NodeHelloRequest msg = { .version = version, .address = rpc_str(address), .epoch = 1 };
    return rpc_encode(NodeHelloRequest_fields, &msg, out, size);
}

static void what_was_under_way_to_a_node_that_comes_again_is_told_as_lost(void **state)
{
    struct nodes all;
    struct told t;
    uint8_t payload[128];
    int fd;
    (void)state;
    nodes_open(&all, proxy_and_user, NULL);
    ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 4000, &t);
    nodes_until(&all, &t.done, 1);
    assert_int_equal(all.node[0].ups, 1);
    assert_int_equal(all.node[0].brokes, 0);
    all.node[1].is_frozen = true; /* its host lost power: nothing ends the connection */
    fd = dial_raw(all.node[0].address);
    put_frame(fd, RPC_REQUEST, RPC_NODE_HELLO, 1, payload, hello_payload(payload, sizeof payload, 1, all.node[1].address));
    assert_int_equal(get_status(&all, fd), RPC_STATUS_OK);
    nodes_until(&all, &all.node[0].ups, 2);
    assert_int_equal(all.node[0].brokes, 1);
    nodes_for_ms(&all, 20);
    assert_int_equal(all.node[0].brokes, 1);
    close(fd);
    nodes_deinit(&all);
}

static void nothing_is_done_before_hello(void **state)
{
    struct nodes all;
    uint8_t hello[128];
    (void)state;
    nodes_open(&all, proxy_and_user, NULL);
    int fd = dial_raw(all.node[1].address);
    put_frame(fd, RPC_REQUEST, RPC_USER_GET_PROFILE, 1, "", 0);
    put_frame(fd, RPC_REQUEST, RPC_NODE_HELLO, 2, hello, hello_payload(hello, sizeof hello, 1, "127.0.0.1:9"));
    assert_int_equal(get_status(&all, fd), RPC_STATUS_UNAUTHENTICATED);
    assert_int_equal(get_status(&all, fd), -1);
    close(fd);
    fd = dial_raw(all.node[0].address);
    put_frame(fd, RPC_EVENT, RPC_PROXY_PUSH, 0, "", 0);
    assert_int_equal(get_status(&all, fd), -1);
    close(fd);
    assert_int_equal(all.node[0].events + all.node[1].requests, 0);
    nodes_deinit(&all);
}

static void check_hello(const void *payload, size_t len, int want)
{
    struct nodes all;
    nodes_open(&all, proxy_and_user, NULL);
    int fd = dial_raw(all.node[1].address);
    put_frame(fd, RPC_REQUEST, RPC_NODE_HELLO, 1, payload, len);
    assert_int_equal(get_status(&all, fd), want);
    close(fd);
    nodes_for_ms(&all, 20);
    nodes_deinit(&all);
}

static void a_bad_hello_is_refused(void **state)
{
    char long_address[80];
    uint8_t hello[256];
    (void)state;
    check_hello(hello, hello_payload(hello, sizeof hello, 1, "127.0.0.1:9"), RPC_STATUS_OK);
    check_hello(hello, hello_payload(hello, sizeof hello, 0, "127.0.0.1:9"), RPC_STATUS_FAILED_PRECONDITION);
    check_hello("", 0, RPC_STATUS_FAILED_PRECONDITION);
    check_hello(hello, hello_payload(hello, sizeof hello, 1, ""), RPC_STATUS_INVALID_ARGUMENT);
    check_hello("\x12\x7f", 2, RPC_STATUS_INVALID_ARGUMENT);
    memset(long_address, '1', 79);
    long_address[79] = '\0';
    check_hello(hello, hello_payload(hello, sizeof hello, 1, long_address), RPC_STATUS_INVALID_ARGUMENT);
}

static void a_second_hello_closes_and_so_does_saying_none(void **state)
{
    struct nodes all;
    uint8_t hello[128];
    (void)state;
    nodes_open(&all, proxy_and_user, NULL);
    int fd = dial_raw(all.node[1].address), mute = dial_raw(all.node[1].address);
    size_t len = hello_payload(hello, sizeof hello, 1, "127.0.0.1:9");
    put_frame(fd, RPC_REQUEST, RPC_NODE_HELLO, 1, hello, len);
    assert_int_equal(get_status(&all, fd), RPC_STATUS_OK);
    put_frame(fd, RPC_REQUEST, RPC_NODE_HELLO, 2, hello, len);
    assert_int_equal(get_status(&all, fd), RPC_STATUS_INVALID_ARGUMENT);
    assert_int_equal(get_status(&all, fd), -1);
    assert_int_equal(get_status(&all, mute), -1);
    close(fd);
    close(mute);
    nodes_deinit(&all);
}

static void a_listener_beyond_this_machine_needs_a_secret(void **state)
{
    static const char *const addresses[] = { "node.listen=0.0.0.0:0", "node.listen=192.0.2.1:0", "node.listen=[::]:0" };
    char why[256];
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct net_loop *loop;
        struct conf *conf;
        struct rpc *rpc;
        assert_int_equal(net_loop_new(&loop), BT_OK);
        assert_int_equal(conf_new(&conf), BT_OK);
        conf_declare(conf, rpc_keys);
        conf_declare(conf, registry_keys);
        assert_int_equal(conf_set(conf, addresses[i], why, sizeof why), BT_OK);
        assert_int_equal(conf_set(conf, "rpc.local=socket", why, sizeof why), BT_OK);
        assert_int_equal(rpc_new(loop, conf, &rpc, why, sizeof why), BT_EDENIED);
        assert_non_null(strstr(why, "loopback"));
        conf_free(conf);
        net_loop_free(loop);
    }
}

static void a_list_of_nodes_that_cannot_be_read_stops_the_start(void **state)
{
    static const char *const lists[] = {
        "user", "user@", "usr@127.0.0.1:1", "user@127.0.0.1:1*x", "user@127.0.0.1:1*", "user@127.0.0.1:1*101", "node@127.0.0.1:1", "@127.0.0.1:1",
    };
    char why[256], text[128];
    (void)state;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        struct net_loop *loop;
        struct conf *conf;
        struct rpc *rpc;
        assert_int_equal(net_loop_new(&loop), BT_OK);
        assert_int_equal(conf_new(&conf), BT_OK);
        conf_declare(conf, rpc_keys);
        conf_declare(conf, registry_keys);
        snprintf(text, sizeof text, "registry.nodes=%s", lists[i]);
        assert_int_equal(conf_set(conf, text, why, sizeof why), BT_OK);
        assert_int_equal(rpc_new(loop, conf, &rpc, why, sizeof why), BT_EINVAL);
        assert_non_null(strstr(why, lists[i]));
        conf_free(conf);
        net_loop_free(loop);
    }
}

static void the_list_gives_roles_and_weights(void **state)
{
    static const char *const set[] = { "registry.nodes= user+chat@127.0.0.1:7401*3 ,proxy@127.0.0.1:7402", NULL };
    struct nodes all;
    size_t n;
    (void)state;
    nodes_open(&all, ROLES("friend"), set);
    const struct registry_node *view = rpc_nodes(all.node[0].rpc, &n);
    assert_int_equal(n, 3);
    assert_true(view[0].is_self);
    assert_int_equal(view[0].roles, 1u << RPC_ROLE_FRIEND);
    assert_string_equal(view[1].address, "127.0.0.1:7401");
    assert_int_equal(view[1].weight, 3);
    assert_int_equal(view[1].roles, 1u << RPC_ROLE_USER | 1u << RPC_ROLE_CHAT);
    assert_int_equal(view[2].weight, 1);
    rpc_set_load(all.node[0].rpc, 42);
    nodes_until(&all, &all.node[0].views, 2);
    assert_int_equal(rpc_nodes(all.node[0].rpc, &n)->load, 42);
    nodes_deinit(&all);
}

/* ---- nodes that do not answer ---- */

static void a_node_that_is_not_reached_is_passed_over(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_init(&all, ROLES("proxy", "user", "user"));
    nodes_start(&all, 0, NULL);
    nodes_start(&all, 1, NULL);
    for (int i = 0; i < 30; i++) {
        ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 4000, &t);
        nodes_until(&all, &t.done, 1);
        assert_int_equal(t.err, BT_OK);
        if (i > 20)
            assert_in_range(t.took_ms, 0, 150);
    }
    assert_int_equal(all.node[1].requests, 30);
    assert_true(rpc_peer_find(all.node[0].rpc, all.node[2].address)->is_passed_over);
    nodes_start(&all, 2, NULL); /* and is asked again when it is there */
    for (int i = 0; i < 400 && all.node[2].requests == 0; i++) {
        ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 4000, &t);
        nodes_until(&all, &t.done, 1);
        nodes_for_ms(&all, 10);
    }
    assert_true(all.node[2].requests > 0);
    nodes_deinit(&all);
}

static void calls_on_a_node_that_falls_silent_go_elsewhere(void **state)
{
    struct nodes all;
    struct told t[12];
    (void)state;
    nodes_open(&all, ROLES("proxy", "user", "user"), quick);
    for (int i = 0; i < 12; i++)
        ask(&all.node[0], RPC_USER_UPDATE_PROFILE, 1, 2, 6000, &t[i]);
    for (int i = 0; i < 12; i++)
        nodes_until(&all, &t[i].done, 1);
    assert_true(all.node[1].requests > 0 && all.node[2].requests > 0);
    all.node[1].is_frozen = true;
    int before = all.node[2].requests;
    for (int i = 0; i < 12; i++)
        ask(&all.node[0], RPC_USER_UPDATE_PROFILE, 1, 2, 6000, &t[i]);
    for (int i = 0; i < 12; i++) {
        nodes_until(&all, &t[i].done, 1);
        assert_int_equal(t[i].err, BT_OK);
        assert_in_range(t[i].took_ms, 0, 2000);
    }
    assert_int_equal(all.node[2].requests, before + 12);
    assert_true(rpc_stats(all.node[0].rpc)->resends > 0);
    assert_true(rpc_peer_find(all.node[0].rpc, all.node[1].address)->is_passed_over);
    all.node[1].is_frozen = false;
    for (int i = 0; i < 500 && rpc_peer_find(all.node[0].rpc, all.node[1].address)->is_passed_over; i++)
        nodes_for_ms(&all, 10);
    assert_false(rpc_peer_find(all.node[0].rpc, all.node[1].address)->is_passed_over);
    nodes_deinit(&all);
}

static void when_the_owner_is_silent_the_next_on_the_ring_serves(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, ROLES("proxy", "chat", "chat"), quick);
    ask(&all.node[0], RPC_CHAT_SEND, 1, 2, 4000, &t);
    nodes_until(&all, &t.done, 1);
    size_t owner = all.node[1].requests > 0 ? 1 : 2, other = 3 - owner;
    all.node[owner].is_frozen = true;
    ask(&all.node[0], RPC_CHAT_SEND, 1, 2, 4000, &t);
    nodes_until(&all, &t.done, 1);
    assert_int_equal(t.err, BT_OK);
    assert_int_equal(all.node[other].requests, 1);
    assert_int_equal(all.node[other].resends, 1);
    ask(&all.node[0], RPC_CHAT_SEND, 1, 2, 4000, &t);
    nodes_until(&all, &t.done, 1);
    assert_in_range(t.took_ms, 0, 100); /* at once, now that it is known */
    assert_int_equal(all.node[other].resends, 1);
    nodes_deinit(&all);
}

/* The owner of a conversation, the other chat node in *other_out, and a call that the owner keeps. */
static size_t keep_at_owner(struct nodes *all, struct told *t, size_t *other_out)
{
    nodes_open(all, ROLES("proxy", "chat", "chat"), quick);
    ask(&all->node[0], RPC_CHAT_SEND, 1, 2, 4000, t);
    nodes_until(all, &t->done, 1);
    size_t owner = all->node[1].requests > 0 ? 1 : 2;
    *other_out = 3 - owner;
    all->node[owner].answers = NODE_KEEPS;
    ask(&all->node[0], RPC_CHAT_SEND, 1, 2, 4000, t);
    nodes_until(all, &all->node[owner].requests, 2);
    return owner;
}

/* It may be this end that was given up, as one that stood still is: all it knows is that a connection broke. */
static void an_owner_whose_link_breaks_is_asked_again(void **state)
{
    struct nodes all;
    struct told t;
    size_t other;
    (void)state;
    size_t owner = keep_at_owner(&all, &t, &other);
    all.node[owner].answers = NODE_OK;
    node_break_links(&all.node[owner]);
    nodes_until(&all, &t.done, 1);
    assert_int_equal(t.err, BT_OK);
    assert_int_equal(all.node[owner].requests, 3);
    assert_int_equal(all.node[owner].resends, 1);
    assert_int_equal(all.node[other].requests, 0);
    nodes_deinit(&all);
}

/* One that takes every connection and breaks it is not asked for ever. */
static void an_owner_whose_link_breaks_again_is_left_for_the_next(void **state)
{
    struct nodes all;
    struct told t;
    size_t other;
    (void)state;
    size_t owner = keep_at_owner(&all, &t, &other);
    node_break_links(&all.node[owner]);
    nodes_until(&all, &all.node[owner].requests, 3);
    node_break_links(&all.node[owner]);
    nodes_until(&all, &t.done, 1);
    assert_int_equal(t.err, BT_OK);
    assert_int_equal(all.node[other].requests, 1);
    nodes_deinit(&all);
}

/* Its address refuses the dial: that takes no time. */
static void when_the_owner_has_died_the_next_on_the_ring_serves_at_once(void **state)
{
    struct nodes all;
    struct told t;
    size_t other;
    (void)state;
    size_t owner = keep_at_owner(&all, &t, &other);
    net_listener_close(all.node[owner].rpc->listener);
    all.node[owner].rpc->listener = NULL;
    node_break_links(&all.node[owner]);
    all.node[owner].is_frozen = true;
    nodes_until(&all, &t.done, 1);
    assert_int_equal(t.err, BT_OK);
    assert_int_equal(all.node[other].requests, 1);
    assert_in_range(t.took_ms, 0, 250); /* less than silent_ms */
    nodes_deinit(&all);
}

static void being_held_up_oneself_is_no_silence_of_others(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_init(&all, proxy_and_user);
    nodes_start(&all, 0, quick);
    nodes_start(&all, 1, NULL); /* is more patient, and has reason to be */
    ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 1000, &t);
    nodes_until(&all, &t.done, 1);
    for (int i = 0; i < 3; i++) {
        nodes_for_ms(&all, 520); /* long enough for a ping */
        for (uint64_t start_us = net_clock_us(); net_clock_us() - start_us < 700000;)
            net_loop_turn(all.node[1].loop, 0); /* only the other one runs */
    }
    nodes_for_ms(&all, 300);
    assert_int_equal(all.node[0].brokes, 0);
    nodes_deinit(&all);
}

static void quiet_nodes_stay_connected(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, proxy_and_user, quick);
    ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 1000, &t);
    nodes_until(&all, &t.done, 1);
    uint64_t last_ms = rpc_last_request_ms(all.node[1].rpc);
    nodes_for_ms(&all, 1500);
    assert_int_equal(all.node[0].brokes + all.node[1].brokes, 0);
    assert_true(rpc_last_request_ms(all.node[1].rpc) == last_ms); /* pings do not count */
    nodes_deinit(&all);
}

/* ---- roles that end ---- */

static void a_stopped_role_sends_calls_elsewhere(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_open(&all, ROLES("proxy", "user", "user"), NULL);
    rpc_unserve(all.node[1].rpc, RPC_ROLE_USER);
    for (int i = 0; i < 10; i++) {
        ask(&all.node[0], RPC_USER_UPDATE_PROFILE, 1, 2, 3000, &t);
        nodes_until(&all, &t.done, 1);
        assert_int_equal(t.err, BT_OK);
    }
    assert_int_equal(all.node[1].requests, 0);
    nodes_deinit(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_two_dialled_at_once_that_of_the_smaller_address_stays),
        cmocka_unit_test(both_ways_share_one_connection),
        cmocka_unit_test(a_node_that_was_started_anew_is_connected_to_anew),
        cmocka_unit_test(what_was_under_way_to_a_node_that_comes_again_is_told_as_lost),
        cmocka_unit_test(nothing_is_done_before_hello),
        cmocka_unit_test(a_bad_hello_is_refused),
        cmocka_unit_test(a_second_hello_closes_and_so_does_saying_none),
        cmocka_unit_test(a_listener_beyond_this_machine_needs_a_secret),
        cmocka_unit_test(a_list_of_nodes_that_cannot_be_read_stops_the_start),
        cmocka_unit_test(the_list_gives_roles_and_weights),
        cmocka_unit_test(a_node_that_is_not_reached_is_passed_over),
        cmocka_unit_test(calls_on_a_node_that_falls_silent_go_elsewhere),
        cmocka_unit_test(when_the_owner_is_silent_the_next_on_the_ring_serves),
        cmocka_unit_test(an_owner_whose_link_breaks_is_asked_again),
        cmocka_unit_test(an_owner_whose_link_breaks_again_is_left_for_the_next),
        cmocka_unit_test(when_the_owner_has_died_the_next_on_the_ring_serves_at_once),
        cmocka_unit_test(being_held_up_oneself_is_no_silence_of_others),
        cmocka_unit_test(quiet_nodes_stay_connected),
        cmocka_unit_test(a_stopped_role_sends_calls_elsewhere),
    };
    log_nothing();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
