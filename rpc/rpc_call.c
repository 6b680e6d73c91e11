/*
 * rpc/rpc_call.c: calls that this node makes: sent to whom rpc_choose() names, and sent again while that is safe.
 *
 * A call is waiting for its peer's link, sent, pausing before the next try, or ending; nothing else. What may already
 * have been done (the link broke after the request had left) is sent again only if the method can be repeated, and says so.
 */
#include <assert.h>
#include <stdlib.h>

#include "net/mem.h"
#include "rpc/rpc_internal.h"

enum {
    PAUSE_MIN_MS = 20,
    PAUSE_SPREAD_MS = 180,
    REFUSALS_MAX = 5,
    SPARE_MAX = 4096,
    PAYLOAD_KEPT = 1024,    /* a spare call keeps a buffer of up to that */
    MESSAGE_ON_STACK = 2048,
};

static void try_now(struct rpc_pending *p);

/* ---- records ---- */

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

static struct rpc_pending *pending_from_reserve(struct rpc *rpc)
{
    for (size_t i = 0; i < RPC_RESERVE; i++) {
        if (!rpc->reserve[i].rpc) {
            rpc->reserve[i] = (struct rpc_pending){ .is_reserve = true };
            return &rpc->reserve[i];
        }
    }
    return NULL;
}

/* Keeps the payload buffer of a spare one. */
static struct rpc_pending *pending_new(struct rpc *rpc)
{
    struct rpc_pending *p = rpc->spare;
    if (!p)
        return bt_calloc(1, sizeof *p);
    rpc->spare = p->next;
    rpc->spare_count--;
    uint8_t *payload = p->payload;
    size_t cap = p->cap;
    memset(p, 0, sizeof *p);
    p->payload = payload;
    p->cap = cap;
    return p;
}

static void pending_free(struct rpc_pending *p)
{
    struct rpc *rpc = p->rpc;

    list_remove(rpc, p);
    p->rpc = NULL;
    if (rpc->is_closing)
        rpc_closing_step(rpc);
    if (p->is_reserve)
        return;
    if (p->cap > PAYLOAD_KEPT) {
        bt_free(p->payload);
        p->payload = NULL;
        p->cap = 0;
    }
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

static enum bt_err copy_payload(struct rpc_pending *p, const uint8_t *payload, size_t len)
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

static void fill(struct rpc_pending *p, struct rpc *rpc, const struct rpc_method_info *info, const struct rpc_ctx *ctx)
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
    list_add(rpc, p);
}

static uint32_t left_ms(const struct rpc_pending *p)
{
    uint64_t now_ms = net_now_ms(p->rpc->loop);
    return p->deadline_ms <= now_ms ? 0 : (uint32_t)(p->deadline_ms - now_ms);
}

/* ---- waiting for a peer's link ---- */

static void waiting_add(struct node_peer *peer, struct rpc_pending *p)
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

static void waiting_remove(struct node_peer *peer, struct rpc_pending *p)
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

static bool is_waiting_full(const struct node_peer *peer)
{
    return peer->waiting_bytes > peer->rpc->limits.net.out_high_bytes;
}

/* ---- ending ---- */

/* The last of a call: the callback, then the memory. Not inside a call of the owner's. */
static void end(struct rpc_pending *p, const struct rpc_reply *reply)
{
    p->state = PENDING_IDLE;
    if (reply->err == BT_ETIMEOUT)
        p->rpc->stats.timeouts++;
    p->cb(reply, p->arg);
    pending_free(p);
}

static void end_with(struct rpc_pending *p, enum bt_err err)
{
    const struct rpc_reply reply = { .err = err, .status = (uint8_t)rpc_status_of(err) };
    end(p, &reply);
}

static void end_task(void *arg)
{
    struct rpc_pending *p = arg;
    end_with(p, (enum bt_err)p->err);
}

static void end_soon(struct rpc_pending *p, enum bt_err err)
{
    p->state = PENDING_ENDING;
    p->err = (uint8_t)err;
    net_defer(p->rpc->loop, &p->task, end_task, p);
}

/* Nobody did it, or perhaps somebody did. */
static enum bt_err out_of_time(const struct rpc_pending *p)
{
    return p->may_be_done ? BT_ETIMEOUT : BT_EDOWN;
}

static void leave_peer(struct rpc_pending *p)
{
    p->peer->outstanding--;
    p->tried = p->peer;
    p->peer = NULL;
}

/* Take it from wherever it is, so that it may be ended. */
static void detach(struct rpc_pending *p)
{
    if (p->state == PENDING_WAITING)
        waiting_remove(p->peer, p);
    else if (p->state == PENDING_SENT)
        rpc_link_cancel(&p->out);
    if (p->peer)
        leave_peer(p);
    net_timer_stop(p->rpc->loop, &p->timer);
    net_defer_cancel(p->rpc->loop, &p->task);
    p->state = PENDING_IDLE;
}

void rpc_cancel(struct rpc_pending *p)
{
    detach(p);
    pending_free(p);
}

/* Calls that are made meanwhile have their own end coming. */
void rpc_pending_close_all(struct rpc *rpc)
{
    struct rpc_pending *p = rpc->pendings;
    while (p) {
        if (p->state == PENDING_ENDING) {
            p = p->next;
            continue;
        }
        detach(p);
        if (p->is_event)
            pending_free(p);
        else
            end_with(p, BT_ECLOSING);
        p = rpc->pendings; /* the callback may have ended any other */
    }
}

/* ---- trying ---- */

static void pause_ended(void *arg)
{
    try_now(arg);
}

static void pause_for(struct rpc_pending *p, uint32_t pause_ms)
{
    uint32_t left = left_ms(p);

    p->state = PENDING_PAUSING;
    if (pause_ms == 0)
        net_defer(p->rpc->loop, &p->task, pause_ended, p);
    else
        net_timer_start(p->rpc->loop, &p->timer, pause_ms < left ? pause_ms : left, pause_ended, p);
}

/* At once elsewhere the first time; then with a pause, and not all callers at the same moment. */
static void try_again(struct rpc_pending *p)
{
    p->tries++;
    pause_for(p, p->tries == 1 ? 0 : PAUSE_MIN_MS + rpc_random(p->rpc, PAUSE_SPREAD_MS));
}

/*
 * Whoever did nothing is asked again, or another is, but not for ever: what all of them lack (a database) the caller is to hear of
 * soon. That the last try did nothing says nothing of those before it.
 */
static void answered(struct rpc_pending *p, const struct rpc_reply *reply)
{
    if (!rpc_status_is_not_done(reply->status))
        end(p, reply);
    else if (reply->status != RPC_STATUS_RESOURCE_EXHAUSTED && ++p->refusals < REFUSALS_MAX)
        try_again(p);
    else if (p->may_be_done && p->info->repeat != RPC_READ)
        end_with(p, BT_EUNSURE);
    else
        end(p, reply);
}

static void sent_done(struct rpc_out *out, const struct rpc_reply *reply)
{
    struct rpc_pending *p = out->arg;

    leave_peer(p);
    p->state = PENDING_IDLE;
    if (reply->came) {
        answered(p, reply);
        return;
    }
    p->may_be_done |= out->was_sent;
    if (reply->err == BT_ETIMEOUT)
        end_with(p, out_of_time(p));
    else if (reply->err != BT_EDOWN && reply->err != BT_ECLOSING)
        end(p, reply); /* too long, or a full queue: another try would only add to it */
    else if (out->was_sent && p->info->repeat == RPC_ONCE)
        end_with(p, BT_EUNSURE);
    else
        try_again(p);
}

static void transmit(struct rpc_pending *p)
{
    p->state = PENDING_SENT;
    p->h.timeout_ms = left_ms(p);
    p->h.flags = p->may_be_done ? RPC_FLAG_RESEND : 0;
    if (p->h.timeout_ms == 0)
        p->h.timeout_ms = 1; /* 0 would mean no deadline */
    if (p->tries > 0) {
        p->rpc->stats.retries++;
        p->rpc->stats.resends += p->may_be_done;
    }
    p->out = (struct rpc_out){ .done = sent_done, .arg = p };
    rpc_link_request(rpc_peer_link(p->peer), &p->h, p->payload, p->len, &p->out);
}

static void waiting_timed_out(void *arg)
{
    struct rpc_pending *p = arg;
    waiting_remove(p->peer, p);
    leave_peer(p);
    end_with(p, out_of_time(p));
}

static void give_to(struct rpc_pending *p, struct node_peer *peer)
{
    if (!rpc_peer_link(peer) && is_waiting_full(peer)) {
        end_soon(p, BT_EBUSY);
        return;
    }
    p->peer = peer;
    peer->outstanding++;
    rpc_peer_want(peer);
    if (rpc_peer_link(peer)) {
        transmit(p);
        return;
    }
    waiting_add(peer, p);
    net_timer_start(p->rpc->loop, &p->timer, left_ms(p), waiting_timed_out, p);
}

static void try_now(struct rpc_pending *p)
{
    p->state = PENDING_IDLE;
    if (left_ms(p) == 0) {
        end_soon(p, out_of_time(p));
        return;
    }
    struct node_peer *peer = rpc_choose(p->rpc, p->info, p->h.caller, p->h.target, p->tries, p->tried);
    if (peer)
        give_to(p, peer);
    else
        pause_for(p, PAUSE_MIN_MS + rpc_random(p->rpc, PAUSE_SPREAD_MS));
}

void rpc_pending_flush(struct node_peer *peer)
{
    while (peer->first && rpc_peer_link(peer)) {
        struct rpc_pending *p = peer->first;
        waiting_remove(peer, p);
        if (!p->is_event) {
            transmit(p);
            continue;
        }
        leave_peer(p);
        if (rpc_link_event(rpc_peer_link(peer), &p->h, p->payload, p->len) == BT_EBUSY)
            peer->was_refused = true;
        pending_free(p);
    }
}

void rpc_pending_fail_waiting(struct node_peer *peer)
{
    bool was_event_lost = false;
    while (peer->first) {
        struct rpc_pending *p = peer->first;
        waiting_remove(peer, p);
        leave_peer(p);
        if (p->is_event) {
            was_event_lost = true;
            pending_free(p);
        } else {
            try_again(p);
        }
    }
    if (was_event_lost)
        rpc_peer_news(peer, RPC_LINK_BROKE);
}

/* ---- what roles call ---- */

static struct rpc_pending *start(struct rpc *rpc, const struct rpc_method_info *info, const struct rpc_ctx *ctx, const uint8_t *payload,
                                 size_t len, enum bt_err err, rpc_reply_cb *cb, void *arg)
{
    struct rpc_pending *p = pending_new(rpc);
    if (!p) {
        p = pending_from_reserve(rpc);
        err = BT_ENOMEM;
    }
    /* Not to call back would leave a client without an answer for good; ending, he is answered by another node. */
    if (!p)
        abort();
    fill(p, rpc, info, ctx);
    p->cb = cb;
    p->arg = arg;
    rpc->stats.calls++;
    if (err == BT_OK && rpc->is_closing)
        err = BT_ECLOSING;
    if (err == BT_OK)
        err = copy_payload(p, payload, len);
    if (err != BT_OK)
        end_soon(p, err);
    else
        try_now(p);
    return p;
}

struct rpc_pending *rpc_send(struct rpc *rpc, uint16_t method, const struct rpc_ctx *ctx, const uint8_t *payload, size_t len, rpc_reply_cb *cb, void *arg)
{
    const struct rpc_method_info *info = rpc_method_info(method);
    assert(info && !info->is_event && info->route != RPC_DIRECT);
    return start(rpc, info, ctx, payload, len, BT_OK, cb, arg);
}

/* A message as bytes: in the caller's room, or, when it is long, on the heap. */
struct encoded {
    uint8_t room[MESSAGE_ON_STACK];
    uint8_t *heap; /* NULL: in room */
    size_t len;
};

static enum bt_err encode(struct encoded *e, const pb_msgdesc_t *fields, const void *msg)
{
    e->heap = NULL;
    e->len = rpc_encode(fields, msg, e->room, sizeof e->room);
    size_t size = e->len > 0 ? e->len : rpc_size(fields, msg);
    if (size <= sizeof e->room)
        return BT_OK;
    e->heap = bt_malloc(size);
    if (!e->heap)
        return BT_ENOMEM;
    e->len = rpc_encode(fields, msg, e->heap, size);
    return BT_OK;
}

static const uint8_t *encoded_bytes(const struct encoded *e)
{
    return e->heap ? e->heap : e->room;
}

struct rpc_pending *rpc_send_msg(struct rpc *rpc, uint16_t method, const struct rpc_ctx *ctx, const void *msg, rpc_reply_cb *cb, void *arg)
{
    const struct rpc_method_info *info = rpc_method_info(method);
    struct encoded e;

    assert(info && !info->is_event && info->route != RPC_DIRECT);
    enum bt_err err = encode(&e, info->req, msg);
    struct rpc_pending *p = start(rpc, info, ctx, encoded_bytes(&e), e.len, err, cb, arg);
    bt_free(e.heap);
    return p;
}

enum bt_err rpc_reply_decode(const struct rpc_reply *reply, const pb_msgdesc_t *fields, void *msg_out)
{
    if (reply->err != BT_OK)
        return reply->err;
    return rpc_decode(fields, reply->payload, reply->len, msg_out) == BT_OK ? BT_OK : BT_EPROTO;
}

/* ---- events ---- */

static enum bt_err wait_with_event(struct rpc *rpc, struct node_peer *peer, const struct rpc_method_info *info, const struct rpc_ctx *ctx,
                                   const uint8_t *payload, size_t len)
{
    if (is_waiting_full(peer)) {
        peer->was_refused = true;
        return BT_EBUSY;
    }
    struct rpc_pending *p = pending_new(rpc);
    if (!p)
        return BT_ENOMEM;
    fill(p, rpc, info, ctx);
    p->is_event = true;
    if (copy_payload(p, payload, len) != BT_OK) {
        pending_free(p);
        return BT_ENOMEM;
    }
    p->peer = peer;
    peer->outstanding++;
    waiting_add(peer, p);
    return BT_OK;
}

enum bt_err rpc_event_raw(struct rpc *rpc, struct node_peer *peer, uint16_t method, const struct rpc_ctx *ctx, const uint8_t *payload, size_t len)
{
    const struct rpc_method_info *info = rpc_method_info(method);

    assert(info && info->is_event);
    if (rpc->is_closing)
        return BT_ECLOSING;
    rpc_peer_want(peer);
    if (!rpc_peer_link(peer))
        return peer->is_passed_over ? BT_EDOWN : wait_with_event(rpc, peer, info, ctx, payload, len);
    const struct rpc_header h = {
        .method = method,
        .caller = ctx->caller,
        .target = ctx->target,
        .session = ctx->session,
        .trace = ctx->trace,
    };
    enum bt_err err = rpc_link_event(rpc_peer_link(peer), &h, payload, len);
    if (err == BT_EBUSY)
        peer->was_refused = true;
    return err == BT_ECLOSING ? BT_EDOWN : err;
}

enum bt_err rpc_event_to(struct rpc *rpc, const char *address, uint16_t method, const struct rpc_ctx *ctx, const uint8_t *payload, size_t len)
{
    struct node_peer *peer = rpc_peer_get(rpc, address);
    return peer ? rpc_event_raw(rpc, peer, method, ctx, payload, len) : BT_EDOWN;
}

enum bt_err rpc_event(struct rpc *rpc, uint16_t method, const struct rpc_ctx *ctx, const void *msg)
{
    const struct rpc_method_info *info = rpc_method_info(method);
    struct encoded e;

    assert(info && info->is_event && info->route != RPC_DIRECT);
    struct node_peer *peer = rpc_choose(rpc, info, ctx->caller, ctx->target, 0, NULL);
    if (!peer)
        return BT_EDOWN;
    enum bt_err err = encode(&e, info->req, msg);
    if (err == BT_OK)
        err = rpc_event_raw(rpc, peer, method, ctx, encoded_bytes(&e), e.len);
    bt_free(e.heap);
    return err;
}
