/*
 * roles/chat_repeat.c: is an op a repeat? Known from the window, joined to the one that is under way, or looked for in the store.
 *
 * A conversation looks once at a time: whatever waits there and has to be looked for too goes along in the same SELECT. All of them
 * wait in their places meanwhile, so that what one sender says keeps its order.
 */
#include "roles/chat.h"

#include <assert.h>

#include "store/store.h"

#define LOG_MODULE "chat"
#include "net/log.h"

void chat_answer_known(struct chat *chat, struct chat_op *op, uint64_t seq, uint64_t digest, int64_t sent_ms)
{
    if (digest != op->row.digest && digest != 0) { /* 0: recalled since; what it said is gone, and it is his */
        chat_op_end(chat, op, BT_EEXIST, "this client_msg_id was used for another message");
        return;
    }
    op->row.seq = seq;
    op->row.sent_ms = sent_ms;
    chat_ids_remove(chat, op);
    chat_op_reply(op);
    chat_op_free(chat, op);
}

/* It stands by a try of this node whose outcome was not heard: nobody has been told of it yet. */
static void found_unheard(struct chat_conv *c, struct chat_op *op, struct store_message_id id)
{
    op->is_unsure = false;
    op->row.seq = id.seq;
    op->row.sent_ms = id.sent_ms;
    if (op->kind == OP_APPLY && (op->change.change == MembershipChange_LEFT || op->change.change == MembershipChange_KICKED))
        op->also_push = op->change.user_id;
    chat_committed(c, op);
}

/* ---- looking into the store ----------------------------------------------------------------------------------------------- */

bool chat_must_look(const struct chat *chat, const struct chat_op *op)
{
    bool is_message = op->kind == OP_SEND || op->kind == OP_EDIT || op->kind == OP_RECALL;

    return is_message && (op->look || (op->tries == 0 && chat_is_solo(chat, op->row.sender_id)));
}

/* What is needed to answer an op: where its id stands. seq 0: nowhere. */
static struct store_message_id find_id(const struct chat_op *op, const struct db_rows *rows)
{
    for (size_t r = 0; r < rows->nrows; r++) {
        struct store_message_id id = store_message_id_of(rows, r);
        if (id.client_msg_id == op->row.client_msg_id && id.sender_id == op->row.sender_id)
            return id;
    }
    return (struct store_message_id){ .seq = 0 };
}

static void found(struct chat_conv *c, struct chat_op *op, struct store_message_id id)
{
    if (op->is_unsure && id.digest == op->row.digest) {
        found_unheard(c, op, id);
        return;
    }
    op->is_done = true;
    chat_set_solo(c->chat, op->row.sender_id);
    chat_answer_known(c->chat, op, id.seq, id.digest, id.sent_ms);
}

/* It does not stand: a look is not asked for again. */
static void looked(struct chat_op *op)
{
    op->look = false;
    op->is_unsure = false;
    op->tries = op->tries > 0 ? op->tries : 1;
}

/* What stands is answered out of its turn, and the busy op where the look failed. True: it was looked for only, and keeps its place. */
static bool look_done_one(struct chat_conv *c, struct chat_op **at, enum bt_err err, const struct db_rows *rows)
{
    struct chat_op *op = *at;
    struct store_message_id id = err == BT_OK ? find_id(op, rows) : (struct store_message_id){ .seq = 0 };
    bool has_failed = err != BT_OK && op == c->busy;

    op->is_looking = false;
    c->nlooking--;
    if (id.seq == 0 && !has_failed) {
        if (err == BT_OK)
            looked(op);
        return true;
    }
    *at = op->next;
    if (*at == NULL)
        c->waiting.last = at;
    if (has_failed)
        chat_op_end(c->chat, op, op->is_unsure ? BT_EUNSURE : err, NULL);
    else
        found(c, op, id);
    return false;
}

static void look_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct chat_op *busy = arg, **at;
    struct chat_conv *c = busy->conv;

    assert(c->busy == busy);
    log_debug("conv %llu/%llu: %u repeats looked for in the store, %zu stand", (unsigned long long)c->hi, (unsigned long long)c->lo,
              (unsigned)c->nlooking, err == BT_OK ? rows->nrows : 0);
    for (at = &c->waiting.first; c->nlooking > 0;) {
        struct chat_op *op = *at;
        assert(op != NULL); /* nothing leaves the list while the conversation is busy */
        if (!op->is_looking || look_done_one(c, at, err, rows))
            at = &op->next;
    }
    chat_conv_unbusy(c);
}

static struct store_message_id id_of(const struct chat_op *op)
{
    return (struct store_message_id){ .hi = op->row.hi, .lo = op->row.lo, .sender_id = op->row.sender_id, .client_msg_id = op->row.client_msg_id };
}

void chat_look(struct chat_conv *c, struct chat_op *op)
{
    enum { AHEAD = 64 }; /* how far it is looked for those that can go along */
    struct store_message_id ids[STORE_FIND_MAX];
    size_t n = 0, ahead = 0;

    assert(c->nlooking == 0);
    c->busy = op;
    op->is_looking = true;
    c->nlooking++;
    ids[n++] = id_of(op);
    for (struct chat_op *w = c->waiting.first; w != NULL && n < STORE_FIND_MAX && ahead < AHEAD; w = w->next, ahead++) {
        if (w->is_unsure || !chat_must_look(c->chat, w) || chat_conv_recall(c, w->row.sender_id, w->row.client_msg_id) != NULL)
            continue;
        w->is_looking = true;
        c->nlooking++;
        ids[n++] = id_of(w);
    }
    chat_ops_unshift(&c->waiting, op); /* in its place: what a batch throws back meanwhile goes before it */
    store_message_find(c->chat->env.store, ids, n, look_done, op);
}

/* ---- deciding --------------------------------------------------------------------------------------------------------------- */

bool chat_is_repeat(struct chat_conv *c, struct chat_op *op)
{
    struct chat *chat = c->chat;
    const struct chat_recent *known = chat_conv_recall(c, op->row.sender_id, op->row.client_msg_id);
    struct chat_op *same = known == NULL ? chat_ids_find(chat, op) : NULL;

    if (known != NULL && op->is_unsure && known->digest == op->row.digest) {
        found_unheard(c, op, (struct store_message_id){ .seq = known->seq, .sent_ms = known->sent_ms });
        return true;
    }
    if (known != NULL) {
        chat_answer_known(chat, op, known->seq, known->digest, known->sent_ms);
        return true;
    }
    if (same != NULL && same != op) {
        if (same->row.digest != op->row.digest) {
            chat_op_end(chat, op, BT_EEXIST, "this client_msg_id was used for another message");
        } else {
            op->twins = same->twins;
            same->twins = op;
        }
        return true;
    }
    if (chat_must_look(chat, op)) {
        chat_look(c, op);
        return true;
    }
    return false;
}
