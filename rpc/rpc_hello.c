/*
 * rpc/rpc_hello.c: how a connection between nodes begins: who is there, whether both know the secret, and which of two stays.
 *
 *   dialler   NodeHello { address, epoch, nonce }
 *   acceptor  its reply { address, epoch, nonce, proof }
 *   dialler   NodeProve { proof }
 *   acceptor  its reply: from now on everything is served, both ways
 *
 * Without a secret, which only a node on a loopback address may do without, the reply to NodeHello is the end of it. Before its
 * end nothing is served, nothing longer than a hello is read, and of who says hello nothing is kept but this record.
 * Two nodes that dialled each other at once keep the connection of the smaller address: that node refuses the other's
 * hello, the other drops its own attempt. A node that dials itself has one connection too: it calls on the dialled end
 * and serves on the accepted one. A guest is no node: it proves itself alike, is served, and is never called.
 */
#include <stdio.h>
#include <string.h>

#include "proto/node.pb.h"
#include "proto/node_methods.h"
#include "rpc/bytes.h"
#include "rpc/rpc_internal.h"

#define LOG_MODULE "rpc"
#include "net/log.h"

enum { FAREWELL_MS = 500, SAY_EVERY_MS = 60000 };

/* ---- saying why not ---- */

/* Once a minute and address: a port that is open to many is knocked at often. */
static bool must_say(struct rpc *rpc, const char *address)
{
    uint64_t now_ms = net_now_ms(rpc->loop);
    struct rpc_refused *oldest = &rpc->refused[0];

    for (size_t i = 0; i < RPC_REFUSED_KEPT; i++) {
        struct rpc_refused *r = &rpc->refused[i];
        if (strcmp(r->address, address) == 0) {
            if (now_ms - r->said_ms < SAY_EVERY_MS)
                return false;
            r->said_ms = now_ms;
            return true;
        }
        if (r->said_ms < oldest->said_ms)
            oldest = r;
    }
    snprintf(oldest->address, sizeof oldest->address, "%s", address);
    oldest->said_ms = now_ms;
    return true;
}

void rpc_hello_refused(struct node_link *nl, const char *detail)
{
    char from[64] = "this process";
    char *port;

    if (rpc_link_conn(nl->link))
        net_conn_peer_name(rpc_link_conn(nl->link), from, sizeof from);
    port = strrchr(from, ':');
    if (port)
        *port = '\0'; /* it is another one each time */
    if (must_say(nl->rpc, from))
        log_warn("node listener: a connection from %s is refused: %s", from, detail);
}

static void refuse(struct node_link *nl, struct rpc_call *call, enum bt_err err, const char *detail)
{
    if (err != BT_ESTATE) /* that another connection stands is no fault */
        rpc_hello_refused(nl, detail);
    rpc_fail(call, err, "%s", detail);
    rpc_link_finish(nl->link, FAREWELL_MS);
}

/* ---- the end of it ---- */

static void became_ready(struct node_link *nl)
{
    nl->is_ready = true;
    net_timer_stop(nl->rpc->loop, &nl->hello_timer);
    rpc_link_set_limits(nl->link, &nl->rpc->limits);
    rpc_node_no_stranger(nl);
}

/* ---- dialling ---- */

static void dial_refused(struct node_link *nl, const struct rpc_reply *reply)
{
    nl->was_refused = reply->came && reply->status == RPC_STATUS_FAILED_PRECONDITION;
    if (reply->came && reply->status == RPC_STATUS_UNAUTHENTICATED && must_say(nl->rpc, nl->peer->address))
        log_warn("node %s: refuses this node's proof: is [node] secret_file the same there?", nl->peer->address);
    rpc_node_close(nl, BT_EDOWN);
}

static void prove_done(struct rpc_out *out, const struct rpc_reply *reply)
{
    struct node_link *nl = out->arg;

    if (nl->peer->dialling != nl)
        return; /* given up meanwhile, for the other's connection */
    if (reply->err != BT_OK) {
        dial_refused(nl, reply);
        return;
    }
    became_ready(nl);
    rpc_peer_up(nl->peer, nl);
}

static void prove(struct node_link *nl)
{
    const struct rpc_header h = { .method = RPC_NODE_PROVE, .timeout_ms = RPC_HELLO_MS };
    uint8_t proof[RPC_PROOF_SIZE], payload[RPC_PROOF_SIZE + 16];

    rpc_proof_make(nl->rpc->secret, RPC_DIALLER, &nl->shake, proof);
    const NodeProveRequest msg = { .proof = rpc_bytes(proof, sizeof proof) };
    size_t len = rpc_encode(NodeProveRequest_fields, &msg, payload, sizeof payload);
    nl->hello = (struct rpc_out){ .done = prove_done, .arg = nl };
    rpc_link_request(nl->link, &h, payload, len, &nl->hello);
}

static bool bytes_are(struct rpc_bytes b, const char *text)
{
    return b.len == strlen(text) && memcmp(b.data, text, b.len) == 0;
}

static const char *hello_reply_fault(struct node_link *nl, const NodeHelloReply *msg)
{
    struct rpc_handshake *shake = &nl->shake;

    if (msg->version != RPC_VERSION || !bytes_are(msg->address, nl->peer->address))
        return "another node answers there";
    if (!nl->rpc->secret)
        return NULL;
    snprintf(shake->address[RPC_ACCEPTOR], sizeof shake->address[RPC_ACCEPTOR], "%s", nl->peer->address);
    shake->epoch[RPC_ACCEPTOR] = msg->epoch;
    if (!rpc_nonce_take(msg->nonce, shake->nonce[RPC_ACCEPTOR]) || !rpc_proof_check(nl->rpc->secret, RPC_ACCEPTOR, shake, msg->proof))
        return "does not prove itself: is [node] secret_file the same there?";
    return NULL;
}

static enum bt_err check_hello_reply(struct node_link *nl, const struct rpc_reply *reply)
{
    NodeHelloReply msg = { .version = 0 };
    enum bt_err err = rpc_reply_decode(reply, NodeHelloReply_fields, &msg);

    if (err != BT_OK)
        return err;
    const char *fault = hello_reply_fault(nl, &msg);
    if (fault && must_say(nl->rpc, nl->peer->address))
        log_warn("node %s: %s", nl->peer->address, fault);
    if (!fault)
        nl->peer->epoch = msg.epoch;
    rpc_release(NodeHelloReply_fields, &msg);
    return fault ? BT_EPROTO : BT_OK;
}

static void hello_done(struct rpc_out *out, const struct rpc_reply *reply)
{
    struct node_link *nl = out->arg;

    if (nl->peer->dialling != nl)
        return; /* given up meanwhile, for the other's connection */
    if (check_hello_reply(nl, reply) != BT_OK) {
        dial_refused(nl, reply);
    } else if (nl->rpc->secret) {
        prove(nl);
    } else {
        became_ready(nl);
        rpc_peer_up(nl->peer, nl);
    }
}

void rpc_hello_say(struct node_link *nl)
{
    struct rpc_handshake *shake = &nl->shake;
    const struct registry_node *self = &nl->rpc->self;
    const struct rpc_header h = { .method = RPC_NODE_HELLO, .timeout_ms = RPC_HELLO_MS };
    NodeHelloRequest msg = { .version = RPC_VERSION, .address = rpc_str(self->address), .epoch = self->epoch };
    uint8_t payload[256];

    if (nl->rpc->secret) {
        rpc_nonce_make(shake->nonce[RPC_DIALLER]);
        snprintf(shake->address[RPC_DIALLER], sizeof shake->address[RPC_DIALLER], "%s", self->address);
        shake->epoch[RPC_DIALLER] = self->epoch;
        msg.nonce = rpc_bytes(shake->nonce[RPC_DIALLER], RPC_NONCE_SIZE);
    }
    size_t len = rpc_encode(NodeHelloRequest_fields, &msg, payload, sizeof payload);
    nl->hello = (struct rpc_out){ .done = hello_done, .arg = nl };
    rpc_link_request(nl->link, &h, payload, len, &nl->hello);
}

/* ---- being dialled ---- */

static bool must_refuse(const struct rpc *rpc, const struct node_peer *peer, uint64_t epoch)
{
    bool is_mine_to_keep = strcmp(rpc->self.address, peer->address) < 0;
    if (peer->link) /* a node that was started anew, or that lost what it had dialled, comes with reason */
        return peer->epoch == epoch && peer->link->is_dialled && is_mine_to_keep;
    return peer->dialling && is_mine_to_keep;
}

/* Whose connection it is, NULL for a guest's. False: the call was refused. */
static bool admit(struct node_link *nl, struct rpc_call *call, struct node_peer **peer_out)
{
    struct rpc *rpc = nl->rpc;
    struct node_peer *peer = nl->is_guest ? NULL : rpc_peer_get(rpc, nl->shake.address[RPC_DIALLER]);
    uint64_t epoch = nl->shake.epoch[RPC_DIALLER];

    *peer_out = peer;
    if (nl->is_guest)
        return true;
    if (!peer)
        refuse(nl, call, BT_ENOMEM, "out of memory");
    else if (peer->is_self && epoch != rpc->self.epoch)
        refuse(nl, call, BT_EEXIST, "that address is this node's");
    else if (!peer->is_self && must_refuse(rpc, peer, epoch))
        refuse(nl, call, BT_ESTATE, "a connection stands already");
    else
        return true;
    return false;
}

/* After the reply, which goes first. */
static void welcome(struct node_link *nl, struct node_peer *peer)
{
    became_ready(nl);
    if (!peer || peer->is_self)
        return; /* it only serves: calls to itself go out on the end that dialled */
    nl->peer = peer;
    peer->epoch = nl->shake.epoch[RPC_DIALLER];
    rpc_peer_up(peer, nl);
}

static bool copy_address(char out[64], struct rpc_bytes address)
{
    if (!address.data || address.len == 0 || address.len >= 64 || memchr(address.data, '\0', address.len))
        return false;
    memcpy(out, address.data, address.len);
    out[address.len] = '\0';
    return true;
}

static void challenge(struct node_link *nl, struct rpc_call *call)
{
    const struct registry_node *self = &nl->rpc->self;
    struct rpc_handshake *shake = &nl->shake;
    uint8_t proof[RPC_PROOF_SIZE];

    rpc_nonce_make(shake->nonce[RPC_ACCEPTOR]);
    snprintf(shake->address[RPC_ACCEPTOR], sizeof shake->address[RPC_ACCEPTOR], "%s", self->address);
    shake->epoch[RPC_ACCEPTOR] = self->epoch;
    rpc_proof_make(nl->rpc->secret, RPC_ACCEPTOR, shake, proof);
    const NodeHelloReply reply = {
        .version = RPC_VERSION,
        .address = rpc_str(self->address),
        .epoch = self->epoch,
        .nonce = rpc_bytes(shake->nonce[RPC_ACCEPTOR], RPC_NONCE_SIZE),
        .proof = rpc_bytes(proof, sizeof proof),
    };
    nl->is_challenged = true;
    rpc_reply(call, &reply);
}

void node_hello(struct rpc_call *call, const void *msg, void *self)
{
    const NodeHelloRequest *req = msg;
    struct rpc *rpc = self;
    struct node_link *nl = rpc_link_arg(rpc_call_link(call));
    struct node_peer *peer;

    if (nl->is_ready || nl->is_dialled || nl->is_challenged) {
        refuse(nl, call, BT_EINVAL, "NodeHello is said once, by the dialling side");
        return;
    }
    nl->shake.epoch[RPC_DIALLER] = req->epoch;
    nl->is_guest = req->is_guest;
    if (req->version < RPC_VERSION) {
        rpc_hello_refused(nl, "no common version");
        refuse(nl, call, BT_ESTATE, "no common version");
    } else if (!copy_address(nl->shake.address[RPC_DIALLER], req->address)) {
        refuse(nl, call, BT_EINVAL, "no address, or too long a one");
    } else if (rpc->secret) {
        if (rpc_nonce_take(req->nonce, nl->shake.nonce[RPC_DIALLER]))
            challenge(nl, call);
        else
            refuse(nl, call, BT_ENOAUTH, "a proof is asked for here, and none was offered: [node] secret_file");
    } else if (admit(nl, call, &peer)) {
        const NodeHelloReply reply = { .version = RPC_VERSION, .address = rpc_str(rpc->self.address), .epoch = rpc->self.epoch };
        rpc_reply(call, &reply);
        welcome(nl, peer);
    }
}

void node_prove(struct rpc_call *call, const void *msg, void *self)
{
    const NodeProveRequest *req = msg;
    struct rpc *rpc = self;
    struct node_link *nl = rpc_link_arg(rpc_call_link(call));
    const NodeProveReply reply = NodeProveReply_init_zero;
    struct node_peer *peer;

    if (!nl->is_challenged || nl->is_ready) {
        refuse(nl, call, BT_EINVAL, "NodeProve is said once, after NodeHello, where a proof is asked for");
        return;
    }
    if (!rpc_proof_check(rpc->secret, RPC_DIALLER, &nl->shake, req->proof)) {
        refuse(nl, call, BT_ENOAUTH, "its proof is wrong: is [node] secret_file the same there?");
        return;
    }
    if (!admit(nl, call, &peer))
        return;
    rpc_reply(call, &reply);
    welcome(nl, peer);
}
