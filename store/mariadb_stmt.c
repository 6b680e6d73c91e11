/* store/mariadb_stmt.c: prepared statements, kept per connection by their text; their parameters and their rows. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/mem.h"
#include "store/mariadb_internal.h"

/* ---- the cache ------------------------------------------------------------------------------------------------------- */

static uint32_t hash_of(const char *sql, size_t head_cols)
{
    uint32_t h = 2166136261u ^ (uint32_t)head_cols;
    for (; *sql != '\0'; sql++)
        h = (h ^ (uint8_t)*sql) * 16777619u;
    return h;
}

/* What is prepared: a head gets its row of '?', a query the limit of its time in front. */
static char *text_of(const char *sql, size_t head_cols, const char *before)
{
    size_t before_len = strlen(before), len = strlen(sql);
    char *text = bt_malloc(before_len + len + 2 * head_cols + 3);
    if (text == NULL)
        return NULL;
    memcpy(text, before, before_len);
    memcpy(text + before_len, sql, len);
    len += before_len;
    for (size_t i = 0; i < head_cols; i++) {
        text[len++] = i == 0 ? '(' : ',';
        text[len++] = '?';
    }
    if (head_cols > 0)
        text[len++] = ')';
    text[len] = '\0';
    return text;
}

static void stmt_free(struct mariadb_stmt *e)
{
    if (e->handle != NULL)
        mysql_stmt_close(e->handle);
    bt_free(e->text);
    bt_free(e);
}

struct mariadb_stmt *mariadb_stmt_get(struct mariadb_conn *c, const struct db_stmt *s, bool is_query)
{
    size_t head_cols = s->is_head ? s->nvals : 0;
    uint32_t hash = hash_of(s->sql, head_cols);
    struct mariadb_stmt **bucket = &c->buckets[hash % 256], *e = *bucket;
    while (e != NULL && (e->hash != hash || e->head_cols != head_cols || e->is_query != is_query || strcmp(e->sql, s->sql) != 0))
        e = e->next;
    if (e != NULL)
        return e;
    if (c->nstmts >= MARIADB_STMTS_MAX)
        mariadb_stmt_free_all(c);
    size_t size = strlen(s->sql) + 1;
    e = bt_calloc(1, sizeof *e + size);
    if (e == NULL)
        return NULL;
    memcpy(e->sql, s->sql, size);
    e->hash = hash;
    e->head_cols = head_cols;
    e->is_query = is_query;
    e->text = text_of(s->sql, head_cols, is_query ? c->db->limited : "");
    e->handle = mysql_stmt_init(c->mysql);
    if (e->text == NULL || e->handle == NULL) {
        stmt_free(e);
        return NULL;
    }
    e->next = *bucket;
    *bucket = e;
    c->nstmts++;
    return e;
}

void mariadb_stmt_drop(struct mariadb_conn *c, struct mariadb_stmt *e)
{
    struct mariadb_stmt **at = &c->buckets[e->hash % 256];
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    c->nstmts--;
    stmt_free(e);
}

void mariadb_stmt_free_all(struct mariadb_conn *c)
{
    for (size_t i = 0; i < 256; i++) {
        while (c->buckets[i] != NULL) {
            struct mariadb_stmt *e = c->buckets[i];
            c->buckets[i] = e->next;
            stmt_free(e);
        }
    }
    c->nstmts = 0;
}

/* ---- parameters ------------------------------------------------------------------------------------------------------ */

static MYSQL_BIND *params_room(struct mariadb_conn *c, size_t n)
{
    static MYSQL_BIND none[1];
    if (n == 0)
        return none;
    if (!db_grow((void **)&c->bound.params, &c->bound.params_cap, n, sizeof *c->bound.params))
        return NULL;
    memset(c->bound.params, 0, n * sizeof *c->bound.params);
    return c->bound.params;
}

static void bind_one(MYSQL_BIND *b, const struct db_val *v)
{
    switch (v->type) {
    case DB_NULL:
        b->buffer_type = MYSQL_TYPE_NULL;
        break;
    case DB_INT:
        b->buffer_type = MYSQL_TYPE_LONGLONG;
        b->buffer = (void *)(uintptr_t)&v->i;
        break;
    case DB_BYTES:
        b->buffer_type = MYSQL_TYPE_BLOB;
        b->buffer = v->len > 0 ? (void *)(uintptr_t)v->p : "";
        b->buffer_length = v->len;
        b->length_value = v->len;
        b->length = &b->length_value;
        break;
    }
}

/* The type of a column: of its first value that is not NULL; is_even_out: and all others have it too. */
static enum db_type column_type(const struct db_val *vals, size_t ncols, size_t nrows, bool *is_even_out)
{
    enum db_type type = DB_NULL;
    *is_even_out = true;
    for (size_t r = 0; r < nrows; r++) {
        enum db_type t = vals[r * ncols].type;
        if (t == DB_NULL || t == type)
            continue;
        *is_even_out = type == DB_NULL;
        if (!*is_even_out)
            break;
        type = t;
    }
    return type;
}

bool mariadb_stmt_is_even(const struct db_list *list, const struct db_stmt *s)
{
    bool is_even = true;
    for (size_t col = 0; col < s->nvals && is_even; col++)
        column_type(list->vals + s->first_val + col, s->nvals, s->nrows, &is_even);
    return is_even;
}

/* One column of a many-row insert: 8 bytes a value (number or address), 8 a length, one to say NULL. */
enum { BULK_BYTES = sizeof(int64_t) + sizeof(unsigned long) + 1 };

static void bind_column(MYSQL_BIND *b, const struct db_val *vals, size_t ncols, size_t nrows, uint8_t *room)
{
    bool is_even;
    enum db_type type = column_type(vals, ncols, nrows, &is_even);
    assert(is_even);
    int64_t *numbers = (int64_t *)(void *)room;
    const void **addresses = (const void **)(void *)room;
    unsigned long *lengths = (unsigned long *)(void *)(room + nrows * sizeof *numbers);
    char *marks = (char *)(lengths + nrows);
    for (size_t r = 0; r < nrows; r++) {
        const struct db_val *v = &vals[r * ncols];
        marks[r] = v->type == DB_NULL ? STMT_INDICATOR_NULL : STMT_INDICATOR_NONE;
        lengths[r] = v->type == DB_BYTES ? v->len : 0;
        if (type == DB_BYTES)
            addresses[r] = v->type == DB_BYTES && v->len > 0 ? v->p : "";
        else
            numbers[r] = v->type == DB_INT ? v->i : 0;
    }
    b->buffer_type = type == DB_BYTES ? MYSQL_TYPE_BLOB : MYSQL_TYPE_LONGLONG;
    b->buffer = room;
    b->length = type == DB_BYTES ? lengths : NULL;
    b->u.indicator = marks;
}

static enum bt_err bind_bulk(struct mariadb_conn *c, MYSQL_BIND *params, const struct db_list *list, const struct db_stmt *s)
{
    size_t column_bytes = (s->nrows * BULK_BYTES + 7) / 8 * 8;
    if (!db_grow((void **)&c->bound.bulk, &c->bound.bulk_cap, column_bytes * s->nvals, 1))
        return BT_ENOMEM;
    for (size_t col = 0; col < s->nvals; col++)
        bind_column(&params[col], list->vals + s->first_val + col, s->nvals, s->nrows, c->bound.bulk + col * column_bytes);
    return BT_OK;
}

enum bt_err mariadb_stmt_bind(struct mariadb_conn *c, struct mariadb_stmt *e, const struct db_list *list, const struct db_stmt *s,
                              size_t row, bool is_bulk)
{
    if (mysql_stmt_param_count(e->handle) != s->nvals)
        return BT_EINTERNAL;
    MYSQL_BIND *params = params_room(c, s->nvals);
    if (params == NULL)
        return BT_ENOMEM;
    unsigned rows = is_bulk ? (unsigned)s->nrows : 0;
    if (is_bulk) {
        enum bt_err err = bind_bulk(c, params, list, s);
        if (err != BT_OK)
            return err;
    } else {
        for (size_t i = 0; i < s->nvals; i++)
            bind_one(&params[i], &list->vals[s->first_val + row * s->nvals + i]);
    }
    /* The size comes first: binding looks at it. */
    if (mysql_stmt_attr_set(e->handle, STMT_ATTR_ARRAY_SIZE, &rows) != 0)
        return BT_EINTERNAL;
    return s->nvals == 0 || mysql_stmt_bind_param(e->handle, params) == 0 ? BT_OK : BT_EINTERNAL;
}

/* ---- rows ------------------------------------------------------------------------------------------------------------ */

enum { COLUMNS_MAX = 64 };

/* Where a fetch leaves one row: numbers at once, of bytes the length only. */
struct row_room {
    MYSQL_BIND binds[COLUMNS_MAX];
    int64_t numbers[COLUMNS_MAX];
    unsigned long lengths[COLUMNS_MAX];
    my_bool nulls[COLUMNS_MAX], errors[COLUMNS_MAX];
};

static bool is_number(enum enum_field_types type)
{
    switch (type) {
    case MYSQL_TYPE_TINY:
    case MYSQL_TYPE_SHORT:
    case MYSQL_TYPE_INT24:
    case MYSQL_TYPE_LONG:
    case MYSQL_TYPE_LONGLONG:
    case MYSQL_TYPE_YEAR:
    case MYSQL_TYPE_FLOAT:
    case MYSQL_TYPE_DOUBLE:
    case MYSQL_TYPE_DECIMAL:
    case MYSQL_TYPE_NEWDECIMAL: /* sums */
        return true;
    default:
        return false;
    }
}

static bool rows_bind(MYSQL_STMT *handle, struct row_room *room, unsigned ncols)
{
    const MYSQL_FIELD *fields = mariadb_stmt_fetch_fields(handle);
    memset(room->binds, 0, sizeof room->binds);
    for (unsigned i = 0; i < ncols; i++) {
        MYSQL_BIND *b = &room->binds[i];
        b->is_null = &room->nulls[i];
        b->length = &room->lengths[i];
        b->error = &room->errors[i];
        if (is_number(fields[i].type)) {
            b->buffer_type = MYSQL_TYPE_LONGLONG;
            b->buffer = &room->numbers[i];
            b->buffer_length = sizeof room->numbers[i];
        } else {
            b->buffer_type = MYSQL_TYPE_BLOB;
        }
    }
    return mysql_stmt_bind_result(handle, room->binds) == 0;
}

/* Copy one value of the row that was fetched. */
static enum bt_err copy_val(MYSQL_STMT *handle, struct row_room *room, unsigned col, struct mariadb_rows *rows)
{
    struct db_val *v = &rows->vals[rows->nvals++];
    size_t len = room->lengths[col];
    if (room->nulls[col]) {
        *v = db_null();
        return BT_OK;
    }
    if (room->binds[col].buffer_type == MYSQL_TYPE_LONGLONG) {
        *v = db_int(room->numbers[col]);
        return BT_OK;
    }
    if (!db_grow((void **)&rows->bytes, &rows->bytes_cap, rows->bytes_len + len + 1, 1))
        return BT_ENOMEM;
    *v = db_bytes((const void *)(uintptr_t)rows->bytes_len, len);
    if (len > 0) {
        MYSQL_BIND b = { .buffer_type = MYSQL_TYPE_BLOB, .buffer = rows->bytes + rows->bytes_len, .buffer_length = len };
        b.length = &b.length_value;
        b.is_null = &b.is_null_value;
        b.error = &b.error_value;
        if (mysql_stmt_fetch_column(handle, &b, col, 0) != 0)
            return BT_EINTERNAL;
    }
    rows->bytes_len += len;
    return BT_OK;
}

/* The blobs do not move any more: offsets become pointers. */
static void rows_finish(struct mariadb_rows *rows, size_t nrows, size_t ncols)
{
    static const uint8_t nothing[1];
    const uint8_t *base = rows->bytes != NULL ? rows->bytes : nothing;
    for (size_t i = 0; i < rows->nvals; i++)
        if (rows->vals[i].type == DB_BYTES)
            rows->vals[i].p = base + (uintptr_t)rows->vals[i].p;
    rows->view = (struct db_rows){ .nrows = nrows, .ncols = ncols, .vals = rows->vals };
}

enum bt_err mariadb_stmt_rows(struct mariadb_stmt *e, struct mariadb_rows *rows)
{
    struct row_room room;
    unsigned ncols = mysql_stmt_field_count(e->handle);
    size_t nrows = 0;
    if (ncols > COLUMNS_MAX || !rows_bind(e->handle, &room, ncols))
        return BT_EINTERNAL;
    for (;; nrows++) {
        int code = mysql_stmt_fetch(e->handle); /* stored: no I/O */
        if (code == MYSQL_NO_DATA)
            break;
        if (code != 0 && code != MYSQL_DATA_TRUNCATED)
            return BT_EINTERNAL;
        if (!db_grow((void **)&rows->vals, &rows->vals_cap, rows->nvals + ncols, sizeof *rows->vals))
            return BT_ENOMEM;
        for (unsigned col = 0; col < ncols; col++) {
            enum bt_err err = copy_val(e->handle, &room, col, rows);
            if (err != BT_OK)
                return err;
        }
    }
    rows_finish(rows, nrows, ncols);
    return BT_OK;
}
