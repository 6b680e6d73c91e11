/*
 * rpc/registry_internal.h: what a backend of the registry provides. A backend embeds struct registry as its first member.
 */
#ifndef BT_RPC_REGISTRY_INTERNAL_H
#define BT_RPC_REGISTRY_INTERNAL_H

#include "rpc/registry.h"

struct registry_ops {
    void (*set_self)(struct registry *r, const struct registry_node *self);
    void (*join)(struct registry *r);
    void (*leave)(struct registry *r);
    void (*set_load)(struct registry *r, uint32_t load);
    void (*refresh)(struct registry *r);
    void (*close)(struct registry *r, void (*closed_cb)(void *arg), void *arg);
};

struct registry {
    const struct registry_ops *ops;
};

/* What registry_open() was given. */
struct registry_open_args {
    struct net_loop *loop;
    const struct conf *conf;
    const struct registry_node *self;
    registry_changed_cb *changed;
    void *arg;
};

enum bt_err registry_local_open(const struct registry_open_args *args, struct registry **out, char *why, size_t why_size);
enum bt_err registry_zookeeper_open(const struct registry_open_args *args, struct registry **out, char *why, size_t why_size);

#endif
