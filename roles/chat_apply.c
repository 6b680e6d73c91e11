/* roles/chat_apply.c: changes of groups and their members: who may make them, the rows they write, what the owner then knows. */
#include "roles/chat.h"

#include <assert.h>
#include <string.h>

#include "net/mem.h"
#include "store/store.h"

/* What the user whom a change is about has to do with the group, as his row said just now. */
struct subject {
    int32_t role, pending;
    int64_t muted_until_ms;
};

static enum bt_err refuse(enum bt_err err, const char *why, const char **detail_out)
{
    *detail_out = why;
    return err;
}

/* Owner over admins and members, admins over members. */
static bool is_above(int32_t actor, int32_t subject)
{
    return actor >= STORE_ADMIN && actor > subject;
}

static enum bt_err check_join(const struct chat_conv *c, const struct chat_op *op, int32_t actor, const struct subject *s, bool *is_change, const char **detail)
{
    bool is_self = op->change.user_id == op->row.sender_id;

    if (s->role != STORE_NOBODY)
        return BT_OK; /* in already */
    if (is_self && c->join_mode != JoinMode_OPEN && s->pending != STORE_INVITED)
        return refuse(BT_EDENIED, "this group takes members by request or invitation only", detail);
    if (!is_self && (actor < STORE_ADMIN || s->pending != STORE_ASKING))
        return refuse(BT_EDENIED, "only owner and admins let in, and only those who asked", detail);
    if (c->nmembers >= c->chat->set.max_members)
        return refuse(BT_EBUSY, "this group is full", detail);
    *is_change = true;
    return BT_OK;
}

/* Nobody needs an owner any more once the group is disbanded: he may go like the others. */
static enum bt_err check_leave(const struct chat_conv *c, const struct chat_op *op, const struct subject *s, bool *is_change, const char **detail)
{
    if (op->change.user_id != op->row.sender_id)
        return refuse(BT_EINVAL, "one leaves for oneself", detail);
    if (s->role == STORE_OWNER && !c->group_disbanded)
        return refuse(BT_ESTATE, "the owner must transfer or disband the group first", detail);
    *is_change = s->role != STORE_NOBODY;
    return BT_OK;
}

static enum bt_err check_kick(const struct chat_op *op, int32_t actor, const struct subject *s, bool *is_change, const char **detail)
{
    if (op->change.user_id == op->row.sender_id)
        return refuse(BT_EINVAL, "one doesn't remove oneself: leave", detail);
    if (!is_above(actor, s->role))
        return refuse(BT_EDENIED, "your role is not above this member's", detail);
    *is_change = s->role != STORE_NOBODY;
    return BT_OK;
}

static enum bt_err check_mute(const struct chat_op *op, int32_t actor, const struct subject *s, bool *is_change, const char **detail)
{
    if (s->role == STORE_NOBODY)
        return refuse(BT_ENOTFOUND, "this user is not a member", detail);
    if (!is_above(actor, s->role))
        return refuse(BT_EDENIED, "your role is not above this member's", detail);
    *is_change = s->muted_until_ms != op->change.until_ms;
    return BT_OK;
}

static enum bt_err check_role(const struct chat_op *op, int32_t actor, const struct subject *s, bool *is_change, const char **detail)
{
    int32_t role = (int32_t)op->change.role;

    if ((role != STORE_MEMBER && role != STORE_ADMIN) || op->change.user_id == op->row.sender_id)
        return refuse(BT_EINVAL, "another member can be made member or admin", detail);
    if (actor != STORE_OWNER)
        return refuse(BT_EDENIED, "only the owner gives roles", detail);
    if (s->role == STORE_NOBODY)
        return refuse(BT_ENOTFOUND, "this user is not a member", detail);
    *is_change = s->role != role;
    return BT_OK;
}

static enum bt_err check_transfer(const struct chat_op *op, int32_t actor, const struct subject *s, bool *is_change, const char **detail)
{
    if (s->role == STORE_NOBODY)
        return refuse(actor == STORE_OWNER ? BT_ENOTFOUND : BT_EDENIED, actor == STORE_OWNER ? "this user is not a member" : "only the owner transfers", detail);
    if (s->role == STORE_OWNER && (op->change.user_id == op->row.sender_id || actor == STORE_ADMIN))
        return BT_OK; /* it is so already */
    if (actor != STORE_OWNER)
        return refuse(BT_EDENIED, "only the owner transfers", detail);
    *is_change = true;
    return BT_OK;
}

static enum bt_err check_disband(const struct chat_conv *c, int32_t actor, bool *is_change, const char **detail)
{
    if (actor != STORE_OWNER)
        return refuse(BT_EDENIED, "only the owner disbands", detail);
    *is_change = !c->group_disbanded;
    return BT_OK;
}

enum bt_err chat_apply_check(struct chat_conv *c, struct chat_op *op, const struct store_member *was, bool *is_change_out, const char **detail_out)
{
    const struct chat_member *m = chat_conv_member(c, op->row.sender_id);
    int32_t actor = m != NULL ? (int32_t)m->role : STORE_NOBODY;
    struct subject s = { STORE_NOBODY, STORE_NOT_PENDING, 0 };
    MembershipChange change = op->change.change;

    *is_change_out = false;
    op->has_row = was != NULL;
    if (was != NULL) {
        s = (struct subject){ was->role, was->pending, was->muted_until_ms };
        op->was = *was;
    }
    if (change == MembershipChange_CREATED) {
        if (c->group_exists)
            return refuse(BT_EEXIST, "this group exists", detail_out);
        *is_change_out = true;
        return BT_OK;
    }
    if (!c->group_exists)
        return refuse(BT_ENOTFOUND, "no such group", detail_out);
    if (c->group_disbanded && change != MembershipChange_DISBANDED && change != MembershipChange_LEFT)
        return refuse(BT_ESTATE, "this group is disbanded", detail_out);
    switch (change) {
    case MembershipChange_JOINED:
        return check_join(c, op, actor, &s, is_change_out, detail_out);
    case MembershipChange_LEFT:
        return check_leave(c, op, &s, is_change_out, detail_out);
    case MembershipChange_KICKED:
        return check_kick(op, actor, &s, is_change_out, detail_out);
    case MembershipChange_MUTED:
        return check_mute(op, actor, &s, is_change_out, detail_out);
    case MembershipChange_ROLE_SET:
        return check_role(op, actor, &s, is_change_out, detail_out);
    case MembershipChange_TRANSFERRED:
        return check_transfer(op, actor, &s, is_change_out, detail_out);
    case MembershipChange_DISBANDED:
        return check_disband(c, actor, is_change_out, detail_out);
    case MembershipChange_UPDATED:
        *is_change_out = true;
        return actor >= STORE_ADMIN ? BT_OK : refuse(BT_EDENIED, "only owner and admins change a group", detail_out);
    case MembershipChange_NO_CHANGE:
    case MembershipChange_CREATED:
        break;
    }
    return refuse(BT_EINVAL, "no such change", detail_out);
}

enum bt_err chat_apply_merge(struct chat_op *op, const struct store_group *now)
{
    Membership m = op->change;
    uint8_t *merged;
    size_t size;

    if (op->keep_name)
        m.name = rpc_bytes(now->name, now->name_len);
    if (op->keep_about)
        m.about = rpc_bytes(now->about, now->about_len);
    if (op->keep_join_mode)
        m.join_mode = (JoinMode)now->join_mode;
    size = rpc_size(Membership_fields, &m);
    merged = bt_malloc(size > 0 ? size : 1);
    if (merged == NULL)
        return BT_ENOMEM;
    op->row.body_len = (uint32_t)rpc_encode(Membership_fields, &m, merged, size);
    op->row.body = merged;
    memset(&op->change, 0, sizeof op->change);
    bt_free(op->merged); /* an earlier try's: m may have pointed into it, and is encoded by now */
    op->merged = merged;
    return rpc_decode(Membership_fields, merged, op->row.body_len, &op->change);
}

void chat_apply_add(struct chat_conv *c, struct chat_op *op, struct db_list *list)
{
    const Membership *m = &op->change;
    uint64_t group = c->hi, seq = op->row.seq;

    switch (m->change) {
    case MembershipChange_CREATED:
        store_conversation_add_group(list, &(struct store_new_group){ .group_id = group,
                                                                      .creator_id = op->row.sender_id,
                                                                      .request_id = op->request_id,
                                                                      .name = m->name.data,
                                                                      .name_len = m->name.len,
                                                                      .about = m->about.data,
                                                                      .about_len = m->about.len,
                                                                      .join_mode = (int32_t)m->join_mode,
                                                                      .created_ms = op->row.sent_ms });
        store_conversation_add_join(list, group, op->row.sender_id, STORE_OWNER, seq, NULL);
        break;
    case MembershipChange_JOINED:
        store_conversation_add_join(list, group, m->user_id, STORE_MEMBER, seq, op->has_row ? &op->was : NULL);
        break;
    case MembershipChange_LEFT:
    case MembershipChange_KICKED:
        store_conversation_add_leave(list, group, m->user_id, op->was.role, seq);
        break;
    case MembershipChange_MUTED:
        store_conversation_add_mute(list, group, m->user_id, op->was.role, m->until_ms);
        break;
    case MembershipChange_ROLE_SET:
        store_conversation_add_role(list, group, m->user_id, op->was.role, (int32_t)m->role);
        break;
    case MembershipChange_TRANSFERRED:
        store_conversation_add_role(list, group, m->user_id, op->was.role, STORE_OWNER);
        store_conversation_add_role(list, group, op->row.sender_id, STORE_OWNER, STORE_ADMIN);
        break;
    case MembershipChange_UPDATED:
        store_conversation_add_update(list, group, m->name.data, m->name.len, m->about.data, m->about.len, (int32_t)m->join_mode);
        break;
    case MembershipChange_DISBANDED:
        store_conversation_add_disband(list, group, op->row.sent_ms);
        break;
    case MembershipChange_NO_CHANGE:
        assert(!"checked before");
        break;
    }
}

static void put(struct chat_conv *c, uint64_t user_id, int32_t role, uint64_t joined_seq, int64_t muted_until_ms)
{
    struct chat_member m = { .user_id = user_id, .role = (uint32_t)role, .joined_seq = joined_seq, .muted_until_ms = muted_until_ms };

    if (chat_conv_put_member(c, &m) != BT_OK)
        chat_conv_forget(c); /* no memory: it is read again when there is */
}

void chat_apply_done(struct chat_conv *c, struct chat_op *op)
{
    const Membership *m = &op->change;
    struct chat_member *subject = chat_conv_member(c, m->user_id), *actor;

    switch (m->change) {
    case MembershipChange_CREATED:
        c->group_exists = true;
        c->join_mode = (int32_t)m->join_mode;
        put(c, op->row.sender_id, STORE_OWNER, op->row.seq, 0);
        break;
    case MembershipChange_JOINED:
        put(c, m->user_id, STORE_MEMBER, op->row.seq, op->has_row ? op->was.muted_until_ms : 0);
        break;
    case MembershipChange_LEFT:
    case MembershipChange_KICKED:
        op->also_push = m->user_id; /* the last message that he sees */
        chat_conv_drop_member(c, m->user_id);
        break;
    case MembershipChange_MUTED:
        if (subject != NULL)
            subject->muted_until_ms = m->until_ms;
        break;
    case MembershipChange_ROLE_SET:
        if (subject != NULL)
            subject->role = (uint32_t)m->role;
        break;
    case MembershipChange_TRANSFERRED:
        actor = chat_conv_member(c, op->row.sender_id);
        if (subject != NULL && actor != NULL) {
            actor->role = STORE_ADMIN;
            subject->role = STORE_OWNER;
        }
        break;
    case MembershipChange_UPDATED:
        c->join_mode = (int32_t)m->join_mode;
        break;
    case MembershipChange_DISBANDED:
        c->group_disbanded = true;
        break;
    case MembershipChange_NO_CHANGE:
        break;
    }
}
