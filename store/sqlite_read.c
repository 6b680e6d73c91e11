/* store/sqlite_read.c: the reading thread: runs queries, copies their rows, and checkpoints between them. */
#include <string.h>

#include "store/sqlite_internal.h"

enum { STEPS_PER_LOOK = 20000 }; /* of SQLite's machine, between two looks at the clock: about a millisecond */

/* Copy the columns of the current row; false: no memory. */
static bool copy_row(sqlite3_stmt *stmt, size_t ncols, struct sqlite_rows *rows)
{
    if (!db_grow((void **)&rows->vals, &rows->vals_cap, rows->nvals + ncols, sizeof *rows->vals))
        return false;
    for (size_t c = 0; c < ncols; c++) {
        struct db_val *v = &rows->vals[rows->nvals++];
        int type = sqlite3_column_type(stmt, (int)c);
        if (type == SQLITE_NULL) {
            *v = db_null();
            continue;
        }
        if (type == SQLITE_INTEGER || type == SQLITE_FLOAT) {
            *v = db_int(sqlite3_column_int64(stmt, (int)c));
            continue;
        }
        const void *p = sqlite3_column_blob(stmt, (int)c);
        size_t len = (size_t)sqlite3_column_bytes(stmt, (int)c);
        if (!db_grow((void **)&rows->bytes, &rows->bytes_cap, rows->bytes_len + len, 1))
            return false;
        *v = db_bytes((const void *)(uintptr_t)rows->bytes_len, len);
        if (len > 0) /* an empty blob has no address */
            memcpy(rows->bytes + rows->bytes_len, p, len);
        rows->bytes_len += len;
    }
    return true;
}

/* The blobs do not move any more: offsets become pointers. */
static void rows_finish(struct sqlite_rows *rows, size_t nrows, size_t ncols)
{
    static const uint8_t nothing[1];
    const uint8_t *base = rows->bytes != NULL ? rows->bytes : nothing;
    for (size_t i = 0; i < rows->nvals; i++)
        if (rows->vals[i].type == DB_BYTES)
            rows->vals[i].p = base + (uintptr_t)rows->vals[i].p;
    rows->view = (struct db_rows){ .nrows = nrows, .ncols = ncols, .vals = rows->vals };
}

static enum bt_err run_query(struct sqlite_conn *conn, struct sqlite_job *job)
{
    const struct db_stmt *s = &job->list->stmts[0];
    sqlite3_stmt *stmt;
    int rc = sqlite_stmt_get(conn, s, &stmt);
    if (rc != SQLITE_OK)
        return sqlite_err_of(conn, rc);
    rc = sqlite_stmt_bind(stmt, job->list->vals + s->first_val, s->nvals);
    size_t ncols = (size_t)sqlite3_column_count(stmt), nrows = 0;
    if (rc == SQLITE_OK)
        while ((rc = sqlite3_step(stmt)) == SQLITE_ROW && copy_row(stmt, ncols, &job->rows))
            nrows++;
    if (rc == SQLITE_ROW)
        rc = SQLITE_NOMEM;
    enum bt_err err = sqlite_err_of(conn, rc);
    sqlite_stmt_rest(stmt);
    if (err == BT_OK) {
        rows_finish(&job->rows, nrows, ncols);
        sqlite_healthy(conn);
    }
    return err;
}

/* SQLite asks now and then whether to break off. */
static int is_overdue(void *arg)
{
    struct sqlite_conn *conn = arg;
    return net_clock_us() > conn->due_us;
}

/* What to do next. False: time to end. *job_out NULL: checkpoint. */
static bool take_job(struct sqlite_db *db, struct sqlite_job **job_out, bool *checkpoint_out)
{
    pthread_mutex_lock(&db->lock);
    while (db->reads.head == NULL && !db->checkpoint_wanted && !db->is_stopping)
        pthread_cond_wait(&db->to_reader, &db->lock);
    *checkpoint_out = db->checkpoint_wanted;
    *job_out = sqlite_queue_pop(&db->reads);
    pthread_mutex_unlock(&db->lock);
    return *job_out != NULL || *checkpoint_out;
}

void *sqlite_read_thread(void *arg)
{
    struct sqlite_db *db = arg;
    struct sqlite_conn *conn = &db->read_conn;
    struct sqlite_queue finished;
    struct sqlite_job *job;
    bool checkpoint;
    sqlite_queue_init(&finished);
    sqlite3_progress_handler(conn->handle, STEPS_PER_LOOK, is_overdue, conn);
    while (take_job(db, &job, &checkpoint)) {
        if (job != NULL) {
            conn->due_us = job->due_us;
            job->done.err = net_clock_us() > job->due_us ? BT_ETIMEOUT : run_query(conn, job);
            sqlite_queue_push(&finished, job);
            sqlite_answer(db, &finished);
        }
        if (checkpoint)
            sqlite_checkpoint(db);
    }
    sqlite_thread_ended(db);
    return NULL;
}
