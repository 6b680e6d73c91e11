/* store/mariadb_pool.c: which job runs on which connection, how many connections there are, and when the database counts as up. */
#define LOG_MODULE "mariadb"
#include <errmsg.h>

#include "net/log.h"
#include "store/mariadb_internal.h"

enum { BACKOFF_MIN_MS = 50, BACKOFF_MAX_MS = 2000, WARN_EVERY_MS = 10000 };

/* ---- up and down ----------------------------------------------------------------------------------------------------- */

static size_t open_count(const struct mariadb_db *db)
{
    size_t n = 0;
    for (size_t i = 0; i < db->conf.connections; i++)
        n += mariadb_conn_is_open(&db->conns[i]) && db->conns[i].host == db->primary;
    return n;
}

static void up_update(struct mariadb_db *db)
{
    bool is_connected = db->primary != NULL && open_count(db) > 0;
    if (is_connected == db->is_connected)
        return;
    db->is_connected = is_connected;
    db->base.is_up = is_connected && !db->is_closing;
    db->down_since_ms = net_now_ms(db->loop);
    if (is_connected)
        log_info("%s: in use, connection generation %llu", db->primary->shown, (unsigned long long)db->base.generation);
    else
        log_warn("no connection to the database");
}

bool mariadb_pool_is_hopeless(const struct mariadb_db *db)
{
    return !db->is_connected && net_now_ms(db->loop) - db->down_since_ms > MARIADB_GRACE_MS;
}

void mariadb_pool_opened(struct mariadb_conn *c)
{
    struct mariadb_db *db = c->db;
    if (db->is_generation_due || db->base.generation == 0)
        db->base.generation++;
    db->is_generation_due = false;
    c->generation = db->base.generation;
    c->backoff_ms = 0;
    c->used_ms = net_now_ms(db->loop);
    up_update(db);
    mariadb_tidy_soon(db);
}

/* The server may have ended and come back since: what was read from it is read again. */
static void generation_ends(struct mariadb_db *db, const struct mariadb_conn *c)
{
    if (c->generation == db->base.generation)
        db->is_generation_due = true;
}

void mariadb_pool_lost(struct mariadb_conn *c, bool was_open, unsigned errnum, const char *text)
{
    struct mariadb_db *db = c->db;
    uint64_t now_ms = net_now_ms(db->loop);
    if (was_open)
        generation_ends(db, c);
    c->backoff_ms = was_open ? 0 : c->backoff_ms * 2 < BACKOFF_MIN_MS ? BACKOFF_MIN_MS : c->backoff_ms * 2;
    if (c->backoff_ms > BACKOFF_MAX_MS)
        c->backoff_ms = BACKOFF_MAX_MS;
    c->retry_ms = now_ms + c->backoff_ms;
    if (!db->is_closing && (db->warned_ms == 0 || now_ms - db->warned_ms > WARN_EVERY_MS)) {
        db->warned_ms = now_ms;
        log_warn("%s: a connection %s: %s%s", c->host->shown, was_open ? "was lost" : "is not made", text, mariadb_advice(errnum));
    }
    mariadb_host_look_soon(c->host);
    up_update(db);
    mariadb_tidy_soon(db);
}

/* ---- the host that is used ------------------------------------------------------------------------------------------- */

/* A host that is away, or has become read-only, may still answer what it was sent; one of two writable ones shall not. */
static bool may_finish(const struct mariadb_conn *c, const struct mariadb_host *next)
{
    return c->state == MARIADB_BUSY && next == NULL && !c->db->is_split;
}

void mariadb_pool_use(struct mariadb_db *db, struct mariadb_host *host)
{
    if (host == db->primary)
        return;
    db->primary = host;
    for (size_t i = 0; i < db->conf.connections; i++) {
        struct mariadb_conn *c = &db->conns[i];
        c->retry_ms = 0;
        c->backoff_ms = 0;
        if (c->state == MARIADB_CLOSED || c->host == host || may_finish(c, host))
            continue;
        if (c->state == MARIADB_BUSY) {
            mariadb_conn_fail(c, CR_SERVER_LOST, "its host is not used any more");
            continue;
        }
        generation_ends(db, c);
        mariadb_conn_close(c);
    }
    up_update(db);
    mariadb_tidy_soon(db);
}

static void conn_use(struct mariadb_conn *c, struct mariadb_host *host)
{
    c->host = host;
    mariadb_conn_open(c);
}

/* Open up to n more. */
static void open_more(struct mariadb_db *db, size_t n)
{
    uint64_t now_ms = net_now_ms(db->loop);
    for (size_t i = 0; i < db->conf.connections; i++)
        n -= n > 0 && db->conns[i].state > MARIADB_CLOSED && db->conns[i].state < MARIADB_IDLE; /* on their way */
    for (size_t i = 0; i < db->conf.connections && n > 0; i++) {
        struct mariadb_conn *c = &db->conns[i];
        if (c->state != MARIADB_CLOSED || c->retry_ms > now_ms)
            continue;
        conn_use(c, db->primary);
        n--;
    }
}

/* Ask those that were idle for long whether they live; let go of those that are not needed. */
static void look_after_idle(struct mariadb_db *db)
{
    uint64_t now_ms = net_now_ms(db->loop);
    size_t nopen = open_count(db);
    for (size_t i = 0; i < db->conf.connections; i++) {
        struct mariadb_conn *c = &db->conns[i];
        if (c->state != MARIADB_IDLE)
            continue;
        if (c->host != db->primary) {
            generation_ends(db, c);
            mariadb_conn_close(c);
        } else if (nopen > 1 && now_ms - c->used_ms > MARIADB_SHRINK_IDLE_MS) {
            mariadb_conn_close(c);
            nopen--;
        } else if (now_ms - c->since_ms > MARIADB_PING_IDLE_MS) {
            mariadb_conn_ping(c);
        }
    }
}

/* ---- the queue ------------------------------------------------------------------------------------------------------- */

/* What nobody waits for any more, and, with no database in sight, all. */
static void answer_late(struct mariadb_db *db)
{
    uint64_t now_ms = net_now_ms(db->loop);
    bool is_hopeless = mariadb_pool_is_hopeless(db);
    struct mariadb_queue kept, late;
    mariadb_queue_init(&kept);
    mariadb_queue_init(&late);
    for (struct mariadb_job *job; (job = mariadb_queue_pop(&db->queue)) != NULL;) {
        bool is_late = now_ms > job->due_ms;
        if (is_late || is_hopeless)
            job->done = (struct db_done){ .err = is_hopeless ? BT_EDOWN : BT_ETIMEOUT };
        mariadb_queue_push(is_late || is_hopeless ? &late : &kept, job);
    }
    db->queue = kept;
    if (kept.head == NULL)
        mariadb_queue_init(&db->queue);
    for (struct mariadb_job *job; (job = mariadb_queue_pop(&late)) != NULL;)
        mariadb_job_answer(db, job); /* may queue more */
}

/* The first that may begin now. */
static struct mariadb_job *take_ready(struct mariadb_db *db)
{
    uint64_t now_ms = net_now_ms(db->loop);
    for (struct mariadb_job **at = &db->queue.head; *at != NULL; at = &(*at)->next) {
        struct mariadb_job *job = *at;
        if (job->not_before_ms > now_ms)
            continue;
        *at = job->next;
        if (job->next == NULL)
            db->queue.tail = at;
        return job;
    }
    return NULL;
}

static void run_ready(struct mariadb_db *db)
{
    while (db->idle != NULL && db->primary != NULL) {
        struct mariadb_conn *c = db->idle;
        if (c->host != db->primary) {
            generation_ends(db, c);
            mariadb_conn_close(c);
            continue;
        }
        struct mariadb_job *job = take_ready(db);
        if (job == NULL)
            return;
        if (!mariadb_conn_is_alive(c)) { /* a write sent there would be in doubt for nothing */
            mariadb_queue_push_front(&db->queue, job);
            mariadb_conn_fail(c, CR_SERVER_LOST, "closed by the server");
            continue;
        }
        mariadb_run_start(c, job);
    }
}

static size_t count_queue(const struct mariadb_db *db)
{
    size_t n = 0;
    for (const struct mariadb_job *job = db->queue.head; job != NULL && n < db->conf.connections; job = job->next)
        n++;
    return n;
}

void mariadb_pool_dispatch(struct mariadb_db *db)
{
    run_ready(db);
    if (db->primary == NULL)
        return;
    size_t waiting = count_queue(db);
    if (waiting > 0 || open_count(db) == 0)
        open_more(db, waiting > 0 ? waiting : 1);
}

static void pool_tick(void *arg)
{
    struct mariadb_db *db = arg;
    answer_late(db);
    look_after_idle(db);
    mariadb_tidy_soon(db); /* starts the next tick */
}

/* Sooner when somebody waits. Each end of a tick leads to the next. */
void mariadb_pool_tick(struct mariadb_db *db)
{
    enum { REPEAT_MS = 4, WAITING_MS = 100, IDLE_MS = 1000 };
    uint32_t ms = IDLE_MS;
    if (db->queue.head != NULL || !db->is_connected)
        ms = WAITING_MS;
    if (db->queue.head != NULL && db->queue.head->not_before_ms > net_now_ms(db->loop))
        ms = REPEAT_MS;
    if (net_timer_is_running(&db->tick) && db->tick_ms <= ms)
        return;
    db->tick_ms = ms;
    net_timer_start(db->loop, &db->tick, ms, pool_tick, db);
}

void mariadb_pool_stop(struct mariadb_db *db)
{
    net_timer_stop(db->loop, &db->tick);
    for (size_t i = 0; i < db->conf.connections; i++) {
        mariadb_conn_close(&db->conns[i]);
        mariadb_conn_deinit(&db->conns[i]);
    }
}
