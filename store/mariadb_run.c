/*
 * store/mariadb_run.c: one job on one connection.
 *
 * A query, and a write of one statement that can only do what is expected or nothing, commits itself. Every other list is
 * BEGIN, its statements, COMMIT, one answered before the next is sent. What becomes of a job whose connection is lost
 * hangs on is_committing alone: before, nothing stands, and it is begun again on another connection; from then on it
 * may stand, and the caller has to find out.
 */
#define LOG_MODULE "mariadb"
#include <assert.h>
#include <errmsg.h>
#include <string.h>

#include "net/log.h"
#include "store/mariadb_internal.h"

static const struct db_stmt *stmt_of(const struct mariadb_run *run)
{
    return &run->job->list->stmts[run->stmt];
}

/* An insert of values changes all of its rows or none: an expectation of its own length can't fail. */
static bool is_plain_insert(const struct db_stmt *s)
{
    return s->is_head || (s->expect == 1 && strncmp(s->sql, "INSERT INTO ", 12) == 0 && strstr(s->sql, ") VALUES (") != NULL &&
                          strstr(s->sql, "), (") == NULL);
}

static bool is_bulk(const struct mariadb_run *run)
{
    const struct db_stmt *s = stmt_of(run);
    return s->is_head && !run->is_transaction;
}

static bool needs_transaction(const struct mariadb_job *job)
{
    const struct db_stmt *first = &job->list->stmts[0];
    if (job->is_query)
        return false;
    if (job->list->nstmts != 1)
        return true;
    if (first->is_head)
        return !mariadb_stmt_is_even(job->list, first);
    return first->expect != DB_ANY && !is_plain_insert(first);
}

/* ---- ends ------------------------------------------------------------------------------------------------------------ */

/* Take the job off the connection. */
static struct mariadb_job *run_take(struct mariadb_conn *c)
{
    struct mariadb_job *job = c->run.job;
    memset(&c->run, 0, sizeof c->run);
    return job;
}

/* Begin the job anew, soon, unless it was tried often enough: then it ends with err. */
static void repeat(struct mariadb_db *db, struct mariadb_job *job, uint32_t wait_ms, enum bt_err err)
{
    uint64_t now_ms = net_now_ms(db->loop);
    if (job->tries >= MARIADB_TRIES_MAX) {
        job->done = (struct db_done){ .err = err };
        mariadb_job_answer(db, job);
        return;
    }
    mariadb_rows_clear(&job->rows);
    job->not_before_ms = now_ms + wait_ms;
    mariadb_queue_push_front(&db->queue, job);
    mariadb_tidy_soon(db);
}

/* The connection is free again, and the job's outcome is known (job->done), or it is to be repeated. */
static void run_end(struct mariadb_conn *c)
{
    struct mariadb_db *db = c->db;
    bool is_again = c->run.is_again;
    struct mariadb_job *job = run_take(c);
    c->used_ms = net_now_ms(db->loop);
    mariadb_conn_set_state(c, MARIADB_IDLE);
    mariadb_tidy_soon(db);
    if (is_again)
        repeat(db, job, 2 * job->tries * job->tries, BT_EBUSY); /* apart from whom it collided with */
    else
        mariadb_job_answer(db, job);
}

/* Its outcome is known; what the transaction did so far is taken back. */
static void run_undo(struct mariadb_conn *c)
{
    if (!c->run.is_transaction) {
        run_end(c);
        return;
    }
    c->run.phase = RUN_ROLLBACK;
    mariadb_op_text(c, "ROLLBACK");
}

static void run_fail(struct mariadb_conn *c, enum bt_err err)
{
    c->run.job->done = (struct db_done){ .err = err, .item = c->run.stmt };
    run_undo(c);
}

void mariadb_run_lost(struct mariadb_conn *c)
{
    struct mariadb_db *db = c->db;
    bool is_decided = c->run.phase == RUN_ROLLBACK && !c->run.is_again, is_committing = c->run.is_committing;
    bool is_expired = c->is_expired;
    struct mariadb_job *job = run_take(c);
    if (!is_decided && is_committing)
        job->done = (struct db_done){ .err = BT_EUNSURE };
    else if (!is_decided && is_expired)
        job->done = (struct db_done){ .err = BT_ETIMEOUT };
    else if (!is_decided) {
        repeat(db, job, 0, BT_EDOWN);
        return;
    }
    mariadb_job_answer(db, job);
}

/* ---- errors ---------------------------------------------------------------------------------------------------------- */

static void statement_wrong(struct mariadb_conn *c, unsigned errnum, const char *text)
{
    log_error("%s: %s (error %u) in: %.200s", c->host->shown, text, errnum, stmt_of(&c->run)->sql);
}

/* A statement, or its preparation, was answered with an error. */
static void run_failed(struct mariadb_conn *c, unsigned errnum, const char *text)
{
    struct mariadb_run *run = &c->run;
    enum mariadb_class class = c->is_expired ? MARIADB_LOST : mariadb_class_of(errnum, text);
    switch (class) {
    case MARIADB_FINE:
    case MARIADB_WRONG:
        statement_wrong(c, errnum, text);
        run_fail(c, BT_EINTERNAL);
        return;
    case MARIADB_DUPLICATE:
        run_fail(c, BT_EEXIST);
        return;
    case MARIADB_FULL:
        log_error("%s: no room: %s", c->host->shown, text);
        run_fail(c, BT_EFULL);
        return;
    case MARIADB_NO_MEMORY:
        run_fail(c, BT_ENOMEM);
        return;
    case MARIADB_AGAIN:
        run->is_again = true;
        run_undo(c);
        return;
    case MARIADB_TOO_LONG:
        if (run->job->is_query) {
            run_fail(c, BT_ETIMEOUT);
            return;
        }
        break;
    case MARIADB_READ_ONLY: /* nothing was done; the job is begun on the host that is writable */
        run->is_committing = false;
        mariadb_conn_fail(c, errnum, text);
        mariadb_host_is_read_only(c->host);
        return;
    case MARIADB_CUT:
    case MARIADB_LOST:
        break;
    }
    mariadb_conn_fail(c, errnum, text);
}

/* ---- steps ----------------------------------------------------------------------------------------------------------- */

static void stmt_execute(struct mariadb_conn *c)
{
    struct mariadb_run *run = &c->run;
    const struct db_stmt *s = stmt_of(run);
    struct mariadb_stmt *e = run->prepared;
    bool has_rows = mysql_stmt_field_count(e->handle) > 0;
    if (has_rows != run->job->is_query) {
        log_error("a query that changes, or a change that answers rows: %.200s", s->sql);
        run_fail(c, BT_EINTERNAL);
        return;
    }
    enum bt_err err = mariadb_stmt_bind(c, e, run->job->list, s, run->row, is_bulk(run));
    if (err == BT_EINTERNAL)
        log_error("%s: %lu parameters are asked, %zu given: %.200s", c->host->shown, mysql_stmt_param_count(e->handle), s->nvals, s->sql);
    if (err != BT_OK) {
        run_fail(c, err);
        return;
    }
    run->is_committing = !run->job->is_query && !run->is_transaction;
    mariadb_op_execute(c, e);
}

static void stmt_begin(struct mariadb_conn *c)
{
    struct mariadb_run *run = &c->run;
    run->phase = RUN_STMT;
    struct mariadb_stmt *e = mariadb_stmt_get(c, stmt_of(run), run->job->is_query);
    if (e == NULL) {
        run_fail(c, BT_ENOMEM);
        return;
    }
    run->prepared = e;
    if (e->is_prepared)
        stmt_execute(c);
    else
        mariadb_op_prepare(c, e);
}

static void prepared(struct mariadb_conn *c)
{
    struct mariadb_stmt *e = c->run.prepared;
    if (c->ret.code == 0) {
        e->is_prepared = true;
        stmt_execute(c);
        return;
    }
    char text[256];
    unsigned errnum = mysql_stmt_errno(e->handle);
    strncpy(text, mysql_stmt_error(e->handle), sizeof text - 1);
    text[sizeof text - 1] = '\0';
    if (mariadb_class_of(errnum, text) != MARIADB_LOST && !c->is_expired) {
        c->run.prepared = NULL;
        mariadb_stmt_drop(c, e);
    }
    run_failed(c, errnum, text);
}

static void commit(struct mariadb_conn *c)
{
    if (!c->run.is_transaction) {
        run_end(c);
        return;
    }
    c->run.phase = RUN_COMMIT;
    c->run.is_committing = true;
    mariadb_op_text(c, "COMMIT");
}

static void stmt_changed(struct mariadb_conn *c)
{
    struct mariadb_run *run = &c->run;
    struct mariadb_job *job = run->job;
    const struct db_stmt *s = stmt_of(run);
    int64_t changed = (int64_t)mysql_stmt_affected_rows(run->prepared->handle);
    job->rows_changed += changed;
    job->done.changed = run->row == 0 ? changed : job->done.changed + changed; /* of one statement, all its rows */
    if (!is_bulk(run) && ++run->row < s->nrows) {
        stmt_begin(c);
        return;
    }
    if (s->expect != DB_ANY && s->expect != job->done.changed) {
        run_fail(c, BT_ECONFLICT);
        return;
    }
    run->row = 0;
    if (++run->stmt < job->list->nstmts)
        stmt_begin(c);
    else
        commit(c);
}

static void executed(struct mariadb_conn *c)
{
    MYSQL_STMT *handle = c->run.prepared->handle;
    if (c->ret.code != 0)
        run_failed(c, mysql_stmt_errno(handle), mysql_stmt_error(handle));
    else if (c->run.job->is_query)
        mariadb_op_rows(c, c->run.prepared);
    else
        stmt_changed(c);
}

static void rows_came(struct mariadb_conn *c)
{
    struct mariadb_stmt *e = c->run.prepared;
    if (c->ret.code != 0) {
        run_failed(c, mysql_stmt_errno(e->handle), mysql_stmt_error(e->handle));
        return;
    }
    enum bt_err err = mariadb_stmt_rows(e, &c->run.job->rows);
    if (err == BT_EINTERNAL)
        statement_wrong(c, mysql_stmt_errno(e->handle), mysql_stmt_error(e->handle));
    mysql_stmt_free_result(e->handle); /* stored: no I/O */
    c->run.job->done = (struct db_done){ .err = err };
    run_end(c);
}

/* BEGIN, COMMIT or ROLLBACK was answered. */
static void control_done(struct mariadb_conn *c)
{
    bool is_fine = c->ret.code == 0;
    if (is_fine && c->run.phase == RUN_BEGIN) {
        stmt_begin(c);
    } else if (is_fine) {
        run_end(c);
    } else if (mariadb_class_of(mysql_errno(c->mysql), mysql_error(c->mysql)) == MARIADB_READ_ONLY) {
        run_failed(c, mysql_errno(c->mysql), mysql_error(c->mysql));
    } else { /* what it means for the transaction is known when the connection has ended, and only for BEGIN */
        mariadb_conn_fail(c, mysql_errno(c->mysql), mysql_error(c->mysql));
    }
}

void mariadb_run_advance(struct mariadb_conn *c, enum mariadb_op op)
{
    switch (op) {
    case OP_TEXT:
        control_done(c);
        return;
    case OP_PREPARE:
        prepared(c);
        return;
    case OP_EXECUTE:
        executed(c);
        return;
    case OP_ROWS:
        rows_came(c);
        return;
    default:
        assert(false); /* a job makes no other calls */
    }
}

/* Bytes on the way to the server of what is executed at once: `nrows` rows, from `row` on. At most. */
static size_t execution_bytes(const struct db_list *list, const struct db_stmt *s, size_t row, size_t nrows)
{
    enum { PER_VALUE = 12, PER_STMT = 1024 };
    const struct db_val *vals = list->vals + s->first_val + row * s->nvals;
    size_t nvals = s->nvals * nrows, bytes = PER_STMT + nvals * PER_VALUE;
    for (size_t v = 0; v < nvals; v++)
        if (vals[v].type == DB_BYTES)
            bytes += vals[v].len;
    return bytes;
}

/* What the server would refuse with its connection closed: more at once than its max_allowed_packet. */
static bool is_too_long(const struct mariadb_db *db, const struct mariadb_job *job, bool by_row)
{
    const struct db_list *list = job->list;
    for (size_t i = 0; i < list->nstmts; i++) {
        const struct db_stmt *s = &list->stmts[i];
        size_t step = by_row ? 1 : s->nrows;
        for (size_t row = 0; row < s->nrows; row += step)
            if (execution_bytes(list, s, row, step) > db->packet_max)
                return true;
    }
    return false;
}

void mariadb_run_start(struct mariadb_conn *c, struct mariadb_job *job)
{
    /* Rows that are too long together go one after the other. */
    bool by_row = needs_transaction(job) || is_too_long(c->db, job, false);

    assert(c->state == MARIADB_IDLE && job->list->nstmts > 0);
    job->tries++;
    job->done = (struct db_done){ .err = BT_OK };
    job->rows_changed = 0;
    if (by_row && is_too_long(c->db, job, true)) {
        log_error("%s: a statement is longer than the server's max_allowed_packet of %llu bytes; raise it", c->host->shown,
                  (unsigned long long)c->db->packet_max);
        job->done.err = BT_EINVAL;
        mariadb_job_answer(c->db, job);
        return;
    }
    memset(&c->run, 0, sizeof c->run);
    c->run.job = job;
    c->run.is_transaction = by_row && !job->is_query;
    mariadb_conn_set_state(c, MARIADB_BUSY);
    mariadb_conn_deadline(c, c->db->conf.timeout_ms + (job->is_query ? 500 : 0)); /* the server ends a query first */
    if (c->run.is_transaction) {
        c->run.phase = RUN_BEGIN;
        mariadb_op_text(c, "BEGIN");
    } else {
        stmt_begin(c);
    }
    mariadb_conn_drive(c);
}
