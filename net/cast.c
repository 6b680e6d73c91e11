/*
 * net/cast.c: the same bytes to many connections, kept once.
 *
 * What is cast stands in one buffer of the loop's, one cast behind the other. Those who all get the same casts, as the members of a
 * group do, each have one part of it to write; to get one more is to have a longer part. A connection that has anything else to write,
 * now or before it has written its part, gets a copy in its own output instead. When many have a part, some of them write at the end of
 * a turn and the others after the next: what comes meanwhile leaves with what was there, in one write, and nobody waits for all of
 * them. The buffer is free again when nobody has a part any more; before it is full, all write at once.
 */
#include <string.h>

#include "net/mem.h"
#include "net/net_internal.h"

void net_cast_begin(struct net_cast *cast, struct net_loop *loop, const void *head, uint32_t head_len, const void *body, uint32_t body_len)
{
    *cast = (struct net_cast){ .loop = loop, .head = head, .body = body, .head_len = head_len, .body_len = body_len };
}

/* Kept as soon as one can take it from there: that may be none. Where there is no room each gets a copy. */
static void keep(struct net_cast *cast)
{
    struct net_loop *loop = cast->loop;
    uint64_t len = (uint64_t)cast->head_len + cast->body_len;

    cast->was_tried = true;
    if (!loop->casts)
        loop->casts = bt_malloc(NET_CAST_ROOM);
    if (!loop->casts || len > NET_CAST_ROOM - loop->casts_len)
        return;
    cast->at = loop->casts_len;
    cast->is_kept = true;
    memcpy(loop->casts + cast->at, cast->head, cast->head_len);
    if (cast->body_len > 0)
        memcpy(loop->casts + cast->at + cast->head_len, cast->body, cast->body_len);
    loop->casts_len += (uint32_t)len;
}

static bool is_kept(struct net_cast *cast)
{
    if (!cast->was_tried)
        keep(cast);
    return cast->is_kept;
}

/* Its part is what was cast just before, or it has none and nothing else. */
static bool can_take(const struct net_conn *c, struct net_cast *cast)
{
    if (c->is_casting)
        return is_kept(cast) && c->cast_at + c->cast_len == cast->at;
    return !c->out.first && !c->stack && !c->is_writing && !c->is_dialling && is_kept(cast);
}

enum bt_err net_conn_cast(struct net_conn *c, struct net_cast *cast)
{
    uint32_t len = cast->head_len + cast->body_len;

    if (!can_take(c, cast))
        return net_conn_write2(c, cast->head, cast->head_len, cast->body, cast->body_len);
    enum bt_err err = net_conn_write_check(c);
    if (err != BT_OK)
        return err;
    if (!c->is_casting) {
        c->is_casting = true;
        c->cast_at = cast->at;
        cast->loop->cast_users++;
    }
    c->cast_len += len;
    c->queued += len;
    if (c->queued > c->limits->out_low_bytes) { /* it may not have read all that it got: that is only seen when it is written to */
        c->is_over_low = true;
        net_conn_hurry(c);
    } else {
        net_conn_spread(c);
    }
    return BT_OK;
}

void net_cast_drop(struct net_conn *c)
{
    if (!c->is_casting)
        return;
    c->is_casting = false;
    c->cast_len = 0;
    net_loop_of(c)->cast_users--;
}

enum bt_err net_cast_copy(struct net_conn *c)
{
    struct net_loop *loop = net_loop_of(c);
    enum bt_err err = net_chain_add(loop, &c->out, c->queued, loop->casts + c->cast_at, c->cast_len, NULL, 0);

    if (err != BT_OK)
        return err;
    net_cast_drop(c);
    if (c->is_spread)
        net_conn_hurry(c); /* whoever has something of his own to write does not wait */
    return BT_OK;
}

void net_cast_turn(struct net_loop *loop)
{
    if (loop->cast_users == 0)
        loop->casts_len = 0;
}
