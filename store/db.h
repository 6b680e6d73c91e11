/*
 * store/db.h: the asynchronous database under the subjects (store/message.c, store/account.c, ...).
 *
 * Two backends are made for it: SQLite (one writing thread, one reading thread) and MariaDB (a pool of non-blocking
 * connections). SQL text is a string literal in the portable subset (docs/ARCHITECTURE.md), parameters are '?'.
 * All functions and callbacks: loop thread. Every callback runs exactly once, never before the call that armed it
 * returned. SQL text, parameters and blobs are copied before a call returns.
 */
#ifndef BT_STORE_DB_H
#define BT_STORE_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/err.h"

struct db;

/* A parameter or a result: an integer, bytes (all text too), or NULL. */
enum db_type { DB_NULL, DB_INT, DB_BYTES };
struct db_val {
    enum db_type type;
    uint32_t len;        /* DB_BYTES */
    union {
        int64_t i;
        const void *p;   /* DB_BYTES; lent; not terminated */
    };
};
static inline struct db_val db_int(int64_t i) { return (struct db_val){ .type = DB_INT, .i = i }; }
static inline struct db_val db_bytes(const void *p, size_t len) { return (struct db_val){ .type = DB_BYTES, .len = (uint32_t)len, .p = p }; }
static inline struct db_val db_null(void) { return (struct db_val){ .type = DB_NULL }; }

/* Rows of a SELECT, row after row: value of row r, column c is vals[r * ncols + c]. Lent to the callback. */
struct db_rows {
    size_t nrows, ncols;
    const struct db_val *vals;
};
static inline const struct db_val *db_at(const struct db_rows *rows, size_t r, size_t c) { return &rows->vals[r * rows->ncols + c]; }

/* How a write ended. */
struct db_done {
    enum bt_err err;
    size_t item;          /* BT_ECONFLICT, BT_EEXIST: index of the statement that was not as expected (lists) */
    int64_t changed;      /* BT_OK: rows that the last statement changed */
};

typedef void db_rows_cb(enum bt_err err, const struct db_rows *rows, void *arg); /* rows is NULL unless BT_OK */
typedef void db_done_cb(const struct db_done *done, void *arg);

/*
 * Errors of all calls: BT_EBUSY (queue at [store] queue; nothing done), BT_ETIMEOUT (dropped from the queue after
 * [store] timeout_ms before anything was done), BT_EDOWN (no database; nothing done), BT_ECLOSING.
 * Writes besides: BT_EEXIST (a duplicate key), BT_ECONFLICT (an expectation failed), BT_EFULL (no room): in all three
 * nothing was written; BT_EUNSURE (connection lost after the statement left: the rows may stand or not).
 * A read that outlives [store] timeout_ms is broken off with BT_ETIMEOUT. BT_ENOMEM; BT_EINTERNAL (the statement is
 * wrong; logged). A read sees every write whose callback has run.
 */

/* One SELECT. */
void db_query(struct db *db, const char *sql, const struct db_val *params, size_t nparams, db_rows_cb *cb, void *arg);

/*
 * Several statements, all or none. Each says how many rows it must change. A list is built, then run (which takes
 * it) or dropped. Adding never fails visibly: a failed allocation is reported by the callback as BT_ENOMEM.
 */
enum { DB_ANY = -1 };
struct db_list;
struct db_list *db_list_new(struct db *db); /* NULL: no memory; all functions accept it, and running it answers BT_ENOMEM */
void db_list_add(struct db_list *list, const char *sql, const struct db_val *params, size_t nparams, int64_t expect_changed);
size_t db_list_len(const struct db_list *list);
void db_list_run(struct db *db, struct db_list *list, db_done_cb *cb, void *arg);
void db_list_drop(struct db_list *list);

/* One write, autocommitted: a list of one. */
void db_exec(struct db *db, const char *sql, const struct db_val *params, size_t nparams, int64_t expect_changed, db_done_cb *cb, void *arg);

/*
 * A many-row insert, all rows or none, one commit: head is "INSERT INTO t (a, b, c) VALUES", each row ncols values.
 * A duplicate key anywhere gives BT_EEXIST and writes nothing; which row it was is not told.
 */
void db_insert(struct db *db, const char *head, size_t ncols, const struct db_val *vals, size_t nrows, db_done_cb *cb, void *arg);

/* The store's clock in ms since 1970: the cluster's time for everything that is stored. Cached per turn or better. */
int64_t db_now_ms(struct db *db);

/* True between "the connection is there" and its loss; SQLite: as long as it is open. generation rises at every (re)connect. */
bool db_is_up(const struct db *db);
uint64_t db_generation(const struct db *db);

/* What is queued or under way, in statements: for metrics and for draining. */
size_t db_load(const struct db *db);

/*
 * The backends' side: a driver is a table like this one, behind a struct db that it embeds first.
 * Tests have a driver that answers from a script (test/unit/fake_db.h).
 */
struct db_driver {
    const char *scheme;   /* "sqlite", "mariadb" */
    void (*query)(struct db *db, const char *sql, const struct db_val *params, size_t nparams, db_rows_cb *cb, void *arg);
    void (*list_run)(struct db *db, struct db_list *list, db_done_cb *cb, void *arg);
    void (*insert)(struct db *db, const char *head, size_t ncols, const struct db_val *vals, size_t nrows, db_done_cb *cb, void *arg);
    int64_t (*now_ms)(struct db *db);
    size_t (*load)(const struct db *db);
    void (*close)(struct db *db, void (*closed_cb)(void *arg), void *arg);
};
/* Counted since the open; for metrics. */
struct db_stats {
    uint64_t queries, rows_read;      /* answered BT_OK, and their rows */
    uint64_t writes, rows_changed;    /* lists and inserts that were committed, and their rows */
    uint64_t commits;                 /* transactions; fewer than writes when several shared one */
    uint64_t refused;                 /* BT_EBUSY */
    uint64_t timed_out;               /* BT_ETIMEOUT */
    uint64_t failed;                  /* BT_EFULL, BT_EDOWN, BT_EUNSURE, BT_ENOMEM, BT_EINTERNAL */
    uint64_t checkpoints;             /* SQLite: rounds of copying the log into the database */
    uint64_t log_bytes;               /* SQLite: the log's length after the last commit */
};
struct db {
    const struct db_driver *driver;
    uint64_t generation;
    bool is_up;
    struct db_stats stats;
};

/* Finish what is queued, then close; closed_cb runs once, after every other callback, and db is gone then. */
void db_close(struct db *db, void (*closed_cb)(void *arg), void *arg);

#endif
