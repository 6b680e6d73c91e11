/*
 * rpc/rpc_internal.h: what the files of a node's rpc share. rpc.c: making and closing it. rpc_call.c: calls made, and their
 * retries. rpc_pending.c: their records. rpc_event.c: events. rpc_choose.c: the view of nodes, and whom to ask. rpc_peer.c: a connection to each other node, and whether it
 * answers. rpc_node.c: links between nodes. rpc_hello.c: how these begin. rpc_dispatch.c: calls that came, to their handlers. rpc_admin.c: what operators ask.
 */
#ifndef BT_RPC_INTERNAL_H
#define BT_RPC_INTERNAL_H

#include "net/conn.h"
#include "net/loop.h"
#include "net/timer.h"
#include "rpc/link.h"
#include "rpc/proof.h"
#include "rpc/ring.h"
#include "rpc/rpc.h"

enum {
    RPC_WATCHERS_MAX = 8,     /* one per role, and some to spare */
    RPC_RESERVE = 64,         /* calls of one turn that can be told of when there is no memory */
    RPC_DIAL_MS = 1000,
    RPC_HELLO_MS = 2000,      /* until a connection has said or answered NodeHello */
    RPC_TICK_MS = 100,
    RPC_PING_EVERY_MS = 500,
    RPC_REDIAL_MIN_MS = 100,
    RPC_REDIAL_MAX_MS = 2000,
    RPC_VERSION = 1,
    RPC_HELLO_BYTES = 1024,   /* the longest frame before a connection has proved itself */
    RPC_STRANGERS_MAX = 256,  /* connections that have not said hello yet */
    RPC_REFUSED_KEPT = 16,    /* addresses of which it is known that their refusal was logged */
    RPC_MESSAGE_ON_STACK = 2048,
};

struct node_link;

/* A node that this one calls or is called by, itself included. Named by its address. */
struct node_peer {
    struct node_peer *next;
    struct rpc *rpc;
    char address[64];
    uint64_t epoch;                     /* as its hello said; 0: none yet */
    struct node_link *link;             /* to be used for calls: its hello is done; NULL: none stands */
    struct node_link *dialling;         /* one that is on its way; NULL: none */
    struct rpc_pending *first, *last;   /* calls and events that wait for link */
    size_t waiting_bytes;
    uint32_t outstanding;               /* calls that wait here or for an answer */
    uint32_t redial_ms;                 /* the next pause before dialling again */
    struct net_timer redial_timer;
    bool is_self;
    bool is_in_view;
    bool is_passed_over;                /* silent, or not reached: not chosen until it answers */
    bool was_refused;                   /* an event, for want of room: RPC_LINK_DRAINED is owed */
    /* ---- pings, while link stands ---- */
    struct rpc_out ping;
    bool is_ping_open;
    uint64_t ping_sent_ms;
};

/* One link between nodes: accepted or dialled, or an end of the pair within the process. */
struct node_link {
    struct node_link *next, *prev;
    struct rpc *rpc;
    struct rpc_link *link;
    struct node_peer *peer;             /* at the other end; NULL: accepted, and has not said hello yet */
    bool is_dialled;
    bool is_ready;                      /* the hello is done */
    bool was_refused;                   /* dialled: the other end says that a connection stands already */
    bool is_stranger;                   /* accepted, not ready: counted in rpc->strangers */
    bool is_challenged;                 /* accepted: it has said hello, and must prove itself now */
    bool is_guest;                      /* accepted: an operator's tool, which has no peer and is only served */
    struct rpc_handshake shake;
    struct rpc_out hello;
    struct net_timer hello_timer;       /* accepted: until it is ready */
};

enum pending_state {
    PENDING_IDLE,
    PENDING_WAITING,                    /* on its peer's list, for the link */
    PENDING_SENT,                       /* open on the peer's link */
    PENDING_PAUSING,                    /* timer: before the next try */
    PENDING_ENDING,                     /* task: its callback is to be called with err */
};

struct rpc_pending {
    struct rpc_pending *next, *prev;    /* all of the rpc; spare ones: next only */
    uint8_t *payload;                   /* a spare one keeps its buffer */
    size_t cap;
    struct rpc_out out;                 /* idle in a spare one, as timer and task are */
    struct net_timer timer;
    struct net_task task;
    /* ---- what follows is cleared for reuse ---- */
    struct rpc *rpc;
    const struct rpc_method_info *info;
    struct rpc_header h;                /* what does not change from try to try */
    size_t len;                         /* of payload */
    uint64_t deadline_ms;
    uint64_t since_ms;                  /* when it was asked for, of a method that ages; else 0 */
    rpc_reply_cb *cb;
    void *arg;
    struct rpc_pending *next_waiting, *prev_waiting;
    struct node_peer *peer;             /* whose outstanding it is among; NULL while pausing or ending */
    struct node_peer *to;               /* named by the caller: tried once; NULL: chosen here */
    struct node_peer *tried;            /* the last one that was asked: not the first choice for the next try; only compared */
    uint32_t tries;
    uint8_t refusals;                   /* answers that said that nothing was done */
    uint8_t state;
    uint8_t err;                        /* PENDING_ENDING: what is told */
    bool is_event;                      /* nobody is told */
    bool is_reserve;                    /* of rpc->reserve: no payload */
    bool is_abandoned;                  /* not tried again */
    bool may_be_done;                   /* an earlier try may have been done */
    bool was_cut;                       /* the link that it was sent on broke, and its owner was asked again */
};

/* A node that may be chosen for a role. */
struct candidate {
    struct node_peer *peer;
    uint32_t weight;
    uint64_t since_ms;
    bool is_own_unit;
};

struct candidates {
    struct candidate *list;
    size_t count;
};

/* Who was refused, and when that was logged. */
struct rpc_refused {
    char address[64];
    uint64_t said_ms;
};

struct link_watcher {
    rpc_link_news_cb *cb;
    void *arg;
};

struct node_watcher {
    registry_changed_cb *cb;
    void *arg;
};

enum { RPC_RETRY_TENTHS = 10, RPC_RETRY_TENTHS_MAX = 2000 }; /* a call earns one tenth, a try costs ten; as many are saved up */

struct rpc {
    struct net_loop *loop;
    struct registry *registry;
    struct net_listener *listener;      /* NULL: nobody dials this node */
    struct registry_node self;
    bool is_direct;                     /* [rpc] local = direct */
    bool is_started;
    uint32_t timeout_ms, silent_ms;
    struct rpc_link_limits limits;
    struct rpc_link_limits hello_limits;  /* until a connection is ready */
    struct rpc_secret *secret;            /* NULL: none; then the listener is on a loopback address */
    uint32_t strangers;
    struct rpc_refused refused[RPC_REFUSED_KEPT];

    struct registry_node *nodes;        /* the view */
    size_t node_count;
    struct candidates roles[RPC_ROLE_COUNT];
    struct ring *ring;                  /* of chat nodes; a member's arg is its node_peer */

    struct node_peer *peers;
    struct node_peer *self_peer;
    struct node_link *links;
    struct net_timer tick_timer;
    uint64_t ticked_ms;

    const struct rpc_method **handlers; /* by the row of rpc_method_infos; NULL: not served here */
    void **selves;                      /* beside it */
    uint32_t stopped_roles;             /* bit 1 << enum rpc_role: their handlers are called no more */

    struct rpc_pending *pendings;
    struct rpc_pending *spare;
    size_t spare_count;
    struct rpc_pending reserve[RPC_RESERVE];
    uint64_t random;
    uint32_t retry_tenths;              /* what is left for asking again who did nothing, in tenths of a try */
    struct rpc_stats stats;
    uint64_t last_request_ms;
    rpc_drain_cb *drain_cb;             /* NULL: nobody drains on request */
    void *drain_arg;

    struct link_watcher link_watchers[RPC_WATCHERS_MAX];
    struct node_watcher node_watchers[RPC_WATCHERS_MAX];
    size_t link_watcher_count, node_watcher_count;

    bool is_closing, is_registry_open;
    struct net_task close_task;
    void (*closed_cb)(void *arg);
    void *closed_arg;
};

/* ---- rpc.c ---- */

uint32_t rpc_random(struct rpc *rpc, uint32_t below);    /* not for secrets */
void rpc_closing_step(struct rpc *rpc);                  /* something ended: is all of it gone? */

/* ---- rpc_pending.c ---- */

struct rpc_pending *rpc_pending_new(struct rpc *rpc);           /* NULL: no memory */
struct rpc_pending *rpc_pending_from_reserve(struct rpc *rpc);  /* one that can only be told of; NULL: all are used */
void rpc_pending_fill(struct rpc_pending *p, struct rpc *rpc, const struct rpc_method_info *info, const struct rpc_ctx *ctx);
enum bt_err rpc_pending_copy(struct rpc_pending *p, const uint8_t *payload, size_t len);
void rpc_pending_forget(struct rpc_pending *p);                 /* its payload: it is not sent (any more) */
uint32_t rpc_pending_left_ms(const struct rpc_pending *p);
bool rpc_pending_is_late(const struct rpc_pending *p);          /* this process stood still since it was asked for: it is not sent any more */
void rpc_pending_leave(struct rpc_pending *p);           /* it is no longer among its peer's outstanding */
void rpc_pending_free(struct rpc_pending *p);
void rpc_pending_free_spare(struct rpc *rpc);
void rpc_waiting_add(struct node_peer *peer, struct rpc_pending *p);
void rpc_waiting_remove(struct node_peer *peer, struct rpc_pending *p);
bool rpc_waiting_is_full(const struct node_peer *peer);

/* ---- rpc_call.c ---- */

bool rpc_pending_flush(struct node_peer *peer);          /* its link stands: send what waits; true: an event was lost */
void rpc_pending_fail_waiting(struct node_peer *peer);   /* it was not reached: calls go elsewhere, events are lost */
void rpc_pending_close_all(struct rpc *rpc);

/* ---- rpc_event.c ---- */

/* A message as bytes: in its own room, or, when it is long, on the heap (for bt_free()). */
struct rpc_encoded {
    uint8_t room[RPC_MESSAGE_ON_STACK];
    uint8_t *heap; /* NULL: in room */
    size_t len;
};
enum bt_err rpc_encode_msg(struct rpc_encoded *e, const pb_msgdesc_t *fields, const void *msg);
const uint8_t *rpc_encoded_bytes(const struct rpc_encoded *e);

/* ---- rpc_choose.c ---- */

/* Whom to ask, for the try `tries` of this method. NULL: nobody is there now. */
struct node_peer *rpc_choose(struct rpc *rpc, const struct rpc_method_info *info, uint64_t caller, uint64_t target, uint32_t tries,
                             const struct node_peer *tried);
registry_changed_cb rpc_view_changed;
void rpc_view_deinit(struct rpc *rpc);

/* ---- rpc_peer.c ---- */

struct node_peer *rpc_peer_find(struct rpc *rpc, const char *address);
struct node_peer *rpc_peer_get(struct rpc *rpc, const char *address);   /* made when it is new; NULL: no memory, or too long */
struct rpc_link *rpc_peer_link(const struct node_peer *peer);           /* where calls to it go; NULL: none stands */
void rpc_peer_want(struct node_peer *peer);                              /* dial it, unless a link stands or is on its way */
void rpc_peer_up(struct node_peer *peer, struct node_link *nl);
void rpc_peer_link_gone(struct node_peer *peer, struct node_link *nl);   /* nl may be any of its links, or none of them any more */
void rpc_peer_drained(struct node_peer *peer);
void rpc_peer_news(struct node_peer *peer, enum rpc_link_news news);
void rpc_peer_stop_all(struct rpc *rpc);
void rpc_peer_free_all(struct rpc *rpc);

/* ---- rpc_node.c ---- */

enum bt_err rpc_node_listen(struct rpc *rpc, const char *address, char *why, size_t why_size);
enum bt_err rpc_node_pair(struct rpc *rpc);
enum bt_err rpc_node_dial(struct node_peer *peer);                       /* sets peer->dialling */
void rpc_node_close(struct node_link *nl, enum bt_err why);
void rpc_node_serve(struct rpc *rpc);                                    /* NodeHello, NodeProve, NodePing */
void rpc_node_no_stranger(struct node_link *nl);

/* ---- rpc_hello.c ---- */

void rpc_hello_say(struct node_link *nl);                                /* on one that was just dialled */
void rpc_hello_refused(struct node_link *nl, const char *detail);         /* log it, once a minute and address */

/* ---- rpc_dispatch.c ---- */

enum bt_err rpc_dispatch_init(struct rpc *rpc);
void rpc_dispatch_deinit(struct rpc *rpc);
void rpc_dispatch_request(struct rpc *rpc, struct rpc_call *call, const struct rpc_frame *frame);
void rpc_dispatch_event(struct rpc *rpc, struct rpc_link *l, const struct rpc_frame *frame);

#endif
