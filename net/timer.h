/*
 * net/timer.h: timers on a hierarchical wheel: start and stop cost O(1) and no system call, memory is the caller's.
 *
 * Resolution is NET_TICK_MS. Counted from the true time of the call, not the turn's, a timer never fires early, and at
 * most two ticks plus the turn's length late. A delay of more than 34 years counts as that.
 * However many timers wait, the loop holds one libuv timer, armed for the next slot that has any.
 */
#ifndef BT_NET_TIMER_H
#define BT_NET_TIMER_H

#include <stdbool.h>
#include <stdint.h>

struct net_loop;

enum { NET_TICK_MS = 4 };

typedef void net_timer_cb(void *arg);

/* Embedded in the caller's object, zeroed before first use. The fields are private. */
struct net_timer {
    struct net_timer *next, *prev;
    uint64_t due_ms;
    net_timer_cb *cb;
    void *arg;
};

/* Call cb(arg) once, delay_ms from now; a running timer is moved. Inside cb the timer is stopped and may be started anew or freed. */
void net_timer_start(struct net_loop *loop, struct net_timer *timer, uint64_t delay_ms, net_timer_cb *cb, void *arg);

/* Stop it if it runs; cb is not called any more. */
void net_timer_stop(struct net_loop *loop, struct net_timer *timer);

/* True between start and the call of cb or stop. */
bool net_timer_is_running(const struct net_timer *timer);

#endif
