/* rpc/call.c: calls that came in on a link: taken, cancelled, replied to. */
#include "rpc/call.h"

#include <assert.h>
#include <stdio.h>

#include "net/mem.h"
#include "proto/client.pb.h"
#include "rpc/bytes.h"
#include "rpc/link_internal.h"

enum {
    SPARE_MAX = 16384,  /* calls kept for reuse: 2.5 MiB */
    DETAIL_MAX = 256,
    REPLY_ON_STACK = 2048,
    LATE_MS = 250,
};

/*
 * Ended calls, kept for the next ones: the one thing that links of a thread share, since a link is too small to keep its own.
 * Freed with the thread's last link and call.
 */
static _Thread_local struct {
    struct rpc_entry *spare;
    uint32_t spare_count;
    uint32_t users;
} pool;

void rpc_calls_ref(void)
{
    pool.users++;
}

static void pool_free(void)
{
    while (pool.spare) {
        struct rpc_entry *entry = pool.spare;
        pool.spare = entry->next;
        bt_free(entry);
    }
    pool.spare_count = 0;
}

void rpc_calls_unref(void)
{
    assert(pool.users > 0);
    if (--pool.users == 0)
        pool_free();
}

static struct rpc_call *call_new(void)
{
    struct rpc_call *call;
    if (pool.spare) {
        call = (struct rpc_call *)pool.spare;
        pool.spare = pool.spare->next;
        pool.spare_count--;
    } else {
        call = bt_malloc(sizeof *call);
    }
    if (call)
        rpc_calls_ref();
    return call;
}

static void call_free(struct rpc_call *call)
{
    if (call->is_event)
        return;
    if (pool.spare_count < SPARE_MAX) {
        call->entry.next = pool.spare;
        pool.spare = &call->entry;
        pool.spare_count++;
    } else {
        bt_free(call);
    }
    rpc_calls_unref();
}

/* ---- coming in ---- */

/* NULL: no room, or no memory. */
static struct rpc_call *call_begin(struct rpc_link *l, uint32_t open_calls, const struct rpc_header *h, uint32_t age_ms)
{
    struct rpc_call *call = open_calls < l->limits->max_calls ? call_new() : NULL;

    if (!call)
        return NULL;
    call->entry.id = h->call;
    call->link = l;
    call->loop = l->loop;
    call->h = *h;
    call->came_ms = net_now_ms(l->loop) - age_ms;
    call->due_ms = h->timeout_ms == 0 ? 0 : call->came_ms + (h->timeout_ms > age_ms ? h->timeout_ms : age_ms);
    call->on_dead = NULL;
    call->out = NULL;
    call->cancel = NULL;
    call->is_event = false;
    return call;
}

/* Without a call. out: over a pair, who asked. */
static void refuse(struct rpc_link *l, struct rpc_out *out, const struct rpc_header *asked, uint32_t open_calls)
{
    struct rpc_header h = {
        .method = asked->method,
        .status = RPC_STATUS_RESOURCE_EXHAUSTED,
        .call = asked->call,
        .target = asked->target,
        .trace = asked->trace,
    };
    bool is_room = open_calls < l->limits->max_calls;
    const Error error = { .detail = rpc_str(is_room ? "out of memory" : "too many calls at once") };
    uint8_t payload[DETAIL_MAX];
    size_t len = rpc_encode(Error_fields, &error, payload, sizeof payload);
    const struct rpc_bytes part = rpc_bytes(payload, len);
    enum bt_err err = l->pair ? rpc_pair_reply(l, out, &h, &part, 1)
                              : rpc_link_write(l, &h, RPC_REPLY, &part, 1);
    if (err == BT_ENOMEM && l->pair)
        rpc_link_lost_reply(out, h.status);
    else if (err != BT_OK && err != BT_ECLOSING)
        rpc_link_fail(l, err);
}

void rpc_link_take_request(struct rpc_link *l, const struct rpc_frame *frame, uint32_t age_ms)
{
    if (rpc_table_find(&l->calls, frame->h.call)) {
        rpc_link_fail(l, BT_EPROTO);
        return;
    }
    struct rpc_call *call = call_begin(l, l->calls.count, &frame->h, age_ms);
    if (!call) {
        refuse(l, NULL, &frame->h, l->calls.count);
        return;
    }
    rpc_table_add(&l->calls, &call->entry);
    l->ops->request(l, call, frame, l->arg);
}

void rpc_link_take_local(struct rpc_link *l, struct rpc_out *out, const struct rpc_frame *frame, uint32_t age_ms)
{
    struct rpc_call *call = call_begin(l, rpc_pair_open_calls(l), &frame->h, age_ms);
    if (!call) {
        refuse(l, out, &frame->h, rpc_pair_open_calls(l));
        return;
    }
    rpc_pair_enter_call(l, call, out);
    l->ops->request(l, call, frame, l->arg);
}

/* It is open no more. */
static void leave(struct rpc_link *l, struct rpc_call *call)
{
    if (l->pair)
        rpc_pair_leave_call(l, call);
    else
        rpc_table_take(&l->calls, call->entry.id);
}

static void kill_call(struct rpc_call *call)
{
    void (*on_dead)(void *) = call->on_dead;
    call->link = NULL;
    call->on_dead = NULL;
    if (on_dead)
        on_dead(call->on_dead_arg); /* may end the call */
}

void rpc_link_kill_call(struct rpc_call *call)
{
    leave(call->link, call);
    kill_call(call);
}

void rpc_link_take_cancel(struct rpc_link *l, const struct rpc_frame *frame)
{
    struct rpc_entry *entry = rpc_table_take(&l->calls, frame->h.call);
    if (entry)
        kill_call((struct rpc_call *)entry);
}

void rpc_link_drop_calls(struct rpc_link *l)
{
    struct rpc_entry *entry;
    struct rpc_call *call;

    while (l->pair && (call = rpc_pair_any_call(l)))
        rpc_link_kill_call(call);
    while ((entry = rpc_table_take_any(&l->calls)))
        kill_call((struct rpc_call *)entry);
}

/* ---- what it says ---- */

const struct rpc_header *rpc_call_header(const struct rpc_call *call)
{
    return &call->h;
}

const struct rpc_method_info *rpc_call_method(const struct rpc_call *call)
{
    return rpc_method_info(call->h.method);
}

uint32_t rpc_call_left_ms(const struct rpc_call *call)
{
    uint64_t now_ms = net_now_ms(call->loop);
    if (call->due_ms == 0)
        return UINT32_MAX;
    return call->due_ms <= now_ms ? 0 : (uint32_t)(call->due_ms - now_ms);
}

bool rpc_call_is_late(const struct rpc_call *call)
{
    const struct rpc_method_info *info = rpc_call_method(call);

    return info && rpc_method_ages(info) && call->came_ms < net_loop_stood_ms(call->loop);
}

/*
 * What the sockets held is read within this time, as is what the peers' kernels still held for want of room here. Between roles of one
 * process nothing waits in a socket: there a call is late only if it came before.
 */
bool rpc_call_refuse_late(struct rpc_call *call)
{
    const struct rpc_method_info *info = rpc_call_method(call);

    if (!info || !rpc_method_ages(info))
        return false;
    uint64_t stood_ms = net_loop_stood_ms(call->loop);
    uint32_t late_ms = call->link->pair ? 0 : LATE_MS;
    if (stood_ms == 0 || call->came_ms >= stood_ms + late_ms)
        return false;
    rpc_fail_retry(call, BT_EDOWN, late_ms + 1, "this server stood still, and may be late with it");
    return true;
}

bool rpc_call_is_dead(const struct rpc_call *call)
{
    return !call->link;
}

struct rpc_link *rpc_call_link(const struct rpc_call *call)
{
    return call->link;
}

void rpc_call_on_dead(struct rpc_call *call, void (*cb)(void *arg), void *arg)
{
    call->on_dead = call->link ? cb : NULL;
    call->on_dead_arg = arg;
}

/* ---- ending ---- */

/* The reply takes room that a reader must make: stop asking one who reads nothing. */
static void watch_output(struct rpc_link *l)
{
    const struct net_conn_limits *limits = &l->limits->net;
    if (l->is_server && !(l->paused & RPC_PAUSED_OUTPUT) && rpc_link_queued(l) > limits->out_low_bytes / 2 + limits->out_high_bytes / 2)
        rpc_link_set_paused(l, RPC_PAUSED_OUTPUT, true);
}

enum bt_err rpc_call_answer(struct rpc_call *call, uint8_t status, uint8_t flags, const struct rpc_bytes *parts,
                            size_t n)
{
    struct rpc_link *l = call->link;

    if (l && !call->is_event) {
        struct rpc_header h = {
            .method = call->h.method,
            .flags = flags,
            .status = status,
            .call = call->h.call,
            .target = call->h.target,
            .trace = call->h.trace,
        };
        enum bt_err err = l->pair ? rpc_pair_reply(l, call->out, &h, parts, n)
                                  : rpc_link_write(l, &h, RPC_REPLY, parts, n);
        if (err == BT_ENOMEM && l->pair)
            return err;
        if (err == BT_EINVAL) {
            rpc_fail(call, BT_EINTERNAL, "the reply is longer than %zu bytes", rpc_link_payload_max(l));
            return BT_OK;
        }
        leave(l, call);
        if (err == BT_OK)
            watch_output(l);
        else if (err != BT_ECLOSING)
            rpc_link_fail(l, err); /* a caller who got no answer must hear that */
    }
    call_free(call);
    return BT_OK;
}

/* Within the process the caller, if he still waits, hears of it without a reply. */
static void lose_reply(struct rpc_call *call, uint8_t status)
{
    struct rpc_out *out = call->out;

    leave(call->link, call);
    if (out)
        rpc_link_lost_reply(out, status);
    call_free(call);
}

void rpc_reply_parts(struct rpc_call *call, uint8_t status, uint8_t flags, const struct rpc_bytes *parts, size_t n)
{
    if (flags & RPC_FLAG_PUSHED)
        rpc_fail(call, BT_EINTERNAL, "a push can't be passed on with its answer");
    else if (rpc_call_answer(call, status, flags, parts, n) != BT_OK)
        lose_reply(call, status);
}

void rpc_reply_raw(struct rpc_call *call, uint8_t status, uint8_t flags, const uint8_t *payload, size_t len)
{
    const struct rpc_bytes part = rpc_bytes(payload, len);

    rpc_reply_parts(call, status, flags, &part, 1);
}

static void reply_long(struct rpc_call *call, const pb_msgdesc_t *fields, const void *msg, size_t size)
{
    uint8_t *buf = bt_malloc(size);
    if (!buf) {
        rpc_fail(call, BT_EUNSURE, "no memory for the reply"); /* it may well have been done */
        return;
    }
    size_t len = rpc_encode(fields, msg, buf, size);
    rpc_reply_raw(call, RPC_STATUS_OK, 0, buf, len);
    bt_free(buf);
}

void rpc_reply(struct rpc_call *call, const void *msg)
{
    const struct rpc_method_info *info = rpc_call_method(call);
    uint8_t buf[REPLY_ON_STACK];

    assert(info && !info->is_event);
    size_t len = rpc_encode(info->reply, msg, buf, sizeof buf);
    size_t size = len > 0 ? len : rpc_size(info->reply, msg);
    if (size > sizeof buf)
        reply_long(call, info->reply, msg, size);
    else
        rpc_reply_raw(call, RPC_STATUS_OK, 0, buf, len);
}

static void fail(struct rpc_call *call, enum bt_err err, uint32_t retry_after_ms, const char *fmt, va_list args)
{
    char detail[DETAIL_MAX + 1];
    uint8_t payload[DETAIL_MAX + 16];

    assert(err != BT_OK);
    if (fmt)
        vsnprintf(detail, sizeof detail, fmt, args);
    else
        snprintf(detail, sizeof detail, "%s", bt_err_text(err));
    for (char *c = detail; *c; c++) {
        if (*c < ' ' || *c > '~') /* a field of a request that stands in it need not be UTF-8, the Error must */
            *c = '?';
    }
    const Error error = { .detail = rpc_str(detail), .retry_after_ms = retry_after_ms };
    size_t len = rpc_encode(Error_fields, &error, payload, sizeof payload);
    rpc_reply_raw(call, (uint8_t)rpc_status_of(err), 0, payload, len);
}

void rpc_fail(struct rpc_call *call, enum bt_err err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fail(call, err, 0, fmt, args);
    va_end(args);
}

void rpc_fail_retry(struct rpc_call *call, enum bt_err err, uint32_t retry_after_ms, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fail(call, err, retry_after_ms, fmt, args);
    va_end(args);
}

void rpc_fail_as(struct rpc_call *call, const struct rpc_reply *reply)
{
    assert(reply->err != BT_OK);
    if (reply->came)
        rpc_reply_raw(call, reply->status, 0, reply->payload, reply->len);
    else
        rpc_fail(call, reply->err, NULL);
}
