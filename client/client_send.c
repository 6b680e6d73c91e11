/*
 * client/client_send.c: writing messages: their ids, and one order per conversation.
 *
 * Of one conversation one message is under way at a time. So none overtakes another, whatever is refused, lost or sent
 * again: the next leaves when the one before it is answered or given up.
 */
#include "client/client_internal.h"
#include "net/mem.h"

/* ---- queues ---- */

static struct client_queue *queue_find(struct bt_client *c, uint64_t target)
{
    struct client_queue *q = c->queues;
    while (q && q->target != target)
        q = q->next;
    return q;
}

static bool queue_add(struct client_call *call)
{
    struct bt_client *c = call->client;
    struct client_queue *q = queue_find(c, call->target);
    if (!q) {
        q = bt_calloc(1, sizeof *q);
        if (!q)
            return false;
        q->target = call->target;
        q->next = c->queues;
        c->queues = q;
    }
    call->queue = q;
    *(q->last ? &q->last->queue_next : &q->first) = call;
    q->last = call;
    return true;
}

bool client_queue_may_send(const struct client_call *call)
{
    return call->queue->first == call;
}

void client_queue_remove(struct client_call *call)
{
    struct client_queue *q = call->queue;
    struct client_call **at = &q->first, *before = NULL;
    while (*at != call) {
        before = *at;
        at = &before->queue_next;
    }
    *at = call->queue_next;
    if (q->last == call)
        q->last = before;
    call->queue = NULL;
    if (q->first)
        return;
    struct client_queue **link = &call->client->queues;
    while (*link != q)
        link = &(*link)->next;
    *link = q->next;
    bt_free(q);
}

void client_queue_next(struct bt_client *c, uint64_t target)
{
    struct client_queue *q = queue_find(c, target);
    if (q)
        client_call_try(q->first);
}

/* ---- sending ---- */

static uint64_t next_id(struct bt_client *c)
{
    bool must_reserve;
    uint64_t id = client_ids_next(&c->ids, client_wall_ms(), client_random(), &must_reserve);
    if (must_reserve)
        client_save(c, &(struct bt_record){ .kind = BT_RECORD_ID_RESERVE, .number = c->ids.reserved });
    return id;
}

/* The message as it now stands in the log, from what was asked and what was answered. */
static bool message_of(const struct client_call *call, const SendReply *reply, Message *m)
{
    struct bt_client *c = call->client;
    SendRequest s = { 0 };
    EditRequest e = { 0 };
    RecallRequest r = { 0 };
    *m = (Message){ .seq = reply->seq, .sent_ms = reply->sent_ms, .sender_id = c->user_id };
    client_key_of(c, call->target, &m->hi, &m->lo);
    switch (call->method->id) {
    case RPC_CHAT_SEND:
        if (rpc_decode(SendRequest_fields, call->payload, call->len, &s) != BT_OK)
            return false;
        m->client_msg_id = s.client_msg_id;
        m->kind = s.kind == MessageKind_NO_KIND ? MessageKind_TEXT : s.kind;
        m->content_type = s.content_type;
        m->body = s.body;
        return true;
    case RPC_CHAT_EDIT:
        if (rpc_decode(EditRequest_fields, call->payload, call->len, &e) != BT_OK)
            return false;
        m->client_msg_id = e.client_msg_id;
        m->kind = MessageKind_EDIT;
        m->refers_to_seq = e.refers_to_seq;
        m->content_type = e.content_type;
        m->body = e.body;
        return true;
    default:
        if (rpc_decode(RecallRequest_fields, call->payload, call->len, &r) != BT_OK)
            return false;
        m->client_msg_id = r.client_msg_id;
        m->kind = MessageKind_RECALL;
        m->refers_to_seq = r.refers_to_seq;
        return true;
    }
}

static void sent(struct client_call *call, const struct bt_result *r, const void *msg)
{
    struct bt_client *c = call->client;
    const SendReply *reply = msg;
    Message m;
    bool is_ours = reply && c->user_id != 0 && !client_call_is_foreign(call) && message_of(call, reply, &m);
    if (call->cb)
        ((bt_sent_cb *)call->cb)(r, reply ? reply->seq : 0, reply ? reply->sent_ms : 0, call->arg);
    if (is_ours && !c->is_closing && !client_call_is_foreign(call))
        client_conv_learn(c, &m);
}

static bool write_message(struct bt_client *c, uint16_t method, uint64_t target, const void *msg, uint32_t timeout_ms, bt_sent_cb *cb,
                          void *arg)
{
    struct client_call *call = client_call_new(c, &(struct client_ask){
        .method = method,
        .target = target,
        .msg = msg,
        .timeout_ms = timeout_ms ? timeout_ms : c->send_timeout_ms,
        .done = sent,
        .cb = (client_any_cb *)cb,
        .arg = arg,
    });
    if (!call)
        return false;
    if (!queue_add(call)) {
        client_call_drop(call);
        return false;
    }
    client_call_start(call);
    return true;
}

bool bt_send(struct bt_client *c, const struct bt_outgoing *m, bt_sent_cb *cb, void *arg)
{
    SendRequest req = {
        .client_msg_id = next_id(c),
        .kind = m->kind == BT_APPLICATION ? MessageKind_APPLICATION : MessageKind_TEXT,
        .content_type = client_bytes(m->content_type),
        .body = client_bytes(m->body),
    };
    return write_message(c, RPC_CHAT_SEND, m->target, &req, m->timeout_ms, cb, arg);
}

bool bt_edit(struct bt_client *c, uint64_t refers_to_seq, const struct bt_outgoing *m, bt_sent_cb *cb, void *arg)
{
    EditRequest req = {
        .client_msg_id = next_id(c),
        .refers_to_seq = refers_to_seq,
        .content_type = client_bytes(m->content_type),
        .body = client_bytes(m->body),
    };
    return write_message(c, RPC_CHAT_EDIT, m->target, &req, m->timeout_ms, cb, arg);
}

bool bt_recall(struct bt_client *c, uint64_t target, uint64_t refers_to_seq, bt_sent_cb *cb, void *arg)
{
    RecallRequest req = { .client_msg_id = next_id(c), .refers_to_seq = refers_to_seq };
    return write_message(c, RPC_CHAT_RECALL, target, &req, 0, cb, arg);
}
