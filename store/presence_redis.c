/*
 * store/presence_redis.c: presence in Redis: opening, the calls, closing. presence_redis.h says what is where.
 *
 * Calls only note what is asked; a task later in the same turn sends it, so that all that one turn asks leaves in one write.
 * Callbacks run from replies and from that task.
 */
#define LOG_MODULE "presence"
#include "store/presence_redis.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "net/log.h"
#include "net/mem.h"

static struct redis *self_of(struct presence *p)
{
    return (struct redis *)p;
}

/* ---- calls ------------------------------------------------------------------------------------------------------------ */

void redis_calls_init(struct redis_calls *calls)
{
    calls->head = NULL;
    calls->tail = &calls->head;
}

void redis_calls_add(struct redis_calls *calls, struct redis_call *call)
{
    call->next = NULL;
    *calls->tail = call;
    calls->tail = &call->next;
}

struct redis_call *redis_calls_take(struct redis_calls *calls)
{
    struct redis_call *call = calls->head;
    if (call == NULL)
        return NULL;
    calls->head = call->next;
    if (calls->head == NULL)
        calls->tail = &calls->head;
    return call;
}

static struct redis_call *call_new(struct redis *r, void *arg)
{
    struct redis_call *call = bt_calloc(1, sizeof *call);
    if (call == NULL) {
        call = r->spares;
        if (call == NULL) {
            log_error("out of memory, and %d calls wait to be told: ending", REDIS_SPARES);
            _exit(71);
        }
        r->spares = call->next;
        memset(call, 0, sizeof *call);
        call->is_spare = true;
    }
    call->arg = arg;
    r->nwaiting++;
    return call;
}

void redis_call_free(struct redis *r, struct redis_call *call)
{
    r->nwaiting--;
    if (call->is_spare) {
        call->next = r->spares;
        r->spares = call;
    } else {
        bt_free(call);
    }
}

void redis_answer(struct redis *r, struct redis_call *call, enum bt_err err)
{
    call->err = err;
    redis_calls_add(&r->answers, call);
    redis_flush_soon(r);
}

static void tell_answers(struct redis *r)
{
    struct redis_calls answers = r->answers;
    struct redis_call *call;
    if (answers.head == NULL)
        return;
    redis_calls_init(&r->answers); /* what the callbacks ask comes at the next turn */
    while ((call = redis_calls_take(&answers)) != NULL) {
        if (call->read_cb != NULL)
            call->read_cb(call->err, NULL, call->arg);
        else
            call->done_cb(call->err, call->arg);
        redis_call_free(r, call);
    }
}

static void redis_set(struct presence *p, uint64_t user_id, bool is_here, presence_done_cb *cb, void *arg)
{
    struct redis *r = self_of(p);
    struct redis_call *call = NULL;
    assert(user_id != 0);
    r->stats.sets++;
    if (cb != NULL) {
        call = call_new(r, arg);
        call->done_cb = cb;
    }
    if (!r->is_closing)
        redis_users_set(r, user_id, is_here, call);
    else if (call != NULL)
        redis_answer(r, call, BT_ECLOSING);
    redis_flush_soon(r);
}

static void redis_read(struct presence *p, uint64_t generation, uint64_t position, presence_read_cb *cb, void *arg)
{
    struct redis *r = self_of(p);
    struct redis_call *call = call_new(r, arg);
    call->read_cb = cb;
    call->generation = generation;
    call->position = position;
    if (r->is_closing)
        redis_answer(r, call, BT_ECLOSING);
    else if (r->is_away)
        redis_answer(r, call, BT_EDOWN);
    else if (r->nwaiting > r->queue_max)
        redis_answer(r, call, BT_EBUSY);
    else
        redis_calls_add(&r->reads, call);
    redis_flush_soon(r);
}

static bool redis_is_current(const struct presence *p, uint64_t generation, uint64_t position)
{
    (void)p, (void)generation, (void)position;
    return false;
}

static void redis_stats(const struct presence *p, struct presence_stats *out)
{
    const struct redis *r = (const struct redis *)p;
    *out = r->stats;
    out->generation = r->generation;
    out->position = r->position;
    out->traces = r->nhere;
}

/* ---- closing ---------------------------------------------------------------------------------------------------------- */

static void redis_free(struct redis *r)
{
    redis_users_free(r);
    presence_nodes_free(&r->base);
    sodium_memzero(&r->target, sizeof r->target);
    bt_free(r);
}

/* Cut all connections: what is still under way is answered, then the last of them tells that it is closed. */
static void cut(struct redis *r)
{
    bool all_closed = true;
    if (r->is_cut)
        return;
    r->is_cut = r->is_away = true;
    net_timer_stop(r->loop, &r->close_timer);
    redis_master_stop(r);
    for (size_t i = 0; i < r->target.nhosts; i++)
        all_closed &= redis_link_close(&r->links[i]);
    redis_users_fail(r, BT_ECLOSING);
    redis_reads_fail(r, BT_ECLOSING);
    if (all_closed)
        redis_link_closed(r);
}

static void cut_due(void *arg)
{
    cut(arg);
}

void redis_left(struct redis *r)
{
    if (!r->is_cut)
        net_timer_start(r->loop, &r->close_timer, 0, cut_due, r); /* not from inside a reply of what is cut */
}

void redis_link_closed(struct redis *r)
{
    for (size_t i = 0; i < r->target.nhosts; i++)
        if (r->links[i].is_resolving)
            return;
    r->is_told = true;
    redis_flush_soon(r);
}

/* First what was asked before the close, then the traces go, then the connections. */
static void close_step(struct redis *r)
{
    if (r->is_told) {
        if (r->answers.head != NULL)
            return;
        void (*closed_cb)(void *arg) = r->closed_cb;
        void *closed_arg = r->closed_arg;
        net_defer_cancel(r->loop, &r->flush_task);
        redis_free(r);
        closed_cb(closed_arg);
        return;
    }
    if (r->is_cut || r->is_leaving || r->is_dropping)
        return;
    if (r->is_away)
        redis_left(r);
    else if (r->phase == REDIS_READY && redis_users_are_written(r) && r->reads.head == NULL && r->nreading == 0 && !redis_leave(r))
        redis_left(r);
}

static void redis_close(struct presence *p, void (*closed_cb)(void *arg), void *arg)
{
    struct redis *r = self_of(p);
    assert(!r->is_closing);
    r->is_closing = true;
    r->base.watch_cb = NULL;
    r->closed_cb = closed_cb;
    r->closed_arg = arg;
    net_timer_start(r->loop, &r->close_timer, r->timeout_ms, cut_due, r);
    redis_flush_soon(r);
}

/* ---- each turn -------------------------------------------------------------------------------------------------------- */

static void flush(void *arg)
{
    struct redis *r = arg;
    if (r->phase == REDIS_READY) {
        redis_users_flush(r); /* first: a read sees what was set before it */
        redis_reads_flush(r);
    }
    tell_answers(r);
    if (r->is_closing)
        close_step(r);
}

void redis_flush_soon(struct redis *r)
{
    net_defer(r->loop, &r->flush_task, flush, r);
}

/* ---- opening ---------------------------------------------------------------------------------------------------------- */

static const struct presence_driver redis_driver = {
    .scheme = "redis",
    .set = redis_set,
    .read = redis_read,
    .is_current = redis_is_current,
    .stats = redis_stats,
    .close = redis_close,
};

static void name_self(struct redis *r, const char *node_address, uint64_t node_epoch, size_t log_len)
{
    snprintf(r->address, sizeof r->address, "%s", node_address);
    snprintf(r->epoch_text, sizeof r->epoch_text, "%" PRIu64, node_epoch);
    snprintf(r->node, sizeof r->node, "%s/%s", r->address, r->epoch_text);
    snprintf(r->log_text, sizeof r->log_text, "%zu", log_len);
    snprintf(r->forget_text, sizeof r->forget_text, "%" PRIu64, (uint64_t)r->forget_s * 1000);
}

enum bt_err presence_redis_open(struct net_loop *loop, const struct conf *conf, const char *node_address, uint64_t node_epoch,
                                struct presence **out, char *why, size_t why_size)
{
    struct redis *r = bt_calloc(1, sizeof *r);
    enum bt_err err;
    if (r == NULL)
        return BT_ENOMEM;
    r->base.driver = &redis_driver;
    r->loop = loop;
    r->timeout_ms = (uint32_t)conf_int(conf, "presence", "timeout_ms");
    r->forget_s = (uint32_t)conf_int(conf, "presence", "forget_s");
    r->queue_max = (size_t)conf_int(conf, "presence", "queue");
    name_self(r, node_address, node_epoch, (size_t)conf_int(conf, "presence", "log"));
    redis_calls_init(&r->reads);
    redis_calls_init(&r->answers);
    for (size_t i = 0; i < REDIS_SPARES; i++) {
        r->spare_mem[i].next = r->spares;
        r->spares = &r->spare_mem[i];
    }
    err = redis_target_parse(conf_str(conf, "presence", "url"), conf_str(conf, "presence", "password_file"), &r->target, why, why_size);
    if (err == BT_OK)
        err = redis_users_init(r);
    if (err == BT_OK)
        err = presence_node_number(&r->base, r->address, node_epoch, &r->base.self);
    if (err != BT_OK) {
        redis_free(r);
        return err;
    }
    redis_master_start(r);
    *out = &r->base;
    return BT_OK;
}
