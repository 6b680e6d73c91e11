/* client/client_pull.c: comparing positions with the server: at connect, at Resync, and when nothing came for long. */
#include "client/client_internal.h"
#include "net/mem.h"

#define LOG_MODULE "client"
#include "net/log.h"

enum { STALLED_MS = 5000, MAX_STALLS = 6 };

static void pulled(struct client_call *call, const struct bt_result *r, const void *msg);

static void pull_due(void *arg)
{
    client_pull_start(arg);
}

static void come_again(struct bt_client *c, uint32_t delay_ms)
{
    net_timer_start(c->loop, &c->pull_timer, delay_ms, pull_due, c);
}

/* Soon, as somebody may be waiting for a message; and not all devices at once. */
static void retry(struct bt_client *c, uint32_t not_before_ms)
{
    c->is_pulling = false;
    c->is_pull_retry = true;
    come_again(c, not_before_ms + client_backoff_next(&c->pull_backoff, client_random()));
}

/* The next stretch of conversations: as many as one request may name positions of. */
static void ask(struct bt_client *c)
{
    size_t from = client_convs_after(c, c->pull_after.hi, c->pull_after.lo), count = 0;
    Position *positions = bt_malloc(CLIENT_PULL_POSITIONS * sizeof *positions);
    PullRequest req = { .has_after = c->pull_after.hi != 0, .after = c->pull_after, .positions = positions };
    bool is_asked = false;
    if (!positions)
        goto out;
    for (size_t n = from; n < c->convs.count; n++) {
        const struct client_conv *conv = c->convs.rows[n];
        if (!conv->order.is_open)
            continue;
        if (count == CLIENT_PULL_POSITIONS) {
            req.has_until = true;
            req.until = (ConversationKey){ positions[count - 1].hi, positions[count - 1].lo };
            break;
        }
        positions[count++] = (Position){ conv->hi, conv->lo, conv->order.position };
    }
    req.positions_count = (pb_size_t)count;
    c->pull_has_until = req.has_until;
    c->pull_until = req.until;
    c->pull_moves = c->moves;
    is_asked = client_call(c, &(struct client_ask){
        .method = RPC_OFFLINE_PULL,
        .msg = &req,
        .is_internal = true,
        .done = pulled,
        .arg = (void *)(uintptr_t)c->pull_serial,
    });
out:
    bt_free(positions);
    if (!is_asked && !c->is_closing)
        retry(c, 0);
}

void client_pull_start(struct bt_client *c)
{
    if (c->inbox == BT_INBOX_NONE || c->is_closing || c->is_held || !c->cur || c->cur->state != CLIENT_LINK_BOUND)
        return; /* a connection that comes into use begins with it */
    if (c->is_pulling) {
        c->must_pull = true;
        return;
    }
    net_timer_stop(c->loop, &c->pull_timer);
    c->is_pulling = true;
    c->must_pull = false;
    c->pull_after = (ConversationKey){ 0 };
    ask(c);
}

void client_pull_stop(struct bt_client *c)
{
    c->pull_serial++;
    c->is_pulling = c->must_pull = false;
    client_receipts_stop(c);
    net_timer_stop(c->loop, &c->pull_timer);
}

/* What comes shows that pushes arrive, but not that all do: a busy device compares too, only more rarely. */
static uint32_t idle_ms(const struct bt_client *c)
{
    uint64_t since_ms = net_now_ms(c->loop) - c->pulled_ms, most_ms = 3 * (uint64_t)c->compare_ms;
    uint64_t left_ms = since_ms < most_ms ? most_ms - since_ms : 0;
    return left_ms < c->compare_ms ? (uint32_t)left_ms : c->compare_ms;
}

void client_pull_idle(struct bt_client *c)
{
    if (net_timer_is_running(&c->pull_timer) && !c->is_pull_retry)
        come_again(c, idle_ms(c));
}

/* A conversation that was heard of, but that the server did not list: it may list it in a moment. */
static bool has_unopened(const struct bt_client *c)
{
    for (size_t n = 0; n < c->convs.count; n++)
        if (!c->convs.rows[n]->order.is_open && c->convs.rows[n]->order.head > 0)
            return true;
    return false;
}

static void finish(struct bt_client *c)
{
    c->is_pulling = false;
    c->pull_stalls = 0;
    c->pulled_ms = net_now_ms(c->loop);
    if (!c->is_synced) {
        c->is_synced = true;
        client_convs_save(c); /* first what it is about */
        if (c->inbox == BT_INBOX_KEEP)
            client_save(c, &(struct bt_record){ .kind = BT_RECORD_SYNCED, .number = 1 });
    }
    if (c->must_pull) {
        client_pull_start(c);
        return;
    }
    if (has_unopened(c)) {
        retry(c, 0);
    } else {
        client_backoff_reset(&c->pull_backoff);
        c->is_pull_retry = false;
        come_again(c, c->compare_ms);
    }
    client_convs_fetch_all(c);
    client_receipts_start(c);
    client_check_synced(c);
}

static bool is_after(ConversationKey a, ConversationKey b)
{
    return a.hi > b.hi || (a.hi == b.hi && a.lo > b.lo);
}

/* Each round moves a position or gets on through the conversations; a server that does neither is asked again more and more rarely. */
static void next_round(struct bt_client *c, const PullReply *reply)
{
    ConversationKey next = reply->more && reply->has_next_after ? reply->next_after : c->pull_until;
    if (!reply->more && !c->pull_has_until) {
        finish(c);
    } else if (is_after(next, c->pull_after) || (reply->more && c->moves != c->pull_moves)) {
        if (is_after(next, c->pull_after))
            c->pull_after = next;
        ask(c);
    } else {
        log_warn("the server's answers to Pull do not get on");
        c->is_pulling = false;
        c->is_pull_retry = true;
        come_again(c, STALLED_MS << c->pull_stalls);
        c->pull_stalls += c->pull_stalls < MAX_STALLS;
        client_convs_fetch_all(c); /* what they don't bring, History may */
    }
}

static void pulled(struct client_call *call, const struct bt_result *r, const void *msg)
{
    struct bt_client *c = call->client;
    const PullReply *reply = msg;
    if (c->is_closing || (uint32_t)(uintptr_t)call->arg != c->pull_serial)
        return;
    if (!reply) {
        log_debug("pull: %s %s", bt_status_name(r->status), r->detail);
        retry(c, r->retry_after_ms);
        return;
    }
    for (size_t n = 0; n < reply->conversations_count && !c->is_closing; n++)
        client_conv_summary(c, &reply->conversations[n]);
    if (c->is_closing || (uint32_t)(uintptr_t)call->arg != c->pull_serial)
        return;
    if (c->is_held)
        c->is_pulling = false; /* begun anew when it is released */
    else
        next_round(c, reply);
}
