/*
 * net/loop.h: the reactor: one libuv loop, one thread of logic, and what hangs on its turns.
 *
 * A turn: expired timers, then deferred tasks until none is left (bounded, so that I/O is not starved), then
 * one write per connection that has output, then polling, then the callbacks of what became ready.
 * Unless a function says "any thread", it is for the loop's thread only.
 */
#ifndef BT_NET_LOOP_H
#define BT_NET_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/err.h"

struct net_loop;

/* Make a loop. *out is owned by the caller, who ends it with net_loop_free(). BT_ENOMEM, BT_EINTERNAL. Ignores SIGPIPE. */
enum bt_err net_loop_new(struct net_loop **out);

/* Free a loop on which nothing is open any more (asserted). */
void net_loop_free(struct net_loop *loop);

/* Run until net_loop_stop() or until nothing is left that could wake it. */
void net_loop_run(struct net_loop *loop);

/* Make net_loop_run() return at the end of this turn. */
void net_loop_stop(struct net_loop *loop);

/* Run one turn without waiting for longer than max_wait_ms (0: do not wait). For tests and for shutting down. */
void net_loop_turn(struct net_loop *loop, uint32_t max_wait_ms);

/* Monotonic milliseconds, read once per turn (after polling). Never 0. */
uint64_t net_now_ms(const struct net_loop *loop);

/* Monotonic microseconds, read now. Any thread. */
uint64_t net_clock_us(void);

/*
 * Was this process, or its machine, stopped for a while, or a turn that long? Others may have given it up meanwhile, and what it finds
 * in its sockets, queues and timers then is from before. net_loop_watch(): notice it from now on, which takes a few turns in a second
 * but does not keep the loop running. net_loop_stood_ms(): net_clock_us() / 1000 when that was last noticed, 0: never; it is looked
 * at there and then, so that whoever asks hears of it however early in the turn he runs. A standstill of NET_STOOD_MS is noticed for
 * certain, one shorter by up to NET_PULSE_MS perhaps.
 */
enum { NET_STOOD_MS = 1000, NET_PULSE_MS = 250 };
void net_loop_watch(struct net_loop *loop);
uint64_t net_loop_stood_ms(struct net_loop *loop);

/*
 * A task that runs once, soon: after the callback that deferred it has returned, before the turn's writes,
 * in the order of deferring. The memory is the caller's, embedded in his object, zeroed before first use.
 * net_defer() on a task that is already waiting does nothing. net_defer_cancel() on one that is not does nothing.
 */
typedef void net_task_cb(void *arg);
struct net_task {
    struct net_task *next, *prev; /* private; NULL when not waiting */
    net_task_cb *cb;
    void *arg;
};
void net_defer(struct net_loop *loop, struct net_task *task, net_task_cb *cb, void *arg);
void net_defer_cancel(struct net_loop *loop, struct net_task *task);

/*
 * The same, but when it is deferred by what a connection has read, it runs at the end of that read rather than of the turn: what
 * was read is still in the processor's cache then, which it is not after the reads of a thousand others.
 */
void net_defer_early(struct net_loop *loop, struct net_task *task, net_task_cb *cb, void *arg);

/*
 * Run work(arg) in the thread pool, then done(arg, err) on the loop: exactly once, never before this returns.
 * err is BT_OK, or BT_ECANCELLED when the work never ran (net_loop_free drains nothing: wait for your works).
 * Errors: BT_ENOMEM, then neither is called.
 */
typedef void net_work_cb(void *arg);
typedef void net_work_done_cb(void *arg, enum bt_err err);
enum bt_err net_work(struct net_loop *loop, net_work_cb *work, net_work_done_cb *done, void *arg);

/*
 * A bell that another thread rings: cb runs on the loop at least once after the last net_wake_ring().
 * net_wake_close(): no cb runs after it returns, and nobody may ring any more; the memory goes by itself. An open bell keeps the loop running.
 */
struct net_wake;
enum bt_err net_wake_new(struct net_loop *loop, net_task_cb *cb, void *arg, struct net_wake **out);
void net_wake_ring(struct net_wake *wake); /* any thread */
void net_wake_close(struct net_wake *wake);

/* Call cb(signum, arg) on the loop when the process gets a signal. Does not keep the loop running. Ended by net_signal_close(). */
struct net_signal;
typedef void net_signal_cb(int signum, void *arg);
enum bt_err net_signal_new(struct net_loop *loop, int signum, net_signal_cb *cb, void *arg, struct net_signal **out);
void net_signal_close(struct net_signal *sig);

/*
 * Watch a file descriptor that another library owns (a terminal; later database clients).
 * cb gets NET_READABLE and/or NET_WRITABLE; a failed descriptor is reported as both. net_poll_set(0) pauses.
 * net_poll_close() must come before the descriptor is closed. Setting what is set already costs nothing.
 */
enum { NET_READABLE = 1, NET_WRITABLE = 2 };
struct net_poll;
typedef void net_poll_cb(int events, void *arg);
enum bt_err net_poll_new(struct net_loop *loop, int fd, net_poll_cb *cb, void *arg, struct net_poll **out);
void net_poll_set(struct net_poll *poll, int events);
void net_poll_close(struct net_poll *poll);

#endif
