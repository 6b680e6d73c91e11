/*
 * client/cli_admin_link.c: a connection to a node's listener: proves that both sides know the secret, then calls, one at a time.
 *
 * The node is told that this is a guest: it serves it, and never calls it.
 */
#include <inttypes.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/cli_admin.h"
#include "rpc/call.h"
#include "rpc/link.h"

enum { DIAL_MS = 3000, HELLO_MS = 3000, TURN_MS = 50, FRAME_MAX = 16777216, REQUEST_SIZE = 1024, NODE_VERSION = 1 };

static const char own_name[] = "bytetalk-cli";

struct admin_link {
    struct admin *admin;
    struct rpc_link *link;          /* NULL: it has closed */
    char address[ADMIN_ADDRESS_SIZE];
    struct rpc_handshake shake;
    struct rpc_out out;
    bool is_answered;
    struct rpc_reply reply;         /* of the last call; its payload is ours */
    bool was_sent;
};

/* Outlives the link, which borrows it. */
static const struct rpc_link_limits limits = {
    .max_frame_bytes = FRAME_MAX,
    .max_calls = 16,
    .allowed_flags = RPC_FLAGS_NODE,
    .net = { .out_high_bytes = 1048576, .out_low_bytes = 65536, .in_max_bytes = FRAME_MAX + RPC_LENGTH_SIZE },
};

/* ---- from below ---- */

static void no_request(struct rpc_link *l, struct rpc_call *call, const struct rpc_frame *frame, void *arg)
{
    (void)l, (void)frame, (void)arg;
    rpc_fail(call, BT_ENOMETHOD, "an operator's tool serves no methods");
}

static void link_closed(struct rpc_link *rpc, enum bt_err why, void *arg)
{
    struct admin_link *l = arg;
    (void)rpc, (void)why;
    l->link = NULL;
}

static const struct rpc_link_ops ops = { .request = no_request, .closed = link_closed };

static void answered(struct rpc_out *out, const struct rpc_reply *reply)
{
    struct admin_link *l = out->arg;
    uint8_t *copy = malloc(reply->len + 1);

    free((void *)(uintptr_t)l->reply.payload);
    l->reply = *reply;
    l->was_sent = out->was_sent;
    l->is_answered = true;
    if (copy && reply->len > 0)
        memcpy(copy, reply->payload, reply->len);
    else
        l->reply.len = 0;
    if (!copy)
        l->reply.err = BT_ENOMEM;
    l->reply.payload = copy;
}

/* ---- calling ---- */

/* Its outcome is in l->reply. */
static void call(struct admin_link *l, uint16_t method, uint32_t timeout_ms, const void *req)
{
    const struct rpc_method_info *info = rpc_method_info(method);
    const struct rpc_header h = { .method = method, .timeout_ms = timeout_ms };
    uint8_t payload[REQUEST_SIZE];
    size_t len = rpc_encode(info->req, req, payload, sizeof payload);

    l->is_answered = false;
    l->out = (struct rpc_out){ .done = answered, .arg = l };
    if (!l->link || rpc_size(info->req, req) > sizeof payload) {
        l->reply.err = l->link ? BT_EINVAL : BT_EDOWN;
        l->reply.came = l->was_sent = false;
        return;
    }
    rpc_link_request(l->link, &h, payload, len, &l->out);
    while (!l->is_answered)
        net_loop_turn(l->admin->loop, TURN_MS);
}

/* Decode the reply; views in it point into what the link keeps. */
static enum bt_err decode(struct admin_link *l, uint16_t method, void *out)
{
    if (l->reply.err != BT_OK)
        return l->reply.err;
    return rpc_decode(rpc_method_info(method)->reply, l->reply.payload, l->reply.len, out) == BT_OK ? BT_OK : BT_EPROTO;
}

static void say_detail(const struct admin_link *l, const char *before, const char *after)
{
    Error e = { .retry_after_ms = 0 };
    char *detail = NULL;

    if (l->reply.came && rpc_decode(Error_fields, l->reply.payload, l->reply.len, &e) == BT_OK)
        detail = cli_escape(admin_text(e.detail), false);
    admin_say("%s%s%s.%s", before, detail && *detail ? ": " : "", detail ? detail : "", after);
    free(detail);
}

static enum cli_exit say_failure(const struct admin_link *l, const struct rpc_method_info *info, enum bt_err err)
{
    bool may_be_done = info->repeat != RPC_READ && !l->reply.came && l->was_sent;

    if (l->reply.came && err != BT_EPROTO) {
        bool is_unknown = l->reply.status == RPC_STATUS_UNIMPLEMENTED;
        say_detail(l, rpc_status_name(l->reply.status), is_unknown ? " The node is of an older version." : "");
        return CLI_REFUSED;
    }
    admin_say("The node at %s %s.%s", l->address, err == BT_ETIMEOUT ? "did not answer in time" : err == BT_EPROTO ? "answers in another way than nodes do" : "is gone",
              may_be_done ? " It is not known whether this was done; look before you do it again." : "");
    return may_be_done ? CLI_UNSURE : CLI_NO_SERVER;
}

enum cli_exit admin_call(struct admin_link *l, uint16_t method, const void *req, void *reply_out)
{
    call(l, method, ADMIN_TIMEOUT_MS, req);
    enum bt_err err = decode(l, method, reply_out);
    return err == BT_OK ? CLI_OK : say_failure(l, rpc_method_info(method), err);
}

void admin_done(uint16_t method, void *reply)
{
    rpc_release(rpc_method_info(method)->reply, reply);
}

/* ---- the beginning ---- */

static bool resolve(const char *name, char out[ADMIN_ADDRESS_SIZE])
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    const char *colon = strrchr(name, ':');
    char host[ADMIN_ADDRESS_SIZE], number[NI_MAXHOST], port[NI_MAXSERV];
    struct addrinfo *found;
    bool is_bracketed = name[0] == '[' && colon[-1] == ']';

    snprintf(host, sizeof host, "%.*s", (int)(colon - name) - 2 * is_bracketed, name + is_bracketed);
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
        return false;
    int rc = getnameinfo(found->ai_addr, found->ai_addrlen, number, sizeof number, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    int len = rc != 0 ? -1 : snprintf(out, ADMIN_ADDRESS_SIZE, found->ai_family == AF_INET6 ? "[%s]:%s" : "%s:%s", number, port);
    freeaddrinfo(found);
    return len > 0 && len < ADMIN_ADDRESS_SIZE;
}

static enum cli_exit not_reached(const struct admin_link *l)
{
    admin_say("No node answers at %s. A server that runs alone has a listener for nodes only with [rpc] local = socket and a port in [node] listen.", l->address);
    return CLI_NO_SERVER;
}

static enum cli_exit refused(const struct admin_link *l, const char *what)
{
    if (!l->reply.came && l->was_sent) {
        admin_say("What listens at %s ends the connection: is it a node's listener, and not one for clients?", l->address);
        return CLI_NO_SERVER;
    }
    if (!l->reply.came)
        return not_reached(l);
    if (l->reply.status != RPC_STATUS_UNAUTHENTICATED) {
        say_detail(l, rpc_status_name(l->reply.status), " Is that a node's listener, and not one for clients?");
    } else if (!l->admin->secret) {
        admin_say("The node at %s asks for the secret that nodes share: say --secret-file FILE, or --config FILE with [node] secret_file.", l->address);
    } else {
        admin_say("The node at %s refuses this secret: %s is not the same file as the node's [node] secret_file.", l->address, what);
    }
    return CLI_REFUSED;
}

static const char *hello_fault(struct admin_link *l, const NodeHelloReply *reply)
{
    struct rpc_handshake *s = &l->shake;

    if (reply->version != NODE_VERSION)
        return "speaks another version of the protocol";
    if (!l->admin->secret)
        return NULL;
    if (reply->address.len >= sizeof s->address[RPC_ACCEPTOR])
        return "does not prove itself";
    memcpy(s->address[RPC_ACCEPTOR], reply->address.data ? (const char *)reply->address.data : "", reply->address.len);
    s->epoch[RPC_ACCEPTOR] = reply->epoch;
    if (!reply->nonce.len && !reply->proof.len)
        return "knows no secret: it was started without [node] secret_file. If that is meant to be, do without here too";
    if (!rpc_nonce_take(reply->nonce, s->nonce[RPC_ACCEPTOR]) || !rpc_proof_check(l->admin->secret, RPC_ACCEPTOR, s, reply->proof))
        return "does not know this secret: it is not the same as the node's [node] secret_file";
    return NULL;
}

static enum cli_exit prove(struct admin_link *l)
{
    uint8_t proof[RPC_PROOF_SIZE];

    rpc_proof_make(l->admin->secret, RPC_DIALLER, &l->shake, proof);
    call(l, RPC_NODE_PROVE, HELLO_MS, &(NodeProveRequest){ .proof = rpc_bytes(proof, sizeof proof) });
    return l->reply.err == BT_OK ? CLI_OK : refused(l, "it");
}

static enum cli_exit hello(struct admin_link *l)
{
    struct rpc_handshake *s = &l->shake;
    NodeHelloRequest req = { .version = NODE_VERSION, .address = rpc_str(own_name), .epoch = (uint64_t)getpid(), .is_guest = true };
    NodeHelloReply reply = { .version = 0 };

    snprintf(s->address[RPC_DIALLER], sizeof s->address[RPC_DIALLER], "%s", own_name);
    s->epoch[RPC_DIALLER] = req.epoch;
    if (l->admin->secret) {
        rpc_nonce_make(s->nonce[RPC_DIALLER]);
        req.nonce = rpc_bytes(s->nonce[RPC_DIALLER], RPC_NONCE_SIZE);
    }
    call(l, RPC_NODE_HELLO, HELLO_MS, &req);
    enum bt_err err = decode(l, RPC_NODE_HELLO, &reply);
    if (err != BT_OK)
        return refused(l, "it");
    const char *fault = hello_fault(l, &reply);
    if (fault)
        admin_say("The node at %s %s.", l->address, fault);
    admin_done(RPC_NODE_HELLO, &reply);
    return fault ? CLI_REFUSED : l->admin->secret ? prove(l) : CLI_OK;
}

enum cli_exit admin_dial(struct admin *a, const char *address, struct admin_link **out)
{
    struct admin_link *l = calloc(1, sizeof *l);
    char numeric[ADMIN_ADDRESS_SIZE];
    enum cli_exit code = CLI_OK;

    *out = NULL;
    if (!l) {
        admin_say("Out of memory.");
        return CLI_REFUSED;
    }
    l->admin = a;
    snprintf(l->address, sizeof l->address, "%s", address);
    if (!resolve(address, numeric)) {
        admin_say("There is no such host: %s.", address);
        code = CLI_NO_SERVER;
    } else if (rpc_link_dial(a->loop, numeric, DIAL_MS, &ops, &limits, l, &l->link) != BT_OK) {
        l->link = NULL;
        code = not_reached(l);
    } else {
        code = hello(l);
    }
    if (code != CLI_OK)
        admin_close(l);
    else
        *out = l;
    return code;
}

void admin_close(struct admin_link *l)
{
    if (l->link)
        rpc_link_close(l->link, BT_OK);
    while (l->link)
        net_loop_turn(l->admin->loop, TURN_MS);
    free((void *)(uintptr_t)l->reply.payload);
    free(l);
}
