/* roles/friend.c: the friend role: its settings, its start and its end. The handlers stand in friend_*.c, by subject. */
#include "roles/friend.h"

#include <assert.h>
#include <stdio.h>

#include "net/mem.h"
#include "proto/stubs.h"
#include "roles/role.h"

#define LOG_MODULE "friend"
#include "net/log.h"

static const struct conf_key friend_keys[] = {
    { "friend", "max_friends", CONF_INT, "2000", 1, 100000, "friends", NULL, "Friends, and requests sent, of one user." },
    { "friend", "max_requests", CONF_INT, "500", 1, 100000, "requests", NULL, "Requests of others that one user has not answered." },
    { "friend", "max_telling", CONF_INT, "256", 1, 100000, "users", NULL,
      "Users whose coming and going is told to their friends at the same time; more are not told." },
    { .section = NULL },
};

static void friend_check_stopped(struct friend_role *self);

void *friend_op_begin(struct friend_role *self, size_t size)
{
    void *op = bt_calloc(1, size);
    if (op)
        self->open_ops++;
    return op;
}

void friend_op_end(struct friend_role *self, void *op)
{
    bt_free(op);
    self->open_ops--;
    friend_check_stopped(self);
}

void friend_push(struct friend_role *self, const struct rpc_ctx *ctx, const uint64_t *users, size_t n, uint16_t method,
                 const pb_msgdesc_t *fields, const void *event, uint64_t except_session)
{
    uint8_t ids[8 * FRIEND_PAGE], payload[FRIEND_NAME_MAX + 64];

    assert(n <= FRIEND_PAGE);
    for (size_t i = 0; i < n; i++)
        for (int b = 0; b < 8; b++)
            ids[8 * i + (size_t)b] = (uint8_t)(users[i] >> (8 * b));
    const PushEvent push = {
        .users = rpc_bytes(ids, 8 * n),
        .method = method,
        .event = rpc_bytes(payload, rpc_encode(fields, event, payload, sizeof payload)),
        .except_session = except_session,
    };
    enum bt_err err = rpc_chat_notify_event(self->rpc, ctx, &push);
    if (err != BT_OK)
        log_debug("event %#x was not pushed to %zu users: %s", method, n, bt_err_text(err));
}

static enum bt_err friend_start(const struct role_env *env, void **self_out, char *why, size_t why_size)
{
    struct friend_role *self = bt_calloc(1, sizeof *self);
    if (!self) {
        snprintf(why, why_size, "[friend] can't start: %s", bt_err_text(BT_ENOMEM));
        return BT_ENOMEM;
    }
    self->loop = env->loop;
    self->st = env->store;
    self->rpc = env->rpc;
    self->max_friends = conf_int(env->conf, "friend", "max_friends");
    self->max_requests = conf_int(env->conf, "friend", "max_requests");
    self->max_telling = (uint32_t)conf_int(env->conf, "friend", "max_telling");
    *self_out = self;
    return BT_OK;
}

static void friend_stopped(void *arg)
{
    struct friend_role *self = arg;
    void (*cb)(void *) = self->stopped_cb;
    void *cb_arg = self->stopped_arg;
    bt_free(self);
    cb(cb_arg);
}

static void friend_check_stopped(struct friend_role *self)
{
    if (self->is_closing && self->open_ops == 0)
        net_defer(self->loop, &self->stopping, friend_stopped, self);
}

static void friend_stop(void *self_arg, void (*stopped_cb)(void *arg), void *arg)
{
    struct friend_role *self = self_arg;
    self->is_closing = true;
    self->stopped_cb = stopped_cb;
    self->stopped_arg = arg;
    friend_check_stopped(self);
}

const struct role role_friend = {
    .name = "friend",
    .id = RPC_ROLE_FRIEND,
    .keys = friend_keys,
    .methods = friend_methods,
    .needs_store = true,
    .start = friend_start,
    .stop = friend_stop,
};
