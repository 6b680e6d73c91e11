/*
 * net/conn.h: connections: socket -> byte layers -> whoever frames the bytes (ops->bytes), and back.
 *
 * Memory: an idle connection holds its record only. Reads go through one 64 KiB buffer per loop; bytes of an
 * unfinished frame are kept in a tail of their own until the rest comes. Output of one turn collects in one
 * buffer and leaves in one write (for casts to many see below); the buffer goes back to the loop's pool when it is out.
 * All functions: loop thread. "lends": valid until the callback returns.
 */
#ifndef BT_NET_CONN_H
#define BT_NET_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/err.h"

struct net_loop;
struct net_conn;
struct net_listener;
struct net_layer;

struct net_conn_ops {
    /*
     * Bytes came up through the layers: all that is unconsumed, oldest first, lent. Returns how many were
     * consumed (whole frames); the rest is kept and shown again, longer, when more comes. May close the
     * connection, and is then not called again. Not called while reading is paused, nor after net_conn_finish().
     */
    size_t (*bytes)(struct net_conn *c, const uint8_t *data, size_t len, void *arg);
    /* A dialled connection stands. Not called on accepted ones. May be NULL. */
    void (*opened)(struct net_conn *c, void *arg);
    /* The output queue, having been over low_bytes, fell to it or below. May be NULL. */
    void (*drained)(struct net_conn *c, void *arg);
    /*
     * The last call for a connection, exactly once, never inside a call of yours: lends c for the last time.
     * why: BT_OK after net_conn_close()/_finish() and at the peer's orderly end, BT_EDOWN when it broke or was not
     * reached or ended within a frame, BT_ETIMEOUT (dial), BT_EPROTO (a layer's or the framer's objection), BT_ENOMEM,
     * or what net_conn_fail() was given, as BT_EBUSY (peer reads too slowly).
     */
    void (*closed)(struct net_conn *c, enum bt_err why, void *arg);
};

/* Limits of one connection's output queue. */
struct net_conn_limits {
    uint32_t out_high_bytes; /* more than this queued: net_conn_write() answers BT_EBUSY and takes nothing */
    uint32_t out_low_bytes;  /* see ops->drained */
    uint32_t in_max_bytes;   /* the longest unconsumed input that is kept while not paused; more closes with BT_EPROTO */
};

/*
 * Listen on "127.0.0.1:7400", "[::1]:7400", "0.0.0.0:0" (0: a free port; ask net_listener_address()). Numeric addresses only.
 * accept_cb gets each new connection, not yet reading: it calls net_conn_start() or net_conn_close(), there and then.
 * Errors: BT_EINVAL (address), BT_EEXIST (in use), BT_EDENIED, BT_EINTERNAL; *errno-like detail is logged, not kept.
 */
typedef void net_accept_cb(struct net_conn *c, void *arg);
enum bt_err net_listen(struct net_loop *loop, const char *address, net_accept_cb *cb, void *arg, struct net_listener **out);
/*
 * The same on a port that other processes of this user listen on likewise, each by this function: the kernel gives a new connection to
 * one of them. BT_EEXIST: somebody listens there who does not share the port. With port 0 a free one, which nobody else has.
 */
enum bt_err net_listen_shared(struct net_loop *loop, const char *address, net_accept_cb *cb, void *arg, struct net_listener **out);
const char *net_listener_address(const struct net_listener *l); /* numeric, with the true port; lent as long as l lives */
/*
 * Connections that are accepted from now on come with `size` bytes, zeroed, for whoever takes them over: net_conn_room(). They are part
 * of the connection's own memory, so that what belongs together is one piece; they go with it, after ops->closed. A multiple of 8.
 */
void net_listener_reserve(struct net_listener *l, size_t size);
void *net_conn_room(struct net_conn *c);

/* At once no more accepts; frees itself; connections stay. Those that nobody has accepted yet are reset by the kernel. */
void net_listener_close(struct net_listener *l);
/*
 * The same after accepting those that wait, which the kernel would reset: accept_cb runs for each before this returns, and may close the
 * listener. Not inside accept_cb.
 */
void net_listener_finish(struct net_listener *l);

/*
 * Dial a numeric address. *out may be written to at once: what is queued leaves after the connect. Failing to connect
 * is told by ops->closed; only BT_EINVAL (address) and BT_ENOMEM are returned, and then there is no connection.
 */
enum bt_err net_dial(struct net_loop *loop, const char *address, uint32_t timeout_ms, const struct net_conn_ops *ops,
                     const struct net_conn_limits *limits, void *arg, struct net_conn **out);

/* Take over an accepted connection: from now on ops are called. ops and limits are borrowed as long as c lives. */
void net_conn_start(struct net_conn *c, const struct net_conn_ops *ops, const struct net_conn_limits *limits, void *arg);

/*
 * Queue bytes; they are copied, and leave with everything else of this turn in one write.
 * Errors: BT_EBUSY (queue over out_high_bytes; nothing was taken), BT_ECLOSING, BT_ENOMEM (nothing was taken).
 * net_conn_write2() is the same for head + body without joining them first.
 */
enum bt_err net_conn_write(struct net_conn *c, const void *data, size_t len);
enum bt_err net_conn_write2(struct net_conn *c, const void *head, size_t head_len, const void *body, size_t body_len);

/*
 * Room for len bytes of output, in their place among what is written; the caller fills it before he returns. NULL: there is
 * none, but net_conn_write() may find some, or tell why not.
 */
uint8_t *net_conn_reserve(struct net_conn *c, size_t len);

/* The same, past the limit: for the one last frame that says why a connection is closed. */
enum bt_err net_conn_write_last(struct net_conn *c, const void *data, size_t len);

/*
 * The same bytes to many connections. head + body are kept once, until all have written them, as long as there is room for it, as soon
 * as there is a connection that has nothing else to write: it then only notes which part of what was kept is for it, and a run of casts
 * that all get is written from there, in this turn or, if it is for many, one of the next. Where that is not so they are copied, as by
 * net_conn_write2(), whose errors these are. head and body are lent until the last net_conn_cast(), on connections of the same loop,
 * within one call from the loop.
 */
struct net_cast {
    struct net_loop *loop;
    const void *head, *body;
    uint32_t head_len, body_len;
    uint32_t at;             /* among what the loop keeps, if is_kept */
    bool is_kept, was_tried;
};
void net_cast_begin(struct net_cast *cast, struct net_loop *loop, const void *head, uint32_t head_len, const void *body, uint32_t body_len);
enum bt_err net_conn_cast(struct net_conn *c, struct net_cast *cast);

/* Other limits from now on; borrowed as long as c lives. */
void net_conn_set_limits(struct net_conn *c, const struct net_conn_limits *limits);

size_t net_conn_queued(const struct net_conn *c); /* bytes taken and not yet handed to the kernel */

/* Stop or go on reading (back-pressure). What is unconsumed is shown again on resume, on the next turn. */
void net_conn_pause(struct net_conn *c);
void net_conn_resume(struct net_conn *c);
bool net_conn_has_input(const struct net_conn *c); /* bytes from the peer wait: they are kept here, or not yet read. A system call */

/* When a peer ends its side in order, what is queued still leaves, within two seconds, before ops->closed. */
void net_conn_close(struct net_conn *c);                        /* now: what is queued is dropped; repeated calls do nothing */
void net_conn_fail(struct net_conn *c, enum bt_err why);        /* the same, giving the reason that ops->closed is told */
void net_conn_abort(struct net_conn *c, enum bt_err why);       /* the same with a reset: what the kernel still holds is not sent either */
void net_conn_finish(struct net_conn *c, uint32_t linger_ms);   /* write what is queued, close the layers in order, then close; linger_ms at most */

bool net_conn_is_closing(const struct net_conn *c);
uint32_t net_conn_id(const struct net_conn *c);                 /* for log lines; rises per loop */
uint64_t net_conn_last_read_ms(const struct net_conn *c);       /* net_now_ms() of the last bytes from the peer */
bool net_conn_is_loopback(const struct net_conn *c);
void net_conn_peer_name(const struct net_conn *c, char *buf, size_t size); /* "10.0.0.4:5511" */
struct net_loop *net_conn_loop(const struct net_conn *c);
void *net_conn_arg(const struct net_conn *c);

/*
 * Byte layers. A layer turns bytes into bytes both ways (PROXY protocol, TLS, WebSocket; xor in tests). Layers are
 * pushed between net_listen/net_dial and the first bytes; the last pushed is nearest to the framer. They are opened once the
 * connection stands, the lowest first, and finished in the other order. What a turn wrote comes down to them in few
 * large pieces, at its end. A connection without layers pays nothing for them. A layer embeds struct net_layer as its first member.
 */
struct net_layer_ops {
    const char *name;
    /* Start (a client side that speaks first does so here). May be NULL. */
    enum bt_err (*open)(struct net_layer *l);
    /* Bytes from below, lent; passes what they mean up with net_layer_up(). Not BT_OK closes the connection with it. */
    enum bt_err (*in)(struct net_layer *l, const uint8_t *data, size_t len);
    /* Bytes from above, lent; passes what carries them down with net_layer_down(); keeps what can't leave yet. */
    enum bt_err (*out)(struct net_layer *l, const uint8_t *data, size_t len);
    /* Orderly end of the upper side: write the layer's farewell with net_layer_down(). May be NULL. */
    void (*finish)(struct net_layer *l);
    /* The lower side ended. BT_OK: in order; BT_EPROTO: truncated. May be NULL (always in order). */
    enum bt_err (*ended)(struct net_layer *l);
    /* Free the layer: the last call. */
    void (*free)(struct net_layer *l);
};
struct net_layer {
    const struct net_layer_ops *ops;
    struct net_conn *conn;
    struct net_layer *above, *below; /* NULL: the framer, the socket */
    bool is_server;
    bool is_done;                    /* set inside in(): it passes all as it is from now on, and is freed after this read */
};
/*
 * Takes l (freed through ops->free when the connection goes) and sets all but l->ops. Call it from the accept callback,
 * or right after net_dial(), before anything is written. Without memory the connection closes with BT_ENOMEM.
 */
void net_conn_push_layer(struct net_conn *c, struct net_layer *l);
enum bt_err net_layer_up(struct net_layer *l, const uint8_t *data, size_t len);   /* data is lent to the layer above */
enum bt_err net_layer_down(struct net_layer *l, const uint8_t *data, size_t len); /* data is copied or encoded */

#endif
