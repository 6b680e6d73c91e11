/* test/unit/test_group.c: the group role: groups that are made and changed, what the owner decides, and what is read. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "test/unit/group_aid.h"
#include "test/unit/seed.h"

/* ---- CreateGroup, UpdateGroup -------------------------------------------------------------------------------------- */

/* What the owner would write. */
static void owner_writes_group(struct owner_aid *a)
{
    const uint64_t id = a->applied_target & ~RPC_TARGET_GROUP;
    const struct db_val vals[] = { db_int((int64_t)id), db_int((int64_t)a->applied_actor), db_int((int64_t)a->applied_request),
                                   db_bytes(a->applied_name, strlen(a->applied_name)) };
    struct db_done done = env_exec(&a->env, "INSERT INTO chat_group (group_id, creator_id, request_id, name, about, join_mode, created_ms)"
                                            " VALUES (?, ?, ?, ?, x'', 1, 5)", vals, 4, 1);
    assert_int_equal(done.err, BT_OK);
    seed_member(&a->env, id, 0, a->applied_actor, 3, 1, 0);
}

static CreateGroupRequest create_request(const char *name)
{
    return (CreateGroupRequest){ .request_id = UINT64_MAX - 5, .name = rpc_str(name), .join_mode = JoinMode_BY_REQUEST };
}

static uint64_t created_id(void)
{
    GroupInfo info = { 0 };
    uint64_t id;
    aid_decode(&aid, GroupInfo_fields, &info);
    id = info.group_id;
    assert_memory_equal(info.name.data, "choir", 5);
    assert_int_equal(info.member_count, 1);
    assert_int_equal(info.owner_id, OWNER);
    assert_int_equal(info.my_role, MemberRole_GROUP_OWNER);
    assert_int_equal(info.join_mode, JoinMode_BY_REQUEST);
    assert_int_equal(info.created_ms, 5);
    rpc_release(GroupInfo_fields, &info);
    return id;
}

static void creating_again_finds_the_group(void **state)
{
    CreateGroupRequest req = create_request("choir"), other = create_request("other");
    uint64_t id;
    (void)state;
    aid.on_apply = owner_writes_group;
    assert_int_equal(aid_call(&aid, RPC_GROUP_CREATE_GROUP, OWNER, 0, &req), RPC_STATUS_OK);
    id = created_id();
    assert_int_not_equal(id, 0);
    assert_int_equal(aid.change, MembershipChange_CREATED);
    assert_int_equal(aid.applied_target, id | RPC_TARGET_GROUP);
    assert_int_equal(aid_call(&aid, RPC_GROUP_CREATE_GROUP, OWNER, 0, &req), RPC_STATUS_OK);
    assert_int_equal(created_id(), id);
    assert_int_equal(aid.napplies, 1);
    assert_int_equal(aid_call(&aid, RPC_GROUP_CREATE_GROUP, OWNER, 0, &other), RPC_STATUS_ALREADY_EXISTS);
    assert_int_equal(aid_call(&aid, RPC_GROUP_CREATE_GROUP, PLAIN, 0, &other), RPC_STATUS_OK); /* another's request ids are his own */
    assert_int_equal(aid.napplies, 2);
}

static void creating_again_finds_a_group_that_was_renamed_since(void **state)
{
    Membership began = { .change = MembershipChange_CREATED, .user_id = OWNER, .name = rpc_str("old"), .join_mode = JoinMode_OPEN };
    CreateGroupRequest req = { .request_id = 7000 + GROUP, .name = rpc_str("old") }, other = { .request_id = 7000 + GROUP, .name = rpc_str("third") };
    char body[64] = "";
    (void)state;
    seed_choir(OPEN);
    assert_true(rpc_encode(Membership_fields, &began, (uint8_t *)body, sizeof body - 1) > 0);
    seed_message(&aid.env, GROUP, 0, 1, OWNER, 4, 0, body);
    assert_int_equal(aid_call(&aid, RPC_GROUP_CREATE_GROUP, OWNER, 0, &req), RPC_STATUS_OK);
    assert_int_equal(aid_call(&aid, RPC_GROUP_CREATE_GROUP, OWNER, 0, &other), RPC_STATUS_ALREADY_EXISTS);
    assert_int_equal(aid.napplies, 0);
}

static void owner_writes_another(struct owner_aid *a)
{
    a->applied_target = 88;
    owner_writes_group(a);
}

static void a_creation_that_lost_a_race_finds_the_other(void **state)
{
    CreateGroupRequest req = create_request("choir");
    (void)state;
    aid.on_apply = owner_writes_another;
    aid.apply_err = BT_EEXIST;
    assert_int_equal(aid_call(&aid, RPC_GROUP_CREATE_GROUP, OWNER, 0, &req), RPC_STATUS_OK);
    assert_int_equal(created_id(), 88);
}

static void unfit_groups_are_refused(void **state)
{
    CreateGroupRequest req = create_request("choir"), bad;
    (void)state;
    bad = req;
    bad.request_id = 0;
    assert_int_equal(aid_call(&aid, RPC_GROUP_CREATE_GROUP, OWNER, 0, &bad), RPC_STATUS_INVALID_ARGUMENT);
    bad = create_request("");
    assert_int_equal(aid_call(&aid, RPC_GROUP_CREATE_GROUP, OWNER, 0, &bad), RPC_STATUS_INVALID_ARGUMENT);
    bad = create_request("longer");
    assert_int_equal(aid_call(&aid, RPC_GROUP_CREATE_GROUP, OWNER, 0, &bad), RPC_STATUS_INVALID_ARGUMENT);
    bad = create_request("\xff");
    assert_int_equal(aid_call(&aid, RPC_GROUP_CREATE_GROUP, OWNER, 0, &bad), RPC_STATUS_INVALID_ARGUMENT);
    bad = req;
    bad.about = rpc_str("longer.");
    assert_int_equal(aid_call(&aid, RPC_GROUP_CREATE_GROUP, OWNER, 0, &bad), RPC_STATUS_INVALID_ARGUMENT);
    bad = req;
    bad.join_mode = (JoinMode)3;
    assert_int_equal(aid_call(&aid, RPC_GROUP_CREATE_GROUP, OWNER, 0, &bad), RPC_STATUS_INVALID_ARGUMENT);
    assert_int_equal(aid.napplies, 0);
    seed_choir(OPEN);
    assert_int_equal(aid_call(&aid, RPC_GROUP_CREATE_GROUP, OWNER, 0, &req), RPC_STATUS_RESOURCE_EXHAUSTED); /* in one already */
    seed_disband(&aid.env, GROUP);
    aid.on_apply = owner_writes_group;
    assert_int_equal(aid_call(&aid, RPC_GROUP_CREATE_GROUP, OWNER, 0, &req), RPC_STATUS_OK); /* a disbanded one does not count */
}

/* Nothing can be read any more. */
static void hide_groups(struct owner_aid *a)
{
    assert_int_equal(env_exec(&a->env, "ALTER TABLE chat_group RENAME TO hidden", NULL, 0, DB_ANY).err, BT_OK);
}

static void owner_writes_and_hides(struct owner_aid *a)
{
    owner_writes_group(a);
    hide_groups(a);
}

static void what_was_written_is_never_said_to_be_not_done(void **state)
{
    UpdateGroupRequest rename = { .name = rpc_str("band") };
    CreateGroupRequest req = create_request("choir");
    (void)state;
    seed_choir(OPEN);
    aid.on_apply = hide_groups;
    assert_int_equal(aid_call(&aid, RPC_GROUP_UPDATE_GROUP, ADMIN, target, &rename), RPC_STATUS_UNKNOWN);
    assert_int_equal(env_exec(&aid.env, "ALTER TABLE hidden RENAME TO chat_group", NULL, 0, DB_ANY).err, BT_OK);
    aid.on_apply = owner_writes_and_hides;
    assert_int_equal(aid_call(&aid, RPC_GROUP_CREATE_GROUP, OWNER, 0, &req), RPC_STATUS_UNKNOWN);
    assert_int_equal(env_exec(&aid.env, "ALTER TABLE hidden RENAME TO chat_group", NULL, 0, DB_ANY).err, BT_OK);
    req.request_id--; /* an earlier try of the call wrote it */
    aid.apply_err = BT_EEXIST;
    assert_int_equal(aid_call(&aid, RPC_GROUP_CREATE_GROUP, OWNER, 0, &req), RPC_STATUS_UNKNOWN);
}

static void an_update_leaves_what_it_does_not_name(void **state)
{
    UpdateGroupRequest name = { .name = rpc_str("band") }, about = { .about = rpc_bytes("", 0) };
    UpdateGroupRequest both = { .about = rpc_str("we sing"), .has_join_mode = true, .join_mode = JoinMode_OPEN };
    UpdateGroupRequest none = { 0 };
    (void)state;
    seed_choir(OPEN);
    assert_int_equal(aid_call(&aid, RPC_GROUP_UPDATE_GROUP, ADMIN, target, &name), RPC_STATUS_OK);
    assert_string_equal(aid.applied_name, "band");
    assert_true(!aid.keep_name && aid.keep_about && aid.keep_join_mode);
    assert_int_equal(aid_call(&aid, RPC_GROUP_UPDATE_GROUP, ADMIN, target, &both), RPC_STATUS_OK);
    assert_true(aid.keep_name && !aid.keep_about && !aid.keep_join_mode);
    assert_string_equal(aid.applied_name, "");
    assert_int_equal(aid.napplies, 2);
    assert_int_equal(aid_call(&aid, RPC_GROUP_UPDATE_GROUP, ADMIN, target, &about), RPC_STATUS_OK); /* it is empty */
    assert_int_equal(aid_call(&aid, RPC_GROUP_UPDATE_GROUP, ADMIN, target, &none), RPC_STATUS_OK);
    assert_int_equal(aid.napplies, 2);
}

static void an_update_without_a_change_asks_for_nothing(void **state)
{
    UpdateGroupRequest mode = { .has_join_mode = true, .join_mode = JoinMode_BY_INVITATION }, same = { .name = rpc_str("choir") };
    UpdateGroupRequest empty = { .name = rpc_bytes("", 0) };
    (void)state;
    seed_choir(OPEN);
    assert_int_equal(aid_call(&aid, RPC_GROUP_UPDATE_GROUP, ADMIN, target, &mode), RPC_STATUS_OK);
    group_applied(MembershipChange_UPDATED, ADMIN, ADMIN, 1);
    assert_int_equal(aid_call(&aid, RPC_GROUP_UPDATE_GROUP, ADMIN, target, &same), RPC_STATUS_OK);
    assert_int_equal(aid.napplies, 1);
    assert_int_equal(aid_call(&aid, RPC_GROUP_UPDATE_GROUP, ADMIN, target, &empty), RPC_STATUS_INVALID_ARGUMENT);
    assert_int_equal(aid_call(&aid, RPC_GROUP_UPDATE_GROUP, ADMIN, no_group, &mode), RPC_STATUS_NOT_FOUND);
    aid.apply_err = BT_EDENIED;
    assert_int_equal(aid_call(&aid, RPC_GROUP_UPDATE_GROUP, PLAIN, target, &same), RPC_STATUS_PERMISSION_DENIED);
    assert_int_equal(aid.napplies, 2);
}

/* ---- what the owner decides ---------------------------------------------------------------------------------------- */

static void changes_are_asked_of_the_owner(void **state)
{
    LeaveGroupRequest leave = { 0 };
    KickRequest kick = { .user_id = PLAIN };
    MuteRequest mute = { .user_id = PLAIN, .until_ms = 5 };
    SetRoleRequest set_role = { .user_id = PLAIN, .role = MemberRole_ADMIN };
    TransferRequest transfer = { .user_id = PLAIN };
    DisbandRequest disband = { 0 };
    (void)state;
    aid.apply_seq = 21;
    assert_int_equal(aid_call(&aid, RPC_GROUP_LEAVE_GROUP, PLAIN, target, &leave), RPC_STATUS_OK);
    group_applied(MembershipChange_LEFT, PLAIN, PLAIN, 1);
    assert_int_equal(replied_seq(), 21);
    assert_int_equal(aid_call(&aid, RPC_GROUP_KICK, ADMIN, target, &kick), RPC_STATUS_OK);
    group_applied(MembershipChange_KICKED, ADMIN, PLAIN, 2);
    assert_int_equal(aid_call(&aid, RPC_GROUP_MUTE, ADMIN, target, &mute), RPC_STATUS_OK);
    group_applied(MembershipChange_MUTED, ADMIN, PLAIN, 3);
    assert_int_equal(aid_call(&aid, RPC_GROUP_SET_ROLE, OWNER, target, &set_role), RPC_STATUS_OK);
    group_applied(MembershipChange_ROLE_SET, OWNER, PLAIN, 4);
    assert_int_equal(aid_call(&aid, RPC_GROUP_TRANSFER, OWNER, target, &transfer), RPC_STATUS_OK);
    group_applied(MembershipChange_TRANSFERRED, OWNER, PLAIN, 5);
    assert_int_equal(aid_call(&aid, RPC_GROUP_DISBAND, OWNER, target, &disband), RPC_STATUS_OK);
    group_applied(MembershipChange_DISBANDED, OWNER, 0, 6);
    aid.apply_err = BT_ESTATE;
    assert_int_equal(aid_call(&aid, RPC_GROUP_LEAVE_GROUP, OWNER, target, &leave), RPC_STATUS_FAILED_PRECONDITION);
    aid.apply_err = BT_ENOTFOUND;
    assert_int_equal(aid_call(&aid, RPC_GROUP_MUTE, ADMIN, target, &mute), RPC_STATUS_NOT_FOUND);
}

static void malformed_changes_never_reach_the_owner(void **state)
{
    KickRequest kick = { .user_id = ADMIN }, nobody = { 0 };
    MuteRequest mute = { .user_id = PLAIN, .until_ms = -1 };
    SetRoleRequest owner = { .user_id = PLAIN, .role = MemberRole_GROUP_OWNER }, self = { .user_id = OWNER, .role = MemberRole_ADMIN };
    (void)state;
    assert_int_equal(aid_call(&aid, RPC_GROUP_KICK, ADMIN, target, &kick), RPC_STATUS_INVALID_ARGUMENT);
    assert_int_equal(aid_call(&aid, RPC_GROUP_KICK, ADMIN, target, &nobody), RPC_STATUS_INVALID_ARGUMENT);
    assert_int_equal(aid_call(&aid, RPC_GROUP_MUTE, ADMIN, target, &mute), RPC_STATUS_INVALID_ARGUMENT);
    assert_int_equal(aid_call(&aid, RPC_GROUP_SET_ROLE, OWNER, target, &owner), RPC_STATUS_INVALID_ARGUMENT);
    assert_int_equal(aid_call(&aid, RPC_GROUP_SET_ROLE, OWNER, target, &self), RPC_STATUS_INVALID_ARGUMENT);
    kick.user_id = PLAIN;
    assert_int_equal(aid_call(&aid, RPC_GROUP_KICK, ADMIN, GROUP, &kick), RPC_STATUS_NOT_FOUND); /* a user as target */
    assert_int_equal(aid.napplies, 0);
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

static uint8_t get(uint64_t user)
{
    GetGroupRequest req = { 0 };
    return aid_call(&aid, RPC_GROUP_GET_GROUP, user, target, &req);
}

static void outsiders_see_groups_that_they_could_join(void **state)
{
    GroupInfo info = { 0 };
    (void)state;
    seed_choir(BY_INVITATION);
    assert_int_equal(get(STRANGER), RPC_STATUS_NOT_FOUND);
    assert_int_equal(get(PLAIN), RPC_STATUS_OK);
    aid_decode(&aid, GroupInfo_fields, &info);
    assert_int_equal(info.group_id, GROUP);
    assert_int_equal(info.member_count, 3);
    assert_int_equal(info.owner_id, OWNER);
    assert_int_equal(info.my_role, MemberRole_MEMBER);
    assert_false(info.disbanded);
    rpc_release(GroupInfo_fields, &info);
    seed_pending(&aid.env, GROUP, STRANGER, INVITED);
    assert_int_equal(get(STRANGER), RPC_STATUS_OK);
    aid_decode(&aid, GroupInfo_fields, &info);
    assert_int_equal(info.my_pending, Pending_INVITED);
    assert_int_equal(info.my_role, MemberRole_NOT_A_MEMBER);
    rpc_release(GroupInfo_fields, &info);
}

static void members_are_paged_for_members_only(void **state)
{
    ListMembersRequest req = { .limit = 2 }, asking = { .pending = Pending_ASKING }, unknown = { .pending = (Pending)3 };
    ListMembersReply r = { 0 };
    (void)state;
    seed_choir(OPEN);
    seed_pending(&aid.env, GROUP, STRANGER, ASKING);
    assert_int_equal(aid_call(&aid, RPC_GROUP_LIST_MEMBERS, PLAIN, target, &req), RPC_STATUS_OK);
    aid_decode(&aid, ListMembersReply_fields, &r);
    assert_int_equal(r.members_count, 2);
    assert_true(r.more);
    assert_memory_equal(r.members[1].name.data, "bert", 4);
    assert_int_equal(r.members[1].role, MemberRole_ADMIN);
    assert_int_equal(r.members[1].joined_seq, 2);
    rpc_release(ListMembersReply_fields, &r);
    req.after_user_id = ADMIN;
    assert_int_equal(aid_call(&aid, RPC_GROUP_LIST_MEMBERS, PLAIN, target, &req), RPC_STATUS_OK);
    aid_decode(&aid, ListMembersReply_fields, &r);
    assert_int_equal(r.members_count, 1);
    assert_false(r.more);
    rpc_release(ListMembersReply_fields, &r);
    assert_int_equal(aid_call(&aid, RPC_GROUP_LIST_MEMBERS, ADMIN, target, &asking), RPC_STATUS_OK);
    aid_decode(&aid, ListMembersReply_fields, &r);
    assert_int_equal(r.members_count, 1);
    assert_int_equal(r.members[0].user_id, STRANGER);
    assert_int_equal(r.members[0].pending, Pending_ASKING);
    rpc_release(ListMembersReply_fields, &r);
    assert_int_equal(aid_call(&aid, RPC_GROUP_LIST_MEMBERS, PLAIN, target, &asking), RPC_STATUS_PERMISSION_DENIED);
    assert_int_equal(aid_call(&aid, RPC_GROUP_LIST_MEMBERS, STRANGER, target, &req), RPC_STATUS_PERMISSION_DENIED);
    assert_int_equal(aid_call(&aid, RPC_GROUP_LIST_MEMBERS, STRANGER, no_group, &req), RPC_STATUS_NOT_FOUND);
    assert_int_equal(aid_call(&aid, RPC_GROUP_LIST_MEMBERS, ADMIN, target, &unknown), RPC_STATUS_INVALID_ARGUMENT);
}

static void my_groups_are_those_i_am_in_or_invited_to(void **state)
{
    MyGroupsRequest req = { 0 };
    MyGroupsReply r = { 0 };
    (void)state;
    for (uint64_t id = 40; id < 45; id++)
        seed_group(&aid.env, id, OWNER, "any", BY_REQUEST);
    seed_member(&aid.env, 40, 0, STRANGER, 1, 1, 0);
    seed_pending(&aid.env, 41, STRANGER, INVITED);
    seed_pending(&aid.env, 42, STRANGER, ASKING);
    seed_member(&aid.env, 43, 0, STRANGER, 0, 1, 4);
    seed_pending(&aid.env, 44, STRANGER, INVITED);
    seed_disband(&aid.env, 40);
    seed_disband(&aid.env, 44);
    assert_int_equal(aid_call(&aid, RPC_GROUP_MY_GROUPS, STRANGER, 0, &req), RPC_STATUS_OK);
    aid_decode(&aid, MyGroupsReply_fields, &r);
    assert_int_equal(r.groups_count, 2);
    assert_int_equal(r.groups[0].group_id, 40);
    assert_true(r.groups[0].disbanded);
    assert_int_equal(r.groups[1].group_id, 41);
    assert_int_equal(r.groups[1].my_pending, Pending_INVITED);
    rpc_release(MyGroupsReply_fields, &r);
    req = (MyGroupsRequest){ .after_group_id = 40, .limit = 1 };
    assert_int_equal(aid_call(&aid, RPC_GROUP_MY_GROUPS, STRANGER, 0, &req), RPC_STATUS_OK);
    aid_decode(&aid, MyGroupsReply_fields, &r);
    assert_int_equal(r.groups_count, 1);
    assert_false(r.more);
    rpc_release(MyGroupsReply_fields, &r);
    req.limit = 501;
    assert_int_equal(aid_call(&aid, RPC_GROUP_MY_GROUPS, STRANGER, 0, &req), RPC_STATUS_INVALID_ARGUMENT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, group_setup, group_teardown)
#define SMALL(name) cmocka_unit_test_setup_teardown(name, group_setup_small, group_teardown)
    const struct CMUnitTest tests[] = {
        TEST(creating_again_finds_the_group),
        TEST(creating_again_finds_a_group_that_was_renamed_since),
        TEST(a_creation_that_lost_a_race_finds_the_other),
        SMALL(unfit_groups_are_refused),
        TEST(an_update_without_a_change_asks_for_nothing),
        TEST(an_update_leaves_what_it_does_not_name),
        TEST(what_was_written_is_never_said_to_be_not_done),
        TEST(changes_are_asked_of_the_owner),
        TEST(malformed_changes_never_reach_the_owner),
        TEST(outsiders_see_groups_that_they_could_join),
        TEST(members_are_paged_for_members_only),
        TEST(my_groups_are_those_i_am_in_or_invited_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
