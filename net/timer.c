/* net/timer.c: the timer wheel: seven levels of 64 slots over one libuv timer. */
#include "net/timer.h"

#include "net/net_internal.h"

static const uint64_t DELAY_MAX_MS = UINT64_C(1) << 40; /* 34 years; keeps every tick within the wheel's 42 bits */
static const uint64_t NOTHING = UINT64_MAX;

static void list_init(struct net_timer *head)
{
    head->next = head->prev = head;
}

static void list_add(struct net_timer *head, struct net_timer *timer)
{
    timer->next = head;
    timer->prev = head->prev;
    head->prev->next = timer;
    head->prev = timer;
}

static uint64_t due_tick(const struct net_timer *timer)
{
    return timer->due_ms / NET_TICK_MS; /* due_ms was rounded up to a tick */
}

/* The list head, if the timer is the only one of a slot; else NULL. */
static struct net_timer *sole_head(struct net_wheel *wheel, struct net_timer *timer)
{
    struct net_timer *head = timer->next, *first = &wheel->slots[0][0];

    if (head != timer->prev || head < first || head >= first + NET_WHEEL_LEVELS * NET_WHEEL_SLOTS)
        return NULL;
    return head;
}

static void wheel_remove(struct net_wheel *wheel, struct net_timer *timer)
{
    struct net_timer *head = sole_head(wheel, timer);

    timer->next->prev = timer->prev;
    timer->prev->next = timer->next;
    timer->next = timer->prev = NULL;
    if (head) {
        size_t at = (size_t)(head - &wheel->slots[0][0]);

        wheel->used[at / NET_WHEEL_SLOTS] &= ~(UINT64_C(1) << (at % NET_WHEEL_SLOTS));
    }
}

/* Put a timer into the slot that its tick, which lies ahead, has as seen from wheel->tick. */
static void wheel_insert(struct net_wheel *wheel, struct net_timer *timer)
{
    uint64_t tick = due_tick(timer);
    unsigned level = (63 - (unsigned)__builtin_clzll(tick ^ wheel->tick)) / NET_WHEEL_BITS;
    unsigned slot = (tick >> (level * NET_WHEEL_BITS)) % NET_WHEEL_SLOTS;

    assert(tick > wheel->tick && level < NET_WHEEL_LEVELS);
    list_add(&wheel->slots[level][slot], timer);
    wheel->used[level] |= UINT64_C(1) << slot;
}

/*
 * The first tick at which a slot is due to be looked at, and that slot's list; NOTHING if no timer runs. A lower
 * level's slots all come before those of a higher one, because they agree with the present tick in more digits.
 */
static uint64_t wheel_next(struct net_wheel *wheel, struct net_timer **head_out)
{
    for (unsigned level = 0; level < NET_WHEEL_LEVELS; level++) {
        unsigned low_bits = level * NET_WHEEL_BITS, slot;
        uint64_t above;

        if (!wheel->used[level])
            continue;
        slot = (unsigned)__builtin_ctzll(wheel->used[level]);
        above = wheel->tick >> (low_bits + NET_WHEEL_BITS) << NET_WHEEL_BITS;
        *head_out = &wheel->slots[level][slot];
        return (above | slot) << low_bits;
    }
    return NOTHING;
}

static void wheel_fired(uv_timer_t *handle);

static void wheel_arm(struct net_loop *loop, uint64_t tick)
{
    uint64_t now_ms = uv_now(&loop->uv), due_ms = tick * NET_TICK_MS;

    loop->wheel.armed_tick = tick;
    uv_timer_start(&loop->wheel_timer, wheel_fired, due_ms > now_ms ? due_ms - now_ms : 0, 0);
}

/* Take a slot's timers out: those due fire, the others move to a lower level. Callbacks may start and stop any timer. */
static void wheel_turn(struct net_wheel *wheel, struct net_timer *head, uint64_t tick)
{
    size_t at = (size_t)(head - &wheel->slots[0][0]);

    wheel->tick = tick;
    wheel->used[at / NET_WHEEL_SLOTS] &= ~(UINT64_C(1) << (at % NET_WHEEL_SLOTS));
    wheel->expired = *head;
    wheel->expired.next->prev = wheel->expired.prev->next = &wheel->expired;
    list_init(head);
    while (wheel->expired.next != &wheel->expired) {
        struct net_timer *timer = wheel->expired.next;

        wheel_remove(wheel, timer);
        if (due_tick(timer) > tick) {
            wheel_insert(wheel, timer);
            continue;
        }
        wheel->count--;
        timer->cb(timer->arg);
    }
}

static void wheel_fired(uv_timer_t *handle)
{
    struct net_loop *loop = handle->loop->data;
    struct net_wheel *wheel = &loop->wheel;
    uint64_t now_tick = uv_now(&loop->uv) / NET_TICK_MS, next;
    struct net_timer *head;

    wheel->armed_tick = 0; /* while callbacks run, what they start needs no arming of its own */
    while ((next = wheel_next(wheel, &head)) <= now_tick)
        wheel_turn(wheel, head, next);
    if (wheel->tick < now_tick)
        wheel->tick = now_tick;
    wheel->armed_tick = NOTHING;
    if (next != NOTHING)
        wheel_arm(loop, next);
}

enum bt_err net_wheel_init(struct net_loop *loop)
{
    struct net_wheel *wheel = &loop->wheel;

    for (unsigned level = 0; level < NET_WHEEL_LEVELS; level++)
        for (unsigned slot = 0; slot < NET_WHEEL_SLOTS; slot++)
            list_init(&wheel->slots[level][slot]);
    list_init(&wheel->expired);
    wheel->tick = uv_now(&loop->uv) / NET_TICK_MS;
    wheel->armed_tick = NOTHING;
    return uv_timer_init(&loop->uv, &loop->wheel_timer) == 0 ? BT_OK : BT_EINTERNAL;
}

void net_timer_start(struct net_loop *loop, struct net_timer *timer, uint64_t delay_ms, net_timer_cb *cb, void *arg)
{
    struct net_wheel *wheel = &loop->wheel;
    /* The true time, not the turn's: a long turn must not make its timers early. Rounded up, as is the tick. */
    uint64_t now_ms = uv_hrtime() / 1000000 + 1, tick;
    uint64_t turn_tick = uv_now(&loop->uv) / NET_TICK_MS;
    struct net_timer *head;

    /* Nothing lies between: moving the wheel on now saves the timer a detour through higher levels. */
    if (wheel->armed_tick > turn_tick && wheel->tick < turn_tick)
        wheel->tick = turn_tick;
    if (timer->next)
        wheel_remove(wheel, timer);
    else
        wheel->count++;
    if (delay_ms > DELAY_MAX_MS)
        delay_ms = DELAY_MAX_MS;
    tick = (now_ms + delay_ms + NET_TICK_MS - 1) / NET_TICK_MS;
    if (tick <= wheel->tick)
        tick = wheel->tick + 1;
    timer->due_ms = tick * NET_TICK_MS;
    timer->cb = cb;
    timer->arg = arg;
    wheel_insert(wheel, timer);
    if (tick < wheel->armed_tick)
        wheel_arm(loop, wheel_next(wheel, &head));
}

void net_timer_stop(struct net_loop *loop, struct net_timer *timer)
{
    struct net_wheel *wheel = &loop->wheel;

    if (!timer->next)
        return;
    wheel_remove(wheel, timer);
    if (--wheel->count == 0 && wheel->armed_tick != 0) { /* the loop may end; otherwise an early wake-up is cheaper */
        uv_timer_stop(&loop->wheel_timer);
        wheel->armed_tick = NOTHING;
    }
}

bool net_timer_is_running(const struct net_timer *timer)
{
    return timer->next != NULL;
}
