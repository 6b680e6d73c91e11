/*
 * test/chaos/workload_final.c: phase FINAL: every device comes back and catches up; the first of each user reads all.
 *
 * A device that can't is left as it is, and named: what that means is for the checker to say.
 */
#include <inttypes.h>
#include <stdio.h>

#include "net/mem.h"
#include "test/chaos/workload.h"

enum { POLL_MS = 20, AGAIN_US = 500000, TRIES = 40, CALLS_AT_ONCE = 16, LIST_PAGE = 200, PAGE = 500 };

enum step { WAIT, LIST, CATCH_UP, READ, OVER };

struct wl_final {
    uint32_t calls;            /* under way */
    struct net_timer timer;
};

static bool is_reader(const struct wl_device *d)
{
    return d == d->user->devices[0];
}

static void again(struct wl_device *d)
{
    d->final.next_us = net_clock_us() + AGAIN_US;
    d->final.tries++;
}

/* ---- what there is ---- */

static void list(struct wl_device *d, uint64_t after);

static void listed(const struct bt_result *r, const struct bt_conversation *rows, size_t n, bool more, void *arg)
{
    struct wl_op *op = arg;
    struct wl_device *d = op->device;
    size_t count = d->final.seen_count;
    struct wl_seen *seen = wl_alloc(count + n, sizeof *seen);
    for (size_t k = 0; k < count; k++)
        seen[k] = d->final.seen[k];
    for (size_t k = 0; k < n; k++)
        seen[count + k] = (struct wl_seen){ rows[k].target, rows[k].first_seq, rows[k].head_seq };
    bt_free(d->final.seen);
    d->final.seen = seen;
    d->final.seen_count = count + n;
    d->w->final->calls--;
    d->final.is_calling = false;
    wl_list_rows(op->w, d, op->number, rows, n);
    wl_op_end(op, r, &(struct wl_made){ .id = n });
    if (r->outcome != BT_DONE) {
        d->final.step = WAIT;
        again(d);
    } else if (more && n > 0) {
        list(d, seen[count + n - 1].target);
    } else {
        d->final.step = CATCH_UP;
    }
}

static void list(struct wl_device *d, uint64_t after)
{
    struct wl_op *op = wl_op_begin(d->w, d, &(struct wl_call){ .what = HISTORY_LIST });
    d->w->final->calls++;
    d->final.is_calling = true;
    if (!bt_conversations_list(d->client, after, LIST_PAGE, listed, op))
        listed(&(struct bt_result){ .outcome = BT_NOT_DONE, .status = BT_STATUS_RESOURCE_EXHAUSTED, .detail = "" }, NULL, 0, false, op);
}

/* ---- catching up ---- */

static const struct wl_seen *missing(const struct wl_device *d)
{
    for (size_t n = 0; n < d->final.seen_count; n++)
        if (bt_client_position(d->client, d->final.seen[n].target) < d->final.seen[n].head)
            return &d->final.seen[n];
    return NULL;
}

static void catch_up(struct wl_device *d)
{
    if (missing(d))
        return;
    d->final.tries = 0;
    d->final.step = is_reader(d) ? READ : OVER;
}

/* It had its time. */
static void give_up(struct wl_device *d)
{
    const struct wl_seen *s = d->client && d->final.step == CATCH_UP ? missing(d) : NULL;
    if (s)
        fprintf(stderr, "chaos-workload: final: device %u of user %" PRIu64 " has %" PRIu64 " of %" PRIu64 " messages of %s%" PRIu64 "\n",
                d->number, d->user->id, bt_client_position(d->client, s->target), s->head, s->target & BT_GROUP ? "group " : "",
                s->target & ~BT_GROUP);
    else
        fprintf(stderr, "chaos-workload: final: device %u of user %" PRIu64 " did not come back (state %d)\n", d->number, d->user->id,
                (int)d->state);
    d->final.tries = 0;
    d->final.step = is_reader(d) && s ? READ : OVER;
}

/* ---- reading ---- */

static void page_read(const struct bt_result *r, const struct bt_message *rows, size_t n, uint64_t first_seq, uint64_t head_seq, void *arg)
{
    struct wl_op *op = arg;
    struct wl_device *d = op->device;
    d->w->final->calls--;
    d->final.is_calling = false;
    wl_history_rows(op->w, d, op->number, rows, n);
    if (r->outcome != BT_DONE) {
        again(d);
    } else {
        d->final.tries = 0;
        d->final.from = n > 0 ? rows[n - 1].seq + 1 : UINT64_MAX;
    }
    wl_op_end(op, r, &(struct wl_made){ .seq = head_seq, .refers = first_seq, .id = n });
}

static void read_on(struct wl_device *d)
{
    const struct wl_seen *s = &d->final.seen[d->final.at];
    if (d->final.at == d->final.seen_count) {
        d->final.step = OVER;
        return;
    }
    if (d->final.tries == TRIES)
        fprintf(stderr, "chaos-workload: final: device %u can't read %s%" PRIu64 " from %" PRIu64 " on\n", d->number,
                s->target & BT_GROUP ? "group " : "", s->target & ~BT_GROUP, d->final.from);
    if (d->final.from > s->head || d->final.tries == TRIES) {
        d->final.at++;
        d->final.tries = 0;
        d->final.from = 1;
        return;
    }
    uint64_t from = d->final.from > s->first ? d->final.from : s->first ? s->first : 1;
    struct wl_op *op = wl_op_begin(d->w, d, &(struct wl_call){ .what = HISTORY_HISTORY, .target = s->target, .seq = from, .refers = PAGE });
    d->w->final->calls++;
    d->final.is_calling = true;
    if (!bt_history(d->client, s->target, from, 0, PAGE, page_read, op))
        page_read(&(struct bt_result){ .outcome = BT_NOT_DONE, .status = BT_STATUS_RESOURCE_EXHAUSTED, .detail = "" }, NULL, 0, 0, 0, op);
}

/* ---- all of them ---- */

static void device_step(struct wl_device *d, uint64_t now_us)
{
    struct workload *w = d->w;
    bool has_room = w->final->calls < CALLS_AT_ONCE && now_us >= d->final.next_us && !d->final.is_calling;
    if (!d->client || d->is_closing)
        return; /* opened when it has closed */
    if (d->final.step == WAIT && d->state == BT_STATE_READY && has_room) {
        d->final.seen_count = 0;
        d->final.step = LIST;
        list(d, 0);
    }
    if (d->final.step == CATCH_UP)
        catch_up(d);
    else if (d->final.step == READ && has_room)
        read_on(d);
}

static void poll(void *arg)
{
    struct workload *w = arg;
    uint64_t now_us = net_clock_us();
    size_t over = 0;
    for (size_t n = 0; n < w->device_count; n++) {
        struct wl_device *d = &w->devices[n];
        if (d->final.step < READ && !d->final.is_calling && now_us - w->begun_us > w->o.catch_up_ms * UINT64_C(1000))
            give_up(d);
        else if (d->final.step != OVER)
            device_step(d, now_us);
        over += d->final.step == OVER;
    }
    if (over == w->device_count)
        wl_phase_done(w);
    else
        net_timer_start(w->loop, &w->final->timer, POLL_MS, poll, w);
}

void wl_final_start(struct workload *w)
{
    w->final = wl_alloc(1, sizeof *w->final);
    for (size_t n = 0; n < w->device_count; n++) {
        w->devices[n].final.from = 1;
        wl_device_again(&w->devices[n]);
    }
    poll(w);
}
