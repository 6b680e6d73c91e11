/* test/unit/test_friend.c: requests, friendships, blocks and presence, over a real store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/stubs.h"
#include "rpc/bytes.h"
#include "test/unit/friend_aid.h"
#include "test/unit/seed.h"

/* ---- a chat role that records ---- */

static int setup_two_friends(void **state)
{
    return friend_setup_with(state, (const char *const[]){ "friend.max_friends=2", NULL });
}

static int setup_two_requests(void **state)
{
    return friend_setup_with(state, (const char *const[]){ "friend.max_requests=2", NULL });
}

/* ---- requests and friendships ---- */

static void a_request_is_accepted(void **state)
{
    struct friend_env *env = *state;

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
    struct friend_env *env = *state;

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
    assert_int_equal(friend_rows(env), 0); /* rows that would say nothing are gone */
}

static void nobody_is_blocked_who_was_to_be_before_a_standstill(void **state)
{
    struct friend_env *env = *state;
    struct proxy_call call;
    FriendReply reply;

    proxy_aid_begin(&env->aid, &call, RPC_FRIEND_BLOCK, (struct proxy_from){ ANN, BOB, ANN * 10 }, &(BlockRequest){ 0 }, &reply);
    for (int turn = 0; turn < 2; turn++)
        net_loop_turn(env->aid.env.loop, 0); /* it reads what stands */
    assert_false(call.is_done);
    usleep((NET_STOOD_MS + 50) * 1000);
    assert_int_equal(proxy_aid_wait(&call), RPC_STATUS_UNAVAILABLE);
    assert_int_equal(friend_rows(env), 0);
    assert_int_equal(act(env, RPC_FRIEND_BLOCK, ANN, BOB, NULL), RPC_STATUS_OK);
    assert_int_equal(friend_rows(env), 1);
}

static void a_crossing_request_is_an_accept(void **state)
{
    struct friend_env *env = *state;
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
    struct friend_env *env = *state;

    assert_acts(env, RPC_FRIEND_ADD_FRIEND, ANN, BOB, FriendState_REQUEST_SENT, false);
    assert_acts(env, RPC_FRIEND_DECLINE_FRIEND, BOB, ANN, FriendState_NO_FRIEND, false);
    assert_pushed(env, ANN, BOB, "Bob", FriendState_NO_FRIEND, 0);
    assert_int_equal(act(env, RPC_FRIEND_ACCEPT_FRIEND, BOB, ANN, NULL), RPC_STATUS_FAILED_PRECONDITION);
    assert_acts(env, RPC_FRIEND_ADD_FRIEND, ANN, BOB, FriendState_REQUEST_SENT, false);
    assert_int_equal(act(env, RPC_FRIEND_ACCEPT_FRIEND, ANN, BOB, NULL), RPC_STATUS_FAILED_PRECONDITION); /* one's own */
    assert_acts(env, RPC_FRIEND_REMOVE_FRIEND, ANN, BOB, FriendState_REQUEST_SENT, false); /* is no friendship */
    assert_acts(env, RPC_FRIEND_DECLINE_FRIEND, ANN, BOB, FriendState_NO_FRIEND, false);
    assert_int_equal(friend_rows(env), 0);
    befriend(env, ANN, BOB);
    assert_int_equal(act(env, RPC_FRIEND_DECLINE_FRIEND, ANN, BOB, NULL), RPC_STATUS_FAILED_PRECONDITION);
}

static void the_target_must_be_another_user(void **state)
{
    struct friend_env *env = *state;
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
    assert_int_equal(friend_rows(env), 0);
}

static void friends_are_limited_on_both_sides(void **state)
{
    struct friend_env *env = *state;

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
    struct friend_env *env = *state;

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
    struct friend_env *env = *state;

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
    struct friend_env *env = *state;

    assert_acts(env, RPC_FRIEND_BLOCK, ANN, BOB, FriendState_NO_FRIEND, true);
    assert_null(push_to(env, BOB));
    assert_int_equal(friend_rows(env), 1);
    assert_acts(env, RPC_FRIEND_BLOCK, BOB, ANN, FriendState_NO_FRIEND, true); /* each his own */
    assert_acts(env, RPC_FRIEND_UNBLOCK, ANN, BOB, FriendState_NO_FRIEND, false);
    assert_int_equal(act(env, RPC_FRIEND_ADD_FRIEND, ANN, BOB, NULL), RPC_STATUS_PERMISSION_DENIED);
    assert_int_equal(env_int(&env->aid.env, "SELECT user_id FROM friend WHERE blocked = 1"), BOB);
}

static void a_block_is_answered_only_when_it_is_in_force(void **state)
{
    struct friend_env *env = *state;

    env->drop_err = BT_EINTERNAL;
    assert_int_equal(act(env, RPC_FRIEND_BLOCK, ANN, BOB, NULL), RPC_STATUS_UNKNOWN); /* written, and perhaps no more */
    assert_int_equal(friend_rows(env), 1);
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
    struct friend_env *env = *state;
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

static ListFriendsReply list(struct friend_env *env, uint64_t who, uint64_t after, uint32_t limit)
{
    ListFriendsRequest req = { .after_user_id = after, .limit = limit };
    ListFriendsReply reply;
    assert_int_equal(proxy_aid_call(&env->aid, RPC_FRIEND_LIST_FRIENDS, (struct proxy_from){ who, 0, 1 }, &req, &reply), RPC_STATUS_OK);
    return reply;
}

static void the_list_tells_of_friends_whether_they_are_online(void **state)
{
    struct friend_env *env = *state;

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
static void seed_friends(struct friend_env *env, int n)
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
    struct friend_env *env = *state;
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
    struct friend_env *env = *state;
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

static void tell_presence(struct friend_env *env, bool is_online, size_t npushes)
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
    struct friend_env *env = *state;

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
    struct friend_env *env = *state;
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
#define T(name) cmocka_unit_test_setup_teardown(name, friend_setup, friend_teardown)
    const struct CMUnitTest tests[] = {
        T(a_request_is_accepted),
        T(what_stands_already_is_ok_and_silent),
        T(nobody_is_blocked_who_was_to_be_before_a_standstill),
        T(a_crossing_request_is_an_accept),
        T(a_request_is_declined_or_taken_back),
        T(the_target_must_be_another_user),
        cmocka_unit_test_setup_teardown(friends_are_limited_on_both_sides, setup_two_friends, friend_teardown),
        cmocka_unit_test_setup_teardown(requests_that_wait_for_an_answer_are_limited, setup_two_requests, friend_teardown),
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
