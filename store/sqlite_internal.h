/*
 * store/sqlite_internal.h: what the files of the SQLite backend share.
 *
 * sqlite.c        the loop's side: queues, answers, closing
 * sqlite_write.c  the writing thread: groups of jobs, one commit each
 * sqlite_read.c   the reading thread: queries
 * sqlite_wal.c    checkpoints, which the reading thread runs
 * sqlite_stmt.c   prepared statements, parameters
 * sqlite_err.c    result codes become ours; a failed sync ends the process
 * sqlite_open.c   connections and their settings
 * sqlite_schema.c creating, checking and upgrading the schema
 * sqlite_copy.c   copies of the database file
 */
#ifndef BT_STORE_SQLITE_INTERNAL_H
#define BT_STORE_SQLITE_INTERNAL_H

#include <pthread.h>
#include <sqlite3.h>

#include "net/loop.h"
#include "store/db_internal.h"
#include "store/sqlite.h"

enum {
    SQLITE_PAGE_BYTES = 4096,
    SQLITE_STMTS_MAX = 512,   /* prepared statements per connection; beyond it all are let go */
    SQLITE_GROUP_JOBS = 256,  /* jobs that may share one commit */
    SQLITE_SPARE_JOBS = 64,   /* answers that can still be given when memory is out */
};

/* Result rows while they are copied: blobs are offsets until sqlite_read.c turns them into pointers. */
struct sqlite_rows {
    struct db_val *vals;
    size_t nvals, vals_cap;
    uint8_t *bytes;
    size_t bytes_len, bytes_cap;
    struct db_rows view;
};

/* One call, from when it was made until it is answered. Owned by the loop, by a queue or by the thread that runs it. */
struct sqlite_job {
    struct sqlite_job *next;
    struct db_list *list;     /* NULL: nothing to run, done.err says why */
    bool is_query, is_spare;
    bool is_leader;           /* its answer stands for one commit in the statistics */
    size_t cost;              /* statements */
    uint64_t due_us;          /* not begun after this */
    db_rows_cb *rows_cb;      /* is_query */
    db_done_cb *done_cb;      /* otherwise; NULL: nobody asks */
    void *arg;
    struct db_done done;      /* err for queries too */
    int64_t rows_changed;     /* by all statements */
    struct sqlite_rows rows;
};

struct sqlite_queue {
    struct sqlite_job *head, **tail;
};
void sqlite_queue_init(struct sqlite_queue *q);
void sqlite_queue_push(struct sqlite_queue *q, struct sqlite_job *job);
void sqlite_queue_push_all(struct sqlite_queue *q, struct sqlite_queue *from); /* empties from */
struct sqlite_job *sqlite_queue_pop(struct sqlite_queue *q);                   /* NULL: empty */

/* A connection, used by one thread at a time, with its prepared statements. */
struct sqlite_stmt;
struct sqlite_conn {
    sqlite3 *handle;
    struct sqlite_stmt *buckets[256]; /* by hash of the text */
    size_t nstmts;
    enum bt_err health;               /* how the last call ended, to log changes only */
    const char *what;                 /* "writes", "reads" */
    uint64_t due_us;                  /* the reader's statement is broken off after this */
};

struct sqlite_db {
    struct db base;
    struct net_loop *loop;
    struct net_wake *wake;
    char *path;
    size_t queue_limit;
    uint32_t timeout_ms;
    bool is_durable;
    size_t load;                      /* statements not answered yet */
    bool is_closing;
    void (*closed_cb)(void *arg);
    void *closed_arg;
    struct sqlite_job *spares;
    struct sqlite_job spare_mem[SQLITE_SPARE_JOBS];

    struct sqlite_conn write_conn, read_conn; /* each its thread's */
    pthread_t writer, reader;

    pthread_mutex_t lock;             /* over all below */
    pthread_cond_t to_writer, to_reader;
    struct sqlite_queue writes, reads, done;
    bool is_stopping;
    int threads;                      /* still running */
    bool in_transaction;              /* the writer is */
    bool pause_writer;                /* it shall not begin another */
    bool checkpoint_wanted;
    uint32_t wal_frames;              /* in the log after the last commit */
    uint32_t checkpoint_at, wal_limit; /* frames */
    uint64_t checkpoints;
};

/* sqlite.c. Hand finished jobs to the loop. Any thread. */
void sqlite_answer(struct sqlite_db *db, struct sqlite_queue *finished);
void sqlite_thread_ended(struct sqlite_db *db);

/* sqlite_write.c, sqlite_read.c: the threads. */
void *sqlite_write_thread(void *arg);
void *sqlite_read_thread(void *arg);

/* sqlite_wal.c. The hook runs on the writing thread, the checkpoint on the reading one. */
int sqlite_wal_hook(void *arg, sqlite3 *handle, const char *name, int frames);
void sqlite_checkpoint(struct sqlite_db *db);

/*
 * sqlite_stmt.c. A prepared statement for s, reset and lent until the next call; its SQL is kept prepared.
 * Returns a result code of SQLite.
 */
int sqlite_stmt_get(struct sqlite_conn *conn, const struct db_stmt *s, sqlite3_stmt **out);
int sqlite_stmt_bind(sqlite3_stmt *stmt, const struct db_val *vals, size_t n); /* vals are borrowed until it is reset */
void sqlite_stmt_rest(sqlite3_stmt *stmt);                                     /* reset and unbind */
void sqlite_stmt_free_all(struct sqlite_conn *conn);

/*
 * sqlite_err.c. What a result code means when nothing of the transaction was written. Logs what a person must know,
 * once per change. Does not return when a sync failed: what was written before it cannot be relied on any more.
 */
enum bt_err sqlite_err_of(struct sqlite_conn *conn, int rc);
void sqlite_healthy(struct sqlite_conn *conn); /* a call went well; logs it if the last one did not */

/* sqlite_open.c. On an error *out is closed and why is filled in. */
enum bt_err sqlite_conn_open(struct sqlite_conn *conn, const char *path, int flags, char *why, size_t why_size);
void sqlite_conn_close(struct sqlite_conn *conn);
int sqlite_run(sqlite3 *handle, const char *sql);                                  /* statements without results */
enum bt_err sqlite_why(sqlite3 *handle, int rc, const char *path, char *why, size_t why_size); /* for calls at the start */

#endif
