/* client/client_conv.c: conversations: handing over messages in order, saving positions. */
#include <string.h>

#include "client/client_internal.h"
#include "net/mem.h"

#define LOG_MODULE "client"
#include "net/log.h"

/* ---- the table ---- */

size_t client_convs_after(const struct bt_client *c, uint64_t hi, uint64_t lo)
{
    size_t low = 0, high = c->convs.count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const struct client_conv *row = c->convs.rows[mid];
        if (row->hi > hi || (row->hi == hi && row->lo > lo))
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

struct client_conv *client_conv_find(const struct bt_client *c, uint64_t hi, uint64_t lo)
{
    size_t n = client_convs_after(c, hi, lo);
    struct client_conv *row = n > 0 ? c->convs.rows[n - 1] : NULL;
    return row && row->hi == hi && row->lo == lo ? row : NULL;
}

struct client_conv *client_conv_get(struct bt_client *c, uint64_t hi, uint64_t lo)
{
    struct client_conv *conv = client_conv_find(c, hi, lo);
    struct client_convs *t = &c->convs;
    if (conv)
        return conv;
    if (t->count == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 16;
        struct client_conv **rows = bt_realloc(t->rows, cap * sizeof *rows);
        if (!rows)
            return NULL;
        t->rows = rows;
        t->cap = cap;
    }
    conv = bt_calloc(1, sizeof *conv);
    if (!conv)
        return NULL;
    conv->client = c;
    conv->hi = hi;
    conv->lo = lo;
    size_t at = client_convs_after(c, hi, lo);
    memmove(t->rows + at + 1, t->rows + at, (t->count - at) * sizeof *t->rows);
    t->rows[at] = conv;
    t->count++;
    return conv;
}

void client_convs_clear(struct bt_client *c)
{
    for (size_t n = 0; n < c->convs.count; n++) {
        struct client_conv *conv = c->convs.rows[n];
        net_timer_stop(c->loop, &conv->gap_timer);
        client_order_deinit(&conv->order);
        bt_free(conv);
    }
    c->convs.count = 0;
}

/* ---- positions ---- */

void client_convs_save(struct bt_client *c)
{
    for (size_t n = 0; n < c->convs.count; n++) {
        struct client_conv *conv = c->convs.rows[n];
        if (!conv->is_dirty)
            continue;
        conv->is_dirty = false;
        if (c->inbox == BT_INBOX_KEEP)
            client_save(c, &(struct bt_record){
                .kind = BT_RECORD_POSITION, .hi = conv->hi, .lo = conv->lo, .number = conv->order.position });
    }
}

static void save_due(void *arg)
{
    client_convs_save(arg);
}

/* Once per turn, however many messages came. */
static void position_moved(struct client_conv *conv)
{
    struct bt_client *c = conv->client;
    conv->is_dirty = true;
    c->moves++;
    net_defer(c->loop, &c->save_task, save_due, c);
}

void client_conv_restore(struct bt_client *c, uint64_t hi, uint64_t lo, uint64_t position)
{
    struct client_conv *conv = client_conv_get(c, hi, lo);
    if (conv) /* no memory: then it comes as a conversation that the device does not know */
        client_order_open(&conv->order, position);
}

/* ---- handing over ---- */

static void hand_over(struct client_conv *conv, const struct bt_message *m)
{
    struct bt_client *c = conv->client;
    struct bt_message out = *m;
    struct bt_membership membership;
    position_moved(conv);
    if (m->sender_id != c->user_id && m->seq > conv->delivered_seq) {
        conv->to_deliver_seq = m->seq;
        client_mark_wake(c);
    }
    if (client_membership_of(m, &membership))
        out.membership = &membership;
    if (c->events.message)
        c->events.message(c, &out, c->arg);
}

static void hand_over_kept(struct client_conv *conv)
{
    struct client_kept *k;
    while (!conv->client->is_closing && !conv->client->is_held && (k = client_order_pop(&conv->order))) {
        hand_over(conv, &k->m);
        bt_free(k);
    }
}

static void take(struct client_conv *conv, const Message *m)
{
    struct bt_message message = client_message_of(conv->client, m);
    if (conv->client->is_held) {
        client_order_note_head(&conv->order, m->seq); /* a gap like any other, once it is released */
        return;
    }
    if (conv->client->is_closing || client_order_offer(&conv->order, &message) != CLIENT_ORDER_NOW)
        return;
    hand_over(conv, &message);
    hand_over_kept(conv);
}

void client_conv_learn(struct bt_client *c, const Message *m)
{
    if (c->inbox == BT_INBOX_NONE || c->is_closing)
        return;
    struct client_conv *conv = client_conv_get(c, m->hi, m->lo);
    if (!conv) {
        log_warn("out of memory: a message waits for the next comparison");
        return;
    }
    take(conv, m);
    if (!conv->order.is_open)
        client_pull_start(c); /* the server says from where on it may be seen */
    else
        client_conv_check_gap(conv);
}

void client_conv_note_head(struct bt_client *c, uint64_t hi, uint64_t lo, uint64_t seq)
{
    if (c->inbox == BT_INBOX_NONE || c->is_closing || seq == 0)
        return;
    struct client_conv *conv = client_conv_get(c, hi, lo);
    if (!conv)
        return;
    client_order_note_head(&conv->order, seq);
    if (!conv->order.is_open)
        client_pull_start(c);
    else
        client_conv_check_gap(conv);
}

void bt_client_hold(struct bt_client *c, bool is_held)
{
    if (c->is_held == is_held || c->is_closing)
        return;
    c->is_held = is_held;
    for (size_t n = 0; n < c->convs.count && !is_held; n++)
        client_conv_check_gap(c->convs.rows[n]);
    if (!is_held)
        client_pull_start(c);
}

/* ---- what Pull says ---- */

/*
 * Where a conversation begins for a device that has no position in it. A device that knows all conversations of the
 * account gets a new one from its first message. One that is new to the account gets the newest few, and whatever no
 * device of the user has received yet. What was pushed to it meanwhile is never passed over.
 */
static uint64_t start_of(const struct bt_client *c, const struct client_order *o, const Conversation *row)
{
    uint64_t floor = row->first_seq > 0 ? row->first_seq - 1 : 0, start = floor;
    if (!c->is_synced && row->head_seq > c->backfill && row->head_seq - c->backfill > floor)
        start = row->head_seq - c->backfill;
    if (start > row->delivered_seq)
        start = row->delivered_seq > floor ? row->delivered_seq : floor;
    uint64_t lowest = client_order_lowest(o);
    if (lowest > 0 && start >= lowest)
        start = lowest - 1 > floor ? lowest - 1 : floor;
    return start;
}

void client_conv_summary(struct bt_client *c, const Conversation *row)
{
    struct client_conv *conv = client_conv_get(c, row->hi, row->lo);
    if (!conv)
        return;
    if (row->delivered_seq > conv->delivered_seq)
        conv->delivered_seq = row->delivered_seq;
    if (row->read_seq > conv->read_seq)
        conv->read_seq = row->read_seq;
    client_order_note_head(&conv->order, row->head_seq);
    if (!conv->order.is_open) {
        struct bt_conversation news = client_conversation_of(c, row);
        client_order_open(&conv->order, start_of(c, &conv->order, row));
        position_moved(conv);
        if (c->events.conversation)
            c->events.conversation(c, &news, c->arg);
    } else if (client_order_floor(&conv->order, row->first_seq)) {
        position_moved(conv);
    }
    client_receipt_row(conv, row);
    hand_over_kept(conv);
    for (size_t n = 0; n < row->messages_count; n++)
        take(conv, &row->messages[n]);
}

/* A page of History, asked for to fill a gap. */
void client_conv_take_page(struct client_conv *conv, const HistoryReply *reply)
{
    if (client_order_floor(&conv->order, reply->first_seq)) {
        position_moved(conv);
        hand_over_kept(conv);
    }
    for (size_t n = 0; n < reply->messages_count; n++)
        take(conv, &reply->messages[n]);
    client_order_note_head(&conv->order, reply->head_seq);
}
