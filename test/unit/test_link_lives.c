/*
 * test/unit/test_link_lives.c: many calls over a pair, asked, answered, given up and abandoned in any order, with memory and without,
 * each of which ends once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "net/mem.h"
#include "rpc/link_internal.h"
#include "rpc_ends.h"

enum { LIVES = 64, STEPS = 5000, CAME_MAX = 4096 };

/* A call, and whether its end is still to come. */
struct life {
    struct rpc_out out;
    bool is_open;
};

/* One end. */
struct side {
    struct rpc_link *link;
    struct life lives[LIVES];
    struct rpc_call *came[CAME_MAX]; /* and not answered yet, dead or not */
    size_t ncame, ndead, nlost, nclosed;
};

static uint64_t rng;

static size_t below(size_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (size_t)(rng >> 20) % n;
}

static void life_done(struct rpc_out *out, const struct rpc_reply *reply)
{
    struct life *life = out->arg;

    (void)reply;
    assert_true(life->is_open); /* once, and not after it was given up */
    life->is_open = false;
}

static void side_died(void *arg)
{
    ((struct side *)arg)->ndead++;
}

static void side_request(struct rpc_link *l, struct rpc_call *call, const struct rpc_frame *frame, void *arg)
{
    struct side *s = arg;

    (void)l;
    assert_true(s->ncame < CAME_MAX);
    if (frame->len == 3)
        rpc_call_on_dead(call, side_died, s);
    s->came[s->ncame++] = call;
}

static void side_lost(struct rpc_link *l, void *arg)
{
    (void)l;
    ((struct side *)arg)->nlost++;
}

static void side_closed(struct rpc_link *l, enum bt_err why, void *arg)
{
    (void)l;
    (void)why;
    ((struct side *)arg)->nclosed++;
}

static const struct rpc_link_ops side_ops = { .request = side_request, .closed = side_closed, .push_lost = side_lost };

static void side_asks(struct side *s, struct life *life)
{
    const struct rpc_header h = { .method = 0x0601, .timeout_ms = (uint32_t)(below(4) == 0 ? 1 + below(5) : ENDLESS_MS) };

    life->is_open = true;
    life->out = (struct rpc_out){ .done = life_done, .arg = life };
    rpc_link_request(s->link, &h, (const uint8_t *)"abc", below(4), &life->out);
    assert_true(life->is_open);
}

static void side_answers(struct side *s)
{
    size_t i = below(s->ncame);
    struct rpc_call *call = s->came[i];

    s->came[i] = s->came[--s->ncame];
    const struct rpc_bytes answer = rpc_bytes("answer", below(7));
    if (below(3) != 0 || rpc_call_answer(call, RPC_STATUS_OK, RPC_FLAG_PUSHED, &answer, 1) != BT_OK)
        rpc_reply_parts(call, RPC_STATUS_OK, 0, &answer, 1);
}

static void side_step(struct side *s)
{
    struct life *life = &s->lives[below(LIVES)];

    switch (below(8)) {
    case 0:
    case 1:
    case 2:
        if (!life->is_open)
            side_asks(s, life);
        break;
    case 3:
    case 4:
        if (s->ncame > 0)
            side_answers(s);
        break;
    case 5:
        if (life->is_open) {
            life->is_open = false;
            rpc_link_cancel(&life->out);
        }
        break;
    case 6:
        if (life->is_open)
            rpc_link_abandon(&life->out, (uint32_t)below(5));
        break;
    default:
        if (below(4) == 0)
            rpc_link_pause(s->link);
        else
            rpc_link_resume(s->link);
        break;
    }
}

static size_t still_open(const struct side *s)
{
    size_t n = 0;
    for (size_t i = 0; i < LIVES; i++)
        n += s->lives[i].is_open;
    return n;
}

static size_t ndead, nlost; /* of all lives */

/* is_answered: else they are closed in the midst of it. */
static void live(struct net_loop *loop, uint64_t seed, bool is_answered)
{
    static const struct rpc_link_limits limits = {
        .max_frame_bytes = 65536, .max_calls = LIVES / 2, .allowed_flags = RPC_FLAGS_NODE, .net = { .out_high_bytes = 4096, .out_low_bytes = 1024 },
    };
    struct side *sides = calloc(2, sizeof *sides);

    rng = seed;
    assert_int_equal(rpc_link_pair(loop, &side_ops, &sides[0], &side_ops, &sides[1], &limits, &sides[0].link, &sides[1].link), BT_OK);
    for (int i = 0; i < STEPS; i++) {
        if (below(6) == 0)
            net_loop_turn(loop, 0);
        assert_int_equal(sides[0].nclosed + sides[1].nclosed, 0);
        if (below(50) != 0) {
            side_step(&sides[below(2)]);
            continue;
        }
        bt_mem_fail_after(0); /* what can't be written costs its own call an error */
        side_step(&sides[below(2)]);
        bt_mem_fail_after(-1);
    }
    for (int i = 0; is_answered && (still_open(&sides[0]) + still_open(&sides[1]) + sides[0].ncame + sides[1].ncame > 0); i++) {
        assert_true(i < ENDS_TURNS_MAX);
        rpc_link_resume(sides[0].link);
        rpc_link_resume(sides[1].link);
        while (sides[i % 2].ncame > 0)
            side_answers(&sides[i % 2]);
        net_loop_turn(loop, 1);
    }
    if (is_answered) {
        assert_int_equal(rpc_link_open_calls(sides[0].link) + rpc_link_open_calls(sides[1].link), 0);
        assert_int_equal(rpc_link_queued(sides[0].link) + rpc_link_queued(sides[1].link), 0);
    }
    ndead += sides[0].ndead + sides[1].ndead;
    nlost += sides[0].nlost + sides[1].nlost;
    rpc_link_close(sides[below(2)].link, BT_OK);
    for (int i = 0; sides[0].nclosed + sides[1].nclosed < 2 && i < ENDS_TURNS_MAX; i++)
        net_loop_turn(loop, 1);
    assert_int_equal(sides[0].nclosed, 1);
    assert_int_equal(sides[1].nclosed, 1);
    assert_int_equal(still_open(&sides[0]) + still_open(&sides[1]), 0);
    for (int at = 0; at < 2; at++)
        while (sides[at].ncame > 0)
            side_answers(&sides[at]); /* into nothing */
    free(sides);
}

static void each_call_ends_once_whatever_happens_in_whatever_order(void **state)
{
    struct net_loop *loop;
    (void)state;
    assert_int_equal(net_loop_new(&loop), BT_OK);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        live(loop, seed * UINT64_C(0x9e3779b97f4a7c15), true);
        live(loop, seed * UINT64_C(0xbf58476d1ce4e5b9), false);
    }
    assert_true(ndead > 0 && nlost > 0);
    net_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_ends_once_whatever_happens_in_whatever_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
