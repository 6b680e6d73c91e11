/*
 * roles/proxy_forward.c: the proxy as a router: a call goes to whoever serves its method, its payload as it came, and the answer's payload
 * goes back as it comes. What a client wrote as caller and session is replaced by what is true.
 */
#include "roles/proxy.h"

#include <string.h>

#include "net/mem.h"
#include "proto/methods.h"
#include "rpc/push.h"

enum { SPARE_MAX = 8192 }; /* 400 KiB */

struct proxy_forward {
    struct proxy_forward *next; /* proxy->spare */
    struct proxy *proxy;
    struct rpc_call *call;      /* NULL: its client has gone, or cancelled it */
    struct rpc_pending *pending;
    uint64_t trace;
    uint16_t method;
};

static struct proxy_forward *forward_new(struct proxy *proxy)
{
    struct proxy_forward *f = proxy->spare;

    if (f != NULL) {
        proxy->spare = f->next;
        proxy->nspare--;
    } else {
        f = bt_malloc(sizeof *f);
    }
    if (f != NULL) {
        proxy->nforwards++;
        f->proxy = proxy;
    }
    return f;
}

static void forward_free(struct proxy_forward *f)
{
    struct proxy *proxy = f->proxy;

    proxy->nforwards--;
    if (proxy->nspare < SPARE_MAX) {
        f->next = proxy->spare;
        proxy->spare = f;
        proxy->nspare++;
    } else {
        bt_free(f);
    }
    proxy_maybe_idle(proxy);
}

void proxy_forward_free_spares(struct proxy *proxy)
{
    struct proxy_forward *f;

    while ((f = proxy->spare) != NULL) {
        proxy->spare = f->next;
        bt_free(f);
    }
    proxy->nspare = 0;
}

struct rpc_ctx proxy_ctx(struct proxy_client *client, const struct rpc_header *h)
{
    struct proxy *proxy = client->proxy;
    uint32_t timeout_ms = h->timeout_ms;

    if (timeout_ms == 0 || timeout_ms > proxy->set.call_timeout_ms)
        timeout_ms = proxy->set.call_timeout_ms;
    return (struct rpc_ctx){
        .caller = client->user_id,
        .session = client->session,
        .target = h->target,
        .trace = proxy->next_trace++,
        .timeout_ms = timeout_ms,
        .flags = h->flags & RPC_FLAG_RESEND,
    };
}

/* An answer that carries a push with it: the caller gets his part, the receivers theirs. */
static void answer_pushed(struct proxy *proxy, struct rpc_call *call, uint64_t trace, const struct rpc_reply *reply)
{
    struct rpc_bytes answer;
    PushEvent push = { 0 };

    if (rpc_reply_push(reply, &answer, &push) != BT_OK) {
        if (call != NULL)
            rpc_fail(call, BT_EINTERNAL, NULL);
        return;
    }
    if (call != NULL)
        rpc_reply_raw(call, reply->status, 0, answer.data, answer.len);
    proxy_push_users(proxy, &push, trace);
}

/* Answers that tell whether a guessed password was right. */
static bool is_wrong_password(uint16_t method, uint8_t status)
{
    return (method == RPC_USER_REGISTER && status == RPC_STATUS_ALREADY_EXISTS) ||
           (method == RPC_USER_CHANGE_PASSWORD && status == RPC_STATUS_PERMISSION_DENIED);
}

static void forward_done(const struct rpc_reply *reply, void *arg)
{
    struct proxy_forward *f = arg;
    bool is_guess = f->call != NULL && is_wrong_password(f->method, reply->status);
    struct proxy_client *client = is_guess ? rpc_link_arg(rpc_call_link(f->call)) : NULL;

    if (reply->came && (reply->flags & RPC_FLAG_PUSHED))
        answer_pushed(f->proxy, f->call, f->trace, reply);
    if (f->call != NULL && !(reply->flags & RPC_FLAG_PUSHED)) {
        if (reply->came)
            rpc_reply_raw(f->call, reply->status, 0, reply->payload, reply->len);
        else
            rpc_fail_as(f->call, reply);
    }
    if (client != NULL) /* after the answer: nothing is written to a connection that ends */
        proxy_client_refused(client);
    forward_free(f);
}

/*
 * The client cancelled, or has gone. What it asked may be done nevertheless; an owner's answer that is on its way is waited for, since
 * it may carry pushes to others.
 */
static void forward_dead(void *arg)
{
    struct proxy_forward *f = arg;

    rpc_fail(f->call, BT_ECANCELLED, NULL);
    f->call = NULL;
    if (rpc_method_info(f->method)->route == RPC_OWNER) {
        rpc_abandon(f->pending);
        return;
    }
    rpc_cancel(f->pending);
    forward_free(f);
}

void proxy_forward(struct proxy_client *client, struct rpc_call *call, const struct rpc_frame *frame)
{
    struct proxy *proxy = client->proxy;
    struct rpc_ctx ctx = proxy_ctx(client, &frame->h);
    struct proxy_forward *f;

    if (proxy_shed_forward(proxy, call))
        return;
    f = forward_new(proxy);
    if (f == NULL) {
        rpc_fail(call, BT_ENOMEM, NULL);
        return;
    }
    f->call = call;
    f->method = frame->h.method;
    f->trace = ctx.trace;
    rpc_call_on_dead(call, forward_dead, f);
    f->pending = rpc_send(proxy->env.rpc, frame->h.method, &ctx, frame->payload, frame->len, forward_done, f);
}

static bool is_idle(const struct proxy *proxy)
{
    return proxy->nforwards == 0 && proxy->nclients == 0 && !proxy->is_seeing_off;
}

static void idle_now(void *arg)
{
    struct proxy *proxy = arg;
    void (*cb)(void *) = proxy->idle_cb;

    if (cb == NULL || !is_idle(proxy))
        return;
    proxy->idle_cb = NULL;
    cb(proxy->idle_arg);
}

void proxy_maybe_idle(struct proxy *proxy)
{
    if (proxy->idle_cb != NULL && is_idle(proxy))
        net_defer(proxy->env.loop, &proxy->idle_task, idle_now, proxy);
}
