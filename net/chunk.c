/* net/chunk.c: output buffers: chains of chunks, and the loop's pool of free ones. */
#include <string.h>

#include "net/mem.h"
#include "net/net_internal.h"

enum {
    OVERHEAD = sizeof(struct net_chunk) + sizeof(uv_write_t),
    SMALL_CAP = NET_CHUNK_SMALL - OVERHEAD,
    LARGE_CAP = NET_CHUNK_LARGE - OVERHEAD,
    SMALL_POOL_MAX = 256,            /* 1 MiB of each at most */
    LARGE_POOL_MAX = 16,
    LARGE_FROM = 4 * NET_CHUNK_SMALL /* a connection with this much waiting gets large chunks */
};

static struct net_chunk *pool_take(struct net_chunk **pool, uint32_t *pooled)
{
    struct net_chunk *chunk = *pool;

    if (chunk) {
        *pool = chunk->next;
        --*pooled;
    }
    return chunk;
}

/* A chunk for at least `want` bytes; larger when much is waiting already. NULL: no memory. */
static struct net_chunk *chunk_new(struct net_loop *loop, size_t want, size_t queued)
{
    struct net_chunk *chunk;
    size_t cap = want;

    if (want <= SMALL_CAP && queued < LARGE_FROM) {
        cap = SMALL_CAP;
        chunk = pool_take(&loop->small_pool, &loop->small_pooled);
    } else if (want <= LARGE_CAP && (queued >= LARGE_FROM || want > LARGE_CAP / 2)) {
        cap = LARGE_CAP;
        chunk = pool_take(&loop->large_pool, &loop->large_pooled);
    } else {
        chunk = NULL;
    }
    if (!chunk) {
        if (cap > UINT32_MAX - OVERHEAD - 7)
            return NULL;
        cap = (cap + 7) & ~(size_t)7;
        chunk = bt_malloc(OVERHEAD + cap);
        if (!chunk)
            return NULL;
    }
    chunk->next = NULL;
    chunk->conn = NULL;
    chunk->cap = (uint32_t)cap;
    chunk->start = chunk->len = 0;
    return chunk;
}

void net_chunk_free(struct net_loop *loop, struct net_chunk *chunk)
{
    if (chunk->cap == SMALL_CAP && loop->small_pooled < SMALL_POOL_MAX) {
        chunk->next = loop->small_pool;
        loop->small_pool = chunk;
        loop->small_pooled++;
    } else if (chunk->cap == LARGE_CAP && loop->large_pooled < LARGE_POOL_MAX) {
        chunk->next = loop->large_pool;
        loop->large_pool = chunk;
        loop->large_pooled++;
    } else {
        bt_free(chunk);
    }
}

void net_chunk_pool_free(struct net_loop *loop)
{
    struct net_chunk *chunk;

    while ((chunk = pool_take(&loop->small_pool, &loop->small_pooled)))
        bt_free(chunk);
    while ((chunk = pool_take(&loop->large_pool, &loop->large_pooled)))
        bt_free(chunk);
}

/* Copy as much as fits to the end of a chunk; returns how much that was. */
static size_t chunk_fill(struct net_chunk *chunk, const void *data, size_t len)
{
    size_t room = chunk->cap - chunk->start - chunk->len;

    if (len > room)
        len = room;
    if (len > 0)
        memcpy(chunk->data + chunk->start + chunk->len, data, len);
    chunk->len += (uint32_t)len;
    return len;
}

static uint8_t *put(uint8_t *to, const void *data, size_t len)
{
    if (len > 0)
        memcpy(to, data, len);
    return to + len;
}

enum bt_err net_chain_add(struct net_loop *loop, struct net_chain *chain, size_t queued, const void *head,
                          size_t head_len, const void *body, size_t body_len)
{
    struct net_chunk *last = chain->last, *fresh;
    size_t room = last ? last->cap - last->start - last->len : 0;
    size_t total = head_len + body_len, head_done = 0, body_done = 0;

    if (total == 0)
        return BT_OK;
    if (total <= room) { /* mostly */
        put(put(last->data + last->start + last->len, head, head_len), body, body_len);
        last->len += (uint32_t)total;
        return BT_OK;
    }
    if (!(fresh = chunk_new(loop, total - room, queued)))
        return BT_ENOMEM;
    if (last) {
        head_done = chunk_fill(last, head, head_len);
        if (head_done == head_len)
            body_done = chunk_fill(last, body, body_len);
        last->next = fresh;
    } else {
        chain->first = fresh;
    }
    chunk_fill(fresh, (const uint8_t *)head + head_done, head_len - head_done);
    if (body_done < body_len)
        chunk_fill(fresh, (const uint8_t *)body + body_done, body_len - body_done);
    chain->last = fresh;
    return BT_OK;
}

struct net_chunk *net_chain_pop(struct net_chain *chain)
{
    struct net_chunk *chunk = chain->first;

    if (chunk) {
        chain->first = chunk->next;
        if (!chain->first)
            chain->last = NULL;
        chunk->next = NULL;
    }
    return chunk;
}

void net_chain_consume(struct net_loop *loop, struct net_chain *chain, size_t len)
{
    while (len > 0) {
        struct net_chunk *chunk = chain->first;

        if (len < chunk->len) {
            chunk->start += (uint32_t)len;
            chunk->len -= (uint32_t)len;
            return;
        }
        len -= chunk->len;
        net_chunk_free(loop, net_chain_pop(chain));
    }
}

void net_chain_drop(struct net_loop *loop, struct net_chain *chain)
{
    struct net_chunk *chunk;

    while ((chunk = net_chain_pop(chain)))
        net_chunk_free(loop, chunk);
}

void net_chain_move(struct net_chain *to, struct net_chain *from)
{
    if (!from->first)
        return;
    if (to->last)
        to->last->next = from->first;
    else
        to->first = from->first;
    to->last = from->last;
    from->first = from->last = NULL;
}

unsigned net_chain_bufs(const struct net_chain *chain, uv_buf_t *bufs, unsigned max, size_t *bytes_out)
{
    unsigned n = 0;

    *bytes_out = 0;
    for (struct net_chunk *chunk = chain->first; chunk && n < max; chunk = chunk->next) {
        bufs[n++] = uv_buf_init((char *)chunk->data + chunk->start, chunk->len);
        *bytes_out += chunk->len;
    }
    return n;
}
