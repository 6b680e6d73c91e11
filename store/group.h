/*
 * store/group.h: groups as they are shown, their members, and who is invited or asks to join.
 *
 * Groups and members are written by the conversation's owner (conversation.h); here only pending states are, which make nobody
 * a member. All callbacks: exactly once, on the loop thread, never before the call that armed them returned; rows are lent to
 * them. Errors are db.h's.
 */
#ifndef BT_STORE_GROUP_H
#define BT_STORE_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/db.h"

struct store;

/* A group, as one user sees it. */
struct store_group_view {
    uint64_t group_id, creator_id;
    const void *name, *about;       /* lent with the rows */
    size_t name_len, about_len;
    int32_t join_mode;
    int64_t created_ms, disbanded_ms;
    uint32_t members;
    uint64_t owner_id;              /* 0: none */
    int32_t role, pending;          /* the user's; enum store_role, enum store_pending */
    bool has_row;                   /* the user has a member row, of whatever role */
};

/* One group, seen by user_id; no row: there is none. Rows: store_group_view_of(). */
void store_group_get(struct store *st, uint64_t group_id, uint64_t user_id, db_rows_cb *cb, void *arg);

/* The group that creator_id made with request_id, seen by him; no row: none. */
void store_group_find(struct store *st, uint64_t creator_id, uint64_t request_id, db_rows_cb *cb, void *arg);

/* The groups that a user is in or invited to, after one id, by rising id. Invitations to disbanded groups are left out. */
void store_group_list(struct store *st, uint64_t user_id, uint64_t after_group_id, size_t limit, db_rows_cb *cb, void *arg);
struct store_group_view store_group_view_of(const struct db_rows *rows, size_t r);

/* How many groups that are not disbanded a user is in: one row, store_group_joined_of(). */
void store_group_joined(struct store *st, uint64_t user_id, db_rows_cb *cb, void *arg);
uint32_t store_group_joined_of(const struct db_rows *rows);

/* Another user beside the one who acts: what an invitation or a refusal must know of him. Always one row. */
struct store_group_other {
    bool exists;                    /* the account */
    bool blocks;                    /* he blocks the one who acts */
    bool has_row;
    int32_t role, pending;
    uint32_t joined;                /* groups he is in, as above */
};
void store_group_other(struct store *st, uint64_t group_id, uint64_t user_id, uint64_t acting_id, db_rows_cb *cb, void *arg);
struct store_group_other store_group_other_of(const struct db_rows *rows);

/* Members (pending 0), or the invited or asking (enum store_pending), after one user id, by rising id. Rows: store_group_member_of(). */
struct store_group_member {
    uint64_t user_id;
    const void *name;               /* lent with the rows */
    size_t name_len;
    int32_t role, pending;
    int64_t muted_until_ms;
    uint64_t joined_seq;
};
void store_group_members(struct store *st, uint64_t group_id, int32_t pending, uint64_t after_user_id, size_t limit, db_rows_cb *cb, void *arg);
struct store_group_member store_group_member_of(const struct db_rows *rows, size_t r);

/* The ids of owner and admins. Rows: store_group_admin_of(). */
void store_group_admins(struct store *st, uint64_t group_id, db_rows_cb *cb, void *arg);
uint64_t store_group_admin_of(const struct db_rows *rows, size_t r);

/* How many are invited or ask, at most limit: one row, store_group_joined_of(). Looks at the rows of members, and of those that left, too. */
void store_group_pending(struct store *st, uint64_t group_id, size_t limit, db_rows_cb *cb, void *arg);

/*
 * Change the pending state of someone who is no member, from `was` (has_row: whether his row is there). BT_ECONFLICT,
 * BT_EEXIST: it is another one meanwhile, or he is a member.
 */
void store_group_set_pending(struct store *st, uint64_t group_id, uint64_t user_id, bool has_row, int32_t was, int32_t pending, db_done_cb *cb, void *arg);

#endif
