/*
 * test/unit/group_aid.h: the group role over a real store and a fake owner, four users, and a group of three of them. For the
 * tests of what it asks the owner, what it decides itself, whom it tells.
 */
#ifndef BT_TEST_GROUP_AID_H
#define BT_TEST_GROUP_AID_H

#include "test/unit/owner_aid.h"

enum { OPEN = 0, BY_REQUEST = 1, BY_INVITATION = 2, INVITED = 1, ASKING = 2 };
enum { OWNER = 4, ADMIN = 5, PLAIN = 6, STRANGER = 9, GROUP = 30 };
static const uint64_t target = GROUP | RPC_TARGET_GROUP, no_group = 99 | RPC_TARGET_GROUP;

/* cmocka fixtures, with `aid`; in the second case every limit is soon reached. */
int group_setup(void **state);
int group_setup_small(void **state);
int group_teardown(void **state);

/* A group of owner, admin and a plain member. */
void seed_choir(int join_mode);
int64_t pending_of_stranger(void);

/* The fake owner was asked that many times in all, the last time for this. */
void group_applied(MembershipChange change, uint64_t actor, uint64_t user, size_t times);

/* Of the last answer, a GroupReply. */
uint64_t replied_seq(void);

/* The i-th push is an OnGroup to those users, in any order, but the acting session. */
void group_told(size_t i, uint64_t actor, const GroupEvent *want, size_t nusers, uint64_t sum);

#endif
