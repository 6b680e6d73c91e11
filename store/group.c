/* store/group.c: the SQL about groups as they are shown, and about pending states. */
#include "store/group.h"

#include "store/store.h"

#define I(x) db_int((int64_t)(x))

/* An id that a client chose, and that no id of ours reaches, must not turn negative. */
static struct db_val bounded(uint64_t v)
{
    return db_int(v > INT64_MAX ? INT64_MAX : (int64_t)v);
}

static uint64_t u64_at(const struct db_rows *rows, size_t r, size_t c)
{
    const struct db_val *v = db_at(rows, r, c);
    return v->type == DB_INT ? (uint64_t)v->i : 0;
}

#define VIEW_COLUMNS "g.group_id, g.creator_id, g.name, g.about, g.join_mode, g.created_ms, g.disbanded_ms, g.member_count, g.owner_id, m.role, m.pending"
#define VIEW_FROM " FROM chat_group g LEFT JOIN member m ON m.hi = g.group_id AND m.lo = 0 AND m.user_id = ?"

void store_group_get(struct store *st, uint64_t group_id, uint64_t user_id, db_rows_cb *cb, void *arg)
{
    static const char sql[] = "SELECT " VIEW_COLUMNS VIEW_FROM " WHERE g.group_id = ?";
    const struct db_val vals[] = { I(user_id), bounded(group_id) };

    db_query(store_db(st), sql, vals, 2, cb, arg);
}

void store_group_find(struct store *st, uint64_t creator_id, uint64_t request_id, db_rows_cb *cb, void *arg)
{
    static const char sql[] = "SELECT " VIEW_COLUMNS VIEW_FROM " WHERE g.creator_id = ? AND g.request_id = ?";
    const struct db_val vals[] = { I(creator_id), I(creator_id), I(request_id) };

    db_query(store_db(st), sql, vals, 3, cb, arg);
}

void store_group_list(struct store *st, uint64_t user_id, uint64_t after_group_id, size_t limit, db_rows_cb *cb, void *arg)
{
    static const char sql[] = "SELECT " VIEW_COLUMNS " FROM member m JOIN chat_group g ON g.group_id = m.hi"
                              " WHERE m.user_id = ? AND m.hi > ? AND m.lo = 0 AND (m.role > 0 OR (m.pending = 1 AND g.disbanded_ms = 0))"
                              " ORDER BY m.hi LIMIT ?";
    const struct db_val vals[] = { I(user_id), bounded(after_group_id), I(limit) };

    db_query(store_db(st), sql, vals, 3, cb, arg);
}

struct store_group_view store_group_view_of(const struct db_rows *rows, size_t r)
{
    const struct db_val *name = db_at(rows, r, 2), *about = db_at(rows, r, 3);
    int64_t members = db_at(rows, r, 7)->i; /* below 0 where an older program wrote members during an upgrade, and did not count them */

    return (struct store_group_view){
        .group_id = u64_at(rows, r, 0),
        .creator_id = u64_at(rows, r, 1),
        .name = name->p,
        .name_len = name->len,
        .about = about->p,
        .about_len = about->len,
        .join_mode = (int32_t)u64_at(rows, r, 4),
        .created_ms = db_at(rows, r, 5)->i,
        .disbanded_ms = db_at(rows, r, 6)->i,
        .members = members > 0 ? (uint32_t)members : 0,
        .owner_id = u64_at(rows, r, 8),
        .role = (int32_t)u64_at(rows, r, 9),
        .pending = (int32_t)u64_at(rows, r, 10),
        .has_row = db_at(rows, r, 9)->type == DB_INT,
    };
}

#define JOINED "SELECT COUNT(*) FROM member j JOIN chat_group k ON k.group_id = j.hi WHERE j.user_id = ? AND j.lo = 0 AND j.role > 0 AND k.disbanded_ms = 0"

void store_group_joined(struct store *st, uint64_t user_id, db_rows_cb *cb, void *arg)
{
    static const char sql[] = JOINED;
    const struct db_val vals[] = { I(user_id) };

    db_query(store_db(st), sql, vals, 1, cb, arg);
}

uint32_t store_group_joined_of(const struct db_rows *rows)
{
    return (uint32_t)u64_at(rows, 0, 0);
}

void store_group_other(struct store *st, uint64_t group_id, uint64_t user_id, uint64_t acting_id, db_rows_cb *cb, void *arg)
{
    static const char sql[] = "SELECT (SELECT COUNT(*) FROM account WHERE user_id = ?),"
                              " (SELECT COUNT(*) FROM friend WHERE user_id = ? AND peer_id = ? AND blocked = 1),"
                              " (SELECT role FROM member WHERE hi = ? AND lo = 0 AND user_id = ?),"
                              " (SELECT pending FROM member WHERE hi = ? AND lo = 0 AND user_id = ?), (" JOINED ")";
    const struct db_val user = bounded(user_id), group = bounded(group_id);
    const struct db_val vals[] = { user, user, I(acting_id), group, user, group, user, user };

    db_query(store_db(st), sql, vals, 8, cb, arg);
}

struct store_group_other store_group_other_of(const struct db_rows *rows)
{
    return (struct store_group_other){
        .exists = u64_at(rows, 0, 0) > 0,
        .blocks = u64_at(rows, 0, 1) > 0,
        .role = (int32_t)u64_at(rows, 0, 2),
        .has_row = db_at(rows, 0, 2)->type == DB_INT,
        .pending = (int32_t)u64_at(rows, 0, 3),
        .joined = (uint32_t)u64_at(rows, 0, 4),
    };
}

void store_group_members(struct store *st, uint64_t group_id, int32_t pending, uint64_t after_user_id, size_t limit, db_rows_cb *cb, void *arg)
{
    static const char members[] = "SELECT m.user_id, a.name, m.role, m.pending, m.muted_until_ms, m.joined_seq FROM member m"
                                  " LEFT JOIN account a ON a.user_id = m.user_id"
                                  " WHERE m.hi = ? AND m.lo = 0 AND m.user_id > ? AND m.role > 0 ORDER BY m.user_id LIMIT ?";
    static const char others[] = "SELECT m.user_id, a.name, m.role, m.pending, m.muted_until_ms, m.joined_seq FROM member m"
                                 " LEFT JOIN account a ON a.user_id = m.user_id"
                                 " WHERE m.hi = ? AND m.lo = 0 AND m.user_id > ? AND m.role = 0 AND m.pending = ? ORDER BY m.user_id LIMIT ?";
    const struct db_val vals[] = { I(group_id), bounded(after_user_id), I(limit) };
    const struct db_val other_vals[] = { I(group_id), bounded(after_user_id), I(pending), I(limit) };

    if (pending == 0)
        db_query(store_db(st), members, vals, 3, cb, arg);
    else
        db_query(store_db(st), others, other_vals, 4, cb, arg);
}

struct store_group_member store_group_member_of(const struct db_rows *rows, size_t r)
{
    const struct db_val *name = db_at(rows, r, 1);

    return (struct store_group_member){
        .user_id = u64_at(rows, r, 0),
        .name = name->type == DB_BYTES ? name->p : NULL,
        .name_len = name->type == DB_BYTES ? name->len : 0,
        .role = (int32_t)u64_at(rows, r, 2),
        .pending = (int32_t)u64_at(rows, r, 3),
        .muted_until_ms = db_at(rows, r, 4)->i,
        .joined_seq = u64_at(rows, r, 5),
    };
}

void store_group_admins(struct store *st, uint64_t group_id, db_rows_cb *cb, void *arg)
{
    static const char sql[] = "SELECT user_id FROM member WHERE hi = ? AND lo = 0 AND role >= 2";
    const struct db_val vals[] = { I(group_id) };

    db_query(store_db(st), sql, vals, 1, cb, arg);
}

uint64_t store_group_admin_of(const struct db_rows *rows, size_t r)
{
    return u64_at(rows, r, 0);
}

void store_group_pending(struct store *st, uint64_t group_id, size_t limit, db_rows_cb *cb, void *arg)
{
    static const char sql[] = "SELECT COUNT(*) FROM (SELECT user_id FROM member WHERE hi = ? AND lo = 0 AND role = 0 AND pending > 0 LIMIT ?) p";
    const struct db_val vals[] = { I(group_id), I(limit) };

    db_query(store_db(st), sql, vals, 2, cb, arg);
}

void store_group_set_pending(struct store *st, uint64_t group_id, uint64_t user_id, bool has_row, int32_t was, int32_t pending, db_done_cb *cb, void *arg)
{
    static const char update[] = "UPDATE member SET pending = ? WHERE hi = ? AND lo = 0 AND user_id = ? AND role = 0 AND pending = ?";
    static const char insert[] = "INSERT INTO member (hi, lo, user_id, role, pending, muted_until_ms, joined_seq, left_seq, delivered_seq, read_seq)"
                                 " VALUES (?, 0, ?, 0, ?, 0, 0, 0, 0, 0)";
    const struct db_val update_vals[] = { I(pending), I(group_id), I(user_id), I(was) };
    const struct db_val insert_vals[] = { I(group_id), I(user_id), I(pending) };

    if (has_row)
        db_exec(store_db(st), update, update_vals, 4, 1, cb, arg);
    else
        db_exec(store_db(st), insert, insert_vals, 3, 1, cb, arg);
}
