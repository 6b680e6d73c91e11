/* rpc/link_out.c: calls that are made on a link: sent, answered, out of time, given up, lost with the link. */
#include <assert.h>

#include "rpc/link_internal.h"

static struct rpc_out *out_of(struct rpc_entry *entry)
{
    return entry ? rpc_container_of(entry, struct rpc_out, entry) : NULL;
}

/* The last touch of out: its memory may go inside. */
static void tell(struct rpc_out *out, enum bt_err err)
{
    const struct rpc_reply reply = { .err = err, .status = (uint8_t)rpc_status_of(err) };
    out->state = RPC_OUT_IDLE;
    out->done(out, &reply);
}

static void tell_failed(void *arg)
{
    struct rpc_link_out *side = rpc_link_out_of(arg);
    struct rpc_out *newest = side->failed, *oldest = NULL;

    /* In the order in which they were made; one that is made meanwhile waits for the next turn. */
    side->failed = NULL;
    while (newest) {
        struct rpc_out *next = newest->next_failed;
        newest->next_failed = oldest;
        oldest = newest;
        newest = next;
    }
    side->telling = oldest;
    while (side->telling) {
        struct rpc_out *out = side->telling;
        side->telling = out->next_failed;
        tell(out, (enum bt_err)out->err);
    }
}

static void fail_soon(struct rpc_link *l, struct rpc_out *out, enum bt_err err)
{
    struct rpc_link_out *side = rpc_link_out_of(l);

    out->state = RPC_OUT_FAILED;
    out->err = (uint8_t)err;
    out->next_failed = side->failed;
    side->failed = out;
    net_defer(l->loop, &side->task, tell_failed, l);
}

static void send_cancel(struct rpc_link *l, struct rpc_out *out)
{
    struct rpc_header h = { .call = out->entry.id };
    const struct rpc_bytes nothing = { NULL, 0 };
    /* When it can't be sent, the other end works for nothing, and its reply is dropped. */
    if (l->pair)
        rpc_pair_cancel(out);
    else
        (void)rpc_link_write(l, &h, RPC_CANCEL, &nothing, 1);
}

/* It is open no more. */
static void leave(struct rpc_link *l, struct rpc_out *out)
{
    if (l->pair)
        rpc_pair_leave_out(out);
    else
        rpc_table_take(&rpc_link_out_of(l)->outs, out->entry.id);
}

/* One that is open. */
static void end_soon(struct rpc_link *l, struct rpc_out *out, enum bt_err err)
{
    net_timer_stop(l->loop, &out->timer);
    leave(l, out);
    fail_soon(l, out, err);
}

/*
 * Until a connection closes, what waits in its output leaves all the same, and may be done before a cancel that follows it is
 * seen.
 */
static void set_was_sent(struct rpc_link *l, struct rpc_out *out)
{
    out->was_sent = l->pair ? rpc_pair_was_shown(out) : !l->is_closing || out->end <= rpc_link_sent(l);
}

static void out_timed_out(void *arg)
{
    struct rpc_out *out = arg;
    struct rpc_link *l = out->link;

    set_was_sent(l, out);
    send_cancel(l, out);
    leave(l, out);
    tell(out, BT_ETIMEOUT);
}

static uint32_t free_call_id(struct rpc_link *l)
{
    struct rpc_link_out *side = rpc_link_out_of(l);

    do {
        side->next_call++;
    } while (side->next_call == 0 || rpc_table_find(&side->outs, side->next_call));
    return side->next_call;
}

static enum bt_err conn_request(struct rpc_link *l, const struct rpc_header *h, struct rpc_bytes payload,
                                struct rpc_out *out)
{
    struct rpc_header copy = *h;

    out->entry.id = copy.call = free_call_id(l);
    copy.status = 0;
    enum bt_err err = rpc_link_write(l, &copy, RPC_REQUEST, &payload, 1);
    if (err != BT_OK)
        return err;
    out->end = rpc_link_out_of(l)->written;
    rpc_table_add(&rpc_link_out_of(l)->outs, &out->entry);
    return BT_OK;
}

void rpc_link_request(struct rpc_link *l, const struct rpc_header *h, const uint8_t *payload, size_t len,
                      struct rpc_out *out)
{
    assert(l->calls_out); /* not on a link that only serves */
    out->link = l;
    out->was_sent = false;
    out->timer.next = NULL; /* it does not run: all that is asked of it before it is started */
    const struct rpc_bytes part = rpc_bytes(payload, len);
    enum bt_err err = l->pair ? rpc_pair_request(l, h, part, out) : conn_request(l, h, part, out);
    if (err != BT_OK) {
        fail_soon(l, out, err == BT_ECLOSING && !l->is_closed_here ? BT_EDOWN : err);
        return;
    }
    out->state = RPC_OUT_OPEN;
    if (h->timeout_ms > 0 && !l->pair)
        rpc_link_watch(out, h->timeout_ms);
}

void rpc_link_watch(struct rpc_out *out, uint32_t timeout_ms)
{
    net_timer_start(out->link->loop, &out->timer, timeout_ms, out_timed_out, out);
}

void rpc_link_take_reply(struct rpc_link *l, const struct rpc_frame *frame)
{
    rpc_link_answered(l, l->calls_out ? out_of(rpc_table_take(&rpc_link_out_of(l)->outs, frame->h.call)) : NULL, frame);
}

void rpc_link_answered(struct rpc_link *l, struct rpc_out *out, const struct rpc_frame *frame)
{
    const struct rpc_reply reply = {
        .err = rpc_err_of_status(frame->h.status),
        .status = frame->h.status,
        .flags = frame->h.flags,
        .came = true,
        .is_local = l->pair != NULL,
        .payload = frame->payload,
        .len = frame->len,
    };

    if (!out) {
        if ((frame->h.flags & RPC_FLAG_PUSHED) && l->ops->push_lost)
            l->ops->push_lost(l, l->arg);
        return;
    }
    net_timer_stop(l->loop, &out->timer);
    out->state = RPC_OUT_IDLE;
    out->was_sent = true;
    out->done(out, &reply);
}

void rpc_link_lost_reply(struct rpc_out *out, uint8_t status)
{
    out->was_sent = !rpc_status_is_not_done(status);
    end_soon(out->link, out, status == RPC_STATUS_OK ? BT_EUNSURE : rpc_err_of_status(status));
}

static bool unlink_failed(struct rpc_out **list, const struct rpc_out *out)
{
    while (*list && *list != out)
        list = &(*list)->next_failed;
    if (!*list)
        return false;
    *list = out->next_failed;
    return true;
}

void rpc_link_cancel(struct rpc_out *out)
{
    struct rpc_link *l = out->link;

    assert(out->state != RPC_OUT_IDLE);
    if (out->state == RPC_OUT_FAILED) {
        if (!unlink_failed(&rpc_link_out_of(l)->failed, out))
            unlink_failed(&rpc_link_out_of(l)->telling, out);
    } else {
        net_timer_stop(l->loop, &out->timer);
        send_cancel(l, out);
        leave(l, out);
    }
    out->state = RPC_OUT_IDLE;
}

void rpc_link_abandon(struct rpc_out *out, uint32_t grace_ms)
{
    struct rpc_link *l = out->link;

    assert(out->state != RPC_OUT_IDLE);
    if (out->state == RPC_OUT_FAILED)
        return; /* done comes soon */
    if (l->pair && !rpc_pair_was_shown(out)) { /* nothing can come */
        end_soon(l, out, BT_ETIMEOUT);
        return;
    }
    send_cancel(l, out);
    out->timeout_ms = 0;
    rpc_link_watch(out, grace_ms);
}

static struct rpc_out *take_any(struct rpc_link *l)
{
    struct rpc_out *out = l->pair ? rpc_pair_any_out(l) : out_of(rpc_table_take_any(&rpc_link_out_of(l)->outs));

    if (!out)
        return NULL;
    set_was_sent(l, out);
    if (l->pair)
        rpc_pair_leave_out(out);
    return out;
}

void rpc_link_fail_outs(struct rpc_link *l)
{
    struct rpc_link_out *side = rpc_link_out_of(l);
    struct rpc_out *out;

    while (side->failed)
        tell_failed(l);
    while ((out = take_any(l))) {
        net_timer_stop(l->loop, &out->timer);
        tell(out, l->is_closed_here ? BT_ECLOSING : BT_EDOWN);
    }
    while (side->failed)
        tell_failed(l);
}
