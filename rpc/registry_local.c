/* rpc/registry_local.c: the registry of one process, and of those beside it that the ini names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/loop.h"
#include "net/mem.h"
#include "net/timer.h"
#include "rpc/registry_internal.h"

enum {
    NODES_MAX = 64,
    WEIGHT_MAX = 100,
    LOAD_EVERY_MS = 1000,
};

struct registry_local {
    struct registry base;
    struct net_loop *loop;
    registry_changed_cb *changed;
    void *arg;
    bool is_joined;
    bool is_self_listed;         /* then its weight is the list's, as all the others see it */
    uint32_t listed_weight;
    struct net_task tell_task, close_task;
    struct net_timer load_timer;
    void (*closed_cb)(void *arg);
    void *closed_arg;
    size_t count;
    struct registry_node nodes[NODES_MAX + 1]; /* [0]: this one; shown from [0] on once it has joined */
};

static struct registry_local *local_of(struct registry *r)
{
    return (struct registry_local *)r;
}

/* ---- [registry] nodes ---- */

static uint32_t parse_roles(char *text)
{
    uint32_t roles = 0;
    char *rest = NULL;
    for (char *word = strtok_r(text, "+", &rest); word; word = strtok_r(NULL, "+", &rest)) {
        enum rpc_role role = rpc_role_parse(word);
        if (role == RPC_ROLE_COUNT || role == RPC_ROLE_NODE || role == RPC_ROLE_CLIENT)
            return 0;
        roles |= UINT32_C(1) << role;
    }
    return roles;
}

/* "friend+chat@127.0.0.1:7401*2"; cuts the text up. */
static bool parse_node(char *text, struct registry_node *node)
{
    char *at = strchr(text, '@'), *star = strchr(text, '*'), *end;

    if (!at || (star && star < at))
        return false;
    node->weight = 1;
    if (star) {
        long weight = strtol(star + 1, &end, 10);
        if (end == star + 1 || *end || weight < 0 || weight > WEIGHT_MAX)
            return false;
        node->weight = (uint32_t)weight;
        *star = '\0';
    }
    *at = '\0';
    if (at[1] == '\0' || strlen(at + 1) >= sizeof node->address)
        return false;
    snprintf(node->address, sizeof node->address, "%s", at + 1);
    snprintf(node->name, sizeof node->name, "%s", at + 1);
    node->roles = parse_roles(text);
    return node->roles != 0;
}

static char *trim(char *text)
{
    size_t len;
    while (*text == ' ')
        text++;
    len = strlen(text);
    while (len > 0 && text[len - 1] == ' ')
        text[--len] = '\0';
    return text;
}

static bool is_listed(const struct registry_local *r, const char *address)
{
    for (size_t i = 0; i < r->count; i++) {
        if (strcmp(r->nodes[i].address, address) == 0)
            return true;
    }
    return false;
}

static enum bt_err parse_nodes(struct registry_local *r, char *text, char *why, size_t why_size)
{
    char *rest = NULL;
    for (char *word = strtok_r(text, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        struct registry_node node = { .since_ms = net_now_ms(r->loop) };
        char entry[160];
        snprintf(entry, sizeof entry, "%s", trim(word));
        if (r->count > NODES_MAX || !parse_node(trim(word), &node)) {
            snprintf(why, why_size, "[registry] nodes: not role[+role]@address[*weight], or too many: %s", entry);
            return BT_EINVAL;
        }
        snprintf(node.unit, sizeof node.unit, "%s", r->nodes[0].unit);
        if (strcmp(node.address, r->nodes[0].address) == 0) { /* they all share one list */
            r->is_self_listed = true;
            r->listed_weight = r->nodes[0].weight = node.weight;
        } else if (!is_listed(r, node.address)) {
            r->nodes[r->count++] = node;
        }
    }
    return BT_OK;
}

/* ---- the view ---- */

static void tell(void *arg)
{
    struct registry_local *r = arg;
    size_t first = r->is_joined ? 0 : 1;
    r->changed(r->nodes + first, r->count - first, r->arg);
}

static void tell_soon(struct registry_local *r)
{
    net_defer(r->loop, &r->tell_task, tell, r);
}

static void local_set_self(struct registry *base, const struct registry_node *self)
{
    struct registry_local *r = local_of(base);
    r->nodes[0] = *self;
    if (r->is_self_listed)
        r->nodes[0].weight = r->listed_weight;
    r->nodes[0].is_self = true;
    r->nodes[0].since_ms = net_now_ms(r->loop);
}

static void local_join(struct registry *base)
{
    local_of(base)->is_joined = true;
    tell_soon(local_of(base));
}

static void local_leave(struct registry *base)
{
    local_of(base)->is_joined = false;
    tell_soon(local_of(base));
}

static void local_set_load(struct registry *base, uint32_t load)
{
    struct registry_local *r = local_of(base);
    if (r->nodes[0].load == load)
        return;
    r->nodes[0].load = load;
    if (!net_timer_is_running(&r->load_timer))
        net_timer_start(r->loop, &r->load_timer, LOAD_EVERY_MS, tell, r);
}

static void local_refresh(struct registry *base)
{
    (void)base; /* the ini says the same as before */
}

static void closed(void *arg)
{
    struct registry_local *r = arg;
    r->closed_cb(r->closed_arg);
    bt_free(r);
}

static void local_close(struct registry *base, void (*closed_cb)(void *arg), void *arg)
{
    struct registry_local *r = local_of(base);
    net_timer_stop(r->loop, &r->load_timer);
    net_defer_cancel(r->loop, &r->tell_task);
    r->closed_cb = closed_cb;
    r->closed_arg = arg;
    net_defer(r->loop, &r->close_task, closed, r);
}

static const struct registry_ops local_ops = {
    local_set_self, local_join, local_leave, local_set_load, local_refresh, local_close,
};

enum bt_err registry_local_open(const struct registry_open_args *args, struct registry **out, char *why, size_t why_size)
{
    struct registry_local *r = bt_calloc(1, sizeof *r);
    char *text = bt_strdup(conf_str(args->conf, "registry", "nodes"));
    enum bt_err err = BT_ENOMEM;

    if (r && text) {
        r->base.ops = &local_ops;
        r->loop = args->loop;
        r->changed = args->changed;
        r->arg = args->arg;
        r->count = 1;
        local_set_self(&r->base, args->self);
        err = parse_nodes(r, text, why, why_size);
    } else {
        snprintf(why, why_size, "registry: out of memory");
    }
    bt_free(text);
    if (err != BT_OK) {
        bt_free(r);
        return err;
    }
    tell_soon(r);
    *out = &r->base;
    return BT_OK;
}
