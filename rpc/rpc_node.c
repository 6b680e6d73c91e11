/*
 * rpc/rpc_node.c: links between nodes: the listener, dialling, NodeHello, and which of two connections stays.
 *
 * The dialling side says NodeHello first; before that nothing is done on a connection, and nothing else is sent on it
 * before the answer. Two nodes that dialled each other at once keep the connection of the smaller address: that node refuses
 * the other's hello, the other drops its own attempt. A node that dials itself has one connection too: it calls on the
 * dialled end and serves on the accepted one.
 */
#include <stdio.h>
#include <string.h>

#include "net/mem.h"
#include "proto/client.pb.h"
#include "proto/node_methods.h"
#include "proto/node.pb.h"
#include "rpc/bytes.h"
#include "rpc/rpc_internal.h"

#define LOG_MODULE "rpc"
#include "net/log.h"

enum { FAREWELL_MS = 500 };

/* ---- records ---- */

static struct node_link *node_link_new(struct rpc *rpc)
{
    struct node_link *nl = bt_calloc(1, sizeof *nl);
    if (!nl)
        return NULL;
    nl->rpc = rpc;
    nl->next = rpc->links;
    if (nl->next)
        nl->next->prev = nl;
    rpc->links = nl;
    return nl;
}

static void node_link_free(struct node_link *nl)
{
    struct rpc *rpc = nl->rpc;
    net_timer_stop(rpc->loop, &nl->hello_timer);
    if (nl->prev)
        nl->prev->next = nl->next;
    else
        rpc->links = nl->next;
    if (nl->next)
        nl->next->prev = nl->prev;
    bt_free(nl);
    if (rpc->is_closing)
        rpc_closing_step(rpc);
}

void rpc_node_close(struct node_link *nl, enum bt_err why)
{
    rpc_link_close(nl->link, why);
}

/* ---- what comes on a link ---- */

static bool is_between_nodes(const struct node_link *nl, uint16_t method)
{
    return nl->peer && !nl->peer->is_self && method != RPC_NODE_HELLO && method != RPC_NODE_PING;
}

static void node_request(struct rpc_link *l, struct rpc_call *call, const struct rpc_frame *frame, void *arg)
{
    struct node_link *nl = arg;

    (void)l;
    if (!nl->is_ready && frame->h.method != RPC_NODE_HELLO) {
        rpc_fail(call, BT_ENOAUTH, "NodeHello comes first");
        rpc_link_finish(nl->link, FAREWELL_MS);
        return;
    }
    if (nl->rpc->is_closing) {
        rpc_fail(call, BT_ECLOSING, NULL);
        return;
    }
    if (is_between_nodes(nl, frame->h.method))
        nl->rpc->last_request_ms = net_now_ms(nl->rpc->loop);
    rpc_dispatch_request(nl->rpc, call, frame);
}

static void node_event(struct rpc_link *l, const struct rpc_frame *frame, void *arg)
{
    struct node_link *nl = arg;

    if (!nl->is_ready)
        rpc_node_close(nl, BT_EPROTO);
    else if (!nl->rpc->is_closing)
        rpc_dispatch_event(nl->rpc, l, frame);
}

static void node_drained(struct rpc_link *l, void *arg)
{
    struct node_link *nl = arg;
    (void)l;
    if (nl->peer && nl->peer->link == nl)
        rpc_peer_drained(nl->peer);
}

static void node_closed(struct rpc_link *l, enum bt_err why, void *arg)
{
    struct node_link *nl = arg;

    (void)l;
    log_debug("node %s: connection ended: %s", nl->peer ? nl->peer->address : "?", bt_err_text(why));
    if (nl->peer)
        rpc_peer_link_gone(nl->peer, nl);
    node_link_free(nl);
}

const char *rpc_call_node(const struct rpc_call *call)
{
    struct rpc_link *l = rpc_call_link(call);
    const struct node_link *nl = l != NULL ? rpc_link_arg(l) : NULL;

    return nl != NULL && nl->peer != NULL ? nl->peer->address : NULL;
}

static const struct rpc_link_ops node_ops = { node_request, node_event, node_drained, node_closed };

/* ---- dialling ---- */

static bool bytes_are(struct rpc_bytes b, const char *text)
{
    return b.len == strlen(text) && memcmp(b.data, text, b.len) == 0;
}

static enum bt_err check_hello_reply(struct node_link *nl, const struct rpc_reply *reply)
{
    NodeHelloReply msg = { .version = 0 };
    enum bt_err err = rpc_reply_decode(reply, NodeHelloReply_fields, &msg);

    if (err != BT_OK)
        return err;
    if (msg.version != RPC_VERSION || !bytes_are(msg.address, nl->peer->address)) {
        log_warn("node %s: another node answers there: %.*s", nl->peer->address, (int)msg.address.len, (const char *)msg.address.data);
        err = BT_EPROTO;
    }
    nl->peer->epoch = msg.epoch;
    rpc_release(NodeHelloReply_fields, &msg);
    return err;
}

static void hello_done(struct rpc_out *out, const struct rpc_reply *reply)
{
    struct node_link *nl = out->arg;

    if (nl->peer->dialling != nl)
        return; /* given up meanwhile, for the other's connection */
    if (check_hello_reply(nl, reply) != BT_OK) {
        nl->was_refused = reply->came && reply->status == RPC_STATUS_FAILED_PRECONDITION;
        rpc_node_close(nl, BT_EDOWN);
        return;
    }
    nl->is_ready = true;
    rpc_peer_up(nl->peer, nl);
}

static void say_hello(struct node_link *nl)
{
    const NodeHelloRequest msg = {
        .version = RPC_VERSION,
        .address = rpc_str(nl->rpc->self.address),
        .epoch = nl->rpc->self.epoch,
    };
    uint8_t payload[256];
    const struct rpc_header h = { .method = RPC_NODE_HELLO, .timeout_ms = RPC_HELLO_MS };
    size_t len = rpc_encode(NodeHelloRequest_fields, &msg, payload, sizeof payload);

    nl->hello = (struct rpc_out){ .done = hello_done, .arg = nl };
    rpc_link_request(nl->link, &h, payload, len, &nl->hello);
}

enum bt_err rpc_node_dial(struct node_peer *peer)
{
    struct rpc *rpc = peer->rpc;
    struct node_link *nl = node_link_new(rpc);

    if (!nl)
        return BT_ENOMEM;
    nl->peer = peer;
    nl->is_dialled = true;
    enum bt_err err = rpc_link_dial(rpc->loop, peer->address, RPC_DIAL_MS, &node_ops, &rpc->limits, nl, &nl->link);
    if (err != BT_OK) {
        node_link_free(nl);
        return err;
    }
    peer->dialling = nl;
    say_hello(nl);
    return BT_OK;
}

/* ---- being dialled ---- */

static void hello_missing(void *arg)
{
    rpc_node_close(arg, BT_ETIMEOUT);
}

static void node_accepted(struct net_conn *c, void *arg)
{
    struct rpc *rpc = arg;
    struct node_link *nl = node_link_new(rpc);

    if (!nl) {
        net_conn_close(c);
        return;
    }
    if (rpc_link_accept(c, &node_ops, &rpc->limits, nl, &nl->link) != BT_OK) {
        node_link_free(nl);
        return;
    }
    net_timer_start(rpc->loop, &nl->hello_timer, RPC_HELLO_MS, hello_missing, nl);
}

/* Only this machine reaches a listener that has no secret to ask for. */
static bool is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strncmp(address, "[::1]:", 6) == 0;
}

enum bt_err rpc_node_listen(struct rpc *rpc, const char *address, char *why, size_t why_size)
{
    if (!is_loopback(address)) {
        snprintf(why, why_size, "[node] listen = %s: nodes do not prove themselves yet, so only a loopback address is safe", address);
        return BT_EDENIED;
    }
    enum bt_err err = net_listen(rpc->loop, address, node_accepted, rpc, &rpc->listener);
    if (err != BT_OK)
        snprintf(why, why_size, "[node] listen = %s: %s", address, bt_err_text(err));
    return err;
}

static bool must_refuse(const struct rpc *rpc, const struct node_peer *peer, uint64_t epoch)
{
    bool is_mine_to_keep = strcmp(rpc->self.address, peer->address) < 0;
    if (peer->link) /* a node that was started anew, or that lost what it had dialled, comes with reason */
        return peer->epoch == epoch && peer->link->is_dialled && is_mine_to_keep;
    return peer->dialling && is_mine_to_keep;
}

static void welcome(struct rpc_call *call, const struct rpc *rpc)
{
    const NodeHelloReply reply = {
        .version = RPC_VERSION,
        .address = rpc_str(rpc->self.address),
        .epoch = rpc->self.epoch,
    };
    rpc_reply(call, &reply);
}

static bool copy_address(char out[64], struct rpc_bytes address)
{
    if (!address.data || address.len == 0 || address.len >= 64 || memchr(address.data, '\0', address.len))
        return false;
    memcpy(out, address.data, address.len);
    out[address.len] = '\0';
    return true;
}

static void refuse(struct node_link *nl, struct rpc_call *call, enum bt_err err, const char *detail)
{
    rpc_fail(call, err, "%s", detail);
    rpc_link_finish(nl->link, FAREWELL_MS);
}

void node_hello(struct rpc_call *call, const void *msg, void *self)
{
    const NodeHelloRequest *req = msg;
    struct rpc *rpc = self;
    struct node_link *nl = rpc_link_arg(rpc_call_link(call));
    char address[64];

    if (nl->is_ready || nl->is_dialled) {
        refuse(nl, call, BT_EINVAL, "NodeHello is said once, by the dialling side");
        return;
    }
    net_timer_stop(rpc->loop, &nl->hello_timer);
    if (req->version < RPC_VERSION) {
        refuse(nl, call, BT_ESTATE, "no common version");
        return;
    }
    if (!copy_address(address, req->address)) {
        refuse(nl, call, BT_EINVAL, "no address, or too long a one");
        return;
    }
    struct node_peer *peer = rpc_peer_get(rpc, address);
    if (!peer || (peer->is_self && req->epoch != rpc->self.epoch)) {
        refuse(nl, call, peer ? BT_EEXIST : BT_ENOMEM, peer ? "that address is this node's" : "out of memory");
        return;
    }
    if (!peer->is_self && must_refuse(rpc, peer, req->epoch)) {
        refuse(nl, call, BT_ESTATE, "a connection stands already");
        return;
    }
    nl->is_ready = true;
    nl->peer = peer;
    welcome(call, rpc);
    if (peer->is_self)
        return; /* this end only serves: calls to itself go out on the one that dialled */
    peer->epoch = req->epoch;
    rpc_peer_up(peer, nl);
}

void node_ping(struct rpc_call *call, const void *msg, void *self)
{
    const PingReply reply = { .nonce = ((const PingRequest *)msg)->nonce };
    (void)self;
    rpc_reply(call, &reply);
}

void rpc_node_serve(struct rpc *rpc)
{
    rpc_serve(rpc, RPC_ROLE_NODE, node_methods, rpc);
}

/* ---- within the process ---- */

enum bt_err rpc_node_pair(struct rpc *rpc)
{
    struct node_link *calling = node_link_new(rpc), *serving = node_link_new(rpc);
    enum bt_err err = BT_ENOMEM;

    if (calling && serving)
        err = rpc_link_pair(rpc->loop, &node_ops, calling, &node_ops, serving, &rpc->limits, &calling->link, &serving->link);
    if (err != BT_OK) {
        if (calling)
            node_link_free(calling);
        if (serving)
            node_link_free(serving);
        return err;
    }
    calling->is_ready = serving->is_ready = true;
    calling->peer = serving->peer = rpc->self_peer;
    rpc_peer_up(rpc->self_peer, calling);
    return BT_OK;
}
