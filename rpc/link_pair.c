/*
 * rpc/link_pair.c: two links joined inside the process. Each end has the frames that go from it to the other: those that collect, and
 * those that are shown to the other end, which may write more while it looks. They stand one after the other in chunks, header and
 * payload as they are in memory, since nobody else reads them. What waits is counted as the bytes it would be on a connection.
 */
#include <assert.h>
#include <stdalign.h>

#include "net/mem.h"
#include "rpc/link_internal.h"

enum {
    CHUNK_SIZE = 32 * 1024,
    SPARE_MAX = 8,          /* chunks of that size kept for reuse */
    ALIGNMENT = alignof(struct rpc_header),
};

struct chunk {
    struct chunk *next;
    size_t len, cap;
    alignas(struct rpc_header) uint8_t data[];
};

struct rpc_pair_end {
    struct rpc_link *peer;          /* NULL: it has ended */
    struct chunk *collecting, *last; /* last: of collecting */
    struct chunk *showing;
    size_t shown;                   /* of showing's first chunk */
    size_t queued;                  /* bytes */
    struct chunk *spare;
    unsigned spare_count;
    struct net_task show_task, close_task;
    enum bt_err why;
    bool is_finishing;
    bool is_over_low;
};

/* ---- chunks ---- */

/* Room for a frame behind those that collect; NULL: no memory. */
static uint8_t *room_for(struct rpc_pair_end *end, size_t size)
{
    struct chunk *last = end->last;

    if (!last || last->cap - last->len < size) {
        struct chunk *fresh = size <= CHUNK_SIZE ? end->spare : NULL;
        if (fresh) {
            end->spare = fresh->next;
            end->spare_count--;
        } else {
            size_t cap = size <= CHUNK_SIZE ? CHUNK_SIZE : size;
            fresh = bt_malloc(sizeof *fresh + cap);
            if (!fresh)
                return NULL;
            fresh->cap = cap;
        }
        fresh->next = NULL;
        fresh->len = 0;
        if (last)
            last->next = fresh;
        else
            end->collecting = fresh;
        end->last = last = fresh;
    }
    uint8_t *at = last->data + last->len;
    last->len += size;
    return at;
}

static void chunk_free(struct rpc_pair_end *end, struct chunk *chunk)
{
    if (chunk->cap > CHUNK_SIZE || end->spare_count == SPARE_MAX) {
        bt_free(chunk);
        return;
    }
    chunk->next = end->spare;
    end->spare = chunk;
    end->spare_count++;
}

static void chunks_free(struct chunk *chunk)
{
    while (chunk) {
        struct chunk *next = chunk->next;
        bt_free(chunk);
        chunk = next;
    }
}

static size_t room_of(size_t payload_len)
{
    return sizeof(struct rpc_header) + (payload_len + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* ---- showing ---- */

size_t rpc_pair_queued(const struct rpc_link *l)
{
    return l->pair->queued;
}

static void end_close(void *arg)
{
    struct rpc_link *l = arg;
    rpc_link_gone(l, l->pair->why);
}

/* The frame that is next; it stays where it is until chunks are taken away. */
static struct rpc_frame next_frame(struct rpc_pair_end *end)
{
    const uint8_t *at = end->showing->data + end->shown;
    const struct rpc_header *h = (const struct rpc_header *)(const void *)at;
    size_t len = h->length - (RPC_HEADER_SIZE - RPC_LENGTH_SIZE);

    end->shown += room_of(len);
    end->queued -= RPC_HEADER_SIZE + len;
    return (struct rpc_frame){ .h = *h, .payload = at + sizeof *h, .len = len };
}

/* What the other end does not take (it stopped reading) is shown again when it goes on. */
static void show_frames(struct rpc_pair_end *end)
{
    struct rpc_link *to = end->peer;
    uint32_t age_ms = rpc_link_age_ms(to);

    while (end->showing && rpc_link_reads(to)) {
        struct rpc_frame frame = next_frame(end);
        rpc_link_take(to, &frame, age_ms);
        if (end->shown < end->showing->len)
            continue;
        struct chunk *done = end->showing;
        end->showing = done->next;
        end->shown = 0;
        chunk_free(end, done);
    }
}

static void show(void *arg)
{
    struct rpc_link *l = arg;
    struct rpc_pair_end *end = l->pair;

    if (!end->showing) {
        end->showing = end->collecting;
        end->collecting = end->last = NULL;
    }
    if (end->peer && rpc_link_reads(end->peer))
        show_frames(end);
    if (l->is_closing || !end->peer)
        return;
    if (end->is_over_low && end->queued <= l->limits->net.out_low_bytes) {
        end->is_over_low = false;
        rpc_link_drained(l);
    }
    if (end->collecting && !end->peer->paused)
        net_defer_early(l->loop, &end->show_task, show, l);
    if (end->is_finishing && end->queued == 0)
        rpc_link_fail(l, BT_OK);
}

static void copy(uint8_t *to, const void *from, size_t len)
{
    if (len > 0)
        memcpy(to, from, len);
}

enum bt_err rpc_pair_write(struct rpc_link *l, const struct rpc_header *h, const void *a, size_t a_len, const void *b, size_t b_len, bool is_forced)
{
    struct rpc_pair_end *end = l->pair;

    if (end->is_finishing)
        return BT_ECLOSING;
    if (!is_forced && end->queued > l->limits->net.out_high_bytes)
        return BT_EBUSY;
    uint8_t *at = room_for(end, room_of(a_len + b_len));
    if (!at)
        return BT_ENOMEM;
    memcpy(at, h, sizeof *h);
    copy(at + sizeof *h, a, a_len);
    copy(at + sizeof *h + a_len, b, b_len);
    end->queued += RPC_HEADER_SIZE + a_len + b_len;
    if (end->queued > l->limits->net.out_low_bytes)
        end->is_over_low = true;
    net_defer_early(l->loop, &end->show_task, show, l);
    return BT_OK;
}

void rpc_pair_resumed(struct rpc_link *l)
{
    struct rpc_link *peer = l->pair->peer;
    if (peer)
        net_defer_early(peer->loop, &peer->pair->show_task, show, peer);
}

/* ---- ending ---- */

/* The other end hears of it as of a connection's orderly end, or break. */
void rpc_pair_close(struct rpc_link *l, enum bt_err why)
{
    struct rpc_link *peer = l->pair->peer;

    l->pair->why = why;
    net_defer(l->loop, &l->pair->close_task, end_close, l);
    if (!peer || peer->is_closing)
        return;
    peer->out->sent = peer->out->written - rpc_pair_queued(peer);
    peer->is_closing = true;
    peer->pair->why = why == BT_OK ? BT_OK : BT_EDOWN;
    net_defer(peer->loop, &peer->pair->close_task, end_close, peer);
}

void rpc_pair_finish(struct rpc_link *l)
{
    l->pair->is_finishing = true;
    net_defer_early(l->loop, &l->pair->show_task, show, l);
}

void rpc_pair_free(struct rpc_link *l)
{
    struct rpc_pair_end *end = l->pair;

    if (end->peer)
        end->peer->pair->peer = NULL;
    net_defer_cancel(l->loop, &end->show_task);
    net_defer_cancel(l->loop, &end->close_task);
    chunks_free(end->collecting);
    chunks_free(end->showing);
    chunks_free(end->spare);
    bt_free(end);
}

static struct rpc_link *end_new(struct net_loop *loop, const struct rpc_link_ops *ops, const struct rpc_link_limits *limits, void *arg)
{
    struct rpc_link *l = rpc_link_new(loop, ops, limits, arg);
    if (!l)
        return NULL;
    l->was_opened = true;
    l->pair = bt_calloc(1, sizeof *l->pair);
    if (l->pair)
        return l;
    bt_free(l);
    rpc_calls_unref();
    return NULL;
}

enum bt_err rpc_link_pair(struct net_loop *loop, const struct rpc_link_ops *ops_a, void *arg_a, const struct rpc_link_ops *ops_b, void *arg_b,
                          const struct rpc_link_limits *limits, struct rpc_link **a_out, struct rpc_link **b_out)
{
    struct rpc_link *a = end_new(loop, ops_a, limits, arg_a);
    if (!a)
        return BT_ENOMEM;
    struct rpc_link *b = end_new(loop, ops_b, limits, arg_b);
    if (!b) {
        rpc_pair_free(a);
        bt_free(a);
        rpc_calls_unref();
        return BT_ENOMEM;
    }
    a->pair->peer = b;
    b->pair->peer = a;
    *a_out = a;
    *b_out = b;
    return BT_OK;
}
