/* test/unit/owner_aid.c: see owner_aid.h. */
#include "test/unit/owner_aid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "proto/node.pb.h"

/* ---- the fake chat role -------------------------------------------------------------------------------------------- */

static void fake_notify(struct rpc_call *call, const void *msg, void *self_arg)
{
    struct owner_aid *aid = self_arg;
    const PushEvent *event = msg;
    struct aid_push *push = &aid->pushes[aid->npushes];
    (void)call;
    assert_true(aid->npushes < AID_PUSHES);
    *push = (struct aid_push){ .method = event->method, .except_session = event->except_session, .nusers = event->users.len / 8 };
    assert_true(push->nusers <= 8 && event->event.len <= sizeof push->event);
    for (size_t i = 0; i < push->nusers; i++)
        push->users[i] = rpc_bytes_u64(event->users, i);
    memcpy(push->event, event->event.data, event->event.len);
    push->event_len = event->event.len;
    aid->npushes++;
}

static void fake_apply(struct rpc_call *call, const void *msg, void *self_arg)
{
    struct owner_aid *aid = self_arg;
    const ApplyRequest *req = msg;
    GroupReply reply = { 0 };
    aid->napplies++;
    aid->change = req->change.change;
    aid->applied_user = req->change.user_id;
    aid->applied_actor = rpc_call_header(call)->caller;
    aid->applied_target = rpc_call_header(call)->target;
    aid->applied_request = req->request_id;
    aid->keep_name = req->keep_name;
    aid->keep_about = req->keep_about;
    aid->keep_join_mode = req->keep_join_mode;
    assert_true(req->change.name.len < sizeof aid->applied_name);
    memset(aid->applied_name, 0, sizeof aid->applied_name);
    if (req->change.name.len > 0)
        memcpy(aid->applied_name, req->change.name.data, req->change.name.len);
    if (aid->on_apply)
        aid->on_apply(aid);
    reply.seq = aid->apply_seq;
    if (aid->apply_err == BT_OK)
        rpc_reply(call, &reply);
    else
        rpc_fail(call, aid->apply_err, "as the test says");
}

static const struct rpc_method fake_methods[] = {
    { RPC_CHAT_NOTIFY, fake_notify },
    { RPC_CHAT_APPLY, fake_apply },
    { 0, NULL },
};

/* ---- starting and stopping ----------------------------------------------------------------------------------------- */

void aid_start(struct owner_aid *aid, const struct role *role, const char *const *settings)
{
    struct role_env env;
    memset(aid, 0, sizeof *aid);
    env_init(&aid->env);
    conf_declare(aid->env.conf, rpc_keys);
    conf_declare(aid->env.conf, registry_keys);
    conf_declare(aid->env.conf, role->keys);
    env_set(&aid->env, "store.durable=no");
    for (size_t i = 0; settings && settings[i]; i++)
        env_set(&aid->env, settings[i]);
    assert_int_equal(env_open(&aid->env, STORE_SERVE, NULL), BT_OK);
    assert_int_equal(rpc_new(aid->env.loop, aid->env.conf, &aid->rpc, aid->env.why, sizeof aid->env.why), BT_OK);
    env = (struct role_env){ .loop = aid->env.loop, .conf = aid->env.conf, .rpc = aid->rpc, .store = aid->env.store };
    aid->role = role;
    assert_int_equal(role->start(&env, &aid->self, aid->env.why, sizeof aid->env.why), BT_OK);
    rpc_serve(aid->rpc, role->id, role->methods, aid->self);
    rpc_serve(aid->rpc, RPC_ROLE_CHAT, fake_methods, aid);
    rpc_start(aid->rpc);
    aid->apply_seq = 1;
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

void aid_stop(struct owner_aid *aid)
{
    bool is_stopped = false, is_closed = false;
    if (aid->self) {
        aid->role->stop(aid->self, set_flag, &is_stopped);
        assert_false(is_stopped);
        env_wait(&aid->env, &is_stopped);
    }
    rpc_close(aid->rpc, set_flag, &is_closed);
    env_wait(&aid->env, &is_closed);
    env_deinit(&aid->env);
}

/* ---- calling ------------------------------------------------------------------------------------------------------- */

static void call_done(const struct rpc_reply *reply, void *arg)
{
    struct owner_aid *aid = arg;
    aid->status = reply->status;
    assert_true(reply->len <= sizeof aid->payload);
    if (reply->len > 0)
        memcpy(aid->payload, reply->payload, reply->len);
    aid->payload_len = reply->len;
    aid->is_done = true;
}

uint8_t aid_call(struct owner_aid *aid, uint16_t method, uint64_t caller, uint64_t target, const void *req)
{
    /* Short: what is refused with RESOURCE_EXHAUSTED may be tried again until then. */
    struct rpc_ctx ctx = { .caller = caller, .target = target, .session = aid_session(caller), .trace = 77, .timeout_ms = 3000 };
    aid->is_done = false;
    rpc_send_msg(aid->rpc, method, &ctx, req, call_done, aid);
    assert_false(aid->is_done);
    env_wait(&aid->env, &aid->is_done);
    return aid->status;
}

void aid_count_status(const struct rpc_reply *reply, void *arg)
{
    int *counts = arg;
    assert_true(reply->status == RPC_STATUS_OK || reply->status == RPC_STATUS_RESOURCE_EXHAUSTED);
    counts[reply->status == RPC_STATUS_OK ? 0 : 1]++;
}

void aid_call_at_once(struct owner_aid *aid, uint16_t method, uint64_t caller, size_t n, const void *req, int counts[2])
{
    struct rpc_ctx ctx = { .caller = caller, .session = 1, .timeout_ms = 300 };
    for (size_t i = 0; i < n; i++)
        rpc_send_msg(aid->rpc, method, &ctx, req, aid_count_status, counts);
    while ((size_t)(counts[0] + counts[1]) < n)
        net_loop_turn(aid->env.loop, 10);
}

void aid_decode_into(struct owner_aid *aid, const pb_msgdesc_t *fields, void *msg_out, size_t size)
{
    memset(msg_out, 0, size);
    assert_int_equal(rpc_decode(fields, aid->payload, aid->payload_len, msg_out), BT_OK);
}

void aid_wait_pushes(struct owner_aid *aid, size_t n)
{
    uint64_t due_ms = net_now_ms(aid->env.loop) + 10000;
    while (aid->npushes < n) {
        assert_true(net_now_ms(aid->env.loop) < due_ms);
        net_loop_turn(aid->env.loop, 10);
    }
}
