/* rpc/rpc_choose.c: the view of who is there, and whom of them to ask. */
#include <stdlib.h>

#include "net/mem.h"
#include "rpc/rpc_internal.h"

enum {
    WARM_UP_MS = 5000,  /* a new node's share of the calls rises for that long */
    WARM_PARTS = 1000,
};

/* ---- the view ---- */

static void clear_candidates(struct candidates roles[RPC_ROLE_COUNT])
{
    for (int role = 0; role < RPC_ROLE_COUNT; role++) {
        bt_free(roles[role].list);
        roles[role] = (struct candidates){ .count = 0 };
    }
}

static enum bt_err fill_role(struct rpc *rpc, enum rpc_role role, struct candidates *c)
{
    c->list = bt_calloc(rpc->node_count + 1, sizeof *c->list);
    if (!c->list)
        return BT_ENOMEM;
    for (size_t i = 0; i < rpc->node_count; i++) {
        const struct registry_node *node = &rpc->nodes[i];
        struct node_peer *peer = rpc_peer_find(rpc, node->address);
        if (!(node->roles & UINT32_C(1) << role) || !peer || node->weight == 0)
            continue;
        c->list[c->count++] = (struct candidate){
            .peer = peer,
            .weight = node->weight,
            .since_ms = node->since_ms,
            .is_own_unit = strcmp(node->unit, rpc->self.unit) == 0,
        };
    }
    return BT_OK;
}

static enum bt_err make_ring(const struct candidates *chats, struct ring **out)
{
    struct ring_member *members = bt_calloc(chats->count + 1, sizeof *members);
    if (!members)
        return BT_ENOMEM;
    for (size_t i = 0; i < chats->count; i++)
        members[i] = (struct ring_member){ chats->list[i].peer->address, chats->list[i].weight, chats->list[i].peer };
    enum bt_err err = ring_new(members, chats->count, out);
    bt_free(members);
    return err;
}

/* What the ring is made of: most changes of the view are of somebody's load. */
static bool have_same_ring(const struct candidates *a, const struct candidates *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (a->list[i].peer != b->list[i].peer || a->list[i].weight != b->list[i].weight)
            return false;
    return true;
}

/* All of the lists and the ring anew, or, without memory for that, none of them: they stay as they were. */
static void make_candidates(struct rpc *rpc)
{
    struct candidates roles[RPC_ROLE_COUNT] = { { .count = 0 } };
    struct ring *ring = rpc->ring;
    enum bt_err err = BT_OK;

    for (int role = 0; role < RPC_ROLE_COUNT && err == BT_OK; role++)
        err = fill_role(rpc, (enum rpc_role)role, &roles[role]);
    if (err == BT_OK && (!ring || !have_same_ring(&rpc->roles[RPC_ROLE_CHAT], &roles[RPC_ROLE_CHAT])))
        err = make_ring(&roles[RPC_ROLE_CHAT], &ring);
    if (err != BT_OK) {
        clear_candidates(roles);
        return;
    }
    clear_candidates(rpc->roles);
    memcpy(rpc->roles, roles, sizeof roles);
    if (ring != rpc->ring)
        ring_free(rpc->ring);
    rpc->ring = ring;
}

static enum bt_err copy_nodes(struct rpc *rpc, const struct registry_node *nodes, size_t n)
{
    struct registry_node *copy = bt_calloc(n + 1, sizeof *copy);
    if (!copy)
        return BT_ENOMEM;
    if (n > 0)
        memcpy(copy, nodes, n * sizeof *copy);
    bt_free(rpc->nodes);
    rpc->nodes = copy;
    rpc->node_count = n;
    return BT_OK;
}

void rpc_view_changed(const struct registry_node *nodes, size_t n, void *arg)
{
    struct rpc *rpc = arg;

    if (rpc->is_closing || copy_nodes(rpc, nodes, n) != BT_OK)
        return;
    for (struct node_peer *peer = rpc->peers; peer; peer = peer->next)
        peer->is_in_view = false;
    for (size_t i = 0; i < n; i++) {
        struct node_peer *peer = rpc_peer_get(rpc, nodes[i].address);
        if (!peer)
            continue;
        peer->is_in_view = true;
        if (peer->is_passed_over)
            rpc_peer_want(peer); /* that it was gone is old news: see whether it is back */
    }
    make_candidates(rpc);
    for (size_t i = 0; i < rpc->node_watcher_count; i++)
        rpc->node_watchers[i].cb(rpc->nodes, rpc->node_count, rpc->node_watchers[i].arg);
}

void rpc_view_deinit(struct rpc *rpc)
{
    clear_candidates(rpc->roles);
    ring_free(rpc->ring);
    bt_free(rpc->nodes);
}

/* ---- any instance ---- */

/* Its share of the calls, in parts of an old node's. */
static uint64_t share_of(const struct rpc *rpc, const struct candidate *c)
{
    uint64_t age_ms = net_now_ms(rpc->loop) - c->since_ms;
    uint64_t parts = age_ms >= WARM_UP_MS ? WARM_PARTS : 1 + age_ms * WARM_PARTS / WARM_UP_MS;
    return parts * c->weight;
}

/* Whom a draw is among: the own unit only, and neither of two. */
struct draw {
    bool own_unit;
    const struct node_peer *not_this, *nor_this;
};

static bool is_choosable(const struct candidate *c, const struct draw *d)
{
    return !c->peer->is_passed_over && c->peer != d->not_this && c->peer != d->nor_this && (!d->own_unit || c->is_own_unit);
}

static const struct candidate *draw(struct rpc *rpc, const struct candidates *all, const struct draw *d)
{
    const struct candidate *last = NULL;
    uint64_t sum = 0;

    for (size_t i = 0; i < all->count; i++) {
        if (is_choosable(&all->list[i], d))
            sum += share_of(rpc, &all->list[i]);
    }
    if (sum == 0)
        return NULL;
    uint64_t at = rpc_random(rpc, sum > UINT32_MAX ? UINT32_MAX : (uint32_t)sum);
    for (size_t i = 0; i < all->count; i++) {
        if (!is_choosable(&all->list[i], d))
            continue;
        last = &all->list[i];
        if (at < share_of(rpc, last))
            break;
        at -= share_of(rpc, last);
    }
    return last;
}

/*
 * The less busy of two, each measured by its share, so that a new node is neither drawn often nor, when it is, preferred for
 * having nothing to do. Of two that are equally busy the first: draws alone then give everyone his share.
 */
static struct node_peer *two_choices(struct rpc *rpc, const struct candidates *all, bool own_unit, const struct node_peer *not_this)
{
    struct draw d = { .own_unit = own_unit, .not_this = not_this };
    const struct candidate *a = draw(rpc, all, &d), *b;

    if (!a)
        return NULL;
    d.nor_this = a->peer;
    b = draw(rpc, all, &d);
    bool b_is_less = b && (uint64_t)b->peer->outstanding * share_of(rpc, a) < (uint64_t)a->peer->outstanding * share_of(rpc, b);
    return b_is_less ? b->peer : a->peer;
}

static struct node_peer *choose_any(struct rpc *rpc, enum rpc_role role, const struct node_peer *tried)
{
    const struct candidates *all = &rpc->roles[role];

    if (all->count == 1 && !all->list[0].peer->is_passed_over)
        return all->list[0].peer;
    struct node_peer *peer = two_choices(rpc, all, true, tried);
    if (!peer)
        peer = two_choices(rpc, all, false, tried);
    return peer || !tried ? peer : two_choices(rpc, all, false, NULL);
}

/* ---- the owner ---- */

void rpc_key_of(uint64_t caller, uint64_t target, uint64_t *hi_out, uint64_t *lo_out)
{
    if (target & RPC_TARGET_GROUP) {
        *hi_out = target & ~RPC_TARGET_GROUP;
        *lo_out = 0;
    } else {
        *hi_out = caller > target ? caller : target;
        *lo_out = caller > target ? target : caller;
    }
}

/* The first on the ring that answers; after each try that came to nothing, the next one. */
static struct node_peer *choose_owner(struct rpc *rpc, uint64_t caller, uint64_t target, uint32_t tries)
{
    size_t members = rpc->ring ? ring_members(rpc->ring) : 0;
    uint64_t hi, lo;

    rpc_key_of(caller, target, &hi, &lo);
    for (size_t i = 0; i < members; i++) {
        const struct ring_member *m = ring_find(rpc->ring, hi, lo, (tries + i) % members);
        if (m && !((struct node_peer *)m->arg)->is_passed_over)
            return m->arg;
    }
    return NULL;
}

struct node_peer *rpc_choose(struct rpc *rpc, const struct rpc_method_info *info, uint64_t caller, uint64_t target, uint32_t tries,
                             const struct node_peer *tried)
{
    struct node_peer *peer = info->route == RPC_OWNER ? choose_owner(rpc, caller, target, tries) : choose_any(rpc, info->role, tried);

    /* A node that has not joined yet, or has left, still does its own work when nobody else does. */
    if (!peer && rpc->roles[info->role].count == 0 && (rpc->self.roles & UINT32_C(1) << info->role))
        peer = rpc->self_peer;
    return peer;
}

bool rpc_owns(struct rpc *rpc, uint64_t hi, uint64_t lo)
{
    const struct ring_member *m = rpc->ring ? ring_find(rpc->ring, hi, lo, 0) : NULL;
    return m && m->arg == rpc->self_peer;
}
