/* roles/friend.h: what the files of the friend role share among themselves. Nothing else includes it. */
#ifndef BT_ROLES_FRIEND_H
#define BT_ROLES_FRIEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/loop.h"
#include "proto/client.pb.h"
#include "proto/friend_methods.h"
#include "proto/node.pb.h"
#include "rpc/call.h"
#include "rpc/rpc.h"
#include "store/db.h"
#include "store/friend.h"
#include "store/store.h"

enum {
    FRIEND_TRIES = 5,           /* of a change whose ground changed meanwhile */
    FRIEND_NAME_MAX = 256,      /* bytes of a name in the store */
    FRIEND_PAGE = 500,          /* friends that are told of a presence at once */
};

struct friend_role {
    struct net_loop *loop;
    struct store *st;
    struct rpc *rpc;
    int64_t max_friends, max_requests;
    uint32_t max_telling;       /* users whose presence is being told at once */
    uint32_t telling;
    uint64_t untold;            /* dropped for that limit */
    uint32_t open_ops;
    bool is_closing;
    struct net_task stopping;
    void (*stopped_cb)(void *arg);
    void *stopped_arg;
};

/* The role stops only when every operation has ended. */
void *friend_op_begin(struct friend_role *self, size_t size); /* zeroed; NULL: no memory */
void friend_op_end(struct friend_role *self, void *op);

/* Push an event to all sessions of some users but one; `users` is n ids. A push is no promise: what goes wrong is logged only. */
void friend_push(struct friend_role *self, const struct rpc_ctx *ctx, const uint64_t *users, size_t n, uint16_t method,
                 const pb_msgdesc_t *fields, const void *event, uint64_t except_session);

#endif
