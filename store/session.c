/* store/session.c: the SQL of sessions. */
#include "store/session.h"

#include "store/store.h"

static struct db_val text_val(struct store_text t)
{
    return db_bytes(t.p ? t.p : "", t.len);
}

/* The plus says nothing but to SQLite, which else would look through the live sessions of all users. */
void store_session_live(struct store *st, uint64_t user_id, db_rows_cb *cb, void *arg)
{
    const struct db_val params[] = { db_int((int64_t)user_id) };
    db_query(store_db(st),
             "SELECT session_id, device_id, device, created_ms FROM session WHERE user_id = ? AND +ended_ms = 0 "
             "ORDER BY created_ms DESC, session_id DESC",
             params, 1, cb, arg);
}

bool store_session_live_at(const struct db_rows *rows, size_t r, struct store_session *out)
{
    if (!rows || r >= rows->nrows)
        return false;
    const struct db_val *device = db_at(rows, r, 2);
    *out = (struct store_session){
        .session_id = (uint64_t)db_at(rows, r, 0)->i,
        .device_id = db_at(rows, r, 1)->i,
        .device = { device->p, device->len },
        .created_ms = db_at(rows, r, 3)->i,
    };
    return true;
}

void store_session_find(struct store *st, uint64_t user_id, uint64_t session_id, db_rows_cb *cb, void *arg)
{
    const struct db_val params[] = { db_int((int64_t)user_id), db_int((int64_t)session_id) };
    db_query(store_db(st), "SELECT ended_ms FROM session WHERE user_id = ? AND session_id = ?", params, 2, cb, arg);
}

bool store_session_find_at(const struct db_rows *rows, size_t r, int64_t *ended_ms_out)
{
    if (!rows || r >= rows->nrows)
        return false;
    *ended_ms_out = db_at(rows, r, 0)->i;
    return true;
}

/*
 * Every login and every change of password begins by writing the account's row, although a login changes nothing in
 * it: so they follow one another, and no login that checked the old password begins a session after the change.
 */
static void session_add_fence(struct db_list *list, const struct store_login *login)
{
    const struct db_val params[] = { db_int((int64_t)login->user_id), text_val(login->hash) };
    db_list_add(list, "UPDATE account SET disabled_ms = 0 WHERE user_id = ? AND password_hash = ? AND disabled_ms = 0",
                params, 2, 1);
}

void store_session_begin(struct store *st, const struct store_login *login, db_done_cb *cb, void *arg)
{
    const struct store_session *s = &login->session;
    const int64_t user_id = (int64_t)login->user_id;
    const struct db_val params[] = { db_int(user_id), db_int((int64_t)s->session_id), db_int(s->device_id),
                                     text_val(s->device), db_int(s->created_ms), db_int(user_id), db_int(user_id),
                                     db_int((int64_t)login->nleft) };
    struct db_list *list = db_list_new(store_db(st));

    session_add_fence(list, login);
    for (size_t i = 0; i < login->nreplaced; i++) {
        const struct db_val end[] = { db_int(s->created_ms), db_int(login->reason), db_int(user_id),
                                      db_int((int64_t)login->replaced[i]) };
        db_list_add(list,
                    "UPDATE session SET ended_ms = ?, end_reason = ?, device_id = -session_id "
                    "WHERE user_id = ? AND session_id = ? AND ended_ms = 0",
                    end, 4, 1);
    }
    db_list_add(list,
                "INSERT INTO session (user_id, session_id, device_id, device, created_ms, ended_ms, end_reason) "
                "SELECT ?, ?, ?, ?, ?, 0, 0 FROM account WHERE user_id = ? "
                "AND (SELECT COUNT(*) FROM session WHERE user_id = ? AND ended_ms = 0) = ?",
                params, 8, 1);
    db_list_run(store_db(st), list, cb, arg);
}

void store_session_again(struct store *st, const struct store_login *login, db_done_cb *cb, void *arg)
{
    const struct db_val params[] = { text_val(login->session.device), db_int((int64_t)login->user_id),
                                     db_int((int64_t)login->session.session_id) };
    struct db_list *list = db_list_new(store_db(st));

    session_add_fence(list, login);
    db_list_add(list, "UPDATE session SET device = ? WHERE user_id = ? AND session_id = ? AND ended_ms = 0", params, 3, 1);
    db_list_run(store_db(st), list, cb, arg);
}

void store_session_end(struct store *st, uint64_t user_id, uint64_t session_id, int reason, int64_t now_ms, db_done_cb *cb, void *arg)
{
    const struct db_val params[] = { db_int(now_ms), db_int(reason), db_int((int64_t)user_id), db_int((int64_t)session_id) };
    db_exec(store_db(st),
            "UPDATE session SET ended_ms = ?, end_reason = ?, device_id = -session_id "
            "WHERE user_id = ? AND session_id = ? AND ended_ms = 0",
            params, 4, DB_ANY, cb, arg);
}

void store_session_end_later(struct store *st, uint64_t user_id, uint64_t session_id, int64_t now_ms, db_done_cb *cb, void *arg)
{
    const struct db_val params[] = { db_int(now_ms), db_int((int64_t)user_id), db_int((int64_t)session_id), db_int(now_ms) };
    db_exec(store_db(st),
            "UPDATE session SET ended_ms = ? WHERE user_id = ? AND session_id = ? AND ended_ms > 0 AND ended_ms < ?",
            params, 4, DB_ANY, cb, arg);
}

void store_session_ended(struct store *st, int64_t since_ms, db_rows_cb *cb, void *arg)
{
    const struct db_val params[] = { db_int(since_ms), db_int(since_ms), db_int(STORE_ENDED_PAGE - 1) };
    db_query(store_db(st),
             "SELECT user_id, session_id, ended_ms, end_reason FROM session WHERE ended_ms >= ? AND ended_ms <= "
             "COALESCE((SELECT ended_ms FROM session WHERE ended_ms >= ? ORDER BY ended_ms LIMIT 1 OFFSET ?), 9223372036854775807) "
             "ORDER BY ended_ms, user_id, session_id",
             params, 3, cb, arg);
}

bool store_session_ended_at(const struct db_rows *rows, size_t r, struct store_ended *out)
{
    if (!rows || r >= rows->nrows)
        return false;
    *out = (struct store_ended){
        .user_id = (uint64_t)db_at(rows, r, 0)->i,
        .session_id = (uint64_t)db_at(rows, r, 1)->i,
        .ended_ms = db_at(rows, r, 2)->i,
        .reason = (int)db_at(rows, r, 3)->i,
    };
    return true;
}
