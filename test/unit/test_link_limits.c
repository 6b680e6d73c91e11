/* test/unit/test_link_limits.c: links over sockets and as pairs, whose queues, calls, frames or memory are too much. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "net/mem.h"
#include "proto/client.pb.h"
#include "rpc/bytes.h"
#include "rpc/link_internal.h"
#include "rpc_ends.h"

static void check_max_calls(ends_join_fn *join)
{
    struct ends e;
    struct asked q[3];
    Error error = { .detail = { NULL, 0 } };
    ends_init(&e);
    e.limits_a.max_calls = e.limits_b.max_calls = 2;
    e.b.answers = END_KEEPS;
    join(&e);
    for (int i = 0; i < 3; i++)
        asked_start(&q[i], e.a.link, 1000, "x");
    ends_until_int(&e, &q[2].done, 1);
    assert_int_equal(q[2].err, BT_EBUSY);
    assert_int_equal(q[2].status, RPC_STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(rpc_decode(Error_fields, (uint8_t *)q[2].text, strlen(q[2].text), &error), BT_OK);
    assert_int_equal(q[0].done + q[1].done, 0);
    kept_answer(&e.b, 0, "ok");
    ends_until_int(&e, &q[0].done, 1);
    asked_start(&q[2], e.a.link, 1000, "now there is room");
    ends_until(&e, &e.b.kept_count, 3);
    ends_deinit(&e);
}

static void one_call_too_many_is_refused_and_the_link_stays(void **state)
{
    (void)state;
    check_max_calls(ends_join_sockets);
    check_max_calls(ends_join_pair);
}

static void check_full(ends_join_fn *join)
{
    struct ends e;
    static uint8_t bulk[32 * 1024];
    const struct rpc_header h = { .method = 0x0701 };
    enum bt_err err = BT_OK;
    struct asked q;
    size_t sent = 0;
    ends_init(&e);
    e.limits_a.net.out_high_bytes = 256 * 1024;
    e.limits_a.net.out_low_bytes = 64 * 1024;
    join(&e);
    rpc_link_pause(e.b.link);
    while (err == BT_OK && sent < 10000) {
        err = rpc_link_event(e.a.link, &h, bulk, sizeof bulk);
        if (err == BT_OK && ++sent % 8 == 0)
            net_loop_turn(e.loop, 0);
    }
    assert_int_equal(err, BT_EBUSY);
    asked_start(&q, e.a.link, 1000, "no room");
    ends_until_int(&e, &q.done, 1);
    assert_int_equal(q.err, BT_EBUSY);
    assert_false(q.was_sent);
    assert_int_equal(e.b.events, 0);
    rpc_link_resume(e.b.link);
    ends_until(&e, &e.b.events, sent); /* all that was taken arrives */
    assert_int_equal(e.a.drained, 1);
    asked_start(&q, e.a.link, 1000, "room");
    ends_until_int(&e, &q.done, 1);
    assert_int_equal(q.err, BT_OK);
    ends_deinit(&e);
}

static void a_full_queue_refuses_and_says_when_there_is_room(void **state)
{
    (void)state;
    check_full(ends_join_sockets);
    check_full(ends_join_pair);
}

static void check_too_long(ends_join_fn *join)
{
    struct ends e;
    char *text = calloc(1, 3001);
    struct asked q;
    const struct rpc_header h = { .method = 0x0701 };
    ends_init(&e);
    e.limits_a.max_out_bytes = e.limits_b.max_out_bytes = 2048;
    e.b.answers = END_KEEPS;
    join(&e);
    memset(text, 'x', 3000);
    asked_start(&q, e.a.link, 1000, text);
    ends_until_int(&e, &q.done, 1);
    assert_int_equal(q.err, BT_EINVAL);
    assert_int_equal(rpc_link_event(e.a.link, &h, (uint8_t *)text, 3000), BT_EINVAL);
    asked_start(&q, e.a.link, 1000, "give me much");
    ends_until(&e, &e.b.kept_count, 1);
    kept_answer(&e.b, 0, text);
    ends_until_int(&e, &q.done, 1);
    assert_int_equal(q.err, BT_EINTERNAL);
    assert_true(q.came);
    ends_deinit(&e);
    free(text);
}

static void frames_over_the_sending_limit_do_not_leave(void **state)
{
    (void)state;
    check_too_long(ends_join_sockets);
    check_too_long(ends_join_pair);
}

static void check_late_in_the_queue(ends_join_fn *join, bool may_arrive)
{
    struct ends e;
    static uint8_t bulk[32 * 1024];
    const struct rpc_header h = { .method = 0x0701 };
    struct asked q;
    ends_init(&e);
    e.limits_a.net.out_high_bytes = 256 * 1024;
    join(&e);
    rpc_link_pause(e.b.link);
    for (size_t i = 0; i < 10000 && rpc_link_queued(e.a.link) < 128 * 1024; i++) {
        assert_int_equal(rpc_link_event(e.a.link, &h, bulk, sizeof bulk), BT_OK);
        if (i % 4 == 3)
            ends_turns(&e, 1);
    }
    asked_start(&q, e.a.link, 30, "late");
    ends_until_int(&e, &q.done, 1);
    assert_int_equal(q.err, BT_ETIMEOUT);
    assert_int_equal(e.b.requests, 0);
    rpc_link_resume(e.b.link);
    if (may_arrive) {
        ends_until(&e, &e.b.requests, 1); /* it has come after all */
        assert_true(q.was_sent);
    } else {
        ends_until(&e, &e.b.events, 4);
        ends_turns(&e, 3);
        assert_int_equal(e.b.requests, 0);
        assert_false(q.was_sent);
        assert_int_equal(rpc_link_queued(e.a.link), 0);
    }
    ends_deinit(&e);
}

static void what_waits_to_be_written_past_its_deadline_may_still_arrive(void **state)
{
    (void)state;
    check_late_in_the_queue(ends_join_sockets, true);
}

static void what_waits_in_the_process_past_its_deadline_does_not_arrive(void **state)
{
    (void)state;
    check_late_in_the_queue(ends_join_pair, false);
}

/* The half that was queued is none of what was there before it: else it would look as if that had not left either. */
static void what_left_has_left_though_an_answer_was_cut_off_for_want_of_memory(void **state)
{
    static uint8_t half[100000]; /* each is a piece of memory of its own */
    int ncut = 0;
    (void)state;
    for (long n = 0; n < 3; n++) {
        struct ends e;
        struct asked from_a, from_b;
        ends_init(&e);
        e.limits_a.max_frame_bytes = e.limits_b.max_frame_bytes = 256 * 1024;
        e.limits_b.net.in_max_bytes = 256 * 1024 + RPC_LENGTH_SIZE;
        e.a.answers = e.b.answers = END_KEEPS;
        ends_join_sockets(&e);
        for (int i = 0; i < 4; i++)
            assert_int_equal(rpc_link_event(e.a.link, &(struct rpc_header){ .method = 1 }, half, sizeof half), BT_OK);
        ends_until(&e, &e.b.events, 4);
        asked_start(&from_a, e.a.link, 5000, "a");
        asked_start(&from_b, e.b.link, 5000, "b");
        ends_until(&e, &e.a.kept_count, 1);
        ends_until(&e, &e.b.kept_count, 1);
        struct rpc_call *call = e.a.kept[0];
        e.a.kept[0] = NULL;
        bt_mem_fail_after(n);
        const struct rpc_bytes parts[] = { { half, sizeof half }, { half, sizeof half } };
        rpc_reply_parts(call, RPC_STATUS_OK, 0, parts, 2);
        bt_mem_fail_after(-1);
        if (rpc_link_is_closing(e.a.link)) {
            ncut++;
            ends_until_int(&e, &from_a.done, 1);
            assert_int_equal(from_a.err, BT_EDOWN);
            assert_true(from_a.was_sent);
        }
        if (!from_a.done)
            rpc_link_cancel(&from_a.out);
        ends_until_int(&e, &from_b.done, 1);
        ends_deinit(&e);
    }
    assert_int_equal(ncut, 2); /* before the first half, and between them */
}

static void check_memory(ends_join_fn *join)
{
    for (long n = 0; n < 60; n++) {
        struct ends e;
        struct asked q[20];
        int told = 0;
        ends_open(&e, join, END_ECHOES);
        bt_mem_fail_after(n);
        for (int i = 0; i < 20; i++)
            asked_start(&q[i], e.a.link, 500, "x");
        for (int turn = 0; turn < 600 && told < 20; turn++) {
            ends_turns(&e, 1);
            told = 0;
            for (int i = 0; i < 20; i++)
                told += q[i].done;
        }
        bt_mem_fail_after(-1);
        assert_int_equal(told, 20); /* one way or the other */
        ends_deinit(&e);
    }
}

static void every_call_ends_whichever_allocation_fails(void **state)
{
    (void)state;
    check_memory(ends_join_sockets);
    check_memory(ends_join_pair);
}

static void without_memory_there_is_no_pair(void **state)
{
    struct ends e;
    (void)state;
    ends_init(&e);
    for (long n = 0; n < 4; n++) {
        struct rpc_link *a, *b;
        bt_mem_fail_after(n);
        assert_int_equal(rpc_link_pair(e.loop, ends_ops(), &e.a, ends_ops(), &e.b, &e.limits_a, &a, &b), BT_ENOMEM);
        bt_mem_fail_after(-1);
    }
    ends_deinit(&e);
}

static void a_link_is_small(void **state)
{
    (void)state;
    assert_true(sizeof(struct rpc_link) <= RPC_LINK_SERVE_SIZE);
    assert_true(sizeof(struct rpc_call) <= 160);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_call_too_many_is_refused_and_the_link_stays),
        cmocka_unit_test(a_full_queue_refuses_and_says_when_there_is_room),
        cmocka_unit_test(frames_over_the_sending_limit_do_not_leave),
        cmocka_unit_test(what_waits_to_be_written_past_its_deadline_may_still_arrive),
        cmocka_unit_test(what_waits_in_the_process_past_its_deadline_does_not_arrive),
        cmocka_unit_test(what_left_has_left_though_an_answer_was_cut_off_for_want_of_memory),
        cmocka_unit_test(every_call_ends_whichever_allocation_fails),
        cmocka_unit_test(without_memory_there_is_no_pair),
        cmocka_unit_test(a_link_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
