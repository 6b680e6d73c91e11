/* test/unit/test_proxy_bind.c: logins at a proxy over a presence that answers when the test says, or never. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "net/loop.h"
#include "proto/methods.h"
#include "roles/role.h"
#include "rpc/link.h"
#include "rpc/status.h"
#include "test/unit/proxy_env.h"

enum { PROMISE_MS = 1000, SLACK_MS = 400, ENDED_EVERY_MS = 1000 };

struct env {
    struct proxy_env proxy;
    struct proxy_client client;
};

/* A login that the user role has answered, while presence keeps silent. */
static void log_in(struct env *env, struct proxy_answer *login, uint32_t timeout_ms)
{
    proxy_client_ask(&env->client, login, RPC_USER_LOGIN, timeout_ms);
    env_wait(&env->proxy.base, &env->proxy.is_asked);
    assert_false(login->is_there);
    assert_int_equal(env->proxy.nsets_here, 1);
}

/* What was on its way has come. */
static void settle(struct env *env)
{
    struct proxy_answer ping;

    proxy_client_ask(&env->client, &ping, RPC_PROXY_PING, 5000);
    env_wait(&env->proxy.base, &ping.is_there);
    assert_int_equal(ping.status, RPC_STATUS_OK);
}

static int setup(void **state)
{
    struct env *env = calloc(1, sizeof *env);

    proxy_env_init(&env->proxy);
    proxy_client_come(&env->proxy, &env->client);
    *state = env;
    return 0;
}

static int teardown(void **state)
{
    struct env *env = *state;

    if (!env->client.is_closed)
        rpc_link_close(env->client.link, BT_OK);
    env_wait(&env->proxy.base, &env->client.is_closed);
    proxy_env_deinit(&env->proxy);
    free(env);
    return 0;
}

/* ---- the tests ---- */

static void a_login_waits_until_presence_is_written(void **state)
{
    struct env *env = *state;
    struct proxy_answer login;

    log_in(env, &login, 10000);
    for (int i = 0; i < 5; i++)
        net_loop_turn(env->proxy.base.loop, 10);
    assert_false(login.is_there);
    proxy_env_answer(&env->proxy, BT_OK);
    env_wait(&env->proxy.base, &login.is_there);
    assert_int_equal(login.status, RPC_STATUS_OK);
    settle(env);
    assert_int_equal(env->client.resyncs, 0);
}

static void a_presence_that_is_away_lets_everybody_in(void **state)
{
    struct env *env = *state;
    struct proxy_answer login;

    log_in(env, &login, 10000);
    proxy_env_answer(&env->proxy, BT_EDOWN);
    env_wait(&env->proxy.base, &login.is_there);
    assert_int_equal(login.status, RPC_STATUS_OK);
}

static void a_presence_that_never_answers_delays_a_login_by_a_second(void **state)
{
    struct env *env = *state;
    struct proxy_answer login;
    uint64_t began_ms, took_ms;

    began_ms = net_now_ms(env->proxy.base.loop);
    log_in(env, &login, 10000);
    env_wait(&env->proxy.base, &login.is_there);
    took_ms = net_now_ms(env->proxy.base.loop) - began_ms;
    assert_int_equal(login.status, RPC_STATUS_OK);
    assert_in_range(took_ms, PROMISE_MS, 3 * (PROMISE_MS + SLACK_MS));
    settle(env); /* the connection takes calls again */
    assert_int_equal(env->client.resyncs, 0);
    assert_int_equal(env->proxy.nkept, 1);
}

static void a_login_is_answered_within_its_deadline_though_presence_never_answers(void **state)
{
    struct env *env = *state;
    struct proxy_answer login;

    log_in(env, &login, 1200);
    env_wait(&env->proxy.base, &login.is_there);
    assert_int_equal(login.status, RPC_STATUS_OK); /* not DEADLINE_EXCEEDED, which the client's own link would say */
    settle(env);
}

static void who_was_let_in_compares_once_presence_is_written(void **state)
{
    struct env *env = *state;
    struct proxy_answer login;

    log_in(env, &login, 800);
    env_wait(&env->proxy.base, &login.is_there);
    settle(env);
    assert_int_equal(env->client.resyncs, 0);
    proxy_env_answer(&env->proxy, BT_OK);
    settle(env);
    assert_int_equal(env->client.resyncs, 1);
}

static void who_was_let_in_and_has_gone_is_not_missed_by_the_late_answer(void **state)
{
    struct env *env = *state;
    struct proxy_answer login;

    log_in(env, &login, 800);
    env_wait(&env->proxy.base, &login.is_there);
    rpc_link_close(env->client.link, BT_OK);
    env_wait(&env->proxy.base, &env->client.is_closed);
    while (env->proxy.nsets_gone == 0)
        net_loop_turn(env->proxy.base.loop, 10);
    proxy_env_answer(&env->proxy, BT_OK);
    assert_int_equal(env->proxy.nsets_here, 1);
}

static void who_goes_while_presence_is_silent_leaves_nothing_behind(void **state)
{
    struct env *env = *state;
    struct proxy_answer login;

    log_in(env, &login, 10000);
    rpc_link_cancel(&login.out);
    rpc_link_close(env->client.link, BT_OK);
    env_wait(&env->proxy.base, &env->client.is_closed);
    while (env->proxy.nsets_gone == 0)
        net_loop_turn(env->proxy.base.loop, 10);
    proxy_env_answer(&env->proxy, BT_OK);
    assert_int_equal(env->proxy.nkept, 0);
}

/* The proxy asks for ended sessions next in the midst of the second for which a login that begins now waits. */
static void get_between_two_looks_at_ended_sessions(struct env *env)
{
    while (env->proxy.ended_asked_ms == 0 ||
           net_now_ms(env->proxy.base.loop) < env->proxy.ended_asked_ms + ENDED_EVERY_MS / 2)
        net_loop_turn(env->proxy.base.loop, 10);
}

/* As when the password is changed while presence is away. */
static void a_login_whose_session_ends_while_presence_is_silent_is_refused(void **state)
{
    struct env *env = *state;
    struct proxy_answer login;

    env->proxy.has_ended = true;
    get_between_two_looks_at_ended_sessions(env);
    log_in(env, &login, 10000);
    env_wait(&env->proxy.base, &login.is_there);
    assert_int_equal(login.status, RPC_STATUS_UNAUTHENTICATED);
    env_wait(&env->proxy.base, &env->client.is_closed);
    assert_int_equal(env->client.ends, 1);
    assert_int_equal(env->proxy.nkept, 1);
}

/* Ending, a proxy answers what it took; who is told that his session has ended would throw it away. */
static void a_login_is_let_in_by_a_proxy_that_drains(void **state)
{
    struct env *env = *state;
    struct proxy_answer login;
    bool is_drained = false;

    log_in(env, &login, 2000);
    role_proxy.drain(env->proxy.proxy, proxy_env_set_flag, &is_drained);
    env_wait(&env->proxy.base, &login.is_there);
    assert_int_equal(login.status, RPC_STATUS_OK);
    proxy_env_answer(&env->proxy, BT_OK);
    env_wait(&env->proxy.base, &env->client.is_closed);
    proxy_env_wait(&env->proxy, &is_drained);
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
