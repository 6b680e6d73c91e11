/* store/sqlite_stmt.c: prepared statements, kept per connection by their text, and their parameters. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "net/mem.h"
#include "store/sqlite_internal.h"

struct sqlite_stmt {
    struct sqlite_stmt *next;
    sqlite3_stmt *prepared;
    size_t head_cols; /* > 0: sql is a db_insert() head, prepared with a row of so many '?' */
    uint32_t hash;
    char sql[];
};

static uint32_t hash_of(const char *sql, size_t head_cols)
{
    uint32_t h = 2166136261u ^ (uint32_t)head_cols;
    for (; *sql != '\0'; sql++)
        h = (h ^ (uint8_t)*sql) * 16777619u;
    return h;
}

/* "INSERT INTO t (a, b) VALUES" and 2 become "INSERT INTO t (a, b) VALUES (?,?)". NULL: no memory. */
static char *insert_text(const char *head, size_t cols)
{
    size_t len = strlen(head);
    char *text = bt_malloc(len + 2 * cols + 3);
    if (text == NULL)
        return NULL;
    memcpy(text, head, len);
    text[len++] = ' ';
    text[len++] = '(';
    for (size_t i = 0; i < cols; i++) {
        text[len++] = '?';
        text[len++] = i + 1 < cols ? ',' : ')';
    }
    text[len] = '\0';
    return text;
}

static int prepare(sqlite3 *handle, const char *sql, size_t head_cols, sqlite3_stmt **out)
{
    if (head_cols == 0)
        return sqlite3_prepare_v3(handle, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL);
    char *text = insert_text(sql, head_cols);
    if (text == NULL)
        return SQLITE_NOMEM;
    int rc = sqlite3_prepare_v3(handle, text, -1, SQLITE_PREPARE_PERSISTENT, out, NULL);
    bt_free(text);
    return rc;
}

static int stmt_new(struct sqlite_conn *conn, const char *sql, size_t head_cols, uint32_t hash, struct sqlite_stmt **out)
{
    size_t size = strlen(sql) + 1;
    struct sqlite_stmt *e = bt_calloc(1, sizeof *e + size);
    if (e == NULL)
        return SQLITE_NOMEM;
    int rc = prepare(conn->handle, sql, head_cols, &e->prepared);
    if (rc == SQLITE_OK && e->prepared == NULL)
        rc = SQLITE_MISUSE; /* an empty text */
    if (rc != SQLITE_OK) {
        bt_free(e);
        return rc;
    }
    memcpy(e->sql, sql, size);
    e->head_cols = head_cols;
    e->hash = hash;
    e->next = conn->buckets[hash % 256];
    conn->buckets[hash % 256] = e;
    conn->nstmts++;
    *out = e;
    return SQLITE_OK;
}

int sqlite_stmt_get(struct sqlite_conn *conn, const struct db_stmt *s, sqlite3_stmt **out)
{
    size_t head_cols = s->is_head ? s->nvals : 0;
    uint32_t hash = hash_of(s->sql, head_cols);
    struct sqlite_stmt *e = conn->buckets[hash % 256];
    while (e != NULL && (e->hash != hash || e->head_cols != head_cols || strcmp(e->sql, s->sql) != 0))
        e = e->next;
    if (e == NULL) {
        if (conn->nstmts >= SQLITE_STMTS_MAX)
            sqlite_stmt_free_all(conn);
        int rc = stmt_new(conn, s->sql, head_cols, hash, &e);
        if (rc != SQLITE_OK)
            return rc;
    }
    *out = e->prepared;
    return SQLITE_OK;
}

int sqlite_stmt_bind(sqlite3_stmt *stmt, const struct db_val *vals, size_t n)
{
    int rc = (size_t)sqlite3_bind_parameter_count(stmt) == n ? SQLITE_OK : SQLITE_MISUSE;
    for (size_t i = 0; i < n && rc == SQLITE_OK; i++) {
        int at = (int)i + 1;
        switch (vals[i].type) {
        case DB_NULL:
            rc = sqlite3_bind_null(stmt, at);
            break;
        case DB_INT:
            rc = sqlite3_bind_int64(stmt, at, vals[i].i);
            break;
        case DB_BYTES: /* always a blob: a text value would be compared, and get numeric affinity, differently */
            rc = vals[i].len == 0 ? sqlite3_bind_zeroblob(stmt, at, 0)
                                  : sqlite3_bind_blob64(stmt, at, vals[i].p, vals[i].len, SQLITE_STATIC);
            break;
        }
    }
    return rc;
}

void sqlite_stmt_rest(sqlite3_stmt *stmt)
{
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
}

void sqlite_stmt_free_all(struct sqlite_conn *conn)
{
    for (size_t i = 0; i < 256; i++) {
        while (conn->buckets[i] != NULL) {
            struct sqlite_stmt *e = conn->buckets[i];
            conn->buckets[i] = e->next;
            sqlite3_finalize(e->prepared);
            bt_free(e);
        }
    }
    conn->nstmts = 0;
}
