/* test/unit/owner_aid.c: see owner_aid.h. */
#include "test/unit/owner_aid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/node.pb.h"

struct owner_aid aid;

/* ---- the fake chat role -------------------------------------------------------------------------------------------- */

static void fake_notify(struct rpc_call *call, const void *msg, void *self_arg)
{
    struct owner_aid *a = self_arg;
    const PushEvent *event = msg;
    struct aid_push *push = &a->pushes[a->npushes];
    (void)call;
    assert_true(a->npushes < AID_PUSHES);
    *push = (struct aid_push){ .method = event->method, .except_session = event->except_session, .nusers = event->users.len / 8 };
    assert_true(push->nusers <= 8 && event->event.len <= sizeof push->event);
    for (size_t i = 0; i < push->nusers; i++)
        push->users[i] = rpc_bytes_u64(event->users, i);
    memcpy(push->event, event->event.data, event->event.len);
    push->event_len = event->event.len;
    a->npushes++;
}

static void fake_apply(struct rpc_call *call, const void *msg, void *self_arg)
{
    struct owner_aid *a = self_arg;
    const ApplyRequest *req = msg;
    GroupReply reply = { 0 };
    a->napplies++;
    a->change = req->change.change;
    a->applied_user = req->change.user_id;
    a->applied_actor = rpc_call_header(call)->caller;
    a->applied_target = rpc_call_header(call)->target;
    a->applied_request = req->request_id;
    a->keep_name = req->keep_name;
    a->keep_about = req->keep_about;
    a->keep_join_mode = req->keep_join_mode;
    assert_true(req->change.name.len < sizeof a->applied_name);
    memset(a->applied_name, 0, sizeof a->applied_name);
    if (req->change.name.len > 0)
        memcpy(a->applied_name, req->change.name.data, req->change.name.len);
    if (a->on_apply)
        a->on_apply(a);
    reply.seq = a->apply_seq;
    if (a->apply_err == BT_OK)
        rpc_reply(call, &reply);
    else
        rpc_fail(call, a->apply_err, "as the test says");
}

static const struct rpc_method fake_methods[] = {
    { RPC_CHAT_NOTIFY, fake_notify },
    { RPC_CHAT_APPLY, fake_apply },
    { 0, NULL },
};

/* ---- starting and stopping ----------------------------------------------------------------------------------------- */

void aid_start(struct owner_aid *a, const struct role *role, const char *const *settings)
{
    struct role_env env;
    memset(a, 0, sizeof *a);
    env_init(&a->env);
    conf_declare(a->env.conf, rpc_keys);
    conf_declare(a->env.conf, registry_keys);
    conf_declare(a->env.conf, role->keys);
    env_set(&a->env, "store.durable=no");
    for (size_t i = 0; settings && settings[i]; i++)
        env_set(&a->env, settings[i]);
    assert_int_equal(env_open(&a->env, STORE_SERVE, NULL), BT_OK);
    assert_int_equal(rpc_new(a->env.loop, a->env.conf, &a->rpc, a->env.why, sizeof a->env.why), BT_OK);
    env = (struct role_env){ .loop = a->env.loop, .conf = a->env.conf, .rpc = a->rpc, .store = a->env.store };
    a->role = role;
    assert_int_equal(role->start(&env, &a->self, a->env.why, sizeof a->env.why), BT_OK);
    rpc_serve(a->rpc, role->id, role->methods, a->self);
    rpc_serve(a->rpc, RPC_ROLE_CHAT, fake_methods, a);
    rpc_start(a->rpc);
    a->apply_seq = 1;
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

void aid_stop(struct owner_aid *a)
{
    bool is_stopped = false, is_closed = false;
    if (a->self) {
        a->role->stop(a->self, set_flag, &is_stopped);
        assert_false(is_stopped);
        env_wait(&a->env, &is_stopped);
    }
    rpc_close(a->rpc, set_flag, &is_closed);
    env_wait(&a->env, &is_closed);
    env_deinit(&a->env);
}

/* ---- calling ------------------------------------------------------------------------------------------------------- */

static void call_done(const struct rpc_reply *reply, void *arg)
{
    struct owner_aid *a = arg;
    a->status = reply->status;
    assert_true(reply->len <= sizeof a->payload);
    if (reply->len > 0)
        memcpy(a->payload, reply->payload, reply->len);
    a->payload_len = reply->len;
    a->is_done = true;
}

uint8_t aid_call(struct owner_aid *a, uint16_t method, uint64_t caller, uint64_t target, const void *req)
{
    /* Short: what is refused with RESOURCE_EXHAUSTED may be tried again until then. */
    struct rpc_ctx ctx = { .caller = caller, .target = target, .session = aid_session(caller), .trace = 77, .timeout_ms = 3000 };
    a->is_done = false;
    rpc_send_msg(a->rpc, method, &ctx, req, call_done, a);
    assert_false(a->is_done);
    env_wait(&a->env, &a->is_done);
    return a->status;
}

uint8_t aid_call_and_stand_still(struct owner_aid *a, uint16_t method, uint64_t caller, uint64_t target, const void *req)
{
    struct rpc_ctx ctx = { .caller = caller, .target = target, .session = aid_session(caller), .trace = 77, .timeout_ms = 5000 };
    a->is_done = false;
    rpc_send_msg(a->rpc, method, &ctx, req, call_done, a);
    net_loop_turn(a->env.loop, 0);
    assert_false(a->is_done);
    usleep((NET_STOOD_MS + 50) * 1000);
    env_wait(&a->env, &a->is_done);
    return a->status;
}

void aid_count_status(const struct rpc_reply *reply, void *arg)
{
    int *counts = arg;
    assert_true(reply->status == RPC_STATUS_OK || reply->status == RPC_STATUS_RESOURCE_EXHAUSTED);
    counts[reply->status == RPC_STATUS_OK ? 0 : 1]++;
}

void aid_call_at_once(struct owner_aid *a, uint16_t method, uint64_t caller, size_t n, const void *req, int counts[2])
{
    struct rpc_ctx ctx = { .caller = caller, .session = 1, .timeout_ms = 300 };
    for (size_t i = 0; i < n; i++)
        rpc_send_msg(a->rpc, method, &ctx, req, aid_count_status, counts);
    while ((size_t)(counts[0] + counts[1]) < n)
        net_loop_turn(a->env.loop, 10);
}

void aid_decode_into(struct owner_aid *a, const pb_msgdesc_t *fields, void *msg_out, size_t size)
{
    memset(msg_out, 0, size);
    assert_int_equal(rpc_decode(fields, a->payload, a->payload_len, msg_out), BT_OK);
}

void aid_wait_pushes(struct owner_aid *a, size_t n)
{
    uint64_t due_ms = net_now_ms(a->env.loop) + 10000;
    while (a->npushes < n) {
        assert_true(net_now_ms(a->env.loop) < due_ms);
        net_loop_turn(a->env.loop, 10);
    }
}
