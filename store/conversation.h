/*
 * store/conversation.h: who may write in a conversation: what its owner reads when he opens it, and the rows he writes when
 * a group or its members change. Each list builder adds statements that fail the whole list when the state is not the expected one.
 *
 * Callbacks as in db.h: exactly once, loop thread, rows lent.
 */
#ifndef BT_STORE_CONVERSATION_H
#define BT_STORE_CONVERSATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/db.h"

struct store;

/* The numbers of `member.role` and `member.pending`, the protocol's (MemberRole, Pending). */
enum store_role { STORE_NOBODY = 0, STORE_MEMBER = 1, STORE_ADMIN = 2, STORE_OWNER = 3 };
enum store_pending { STORE_NOT_PENDING = 0, STORE_INVITED = 1, STORE_ASKING = 2 };

struct store_member {
    uint64_t user_id;
    int32_t role, pending;
    int64_t muted_until_ms;
    uint64_t joined_seq, left_seq;
};

/* The present members (role > 0) by rising user id. Rows: store_member_of(). */
void store_conversation_members(struct store *st, uint64_t hi, uint64_t lo, db_rows_cb *cb, void *arg);

/* One member row, whatever its role; no row: never had to do with it. */
void store_conversation_member(struct store *st, uint64_t hi, uint64_t lo, uint64_t user_id, db_rows_cb *cb, void *arg);
struct store_member store_member_of(const struct db_rows *rows, size_t r);

/* A group; no row: there is none. */
struct store_group {
    int32_t join_mode;
    int64_t disbanded_ms;
    const void *name, *about; /* lent with the rows */
    uint32_t name_len, about_len;
};
void store_conversation_group(struct store *st, uint64_t group_id, db_rows_cb *cb, void *arg);
struct store_group store_group_of(const struct db_rows *rows);

/*
 * The rights between two users: rows (1, who, disabled_ms, 0) for the accounts of both, and (2, user_id, state, blocked) for what
 * each has with the other in `friend`. Rows: store_pair_of(). hi == lo is a chat with oneself.
 */
struct store_pair {
    bool hi_exists, lo_exists;
    bool hi_blocks, lo_blocks;
    bool are_friends;
};
void store_conversation_pair(struct store *st, uint64_t hi, uint64_t lo, db_rows_cb *cb, void *arg);
struct store_pair store_pair_of(const struct db_rows *rows, uint64_t hi, uint64_t lo);

/* ---- parts of atomic lists -------------------------------------------------------------------------------------------- */

/* The member row of one of a 1:1's users, before its first message. BT_EEXIST: another owner was faster. */
void store_conversation_add_user(struct db_list *list, uint64_t hi, uint64_t lo, uint64_t user_id);

struct store_new_group {
    uint64_t group_id, creator_id, request_id;
    const void *name, *about;
    size_t name_len, about_len;
    int32_t join_mode;
    int64_t created_ms;
};
void store_conversation_add_group(struct db_list *list, const struct store_new_group *g);
void store_conversation_add_update(struct db_list *list, uint64_t group_id, const void *name, size_t name_len, const void *about, size_t about_len,
                                   int32_t join_mode);
void store_conversation_add_disband(struct db_list *list, uint64_t group_id, int64_t now_ms);

/* Make a user a member from seq on: a new row, or the row that stands there (was: as it was read). Marks start below seq; a mute outlives leaving. */
void store_conversation_add_join(struct db_list *list, uint64_t group_id, uint64_t user_id, int32_t role, uint64_t seq, const struct store_member *was);

/* A member with that role leaves, or is removed, by message seq. An owner (of a disbanded group) leaves it without one. */
void store_conversation_add_leave(struct db_list *list, uint64_t group_id, uint64_t user_id, int32_t role, uint64_t seq);
void store_conversation_add_role(struct db_list *list, uint64_t group_id, uint64_t user_id, int32_t from, int32_t to);
void store_conversation_add_mute(struct db_list *list, uint64_t group_id, uint64_t user_id, int32_t role, int64_t until_ms);

#endif
