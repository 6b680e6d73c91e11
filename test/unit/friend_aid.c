/* test/unit/friend_aid.c: the friend role over a real store, beside a chat role that records. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/log.h"
#include "rpc/bytes.h"
#include "rpc/rpc.h"
#include "test/unit/friend_aid.h"
#include "test/unit/log_aid.h"
#include "test/unit/seed.h"

/* ---- a chat role that records ---- */

static void fake_notify(struct rpc_call *call, const void *msg, void *self)
{
    const PushEvent *e = msg;
    struct friend_env *env = self;
    (void)call;

    assert_true(e->users.len / 8 <= 500);
    for (size_t i = 0; i < e->users.len / 8; i++)
        env->told[env->ntold++] = rpc_bytes_u64(e->users, i);
    assert_true(env->npushes < PUSHES_MAX);
    struct friend_push *p = &env->pushes[env->npushes++];
    *p = (struct friend_push){ .nusers = e->users.len / 8, .method = e->method, .except_session = e->except_session };
    for (size_t i = 0; i < p->nusers && i < 4; i++)
        p->users[i] = rpc_bytes_u64(e->users, i);
    if (e->method == RPC_ON_FRIEND) {
        FriendEvent f = { 0 };
        assert_int_equal(rpc_decode(FriendEvent_fields, e->event.data, e->event.len, &f), BT_OK);
        p->about = f.user_id;
        p->state = f.state;
        memcpy(p->name, f.name.data, f.name.len);
    } else {
        PresenceEvent f = { 0 };
        assert_int_equal(e->method, RPC_ON_PRESENCE);
        assert_int_equal(rpc_decode(PresenceEvent_fields, e->event.data, e->event.len, &f), BT_OK);
        p->about = f.user_id;
        p->is_online = f.online;
    }
}

static void fake_drop_rights(struct rpc_call *call, const void *msg, void *self)
{
    struct friend_env *env = self;
    (void)msg;

    env->drops++;
    env->drop_caller = rpc_call_header(call)->caller;
    env->drop_target = rpc_call_header(call)->target;
    if (env->drop_err != BT_OK)
        rpc_fail(call, env->drop_err, NULL);
    else
        rpc_reply(call, &(DropRightsReply){ 0 });
}

static void fake_who_is_online(struct rpc_call *call, const void *msg, void *self)
{
    const WhoIsOnlineRequest *req = msg;
    struct friend_env *env = self;
    uint8_t ids[32] = { 0 };

    env->nasked = req->users.len / 8;
    if (env->online_err != BT_OK) {
        rpc_fail(call, env->online_err, NULL);
        return;
    }
    for (size_t i = 0; i < env->nonline; i++)
        ids[8 * i] = (uint8_t)env->online[i];
    rpc_reply(call, &(WhoIsOnlineReply){ .users = rpc_bytes(ids, 8 * env->nonline) });
}

static const struct rpc_method fake_methods[] = {
    { RPC_CHAT_NOTIFY, fake_notify },
    { RPC_CHAT_WHO_IS_ONLINE, fake_who_is_online },
    { RPC_CHAT_DROP_RIGHTS, fake_drop_rights },
    { 0, NULL },
};

/* ---- the role ---- */

int friend_setup_with(void **state, const char *const *settings)
{
    struct friend_env *env = calloc(1, sizeof *env);
    struct proxy_aid *aid = &env->aid;

    log_nothing();
    proxy_aid_init(aid, &role_friend);
    conf_declare(aid->env.conf, rpc_keys);
    conf_declare(aid->env.conf, registry_keys);
    while (settings && *settings)
        env_set(&aid->env, *settings++);
    assert_int_equal(rpc_new(aid->env.loop, aid->env.conf, &aid->rpc, aid->env.why, sizeof aid->env.why), BT_OK);
    proxy_aid_start(aid);
    rpc_serve(aid->rpc, RPC_ROLE_FRIEND, role_friend.methods, aid->self);
    rpc_serve(aid->rpc, RPC_ROLE_CHAT, fake_methods, env);
    rpc_start(aid->rpc);
    seed_account(&aid->env, ANN, "Ann");
    seed_account(&aid->env, BOB, "Bob");
    seed_account(&aid->env, CAROL, "Carol");
    seed_group(&aid->env, GROUP, ANN, "a group", 0);
    *state = env;
    return 0;
}

int friend_setup(void **state)
{
    return friend_setup_with(state, NULL);
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

int friend_teardown(void **state)
{
    struct friend_env *env = *state;
    bool is_closed = false;
    proxy_aid_stop(&env->aid);
    rpc_close(env->aid.rpc, set_flag, &is_closed);
    env_wait(&env->aid.env, &is_closed);
    proxy_aid_deinit(&env->aid);
    free(env);
    log_set_sink(NULL, NULL);
    return 0;
}

/* ---- doing and looking ---- */

enum rpc_status act(struct friend_env *env, uint16_t method, uint64_t who, uint64_t whom, FriendReply *reply_out)
{
    FriendReply reply;
    env->npushes = env->ntold = 0;
    env->drops = 0;
    enum rpc_status status = proxy_aid_call(&env->aid, method, (struct proxy_from){ who, whom, who * 10 }, &(BlockRequest){ 0 },
                                            reply_out ? reply_out : &reply);
    net_loop_turn(env->aid.env.loop, 0); /* events that are still on their way */
    net_loop_turn(env->aid.env.loop, 0);
    return status;
}

const struct friend_push *push_to(const struct friend_env *env, uint64_t user)
{
    for (size_t i = 0; i < env->npushes; i++)
        if (env->pushes[i].nusers == 1 && env->pushes[i].users[0] == user)
            return &env->pushes[i];
    return NULL;
}

void assert_pushed(const struct friend_env *env, uint64_t to, uint64_t about, const char *name, FriendState state, uint64_t except)
{
    const struct friend_push *p = push_to(env, to);
    assert_non_null(p);
    assert_int_equal(p->method, RPC_ON_FRIEND);
    assert_int_equal(p->about, about);
    assert_string_equal(p->name, name);
    assert_int_equal(p->state, state);
    assert_int_equal(p->except_session, except);
}

void befriend(struct friend_env *env, uint64_t a, uint64_t b)
{
    assert_acts(env, RPC_FRIEND_ADD_FRIEND, a, b, FriendState_REQUEST_SENT, false);
    assert_acts(env, RPC_FRIEND_ACCEPT_FRIEND, b, a, FriendState_FRIENDS, false);
}

int64_t friend_rows(struct friend_env *env)
{
    return env_int(&env->aid.env, "SELECT COUNT(*) FROM friend");
}
