/* test/unit/test_proxy_resync.c: a proxy that missed pushes tells its clients to compare positions: all of them, and not all at once. */
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
#include "store/presence.h"
#include "test/unit/store_env.h"

enum { CLIENTS = 12, FIRST_USER = 10, LIMIT_MS = 20000 };

/* A presence_set() that is answered after the turn. */
struct kept {
    presence_done_cb *cb;
    void *arg;
};

struct client {
    struct rpc_link *link; /* NULL: closed */
    struct rpc_out out;
    bool is_answered;
    int resyncs;
};

struct env {
    struct store_env base;
    struct presence presence;
    struct kept kept[CLIENTS];
    size_t nkept;
    struct rpc *rpc;
    void *proxy;
    struct client clients[CLIENTS];
    size_t nlogins;
};

/* ---- the fakes ---- */

static struct env *self_of(const struct presence *p)
{
    return (struct env *)((char *)(uintptr_t)p - offsetof(struct env, presence));
}

static void fake_set(struct presence *p, uint64_t user_id, bool is_here, presence_done_cb *cb, void *arg)
{
    struct env *env = self_of(p);

    (void)user_id, (void)is_here;
    if (cb == NULL)
        return;
    assert_true(env->nkept < CLIENTS);
    env->kept[env->nkept++] = (struct kept){ cb, arg };
}

static void answer_sets(struct env *env)
{
    while (env->nkept > 0) {
        struct kept k = env->kept[--env->nkept];
        k.cb(BT_OK, k.arg);
    }
}

static const struct presence_driver fake_presence = { .scheme = "fake", .set = fake_set };

static void fake_login(struct rpc_call *call, const void *msg, void *self)
{
    struct env *env = self;

    (void)msg;
    env->nlogins++;
    rpc_reply(call, &(LoginReply){ .user_id = FIRST_USER + env->nlogins, .session_id = env->nlogins });
}

static void fake_ended_since(struct rpc_call *call, const void *msg, void *self)
{
    (void)msg, (void)self;
    rpc_reply(call, &(EndedSinceReply){ .now_ms = 1 });
}

static const struct rpc_method fake_user[] = {
    { RPC_USER_LOGIN, fake_login },
    { RPC_USER_ENDED_SINCE, fake_ended_since },
    { 0, NULL },
};

/* ---- the clients ---- */

static void client_event(struct rpc_link *l, const struct rpc_frame *frame, void *arg)
{
    struct client *c = arg;

    (void)l;
    c->resyncs += frame->h.method == RPC_ON_RESYNC;
}

static void client_closed(struct rpc_link *l, enum bt_err why, void *arg)
{
    struct client *c = arg;

    (void)l, (void)why;
    c->link = NULL;
}

static const struct rpc_link_ops client_ops = { .event = client_event, .closed = client_closed };
static const struct rpc_link_limits client_limits = {
    .max_frame_bytes = 1 << 20,
    .max_calls = 10,
    .allowed_flags = RPC_FLAGS_NODE,
    .net = { .out_high_bytes = 1 << 20, .out_low_bytes = 1 << 10, .in_max_bytes = 1 << 21 },
};

static void turn(struct env *env)
{
    net_loop_turn(env->base.loop, 5);
    answer_sets(env);
}

static void wait_for(struct env *env, const bool *flag)
{
    uint64_t limit_ms = net_now_ms(env->base.loop) + LIMIT_MS;

    while (!*flag) {
        assert_true(net_now_ms(env->base.loop) < limit_ms);
        turn(env);
    }
}

static void answered(struct rpc_out *out, const struct rpc_reply *reply)
{
    struct client *c = out->arg;

    assert_int_equal(reply->err, BT_OK);
    c->is_answered = true;
}

static void ask(struct env *env, struct client *c, uint16_t method)
{
    static const uint8_t version_1[] = { 8, 1 }; /* field 1, which is of no meaning to the fakes */

    c->is_answered = false;
    c->out = (struct rpc_out){ .done = answered, .arg = c };
    rpc_link_request(c->link, &(struct rpc_header){ .method = method, .timeout_ms = 10000 }, version_1,
                     method == RPC_PROXY_HELLO ? sizeof version_1 : 0, &c->out);
    wait_for(env, &c->is_answered);
}

static void come(struct env *env, struct client *c)
{
    assert_int_equal(rpc_link_dial(env->base.loop, rpc_self(env->rpc)->client_address, 5000, &client_ops, &client_limits, c, &c->link), BT_OK);
    ask(env, c, RPC_PROXY_HELLO);
    ask(env, c, RPC_USER_LOGIN);
}

static void go(struct env *env, struct client *c)
{
    rpc_link_close(c->link, BT_OK);
    while (c->link != NULL)
        turn(env);
}

static void tell_lost(struct env *env)
{
    const struct rpc_ctx ctx = { .trace = 1 };

    assert_int_equal(rpc_event_to(env->rpc, rpc_self(env->rpc)->address, RPC_PROXY_PUSH_LOST, &ctx, NULL, 0), BT_OK);
}

/* How many have been told at least n times. */
static size_t told(const struct env *env, int n)
{
    size_t count = 0;

    for (size_t i = 0; i < CLIENTS; i++)
        count += env->clients[i].resyncs >= n;
    return count;
}

static void quiet(enum log_level level, const char *line, void *arg)
{
    (void)level, (void)line, (void)arg;
}

static int setup(void **state)
{
    struct env *env = calloc(1, sizeof *env);
    struct conf *conf;

    log_set_sink(quiet, NULL);
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
    for (size_t i = 0; i < CLIENTS; i++)
        come(env, &env->clients[i]);
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

    for (size_t i = 0; i < CLIENTS; i++)
        if (env->clients[i].link != NULL)
            go(env, &env->clients[i]);
    role_proxy.stop(env->proxy, set_flag, &is_stopped);
    wait_for(env, &is_stopped);
    rpc_close(env->rpc, set_flag, &is_closed);
    wait_for(env, &is_closed);
    env_deinit(&env->base);
    free(env);
    log_set_sink(NULL, NULL);
    return 0;
}

/* ---- the tests ---- */

static void every_client_is_told_once_for_a_loss(void **state)
{
    struct env *env = *state;
    uint64_t limit_ms = net_now_ms(env->base.loop) + LIMIT_MS;

    tell_lost(env);
    while (told(env, 1) < CLIENTS && net_now_ms(env->base.loop) < limit_ms)
        turn(env);
    assert_int_equal(told(env, 1), CLIENTS);
    assert_int_equal(told(env, 2), 0);
}

/* They come faster than all can be told: everybody has his turn nevertheless, and nobody a second one before. */
static void losses_that_go_on_keep_nobody_from_being_told(void **state)
{
    struct env *env = *state;
    uint64_t start_ms = net_now_ms(env->base.loop), lost_ms = 0;

    while (told(env, 1) < CLIENTS && net_now_ms(env->base.loop) < start_ms + LIMIT_MS) {
        if (net_now_ms(env->base.loop) >= lost_ms + 100) {
            lost_ms = net_now_ms(env->base.loop);
            tell_lost(env);
        }
        turn(env);
    }
    assert_int_equal(told(env, 1), CLIENTS);
    assert_in_range(told(env, 2), 0, 2);
}

/* Whoever was told already may have missed what was lost since. */
static void a_loss_while_some_are_told_is_told_to_all(void **state)
{
    struct env *env = *state;
    uint64_t limit_ms = net_now_ms(env->base.loop) + LIMIT_MS;
    int before[CLIENTS];

    tell_lost(env);
    while (told(env, 1) < CLIENTS / 2)
        turn(env);
    for (size_t i = 0; i < CLIENTS; i++)
        before[i] = env->clients[i].resyncs;
    tell_lost(env);
    for (size_t i = 0; i < CLIENTS; i++)
        while (env->clients[i].resyncs == before[i]) {
            assert_true(net_now_ms(env->base.loop) < limit_ms);
            turn(env);
        }
}

static void the_next_to_be_told_may_go(void **state)
{
    struct env *env = *state;
    uint64_t limit_ms = net_now_ms(env->base.loop) + LIMIT_MS;

    tell_lost(env);
    while (told(env, 1) < 2)
        turn(env);
    for (size_t i = 2; i < CLIENTS - 1; i++) /* the newest are told first */
        if (env->clients[i].resyncs == 0)
            go(env, &env->clients[i]);
    while (env->clients[0].resyncs == 0 || env->clients[1].resyncs == 0) {
        assert_true(net_now_ms(env->base.loop) < limit_ms);
        turn(env);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_client_is_told_once_for_a_loss),
        TEST(losses_that_go_on_keep_nobody_from_being_told),
        TEST(a_loss_while_some_are_told_is_told_to_all),
        TEST(the_next_to_be_told_may_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
