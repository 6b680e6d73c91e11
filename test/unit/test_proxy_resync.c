/* test/unit/test_proxy_resync.c: a proxy that missed pushes tells its clients to compare positions: all, and not all at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "net/loop.h"
#include "proto/methods.h"
#include "rpc/link.h"
#include "rpc/rpc.h"
#include "rpc/status.h"
#include "test/unit/proxy_env.h"

enum { CLIENTS = 60, LIMIT_MS = 20000 };

struct env {
    struct proxy_env proxy;
    struct proxy_client clients[CLIENTS];
};

static void tell_lost(struct env *env)
{
    const struct rpc_ctx ctx = { .trace = 1 };

    assert_int_equal(rpc_event_to(env->proxy.rpc, rpc_self(env->proxy.rpc)->address, RPC_PROXY_PUSH_LOST, &ctx, NULL, 0), BT_OK);
}

/* How many have been told at least n times. */
static size_t told(const struct env *env, int n)
{
    size_t count = 0;

    for (size_t i = 0; i < CLIENTS; i++)
        count += env->clients[i].resyncs >= n;
    return count;
}

static int setup(void **state)
{
    struct env *env = calloc(1, sizeof *env);

    proxy_env_init(&env->proxy);
    for (size_t i = 0; i < CLIENTS; i++)
        proxy_client_log_in(&env->proxy, &env->clients[i]);
    *state = env;
    return 0;
}

static int teardown(void **state)
{
    struct env *env = *state;

    for (size_t i = 0; i < CLIENTS; i++)
        if (!env->clients[i].is_closed)
            proxy_client_go(&env->proxy, &env->clients[i]);
    proxy_env_deinit(&env->proxy);
    free(env);
    return 0;
}

/* ---- the tests ---- */

/* In a few hundred milliseconds, though [proxy] resync_spread_ms has 3000: that is for tens of thousands. */
static void every_client_is_told_once_for_a_loss(void **state)
{
    struct env *env = *state;
    uint64_t start_ms = net_now_ms(env->proxy.base.loop), limit_ms = start_ms + LIMIT_MS;

    tell_lost(env);
    while (told(env, 1) < CLIENTS && net_now_ms(env->proxy.base.loop) < limit_ms)
        proxy_env_turn(&env->proxy);
    assert_int_equal(told(env, 1), CLIENTS);
    assert_int_equal(told(env, 2), 0);
    assert_in_range(net_now_ms(env->proxy.base.loop) - start_ms, 200, 2000);
}

/* They come faster than all can be told: everybody has his turn nevertheless, and nobody a second one before. */
static void losses_that_go_on_keep_nobody_from_being_told(void **state)
{
    struct env *env = *state;
    uint64_t start_ms = net_now_ms(env->proxy.base.loop), lost_ms = 0;

    while (told(env, 1) < CLIENTS && net_now_ms(env->proxy.base.loop) < start_ms + LIMIT_MS) {
        if (net_now_ms(env->proxy.base.loop) >= lost_ms + 100) {
            lost_ms = net_now_ms(env->proxy.base.loop);
            tell_lost(env);
        }
        proxy_env_turn(&env->proxy);
    }
    assert_int_equal(told(env, 1), CLIENTS);
    assert_in_range(told(env, 2), 0, 2);
}

/* Whoever was told already may have missed what was lost since. */
static void a_loss_while_some_are_told_is_told_to_all(void **state)
{
    struct env *env = *state;
    uint64_t limit_ms = net_now_ms(env->proxy.base.loop) + LIMIT_MS;
    int before[CLIENTS];

    tell_lost(env);
    while (told(env, 1) < CLIENTS / 2)
        proxy_env_turn(&env->proxy);
    for (size_t i = 0; i < CLIENTS; i++)
        before[i] = env->clients[i].resyncs;
    tell_lost(env);
    for (size_t i = 0; i < CLIENTS; i++)
        while (env->clients[i].resyncs == before[i]) {
            assert_true(net_now_ms(env->proxy.base.loop) < limit_ms);
            proxy_env_turn(&env->proxy);
        }
}

static void the_next_to_be_told_may_go(void **state)
{
    struct env *env = *state;
    uint64_t limit_ms = net_now_ms(env->proxy.base.loop) + LIMIT_MS;

    tell_lost(env);
    while (told(env, 1) < 2)
        proxy_env_turn(&env->proxy);
    for (size_t i = 2; i < CLIENTS - 1; i++) /* the newest are told first */
        if (env->clients[i].resyncs == 0)
            proxy_client_go(&env->proxy, &env->clients[i]);
    while (env->clients[0].resyncs == 0 || env->clients[1].resyncs == 0) {
        assert_true(net_now_ms(env->proxy.base.loop) < limit_ms);
        proxy_env_turn(&env->proxy);
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
