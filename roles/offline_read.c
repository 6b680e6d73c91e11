/* roles/offline_read.c: History and GetReceipts: what one conversation holds, and who has got one message of it. */
#include "net/mem.h"
#include "roles/offline_internal.h"

enum { HISTORY_LIMIT = 50, HISTORY_LIMIT_MAX = 500, RECEIPTS_LIMIT = 100, RECEIPTS_LIMIT_MAX = 500 };

/* A user's place in the conversation that a call is about. */
static struct store_place place_of_call(const struct rpc_call *call)
{
    const struct rpc_header *h = rpc_call_header(call);
    struct store_place p = { .user_id = h->caller };
    rpc_key_of(h->caller, h->target, &p.hi, &p.lo);
    return p;
}

/* ---- History ------------------------------------------------------------------------------------------------------- */

struct history {
    struct offline_role *role;
    struct rpc_call *call;
    struct arena arena;
    uint64_t from_seq, before_seq; /* as asked */
    size_t limit;
    struct store_place place;
    bool is_backward;              /* fetched, and cut, from the newer end */
    uint64_t first, last;          /* still to fetch; first > last: nothing */
    size_t bytes_left;
    Message *messages;             /* room for `limit`; forward filled from the front, backward from the end */
    size_t nmessages;
};

static void history_next(struct history *h);

static void history_free(struct history *h)
{
    struct offline_role *role = h->role;
    arena_free(&h->arena);
    bt_free(h);
    offline_read_end(role);
}

static void history_fail(struct history *h, enum bt_err err)
{
    rpc_fail(h->call, err, err == BT_ENOTFOUND ? "no such conversation" : NULL);
    history_free(h);
}

static void history_reply(struct history *h)
{
    HistoryReply reply = {
        .messages_count = (pb_size_t)h->nmessages,
        .messages = h->is_backward ? h->messages + (h->limit - h->nmessages) : h->messages,
        .head_seq = store_place_top(&h->place),
        .first_seq = h->place.joined_seq,
    };
    rpc_reply(h->call, &reply);
    history_free(h);
}

/* Take one message into the reply. False: it is full, or there is no memory for it (*err_out). */
static bool history_take(struct history *h, const struct store_logged *row, enum bt_err *err_out)
{
    size_t bytes = offline_message_bytes(row);
    Message *m = h->is_backward ? &h->messages[h->limit - h->nmessages - 1] : &h->messages[h->nmessages];
    if (bytes > h->bytes_left && h->nmessages > 0) {
        h->first = 1;
        h->last = 0;
        return false;
    }
    if (!offline_message_fill(&h->arena, row, m)) {
        *err_out = BT_ENOMEM;
        return false;
    }
    h->bytes_left -= bytes < h->bytes_left ? bytes : h->bytes_left;
    h->nmessages++;
    return true;
}

static void history_fetch_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct history *h = arg;
    size_t n = err == BT_OK ? rows->nrows : 0;
    for (size_t i = 0; i < n; i++) {
        struct store_logged row = store_logged_of(rows, h->is_backward ? n - 1 - i : i);
        if (!history_take(h, &row, &err))
            break;
    }
    if (err != BT_OK)
        history_fail(h, err);
    else
        history_next(h);
}

static void history_next(struct history *h)
{
    struct store_range range = { h->place.hi, h->place.lo, h->first, h->last, h->place.left_seq, h->place.user_id };
    if (rpc_call_is_dead(h->call)) {
        history_fail(h, BT_ECANCELLED);
        return;
    }
    if (h->first > h->last) {
        history_reply(h);
        return;
    }
    if (h->last - h->first >= OFFLINE_FETCH) {
        if (h->is_backward)
            range.first = h->last - OFFLINE_FETCH + 1;
        else
            range.last = h->first + OFFLINE_FETCH - 1;
    }
    if (h->is_backward)
        h->last = range.first - 1;
    else
        h->first = range.last + 1;
    store_history(h->role->store, &range, 1, history_fetch_done, h);
}

/* Which seqs the page holds, within what the caller may see. */
static void history_bound(struct history *h)
{
    uint64_t top = store_place_top(&h->place), low = h->place.joined_seq;
    h->is_backward = h->before_seq != 0 || h->from_seq == 0;
    h->first = h->from_seq > low ? h->from_seq : low;
    h->last = h->before_seq != 0 && h->before_seq - 1 < top ? h->before_seq - 1 : top;
    if (h->first > h->last || h->last - h->first < h->limit)
        return;
    if (h->is_backward)
        h->first = h->last - h->limit + 1;
    else
        h->last = h->first + h->limit - 1;
}

static void history_place_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct history *h = arg;
    if (err == BT_OK && rows->nrows == 1)
        h->place = store_place_of(rows, 0);
    if (err == BT_OK && h->place.joined_seq == 0)
        err = BT_ENOTFOUND;
    if (err != BT_OK) {
        history_fail(h, err);
        return;
    }
    h->messages = arena_array(&h->arena, h->limit, sizeof(*h->messages));
    if (!h->messages) {
        history_fail(h, BT_ENOMEM);
        return;
    }
    history_bound(h);
    history_next(h);
}

void offline_history(struct rpc_call *call, const void *msg, void *self_arg)
{
    const HistoryRequest *req = msg;
    struct offline_role *self = self_arg;
    struct history *h;
    if (req->limit > HISTORY_LIMIT_MAX) {
        rpc_fail(call, BT_EINVAL, "limit above %d", HISTORY_LIMIT_MAX);
        return;
    }
    if (!offline_read_begin(self, call))
        return;
    h = bt_calloc(1, sizeof(*h));
    if (!h) {
        rpc_fail(call, BT_ENOMEM, NULL);
        offline_read_end(self);
        return;
    }
    h->role = self;
    h->call = call;
    h->from_seq = req->from_seq;
    h->before_seq = req->before_seq;
    h->limit = req->limit ? req->limit : HISTORY_LIMIT;
    h->bytes_left = self->reply_max_bytes;
    h->place = place_of_call(call);
    store_places_find(self->store, &h->place, 1, history_place_done, h);
}

/* ---- GetReceipts --------------------------------------------------------------------------------------------------- */

struct receipts {
    struct offline_role *role;
    struct rpc_call *call;
    struct store_place place;
    uint64_t seq, after_user_id;
    size_t limit;
    struct store_receipt_counts counts;
};

static void receipts_fail(struct receipts *r, enum bt_err err)
{
    struct offline_role *role = r->role;
    rpc_fail(r->call, err, err == BT_ENOTFOUND ? "no such conversation or message" : NULL);
    bt_free(r);
    offline_read_end(role);
}

static void receipts_page_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct receipts *r = arg;
    struct offline_role *role = r->role;
    GetReceiptsReply reply = { .member_count = r->counts.members, .delivered_count = r->counts.delivered, .read_count = r->counts.read };
    Receipt page[RECEIPTS_LIMIT_MAX];
    if (err != BT_OK) {
        receipts_fail(r, err);
        return;
    }
    reply.more = rows->nrows > r->limit;
    reply.receipts_count = (pb_size_t)(reply.more ? r->limit : rows->nrows);
    reply.receipts = page;
    for (size_t i = 0; i < reply.receipts_count; i++) {
        struct store_receipt one = store_receipt_of(rows, i, r->seq);
        page[i] = (Receipt){ .user_id = one.user_id, .delivered = one.delivered, .read = one.read };
    }
    rpc_reply(r->call, &reply);
    bt_free(r);
    offline_read_end(role);
}

static void receipts_counts_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct receipts *r = arg;
    if (err == BT_OK && rows->nrows == 0)
        err = BT_ENOTFOUND;
    if (err == BT_OK && rpc_call_is_dead(r->call))
        err = BT_ECANCELLED;
    if (err != BT_OK) {
        receipts_fail(r, err);
        return;
    }
    r->counts = store_receipt_counts_of(rows);
    store_receipts(r->role->store, r->place.hi, r->place.lo, r->seq, r->counts.sender_id, r->after_user_id, r->limit + 1, receipts_page_done, r);
}

void offline_get_receipts(struct rpc_call *call, const void *msg, void *self_arg)
{
    const GetReceiptsRequest *req = msg;
    struct offline_role *self = self_arg;
    struct receipts *r;
    if (req->limit > RECEIPTS_LIMIT_MAX) {
        rpc_fail(call, BT_EINVAL, "limit above %d", RECEIPTS_LIMIT_MAX);
        return;
    }
    if (!offline_read_begin(self, call))
        return;
    r = bt_calloc(1, sizeof(*r));
    if (!r) {
        rpc_fail(call, BT_ENOMEM, NULL);
        offline_read_end(self);
        return;
    }
    r->role = self;
    r->call = call;
    r->place = place_of_call(call);
    r->seq = req->seq;
    r->after_user_id = req->after_user_id;
    r->limit = req->limit ? req->limit : RECEIPTS_LIMIT;
    store_receipt_counts(self->store, r->place.hi, r->place.lo, r->seq, r->place.user_id, r->after_user_id == 0, receipts_counts_done, r);
}
