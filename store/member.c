/*
 * store/member.c: the SQL about places, marks and receipts.
 *
 * Several places are asked in one statement by their keys, joined by OR, or where each has a subquery of its own by UNION ALL
 * of look-ups with constant keys. Both databases answer either by short walks of an index; a join with a list of keys would
 * make MariaDB read whole conversations. For the same reason the head is ORDER BY ... LIMIT 1 and not MAX(), and MariaDB is
 * told (in what is a comment to SQLite) by which index: where most logs are short it would read all of a log by the other one,
 * and sort it.
 */
#include "store/member.h"

#include <assert.h>

#include "store/store.h"

#define I(x) db_int((int64_t)(x))
#define X4(sql) sql " UNION ALL " sql " UNION ALL " sql " UNION ALL " sql

/* A parameter that a client chose, and that no key or number of ours reaches, must not turn negative. */
static struct db_val bounded(uint64_t v)
{
    return db_int(v > INT64_MAX ? INT64_MAX : (int64_t)v);
}

#define HEAD "(SELECT x.seq FROM message x /*! FORCE INDEX (PRIMARY) */ WHERE x.hi = m.hi AND x.lo = m.lo ORDER BY x.seq DESC LIMIT 1)"
#define PLACE_COLUMNS "m.hi, m.lo, m.user_id, m.joined_seq, m.left_seq, m.delivered_seq, m.read_seq, " HEAD " AS head_seq"

void store_places(struct store *st, uint64_t user_id, uint64_t after_hi, uint64_t after_lo, uint64_t until_hi, uint64_t until_lo, size_t limit,
                  db_rows_cb *cb, void *arg)
{
    /* The bounds on hi alone say the same again, for the planner that does not see ranges in row values. */
    static const char sql[] = "SELECT " PLACE_COLUMNS " FROM member m"
                              " WHERE m.user_id = ? AND m.hi >= ? AND m.hi <= ? AND (m.hi, m.lo) > (?, ?) AND (m.hi, m.lo) <= (?, ?)"
                              " AND m.joined_seq > 0 AND EXISTS (SELECT 1 FROM message f WHERE f.hi = m.hi AND f.lo = m.lo AND f.seq = 1)"
                              " ORDER BY m.hi, m.lo LIMIT ?";
    const struct db_val vals[] = { I(user_id), bounded(after_hi), bounded(until_hi), bounded(after_hi), bounded(after_lo), bounded(until_hi), bounded(until_lo), I(limit) };

    db_query(store_db(st), sql, vals, 8, cb, arg);
}

/*
 * Keys of members in one walk of theirs, which MariaDB plans and runs in half of the time that a union of sixteen takes, or less.
 * (A union of look-ups is as fast where nothing has to be sorted.) What is ordered by must not be a bare column: where a prepared
 * statement meets keys that are all alike in one, MariaDB 10.11 does not order by it any more whenever it runs again.
 */
#define PLAIN_1 "(m.hi = ? AND m.lo = ? AND m.user_id = ?)"
#define PLAIN_4 PLAIN_1 " OR " PLAIN_1 " OR " PLAIN_1 " OR " PLAIN_1

#define PLACE_1 "SELECT " PLACE_COLUMNS " FROM member m WHERE m.hi = ? AND m.lo = ? AND m.user_id = ?"

void store_places_find(struct store *st, const struct store_place *keys, size_t n, db_rows_cb *cb, void *arg)
{
    static const char sql_1[] = PLACE_1;
    static const char sql_16[] = "SELECT " PLACE_COLUMNS " FROM member m /*! FORCE INDEX (PRIMARY) */"
                                 " WHERE " PLAIN_4 " OR " PLAIN_4 " OR " PLAIN_4 " OR " PLAIN_4 " ORDER BY m.hi + 0, m.lo + 0, m.user_id + 0";
    struct db_val vals[STORE_PLACES_MAX * 3];
    size_t width = n == 1 ? 1 : STORE_PLACES_MAX;

    assert(n > 0 && n <= STORE_PLACES_MAX);
    for (size_t i = 0; i < width; i++) {
        vals[i * 3] = i < n ? bounded(keys[i].hi) : db_int(-1); /* unused places ask for what can't exist */
        vals[i * 3 + 1] = i < n ? bounded(keys[i].lo) : db_int(-1);
        vals[i * 3 + 2] = i < n ? bounded(keys[i].user_id) : db_int(-1);
    }
    db_query(store_db(st), width == 1 ? sql_1 : sql_16, vals, width * 3, cb, arg);
}

static uint64_t u64_at(const struct db_rows *rows, size_t r, size_t c)
{
    const struct db_val *v = db_at(rows, r, c);
    return v->type == DB_INT ? (uint64_t)v->i : 0; /* NULL: no message, no peer, no row to sum over */
}

struct store_place store_place_of(const struct db_rows *rows, size_t r)
{
    return (struct store_place){
        .hi = u64_at(rows, r, 0),
        .lo = u64_at(rows, r, 1),
        .user_id = u64_at(rows, r, 2),
        .joined_seq = u64_at(rows, r, 3),
        .left_seq = u64_at(rows, r, 4),
        .delivered_seq = u64_at(rows, r, 5),
        .read_seq = u64_at(rows, r, 6),
        .head_seq = u64_at(rows, r, 7),
    };
}

#define OUTLINE_1                                                                                                                                              \
    "SELECT m.hi, m.lo,"                                                                                                                                       \
    " (SELECT COUNT(*) FROM message x WHERE x.hi = ? AND x.lo = ? AND x.seq BETWEEN ? AND ?"                                                                   \
    " AND x.sender_id <> ? AND x.kind IN (1, 5) AND x.digest <> 0) AS unread,"                                                                                 \
    " COALESCE(g.name, a.name) AS title, p.delivered_seq, p.read_seq FROM member m"                                                                            \
    " LEFT JOIN member p ON p.hi = m.hi AND p.lo = m.lo AND p.user_id = ?"                                                                                     \
    " LEFT JOIN account a ON a.user_id = ?"                                                                                                                    \
    " LEFT JOIN chat_group g ON g.group_id = ?"                                                                                                                \
    " WHERE m.hi = ? AND m.lo = ? AND m.user_id = ?"

static void outlines_counted(struct store *st, uint64_t user_id, const struct store_range *ranges, size_t n, db_rows_cb *cb, void *arg)
{
    enum { PARAMS = 11 };
    static const char sql_1[] = OUTLINE_1, sql_16[] = X4(X4(OUTLINE_1)) " ORDER BY 1, 2";
    struct db_val vals[STORE_OUTLINES_MAX * PARAMS];
    size_t width = n == 1 ? 1 : STORE_OUTLINES_MAX;

    for (size_t i = 0; i < width; i++) {
        struct db_val *v = vals + i * PARAMS;
        const struct store_range *k = i < n ? &ranges[i] : NULL;
        bool is_group = k && k->lo == 0;
        /* The other of two users: with oneself that is oneself. */
        struct db_val peer = k && !is_group ? I(k->hi + k->lo - user_id) : db_int(-1);
        v[0] = v[8] = k ? I(k->hi) : db_int(-1);
        v[1] = v[9] = k ? I(k->lo) : db_int(-1);
        v[2] = k ? I(k->first) : db_int(1);
        v[3] = k ? I(k->last) : db_int(0);
        v[4] = v[10] = I(user_id);
        v[5] = v[6] = peer;
        v[7] = is_group ? I(k->hi) : db_int(-1);
    }
    db_query(store_db(st), width == 1 ? sql_1 : sql_16, vals, width * PARAMS, cb, arg);
}

#define PEER "CASE WHEN m.lo > 0 THEN m.hi + m.lo - m.user_id END"

static void outlines_plain(struct store *st, uint64_t user_id, const struct store_range *ranges, size_t n, db_rows_cb *cb, void *arg)
{
    enum { PARAMS = 3 };
    static const char sql[] = "SELECT m.hi, m.lo, 0 AS unread, COALESCE(g.name, a.name) AS title, p.delivered_seq, p.read_seq"
                              " FROM member m /*! FORCE INDEX (PRIMARY) */"
                              " LEFT JOIN member p ON p.hi = m.hi AND p.lo = m.lo AND p.user_id = " PEER
                              " LEFT JOIN account a ON a.user_id = " PEER
                              " LEFT JOIN chat_group g ON g.group_id = CASE WHEN m.lo = 0 THEN m.hi END"
                              " WHERE " PLAIN_4 " OR " PLAIN_4 " OR " PLAIN_4 " OR " PLAIN_4 " ORDER BY m.hi + 0, m.lo + 0";
    struct db_val vals[STORE_OUTLINES_MAX * PARAMS];

    for (size_t i = 0; i < STORE_OUTLINES_MAX; i++) {
        vals[i * PARAMS] = i < n ? I(ranges[i].hi) : db_int(-1);
        vals[i * PARAMS + 1] = i < n ? I(ranges[i].lo) : db_int(-1);
        vals[i * PARAMS + 2] = I(user_id);
    }
    db_query(store_db(st), sql, vals, sizeof vals / sizeof *vals, cb, arg);
}

void store_outlines(struct store *st, uint64_t user_id, const struct store_range *ranges, size_t n, bool is_counted, db_rows_cb *cb, void *arg)
{
    assert(n > 0 && n <= STORE_OUTLINES_MAX);
    (is_counted ? outlines_counted : outlines_plain)(st, user_id, ranges, n, cb, arg);
}

struct store_outline store_outline_of(const struct db_rows *rows, size_t r)
{
    const struct db_val *name = db_at(rows, r, 3);

    return (struct store_outline){
        .hi = u64_at(rows, r, 0),
        .lo = u64_at(rows, r, 1),
        .unread = (uint32_t)u64_at(rows, r, 2),
        .name = name->type == DB_BYTES ? name->p : NULL,
        .name_len = name->type == DB_BYTES ? name->len : 0,
        .peer_delivered_seq = u64_at(rows, r, 4),
        .peer_read_seq = u64_at(rows, r, 5),
    };
}

void store_marks_add(struct db_list *list, const struct store_place *m)
{
    static const char sql[] = "UPDATE member SET delivered_seq = CASE WHEN delivered_seq < ? THEN ? ELSE delivered_seq END,"
                              " read_seq = CASE WHEN read_seq < ? THEN ? ELSE read_seq END"
                              " WHERE hi = ? AND lo = ? AND user_id = ? AND (delivered_seq < ? OR read_seq < ?)";
    const struct db_val delivered = I(m->delivered_seq), read = I(m->read_seq);
    const struct db_val vals[] = { delivered, delivered, read, read, I(m->hi), I(m->lo), I(m->user_id), delivered, read };

    db_list_add(list, sql, vals, 9, DB_ANY);
}

#define COUNTED "c.hi = m.hi AND c.lo = m.lo AND c.role > 0 AND c.joined_seq <= x.seq AND c.user_id <> x.sender_id"

#define COUNTED_FROM                                                                                                                                           \
    " FROM member m JOIN message x ON x.hi = m.hi AND x.lo = m.lo AND x.seq = ?"                                                                               \
    " WHERE m.hi = ? AND m.lo = ? AND m.user_id = ? AND m.role > 0 AND m.joined_seq <= ?"

void store_receipt_counts(struct store *st, uint64_t hi, uint64_t lo, uint64_t seq, uint64_t user_id, bool is_counted, db_rows_cb *cb, void *arg)
{
    static const char sql[] = "SELECT m.joined_seq, x.sender_id,"
                              " (SELECT COUNT(*) FROM member c WHERE " COUNTED "),"
                              " (SELECT COUNT(*) FROM member c WHERE " COUNTED " AND c.delivered_seq >= x.seq),"
                              " (SELECT COUNT(*) FROM member c WHERE " COUNTED " AND c.read_seq >= x.seq)" COUNTED_FROM;
    static const char uncounted[] = "SELECT m.joined_seq, x.sender_id, 0, 0, 0" COUNTED_FROM;
    const struct db_val vals[] = { bounded(seq), I(hi), I(lo), I(user_id), bounded(seq) };

    db_query(store_db(st), is_counted ? sql : uncounted, vals, 5, cb, arg);
}

struct store_receipt_counts store_receipt_counts_of(const struct db_rows *rows)
{
    return (struct store_receipt_counts){
        .joined_seq = u64_at(rows, 0, 0),
        .sender_id = u64_at(rows, 0, 1),
        .members = (uint32_t)u64_at(rows, 0, 2),
        .delivered = (uint32_t)u64_at(rows, 0, 3),
        .read = (uint32_t)u64_at(rows, 0, 4),
    };
}

void store_receipts(struct store *st, uint64_t hi, uint64_t lo, uint64_t seq, uint64_t sender_id, uint64_t after_user_id, size_t limit, db_rows_cb *cb, void *arg)
{
    static const char sql[] = "SELECT user_id, delivered_seq, read_seq FROM member"
                              " WHERE hi = ? AND lo = ? AND user_id > ? AND role > 0 AND joined_seq <= ? AND user_id <> ?"
                              " ORDER BY user_id LIMIT ?";
    const struct db_val vals[] = { I(hi), I(lo), bounded(after_user_id), I(seq), I(sender_id), I(limit) };

    db_query(store_db(st), sql, vals, 6, cb, arg);
}

struct store_receipt store_receipt_of(const struct db_rows *rows, size_t r, uint64_t seq)
{
    return (struct store_receipt){
        .user_id = u64_at(rows, r, 0),
        .delivered = u64_at(rows, r, 1) >= seq,
        .read = u64_at(rows, r, 2) >= seq,
    };
}
