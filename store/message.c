/* store/message.c: the SQL that writes conversations' logs. */
#include "store/message.h"

#include <assert.h>

#include "net/mem.h"
#include "store/store.h"

enum { COLUMNS = 11 };

static const char insert_head[] = "INSERT INTO message (hi, lo, seq, sender_id, client_msg_id, sent_ms, kind, refers_to_seq, digest,"
                                  " content_type, body) VALUES";
static const char insert_one[] = "INSERT INTO message (hi, lo, seq, sender_id, client_msg_id, sent_ms, kind, refers_to_seq, digest,"
                                 " content_type, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

static void row_vals(const struct store_message *m, struct db_val v[COLUMNS])
{
    v[0] = db_int((int64_t)m->hi);
    v[1] = db_int((int64_t)m->lo);
    v[2] = db_int((int64_t)m->seq);
    v[3] = db_int((int64_t)m->sender_id);
    v[4] = db_int((int64_t)m->client_msg_id);
    v[5] = db_int(m->sent_ms);
    v[6] = db_int(m->kind);
    v[7] = db_int((int64_t)m->refers_to_seq);
    v[8] = db_int((int64_t)m->digest);
    v[9] = db_bytes(m->content_type, m->content_type_len);
    v[10] = db_bytes(m->body, m->body_len);
}

void store_message_insert(struct store *st, const struct store_message *rows, size_t n, db_done_cb *cb, void *arg)
{
    struct db_val some[64 * COLUMNS], *vals = some;

    assert(n > 0);
    if (n > 64) {
        vals = bt_malloc(n * COLUMNS * sizeof *vals);
        if (vals == NULL) {
            db_list_run(store_db(st), NULL, cb, arg); /* no list: told as BT_ENOMEM */
            return;
        }
    }
    for (size_t i = 0; i < n; i++)
        row_vals(&rows[i], vals + i * COLUMNS);
    db_insert(store_db(st), insert_head, COLUMNS, vals, n, cb, arg);
    if (vals != some)
        bt_free(vals);
}

void store_message_add(struct db_list *list, const struct store_message *row)
{
    struct db_val vals[COLUMNS];

    row_vals(row, vals);
    db_list_add(list, insert_one, vals, COLUMNS, 1);
}

void store_message_add_empty(struct db_list *list, uint64_t hi, uint64_t lo, uint64_t seq)
{
    static const char sql[] = "UPDATE message SET body = ?, content_type = ?, digest = 0 WHERE hi = ? AND lo = ? AND seq = ? AND digest <> 0";
    const struct db_val vals[] = { db_bytes("", 0), db_bytes("", 0), db_int((int64_t)hi), db_int((int64_t)lo), db_int((int64_t)seq) };

    db_list_add(list, sql, vals, 5, 1);
}

void store_message_add_replace(struct db_list *list, const struct store_message *edit)
{
    static const char sql[] = "UPDATE message SET content_type = ?, body = ?, edited_seq = ? WHERE hi = ? AND lo = ? AND seq = ? AND digest <> 0";
    const struct db_val vals[] = { db_bytes(edit->content_type, edit->content_type_len), db_bytes(edit->body, edit->body_len), db_int((int64_t)edit->seq),
                                   db_int((int64_t)edit->hi), db_int((int64_t)edit->lo), db_int((int64_t)edit->refers_to_seq) };

    db_list_add(list, sql, vals, 6, 1);
}

/* ---- reading ids -------------------------------------------------------------------------------------------------- */

#define ID_COLUMNS "hi, lo, sender_id, client_msg_id, seq, digest, sent_ms"

struct store_message_id store_message_id_of(const struct db_rows *rows, size_t r)
{
    return (struct store_message_id){
        .hi = (uint64_t)db_at(rows, r, 0)->i,
        .lo = (uint64_t)db_at(rows, r, 1)->i,
        .sender_id = (uint64_t)db_at(rows, r, 2)->i,
        .client_msg_id = (uint64_t)db_at(rows, r, 3)->i,
        .seq = (uint64_t)db_at(rows, r, 4)->i,
        .digest = (uint64_t)db_at(rows, r, 5)->i,
        .sent_ms = db_at(rows, r, 6)->i,
    };
}

void store_message_newest(struct store *st, uint64_t hi, uint64_t lo, size_t n, db_rows_cb *cb, void *arg)
{
    static const char sql[] = "SELECT " ID_COLUMNS " FROM message WHERE hi = ? AND lo = ? ORDER BY seq DESC LIMIT ?";
    const struct db_val vals[] = { db_int((int64_t)hi), db_int((int64_t)lo), db_int((int64_t)n) };

    assert(n > 0);
    db_query(store_db(st), sql, vals, 3, cb, arg);
}

/* Look-ups by a key, up to sixteen in one statement; unused places ask for what can't exist. */
#define TIMES_4(s) s " UNION ALL " s " UNION ALL " s " UNION ALL " s
#define FIND_ID "SELECT " ID_COLUMNS " FROM message WHERE hi = ? AND lo = ? AND sender_id = ? AND client_msg_id = ?"
#define FIND_SEQ "SELECT " ID_COLUMNS " FROM message WHERE hi = ? AND lo = ? AND seq = ?"

/* n of `width` places are used. */
static size_t find_width(size_t n)
{
    assert(n > 0 && n <= STORE_FIND_MAX);
    return n == 1 ? 1 : n <= 4 ? 4 : STORE_FIND_MAX;
}

void store_message_find(struct store *st, const struct store_message_id *ids, size_t n, db_rows_cb *cb, void *arg)
{
    static const char sql_1[] = FIND_ID, sql_4[] = TIMES_4(FIND_ID), sql_16[] = TIMES_4(TIMES_4(FIND_ID));
    static const struct store_message_id nothing = { .hi = UINT64_MAX };
    size_t width = find_width(n);
    struct db_val vals[STORE_FIND_MAX * 4];

    for (size_t i = 0; i < width; i++) {
        const struct store_message_id *id = i < n ? &ids[i] : &nothing;
        vals[i * 4] = db_int((int64_t)id->hi);
        vals[i * 4 + 1] = db_int((int64_t)id->lo);
        vals[i * 4 + 2] = db_int((int64_t)id->sender_id);
        vals[i * 4 + 3] = db_int((int64_t)id->client_msg_id);
    }
    db_query(store_db(st), width == 1 ? sql_1 : width == 4 ? sql_4 : sql_16, vals, width * 4, cb, arg);
}

void store_message_find_seqs(struct store *st, const struct store_message_id *ids, size_t n, db_rows_cb *cb, void *arg)
{
    static const char sql_1[] = FIND_SEQ, sql_4[] = TIMES_4(FIND_SEQ), sql_16[] = TIMES_4(TIMES_4(FIND_SEQ));
    static const struct store_message_id nothing = { .hi = UINT64_MAX };
    size_t width = find_width(n);
    struct db_val vals[STORE_FIND_MAX * 3];

    for (size_t i = 0; i < width; i++) {
        const struct store_message_id *id = i < n ? &ids[i] : &nothing;
        vals[i * 3] = db_int((int64_t)id->hi);
        vals[i * 3 + 1] = db_int((int64_t)id->lo);
        vals[i * 3 + 2] = db_int((int64_t)id->seq);
    }
    db_query(store_db(st), width == 1 ? sql_1 : width == 4 ? sql_4 : sql_16, vals, width * 3, cb, arg);
}

void store_message_at(struct store *st, uint64_t hi, uint64_t lo, uint64_t seq, db_rows_cb *cb, void *arg)
{
    static const char sql[] = "SELECT hi, lo, seq, sender_id, client_msg_id, sent_ms, kind, refers_to_seq, digest FROM message"
                              " WHERE hi = ? AND lo = ? AND seq = ?";
    const struct db_val vals[] = { db_int((int64_t)hi), db_int((int64_t)lo), db_int((int64_t)seq) };

    db_query(store_db(st), sql, vals, 3, cb, arg);
}

struct store_message store_message_of(const struct db_rows *rows, size_t r)
{
    return (struct store_message){
        .hi = (uint64_t)db_at(rows, r, 0)->i,
        .lo = (uint64_t)db_at(rows, r, 1)->i,
        .seq = (uint64_t)db_at(rows, r, 2)->i,
        .sender_id = (uint64_t)db_at(rows, r, 3)->i,
        .client_msg_id = (uint64_t)db_at(rows, r, 4)->i,
        .sent_ms = db_at(rows, r, 5)->i,
        .kind = (int32_t)db_at(rows, r, 6)->i,
        .refers_to_seq = (uint64_t)db_at(rows, r, 7)->i,
        .digest = (uint64_t)db_at(rows, r, 8)->i,
    };
}
