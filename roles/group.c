/* roles/group.c: the group role, and the steps that its handlers are made of. */
#define LOG_MODULE "group"

#include <assert.h>

#include "net/conf.h"
#include "net/log.h"
#include "net/mem.h"
#include "proto/group_methods.h"
#include "proto/node.pb.h"
#include "proto/stubs.h"
#include "roles/group_internal.h"

enum { PENDING_TRIES = 4 };

static const struct conf_key group_keys[] = {
    { .section = "group", .name = "max_members", .type = CONF_INT, .def = "5000", .min = 1, .max = 1000000, .unit = "users",
      .help = "Members of one group." },
    { .section = "group", .name = "max_joined", .type = CONF_INT, .def = "1000", .min = 1, .max = 100000, .unit = "groups",
      .help = "Groups that one user may be in." },
    { .section = "group", .name = "max_pending", .type = CONF_INT, .def = "1000", .min = 1, .max = 100000, .unit = "users",
      .help = "Users that are invited to one group or ask to join it." },
    { .section = "group", .name = "name_max", .type = CONF_INT, .def = "64", .min = 1, .max = 256, .unit = "bytes", .help = "Length of a group's name." },
    { .section = "group", .name = "about_max", .type = CONF_INT, .def = "1024", .min = 0, .max = 1024, .unit = "bytes",
      .help = "Length of a group's description." },
    { .section = "group", .name = "max_calls", .type = CONF_INT, .def = "1024", .min = 1, .max = 100000, .unit = "calls",
      .help = "Calls under way at once; more are refused with RESOURCE_EXHAUSTED." },
    { .section = NULL },
};

/* ---- jobs ---------------------------------------------------------------------------------------------------------- */

struct group_job *group_begin_any(struct group_role *self, struct rpc_call *call)
{
    struct group_job *job;
    if (self->open >= self->max_calls) {
        rpc_fail_retry(call, BT_EBUSY, 100, "too many calls under way");
        return NULL;
    }
    job = bt_calloc(1, sizeof(*job));
    if (!job) {
        rpc_fail(call, BT_ENOMEM, NULL);
        return NULL;
    }
    job->role = self;
    job->call = call;
    job->ctx = rpc_ctx_of(call);
    job->caller = rpc_call_header(call)->caller;
    self->open++;
    return job;
}

struct group_job *group_begin(struct group_role *self, struct rpc_call *call)
{
    uint64_t target = rpc_call_header(call)->target;
    struct group_job *job;
    if (!(target & RPC_TARGET_GROUP)) {
        rpc_fail(call, BT_ENOTFOUND, "the target is not a group");
        return NULL;
    }
    job = group_begin_any(self, call);
    if (job)
        job->group_id = target & ~RPC_TARGET_GROUP;
    return job;
}

static void group_stop_done(void *arg)
{
    struct group_role *self = arg;
    void (*stopped_cb)(void *) = self->stopped_cb;
    void *stopped_arg = self->stopped_arg;
    bt_free(self);
    stopped_cb(stopped_arg);
}

static void group_settle(struct group_role *self)
{
    if (self->stopped_cb && self->open == 0)
        net_defer(self->loop, &self->stop_task, group_stop_done, self);
}

void group_end(struct group_job *job)
{
    struct group_role *self = job->role;
    assert(!job->call && self->open > 0);
    arena_free(&job->arena);
    bt_free(job);
    self->open--;
    group_settle(self);
}

/* The call is ended, the job is not: it has something left to do that nobody waits for. */
static struct rpc_call *group_take_call(struct group_job *job)
{
    struct rpc_call *call = job->call;
    assert(call);
    job->call = NULL;
    return call;
}

void group_fail(struct group_job *job, enum bt_err err, const char *detail)
{
    if (job->is_written) {
        err = BT_EUNSURE;
        detail = "written, but it could not be read again";
    }
    rpc_fail(group_take_call(job), err, "%s", detail ? detail : bt_err_text(err));
    group_end(job);
}

void group_reply(struct group_job *job, const void *msg)
{
    rpc_reply(group_take_call(job), msg);
    group_end(job);
}

void group_reply_seq(struct group_job *job)
{
    GroupReply reply = { .seq = job->seq };
    group_reply(job, &reply);
}

void group_reply_info(struct group_job *job)
{
    GroupInfo reply = group_info_of(&job->view);
    group_reply(job, &reply);
}

GroupInfo group_info_of(const struct store_group_view *v)
{
    return (GroupInfo){
        .group_id = v->group_id,
        .name = rpc_bytes(v->name, v->name_len),
        .about = rpc_bytes(v->about, v->about_len),
        .join_mode = (JoinMode)v->join_mode,
        .member_count = v->members,
        .owner_id = v->owner_id,
        .my_role = (MemberRole)v->role,
        .my_pending = v->role > 0 ? Pending_NOT_PENDING : (Pending)v->pending,
        .created_ms = v->created_ms,
        .disbanded = v->disbanded_ms != 0,
    };
}

bool group_keep_view(struct arena *arena, struct store_group_view *v)
{
    v->name = arena_copy(arena, v->name, v->name_len);
    v->about = arena_copy(arena, v->about, v->about_len);
    return v->name && v->about;
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

/* Whether a read that ended so lets the job go on; if not, the job has ended. */
static bool group_goes_on(struct group_job *job, enum bt_err err, const char *detail)
{
    if (err == BT_OK && job->call && rpc_call_is_dead(job->call))
        err = BT_ECANCELLED;
    else if (err == BT_OK && job->call && !job->is_written && rpc_call_is_late(job->call))
        err = BT_EDOWN;
    if (err != BT_OK)
        group_fail(job, err, detail);
    return err == BT_OK;
}

static void group_view_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct group_job *job = arg;
    if (err == BT_OK && rows->nrows == 0) {
        group_fail(job, BT_ENOTFOUND, "no such group");
        return;
    }
    if (err == BT_OK) {
        job->view = store_group_view_of(rows, 0);
        if (!group_keep_view(&job->arena, &job->view))
            err = BT_ENOMEM;
    }
    if (group_goes_on(job, err, NULL))
        job->next(job);
}

void group_view(struct group_job *job, group_step *next)
{
    job->next = next;
    store_group_get(job->role->store, job->group_id, job->caller, group_view_done, job);
}

static void group_other_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct group_job *job = arg;
    if (err == BT_OK)
        job->other = store_group_other_of(rows);
    if (group_goes_on(job, err, NULL))
        job->next(job);
}

void group_other(struct group_job *job, group_step *next)
{
    job->next = next;
    store_group_other(job->role->store, job->group_id, job->user_id, job->caller, group_other_done, job);
}

static void group_joined_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct group_job *job = arg;
    if (err == BT_OK)
        job->joined = store_group_joined_of(rows);
    if (group_goes_on(job, err, NULL))
        job->next(job);
}

void group_joined(struct group_job *job, group_step *next)
{
    job->next = next;
    store_group_joined(job->role->store, job->caller, group_joined_done, job);
}

/* ---- asking the owner ---------------------------------------------------------------------------------------------- */

static void group_apply_done(const struct rpc_reply *reply, void *arg)
{
    struct group_job *job = arg;
    GroupReply msg = { 0 };
    enum bt_err err = rpc_reply_decode(reply, GroupReply_fields, &msg);
    job->is_written |= reply->err == BT_OK;
    if (err == BT_EEXIST && job->exists) {
        job->is_written = true; /* perhaps by an earlier try of this very call */
        job->exists(job);
        return;
    }
    if (err != BT_OK && reply->err != BT_OK) {
        rpc_fail_as(group_take_call(job), reply);
        group_end(job);
        return;
    }
    if (err != BT_OK) {
        group_fail(job, err, NULL);
        return;
    }
    job->seq = msg.seq;
    rpc_release(GroupReply_fields, &msg);
    job->next(job);
}

static void group_ask_owner(struct group_job *job, const ApplyRequest *req, group_step *next)
{
    struct rpc_ctx ctx = job->ctx;
    ctx.target = job->group_id | RPC_TARGET_GROUP;
    ctx.timeout_ms = rpc_ctx_of(job->call).timeout_ms; /* what is left now */
    job->next = next;
    rpc_chat_apply(job->role->rpc, &ctx, req, group_apply_done, job);
}

void group_apply(struct group_job *job, const Membership *change, group_step *next)
{
    ApplyRequest req = { .has_change = true, .change = *change, .request_id = job->request_id };
    group_ask_owner(job, &req, next);
}

void group_update(struct group_job *job, const Membership *change, group_step *next)
{
    ApplyRequest req = {
        .has_change = true,
        .change = *change,
        .keep_name = !job->name.data,
        .keep_about = !job->about.data,
        .keep_join_mode = !job->has_join_mode,
    };
    group_ask_owner(job, &req, next);
}

/* ---- pending states ------------------------------------------------------------------------------------------------ */

static void group_set_pending_done(const struct db_done *done, void *arg)
{
    struct group_job *job = arg;
    bool has_changed = done->err == BT_ECONFLICT || done->err == BT_EEXIST;
    if (done->err == BT_OK)
        job->next(job);
    else if (has_changed && ++job->tries < PENDING_TRIES)
        job->again(job);
    else
        group_fail(job, has_changed ? BT_ECONFLICT : done->err, NULL);
}

void group_set_pending(struct group_job *job, uint64_t user_id, bool has_row, int32_t was, int32_t pending, group_step *next, group_step *again)
{
    job->next = next;
    job->again = again;
    job->pending_was = was;
    store_group_set_pending(job->role->store, job->group_id, user_id, has_row, was, pending, group_set_pending_done, job);
}

static void group_pending_counted(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct group_job *job = arg;
    bool is_full = err == BT_OK && store_group_joined_of(rows) >= job->role->max_pending;
    if (!group_goes_on(job, is_full ? BT_EBUSY : err, is_full ? "too many are invited or ask already" : NULL))
        return;
    group_set_pending(job, job->pending_user, job->has_row, STORE_NOT_PENDING, job->pending_new, job->pending_next, job->again);
}

void group_new_pending(struct group_job *job, uint64_t user_id, bool has_row, int32_t pending, group_step *next, group_step *again)
{
    job->pending_user = user_id;
    job->has_row = has_row;
    job->pending_new = pending;
    job->pending_next = next;
    job->again = again;
    store_group_pending(job->role->store, job->group_id, job->role->max_pending, group_pending_counted, job);
}

/* ---- telling ------------------------------------------------------------------------------------------------------- */

static void put_user(uint8_t *at, uint64_t id)
{
    for (int i = 0; i < 8; i++)
        at[i] = (uint8_t)(id >> i * 8);
}

/* Push the event to users; a lost one is made good when the client lists. */
static void group_push(struct group_job *job, const uint8_t *users, size_t n)
{
    size_t size = rpc_size(GroupEvent_fields, &job->event);
    uint8_t *payload = arena_alloc(&job->arena, size);
    PushEvent push = { .users = rpc_bytes(users, n * 8), .method = RPC_ON_GROUP, .except_session = job->ctx.session };
    enum bt_err err = BT_ENOMEM;
    if (payload) {
        push.event = rpc_bytes(payload, rpc_encode(GroupEvent_fields, &job->event, payload, size));
        err = rpc_chat_notify_event(job->role->rpc, &job->ctx, &push);
    }
    if (err != BT_OK)
        log_debug("group %llu: event not pushed: %s", (unsigned long long)job->group_id, bt_err_text(err));
}

static void group_tell_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct group_job *job = arg;
    size_t n = 0, admins = err == BT_OK ? rows->nrows : 0;
    uint8_t *users = arena_array(&job->arena, admins + 1, 8);
    if (users) {
        for (size_t r = 0; r < admins; r++)
            put_user(users + n++ * 8, store_group_admin_of(rows, r));
        if (job->tell_user)
            put_user(users + n++ * 8, job->tell_user);
        if (n > 0)
            group_push(job, users, n);
    }
    group_end(job);
}

void group_tell(struct group_job *job, bool to_admins)
{
    static const struct db_rows none;
    assert(!job->call);
    job->event.group_id = job->group_id;
    job->event.name = rpc_bytes(job->view.name, job->view.name_len);
    if (to_admins)
        store_group_admins(job->role->store, job->group_id, group_tell_done, job);
    else
        group_tell_done(BT_OK, &none, job);
}

/* ---- the role ------------------------------------------------------------------------------------------------------ */

static void group_stop(void *self_arg, void (*stopped_cb)(void *arg), void *arg)
{
    struct group_role *self = self_arg;
    self->stopped_cb = stopped_cb;
    self->stopped_arg = arg;
    group_settle(self);
}

static enum bt_err group_start(const struct role_env *env, void **self_out, char *why, size_t why_size)
{
    struct group_role *self = bt_calloc(1, sizeof(*self));
    (void)why;
    (void)why_size;
    if (!self)
        return BT_ENOMEM;
    self->loop = env->loop;
    self->rpc = env->rpc;
    self->store = env->store;
    self->max_members = (size_t)conf_int(env->conf, "group", "max_members");
    self->max_joined = (size_t)conf_int(env->conf, "group", "max_joined");
    self->max_pending = (size_t)conf_int(env->conf, "group", "max_pending");
    self->name_max = (size_t)conf_int(env->conf, "group", "name_max");
    self->about_max = (size_t)conf_int(env->conf, "group", "about_max");
    self->max_calls = (size_t)conf_int(env->conf, "group", "max_calls");
    *self_out = self;
    return BT_OK;
}

const struct role role_group = {
    .name = "group",
    .id = RPC_ROLE_GROUP,
    .keys = group_keys,
    .methods = group_methods,
    .needs_store = true,
    .start = group_start,
    .stop = group_stop,
};
