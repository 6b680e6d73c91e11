/*
 * net/net_internal.h: what the files of net/ share among themselves; the only header that knows libuv.
 *
 * Nothing outside net/ and its tests includes it.
 */
#ifndef BT_NET_INTERNAL_H
#define BT_NET_INTERNAL_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

#include "net/conn.h"
#include "net/err.h"
#include "net/loop.h"
#include "net/timer.h"

#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

enum {
    NET_READ_SIZE = 64 * 1024,
    NET_READ_HEADROOM = 4 * 1024, /* before the read buffer: an unfinished frame up to this goes in front of its rest */
    NET_READS_IN_ROW = 2,         /* of one connection, then the others have their turn */
    NET_LISTEN_BACKLOG = 4096,
    NET_CHUNK_SMALL = 4 * 1024,   /* sizes of output buffers, their header included */
    NET_CHUNK_LARGE = 64 * 1024,
    NET_CAST_ROOM = 256 * 1024,   /* what is cast until nobody has a part to write is kept up to this */
    NET_WHEEL_BITS = 6,
    NET_WHEEL_SLOTS = 1 << NET_WHEEL_BITS,
    NET_WHEEL_LEVELS = 7,
};

/* A member of a circular list whose head is a link too. A link on no list has next == NULL. */
struct net_link {
    struct net_link *next, *prev;
};

/* Timers by their due tick: level n holds those whose highest 6-bit digit that differs from `tick` is the n-th. */
struct net_wheel {
    uint64_t tick;                                             /* everything due up to here has fired */
    uint64_t armed_tick;                                       /* what the libuv timer waits for; UINT64_MAX: nothing */
    size_t count;                                              /* timers running */
    uint64_t used[NET_WHEEL_LEVELS];                           /* bit n: slot n is not empty */
    struct net_timer slots[NET_WHEEL_LEVELS][NET_WHEEL_SLOTS]; /* list heads */
    struct net_timer expired;                                  /* list head: taken out of a slot, about to be looked at */
};

/* A piece of output. Behind the data stands a uv_write_t, so that handing output to libuv needs no memory. */
struct net_chunk {
    struct net_chunk *next;
    struct net_conn *conn;       /* set on the first of those that libuv holds */
    uint32_t cap, start, len;    /* data[start], len bytes of it, waits; cap: a multiple of 8 */
    uint32_t unused;
    uint8_t data[];
};
_Static_assert(sizeof(struct net_chunk) % 8 == 0, "its data is aligned as its write request is");
static inline uv_write_t *net_chunk_req(struct net_chunk *chunk)
{
    return (uv_write_t *)(void *)(chunk->data + chunk->cap);
}
struct net_chain {
    struct net_chunk *first, *last; /* NULL, NULL: empty */
};

struct net_loop {
    uv_loop_t uv;
    uv_prepare_t prepare;        /* tasks and writes, just before polling */
    uv_idle_t idle;              /* active while there is work that must not wait for polling */
    uv_timer_t wheel_timer;
    uv_timer_t turn_timer;       /* bounds the wait of net_loop_turn() */
    uv_timer_t pulse;            /* runs once the loop is watched */
    uint64_t alive_ms;           /* by the clock that runs while the machine sleeps: when the loop last was seen to run; 0: not watched */
    uint64_t stood_ms;           /* net_loop_stood_ms() */
    struct net_wheel wheel;
    struct net_task early;       /* list head: deferred, to the end of a read */
    struct net_task tasks;       /* list head: deferred, to the end of the turn */
    struct net_task batch;       /* list head: being run */
    struct net_link to_show;     /* connections whose kept input is to be shown again */
    struct net_link to_flush;    /* connections that have something to write, finish or report */
    struct net_link to_spread;   /* connections that have nothing but their part of casts to write: some of them each turn */
    struct net_link flushing;    /* those being looked at */
    struct net_chunk *small_pool, *large_pool;
    uint32_t small_pooled, large_pooled;
    uint32_t next_conn_id;
    uint8_t *casts;              /* NET_CAST_ROOM bytes; NULL: nothing was cast yet */
    uint32_t casts_len;          /* kept since nobody had a part of it */
    uint32_t cast_users;         /* connections that have a part of it to write */
    uint32_t works_open;
    uint64_t writes;             /* system calls that wrote output */
    const uv_handle_t *reader;   /* who got the read buffer last in this turn */
    unsigned reads_in_row;       /* how often, by itself */
    uint8_t read_room[NET_READ_HEADROOM + NET_READ_SIZE];
};

/* Bytes that are kept until the framer consumes them. */
struct net_tail {
    uint32_t cap, start, len;
    uint8_t data[];
};

/* What a connection needs only while it is dialling or finishing. */
struct net_conn_wait {
    struct net_timer timer;
    uv_connect_t connect;
    uv_shutdown_t shutdown;
};

/* What a connection with layers needs more. */
struct net_stack {
    struct net_layer *bottom, *top;
    struct net_chain plain; /* output that has yet to go down through the layers */
};

/* What each push touches stands together at the end, next to what the owner keeps in the connection's room. */
struct net_conn {
    uv_tcp_t tcp; /* first: handle and connection convert by a cast; its `data` is the owner's arg */
    const struct net_conn_ops *ops;       /* NULL: accepted and not started */
    struct net_tail *tail;       /* NULL: nothing is kept */
    struct net_conn_wait *wait;  /* NULL: neither dialling nor finishing */
    uint32_t last_read_ms;       /* the low half of net_now_ms() */
    uint32_t id;
    uint8_t peer_ip[16];         /* IPv4 as a mapped address */
    uint16_t peer_port;
    uint8_t why;                 /* enum bt_err, for ops->closed */
    bool is_server : 1;
    bool is_dialling : 1;
    bool is_paused : 1;
    bool is_reading : 1;         /* libuv reads */
    bool must_show : 1;          /* kept input waits for to_show, ahead of any new input */
    bool is_over_low : 1;        /* ops->drained is owed */
    bool is_writing : 1;         /* libuv holds output */
    bool is_casting : 1;
    bool is_spread : 1;          /* on to_spread */
    bool is_finishing : 1;
    bool is_farewell_sent : 1;   /* the layers' finish was called */
    bool is_shutting : 1;        /* uv_shutdown() was called: all output has reached the kernel */
    bool is_shut : 1;
    bool is_eof : 1;             /* the peer's end was seen */
    bool is_closing : 1;
    uint32_t queued;             /* bytes in stack->plain, out and the part of casts; what libuv holds is not in it */
    uint32_t cast_at, cast_len;  /* is_casting: this part of loop->casts is for the wire, and `out` is empty */
    struct net_stack *stack;     /* NULL: no layers */
    const struct net_conn_limits *limits;
    struct net_chain out;        /* bytes for the wire */
    struct net_link link;        /* on loop->to_show, to_flush, to_spread or flushing */
    uint64_t room[];             /* net_listener_reserve() */
};
_Static_assert(offsetof(struct net_conn, room) == sizeof(struct net_conn) && sizeof(struct net_conn) <= 368, "an idle connection must stay small");

static inline struct net_loop *net_loop_of(const struct net_conn *c)
{
    return c->tcp.loop->data;
}

/* net_conn_last_read_ms() has the low half of a time that lies less than 49 days back. */
static inline void net_conn_note_read(struct net_conn *c)
{
    c->last_read_ms = (uint32_t)net_now_ms(net_loop_of(c));
}

/* loop.c: keep the next poll from blocking, and the loop from ending, until the prepare phase has run. */
void net_loop_arouse(struct net_loop *loop);

/* A read is over: run what net_defer_early() left for now. */
void net_loop_run_early(struct net_loop *loop);

/* timer.c */
enum bt_err net_wheel_init(struct net_loop *loop);

/* link: lists of connections */
static inline void net_link_init(struct net_link *head)
{
    head->next = head->prev = head;
}
static inline void net_link_add(struct net_link *head, struct net_link *link)
{
    link->next = head;
    link->prev = head->prev;
    head->prev->next = link;
    head->prev = link;
}
static inline void net_link_remove(struct net_link *link)
{
    if (!link->next)
        return;
    link->next->prev = link->prev;
    link->prev->next = link->next;
    link->next = link->prev = NULL;
}
static inline bool net_link_is_empty(const struct net_link *head)
{
    return head->next == head;
}

/* chunk.c: output buffers and their pool */
void net_chunk_free(struct net_loop *loop, struct net_chunk *chunk);
void net_chunk_pool_free(struct net_loop *loop);
/* Append head and body, or nothing at all (BT_ENOMEM). queued: how much the connection has waiting; more of it means larger buffers. */
enum bt_err net_chain_add(struct net_loop *loop, struct net_chain *chain, size_t queued, const void *head,
                          size_t head_len, const void *body, size_t body_len);
struct net_chunk *net_chain_pop(struct net_chain *chain);                            /* NULL when empty */
void net_chain_consume(struct net_loop *loop, struct net_chain *chain, size_t len);  /* the first len bytes are done */
void net_chain_drop(struct net_loop *loop, struct net_chain *chain);
void net_chain_move(struct net_chain *to, struct net_chain *from);                  /* to its end; from is empty then */
unsigned net_chain_bufs(const struct net_chain *chain, uv_buf_t *bufs, unsigned max, size_t *bytes_out);

/* conn.c */
struct net_conn *net_conn_new(struct net_loop *loop, const struct sockaddr_storage *peer, bool is_server, size_t room);
struct net_conn *net_conn_adopt(struct net_loop *loop, int fd, const struct sockaddr_storage *peer, size_t room); /* takes fd; NULL: no memory */

/* conn_in.c: from the socket to ops->bytes */
void net_conn_read_sync(struct net_conn *c);                                        /* make libuv read, or not, as the state asks */
enum bt_err net_conn_input(struct net_conn *c, const uint8_t *data, size_t len);    /* bytes out of the top layer */
void net_conn_show_all(struct net_loop *loop);                                      /* prepare phase: show kept input again */

/* conn_out.c: from net_conn_write() to the socket */
void net_conn_mark(struct net_conn *c);                                             /* have it flushed in this turn's prepare phase */
enum bt_err net_conn_wire(struct net_conn *c, const void *data, size_t len);        /* bytes out of the bottom layer */
enum bt_err net_conn_write_check(const struct net_conn *c);                         /* BT_OK: it takes output */
void net_conn_hurry(struct net_conn *c);                                            /* the same, though it could have waited for later turns */
void net_conn_spread(struct net_conn *c);                                           /* it has a part of casts to write, in this turn or one of the next */
void net_conn_flush_all(struct net_loop *loop);

/* cast.c: bytes that are kept once for many connections */
enum bt_err net_cast_copy(struct net_conn *c); /* its part becomes its own output; BT_ENOMEM: nothing was done */
void net_cast_drop(struct net_conn *c);        /* its part is written, or nobody's any more */
void net_cast_turn(struct net_loop *loop);     /* all is written: room again */

/* layer.c */
enum bt_err net_stack_open(struct net_conn *c);
enum bt_err net_stack_ended(struct net_conn *c);
void net_stack_finish(struct net_conn *c);
void net_stack_thin(struct net_conn *c); /* without the layers that are done; with none left it costs nothing any more */
void net_stack_free(struct net_conn *c);

/* address.c */
enum bt_err net_address_parse(const char *text, struct sockaddr_storage *out); /* "127.0.0.1:80", "[::1]:80"; BT_EINVAL */
void net_address_split(const struct sockaddr_storage *address, uint8_t ip[16], uint16_t *port);
void net_address_print(const uint8_t ip[16], uint16_t port, char *buf, size_t size);
socklen_t net_address_size(const struct sockaddr_storage *address);

#endif
