/* store/account.c: the SQL of accounts. */
#include "store/account.h"

#include <assert.h>

#include "store/store.h"

#define ACCOUNT_COLUMNS "a.user_id, a.name, a.password_hash, a.about, a.avatar, a.created_ms, a.disabled_ms"

/*
 * An ended session gives its device id up, so that (user, device, ended_ms) stays unique whatever the clock says. The plus is
 * store_session_live()'s.
 */
#define END_SESSIONS "UPDATE session SET ended_ms = ?, end_reason = ?, device_id = -session_id WHERE user_id = ? AND +ended_ms = 0"

#define MARKS_10 "?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
#define MARKS_50 MARKS_10 ", " MARKS_10 ", " MARKS_10 ", " MARKS_10 ", " MARKS_10

static struct db_val text_val(struct store_text t)
{
    return t.p ? db_bytes(t.p, t.len) : db_null();
}

static struct store_text text_at(const struct db_rows *rows, size_t r, size_t c)
{
    const struct db_val *v = db_at(rows, r, c);
    return v->type == DB_BYTES ? (struct store_text){ v->p, v->len } : (struct store_text){ "", 0 };
}

void store_account_by_name(struct store *st, struct store_text canon, db_rows_cb *cb, void *arg)
{
    const struct db_val params[] = { text_val(canon) };
    db_query(store_db(st),
             "SELECT " ACCOUNT_COLUMNS " FROM account_name n JOIN account a ON a.user_id = n.user_id WHERE n.canon = ?",
             params, 1, cb, arg);
}

void store_account_by_id(struct store *st, uint64_t user_id, db_rows_cb *cb, void *arg)
{
    const struct db_val params[] = { db_int((int64_t)user_id) };
    db_query(store_db(st), "SELECT " ACCOUNT_COLUMNS " FROM account a WHERE a.user_id = ?", params, 1, cb, arg);
}

bool store_account_at(const struct db_rows *rows, size_t r, struct store_account *out)
{
    if (!rows || r >= rows->nrows)
        return false;
    *out = (struct store_account){
        .user_id = (uint64_t)db_at(rows, r, 0)->i,
        .name = text_at(rows, r, 1),
        .hash = text_at(rows, r, 2),
        .about = text_at(rows, r, 3),
        .avatar = text_at(rows, r, 4),
        .created_ms = db_at(rows, r, 5)->i,
        .disabled_ms = db_at(rows, r, 6)->i,
    };
    return true;
}

void store_account_names(struct store *st, const uint64_t *ids, size_t n, db_rows_cb *cb, void *arg)
{
    static const char few[] = "SELECT user_id, name FROM account WHERE user_id IN (" MARKS_10 ") ORDER BY user_id";
    static const char many[] = "SELECT user_id, name FROM account WHERE user_id IN (" MARKS_50 ", " MARKS_50
                               ", " MARKS_50 ", " MARKS_50 ") ORDER BY user_id";
    struct db_val params[STORE_ACCOUNT_NAMES_MAX];
    size_t marks = n <= 10 ? 10 : STORE_ACCOUNT_NAMES_MAX;

    assert(n > 0 && n <= STORE_ACCOUNT_NAMES_MAX);
    for (size_t i = 0; i < marks; i++) /* nobody has the id 0, which fills the rest */
        params[i] = db_int(i < n ? (int64_t)ids[i] : 0);
    db_query(store_db(st), n <= 10 ? few : many, params, marks, cb, arg);
}

bool store_account_names_at(const struct db_rows *rows, size_t r, uint64_t *id_out, struct store_text *name_out)
{
    if (!rows || r >= rows->nrows)
        return false;
    *id_out = (uint64_t)db_at(rows, r, 0)->i;
    *name_out = text_at(rows, r, 1);
    return true;
}

void store_account_insert(struct store *st, const struct store_account *a, struct store_text canon, db_done_cb *cb, void *arg)
{
    const struct db_val name[] = { text_val(canon), db_int((int64_t)a->user_id) };
    const struct db_val account[] = { db_int((int64_t)a->user_id), text_val(a->name), text_val(a->hash),
                                      db_bytes("", 0), db_bytes("", 0), db_int(a->created_ms) };
    struct db_list *list = db_list_new(store_db(st));

    db_list_add(list, "INSERT INTO account_name (canon, user_id) VALUES (?, ?)", name, 2, 1);
    db_list_add(list,
                "INSERT INTO account (user_id, name, password_hash, about, avatar, created_ms) VALUES (?, ?, ?, ?, ?, ?)",
                account, 6, 1);
    db_list_run(store_db(st), list, cb, arg);
}

void store_account_set_profile(struct store *st, uint64_t user_id, struct store_text about, struct store_text avatar,
                               db_done_cb *cb, void *arg)
{
    const struct db_val params[] = { text_val(about), text_val(avatar), db_int((int64_t)user_id) };
    db_exec(store_db(st), "UPDATE account SET about = COALESCE(?, about), avatar = COALESCE(?, avatar) WHERE user_id = ?",
            params, 3, 1, cb, arg);
}

#define SET_HASH "UPDATE account SET password_hash = ? WHERE user_id = ? AND password_hash = ?"

void store_account_set_hash(struct store *st, uint64_t user_id, struct store_text old_hash, struct store_text new_hash, db_done_cb *cb, void *arg)
{
    const struct db_val params[] = { text_val(new_hash), db_int((int64_t)user_id), text_val(old_hash) };
    db_exec(store_db(st), SET_HASH, params, 3, 1, cb, arg);
}

void store_account_set_password(struct store *st, uint64_t user_id, struct store_text old_hash, struct store_text new_hash,
                                uint64_t keep_session, int reason, db_done_cb *cb, void *arg)
{
    const struct db_val account[] = { text_val(new_hash), db_int((int64_t)user_id), text_val(old_hash) };
    const struct db_val sessions[] = { db_int(store_now_ms(st)), db_int(reason), db_int((int64_t)user_id),
                                       db_int((int64_t)keep_session) };
    struct db_list *list = db_list_new(store_db(st));

    db_list_add(list, SET_HASH, account, 3, 1);
    db_list_add(list, END_SESSIONS " AND session_id <> ?", sessions, 4, DB_ANY);
    db_list_run(store_db(st), list, cb, arg);
}

void store_account_disable(struct store *st, uint64_t user_id, int reason, db_done_cb *cb, void *arg)
{
    const int64_t now_ms = store_now_ms(st);
    const struct db_val account[] = { db_int(now_ms), db_int((int64_t)user_id) };
    const struct db_val sessions[] = { db_int(now_ms), db_int(reason), db_int((int64_t)user_id) };
    struct db_list *list = db_list_new(store_db(st));

    db_list_add(list, "UPDATE account SET disabled_ms = CASE WHEN disabled_ms = 0 THEN ? ELSE disabled_ms END WHERE user_id = ?",
                account, 2, 1);
    db_list_add(list, END_SESSIONS, sessions, 3, DB_ANY);
    db_list_run(store_db(st), list, cb, arg);
}

void store_account_enable(struct store *st, uint64_t user_id, db_done_cb *cb, void *arg)
{
    const struct db_val params[] = { db_int((int64_t)user_id) };
    db_exec(store_db(st), "UPDATE account SET disabled_ms = 0 WHERE user_id = ?", params, 1, 1, cb, arg);
}
