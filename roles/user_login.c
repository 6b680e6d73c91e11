/* roles/user_login.c: from a password to a session, from a token to a session, and out again. */
#include "roles/user.h"

#include <string.h>

#include "net/mem.h"
#include "store/session.h"

#define LOG_MODULE "user"
#include "net/log.h"

void user_grant(struct user_role *self, struct rpc_call *call, const struct user_grant *grant)
{
    uint8_t token[TOKEN_MAX];
    int64_t now_ms = store_now_ms(self->st);
    LoginReply reply = {
        .user_id = grant->user_id,
        .session_id = grant->session_id,
        .token = grant->token,
        .token_expires_ms = grant->token_expires_ms,
        .name = grant->name,
        .now_ms = now_ms,
    };
    if (!grant->token.data) {
        const struct token t = {
            .user_id = grant->user_id,
            .session_id = grant->session_id,
            .issued_ms = now_ms,
            .expires_ms = now_ms + self->token_life_ms,
            .name = grant->name.data,
            .name_len = grant->name.len,
        };
        reply.token = rpc_bytes(token, token_sign(&self->keys, &t, token));
        reply.token_expires_ms = t.expires_ms;
    }
    rpc_reply(call, &reply);
}

/* ---- Login: find the account; check the password; read the live sessions; begin one, or find the device's again ---- */

struct login_op {
    struct user_op op;
    struct password_job job;
    uint64_t user_id, session_id;
    int64_t device_id;               /* 0: none chosen */
    uint8_t name[TOKEN_NAME_MAX], device[USER_DEVICE_MAX];
    size_t name_len, device_len, password_len;
    char hash[PASSWORD_HASH_SIZE];   /* that the password was checked against */
    size_t hash_len;
    bool is_outdated;                /* the hash was made with other settings than are set now */
    bool has_replaced;               /* the session takes the place of others */
    int tries;
    uint8_t password[PASSWORD_MAX];
};

static void login_found(enum bt_err err, const struct db_rows *rows, void *arg);
static void login_checked(struct password_job *job, enum bt_err err);
static void login_listed(enum bt_err err, const struct db_rows *rows, void *arg);
static void login_begin(struct login_op *l, const struct db_rows *live);
static void login_done(const struct db_done *done, void *arg);
static void login_found_again(enum bt_err err, const struct db_rows *rows, void *arg);
static void login_rehash(struct login_op *l);
static void login_rehashed(struct password_job *job, enum bt_err err);
static void login_rehash_written(const struct db_done *done, void *arg);

#define login_of(job_ptr) ((struct login_op *)((char *)(job_ptr)-offsetof(struct login_op, job)))

static enum bt_err login_wanted(struct password_job *job)
{
    return user_op_wanted(&login_of(job)->op);
}

void user_login(struct rpc_call *call, const void *msg, void *self_arg)
{
    const LoginRequest *req = msg;
    struct user_role *self = self_arg;
    uint8_t canon[USER_CANON_MAX];
    size_t canon_len;

    if (rpc_call_header(call)->session != 0) {
        rpc_fail(call, BT_ESTATE, "logged in already");
        return;
    }
    if (req->password.len > PASSWORD_MAX) {
        rpc_fail(call, BT_ENOAUTH, "unknown name or wrong password");
        return;
    }
    if (!name_check(req->device.data ? (const void *)req->device.data : "", req->device.len, 0, USER_DEVICE_MAX)) {
        rpc_fail(call, BT_EINVAL, "device must have at most %d bytes of visible characters", USER_DEVICE_MAX);
        return;
    }
    struct login_op *l = user_op_begin(self, call, sizeof *l);
    if (!l)
        return;
    l->job.wanted = login_wanted;
    l->job.is_login = true;
    l->device_id = (int64_t)(req->device_id & INT64_MAX); /* below 0 are those that chose none */
    if (req->password.len > 0)
        memcpy(l->password, req->password.data, l->password_len = req->password.len);
    if (req->device.len > 0)
        memcpy(l->device, req->device.data, l->device_len = req->device.len);

    enum bt_err err = user_name_canon(self, req->name, canon, &canon_len);
    if (err == BT_ENOMEM) {
        user_op_fail(l, err, NULL);
        return;
    }
    if (err != BT_OK)
        canon_len = 0;
    if (user_op_try(l, USER_TRIES_BY_NAME, err == BT_OK ? canon : req->name.data, err == BT_OK ? canon_len : req->name.len)) /* what can't be a name is looked for all the same: its answer must not come sooner than another's */
        store_account_by_name(self->st, (struct store_text){ canon, canon_len }, login_found, l);
}

/* Remember the account as it was read. False: it does not fit, so it was not written by us. */
static bool login_take_account(struct login_op *l, const struct store_account *a)
{
    l->user_id = a->user_id;
    if (a->name.len > sizeof l->name || a->hash.len >= sizeof l->hash)
        return false;
    memcpy(l->name, a->name.p, l->name_len = a->name.len);
    memcpy(l->hash, a->hash.p, l->hash_len = a->hash.len);
    return true;
}

static void login_found(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct login_op *l = arg;
    struct store_account a;
    bool is_known = false;

    if (err == BT_OK && store_account_at(rows, 0, &a)) {
        is_known = login_take_account(l, &a);
        err = is_known ? BT_OK : BT_EINTERNAL;
    }
    if (err != BT_OK) {
        user_op_fail(l, err, NULL);
        return;
    }
    err = password_check(l->op.self->passwords, &l->job, l->password, l->password_len, is_known ? l->hash : NULL,
                         l->hash_len, login_checked);
    if (err != BT_OK)
        user_op_fail_hash(l, err);
}

static void login_checked(struct password_job *job, enum bt_err err)
{
    struct login_op *l = login_of(job);
    if (err != BT_OK) {
        user_op_fail_hash(l, err);
    } else if (!job->is_right) {
        l->op.try_came = USER_TRY_WRONG;
        user_op_fail(l, BT_ENOAUTH, "unknown name or wrong password");
    } else {
        l->op.try_came = USER_TRY_RIGHT;
        l->is_outdated = job->is_outdated;
        store_account_by_id(l->op.self->st, l->user_id, login_found_again, l);
    }
}

/* The right password was given. Is it still, and may one log in with it? Now, and whenever the ground had changed. */
static void login_found_again(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct login_op *l = arg;
    struct store_account a;

    if (err != BT_OK) {
        user_op_fail(l, err, NULL);
    } else if (!store_account_at(rows, 0, &a)) {
        user_op_fail(l, BT_ENOAUTH, "unknown name or wrong password");
    } else if (a.hash.len != l->hash_len || memcmp(a.hash.p, l->hash, l->hash_len) != 0) {
        login_found(BT_OK, rows, l);
    } else if (a.disabled_ms != 0) {
        user_op_fail(l, BT_EDENIED, "the account is disabled");
    } else {
        store_session_live(l->op.self->st, l->user_id, login_listed, l);
    }
}

/* The store's view of this login. */
static struct store_login login_view(const struct login_op *l)
{
    return (struct store_login){
        .user_id = l->user_id,
        .hash = { l->hash, l->hash_len },
        .session = {
            .session_id = l->session_id,
            .device_id = l->device_id ? l->device_id : -(int64_t)l->session_id,
            .device = { l->device, l->device_len },
            .created_ms = store_now_ms(l->op.self->st),
        },
        .reason = SessionEnd_REPLACED,
    };
}

static void login_listed(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct login_op *l = arg;
    struct store_session s;

    if (err != BT_OK) {
        user_op_fail(l, err, NULL);
        return;
    }
    for (size_t r = 0; l->device_id && store_session_live_at(rows, r, &s); r++) {
        if (s.device_id != l->device_id)
            continue;
        l->session_id = s.session_id;
        l->has_replaced = false;
        const struct store_login again = login_view(l);
        store_session_again(l->op.self->st, &again, login_done, l);
        return;
    }
    login_begin(l, rows);
}

/* A new session; the oldest give way to it. */
static void login_begin(struct login_op *l, const struct db_rows *live)
{
    struct user_role *self = l->op.self;
    size_t keep = live->nrows < self->max_sessions ? live->nrows : self->max_sessions - 1;
    size_t nreplaced = live->nrows - keep;
    struct store_session s;

    l->session_id = token_random_id();
    struct store_login begin = login_view(l);
    begin.nleft = keep;
    uint64_t *replaced = nreplaced ? bt_calloc(nreplaced, sizeof *replaced) : NULL;
    if (nreplaced && !replaced) {
        user_op_fail(l, BT_ENOMEM, NULL);
        return;
    }
    for (size_t i = 0; i < nreplaced && store_session_live_at(live, keep + i, &s); i++)
        replaced[i] = s.session_id;
    begin.replaced = replaced;
    begin.nreplaced = nreplaced;
    l->has_replaced = nreplaced > 0;
    store_session_begin(self->st, &begin, login_done, l);
    bt_free(replaced);
}

static void login_done(const struct db_done *done, void *arg)
{
    struct login_op *l = arg;

    if ((done->err == BT_ECONFLICT || done->err == BT_EEXIST) && l->tries++ < USER_TRIES) {
        store_account_by_id(l->op.self->st, l->user_id, login_found_again, l);
        return;
    }
    if (done->err != BT_OK) {
        user_op_fail(l, done->err == BT_EEXIST ? BT_ECONFLICT : done->err, NULL);
        return;
    }
    if (l->has_replaced)
        user_ended_poke(l->op.self->ended);
    user_grant(l->op.self, l->op.call, &(struct user_grant){
        .user_id = l->user_id,
        .session_id = l->session_id,
        .name = rpc_bytes(l->name, l->name_len),
    });
    if (l->is_outdated)
        login_rehash(l);
    else
        user_op_end(l);
}

/*
 * After the answer: the hash as it would be made now, unless the password was changed meanwhile. What fails is tried at the next login.
 */
static void login_rehash(struct login_op *l)
{
    user_tries_end(l->op.self->tries, l->op.try_key, l->op.try_came);
    l->op.try_key = 0;
    l->op.call = NULL;
    l->job.wanted = NULL;
    l->job.is_login = false;
    if (password_make(l->op.self->passwords, &l->job, l->password, l->password_len, login_rehashed) != BT_OK)
        user_op_end(l);
}

static void login_rehashed(struct password_job *job, enum bt_err err)
{
    struct login_op *l = login_of(job);

    if (err != BT_OK)
        user_op_end(l);
    else
        store_account_set_hash(l->op.self->st, l->user_id, (struct store_text){ l->hash, l->hash_len },
                               (struct store_text){ job->hash, strlen(job->hash) }, login_rehash_written, l);
}

static void login_rehash_written(const struct db_done *done, void *arg)
{
    struct login_op *l = arg;

    if (done->err == BT_OK)
        log_info("the password hash of user %llu was made anew with the present settings", (unsigned long long)l->user_id);
    else
        log_debug("the password hash of user %llu was not made anew: %s", (unsigned long long)l->user_id, bt_err_text(done->err));
    user_op_end(l);
}

/* ---- Resume: the token proves itself; only that its session has not ended must be known ---- */

/*
 * A token by a key that is not known yet may come from a node that has read the file of keys earlier: it is looked at now.
 * While that can't be read, BT_EDOWN: a client that is told that its token is not valid forgets it.
 */
static enum bt_err resume_verify(struct user_role *self, struct rpc_bytes token, int64_t now_ms, struct token *out)
{
    enum bt_err err = token_verify(&self->keys, token.data, token.len, now_ms, self->token_life_ms, out);

    if (err != BT_ENOTFOUND)
        return err;
    if (token_keys_refresh(&self->keys))
        err = token_verify(&self->keys, token.data, token.len, now_ms, self->token_life_ms, out);
    if (err != BT_ENOTFOUND)
        return err;
    return token_keys_are_current(&self->keys) ? BT_ENOAUTH : BT_EDOWN;
}

void user_resume(struct rpc_call *call, const void *msg, void *self_arg)
{
    const ResumeRequest *req = msg;
    struct user_role *self = self_arg;
    int64_t now_ms = store_now_ms(self->st);
    struct token t;

    if (rpc_call_header(call)->session != 0) {
        rpc_fail(call, BT_ESTATE, "logged in already");
        return;
    }
    enum bt_err err = resume_verify(self, req->token, now_ms, &t);
    if (err == BT_EDOWN) {
        rpc_fail_retry(call, BT_EDOWN, 1000, "the keys of tokens can't be read");
        return;
    }
    if (err != BT_OK) {
        rpc_fail(call, BT_ENOAUTH, "the token is not valid");
        return;
    }
    if (!user_ended_is_known(self->ended)) {
        rpc_fail_retry(call, BT_EDOWN, 200, "starting: the sessions that ended are not known yet");
        return;
    }
    if (user_ended_has(self->ended, t.session_id)) {
        rpc_fail(call, BT_ENOAUTH, "the session has ended");
        return;
    }
    err = user_ended_resuming(self->ended, t.session_id);
    if (err != BT_OK) {
        rpc_fail(call, err, NULL);
        return;
    }
    bool is_young = now_ms - t.issued_ms < (t.expires_ms - t.issued_ms) / 2;
    user_grant(self, call, &(struct user_grant){
        .user_id = t.user_id,
        .session_id = t.session_id,
        .name = rpc_bytes(t.name, t.name_len),
        .token = is_young ? req->token : (struct rpc_bytes){ 0 },
        .token_expires_ms = t.expires_ms,
    });
}

/* ---- Logout ---- */

struct logout_op {
    struct user_op op;
    uint64_t session_id;
    int64_t ended_ms;
};

static void logout_done(const struct db_done *done, void *arg);

void user_logout(struct rpc_call *call, const void *msg, void *self_arg)
{
    const struct rpc_header *h = rpc_call_header(call);
    struct user_role *self = self_arg;
    (void)msg;

    struct logout_op *o = user_op_begin(self, call, sizeof *o);
    if (!o)
        return;
    o->session_id = h->session;
    o->ended_ms = store_now_ms(self->st);
    store_session_end(self->st, h->caller, h->session, SessionEnd_ENDED, o->ended_ms, logout_done, o);
}

static void logout_done(const struct db_done *done, void *arg)
{
    struct logout_op *o = arg;
    if (done->err != BT_OK) {
        user_op_fail(o, done->err, NULL);
        return;
    }
    user_ended_add(o->op.self->ended, o->session_id, o->ended_ms);
    rpc_reply(o->op.call, &(LogoutReply){ 0 });
    user_op_end(o);
}
