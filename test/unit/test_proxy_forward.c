/*
 * test/unit/test_proxy_forward.c: answers that carry a push through the proxy: the caller gets his part, the others theirs, whether
 * the chat role is in the process or behind a socket, and whether the caller is still there or not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "net/loop.h"
#include "proto/methods.h"
#include "rpc/link_internal.h"
#include "rpc/push.h"
#include "rpc/status.h"
#include "test/unit/proxy_env.h"

enum { LIMIT_MS = 10000, SEQ = 5 };

struct env {
    struct proxy_env proxy;
    struct proxy_client ann, ben;
    bool keeps, is_odd;          /* what the chat role does with a call */
    struct rpc_call *kept[2];
    size_t nkept, ndead;
};

/* ---- the chat role ---- */

/* With a push to both, but for Ann's session, which has the answer. */
static void answer(struct env *env, struct rpc_call *call)
{
    static const uint64_t users[] = { PROXY_ENV_USER, PROXY_ENV_USER + 1 };
    static const uint8_t bytes[] = { 0, 0, 0, 9, 'x' };
    const struct rpc_bytes odd = rpc_bytes(bytes, sizeof bytes);
    const PushEvent push = { .users = rpc_bytes(users, sizeof users), .method = RPC_ON_MESSAGE, .event = rpc_bytes("x", 1),
                             .except_session = 1 };

    if (env->is_odd)
        assert_int_equal(rpc_call_answer(call, RPC_STATUS_OK, RPC_FLAG_PUSHED, &odd, 1), BT_OK);
    else
        assert_int_equal(rpc_reply_with_push(call, &(SendReply){ .seq = SEQ }, &push), BT_OK);
}

/* The caller has left. The other call of his is answered before it is known that he waits for that no more either. */
static void caller_died(void *arg)
{
    struct env *env = arg;

    env->ndead++;
    for (size_t i = 0; i < env->nkept; i++) {
        if (rpc_call_is_dead(env->kept[i]))
            rpc_fail(env->kept[i], BT_ECANCELLED, NULL);
        else
            answer(env, env->kept[i]);
    }
    env->nkept = 0;
}

static void fake_send(struct rpc_call *call, const void *msg, void *self)
{
    struct env *env = self;

    (void)msg;
    if (!env->keeps) {
        answer(env, call);
        return;
    }
    assert_true(env->nkept < 2);
    rpc_call_on_dead(call, caller_died, env);
    env->kept[env->nkept++] = call;
}

static const struct rpc_method fake_chat[] = { { RPC_CHAT_SEND, fake_send }, { 0, NULL } };

/* ---- two clients ---- */

static int setup_with(void **state, const char *setting)
{
    struct env *env = calloc(1, sizeof *env);

    env->proxy.setting = setting;
    env->proxy.chat = fake_chat;
    proxy_env_init(&env->proxy);
    proxy_client_log_in(&env->proxy, &env->ann);
    proxy_client_log_in(&env->proxy, &env->ben);
    *state = env;
    return 0;
}

static int setup_direct(void **state)
{
    return setup_with(state, "rpc.local=direct");
}

static int setup_socket(void **state)
{
    return setup_with(state, "rpc.local=socket");
}

static int teardown(void **state)
{
    struct env *env = *state;

    if (!env->ann.is_closed)
        proxy_client_go(&env->proxy, &env->ann);
    proxy_client_go(&env->proxy, &env->ben);
    proxy_env_deinit(&env->proxy);
    free(env);
    return 0;
}

static void ask(struct env *env, struct proxy_answer *a)
{
    proxy_client_ask(&env->ann, a, RPC_CHAT_SEND, 5000);
}

static void turn_for(struct env *env, uint32_t ms)
{
    uint64_t due_ms = net_now_ms(env->proxy.base.loop) + ms;

    while (net_now_ms(env->proxy.base.loop) < due_ms)
        proxy_env_turn(&env->proxy);
}

static void wait_count(struct env *env, const size_t *count, size_t n)
{
    uint64_t due_ms = net_now_ms(env->proxy.base.loop) + LIMIT_MS;

    while (*count < n && net_now_ms(env->proxy.base.loop) < due_ms)
        proxy_env_turn(&env->proxy);
    assert_true(*count >= n);
}

static void wait_pushes(struct env *env, int n)
{
    uint64_t due_ms = net_now_ms(env->proxy.base.loop) + LIMIT_MS;

    while (env->ben.pushes < n && net_now_ms(env->proxy.base.loop) < due_ms)
        proxy_env_turn(&env->proxy);
    turn_for(env, 20);
    assert_int_equal(env->ben.pushes, n);
    assert_int_equal(env->ann.pushes, 0);
}

/* Two calls of hers are at the chat role when she leaves; one is answered after that. */
static void leave_with_an_answer_under_way(struct env *env)
{
    struct proxy_answer first, second;

    env->keeps = true;
    ask(env, &first);
    ask(env, &second);
    wait_count(env, &env->nkept, 2);
    proxy_client_go(&env->proxy, &env->ann);
    wait_count(env, &env->ndead, 1);
}

/* ---- the tests ---- */

static void the_caller_gets_the_answer_and_the_others_the_push(void **state)
{
    struct env *env = *state;

    for (int n = 1; n <= 3; n++) {
        struct proxy_answer a;
        SendReply reply = { 0 };
        ask(env, &a);
        proxy_env_wait(&env->proxy, &a.is_there);
        assert_int_equal(a.status, RPC_STATUS_OK);
        assert_int_equal(rpc_decode(SendReply_fields, a.payload, a.len, &reply), BT_OK);
        assert_int_equal(reply.seq, SEQ);
        wait_pushes(env, n);
    }
}

static void the_others_get_the_push_though_the_caller_has_left(void **state)
{
    struct env *env = *state;

    leave_with_an_answer_under_way(env);
    wait_pushes(env, 1);
    assert_int_equal(env->ndead, 1);
}

static void an_answer_that_is_no_answer_and_push_is_an_error(void **state)
{
    struct env *env = *state;
    struct proxy_answer a;

    env->is_odd = true;
    ask(env, &a);
    proxy_env_wait(&env->proxy, &a.is_there);
    assert_int_equal(a.status, RPC_STATUS_INTERNAL);
    env->is_odd = false; /* and costs nothing else */
    ask(env, &a);
    proxy_env_wait(&env->proxy, &a.is_there);
    assert_int_equal(a.status, RPC_STATUS_OK);
    wait_pushes(env, 1);
}

static void nobody_hears_of_one_whose_caller_has_left(void **state)
{
    struct env *env = *state;

    env->is_odd = true;
    leave_with_an_answer_under_way(env);
    turn_for(env, 50);
    assert_int_equal(env->ben.pushes, 0);
    assert_false(env->ben.is_closed);
}

#define BOTH(name)                                                                                                                        \
    { #name ", direct", name, setup_direct, teardown, NULL }, { #name ", socket", name, setup_socket, teardown, NULL }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(the_caller_gets_the_answer_and_the_others_the_push),
        BOTH(the_others_get_the_push_though_the_caller_has_left),
        BOTH(an_answer_that_is_no_answer_and_push_is_an_error),
        BOTH(nobody_hears_of_one_whose_caller_has_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
