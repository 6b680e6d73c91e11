/* test/unit/test_timer.c: the timer wheel over a real loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "net/loop.h"
#include "net/net_internal.h"
#include "net/timer.h"

enum { MANY = 100000, TAGS_MAX = 64 };

struct fixture {
    struct net_loop *loop;
    int order[TAGS_MAX];
    int fired;
};

struct alarm {
    struct net_timer timer;
    struct fixture *f;
    struct alarm *other;
    int tag;
    int rounds;
    uint64_t due_us, fired_us;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    *state = f;
    return net_loop_new(&f->loop) == BT_OK ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    net_loop_free(f->loop);
    free(f);
    return 0;
}

static void note(void *arg)
{
    struct alarm *a = arg;

    a->fired_us = net_clock_us();
    a->f->order[a->f->fired++ % TAGS_MAX] = a->tag;
}

static void set_alarm(struct alarm *a, struct fixture *f, int tag, uint64_t delay_ms, net_timer_cb *cb)
{
    a->f = f;
    a->tag = tag;
    a->due_us = net_clock_us() + delay_ms * 1000;
    net_timer_start(f->loop, &a->timer, delay_ms, cb, a);
}

static void timers_fire_in_order_and_never_early(void **state)
{
    static const uint64_t delays_ms[] = { 300, 20, 0, 65, 256, 1, 130, 257, 40, 5 };
    static const int expected[] = { 2, 5, 9, 1, 8, 3, 6, 4, 7, 0 };
    enum { N = sizeof delays_ms / sizeof *delays_ms };
    struct fixture *f = *state;
    struct alarm alarms[N] = { 0 };

    for (int i = 0; i < N; i++)
        set_alarm(&alarms[i], f, i, delays_ms[i], note);
    net_loop_run(f->loop);
    assert_int_equal(f->fired, N);
    for (int i = 0; i < N; i++) {
        assert_true(alarms[i].fired_us >= alarms[i].due_us);
        assert_false(net_timer_is_running(&alarms[i].timer));
    }
    /* 0, 1 and 5 ms, or 256 and 257, may share a tick, but are then in the order of starting */
    assert_memory_equal(f->order + 3, expected + 3, 4 * sizeof *expected);
    assert_int_equal(f->order[N - 1], 0);
}

static void nothing_fires_inside_start(void **state)
{
    struct fixture *f = *state;
    struct alarm a = { 0 };

    set_alarm(&a, f, 1, 0, note);
    assert_int_equal(f->fired, 0);
    assert_true(net_timer_is_running(&a.timer));
    net_loop_run(f->loop);
    assert_int_equal(f->fired, 1);
}

static void a_long_turn_does_not_make_its_timers_early(void **state)
{
    struct fixture *f = *state;
    struct alarm a = { 0 };
    uint64_t until_us = net_clock_us() + 30000;

    net_loop_turn(f->loop, 0);
    while (net_clock_us() < until_us)
        ;
    set_alarm(&a, f, 1, 20, note);
    net_loop_run(f->loop);
    assert_true(a.fired_us >= a.due_us);
}

static void stop_the_other(void *arg)
{
    struct alarm *a = arg;

    note(a);
    net_timer_stop(a->f->loop, &a->other->timer);
}

static void a_callback_stops_a_timer_of_the_same_tick(void **state)
{
    struct fixture *f = *state;
    struct alarm a = { 0 }, b = { 0 };

    a.other = &b;
    set_alarm(&a, f, 1, 10, stop_the_other);
    set_alarm(&b, f, 2, 10, note);
    net_loop_run(f->loop);
    assert_int_equal(f->fired, 1);
    assert_false(net_timer_is_running(&b.timer));
}

static void start_again(void *arg)
{
    struct alarm *a = arg;

    assert_false(net_timer_is_running(&a->timer));
    note(a);
    if (a->fired_us < a->due_us)
        fail();
    if (--a->rounds > 0)
        set_alarm(a, a->f, a->tag, 3, start_again);
}

static void a_callback_starts_its_timer_anew(void **state)
{
    struct fixture *f = *state;
    struct alarm a = { .rounds = 10 };

    set_alarm(&a, f, 1, 3, start_again);
    net_loop_run(f->loop);
    assert_int_equal(f->fired, 10);
}

static void free_self(void *arg)
{
    struct alarm *a = arg;

    a->f->fired++;
    free(a);
}

static void a_callback_frees_its_timer(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 10; i++)
        set_alarm(calloc(1, sizeof(struct alarm)), f, i, 5, free_self);
    net_loop_run(f->loop);
    assert_int_equal(f->fired, 10);
}

static void starting_a_running_timer_moves_it(void **state)
{
    struct fixture *f = *state;
    struct alarm a = { 0 }, b = { 0 };

    set_alarm(&a, f, 1, 5, note);
    set_alarm(&b, f, 2, 30, note);
    set_alarm(&a, f, 1, 60, note);
    net_loop_run(f->loop);
    assert_int_equal(f->fired, 2);
    assert_int_equal(f->order[0], 2);
    set_alarm(&b, f, 2, 100000, note);
    set_alarm(&b, f, 2, 1, note);
    net_loop_run(f->loop);
    assert_int_equal(f->fired, 3);
    assert_true(net_clock_us() < b.due_us + 1000000);
}

static void stopping_the_last_timer_lets_the_loop_end(void **state)
{
    struct fixture *f = *state;
    struct alarm a = { 0 };
    uint64_t start_us = net_clock_us();

    set_alarm(&a, f, 1, 60000, note);
    net_timer_stop(f->loop, &a.timer);
    net_timer_stop(f->loop, &a.timer);
    net_loop_run(f->loop);
    assert_int_equal(f->fired, 0);
    assert_true(net_clock_us() - start_us < 1000000);
}

/* Give the loop another idea of the time, as if that much had passed. */
static void pretend(struct fixture *f, uint64_t ms)
{
    uint64_t now_ms;

    uv_update_time(&f->loop->uv);
    now_ms = uv_now(&f->loop->uv) + ms;
    while (f->loop->wheel.armed_tick * NET_TICK_MS <= now_ms && f->loop->wheel.count > 0) {
        f->loop->uv.time = now_ms;
        f->loop->wheel_timer.timer_cb(&f->loop->wheel_timer);
    }
    f->loop->uv.time = now_ms - ms;
}

static void far_timers_come_down_level_by_level(void **state)
{
    static const uint64_t delays_ms[] = { 1000, 300000, 20000000, UINT64_C(1500000000), UINT64_C(90000000000) };
    enum { N = sizeof delays_ms / sizeof *delays_ms };
    struct fixture *f = *state;
    struct alarm alarms[N] = { 0 };

    for (int i = 0; i < N; i++)
        set_alarm(&alarms[i], f, i, delays_ms[i], note);
    for (int i = 0; i < N; i++) {
        pretend(f, delays_ms[i] - 8);
        assert_int_equal(f->fired, i);
        pretend(f, delays_ms[i] + 2000);
        assert_int_equal(f->fired, i + 1);
        assert_int_equal(f->order[i], i);
    }
}

static void an_endless_delay_is_not_early(void **state)
{
    struct fixture *f = *state;
    struct alarm a = { 0 };

    set_alarm(&a, f, 1, UINT64_MAX, note);
    pretend(f, UINT64_C(90000000000));
    assert_int_equal(f->fired, 0);
    net_timer_stop(f->loop, &a.timer);
}

static void count_one(void *arg)
{
    struct alarm *a = arg;

    a->f->fired++;
    if (net_clock_us() < a->due_us)
        fail();
}

static void a_hundred_thousand_timers_are_cheap(void **state)
{
    struct fixture *f = *state;
    struct alarm *alarms = calloc(MANY, sizeof *alarms);
    uint64_t start_us = net_clock_us(), set_us, stopped_us;

    for (int i = 0; i < MANY; i++)
        set_alarm(&alarms[i], f, i, (uint64_t)(i * 7919) % 600000, count_one);
    set_us = net_clock_us() - start_us;
    for (int i = 0; i < MANY; i++)
        if (alarms[i].timer.due_ms > start_us / 1000 + 300)
            net_timer_stop(f->loop, &alarms[i].timer);
    stopped_us = net_clock_us() - start_us;
    net_loop_run(f->loop);
    assert_in_range(f->fired, 20, 200);
    /* 100 ns each in truth: a second is an order of magnitude of slack, and a quadratic wheel would not make it */
    assert_true(set_us < 1000000);
    assert_true(stopped_us < 2000000);
    for (int i = 0; i < MANY; i++)
        assert_false(net_timer_is_running(&alarms[i].timer));
    free(alarms);
}

static void random_timers_all_fire_in_time(void **state)
{
    enum { N = 5000 };
    struct fixture *f = *state;
    struct alarm *alarms = calloc(N, sizeof *alarms);
    uint32_t seed = 12345;

    for (int i = 0; i < N; i++) {
        seed = seed * 1664525 + 1013904223;
        set_alarm(&alarms[i], f, i, (seed >> 8) % 700, note);
        if (i % 3 == 0)
            net_timer_stop(f->loop, &alarms[i / 2].timer);
        if (i % 100 == 0)
            net_loop_turn(f->loop, 0);
    }
    net_loop_run(f->loop);
    assert_int_equal(f->loop->wheel.count, 0);
    for (int i = 0; i < N; i++) {
        assert_false(net_timer_is_running(&alarms[i].timer));
        if (alarms[i].fired_us)
            assert_true(alarms[i].fired_us >= alarms[i].due_us);
        else
            assert_true(i <= N / 2); /* only those that were stopped */
    }
    free(alarms);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(timers_fire_in_order_and_never_early),
        TEST(nothing_fires_inside_start),
        TEST(a_long_turn_does_not_make_its_timers_early),
        TEST(a_callback_stops_a_timer_of_the_same_tick),
        TEST(a_callback_starts_its_timer_anew),
        TEST(a_callback_frees_its_timer),
        TEST(starting_a_running_timer_moves_it),
        TEST(stopping_the_last_timer_lets_the_loop_end),
        TEST(far_timers_come_down_level_by_level),
        TEST(an_endless_delay_is_not_early),
        TEST(a_hundred_thousand_timers_are_cheap),
        TEST(random_timers_all_fire_in_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
