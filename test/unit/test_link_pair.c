/*
 * test/unit/test_link_pair.c: calls over a pair, which its ends know by address: given up, abandoned and closed at each point of
 * their way: asked and not yet shown, shown, answered and not yet shown.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "net/mem.h"
#include "rpc/link_internal.h"
#include "rpc_ends.h"

enum { ENDLESS_MS = 20000, GRACE_MS = 40 };

static int lost; /* pushes */

static void push_lost(struct rpc_link *l, void *arg)
{
    (void)l;
    (void)arg;
    lost++;
}

static int setup(void **state)
{
    static struct rpc_link_ops ops;
    struct ends *e = calloc(1, sizeof *e);

    ends_init(e);
    e->a.answers = e->b.answers = END_KEEPS;
    ends_join_pair(e);
    ops = *ends_ops();
    ops.push_lost = push_lost;
    rpc_link_set_arg(e->a.link, &ops, &e->a);
    lost = 0;
    *state = e;
    return 0;
}

static int teardown(void **state)
{
    ends_deinit(*state);
    free(*state);
    return 0;
}

/* Asked, and open at the other end as its i-th. */
static void ask_until_shown(struct ends *e, struct asked *q, size_t i)
{
    asked_start(q, e->a.link, ENDLESS_MS, "x");
    ends_until(e, &e->b.kept_count, i + 1);
    assert_int_equal(rpc_link_open_calls(e->b.link), i + 1);
}

static void answer_with_push(struct ends *e, size_t i)
{
    const struct rpc_bytes nothing = { NULL, 0 };

    assert_int_equal(rpc_call_answer(e->b.kept[i], RPC_STATUS_OK, RPC_FLAG_PUSHED, &nothing, 1), BT_OK);
    e->b.kept[i] = NULL;
}

static void a_request_that_is_given_up_before_it_arrives_does_not_arrive(void **state)
{
    struct ends *e = *state;
    struct asked q[3];

    for (int i = 0; i < 3; i++)
        asked_start(&q[i], e->a.link, ENDLESS_MS, i == 1 ? "1" : "x");
    rpc_link_cancel(&q[1].out);
    ends_until(e, &e->b.kept_count, 2);
    ends_turns(e, 3);
    assert_int_equal(e->b.kept_count, 2);
    assert_int_equal(rpc_link_queued(e->a.link), 0);
    kept_answer(&e->b, 0, "zeroth");
    kept_answer(&e->b, 1, "second");
    ends_until_int(e, &q[2].done, 1);
    assert_string_equal(q[0].text, "zeroth");
    assert_string_equal(q[2].text, "second");
    assert_int_equal(q[1].done, 0);
}

static void an_answer_to_a_call_that_was_given_up_is_dropped(void **state)
{
    struct ends *e = *state;
    struct asked q;

    ask_until_shown(e, &q, 0);
    answer_with_push(e, 0); /* on its way */
    rpc_link_cancel(&q.out);
    ends_turns(e, 3);
    assert_int_equal(q.done, 0);
    assert_int_equal(lost, 1);
    assert_int_equal(rpc_link_open_calls(e->b.link), 0);
}

static void an_answer_that_crosses_the_news_that_its_call_was_given_up_is_dropped(void **state)
{
    struct ends *e = *state;
    struct asked q;

    ask_until_shown(e, &q, 0);
    rpc_link_cancel(&q.out);
    assert_int_equal(e->b.dead, 0); /* never inside */
    answer_with_push(e, 0);
    ends_turns(e, 3);
    assert_int_equal(q.done, 0);
    assert_int_equal(e->b.dead, 0);
    assert_int_equal(lost, 1);
}

static void one_that_is_abandoned_before_it_arrives_is_told_of_soon(void **state)
{
    struct ends *e = *state;
    struct asked q;

    asked_start(&q, e->a.link, ENDLESS_MS, "x");
    rpc_link_abandon(&q.out, ENDLESS_MS);
    assert_int_equal(q.done, 0);
    net_loop_turn(e->loop, 0);
    assert_int_equal(q.done, 1);
    assert_int_equal(q.err, BT_ETIMEOUT);
    assert_false(q.was_sent);
    assert_int_equal(e->b.requests, 0);
}

static void one_that_is_abandoned_dies_and_is_told_of_when_its_grace_is_over(void **state)
{
    struct ends *e = *state;
    struct asked q;

    ask_until_shown(e, &q, 0);
    rpc_link_abandon(&q.out, GRACE_MS);
    ends_until(e, &e->b.dead, 1);
    assert_int_equal(q.done, 0);
    assert_true(rpc_call_is_dead(e->b.kept[0]));
    ends_until_int(e, &q.done, 1);
    assert_int_equal(q.err, BT_ETIMEOUT);
    assert_true(q.was_sent);
    assert_int_equal(e->b.dead, 1);
}

static void one_that_is_abandoned_while_it_is_answered_gets_the_answer(void **state)
{
    struct ends *e = *state;
    struct asked before, after;

    ask_until_shown(e, &before, 0);
    ask_until_shown(e, &after, 1);
    kept_answer(&e->b, 0, "before");
    rpc_link_abandon(&before.out, ENDLESS_MS);
    rpc_link_abandon(&after.out, ENDLESS_MS);
    kept_answer(&e->b, 1, "after");
    ends_until_int(e, &before.done, 1);
    ends_until_int(e, &after.done, 1);
    assert_string_equal(before.text, "before");
    assert_string_equal(after.text, "after");
    assert_int_equal(e->b.dead, 0);
}

static void one_that_is_abandoned_may_still_be_given_up(void **state)
{
    struct ends *e = *state;
    struct asked q[3];

    ask_until_shown(e, &q[0], 0);
    ask_until_shown(e, &q[1], 1);
    kept_answer(&e->b, 1, "on its way");
    asked_start(&q[2], e->a.link, ENDLESS_MS, "x");
    for (int i = 0; i < 3; i++) {
        rpc_link_abandon(&q[i].out, GRACE_MS);
        rpc_link_cancel(&q[i].out);
    }
    ends_until(e, &e->b.dead, 1);
    ends_turns(e, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(q[i].done, 0);
    assert_int_equal(e->b.requests, 2);
}

/* Calls at each point of their way, of both ends. */
static void check_close(struct ends *e, bool is_here)
{
    struct asked q[6];

    ask_until_shown(e, &q[0], 0);
    ask_until_shown(e, &q[1], 1);
    ask_until_shown(e, &q[2], 2);
    kept_answer(&e->b, 1, "answered");
    rpc_link_cancel(&q[2].out);
    asked_start(&q[3], e->a.link, ENDLESS_MS, "not shown");
    asked_start(&q[4], e->b.link, ENDLESS_MS, "not shown");
    asked_start(&q[5], e->a.link, ENDLESS_MS, "given up");
    rpc_link_cancel(&q[5].out);
    rpc_link_close(is_here ? e->a.link : e->b.link, BT_OK);
    ends_until_int(e, &e->a.closed, 1);
    ends_until_int(e, &e->b.closed, 1);
    for (int i = 0; i < 6; i++)
        assert_int_equal(q[i].done, i != 2 && i != 5);
    assert_int_equal(q[0].err, is_here ? BT_ECLOSING : BT_EDOWN);
    assert_true(q[0].was_sent && q[1].was_sent);
    assert_false(q[3].was_sent || q[4].was_sent);
    assert_int_equal(e->b.dead, 2); /* the second was answered */
    assert_int_equal(e->a.requests, 0);
}

static void closing_here_tells_of_calls_at_each_point_of_their_way(void **state)
{
    check_close(*state, true);
}

static void closing_there_tells_of_calls_at_each_point_of_their_way(void **state)
{
    check_close(*state, false);
}

/* Nobody is shown them meanwhile: the other end has stopped reading. */
static void room_that_requests_leave_when_they_are_taken_back_is_told_of(void **state)
{
    enum { N = 100, HIGH = 4096 };
    struct ends *e = *state;
    static struct asked q[N];
    size_t n = 0;

    e->limits_a.net.out_high_bytes = HIGH; /* both ends' */
    e->limits_a.net.out_low_bytes = HIGH / 4;
    rpc_link_pause(e->b.link);
    while (rpc_link_queued(e->a.link) <= HIGH)
        asked_start(&q[n++], e->a.link, ENDLESS_MS, "x");
    assert_int_equal(rpc_link_event(e->a.link, &(struct rpc_header){ .method = 7 }, NULL, 0), BT_EBUSY);
    ends_turns(e, 3);
    for (size_t i = 0; i < n; i++) {
        rpc_link_cancel(&q[i].out);
        if (rpc_link_queued(e->a.link) > HIGH / 4)
            net_loop_turn(e->loop, 0);
        assert_int_equal(e->a.drained, 0);
    }
    ends_turns(e, 3);
    assert_int_equal(e->a.drained, 1);
    assert_int_equal(e->b.requests, 0);
}

static void a_link_that_finishes_ends_when_its_last_request_is_taken_back(void **state)
{
    struct ends *e = *state;
    struct asked q[2];

    rpc_link_pause(e->b.link);
    for (int i = 0; i < 2; i++)
        asked_start(&q[i], e->a.link, ENDLESS_MS, "x");
    ends_turns(e, 3);
    rpc_link_finish(e->a.link, ENDLESS_MS);
    rpc_link_cancel(&q[0].out);
    ends_turns(e, 3);
    assert_int_equal(e->a.closed, 0);
    rpc_link_cancel(&q[1].out);
    ends_turns(e, 3);
    assert_int_equal(e->a.closed, 1);
    assert_int_equal(e->b.closed, 1);
    assert_int_equal(e->b.why, BT_OK);
    assert_int_equal(q[0].done + q[1].done + (int)e->b.requests, 0);
}

/* The error names the limit that it met. */
static void an_answer_that_is_too_long_is_told_how_long_it_may_be(void **state)
{
    static uint8_t bytes[5000];
    static const struct {
        uint32_t frame, out;
        const char *says;
    } limits[] = {
        { 2048, 0, "longer than 2004 bytes" },
        { 2048, 4096, "longer than 2004 bytes" },
        { 4096, 2048, "longer than 2004 bytes" },
        { 4096, 0, "longer than 4052 bytes" },
    };
    struct ends *e = *state;

    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct asked q;
        e->limits_a.max_frame_bytes = limits[i].frame;
        e->limits_a.max_out_bytes = limits[i].out;
        asked_start(&q, e->a.link, ENDLESS_MS, "x");
        ends_until(e, &e->b.kept_count, 1);
        e->b.kept_count = 0;
        rpc_reply_raw(e->b.kept[0], RPC_STATUS_OK, 0, bytes, sizeof bytes);
        ends_until_int(e, &q.done, 1);
        assert_int_equal(q.err, BT_EINTERNAL);
        assert_non_null(strstr(q.text, limits[i].says));
    }
}

/* ---- without memory ---- */

enum { EVENTS = 600 }; /* more than are kept for reuse */

/* So many events wait: the next short frame needs memory. */
static void use_spares(struct rpc_link *l)
{
    for (int i = 0; i < EVENTS; i++)
        assert_int_equal(rpc_link_event(l, &(struct rpc_header){ .method = 7 }, NULL, 0), BT_OK);
}

static void without_memory_for_the_news_a_call_that_was_given_up_goes_on(void **state)
{
    struct ends *e = *state;
    struct asked q;

    ask_until_shown(e, &q, 0);
    use_spares(e->a.link);
    bt_mem_fail_after(0);
    rpc_link_cancel(&q.out);
    bt_mem_fail_after(-1);
    ends_until(e, &e->b.events, EVENTS);
    assert_int_equal(e->b.dead, 0);
    assert_int_equal(rpc_link_open_calls(e->b.link), 1);
    kept_answer(&e->b, 0, "for nobody");
    ends_turns(e, 3);
    assert_int_equal(q.done, 0);
    assert_int_equal(rpc_link_open_calls(e->b.link), 0);
}

/* There is none for i's answer. */
static void lose_answer(struct ends *e, size_t i, enum bt_err err)
{
    static uint8_t bytes[40000];
    struct rpc_call *call = e->b.kept[i];

    e->b.kept[i] = NULL;
    bt_mem_fail_after(0);
    if (err == BT_OK)
        rpc_reply_raw(call, RPC_STATUS_OK, 0, bytes, sizeof bytes);
    else
        rpc_fail(call, err, "for whom there is no memory");
    assert_true(bt_mem_has_failed());
    bt_mem_fail_after(-1);
}

static void without_memory_for_an_answer_its_call_fails_and_no_other(void **state)
{
    struct ends *e = *state;
    struct asked q[4];

    for (size_t i = 0; i < 4; i++)
        ask_until_shown(e, &q[i], i);
    rpc_link_cancel(&q[2].out);
    rpc_link_abandon(&q[3].out, ENDLESS_MS);
    lose_answer(e, 0, BT_OK);
    lose_answer(e, 2, BT_OK);
    lose_answer(e, 3, BT_OK);
    assert_int_equal(q[0].done, 0); /* never inside */
    assert_int_equal(rpc_link_open_calls(e->b.link), 1);
    ends_until_int(e, &q[0].done, 1);
    ends_until_int(e, &q[3].done, 1);
    assert_int_equal(q[0].err, BT_EUNSURE);
    assert_int_equal(q[0].status, RPC_STATUS_UNKNOWN);
    assert_true(q[0].was_sent);
    assert_int_equal(q[3].err, BT_EUNSURE);
    kept_answer(&e->b, 1, "first");
    ends_until_int(e, &q[1].done, 1);
    assert_string_equal(q[1].text, "first");
    assert_int_equal(q[2].done, 0);
    assert_int_equal(e->b.dead, 0);
    assert_int_equal(e->a.closed + e->b.closed, 0);
}

static void an_error_for_which_there_is_no_memory_is_still_that_error(void **state)
{
    struct ends *e = *state;
    struct asked refused, late;

    ask_until_shown(e, &refused, 0);
    ask_until_shown(e, &late, 1);
    use_spares(e->b.link);
    lose_answer(e, 0, BT_EBUSY);
    lose_answer(e, 1, BT_ETIMEOUT);
    ends_until_int(e, &refused.done, 1);
    ends_until_int(e, &late.done, 1);
    assert_int_equal(refused.err, BT_EBUSY);
    assert_false(refused.was_sent); /* nothing was done */
    assert_int_equal(late.err, BT_ETIMEOUT);
    assert_true(late.was_sent);
    ends_until(e, &e->a.events, EVENTS);
}

static void one_call_too_many_is_refused_without_memory(void **state)
{
    struct ends *e = *state;
    struct asked q[2];

    ask_until_shown(e, &q[0], 0);
    e->limits_a.max_calls = 1; /* both ends' */
    rpc_link_pause(e->a.link); /* so that the events go on waiting */
    use_spares(e->b.link);
    asked_start(&q[1], e->a.link, ENDLESS_MS, "x");
    bt_mem_fail_after(0);
    ends_until_int(e, &q[1].done, 1);
    assert_true(bt_mem_has_failed());
    bt_mem_fail_after(-1);
    assert_int_equal(q[1].err, BT_EBUSY);
    assert_false(q[1].was_sent);
    rpc_link_resume(e->a.link);
    kept_answer(&e->b, 0, "zeroth");
    ends_until_int(e, &q[0].done, 1);
    assert_string_equal(q[0].text, "zeroth");
}

/* Longer than slips are, and longer than a frame may be. */
static void payloads_of_any_length_arrive(void **state)
{
    static uint8_t bytes[40000];
    struct ends *e = *state;
    struct asked q;

    memset(bytes, 'y', sizeof bytes);
    for (size_t len = 1018; len <= sizeof bytes; len += len < 1030 ? 1 : 12989) {
        asked_start(&q, e->a.link, ENDLESS_MS, "x");
        ends_until(e, &e->b.kept_count, 1);
        e->b.kept_count = 0;
        const struct rpc_bytes parts[] = { { bytes, len / 2 }, { NULL, 0 }, { bytes, len - len / 2 } };
        rpc_reply_parts(e->b.kept[0], RPC_STATUS_OK, 0, parts, 3);
        ends_until_int(e, &q.done, 1);
        assert_int_equal(q.err, BT_OK);
        assert_int_equal(q.len, len);
        assert_string_equal(q.text, "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy");
    }
    rpc_link_event(e->a.link, &(struct rpc_header){ .method = 7 }, bytes, sizeof bytes);
    ends_until(e, &e->b.events, 1);
    e->limits_a.max_frame_bytes = sizeof bytes; /* both ends' */
    assert_int_equal(rpc_link_event(e->a.link, &(struct rpc_header){ .method = 7 }, bytes, sizeof bytes - 43), BT_EINVAL);
    assert_int_equal(rpc_link_event(e->a.link, &(struct rpc_header){ .method = 7 }, bytes, sizeof bytes - 44), BT_OK);
    ends_until(e, &e->b.events, 2);
}

/* ---- whatever happens in whatever order ---- */

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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_that_is_given_up_before_it_arrives_does_not_arrive),
        TEST(an_answer_to_a_call_that_was_given_up_is_dropped),
        TEST(an_answer_that_crosses_the_news_that_its_call_was_given_up_is_dropped),
        TEST(one_that_is_abandoned_before_it_arrives_is_told_of_soon),
        TEST(one_that_is_abandoned_dies_and_is_told_of_when_its_grace_is_over),
        TEST(one_that_is_abandoned_while_it_is_answered_gets_the_answer),
        TEST(one_that_is_abandoned_may_still_be_given_up),
        TEST(closing_here_tells_of_calls_at_each_point_of_their_way),
        TEST(closing_there_tells_of_calls_at_each_point_of_their_way),
        TEST(room_that_requests_leave_when_they_are_taken_back_is_told_of),
        TEST(a_link_that_finishes_ends_when_its_last_request_is_taken_back),
        TEST(an_answer_that_is_too_long_is_told_how_long_it_may_be),
        TEST(without_memory_for_the_news_a_call_that_was_given_up_goes_on),
        TEST(without_memory_for_an_answer_its_call_fails_and_no_other),
        TEST(an_error_for_which_there_is_no_memory_is_still_that_error),
        TEST(one_call_too_many_is_refused_without_memory),
        TEST(payloads_of_any_length_arrive),
        cmocka_unit_test(each_call_ends_once_whatever_happens_in_whatever_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
