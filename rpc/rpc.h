/*
 * rpc/rpc.h: a node's rpc: serves the methods of its roles to other nodes and to its own roles, and makes calls to whoever
 * serves a method: an instance of its role, or the owner of a conversation, with deadlines and retries. Loop thread only.
 *
 * Between roles of one process a call takes the same road, short of the socket ([rpc] local = direct), or over a loopback
 * connection ([rpc] local = socket). Two nodes share one connection.
 */
#ifndef BT_RPC_RPC_H
#define BT_RPC_RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/conf.h"
#include "net/err.h"
#include "rpc/bytes.h"
#include "rpc/call.h"
#include "rpc/link.h"
#include "rpc/method.h"
#include "rpc/registry.h"

struct rpc;
struct net_loop;

extern const struct conf_key rpc_keys[];   /* [rpc] local, timeout_ms, ...; [node] listen, name, unit, advertise */

/* Make the node's rpc: listens for nodes where that is needed, opens the registry. Errors: as net_listen, with why. */
enum bt_err rpc_new(struct net_loop *loop, const struct conf *conf, struct rpc **out, char *why, size_t why_size);

/* Serve a role's methods. Before rpc_start(). methods and self are borrowed until rpc_free. */
void rpc_serve(struct rpc *rpc, enum rpc_role role, const struct rpc_method *methods, void *self);

/* Call its handlers no more: requests are answered UNAVAILABLE, events dropped. Before the role stops. */
void rpc_unserve(struct rpc *rpc, enum rpc_role role);

/* Proxies: the address that clients are told. Before rpc_start(). */
void rpc_set_client_address(struct rpc *rpc, const char *address);

void rpc_start(struct rpc *rpc);           /* join the registry */
void rpc_leave(struct rpc *rpc);           /* leave it; serve on */
void rpc_set_load(struct rpc *rpc, uint32_t load);
uint32_t rpc_open_calls(const struct rpc *rpc);             /* came in and not yet answered */
uint64_t rpc_last_request_ms(const struct rpc *rpc);        /* net_now_ms() when one last came from another node */
void rpc_close(struct rpc *rpc, void (*closed_cb)(void *arg), void *arg); /* closes links; calls out are told BT_ECLOSING; rpc is gone then */

/* An operator asks over the network that this node drains: may be told several times. cb NULL: such calls are refused. */
typedef void rpc_drain_cb(void *arg);
void rpc_on_drain(struct rpc *rpc, rpc_drain_cb *cb, void *arg);

const struct registry_node *rpc_self(const struct rpc *rpc);
const struct registry_node *rpc_nodes(const struct rpc *rpc, size_t *n_out); /* the present view; lent until the next turn */
void rpc_refresh(struct rpc *rpc);                                          /* ask the registry anew: somebody acts on another view */
bool rpc_owns(struct rpc *rpc, uint64_t hi, uint64_t lo);                   /* this node, by its own view of the ring */

/* ---- calling ------------------------------------------------------------------------------------------------------- */

/* On whose behalf and about what: copied from a call that came in, or made from nothing. */
struct rpc_ctx {
    uint64_t caller, target, session, trace;
    uint32_t timeout_ms;                   /* 0: [rpc] timeout_ms */
    uint8_t flags;                         /* RPC_FLAG_RESEND */
    uint64_t since_ms;                     /* net_now_ms() when the call came; 0: it begins now */
};
struct rpc_ctx rpc_ctx_of(const struct rpc_call *call);     /* its timeout: what is left */

/* The address of the node that made a call which a handler got; NULL: not known (any more). One string for all calls of a node; stays until rpc is freed. */
const char *rpc_call_node(const struct rpc_call *call);

struct rpc_pending;                        /* a call under way */
typedef void rpc_reply_cb(const struct rpc_reply *reply, void *arg);

/*
 * Call the method at whoever serves it: RPC_ANY: of the live instances of the role two are drawn at random, and the one with fewer
 * outstanding calls is taken; RPC_OWNER: the ring's owner of the conversation of ctx->caller and ctx->target (rpc_key_of).
 * The payload is copied. What was surely not done is tried again elsewhere (but RPC_STATUS_RESOURCE_EXHAUSTED is passed on), what may be
 * repeated too (then with the resend flag; an owner whose link broke is asked once more first), until the deadline; but that nothing
 * was done is passed on after a few such answers. What must not be done late (rpc_method_ages) is not sent any more once this
 * process has stood still since ctx->since_ms: BT_EDOWN, or BT_EUNSURE. cb exactly once, never inside this call: reply->err BT_EDOWN
 * when nobody serves it in time.
 */
struct rpc_pending *rpc_send(struct rpc *rpc, uint16_t method, const struct rpc_ctx *ctx, const uint8_t *payload, size_t len, rpc_reply_cb *cb, void *arg);

/* The same with a message that is encoded here. The generated stubs call this. */
struct rpc_pending *rpc_send_msg(struct rpc *rpc, uint16_t method, const struct rpc_ctx *ctx, const void *msg, rpc_reply_cb *cb, void *arg);

/*
 * The same at one node, by address: a method of route DIRECT that changes nothing. Not tried elsewhere, nor again: BT_EDOWN when it is
 * passed over, not reached, or refuses; BT_ETIMEOUT.
 */
struct rpc_pending *rpc_send_to(struct rpc *rpc, const char *address, uint16_t method, const struct rpc_ctx *ctx, const void *msg, rpc_reply_cb *cb, void *arg);

/*
 * In cb: the reply's message, or the error that came instead of it (BT_EPROTO: not that message). On BT_OK views point into the
 * reply, and rpc_release() is the caller's. msg_out: zeroed by the caller.
 */
enum bt_err rpc_reply_decode(const struct rpc_reply *reply, const pb_msgdesc_t *fields, void *msg_out);

/* Give up: cb is not called any more, whoever serves it is told. */
void rpc_cancel(struct rpc_pending *pending);

/*
 * Nobody waits for the answer any more, but what it carries beside is wanted: whoever serves it is told as by a cancel, it is not tried
 * again, and cb is still called, soon: with an answer that was on its way already, or an error.
 */
void rpc_abandon(struct rpc_pending *pending);

/* An event to an instance, chosen likewise; to a node by address. Not repeated. BT_EDOWN: nobody; BT_EBUSY: its queue is full. */
enum bt_err rpc_event(struct rpc *rpc, uint16_t method, const struct rpc_ctx *ctx, const void *msg);
enum bt_err rpc_event_to(struct rpc *rpc, const char *address, uint16_t method, const struct rpc_ctx *ctx, const uint8_t *payload, size_t len);

/* The conversation that caller and target are about: a group (id, 0), or two users (larger, smaller). */
void rpc_key_of(uint64_t caller, uint64_t target, uint64_t *hi_out, uint64_t *lo_out);

/*
 * What roles must know of links: a queue to `address` that had refused an event (BT_EBUSY) has room again; the link to it broke, or was
 * replaced, or something that was pushed on it got lost: all alike BROKE.
 * One watcher per arg, a role; cb on the loop, never inside a call of yours. cb NULL: no more.
 */
enum rpc_link_news { RPC_LINK_DRAINED, RPC_LINK_BROKE, RPC_LINK_UP };
typedef void rpc_link_news_cb(const char *address, enum rpc_link_news news, void *arg);
void rpc_watch_links(struct rpc *rpc, rpc_link_news_cb *cb, void *arg);

/* The view of nodes changed (rpc_nodes). One watcher per arg, a role. cb NULL: no more. */
void rpc_watch_nodes(struct rpc *rpc, registry_changed_cb *cb, void *arg);

/* Since the start. Read-only. */
struct rpc_stats {
    uint64_t calls;     /* calls made, without their retries */
    uint64_t retries;   /* tries after the first one */
    uint64_t resends;   /* of these, such as may repeat what was done */
    uint64_t timeouts;  /* calls that got no answer before their deadline */
    uint64_t requests;  /* calls that came in */
    uint64_t expired;   /* of these, such as were too late to begin */
    uint64_t late;      /* and such as may have come before this process stood still */
};
const struct rpc_stats *rpc_stats(const struct rpc *rpc);

#endif
