/* client/client_order.c: one conversation's messages put in order. */
#include "client/client_order.h"

#include <string.h>

#include "net/mem.h"

static struct client_kept *kept_new(const struct bt_message *m)
{
    size_t size = sizeof(struct client_kept) + m->content_type.len + m->body.len;
    struct client_kept *k = bt_malloc(size);
    if (!k)
        return NULL;
    char *at = (char *)(k + 1);
    k->next = NULL;
    k->size_bytes = size;
    k->m = *m;
    k->m.membership = NULL; /* read from the body when it is handed over */
    if (m->content_type.len > 0)
        memcpy(at, m->content_type.data, m->content_type.len);
    k->m.content_type.data = at;
    at += m->content_type.len;
    if (m->body.len > 0)
        memcpy(at, m->body.data, m->body.len);
    k->m.body.data = at;
    return k;
}

static void drop_first(struct client_order *o)
{
    struct client_kept *k = o->kept;
    o->kept = k->next;
    o->kept_count--;
    o->kept_bytes -= k->size_bytes;
    bt_free(k);
}

static void drop_last(struct client_order *o)
{
    struct client_kept **link = &o->kept;
    while ((*link)->next)
        link = &(*link)->next;
    o->kept_count--;
    o->kept_bytes -= (*link)->size_bytes;
    bt_free(*link);
    *link = NULL;
}

static void drop_old(struct client_order *o)
{
    while (o->kept && o->kept->m.seq <= o->position)
        drop_first(o);
}

/* Keep it in its place. The latest are forgotten first: their turn comes last. */
static enum client_order_verdict keep(struct client_order *o, const struct bt_message *m)
{
    struct client_kept **link = &o->kept;
    while (*link && (*link)->m.seq < m->seq)
        link = &(*link)->next;
    if (*link && (*link)->m.seq == m->seq)
        return CLIENT_ORDER_OLD;
    struct client_kept *k = kept_new(m);
    if (!k)
        return CLIENT_ORDER_KEPT;
    k->next = *link;
    *link = k;
    o->kept_count++;
    o->kept_bytes += k->size_bytes;
    while (o->kept_count > CLIENT_ORDER_MAX_KEPT || (o->kept_bytes > CLIENT_ORDER_MAX_BYTES && o->kept_count > 1))
        drop_last(o);
    return CLIENT_ORDER_KEPT;
}

enum client_order_verdict client_order_offer(struct client_order *o, const struct bt_message *m)
{
    if (m->seq == 0 || (o->is_open && m->seq <= o->position))
        return CLIENT_ORDER_OLD;
    client_order_note_head(o, m->seq);
    if (!o->is_open || m->seq != o->position + 1)
        return keep(o, m);
    o->position = m->seq;
    return CLIENT_ORDER_NOW;
}

struct client_kept *client_order_pop(struct client_order *o)
{
    if (!o->is_open)
        return NULL;
    drop_old(o);
    struct client_kept *k = o->kept;
    if (!k || k->m.seq != o->position + 1)
        return NULL;
    o->position = k->m.seq;
    o->kept = k->next;
    o->kept_count--;
    o->kept_bytes -= k->size_bytes;
    k->next = NULL;
    return k;
}

void client_order_note_head(struct client_order *o, uint64_t seq)
{
    if (seq > o->head)
        o->head = seq;
}

void client_order_open(struct client_order *o, uint64_t position)
{
    o->is_open = true;
    o->position = position;
    client_order_note_head(o, position);
    drop_old(o);
}

bool client_order_floor(struct client_order *o, uint64_t first_seq)
{
    if (!o->is_open || first_seq == 0 || first_seq - 1 <= o->position)
        return false;
    client_order_open(o, first_seq - 1);
    return true;
}

bool client_order_gap(const struct client_order *o, uint64_t *from_out)
{
    if (!o->is_open || o->head <= o->position)
        return false;
    *from_out = o->position + 1;
    return true;
}

uint64_t client_order_lowest(const struct client_order *o)
{
    return o->kept ? o->kept->m.seq : 0;
}

void client_order_deinit(struct client_order *o)
{
    while (o->kept)
        drop_first(o);
}
