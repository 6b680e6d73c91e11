/* client/client_receipt.c: how far the other of a 1:1 chat has got: as pushed, and what was pushed while nobody was here; and how far one's own other devices have. */
#include "client/client_internal.h"

#define LOG_MODULE "client"
#include "net/log.h"

enum { PAGE = 200 };

static void listed(struct client_call *call, const struct bt_result *r, const void *msg);

static void raise(struct client_marks *m, uint64_t delivered_seq, uint64_t read_seq)
{
    if (delivered_seq > m->delivered_seq)
        m->delivered_seq = delivered_seq;
    if (read_seq > m->read_seq)
        m->read_seq = read_seq;
}

/*
 * Pushes of several nodes overtake each other, and one may have stood in a queue since before this client was made. So that no
 * mark falls before the application's eyes, it is told what rises above what it was told, and nothing before the
 * server has said how far the marks are by now: that is never less than what an earlier client was told.
 */
static void tell(struct client_conv *conv, enum client_whose whose)
{
    struct bt_client *c = conv->client;
    const struct client_marks *heard = &conv->heard[whose];
    struct client_marks *told = &conv->told[whose];
    uint64_t user_id = whose == CLIENT_OWN ? c->user_id : conv->hi == c->user_id ? conv->lo : conv->hi;
    if (c->is_closing || !c->events.receipt || !(c->is_listed || conv->are_marks_known) ||
        (heard->delivered_seq <= told->delivered_seq && heard->read_seq <= told->read_seq))
        return;
    raise(told, heard->delivered_seq, heard->read_seq);
    c->events.receipt(c, client_target_of(c, conv->hi, conv->lo), user_id, told->delivered_seq, told->read_seq, c->arg);
}

void client_receipt_learn(struct bt_client *c, const ReceiptEvent *e)
{
    enum client_whose whose = e->user_id == c->user_id ? CLIENT_OWN : CLIENT_PEERS;
    struct client_conv *conv;
    if (whose == CLIENT_PEERS && e->lo == 0) /* in groups, they are asked for */
        return;
    conv = client_conv_get(c, e->hi, e->lo);
    if (!conv) /* no memory: later ones say it too */
        return;
    if (whose == CLIENT_OWN) {
        if (e->delivered_seq > conv->delivered_seq)
            conv->delivered_seq = e->delivered_seq;
        if (e->read_seq > conv->read_seq)
            conv->read_seq = e->read_seq;
    }
    raise(&conv->heard[whose], e->delivered_seq, e->read_seq);
    tell(conv, whose);
}

void client_receipt_row(struct client_conv *conv, const Conversation *row)
{
    conv->are_marks_known = true;
    raise(&conv->told[CLIENT_OWN], row->delivered_seq, row->read_seq); /* one's own are news only when another device moves them */
    tell(conv, CLIENT_OWN);
    if (conv->lo == 0)
        return;
    raise(&conv->heard[CLIENT_PEERS], row->peer_delivered_seq, row->peer_read_seq);
    tell(conv, CLIENT_PEERS);
}

static void ask(struct bt_client *c, ConversationKey after)
{
    ListConversationsRequest req = { .has_after = after.hi != 0, .after = after, .limit = PAGE, .brief = true };
    c->listed = after;
    c->is_listing = client_call(c, &(struct client_ask){
        .method = RPC_OFFLINE_LIST_CONVERSATIONS,
        .msg = &req,
        .is_internal = true,
        .done = listed,
        .arg = (void *)(uintptr_t)c->pull_serial,
    });
}

/* From now on a conversation that was not among them has no marks that anybody was told of. */
static void all_listed(struct bt_client *c)
{
    c->is_listed = true;
    for (size_t n = 0; n < c->convs.count; n++) {
        tell(c->convs.rows[n], CLIENT_OWN);
        if (c->convs.rows[n]->lo != 0)
            tell(c->convs.rows[n], CLIENT_PEERS);
    }
}

/* Pull lists only conversations with something new, and marks that rose are nothing new to it. */
void client_receipts_start(struct bt_client *c)
{
    if (!c->must_list || c->is_listing || c->is_closing || !c->events.receipt)
        return;
    c->must_list = false;
    if (c->convs.count > 0)
        ask(c, (ConversationKey){ 0 });
    else
        all_listed(c);
}

void client_receipts_stop(struct bt_client *c)
{
    c->is_listing = c->must_list = false;
}

static void listed(struct client_call *call, const struct bt_result *r, const void *msg)
{
    struct bt_client *c = call->client;
    const ListConversationsReply *reply = msg;
    uint32_t serial = (uint32_t)(uintptr_t)call->arg;
    if (c->is_closing || serial != c->pull_serial)
        return;
    c->is_listing = false;
    if (!reply) {
        log_debug("list of conversations: %s %s", bt_status_name(r->status), r->detail);
        c->must_list = true; /* after the next comparison */
        return;
    }
    for (size_t n = 0; n < reply->conversations_count && serial == c->pull_serial; n++) {
        const Conversation *row = &reply->conversations[n];
        struct client_conv *conv = client_conv_find(c, row->hi, row->lo);
        if (conv)
            client_receipt_row(conv, row);
    }
    if (c->is_closing || serial != c->pull_serial)
        return;
    if (reply->more && reply->conversations_count > 0) {
        const Conversation *last = &reply->conversations[reply->conversations_count - 1];
        ConversationKey after = { last->hi, last->lo };
        if (after.hi > c->listed.hi || (after.hi == c->listed.hi && after.lo > c->listed.lo)) /* else it does not get on */
            ask(c, after);
    } else {
        all_listed(c);
        client_receipts_start(c); /* it connected again meanwhile */
    }
}
