/*
 * test/unit/test_group.c: the group role over a real store and a fake owner: what it asks the owner, what it decides itself,
 * whom it tells.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "test/unit/owner_aid.h"
#include "test/unit/seed.h"

enum { OPEN = 0, BY_REQUEST = 1, BY_INVITATION = 2, INVITED = 1, ASKING = 2 };
enum { OWNER = 4, ADMIN = 5, PLAIN = 6, STRANGER = 9, GROUP = 30 };
static const uint64_t target = GROUP | RPC_TARGET_GROUP, no_group = 99 | RPC_TARGET_GROUP;

static struct owner_aid aid; /* large */

static int setup_with(void **state, const char *const *settings)
{
    aid_start(&aid, &role_group, settings);
    seed_account(&aid.env, OWNER, "anna");
    seed_account(&aid.env, ADMIN, "bert");
    seed_account(&aid.env, PLAIN, "carl");
    seed_account(&aid.env, STRANGER, "dora");
    *state = &aid;
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, NULL);
}

static int setup_small(void **state)
{
    static const char *const settings[] = { "group.max_joined=1", "group.max_members=3", "group.max_pending=2", "group.name_max=5", "group.about_max=6", NULL };
    return setup_with(state, settings);
}

static int teardown(void **state)
{
    aid_stop(*state);
    return 0;
}

/* A group of owner, admin and a plain member. */
static void seed_choir(int join_mode)
{
    seed_group(&aid.env, GROUP, OWNER, "choir", join_mode);
    seed_member(&aid.env, GROUP, 0, OWNER, 3, 1, 0);
    seed_member(&aid.env, GROUP, 0, ADMIN, 2, 2, 0);
    seed_member(&aid.env, GROUP, 0, PLAIN, 1, 3, 0);
}

static int64_t pending_of_stranger(void)
{
    return env_int(&aid.env, "SELECT pending FROM member WHERE hi = 30 AND user_id = 9");
}

static void applied(MembershipChange change, uint64_t actor, uint64_t user, size_t times)
{
    assert_int_equal(aid.napplies, times);
    assert_int_equal(aid.change, change);
    assert_int_equal(aid.applied_actor, actor);
    assert_int_equal(aid.applied_user, user);
    assert_int_equal(aid.applied_target, target);
}

static uint64_t replied_seq(void)
{
    GroupReply reply = { 0 };
    aid_decode(&aid, GroupReply_fields, &reply);
    rpc_release(GroupReply_fields, &reply);
    return reply.seq;
}

/* The i-th push is an OnGroup to those users, in any order, but the acting session. */
static void told(size_t i, uint64_t actor, const GroupEvent *want, size_t nusers, uint64_t sum)
{
    GroupEvent event = { 0 };
    uint64_t got = 0;
    aid_wait_pushes(&aid, i + 1);
    assert_int_equal(aid.pushes[i].method, RPC_ON_GROUP);
    assert_int_equal(aid.pushes[i].except_session, aid_session(actor));
    assert_int_equal(aid.pushes[i].nusers, nusers);
    for (size_t u = 0; u < nusers; u++)
        got += aid.pushes[i].users[u];
    assert_int_equal(got, sum);
    assert_int_equal(rpc_decode(GroupEvent_fields, aid.pushes[i].event, aid.pushes[i].event_len, &event), BT_OK);
    assert_int_equal(event.group_id, GROUP);
    assert_int_equal(event.name.len, 5);
    assert_int_equal(event.user_id, want->user_id);
    assert_int_equal(event.about_user_id, want->about_user_id);
    assert_int_equal(event.pending, want->pending);
    rpc_release(GroupEvent_fields, &event);
}

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
    applied(MembershipChange_UPDATED, ADMIN, ADMIN, 1);
    assert_int_equal(aid_call(&aid, RPC_GROUP_UPDATE_GROUP, ADMIN, target, &same), RPC_STATUS_OK);
    assert_int_equal(aid.napplies, 1);
    assert_int_equal(aid_call(&aid, RPC_GROUP_UPDATE_GROUP, ADMIN, target, &empty), RPC_STATUS_INVALID_ARGUMENT);
    assert_int_equal(aid_call(&aid, RPC_GROUP_UPDATE_GROUP, ADMIN, no_group, &mode), RPC_STATUS_NOT_FOUND);
    aid.apply_err = BT_EDENIED;
    assert_int_equal(aid_call(&aid, RPC_GROUP_UPDATE_GROUP, PLAIN, target, &same), RPC_STATUS_PERMISSION_DENIED);
    assert_int_equal(aid.napplies, 2);
}

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
    applied(MembershipChange_JOINED, STRANGER, STRANGER, 1);
    assert_int_equal(join(PLAIN).seq, 0); /* is in already */
    assert_int_equal(aid.napplies, 1);
    assert_int_equal(join_status(STRANGER, no_group), RPC_STATUS_NOT_FOUND);
    assert_int_equal(join_status(STRANGER, GROUP), RPC_STATUS_NOT_FOUND); /* a user, not a group */
    aid.apply_err = BT_EBUSY;
    assert_int_equal(join_status(STRANGER, target), RPC_STATUS_RESOURCE_EXHAUSTED); /* full, says the owner */
    seed_disband(&aid.env, GROUP);
    assert_int_equal(join_status(STRANGER, target), RPC_STATUS_FAILED_PRECONDITION);
}

static void asking_is_told_to_owner_and_admins_once(void **state)
{
    const GroupEvent event = { .user_id = STRANGER, .about_user_id = STRANGER, .pending = Pending_ASKING };
    (void)state;
    seed_choir(BY_REQUEST);
    assert_true(join(STRANGER).pending);
    assert_int_equal(pending_of_stranger(), ASKING);
    told(0, STRANGER, &event, 3, OWNER + ADMIN + STRANGER);
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
    applied(MembershipChange_JOINED, STRANGER, STRANGER, 1);
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
    told(0, ADMIN, &event, 1, STRANGER);
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
    applied(MembershipChange_JOINED, ADMIN, STRANGER, 1);
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
    told(0, STRANGER, &event, 3, OWNER + ADMIN + STRANGER);
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
    told(0, ADMIN, &event, 3, OWNER + ADMIN + STRANGER);
    assert_int_equal(refuse(ADMIN, 12345), RPC_STATUS_OK);
    assert_int_equal(aid_call(&aid, RPC_GROUP_REFUSE, ADMIN, no_group, &req), RPC_STATUS_NOT_FOUND);
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
    applied(MembershipChange_LEFT, PLAIN, PLAIN, 1);
    assert_int_equal(replied_seq(), 21);
    assert_int_equal(aid_call(&aid, RPC_GROUP_KICK, ADMIN, target, &kick), RPC_STATUS_OK);
    applied(MembershipChange_KICKED, ADMIN, PLAIN, 2);
    assert_int_equal(aid_call(&aid, RPC_GROUP_MUTE, ADMIN, target, &mute), RPC_STATUS_OK);
    applied(MembershipChange_MUTED, ADMIN, PLAIN, 3);
    assert_int_equal(aid_call(&aid, RPC_GROUP_SET_ROLE, OWNER, target, &set_role), RPC_STATUS_OK);
    applied(MembershipChange_ROLE_SET, OWNER, PLAIN, 4);
    assert_int_equal(aid_call(&aid, RPC_GROUP_TRANSFER, OWNER, target, &transfer), RPC_STATUS_OK);
    applied(MembershipChange_TRANSFERRED, OWNER, PLAIN, 5);
    assert_int_equal(aid_call(&aid, RPC_GROUP_DISBAND, OWNER, target, &disband), RPC_STATUS_OK);
    applied(MembershipChange_DISBANDED, OWNER, 0, 6);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define SMALL(name) cmocka_unit_test_setup_teardown(name, setup_small, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(creating_again_finds_the_group),
        TEST(creating_again_finds_a_group_that_was_renamed_since),
        TEST(a_creation_that_lost_a_race_finds_the_other),
        SMALL(unfit_groups_are_refused),
        TEST(an_update_without_a_change_asks_for_nothing),
        TEST(an_update_leaves_what_it_does_not_name),
        TEST(what_was_written_is_never_said_to_be_not_done),
        TEST(an_open_group_is_joined_at_once),
        TEST(asking_is_told_to_owner_and_admins_once),
        TEST(one_who_left_may_ask_again),
        TEST(by_invitation_means_the_invited_only),
        SMALL(who_is_in_too_many_groups_joins_no_other),
        TEST(an_invitation_is_kept_and_told),
        TEST(who_may_not_invite_is_refused),
        TEST(any_member_invites_into_an_open_group),
        SMALL(nobody_is_invited_into_a_full_group),
        SMALL(no_more_than_so_many_are_invited_or_ask),
        TEST(one_who_asks_is_let_in_by_inviting),
        TEST(an_invitation_is_refused_by_the_invited),
        TEST(a_request_is_refused_by_those_who_decide),
        TEST(changes_are_asked_of_the_owner),
        TEST(malformed_changes_never_reach_the_owner),
        TEST(outsiders_see_groups_that_they_could_join),
        TEST(members_are_paged_for_members_only),
        TEST(my_groups_are_those_i_am_in_or_invited_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
