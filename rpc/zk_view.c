/*
 * rpc/zk_view.c: the view of nodes, made from the tree: one entry per node, whatever the number of its roles.
 *
 * This node itself is in it from its first registration until it leaves, whatever happens to ZooKeeper. An entry of its
 * name that it did not write, and an older one of two that name the same node or address, belong to a process that is gone.
 */
#include <string.h>

#include "net/mem.h"
#include "rpc/zk_internal.h"

enum { LOADS_EVERY_MS = 500 };

struct view {
    struct registry_node *nodes;
    size_t count, cap;
    bool has_failed;
};

static struct registry_node *same_node(const struct view *v, const struct registry_node *node)
{
    for (size_t i = 0; i < v->count; i++) {
        struct registry_node *other = &v->nodes[i];
        if (strcmp(other->address, node->address) == 0 || (strcmp(other->name, node->name) == 0 && strcmp(other->unit, node->unit) == 0))
            return other;
    }
    return NULL;
}

static void merge(struct registry_node *into, const struct registry_node *node)
{
    if (into->is_self || node->epoch < into->epoch)
        return;
    if (node->epoch > into->epoch) {
        *into = *node;
        return;
    }
    into->roles |= node->roles;
    if (node->since_ms < into->since_ms)
        into->since_ms = node->since_ms;
}

static void add(struct view *v, const struct registry_node *node)
{
    struct registry_node *same = same_node(v, node);

    if (same) {
        merge(same, node);
        return;
    }
    if (v->count == v->cap) {
        size_t cap = v->cap > 0 ? 2 * v->cap : 16;
        struct registry_node *nodes = bt_realloc(v->nodes, cap * sizeof *nodes);
        if (!nodes) {
            v->has_failed = true;
            return;
        }
        v->nodes = nodes;
        v->cap = cap;
    }
    v->nodes[v->count++] = *node;
}

static void add_items(const struct zk_registry *r, const struct zk_item *item, struct view *v)
{
    bool is_own_name = strcmp(item->node.name, r->self.name) == 0 && strcmp(item->node.unit, r->self.unit) == 0;

    if (item->has_node && !(is_own_name && item->node.epoch <= r->self.epoch))
        add(v, &item->node);
    for (const struct zk_item *child = item->children; child; child = child->next)
        add_items(r, child, v);
}

/* What became known as new when the tree was made anew may be an old acquaintance. */
static void keep_ages(const struct zk_registry *r, struct view *v)
{
    for (size_t i = 0; i < v->count; i++) {
        for (size_t k = 0; k < r->view_count; k++) {
            const struct registry_node *known = &r->view[k];
            if (known->epoch == v->nodes[i].epoch && strcmp(known->address, v->nodes[i].address) == 0 && known->since_ms < v->nodes[i].since_ms)
                v->nodes[i].since_ms = known->since_ms;
        }
    }
}

static int compare(const void *a, const void *b)
{
    const struct registry_node *x = a, *y = b;
    int order = strcmp(x->unit, y->unit);
    return order != 0 ? order : strcmp(x->name, y->name);
}

static bool make_view(const struct zk_registry *r, struct view *v)
{
    *v = (struct view){ .count = 0 };
    if (r->is_shown)
        add(v, &r->self);
    add_items(r, r->tree, v);
    if (v->has_failed) {
        bt_free(v->nodes);
        return false;
    }
    keep_ages(r, v);
    if (v->count > 1)
        qsort(v->nodes, v->count, sizeof *v->nodes, compare);
    return true;
}

static bool differs(const struct registry_node *a, const struct registry_node *b, bool *members_out)
{
    if (strcmp(a->name, b->name) != 0 || strcmp(a->unit, b->unit) != 0 || strcmp(a->address, b->address) != 0 ||
        strcmp(a->client_address, b->client_address) != 0 || a->epoch != b->epoch || a->roles != b->roles || a->weight != b->weight)
        *members_out = true;
    return *members_out || a->load != b->load || strcmp(a->version, b->version) != 0;
}

/* Does the view say anything new, and is it more than loads? */
static bool has_changed(const struct zk_registry *r, const struct view *v, bool *members_out)
{
    bool is_other = false;

    *members_out = !r->is_view_told || v->count != r->view_count;
    if (*members_out)
        return true;
    for (size_t i = 0; i < v->count; i++)
        is_other |= differs(&v->nodes[i], &r->view[i], members_out);
    return is_other;
}

static void tell(void *arg)
{
    struct zk_registry *r = arg;
    struct view v;
    bool members;

    net_timer_stop(r->loop, &r->view_timer);
    if (!make_view(r, &v)) {
        net_timer_start(r->loop, &r->view_timer, ZK_RETRY_MS, tell, r);
        return;
    }
    if (!has_changed(r, &v, &members)) {
        bt_free(v.nodes);
        return;
    }
    bt_free(r->view);
    r->view = v.nodes;
    r->view_count = v.count;
    r->is_view_told = true;
    r->changed(r->view, r->view_count, r->arg);
}

void zk_view_update(struct zk_registry *r)
{
    struct view v;
    bool members = true;

    if (r->is_closing || !(zk_tree_is_read(r) || r->is_view_told))
        return;
    if (!zk_tree_is_read(r) && zk_pump_is_connected(r->pump))
        return; /* more is coming */
    if (make_view(r, &v)) {
        bool is_new = has_changed(r, &v, &members);
        bt_free(v.nodes);
        if (!is_new)
            return;
    }
    if (members)
        net_defer(r->loop, &r->view_task, tell, r);
    else if (!net_timer_is_running(&r->view_timer))
        net_timer_start(r->loop, &r->view_timer, LOADS_EVERY_MS, tell, r);
}

void zk_view_deinit(struct zk_registry *r)
{
    net_defer_cancel(r->loop, &r->view_task);
    net_timer_stop(r->loop, &r->view_timer);
    bt_free(r->view);
}
