/* test/unit/test_group_join.c: the group role: joining, asking, inviting and refusing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "test/unit/group_aid.h"
#include "test/unit/seed.h"

/* ---- JoinGroup ----------------------------------------------------------------------------------------------------- */

static JoinReply join(uint64_t user)
{
    JoinReply reply = { 0 };
    JoinGroupRequest req = { 0 };
    assert_int_equal(aid_call(&aid, RPC_GROUP_JOIN_GROUP, user, target, &req), RPC_STATUS_OK);
    aid_decode(&aid, JoinReply_fields, &reply);
    rpc_release(JoinReply_fields, &reply);
    return reply;
}

static uint8_t join_status(uint64_t user, uint64_t group)
{
    JoinGroupRequest req = { 0 };
    return aid_call(&aid, RPC_GROUP_JOIN_GROUP, user, group, &req);
}

static void an_open_group_is_joined_at_once(void **state)
{
    JoinReply reply;
    (void)state;
    seed_choir(OPEN);
    aid.apply_seq = 12;
    reply = join(STRANGER);
    assert_false(reply.pending);
    assert_int_equal(reply.seq, 12);
    group_applied(MembershipChange_JOINED, STRANGER, STRANGER, 1);
    assert_int_equal(join(PLAIN).seq, 0); /* is in already */
    assert_int_equal(aid.napplies, 1);
    assert_int_equal(join_status(STRANGER, no_group), RPC_STATUS_NOT_FOUND);
    assert_int_equal(join_status(STRANGER, GROUP), RPC_STATUS_NOT_FOUND); /* a user, not a group */
    aid.apply_err = BT_EBUSY;
    assert_int_equal(join_status(STRANGER, target), RPC_STATUS_RESOURCE_EXHAUSTED); /* full, says the owner */
    seed_disband(&aid.env, GROUP);
    assert_int_equal(join_status(STRANGER, target), RPC_STATUS_FAILED_PRECONDITION);
}

static void nobody_joins_or_asks_to_who_called_before_a_standstill(void **state)
{
    const JoinGroupRequest req = { 0 };
    (void)state;
    seed_choir(BY_REQUEST);
    assert_int_equal(aid_call_and_stand_still(&aid, RPC_GROUP_JOIN_GROUP, STRANGER, target, &req), RPC_STATUS_UNAVAILABLE);
    assert_int_equal(pending_of_stranger(), -1); /* no row */
    assert_true(join(STRANGER).pending);
    assert_int_equal(pending_of_stranger(), ASKING);
    assert_int_equal(env_exec(&aid.env, "UPDATE chat_group SET join_mode = 0", NULL, 0, DB_ANY).err, BT_OK);
    assert_int_equal(aid_call_and_stand_still(&aid, RPC_GROUP_JOIN_GROUP, STRANGER, target, &req), RPC_STATUS_UNAVAILABLE);
    assert_int_equal(aid.napplies, 0);
}

static void asking_is_told_to_owner_and_admins_once(void **state)
{
    const GroupEvent event = { .user_id = STRANGER, .about_user_id = STRANGER, .pending = Pending_ASKING };
    (void)state;
    seed_choir(BY_REQUEST);
    assert_true(join(STRANGER).pending);
    assert_int_equal(pending_of_stranger(), ASKING);
    group_told(0, STRANGER, &event, 3, OWNER + ADMIN + STRANGER);
    assert_true(join(STRANGER).pending);
    assert_int_equal(aid.napplies, 0);
    assert_int_equal(aid.npushes, 1);
}

static void one_who_left_may_ask_again(void **state)
{
    (void)state;
    seed_choir(BY_REQUEST);
    seed_member(&aid.env, GROUP, 0, STRANGER, 0, 3, 5);
    assert_true(join(STRANGER).pending);
    assert_int_equal(pending_of_stranger(), ASKING);
    assert_int_equal(env_int(&aid.env, "SELECT left_seq FROM member WHERE hi = 30 AND user_id = 9"), 5);
}

static void by_invitation_means_the_invited_only(void **state)
{
    (void)state;
    seed_choir(BY_INVITATION);
    assert_int_equal(join_status(STRANGER, target), RPC_STATUS_PERMISSION_DENIED);
    seed_pending(&aid.env, GROUP, STRANGER, INVITED);
    assert_int_equal(join_status(STRANGER, target), RPC_STATUS_OK);
    group_applied(MembershipChange_JOINED, STRANGER, STRANGER, 1);
}

static void who_is_in_too_many_groups_joins_no_other(void **state)
{
    (void)state;
    seed_choir(OPEN);
    seed_group(&aid.env, 31, OWNER, "a", OPEN);
    seed_member(&aid.env, 31, 0, STRANGER, 1, 1, 0);
    assert_int_equal(join_status(STRANGER, target), RPC_STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(aid.napplies, 0);
}

/* ---- Invite, Refuse ------------------------------------------------------------------------------------------------ */

static uint8_t invite(uint64_t caller, uint64_t user)
{
    InviteRequest req = { .user_id = user };
    return aid_call(&aid, RPC_GROUP_INVITE, caller, target, &req);
}

static void an_invitation_is_kept_and_told(void **state)
{
    const GroupEvent event = { .user_id = ADMIN, .about_user_id = STRANGER, .pending = Pending_INVITED };
    (void)state;
    seed_choir(BY_INVITATION);
    assert_int_equal(invite(ADMIN, STRANGER), RPC_STATUS_OK);
    assert_int_equal(replied_seq(), 0);
    assert_int_equal(pending_of_stranger(), INVITED);
    group_told(0, ADMIN, &event, 1, STRANGER);
    assert_int_equal(invite(OWNER, STRANGER), RPC_STATUS_OK); /* is invited: no change */
    assert_int_equal(invite(OWNER, PLAIN), RPC_STATUS_OK);    /* is in */
    assert_int_equal(aid.npushes, 1);
    assert_int_equal(aid.napplies, 0);
}

static void who_may_not_invite_is_refused(void **state)
{
    InviteRequest nobody = { 0 };
    (void)state;
    seed_choir(BY_REQUEST);
    assert_int_equal(invite(PLAIN, STRANGER), RPC_STATUS_PERMISSION_DENIED);
    assert_int_equal(invite(STRANGER, STRANGER), RPC_STATUS_PERMISSION_DENIED);
    assert_int_equal(invite(OWNER, 12345), RPC_STATUS_NOT_FOUND);
    assert_int_equal(aid_call(&aid, RPC_GROUP_INVITE, OWNER, target, &nobody), RPC_STATUS_INVALID_ARGUMENT);
    nobody.user_id = STRANGER;
    assert_int_equal(aid_call(&aid, RPC_GROUP_INVITE, OWNER, no_group, &nobody), RPC_STATUS_NOT_FOUND);
    seed_block(&aid.env, STRANGER, OWNER);
    assert_int_equal(invite(OWNER, STRANGER), RPC_STATUS_PERMISSION_DENIED);
    assert_int_equal(invite(ADMIN, STRANGER), RPC_STATUS_OK);
    seed_disband(&aid.env, GROUP);
    assert_int_equal(invite(ADMIN, STRANGER), RPC_STATUS_FAILED_PRECONDITION);
}

static void any_member_invites_into_an_open_group(void **state)
{
    (void)state;
    seed_choir(OPEN);
    assert_int_equal(invite(PLAIN, STRANGER), RPC_STATUS_OK);
    assert_int_equal(pending_of_stranger(), INVITED);
    assert_int_equal(invite(STRANGER, 12345), RPC_STATUS_PERMISSION_DENIED);
}

static void nobody_is_invited_into_a_full_group(void **state)
{
    (void)state;
    seed_choir(OPEN); /* max_members is 3 */
    assert_int_equal(invite(OWNER, STRANGER), RPC_STATUS_RESOURCE_EXHAUSTED);
}

static void a_count_that_an_upgrade_left_too_low_keeps_nobody_out(void **state)
{
    GroupInfo info = { 0 };
    (void)state;
    seed_choir(OPEN);
    assert_int_equal(env_exec(&aid.env, "UPDATE chat_group SET member_count = -1", NULL, 0, 1).err, BT_OK);
    assert_int_equal(invite(OWNER, STRANGER), RPC_STATUS_OK);
    assert_int_equal(aid_call(&aid, RPC_GROUP_GET_GROUP, OWNER, target, &(GetGroupRequest){ 0 }), RPC_STATUS_OK);
    aid_decode(&aid, GroupInfo_fields, &info);
    assert_int_equal(info.member_count, 0);
    rpc_release(GroupInfo_fields, &info);
}

static void no_more_than_so_many_are_invited_or_ask(void **state)
{
    InviteRequest req = { .user_id = STRANGER }, other = { .user_id = 13 };
    (void)state;
    seed_group(&aid.env, GROUP, OWNER, "choir", BY_REQUEST);
    seed_member(&aid.env, GROUP, 0, OWNER, 3, 1, 0);
    for (uint64_t id = 10; id < 15; id++)
        seed_account(&aid.env, id, "someone");
    assert_true(join(10).pending);
    assert_true(join(11).pending);
    assert_true(join(11).pending); /* a repeat */
    assert_int_equal(join_status(12, target), RPC_STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(aid_call(&aid, RPC_GROUP_INVITE, OWNER, target, &req), RPC_STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(pending_of_stranger(), -1);
    assert_int_equal(env_exec(&aid.env, "DELETE FROM member WHERE user_id = 10", NULL, 0, 1).err, BT_OK);
    assert_int_equal(aid_call(&aid, RPC_GROUP_INVITE, OWNER, target, &other), RPC_STATUS_OK);
    assert_int_equal(aid_call(&aid, RPC_GROUP_INVITE, OWNER, target, &req), RPC_STATUS_RESOURCE_EXHAUSTED);
}

static void one_who_asks_is_let_in_by_inviting(void **state)
{
    (void)state;
    seed_choir(BY_REQUEST);
    seed_pending(&aid.env, GROUP, STRANGER, ASKING);
    aid.apply_seq = 14;
    assert_int_equal(invite(ADMIN, STRANGER), RPC_STATUS_OK);
    assert_int_equal(replied_seq(), 14);
    group_applied(MembershipChange_JOINED, ADMIN, STRANGER, 1);
}

static uint8_t refuse(uint64_t caller, uint64_t user)
{
    RefuseRequest req = { .user_id = user };
    return aid_call(&aid, RPC_GROUP_REFUSE, caller, target, &req);
}

static void an_invitation_is_refused_by_the_invited(void **state)
{
    const GroupEvent event = { .about_user_id = STRANGER, .pending = Pending_NOT_PENDING };
    (void)state;
    seed_choir(BY_INVITATION);
    seed_pending(&aid.env, GROUP, STRANGER, INVITED);
    assert_int_equal(refuse(STRANGER, 0), RPC_STATUS_OK);
    assert_int_equal(pending_of_stranger(), 0);
    group_told(0, STRANGER, &event, 3, OWNER + ADMIN + STRANGER);
    assert_int_equal(refuse(STRANGER, 0), RPC_STATUS_OK); /* there is none any more */
    assert_int_equal(aid.npushes, 1);
    assert_int_equal(refuse(PLAIN, 0), RPC_STATUS_OK);
}

static void a_request_is_refused_by_those_who_decide(void **state)
{
    const GroupEvent event = { .user_id = STRANGER, .about_user_id = STRANGER, .pending = Pending_NOT_PENDING };
    RefuseRequest req = { .user_id = STRANGER };
    (void)state;
    seed_choir(BY_REQUEST);
    seed_pending(&aid.env, GROUP, STRANGER, ASKING);
    assert_int_equal(refuse(PLAIN, STRANGER), RPC_STATUS_PERMISSION_DENIED);
    assert_int_equal(pending_of_stranger(), ASKING);
    assert_int_equal(refuse(ADMIN, STRANGER), RPC_STATUS_OK);
    assert_int_equal(pending_of_stranger(), 0);
    group_told(0, ADMIN, &event, 3, OWNER + ADMIN + STRANGER);
    assert_int_equal(refuse(ADMIN, 12345), RPC_STATUS_OK);
    assert_int_equal(aid_call(&aid, RPC_GROUP_REFUSE, ADMIN, no_group, &req), RPC_STATUS_NOT_FOUND);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, group_setup, group_teardown)
#define SMALL(name) cmocka_unit_test_setup_teardown(name, group_setup_small, group_teardown)
    const struct CMUnitTest tests[] = {
        TEST(an_open_group_is_joined_at_once),
        TEST(nobody_joins_or_asks_to_who_called_before_a_standstill),
        TEST(asking_is_told_to_owner_and_admins_once),
        TEST(one_who_left_may_ask_again),
        TEST(by_invitation_means_the_invited_only),
        SMALL(who_is_in_too_many_groups_joins_no_other),
        TEST(an_invitation_is_kept_and_told),
        TEST(who_may_not_invite_is_refused),
        TEST(any_member_invites_into_an_open_group),
        SMALL(nobody_is_invited_into_a_full_group),
        SMALL(a_count_that_an_upgrade_left_too_low_keeps_nobody_out),
        SMALL(no_more_than_so_many_are_invited_or_ask),
        TEST(one_who_asks_is_let_in_by_inviting),
        TEST(an_invitation_is_refused_by_the_invited),
        TEST(a_request_is_refused_by_those_who_decide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
