/*
 * store/sqlite.c: the loop's side of the SQLite backend: calls become jobs in the threads' queues, and finished jobs
 * come back over a bell and are answered in the order they finished.
 *
 * The loop counts what is open (load) and refuses beyond the limit; a job is owned by whoever holds it, so the lock
 * only covers moving jobs between queues.
 */
#define LOG_MODULE "sqlite"
#include "store/sqlite.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "net/log.h"
#include "net/mem.h"
#include "store/sqlite_internal.h"

static struct sqlite_db *self_of(struct db *db)
{
    return (struct sqlite_db *)db;
}

void sqlite_queue_init(struct sqlite_queue *q)
{
    q->head = NULL;
    q->tail = &q->head;
}

void sqlite_queue_push(struct sqlite_queue *q, struct sqlite_job *job)
{
    job->next = NULL;
    *q->tail = job;
    q->tail = &job->next;
}

void sqlite_queue_push_all(struct sqlite_queue *q, struct sqlite_queue *from)
{
    if (from->head == NULL)
        return;
    *q->tail = from->head;
    q->tail = from->tail;
    sqlite_queue_init(from);
}

struct sqlite_job *sqlite_queue_pop(struct sqlite_queue *q)
{
    struct sqlite_job *job = q->head;
    if (job == NULL)
        return NULL;
    q->head = job->next;
    if (q->head == NULL)
        q->tail = &q->head;
    return job;
}

/* A job for a call. When memory is out one of the spares carries the refusal; when these are out too, nobody can be answered. */
static struct sqlite_job *job_new(struct sqlite_db *db)
{
    struct sqlite_job *job = bt_calloc(1, sizeof *job);
    if (job != NULL)
        return job;
    job = db->spares;
    if (job == NULL) {
        log_error("out of memory, and %d calls wait to be told: ending", SQLITE_SPARE_JOBS);
        _exit(71);
    }
    db->spares = job->next;
    memset(job, 0, sizeof *job);
    job->is_spare = true;
    job->done.err = BT_ENOMEM;
    return job;
}

static void job_free(struct sqlite_db *db, struct sqlite_job *job)
{
    db_list_drop(job->list);
    bt_free(job->rows.vals);
    bt_free(job->rows.bytes);
    if (job->is_spare) {
        job->next = db->spares;
        db->spares = job;
    } else {
        bt_free(job);
    }
}

void sqlite_answer(struct sqlite_db *db, struct sqlite_queue *finished)
{
    pthread_mutex_lock(&db->lock);
    sqlite_queue_push_all(&db->done, finished);
    pthread_mutex_unlock(&db->lock);
    net_wake_ring(db->wake);
}

void sqlite_thread_ended(struct sqlite_db *db)
{
    pthread_mutex_lock(&db->lock);
    db->threads--;
    pthread_mutex_unlock(&db->lock);
    net_wake_ring(db->wake);
}

/* Why a job cannot be queued, or BT_OK. One job larger than the whole queue is let in when it is alone. */
static enum bt_err refusal(const struct sqlite_db *db, const struct sqlite_job *job)
{
    if (job->done.err != BT_OK)
        return job->done.err;
    if (db->is_closing)
        return BT_ECLOSING;
    if (job->list == NULL || job->list->is_broken)
        return BT_ENOMEM;
    if (db->load > 0 && db->load + job->cost > db->queue_limit)
        return BT_EBUSY;
    return BT_OK;
}

/* Give a complete job to its thread, or straight to the answers. */
static void job_start(struct sqlite_db *db, struct sqlite_job *job)
{
    job->cost = db_list_len(job->list);
    bool is_refused = (job->done.err = refusal(db, job)) != BT_OK; /* job is not ours any more once it is queued */
    if (!is_refused) {
        db_list_seal(job->list);
        job->due_us = net_clock_us() + (uint64_t)db->timeout_ms * 1000;
    }
    db->load += job->cost;
    pthread_mutex_lock(&db->lock);
    if (is_refused) {
        sqlite_queue_push(&db->done, job);
    } else if (job->is_query) {
        sqlite_queue_push(&db->reads, job);
        pthread_cond_signal(&db->to_reader);
    } else {
        sqlite_queue_push(&db->writes, job);
        pthread_cond_signal(&db->to_writer);
    }
    pthread_mutex_unlock(&db->lock);
    if (is_refused)
        net_wake_ring(db->wake);
}

static void sqlite_query(struct db *base, const char *sql, const struct db_val *params, size_t nparams, db_rows_cb *cb, void *arg)
{
    struct sqlite_db *db = self_of(base);
    struct sqlite_job *job = job_new(db);
    job->is_query = true;
    job->rows_cb = cb;
    job->arg = arg;
    job->list = db_list_new(base);
    db_list_add(job->list, sql, params, nparams, DB_ANY);
    job_start(db, job);
}

static void sqlite_list_run(struct db *base, struct db_list *list, db_done_cb *cb, void *arg)
{
    struct sqlite_db *db = self_of(base);
    struct sqlite_job *job = job_new(db);
    job->done_cb = cb;
    job->arg = arg;
    job->list = list;
    job_start(db, job);
}

static void sqlite_insert(struct db *base, const char *head, size_t ncols, const struct db_val *vals, size_t nrows,
                          db_done_cb *cb, void *arg)
{
    struct db_list *list = db_list_new(base);
    db_list_add_rows(list, head, true, vals, ncols, nrows, DB_ANY);
    sqlite_list_run(base, list, cb, arg);
}

static int64_t sqlite_now_ms(struct db *base)
{
    (void)base;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static size_t sqlite_load(const struct db *base)
{
    return ((const struct sqlite_db *)base)->load;
}

static void job_count(struct db_stats *s, const struct sqlite_job *job)
{
    switch (job->done.err) {
    case BT_OK:
        s->queries += job->is_query;
        s->rows_read += job->rows.view.nrows;
        s->writes += !job->is_query;
        s->rows_changed += (uint64_t)job->rows_changed;
        s->commits += job->is_leader;
        break;
    case BT_EBUSY:
        s->refused++;
        break;
    case BT_ETIMEOUT:
        s->timed_out++;
        break;
    case BT_EFULL:
    case BT_EDOWN:
    case BT_EUNSURE:
    case BT_ENOMEM:
    case BT_EINTERNAL:
        s->failed++;
        break;
    default: /* a conflict and a duplicate are answers, not failures */
        break;
    }
}

static void job_answer(struct sqlite_db *db, struct sqlite_job *job)
{
    db->load -= job->cost;
    job_count(&db->base.stats, job);
    if (job->rows_cb != NULL)
        job->rows_cb(job->done.err, job->done.err == BT_OK ? &job->rows.view : NULL, job->arg);
    if (job->done_cb != NULL)
        job->done_cb(&job->done, job->arg);
    job_free(db, job);
}

static void sqlite_db_free(struct sqlite_db *db)
{
    sqlite_conn_close(&db->read_conn);
    sqlite_conn_close(&db->write_conn); /* the last one out copies the log into the database */
    pthread_cond_destroy(&db->to_writer);
    pthread_cond_destroy(&db->to_reader);
    pthread_mutex_destroy(&db->lock);
    bt_free(db->path);
    bt_free(db);
}

static void sqlite_closed(struct sqlite_db *db)
{
    void (*closed_cb)(void *arg) = db->closed_cb;
    void *closed_arg = db->closed_arg;
    pthread_join(db->writer, NULL);
    pthread_join(db->reader, NULL);
    net_wake_close(db->wake);
    sqlite_db_free(db);
    closed_cb(closed_arg);
}

/* The bell: answer what is finished. What the callbacks arm is answered at a later ring, so that I/O gets its turn. */
static void sqlite_bell(void *arg)
{
    struct sqlite_db *db = arg;
    struct sqlite_queue finished;
    sqlite_queue_init(&finished);
    pthread_mutex_lock(&db->lock);
    sqlite_queue_push_all(&finished, &db->done);
    db->base.stats.checkpoints = db->checkpoints;
    db->base.stats.log_bytes = (uint64_t)db->wal_frames * SQLITE_PAGE_BYTES;
    pthread_mutex_unlock(&db->lock);

    for (struct sqlite_job *job; (job = sqlite_queue_pop(&finished)) != NULL;)
        job_answer(db, job);

    if (!db->is_closing)
        return;
    pthread_mutex_lock(&db->lock);
    bool is_over = db->threads == 0 && db->done.head == NULL;
    pthread_mutex_unlock(&db->lock);
    if (is_over)
        sqlite_closed(db);
}

static void sqlite_close(struct db *base, void (*closed_cb)(void *arg), void *arg)
{
    struct sqlite_db *db = self_of(base);
    assert(!db->is_closing);
    db->is_closing = true;
    db->base.is_up = false;
    db->closed_cb = closed_cb;
    db->closed_arg = arg;
    pthread_mutex_lock(&db->lock);
    db->is_stopping = true;
    pthread_cond_signal(&db->to_writer);
    pthread_cond_signal(&db->to_reader);
    pthread_mutex_unlock(&db->lock);
}

static const struct db_driver sqlite_driver = {
    .scheme = "sqlite",
    .query = sqlite_query,
    .list_run = sqlite_list_run,
    .insert = sqlite_insert,
    .now_ms = sqlite_now_ms,
    .load = sqlite_load,
    .close = sqlite_close,
};

/* Settings of one connection. Everything temporary stays in memory: a full disk must not hinder a read or a rollback. */
static enum bt_err conn_settle(struct sqlite_conn *conn, const struct sqlite_conf *conf, bool is_reader, char *why, size_t why_size)
{
    char sql[256];
    snprintf(sql, sizeof sql,
             "PRAGMA synchronous=%s; PRAGMA wal_autocheckpoint=0; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-%u;"
             "PRAGMA journal_size_limit=%llu; PRAGMA query_only=%s;",
             conf->is_durable ? "FULL" : "OFF", conf->cache_kib, 2ULL * conf->wal_kib * 1024, is_reader ? "ON" : "OFF");
    sqlite3_busy_timeout(conn->handle, (int)conf->timeout_ms);
    int rc = sqlite_run(conn->handle, sql);
    return rc == SQLITE_OK ? BT_OK : sqlite_why(conn->handle, rc, conf->path, why, why_size);
}

static enum bt_err conns_open(struct sqlite_db *db, const struct sqlite_conf *conf, char *why, size_t why_size)
{
    db->write_conn.what = "writes";
    db->read_conn.what = "reads";
    enum bt_err err = sqlite_conn_open(&db->write_conn, conf->path, SQLITE_OPEN_READWRITE, why, why_size);
    if (err == BT_OK)
        err = conn_settle(&db->write_conn, conf, false, why, why_size);
    if (err == BT_OK)
        err = sqlite_conn_open(&db->read_conn, conf->path, SQLITE_OPEN_READWRITE, why, why_size);
    if (err == BT_OK)
        err = conn_settle(&db->read_conn, conf, true, why, why_size);
    if (err == BT_OK)
        sqlite3_wal_hook(db->write_conn.handle, sqlite_wal_hook, db);
    return err;
}

/* Signals are the loop's: the threads are born with all of them blocked. */
static enum bt_err threads_start(struct sqlite_db *db)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    db->threads = 2;
    enum bt_err err = BT_OK;
    if (pthread_create(&db->writer, NULL, sqlite_write_thread, db) != 0) {
        err = BT_ENOMEM;
    } else if (pthread_create(&db->reader, NULL, sqlite_read_thread, db) != 0) {
        pthread_mutex_lock(&db->lock);
        db->is_stopping = true;
        pthread_cond_signal(&db->to_writer);
        pthread_mutex_unlock(&db->lock);
        pthread_join(db->writer, NULL);
        err = BT_ENOMEM;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}

enum bt_err sqlite_start(struct net_loop *loop, const struct sqlite_conf *conf, struct db **out, char *why, size_t why_size)
{
    struct sqlite_db *db = bt_calloc(1, sizeof *db);
    if (db == NULL)
        return BT_ENOMEM;
    db->base = (struct db){ .driver = &sqlite_driver, .generation = 1, .is_up = true };
    db->loop = loop;
    db->path = bt_strdup(conf->path);
    db->queue_limit = conf->queue;
    db->timeout_ms = conf->timeout_ms;
    db->is_durable = conf->is_durable;
    db->wal_limit = db->checkpoint_at = conf->wal_kib / (SQLITE_PAGE_BYTES / 1024);
    for (size_t i = 0; i < SQLITE_SPARE_JOBS; i++) {
        db->spare_mem[i].next = db->spares;
        db->spares = &db->spare_mem[i];
    }
    sqlite_queue_init(&db->writes);
    sqlite_queue_init(&db->reads);
    sqlite_queue_init(&db->done);
    pthread_mutex_init(&db->lock, NULL);
    pthread_cond_init(&db->to_writer, NULL);
    pthread_cond_init(&db->to_reader, NULL);

    snprintf(why, why_size, "%s: no memory", conf->path);
    enum bt_err err = db->path != NULL ? BT_OK : BT_ENOMEM;
    if (err == BT_OK)
        err = conns_open(db, conf, why, why_size);
    if (err != BT_OK)
        goto no_conns;
    err = net_wake_new(loop, sqlite_bell, db, &db->wake);
    if (err != BT_OK)
        goto no_conns;
    err = threads_start(db);
    if (err != BT_OK)
        goto no_threads;
    *out = &db->base;
    return BT_OK;

no_threads:
    net_wake_close(db->wake);
no_conns:
    sqlite_db_free(db);
    return err;
}
