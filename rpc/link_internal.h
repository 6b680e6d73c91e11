/*
 * rpc/link_internal.h: what the files of a link share: link.c (frames in, its end), link_out.c (calls made on it),
 * call.c (calls that came), link_pair.c (two links joined without a connection).
 */
#ifndef BT_RPC_LINK_INTERNAL_H
#define BT_RPC_LINK_INTERNAL_H

#include "net/loop.h"
#include "rpc/bytes.h"
#include "rpc/call.h"
#include "rpc/link.h"
#include "rpc/table.h"

#define rpc_container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

struct rpc_pair_end;

enum { RPC_PAUSED_ABOVE = 1, RPC_PAUSED_OUTPUT = 2 };

/* What a link has behind it in the same piece of memory, unless it only serves. */
struct rpc_link_out {
    struct rpc_table outs;                /* struct rpc_out: made here, not answered yet (over a pair: link_pair.c) */
    struct rpc_out *failed;               /* calls that failed at once, newest first: `task` tells them */
    struct rpc_out *telling;              /* those of them that are being told, oldest first */
    struct net_task task;
    uint64_t written;                     /* bytes that the connection took; a pair counts none */
    uint64_t sent;                        /* once closing: how many of them left */
    uint32_t next_call;
};

struct rpc_link {
    struct net_loop *loop;
    struct net_conn *conn;                /* NULL: an end of a pair */
    struct rpc_pair_end *pair;            /* NULL: a connection */
    const struct rpc_link_ops *ops;
    const struct rpc_link_limits *limits;
    void *arg;
    struct rpc_table calls;               /* struct rpc_call: came in, not replied yet (over a pair: link_pair.c) */
    uint32_t paused_ms;                   /* net_now_ms() when reading stopped; 0: input is fresh */
    uint8_t paused;                       /* RPC_PAUSED_*: reading stops while any is set */
    bool calls_out : 1;                   /* false: it only serves, and stands in its connection's room */
    bool is_server : 1;                   /* the accepting end, which stops reading while its output is long */
    bool was_opened : 1;
    bool was_refused : 1;                 /* a BT_EBUSY was given: ops->drained is owed */
    bool is_closing : 1;
    bool is_closed_here : 1;              /* by rpc_link_close(), not by the other end or a fault */
};
_Static_assert(sizeof(struct rpc_link) <= RPC_LINK_SERVE_SIZE && RPC_LINK_SERVE_SIZE % 8 == 0, "a client's connection has one: it must stay small");

struct rpc_link_whole {
    struct rpc_link link;
    struct rpc_link_out out;
};

static inline struct rpc_link_out *rpc_link_out_of(struct rpc_link *l)
{
    return &rpc_container_of(l, struct rpc_link_whole, link)->out;
}

struct rpc_call {
    struct rpc_entry entry;               /* in link->calls while open and its caller is there; first: they convert by a cast */
    struct rpc_link *link;                /* NULL: gone, or cancelled */
    struct net_loop *loop;
    struct rpc_header h;
    uint64_t came_ms;                     /* net_now_ms(); when reading was stopped before: as if it had come then */
    uint64_t due_ms;                      /* 0: no deadline */
    void (*on_dead)(void *arg);
    void *on_dead_arg;
    struct rpc_call *next, **place;       /* over a pair: among the open ones */
    struct rpc_out *out;                  /* over a pair: who waits for it; NULL: nobody any more */
    struct rpc_slip *cancel;              /* over a pair: that it was given up, waiting to be shown; NULL: none */
    bool is_event;                        /* lent to an event's handler: nothing is replied, nothing freed */
};

enum rpc_out_state { RPC_OUT_IDLE, RPC_OUT_OPEN, RPC_OUT_FAILED };

/* ---- link.c ---- */

struct rpc_link *rpc_link_new(struct net_loop *loop, const struct rpc_link_ops *ops, const struct rpc_link_limits *limits, void *arg);

/* Whether frames are taken now. */
static inline bool rpc_link_reads(const struct rpc_link *l)
{
    return !l->paused && !l->is_closing;
}

/* For how long what is taken next has waited while reading was stopped; asked once before a run of frames. */
uint32_t rpc_link_age_ms(struct rpc_link *l);

/* How much may follow a header: over a pair also no more than the other end takes, as its limits are the same. */
static inline size_t rpc_link_payload_max(const struct rpc_link *l)
{
    const struct rpc_link_limits *limits = l->limits;
    uint32_t max = limits->max_out_bytes ? limits->max_out_bytes : UINT32_MAX - RPC_LENGTH_SIZE;

    if (l->pair && limits->max_frame_bytes < max)
        max = limits->max_frame_bytes;
    return max - (RPC_HEADER_SIZE - RPC_LENGTH_SIZE);
}

/* The transport's output fell below its low mark. */
void rpc_link_drained(struct rpc_link *l);

/* The transport has ended: tell all who wait, then ops->closed, then free. */
void rpc_link_gone(struct rpc_link *l, enum bt_err why);

/* Close because of a fault here or there. */
void rpc_link_fail(struct rpc_link *l, enum bt_err why);

/*
 * Over a connection: header (length and kind are set here) and n > 0 pieces.
 * Errors: BT_EBUSY, BT_ECLOSING, BT_ENOMEM, BT_EINVAL (too long).
 */
enum bt_err rpc_link_write(struct rpc_link *l, struct rpc_header *h, enum rpc_kind kind, const struct rpc_bytes *parts,
                           size_t n);

/* The length of the n > 0 pieces together; BT_EINVAL: more than may leave. */
enum bt_err rpc_link_measure(const struct rpc_link *l, const struct rpc_bytes *parts, size_t n, size_t *len_out);
uint64_t rpc_link_sent(struct rpc_link *l);
void rpc_link_set_paused(struct rpc_link *l, uint8_t bit, bool on);

/* ---- link_out.c ---- */

void rpc_link_take_reply(struct rpc_link *l, const struct rpc_frame *frame); /* over a connection */

/* A reply to out, which is open no more; NULL: to a call that was given up meanwhile, or never made. */
void rpc_link_answered(struct rpc_link *l, struct rpc_out *out, const struct rpc_frame *frame);

/*
 * Over a pair: there was no memory for the reply to out, which is open. It is told soon of the status, or of BT_EUNSURE where
 * that is OK, which takes no memory.
 */
void rpc_link_lost_reply(struct rpc_out *out, uint8_t status);
void rpc_link_fail_outs(struct rpc_link *l);
void rpc_link_watch(struct rpc_out *out, uint32_t timeout_ms); /* its deadline, from now on */

/* ---- call.c ---- */

/* Over a connection. */
void rpc_link_take_request(struct rpc_link *l, const struct rpc_frame *frame, uint32_t age_ms);
void rpc_link_take_cancel(struct rpc_link *l, const struct rpc_frame *frame);

/* Over a pair: a request of out's. */
void rpc_link_take_local(struct rpc_link *l, struct rpc_out *out, const struct rpc_frame *frame, uint32_t age_ms);

/* As rpc_reply_parts(), with any flags. BT_ENOMEM (over a pair): nothing was done. */
enum bt_err rpc_call_answer(struct rpc_call *call, uint8_t status, uint8_t flags, const struct rpc_bytes *parts,
                            size_t n);

void rpc_link_kill_call(struct rpc_call *call); /* tell its handler that nobody waits; it is open no more */
void rpc_link_drop_calls(struct rpc_link *l);
void rpc_calls_ref(void);    /* a link of this thread needs calls; the last _unref frees the spare ones */
void rpc_calls_unref(void);

/* ---- link_pair.c ---- */

/* As rpc_link_write(), of the link that writes. */
enum bt_err rpc_pair_event(struct rpc_link *l, const struct rpc_header *h, struct rpc_bytes payload);
enum bt_err rpc_pair_request(struct rpc_link *l, const struct rpc_header *h, struct rpc_bytes payload,
                             struct rpc_out *out);
enum bt_err rpc_pair_reply(struct rpc_link *l, struct rpc_out *out, const struct rpc_header *h,
                           const struct rpc_bytes *parts, size_t n);

/* Tell the other end that nobody waits. out may still get the reply that is on its way. */
void rpc_pair_cancel(struct rpc_out *out);

/* Calls made and calls that came, among their link's open ones; the other end knows nothing of them afterwards. */
void rpc_pair_leave_out(struct rpc_out *out);
void rpc_pair_enter_call(struct rpc_link *l, struct rpc_call *call, struct rpc_out *out);
void rpc_pair_leave_call(struct rpc_link *l, struct rpc_call *call);
struct rpc_out *rpc_pair_any_out(const struct rpc_link *l);    /* NULL: none is open */
struct rpc_call *rpc_pair_any_call(const struct rpc_link *l);
uint32_t rpc_pair_open_calls(const struct rpc_link *l);
bool rpc_pair_was_shown(const struct rpc_out *out);           /* its request */

size_t rpc_pair_queued(const struct rpc_link *l);
void rpc_pair_resumed(struct rpc_link *l);
void rpc_pair_close(struct rpc_link *l, enum bt_err why);
void rpc_pair_finish(struct rpc_link *l);
void rpc_pair_free(struct rpc_link *l);

#endif
