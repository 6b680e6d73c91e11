/* test/chaos/workload_op.c: an operation from CALL to DONE: its number, its records, the counts. */
#include "net/mem.h"
#include "test/chaos/workload.h"

static struct wl_op *begin(struct workload *w, struct wl_device *d, uint32_t number, const struct wl_call *call)
{
    struct wl_op *op = wl_alloc(1, sizeof *op);
    op->w = w;
    op->device = d;
    op->device_number = number;
    op->number = ++w->last_op;
    op->what = call->what;
    op->began_us = net_clock_us();
    w->counts.operations++;
    w->counts.open++;
    if (d)
        d->open_ops++;
    wl_history_add(&w->history, &(struct history_record){
        .type = HISTORY_CALL, .what = call->what, .device = number, .op = op->number, .target = call->target, .seq = call->seq,
        .user = call->user, .refers = call->refers, .status = call->status,
    });
    return op;
}

struct wl_op *wl_op_begin(struct workload *w, struct wl_device *d, const struct wl_call *call)
{
    return begin(w, d, d ? d->number : 0, call);
}

struct wl_op *wl_op_begin_raw(struct workload *w, uint32_t device_number, const struct wl_call *call)
{
    return begin(w, NULL, device_number, call);
}

/* Refused for good, not for lack of a server. */
static bool is_refusal(enum bt_status status)
{
    return status == BT_STATUS_PERMISSION_DENIED || status == BT_STATUS_NOT_FOUND || status == BT_STATUS_FAILED_PRECONDITION ||
           status == BT_STATUS_INVALID_ARGUMENT || status == BT_STATUS_ALREADY_EXISTS;
}

static void count_send(struct workload *w, const struct wl_op *op, const struct bt_result *r)
{
    uint64_t took_us = net_clock_us() - op->began_us;
    switch (r->outcome) {
    case BT_DONE:
        w->counts.acked++;
        if (took_us > w->counts.slowest_us)
            w->counts.slowest_us = took_us;
        break;
    case BT_NOT_DONE:
        w->counts.not_done++;
        w->counts.refused += is_refusal(r->status);
        break;
    case BT_UNSURE:
        w->counts.unsure++;
        break;
    }
}

void wl_op_end(struct wl_op *op, const struct bt_result *r, const struct wl_made *made)
{
    static const struct wl_made nothing;
    struct workload *w = op->w;
    const struct wl_made *m = made ? made : &nothing;
    wl_history_add(&w->history, &(struct history_record){
        .type = HISTORY_DONE, .what = op->what, .device = op->device_number, .op = op->number, .outcome = (uint8_t)r->outcome,
        .status = (uint8_t)r->status, .seq = m->seq, .target = m->target, .user = m->user, .refers = m->refers, .id = m->id,
    });
    w->counts.open--;
    if (op->device)
        op->device->open_ops--;
    if (op->what == HISTORY_SEND)
        count_send(w, op, r);
    if (op->then)
        op->then(op->arg, r->outcome == BT_DONE);
    bt_free(op);
}

void wl_op_end_plain(const struct bt_result *r, void *op)
{
    wl_op_end(op, r, NULL);
}

void wl_op_refused(struct wl_op *op)
{
    wl_op_end(op, &(struct bt_result){ .outcome = BT_NOT_DONE, .status = BT_STATUS_RESOURCE_EXHAUSTED, .detail = "" }, NULL);
}
