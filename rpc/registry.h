/*
 * rpc/registry.h: who is there: nodes, their roles and addresses. Backends: local (this process, and the nodes that
 * [registry] nodes names); ZooKeeper.
 */
#ifndef BT_RPC_REGISTRY_H
#define BT_RPC_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/conf.h"
#include "net/err.h"
#include "rpc/method.h"

struct net_loop;
struct registry;

/* One node, as registered. */
struct registry_node {
    char name[64];            /* unique in the cluster */
    char unit[32];
    char address[64];         /* of its node listener; names the node in presence and on the ring */
    char client_address[64];  /* proxies: where clients connect */
    char version[32];
    uint64_t epoch;           /* new at every start */
    uint32_t roles;           /* bit 1 << enum rpc_role */
    uint32_t weight;
    uint32_t load;            /* proxies: connected clients; others: open calls */
    uint64_t since_ms;        /* net_now_ms() when this process first saw it: new nodes warm up */
    bool is_self;
};

extern const struct conf_key registry_keys[];   /* [registry] url, nodes, ... */

/* The view changed: nodes is the whole of it, lent. Called on the loop, never inside a call of yours. */
typedef void registry_changed_cb(const struct registry_node *nodes, size_t n, void *arg);

/* Open; self (copied) is told to others by registry_join(). changed runs first when the first view is there. Errors: BT_EINVAL, BT_EDOWN, with why. */
enum bt_err registry_open(struct net_loop *loop, const struct conf *conf, const struct registry_node *self, registry_changed_cb *changed, void *arg,
                          struct registry **out, char *why, size_t why_size);
void registry_set_self(struct registry *r, const struct registry_node *self); /* before joining: its roles are known only then; copied */
void registry_join(struct registry *r);                       /* be chosen from now on */
void registry_leave(struct registry *r);                      /* no longer; the node serves on */
void registry_set_load(struct registry *r, uint32_t load);    /* told to others at most once a second */
void registry_refresh(struct registry *r);                    /* look anew: somebody acted on another view */
void registry_close(struct registry *r, void (*closed_cb)(void *arg), void *arg);

#endif
