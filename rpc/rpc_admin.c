/*
 * rpc/rpc_admin.c: what an operator asks of this node: who is there, who owns a conversation, where a user is, to drain.
 *
 * What another role knows is asked of that role, so that an operator needs to reach only one node.
 */
#include "net/mem.h"
#include "proto/node.pb.h"
#include "proto/node_methods.h"
#include "rpc/rpc_internal.h"

#define LOG_MODULE "rpc"
#include "net/log.h"

enum {
    FOLLOWERS_MAX = 4,
    SPARE_MS = 250,   /* of a deadline: so that the answer of a call made for it still gets there */
};

/* ---- the view ---- */

static AdminNode describe(const struct rpc *rpc, const struct registry_node *node, const struct node_peer *peer)
{
    bool counts_calls = node->is_self && !(node->roles & UINT32_C(1) << RPC_ROLE_PROXY);
    return (AdminNode){
        .name = rpc_str(node->name),
        .unit = rpc_str(node->unit),
        .address = rpc_str(node->address),
        .client_address = rpc_str(node->client_address),
        .version = rpc_str(node->version),
        .epoch = node->epoch,
        .roles = node->roles,
        .weight = node->weight,
        .load = counts_calls ? rpc_open_calls(rpc) - 1 : node->load, /* without the call that asks */
        .outstanding = peer ? peer->outstanding : 0,
        .is_self = node->is_self,
        .is_connected = node->is_self || (peer && peer->link),
        .is_passed_over = peer && peer->is_passed_over,
    };
}

void node_admin_nodes(struct rpc_call *call, const void *msg, void *self)
{
    struct rpc *rpc = self;
    AdminNodesReply reply = { .nodes = bt_calloc(rpc->node_count + 1, sizeof *reply.nodes) };
    bool has_self = false;

    (void)msg;
    if (!reply.nodes) {
        rpc_fail(call, BT_ENOMEM, NULL);
        return;
    }
    for (size_t i = 0; i < rpc->node_count; i++) {
        AdminNode *n = &reply.nodes[reply.nodes_count++];
        *n = describe(rpc, rpc->nodes[i].is_self ? &rpc->self : &rpc->nodes[i], rpc_peer_find(rpc, rpc->nodes[i].address));
        n->is_registered = true;
        has_self |= rpc->nodes[i].is_self;
    }
    if (!has_self)
        reply.nodes[reply.nodes_count++] = describe(rpc, &rpc->self, rpc->self_peer);
    rpc_reply(call, &reply);
    bt_free(reply.nodes);
}

void node_admin_owner(struct rpc_call *call, const void *msg, void *self)
{
    const AdminOwnerRequest *req = msg;
    struct rpc *rpc = self;
    AdminOwner nodes[FOLLOWERS_MAX];
    AdminOwnerReply reply = { .nodes = nodes };
    const struct ring_member *m;

    if (req->hi == 0 || req->lo >= req->hi) {
        rpc_fail(call, BT_EINVAL, "a conversation is two different users, the larger id first, or a group and 0");
        return;
    }
    while (rpc->ring && reply.nodes_count < FOLLOWERS_MAX && (m = ring_find(rpc->ring, req->hi, req->lo, reply.nodes_count)))
        nodes[reply.nodes_count++] = (AdminOwner){ .address = rpc_str(m->name), .is_passed_over = ((struct node_peer *)m->arg)->is_passed_over };
    rpc_reply(call, &reply);
}

/* ---- what others know ---- */

static void ask_done(const struct rpc_reply *reply, void *arg)
{
    struct rpc_call *call = arg;

    if (reply->err == BT_OK)
        rpc_reply_raw(call, reply->status, 0, reply->payload, reply->len);
    else
        rpc_fail_as(call, reply);
}

static void ask(struct rpc *rpc, struct rpc_call *call, uint16_t method, const void *msg)
{
    struct rpc_ctx ctx = rpc_ctx_of(call);

    if (ctx.timeout_ms > 2 * SPARE_MS)
        ctx.timeout_ms -= SPARE_MS;
    rpc_send_msg(rpc, method, &ctx, msg, ask_done, call);
}

void node_admin_sessions(struct rpc_call *call, const void *msg, void *self)
{
    ask(self, call, RPC_USER_SESSIONS_OF, msg);
}

void node_admin_where(struct rpc_call *call, const void *msg, void *self)
{
    ask(self, call, RPC_CHAT_WHO_IS_WHERE, msg);
}

/* ---- draining ---- */

void rpc_on_drain(struct rpc *rpc, rpc_drain_cb *cb, void *arg)
{
    rpc->drain_cb = cb;
    rpc->drain_arg = arg;
}

void node_admin_drain(struct rpc_call *call, const void *msg, void *self)
{
    struct rpc *rpc = self;

    (void)msg;
    if (!rpc->drain_cb) {
        rpc_fail(call, BT_ENOMETHOD, "this process is not drained over the network");
        return;
    }
    log_info("node %s: an operator asks it to drain", rpc->self.name);
    rpc_reply(call, &(AdminDrainReply){ 0 });
    rpc->drain_cb(rpc->drain_arg);
}
