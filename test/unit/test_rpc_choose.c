/*
 * test/unit/test_rpc_choose.c: who is asked: how calls spread over instances, over units, over weights, over new nodes.
 *
 * The view is made up, and so is what the nodes do: each finishes its calls after a while of turns; no connection is made.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "log_aid.h"
#include "net/mem.h"
#include "proto/methods.h"
#include "rpc/rpc_internal.h"

enum { OPEN_MAX = 512, OLD_MS = 60000 };

struct server {
    struct registry_node node;
    uint32_t turns;       /* that a call takes */
    int asked;
    uint32_t most;        /* outstanding at once */
};

struct fixture {
    struct net_loop *loop;
    struct conf *conf;
    struct rpc *rpc;
    struct server servers[8];
    size_t count;
    bool is_closed;
};

static void setup(struct fixture *f)
{
    char why[256];
    memset(f, 0, sizeof *f);
    assert_int_equal(net_loop_new(&f->loop), BT_OK);
    assert_int_equal(conf_new(&f->conf), BT_OK);
    conf_declare(f->conf, rpc_keys);
    conf_declare(f->conf, registry_keys);
    assert_int_equal(conf_set(f->conf, "node.unit=here", why, sizeof why), BT_OK);
    assert_int_equal(rpc_new(f->loop, f->conf, &f->rpc, why, sizeof why), BT_OK);
    rpc_start(f->rpc);
    while (net_now_ms(f->loop) <= OLD_MS) /* so that nodes can be as old as the tests want */
        net_loop_turn(f->loop, 1000);
}

static void closed(void *arg)
{
    ((struct fixture *)arg)->is_closed = true;
}

static void teardown(struct fixture *f)
{
    rpc_close(f->rpc, closed, f);
    for (int i = 0; i < 1000 && !f->is_closed; i++)
        net_loop_turn(f->loop, 5);
    assert_true(f->is_closed);
    conf_free(f->conf);
    net_loop_free(f->loop);
}

static void add(struct fixture *f, const char *unit, uint32_t weight, uint32_t age_ms, uint32_t turns)
{
    struct server *s = &f->servers[f->count++];
    snprintf(s->node.name, sizeof s->node.name, "n%zu", f->count);
    snprintf(s->node.unit, sizeof s->node.unit, "%s", unit);
    snprintf(s->node.address, sizeof s->node.address, "10.0.0.%zu:7", f->count);
    s->node.epoch = 1;
    s->node.roles = 1u << RPC_ROLE_USER;
    s->node.weight = weight;
    s->node.since_ms = net_now_ms(f->loop) - age_ms;
    s->turns = turns;
}

static void show(struct fixture *f)
{
    struct registry_node nodes[8];
    for (size_t i = 0; i < f->count; i++)
        nodes[i] = f->servers[i].node;
    rpc_view_changed(nodes, f->count, f->rpc);
}

static struct server *choose(struct fixture *f, const struct node_peer *tried)
{
    struct node_peer *peer = rpc_choose(f->rpc, rpc_method_info(RPC_USER_GET_PROFILE), 1, 2, 0, tried);
    for (size_t i = 0; i < f->count; i++) {
        if (peer && strcmp(peer->address, f->servers[i].node.address) == 0)
            return &f->servers[i];
    }
    return NULL;
}

static struct node_peer *peer_of(struct fixture *f, size_t i)
{
    return rpc_peer_find(f->rpc, f->servers[i].node.address);
}

/* Calls come, `a_turn` of them in each turn, and are done after their server's number of turns. */
static void run_load(struct fixture *f, int calls, int a_turn)
{
    struct { struct node_peer *peer; int ends; } open[OPEN_MAX];
    int n = 0;
    for (int turn = 0; calls > 0; turn++) {
        for (int k = 0; k < n;) {
            if (open[k].ends > turn) {
                k++;
                continue;
            }
            open[k].peer->outstanding--;
            open[k] = open[--n];
        }
        for (int k = 0; k < a_turn && calls > 0 && n < OPEN_MAX; k++, calls--) {
            struct server *s = choose(f, NULL);
            struct node_peer *peer = rpc_peer_find(f->rpc, s->node.address);
            s->asked++;
            if (++peer->outstanding > s->most)
                s->most = peer->outstanding;
            open[n].peer = peer;
            open[n++].ends = turn + (int)s->turns;
        }
    }
    while (n > 0)
        open[--n].peer->outstanding--;
}

static void three_equal_ones_share_evenly(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f);
    for (int i = 0; i < 3; i++)
        add(&f, "here", 1, OLD_MS, 5);
    show(&f);
    run_load(&f, 30000, 4);
    print_message("30000 calls over three equal instances: %d, %d, %d\n", f.servers[0].asked, f.servers[1].asked, f.servers[2].asked);
    for (int i = 0; i < 3; i++)
        assert_in_range(f.servers[i].asked, 8500, 11500); /* 15 % */
    teardown(&f);
}

static void a_slow_one_is_asked_less(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f);
    add(&f, "here", 1, OLD_MS, 5);
    add(&f, "here", 1, OLD_MS, 5);
    add(&f, "here", 1, OLD_MS, 50);
    show(&f);
    run_load(&f, 30000, 4);
    print_message("30000 calls, the third instance ten times slower: %d, %d, %d\n", f.servers[0].asked, f.servers[1].asked, f.servers[2].asked);
    assert_in_range(f.servers[2].asked, 300, 3000); /* a tenth of the others', and some to spare */
    teardown(&f);
}

static void weights_are_shares_in_rest_and_under_load(void **state)
{
    (void)state;
    for (int load = 0; load < 2; load++) {
        struct fixture f;
        setup(&f);
        add(&f, "here", 1, OLD_MS, load ? 5 : 0);
        add(&f, "here", 3, OLD_MS, load ? 5 : 0);
        add(&f, "here", 0, OLD_MS, 0);
        show(&f);
        run_load(&f, 20000, load ? 8 : 1);
        assert_in_range(f.servers[0].asked, 4200, 5800);
        assert_int_equal(f.servers[2].asked, 0);
        teardown(&f);
    }
}

/* At ease, one that is idle may be given a call while the other one has some; that is no flood. */
static void a_new_node_has_work_at_once_and_is_not_flooded(void **state)
{
    static const struct { uint32_t age_ms; int least, most; } steps[] = {
        { 500, 200, 2500 }, { 2000, 1500, 4500 }, { 4000, 3500, 6500 }, { 5000, 4250, 5750 },
    };
    (void)state;
    for (int busy = 0; busy < 2; busy++) {
        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
            struct fixture f;
            setup(&f);
            add(&f, "here", 1, OLD_MS, 5);
            add(&f, "here", 1, steps[i].age_ms, 5);
            show(&f);
            run_load(&f, 10000, busy ? 20 : 1);
            print_message("10000 calls over an old instance and one of %u ms, %s: %d, %d\n", (unsigned)steps[i].age_ms, busy ? "busy" : "at ease",
                          f.servers[0].asked, f.servers[1].asked);
            assert_in_range(f.servers[1].asked, steps[i].least, steps[i].most);
            teardown(&f);
        }
    }
}

static void a_node_of_this_moment_gets_one_call_at_a_time_at_most(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f);
    add(&f, "here", 1, OLD_MS, 100);
    add(&f, "here", 1, OLD_MS, 100);
    add(&f, "here", 1, 0, 100);
    show(&f);
    run_load(&f, 2000, 4);
    assert_in_range(f.servers[2].most, 0, 3);
    teardown(&f);
}

static void the_own_unit_serves_as_long_as_it_has_anybody(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f);
    add(&f, "here", 1, OLD_MS, 50);
    add(&f, "here", 1, OLD_MS, 50);
    add(&f, "there", 1, OLD_MS, 0);
    add(&f, "there", 1, OLD_MS, 0);
    show(&f);
    run_load(&f, 1000, 4);
    assert_int_equal(f.servers[2].asked + f.servers[3].asked, 0); /* however idle they are */
    peer_of(&f, 0)->is_passed_over = true;
    for (int i = 0; i < 50; i++)
        assert_ptr_equal(choose(&f, NULL), &f.servers[1]);
    const struct server *other = choose(&f, peer_of(&f, 1)); /* where it just failed it is not tried again first */
    assert_true(other == &f.servers[2] || other == &f.servers[3]);
    peer_of(&f, 1)->is_passed_over = true;
    for (int i = 0; i < 1000; i++)
        choose(&f, NULL)->asked++;
    assert_int_equal(f.servers[2].asked + f.servers[3].asked, 1000);
    assert_in_range(f.servers[2].asked, 400, 600);
    peer_of(&f, 2)->is_passed_over = peer_of(&f, 3)->is_passed_over = true;
    assert_null(choose(&f, NULL));
    peer_of(&f, 1)->is_passed_over = false; /* it answers again */
    assert_ptr_equal(choose(&f, peer_of(&f, 1)), &f.servers[1]); /* the only one, tried or not */
    teardown(&f);
}

static void the_ring_is_over_all_units(void **state)
{
    struct fixture f;
    int owned[4] = { 0 };
    (void)state;
    setup(&f);
    for (int i = 0; i < 4; i++) {
        add(&f, i < 2 ? "here" : "there", 1, i * 1000u, 5);
        f.servers[i].node.roles = 1u << RPC_ROLE_CHAT;
    }
    show(&f);
    for (uint64_t user = 1; user <= 4000; user++) {
        const struct node_peer *peer = rpc_choose(f.rpc, rpc_method_info(RPC_CHAT_SEND), user, user + 1, 0, NULL);
        for (int i = 0; i < 4; i++)
            owned[i] += peer == peer_of(&f, (size_t)i);
    }
    for (int i = 0; i < 4; i++)
        assert_in_range(owned[i], 700, 1300); /* a new node's conversations are its own at once */
    teardown(&f);
}

/* It is much work with many nodes, each of which tells its load every few seconds. */
static void the_ring_is_made_anew_only_when_it_changes(void **state)
{
    struct fixture f;
    const struct ring *ring;
    (void)state;
    setup(&f);
    for (int i = 0; i < 3; i++) {
        add(&f, "here", 1, OLD_MS, 1);
        f.servers[i].node.roles = 1u << RPC_ROLE_CHAT;
    }
    show(&f);
    ring = f.rpc->ring;
    assert_int_equal(ring_members(ring), 3);
    f.servers[1].node.load = 77;
    f.servers[1].node.since_ms++;
    show(&f);
    assert_ptr_equal(f.rpc->ring, ring);
    assert_int_equal(f.rpc->roles[RPC_ROLE_CHAT].list[1].since_ms, f.servers[1].node.since_ms);
    f.servers[2].node.weight = 2;
    show(&f);
    assert_ptr_not_equal(f.rpc->ring, ring);
    ring = f.rpc->ring;
    bt_mem_fail_after(0);
    f.servers[2].node.weight = 1;
    show(&f);
    bt_mem_fail_after(-1);
    assert_ptr_equal(f.rpc->ring, ring); /* for want of memory */
    f.count = 2;
    show(&f);
    assert_int_equal(ring_members(f.rpc->ring), 2);
    f.servers[1].node.roles = 1u << RPC_ROLE_USER;
    show(&f);
    assert_int_equal(ring_members(f.rpc->ring), 1);
    assert_string_equal(ring_find(f.rpc->ring, 7, 3, 0)->name, f.servers[0].node.address);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_equal_ones_share_evenly),
        cmocka_unit_test(a_slow_one_is_asked_less),
        cmocka_unit_test(weights_are_shares_in_rest_and_under_load),
        cmocka_unit_test(a_new_node_has_work_at_once_and_is_not_flooded),
        cmocka_unit_test(a_node_of_this_moment_gets_one_call_at_a_time_at_most),
        cmocka_unit_test(the_own_unit_serves_as_long_as_it_has_anybody),
        cmocka_unit_test(the_ring_is_over_all_units),
        cmocka_unit_test(the_ring_is_made_anew_only_when_it_changes),
    };
    log_nothing();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
