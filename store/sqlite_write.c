/*
 * store/sqlite_write.c: the writing thread. Jobs that queued up while the last commit was synced are run as one
 * transaction and share the next sync; a savepoint around each keeps their outcomes apart. Nobody is told that a
 * write stands before the COMMIT returned.
 */
#define LOG_MODULE "sqlite"
#include <errno.h>

#include "net/log.h"
#include "store/sqlite_internal.h"

/* Run one statement for all its rows. */
static enum bt_err run_stmt(struct sqlite_conn *conn, const struct db_list *list, const struct db_stmt *s, int64_t *changed_out)
{
    sqlite3_stmt *stmt;
    int rc = sqlite_stmt_get(conn, s, &stmt);
    if (rc != SQLITE_OK)
        return sqlite_err_of(conn, rc);
    int64_t before = sqlite3_total_changes64(conn->handle);
    for (size_t row = 0; row < s->nrows && rc == SQLITE_OK; row++) {
        rc = sqlite_stmt_bind(stmt, list->vals + s->first_val + row * s->nvals, s->nvals);
        while (rc == SQLITE_OK || rc == SQLITE_ROW)
            rc = sqlite3_step(stmt);
        if (rc == SQLITE_DONE)
            rc = sqlite3_reset(stmt);
    }
    enum bt_err err = sqlite_err_of(conn, rc); /* before the reset below changes the message */
    sqlite_stmt_rest(stmt);
    *changed_out = sqlite3_total_changes64(conn->handle) - before;
    return err;
}

/* Run a job's statements inside the open transaction and fill in done. */
static void run_job(struct sqlite_conn *conn, struct sqlite_job *job)
{
    const struct db_list *list = job->list;
    job->done = (struct db_done){ .err = BT_OK };
    job->rows_changed = 0;
    for (size_t i = 0; i < list->nstmts; i++) {
        int64_t changed = 0;
        job->done.err = run_stmt(conn, list, &list->stmts[i], &changed);
        if (job->done.err == BT_OK && list->stmts[i].expect != DB_ANY && list->stmts[i].expect != changed)
            job->done.err = BT_ECONFLICT;
        if (job->done.err != BT_OK) {
            job->done.item = i;
            return;
        }
        job->done.changed = changed;
        job->rows_changed += changed;
    }
}

/* Run one of the statements that begin and end transactions; they are kept prepared like all others. */
static int control_rc(struct sqlite_conn *conn, const char *sql)
{
    sqlite3_stmt *stmt;
    int rc = sqlite_stmt_get(conn, &(struct db_stmt){ .sql = sql }, &stmt);
    if (rc == SQLITE_OK) {
        sqlite3_step(stmt);
        rc = sqlite3_reset(stmt);
    }
    return rc;
}

static bool control(struct sqlite_conn *conn, const char *sql)
{
    return control_rc(conn, sql) == SQLITE_OK;
}

/* Some errors (no room, no memory, I/O) end the whole transaction by themselves. */
static bool in_transaction(const struct sqlite_conn *conn)
{
    return sqlite3_get_autocommit(conn->handle) == 0;
}

static void roll_back(struct sqlite_conn *conn)
{
    if (in_transaction(conn) && sqlite_run(conn->handle, "ROLLBACK") != SQLITE_OK && in_transaction(conn))
        log_error("rolling back: %s", sqlite3_errmsg(conn->handle));
}

/* Take back what one job of several did. False: that failed, and all of the transaction is gone. */
static bool take_back(struct sqlite_conn *conn)
{
    if (in_transaction(conn) && control(conn, "ROLLBACK TO job") && control(conn, "RELEASE job"))
        return true;
    roll_back(conn);
    return false;
}

static void fail_all(struct sqlite_job *jobs, enum bt_err err)
{
    for (struct sqlite_job *job = jobs; job != NULL; job = job->next)
        if (job->done.err == BT_OK)
            job->done = (struct db_done){ .err = err };
}

/*
 * An error of COMMIT itself. Without room the commit record is cut short, so nothing stands. After any other error the
 * record may or may not be in the log already, and a crash right now would let the next start find it.
 * sys: errno after the COMMIT, which SQLite keeps for other statements only.
 */
static void commit_failed(struct sqlite_conn *conn, struct sqlite_job *jobs, int rc, int sys)
{
    bool no_room = rc == SQLITE_FULL || (rc == SQLITE_IOERR_WRITE && (sys == ENOSPC || sys == EDQUOT || sys == EFBIG));
    sqlite_err_of(conn, rc);
    roll_back(conn);
    fail_all(jobs, no_room ? BT_EFULL : BT_EUNSURE);
}

static void commit(struct sqlite_conn *conn, struct sqlite_job *jobs)
{
    struct sqlite_job *leader = jobs;
    while (leader != NULL && leader->done.err != BT_OK)
        leader = leader->next;
    if (leader == NULL) {
        roll_back(conn);
        return;
    }
    errno = 0;
    int rc = control_rc(conn, "COMMIT");
    if (rc != SQLITE_OK) {
        commit_failed(conn, jobs, rc, errno);
        return;
    }
    leader->is_leader = true;
    sqlite_healthy(conn);
}

/* BEGIN waits for another process's write (an operator's command) up to the busy timeout. */
static bool begin(struct sqlite_conn *conn, struct sqlite_job *jobs)
{
    int rc = control_rc(conn, "BEGIN IMMEDIATE");
    if (rc == SQLITE_OK)
        return true;
    enum bt_err err = sqlite_err_of(conn, rc);
    roll_back(conn);
    fail_all(jobs, err);
    return false;
}

static void run_alone(struct sqlite_conn *conn, struct sqlite_job *job)
{
    struct sqlite_job *next = job->next;
    job->next = NULL;
    job->done = (struct db_done){ .err = BT_OK };
    if (begin(conn, job)) {
        run_job(conn, job);
        commit(conn, job);
    }
    job->next = next;
}

/* Run all in one transaction. False: it was lost as a whole, and every job has to be run alone. */
static bool run_together(struct sqlite_conn *conn, struct sqlite_job *jobs)
{
    if (!begin(conn, jobs))
        return true;
    for (struct sqlite_job *job = jobs; job != NULL; job = job->next) {
        if (!control(conn, "SAVEPOINT job")) {
            roll_back(conn);
            return false;
        }
        run_job(conn, job);
        if (job->done.err != BT_OK ? !take_back(conn) : !control(conn, "RELEASE job")) {
            roll_back(conn);
            return false;
        }
    }
    commit(conn, jobs);
    return true;
}

static void run_group(struct sqlite_conn *conn, struct sqlite_job *jobs)
{
    if (jobs == NULL)
        return;
    if (jobs->next != NULL && run_together(conn, jobs))
        return;
    for (struct sqlite_job *job = jobs; job != NULL; job = job->next)
        run_alone(conn, job);
}

/* Wait for jobs and take up to a group of them; those that waited too long go to `late`. False: time to end. */
static bool take_group(struct sqlite_db *db, struct sqlite_queue *group, struct sqlite_queue *late)
{
    pthread_mutex_lock(&db->lock);
    db->in_transaction = false;
    if (db->pause_writer)
        pthread_cond_signal(&db->to_reader);
    while (db->pause_writer || (db->writes.head == NULL && !db->is_stopping))
        pthread_cond_wait(&db->to_writer, &db->lock);
    uint64_t now_us = net_clock_us();
    for (int n = 0; n < SQLITE_GROUP_JOBS && db->writes.head != NULL; n++) {
        struct sqlite_job *job = sqlite_queue_pop(&db->writes);
        bool is_late = now_us > job->due_us;
        job->done.err = is_late ? BT_ETIMEOUT : BT_OK;
        sqlite_queue_push(is_late ? late : group, job);
    }
    db->in_transaction = group->head != NULL;
    pthread_mutex_unlock(&db->lock);
    return group->head != NULL || late->head != NULL;
}

void *sqlite_write_thread(void *arg)
{
    struct sqlite_db *db = arg;
    struct sqlite_queue group, late;
    sqlite_queue_init(&group);
    sqlite_queue_init(&late);
    while (take_group(db, &group, &late)) {
        run_group(&db->write_conn, group.head);
        sqlite_queue_push_all(&late, &group);
        sqlite_answer(db, &late);
    }
    sqlite_thread_ended(db);
    return NULL;
}
