/*
 * test/unit/test_link_pair.c: calls over a pair, which its ends know by address: given up, abandoned and closed at each point of
 * their way: asked and not yet shown, shown, answered and not yet shown. Without memory: test_link_pair_memory.c; all this in any
 * order: test_link_lives.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "rpc/link_internal.h"
#include "rpc_ends.h"

enum { GRACE_MS = 40, SOON_MS = 500 };

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

    asked_until_kept(e, &q, 0);
    answer_with_push(e, 0); /* on its way */
    rpc_link_cancel(&q.out);
    ends_turns(e, 3);
    assert_int_equal(q.done, 0);
    assert_int_equal(e->a.lost, 1);
    assert_int_equal(rpc_link_open_calls(e->b.link), 0);
}

static void an_answer_that_crosses_the_news_that_its_call_was_given_up_is_dropped(void **state)
{
    struct ends *e = *state;
    struct asked q;

    asked_until_kept(e, &q, 0);
    rpc_link_cancel(&q.out);
    assert_int_equal(e->b.dead, 0); /* never inside */
    answer_with_push(e, 0);
    ends_turns(e, 3);
    assert_int_equal(q.done, 0);
    assert_int_equal(e->b.dead, 0);
    assert_int_equal(e->a.lost, 1);
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

    asked_until_kept(e, &q, 0);
    rpc_link_abandon(&q.out, GRACE_MS);
    ends_until(e, &e->b.dead, 1);
    assert_int_equal(q.done, 0);
    assert_true(rpc_call_is_dead(e->b.kept[0]));
    ends_until_int(e, &q.done, 1);
    assert_int_equal(q.err, BT_ETIMEOUT);
    assert_true(q.was_sent);
    assert_int_equal(e->b.dead, 1);
}

static void abandon_now(void *arg)
{
    rpc_link_abandon(arg, GRACE_MS);
}

static void one_that_is_abandoned_in_its_own_turn_has_no_more_than_its_grace(void **state)
{
    struct ends *e = *state;
    struct net_task task = { .next = NULL };
    uint64_t since_us = net_clock_us();
    struct asked q;

    asked_start(&q, e->a.link, ENDLESS_MS, "x");
    net_defer_early(e->loop, &task, abandon_now, &q.out); /* it has been shown by then */
    ends_until_int(e, &q.done, 1);
    assert_int_equal(q.err, BT_ETIMEOUT);
    assert_true(q.was_sent);
    assert_true(net_clock_us() - since_us < ENDLESS_MS * UINT64_C(1000) / 2);
}

static void what_is_open_at_the_end_of_its_turn_runs_out_of_time(void **state)
{
    struct ends *e = *state;
    struct asked q[4];

    for (uint32_t i = 0; i < 4; i++) {
        asked_start(&q[i], e->a.link, i == 1 ? 0 : i == 2 ? ENDLESS_MS : SOON_MS, "x");
        assert_false(net_timer_is_running(&q[i].out.timer));
    }
    ends_until(e, &e->b.kept_count, 4);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(net_timer_is_running(&q[i].out.timer), i != 1);
    ends_until_int(e, &q[0].done, 1);
    ends_until_int(e, &q[3].done, 1);
    assert_int_equal(q[0].err, BT_ETIMEOUT);
    assert_int_equal(q[3].err, BT_ETIMEOUT);
    for (uint32_t i = 1; i < 3; i++) {
        assert_int_equal(q[i].done, 0);
        rpc_link_cancel(&q[i].out);
    }
}

static void what_is_answered_in_its_turn_needs_no_timer(void **state)
{
    struct ends *e = *state;
    struct asked q;

    e->b.answers = END_ECHOES;
    asked_start(&q, e->a.link, ENDLESS_MS, "x");
    net_loop_turn(e->loop, 0);
    assert_int_equal(q.done, 1);
    assert_false(net_timer_is_running(&q.out.timer));
}

static void one_that_is_abandoned_while_it_is_answered_gets_the_answer(void **state)
{
    struct ends *e = *state;
    struct asked before, after;

    asked_until_kept(e, &before, 0);
    asked_until_kept(e, &after, 1);
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

    asked_until_kept(e, &q[0], 0);
    asked_until_kept(e, &q[1], 1);
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

    asked_until_kept(e, &q[0], 0);
    asked_until_kept(e, &q[1], 1);
    asked_until_kept(e, &q[2], 2);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, ends_pair_setup, ends_pair_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_that_is_given_up_before_it_arrives_does_not_arrive),
        TEST(an_answer_to_a_call_that_was_given_up_is_dropped),
        TEST(an_answer_that_crosses_the_news_that_its_call_was_given_up_is_dropped),
        TEST(one_that_is_abandoned_before_it_arrives_is_told_of_soon),
        TEST(one_that_is_abandoned_dies_and_is_told_of_when_its_grace_is_over),
        TEST(one_that_is_abandoned_in_its_own_turn_has_no_more_than_its_grace),
        TEST(what_is_open_at_the_end_of_its_turn_runs_out_of_time),
        TEST(what_is_answered_in_its_turn_needs_no_timer),
        TEST(one_that_is_abandoned_while_it_is_answered_gets_the_answer),
        TEST(one_that_is_abandoned_may_still_be_given_up),
        TEST(closing_here_tells_of_calls_at_each_point_of_their_way),
        TEST(closing_there_tells_of_calls_at_each_point_of_their_way),
        TEST(room_that_requests_leave_when_they_are_taken_back_is_told_of),
        TEST(a_link_that_finishes_ends_when_its_last_request_is_taken_back),
        TEST(an_answer_that_is_too_long_is_told_how_long_it_may_be),
        TEST(payloads_of_any_length_arrive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
