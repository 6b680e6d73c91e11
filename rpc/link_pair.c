/*
 * rpc/link_pair.c: two links joined inside the process. Each end has the frames that go from it to the other, in
 * slips: those that wait, and those that are shown to the other end, which may write more while it looks. What waits is
 * counted as the bytes it would be on a connection.
 *
 * A call needs no id here: who made it, who answers it, and the slip that is on its way between them know each other by
 * address. Whichever of them ends, for whatever reason, lets go of the others first.
 */
#include <assert.h>
#include <string.h>

#include "net/mem.h"
#include "rpc/link_internal.h"
#include "rpc/slip.h"

struct rpc_pair_end {
    struct rpc_link *peer;  /* NULL: it has ended */
    struct rpc_queue waiting, showing;
    size_t queued;          /* bytes */
    struct rpc_spare_slips spare;
    struct rpc_out *outs;   /* made at this end, and open */
    struct rpc_call *calls; /* came to this end, and open */
    uint32_t call_count;
    struct net_task show_task, watch_task, close_task;
    enum bt_err why;
    bool is_finishing;
    bool is_over_low;
};

/* ---- slips ---- */

/* From the queue of its end; nobody refers to it from then on. */
static void slip_take(struct rpc_pair_end *end, struct rpc_slip *slip)
{
    rpc_queue_remove(slip);
    end->queued -= RPC_HEADER_SIZE + slip->frame.len;
    if (slip->out)
        slip->out->slip = NULL;
    if (slip->call)
        slip->call->cancel = NULL;
}

static uint8_t *copy(uint8_t *to, struct rpc_bytes from)
{
    if (from.len > 0)
        memcpy(to, from.data, from.len);
    return to + from.len;
}

static void show(void *arg);

/* Whether so much may be posted now that is not a reply, of which there are no more than were asked for. */
static enum bt_err may_post(struct rpc_link *l, size_t len)
{
    if (l->is_closing || l->pair->is_finishing)
        return BT_ECLOSING;
    if (len > rpc_link_payload_max(l))
        return BT_EINVAL;
    if (l->pair->queued > l->limits->net.out_high_bytes) {
        l->was_refused = true;
        return BT_EBUSY;
    }
    return BT_OK;
}

/* A slip among those that wait, with room for the payload, which the caller puts there. NULL: no memory. */
static inline struct rpc_slip *post(struct rpc_link *l, const struct rpc_header *h, enum rpc_kind kind, size_t len)
{
    struct rpc_pair_end *end = l->pair;
    struct rpc_slip *slip = rpc_slip_new(&end->spare, len);

    if (!slip)
        return NULL;
    slip->frame.h = *h;
    slip->frame.h.length = (uint32_t)(RPC_HEADER_SIZE - RPC_LENGTH_SIZE + len);
    slip->frame.h.kind = (uint8_t)kind;
    slip->frame.payload = slip->bytes;
    slip->frame.len = len;
    slip->out = NULL;
    slip->call = NULL;
    rpc_queue_add(&end->waiting, slip);
    end->queued += RPC_HEADER_SIZE + len;
    if (end->queued > l->limits->net.out_low_bytes)
        end->is_over_low = true;
    if (!end->show_task.next)
        net_defer_early(l->loop, &end->show_task, show, l);
    return slip;
}

size_t rpc_pair_queued(const struct rpc_link *l)
{
    return l->pair->queued;
}

enum bt_err rpc_pair_event(struct rpc_link *l, const struct rpc_header *h, struct rpc_bytes payload)
{
    enum bt_err err = may_post(l, payload.len);
    struct rpc_slip *slip;

    if (err != BT_OK)
        return err;
    if (!(slip = post(l, h, RPC_EVENT, payload.len)))
        return BT_ENOMEM;
    copy(slip->bytes, payload);
    return BT_OK;
}

/* ---- calls ---- */

/*
 * What was made in this turn and is still open has its deadline watched from now on. Most calls within a process are answered in the
 * turn that made them, and need no timer. The list has the newest first.
 */
static void watch(void *arg)
{
    struct rpc_link *l = arg;

    for (struct rpc_out *out = l->pair->outs; out && !out->is_seen; out = out->next) {
        out->is_seen = true;
        if (out->timeout_ms > 0)
            rpc_link_watch(out, out->timeout_ms);
        out->timeout_ms = 0;
    }
}

enum bt_err rpc_pair_request(struct rpc_link *l, const struct rpc_header *h, struct rpc_bytes payload,
                             struct rpc_out *out)
{
    struct rpc_pair_end *end = l->pair;
    enum bt_err err = may_post(l, payload.len);
    struct rpc_slip *slip;

    if (err != BT_OK)
        return err;
    if (!(slip = post(l, h, RPC_REQUEST, payload.len)))
        return BT_ENOMEM;
    copy(slip->bytes, payload);
    slip->out = out;
    out->slip = slip;
    out->call = NULL;
    out->next = end->outs;
    if (out->next)
        out->next->place = &out->next;
    out->place = &end->outs;
    end->outs = out;
    out->timeout_ms = h->timeout_ms;
    out->is_seen = false;
    if (!end->watch_task.next)
        net_defer(l->loop, &end->watch_task, watch, l);
    return BT_OK;
}

enum bt_err rpc_pair_reply(struct rpc_link *l, struct rpc_out *out, const struct rpc_header *h,
                           const struct rpc_bytes *parts, size_t n)
{
    struct rpc_slip *slip;
    size_t len;
    enum bt_err err = rpc_link_measure(l, parts, n, &len);

    if (err != BT_OK)
        return err;
    if (l->is_closing || l->pair->is_finishing)
        return BT_ECLOSING;
    if (!(slip = post(l, h, RPC_REPLY, len)))
        return BT_ENOMEM;
    uint8_t *at = slip->bytes;
    for (size_t i = 0; i < n; i++)
        at = copy(at, parts[i]);
    if (out) {
        slip->out = out;
        out->slip = slip;
    }
    return BT_OK;
}

static bool is_request(const struct rpc_slip *slip)
{
    return slip && slip->frame.h.kind == RPC_REQUEST;
}

bool rpc_pair_was_shown(const struct rpc_out *out)
{
    return !is_request(out->slip);
}

/* What has not been shown need not be. But there may be room now that somebody waits for, or nothing left before the end. */
static void take_back(struct rpc_out *out)
{
    struct rpc_link *l = out->link;
    struct rpc_pair_end *end = l->pair;
    struct rpc_slip *slip = out->slip;

    slip_take(end, slip);
    rpc_slip_free(&end->spare, slip);
    if (end->is_over_low || end->is_finishing)
        net_defer_early(l->loop, &end->show_task, show, l);
}

void rpc_pair_cancel(struct rpc_out *out)
{
    const struct rpc_header h = { .length = 0 };
    struct rpc_call *call = out->call;
    struct rpc_slip *slip;

    if (is_request(out->slip)) {
        take_back(out);
    } else if (call && !call->cancel && may_post(out->link, 0) == BT_OK && (slip = post(out->link, &h, RPC_CANCEL, 0))) {
        slip->call = call;
        call->cancel = slip;
    }
}

void rpc_pair_leave_out(struct rpc_out *out)
{
    *out->place = out->next;
    if (out->next)
        out->next->place = out->place;
    if (is_request(out->slip))
        take_back(out);
    else if (out->slip)
        out->slip->out = NULL;
    out->slip = NULL;
    if (out->call)
        out->call->out = NULL;
    out->call = NULL;
}

void rpc_pair_enter_call(struct rpc_link *l, struct rpc_call *call, struct rpc_out *out)
{
    struct rpc_pair_end *end = l->pair;

    call->out = out;
    out->call = call;
    call->next = end->calls;
    if (call->next)
        call->next->place = &call->next;
    call->place = &end->calls;
    end->calls = call;
    end->call_count++;
}

void rpc_pair_leave_call(struct rpc_link *l, struct rpc_call *call)
{
    *call->place = call->next;
    if (call->next)
        call->next->place = call->place;
    l->pair->call_count--;
    if (call->out)
        call->out->call = NULL;
    call->out = NULL;
    if (call->cancel)
        call->cancel->call = NULL;
    call->cancel = NULL;
}

struct rpc_out *rpc_pair_any_out(const struct rpc_link *l)
{
    return l->pair->outs;
}

struct rpc_call *rpc_pair_any_call(const struct rpc_link *l)
{
    return l->pair->calls;
}

uint32_t rpc_pair_open_calls(const struct rpc_link *l)
{
    return l->pair->call_count;
}

/* ---- showing ---- */

static void end_close(void *arg)
{
    struct rpc_link *l = arg;
    rpc_link_gone(l, l->pair->why);
}

/* The slip is in no queue any more; out and call are whom it was about. */
static void show_slip(struct rpc_link *to, const struct rpc_slip *slip, struct rpc_out *out, struct rpc_call *call,
                      uint32_t age_ms)
{
    const struct rpc_frame *frame = &slip->frame;

    switch ((enum rpc_kind)frame->h.kind) {
    case RPC_REQUEST:
        rpc_link_take_local(to, out, frame, age_ms);
        break;
    case RPC_REPLY:
        if (out)
            rpc_pair_leave_out(out);
        rpc_link_answered(to, out, frame);
        break;
    case RPC_EVENT:
        if (to->ops->event)
            to->ops->event(to, frame, to->arg);
        break;
    case RPC_CANCEL:
        if (call)
            rpc_link_kill_call(call);
        break;
    }
}

/* What the other end does not take (it stopped reading) is shown again when it goes on. */
static void show_slips(struct rpc_pair_end *end)
{
    struct rpc_link *to = end->peer;
    uint32_t age_ms = rpc_link_age_ms(to);
    struct rpc_slip *slip;

    while (rpc_link_reads(to) && (slip = rpc_queue_first(&end->showing))) {
        struct rpc_out *out = slip->out;
        struct rpc_call *call = slip->call;
        slip_take(end, slip);
        show_slip(to, slip, out, call, age_ms);
        rpc_slip_free(&end->spare, slip);
    }
}

static void show(void *arg)
{
    struct rpc_link *l = arg;
    struct rpc_pair_end *end = l->pair;

    if (!rpc_queue_first(&end->showing))
        rpc_queue_move(&end->waiting, &end->showing);
    if (end->peer && rpc_link_reads(end->peer))
        show_slips(end);
    if (l->is_closing || !end->peer)
        return;
    if (end->is_over_low && end->queued <= l->limits->net.out_low_bytes) {
        end->is_over_low = false;
        rpc_link_drained(l);
    }
    if (rpc_queue_first(&end->waiting) && !end->peer->paused)
        net_defer_early(l->loop, &end->show_task, show, l);
    if (end->is_finishing && end->queued == 0)
        rpc_link_fail(l, BT_OK);
}

void rpc_pair_resumed(struct rpc_link *l)
{
    struct rpc_link *peer = l->pair->peer;
    if (peer)
        net_defer_early(peer->loop, &peer->pair->show_task, show, peer);
}

/* ---- ending ---- */

/* The other end hears of it as of a connection's orderly end, or break. */
void rpc_pair_close(struct rpc_link *l, enum bt_err why)
{
    struct rpc_link *peer = l->pair->peer;

    l->pair->why = why;
    net_defer(l->loop, &l->pair->close_task, end_close, l);
    if (!peer || peer->is_closing)
        return;
    peer->is_closing = true;
    peer->pair->why = why == BT_OK ? BT_OK : BT_EDOWN;
    net_defer(peer->loop, &peer->pair->close_task, end_close, peer);
}

void rpc_pair_finish(struct rpc_link *l)
{
    l->pair->is_finishing = true;
    net_defer_early(l->loop, &l->pair->show_task, show, l);
}

/* What was not shown: the other end's calls and answers are told of by its own end. */
static void drop_slips(struct rpc_pair_end *end, struct rpc_queue *head)
{
    struct rpc_slip *slip;

    while ((slip = rpc_queue_first(head))) {
        slip_take(end, slip);
        bt_free(slip);
    }
}

void rpc_pair_free(struct rpc_link *l)
{
    struct rpc_pair_end *end = l->pair;

    assert(!end->outs && !end->calls);
    if (end->peer)
        end->peer->pair->peer = NULL;
    net_defer_cancel(l->loop, &end->show_task);
    net_defer_cancel(l->loop, &end->watch_task);
    net_defer_cancel(l->loop, &end->close_task);
    drop_slips(end, &end->waiting);
    drop_slips(end, &end->showing);
    rpc_slip_free_spare(&end->spare);
    bt_free(end);
}

static struct rpc_link *end_new(struct net_loop *loop, const struct rpc_link_ops *ops, const struct rpc_link_limits *limits, void *arg)
{
    struct rpc_link *l = rpc_link_new(loop, ops, limits, arg);
    if (!l)
        return NULL;
    l->was_opened = true;
    l->pair = bt_calloc(1, sizeof *l->pair);
    if (l->pair) {
        rpc_queue_init(&l->pair->waiting);
        rpc_queue_init(&l->pair->showing);
        return l;
    }
    bt_free(l);
    rpc_calls_unref();
    return NULL;
}

enum bt_err rpc_link_pair(struct net_loop *loop, const struct rpc_link_ops *ops_a, void *arg_a, const struct rpc_link_ops *ops_b, void *arg_b,
                          const struct rpc_link_limits *limits, struct rpc_link **a_out, struct rpc_link **b_out)
{
    struct rpc_link *a = end_new(loop, ops_a, limits, arg_a);
    if (!a)
        return BT_ENOMEM;
    struct rpc_link *b = end_new(loop, ops_b, limits, arg_b);
    if (!b) {
        rpc_pair_free(a);
        bt_free(a);
        rpc_calls_unref();
        return BT_ENOMEM;
    }
    a->pair->peer = b;
    b->pair->peer = a;
    *a_out = a;
    *b_out = b;
    return BT_OK;
}
