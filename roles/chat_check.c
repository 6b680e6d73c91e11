/* roles/chat_check.c: may he do that: what is decided before an op is written. */
#include "roles/chat.h"

#include <assert.h>

#include "store/store.h"

/* ---- refusing ------------------------------------------------------------------------------------------------------------- */

static void verify_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct chat_op *op = arg;
    struct chat_conv *c = op->conv;
    uint64_t head = err == BT_OK && rows->nrows > 0 ? store_message_id_of(rows, 0).seq : 0;

    assert(c->busy == op);
    if (err != BT_OK) {
        chat_op_end(c->chat, op, BT_EDOWN, NULL);
    } else {
        chat_ops_unshift(&c->waiting, op);
        if (head == c->head_seq)
            chat_owner_saw(c, op->asked_ms);
        else
            chat_conv_forget(c); /* ready ops go back before it: they came before it */
    }
    chat_conv_unbusy(c);
}

/* Another owner may have changed a group since it was last known to stand as it is known here. */
static bool is_group_old(const struct chat_conv *c)
{
    return c->lo == 0 && net_now_ms(c->chat->env.loop) >= c->known_ms + CHAT_FRESH_MS;
}

static bool is_unverified(const struct chat_conv *c, const struct chat_op *op)
{
    return !op->is_verified && is_group_old(c);
}

static void verify(struct chat_conv *c, struct chat_op *op)
{
    op->is_verified = true;
    op->asked_ms = net_now_ms(c->chat->env.loop);
    c->busy = op;
    store_message_newest(c->chat->env.store, c->hi, c->lo, 1, verify_done, op);
}

/*
 * Refuse an op. What is written is fenced, but a refusal is not: before a group's state refuses, it is made sure that nobody
 * else has changed it since it was read.
 */
static void refuse(struct chat_conv *c, struct chat_op *op, enum bt_err err, const char *detail)
{
    bool was_busy;

    if (is_unverified(c, op)) {
        verify(c, op);
        return;
    }
    was_busy = c->busy == op;
    chat_op_end(c->chat, op, err, detail);
    if (was_busy)
        chat_conv_unbusy(c);
}

/* ---- rights ---------------------------------------------------------------------------------------------------------------- */

static enum bt_err may_write_pair(const struct chat_conv *c, uint64_t sender_id, const char **detail)
{
    const struct store_pair *p = &c->pair;
    bool is_hi = sender_id == c->hi;

    if (!p->hi_exists || !p->lo_exists) {
        *detail = "no such user";
        return BT_ENOTFOUND;
    }
    if (is_hi ? p->lo_blocks : p->hi_blocks) {
        *detail = "this user takes no messages from you";
        return BT_EDENIED;
    }
    if (is_hi ? p->hi_blocks : p->lo_blocks) {
        *detail = "you block this user";
        return BT_EDENIED;
    }
    if (!c->chat->set.strangers && !p->are_friends) {
        *detail = "only friends may write to each other here";
        return BT_EDENIED;
    }
    return BT_OK;
}

static enum bt_err may_write_group(const struct chat_conv *c, uint64_t sender_id, const char **detail)
{
    const struct chat_member *m;

    if (!c->group_exists) {
        *detail = "no such group";
        return BT_ENOTFOUND;
    }
    m = chat_conv_member(c, sender_id);
    if (m == NULL) {
        *detail = "you are not a member of this group";
        return BT_EDENIED;
    }
    if (c->group_disbanded) {
        *detail = "this group is disbanded";
        return BT_ESTATE;
    }
    if (m->muted_until_ms > store_now_ms(c->chat->env.store)) {
        *detail = "you are muted in this group";
        return BT_EDENIED;
    }
    return BT_OK;
}

static enum bt_err may_write(const struct chat_conv *c, uint64_t sender_id, const char **detail)
{
    return c->lo != 0 ? may_write_pair(c, sender_id, detail) : may_write_group(c, sender_id, detail);
}

/* An edit or recall, and the message that it refers to. */
static enum bt_err may_refer(const struct chat_conv *c, const struct chat_op *op, const struct store_message *m, const char **detail)
{
    const struct chat_member *member;

    if (m->sender_id != op->row.sender_id) {
        member = c->lo == 0 ? chat_conv_member(c, op->row.sender_id) : NULL;
        if (member != NULL && m->seq < member->joined_seq) {
            *detail = "no such message";
            return BT_ENOTFOUND;
        }
        if (op->kind == OP_EDIT || member == NULL || member->role < STORE_ADMIN) {
            *detail = "this is another's message";
            return BT_EDENIED;
        }
    }
    if (m->kind != STORE_TEXT && !(op->kind == OP_RECALL && m->kind == STORE_APPLICATION)) {
        *detail = op->kind == OP_EDIT ? "only text can be edited" : "this kind of message can't be recalled";
        return BT_ESTATE;
    }
    if (m->digest == 0) {
        *detail = "this message was recalled";
        return BT_ESTATE;
    }
    return BT_OK;
}

static void refer_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct chat_op *op = arg;
    struct chat_conv *c = op->conv;
    const char *detail = NULL;

    assert(c->busy == op);
    if (err == BT_OK && rows->nrows == 0) {
        err = BT_ENOTFOUND;
        detail = "no such message";
    } else if (err == BT_OK) {
        struct store_message m = store_message_of(rows, 0);
        err = may_refer(c, op, &m, &detail);
    }
    if (err == BT_OK) {
        chat_change_start(c, op);
        return;
    }
    if (op->tries == 0) { /* what refuses it may be its own first try: it is recalled, by this very recall */
        chat_look(c, op);
        return;
    }
    refuse(c, op, err, detail);
}

/* A change of a group, and what the user it is about has to do with it. */
static void apply_member_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct chat_op *op = arg;
    struct chat_conv *c = op->conv;
    struct store_member was;
    const char *detail = NULL;
    bool is_change = false;

    assert(c->busy == op);
    if (err == BT_OK) {
        if (rows->nrows > 0)
            was = store_member_of(rows, 0);
        err = chat_apply_check(c, op, rows->nrows > 0 ? &was : NULL, &is_change, &detail);
    }
    if (err == BT_OK && is_change) {
        chat_change_start(c, op);
        return;
    }
    if (err != BT_OK) {
        refuse(c, op, err, detail);
        return;
    }
    op->row.seq = 0;
    chat_op_reply(op);
    chat_ids_remove(c->chat, op);
    chat_op_free(c->chat, op);
    chat_conv_unbusy(c);
}

/* ---- deciding ---------------------------------------------------------------------------------------------------------------- */

static void check_write(struct chat_conv *c, struct chat_op *op)
{
    struct chat *chat = c->chat;
    const char *detail = NULL;
    enum bt_err err;

    if (chat_is_repeat(c, op))
        return;
    err = may_write(c, op->row.sender_id, &detail);
    if (err == BT_OK && !op->is_listed)
        err = chat_ids_add(chat, op);
    if (err != BT_OK) {
        refuse(c, op, err, detail);
        return;
    }
    if (op->kind == OP_SEND && !c->is_unborn) {
        chat_ops_push(&c->ready, op);
        chat_batch_schedule(c);
        return;
    }
    c->busy = op;
    if (op->kind == OP_SEND)
        chat_change_start(c, op);
    else
        store_message_at(chat->env.store, c->hi, c->lo, op->row.refers_to_seq, refer_done, op);
}

/* What an update leaves out stays: read here, and fenced like all else by the seq that the conversation is at. */
static void apply_group_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct chat_op *op = arg;
    struct chat_conv *c = op->conv;
    struct store_group now;

    assert(c->busy == op);
    if (err == BT_OK && rows->nrows > 0) {
        now = store_group_of(rows);
        err = chat_apply_merge(op, &now);
    }
    if (err != BT_OK) {
        chat_op_end(c->chat, op, err, NULL);
        chat_conv_unbusy(c);
        return;
    }
    store_conversation_member(c->chat->env.store, c->hi, c->lo, op->row.sender_id, apply_member_done, op);
}

static void check_apply(struct chat_conv *c, struct chat_op *op)
{
    const struct chat_recent *known = op->is_unsure ? NULL : chat_conv_recall(c, op->row.sender_id, op->row.client_msg_id);

    if (known != NULL) { /* an earlier try of the call was done here, whatever became of it since */
        chat_answer_known(c->chat, op, known->seq, known->digest, known->sent_ms);
        return;
    }
    if (op->look) { /* an earlier try of this very op may stand */
        chat_look(c, op);
        return;
    }
    c->busy = op;
    if (op->change.change == MembershipChange_UPDATED)
        store_conversation_group(c->chat->env.store, c->hi, apply_group_done, op);
    else
        store_conversation_member(c->chat->env.store, c->hi, c->lo, op->change.user_id, apply_member_done, op);
}

static void check_signal(struct chat_conv *c, struct chat_op *op)
{
    const char *detail = NULL;
    enum bt_err err = may_write(c, op->row.sender_id, &detail);

    if (err == BT_OK && is_unverified(c, op)) { /* nothing is written, so nothing fences it */
        verify(c, op);
        return;
    }
    if (err != BT_OK) {
        refuse(c, op, err, detail);
        return;
    }
    c->pins++;
    chat_push_op(c->chat, op);
}

/*
 * Is the copy of presence good enough for a signal to go by? Where it has to be read, signals that come meanwhile need not wait
 * for that: but those do whose receiver it does not know to be connected, as he may have come, and those that would overtake what waits.
 */
static bool knows_receivers(const struct chat_conv *c, uint64_t sender_id)
{
    if (chat_presence_is_current(c->chat))
        return true;
    return c->lo != 0 && c->pins == 0 && chat_presence_is_recent(c->chat) && chat_presence_has(c->chat, sender_id == c->hi ? c->lo : c->hi);
}

bool chat_signal_at_once(struct chat_conv *c, struct rpc_call *call, const SignalEvent *event)
{
    const char *detail;

    if (!chat_conv_is_free(c) || !knows_receivers(c, event->sender_id) || is_group_old(c) ||
        may_write(c, event->sender_id, &detail) != BT_OK)
        return false;
    chat_push_signal(c, call, event);
    return true;
}

void chat_check(struct chat_conv *c, struct chat_op *op)
{
    if (op->call != NULL && op->twins == NULL && !op->is_unsure && (rpc_call_is_dead(op->call) || rpc_call_left_ms(op->call) == 0)) {
        chat_op_end(c->chat, op, rpc_call_is_dead(op->call) ? BT_ECANCELLED : BT_ETIMEOUT, NULL);
        return;
    }
    /* Whoever wrote meanwhile made it fail at the fence, if it was decided before: so it comes by here before it is decided anew. */
    if (op->kind == OP_APPLY && !op->is_unsure && !op->look && op->call != NULL && rpc_call_is_late(op->call)) {
        chat_op_end(c->chat, op, BT_EDOWN, "this server stood still, and may be late with it");
        return;
    }
    switch (op->kind) {
    case OP_SEND:
    case OP_EDIT:
    case OP_RECALL:
        check_write(c, op);
        break;
    case OP_SIGNAL:
        check_signal(c, op);
        break;
    case OP_APPLY:
        check_apply(c, op);
        break;
    case OP_DROP:
        c->rights_ms = 0;
        chat_op_reply(op);
        chat_op_free(c->chat, op);
        break;
    }
}
