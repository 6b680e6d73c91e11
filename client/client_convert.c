/* client/client_convert.c: wire messages to the structs of bytetalk.h, and conversations to targets. */
#include "client/client_internal.h"

uint64_t client_target_of(const struct bt_client *c, uint64_t hi, uint64_t lo)
{
    if (lo == 0)
        return BT_GROUP | hi;
    return hi == c->user_id ? lo : hi;
}

void client_key_of(const struct bt_client *c, uint64_t target, uint64_t *hi_out, uint64_t *lo_out)
{
    if (target & BT_GROUP) {
        *hi_out = target & ~BT_GROUP;
        *lo_out = 0;
    } else {
        *hi_out = target > c->user_id ? target : c->user_id;
        *lo_out = target > c->user_id ? c->user_id : target;
    }
}

struct bt_message client_message_of(const struct bt_client *c, const Message *m)
{
    return (struct bt_message){
        .target = client_target_of(c, m->hi, m->lo),
        .seq = m->seq,
        .sender_id = m->sender_id,
        .client_msg_id = m->client_msg_id,
        .sent_ms = m->sent_ms,
        .kind = (enum bt_message_kind)m->kind,
        .refers_to_seq = m->refers_to_seq,
        .content_type = client_text(m->content_type),
        .body = client_text(m->body),
    };
}

bool client_membership_of(const struct bt_message *m, struct bt_membership *out)
{
    Membership wire = { 0 };
    if (m->kind != BT_MEMBERSHIP || rpc_decode(Membership_fields, (const uint8_t *)m->body.data, m->body.len, &wire) != BT_OK)
        return false;
    *out = (struct bt_membership){
        .change = (enum bt_change)wire.change,
        .user_id = wire.user_id,
        .role = (enum bt_role)wire.role,
        .until_ms = wire.until_ms,
        .name = client_text(wire.name),
        .about = client_text(wire.about),
        .join_mode = (enum bt_join_mode)wire.join_mode,
    };
    return true;
}

struct bt_conversation client_conversation_of(const struct bt_client *c, const Conversation *row)
{
    return (struct bt_conversation){
        .target = client_target_of(c, row->hi, row->lo),
        .name = client_text(row->name),
        .head_seq = row->head_seq,
        .first_seq = row->first_seq,
        .left_seq = row->left_seq,
        .delivered_seq = row->delivered_seq,
        .read_seq = row->read_seq,
        .peer_delivered_seq = row->peer_delivered_seq,
        .peer_read_seq = row->peer_read_seq,
        .unread = row->unread,
    };
}

struct bt_user client_user_of(const Profile *p)
{
    return (struct bt_user){
        .user_id = p->user_id,
        .name = client_text(p->name),
        .about = client_text(p->about),
        .avatar = client_text(p->avatar),
        .created_ms = p->created_ms,
    };
}

struct bt_group client_group_of(const GroupInfo *g)
{
    return (struct bt_group){
        .group_id = g->group_id,
        .name = client_text(g->name),
        .about = client_text(g->about),
        .join_mode = (enum bt_join_mode)g->join_mode,
        .member_count = g->member_count,
        .owner_id = g->owner_id,
        .my_role = (enum bt_role)g->my_role,
        .my_pending = (enum bt_pending)g->my_pending,
        .created_ms = g->created_ms,
        .disbanded = g->disbanded,
    };
}
