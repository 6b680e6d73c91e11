/*
 * rpc/rpc_call.c: calls that this node makes: sent to whom rpc_choose() names, and sent again while that is safe.
 *
 * A call is waiting for its peer's link, sent, pausing before the next try, or ending; nothing else. What may already
 * have been done (the link broke after the request had left) is sent again only if the method can be repeated, and says so.
 */
#include <assert.h>
#include <stdlib.h>

#include "net/mem.h"
#include "proto/client.pb.h"
#include "rpc/bytes.h"
#include "rpc/rpc_internal.h"

enum {
    PAUSE_MIN_MS = 20,
    PAUSE_SPREAD_MS = 180,
    TOLD_PAUSE_MAX_MS = 500,
    REFUSALS_MAX = 5,
};

static void try_now(struct rpc_pending *p);

/* ---- ending ---- */

/*
 * Refused because of how things stand: they may have stood otherwise for an earlier try. A node that froze between its check of
 * the rights and the writing goes on where it was.
 */
static bool is_refused_now(const struct rpc_pending *p, uint8_t status)
{
    return p->info->repeat == RPC_ID &&
           (status == RPC_STATUS_PERMISSION_DENIED || status == RPC_STATUS_NOT_FOUND || status == RPC_STATUS_FAILED_PRECONDITION);
}

/*
 * The last of a call: the callback, then the memory. Not inside a call of the owner's. That the last try did nothing says
 * nothing of those before it.
 */
static void end(struct rpc_pending *p, const struct rpc_reply *reply)
{
    static const struct rpc_reply unsure = { .err = BT_EUNSURE, .status = RPC_STATUS_UNKNOWN };

    if (p->may_be_done && p->info->repeat != RPC_READ && (rpc_status_is_not_done(reply->status) || is_refused_now(p, reply->status)))
        reply = &unsure;
    p->state = PENDING_IDLE;
    if (reply->err == BT_ETIMEOUT)
        p->rpc->stats.timeouts++;
    p->cb(reply, p->arg);
    rpc_pending_free(p);
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

/* Take it from wherever it is, so that it may be ended. */
static void detach(struct rpc_pending *p)
{
    if (p->state == PENDING_WAITING)
        rpc_waiting_remove(p->peer, p);
    else if (p->state == PENDING_SENT)
        rpc_link_cancel(&p->out);
    if (p->peer)
        rpc_pending_leave(p);
    net_timer_stop(p->rpc->loop, &p->timer);
    net_defer_cancel(p->rpc->loop, &p->task);
    p->state = PENDING_IDLE;
}

void rpc_cancel(struct rpc_pending *p)
{
    detach(p);
    rpc_pending_free(p);
}

void rpc_abandon(struct rpc_pending *p)
{
    enum { GRACE_MS = 2000 }; /* an answer that has left by now is here by then */

    p->is_abandoned = true;
    if (p->state == PENDING_SENT) {
        rpc_pending_forget(p);
        rpc_link_abandon(&p->out, GRACE_MS);
    } else if (p->state != PENDING_ENDING) {
        detach(p);
        end_soon(p, BT_ECANCELLED);
    }
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
        p->may_be_done |= p->state == PENDING_SENT;
        detach(p);
        if (p->is_event)
            rpc_pending_free(p);
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
    uint32_t left = rpc_pending_left_ms(p);

    p->state = PENDING_PAUSING;
    if (pause_ms == 0)
        net_defer(p->rpc->loop, &p->task, pause_ended, p);
    else
        net_timer_start(p->rpc->loop, &p->timer, pause_ms < left ? pause_ms : left, pause_ended, p);
}

/* At once elsewhere the first time; then with a pause, of least_ms at least, and not all callers at the same moment. */
static void try_again(struct rpc_pending *p, uint32_t least_ms)
{
    uint32_t pause_ms = PAUSE_MIN_MS + rpc_random(p->rpc, PAUSE_SPREAD_MS);

    p->tries++;
    pause_for(p, p->tries == 1 ? 0 : pause_ms < least_ms ? least_ms : pause_ms);
}

/* When whoever refused it wants to be asked again: most often there is only he to ask. */
static uint32_t told_pause_ms(const struct rpc_reply *reply)
{
    Error error = { 0 };
    uint32_t pause_ms = 0;

    if (rpc_decode(Error_fields, reply->payload, reply->len, &error) == BT_OK) {
        pause_ms = error.retry_after_ms < TOLD_PAUSE_MAX_MS ? error.retry_after_ms : TOLD_PAUSE_MAX_MS;
        rpc_release(Error_fields, &error);
    }
    return pause_ms;
}

/*
 * One try elsewhere is free, as a node that drains refuses what another will do. Further ones are few for each hundred calls: when
 * everybody refuses, many callers who all try again would make of an outage an overload.
 */
static bool may_try_again(struct rpc_pending *p)
{
    if (++p->refusals >= REFUSALS_MAX)
        return false;
    if (p->refusals == 1)
        return true;
    if (p->rpc->retry_tenths < RPC_RETRY_TENTHS)
        return false;
    p->rpc->retry_tenths -= RPC_RETRY_TENTHS;
    return true;
}

/*
 * Whoever did nothing is asked again, or another is, but not for ever: what all of them lack (a database) the caller is to hear of
 * soon.
 */
static void answered(struct rpc_pending *p, const struct rpc_reply *reply)
{
    if (!rpc_status_is_not_done(reply->status) || p->is_abandoned)
        end(p, reply);
    else if (reply->status != RPC_STATUS_RESOURCE_EXHAUSTED && may_try_again(p))
        try_again(p, told_pause_ms(reply));
    else
        end(p, reply);
}

/*
 * A link that breaks says nothing against the node at its end: it may have given up this one, which stood still or was cut off. So the
 * owner is dialled and asked once more, and passed over should that fail. Asking the ring's next at once would make two owners.
 */
static void link_broke(struct rpc_pending *p)
{
    if (p->info->route != RPC_OWNER || p->was_cut) {
        try_again(p, 0);
        return;
    }
    p->was_cut = true;
    pause_for(p, 0);
}

static void sent_done(struct rpc_out *out, const struct rpc_reply *reply)
{
    struct rpc_pending *p = out->arg;

    rpc_pending_leave(p);
    p->state = PENDING_IDLE;
    if (reply->came) {
        answered(p, reply);
        return;
    }
    p->may_be_done |= out->was_sent;
    if (reply->err == BT_ETIMEOUT)
        end_with(p, out_of_time(p));
    else if (p->is_abandoned || (reply->err != BT_EDOWN && reply->err != BT_ECLOSING))
        end(p, reply); /* too long, or a full queue: another try would only add to it */
    else if (out->was_sent && p->info->repeat == RPC_ONCE)
        end_with(p, BT_EUNSURE);
    else
        link_broke(p);
}

static void transmit(struct rpc_pending *p, uint32_t left_ms)
{
    p->state = PENDING_SENT;
    p->h.timeout_ms = left_ms > 0 ? left_ms : 1; /* 0 would mean no deadline */
    p->h.flags = p->may_be_done ? RPC_FLAG_RESEND : 0;
    if (p->tries > 0 || p->was_cut) {
        p->rpc->stats.retries++;
        p->rpc->stats.resends += p->may_be_done;
    }
    p->out.done = sent_done;
    p->out.arg = p;
    rpc_link_request(rpc_peer_link(p->peer), &p->h, p->payload, p->len, &p->out);
}

static void waiting_timed_out(void *arg)
{
    struct rpc_pending *p = arg;
    rpc_waiting_remove(p->peer, p);
    rpc_pending_leave(p);
    end_with(p, out_of_time(p));
}

static void give_to(struct rpc_pending *p, struct node_peer *peer, uint32_t left_ms)
{
    if (!rpc_peer_link(peer) && rpc_waiting_is_full(peer)) {
        end_soon(p, BT_EBUSY);
        return;
    }
    p->peer = peer;
    peer->outstanding++;
    rpc_peer_want(peer);
    if (rpc_peer_link(peer)) {
        transmit(p, left_ms);
        return;
    }
    rpc_waiting_add(peer, p);
    net_timer_start(p->rpc->loop, &p->timer, left_ms, waiting_timed_out, p);
}

static void try_within(struct rpc_pending *p, uint32_t left_ms)
{
    p->state = PENDING_IDLE;
    if (left_ms == 0) {
        end_soon(p, out_of_time(p));
        return;
    }
    if (rpc_pending_is_late(p)) {
        end_soon(p, BT_EDOWN);
        return;
    }
    if (p->to && (p->tries > 0 || p->to->is_passed_over)) {
        end_soon(p, BT_EDOWN);
        return;
    }
    struct node_peer *peer = p->to ? p->to : rpc_choose(p->rpc, p->info, p->h.caller, p->h.target, p->tries, p->tried);
    if (peer)
        give_to(p, peer, left_ms);
    else
        pause_for(p, PAUSE_MIN_MS + rpc_random(p->rpc, PAUSE_SPREAD_MS));
}

static void try_now(struct rpc_pending *p)
{
    try_within(p, rpc_pending_left_ms(p));
}

bool rpc_pending_flush(struct node_peer *peer)
{
    bool was_event_lost = false;

    while (peer->first && rpc_peer_link(peer)) {
        struct rpc_pending *p = peer->first;
        rpc_waiting_remove(peer, p);
        if (rpc_pending_is_late(p)) {
            rpc_pending_leave(p);
            end_soon(p, BT_EDOWN);
            continue;
        }
        if (!p->is_event) {
            transmit(p, rpc_pending_left_ms(p));
            continue;
        }
        rpc_pending_leave(p);
        was_event_lost |= rpc_link_event(rpc_peer_link(peer), &p->h, p->payload, p->len) != BT_OK;
        rpc_pending_free(p);
    }
    return was_event_lost;
}

void rpc_pending_fail_waiting(struct node_peer *peer)
{
    bool was_event_lost = false;
    while (peer->first) {
        struct rpc_pending *p = peer->first;
        rpc_waiting_remove(peer, p);
        rpc_pending_leave(p);
        if (p->is_event) {
            was_event_lost = true;
            rpc_pending_free(p);
        } else {
            try_again(p, 0);
        }
    }
    if (was_event_lost)
        rpc_peer_news(peer, RPC_LINK_BROKE);
}

/* ---- what roles call ---- */

static struct rpc_pending *start(struct rpc *rpc, struct node_peer *to, const struct rpc_method_info *info, const struct rpc_ctx *ctx,
                                 const uint8_t *payload, size_t len, enum bt_err err, rpc_reply_cb *cb, void *arg)
{
    struct rpc_pending *p = rpc_pending_new(rpc);
    if (!p) {
        p = rpc_pending_from_reserve(rpc);
        err = BT_ENOMEM;
    }
    /* Not to call back would leave a client without an answer for good; ending, he is answered by another node. */
    if (!p)
        abort();
    rpc_pending_fill(p, rpc, info, ctx);
    p->to = to;
    p->cb = cb;
    p->arg = arg;
    rpc->stats.calls++;
    rpc->retry_tenths += rpc->retry_tenths < RPC_RETRY_TENTHS_MAX;
    if (err == BT_OK && rpc->is_closing)
        err = BT_ECLOSING;
    if (err == BT_OK)
        err = rpc_pending_copy(p, payload, len);
    if (err != BT_OK)
        end_soon(p, err);
    else
        try_within(p, ctx->timeout_ms > 0 ? ctx->timeout_ms : rpc->timeout_ms);
    return p;
}

struct rpc_pending *rpc_send(struct rpc *rpc, uint16_t method, const struct rpc_ctx *ctx, const uint8_t *payload, size_t len, rpc_reply_cb *cb, void *arg)
{
    const struct rpc_method_info *info = rpc_method_info(method);
    assert(info && !info->is_event && info->route != RPC_DIRECT);
    return start(rpc, NULL, info, ctx, payload, len, BT_OK, cb, arg);
}

struct rpc_pending *rpc_send_msg(struct rpc *rpc, uint16_t method, const struct rpc_ctx *ctx, const void *msg, rpc_reply_cb *cb, void *arg)
{
    const struct rpc_method_info *info = rpc_method_info(method);
    struct rpc_encoded e;

    assert(info && !info->is_event && info->route != RPC_DIRECT);
    enum bt_err err = rpc_encode_msg(&e, info->req, msg);
    struct rpc_pending *p = start(rpc, NULL, info, ctx, rpc_encoded_bytes(&e), e.len, err, cb, arg);
    bt_free(e.heap);
    return p;
}

struct rpc_pending *rpc_send_to(struct rpc *rpc, const char *address, uint16_t method, const struct rpc_ctx *ctx, const void *msg, rpc_reply_cb *cb, void *arg)
{
    const struct rpc_method_info *info = rpc_method_info(method);
    struct node_peer *to = rpc_peer_get(rpc, address);
    struct rpc_encoded e;

    assert(info && !info->is_event && info->route == RPC_DIRECT && info->repeat == RPC_READ);
    enum bt_err err = rpc_encode_msg(&e, info->req, msg);
    struct rpc_pending *p = start(rpc, to, info, ctx, rpc_encoded_bytes(&e), e.len, err != BT_OK || to ? err : BT_EDOWN, cb, arg);
    bt_free(e.heap);
    return p;
}

enum bt_err rpc_reply_decode(const struct rpc_reply *reply, const pb_msgdesc_t *fields, void *msg_out)
{
    if (reply->err != BT_OK)
        return reply->err;
    return rpc_decode(fields, reply->payload, reply->len, msg_out) == BT_OK ? BT_OK : BT_EPROTO;
}
