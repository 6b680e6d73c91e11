/*
 * roles/chat_change.c: changes of several rows, each one atomic list together with its own message at the next seq: edits,
 * recalls, members and groups, and the first message of a 1:1 with the rows of its two users.
 *
 * The seq fences them like any message: who holds stale members holds a stale seq, and his list fails as a whole.
 */
#include "roles/chat.h"

#include <assert.h>

#include "net/planted.h"
#include "store/store.h"

#define LOG_MODULE "chat"
#include "net/log.h"

static void change_write(void *conv_arg);

static void end(struct chat_conv *c, struct chat_op *op, enum bt_err err, const char *detail)
{
    chat_op_end(c->chat, op, err, detail);
    chat_conv_unbusy(c);
}

/* It failed at the fence: nothing was written. Read the conversation anew, look whether the op stands, decide again. */
static void thrown_back(struct chat_conv *c, struct chat_op *op, enum bt_err err)
{
    if (op->kind == OP_APPLY && op->change.change == MembershipChange_CREATED && err == BT_EEXIST && !op->is_unsure) {
        end(c, op, BT_EEXIST, "this request_id was used already");
        return;
    }
    if (op->tries < UINT8_MAX)
        op->tries++;
    op->look = !planted(PLANTED_BLIND_RETRY);
    chat_rival_met(c);
    if (err == BT_EEXIST)
        chat_conv_outrun(c);
    else
        chat_conv_forget(c);
    if (op->is_unsure || chat_rival_may_retry(op))
        chat_ops_unshift(&c->waiting, op);
    chat_conv_unbusy(c);
}

static void change_committed(struct chat_conv *c, struct chat_op *op)
{
    if (op->kind == OP_APPLY)
        chat_apply_done(c, op);
    if (c->is_unborn) {
        c->is_unborn = false;
        if (chat_conv_put_member(c, &(struct chat_member){ c->hi, 0, 1, STORE_MEMBER }) != BT_OK ||
            chat_conv_put_member(c, &(struct chat_member){ c->lo, 0, 1, STORE_MEMBER }) != BT_OK)
            chat_conv_forget(c);
    }
    chat_committed(c, op);
    chat_rival_passed(c);
    chat_conv_unbusy(c);
}

static void change_done(const struct db_done *done, void *arg)
{
    struct chat_op *op = arg;
    struct chat_conv *c = op->conv;

    assert(c->busy == op);
    switch (done->err) {
    case BT_OK:
        change_committed(c, op);
        return;
    case BT_EEXIST:
    case BT_ECONFLICT:
        thrown_back(c, op, done->err);
        return;
    case BT_EUNSURE:
        op->is_unsure = true;
        break;
    default:
        if (!op->is_unsure) {
            end(c, op, done->err == BT_ETIMEOUT ? BT_EDOWN : done->err, NULL);
            return;
        }
        break;
    }
    if (c->chat->is_stopping) {
        end(c, op, BT_EUNSURE, "written perhaps; send it again");
        return;
    }
    chat_op_expire(op);
    net_timer_start(c->chat->env.loop, &c->retry, chat_backoff_ms(op->tries < 5 ? op->tries++ : op->tries), change_write, c);
}

static void add_first(struct chat_conv *c, struct db_list *list)
{
    store_conversation_add_user(list, c->hi, c->lo, c->hi);
    if (c->lo != c->hi)
        store_conversation_add_user(list, c->hi, c->lo, c->lo);
}

static void change_write(void *conv_arg)
{
    struct chat_conv *c = conv_arg;
    struct chat_op *op = c->busy;
    struct chat *chat = c->chat;
    struct db_list *list = db_list_new(store_db(chat->env.store));
    struct store_message row = op->row;

    if (op->asked_ms == 0)
        op->asked_ms = net_now_ms(chat->env.loop);
    switch (op->kind) {
    case OP_SEND:
        add_first(c, list);
        break;
    case OP_EDIT: /* the text lives in the message that is edited, so that one recall empties everything */
        store_message_add_replace(list, &row);
        row.content_type_len = row.body_len = 0;
        break;
    case OP_RECALL:
        store_message_add_empty(list, c->hi, c->lo, row.refers_to_seq);
        break;
    case OP_APPLY:
        chat_apply_add(c, op, list);
        break;
    case OP_SIGNAL:
    case OP_DROP:
        assert(!"these are not written");
        break;
    }
    store_message_add(list, &row);
    db_list_run(store_db(chat->env.store), list, change_done, op);
}

void chat_change_start(struct chat_conv *c, struct chat_op *op)
{
    int64_t now_ms = store_now_ms(c->chat->env.store);

    assert(c->busy == NULL || c->busy == op);
    assert(c->ready.first == NULL && c->batch == NULL);
    c->busy = op;
    op->row.seq = c->head_seq + 1;
    op->row.sent_ms = c->head_ms > now_ms ? c->head_ms : now_ms;
    change_write(c);
}

void chat_change_stop(struct chat_conv *c)
{
    struct chat_op *op = c->busy;

    if (!net_timer_is_running(&c->retry))
        return;
    net_timer_stop(c->chat->env.loop, &c->retry);
    end(c, op, BT_EUNSURE, "written perhaps; send it again");
}
