/*
 * test/unit/test_proxy_bind.c: logins at a proxy over a presence that answers when the test says, or never; beside a fake user
 * role that lets everybody in.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/log.h"
#include "net/loop.h"
#include "proto/client.pb.h"
#include "proto/methods.h"
#include "proto/node.pb.h"
#include "roles/role.h"
#include "rpc/link.h"
#include "rpc/rpc.h"
#include "rpc/status.h"
#include "store/presence.h"
#include "test/unit/log_aid.h"
#include "test/unit/store_env.h"

enum { ANN = 10, SESSION = 77, KEPT_MAX = 8, PROMISE_MS = 1000, SLACK_MS = 400 };

/* A presence_set() that waits for its answer. */
struct kept {
    presence_done_cb *cb;
    void *arg;
};

struct answer {
    struct rpc_out out;
    bool is_there;
    uint8_t status;
};

struct env {
    struct store_env base;
    struct presence presence;
    struct kept kept[KEPT_MAX];
    size_t nkept, nsets_here, nsets_gone;
    struct rpc *rpc;
    void *proxy;
    struct rpc_link *client;
    bool is_closed, is_asked; /* the client's connection; a presence_set() that is answered */
    int resyncs, ends;
    bool has_ended;           /* the session, as the user role tells */
};

/* ---- the fakes ---- */

static struct env *self_of(const struct presence *p)
{
    return (struct env *)((char *)(uintptr_t)p - offsetof(struct env, presence));
}

static void fake_set(struct presence *p, uint64_t user_id, bool is_here, presence_done_cb *cb, void *arg)
{
    struct env *env = self_of(p);

    assert_int_equal(user_id, ANN);
    *(is_here ? &env->nsets_here : &env->nsets_gone) += 1;
    if (cb == NULL)
        return;
    assert_true(env->nkept < KEPT_MAX);
    env->kept[env->nkept++] = (struct kept){ cb, arg };
    env->is_asked = true;
}

static void answer_sets(struct env *env, enum bt_err err)
{
    size_t n = env->nkept;

    env->nkept = 0;
    for (size_t i = 0; i < n; i++)
        env->kept[i].cb(err, env->kept[i].arg);
}

static const struct presence_driver fake_presence = { .scheme = "fake", .set = fake_set };

static void fake_login(struct rpc_call *call, const void *msg, void *self)
{
    (void)msg, (void)self;
    rpc_reply(call, &(LoginReply){ .user_id = ANN, .session_id = SESSION });
}

static void fake_ended_since(struct rpc_call *call, const void *msg, void *self)
{
    EndedSession ended = { .user_id = ANN, .session_id = SESSION, .ended_ms = 1, .why = SessionEnd_PASSWORD_CHANGED };
    struct env *env = self;

    (void)msg;
    rpc_reply(call, &(EndedSinceReply){ .now_ms = 1, .sessions_count = env->has_ended, .sessions = &ended });
}

static const struct rpc_method fake_user[] = {
    { RPC_USER_LOGIN, fake_login },
    { RPC_USER_ENDED_SINCE, fake_ended_since },
    { 0, NULL },
};

/* ---- a client ---- */

static void client_event(struct rpc_link *l, const struct rpc_frame *frame, void *arg)
{
    struct env *env = arg;
    (void)l;
    env->resyncs += frame->h.method == RPC_ON_RESYNC;
    env->ends += frame->h.method == RPC_ON_SESSION_ENDED;
}

static void client_closed(struct rpc_link *l, enum bt_err why, void *arg)
{
    (void)l, (void)why;
    ((struct env *)arg)->is_closed = true;
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
    struct answer *a = out->arg;

    a->is_there = true;
    a->status = reply->status;
}

static void ask(struct env *env, struct answer *a, uint16_t method, uint32_t timeout_ms)
{
    static const uint8_t version_1[] = { 8, 1 }; /* field 1, which is of no meaning to the fakes */
    const struct rpc_header h = { .method = method, .timeout_ms = timeout_ms };

    *a = (struct answer){ .out = { .done = answered, .arg = a } };
    rpc_link_request(env->client, &h, version_1, method == RPC_PROXY_HELLO ? sizeof version_1 : 0, &a->out);
}

/* A login that the user role has answered, while presence keeps silent. */
static void log_in(struct env *env, struct answer *login, uint32_t timeout_ms)
{
    ask(env, login, RPC_USER_LOGIN, timeout_ms);
    env_wait(&env->base, &env->is_asked);
    assert_false(login->is_there);
    assert_int_equal(env->nsets_here, 1);
}

/* What was on its way has come. */
static void settle(struct env *env)
{
    struct answer ping;

    ask(env, &ping, RPC_PROXY_PING, 5000);
    env_wait(&env->base, &ping.is_there);
    assert_int_equal(ping.status, RPC_STATUS_OK);
}

static int setup(void **state)
{
    struct env *env = calloc(1, sizeof *env);
    struct conf *conf;
    struct answer hello;

    log_nothing();
    env_init(&env->base);
    conf = env->base.conf;
    conf_declare(conf, rpc_keys);
    conf_declare(conf, registry_keys);
    conf_declare(conf, role_proxy.keys);
    conf_declare(conf, role_chat.keys);
    env_set(&env->base, "proxy.listen=127.0.0.1:0");
    env->presence.driver = &fake_presence;
    assert_int_equal(rpc_new(env->base.loop, conf, &env->rpc, env->base.why, sizeof env->base.why), BT_OK);
    const struct role_env role_env = { .loop = env->base.loop, .conf = conf, .rpc = env->rpc, .presence = &env->presence };
    assert_int_equal(role_proxy.start(&role_env, &env->proxy, env->base.why, sizeof env->base.why), BT_OK);
    rpc_serve(env->rpc, RPC_ROLE_PROXY, role_proxy.methods, env->proxy);
    rpc_serve(env->rpc, RPC_ROLE_USER, fake_user, env);
    rpc_start(env->rpc);
    assert_int_equal(rpc_link_dial(env->base.loop, rpc_self(env->rpc)->client_address, 5000, &client_ops, &client_limits, env, &env->client),
                     BT_OK);
    ask(env, &hello, RPC_PROXY_HELLO, 5000);
    env_wait(&env->base, &hello.is_there);
    assert_int_equal(hello.status, RPC_STATUS_OK);
    *state = env;
    return 0;
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

static int teardown(void **state)
{
    struct env *env = *state;
    bool is_stopped = false, is_closed = false;

    if (!env->is_closed)
        rpc_link_close(env->client, BT_OK);
    env_wait(&env->base, &env->is_closed);
    answer_sets(env, BT_ECLOSING);
    role_proxy.stop(env->proxy, set_flag, &is_stopped);
    while (!is_stopped) { /* his going is written, while he goes */
        net_loop_turn(env->base.loop, 10);
        answer_sets(env, BT_ECLOSING);
    }
    rpc_close(env->rpc, set_flag, &is_closed);
    env_wait(&env->base, &is_closed);
    env_deinit(&env->base);
    free(env);
    log_set_sink(NULL, NULL);
    return 0;
}

/* ---- the tests ---- */

static void a_login_waits_until_presence_is_written(void **state)
{
    struct env *env = *state;
    struct answer login;

    log_in(env, &login, 10000);
    for (int i = 0; i < 5; i++)
        net_loop_turn(env->base.loop, 10);
    assert_false(login.is_there);
    answer_sets(env, BT_OK);
    env_wait(&env->base, &login.is_there);
    assert_int_equal(login.status, RPC_STATUS_OK);
    settle(env);
    assert_int_equal(env->resyncs, 0);
}

static void a_presence_that_is_away_lets_everybody_in(void **state)
{
    struct env *env = *state;
    struct answer login;

    log_in(env, &login, 10000);
    answer_sets(env, BT_EDOWN);
    env_wait(&env->base, &login.is_there);
    assert_int_equal(login.status, RPC_STATUS_OK);
}

static void a_presence_that_never_answers_delays_a_login_by_a_second(void **state)
{
    struct env *env = *state;
    struct answer login;
    uint64_t began_ms, took_ms;

    began_ms = net_now_ms(env->base.loop);
    log_in(env, &login, 10000);
    env_wait(&env->base, &login.is_there);
    took_ms = net_now_ms(env->base.loop) - began_ms;
    assert_int_equal(login.status, RPC_STATUS_OK);
    assert_in_range(took_ms, PROMISE_MS, 3 * (PROMISE_MS + SLACK_MS));
    settle(env); /* the connection takes calls again */
    assert_int_equal(env->resyncs, 0);
    assert_int_equal(env->nkept, 1);
}

static void a_login_is_answered_within_its_deadline_though_presence_never_answers(void **state)
{
    struct env *env = *state;
    struct answer login;

    log_in(env, &login, 1200);
    env_wait(&env->base, &login.is_there);
    assert_int_equal(login.status, RPC_STATUS_OK); /* not DEADLINE_EXCEEDED, which the client's own link would say */
    settle(env);
}

static void who_was_let_in_compares_once_presence_is_written(void **state)
{
    struct env *env = *state;
    struct answer login;

    log_in(env, &login, 800);
    env_wait(&env->base, &login.is_there);
    settle(env);
    assert_int_equal(env->resyncs, 0);
    answer_sets(env, BT_OK);
    settle(env);
    assert_int_equal(env->resyncs, 1);
}

static void who_was_let_in_and_has_gone_is_not_missed_by_the_late_answer(void **state)
{
    struct env *env = *state;
    struct answer login;

    log_in(env, &login, 800);
    env_wait(&env->base, &login.is_there);
    rpc_link_close(env->client, BT_OK);
    env_wait(&env->base, &env->is_closed);
    while (env->nsets_gone == 0)
        net_loop_turn(env->base.loop, 10);
    answer_sets(env, BT_OK);
    assert_int_equal(env->nsets_here, 1);
}

static void who_goes_while_presence_is_silent_leaves_nothing_behind(void **state)
{
    struct env *env = *state;
    struct answer login;

    log_in(env, &login, 10000);
    rpc_link_cancel(&login.out);
    rpc_link_close(env->client, BT_OK);
    env_wait(&env->base, &env->is_closed);
    while (env->nsets_gone == 0)
        net_loop_turn(env->base.loop, 10);
    answer_sets(env, BT_OK);
    assert_int_equal(env->nkept, 0);
}

/* As when the password is changed while presence is away. */
static void a_login_whose_session_ends_while_presence_is_silent_is_refused(void **state)
{
    struct env *env = *state;
    struct answer login;

    env->has_ended = true;
    log_in(env, &login, 10000);
    env_wait(&env->base, &login.is_there);
    assert_int_equal(login.status, RPC_STATUS_UNAUTHENTICATED);
    env_wait(&env->base, &env->is_closed);
    assert_int_equal(env->ends, 1);
    assert_int_equal(env->nkept, 1);
}

/* Ending, a proxy answers what it took; who is told that his session has ended would throw it away. */
static void a_login_is_let_in_by_a_proxy_that_drains(void **state)
{
    struct env *env = *state;
    struct answer login;
    bool is_drained = false;

    log_in(env, &login, 2000);
    role_proxy.drain(env->proxy, set_flag, &is_drained);
    env_wait(&env->base, &login.is_there);
    assert_int_equal(login.status, RPC_STATUS_OK);
    answer_sets(env, BT_OK);
    env_wait(&env->base, &env->is_closed);
    while (!is_drained) {
        net_loop_turn(env->base.loop, 10);
        answer_sets(env, BT_OK);
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_login_waits_until_presence_is_written),
        T(a_presence_that_is_away_lets_everybody_in),
        T(a_presence_that_never_answers_delays_a_login_by_a_second),
        T(a_login_is_answered_within_its_deadline_though_presence_never_answers),
        T(who_was_let_in_compares_once_presence_is_written),
        T(who_was_let_in_and_has_gone_is_not_missed_by_the_late_answer),
        T(who_goes_while_presence_is_silent_leaves_nothing_behind),
        T(a_login_whose_session_ends_while_presence_is_silent_is_refused),
        T(a_login_is_let_in_by_a_proxy_that_drains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
