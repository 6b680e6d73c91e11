/* store/db_internal.h: the inside of a db_list, which drivers run: one memory layout for queries, lists and inserts. */
#ifndef BT_STORE_DB_INTERNAL_H
#define BT_STORE_DB_INTERNAL_H

#include "store/db.h"

/* One statement: run once, or nrows times, with nvals values each time. */
struct db_stmt {
    const char *sql;      /* while the list is built: an offset into bytes, see db_list_seal() */
    size_t first_val;     /* index into the list's vals */
    size_t nvals;         /* per run */
    size_t nrows;         /* runs; not 1 only for db_insert() */
    bool is_head;         /* sql is a db_insert() head, to be followed by a row of nvals '?' */
    int64_t expect;       /* rows that must change, or DB_ANY */
};

struct db_list {
    struct db_stmt *stmts;
    size_t nstmts, stmts_cap;
    struct db_val *vals;
    size_t nvals, vals_cap;
    uint8_t *bytes;       /* SQL texts and blobs */
    size_t bytes_len, bytes_cap;
    bool is_broken;       /* an allocation failed: it may only be dropped, or run for its BT_ENOMEM */
    bool is_sealed;
};

/* What is too small is made larger; used for every growing array of the store. False: no memory, *array as it was. */
bool db_grow(void **array, size_t *cap, size_t need, size_t elem_size);

/* Add one statement of nrows runs; vals holds nrows * nvals values, row after row. NULL and broken lists are let be. */
void db_list_add_rows(struct db_list *list, const char *sql, bool is_head, const struct db_val *vals, size_t nvals,
                      size_t nrows, int64_t expect);

/* Turn the offsets into pointers. After this the list is only read and dropped. */
void db_list_seal(struct db_list *list);

#endif
