/*
 * store/store_id.c: unique integer ids, from ranges that are leased ahead.
 *
 * Table id_range holds, per name, the first id that nobody has leased. A lease moves it by id_lease, on the condition
 * that it still is what was read; whoever loses that race reads and tries again. What a process leased and did not
 * give out is lost when it ends, so that an id is never given out twice.
 */
#define LOG_MODULE "store"
#include <assert.h>
#include <string.h>
#include <unistd.h>

#include "net/log.h"
#include "net/mem.h"
#include "store/store_internal.h"

enum { TRIES_MAX = 20 };
static const uint64_t ID_END = (uint64_t)1 << 62;

static void waiters_init(struct store_waiters *w)
{
    w->head = NULL;
    w->tail = &w->head;
}

static void waiters_push(struct store_waiters *w, struct store_waiter *one)
{
    one->next = NULL;
    *w->tail = one;
    w->tail = &one->next;
}

static struct store_waiter *waiters_pop(struct store_waiters *w)
{
    struct store_waiter *one = w->head;
    if (one != NULL && (w->head = one->next) == NULL)
        w->tail = &w->head;
    return one;
}

void store_ids_init(struct store *st)
{
    waiters_init(&st->answers);
    for (size_t i = 0; i < STORE_SPARE_WAITERS; i++) {
        st->spare_mem[i].is_spare = true;
        st->spare_mem[i].next = st->spares;
        st->spares = &st->spare_mem[i];
    }
}

void store_ids_deinit(struct store *st)
{
    while (st->ranges != NULL) {
        struct store_range *r = st->ranges;
        st->ranges = r->next;
        bt_free(r);
    }
}

static struct store_waiter *waiter_new(struct store *st)
{
    struct store_waiter *w = bt_calloc(1, sizeof *w);
    if (w != NULL)
        return w;
    w = st->spares;
    if (w == NULL) {
        log_error("out of memory, and %d calls wait to be told: ending", STORE_SPARE_WAITERS);
        _exit(71);
    }
    st->spares = w->next;
    return w;
}

static void waiter_free(struct store *st, struct store_waiter *w)
{
    if (w->is_spare) {
        w->next = st->spares;
        st->spares = w;
    } else {
        bt_free(w);
    }
}

/* Give the answers of this turn; those that callbacks add come at the next one. */
static void answer_all(void *arg)
{
    struct store *st = arg;
    struct store_waiters now = st->answers;
    if (now.head == NULL)
        return;
    waiters_init(&st->answers);
    for (struct store_waiter *w = now.head, *next; w != NULL; w = next) {
        next = w->next;
        w->cb(w->err, w->id, w->arg);
        waiter_free(st, w);
        st->open_ids--;
    }
    if (st->is_closing)
        store_closed_maybe(st);
}

static void answer(struct store *st, struct store_waiter *w, enum bt_err err, uint64_t id)
{
    w->err = err;
    w->id = id;
    waiters_push(&st->answers, w);
    net_defer(st->loop, &st->answer_task, answer_all, st);
}

static void fail_waiting(struct store_range *r, enum bt_err err)
{
    for (struct store_waiter *w; (w = waiters_pop(&r->waiting)) != NULL;)
        answer(r->store, w, err, 0);
}

static bool range_take(struct store_range *r, uint64_t *id_out)
{
    if (r->next_id == r->end_id) {
        r->next_id = r->ahead_id;
        r->end_id = r->ahead_end;
        r->ahead_id = r->ahead_end = 0;
    }
    if (r->next_id == r->end_id)
        return false;
    *id_out = r->next_id++;
    return true;
}

static void lease_read(struct store_range *r);

/* After a new connection, perhaps to a server that lost the lease, what was leased before it is given up. */
static void range_check(struct store_range *r)
{
    uint64_t generation = db_generation(r->store->db);
    if (r->generation != generation)
        r->next_id = r->end_id = r->ahead_id = r->ahead_end = 0;
    r->generation = generation;
}

/* Serve who waits, and lease the next range when the present one is three quarters gone. */
static void range_serve(struct store_range *r)
{
    uint64_t id;
    while (r->waiting.head != NULL && range_take(r, &id))
        answer(r->store, waiters_pop(&r->waiting), BT_OK, id);
    bool is_low = r->ahead_id == r->ahead_end && r->end_id - r->next_id <= (uint64_t)r->store->id_lease / 4;
    if (is_low && !r->is_leasing && !r->store->is_closing) {
        r->is_leasing = true;
        r->tries = 0;
        lease_read(r);
    }
}

static void lease_end(struct store_range *r, enum bt_err err)
{
    r->is_leasing = false;
    if (err != BT_OK)
        fail_waiting(r, err);
    else
        range_serve(r);
}

static void lease_write_done(const struct db_done *done, void *arg)
{
    struct store_range *r = arg;
    switch (done->err) {
    case BT_OK:
        range_check(r);
        r->ahead_id = r->asked_id;
        r->ahead_end = r->asked_id + (uint64_t)r->store->id_lease;
        lease_end(r, BT_OK);
        break;
    case BT_EEXIST:   /* another process made the row first */
    case BT_ECONFLICT:
    case BT_EUNSURE:  /* it may stand: then these ids are lost, which harms nobody */
        if (++r->tries < TRIES_MAX)
            lease_read(r);
        else
            lease_end(r, BT_EBUSY);
        break;
    default:
        lease_end(r, done->err);
    }
}

static void lease_read_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct store_range *r = arg;
    struct db *db = r->store->db;
    int64_t lease = r->store->id_lease;
    if (err != BT_OK) {
        lease_end(r, err);
        return;
    }
    if (rows->nrows == 0) {
        r->asked_id = 1;
        struct db_val first[] = { db_bytes(r->name, strlen(r->name)), db_int(1 + lease) };
        db_exec(db, "INSERT INTO id_range (name, next_id) VALUES (?, ?)", first, 2, 1, lease_write_done, r);
        return;
    }
    int64_t next_id = db_at(rows, 0, 0)->type == DB_INT ? db_at(rows, 0, 0)->i : 0;
    if (next_id < 1 || (uint64_t)next_id > ID_END - (uint64_t)lease) {
        log_error("id_range %s: next_id %lld is out of range", r->name, (long long)next_id);
        lease_end(r, BT_EINTERNAL);
        return;
    }
    r->asked_id = (uint64_t)next_id;
    struct db_val move[] = { db_int(next_id + lease), db_bytes(r->name, strlen(r->name)), db_int(next_id) };
    db_exec(db, "UPDATE id_range SET next_id = ? WHERE name = ? AND next_id = ?", move, 3, 1, lease_write_done, r);
}

static void lease_read(struct store_range *r)
{
    struct db_val name = db_bytes(r->name, strlen(r->name));
    db_query(r->store->db, "SELECT next_id FROM id_range WHERE name = ?", &name, 1, lease_read_done, r);
}

static struct store_range *range_of(struct store *st, const char *name)
{
    struct store_range *r = st->ranges;
    while (r != NULL && strcmp(r->name, name) != 0)
        r = r->next;
    if (r != NULL)
        return r;
    r = bt_calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->store = st;
    r->name = name;
    waiters_init(&r->waiting);
    r->next = st->ranges;
    st->ranges = r;
    return r;
}

void store_next_id(struct store *st, const char *name, store_id_cb *cb, void *arg)
{
    struct store_waiter *w = waiter_new(st);
    w->cb = cb;
    w->arg = arg;
    st->open_ids++;
    struct store_range *r = range_of(st, name);
    if (r == NULL || st->is_closing) {
        answer(st, w, r == NULL ? BT_ENOMEM : BT_ECLOSING, 0);
        return;
    }
    range_check(r);
    waiters_push(&r->waiting, w);
    range_serve(r);
}
