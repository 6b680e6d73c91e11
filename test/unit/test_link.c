/* test/unit/test_link.c: links over sockets and as pairs: calls, events, casts, deadlines, cancels, ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "rpc/link_internal.h"
#include "rpc_ends.h"

static void check_call_and_event(ends_join_fn *join)
{
    struct ends e;
    struct asked q, back;
    const struct rpc_header h = { .method = 0x0701 };
    ends_open(&e, join, END_ECHOES);
    asked_start(&q, e.a.link, 1000, "ping");
    asked_start(&back, e.b.link, 1000, "pong");
    assert_int_equal(rpc_link_event(e.a.link, &h, (const uint8_t *)"news", 4), BT_OK);
    ends_until_int(&e, &q.done, 1);
    ends_until_int(&e, &back.done, 1);
    ends_until(&e, &e.b.events, 1);
    assert_int_equal(q.err, BT_OK);
    assert_true(q.came);
    assert_string_equal(q.text, "ping");
    assert_string_equal(back.text, "pong");
    assert_string_equal(e.b.last_event, "news");
    ends_deinit(&e);
}

static void either_end_calls_and_sends_events(void **state)
{
    (void)state;
    check_call_and_event(ends_join_sockets);
    check_call_and_event(ends_join_pair);
}

static void check_many(ends_join_fn *join)
{
    enum { N = 1000 };
    struct ends e;
    struct asked *q = calloc(2 * N, sizeof *q);
    ends_open(&e, join, END_KEEPS);
    for (int i = 0; i < N; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        asked_start(&q[i], e.a.link, 20000, text);
        asked_start(&q[N + i], e.b.link, 0, text);
    }
    ends_until(&e, &e.b.kept_count, N);
    ends_until(&e, &e.a.kept_count, N);
    for (size_t i = 0; i < N; i++) { /* in another order than they came */
        size_t k = (i * 7919) % N;
        char text[16];
        snprintf(text, sizeof text, "%zu", k);
        kept_answer(&e.b, k, text);
        kept_answer(&e.a, k, text);
    }
    for (int i = 0; i < 2 * N; i++) {
        char text[16];
        ends_until_int(&e, &q[i].done, 1);
        snprintf(text, sizeof text, "%d", i % N);
        assert_string_equal(q[i].text, text);
    }
    ends_turns(&e, 3);
    for (int i = 0; i < 2 * N; i++)
        assert_int_equal(q[i].done, 1);
    assert_int_equal(rpc_link_open_calls(e.a.link), 0);
    assert_int_equal(rpc_link_open_calls(e.b.link), 0);
    ends_deinit(&e);
    free(q);
}

static void a_thousand_calls_each_way_find_their_answers(void **state)
{
    (void)state;
    check_many(ends_join_sockets);
    check_many(ends_join_pair);
}

static void check_deadline(ends_join_fn *join)
{
    struct ends e;
    struct asked q;
    ends_open(&e, join, END_KEEPS);
    asked_start(&q, e.a.link, 60, "slow");
    ends_until(&e, &e.b.kept_count, 1);
    uint32_t left = rpc_call_left_ms(e.b.kept[0]);
    assert_in_range(left, 1, 60);
    ends_until_int(&e, &q.done, 1);
    assert_int_equal(q.err, BT_ETIMEOUT);
    assert_false(q.came);
    assert_true(q.was_sent);
    ends_until(&e, &e.b.dead, 1); /* the other end is told */
    assert_true(rpc_call_is_dead(e.b.kept[0]));
    assert_null(rpc_call_link(e.b.kept[0]));
    assert_int_equal(rpc_link_open_calls(e.b.link), 0);
    kept_answer(&e.b, 0, "late");
    ends_turns(&e, 5);
    assert_int_equal(q.done, 1);
    asked_start(&q, e.a.link, 1000, "again");
    ends_until(&e, &e.b.kept_count, 2);
    kept_answer(&e.b, 1, "fine");
    ends_until_int(&e, &q.done, 1);
    assert_string_equal(q.text, "fine");
    ends_deinit(&e);
}

static void a_call_past_its_deadline_ends_here_and_is_cancelled_there(void **state)
{
    (void)state;
    check_deadline(ends_join_sockets);
    check_deadline(ends_join_pair);
}

static void check_cancel(ends_join_fn *join)
{
    struct ends e;
    struct asked q, other;
    ends_open(&e, join, END_KEEPS);
    asked_start(&q, e.a.link, 1000, "never mind");
    asked_start(&other, e.a.link, 1000, "this one stays");
    ends_until(&e, &e.b.kept_count, 2);
    rpc_link_cancel(&q.out);
    ends_until(&e, &e.b.dead, 1);
    kept_answer(&e.b, 0, "too late");
    kept_answer(&e.b, 1, "ok");
    ends_until_int(&e, &other.done, 1);
    assert_int_equal(q.done, 0);
    assert_string_equal(other.text, "ok");
    ends_deinit(&e);
}

static void a_cancelled_call_is_dead_there_and_silent_here(void **state)
{
    (void)state;
    check_cancel(ends_join_sockets);
    check_cancel(ends_join_pair);
}

static void check_close(ends_join_fn *join, bool here)
{
    struct ends e;
    struct asked q, incoming;
    ends_open(&e, join, END_KEEPS);
    asked_start(&q, e.a.link, 1000, "x");
    asked_start(&incoming, e.b.link, 1000, "y");
    ends_until(&e, &e.b.kept_count, 1);
    ends_until(&e, &e.a.kept_count, 1);
    struct rpc_link *l = here ? e.a.link : e.b.link;
    rpc_link_close(l, BT_OK);
    assert_int_equal(q.done, 0);
    assert_int_equal(e.a.closed + e.b.closed, 0);
    ends_until_int(&e, &e.a.closed, 1);
    ends_until_int(&e, &e.b.closed, 1);
    assert_int_equal(q.done, 1);
    assert_int_equal(q.err, here ? BT_ECLOSING : BT_EDOWN);
    assert_true(q.was_sent);
    assert_int_equal(incoming.done, 1);
    assert_int_equal(incoming.err, here ? BT_EDOWN : BT_ECLOSING);
    assert_int_equal(e.a.dead, 1);
    assert_int_equal(e.b.dead, 1);
    kept_answer(&e.b, 0, "nobody listens");
    ends_deinit(&e);
}

static void closing_tells_every_call_of_both_ends_once(void **state)
{
    (void)state;
    check_close(ends_join_sockets, true);
    check_close(ends_join_sockets, false);
    check_close(ends_join_pair, true);
    check_close(ends_join_pair, false);
}

static void check_finish(ends_join_fn *join)
{
    struct ends e;
    const struct rpc_header h = { .method = 0x0709 };
    ends_open(&e, join, END_ECHOES);
    assert_int_equal(rpc_link_event(e.a.link, &h, (const uint8_t *)"bye", 3), BT_OK);
    rpc_link_finish(e.a.link, 1000);
    assert_true(rpc_link_is_closing(e.a.link));
    assert_int_equal(rpc_link_event(e.a.link, &h, (const uint8_t *)"more", 4), BT_ECLOSING);
    ends_until_int(&e, &e.b.closed, 1);
    ends_until_int(&e, &e.a.closed, 1);
    assert_string_equal(e.b.last_event, "bye");
    assert_int_equal(e.b.why, BT_OK);
    ends_deinit(&e);
}

static void finishing_lets_out_what_was_queued(void **state)
{
    (void)state;
    check_finish(ends_join_sockets);
    check_finish(ends_join_pair);
}

static void call_ids_wrap_and_skip_open_ones(void **state)
{
    struct ends e;
    struct asked old[2], q;
    (void)state;
    ends_open(&e, ends_join_sockets, END_KEEPS);
    asked_start(&old[0], e.a.link, 0, "1");
    asked_start(&old[1], e.a.link, 0, "2");
    assert_int_equal(old[0].out.entry.id, 1);
    assert_int_equal(old[1].out.entry.id, 2);
    rpc_link_out_of(e.a.link)->next_call = UINT32_MAX - 1;
    asked_start(&q, e.a.link, 0, "last before the wrap");
    assert_int_equal(q.out.entry.id, UINT32_MAX);
    struct asked next;
    asked_start(&next, e.a.link, 0, "after it");
    assert_int_equal(next.out.entry.id, 3); /* 0 is none, 1 and 2 are open */
    ends_until(&e, &e.b.kept_count, 4);
    assert_int_equal(e.b.closed, 0);
    ends_deinit(&e);
}

static void pass_ms(struct ends *e, uint64_t ms)
{
    uint64_t start_ms = net_now_ms(e->loop);
    while (net_now_ms(e->loop) < start_ms + ms)
        ends_turns(e, 1);
}

static void check_age_of_what_waited(ends_join_fn *join)
{
    struct ends e;
    struct asked q;
    ends_open(&e, join, END_KEEPS);
    rpc_link_pause(e.b.link);
    asked_start(&q, e.a.link, 5000, "x");
    pass_ms(&e, 60);
    assert_int_equal(e.b.requests, 0);
    rpc_link_resume(e.b.link);
    ends_until(&e, &e.b.kept_count, 1);
    assert_in_range(rpc_call_left_ms(e.b.kept[0]), 3000, 4945);
    ends_deinit(&e);
}

static void a_deadline_runs_on_while_reading_is_paused(void **state)
{
    (void)state;
    check_age_of_what_waited(ends_join_pair);
    check_age_of_what_waited(ends_join_sockets);
}

static void check_age_of_what_came_later(ends_join_fn *join)
{
    struct ends e;
    struct asked q;
    ends_open(&e, join, END_KEEPS);
    pass_ms(&e, 20);
    rpc_link_pause(e.b.link);
    pass_ms(&e, 100);
    rpc_link_resume(e.b.link);
    pass_ms(&e, 200);
    uint64_t asked_ms = net_now_ms(e.loop);
    asked_start(&q, e.a.link, 5000, "x");
    ends_until(&e, &e.b.kept_count, 1);
    uint64_t took_ms = net_now_ms(e.loop) - asked_ms;
    assert_true(rpc_call_left_ms(e.b.kept[0]) + took_ms >= 4999);
    ends_deinit(&e);
}

static void a_deadline_does_not_run_before_the_call_was_made(void **state)
{
    (void)state;
    check_age_of_what_came_later(ends_join_pair);
    check_age_of_what_came_later(ends_join_sockets);
}

static void a_link_that_only_serves_answers_until_it_ends(void **state)
{
    struct asked q[3];
    struct ends e;
    (void)state;
    ends_init(&e);
    e.b_only_serves = true;
    ends_join_sockets(&e);
    asked_start(&q[0], e.a.link, 0, "one");
    ends_until_int(&e, &q[0].done, 1);
    assert_int_equal(q[0].err, BT_OK);
    e.b.answers = END_KEEPS;
    asked_start(&q[1], e.a.link, 0, "two");
    asked_start(&q[2], e.a.link, 0, "three");
    ends_until(&e, &e.b.kept_count, 2);
    kept_answer(&e.b, 0, "answered");
    ends_until_int(&e, &q[1].done, 1);
    rpc_link_close(e.b.link, BT_ECLOSING);
    ends_until_int(&e, &q[2].done, 1);
    assert_int_equal(q[2].err, BT_EDOWN);
    assert_int_equal(e.b.dead, 1);
    ends_deinit(&e);
}

static void check_cast(ends_join_fn *join)
{
    const struct rpc_header h = { .method = 7, .call = 9, .timeout_ms = 5, .trace = 3 };
    const char *text = "to all";
    struct rpc_cast cast;
    struct ends e;
    ends_open(&e, join, END_ECHOES);
    for (size_t i = 1; i <= 3; i++) {
        rpc_cast_begin(&cast, e.loop, &h, (const uint8_t *)text, (uint32_t)strlen(text));
        assert_int_equal(rpc_link_cast(e.a.link, &cast), BT_OK);
        assert_int_equal(rpc_link_cast(e.b.link, &cast), BT_OK);
        if (i == 2) /* in its place among others */
            assert_int_equal(rpc_link_event(e.a.link, &h, (const uint8_t *)"to one", 6), BT_OK);
    }
    ends_until(&e, &e.b.events, 4);
    ends_until(&e, &e.a.events, 3);
    assert_string_equal(e.b.last_event, text);
    assert_string_equal(e.a.last_event, text);
    e.limits_a.max_out_bytes = 1024;
    rpc_cast_begin(&cast, e.loop, &h, (const uint8_t *)"x", 1);
    cast.bytes.body_len = 2000; /* too long for this link; nothing is read of it */
    assert_int_equal(rpc_link_cast(e.a.link, &cast), BT_EINVAL);
    rpc_link_close(e.a.link, BT_OK);
    assert_int_equal(rpc_link_cast(e.a.link, &cast), BT_ECLOSING);
    ends_deinit(&e);
}

static void a_cast_is_an_event_at_every_link(void **state)
{
    (void)state;
    check_cast(ends_join_sockets);
    check_cast(ends_join_pair);
}

static void a_call_that_never_left_is_told_so(void **state)
{
    struct ends e;
    struct asked q;
    (void)state;
    ends_open(&e, ends_join_sockets, END_ECHOES);
    asked_start(&q, e.a.link, 1000, "x");
    rpc_link_close(e.a.link, BT_OK); /* before the turn's write */
    ends_until_int(&e, &q.done, 1);
    assert_int_equal(q.err, BT_ECLOSING);
    assert_false(q.was_sent);
    ends_deinit(&e);
}

static void failing_to_connect_tells_the_calls(void **state)
{
    struct ends e;
    struct asked q;
    (void)state;
    ends_open(&e, ends_join_sockets, END_ECHOES);
    rpc_link_close(e.a.link, BT_OK);
    ends_until_int(&e, &e.a.closed, 1);
    ends_until_int(&e, &e.b.closed, 1);
    char address[64];
    snprintf(address, sizeof address, "%s", net_listener_address(e.listener));
    net_listener_close(e.listener);
    e.listener = NULL;
    ends_turns(&e, 2);
    e.a.closed = 0;
    struct rpc_link *l;
    assert_int_equal(rpc_link_dial(e.loop, address, 1000, ends_ops(), &e.limits_a, &e.a, &l), BT_OK);
    e.a.link = l;
    asked_start(&q, l, 1000, "x");
    ends_until_int(&e, &e.a.closed, 1);
    assert_int_equal(q.err, BT_EDOWN);
    assert_false(q.was_sent);
    assert_int_equal(e.a.why, BT_EDOWN);
    ends_deinit(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(either_end_calls_and_sends_events),
        cmocka_unit_test(a_thousand_calls_each_way_find_their_answers),
        cmocka_unit_test(a_call_past_its_deadline_ends_here_and_is_cancelled_there),
        cmocka_unit_test(a_cancelled_call_is_dead_there_and_silent_here),
        cmocka_unit_test(closing_tells_every_call_of_both_ends_once),
        cmocka_unit_test(finishing_lets_out_what_was_queued),
        cmocka_unit_test(call_ids_wrap_and_skip_open_ones),
        cmocka_unit_test(a_deadline_runs_on_while_reading_is_paused),
        cmocka_unit_test(a_deadline_does_not_run_before_the_call_was_made),
        cmocka_unit_test(a_call_that_never_left_is_told_so),
        cmocka_unit_test(failing_to_connect_tells_the_calls),
        cmocka_unit_test(a_link_that_only_serves_answers_until_it_ends),
        cmocka_unit_test(a_cast_is_an_event_at_every_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
