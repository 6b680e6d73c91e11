/* net/loop.c: the reactor: what happens in a turn, and in which order. */
#include "net/loop.h"

#include <signal.h>
#include <time.h>

#include "net/mem.h"
#include "net/net_internal.h"

#define LOG_MODULE "net"
#include "net/log.h"

/* Rounds of tasks at the end of a read, and before the turn's writes: enough for tasks that defer tasks, an end for those that never stop. */
enum { TASK_ROUNDS_MAX = 8 };

static void task_list_init(struct net_task *head)
{
    head->next = head->prev = head;
}

static bool task_list_is_empty(const struct net_task *head)
{
    return head->next == head;
}

static void task_unlink(struct net_task *task)
{
    task->next->prev = task->prev;
    task->prev->next = task->next;
    task->next = task->prev = NULL;
}

static void on_idle(uv_idle_t *handle)
{
    (void)handle; /* that it is active is all: libuv then polls without waiting */
}

void net_loop_arouse(struct net_loop *loop)
{
    uv_idle_start(&loop->idle, on_idle);
}

static void defer(struct net_loop *loop, struct net_task *list, struct net_task *task, net_task_cb *cb, void *arg)
{
    if (task->next)
        return;
    task->cb = cb;
    task->arg = arg;
    task->next = list;
    task->prev = list->prev;
    task->prev->next = task;
    list->prev = task;
    net_loop_arouse(loop);
}

void net_defer(struct net_loop *loop, struct net_task *task, net_task_cb *cb, void *arg)
{
    defer(loop, &loop->tasks, task, cb, arg);
}

void net_defer_early(struct net_loop *loop, struct net_task *task, net_task_cb *cb, void *arg)
{
    defer(loop, &loop->early, task, cb, arg);
}

void net_defer_cancel(struct net_loop *loop, struct net_task *task)
{
    (void)loop;
    if (task->next)
        task_unlink(task);
}

/* Run what is on a list now; what these defer waits for the next round. */
static void run_tasks(struct net_loop *loop, struct net_task *list)
{
    if (task_list_is_empty(list))
        return;
    loop->batch = *list;
    loop->batch.next->prev = loop->batch.prev->next = &loop->batch;
    task_list_init(list);
    while (!task_list_is_empty(&loop->batch)) {
        struct net_task *task = loop->batch.next;

        task_unlink(task);
        task->cb(task->arg);
    }
}

void net_loop_run_early(struct net_loop *loop)
{
    for (int round = 0; round < TASK_ROUNDS_MAX && !task_list_is_empty(&loop->early); round++)
        run_tasks(loop, &loop->early);
}

/* ---- standing still ---- */

/* A machine that slept stood still too. */
static uint64_t awake_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void look_at_pulse(struct net_loop *loop)
{
    uint64_t now_ms = awake_ms(), away_ms = now_ms - loop->alive_ms;

    if (loop->alive_ms == 0)
        return;
    loop->alive_ms = now_ms;
    if (away_ms < NET_STOOD_MS)
        return;
    loop->stood_ms = net_clock_us() / 1000;
    log_info("this process stood still for about %llu ms", (unsigned long long)away_ms);
}

static void on_pulse(uv_timer_t *handle)
{
    look_at_pulse(handle->loop->data);
}

void net_loop_watch(struct net_loop *loop)
{
    if (loop->alive_ms != 0)
        return;
    loop->alive_ms = awake_ms();
    uv_timer_start(&loop->pulse, on_pulse, NET_PULSE_MS, NET_PULSE_MS);
}

uint64_t net_loop_stood_ms(struct net_loop *loop)
{
    look_at_pulse(loop);
    return loop->stood_ms;
}

/* ---- turns ---- */

static bool has_tasks(const struct net_loop *loop)
{
    return !task_list_is_empty(&loop->early) || !task_list_is_empty(&loop->tasks) || !net_link_is_empty(&loop->to_show);
}

static void on_prepare(uv_prepare_t *handle)
{
    struct net_loop *loop = handle->loop->data;

    look_at_pulse(loop);
    for (int round = 0; round < TASK_ROUNDS_MAX; round++) {
        if (!has_tasks(loop))
            break;
        run_tasks(loop, &loop->early);
        run_tasks(loop, &loop->tasks);
        net_conn_show_all(loop);
    }
    net_conn_flush_all(loop);
    loop->reader = NULL;
    if (!has_tasks(loop) && net_link_is_empty(&loop->to_flush) && net_link_is_empty(&loop->to_spread))
        uv_idle_stop(&loop->idle);
}

enum bt_err net_loop_new(struct net_loop **out)
{
    struct net_loop *loop = bt_calloc(1, sizeof *loop);

    if (!loop)
        return BT_ENOMEM;
    if (uv_loop_init(&loop->uv) != 0) {
        bt_free(loop);
        return BT_EINTERNAL;
    }
    loop->uv.data = loop;
    signal(SIGPIPE, SIG_IGN); /* a peer that is gone shows as EPIPE */
    task_list_init(&loop->early);
    task_list_init(&loop->tasks);
    task_list_init(&loop->batch);
    net_link_init(&loop->to_show);
    net_link_init(&loop->to_flush);
    net_link_init(&loop->to_spread);
    net_link_init(&loop->flushing);
    net_wheel_init(loop);
    uv_timer_init(&loop->uv, &loop->turn_timer);
    uv_timer_init(&loop->uv, &loop->pulse);
    uv_unref((uv_handle_t *)&loop->pulse);
    uv_idle_init(&loop->uv, &loop->idle);
    uv_prepare_init(&loop->uv, &loop->prepare);
    uv_prepare_start(&loop->prepare, on_prepare);
    uv_unref((uv_handle_t *)&loop->prepare);
    *out = loop;
    return BT_OK;
}

static bool is_own_handle(const struct net_loop *loop, const uv_handle_t *handle)
{
    return handle == (const uv_handle_t *)&loop->prepare || handle == (const uv_handle_t *)&loop->idle ||
           handle == (const uv_handle_t *)&loop->wheel_timer || handle == (const uv_handle_t *)&loop->turn_timer ||
           handle == (const uv_handle_t *)&loop->pulse;
}

static void count_foreign(uv_handle_t *handle, void *arg)
{
    size_t *count = arg;

    if (is_own_handle(handle->loop->data, handle))
        return;
    assert(uv_is_closing(handle)); /* somebody forgot to close a connection, listener, bell, signal or watch */
    ++*count;
}

void net_loop_free(struct net_loop *loop)
{
    size_t foreign;
    int busy;

    assert(loop->works_open == 0);
    do { /* what was closed in the last turn still has its `closed` to be told */
        foreign = 0;
        uv_walk(&loop->uv, count_foreign, &foreign);
        if (foreign > 0)
            uv_run(&loop->uv, UV_RUN_NOWAIT);
    } while (foreign > 0);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->idle, NULL);
    uv_close((uv_handle_t *)&loop->wheel_timer, NULL);
    uv_close((uv_handle_t *)&loop->turn_timer, NULL);
    uv_close((uv_handle_t *)&loop->pulse, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    busy = uv_loop_close(&loop->uv);
    assert(busy == 0);
    (void)busy;
    net_chunk_pool_free(loop);
    bt_free(loop->casts);
    bt_free(loop);
}

void net_loop_run(struct net_loop *loop)
{
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void net_loop_stop(struct net_loop *loop)
{
    uv_stop(&loop->uv);
}

static void on_turn_timer(uv_timer_t *handle)
{
    uv_stop(handle->loop); /* expired before the poll, it would leave nothing to end the wait */
}

void net_loop_turn(struct net_loop *loop, uint32_t max_wait_ms)
{
    if (max_wait_ms == 0) {
        uv_run(&loop->uv, UV_RUN_NOWAIT);
        return;
    }
    uv_update_time(&loop->uv); /* the time between turns does not count as waiting */
    uv_timer_start(&loop->turn_timer, on_turn_timer, max_wait_ms, 0);
    uv_run(&loop->uv, UV_RUN_ONCE);
    uv_timer_stop(&loop->turn_timer);
}

uint64_t net_now_ms(const struct net_loop *loop)
{
    uint64_t now_ms = uv_now(&loop->uv);

    return now_ms ? now_ms : 1;
}

uint64_t net_clock_us(void)
{
    return uv_hrtime() / 1000;
}
