/* client/client_api_chat.c: typed calls: reading conversations; signals. */
#include <string.h>

#include "client/client_internal.h"
#include "net/mem.h"

static void signalled(struct client_call *call, const struct bt_result *r, const void *msg)
{
    (void)msg;
    if (call->cb)
        ((bt_done_cb *)call->cb)(r, call->arg);
}

bool bt_signal(struct bt_client *c, uint64_t target, const char *type, struct bt_text body, bt_done_cb *cb, void *arg)
{
    SignalRequest req = { .type = rpc_str(type), .body = client_bytes(body) };
    return client_call(c, &(struct client_ask){ .method = RPC_CHAT_SIGNAL, .target = target, .msg = &req, .done = signalled,
                                                .cb = (client_any_cb *)cb, .arg = arg });
}

/* ---- messages ---- */

/* Messages, and behind them in the same memory what they tell of members. NULL: no memory. */
static struct bt_message *messages_of(const struct bt_client *c, const Message *wire, size_t n)
{
    struct bt_message *rows = bt_calloc(n, sizeof *rows + sizeof(struct bt_membership));
    if (!rows)
        return NULL;
    struct bt_membership *memberships = (struct bt_membership *)(rows + n);
    for (size_t k = 0; k < n; k++) {
        rows[k] = client_message_of(c, &wire[k]);
        if (client_membership_of(&rows[k], &memberships[k]))
            rows[k].membership = &memberships[k];
    }
    return rows;
}

static void history_done(struct client_call *call, const struct bt_result *r, const void *msg)
{
    const HistoryReply *reply = msg;
    size_t n = reply ? reply->messages_count : 0;
    struct bt_message *rows = n ? messages_of(call->client, reply->messages, n) : NULL;
    if (n && !rows)
        r = &client_no_memory, n = 0;
    if (call->cb)
        ((bt_history_cb *)call->cb)(r, rows, n, reply ? reply->first_seq : 0, reply ? reply->head_seq : 0, call->arg);
    bt_free(rows);
}

bool bt_history(struct bt_client *c, uint64_t target, uint64_t from_seq, uint64_t before_seq, uint32_t limit, bt_history_cb *cb, void *arg)
{
    HistoryRequest req = { .from_seq = from_seq, .before_seq = before_seq, .limit = limit };
    return client_call(c, &(struct client_ask){ .method = RPC_OFFLINE_HISTORY, .target = target, .msg = &req, .done = history_done,
                                                .cb = (client_any_cb *)cb, .arg = arg });
}

/* ---- conversations ---- */

struct summary {
    struct bt_message last;
    struct bt_membership membership;
};

static void summary_fill(const struct bt_client *c, const Conversation *row, struct bt_conversation *conv, struct summary *s)
{
    *conv = client_conversation_of(c, row);
    if (row->messages_count == 0)
        return;
    s->last = client_message_of(c, &row->messages[row->messages_count - 1]);
    if (client_membership_of(&s->last, &s->membership))
        s->last.membership = &s->membership;
    conv->last = &s->last;
}

static void conversations_done(struct client_call *call, const struct bt_result *r, const void *msg)
{
    const ListConversationsReply *reply = msg;
    size_t n = reply ? reply->conversations_count : 0;
    struct bt_conversation *rows = n ? bt_calloc(n, sizeof *rows) : NULL;
    struct summary *summaries = n ? bt_calloc(n, sizeof *summaries) : NULL;
    if (n && (!rows || !summaries))
        r = &client_no_memory, n = 0;
    for (size_t k = 0; k < n; k++)
        summary_fill(call->client, &reply->conversations[k], &rows[k], &summaries[k]);
    if (call->cb)
        ((bt_conversations_cb *)call->cb)(r, rows, n, reply && reply->more, call->arg);
    bt_free(summaries);
    bt_free(rows);
}

bool bt_conversations_list(struct bt_client *c, uint64_t after_target, uint32_t limit, bt_conversations_cb *cb, void *arg)
{
    ListConversationsRequest req = { .has_after = after_target != 0, .limit = limit };
    if (after_target)
        client_key_of(c, after_target, &req.after.hi, &req.after.lo);
    return client_call(c, &(struct client_ask){ .method = RPC_OFFLINE_LIST_CONVERSATIONS, .msg = &req, .done = conversations_done,
                                                .cb = (client_any_cb *)cb, .arg = arg });
}

/* ---- receipts ---- */

static void receipts_done(struct client_call *call, const struct bt_result *r, const void *msg)
{
    const GetReceiptsReply *reply = msg;
    size_t n = reply ? reply->receipts_count : 0;
    struct bt_receipts sums = { 0 };
    struct bt_receipt *rows = n ? bt_calloc(n, sizeof *rows) : NULL;
    if (n && !rows)
        r = &client_no_memory, n = 0;
    for (size_t k = 0; k < n; k++)
        rows[k] = (struct bt_receipt){ reply->receipts[k].user_id, reply->receipts[k].delivered, reply->receipts[k].read };
    if (reply)
        sums = (struct bt_receipts){ reply->delivered_count, reply->read_count, reply->member_count };
    if (call->cb)
        ((bt_receipts_cb *)call->cb)(r, rows, n, reply && reply->more, &sums, call->arg);
    bt_free(rows);
}

bool bt_receipts_get(struct bt_client *c, uint64_t target, uint64_t seq, uint64_t after_user_id, bt_receipts_cb *cb, void *arg)
{
    GetReceiptsRequest req = { .seq = seq, .after_user_id = after_user_id };
    return client_call(c, &(struct client_ask){ .method = RPC_OFFLINE_GET_RECEIPTS, .target = target, .msg = &req, .done = receipts_done,
                                                .cb = (client_any_cb *)cb, .arg = arg });
}
