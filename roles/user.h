/* roles/user.h: what the files of the user role share among themselves. Nothing else includes it. */
#ifndef BT_ROLES_USER_H
#define BT_ROLES_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/loop.h"
#include "proto/client.pb.h"
#include "proto/node.pb.h"
#include "proto/user_methods.h"
#include "roles/password.h"
#include "roles/token.h"
#include "roles/user_ended.h"
#include "roles/user_tries.h"
#include "rpc/call.h"
#include "store/account.h"
#include "store/db.h"
#include "store/name.h"
#include "store/store.h"

enum {
    USER_TEXT_MAX = 1024,    /* bytes of about and avatar */
    USER_DEVICE_MAX = 64,    /* bytes of what a device calls itself */
    USER_CANON_MAX = 512,    /* bytes of a name's canonical form */
    USER_TRIES = 5,          /* of a change whose ground changed meanwhile */
};

struct user_role {
    struct net_loop *loop;
    struct store *st;
    struct password_pool *passwords;
    struct user_ended *ended;
    struct user_tries *tries;
    struct token_keys keys;
    size_t name_min, name_max, password_min; /* bytes */
    size_t max_sessions;
    int64_t token_life_ms;
    uint32_t open_ops;
    bool is_closing;
    struct net_task stopping;
    void (*stopped_cb)(void *arg);
    void *stopped_arg;
};

/*
 * What a handler keeps while it waits: each has a struct of its own that begins with this one. The role stops only
 * when none is open. user_op_end() comes after the reply; it overwrites and frees the memory.
 */
struct user_op {
    struct user_role *self;
    struct rpc_call *call;
    size_t size;
    uint64_t try_key;              /* of a password that is tried; 0: none */
    enum user_try try_came;        /* what came of it */
};
void *user_op_begin(struct user_role *self, struct rpc_call *call, size_t size); /* NULL: no memory, the call was failed */
void user_op_end(void *op);
void user_op_fail(void *op, enum bt_err err, const char *detail); /* detail NULL: the error's own text */

/* Before a password is looked at that is said to be of `name`. False: it was guessed at too often; the call was failed, op is gone. */
bool user_op_try(void *op, enum user_tries_by by, const void *name, size_t len);

/* user.c: what a password hash costs here: [user] hash_... */
struct conf;
struct password_opts user_password_opts(const struct conf *conf);

/* user_account.c: whether a text may be somebody's new password. */
bool user_password_is_fit(struct rpc_bytes password, size_t min);

/* user_login.c: the reply of Login and Resume; the token in it is signed anew unless one is given. */
struct user_grant {
    uint64_t user_id, session_id;
    struct rpc_bytes name;
    struct rpc_bytes token;      /* data NULL: sign one */
    int64_t token_expires_ms;    /* of the given one */
};
void user_grant(struct user_role *self, struct rpc_call *call, const struct user_grant *grant);

/* user_account.c: whether a hash is still worth its cost: the caller of `op` waits for it. */
enum bt_err user_op_wanted(const struct user_op *op);

/* Fail an op whose job the pool did not take or finish. */
void user_op_fail_hash(void *op, enum bt_err err);

/* A name as an account has it: its form checked and its length that of [user] name_min, name_max. BT_EINVAL, BT_ENOMEM. */
enum bt_err user_name_canon(const struct user_role *self, struct rpc_bytes name, uint8_t canon_out[USER_CANON_MAX], size_t *len_out);

static inline struct rpc_bytes user_bytes(struct store_text t) { return (struct rpc_bytes){ t.p, t.len }; }
static inline struct store_text user_text(struct rpc_bytes b) { return (struct store_text){ b.data, b.len }; }

#endif
