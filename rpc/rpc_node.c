/* rpc/rpc_node.c: links between nodes: the listener, dialling, and what comes on them. */
#include <stdio.h>
#include <string.h>

#include "net/mem.h"
#include "proto/client.pb.h"
#include "proto/node_methods.h"
#include "proto/node.pb.h"
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
    rpc_node_no_stranger(nl);
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

void rpc_node_no_stranger(struct node_link *nl)
{
    if (nl->is_stranger)
        nl->rpc->strangers--;
    nl->is_stranger = false;
}

void rpc_node_close(struct node_link *nl, enum bt_err why)
{
    rpc_link_close(nl->link, why);
}

/* ---- what comes on a link ---- */

static bool is_between_nodes(const struct node_link *nl, uint16_t method)
{
    return nl->peer && !nl->peer->is_self && method != RPC_NODE_HELLO && method != RPC_NODE_PROVE && method != RPC_NODE_PING;
}

static void node_request(struct rpc_link *l, struct rpc_call *call, const struct rpc_frame *frame, void *arg)
{
    struct node_link *nl = arg;

    (void)l;
    if (!nl->is_ready && frame->h.method != (nl->is_challenged ? RPC_NODE_PROVE : RPC_NODE_HELLO)) {
        rpc_hello_refused(nl, "it asks before it has proved itself");
        rpc_fail(call, BT_ENOAUTH, "%s comes first", nl->is_challenged ? "NodeProve" : "NodeHello");
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

    if (!nl->is_ready) {
        rpc_hello_refused(nl, "it sends events before it has proved itself");
        rpc_node_close(nl, BT_EPROTO);
        return;
    }
    if (!nl->rpc->is_closing)
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

/* As after a break: who compares positions finds what was pushed. */
static void node_push_lost(struct rpc_link *l, void *arg)
{
    struct node_link *nl = arg;

    (void)l;
    if (nl->peer)
        rpc_peer_news(nl->peer, RPC_LINK_BROKE);
}

const char *rpc_call_node(const struct rpc_call *call)
{
    struct rpc_link *l = rpc_call_link(call);
    const struct node_link *nl = l != NULL ? rpc_link_arg(l) : NULL;

    return nl != NULL && nl->peer != NULL ? nl->peer->address : NULL;
}

static const struct rpc_link_ops node_ops = { node_request, node_event, node_drained, node_closed, node_push_lost };

/* ---- dialling ---- */

enum bt_err rpc_node_dial(struct node_peer *peer)
{
    struct rpc *rpc = peer->rpc;
    struct node_link *nl = node_link_new(rpc);

    if (!nl)
        return BT_ENOMEM;
    nl->peer = peer;
    nl->is_dialled = true;
    enum bt_err err = rpc_link_dial(rpc->loop, peer->address, RPC_DIAL_MS, &node_ops, &rpc->hello_limits, nl, &nl->link);
    if (err != BT_OK) {
        node_link_free(nl);
        return err;
    }
    peer->dialling = nl;
    rpc_hello_say(nl);
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
    struct node_link *nl = rpc->strangers < RPC_STRANGERS_MAX ? node_link_new(rpc) : NULL;

    if (!nl) {
        net_conn_close(c);
        return;
    }
    if (rpc_link_accept(c, &node_ops, &rpc->hello_limits, nl, &nl->link) != BT_OK) {
        node_link_free(nl);
        return;
    }
    nl->is_stranger = true;
    rpc->strangers++;
    net_timer_start(rpc->loop, &nl->hello_timer, RPC_HELLO_MS, hello_missing, nl);
}

/* Only this machine reaches a listener that has no secret to ask for. */
static bool is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strncmp(address, "[::1]:", 6) == 0;
}

enum bt_err rpc_node_listen(struct rpc *rpc, const char *address, char *why, size_t why_size)
{
    if (!rpc->secret && !is_loopback(address)) {
        snprintf(why, why_size, "[node] listen = %s: without [node] secret_file only a loopback address is safe: anybody who reaches it is served as a node",
                 address);
        return BT_EDENIED;
    }
    enum bt_err err = net_listen(rpc->loop, address, node_accepted, rpc, &rpc->listener);
    if (err != BT_OK)
        snprintf(why, why_size, "[node] listen = %s: %s", address, bt_err_text(err));
    return err;
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
