/* client/client_api_group.c: typed calls: groups. */
#include <string.h>

#include "client/client_internal.h"
#include "net/mem.h"

static bool call_group(struct bt_client *c, uint16_t method, uint64_t group_id, const void *msg, client_call_done_cb *done, client_any_cb *cb,
                       void *arg)
{
    return client_call(c, &(struct client_ask){
        .method = method, .target = group_id ? BT_GROUP | group_id : 0, .msg = msg, .done = done, .cb = cb, .arg = arg });
}

static struct rpc_bytes str(const char *s)
{
    return s ? rpc_str(s) : (struct rpc_bytes){ 0 };
}

/* The message that told of the change is not pushed to who made it: fetch it. */
static void note_seq(struct client_call *call, uint64_t group_id, uint64_t seq)
{
    if (call->client->user_id != 0)
        client_conv_note_head(call->client, group_id, 0, seq);
}

/* ---- one group ---- */

static void group_done(struct client_call *call, const struct bt_result *r, const void *msg)
{
    struct bt_group group = msg ? client_group_of(msg) : (struct bt_group){ 0 };
    if (call->cb)
        ((bt_group_cb *)call->cb)(r, msg ? &group : NULL, call->arg);
    if (msg && call->method->id == RPC_GROUP_CREATE_GROUP)
        note_seq(call, group.group_id, 1);
}

bool bt_group_create(struct bt_client *c, const char *name, const char *about, enum bt_join_mode mode, bt_group_cb *cb, void *arg)
{
    CreateGroupRequest req = {
        .request_id = client_random() >> 1 | 1,
        .name = rpc_str(name),
        .about = str(about),
        .join_mode = (JoinMode)mode,
    };
    return call_group(c, RPC_GROUP_CREATE_GROUP, 0, &req, group_done, (client_any_cb *)cb, arg);
}

bool bt_group_update(struct bt_client *c, uint64_t group_id, const char *name, const char *about, const enum bt_join_mode *mode,
                     bt_group_cb *cb, void *arg)
{
    UpdateGroupRequest req = {
        .name = str(name),
        .about = str(about),
        .has_join_mode = mode != NULL,
        .join_mode = mode ? (JoinMode)*mode : JoinMode_OPEN,
    };
    return call_group(c, RPC_GROUP_UPDATE_GROUP, group_id, &req, group_done, (client_any_cb *)cb, arg);
}

bool bt_group_get(struct bt_client *c, uint64_t group_id, bt_group_cb *cb, void *arg)
{
    static const GetGroupRequest req;
    return call_group(c, RPC_GROUP_GET_GROUP, group_id, &req, group_done, (client_any_cb *)cb, arg);
}

/* ---- lists ---- */

static void groups_done(struct client_call *call, const struct bt_result *r, const void *msg)
{
    const MyGroupsReply *reply = msg;
    size_t n = reply ? reply->groups_count : 0;
    struct bt_group *rows = n ? bt_calloc(n, sizeof *rows) : NULL;
    if (n && !rows)
        r = &client_no_memory, n = 0;
    for (size_t k = 0; k < n; k++)
        rows[k] = client_group_of(&reply->groups[k]);
    if (call->cb)
        ((bt_groups_cb *)call->cb)(r, rows, n, reply && reply->more, call->arg);
    bt_free(rows);
}

bool bt_groups_list(struct bt_client *c, uint64_t after_group_id, uint32_t limit, bt_groups_cb *cb, void *arg)
{
    MyGroupsRequest req = { .after_group_id = after_group_id, .limit = limit };
    return call_group(c, RPC_GROUP_MY_GROUPS, 0, &req, groups_done, (client_any_cb *)cb, arg);
}

static void members_done(struct client_call *call, const struct bt_result *r, const void *msg)
{
    const ListMembersReply *reply = msg;
    size_t n = reply ? reply->members_count : 0;
    struct bt_member *rows = n ? bt_calloc(n, sizeof *rows) : NULL;
    if (n && !rows)
        r = &client_no_memory, n = 0;
    for (size_t k = 0; k < n; k++) {
        const MemberInfo *m = &reply->members[k];
        rows[k] = (struct bt_member){
            .user_id = m->user_id,
            .name = client_text(m->name),
            .role = (enum bt_role)m->role,
            .pending = (enum bt_pending)m->pending,
            .muted_until_ms = m->muted_until_ms,
            .joined_seq = m->joined_seq,
        };
    }
    if (call->cb)
        ((bt_members_cb *)call->cb)(r, rows, n, reply && reply->more, call->arg);
    bt_free(rows);
}

bool bt_group_members(struct bt_client *c, uint64_t group_id, uint64_t after_user_id, uint32_t limit, enum bt_pending pending,
                      bt_members_cb *cb, void *arg)
{
    ListMembersRequest req = { .after_user_id = after_user_id, .limit = limit, .pending = (Pending)pending };
    return call_group(c, RPC_GROUP_LIST_MEMBERS, group_id, &req, members_done, (client_any_cb *)cb, arg);
}

/* ---- changes ---- */

static void joined(struct client_call *call, const struct bt_result *r, const void *msg)
{
    const JoinReply *reply = msg;
    uint64_t seq = reply ? reply->seq : 0;
    if (call->cb)
        ((bt_join_cb *)call->cb)(r, reply && reply->pending, call->arg);
    note_seq(call, call->target & ~BT_GROUP, seq);
}

bool bt_group_join(struct bt_client *c, uint64_t group_id, bt_join_cb *cb, void *arg)
{
    static const JoinGroupRequest req;
    return call_group(c, RPC_GROUP_JOIN_GROUP, group_id, &req, joined, (client_any_cb *)cb, arg);
}

static void changed(struct client_call *call, const struct bt_result *r, const void *msg)
{
    const GroupReply *reply = msg;
    uint64_t seq = reply ? reply->seq : 0;
    if (call->cb)
        ((bt_done_cb *)call->cb)(r, call->arg);
    note_seq(call, call->target & ~BT_GROUP, seq);
}

static bool change(struct bt_client *c, uint16_t method, uint64_t group_id, const void *msg, bt_done_cb *cb, void *arg)
{
    return call_group(c, method, group_id, msg, changed, (client_any_cb *)cb, arg);
}

bool bt_group_leave(struct bt_client *c, uint64_t group_id, bt_done_cb *cb, void *arg)
{
    static const LeaveGroupRequest req;
    return change(c, RPC_GROUP_LEAVE_GROUP, group_id, &req, cb, arg);
}

bool bt_group_invite(struct bt_client *c, uint64_t group_id, uint64_t user_id, bt_done_cb *cb, void *arg)
{
    return change(c, RPC_GROUP_INVITE, group_id, &(InviteRequest){ .user_id = user_id }, cb, arg);
}

bool bt_group_refuse(struct bt_client *c, uint64_t group_id, uint64_t user_id, bt_done_cb *cb, void *arg)
{
    return change(c, RPC_GROUP_REFUSE, group_id, &(RefuseRequest){ .user_id = user_id }, cb, arg);
}

bool bt_group_kick(struct bt_client *c, uint64_t group_id, uint64_t user_id, bt_done_cb *cb, void *arg)
{
    return change(c, RPC_GROUP_KICK, group_id, &(KickRequest){ .user_id = user_id }, cb, arg);
}

bool bt_group_mute(struct bt_client *c, uint64_t group_id, uint64_t user_id, int64_t until_ms, bt_done_cb *cb, void *arg)
{
    return change(c, RPC_GROUP_MUTE, group_id, &(MuteRequest){ .user_id = user_id, .until_ms = until_ms }, cb, arg);
}

bool bt_group_set_role(struct bt_client *c, uint64_t group_id, uint64_t user_id, enum bt_role role, bt_done_cb *cb, void *arg)
{
    return change(c, RPC_GROUP_SET_ROLE, group_id, &(SetRoleRequest){ .user_id = user_id, .role = (MemberRole)role }, cb, arg);
}

bool bt_group_transfer(struct bt_client *c, uint64_t group_id, uint64_t user_id, bt_done_cb *cb, void *arg)
{
    return change(c, RPC_GROUP_TRANSFER, group_id, &(TransferRequest){ .user_id = user_id }, cb, arg);
}

bool bt_group_disband(struct bt_client *c, uint64_t group_id, bt_done_cb *cb, void *arg)
{
    static const DisbandRequest req;
    return change(c, RPC_GROUP_DISBAND, group_id, &req, cb, arg);
}
