/* test/unit/test_loop.c: tasks, work, bells, signals and watched descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/loop.h"
#include "net/mem.h"
#include "net/timer.h"

enum { LOG_MAX = 64, TURNS_MAX = 500 };

struct fixture {
    struct net_loop *loop;
    char seen[LOG_MAX]; /* what ran, a letter each */
    size_t n;
    int rings;
    struct net_wake *wake;
    struct net_poll *poll;
    int fds[2];
    int events;
    int signum;
    pthread_t worker;
};

struct job {
    struct net_task task;
    struct fixture *f;
    struct job *other;
    char letter;
    int rounds;
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
    struct job *j = arg;

    if (j->f->n < LOG_MAX - 1)
        j->f->seen[j->f->n++] = j->letter;
}

static void tasks_run_once_in_order_and_not_at_once(void **state)
{
    struct fixture *f = *state;
    struct job a = { .f = f, .letter = 'a' }, b = { .f = f, .letter = 'b' };

    net_defer(f->loop, &b.task, note, &b);
    net_defer(f->loop, &a.task, note, &a);
    net_defer(f->loop, &b.task, note, &b);
    assert_string_equal(f->seen, "");
    net_loop_run(f->loop);
    assert_string_equal(f->seen, "ba");
}

static void cancel_other(void *arg)
{
    struct job *j = arg;

    note(j);
    net_defer_cancel(j->f->loop, &j->other->task);
    net_defer_cancel(j->f->loop, &j->task);
}

static void a_task_cancels_another_of_its_round(void **state)
{
    struct fixture *f = *state;
    struct job a = { .f = f, .letter = 'a' }, b = { .f = f, .letter = 'b' }, c = { .f = f, .letter = 'c' };

    a.other = &b;
    net_defer(f->loop, &a.task, cancel_other, &a);
    net_defer(f->loop, &b.task, note, &b);
    net_defer(f->loop, &c.task, note, &c);
    net_loop_run(f->loop);
    assert_string_equal(f->seen, "ac");
}

static void defer_again(void *arg)
{
    struct job *j = arg;

    note(j);
    if (--j->rounds > 0)
        net_defer(j->f->loop, &j->task, defer_again, j);
}

static void a_task_that_defers_itself_lets_others_run(void **state)
{
    struct fixture *f = *state;
    struct job a = { .f = f, .letter = 'a', .rounds = 3 }, b = { .f = f, .letter = 'b', .rounds = 2 };

    net_defer(f->loop, &a.task, defer_again, &a);
    net_defer(f->loop, &b.task, defer_again, &b);
    net_loop_turn(f->loop, 0);
    assert_string_equal(f->seen, "ababa");
}

static void stop_loop(void *arg)
{
    net_loop_stop(arg);
}

static void endless_tasks_do_not_starve_timers_nor_wait_for_polling(void **state)
{
    struct fixture *f = *state;
    struct job a = { .f = f, .letter = 'a', .rounds = 1 << 30 };
    struct net_timer timer = { 0 };
    uint64_t start_us = net_clock_us();

    net_defer(f->loop, &a.task, defer_again, &a);
    net_timer_start(f->loop, &timer, 30, stop_loop, f->loop);
    net_loop_run(f->loop);
    assert_true(net_clock_us() - start_us < 2000000);
    assert_true((1 << 30) - a.rounds > 100);
    net_defer_cancel(f->loop, &a.task);
}

static void a_turn_waits_no_longer_than_it_may(void **state)
{
    struct fixture *f = *state;
    uint64_t start_us = net_clock_us();

    assert_true(net_now_ms(f->loop) > 0);
    net_loop_turn(f->loop, 0);
    assert_true(net_clock_us() - start_us < 500000);
    net_loop_turn(f->loop, 20);
    assert_true(net_clock_us() - start_us < 1000000);
}

static void work_elsewhere(void *arg)
{
    struct fixture *f = arg;

    f->worker = pthread_self();
}

static void work_is_done(void *arg, enum bt_err err)
{
    struct fixture *f = arg;

    assert_int_equal(err, BT_OK);
    f->rings++;
}

static void work_runs_elsewhere_and_is_done_here(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(net_work(f->loop, work_elsewhere, work_is_done, f), BT_OK);
    assert_int_equal(f->rings, 0);
    net_loop_run(f->loop);
    assert_int_equal(f->rings, 1);
    assert_false(pthread_equal(f->worker, pthread_self()));
}

static void rung(void *arg)
{
    struct fixture *f = arg;

    f->rings++;
    net_wake_close(f->wake);
}

static void *ring(void *arg)
{
    struct fixture *f = arg;

    for (int i = 0; i < 100; i++)
        net_wake_ring(f->wake);
    return NULL;
}

static void a_bell_rung_often_is_heard_until_closed(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;

    assert_int_equal(net_wake_new(f->loop, rung, f, &f->wake), BT_OK);
    assert_int_equal(pthread_create(&thread, NULL, ring, f), 0);
    pthread_join(thread, NULL);
    net_loop_run(f->loop);
    assert_int_equal(f->rings, 1);
}

static void a_closed_bell_is_silent(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(net_wake_new(f->loop, rung, f, &f->wake), BT_OK);
    net_wake_ring(f->wake);
    net_wake_close(f->wake);
    net_loop_run(f->loop);
    assert_int_equal(f->rings, 0);
}

static void signalled(int signum, void *arg)
{
    struct fixture *f = arg;

    f->signum = signum;
}

static void a_signal_arrives_and_does_not_keep_the_loop_alive(void **state)
{
    struct fixture *f = *state;
    struct net_signal *sig;

    assert_int_equal(net_signal_new(f->loop, SIGHUP, signalled, f, &sig), BT_OK);
    net_loop_run(f->loop); /* returns at once */
    raise(SIGHUP);
    for (int i = 0; i < TURNS_MAX && !f->signum; i++)
        net_loop_turn(f->loop, 10);
    assert_int_equal(f->signum, SIGHUP);
    net_signal_close(sig);
}

static void polled(int events, void *arg)
{
    struct fixture *f = arg;

    f->events |= events;
    f->rings++;
    net_poll_set(f->poll, 0);
}

static void a_watch_reports_paused_is_silent(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, f->fds), 0);
    assert_int_equal(net_poll_new(f->loop, f->fds[0], polled, f, &f->poll), BT_OK);
    net_poll_set(f->poll, NET_READABLE);
    net_loop_turn(f->loop, 0);
    assert_int_equal(f->events, 0);
    assert_int_equal(write(f->fds[1], "x", 1), 1);
    for (int i = 0; i < TURNS_MAX && !f->rings; i++)
        net_loop_turn(f->loop, 10);
    assert_int_equal(f->events, NET_READABLE);
    net_loop_turn(f->loop, 10); /* paused from within */
    assert_int_equal(f->rings, 1);
    net_poll_set(f->poll, NET_READABLE | NET_WRITABLE);
    net_loop_turn(f->loop, 10);
    assert_int_equal(f->rings, 2);
    assert_int_equal(f->events, NET_READABLE | NET_WRITABLE);
    net_poll_close(f->poll);
    close(f->fds[0]);
    close(f->fds[1]);
}

static void a_broken_pipe_is_reported_as_both(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(pipe(f->fds), 0);
    close(f->fds[0]); /* the writing end now only has an error */
    assert_int_equal(net_poll_new(f->loop, f->fds[1], polled, f, &f->poll), BT_OK);
    net_poll_set(f->poll, NET_READABLE);
    for (int i = 0; i < TURNS_MAX && !f->rings; i++)
        net_loop_turn(f->loop, 10);
    assert_int_equal(f->events, NET_READABLE | NET_WRITABLE);
    net_poll_close(f->poll);
    close(f->fds[1]);
}

static void a_file_cannot_be_watched(void **state)
{
    struct fixture *f = *state;
    FILE *file = tmpfile();

    assert_int_equal(net_poll_new(f->loop, fileno(file), polled, f, &f->poll), BT_EINVAL);
    fclose(file);
}

static void missing_memory_is_an_error_everywhere(void **state)
{
    struct fixture *f = *state;
    struct net_loop *loop;
    struct net_signal *sig;

    bt_mem_fail_after(0);
    assert_int_equal(net_loop_new(&loop), BT_ENOMEM);
    bt_mem_fail_after(0);
    assert_int_equal(net_work(f->loop, work_elsewhere, work_is_done, f), BT_ENOMEM);
    bt_mem_fail_after(0);
    assert_int_equal(net_wake_new(f->loop, rung, f, &f->wake), BT_ENOMEM);
    bt_mem_fail_after(0);
    assert_int_equal(net_signal_new(f->loop, SIGHUP, signalled, f, &sig), BT_ENOMEM);
    bt_mem_fail_after(0);
    assert_int_equal(net_poll_new(f->loop, 0, polled, f, &f->poll), BT_ENOMEM);
    bt_mem_fail_after(-1);
    net_loop_run(f->loop);
    assert_int_equal(f->rings, 0);
}

/* ---- standing still ---- */

static void stand_still(uint32_t ms)
{
    usleep(ms * 1000); /* no turn meanwhile: all that a stopped process is, as seen from within */
}

static void ask_stood(void *arg)
{
    struct fixture *f = arg;

    if (net_loop_stood_ms(f->loop) > 0)
        f->seen[f->n++] = 's';
}

static void a_standstill_is_noticed_by_whoever_asks_first(void **state)
{
    struct fixture *f = *state;
    struct net_timer timer = { 0 };

    net_loop_watch(f->loop);
    net_loop_turn(f->loop, 0);
    assert_int_equal(net_loop_stood_ms(f->loop), 0);
    net_timer_start(f->loop, &timer, 1, ask_stood, f); /* older than the pulse, and so before it */
    uint64_t before_ms = net_clock_us() / 1000;
    stand_still(NET_STOOD_MS);
    net_loop_turn(f->loop, 0);
    assert_int_equal(f->n, 1);
    uint64_t stood_ms = net_loop_stood_ms(f->loop);
    assert_true(stood_ms >= before_ms + NET_STOOD_MS);
    net_loop_turn(f->loop, 0);
    assert_true(net_loop_stood_ms(f->loop) == stood_ms); /* once is enough */
    stand_still(NET_STOOD_MS);
    assert_true(net_loop_stood_ms(f->loop) >= stood_ms + NET_STOOD_MS); /* before any turn */
}

static void a_loop_that_waits_does_not_stand_still(void **state)
{
    struct fixture *f = *state;

    net_loop_watch(f->loop);
    net_loop_watch(f->loop);
    for (int i = 0; i < 3; i++) {
        uint64_t began_us = net_clock_us();
        net_loop_turn(f->loop, 10 * NET_STOOD_MS);
        assert_in_range(net_clock_us() - began_us, 0, NET_STOOD_MS * 1000);
    }
    assert_int_equal(net_loop_stood_ms(f->loop), 0);
    net_loop_run(f->loop); /* being watched keeps nothing running */
}

static void a_loop_that_is_not_watched_says_nothing(void **state)
{
    struct fixture *f = *state;

    net_loop_turn(f->loop, 0);
    stand_still(NET_STOOD_MS);
    net_loop_turn(f->loop, 0);
    assert_int_equal(net_loop_stood_ms(f->loop), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(tasks_run_once_in_order_and_not_at_once),
        TEST(a_task_cancels_another_of_its_round),
        TEST(a_task_that_defers_itself_lets_others_run),
        TEST(endless_tasks_do_not_starve_timers_nor_wait_for_polling),
        TEST(a_turn_waits_no_longer_than_it_may),
        TEST(work_runs_elsewhere_and_is_done_here),
        TEST(a_bell_rung_often_is_heard_until_closed),
        TEST(a_closed_bell_is_silent),
        TEST(a_signal_arrives_and_does_not_keep_the_loop_alive),
        TEST(a_watch_reports_paused_is_silent),
        TEST(a_broken_pipe_is_reported_as_both),
        TEST(a_file_cannot_be_watched),
        TEST(missing_memory_is_an_error_everywhere),
        TEST(a_standstill_is_noticed_by_whoever_asks_first),
        TEST(a_loop_that_waits_does_not_stand_still),
        TEST(a_loop_that_is_not_watched_says_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
