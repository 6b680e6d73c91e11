/* test/unit/user_aid.c: the user role over a store of its own, and devices that register and log in at it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/log.h"
#include "test/unit/log_aid.h"
#include "test/unit/user_aid.h"

const struct proxy_from nobody = { 0 };

int user_setup_with(void **state, const char *const *settings)
{
    struct proxy_aid *aid = malloc(sizeof *aid);
    log_nothing();
    proxy_aid_init(aid, &role_user);
    env_set(&aid->env, "user.hash_ops=1");
    env_set(&aid->env, "user.hash_memory=8");
    while (settings && *settings)
        env_set(&aid->env, *settings++);
    proxy_aid_start(aid);
    *state = aid;
    return 0;
}

int user_setup(void **state)
{
    return user_setup_with(state, NULL);
}

int user_teardown(void **state)
{
    struct proxy_aid *aid = *state;
    proxy_aid_deinit(aid);
    free(aid);
    log_set_sink(NULL, NULL);
    return 0;
}

enum rpc_status enrol(struct proxy_aid *aid, const char *name, const char *password, uint64_t *id_out)
{
    RegisterRequest req = { .name = rpc_str(name), .password = rpc_str(password) };
    RegisterReply reply = { 0 };
    enum rpc_status status = proxy_aid_call(aid, RPC_USER_REGISTER, nobody, &req, &reply);
    if (id_out)
        *id_out = reply.user_id;
    return status;
}

static void device_of(struct device *d, const LoginReply *reply)
{
    d->user_id = reply->user_id;
    d->session_id = reply->session_id;
    assert_in_range(reply->token.len, 1, TOKEN_MAX);
    memcpy(d->token, reply->token.data, d->token_len = reply->token.len);
    memcpy(d->name, reply->name.data, reply->name.len);
    d->name[reply->name.len] = '\0';
}

enum rpc_status log_in(struct proxy_aid *aid, const char *name, const char *password, uint64_t device_id, struct device *d)
{
    LoginRequest req = { .name = rpc_str(name), .password = rpc_str(password), .device_id = device_id, .device = rpc_str("a phone") };
    LoginReply reply;
    enum rpc_status status = proxy_aid_call(aid, RPC_USER_LOGIN, nobody, &req, &reply);
    if (status == RPC_STATUS_OK && d)
        device_of(d, &reply);
    return status;
}

enum rpc_status resume(struct proxy_aid *aid, const struct device *d, struct device *out)
{
    ResumeRequest req = { .token = rpc_bytes(d->token, d->token_len) };
    LoginReply reply;
    enum rpc_status status = proxy_aid_call(aid, RPC_USER_RESUME, nobody, &req, &reply);
    if (status == RPC_STATUS_OK && out)
        device_of(out, &reply);
    return status;
}

struct proxy_from device_from(const struct device *d)
{
    return (struct proxy_from){ .caller = d->user_id, .session = d->session_id };
}

void enter(struct proxy_aid *aid, struct device *d)
{
    assert_int_equal(enrol(aid, "Ann", "password1", NULL), RPC_STATUS_OK);
    assert_int_equal(log_in(aid, "Ann", "password1", 5, d), RPC_STATUS_OK);
}

enum rpc_status change_password(struct proxy_aid *aid, const struct device *d, const char *old, const char *new)
{
    ChangePasswordRequest req = { .old_password = rpc_str(old), .new_password = rpc_str(new) };
    return proxy_aid_call(aid, RPC_USER_CHANGE_PASSWORD, device_from(d), &req, NULL);
}

void wait_until_refused(struct proxy_aid *aid, const struct device *d)
{
    enum rpc_status status = RPC_STATUS_OK;
    uint64_t end_us = net_clock_us() + 2 * 1000000; /* what is promised */
    while (net_clock_us() < end_us && (status = resume(aid, d, NULL)) == RPC_STATUS_OK)
        net_loop_turn(aid->env.loop, 50);
    assert_int_equal(status, RPC_STATUS_UNAUTHENTICATED);
}
