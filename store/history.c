/* store/history.c: the SQL that reads conversations' logs. */
#include "store/history.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "net/mem.h"
#include "store/store.h"

/*
 * STORE_EDIT is 2. Constant keys in each part, for the reason that member.c gives. An edit writes its text over the older one, so
 * who left between the two is shown none. He may have left only since his place was read, so that is asked again here, in the same
 * snapshot as the text; of a text that was never edited nothing is asked.
 */
#define SHOWN(column)                                                                                                                                          \
    " CASE WHEN COALESCE(r.edited_seq, x.edited_seq) > ? THEN NULL"                                                                                            \
    " WHEN COALESCE(r.edited_seq, x.edited_seq) > (SELECT m.left_seq FROM member m WHERE m.hi = ? AND m.lo = ? AND m.user_id = ? AND m.left_seq > 0) THEN NULL" \
    " WHEN x.kind = 2 THEN r." column " ELSE x." column " END"
#define RANGE_1                                                                                                                                                \
    "SELECT x.hi, x.lo, x.seq, x.sender_id, x.client_msg_id, x.sent_ms, x.kind, x.refers_to_seq,"                                                              \
    SHOWN("content_type") " AS ctype," SHOWN("body") " AS text FROM message x"                                                                                 \
    " LEFT JOIN message r ON x.kind = 2 AND r.hi = x.hi AND r.lo = x.lo AND r.seq = x.refers_to_seq"                                                           \
    " WHERE x.hi = ? AND x.lo = ? AND x.seq BETWEEN ? AND ?"
#define RANGE_4 RANGE_1 " UNION ALL " RANGE_1 " UNION ALL " RANGE_1 " UNION ALL " RANGE_1
#define RANGE_16 RANGE_4 " UNION ALL " RANGE_4 " UNION ALL " RANGE_4 " UNION ALL " RANGE_4

/*
 * Stretches that he was in when they were planned, as nearly all are: one walk of the key over all of them, which MariaDB plans
 * and runs in a quarter of the time that a union of sixteen takes. It is told the index, as in member.c. Rows come in the order of
 * the key; they are sorted here if they do not, as to have the database sort them takes longer than all the rest.
 */
#define SHOWN_IN(column)                                                                                                                                       \
    " CASE WHEN COALESCE(r.edited_seq, x.edited_seq) >"                                                                                                        \
    " (SELECT m.left_seq FROM member m WHERE m.hi = x.hi AND m.lo = x.lo AND m.user_id = ? AND m.left_seq > 0) THEN NULL"                                      \
    " WHEN x.kind = 2 THEN r." column " ELSE x." column " END"
#define IN_1 "(x.hi = ? AND x.lo = ? AND x.seq BETWEEN ? AND ?)"
#define IN_4 IN_1 " OR " IN_1 " OR " IN_1 " OR " IN_1
#define RANGES_IN                                                                                                                                              \
    "SELECT x.hi, x.lo, x.seq, x.sender_id, x.client_msg_id, x.sent_ms, x.kind, x.refers_to_seq,"                                                              \
    SHOWN_IN("content_type") " AS ctype," SHOWN_IN("body") " AS text FROM message x /*! FORCE INDEX (PRIMARY) */"                                              \
    " LEFT JOIN message r ON x.kind = 2 AND r.hi = x.hi AND r.lo = x.lo AND r.seq = x.refers_to_seq"                                                           \
    " WHERE " IN_4 " OR " IN_4 " OR " IN_4 " OR " IN_4

/* What asks for nothing, in unused places. */
static const struct store_range nothing = { .hi = UINT64_MAX, .lo = UINT64_MAX, .first = 1, .last = 0 };

static bool has_left(const struct store_range *ranges, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (ranges[i].left_seq != 0)
            return true;
    return false;
}

struct in_order {
    db_rows_cb *cb;
    void *arg;
};

static int key_order(const void *a, const void *b)
{
    const struct db_val *x = a, *y = b;
    for (size_t c = 0; c < 3; c++)
        if (x[c].i != y[c].i)
            return x[c].i < y[c].i ? -1 : 1;
    return 0;
}

static bool is_in_order(const struct db_rows *rows)
{
    for (size_t r = 1; r < rows->nrows; r++)
        if (key_order(db_at(rows, r - 1, 0), db_at(rows, r, 0)) > 0)
            return false;
    return true;
}

static void in_order_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct in_order order = *(struct in_order *)arg;
    bt_free(arg);
    if (err != BT_OK || is_in_order(rows)) {
        order.cb(err, rows, order.arg);
        return;
    }
    size_t size = rows->ncols * sizeof *rows->vals;
    struct db_val *vals = bt_malloc(rows->nrows * size);
    if (vals == NULL) {
        order.cb(BT_ENOMEM, NULL, order.arg);
        return;
    }
    memcpy(vals, rows->vals, rows->nrows * size);
    qsort(vals, rows->nrows, size, key_order);
    order.cb(BT_OK, &(struct db_rows){ .nrows = rows->nrows, .ncols = rows->ncols, .vals = vals }, order.arg);
    bt_free(vals);
}

/* False: no memory. */
static bool history_in(struct store *st, const struct store_range *ranges, size_t n, db_rows_cb *cb, void *arg)
{
    enum { READERS = 2, PARAMS = 4 };
    struct db_val vals[READERS + STORE_RANGES_MAX * PARAMS];
    struct in_order *order = bt_malloc(sizeof *order);

    if (order == NULL)
        return false;
    *order = (struct in_order){ cb, arg };
    vals[0] = vals[1] = db_int((int64_t)ranges[0].user_id);
    for (size_t i = 0; i < STORE_RANGES_MAX; i++) {
        const struct store_range *k = i < n ? &ranges[i] : &nothing;
        struct db_val *v = vals + READERS + i * PARAMS;
        assert(i >= n || k->user_id == ranges[0].user_id);
        v[0] = db_int((int64_t)k->hi);
        v[1] = db_int((int64_t)k->lo);
        v[2] = db_int((int64_t)k->first);
        v[3] = db_int((int64_t)k->last);
    }
    db_query(store_db(st), RANGES_IN, vals, sizeof vals / sizeof *vals, in_order_done, order);
    return true;
}

void store_history(struct store *st, const struct store_range *ranges, size_t n, db_rows_cb *cb, void *arg)
{
    enum { PARAMS = 12 };
    static const char sql_1[] = RANGE_1 " ORDER BY x.seq", sql_16[] = RANGE_16 " ORDER BY 1, 2, 3";
    struct db_val vals[STORE_RANGES_MAX * PARAMS];
    size_t width = n == 1 ? 1 : STORE_RANGES_MAX;

    assert(n > 0 && n <= STORE_RANGES_MAX);
    if (n > 1 && !has_left(ranges, n) && history_in(st, ranges, n, cb, arg))
        return;
    for (size_t i = 0; i < width; i++) {
        const struct store_range *k = i < n ? &ranges[i] : &nothing;
        struct db_val *v = vals + i * PARAMS;
        v[0] = v[4] = db_int(k->left_seq ? (int64_t)k->left_seq : INT64_MAX);
        v[1] = v[5] = v[8] = db_int((int64_t)k->hi);
        v[2] = v[6] = v[9] = db_int((int64_t)k->lo);
        v[3] = v[7] = db_int((int64_t)k->user_id);
        v[10] = db_int((int64_t)k->first);
        v[11] = db_int((int64_t)k->last);
    }
    db_query(store_db(st), width == 1 ? sql_1 : sql_16, vals, width * PARAMS, cb, arg);
}

struct store_logged store_logged_of(const struct db_rows *rows, size_t r)
{
    const struct db_val *type = db_at(rows, r, 8), *body = db_at(rows, r, 9);

    return (struct store_logged){
        .hi = (uint64_t)db_at(rows, r, 0)->i,
        .lo = (uint64_t)db_at(rows, r, 1)->i,
        .seq = (uint64_t)db_at(rows, r, 2)->i,
        .sender_id = (uint64_t)db_at(rows, r, 3)->i,
        .client_msg_id = (uint64_t)db_at(rows, r, 4)->i,
        .sent_ms = db_at(rows, r, 5)->i,
        .kind = (int32_t)db_at(rows, r, 6)->i,
        .refers_to_seq = (uint64_t)db_at(rows, r, 7)->i,
        .content_type = type->type == DB_BYTES ? type->p : NULL, /* NULL: not for his eyes; or an edit of nothing, which no owner writes */
        .content_type_len = type->type == DB_BYTES ? type->len : 0,
        .body = body->type == DB_BYTES ? body->p : NULL,
        .body_len = body->type == DB_BYTES ? body->len : 0,
    };
}
