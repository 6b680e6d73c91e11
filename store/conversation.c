/* store/conversation.c: the SQL about who may write where. */
#include "store/conversation.h"

#include <assert.h>

#include "store/store.h"

#define I(x) db_int((int64_t)(x))

#define MEMBER_COLUMNS "user_id, role, pending, muted_until_ms, joined_seq, left_seq"

void store_conversation_members(struct store *st, uint64_t hi, uint64_t lo, db_rows_cb *cb, void *arg)
{
    static const char sql[] = "SELECT " MEMBER_COLUMNS " FROM member WHERE hi = ? AND lo = ? AND role > 0 ORDER BY user_id";
    const struct db_val vals[] = { I(hi), I(lo) };

    db_query(store_db(st), sql, vals, 2, cb, arg);
}

void store_conversation_member(struct store *st, uint64_t hi, uint64_t lo, uint64_t user_id, db_rows_cb *cb, void *arg)
{
    static const char sql[] = "SELECT " MEMBER_COLUMNS " FROM member WHERE hi = ? AND lo = ? AND user_id = ?";
    const struct db_val vals[] = { I(hi), I(lo), I(user_id) };

    db_query(store_db(st), sql, vals, 3, cb, arg);
}

struct store_member store_member_of(const struct db_rows *rows, size_t r)
{
    return (struct store_member){
        .user_id = (uint64_t)db_at(rows, r, 0)->i,
        .role = (int32_t)db_at(rows, r, 1)->i,
        .pending = (int32_t)db_at(rows, r, 2)->i,
        .muted_until_ms = db_at(rows, r, 3)->i,
        .joined_seq = (uint64_t)db_at(rows, r, 4)->i,
        .left_seq = (uint64_t)db_at(rows, r, 5)->i,
    };
}

void store_conversation_group(struct store *st, uint64_t group_id, db_rows_cb *cb, void *arg)
{
    static const char sql[] = "SELECT join_mode, disbanded_ms, name, about FROM chat_group WHERE group_id = ?";
    const struct db_val vals[] = { I(group_id) };

    db_query(store_db(st), sql, vals, 1, cb, arg);
}

struct store_group store_group_of(const struct db_rows *rows)
{
    const struct db_val *name = db_at(rows, 0, 2), *about = db_at(rows, 0, 3);

    return (struct store_group){
        .join_mode = (int32_t)db_at(rows, 0, 0)->i,
        .disbanded_ms = db_at(rows, 0, 1)->i,
        .name = name->p,
        .name_len = name->len,
        .about = about->p,
        .about_len = about->len,
    };
}

void store_conversation_pair(struct store *st, uint64_t hi, uint64_t lo, db_rows_cb *cb, void *arg)
{
    static const char sql[] = "SELECT 1, user_id, 0, 0 FROM account WHERE user_id IN (?, ?)"
                              " UNION ALL SELECT 2, user_id, state, blocked FROM friend WHERE user_id = ? AND peer_id = ?"
                              " UNION ALL SELECT 2, user_id, state, blocked FROM friend WHERE user_id = ? AND peer_id = ?";
    const struct db_val vals[] = { I(hi), I(lo), I(hi), I(lo), I(lo), I(hi) };

    db_query(store_db(st), sql, vals, 6, cb, arg);
}

struct store_pair store_pair_of(const struct db_rows *rows, uint64_t hi, uint64_t lo)
{
    enum { FRIENDS = 3 };
    struct store_pair pair = { .are_friends = hi == lo };

    for (size_t r = 0; r < rows->nrows; r++) {
        uint64_t user = (uint64_t)db_at(rows, r, 1)->i;
        if (db_at(rows, r, 0)->i == 1) {
            pair.hi_exists |= user == hi;
            pair.lo_exists |= user == lo;
        } else {
            bool blocks = db_at(rows, r, 3)->i != 0;
            pair.hi_blocks |= user == hi && blocks;
            pair.lo_blocks |= user == lo && blocks;
            pair.are_friends |= db_at(rows, r, 2)->i == FRIENDS;
        }
    }
    return pair;
}

/* ---- parts of atomic lists -------------------------------------------------------------------------------------------- */

#define INSERT_MEMBER                                                                                                                                          \
    "INSERT INTO member (hi, lo, user_id, role, pending, muted_until_ms, joined_seq, left_seq, delivered_seq, read_seq)"                                       \
    " VALUES (?, ?, ?, ?, 0, 0, ?, 0, ?, ?)"

static void add_member(struct db_list *list, uint64_t hi, uint64_t lo, uint64_t user_id, int32_t role, uint64_t seq)
{
    static const char sql[] = INSERT_MEMBER;
    const struct db_val vals[] = { I(hi), I(lo), I(user_id), I(role), I(seq), I(seq - 1), I(seq - 1) };

    assert(seq > 0);
    db_list_add(list, sql, vals, 7, 1);
}

void store_conversation_add_user(struct db_list *list, uint64_t hi, uint64_t lo, uint64_t user_id)
{
    add_member(list, hi, lo, user_id, STORE_MEMBER, 1);
}

void store_conversation_add_group(struct db_list *list, const struct store_new_group *g)
{
    static const char sql[] = "INSERT INTO chat_group (group_id, creator_id, request_id, name, about, join_mode, created_ms, disbanded_ms, member_count, owner_id)"
                              " VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, 0)";
    const struct db_val vals[] = { I(g->group_id), I(g->creator_id), I(g->request_id), db_bytes(g->name, g->name_len), db_bytes(g->about, g->about_len),
                                   I(g->join_mode), I(g->created_ms) };

    db_list_add(list, sql, vals, 7, 1);
}

void store_conversation_add_update(struct db_list *list, uint64_t group_id, const void *name, size_t name_len, const void *about, size_t about_len,
                                   int32_t join_mode)
{
    static const char sql[] = "UPDATE chat_group SET name = ?, about = ?, join_mode = ? WHERE group_id = ? AND disbanded_ms = 0";
    const struct db_val vals[] = { db_bytes(name, name_len), db_bytes(about, about_len), I(join_mode), I(group_id) };

    db_list_add(list, sql, vals, 4, 1);
}

void store_conversation_add_disband(struct db_list *list, uint64_t group_id, int64_t now_ms)
{
    static const char sql[] = "UPDATE chat_group SET disbanded_ms = ? WHERE group_id = ? AND disbanded_ms = 0";
    const struct db_val vals[] = { I(now_ms), I(group_id) };

    db_list_add(list, sql, vals, 2, 1);
}

/* What the group's row says of its members. */
static void add_count(struct db_list *list, uint64_t group_id, int change)
{
    static const char sql[] = "UPDATE chat_group SET member_count = member_count + ? WHERE group_id = ?";
    const struct db_val vals[] = { I(change), I(group_id) };

    db_list_add(list, sql, vals, 2, 1);
}

static void add_owner(struct db_list *list, uint64_t group_id, uint64_t user_id)
{
    static const char sql[] = "UPDATE chat_group SET owner_id = ? WHERE group_id = ?";
    const struct db_val vals[] = { I(user_id), I(group_id) };

    db_list_add(list, sql, vals, 2, 1);
}

void store_conversation_add_join(struct db_list *list, uint64_t group_id, uint64_t user_id, int32_t role, uint64_t seq, const struct store_member *was)
{
    static const char sql[] = "UPDATE member SET role = ?, pending = 0, joined_seq = ?, left_seq = 0, delivered_seq = ?, read_seq = ?"
                              " WHERE hi = ? AND lo = 0 AND user_id = ? AND role = 0 AND pending = ?";

    if (was == NULL) {
        add_member(list, group_id, 0, user_id, role, seq);
    } else {
        const struct db_val vals[] = { I(role), I(seq), I(seq - 1), I(seq - 1), I(group_id), I(user_id), I(was->pending) };
        db_list_add(list, sql, vals, 7, 1);
    }
    add_count(list, group_id, 1);
    if (role == STORE_OWNER)
        add_owner(list, group_id, user_id);
}

void store_conversation_add_leave(struct db_list *list, uint64_t group_id, uint64_t user_id, int32_t role, uint64_t seq)
{
    static const char sql[] = "UPDATE member SET role = 0, left_seq = ? WHERE hi = ? AND lo = 0 AND user_id = ? AND role = ?";
    const struct db_val vals[] = { I(seq), I(group_id), I(user_id), I(role) };

    db_list_add(list, sql, vals, 4, 1);
    add_count(list, group_id, -1);
    if (role == STORE_OWNER)
        add_owner(list, group_id, 0);
}

void store_conversation_add_role(struct db_list *list, uint64_t group_id, uint64_t user_id, int32_t from, int32_t to)
{
    static const char sql[] = "UPDATE member SET role = ? WHERE hi = ? AND lo = 0 AND user_id = ? AND role = ?";
    const struct db_val vals[] = { I(to), I(group_id), I(user_id), I(from) };

    db_list_add(list, sql, vals, 4, 1);
    if (to == STORE_OWNER)
        add_owner(list, group_id, user_id);
}

void store_conversation_add_mute(struct db_list *list, uint64_t group_id, uint64_t user_id, int32_t role, int64_t until_ms)
{
    static const char sql[] = "UPDATE member SET muted_until_ms = ? WHERE hi = ? AND lo = 0 AND user_id = ? AND role = ?";
    const struct db_val vals[] = { I(until_ms), I(group_id), I(user_id), I(role) };

    db_list_add(list, sql, vals, 4, 1);
}
