/* client/client_gap.c: fetching the messages that are missing between the position and what is known to exist. */
#include "client/client_internal.h"

enum { FETCH_LIMIT = 200, MAX_TRIES = 6 };

static void fetched(struct client_call *call, const struct bt_result *r, const void *msg);

static void fetch(struct client_conv *conv)
{
    struct bt_client *c = conv->client;
    HistoryRequest req = { .limit = FETCH_LIMIT };
    if (conv->is_fetching || c->is_held || !client_order_gap(&conv->order, &req.from_seq))
        return;
    net_timer_stop(c->loop, &conv->gap_timer);
    /* The conversation is found again by its target: it may be gone when the answer comes. */
    conv->is_fetching = client_call(c, &(struct client_ask){
        .method = RPC_OFFLINE_HISTORY,
        .target = client_target_of(c, conv->hi, conv->lo),
        .msg = &req,
        .is_internal = true,
        .done = fetched,
    });
    if (!conv->is_fetching)
        client_conv_check_gap(conv);
}

static void gap_due(void *arg)
{
    struct client_conv *conv = arg;
    if (conv->client->is_pulling)
        client_conv_check_gap(conv); /* the pull may be about to fill it */
    else
        fetch(conv);
}

/* Whatever is missing may be on its way; ask for it if it does not come. Asked in vain, ask more rarely. */
void client_conv_check_gap(struct client_conv *conv)
{
    struct bt_client *c = conv->client;
    uint64_t from;
    if (!client_order_gap(&conv->order, &from)) {
        net_timer_stop(c->loop, &conv->gap_timer);
        conv->gap_tries = 0;
    } else if (!c->is_closing && !c->is_held && !conv->is_fetching && !net_timer_is_running(&conv->gap_timer)) {
        net_timer_start(c->loop, &conv->gap_timer, (uint64_t)CLIENT_GAP_MS << conv->gap_tries, gap_due, conv);
    }
}

static void take_page(struct client_conv *conv, const HistoryReply *reply)
{
    uint64_t before = conv->order.position;
    client_conv_take_page(conv, reply);
    if (conv->order.position > before) {
        conv->gap_tries = 0;
        fetch(conv);
    } else if (conv->client->is_held) {
        return;
    } else if (++conv->gap_tries > MAX_TRIES) {
        /* The server shows nothing more to us, whatever we heard of: we are no longer in it, or it lost its end. */
        conv->order.head = conv->order.position;
    }
}

static void fetched(struct client_call *call, const struct bt_result *r, const void *msg)
{
    struct bt_client *c = call->client;
    uint64_t hi, lo;
    client_key_of(c, call->target, &hi, &lo);
    struct client_conv *conv = c->user_id && !client_call_is_foreign(call) ? client_conv_find(c, hi, lo) : NULL;
    if (!conv)
        return;
    conv->is_fetching = false;
    if (c->is_closing)
        return;
    if (msg)
        take_page(conv, msg);
    else if (r->status == BT_STATUS_NOT_FOUND || r->status == BT_STATUS_PERMISSION_DENIED)
        conv->order.head = conv->order.position;
    else if (conv->gap_tries < MAX_TRIES)
        conv->gap_tries++;
    client_conv_check_gap(conv);
    client_check_synced(c);
}

void client_convs_fetch_all(struct bt_client *c)
{
    for (size_t n = 0; n < c->convs.count && !c->is_closing; n++)
        fetch(c->convs.rows[n]);
}

void client_check_synced(struct bt_client *c)
{
    uint64_t from;
    if (!c->must_tell_synced || c->is_pulling || c->is_closing)
        return;
    for (size_t n = 0; n < c->convs.count; n++)
        if (client_order_gap(&c->convs.rows[n]->order, &from))
            return;
    c->must_tell_synced = false;
    client_convs_save(c);
    if (c->events.synced)
        c->events.synced(c, c->arg);
}
