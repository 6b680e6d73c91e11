/* test/unit/seed.c: see seed.h. */
#include "test/unit/seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define I(x) db_int((int64_t)(x))
#define TEXT(s) db_bytes((s), strlen(s))

static void exec(struct store_env *env, const char *sql, const struct db_val *vals, size_t n)
{
    assert_int_equal(env_exec(env, sql, vals, n, 1).err, BT_OK);
}

void seed_account(struct store_env *env, uint64_t user_id, const char *name)
{
    const struct db_val vals[] = { I(user_id), TEXT(name), TEXT("") };
    exec(env, "INSERT INTO account (user_id, name, password_hash, about, avatar, created_ms) VALUES (?, ?, ?3, ?3, ?3, 0)", vals, 3);
}

void seed_block(struct store_env *env, uint64_t user_id, uint64_t peer_id)
{
    const struct db_val vals[] = { I(user_id), I(peer_id) };
    exec(env, "INSERT INTO friend (user_id, peer_id, state, blocked, changed_ms) VALUES (?, ?, 0, 1, 0)", vals, 2);
}

void seed_group(struct store_env *env, uint64_t group_id, uint64_t creator_id, const char *name, int join_mode)
{
    const struct db_val vals[] = { I(group_id), I(creator_id), I(7000 + group_id), TEXT(name), TEXT(""), I(join_mode) };
    exec(env, "INSERT INTO chat_group (group_id, creator_id, request_id, name, about, join_mode, created_ms) VALUES (?, ?, ?, ?, ?, ?, 5)", vals, 6);
}

void seed_disband(struct store_env *env, uint64_t group_id)
{
    const struct db_val vals[] = { I(group_id) };
    exec(env, "UPDATE chat_group SET disbanded_ms = 9 WHERE group_id = ?", vals, 1);
}

void seed_member(struct store_env *env, uint64_t hi, uint64_t lo, uint64_t user_id, int role, uint64_t joined_seq, uint64_t left_seq)
{
    const struct db_val vals[] = { I(hi), I(lo), I(user_id), I(role), I(joined_seq), I(left_seq) };
    exec(env, "INSERT INTO member (hi, lo, user_id, role, joined_seq, left_seq) VALUES (?, ?, ?, ?, ?, ?)", vals, 6);
    const struct db_val group[] = { I(hi) };
    if (lo == 0 && role > 0) /* as its owner would */
        assert_int_equal(env_exec(env, "UPDATE chat_group SET member_count = (SELECT COUNT(*) FROM member m WHERE m.hi = ?1 AND m.lo = 0 AND m.role > 0),"
                                       " owner_id = COALESCE((SELECT user_id FROM member o WHERE o.hi = ?1 AND o.lo = 0 AND o.role = 3), 0) WHERE group_id = ?1", group, 1, DB_ANY).err, BT_OK);
}

void seed_pending(struct store_env *env, uint64_t group_id, uint64_t user_id, int pending)
{
    const struct db_val vals[] = { I(group_id), I(user_id), I(pending) };
    exec(env, "INSERT INTO member (hi, lo, user_id, role, pending) VALUES (?, 0, ?, 0, ?)", vals, 3);
}

void seed_marks(struct store_env *env, uint64_t hi, uint64_t lo, uint64_t user_id, uint64_t delivered_seq, uint64_t read_seq)
{
    const struct db_val vals[] = { I(delivered_seq), I(read_seq), I(hi), I(lo), I(user_id) };
    exec(env, "UPDATE member SET delivered_seq = ?, read_seq = ? WHERE hi = ? AND lo = ? AND user_id = ?", vals, 5);
}

void seed_pair(struct store_env *env, uint64_t hi, uint64_t lo)
{
    seed_member(env, hi, lo, hi, 1, 1, 0);
    if (lo != hi)
        seed_member(env, hi, lo, lo, 1, 1, 0);
}

void seed_message(struct store_env *env, uint64_t hi, uint64_t lo, uint64_t seq, uint64_t sender_id, int kind, uint64_t refers_to_seq, const char *body)
{
    const struct db_val vals[] = { I(hi), I(lo), I(seq), I(sender_id), I(1000 + seq), I(seq), I(kind), I(refers_to_seq), TEXT("t"), TEXT(body) };
    exec(env, "INSERT INTO message (hi, lo, seq, sender_id, client_msg_id, sent_ms, kind, refers_to_seq, digest, content_type, body)"
              " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?)", vals, 10);
}

void seed_texts(struct store_env *env, uint64_t hi, uint64_t lo, uint64_t first, uint64_t last, uint64_t sender_id)
{
    const struct db_val vals[] = { I(first), I(last), I(hi), I(lo), I(sender_id) };
    struct db_done done = env_exec(env, "WITH RECURSIVE s (n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM s WHERE n < ?2)"
                                        " INSERT INTO message (hi, lo, seq, sender_id, client_msg_id, sent_ms, kind, digest, content_type, body)"
                                        " SELECT ?3, ?4, n, ?5, 1000 + n, n, 1, 1, x'', CAST('m' || n AS BLOB) FROM s", vals, 5, (int64_t)(last - first + 1));
    assert_int_equal(done.err, BT_OK);
}

void seed_replace(struct store_env *env, uint64_t hi, uint64_t lo, uint64_t seq, const char *body)
{
    const struct db_val vals[] = { TEXT(body), I(hi), I(lo), I(seq) };
    exec(env, "UPDATE message SET body = ? WHERE hi = ? AND lo = ? AND seq = ?", vals, 4);
}

void seed_empty(struct store_env *env, uint64_t hi, uint64_t lo, uint64_t seq)
{
    const struct db_val vals[] = { TEXT(""), I(hi), I(lo), I(seq) };
    exec(env, "UPDATE message SET body = ?, digest = 0 WHERE hi = ? AND lo = ? AND seq = ?", vals, 4);
}
