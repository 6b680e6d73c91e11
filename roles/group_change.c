/*
 * roles/group_change.c: changes that the owner of the conversation decides on alone: this role looks at the request's form, and
 * says what is asked.
 */
#include "roles/group_internal.h"

/* Ask for a change, and answer with the seq of its message. */
static void group_ask(struct group_role *self, struct rpc_call *call, const Membership *change)
{
    struct group_job *job = group_begin(self, call);
    if (job)
        group_apply(job, change, group_reply_seq);
}

/* False, and the call was failed: the request names nobody. */
static bool names_user(struct rpc_call *call, uint64_t user_id)
{
    if (user_id == 0)
        rpc_fail(call, BT_EINVAL, "no user_id");
    return user_id != 0;
}

/* The same, and he must not be the caller. */
static bool names_other(struct rpc_call *call, uint64_t user_id, const char *detail)
{
    if (!names_user(call, user_id))
        return false;
    if (user_id == rpc_call_header(call)->caller) {
        rpc_fail(call, BT_EINVAL, "%s", detail);
        return false;
    }
    return true;
}

void group_leave_group(struct rpc_call *call, const void *msg, void *self)
{
    Membership change = { .change = MembershipChange_LEFT, .user_id = rpc_call_header(call)->caller };
    (void)msg;
    group_ask(self, call, &change);
}

void group_kick(struct rpc_call *call, const void *msg, void *self)
{
    const KickRequest *req = msg;
    Membership change = { .change = MembershipChange_KICKED, .user_id = req->user_id };
    if (names_other(call, req->user_id, "to go oneself is LeaveGroup"))
        group_ask(self, call, &change);
}

void group_mute(struct rpc_call *call, const void *msg, void *self)
{
    const MuteRequest *req = msg;
    Membership change = { .change = MembershipChange_MUTED, .user_id = req->user_id, .until_ms = req->until_ms };
    if (!names_user(call, req->user_id))
        return;
    if (req->until_ms < 0) {
        rpc_fail(call, BT_EINVAL, "until_ms is below 0");
        return;
    }
    group_ask(self, call, &change);
}

void group_set_role(struct rpc_call *call, const void *msg, void *self)
{
    const SetRoleRequest *req = msg;
    Membership change = { .change = MembershipChange_ROLE_SET, .user_id = req->user_id, .role = req->role };
    if (!names_other(call, req->user_id, "one's own role is changed by Transfer"))
        return;
    if (req->role != MemberRole_MEMBER && req->role != MemberRole_ADMIN) {
        rpc_fail(call, BT_EINVAL, "the role must be member or admin");
        return;
    }
    group_ask(self, call, &change);
}

void group_transfer(struct rpc_call *call, const void *msg, void *self)
{
    const TransferRequest *req = msg;
    Membership change = { .change = MembershipChange_TRANSFERRED, .user_id = req->user_id };
    if (names_user(call, req->user_id))
        group_ask(self, call, &change);
}

void group_disband(struct rpc_call *call, const void *msg, void *self)
{
    Membership change = { .change = MembershipChange_DISBANDED };
    (void)msg;
    group_ask(self, call, &change);
}
