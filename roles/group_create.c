/*
 * roles/group_create.c: CreateGroup and UpdateGroup: what a group is.
 *
 * Creating is known again by (creator, request_id): the group is looked for before, and when the owner says that it exists. A
 * repeat is one that asks for what stands there now, or for what the group's first message says it began with.
 */
#include <string.h>

#include "roles/group_internal.h"
#include "store/history.h"
#include "store/name.h"

static bool bytes_are(struct rpc_bytes b, const void *data, size_t len)
{
    return b.len == len && (len == 0 || memcmp(b.data, data, len) == 0);
}

/* Are the asked texts and join mode fit? What is absent is. Else the call is failed. */
static bool are_fit(const struct group_role *self, struct rpc_call *call, struct rpc_bytes name, struct rpc_bytes about, bool has_mode, JoinMode mode)
{
    if (name.data && !name_check(name.data, name.len, 1, self->name_max))
        rpc_fail(call, BT_EINVAL, "the name must be 1 to %zu bytes of clean UTF-8", self->name_max);
    else if (about.data && (about.len > self->about_max || !name_is_utf8(about.data, about.len)))
        rpc_fail(call, BT_EINVAL, "the description must be at most %zu bytes of UTF-8", self->about_max);
    else if (has_mode && mode != JoinMode_OPEN && mode != JoinMode_BY_REQUEST && mode != JoinMode_BY_INVITATION)
        rpc_fail(call, BT_EINVAL, "unknown join mode");
    else
        return true;
    return false;
}

/* Keep what was asked beyond the handler. False: no memory. */
static bool keep_asked(struct group_job *job, struct rpc_bytes name, struct rpc_bytes about)
{
    if (name.data)
        job->name = rpc_bytes(arena_copy(&job->arena, name.data, name.len), name.len);
    if (about.data)
        job->about = rpc_bytes(arena_copy(&job->arena, about.data, about.len), about.len);
    return (!name.data || job->name.data) && (!about.data || job->about.data);
}

static Membership asked_change(const struct group_job *job, MembershipChange change)
{
    return (Membership){ .change = change, .user_id = job->caller, .name = job->name, .about = job->about, .join_mode = job->join_mode };
}

static bool is_as_asked(const struct group_job *job)
{
    const struct store_group_view *v = &job->view;
    return bytes_are(job->name, v->name, v->name_len) && bytes_are(job->about, v->about, v->about_len) && (int32_t)job->join_mode == v->join_mode;
}

/* ---- CreateGroup --------------------------------------------------------------------------------------------------- */

/* The group's first message, which made it: did it begin as asked? */
static void create_began_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct group_job *job = arg;
    Membership began = { 0 };
    struct store_logged first;
    bool is_same = false;
    if (err != BT_OK) {
        group_fail(job, err, NULL);
        return;
    }
    if (rows->nrows == 1) {
        first = store_logged_of(rows, 0);
        if (rpc_decode(Membership_fields, first.body, first.body_len, &began) == BT_OK) {
            is_same = bytes_are(job->name, began.name.data, began.name.len) && bytes_are(job->about, began.about.data, began.about.len) &&
                      job->join_mode == began.join_mode;
            rpc_release(Membership_fields, &began);
        }
    }
    job->is_written &= is_same; /* another group was: what is asked now was not done */
    if (is_same)
        group_reply_info(job);
    else
        group_fail(job, BT_EEXIST, "the request_id was used for another group");
}

/* There is a group of that request: a repeat finds it. */
static void create_found(struct group_job *job)
{
    struct store_range first = { .hi = job->view.group_id, .first = 1, .last = 1 };
    if (is_as_asked(job))
        group_reply_info(job);
    else
        store_history(job->role->store, &first, 1, create_began_done, job);
}

/* Look whether the request was carried out before; job->next goes on when it was not. */
static void create_find_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct group_job *job = arg;
    bool is_found = err == BT_OK && rows->nrows > 0;
    if (is_found) {
        job->view = store_group_view_of(rows, 0);
        if (!group_keep_view(&job->arena, &job->view))
            err = BT_ENOMEM;
    }
    if (err != BT_OK)
        group_fail(job, err, NULL);
    else if (is_found)
        create_found(job);
    else
        job->next(job);
}

static void create_find(struct group_job *job, group_step *next)
{
    job->next = next;
    store_group_find(job->role->store, job->caller, job->request_id, create_find_done, job);
}

/* The owner says that it exists, and it does not: somebody's fault, and nothing was done. */
static void create_lost(struct group_job *job)
{
    job->is_written = false;
    group_fail(job, BT_ECONFLICT, NULL);
}

static void create_exists(struct group_job *job)
{
    create_find(job, create_lost);
}

static void create_applied(struct group_job *job)
{
    group_view(job, group_reply_info);
}

static void create_id_done(enum bt_err err, uint64_t id, void *arg)
{
    struct group_job *job = arg;
    Membership change = asked_change(job, MembershipChange_CREATED);
    if (err != BT_OK) {
        group_fail(job, err, NULL);
        return;
    }
    job->group_id = id;
    job->exists = create_exists;
    group_apply(job, &change, create_applied);
}

static void create_counted(struct group_job *job)
{
    if (job->joined >= job->role->max_joined)
        group_fail(job, BT_EBUSY, "in too many groups");
    else
        store_next_id(job->role->store, "entity", create_id_done, job);
}

static void create_is_new(struct group_job *job)
{
    group_joined(job, create_counted);
}

void group_create_group(struct rpc_call *call, const void *msg, void *self_arg)
{
    const CreateGroupRequest *req = msg;
    struct group_role *self = self_arg;
    struct rpc_bytes name = req->name.data ? req->name : rpc_bytes("", 0); /* absent is empty here */
    struct rpc_bytes about = req->about.data ? req->about : rpc_bytes("", 0);
    struct group_job *job;
    if (req->request_id == 0) {
        rpc_fail(call, BT_EINVAL, "no request_id");
        return;
    }
    if (!are_fit(self, call, name, about, true, req->join_mode))
        return;
    job = group_begin_any(self, call);
    if (!job)
        return;
    job->request_id = req->request_id;
    job->join_mode = req->join_mode;
    if (keep_asked(job, name, about))
        create_find(job, create_is_new);
    else
        group_fail(job, BT_ENOMEM, NULL);
}

/* ---- UpdateGroup --------------------------------------------------------------------------------------------------- */

static void update_applied(struct group_job *job)
{
    group_view(job, group_reply_info);
}

/* Does all that was asked stand already? */
static bool update_is_none(const struct group_job *job)
{
    const struct store_group_view *v = &job->view;
    return (!job->name.data || bytes_are(job->name, v->name, v->name_len)) && (!job->about.data || bytes_are(job->about, v->about, v->about_len)) &&
           (!job->has_join_mode || (int32_t)job->join_mode == v->join_mode);
}

/*
 * The owner is told what was asked, and leaves the rest as it finds it: what was read here may have changed since. What changes
 * nothing makes no message.
 */
static void update_viewed(struct group_job *job)
{
    const struct store_group_view *v = &job->view;
    bool may = v->role >= STORE_ADMIN && v->disbanded_ms == 0; /* if not, the owner says so */
    Membership change;
    if (may && update_is_none(job)) {
        group_reply_info(job);
        return;
    }
    change = asked_change(job, MembershipChange_UPDATED);
    group_update(job, &change, update_applied);
}

void group_update_group(struct rpc_call *call, const void *msg, void *self_arg)
{
    const UpdateGroupRequest *req = msg;
    struct group_role *self = self_arg;
    struct group_job *job;
    if (!are_fit(self, call, req->name, req->about, req->has_join_mode, req->join_mode))
        return;
    job = group_begin(self, call);
    if (!job)
        return;
    job->has_join_mode = req->has_join_mode;
    job->join_mode = req->join_mode;
    if (keep_asked(job, req->name, req->about))
        group_view(job, update_viewed);
    else
        group_fail(job, BT_ENOMEM, NULL);
}
