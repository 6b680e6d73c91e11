/* test/unit/proxy_aid.c: see proxy_aid.h. */
#include "test/unit/proxy_aid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/client.pb.h"
#include "rpc/bytes.h"
#include "rpc/call.h"
#include "rpc/method.h"

static const struct rpc_link_limits limits = {
    .max_frame_bytes = 1 << 20,
    .max_calls = 1000,
    .allowed_flags = RPC_FLAGS_NODE,
    .net = { .out_high_bytes = 1 << 22, .out_low_bytes = 1 << 20, .in_max_bytes = 1 << 21 },
};

/* What a node does with a request: decode it and hand it to its handler. */
static void aid_request(struct rpc_link *l, struct rpc_call *call, const struct rpc_frame *frame, void *arg)
{
    struct proxy_aid *aid = arg;
    const struct rpc_method_info *info = rpc_method_info(frame->h.method);
    const struct rpc_method *m = aid->role->methods;
    (void)l;

    while (m->id != 0 && m->id != frame->h.method)
        m++;
    assert_non_null(info);
    assert_int_equal(m->id, frame->h.method);
    void *msg = calloc(1, info->req_size);
    assert_int_equal(rpc_decode(info->req, frame->payload, frame->len, msg), BT_OK);
    m->fn(call, msg, aid->self);
    rpc_release(info->req, msg);
    free(msg);
}

static void aid_no_request(struct rpc_link *l, struct rpc_call *call, const struct rpc_frame *frame, void *arg)
{
    (void)l, (void)call, (void)frame, (void)arg;
    fail_msg("a role called its caller");
}

static void aid_caller_closed(struct rpc_link *l, enum bt_err why, void *arg)
{
    (void)l, (void)why;
    ((struct proxy_aid *)arg)->caller_closed = true;
}

static void aid_served_closed(struct rpc_link *l, enum bt_err why, void *arg)
{
    (void)l, (void)why;
    ((struct proxy_aid *)arg)->served_closed = true;
}

static const struct rpc_link_ops caller_ops = { .request = aid_no_request, .closed = aid_caller_closed };
static const struct rpc_link_ops served_ops = { .request = aid_request, .closed = aid_served_closed };

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

void proxy_aid_init(struct proxy_aid *aid, const struct role *role)
{
    memset(aid, 0, sizeof *aid);
    env_init(&aid->env);
    conf_declare(aid->env.conf, role->keys);
    aid->role = role;
}

void proxy_aid_start(struct proxy_aid *aid)
{
    char why[1024] = "";

    if (!aid->env.store)
        assert_int_equal(env_open(&aid->env, STORE_SERVE, NULL), BT_OK);
    const struct role_env renv = { .loop = aid->env.loop, .conf = aid->env.conf, .rpc = aid->rpc, .store = aid->env.store };
    enum bt_err err = aid->role->start(&renv, &aid->self, why, sizeof why);
    if (err != BT_OK)
        fail_msg("%s: %s", bt_err_name(err), why);
    aid->caller_closed = aid->served_closed = false;
    assert_int_equal(rpc_link_pair(aid->env.loop, &caller_ops, aid, &served_ops, aid, &limits, &aid->caller, &aid->served), BT_OK);
}

void proxy_aid_stop(struct proxy_aid *aid)
{
    bool is_stopped = false;

    if (!aid->self)
        return;
    rpc_link_close(aid->caller, BT_OK);
    env_wait(&aid->env, &aid->caller_closed);
    env_wait(&aid->env, &aid->served_closed);
    aid->role->stop(aid->self, set_flag, &is_stopped);
    assert_false(is_stopped);
    env_wait(&aid->env, &is_stopped);
    aid->self = NULL;
}

void proxy_aid_deinit(struct proxy_aid *aid)
{
    proxy_aid_stop(aid);
    env_deinit(&aid->env);
}

static void aid_replied(struct rpc_out *out, const struct rpc_reply *reply)
{
    struct proxy_call *call = out->arg;
    struct proxy_aid *aid = call->aid;
    const struct rpc_method_info *info = rpc_method_info(call->method);

    call->is_done = true;
    call->status = (enum rpc_status)reply->status;
    assert_true(reply->len <= sizeof aid->payload);
    if (reply->len > 0)
        memcpy(aid->payload, reply->payload, aid->payload_len = reply->len);
    else
        aid->payload_len = 0;
    aid->detail[0] = '\0';
    aid->retry_after_ms = 0;
    if (reply->status == RPC_STATUS_OK && call->reply_out) {
        memset(call->reply_out, 0, info->reply_size);
        assert_int_equal(rpc_decode(info->reply, aid->payload, aid->payload_len, call->reply_out), BT_OK);
    } else if (reply->status != RPC_STATUS_OK && reply->came) {
        Error error = { 0 };
        assert_int_equal(rpc_decode(Error_fields, aid->payload, aid->payload_len, &error), BT_OK);
        if (error.detail.len > 0)
            memcpy(aid->detail, error.detail.data, error.detail.len);
        aid->detail[error.detail.len] = '\0';
        aid->retry_after_ms = error.retry_after_ms;
    }
}

void proxy_aid_begin_in(struct proxy_aid *aid, struct proxy_call *call, uint16_t method, struct proxy_from from, const void *req,
                       void *reply_out, uint32_t timeout_ms)
{
    const struct rpc_method_info *info = rpc_method_info(method);
    const struct rpc_header h = {
        .method = method, .timeout_ms = timeout_ms, .caller = from.caller, .target = from.target, .session = from.session,
    };
    uint8_t payload[8192];

    memset(call, 0, sizeof *call);
    call->aid = aid;
    call->method = method;
    call->reply_out = reply_out;
    call->out.done = aid_replied;
    call->out.arg = call;
    size_t size = rpc_size(info->req, req);
    assert_true(size <= sizeof payload);
    assert_int_equal(rpc_encode(info->req, req, payload, sizeof payload), size);
    rpc_link_request(aid->caller, &h, payload, size, &call->out);
    assert_false(call->is_done);
}

void proxy_aid_begin(struct proxy_aid *aid, struct proxy_call *call, uint16_t method, struct proxy_from from, const void *req, void *reply_out)
{
    proxy_aid_begin_in(aid, call, method, from, req, reply_out, 10000);
}

enum rpc_status proxy_aid_wait(struct proxy_call *call)
{
    env_wait(&call->aid->env, &call->is_done);
    return call->status;
}

enum rpc_status proxy_aid_call(struct proxy_aid *aid, uint16_t method, struct proxy_from from, const void *req, void *reply_out)
{
    struct proxy_call call;
    proxy_aid_begin(aid, &call, method, from, req, reply_out);
    return proxy_aid_wait(&call);
}

void proxy_aid_release(uint16_t method, void *reply)
{
    rpc_release(rpc_method_info(method)->reply, reply);
}
