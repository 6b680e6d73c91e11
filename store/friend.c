/* store/friend.c: the SQL of friendships. */
#include "store/friend.h"

#include <assert.h>

#include "store/store.h"

void store_friend_facts(struct store *st, uint64_t user_id, uint64_t peer_id, db_rows_cb *cb, void *arg)
{
    const struct db_val user = db_int((int64_t)user_id), peer = db_int((int64_t)peer_id);
    const struct db_val params[] = { user, peer, user, user, peer };
    db_query(store_db(st),
             "SELECT a.user_id, a.name, COALESCE(f.state, 0), COALESCE(f.blocked, 0), "
             "(SELECT COUNT(*) FROM friend c WHERE c.user_id = a.user_id AND c.state IN (1, 3)), "
             "(SELECT COUNT(*) FROM friend r WHERE r.user_id = a.user_id AND r.state = 2) "
             "FROM account a LEFT JOIN friend f ON f.user_id = a.user_id "
             "AND f.peer_id = CASE WHEN a.user_id = ? THEN ? ELSE ? END WHERE a.user_id IN (?, ?)",
             params, 5, cb, arg);
}

void store_friend_facts_at(const struct db_rows *rows, uint64_t user_id, struct store_friend_facts *out)
{
    *out = (struct store_friend_facts){ .own_name = { "", 0 }, .peer_name = { "", 0 } };
    for (size_t r = 0; r < rows->nrows; r++) {
        const struct db_val *name = db_at(rows, r, 1);
        const struct store_friend_side side = { (enum store_friend_state)db_at(rows, r, 2)->i, db_at(rows, r, 3)->i != 0 };
        if ((uint64_t)db_at(rows, r, 0)->i == user_id) {
            out->own_exists = true;
            out->own_name = (struct store_text){ name->p, name->len };
            out->pair.own = side;
            out->own_count = db_at(rows, r, 4)->i;
        } else {
            out->peer_exists = true;
            out->peer_name = (struct store_text){ name->p, name->len };
            out->pair.peer = side;
            out->peer_count = db_at(rows, r, 4)->i;
            out->peer_asked = db_at(rows, r, 5)->i;
        }
    }
}

static bool side_is_empty(const struct store_friend_side *s)
{
    return s->state == STORE_NO_FRIEND && !s->blocked;
}

static bool side_is(const struct store_friend_side *a, const struct store_friend_side *b)
{
    return a->state == b->state && a->blocked == b->blocked;
}

/* One side's change: its row is made, changed, or taken away when it says nothing any more. */
static void side_add(struct db_list *list, uint64_t user_id, uint64_t peer_id, const struct store_friend_side *old,
                     const struct store_friend_side *new, int64_t now_ms)
{
    const struct db_val user = db_int((int64_t)user_id), peer = db_int((int64_t)peer_id);
    const struct db_val now = db_int(now_ms);

    if (side_is(old, new))
        return;
    if (side_is_empty(old)) {
        const struct db_val params[] = { user, peer, db_int(new->state), db_int(new->blocked), now };
        db_list_add(list, "INSERT INTO friend (user_id, peer_id, state, blocked, changed_ms) VALUES (?, ?, ?, ?, ?)", params, 5, 1);
    } else if (side_is_empty(new)) {
        const struct db_val params[] = { user, peer, db_int(old->state), db_int(old->blocked) };
        db_list_add(list, "DELETE FROM friend WHERE user_id = ? AND peer_id = ? AND state = ? AND blocked = ?", params, 4, 1);
    } else {
        const struct db_val params[] = { db_int(new->state), db_int(new->blocked), now, user, peer,
                                         db_int(old->state), db_int(old->blocked) };
        db_list_add(list,
                    "UPDATE friend SET state = ?, blocked = ?, changed_ms = ? "
                    "WHERE user_id = ? AND peer_id = ? AND state = ? AND blocked = ?",
                    params, 7, 1);
    }
}

void store_friend_change(struct store *st, uint64_t user_id, uint64_t peer_id, const struct store_friend_pair *old,
                         const struct store_friend_pair *new, db_done_cb *cb, void *arg)
{
    int64_t now_ms = store_now_ms(st);
    struct db_list *list = db_list_new(store_db(st));

    assert(!side_is(&old->own, &new->own) || !side_is(&old->peer, &new->peer));
    /* Always the smaller id first, so that two changes of one pair don't wait for each other. */
    if (user_id < peer_id)
        side_add(list, user_id, peer_id, &old->own, &new->own, now_ms);
    side_add(list, peer_id, user_id, &old->peer, &new->peer, now_ms);
    if (user_id > peer_id)
        side_add(list, user_id, peer_id, &old->own, &new->own, now_ms);
    db_list_run(store_db(st), list, cb, arg);
}

void store_friend_list(struct store *st, uint64_t user_id, uint64_t after_id, size_t limit, db_rows_cb *cb, void *arg)
{
    const struct db_val params[] = { db_int((int64_t)user_id), db_int((int64_t)after_id), db_int((int64_t)limit) };
    db_query(store_db(st),
             "SELECT f.peer_id, a.name, f.state, f.blocked, f.changed_ms FROM friend f JOIN account a ON a.user_id = f.peer_id "
             "WHERE f.user_id = ? AND f.peer_id > ? ORDER BY f.peer_id LIMIT ?",
             params, 3, cb, arg);
}

bool store_friend_list_at(const struct db_rows *rows, size_t r, struct store_friend *out)
{
    if (!rows || r >= rows->nrows)
        return false;
    const struct db_val *name = db_at(rows, r, 1);
    *out = (struct store_friend){
        .user_id = (uint64_t)db_at(rows, r, 0)->i,
        .name = { name->p, name->len },
        .side = { (enum store_friend_state)db_at(rows, r, 2)->i, db_at(rows, r, 3)->i != 0 },
        .changed_ms = db_at(rows, r, 4)->i,
    };
    return true;
}

void store_friend_ids(struct store *st, uint64_t user_id, uint64_t after_id, size_t limit, db_rows_cb *cb, void *arg)
{
    const struct db_val params[] = { db_int((int64_t)user_id), db_int((int64_t)after_id), db_int((int64_t)limit) };
    db_query(store_db(st), "SELECT peer_id FROM friend WHERE user_id = ? AND peer_id > ? AND state = 3 ORDER BY peer_id LIMIT ?",
             params, 3, cb, arg);
}

bool store_friend_ids_at(const struct db_rows *rows, size_t r, uint64_t *id_out)
{
    if (!rows || r >= rows->nrows)
        return false;
    *id_out = (uint64_t)db_at(rows, r, 0)->i;
    return true;
}
