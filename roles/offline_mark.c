/*
 * roles/offline_mark.c: marks: collected from all callers for a moment, written in one commit, and told to whom they concern.
 *
 * Mark calls wait in a queue until enough entries or enough time have come together; one batch is under way at a time. A batch
 * merges what concerns the same place, reads where these places stand, writes those marks that rise, answers, and pushes receipts.
 */
#define LOG_MODULE "offline"

#include <assert.h>
#include <stdlib.h>

#include "net/log.h"
#include "net/mem.h"
#include "proto/node.pb.h"
#include "proto/stubs.h"
#include "roles/offline_internal.h"

/* A Mark call that waits for its marks to be written. */
struct mark_call {
    struct mark_call *next;
    struct rpc_call *call;
    uint64_t user_id, session, trace;
    size_t n;
    Mark marks[];
};

/* What a batch wants of one place. */
struct mark {
    struct store_place want;  /* key, and the marks asked */
    uint64_t except_session;  /* the session that asked; 0: several did */
    uint64_t trace;
    bool is_there;            /* `stands` was read */
    bool rises;
    struct store_place stands;
};

static void marks_start(struct offline_role *self);

bool offline_marks_open(const struct offline_role *self)
{
    return self->marks.open_entries > 0;
}

static int place_cmp(const struct store_place *a, const struct store_place *b)
{
    if (a->hi != b->hi)
        return a->hi < b->hi ? -1 : 1;
    if (a->lo != b->lo)
        return a->lo < b->lo ? -1 : 1;
    return a->user_id < b->user_id ? -1 : a->user_id > b->user_id;
}

static int mark_cmp(const void *a, const void *b)
{
    const struct mark *ma = a, *mb = b;
    return place_cmp(&ma->want, &mb->want);
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- the end of a batch -------------------------------------------------------------------------------------------- */

static void batch_end(struct mark_batch *b, enum bt_err err)
{
    struct offline_role *self = b->role;
    static const MarkReply reply;
    while (b->calls) {
        struct mark_call *c = b->calls;
        b->calls = c->next;
        if (err == BT_OK)
            rpc_reply(c->call, &reply);
        else
            rpc_fail(c->call, err, NULL);
        bt_free(c);
    }
    self->marks.open_entries -= b->entries;
    bt_free(b->marks);
    b->marks = NULL;
    marks_start(self);
    offline_settle(self);
}

/* Tell of marks that rose: in 1:1 the other, and always the user's other sessions. A lost one is made good by the next list of conversations. */
static void mark_push(struct offline_role *self, const struct mark *m)
{
    const struct store_place *p = &m->stands;
    struct rpc_ctx ctx = { .caller = p->user_id, .trace = m->trace };
    ReceiptEvent event = { .hi = p->hi, .lo = p->lo, .user_id = p->user_id, .delivered_seq = p->delivered_seq, .read_seq = p->read_seq };
    uint64_t ids[2] = { p->user_id, p->lo ? p->hi + p->lo - p->user_id : p->user_id };
    size_t nids = ids[0] == ids[1] ? 1 : 2;
    uint8_t users[16], payload[ReceiptEvent_size];
    PushEvent push = { .users = rpc_bytes(users, nids * 8), .method = RPC_ON_RECEIPT, .except_session = m->except_session };
    enum bt_err err;
    for (size_t i = 0; i < nids * 8; i++)
        users[i] = (uint8_t)(ids[i / 8] >> i % 8 * 8);
    push.event = rpc_bytes(payload, rpc_encode(ReceiptEvent_fields, &event, payload, sizeof(payload)));
    err = rpc_chat_notify_event(self->rpc, &ctx, &push);
    if (err != BT_OK)
        log_debug("receipt of user %llu not pushed: %s", (unsigned long long)p->user_id, bt_err_text(err));
}

static void batch_write_done(const struct db_done *done, void *arg)
{
    struct mark_batch *b = arg;
    for (size_t i = 0; done->err == BT_OK && i < b->n; i++)
        if (b->marks[i].rises)
            mark_push(b->role, &b->marks[i]);
    batch_end(b, done->err);
}

/* ---- reading where the marks stand, writing those that rise -------------------------------------------------------- */

/* How far the marks go: never beyond what the user may see. False: nothing rises. */
static bool mark_settle(struct mark *m)
{
    struct store_place *p = &m->stands;
    uint64_t top = store_place_top(p);
    uint64_t read = smaller(m->want.read_seq, top);
    uint64_t delivered = larger(smaller(m->want.delivered_seq, top), read);
    if (!m->is_there || p->joined_seq == 0 || (read <= p->read_seq && delivered <= p->delivered_seq))
        return false;
    p->read_seq = larger(p->read_seq, read);
    p->delivered_seq = larger(p->delivered_seq, delivered);
    m->rises = true;
    return true;
}

static void batch_write(struct mark_batch *b)
{
    struct db *db = store_db(b->role->store);
    struct db_list *list = NULL;
    for (size_t i = 0; i < b->n; i++) {
        if (!mark_settle(&b->marks[i]))
            continue;
        if (!list)
            list = db_list_new(db);
        if (!list) {
            batch_end(b, BT_ENOMEM);
            return;
        }
        store_marks_add(list, &b->marks[i].stands);
    }
    if (list)
        db_list_run(db, list, batch_write_done, b);
    else
        batch_end(b, BT_OK);
}

static void batch_read_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct mark_batch *b = arg;
    for (size_t r = 0; err == BT_OK && r < rows->nrows; r++) {
        struct mark key = { .want = store_place_of(rows, r) };
        struct mark *m = bsearch(&key, b->marks, b->n, sizeof(*m), mark_cmp);
        assert(m); /* rows of places that were asked for */
        m->stands = key.want;
        m->is_there = true;
    }
    if (err != BT_OK)
        b->err = err;
    if (--b->reads > 0)
        return;
    if (b->err != BT_OK)
        batch_end(b, b->err);
    else
        batch_write(b);
}

static void batch_read(struct mark_batch *b)
{
    b->reads = (b->n + STORE_PLACES_MAX - 1) / STORE_PLACES_MAX;
    for (size_t i = 0; i < b->n; i += STORE_PLACES_MAX) {
        struct store_place keys[STORE_PLACES_MAX];
        size_t n = smaller(b->n - i, STORE_PLACES_MAX);
        for (size_t k = 0; k < n; k++)
            keys[k] = b->marks[i + k].want;
        store_places_find(b->role->store, keys, n, batch_read_done, b);
    }
}

/* ---- collecting ---------------------------------------------------------------------------------------------------- */

/* Sort, and join what concerns the same place. */
static void batch_merge(struct mark_batch *b)
{
    size_t n = 0;
    qsort(b->marks, b->n, sizeof(*b->marks), mark_cmp);
    for (size_t i = 0; i < b->n; i++) {
        struct mark *m = &b->marks[i], *into = n ? &b->marks[n - 1] : NULL;
        if (!into || mark_cmp(into, m) != 0) {
            b->marks[n++] = *m;
            continue;
        }
        into->want.delivered_seq = larger(into->want.delivered_seq, m->want.delivered_seq);
        into->want.read_seq = larger(into->want.read_seq, m->want.read_seq);
        if (into->except_session != m->except_session)
            into->except_session = 0;
    }
    b->n = n;
}

static void batch_add(struct mark_batch *b, const struct mark_call *c)
{
    for (size_t i = 0; i < c->n; i++) {
        const Mark *m = &c->marks[i];
        b->marks[b->n++] = (struct mark){
            .want = { .hi = m->hi, .lo = m->lo, .user_id = c->user_id, .delivered_seq = m->delivered_seq, .read_seq = m->read_seq },
            .except_session = c->session,
            .trace = c->trace,
        };
    }
}

/* Move calls from the queue to the batch, whole ones, until it is large enough. */
static void batch_take(struct mark_batch *b, struct mark_queue *q)
{
    struct mark_call **last = &b->calls;
    while (q->first && b->entries < b->role->mark_batch) {
        struct mark_call *c = q->first;
        q->first = c->next;
        c->next = NULL;
        *last = c;
        last = &c->next;
        b->entries += c->n;
    }
    if (!q->first)
        q->last = &q->first;
    q->entries -= b->entries;
}

static void marks_write(void *arg)
{
    struct offline_role *self = arg;
    struct mark_queue *q = &self->marks;
    struct mark_batch *b = &q->batch;
    assert(!b->calls && q->first);
    net_timer_stop(self->loop, &q->timer);
    *b = (struct mark_batch){ .role = self };
    batch_take(b, q);
    b->marks = bt_calloc(b->entries, sizeof(*b->marks));
    if (!b->marks) {
        batch_end(b, BT_ENOMEM);
        return;
    }
    for (const struct mark_call *c = b->calls; c; c = c->next)
        batch_add(b, c);
    batch_merge(b);
    batch_read(b);
}

/* Begin a batch, or wait for more to come. */
static void marks_start(struct offline_role *self)
{
    struct mark_queue *q = &self->marks;
    if (q->batch.calls || !q->first)
        return;
    if (q->entries >= self->mark_batch || self->stopped_cb)
        marks_write(self);
    else if (!net_timer_is_running(&q->timer))
        net_timer_start(self->loop, &q->timer, self->mark_batch_ms, marks_write, self);
}

void offline_marks_flush(struct offline_role *self)
{
    marks_start(self);
}

void offline_mark(struct rpc_call *call, const void *msg, void *self_arg)
{
    const MarkRequest *req = msg;
    struct offline_role *self = self_arg;
    struct mark_queue *q = &self->marks;
    const struct rpc_header *h = rpc_call_header(call);
    struct mark_call *c;
    static const MarkReply nothing;
    if (req->marks_count > self->max_marks) {
        rpc_fail(call, BT_EINVAL, "more than %zu marks", self->max_marks);
        return;
    }
    if (req->marks_count == 0) {
        rpc_reply(call, &nothing);
        return;
    }
    if (q->open_entries + req->marks_count > self->mark_queue && q->open_entries > 0) {
        rpc_fail_retry(call, BT_EBUSY, 500, "too many marks waiting");
        return;
    }
    c = bt_malloc(sizeof(*c) + req->marks_count * sizeof(c->marks[0]));
    if (!c) {
        rpc_fail(call, BT_ENOMEM, NULL);
        return;
    }
    *c = (struct mark_call){ .call = call, .user_id = h->caller, .session = h->session, .trace = h->trace, .n = req->marks_count };
    for (size_t i = 0; i < c->n; i++)
        c->marks[i] = req->marks[i];
    *q->last = c;
    q->last = &c->next;
    q->entries += c->n;
    q->open_entries += c->n;
    marks_start(self);
}
