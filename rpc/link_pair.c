/*
 * rpc/link_pair.c: two links joined inside the process. Each end has the bytes that go from it to the other: those
 * that collect, and those that are shown to the other end, which may write more while it looks.
 */
#include <assert.h>

#include "net/mem.h"
#include "rpc/link_internal.h"

enum {
    ROOM_MIN = 4 * 1024,
    ROOM_KEPT = 256 * 1024, /* a longer buffer is freed when it is empty */
};

struct room {
    uint8_t *data;
    size_t len, cap;
};

struct rpc_pair_end {
    struct rpc_link *peer;      /* NULL: it has ended */
    struct room collecting, showing;
    size_t shown;               /* of showing */
    struct net_task show_task, close_task;
    enum bt_err why;
    bool is_finishing;
    bool is_over_low;
};

static enum bt_err room_grow(struct room *r, size_t need)
{
    size_t cap = r->cap > 0 ? r->cap : ROOM_MIN;
    while (cap < need)
        cap *= 2;
    if (cap == r->cap)
        return BT_OK;
    uint8_t *data = bt_realloc(r->data, cap);
    if (!data)
        return BT_ENOMEM;
    r->data = data;
    r->cap = cap;
    return BT_OK;
}

static void room_add(struct room *r, const void *data, size_t len)
{
    if (len > 0)
        memcpy(r->data + r->len, data, len);
    r->len += len;
}

static void room_empty(struct room *r)
{
    r->len = 0;
    if (r->cap > ROOM_KEPT) {
        bt_free(r->data);
        *r = (struct room){ .data = NULL };
    }
}

size_t rpc_pair_queued(const struct rpc_link *l)
{
    return l->pair->collecting.len + l->pair->showing.len - l->pair->shown;
}

static void end_close(void *arg)
{
    struct rpc_link *l = arg;
    rpc_link_gone(l, l->pair->why);
}

/* Show what waits to the other end; what it does not take (it stopped reading) is shown again when it goes on. */
static void show(void *arg)
{
    struct rpc_link *l = arg;
    struct rpc_pair_end *end = l->pair;

    if (end->shown == end->showing.len) {
        struct room emptied = end->showing;
        room_empty(&emptied);
        end->showing = end->collecting;
        end->collecting = emptied;
        end->shown = 0;
    }
    if (end->peer && end->shown < end->showing.len)
        end->shown += rpc_link_input(end->peer, end->showing.data + end->shown, end->showing.len - end->shown);
    if (l->is_closing || !end->peer)
        return;
    if (end->is_over_low && rpc_pair_queued(l) <= l->limits->net.out_low_bytes) {
        end->is_over_low = false;
        rpc_link_drained(l);
    }
    if (end->collecting.len > 0 && !end->peer->paused)
        net_defer(l->loop, &end->show_task, show, l);
    if (end->is_finishing && rpc_pair_queued(l) == 0)
        rpc_link_fail(l, BT_OK);
}

enum bt_err rpc_pair_write(struct rpc_link *l, const void *head, size_t head_len, const void *a, size_t a_len, const void *b, size_t b_len, bool is_forced)
{
    struct rpc_pair_end *end = l->pair;

    if (end->is_finishing)
        return BT_ECLOSING;
    if (!is_forced && rpc_pair_queued(l) > l->limits->net.out_high_bytes)
        return BT_EBUSY;
    if (room_grow(&end->collecting, end->collecting.len + head_len + a_len + b_len) != BT_OK)
        return BT_ENOMEM;
    room_add(&end->collecting, head, head_len);
    room_add(&end->collecting, a, a_len);
    room_add(&end->collecting, b, b_len);
    if (rpc_pair_queued(l) > l->limits->net.out_low_bytes)
        end->is_over_low = true;
    net_defer(l->loop, &end->show_task, show, l);
    return BT_OK;
}

void rpc_pair_resumed(struct rpc_link *l)
{
    struct rpc_link *peer = l->pair->peer;
    if (peer)
        net_defer(peer->loop, &peer->pair->show_task, show, peer);
}

/* The other end hears of it as of a connection's orderly end, or break. */
void rpc_pair_close(struct rpc_link *l, enum bt_err why)
{
    struct rpc_link *peer = l->pair->peer;

    l->pair->why = why;
    net_defer(l->loop, &l->pair->close_task, end_close, l);
    if (!peer || peer->is_closing)
        return;
    peer->sent = peer->written - rpc_pair_queued(peer);
    peer->is_closing = true;
    peer->pair->why = why == BT_OK ? BT_OK : BT_EDOWN;
    net_defer(peer->loop, &peer->pair->close_task, end_close, peer);
}

void rpc_pair_finish(struct rpc_link *l)
{
    l->pair->is_finishing = true;
    net_defer(l->loop, &l->pair->show_task, show, l);
}

void rpc_pair_free(struct rpc_link *l)
{
    struct rpc_pair_end *end = l->pair;

    if (end->peer)
        end->peer->pair->peer = NULL;
    net_defer_cancel(l->loop, &end->show_task);
    net_defer_cancel(l->loop, &end->close_task);
    bt_free(end->collecting.data);
    bt_free(end->showing.data);
    bt_free(end);
}

static struct rpc_link *end_new(struct net_loop *loop, const struct rpc_link_ops *ops, const struct rpc_link_limits *limits, void *arg)
{
    struct rpc_link *l = rpc_link_new(loop, ops, limits, arg);
    if (!l)
        return NULL;
    l->was_opened = true;
    l->pair = bt_calloc(1, sizeof *l->pair);
    if (l->pair)
        return l;
    bt_free(l);
    rpc_calls_unref();
    return NULL;
}

enum bt_err rpc_link_pair(struct net_loop *loop, const struct rpc_link_ops *ops_a, void *arg_a, const struct rpc_link_ops *ops_b, void *arg_b,
                          const struct rpc_link_limits *limits, struct rpc_link **a_out, struct rpc_link **b_out)
{
    struct rpc_link *a = end_new(loop, ops_a, limits, arg_a);
    if (!a)
        return BT_ENOMEM;
    struct rpc_link *b = end_new(loop, ops_b, limits, arg_b);
    if (!b) {
        rpc_pair_free(a);
        bt_free(a);
        rpc_calls_unref();
        return BT_ENOMEM;
    }
    a->pair->peer = b;
    b->pair->peer = a;
    *a_out = a;
    *b_out = b;
    return BT_OK;
}
