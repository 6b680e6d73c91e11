/* roles/user_account.c: making an account, and changing its password. */
#include "roles/user.h"

#include <string.h>

enum bt_err user_name_canon(const struct user_role *self, struct rpc_bytes name, uint8_t canon_out[USER_CANON_MAX], size_t *len_out)
{
    if (!name.data || name.len < self->name_min || name.len > self->name_max)
        return BT_EINVAL;
    return name_canon(name.data, name.len, self->name_max, canon_out, USER_CANON_MAX, len_out);
}

bool user_password_is_fit(struct rpc_bytes password, size_t min)
{
    return password.data && password.len >= min && password.len <= PASSWORD_MAX && name_is_utf8(password.data, password.len);
}

enum bt_err user_op_wanted(const struct user_op *op)
{
    if (op->self->is_closing)
        return BT_ECLOSING;
    if (rpc_call_is_dead(op->call))
        return BT_ECANCELLED;
    return rpc_call_left_ms(op->call) == 0 ? BT_ETIMEOUT : BT_OK;
}

void user_op_fail_hash(void *arg, enum bt_err err)
{
    struct user_op *op = arg;
    if (err == BT_EBUSY) {
        rpc_fail_retry(op->call, BT_EBUSY, password_wait_ms(op->self->passwords), "too many logins at once");
        user_op_end(op);
    } else {
        user_op_fail(op, err, NULL);
    }
}

/* ---- Register: look whether the name is free; hash; take an id; write. A name that is taken may be our own. ---- */

struct register_op {
    struct user_op op;
    struct password_job job;
    uint8_t name[TOKEN_NAME_MAX], canon[USER_CANON_MAX];
    size_t name_len, canon_len, password_len;
    uint64_t user_id;
    int tries;
    uint8_t password[PASSWORD_MAX];
};

static void register_look(struct register_op *r);
static void register_found(enum bt_err err, const struct db_rows *rows, void *arg);
static void register_checked(struct password_job *job, enum bt_err err);
static void register_hashed(struct password_job *job, enum bt_err err);
static void register_numbered(enum bt_err err, uint64_t id, void *arg);
static void register_done(const struct db_done *done, void *arg);

#define register_of(job_ptr) ((struct register_op *)((char *)(job_ptr)-offsetof(struct register_op, job)))

static enum bt_err register_wanted(struct password_job *job)
{
    return user_op_wanted(&register_of(job)->op);
}

void user_register(struct rpc_call *call, const void *msg, void *self_arg)
{
    const RegisterRequest *req = msg;
    struct user_role *self = self_arg;
    uint8_t canon[USER_CANON_MAX];
    size_t canon_len;

    enum bt_err err = user_name_canon(self, req->name, canon, &canon_len);
    if (err != BT_OK) {
        rpc_fail(call, err, "the name must have %zu to %zu bytes of visible characters", self->name_min, self->name_max);
        return;
    }
    if (!user_password_is_fit(req->password, self->password_min)) {
        rpc_fail(call, BT_EINVAL, "the password must have %zu to %d bytes of UTF-8", self->password_min, PASSWORD_MAX);
        return;
    }
    struct register_op *r = user_op_begin(self, call, sizeof *r);
    if (!r)
        return;
    r->job.wanted = register_wanted;
    memcpy(r->name, req->name.data, r->name_len = req->name.len);
    memcpy(r->canon, canon, r->canon_len = canon_len);
    memcpy(r->password, req->password.data, r->password_len = req->password.len);
    if (user_op_try(r, USER_TRIES_BY_NAME, canon, canon_len)) /* where the name is taken, this tells whether the password is right */
        register_look(r);
}

static void register_look(struct register_op *r)
{
    store_account_by_name(r->op.self->st, (struct store_text){ r->canon, r->canon_len }, register_found, r);
}

static void register_found(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct register_op *r = arg;
    struct store_account a;

    if (err != BT_OK) {
        user_op_fail(r, err, NULL);
        return;
    }
    if (store_account_at(rows, 0, &a)) {
        r->user_id = a.user_id;
        err = password_check(r->op.self->passwords, &r->job, r->password, r->password_len, a.hash.p, a.hash.len, register_checked);
    } else if (r->user_id != 0) { /* taken when we wrote, gone now: there is no such thing */
        err = BT_EINTERNAL;
    } else {
        err = password_make(r->op.self->passwords, &r->job, r->password, r->password_len, register_hashed);
    }
    if (err != BT_OK)
        user_op_fail_hash(r, err);
}

static void register_reply(struct register_op *r)
{
    rpc_reply(r->op.call, &(RegisterReply){ .user_id = r->user_id });
    user_op_end(r);
}

static void register_checked(struct password_job *job, enum bt_err err)
{
    struct register_op *r = register_of(job);
    if (err != BT_OK) {
        user_op_fail_hash(r, err);
    } else if (job->is_right) {
        r->op.try_came = USER_TRY_RIGHT;
        register_reply(r);
    } else {
        r->op.try_came = USER_TRY_WRONG;
        user_op_fail(r, BT_EEXIST, "the name is taken");
    }
}

static void register_hashed(struct password_job *job, enum bt_err err)
{
    struct register_op *r = register_of(job);
    if (err != BT_OK) {
        user_op_fail_hash(r, err);
        return;
    }
    store_next_id(r->op.self->st, "entity", register_numbered, r);
}

static void register_numbered(enum bt_err err, uint64_t id, void *arg)
{
    struct register_op *r = arg;
    if (err != BT_OK) {
        user_op_fail(r, err, NULL);
        return;
    }
    r->user_id = id;
    const struct store_account a = {
        .user_id = id,
        .name = { r->name, r->name_len },
        .hash = { r->job.hash, strlen(r->job.hash) },
        .created_ms = store_now_ms(r->op.self->st),
    };
    store_account_insert(r->op.self->st, &a, (struct store_text){ r->canon, r->canon_len }, register_done, r);
}

static void register_done(const struct db_done *done, void *arg)
{
    struct register_op *r = arg;
    if (done->err == BT_OK)
        register_reply(r);
    else if (done->err == BT_EEXIST && r->tries++ == 0)
        register_look(r); /* someone was faster: perhaps an earlier try of this very call */
    else
        user_op_fail(r, done->err, NULL);
}

/* ---- ChangePassword: check the old one, hash the new one, write if the account still has the old one ---- */

struct change_op {
    struct user_op op;
    struct password_job job;
    char hash[PASSWORD_HASH_SIZE]; /* the account's, as read */
    size_t hash_len, old_len, new_len;
    int tries;
    uint8_t old_password[PASSWORD_MAX], new_password[PASSWORD_MAX];
};

static void change_look(struct change_op *c);
static void change_found(enum bt_err err, const struct db_rows *rows, void *arg);
static void change_checked(struct password_job *job, enum bt_err err);
static void change_repeat_checked(struct password_job *job, enum bt_err err);
static void change_hashed(struct password_job *job, enum bt_err err);
static void change_done(const struct db_done *done, void *arg);

#define change_of(job_ptr) ((struct change_op *)((char *)(job_ptr)-offsetof(struct change_op, job)))

static enum bt_err change_wanted(struct password_job *job)
{
    return user_op_wanted(&change_of(job)->op);
}

void user_change_password(struct rpc_call *call, const void *msg, void *self_arg)
{
    const ChangePasswordRequest *req = msg;
    struct user_role *self = self_arg;

    if (!user_password_is_fit(req->new_password, self->password_min)) {
        rpc_fail(call, BT_EINVAL, "the password must have %zu to %d bytes of UTF-8", self->password_min, PASSWORD_MAX);
        return;
    }
    if (req->old_password.len > PASSWORD_MAX) {
        rpc_fail(call, BT_EDENIED, "wrong password");
        return;
    }
    struct change_op *c = user_op_begin(self, call, sizeof *c);
    if (!c)
        return;
    c->job.wanted = change_wanted;
    if (req->old_password.len > 0)
        memcpy(c->old_password, req->old_password.data, c->old_len = req->old_password.len);
    memcpy(c->new_password, req->new_password.data, c->new_len = req->new_password.len);
    if (user_op_try(c, USER_TRIES_BY_NUMBER, &rpc_call_header(call)->caller, sizeof rpc_call_header(call)->caller)) /* no name is known here */
        change_look(c);
}

static void change_look(struct change_op *c)
{
    store_account_by_id(c->op.self->st, rpc_call_header(c->op.call)->caller, change_found, c);
}

static void change_found(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct change_op *c = arg;
    struct store_account a;

    if (err == BT_OK && !store_account_at(rows, 0, &a))
        err = BT_EDENIED;
    if (err == BT_OK && a.hash.len >= sizeof c->hash)
        err = BT_EINTERNAL;
    if (err != BT_OK) {
        user_op_fail(c, err, NULL);
        return;
    }
    memcpy(c->hash, a.hash.p, c->hash_len = a.hash.len);
    err = password_check(c->op.self->passwords, &c->job, c->old_password, c->old_len, c->hash, c->hash_len, change_checked);
    if (err != BT_OK)
        user_op_fail_hash(c, err);
}

/* It could not be looked at whether the new password is in force already: that was no guess. */
static void change_unrepeated(struct change_op *c, enum bt_err err)
{
    user_tries_end(c->op.self->tries, c->op.try_key, USER_TRY_NONE);
    user_op_fail_hash(c, err);
}

/* With the wrong old password the new one is looked at, which tells whoever guesses as much: it counts as a try of its own. */
static void change_look_repeat(struct change_op *c)
{
    struct user_role *self = c->op.self;
    enum bt_err err;

    user_tries_more(self->tries, net_now_ms(self->loop), c->op.try_key);
    err = password_check(self->passwords, &c->job, c->new_password, c->new_len, c->hash, c->hash_len, change_repeat_checked);
    if (err != BT_OK)
        change_unrepeated(c, err);
}

static void change_checked(struct password_job *job, enum bt_err err)
{
    struct change_op *c = change_of(job);
    struct password_pool *pool = c->op.self->passwords;

    c->op.try_came = err != BT_OK ? USER_TRY_NONE : job->is_right ? USER_TRY_RIGHT : USER_TRY_WRONG;
    if (err == BT_OK && !job->is_right) {
        change_look_repeat(c);
        return;
    }
    if (err == BT_OK)
        err = password_make(pool, job, c->new_password, c->new_len, change_hashed);
    if (err != BT_OK)
        user_op_fail_hash(c, err);
}

static void change_reply(struct change_op *c)
{
    user_ended_poke(c->op.self->ended);
    rpc_reply(c->op.call, &(ChangePasswordReply){ 0 });
    user_op_end(c);
}

/* The old password is wrong. If the new one is in force already, this call was done before, and ended the sessions then. */
static void change_repeat_checked(struct password_job *job, enum bt_err err)
{
    struct change_op *c = change_of(job);
    if (err != BT_OK) {
        change_unrepeated(c, err);
    } else if (job->is_right) {
        c->op.try_came = USER_TRY_RIGHT;
        change_reply(c);
    } else {
        user_op_fail(c, BT_EDENIED, "wrong password");
    }
}

static void change_hashed(struct password_job *job, enum bt_err err)
{
    struct change_op *c = change_of(job);
    const struct rpc_header *h = rpc_call_header(c->op.call);

    if (err != BT_OK) {
        user_op_fail_hash(c, err);
        return;
    }
    store_account_set_password(c->op.self->st, h->caller, (struct store_text){ c->hash, c->hash_len },
                               (struct store_text){ job->hash, strlen(job->hash) }, h->session, SessionEnd_PASSWORD_CHANGED,
                               change_done, c);
}

static void change_done(const struct db_done *done, void *arg)
{
    struct change_op *c = arg;
    if (done->err == BT_OK)
        change_reply(c);
    else if (done->err == BT_ECONFLICT && c->tries++ < USER_TRIES)
        change_look(c);
    else
        user_op_fail(c, done->err, NULL);
}
