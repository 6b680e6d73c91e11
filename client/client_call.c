/* client/client_call.c: a call from its making to its one callback: waiting, sending, judging answers, trying again. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "client/client_internal.h"
#include "net/mem.h"
#include "rpc/status.h"

enum { SOON_MS = 50, SESSION_TRIES = 3 };

const struct bt_result client_no_memory = { .outcome = BT_UNSURE, .status = BT_STATUS_RESOURCE_EXHAUSTED, .detail = "out of memory" };

static bool needs_session(const struct client_call *call)
{
    return call->method->access == RPC_ACCESS_SESSION;
}

bool client_call_is_foreign(const struct client_call *call)
{
    return call->user_id != call->client->user_id;
}

static bool changes_something(const struct client_call *call)
{
    return call->method->repeat != RPC_READ;
}

/* ---- making ---- */

struct client_call *client_call_new(struct bt_client *c, const struct client_ask *ask)
{
    const struct rpc_method_info *method = rpc_method_info(ask->method);
    assert(method);
    if (c->is_closing || (!ask->is_internal && c->queued >= c->max_queued))
        return NULL;
    size_t len = rpc_size(method->req, ask->msg);
    struct client_call *call = bt_calloc(1, sizeof *call + len);
    if (!call)
        return NULL;
    call->client = c;
    call->method = method;
    call->target = ask->target;
    call->user_id = c->user_id;
    call->payload = (uint8_t *)(call + 1);
    call->len = rpc_encode(method->req, ask->msg, call->payload, len);
    call->deadline_ms = net_now_ms(c->loop) + (ask->timeout_ms ? ask->timeout_ms : c->call_timeout_ms);
    call->backoff = (struct client_backoff){
        .min_ms = c->backoff.min_ms < CLIENT_AGAIN_MAX_MS ? c->backoff.min_ms : CLIENT_AGAIN_MAX_MS,
        .max_ms = c->backoff.max_ms < CLIENT_AGAIN_MAX_MS ? c->backoff.max_ms : CLIENT_AGAIN_MAX_MS,
    };
    call->is_internal = ask->is_internal;
    call->done = ask->done;
    call->cb = ask->cb;
    call->arg = ask->arg;
    call->last_status = RPC_STATUS_UNAVAILABLE;
    call->prev = c->calls_last;
    *(c->calls_last ? &c->calls_last->next : &c->calls) = call;
    c->calls_last = call;
    c->queued += !ask->is_internal;
    return call;
}

static void unlink_call(struct client_call *call)
{
    struct bt_client *c = call->client;
    net_timer_stop(c->loop, &call->timer);
    if (c->calls_at == call)
        c->calls_at = call->next;
    *(call->prev ? &call->prev->next : &c->calls) = call->next;
    *(call->next ? &call->next->prev : &c->calls_last) = call->prev;
    c->queued -= !call->is_internal;
}

void client_call_drop(struct client_call *call)
{
    unlink_call(call);
    bt_free(call);
}

void client_call_start(struct client_call *call)
{
    call->is_starting = true;
    client_call_try(call);
    call->is_starting = false;
}

bool client_call(struct bt_client *c, const struct client_ask *ask)
{
    struct client_call *call = client_call_new(c, ask);
    if (call)
        client_call_start(call);
    return call != NULL;
}

/* ---- ending ---- */

static void wait_until(struct client_call *call, uint64_t when_ms);

/* The one end of every call. Frees it. */
static void end(struct client_call *call, const struct bt_result *r, const void *msg)
{
    struct client_queue *queue = call->queue;
    struct bt_client *c = call->client;
    uint64_t target = call->target;
    unlink_call(call);
    if (queue)
        client_queue_remove(call);
    call->done(call, r, msg);
    bt_free(call);
    if (queue)
        client_queue_next(c, target);
}

static void end_failed(struct client_call *call, enum bt_status status, const char *detail, uint32_t retry_after_ms)
{
    if (call->is_starting) { /* not inside the call that armed it: it fails likewise on the next turn */
        net_timer_start(call->client->loop, &call->timer, 0, client_call_try_timer, call);
        return;
    }
    bool is_unsure = call->maybe_done && changes_something(call) && status != BT_STATUS_ALREADY_EXISTS;
    end(call, &(struct bt_result){
        .outcome = is_unsure ? BT_UNSURE : BT_NOT_DONE,
        .status = status,
        .detail = detail,
        .retry_after_ms = retry_after_ms,
    }, NULL);
}

static void end_late(struct client_call *call)
{
    char detail[sizeof call->last_detail];
    memcpy(detail, call->last_detail, sizeof detail);
    bool is_unsure = call->maybe_done && changes_something(call);
    end_failed(call, is_unsure ? BT_STATUS_DEADLINE_EXCEEDED : (enum bt_status)call->last_status,
               detail[0] ? detail : "no server was reached in time", 0);
}

static void end_done(struct client_call *call, const struct rpc_reply *reply)
{
    void *msg = bt_calloc(1, call->method->reply_size);
    enum bt_err err = msg ? rpc_decode(call->method->reply, reply->payload, reply->len, msg) : BT_ENOMEM;
    if (err != BT_OK) {
        bt_free(msg);
        call->maybe_done = true;
        end_failed(call, BT_STATUS_INTERNAL, err == BT_ENOMEM ? "out of memory" : "the answer is no message that is known", 0);
        return;
    }
    const pb_msgdesc_t *fields = call->method->reply;
    end(call, &(struct bt_result){ .outcome = BT_DONE, .status = BT_STATUS_OK, .detail = "" }, msg);
    rpc_release(fields, msg);
    bt_free(msg);
}

/* ---- answers ---- */

static void again_after(struct client_call *call, uint32_t asked_ms)
{
    uint32_t wait_ms = client_backoff_next(&call->backoff, client_random());
    call->not_before_ms = net_now_ms(call->client->loop) + (wait_ms > asked_ms ? wait_ms : asked_ms);
    client_call_try(call);
}

/* What the server said, other than OK. */
static void refused(struct client_call *call, const struct rpc_reply *reply)
{
    Error error = { 0 };
    if (rpc_decode(Error_fields, reply->payload, reply->len, &error) != BT_OK)
        error = (Error){ 0 };
    size_t len = error.detail.len < sizeof call->last_detail ? error.detail.len : sizeof call->last_detail - 1;
    if (len > 0)
        memcpy(call->last_detail, error.detail.data, len);
    call->last_detail[len] = '\0';
    call->last_status = reply->status;
    if (rpc_status_is_not_done(reply->status)) {
        again_after(call, error.retry_after_ms);
    } else if (reply->status == RPC_STATUS_UNKNOWN || reply->status == RPC_STATUS_DEADLINE_EXCEEDED || reply->status == RPC_STATUS_CANCELLED) {
        call->maybe_done = true;
        again_after(call, 0);
    } else if (reply->status == RPC_STATUS_UNAUTHENTICATED && needs_session(call) && call->tries < SESSION_TRIES) {
        again_after(call, SOON_MS * 4); /* the session's end is on its way, or its beginning was not yet known there */
    } else {
        char detail[sizeof call->last_detail];
        memcpy(detail, call->last_detail, sizeof detail);
        if (reply->status == RPC_STATUS_INTERNAL || reply->status == RPC_STATUS_DATA_LOSS)
            call->maybe_done = true;
        end_failed(call, reply->status <= RPC_STATUS_UNAUTHENTICATED ? (enum bt_status)reply->status : BT_STATUS_INTERNAL, detail,
                   error.retry_after_ms);
    }
}

static void answered(struct rpc_out *out, const struct rpc_reply *reply)
{
    struct client_call *call = out->arg;
    struct client_link *l = call->link;
    call->link = NULL;
    call->came_on = l;
    if (reply->came && reply->err == BT_OK) {
        end_done(call, reply);
    } else if (reply->came) {
        refused(call, reply);
    } else {
        call->maybe_done |= out->was_sent;
        if (reply->err == BT_EDOWN || reply->err == BT_ECLOSING)
            l->state = CLIENT_LINK_CLOSING; /* wait for the next connection, not for this one */
        if (reply->err == BT_EBUSY || reply->err == BT_ENOMEM)
            call->not_before_ms = net_now_ms(call->client->loop) + SOON_MS;
        client_call_try(call);
    }
    client_link_call_done(l);
}

/* ---- trying ---- */

void client_call_try_timer(void *arg)
{
    client_call_try(arg);
}

static void wait_until(struct client_call *call, uint64_t when_ms)
{
    uint64_t now_ms = net_now_ms(call->client->loop);
    if (when_ms > call->deadline_ms)
        when_ms = call->deadline_ms;
    net_timer_start(call->client->loop, &call->timer, when_ms > now_ms ? when_ms - now_ms : 0, client_call_try_timer, call);
}

static void send_now(struct client_call *call, struct client_link *l, uint64_t now_ms)
{
    uint64_t left_ms = call->deadline_ms - now_ms;
    struct rpc_header h = {
        .method = call->method->id,
        .flags = call->maybe_done ? RPC_FLAG_RESEND : 0,
        .timeout_ms = left_ms < CLIENT_TRY_MS ? (uint32_t)left_ms : CLIENT_TRY_MS,
        .target = call->target,
    };
    net_timer_stop(call->client->loop, &call->timer);
    call->link = l;
    call->tries++;
    l->calls++;
    call->out = (struct rpc_out){ .done = answered, .arg = call };
    rpc_link_request(l->rpc, &h, call->payload, call->len, &call->out);
}

/* Send it if that is possible now; end it if that will never be; else wait for what comes first. */
void client_call_try(struct client_call *call)
{
    struct bt_client *c = call->client;
    struct client_link *l = c->cur;
    uint64_t now_ms = net_now_ms(c->loop);
    if (call->link || c->is_closing)
        return;
    if (now_ms >= call->deadline_ms) {
        end_late(call);
    } else if (c->state == BT_STATE_REFUSED) {
        end_failed(call, BT_STATUS_FAILED_PRECONDITION, "the server speaks no version of the protocol that this program knows", 0);
    } else if (needs_session(call) && c->token_len == 0) {
        end_failed(call, BT_STATUS_UNAUTHENTICATED, "not logged in", 0);
    } else if (needs_session(call) && client_call_is_foreign(call)) {
        end_failed(call, BT_STATUS_UNAUTHENTICATED, "the user who asked has logged out", 0);
    } else if (call->queue && !client_queue_may_send(call)) {
        wait_until(call, call->deadline_ms);
    } else if (!l || l->state == CLIENT_LINK_CLOSING || (needs_session(call) && l->state != CLIENT_LINK_BOUND)) {
        wait_until(call, call->deadline_ms);
    } else if (l->max_frame_bytes && call->len + RPC_HEADER_SIZE > l->max_frame_bytes) {
        end_failed(call, BT_STATUS_INVALID_ARGUMENT, "longer than the server takes", 0);
    } else if (now_ms < call->not_before_ms) {
        wait_until(call, call->not_before_ms);
    } else if (l->calls >= l->max_calls) {
        c->is_choked = true;
        wait_until(call, call->deadline_ms);
    } else {
        send_now(call, l, now_ms);
    }
}

/* Trying one may end it, and its callback may make or end others: c->calls_at steps over those. */
void client_calls_try_all(struct bt_client *c)
{
    c->is_choked = false;
    struct client_call *call = c->calls;
    while (call && !c->is_choked) {
        c->calls_at = call->next;
        client_call_try(call);
        call = c->calls_at;
    }
    c->calls_at = NULL;
}

void client_calls_no_session(struct bt_client *c)
{
    for (struct client_call *call = c->calls; call; call = call->next)
        if (!call->link && needs_session(call))
            net_timer_start(c->loop, &call->timer, 0, client_call_try_timer, call);
}

void client_calls_cancel_all(struct bt_client *c)
{
    while (c->calls) {
        struct client_call *call = c->calls;
        if (call->link) {
            call->maybe_done = true;
            rpc_link_cancel(&call->out);
            call->link->calls--;
            call->link = NULL;
        }
        end_failed(call, BT_STATUS_CANCELLED, "the client was closed", 0);
    }
}
