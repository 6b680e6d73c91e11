/*
 * rpc/rpc_pending.c: the records of calls under way and of events that wait: made, kept for reuse, on their peer's list
 * until its link stands.
 */
#include <assert.h>

#include "net/mem.h"
#include "rpc/rpc_internal.h"

enum {
    SPARE_MAX = 8192,
    PAYLOAD_KEPT = 1024,    /* a spare one keeps a buffer of up to that */
};

static void list_add(struct rpc *rpc, struct rpc_pending *p)
{
    p->prev = NULL;
    p->next = rpc->pendings;
    if (p->next)
        p->next->prev = p;
    rpc->pendings = p;
}

static void list_remove(struct rpc *rpc, struct rpc_pending *p)
{
    if (p->prev)
        p->prev->next = p->next;
    else
        rpc->pendings = p->next;
    if (p->next)
        p->next->prev = p->prev;
}

struct rpc_pending *rpc_pending_from_reserve(struct rpc *rpc)
{
    for (size_t i = 0; i < RPC_RESERVE; i++) {
        if (!rpc->reserve[i].rpc) {
            rpc->reserve[i] = (struct rpc_pending){ .is_reserve = true };
            return &rpc->reserve[i];
        }
    }
    return NULL;
}

struct rpc_pending *rpc_pending_new(struct rpc *rpc)
{
    struct rpc_pending *p = rpc->spare;
    if (!p)
        return bt_calloc(1, sizeof *p);
    rpc->spare = p->next;
    rpc->spare_count--;
    memset((char *)p + offsetof(struct rpc_pending, rpc), 0, sizeof *p - offsetof(struct rpc_pending, rpc));
    return p;
}

void rpc_pending_free(struct rpc_pending *p)
{
    struct rpc *rpc = p->rpc;

    list_remove(rpc, p);
    p->rpc = NULL;
    if (rpc->is_closing)
        rpc_closing_step(rpc);
    assert(!rpc_out_is_open(&p->out) && !net_timer_is_running(&p->timer) && !p->task.next);
    if (p->is_reserve)
        return;
    if (p->cap > PAYLOAD_KEPT)
        rpc_pending_forget(p);
    if (rpc->spare_count < SPARE_MAX) {
        p->next = rpc->spare;
        rpc->spare = p;
        rpc->spare_count++;
        return;
    }
    bt_free(p->payload);
    bt_free(p);
}

void rpc_pending_free_spare(struct rpc *rpc)
{
    while (rpc->spare) {
        struct rpc_pending *p = rpc->spare;
        rpc->spare = p->next;
        bt_free(p->payload);
        bt_free(p);
    }
}

enum bt_err rpc_pending_copy(struct rpc_pending *p, const uint8_t *payload, size_t len)
{
    if (len > p->cap) {
        uint8_t *room = bt_malloc(len);
        if (!room)
            return BT_ENOMEM;
        bt_free(p->payload);
        p->payload = room;
        p->cap = len;
    }
    if (len > 0)
        memcpy(p->payload, payload, len);
    p->len = len;
    return BT_OK;
}

void rpc_pending_forget(struct rpc_pending *p)
{
    bt_free(p->payload);
    p->payload = NULL;
    p->cap = p->len = 0;
}

void rpc_pending_fill(struct rpc_pending *p, struct rpc *rpc, const struct rpc_method_info *info, const struct rpc_ctx *ctx)
{
    p->rpc = rpc;
    p->info = info;
    p->h = (struct rpc_header){
        .method = info->id,
        .caller = ctx->caller,
        .target = ctx->target,
        .session = ctx->session,
        .trace = ctx->trace,
    };
    p->may_be_done = (ctx->flags & RPC_FLAG_RESEND) != 0;
    p->deadline_ms = net_now_ms(rpc->loop) + (ctx->timeout_ms > 0 ? ctx->timeout_ms : rpc->timeout_ms);
    if (rpc_method_ages(info))
        p->since_ms = ctx->since_ms > 0 ? ctx->since_ms : net_clock_us() / 1000;
    list_add(rpc, p);
}

bool rpc_pending_is_late(const struct rpc_pending *p)
{
    return p->since_ms > 0 && p->since_ms < net_loop_stood_ms(p->rpc->loop);
}

uint32_t rpc_pending_left_ms(const struct rpc_pending *p)
{
    uint64_t now_ms = net_now_ms(p->rpc->loop);
    return p->deadline_ms <= now_ms ? 0 : (uint32_t)(p->deadline_ms - now_ms);
}

/* ---- waiting for a peer's link ---- */

void rpc_waiting_add(struct node_peer *peer, struct rpc_pending *p)
{
    p->state = PENDING_WAITING;
    p->next_waiting = NULL;
    p->prev_waiting = peer->last;
    if (peer->last)
        peer->last->next_waiting = p;
    else
        peer->first = p;
    peer->last = p;
    peer->waiting_bytes += RPC_HEADER_SIZE + p->len;
}

void rpc_waiting_remove(struct node_peer *peer, struct rpc_pending *p)
{
    if (p->prev_waiting)
        p->prev_waiting->next_waiting = p->next_waiting;
    else
        peer->first = p->next_waiting;
    if (p->next_waiting)
        p->next_waiting->prev_waiting = p->prev_waiting;
    else
        peer->last = p->prev_waiting;
    peer->waiting_bytes -= RPC_HEADER_SIZE + p->len;
    net_timer_stop(p->rpc->loop, &p->timer);
    p->state = PENDING_IDLE;
}

bool rpc_waiting_is_full(const struct node_peer *peer)
{
    return peer->waiting_bytes > peer->rpc->limits.net.out_high_bytes;
}

void rpc_pending_leave(struct rpc_pending *p)
{
    p->peer->outstanding--;
    p->tried = p->peer;
    p->peer = NULL;
}
