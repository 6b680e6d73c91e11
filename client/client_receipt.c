/* client/client_receipt.c: how far the other of a 1:1 chat has got: as pushed, and what was pushed while nobody was here; and how far one's own other devices. */
#include "client/client_internal.h"

#define LOG_MODULE "client"
#include "net/log.h"

enum { PAGE = 200 };

static void listed(struct client_call *call, const struct bt_result *r, const void *msg);

/* The other of a 1:1 chat. */
static uint64_t peer_of(const struct bt_client *c, uint64_t hi, uint64_t lo)
{
    return hi == c->user_id ? lo : hi;
}

void client_receipt_learn(struct bt_client *c, uint64_t hi, uint64_t lo, uint64_t delivered_seq, uint64_t read_seq)
{
    struct client_conv *conv = lo ? client_conv_find(c, hi, lo) : NULL;
    if (!conv || c->is_closing || (delivered_seq <= conv->peer_delivered_seq && read_seq <= conv->peer_read_seq))
        return;
    if (delivered_seq > conv->peer_delivered_seq)
        conv->peer_delivered_seq = delivered_seq;
    if (read_seq > conv->peer_read_seq)
        conv->peer_read_seq = read_seq;
    if (c->events.receipt)
        c->events.receipt(c, client_target_of(c, hi, lo), peer_of(c, hi, lo), conv->peer_delivered_seq, conv->peer_read_seq, c->arg);
}

/*
 * Another device of ours confirmed it. Its confirmations may have been written by several nodes, whose pushes overtake each
 * other: an older one tells nothing.
 */
void client_receipt_own(struct bt_client *c, uint64_t hi, uint64_t lo, uint64_t delivered_seq, uint64_t read_seq)
{
    struct client_conv *conv = client_conv_get(c, hi, lo);
    if (!conv) /* no memory: later ones say it too */
        return;
    if (delivered_seq > conv->delivered_seq)
        conv->delivered_seq = delivered_seq;
    if (read_seq > conv->read_seq)
        conv->read_seq = read_seq;
    if (delivered_seq <= conv->own_delivered_seq && read_seq <= conv->own_read_seq)
        return;
    if (delivered_seq > conv->own_delivered_seq)
        conv->own_delivered_seq = delivered_seq;
    if (read_seq > conv->own_read_seq)
        conv->own_read_seq = read_seq;
    if (c->events.receipt)
        c->events.receipt(c, client_target_of(c, hi, lo), c->user_id, conv->own_delivered_seq, conv->own_read_seq, c->arg);
}

static void ask(struct bt_client *c, ConversationKey after)
{
    ListConversationsRequest req = { .has_after = after.hi != 0, .after = after, .limit = PAGE };
    c->listed = after;
    c->is_listing = client_call(c, &(struct client_ask){
        .method = RPC_OFFLINE_LIST_CONVERSATIONS,
        .msg = &req,
        .is_internal = true,
        .done = listed,
        .arg = (void *)(uintptr_t)c->pull_serial,
    });
}

static bool has_peers(const struct bt_client *c)
{
    for (size_t n = 0; n < c->convs.count; n++)
        if (c->convs.rows[n]->lo != 0)
            return true;
    return false;
}

/* Pull lists only conversations with something new, and marks that rose are nothing new to it. */
void client_receipts_start(struct bt_client *c)
{
    if (!c->must_list || c->is_listing || c->is_closing || !c->events.receipt)
        return;
    c->must_list = false;
    if (has_peers(c))
        ask(c, (ConversationKey){ 0 });
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
        client_receipt_learn(c, row->hi, row->lo, row->peer_delivered_seq, row->peer_read_seq);
    }
    if (c->is_closing || serial != c->pull_serial)
        return;
    if (reply->more && reply->conversations_count > 0) {
        const Conversation *last = &reply->conversations[reply->conversations_count - 1];
        ConversationKey after = { last->hi, last->lo };
        if (after.hi > c->listed.hi || (after.hi == c->listed.hi && after.lo > c->listed.lo)) /* else it does not get on */
            ask(c, after);
    } else {
        client_receipts_start(c); /* it connected again meanwhile */
    }
}
