/* roles/user.c: the user role: its settings, its start and its end. The handlers stand in user_*.c, by subject. */
#include "roles/user.h"

#include <assert.h>
#include <stdio.h>

#include "net/mem.h"
#include "roles/role.h"

static const struct conf_key user_keys[] = {
    { "user", "name_min", CONF_INT, "1", 1, TOKEN_NAME_MAX, "bytes", NULL, "Shortest name of an account." },
    { "user", "name_max", CONF_INT, "64", 1, TOKEN_NAME_MAX, "bytes", NULL, "Longest name of an account." },
    { "user", "password_min", CONF_INT, "8", 1, PASSWORD_MAX, "bytes", NULL, "Shortest password that is accepted." },
    { "user", "max_sessions", CONF_INT, "16", 1, 1000, "sessions", NULL, "Live sessions of one user; one more ends the oldest." },
    { "user", "token_days", CONF_INT, "30", 1, 3650, "days", NULL, "How long a token is good; a device that resumes in the second half of that gets a new one." },
    { "user", "token_keys", CONF_STRING, "", 0, 1000, NULL, NULL,
      "File with the keys that sign session tokens, the same on all nodes; empty: token.keys in the data directory." },
    { "user", "hash_ops", CONF_INT, "2", 1, 20, "passes", NULL, "Cost of a password hash (argon2id) in time." },
    { "user", "hash_memory", CONF_INT, "19456", 8, 1048576, "KiB", NULL, "Cost of a password hash in memory." },
    { "user", "hash_parallel", CONF_INT, "2", 1, 64, "hashes", NULL, "Password hashes that are computed at once." },
    { "user", "hash_queue", CONF_INT, "64", 1, 100000, "hashes", NULL, "Password hashes that wait; one more is refused. Half of them are kept for logins." },
    { "user", "wrong_tries", CONF_INT, "10", 0, 1000, "tries", NULL,
      "Wrong passwords of one name within wrong_window_ms, on one node and over all connections, after which further tries wait, longer each time. 0: no limit." },
    { "user", "wrong_window_ms", CONF_INT, "60000", 1000, 900000, "ms", NULL, "See wrong_tries." },
    { .section = NULL },
};

/* ---- operations ---- */

static void user_check_stopped(struct user_role *self);

void *user_op_begin(struct user_role *self, struct rpc_call *call, size_t size)
{
    assert(size >= sizeof(struct user_op));
    struct user_op *op = bt_calloc(1, size);
    if (!op) {
        rpc_fail(call, BT_ENOMEM, NULL);
        return NULL;
    }
    op->self = self;
    op->call = call;
    op->size = size;
    self->open_ops++;
    return op;
}

void user_op_end(void *arg)
{
    struct user_op *op = arg;
    struct user_role *self = op->self;

    user_tries_end(self->tries, op->try_key, op->try_came);
    password_wipe(op, op->size);
    bt_free(op);
    self->open_ops--;
    user_check_stopped(self);
}

void user_op_fail(void *arg, enum bt_err err, const char *detail)
{
    struct user_op *op = arg;
    if (detail)
        rpc_fail(op->call, err, "%s", detail);
    else
        rpc_fail(op->call, err, NULL);
    user_op_end(op);
}

bool user_op_try(void *arg, enum user_tries_by by, const void *name, size_t len)
{
    struct user_op *op = arg;
    uint32_t wait_ms = user_tries_begin(op->self->tries, net_now_ms(op->self->loop), by, name, len, &op->try_key);

    if (wait_ms == 0)
        return true;
    rpc_fail_retry(op->call, BT_EBUSY, wait_ms, "too many wrong passwords");
    user_op_end(op);
    return false;
}

/* ---- start and stop ---- */

static void user_each_second(void *arg)
{
    struct user_role *self = arg;
    (void)token_keys_refresh(&self->keys);
}

static enum bt_err user_open_keys(struct user_role *self, const struct conf *conf, char *why, size_t why_size)
{
    char path[1200];
    const char *set = conf_str(conf, "user", "token_keys");

    snprintf(path, sizeof path, "%s%s", *set ? set : store_data_dir(self->st), *set ? "" : "/token.keys");
    return token_keys_open(&self->keys, path, store_now_ms(self->st), why, why_size);
}

struct password_opts user_password_opts(const struct conf *conf)
{
    return (struct password_opts){
        .ops = (uint64_t)conf_int(conf, "user", "hash_ops"),
        .memory_bytes = (size_t)conf_int(conf, "user", "hash_memory") * 1024,
        .parallel = (uint32_t)conf_int(conf, "user", "hash_parallel"),
        .queue = (uint32_t)conf_int(conf, "user", "hash_queue"),
    };
}

/* A session's end that is committed late must still be found by who looks back so far. */
static bool user_store_is_fit(const struct conf *conf, char *why, size_t why_size)
{
    if (conf_int(conf, "store", "timeout_ms") <= USER_ENDED_LATE_MAX_MS)
        return true;
    snprintf(why, why_size, "[store] timeout_ms: at most %d with the user role, or an ended session might live on",
             USER_ENDED_LATE_MAX_MS);
    return false;
}

static void user_ignore(void *arg)
{
    (void)arg;
}

static enum bt_err user_start(const struct role_env *env, void **self_out, char *why, size_t why_size)
{
    enum bt_err err = BT_ENOMEM;
    if (!user_store_is_fit(env->conf, why, why_size))
        return BT_EINVAL;
    struct user_role *self = bt_calloc(1, sizeof *self);
    if (!self)
        goto fail;
    self->loop = env->loop;
    self->st = env->store;
    self->name_min = (size_t)conf_int(env->conf, "user", "name_min");
    self->name_max = (size_t)conf_int(env->conf, "user", "name_max");
    self->password_min = (size_t)conf_int(env->conf, "user", "password_min");
    self->max_sessions = (size_t)conf_int(env->conf, "user", "max_sessions");
    self->token_life_ms = conf_int(env->conf, "user", "token_days") * 24 * 3600 * 1000;
    err = user_open_keys(self, env->conf, why, why_size);
    if (err != BT_OK)
        goto fail_keys;
    const struct password_opts opts = user_password_opts(env->conf);
    err = password_pool_new(self->loop, &opts, &self->passwords);
    if (err != BT_OK)
        goto fail_passwords;
    err = user_tries_new((uint32_t)conf_int(env->conf, "user", "wrong_tries"), (uint32_t)conf_int(env->conf, "user", "wrong_window_ms"), &self->tries);
    if (err != BT_OK)
        goto fail_tries;
    err = user_ended_start(self->loop, self->st, self->token_life_ms, user_each_second, self, &self->ended);
    if (err != BT_OK)
        goto fail_ended;
    *self_out = self;
    return BT_OK;

fail_ended:
    user_tries_free(self->tries);
fail_tries:
    password_pool_close(self->passwords, user_ignore, NULL);
fail_passwords:
    token_keys_wipe(&self->keys);
    snprintf(why, why_size, "[user] can't start: %s", bt_err_text(err));
fail_keys:
    bt_free(self);
    return err;
fail:
    snprintf(why, why_size, "[user] can't start: %s", bt_err_text(err));
    return err;
}

/* The end, in order: all operations, the reader of ended sessions, the password pool. */
static void user_stopped(void *arg)
{
    struct user_role *self = arg;
    void (*cb)(void *) = self->stopped_cb;
    void *cb_arg = self->stopped_arg;
    token_keys_wipe(&self->keys);
    user_tries_free(self->tries);
    bt_free(self);
    cb(cb_arg);
}

static void user_ended_stopped(void *arg)
{
    struct user_role *self = arg;
    password_pool_close(self->passwords, user_stopped, self);
}

static void user_ops_ended(void *arg)
{
    struct user_role *self = arg;
    user_ended_stop(self->ended, user_ended_stopped, self);
}

static void user_check_stopped(struct user_role *self)
{
    if (self->is_closing && self->open_ops == 0)
        net_defer(self->loop, &self->stopping, user_ops_ended, self);
}

static void user_stop(void *self_arg, void (*stopped_cb)(void *arg), void *arg)
{
    struct user_role *self = self_arg;
    self->is_closing = true;
    self->stopped_cb = stopped_cb;
    self->stopped_arg = arg;
    user_check_stopped(self);
}

const struct role role_user = {
    .name = "user",
    .id = RPC_ROLE_USER,
    .keys = user_keys,
    .methods = user_methods,
    .needs_store = true,
    .start = user_start,
    .stop = user_stop,
};
