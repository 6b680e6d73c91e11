/*
 * rpc/link.h: one connection that carries frames: both ends call, reply, send events and cancel.
 *
 * A link runs over a net_conn, or, between roles of one process, over nothing (rpc_link_pair). It knows frames and
 * open calls, and neither methods nor nodes; those come from above through its ops. Loop thread only.
 */
#ifndef BT_RPC_LINK_H
#define BT_RPC_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/conn.h"
#include "net/err.h"
#include "net/timer.h"
#include "rpc/frame.h"
#include "rpc/status.h"
#include "rpc/table.h"

struct rpc_link;
struct net_loop;

/*
 * A call that came in. It outlives its link: when the caller has gone, replying does nothing. Ended by
 * exactly one of rpc_reply*() and rpc_fail*() (call.h), which frees it.
 */
struct rpc_call;

struct rpc_link_ops {
    /* A request came. frame is lent. The call is open until it is replied to. */
    void (*request)(struct rpc_link *l, struct rpc_call *call, const struct rpc_frame *frame, void *arg);
    /* An event came. May be NULL: dropped. */
    void (*event)(struct rpc_link *l, const struct rpc_frame *frame, void *arg);
    /* The output queue went below its low mark after a BT_EBUSY. May be NULL. */
    void (*drained)(struct rpc_link *l, void *arg);
    /* The last call, exactly once, never inside a call of yours: every call made on it has been told before. */
    void (*closed)(struct rpc_link *l, enum bt_err why, void *arg);
    /* A reply came, with a push to others in it, to a call that was given up meanwhile: the push is lost. May be NULL. */
    void (*push_lost)(struct rpc_link *l, void *arg);
};

/*
 * Output has a limit, net.out_high_bytes. Requests and events over it are refused with BT_EBUSY. Replies can't wait: the end
 * that accepted the connection stops reading when its output is half way between the low and the high mark, until it has
 * drained, so that a peer who asks much and reads nothing is asked nothing more; what he is owed beyond the high mark
 * closes the link with BT_EBUSY. (Only one end stops, or two could wait for each other.) Replies over a pair have no limit;
 * one for which there is no memory costs its caller an error, and nobody else.
 */
struct rpc_link_limits {
    uint32_t max_frame_bytes;  /* of a frame that comes in, without its length word; a longer one closes the link */
    uint32_t max_calls;        /* calls that came in and are open; one more is answered RESOURCE_EXHAUSTED */
    uint8_t allowed_flags;     /* RPC_FLAGS_CLIENT or RPC_FLAGS_NODE; another flag closes the link */
    uint32_t max_out_bytes;    /* of a frame that goes out; 0: any. Longer: requests and events are BT_EINVAL, a reply becomes INTERNAL */
    struct net_conn_limits net;
};

/*
 * A call that goes out. The memory is the caller's; he keeps it until done was called or rpc_link_cancel()led it.
 * Fields above the line are set before rpc_link_request().
 */
struct rpc_out;
struct rpc_reply {
    enum bt_err err;           /* BT_OK, or the status as an error; BT_EDOWN/BT_EUNSURE: see rpc_out.was_sent */
    uint8_t status;            /* as it came; rpc_status_of(err) when nothing came */
    uint8_t flags;             /* RPC_FLAG_PUSHED */
    bool came;                 /* false: made here (deadline, link gone) */
    bool is_local;             /* it came over a pair */
    const uint8_t *payload;    /* lent to done; an Error when the status is not OK */
    size_t len;
};
typedef void rpc_out_done_cb(struct rpc_out *out, const struct rpc_reply *reply);
struct rpc_out {
    rpc_out_done_cb *done;     /* exactly once, never inside rpc_link_request(), unless cancelled */
    void *arg;
    /* ---- private ---- */
    struct rpc_link *link;
    struct rpc_entry entry;
    struct rpc_out *next_failed;
    struct net_timer timer;
    uint64_t end;              /* of the request among the link's bytes */
    struct rpc_out *next, **place; /* over a pair: among the open ones */
    struct rpc_slip *slip;     /* over a pair: its request, or its reply, that waits to be shown; NULL: neither */
    struct rpc_call *call;     /* over a pair: as which it is open at the other end; NULL: it is not */
    uint32_t timeout_ms;       /* over a pair: to be watched from the end of the turn on; 0: not, or watched already */
    uint8_t state, err;
    bool is_seen;              /* over a pair: the end of its turn has come */
    bool was_sent;             /* readable in done: the request may have reached the other end, or may do so still */
};

/* Speak frames on an accepted or dialled connection (calls net_conn_start, or is given as ops to net_dial). Takes c. ops, limits borrowed. */
enum bt_err rpc_link_accept(struct net_conn *c, const struct rpc_link_ops *ops, const struct rpc_link_limits *limits, void *arg, struct rpc_link **out);

/*
 * The same for a link on which no call is made from here: it answers, and sends events. It stands in the connection's room
 * (net_listener_reserve), the first RPC_LINK_SERVE_SIZE bytes of it; what follows is the caller's. So it needs no memory of its own.
 */
enum { RPC_LINK_SERVE_SIZE = 72 };
struct rpc_link *rpc_link_serve(struct net_conn *c, const struct rpc_link_ops *ops, const struct rpc_link_limits *limits, void *arg);

enum bt_err rpc_link_dial(struct net_loop *loop, const char *address, uint32_t timeout_ms, const struct rpc_link_ops *ops,
                          const struct rpc_link_limits *limits, void *arg, struct rpc_link **out);

/*
 * Two links joined to each other inside the process: frames written to one arrive at the other after the callback that wrote them,
 * in order, and with the same limits; the bytes are copied once. What is longer than the other end takes does not leave. A request
 * that is given up, or is out of time, before it has arrived does not arrive. For roles of one process, and for tests.
 */
enum bt_err rpc_link_pair(struct net_loop *loop, const struct rpc_link_ops *ops_a, void *arg_a, const struct rpc_link_ops *ops_b, void *arg_b,
                          const struct rpc_link_limits *limits, struct rpc_link **a_out, struct rpc_link **b_out);

/*
 * Send a request: h gives method, flags, timeout_ms (0: none; then no deadline is watched), caller, target, session, trace;
 * length, kind and call are set here. Call ids rise, wrap, skip open ones. Whatever goes wrong is told by out->done:
 * BT_EBUSY (queue full; not sent), BT_ECLOSING/BT_EDOWN (link gone; was_sent says if it had left), BT_ETIMEOUT (and the
 * other end is sent a cancel; over a pair the time counts from the end of the turn).
 */
void rpc_link_request(struct rpc_link *l, const struct rpc_header *h, const uint8_t *payload, size_t len, struct rpc_out *out);

/* Give up: done is not called any more, the other end is told. */
void rpc_link_cancel(struct rpc_out *out);

/* Between rpc_link_request() and done or rpc_link_cancel(). Of a zeroed one: false. */
static inline bool rpc_out_is_open(const struct rpc_out *out) { return out->state != 0; }

/*
 * The same, but done is still called: with an answer that was on its way already, or BT_ETIMEOUT after grace_ms, or soon when the request
 * has not arrived and will not.
 */
void rpc_link_abandon(struct rpc_out *out, uint32_t grace_ms);

/* Send an event. BT_EBUSY (full; nothing was taken), BT_ECLOSING. */
enum bt_err rpc_link_event(struct rpc_link *l, const struct rpc_header *h, const uint8_t *payload, size_t len);

/*
 * The same event to many links, encoded once: see net_cast_begin(), whose limits on lent memory these are. cast stays where
 * it is until the last rpc_link_cast().
 */
struct rpc_cast {
    struct rpc_header h;
    uint8_t head[RPC_HEADER_SIZE];
    struct net_cast bytes;
};
void rpc_cast_begin(struct rpc_cast *cast, struct net_loop *loop, const struct rpc_header *h, const uint8_t *payload, uint32_t len);
enum bt_err rpc_link_cast(struct rpc_link *l, struct rpc_cast *cast); /* errors: rpc_link_event() */

/*
 * Close now / after what is queued has left. Open calls that came in stay valid and reply into nothing. While calls that were made on
 * it are open, or when why is BT_ETIMEOUT or BT_EDOWN, rpc_link_close() resets the connection: the kernel sends nothing of them later.
 */
void rpc_link_close(struct rpc_link *l, enum bt_err why);
void rpc_link_finish(struct rpc_link *l, uint32_t linger_ms);

/* Stop and go on reading requests (back-pressure of the upper side). */
void rpc_link_pause(struct rpc_link *l);
void rpc_link_resume(struct rpc_link *l);

/* Other limits from now on. Borrowed. */
void rpc_link_set_limits(struct rpc_link *l, const struct rpc_link_limits *limits);

void *rpc_link_arg(const struct rpc_link *l);
void rpc_link_set_arg(struct rpc_link *l, const struct rpc_link_ops *ops, void *arg);
struct net_conn *rpc_link_conn(const struct rpc_link *l);   /* NULL for a pair */
struct net_loop *rpc_link_loop(const struct rpc_link *l);
uint32_t rpc_link_open_calls(const struct rpc_link *l);     /* came in, not replied yet */
size_t rpc_link_queued(const struct rpc_link *l);           /* bytes of output */
bool rpc_link_is_closing(const struct rpc_link *l);

#endif
