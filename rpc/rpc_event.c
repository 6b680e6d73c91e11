/* rpc/rpc_event.c: messages to payloads, and events to other nodes: sent on a link that stands, or waiting for it. */
#include <assert.h>

#include "net/mem.h"
#include "rpc/rpc_internal.h"

enum bt_err rpc_encode_msg(struct rpc_encoded *e, const pb_msgdesc_t *fields, const void *msg)
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

const uint8_t *rpc_encoded_bytes(const struct rpc_encoded *e)
{
    return e->heap ? e->heap : e->room;
}

static enum bt_err wait_with_event(struct rpc *rpc, struct node_peer *peer, const struct rpc_method_info *info, const struct rpc_ctx *ctx,
                                   const uint8_t *payload, size_t len)
{
    if (rpc_waiting_is_full(peer)) {
        peer->was_refused = true;
        return BT_EBUSY;
    }
    struct rpc_pending *p = rpc_pending_new(rpc);
    if (!p)
        return BT_ENOMEM;
    rpc_pending_fill(p, rpc, info, ctx);
    p->is_event = true;
    if (rpc_pending_copy(p, payload, len) != BT_OK) {
        rpc_pending_free(p);
        return BT_ENOMEM;
    }
    p->peer = peer;
    peer->outstanding++;
    rpc_waiting_add(peer, p);
    return BT_OK;
}

static enum bt_err event_to_peer(struct rpc *rpc, struct node_peer *peer, uint16_t method, const struct rpc_ctx *ctx, const uint8_t *payload, size_t len)
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
    return peer ? event_to_peer(rpc, peer, method, ctx, payload, len) : BT_EDOWN;
}

enum bt_err rpc_event(struct rpc *rpc, uint16_t method, const struct rpc_ctx *ctx, const void *msg)
{
    const struct rpc_method_info *info = rpc_method_info(method);
    struct rpc_encoded e;

    assert(info && info->is_event && info->route != RPC_DIRECT);
    struct node_peer *peer = rpc_choose(rpc, info, ctx->caller, ctx->target, 0, NULL);
    if (!peer)
        return BT_EDOWN;
    enum bt_err err = rpc_encode_msg(&e, info->req, msg);
    if (err == BT_OK)
        err = event_to_peer(rpc, peer, method, ctx, rpc_encoded_bytes(&e), e.len);
    bt_free(e.heap);
    return err;
}
