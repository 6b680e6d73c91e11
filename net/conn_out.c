/* net/conn_out.c: output of a connection: collected in chunks during a turn, written at its end; of casts to many, at one of the next. */
#include "net/net_internal.h"

enum {
    BUFS_PER_WRITE = 64,
    SPREAD_LEAST = 64, SPREAD_PARTS = 8, /* of those who only have a part of casts: how many write in a turn, or which part of them */
    CHUNKS_HELD = 4, /* given to libuv at a time: as many buffers as it takes without allocating */
};

size_t net_conn_queued(const struct net_conn *c)
{
    return c->is_writing ? c->queued + uv_stream_get_write_queue_size((const uv_stream_t *)&c->tcp) : c->queued;
}

void net_conn_mark(struct net_conn *c)
{
    struct net_loop *loop = net_loop_of(c);

    if (c->link.next || c->is_closing)
        return; /* from to_show it gets here by itself */
    if (net_link_is_empty(&loop->to_flush)) /* else it was aroused already */
        net_loop_arouse(loop);
    net_link_add(&loop->to_flush, &c->link);
}

void net_conn_hurry(struct net_conn *c)
{
    if (c->is_spread) {
        c->is_spread = false;
        net_link_remove(&c->link);
    }
    net_conn_mark(c);
}

void net_conn_spread(struct net_conn *c)
{
    struct net_loop *loop = net_loop_of(c);

    if (c->link.next)
        return;
    if (net_link_is_empty(&loop->to_spread))
        net_loop_arouse(loop);
    net_link_add(&loop->to_spread, &c->link);
    c->is_spread = true;
}

static void queued(struct net_conn *c, size_t len)
{
    c->queued += (uint32_t)len;
    if (net_conn_queued(c) > c->limits->out_low_bytes)
        c->is_over_low = true;
    net_conn_mark(c);
}

static enum bt_err queue(struct net_conn *c, struct net_chain *chain, const void *head, size_t head_len,
                         const void *body, size_t body_len)
{
    enum bt_err err;

    if (head_len > UINT32_MAX - c->queued || body_len > UINT32_MAX - c->queued - head_len)
        return BT_EBUSY;
    if (c->is_casting && (err = net_cast_copy(c)) != BT_OK)
        return err;
    err = net_chain_add(net_loop_of(c), chain, c->queued, head, head_len, body, body_len);
    if (err != BT_OK)
        return err;
    queued(c, head_len + body_len);
    return BT_OK;
}

enum bt_err net_conn_wire(struct net_conn *c, const void *data, size_t len)
{
    return queue(c, &c->out, data, len, NULL, 0);
}

enum bt_err net_conn_write_check(const struct net_conn *c)
{
    if (c->is_closing || c->is_finishing)
        return BT_ECLOSING;
    return net_conn_queued(c) > c->limits->out_high_bytes ? BT_EBUSY : BT_OK;
}

static enum bt_err conn_write(struct net_conn *c, bool is_last, const void *head, size_t head_len, const void *body,
                              size_t body_len)
{
    enum bt_err err = net_conn_write_check(c);

    if (err != BT_OK && !(is_last && err == BT_EBUSY))
        return err;
    assert(c->ops); /* accepted, not started yet */
    return queue(c, c->stack ? &c->stack->plain : &c->out, head, head_len, body, body_len);
}

enum bt_err net_conn_write(struct net_conn *c, const void *data, size_t len)
{
    return conn_write(c, false, data, len, NULL, 0);
}

enum bt_err net_conn_write2(struct net_conn *c, const void *head, size_t head_len, const void *body, size_t body_len)
{
    return conn_write(c, false, head, head_len, body, body_len);
}

uint8_t *net_conn_reserve(struct net_conn *c, size_t len)
{
    struct net_chunk *last = c->stack ? c->stack->plain.last : c->out.last;

    assert(c->ops);
    if (!last || len > last->cap - last->start - last->len || c->is_casting || net_conn_write_check(c) != BT_OK)
        return NULL;
    if (len > UINT32_MAX - c->queued)
        return NULL;
    uint8_t *room = last->data + last->start + last->len;
    last->len += (uint32_t)len;
    queued(c, len);
    return room;
}

enum bt_err net_conn_write_last(struct net_conn *c, const void *data, size_t len)
{
    return conn_write(c, true, data, len, NULL, 0);
}

/* Send what the turn collected down through the layers, so that they see few large pieces. False: the connection failed. */
static bool pass_layers(struct net_conn *c)
{
    struct net_layer *top = c->stack->top;
    struct net_chunk *chunk;

    while ((chunk = net_chain_pop(&c->stack->plain))) {
        enum bt_err err;

        c->queued -= chunk->len;
        err = top->ops->out(top, chunk->data + chunk->start, chunk->len);
        net_chunk_free(net_loop_of(c), chunk);
        if (err != BT_OK)
            net_conn_fail(c, err);
        if (c->is_closing)
            return false;
    }
    return true;
}

static void held_done(uv_write_t *req, int status)
{
    struct net_chunk *chunk = req->data, *next;
    struct net_conn *c = chunk->conn;

    for (; chunk; chunk = next) {
        next = chunk->next;
        net_chunk_free(net_loop_of(c), chunk);
    }
    c->is_writing = false;
    if (c->is_closing)
        return;
    if (status < 0)
        net_conn_fail(c, BT_EDOWN);
    else
        net_conn_mark(c); /* the rest, ops->drained and the end are the flush's business */
}

/* The kernel takes no more: libuv holds the next chunks and writes them when it can. */
static void hold(struct net_conn *c)
{
    struct net_chain held = { NULL, NULL };
    uv_buf_t bufs[CHUNKS_HELD];
    size_t bytes;
    unsigned n = net_chain_bufs(&c->out, bufs, CHUNKS_HELD, &bytes);

    for (unsigned i = 0; i < n; i++) {
        struct net_chunk *chunk = net_chain_pop(&c->out);

        if (held.last)
            held.last->next = chunk;
        else
            held.first = chunk;
        held.last = chunk;
    }
    held.first->conn = c;
    c->queued -= (uint32_t)bytes;
    net_chunk_req(held.first)->data = held.first;
    if (uv_write(net_chunk_req(held.first), (uv_stream_t *)&c->tcp, bufs, n, held_done) == 0) {
        c->is_writing = true;
        return;
    }
    net_chain_drop(net_loop_of(c), &held);
    net_conn_fail(c, BT_EDOWN);
}

/* From where it is kept. What the kernel does not take becomes the connection's own, since nobody else waits for its room. */
static void write_cast(struct net_conn *c)
{
    struct net_loop *loop = net_loop_of(c);
    uv_buf_t buf = uv_buf_init((char *)loop->casts + c->cast_at, c->cast_len);
    int written = uv_try_write((uv_stream_t *)&c->tcp, &buf, 1);

    loop->writes++;
    if (written == UV_EAGAIN)
        written = 0;
    if (written < 0) {
        net_conn_fail(c, BT_EDOWN);
        return;
    }
    c->cast_at += (uint32_t)written;
    c->cast_len -= (uint32_t)written;
    c->queued -= (uint32_t)written;
    if (c->cast_len == 0)
        net_cast_drop(c);
    else if (net_cast_copy(c) != BT_OK)
        net_conn_fail(c, BT_ENOMEM);
    else
        hold(c);
}

static void write_out(struct net_conn *c)
{
    struct net_loop *loop = net_loop_of(c);

    if (c->is_casting)
        write_cast(c);
    while (c->out.first && !c->is_writing) {
        uv_buf_t bufs[BUFS_PER_WRITE];
        size_t bytes;
        unsigned n = net_chain_bufs(&c->out, bufs, BUFS_PER_WRITE, &bytes);
        int written = uv_try_write((uv_stream_t *)&c->tcp, bufs, n);

        loop->writes++;
        if (written == UV_EAGAIN)
            written = 0;
        if (written < 0) {
            net_conn_fail(c, BT_EDOWN);
            return;
        }
        net_chain_consume(loop, &c->out, (size_t)written);
        c->queued -= (uint32_t)written;
        if ((size_t)written < bytes) {
            hold(c);
            return;
        }
    }
}

static void shutdown_done(uv_shutdown_t *req, int status)
{
    struct net_conn *c = (struct net_conn *)req->handle;

    if (c->is_closing)
        return;
    c->is_shut = true;
    if (c->is_eof || status < 0)
        net_conn_fail(c, BT_OK);
}

/* Of a connection that finishes and has nothing left to write: tell the peer, then wait for its end. */
static void end_output(struct net_conn *c)
{
    if (c->is_shutting)
        return;
    c->is_shutting = true;
    if (uv_shutdown(&c->wait->shutdown, (uv_stream_t *)&c->tcp, shutdown_done) != 0)
        net_conn_fail(c, BT_OK); /* the peer has gone */
}

static void flush(struct net_conn *c)
{
    if (c->is_dialling)
        return; /* comes again once connected */
    if (c->stack && !pass_layers(c))
        return;
    if (c->is_finishing && !c->is_farewell_sent) {
        c->is_farewell_sent = true;
        net_stack_finish(c);
    }
    write_out(c);
    if (!c->is_closing && c->is_over_low && net_conn_queued(c) <= c->limits->out_low_bytes) {
        c->is_over_low = false;
        if (c->ops->drained && !c->is_finishing)
            c->ops->drained(c, c->tcp.data);
    }
    if (!c->is_closing && c->is_finishing && !c->is_writing && net_conn_queued(c) == 0)
        end_output(c);
}

/* The first of a list, at most that many; what a callback adds to it now waits for the next turn. */
static void flush_list(struct net_loop *loop, struct net_link *list, uint32_t most)
{
    if (net_link_is_empty(list))
        return;
    loop->flushing = *list;
    loop->flushing.next->prev = loop->flushing.prev->next = &loop->flushing;
    net_link_init(list);
    for (; most > 0 && !net_link_is_empty(&loop->flushing); most--) {
        struct net_conn *c = container_of(loop->flushing.next, struct net_conn, link);

        __builtin_prefetch(c->link.next);
        net_link_remove(&c->link);
        c->is_spread = false;
        flush(c);
    }
    if (net_link_is_empty(&loop->flushing))
        return;
    loop->flushing.next->prev = list; /* the others, ahead of what was added */
    loop->flushing.prev->next = list->next;
    list->next->prev = loop->flushing.prev;
    list->next = loop->flushing.next;
}

void net_conn_flush_all(struct net_loop *loop)
{
    uint32_t share = loop->cast_users / SPREAD_PARTS;

    flush_list(loop, &loop->to_flush, UINT32_MAX);
    if (loop->casts_len > NET_CAST_ROOM / 2)
        share = UINT32_MAX;
    flush_list(loop, &loop->to_spread, share > SPREAD_LEAST ? share : SPREAD_LEAST);
    net_cast_turn(loop);
}
