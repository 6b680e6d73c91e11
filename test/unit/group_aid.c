/* test/unit/group_aid.c: the group role over a real store and a fake owner. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "test/unit/group_aid.h"
#include "test/unit/seed.h"

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

int group_setup(void **state)
{
    return setup_with(state, NULL);
}

int group_setup_small(void **state)
{
    static const char *const settings[] = { "group.max_joined=1", "group.max_members=3", "group.max_pending=2", "group.name_max=5", "group.about_max=6", NULL };
    return setup_with(state, settings);
}

int group_teardown(void **state)
{
    aid_stop(*state);
    return 0;
}

void seed_choir(int join_mode)
{
    seed_group(&aid.env, GROUP, OWNER, "choir", join_mode);
    seed_member(&aid.env, GROUP, 0, OWNER, 3, 1, 0);
    seed_member(&aid.env, GROUP, 0, ADMIN, 2, 2, 0);
    seed_member(&aid.env, GROUP, 0, PLAIN, 1, 3, 0);
}

int64_t pending_of_stranger(void)
{
    return env_int(&aid.env, "SELECT pending FROM member WHERE hi = 30 AND user_id = 9");
}

void group_applied(MembershipChange change, uint64_t actor, uint64_t user, size_t times)
{
    assert_int_equal(aid.napplies, times);
    assert_int_equal(aid.change, change);
    assert_int_equal(aid.applied_actor, actor);
    assert_int_equal(aid.applied_user, user);
    assert_int_equal(aid.applied_target, target);
}

uint64_t replied_seq(void)
{
    GroupReply reply = { 0 };
    aid_decode(&aid, GroupReply_fields, &reply);
    rpc_release(GroupReply_fields, &reply);
    return reply.seq;
}

void group_told(size_t i, uint64_t actor, const GroupEvent *want, size_t nusers, uint64_t sum)
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
