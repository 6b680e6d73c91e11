/*
 * test/unit/friend_aid.h: the friend role over a real store, with three users and a group, beside a chat role that records
 * what it is asked.
 */
#ifndef BT_TEST_FRIEND_AID_H
#define BT_TEST_FRIEND_AID_H

#include "proto/client.pb.h"
#include "proto/methods.h"
#include "proto/node.pb.h"
#include "test/unit/proxy_aid.h"

enum { ANN = 10, BOB = 20, CAROL = 30, GROUP = 40, PUSHES_MAX = 16, ALL_MAX = 2000 };

/* A Notify that came. */
struct friend_push {
    uint64_t users[4];
    size_t nusers;
    uint32_t method;
    uint64_t except_session;
    uint64_t about;        /* FriendEvent, PresenceEvent: user_id */
    FriendState state;
    bool is_online;
    char name[16];
};

struct friend_env {
    struct proxy_aid aid;
    struct friend_push pushes[PUSHES_MAX];
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

/* cmocka fixtures: *state is a struct friend_env. settings: assignments, ended by NULL; or NULL. */
int friend_setup_with(void **state, const char *const *settings);
int friend_setup(void **state);
int friend_teardown(void **state);

/* One of the methods that have an empty request and a FriendReply. What was recorded before is forgotten. */
enum rpc_status act(struct friend_env *env, uint16_t method, uint64_t who, uint64_t whom, FriendReply *reply_out);

#define assert_acts(env, method, who, whom, want_state, want_blocked)                              \
    do {                                                                                           \
        FriendReply act_reply = { 0 };                                                             \
        assert_int_equal(act(env, method, who, whom, &act_reply), RPC_STATUS_OK);                  \
        assert_int_equal(act_reply.state, want_state);                                             \
        assert_int_equal(act_reply.blocked, want_blocked);                                         \
    } while (0)

const struct friend_push *push_to(const struct friend_env *env, uint64_t user); /* to this one alone; NULL: none */
void assert_pushed(const struct friend_env *env, uint64_t to, uint64_t about, const char *name, FriendState state, uint64_t except);

void befriend(struct friend_env *env, uint64_t a, uint64_t b);
int64_t friend_rows(struct friend_env *env); /* in the store */

#endif
