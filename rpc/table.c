/* rpc/table.c: open calls by id: a list while there are few, a hash table beyond. Ids rise, so they need no mixing. */
#include "rpc/table.h"

#include <assert.h>
#include <stddef.h>

#include "net/mem.h"

enum {
    LIST_MAX = 8,
    WIDTH_MIN = 32,
    WIDTH_KEPT = 64, /* of a table that has become empty; a wider one goes back to being a list */
};

static struct rpc_entry **place_of(struct rpc_table *t, uint32_t id)
{
    return t->width == 0 ? &t->list : &t->buckets[id & (t->width - 1)];
}

static void push(struct rpc_table *t, struct rpc_entry *entry)
{
    struct rpc_entry **place = place_of(t, entry->id);
    entry->next = *place;
    *place = entry;
}

static struct rpc_entry *pop_chain(struct rpc_entry **place)
{
    struct rpc_entry *entry = *place;
    *place = entry->next;
    return entry;
}

static void widen(struct rpc_table *t)
{
    struct rpc_table wide = { .width = t->width == 0 ? WIDTH_MIN : t->width * 4, .count = t->count };
    wide.buckets = bt_calloc(wide.width, sizeof *wide.buckets);
    if (!wide.buckets)
        return;
    for (uint32_t i = 0; i < (t->width == 0 ? 1 : t->width); i++) {
        struct rpc_entry **place = t->width == 0 ? &t->list : &t->buckets[i];
        while (*place)
            push(&wide, pop_chain(place));
    }
    if (t->width > 0)
        bt_free(t->buckets);
    *t = wide;
}

void rpc_table_add(struct rpc_table *t, struct rpc_entry *entry)
{
    if (t->count >= (t->width == 0 ? LIST_MAX : 2 * t->width))
        widen(t);
    push(t, entry);
    t->count++;
}

static struct rpc_entry **find_place(const struct rpc_table *t, uint32_t id)
{
    struct rpc_entry **place = place_of((struct rpc_table *)t, id);
    while (*place && (*place)->id != id)
        place = &(*place)->next;
    return place;
}

struct rpc_entry *rpc_table_find(const struct rpc_table *t, uint32_t id)
{
    return *find_place(t, id);
}

static void narrow(struct rpc_table *t)
{
    if (t->count > 0 || t->width <= WIDTH_KEPT)
        return;
    bt_free(t->buckets);
    *t = (struct rpc_table){ .width = 0 };
}

struct rpc_entry *rpc_table_take(struct rpc_table *t, uint32_t id)
{
    struct rpc_entry **place = find_place(t, id);
    if (!*place)
        return NULL;
    struct rpc_entry *entry = pop_chain(place);
    t->count--;
    narrow(t);
    return entry;
}

struct rpc_entry *rpc_table_take_any(struct rpc_table *t)
{
    if (t->count == 0)
        return NULL;
    struct rpc_entry **place = &t->list;
    if (t->width > 0) {
        place = t->buckets;
        while (!*place)
            place++;
    }
    struct rpc_entry *entry = pop_chain(place);
    t->count--;
    narrow(t);
    return entry;
}

void rpc_table_deinit(struct rpc_table *t)
{
    assert(t->count == 0);
    if (t->width > 0)
        bt_free(t->buckets);
    *t = (struct rpc_table){ .width = 0 };
}
