/* store/db.c: what every database driver shares: building statement lists, and handing calls to the driver. */
#include "store/db.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "net/mem.h"
#include "store/db_internal.h"

bool db_grow(void **array, size_t *cap, size_t need, size_t elem_size)
{
    if (need <= *cap)
        return true;
    size_t new_cap = *cap < 8 ? 8 : *cap;
    while (new_cap < need) {
        if (new_cap > SIZE_MAX / 2 / elem_size)
            return false;
        new_cap *= 2;
    }
    void *grown = bt_realloc(*array, new_cap * elem_size);
    if (grown == NULL)
        return false;
    *array = grown;
    *cap = new_cap;
    return true;
}

struct db_list *db_list_new(struct db *db)
{
    (void)db;
    return bt_calloc(1, sizeof(struct db_list));
}

void db_list_drop(struct db_list *list)
{
    if (list == NULL)
        return;
    bt_free(list->stmts);
    bt_free(list->vals);
    bt_free(list->bytes);
    bt_free(list);
}

size_t db_list_len(const struct db_list *list)
{
    return list != NULL ? list->nstmts : 0;
}

/* Keep a copy of p[0..len) and return its offset. The caller has made room. */
static size_t list_keep(struct db_list *list, const void *p, size_t len)
{
    size_t at = list->bytes_len;
    if (len > 0)
        memcpy(list->bytes + at, p, len);
    list->bytes_len += len;
    return at;
}

/* Room for all that one statement needs, so that a failed allocation leaves nothing half added. */
static bool list_reserve(struct db_list *list, size_t sql_size, const struct db_val *vals, size_t nvals)
{
    size_t bytes = sql_size;
    for (size_t i = 0; i < nvals; i++)
        if (vals[i].type == DB_BYTES)
            bytes += vals[i].len;
    return db_grow((void **)&list->stmts, &list->stmts_cap, list->nstmts + 1, sizeof(struct db_stmt)) &&
           db_grow((void **)&list->vals, &list->vals_cap, list->nvals + nvals, sizeof(struct db_val)) &&
           db_grow((void **)&list->bytes, &list->bytes_cap, list->bytes_len + bytes, 1);
}

void db_list_add_rows(struct db_list *list, const char *sql, bool is_head, const struct db_val *vals, size_t nvals,
                      size_t nrows, int64_t expect)
{
    if (list == NULL || list->is_broken)
        return;
    assert(!list->is_sealed);
    size_t sql_size = strlen(sql) + 1;
    size_t total = nvals * nrows;
    if (!list_reserve(list, sql_size, vals, total)) {
        list->is_broken = true;
        return;
    }
    struct db_stmt *s = &list->stmts[list->nstmts++];
    *s = (struct db_stmt){ .first_val = list->nvals, .nvals = nvals, .nrows = nrows, .is_head = is_head, .expect = expect };
    s->sql = (const char *)(uintptr_t)list_keep(list, sql, sql_size);
    for (size_t i = 0; i < total; i++) {
        struct db_val v = vals[i];
        if (v.type == DB_BYTES)
            v.p = (const void *)(uintptr_t)list_keep(list, vals[i].p, vals[i].len);
        list->vals[list->nvals++] = v;
    }
}

void db_list_seal(struct db_list *list)
{
    if (list->is_sealed)
        return;
    list->is_sealed = true;
    for (size_t i = 0; i < list->nstmts; i++)
        list->stmts[i].sql = (const char *)list->bytes + (uintptr_t)list->stmts[i].sql;
    for (size_t i = 0; i < list->nvals; i++)
        if (list->vals[i].type == DB_BYTES)
            list->vals[i].p = list->bytes + (uintptr_t)list->vals[i].p;
}

void db_list_add(struct db_list *list, const char *sql, const struct db_val *params, size_t nparams, int64_t expect_changed)
{
    db_list_add_rows(list, sql, false, params, nparams, 1, expect_changed);
}

void db_query(struct db *db, const char *sql, const struct db_val *params, size_t nparams, db_rows_cb *cb, void *arg)
{
    db->driver->query(db, sql, params, nparams, cb, arg);
}

void db_list_run(struct db *db, struct db_list *list, db_done_cb *cb, void *arg)
{
    db->driver->list_run(db, list, cb, arg);
}

void db_exec(struct db *db, const char *sql, const struct db_val *params, size_t nparams, int64_t expect_changed,
             db_done_cb *cb, void *arg)
{
    struct db_list *list = db_list_new(db);
    db_list_add(list, sql, params, nparams, expect_changed);
    db_list_run(db, list, cb, arg);
}

void db_insert(struct db *db, const char *head, size_t ncols, const struct db_val *vals, size_t nrows, db_done_cb *cb, void *arg)
{
    assert(ncols > 0 && nrows > 0);
    db->driver->insert(db, head, ncols, vals, nrows, cb, arg);
}

int64_t db_now_ms(struct db *db)
{
    return db->driver->now_ms(db);
}

bool db_is_up(const struct db *db)
{
    return db->is_up;
}

uint64_t db_generation(const struct db *db)
{
    return db->generation;
}

size_t db_load(const struct db *db)
{
    return db->driver->load(db);
}

void db_close(struct db *db, void (*closed_cb)(void *arg), void *arg)
{
    db->driver->close(db, closed_cb, arg);
}
