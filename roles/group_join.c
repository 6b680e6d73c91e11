/*
 * roles/group_join.c: JoinGroup, Invite and Refuse: how one comes in, and the pending states before.
 *
 * To be invited or to ask makes nobody a member, so this role writes it by itself, conditional on the state read. Who comes in is
 * let in by the conversation's owner.
 */
#include "roles/group_internal.h"

/* Ask the owner to let a user in. */
static void join_apply(struct group_job *job, uint64_t user_id, group_step *next)
{
    Membership change = { .change = MembershipChange_JOINED, .user_id = user_id, .role = MemberRole_MEMBER };
    group_apply(job, &change, next);
}

/* ---- JoinGroup ----------------------------------------------------------------------------------------------------- */

static void join_done(struct group_job *job)
{
    JoinReply reply = { .pending = false, .seq = job->seq };
    group_reply(job, &reply);
}

static void join_counted(struct group_job *job)
{
    if (job->joined >= job->role->max_joined)
        group_fail(job, BT_EBUSY, "in too many groups");
    else
        join_apply(job, job->caller, join_done);
}

/* The caller asks now: owner and admins are told. */
static void join_asked(struct group_job *job)
{
    JoinReply reply = { .pending = true };
    rpc_reply(job->call, &reply);
    job->call = NULL;
    job->event = (GroupEvent){ .user_id = job->caller, .about_user_id = job->caller, .pending = Pending_ASKING };
    job->tell_user = job->caller; /* his other devices */
    group_tell(job, true);
}

static void join_viewed(struct group_job *job);

static void join_again(struct group_job *job)
{
    group_view(job, join_viewed);
}

static void join_viewed(struct group_job *job)
{
    const struct store_group_view *v = &job->view;
    JoinReply asked = { .pending = true };
    if (v->disbanded_ms)
        group_fail(job, BT_ESTATE, "the group is disbanded");
    else if (v->role > STORE_NOBODY)
        join_done(job);
    else if (v->pending == STORE_INVITED || v->join_mode == JoinMode_OPEN)
        group_joined(job, join_counted);
    else if (v->join_mode == JoinMode_BY_INVITATION)
        group_fail(job, BT_EDENIED, "the group takes members by invitation only");
    else if (v->pending == STORE_ASKING)
        group_reply(job, &asked);
    else
        group_new_pending(job, job->caller, v->has_row, STORE_ASKING, join_asked, join_again);
}

void group_join_group(struct rpc_call *call, const void *msg, void *self)
{
    struct group_job *job = group_begin(self, call);
    (void)msg;
    if (job)
        group_view(job, join_viewed);
}

/* ---- Invite -------------------------------------------------------------------------------------------------------- */

static void invite_done(struct group_job *job)
{
    GroupReply reply = { .seq = 0 };
    rpc_reply(job->call, &reply);
    job->call = NULL;
    job->event = (GroupEvent){ .user_id = job->caller, .about_user_id = job->user_id, .pending = Pending_INVITED };
    job->tell_user = job->user_id;
    group_tell(job, false);
}

static void invite_again(struct group_job *job);

static void invite_decide(struct group_job *job)
{
    const struct store_group_other *o = &job->other;
    bool decides = job->view.role >= STORE_ADMIN;
    if (!o->exists)
        group_fail(job, BT_ENOTFOUND, "no such user");
    else if (o->role > STORE_NOBODY || (o->pending == STORE_INVITED && !o->blocks))
        group_reply_seq(job); /* as it shall be: no change */
    else if (o->pending == STORE_ASKING && decides && o->joined >= job->role->max_joined)
        group_fail(job, BT_EBUSY, "the user is in too many groups");
    else if (o->pending == STORE_ASKING && decides)
        join_apply(job, job->user_id, group_reply_seq); /* he wants to, whomever he blocks */
    else if (o->blocks)
        group_fail(job, BT_EDENIED, "the user takes no invitations from the caller");
    else if (job->view.members >= job->role->max_members)
        group_fail(job, BT_EBUSY, "the group is full");
    else if (o->pending == STORE_NOT_PENDING)
        group_new_pending(job, job->user_id, o->has_row, STORE_INVITED, invite_done, invite_again);
    else
        group_set_pending(job, job->user_id, o->has_row, o->pending, STORE_INVITED, invite_done, invite_again);
}

static void invite_viewed(struct group_job *job)
{
    const struct store_group_view *v = &job->view;
    if (v->disbanded_ms)
        group_fail(job, BT_ESTATE, "the group is disbanded");
    else if (v->role == STORE_NOBODY || (v->role < STORE_ADMIN && v->join_mode != JoinMode_OPEN))
        group_fail(job, BT_EDENIED, "the caller may not invite");
    else
        group_other(job, invite_decide);
}

static void invite_again(struct group_job *job)
{
    group_view(job, invite_viewed);
}

void group_invite(struct rpc_call *call, const void *msg, void *self)
{
    const InviteRequest *req = msg;
    struct group_job *job;
    if (req->user_id == 0) {
        rpc_fail(call, BT_EINVAL, "no user_id");
        return;
    }
    job = group_begin(self, call);
    if (!job)
        return;
    job->user_id = req->user_id;
    group_view(job, invite_viewed);
}

/* ---- Refuse -------------------------------------------------------------------------------------------------------- */

/* Settled: told to whom it is about, and to those who decide. */
static void refuse_done(struct group_job *job)
{
    GroupReply reply = { .seq = 0 };
    bool was_asking = job->pending_was == STORE_ASKING;
    uint64_t inviter = job->user_id == job->caller ? 0 : job->caller; /* who had invited is not kept */
    rpc_reply(job->call, &reply);
    job->call = NULL;
    job->event = (GroupEvent){ .user_id = was_asking ? job->user_id : inviter, .about_user_id = job->user_id, .pending = Pending_NOT_PENDING };
    job->tell_user = job->user_id;
    group_tell(job, true);
}

static void refuse_again(struct group_job *job);

static void refuse_pending(struct group_job *job, int32_t role, int32_t pending)
{
    if (role > STORE_NOBODY || pending == STORE_NOT_PENDING)
        group_reply_seq(job); /* there is none: no change */
    else
        group_set_pending(job, job->user_id, true, pending, STORE_NOT_PENDING, refuse_done, refuse_again);
}

static void refuse_decide(struct group_job *job)
{
    refuse_pending(job, job->other.role, job->other.pending);
}

static void refuse_viewed(struct group_job *job)
{
    const struct store_group_view *v = &job->view;
    if (job->user_id == job->caller)
        refuse_pending(job, v->role, v->pending);
    else if (v->role < STORE_ADMIN)
        group_fail(job, BT_EDENIED, "only owner and admins refuse others");
    else
        group_other(job, refuse_decide);
}

static void refuse_again(struct group_job *job)
{
    group_view(job, refuse_viewed);
}

void group_refuse(struct rpc_call *call, const void *msg, void *self)
{
    const RefuseRequest *req = msg;
    struct group_job *job = group_begin(self, call);
    if (!job)
        return;
    job->user_id = req->user_id ? req->user_id : job->caller;
    group_view(job, refuse_viewed);
}
