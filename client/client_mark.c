/* client/client_mark.c: confirming what was delivered and read: at most once a second, all conversations in one call. */
#include "client/client_internal.h"
#include "net/mem.h"

enum { GATHER_MS = 50 };

static void marked(struct client_call *call, const struct bt_result *r, const void *msg);

static bool wants(const struct client_conv *conv)
{
    return conv->to_deliver_seq > conv->delivered_seq || conv->to_read_seq > conv->read_seq;
}

/* The marks that are due, at most n. */
static size_t gather(const struct bt_client *c, Mark *marks, size_t n)
{
    size_t count = 0;
    for (size_t k = 0; k < c->convs.count && count < n; k++) {
        const struct client_conv *conv = c->convs.rows[k];
        if (wants(conv))
            marks[count++] = (Mark){ conv->hi, conv->lo, conv->to_deliver_seq, conv->to_read_seq };
    }
    return count;
}

static void mark_due(void *arg)
{
    struct bt_client *c = arg;
    Mark marks[CLIENT_MARKS_AT_ONCE];
    if (c->is_marking || c->is_closing || !c->cur || c->cur->state != CLIENT_LINK_BOUND)
        return; /* woken again by the answer, or by the next connection */
    MarkRequest req = { .marks = marks, .marks_count = (pb_size_t)gather(c, marks, CLIENT_MARKS_AT_ONCE) };
    if (req.marks_count == 0)
        return;
    c->marked_ms = net_now_ms(c->loop);
    c->is_marking = client_call(c, &(struct client_ask){ .method = RPC_OFFLINE_MARK, .msg = &req, .is_internal = true, .done = marked });
    if (!c->is_marking)
        client_mark_wake(c);
}

static void marked(struct client_call *call, const struct bt_result *r, const void *msg)
{
    struct bt_client *c = call->client;
    MarkRequest req = { 0 };
    (void)msg;
    c->is_marking = false;
    if (c->is_closing)
        return;
    /* Of another user, it says nothing of this one's marks, though both may be in one group. */
    if (r->outcome == BT_DONE && !client_call_is_foreign(call) && rpc_decode(MarkRequest_fields, call->payload, call->len, &req) == BT_OK) {
        for (size_t n = 0; n < req.marks_count; n++) {
            struct client_conv *conv = client_conv_find(c, req.marks[n].hi, req.marks[n].lo);
            if (conv && req.marks[n].delivered_seq > conv->delivered_seq)
                conv->delivered_seq = req.marks[n].delivered_seq;
            if (conv && req.marks[n].read_seq > conv->read_seq)
                conv->read_seq = req.marks[n].read_seq;
        }
        rpc_release(MarkRequest_fields, &req);
    }
    for (size_t n = 0; n < c->convs.count; n++)
        if (wants(c->convs.rows[n])) {
            client_mark_wake(c);
            return;
        }
}

void client_mark_wake(struct bt_client *c)
{
    if (c->is_closing || c->is_marking || net_timer_is_running(&c->mark_timer))
        return;
    uint64_t now_ms = net_now_ms(c->loop), due_ms = c->marked_ms + CLIENT_MARK_MS;
    net_timer_start(c->loop, &c->mark_timer, c->marked_ms && due_ms > now_ms + GATHER_MS ? due_ms - now_ms : GATHER_MS, mark_due, c);
}

void bt_mark_read(struct bt_client *c, uint64_t target, uint64_t seq)
{
    uint64_t hi, lo;
    client_key_of(c, target, &hi, &lo);
    struct client_conv *conv = c->is_closing || c->user_id == 0 ? NULL : client_conv_get(c, hi, lo);
    if (!conv || seq <= conv->to_read_seq || seq <= conv->read_seq)
        return;
    conv->to_read_seq = seq;
    client_mark_wake(c);
}

static void last_call_done(struct rpc_out *out, const struct rpc_reply *reply)
{
    struct client_link *l = out->arg;
    if (!reply->came)
        l->state = CLIENT_LINK_CLOSING; /* the connection went first */
    client_link_call_done(l);
    bt_free(out);
}

void client_last_call(struct bt_client *c, uint16_t method, const void *msg)
{
    const pb_msgdesc_t *fields = rpc_method_info(method)->req;
    if (!c->cur || c->cur->state != CLIENT_LINK_BOUND)
        return;
    size_t len = rpc_size(fields, msg);
    struct rpc_out *out = bt_calloc(1, sizeof *out + len);
    if (!out)
        return;
    uint8_t *payload = (uint8_t *)(out + 1);
    rpc_encode(fields, msg, payload, len);
    out->done = last_call_done;
    out->arg = c->cur;
    c->cur->calls++;
    rpc_link_request(c->cur->rpc, &(struct rpc_header){ .method = method, .timeout_ms = CLIENT_LAST_MS }, payload, len, out);
}

/*
 * The client goes: among the last things that its connection does. The answer is waited for, as a server may drop what was
 * asked of it by someone who has gone.
 */
void client_mark_now(struct bt_client *c)
{
    Mark marks[CLIENT_MARKS_AT_ONCE];
    MarkRequest req = { .marks = marks, .marks_count = (pb_size_t)gather(c, marks, CLIENT_MARKS_AT_ONCE) };
    if (req.marks_count > 0)
        client_last_call(c, RPC_OFFLINE_MARK, &req);
}

void client_mark_forget(struct bt_client *c)
{
    net_timer_stop(c->loop, &c->mark_timer);
}
