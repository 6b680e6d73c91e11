/*
 * roles/role.h: what a role is: one const descriptor, started with what it may use.
 */
#ifndef BT_ROLES_ROLE_H
#define BT_ROLES_ROLE_H

#include <stdbool.h>
#include <stddef.h>

#include "net/conf.h"
#include "net/err.h"
#include "rpc/method.h"

struct net_loop;
struct rpc;
struct store;
struct presence;

/* What a role may use; lent until it has stopped. A role can't tell in which mode it runs. */
struct role_env {
    struct net_loop *loop;
    const struct conf *conf;
    struct rpc *rpc;
    struct store *store;        /* NULL: the role declared that it needs none */
    struct presence *presence;  /* likewise */
};

struct role {
    const char *name;                        /* the word after --role, and its ini section */
    enum rpc_role id;
    const struct conf_key *keys;             /* settings it reads */
    const struct rpc_method *methods;        /* what it serves (generated); ends with id 0 */
    bool needs_store, needs_presence;
    /* Start; *self_out is passed to the handlers. On an error `why` says what to do. */
    enum bt_err (*start)(const struct role_env *env, void **self_out, char *why, size_t why_size);
    /* SIGTERM: take nothing new, tell clients to go; done_cb runs once all that was taken is answered. NULL: nothing to do. */
    void (*drain)(void *self, void (*done_cb)(void *arg), void *arg);
    /* Stop; stopped_cb runs exactly once, not inside this call, and self is gone then. Handlers are not called any more. */
    void (*stop)(void *self, void (*stopped_cb)(void *arg), void *arg);
};

extern const struct role role_proxy, role_user, role_friend, role_group, role_offline, role_chat;

#endif
