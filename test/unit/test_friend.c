/* test/unit/test_friend.c: requests, friendships, blocks and presence, over a real store, beside a chat role that records. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/log.h"
#include "proto/client.pb.h"
#include "proto/methods.h"
#include "proto/node.pb.h"
#include "proto/stubs.h"
#include "rpc/bytes.h"
#include "test/unit/proxy_aid.h"
#include "test/unit/seed.h"

enum { ANN = 10, BOB = 20, CAROL = 30, GROUP = 40, PUSHES_MAX = 16, ALL_MAX = 2000 };

struct push {
    uint64_t users[4];
    size_t nusers;
    uint32_t method;
    uint64_t except_session;
    uint64_t about;        /* FriendEvent, PresenceEvent: user_id */
    FriendState state;
    bool is_online;
    char name[16];
};

struct env {
    struct proxy_aid aid;
    struct push pushes[PUSHES_MAX];
    size_t npushes;
    uint64_t told[ALL_MAX]; /* every user that a push went to */
    size_t ntold;
    int drops;             /* DropRights that came */
    uint64_t drop_caller, drop_target;
    enum bt_err drop_err;  /* what it is answered */
    uint64_t online[4];    /* who is */
    size_t nonline, nasked;
    enum bt_err online_err;
};

/* ---- a chat role that records ---- */

static void fake_notify(struct rpc_call *call, const void *msg, void *self)
{
    const PushEvent *e = msg;
    struct env *env = self;
    (void)call;

    assert_true(e->users.len / 8 <= 500);
    for (size_t i = 0; i < e->users.len / 8; i++)
        env->told[env->ntold++] = rpc_bytes_u64(e->users, i);
    assert_true(env->npushes < PUSHES_MAX);
    struct push *p = &env->pushes[env->npushes++];
    *p = (struct push){ .nusers = e->users.len / 8, .method = e->method, .except_session = e->except_session };
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
    struct env *env = self;
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
    struct env *env = self;
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

static void quiet(enum log_level level, const char *line, void *arg)
{
    (void)level, (void)line, (void)arg;
}

static int setup_with(void **state, const char *const *settings)
{
    struct env *env = calloc(1, sizeof *env);
    struct proxy_aid *aid = &env->aid;

    log_set_sink(quiet, NULL);
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

static int setup(void **state)
{
    return setup_with(state, NULL);
}

static int setup_two_friends(void **state)
{
    return setup_with(state, (const char *const[]){ "friend.max_friends=2", NULL });
}

static int setup_two_requests(void **state)
{
    return setup_with(state, (const char *const[]){ "friend.max_requests=2", NULL });
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

static int teardown(void **state)
{
    struct env *env = *state;
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

/* All of these have an empty request and the same reply. What was recorded before is forgotten. */
static enum rpc_status act(struct env *env, uint16_t method, uint64_t who, uint64_t whom, FriendReply *reply_out)
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

#define assert_acts(env, method, who, whom, want_state, want_blocked)                              \
    do {                                                                                           \
        FriendReply act_reply = { 0 };                                                             \
        assert_int_equal(act(env, method, who, whom, &act_reply), RPC_STATUS_OK);                  \
        assert_int_equal(act_reply.state, want_state);                                             \
        assert_int_equal(act_reply.blocked, want_blocked);                                         \
    } while (0)

static const struct push *push_to(const struct env *env, uint64_t user)
{
    for (size_t i = 0; i < env->npushes; i++)
        if (env->pushes[i].nusers == 1 && env->pushes[i].users[0] == user)
            return &env->pushes[i];
    return NULL;
}

static void assert_pushed(const struct env *env, uint64_t to, uint64_t about, const char *name, FriendState state, uint64_t except)
{
    const struct push *p = push_to(env, to);
    assert_non_null(p);
    assert_int_equal(p->method, RPC_ON_FRIEND);
    assert_int_equal(p->about, about);
    assert_string_equal(p->name, name);
    assert_int_equal(p->state, state);
    assert_int_equal(p->except_session, except);
}

static void befriend(struct env *env, uint64_t a, uint64_t b)
{
    assert_acts(env, RPC_FRIEND_ADD_FRIEND, a, b, FriendState_REQUEST_SENT, false);
    assert_acts(env, RPC_FRIEND_ACCEPT_FRIEND, b, a, FriendState_FRIENDS, false);
}

static int64_t rows(struct env *env)
{
    return env_int(&env->aid.env, "SELECT COUNT(*) FROM friend");
}

/* ---- requests and friendships ---- */

static void a_request_is_accepted(void **state)
{
    struct env *env = *state;

    assert_acts(env, RPC_FRIEND_ADD_FRIEND, ANN, BOB, FriendState_REQUEST_SENT, false);
    assert_int_equal(env->npushes, 2);
    assert_pushed(env, ANN, BOB, "Bob", FriendState_REQUEST_SENT, ANN * 10);
    assert_pushed(env, BOB, ANN, "Ann", FriendState_REQUEST_RECEIVED, 0);
    assert_int_equal(env->drops, 0); /* nobody's rights changed */
    assert_acts(env, RPC_FRIEND_ACCEPT_FRIEND, BOB, ANN, FriendState_FRIENDS, false);
    assert_pushed(env, ANN, BOB, "Bob", FriendState_FRIENDS, 0);
    assert_pushed(env, BOB, ANN, "Ann", FriendState_FRIENDS, BOB * 10);
    assert_int_equal(env->drops, 1);
    assert_true(env->drop_caller == BOB && env->drop_target == ANN);
    assert_int_equal(env_int(&env->aid.env, "SELECT COUNT(*) FROM friend WHERE state = 3"), 2);
}

static void what_stands_already_is_ok_and_silent(void **state)
{
    struct env *env = *state;

    assert_acts(env, RPC_FRIEND_ADD_FRIEND, ANN, BOB, FriendState_REQUEST_SENT, false);
    assert_acts(env, RPC_FRIEND_ADD_FRIEND, ANN, BOB, FriendState_REQUEST_SENT, false);
    assert_int_equal(env->npushes, 0);
    assert_acts(env, RPC_FRIEND_ACCEPT_FRIEND, BOB, ANN, FriendState_FRIENDS, false);
    assert_acts(env, RPC_FRIEND_ACCEPT_FRIEND, BOB, ANN, FriendState_FRIENDS, false);
    assert_int_equal(env->npushes, 0);
    assert_acts(env, RPC_FRIEND_ADD_FRIEND, BOB, ANN, FriendState_FRIENDS, false);
    assert_int_equal(env->npushes, 0);
    assert_acts(env, RPC_FRIEND_REMOVE_FRIEND, ANN, BOB, FriendState_NO_FRIEND, false);
    assert_int_equal(env->npushes, 2);
    assert_int_equal(env->drops, 1);
    assert_acts(env, RPC_FRIEND_REMOVE_FRIEND, ANN, BOB, FriendState_NO_FRIEND, false);
    assert_int_equal(env->npushes, 0);
    assert_acts(env, RPC_FRIEND_DECLINE_FRIEND, ANN, BOB, FriendState_NO_FRIEND, false);
    assert_int_equal(env->npushes, 0);
    assert_int_equal(rows(env), 0); /* rows that would say nothing are gone */
}

static void a_crossing_request_is_an_accept(void **state)
{
    struct env *env = *state;
    struct proxy_call calls[2];
    FriendReply replies[2];

    assert_acts(env, RPC_FRIEND_ADD_FRIEND, ANN, BOB, FriendState_REQUEST_SENT, false);
    assert_acts(env, RPC_FRIEND_ADD_FRIEND, BOB, ANN, FriendState_FRIENDS, false);

    /* At the very same time, on both sides. */
    proxy_aid_begin(&env->aid, &calls[0], RPC_FRIEND_ADD_FRIEND, (struct proxy_from){ ANN, CAROL, 1 }, &(AddFriendRequest){ 0 }, &replies[0]);
    proxy_aid_begin(&env->aid, &calls[1], RPC_FRIEND_ADD_FRIEND, (struct proxy_from){ CAROL, ANN, 2 }, &(AddFriendRequest){ 0 }, &replies[1]);
    assert_int_equal(proxy_aid_wait(&calls[0]), RPC_STATUS_OK);
    assert_int_equal(proxy_aid_wait(&calls[1]), RPC_STATUS_OK);
    assert_true(replies[0].state == FriendState_FRIENDS || replies[1].state == FriendState_FRIENDS);
    assert_int_equal(env_int(&env->aid.env, "SELECT COUNT(*) FROM friend WHERE state = 3"), 4);
}

static void a_request_is_declined_or_taken_back(void **state)
{
    struct env *env = *state;

    assert_acts(env, RPC_FRIEND_ADD_FRIEND, ANN, BOB, FriendState_REQUEST_SENT, false);
    assert_acts(env, RPC_FRIEND_DECLINE_FRIEND, BOB, ANN, FriendState_NO_FRIEND, false);
    assert_pushed(env, ANN, BOB, "Bob", FriendState_NO_FRIEND, 0);
    assert_int_equal(act(env, RPC_FRIEND_ACCEPT_FRIEND, BOB, ANN, NULL), RPC_STATUS_FAILED_PRECONDITION);
    assert_acts(env, RPC_FRIEND_ADD_FRIEND, ANN, BOB, FriendState_REQUEST_SENT, false);
    assert_int_equal(act(env, RPC_FRIEND_ACCEPT_FRIEND, ANN, BOB, NULL), RPC_STATUS_FAILED_PRECONDITION); /* one's own */
    assert_acts(env, RPC_FRIEND_REMOVE_FRIEND, ANN, BOB, FriendState_REQUEST_SENT, false); /* is no friendship */
    assert_acts(env, RPC_FRIEND_DECLINE_FRIEND, ANN, BOB, FriendState_NO_FRIEND, false);
    assert_int_equal(rows(env), 0);
    befriend(env, ANN, BOB);
    assert_int_equal(act(env, RPC_FRIEND_DECLINE_FRIEND, ANN, BOB, NULL), RPC_STATUS_FAILED_PRECONDITION);
}

static void the_target_must_be_another_user(void **state)
{
    struct env *env = *state;
    static const uint16_t methods[] = { RPC_FRIEND_ADD_FRIEND, RPC_FRIEND_ACCEPT_FRIEND, RPC_FRIEND_DECLINE_FRIEND,
                                        RPC_FRIEND_REMOVE_FRIEND, RPC_FRIEND_BLOCK, RPC_FRIEND_UNBLOCK };

    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        assert_int_equal(act(env, methods[i], ANN, ANN, NULL), RPC_STATUS_INVALID_ARGUMENT);
        assert_int_equal(act(env, methods[i], ANN, 0, NULL), RPC_STATUS_INVALID_ARGUMENT);
        assert_int_equal(act(env, methods[i], ANN, GROUP | RPC_TARGET_GROUP, NULL), RPC_STATUS_INVALID_ARGUMENT);
    }
    assert_int_equal(act(env, RPC_FRIEND_ADD_FRIEND, ANN, GROUP, NULL), RPC_STATUS_NOT_FOUND); /* ids are one range */
    assert_int_equal(act(env, RPC_FRIEND_ADD_FRIEND, ANN, 99, NULL), RPC_STATUS_NOT_FOUND);
    assert_int_equal(act(env, RPC_FRIEND_BLOCK, ANN, 99, NULL), RPC_STATUS_NOT_FOUND);
    assert_int_equal(act(env, RPC_FRIEND_ACCEPT_FRIEND, ANN, 99, NULL), RPC_STATUS_FAILED_PRECONDITION);
    assert_acts(env, RPC_FRIEND_REMOVE_FRIEND, ANN, 99, FriendState_NO_FRIEND, false);
    assert_int_equal(rows(env), 0);
}

static void friends_are_limited_on_both_sides(void **state)
{
    struct env *env = *state;

    seed_account(&env->aid.env, 50, "Dan");
    befriend(env, ANN, BOB);
    befriend(env, CAROL, ANN);
    assert_int_equal(act(env, RPC_FRIEND_ADD_FRIEND, ANN, 50, NULL), RPC_STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(act(env, RPC_FRIEND_ADD_FRIEND, 50, ANN, NULL), RPC_STATUS_RESOURCE_EXHAUSTED);
    assert_acts(env, RPC_FRIEND_ADD_FRIEND, BOB, ANN, FriendState_FRIENDS, false); /* stands already */
    assert_acts(env, RPC_FRIEND_ADD_FRIEND, CAROL, BOB, FriendState_REQUEST_SENT, false);
    assert_acts(env, RPC_FRIEND_ADD_FRIEND, BOB, 50, FriendState_REQUEST_SENT, false); /* what one sent counts */
    assert_int_equal(act(env, RPC_FRIEND_ACCEPT_FRIEND, BOB, CAROL, NULL), RPC_STATUS_RESOURCE_EXHAUSTED);
    assert_acts(env, RPC_FRIEND_DECLINE_FRIEND, BOB, 50, FriendState_NO_FRIEND, false);
    assert_acts(env, RPC_FRIEND_ACCEPT_FRIEND, BOB, CAROL, FriendState_FRIENDS, false);
}

static void requests_that_wait_for_an_answer_are_limited(void **state)
{
    struct env *env = *state;

    for (uint64_t id = 50; id < 54; id++)
        seed_account(&env->aid.env, id, "someone");
    assert_acts(env, RPC_FRIEND_ADD_FRIEND, 50, ANN, FriendState_REQUEST_SENT, false);
    assert_acts(env, RPC_FRIEND_ADD_FRIEND, 51, ANN, FriendState_REQUEST_SENT, false);
    assert_int_equal(act(env, RPC_FRIEND_ADD_FRIEND, 52, ANN, NULL), RPC_STATUS_RESOURCE_EXHAUSTED);
    assert_acts(env, RPC_FRIEND_ADD_FRIEND, 51, ANN, FriendState_REQUEST_SENT, false); /* stands already */
    assert_acts(env, RPC_FRIEND_ADD_FRIEND, ANN, 53, FriendState_REQUEST_SENT, false);
    assert_acts(env, RPC_FRIEND_ADD_FRIEND, 53, ANN, FriendState_FRIENDS, false);      /* waits for nothing */
    assert_acts(env, RPC_FRIEND_DECLINE_FRIEND, ANN, 50, FriendState_NO_FRIEND, false);
    assert_acts(env, RPC_FRIEND_ADD_FRIEND, 52, ANN, FriendState_REQUEST_SENT, false);
}

/* ---- blocks ---- */

static void a_block_ends_the_friendship_and_drops_the_rights(void **state)
{
    struct env *env = *state;

    befriend(env, ANN, BOB);
    assert_acts(env, RPC_FRIEND_BLOCK, ANN, BOB, FriendState_NO_FRIEND, true);
    assert_int_equal(env->drops, 1);
    assert_true(env->drop_caller == ANN && env->drop_target == BOB);
    assert_pushed(env, ANN, BOB, "Bob", FriendState_NO_FRIEND, ANN * 10);
    assert_pushed(env, BOB, ANN, "Ann", FriendState_NO_FRIEND, 0); /* he sees the end of a friendship */
    assert_int_equal(act(env, RPC_FRIEND_ADD_FRIEND, BOB, ANN, NULL), RPC_STATUS_PERMISSION_DENIED);
    assert_int_equal(act(env, RPC_FRIEND_ADD_FRIEND, ANN, BOB, NULL), RPC_STATUS_PERMISSION_DENIED);
    assert_acts(env, RPC_FRIEND_UNBLOCK, ANN, BOB, FriendState_NO_FRIEND, false);
    assert_int_equal(env->drops, 1);
    assert_null(push_to(env, BOB));
    assert_acts(env, RPC_FRIEND_ADD_FRIEND, BOB, ANN, FriendState_REQUEST_SENT, false);
}

static void a_stranger_does_not_see_that_he_is_blocked(void **state)
{
    struct env *env = *state;

    assert_acts(env, RPC_FRIEND_BLOCK, ANN, BOB, FriendState_NO_FRIEND, true);
    assert_null(push_to(env, BOB));
    assert_int_equal(rows(env), 1);
    assert_acts(env, RPC_FRIEND_BLOCK, BOB, ANN, FriendState_NO_FRIEND, true); /* each his own */
    assert_acts(env, RPC_FRIEND_UNBLOCK, ANN, BOB, FriendState_NO_FRIEND, false);
    assert_int_equal(act(env, RPC_FRIEND_ADD_FRIEND, ANN, BOB, NULL), RPC_STATUS_PERMISSION_DENIED);
    assert_int_equal(env_int(&env->aid.env, "SELECT user_id FROM friend WHERE blocked = 1"), BOB);
}

static void a_block_is_answered_only_when_it_is_in_force(void **state)
{
    struct env *env = *state;

    env->drop_err = BT_EINTERNAL;
    assert_int_equal(act(env, RPC_FRIEND_BLOCK, ANN, BOB, NULL), RPC_STATUS_UNKNOWN); /* written, and perhaps no more */
    assert_int_equal(rows(env), 1);
    env->drop_err = BT_OK;
    assert_acts(env, RPC_FRIEND_BLOCK, ANN, BOB, FriendState_NO_FRIEND, true);
    assert_int_equal(env->drops, 1); /* although nothing was left to write */
    assert_int_equal(env->npushes, 0);

    env->drop_err = BT_EINTERNAL;
    assert_int_equal(act(env, RPC_FRIEND_UNBLOCK, ANN, BOB, NULL), RPC_STATUS_UNKNOWN);
    assert_acts(env, RPC_FRIEND_ADD_FRIEND, ANN, BOB, FriendState_REQUEST_SENT, false);
    assert_acts(env, RPC_FRIEND_ACCEPT_FRIEND, BOB, ANN, FriendState_FRIENDS, false); /* does not depend on it */
}

static void many_changes_of_one_pair_at_once_leave_it_whole(void **state)
{
    struct env *env = *state;
    static const uint16_t methods[] = { RPC_FRIEND_ADD_FRIEND, RPC_FRIEND_ACCEPT_FRIEND, RPC_FRIEND_REMOVE_FRIEND,
                                        RPC_FRIEND_DECLINE_FRIEND, RPC_FRIEND_BLOCK, RPC_FRIEND_UNBLOCK };
    struct proxy_call calls[12];

    for (int round = 0; round < 30; round++) {
        for (int i = 0; i < 12; i++) {
            struct proxy_from who = i % 2 ? (struct proxy_from){ ANN, BOB, 1 } : (struct proxy_from){ BOB, ANN, 2 };
            proxy_aid_begin(&env->aid, &calls[i], methods[(round * 7 + i * (round + 1)) % 6], who, &(BlockRequest){ 0 }, NULL);
        }
        for (int i = 0; i < 12; i++) {
            enum rpc_status status = proxy_aid_wait(&calls[i]);
            assert_true(status == RPC_STATUS_OK || status == RPC_STATUS_FAILED_PRECONDITION ||
                        status == RPC_STATUS_PERMISSION_DENIED || status == RPC_STATUS_ABORTED);
        }
        env->npushes = env->ntold = 0;
        /* Each side's row says the same as the other's. */
        assert_int_equal(env_int(&env->aid.env, "SELECT COUNT(*) FROM friend a LEFT JOIN friend b ON b.user_id = a.peer_id AND "
                                                "b.peer_id = a.user_id WHERE a.state <> 0 AND COALESCE(b.state, 0) <> "
                                                "CASE a.state WHEN 1 THEN 2 WHEN 2 THEN 1 ELSE 3 END"), 0);
        assert_int_equal(env_int(&env->aid.env, "SELECT COUNT(*) FROM friend WHERE state <> 0 AND blocked = 1"), 0);
        assert_int_equal(env_int(&env->aid.env, "SELECT COUNT(*) FROM friend WHERE state = 0 AND blocked = 0"), 0);
    }
}

/* ---- lists and presence ---- */

static ListFriendsReply list(struct env *env, uint64_t who, uint64_t after, uint32_t limit)
{
    ListFriendsRequest req = { .after_user_id = after, .limit = limit };
    ListFriendsReply reply;
    assert_int_equal(proxy_aid_call(&env->aid, RPC_FRIEND_LIST_FRIENDS, (struct proxy_from){ who, 0, 1 }, &req, &reply), RPC_STATUS_OK);
    return reply;
}

static void the_list_tells_of_friends_whether_they_are_online(void **state)
{
    struct env *env = *state;

    seed_account(&env->aid.env, 50, "Dan");
    befriend(env, ANN, BOB);
    assert_acts(env, RPC_FRIEND_ADD_FRIEND, CAROL, ANN, FriendState_REQUEST_SENT, false);
    assert_acts(env, RPC_FRIEND_BLOCK, ANN, 50, FriendState_NO_FRIEND, true);
    env->online[0] = BOB;
    env->online[1] = CAROL; /* would be a leak: she is no friend */
    env->nonline = 2;
    ListFriendsReply reply = list(env, ANN, 0, 0);
    assert_int_equal(reply.friends_count, 3);
    assert_false(reply.more);
    assert_int_equal(env->nasked, 1);
    assert_true(reply.friends[0].user_id == BOB && reply.friends[0].state == FriendState_FRIENDS && reply.friends[0].online);
    assert_memory_equal(reply.friends[0].name.data, "Bob", 3);
    assert_true(reply.friends[0].changed_ms > 0);
    assert_true(reply.friends[1].user_id == CAROL && reply.friends[1].state == FriendState_REQUEST_RECEIVED && !reply.friends[1].online);
    assert_true(reply.friends[2].user_id == 50 && reply.friends[2].blocked && !reply.friends[2].online);
    proxy_aid_release(RPC_FRIEND_LIST_FRIENDS, &reply);

    reply = list(env, 50, 0, 0); /* who is blocked does not see it */
    assert_int_equal(reply.friends_count, 0);
    env->online_err = BT_EINTERNAL; /* presence is away */
    reply = list(env, ANN, 0, 0);
    assert_int_equal(reply.friends_count, 3);
    assert_false(reply.friends[0].online);
    proxy_aid_release(RPC_FRIEND_LIST_FRIENDS, &reply);
}

/* Ann's friends, 1000 .. 1000 + n - 1. */
static void seed_friends(struct env *env, int n)
{
    struct db_list *list_ = db_list_new(env->aid.env.db);
    for (int i = 0; i < n; i++) {
        const struct db_val account[] = { db_int(1000 + i), db_bytes("x", 1) };
        const struct db_val row[] = { db_int(ANN), db_int(1000 + i) };
        db_list_add(list_, "INSERT INTO account (user_id, name, password_hash, about, avatar, created_ms) VALUES (?, ?, '', '', '', 1)",
                    account, 2, 1);
        db_list_add(list_, "INSERT INTO friend (user_id, peer_id, state, blocked, changed_ms) VALUES (?, ?, 3, 0, 1)", row, 2, 1);
    }
    assert_int_equal(env_list(&env->aid.env, list_).err, BT_OK);
}

static void a_long_list_comes_in_pages(void **state)
{
    struct env *env = *state;
    uint64_t after = 0, expect = 1000;
    int pages = 0;

    seed_friends(env, 250);
    for (bool more = true; more; pages++) {
        ListFriendsReply reply = list(env, ANN, after, 0);
        more = reply.more;
        assert_int_equal(reply.friends_count, more ? 100 : 50);
        for (size_t i = 0; i < reply.friends_count; i++)
            assert_int_equal(reply.friends[i].user_id, expect++);
        after = expect - 1;
        proxy_aid_release(RPC_FRIEND_LIST_FRIENDS, &reply);
    }
    assert_int_equal(pages, 3);
    ListFriendsReply exact = list(env, ANN, 0, 250);
    assert_int_equal(exact.friends_count, 250);
    assert_false(exact.more);
    proxy_aid_release(RPC_FRIEND_LIST_FRIENDS, &exact);
    ListFriendsRequest req = { .limit = 501 };
    assert_int_equal(proxy_aid_call(&env->aid, RPC_FRIEND_LIST_FRIENDS, (struct proxy_from){ ANN, 0, 1 }, &req, NULL),
                     RPC_STATUS_INVALID_ARGUMENT);
    req = (ListFriendsRequest){ .after_user_id = UINT64_MAX };
    assert_int_equal(proxy_aid_call(&env->aid, RPC_FRIEND_LIST_FRIENDS, (struct proxy_from){ ANN, 0, 1 }, &req, NULL),
                     RPC_STATUS_INVALID_ARGUMENT);
}

static void all_friends_are_told_of_a_presence_and_nobody_else(void **state)
{
    struct env *env = *state;
    const struct rpc_ctx ctx = { .trace = 7 };

    seed_friends(env, 1100);
    assert_acts(env, RPC_FRIEND_ADD_FRIEND, BOB, ANN, FriendState_REQUEST_SENT, false);
    env->npushes = env->ntold = 0;
    PresenceEvent event = { .user_id = ANN, .online = true };
    env->online[env->nonline++] = ANN;
    assert_int_equal(rpc_event(env->aid.rpc, RPC_FRIEND_PRESENCE_CHANGED, &ctx, &event), BT_OK);
    for (int i = 0; i < 500 && env->ntold < 1100; i++)
        net_loop_turn(env->aid.env.loop, 10);
    assert_int_equal(env->ntold, 1100);
    assert_int_equal(env->npushes, 3);
    for (size_t i = 0; i < 1100; i++)
        assert_int_equal(env->told[i], 1000 + i);
    assert_int_equal(env->pushes[0].about, ANN);
    assert_true(env->pushes[0].is_online);
    assert_int_equal(env->pushes[0].except_session, 0);

    event.user_id = UINT64_MAX; /* nonsense is dropped */
    assert_int_equal(rpc_event(env->aid.rpc, RPC_FRIEND_PRESENCE_CHANGED, &ctx, &event), BT_OK);
    event.user_id = CAROL; /* has no friends */
    assert_int_equal(rpc_event(env->aid.rpc, RPC_FRIEND_PRESENCE_CHANGED, &ctx, &event), BT_OK);
    for (int i = 0; i < 20; i++)
        net_loop_turn(env->aid.env.loop, 5);
    assert_int_equal(env->npushes, 3);
}

static void tell_presence(struct env *env, bool is_online, size_t npushes)
{
    const struct rpc_ctx ctx = { .trace = 7 };
    PresenceEvent event = { .user_id = ANN, .online = is_online };

    env->npushes = env->ntold = 0;
    assert_int_equal(rpc_event(env->aid.rpc, RPC_FRIEND_PRESENCE_CHANGED, &ctx, &event), BT_OK);
    for (int i = 0; i < (npushes ? 500 : 50) && (npushes == 0 || env->npushes < npushes); i++)
        net_loop_turn(env->aid.env.loop, 10);
    assert_int_equal(env->npushes, npushes);
}

/* A proxy speaks of its own sessions; what all of them have is told. */
static void friends_are_told_what_is_so_and_not_what_one_proxy_says(void **state)
{
    struct env *env = *state;

    seed_friends(env, 3);
    env->online[env->nonline++] = ANN; /* at another proxy too */
    tell_presence(env, false, 1);
    assert_true(env->pushes[0].is_online);
    env->nonline = 0;
    tell_presence(env, false, 1);
    assert_false(env->pushes[0].is_online);
    tell_presence(env, true, 1); /* came and went */
    assert_false(env->pushes[0].is_online);
    env->online_err = BT_EINTERNAL; /* presence is away */
    tell_presence(env, true, 0);
    tell_presence(env, false, 0);
}

static void stopping_waits_for_what_was_begun(void **state)
{
    struct env *env = *state;
    struct proxy_call calls[6];

    for (int i = 0; i < 6; i++)
        proxy_aid_begin(&env->aid, &calls[i], i % 2 ? RPC_FRIEND_BLOCK : RPC_FRIEND_ADD_FRIEND, (struct proxy_from){ ANN, BOB, 1 },
                        &(BlockRequest){ 0 }, NULL);
    net_loop_turn(env->aid.env.loop, 0);
    net_loop_turn(env->aid.env.loop, 0);
    proxy_aid_stop(&env->aid);
    for (int i = 0; i < 6; i++)
        assert_true(calls[i].is_done);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_request_is_accepted),
        T(what_stands_already_is_ok_and_silent),
        T(a_crossing_request_is_an_accept),
        T(a_request_is_declined_or_taken_back),
        T(the_target_must_be_another_user),
        cmocka_unit_test_setup_teardown(friends_are_limited_on_both_sides, setup_two_friends, teardown),
        cmocka_unit_test_setup_teardown(requests_that_wait_for_an_answer_are_limited, setup_two_requests, teardown),
        T(a_block_ends_the_friendship_and_drops_the_rights),
        T(a_stranger_does_not_see_that_he_is_blocked),
        T(a_block_is_answered_only_when_it_is_in_force),
        T(many_changes_of_one_pair_at_once_leave_it_whole),
        T(the_list_tells_of_friends_whether_they_are_online),
        T(a_long_list_comes_in_pages),
        T(all_friends_are_told_of_a_presence_and_nobody_else),
        T(friends_are_told_what_is_so_and_not_what_one_proxy_says),
        T(stopping_waits_for_what_was_begun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
