/*
 * store/mariadb.c: the MariaDB backend towards its callers: calls become jobs, jobs are answered, and all is closed in order.
 *
 * A call only queues its job; a task that the loop runs before the turn ends gives jobs to connections, so no callback
 * runs inside the call that armed it.
 */
#define LOG_MODULE "mariadb"
#include "store/mariadb.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net/log.h"
#include "net/mem.h"
#include "store/mariadb_internal.h"

static struct mariadb_db *self_of(struct db *db)
{
    return (struct mariadb_db *)db;
}

/* ---- queues ---------------------------------------------------------------------------------------------------------- */

void mariadb_queue_init(struct mariadb_queue *q)
{
    q->head = NULL;
    q->tail = &q->head;
}

void mariadb_queue_push(struct mariadb_queue *q, struct mariadb_job *job)
{
    job->next = NULL;
    *q->tail = job;
    q->tail = &job->next;
}

void mariadb_queue_push_front(struct mariadb_queue *q, struct mariadb_job *job)
{
    job->next = q->head;
    if (q->head == NULL)
        q->tail = &job->next;
    q->head = job;
}

struct mariadb_job *mariadb_queue_pop(struct mariadb_queue *q)
{
    struct mariadb_job *job = q->head;
    if (job != NULL && (q->head = job->next) == NULL)
        q->tail = &q->head;
    return job;
}

/* ---- jobs ------------------------------------------------------------------------------------------------------------ */

/* A job for a call. When memory is out one of the spares carries the refusal; when these are out too, nobody can be answered. */
static struct mariadb_job *job_new(struct mariadb_db *db)
{
    struct mariadb_job *job = bt_calloc(1, sizeof *job);
    if (job != NULL)
        return job;
    job = db->spares;
    if (job == NULL) {
        log_error("out of memory, and %d calls wait to be told: ending", MARIADB_SPARE_JOBS);
        _exit(71);
    }
    db->spares = job->next;
    memset(job, 0, sizeof *job);
    job->is_spare = true;
    job->done.err = BT_ENOMEM;
    return job;
}

void mariadb_rows_clear(struct mariadb_rows *rows)
{
    bt_free(rows->vals);
    bt_free(rows->bytes);
    memset(rows, 0, sizeof *rows);
}

static void job_free(struct mariadb_db *db, struct mariadb_job *job)
{
    db_list_drop(job->list);
    mariadb_rows_clear(&job->rows);
    if (job->is_spare) {
        job->next = db->spares;
        db->spares = job;
    } else {
        bt_free(job);
    }
}

static void job_count(struct db_stats *s, const struct mariadb_job *job)
{
    switch (job->done.err) {
    case BT_OK:
        s->queries += job->is_query;
        s->rows_read += job->rows.view.nrows;
        s->writes += !job->is_query;
        s->commits += !job->is_query;
        s->rows_changed += (uint64_t)job->rows_changed;
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

void mariadb_job_answer(struct mariadb_db *db, struct mariadb_job *job)
{
    db->load -= job->cost;
    job_count(&db->base.stats, job);
    if (job->rows_cb != NULL)
        job->rows_cb(job->done.err, job->done.err == BT_OK ? &job->rows.view : NULL, job->arg);
    if (job->done_cb != NULL)
        job->done_cb(&job->done, job->arg);
    job_free(db, job);
    if (db->is_closing)
        mariadb_tidy_soon(db);
}

/* Why a job cannot be queued, or BT_OK. One job larger than the whole queue is let in when it is alone. */
static enum bt_err refusal(const struct mariadb_db *db, const struct mariadb_job *job)
{
    if (job->done.err != BT_OK)
        return job->done.err;
    if (db->is_closing)
        return BT_ECLOSING;
    if (job->list == NULL || job->list->is_broken)
        return BT_ENOMEM;
    if (mariadb_pool_is_hopeless(db))
        return BT_EDOWN;
    if (db->load > 0 && db->load + job->cost > db->conf.queue)
        return BT_EBUSY;
    return BT_OK;
}

static void job_start(struct mariadb_db *db, struct mariadb_job *job)
{
    job->cost = db_list_len(job->list);
    job->done.err = refusal(db, job);
    db->load += job->cost;
    if (job->done.err != BT_OK || job->cost == 0) { /* a list of nothing is done */
        mariadb_queue_push(&db->refused, job);
    } else {
        db_list_seal(job->list);
        job->due_ms = net_now_ms(db->loop) + db->conf.timeout_ms;
        mariadb_queue_push(&db->queue, job);
    }
    mariadb_tidy_soon(db);
}

static void mariadb_query(struct db *base, const char *sql, const struct db_val *params, size_t nparams, db_rows_cb *cb, void *arg)
{
    struct mariadb_db *db = self_of(base);
    struct mariadb_job *job = job_new(db);
    job->is_query = true;
    job->rows_cb = cb;
    job->arg = arg;
    job->list = db_list_new(base);
    db_list_add(job->list, sql, params, nparams, DB_ANY);
    job_start(db, job);
}

static void mariadb_list_run(struct db *base, struct db_list *list, db_done_cb *cb, void *arg)
{
    struct mariadb_db *db = self_of(base);
    struct mariadb_job *job = job_new(db);
    job->done_cb = cb;
    job->arg = arg;
    job->list = list;
    job_start(db, job);
}

static void mariadb_insert(struct db *base, const char *head, size_t ncols, const struct db_val *vals, size_t nrows,
                           db_done_cb *cb, void *arg)
{
    struct db_list *list = db_list_new(base);
    db_list_add_rows(list, head, true, vals, ncols, nrows, DB_ANY);
    mariadb_list_run(base, list, cb, arg);
}

static int64_t mariadb_now_ms(struct db *base)
{
    return mariadb_clock_now(self_of(base));
}

static size_t mariadb_load(const struct db *base)
{
    return ((const struct mariadb_db *)base)->load;
}

/* ---- closing --------------------------------------------------------------------------------------------------------- */

static void db_free(struct mariadb_db *db)
{
    explicit_bzero(db->conf.url.password, sizeof db->conf.url.password);
    bt_free(db->conns);
    bt_free(db);
}

/* All calls were answered. A name that is being looked up holds us until it is found. */
static void finish(struct mariadb_db *db)
{
    if (!db->is_stopped) {
        db->is_stopped = true;
        mariadb_pool_stop(db);
        mariadb_hosts_stop(db);
    }
    if (db->nresolving > 0)
        return;
    void (*closed_cb)(void *arg) = db->closed_cb;
    void *closed_arg = db->closed_arg;
    net_defer_cancel(db->loop, &db->tidy_task);
    db_free(db);
    closed_cb(closed_arg);
}

static void mariadb_close(struct db *base, void (*closed_cb)(void *arg), void *arg)
{
    struct mariadb_db *db = self_of(base);
    assert(!db->is_closing);
    db->is_closing = true;
    db->base.is_up = false;
    db->closed_cb = closed_cb;
    db->closed_arg = arg;
    mariadb_tidy_soon(db);
}

/* What the calls of this turn, and the ends of others, lead to. What the callbacks arm is seen to later. */
static void tidy(void *arg)
{
    struct mariadb_db *db = arg;
    struct mariadb_queue refused;
    mariadb_queue_init(&refused);
    for (struct mariadb_job *job; (job = mariadb_queue_pop(&db->refused)) != NULL;)
        mariadb_queue_push(&refused, job);
    for (struct mariadb_job *job; (job = mariadb_queue_pop(&refused)) != NULL;)
        mariadb_job_answer(db, job);
    if (!db->is_stopped)
        mariadb_pool_dispatch(db);
    if (db->is_closing && db->load == 0 && db->refused.head == NULL)
        finish(db);
    else if (!db->is_stopped)
        mariadb_pool_tick(db);
}

void mariadb_tidy_soon(struct mariadb_db *db)
{
    net_defer(db->loop, &db->tidy_task, tidy, db);
}

/* ---- opening --------------------------------------------------------------------------------------------------------- */

static const struct db_driver mariadb_driver = {
    .scheme = "mariadb",
    .query = mariadb_query,
    .list_run = mariadb_list_run,
    .insert = mariadb_insert,
    .now_ms = mariadb_now_ms,
    .load = mariadb_load,
    .close = mariadb_close,
};

enum bt_err mariadb_start(struct net_loop *loop, const struct mariadb_conf *conf, struct db **out, char *why, size_t why_size)
{
    snprintf(why, why_size, "no memory");
    struct mariadb_db *db = bt_calloc(1, sizeof *db);
    if (db == NULL)
        return BT_ENOMEM;
    db->base = (struct db){ .driver = &mariadb_driver };
    db->loop = loop;
    db->conf = *conf;
    db->down_since_ms = net_now_ms(loop);
    snprintf(db->limited, sizeof db->limited, "SET STATEMENT max_statement_time=%u.%03u FOR ", conf->timeout_ms / 1000,
             conf->timeout_ms % 1000);
    for (size_t i = 0; i < MARIADB_SPARE_JOBS; i++) {
        db->spare_mem[i].next = db->spares;
        db->spares = &db->spare_mem[i];
    }
    mariadb_queue_init(&db->queue);
    mariadb_queue_init(&db->refused);
    db->conns = bt_calloc(conf->connections, sizeof *db->conns);
    if (db->conns == NULL || mariadb_hosts_start(db) != BT_OK) {
        db_free(db);
        return BT_ENOMEM;
    }
    for (size_t i = 0; i < conf->connections; i++)
        mariadb_conn_init(&db->conns[i], db, NULL, false);
    mariadb_tidy_soon(db);
    why[0] = '\0';
    *out = &db->base;
    return BT_OK;
}
