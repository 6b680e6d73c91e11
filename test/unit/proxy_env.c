/* test/unit/proxy_env.c: see proxy_env.h. */
#include "test/unit/proxy_env.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "net/log.h"
#include "proto/client.pb.h"
#include "proto/methods.h"
#include "proto/node.pb.h"
#include "rpc/status.h"
#include "test/unit/log_aid.h"

enum { LIMIT_MS = 20000 };

/* ---- the fakes ---- */

static void fake_set(struct presence *p, uint64_t user_id, bool is_here, presence_done_cb *cb, void *arg)
{
    struct proxy_env *env = (struct proxy_env *)((char *)p - offsetof(struct proxy_env, presence));

    assert_in_range(user_id, PROXY_ENV_USER, PROXY_ENV_USER + env->nlogins - 1);
    *(is_here ? &env->nsets_here : &env->nsets_gone) += 1;
    if (cb == NULL)
        return;
    assert_true(env->nkept < PROXY_ENV_KEPT_MAX);
    env->kept[env->nkept++] = (struct proxy_kept){ cb, arg };
    env->is_asked = true;
}

static const struct presence_driver fake_presence = { .scheme = "fake", .set = fake_set };

static void fake_login(struct rpc_call *call, const void *msg, void *self)
{
    struct proxy_env *env = self;
    const size_t n = env->nlogins++;

    (void)msg;
    rpc_reply(call, &(LoginReply){ .user_id = PROXY_ENV_USER + n, .session_id = 1 + n });
}

static void fake_ended_since(struct rpc_call *call, const void *msg, void *self)
{
    EndedSession ended = { .user_id = PROXY_ENV_USER, .session_id = 1, .ended_ms = 1, .why = SessionEnd_PASSWORD_CHANGED };
    struct proxy_env *env = self;

    (void)msg;
    env->ended_asked_ms = net_now_ms(env->base.loop);
    rpc_reply(call, &(EndedSinceReply){ .now_ms = 1, .sessions_count = env->has_ended, .sessions = &ended });
}

static const struct rpc_method fake_user[] = {
    { RPC_USER_LOGIN, fake_login },
    { RPC_USER_ENDED_SINCE, fake_ended_since },
    { 0, NULL },
};

/* ---- the proxy ---- */

void proxy_env_init(struct proxy_env *env)
{
    struct store_env *base = &env->base;

    log_nothing();
    env_init(base);
    conf_declare(base->conf, rpc_keys);
    conf_declare(base->conf, registry_keys);
    conf_declare(base->conf, role_proxy.keys);
    conf_declare(base->conf, role_chat.keys);
    env_set(base, "proxy.listen=127.0.0.1:0");
    if (env->setting != NULL)
        env_set(base, env->setting);
    env->presence.driver = &fake_presence;
    assert_int_equal(rpc_new(base->loop, base->conf, &env->rpc, base->why, sizeof base->why), BT_OK);
    const struct role_env role_env = { .loop = base->loop, .conf = base->conf, .rpc = env->rpc, .presence = &env->presence };
    assert_int_equal(role_proxy.start(&role_env, &env->proxy, base->why, sizeof base->why), BT_OK);
    rpc_serve(env->rpc, RPC_ROLE_PROXY, role_proxy.methods, env->proxy);
    rpc_serve(env->rpc, RPC_ROLE_USER, fake_user, env);
    if (env->chat != NULL)
        rpc_serve(env->rpc, RPC_ROLE_CHAT, env->chat, env);
    rpc_start(env->rpc);
}

void proxy_env_deinit(struct proxy_env *env)
{
    bool is_stopped = false, is_closed = false;

    role_proxy.stop(env->proxy, proxy_env_set_flag, &is_stopped);
    proxy_env_wait(env, &is_stopped); /* that the users have gone is written meanwhile */
    rpc_close(env->rpc, proxy_env_set_flag, &is_closed);
    proxy_env_wait(env, &is_closed);
    env_deinit(&env->base);
    log_set_sink(NULL, NULL);
}

void proxy_env_answer(struct proxy_env *env, enum bt_err err)
{
    const size_t n = env->nkept;
    struct proxy_kept kept[PROXY_ENV_KEPT_MAX];

    memcpy(kept, env->kept, n * sizeof *kept);
    env->nkept = 0;
    for (size_t i = 0; i < n; i++)
        kept[i].cb(err, kept[i].arg);
}

void proxy_env_turn(struct proxy_env *env)
{
    net_loop_turn(env->base.loop, 5);
    proxy_env_answer(env, BT_OK);
}

void proxy_env_wait(struct proxy_env *env, const bool *flag)
{
    const uint64_t limit_ms = net_now_ms(env->base.loop) + LIMIT_MS;

    while (!*flag) {
        assert_true(net_now_ms(env->base.loop) < limit_ms);
        proxy_env_turn(env);
    }
}

void proxy_env_set_flag(void *is_done)
{
    *(bool *)is_done = true;
}

/* ---- a client ---- */

static void client_event(struct rpc_link *l, const struct rpc_frame *frame, void *arg)
{
    struct proxy_client *c = arg;

    (void)l;
    c->resyncs += frame->h.method == RPC_ON_RESYNC;
    c->ends += frame->h.method == RPC_ON_SESSION_ENDED;
    c->pushes += frame->h.method == RPC_ON_MESSAGE;
}

static void client_closed(struct rpc_link *l, enum bt_err why, void *arg)
{
    (void)l, (void)why;
    ((struct proxy_client *)arg)->is_closed = true;
}

static const struct rpc_link_ops client_ops = { .event = client_event, .closed = client_closed };
static const struct rpc_link_limits client_limits = {
    .max_frame_bytes = 1 << 20,
    .max_calls = 10,
    .allowed_flags = RPC_FLAGS_NODE,
    .net = { .out_high_bytes = 1 << 20, .out_low_bytes = 1 << 10, .in_max_bytes = 1 << 21 },
};

static void answered(struct rpc_out *out, const struct rpc_reply *reply)
{
    struct proxy_answer *answer = out->arg;

    answer->is_there = true;
    answer->status = reply->status;
    answer->len = reply->len <= sizeof answer->payload ? reply->len : 0;
    if (answer->len > 0)
        memcpy(answer->payload, reply->payload, answer->len);
}

void proxy_client_ask(struct proxy_client *c, struct proxy_answer *answer, uint16_t method, uint32_t timeout_ms)
{
    static const uint8_t version_1[] = { 8, 1 };
    const struct rpc_header h = { .method = method, .timeout_ms = timeout_ms };

    *answer = (struct proxy_answer){ .out = { .done = answered, .arg = answer } };
    rpc_link_request(c->link, &h, version_1, method == RPC_PROXY_HELLO ? sizeof version_1 : 0, &answer->out);
}

void proxy_client_come(struct proxy_env *env, struct proxy_client *c)
{
    const char *address = rpc_self(env->rpc)->client_address;
    struct proxy_answer hello;

    assert_int_equal(rpc_link_dial(env->base.loop, address, 5000, &client_ops, &client_limits, c, &c->link), BT_OK);
    proxy_client_ask(c, &hello, RPC_PROXY_HELLO, 5000);
    env_wait(&env->base, &hello.is_there);
    assert_int_equal(hello.status, RPC_STATUS_OK);
}

void proxy_client_log_in(struct proxy_env *env, struct proxy_client *c)
{
    struct proxy_answer login;

    proxy_client_come(env, c);
    proxy_client_ask(c, &login, RPC_USER_LOGIN, 10000);
    proxy_env_wait(env, &login.is_there);
    assert_int_equal(login.status, RPC_STATUS_OK);
}

void proxy_client_go(struct proxy_env *env, struct proxy_client *c)
{
    rpc_link_close(c->link, BT_OK);
    proxy_env_wait(env, &c->is_closed);
}
