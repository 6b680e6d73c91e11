/* roles/user_ended.c: the sessions that have ended, read every second. */
#include "roles/user_ended.h"

#include <inttypes.h>

#include "net/loop.h"
#include "net/mem.h"
#include "net/timer.h"
#include "store/session.h"
#include "store/store.h"

#define LOG_MODULE "user"
#include "net/log.h"

struct user_ended {
    struct net_loop *loop;
    struct store *st;
    int64_t life_ms;
    void (*tick)(void *arg);
    void *tick_arg;
    struct ended_set set;
    struct ended_set doubtful; /* resumed on old knowledge; ended_ms: 0, or 1 once its later end is written */
    int64_t doubt_ms;       /* when the last one was */
    uint32_t writing;       /* later ends on their way to the store */
    int64_t again_ms;       /* the end of one that could not be written: read from there again; 0: none */
    struct net_timer timer;
    struct net_task stopped;
    int64_t since_ms;       /* read from here */
    int64_t round_ms;       /* the store's clock when this round of pages began */
    int64_t read_ms;        /* when the last complete round began */
    bool is_reading;
    bool must_read_again;   /* poked while reading */
    bool is_known;
    bool is_failing;        /* logged already */
    void (*stopped_cb)(void *arg); /* not NULL: closing */
    void *stopped_arg;
};

/* ---- the set: open addressing; session ids are random, so they are their own hash ---- */

static size_t set_slot(const struct ended_set *set, uint64_t session_id)
{
    size_t i = (size_t)session_id & (set->cap - 1);
    while (set->slots[i].session_id != 0 && set->slots[i].session_id != session_id)
        i = (i + 1) & (set->cap - 1);
    return i;
}

/* Make room for one more, forgetting what is older than any token that could name it. */
static enum bt_err set_reserve(struct ended_set *set, int64_t oldest_ms)
{
    size_t keep = 0;

    if ((set->count + 1) * 4 <= set->cap * 3)
        return BT_OK;
    for (size_t i = 0; i < set->cap; i++)
        keep += set->slots[i].session_id != 0 && set->slots[i].ended_ms >= oldest_ms;
    struct ended_set next = { .cap = 64 };
    while (next.cap < (keep + 1) * 2)
        next.cap *= 2;
    next.slots = bt_calloc(next.cap, sizeof *next.slots);
    if (!next.slots)
        return BT_ENOMEM;
    for (size_t i = 0; i < set->cap; i++) {
        const struct ended_slot *s = &set->slots[i];
        if (s->session_id == 0 || s->ended_ms < oldest_ms)
            continue;
        next.slots[set_slot(&next, s->session_id)] = *s;
        next.count++;
    }
    bt_free(set->slots);
    *set = next;
    return BT_OK;
}

enum bt_err ended_set_add(struct ended_set *set, uint64_t session_id, int64_t ended_ms, int64_t oldest_ms)
{
    if (session_id == 0 || ended_set_has(set, session_id))
        return BT_OK;
    enum bt_err err = set_reserve(set, oldest_ms);
    if (err != BT_OK)
        return err;
    set->slots[set_slot(set, session_id)] = (struct ended_slot){ session_id, ended_ms };
    set->count++;
    return BT_OK;
}

bool ended_set_has(const struct ended_set *set, uint64_t session_id)
{
    return set->cap > 0 && set->slots[set_slot(set, session_id)].session_id == session_id && session_id != 0;
}

void ended_set_deinit(struct ended_set *set)
{
    bt_free(set->slots);
    *set = (struct ended_set){ 0 };
}

/* ---- reading ---- */

static void ended_read(struct user_ended *ended);
static void ended_read_done(enum bt_err err, const struct db_rows *rows, void *arg);

static void ended_tick(void *arg)
{
    struct user_ended *ended = arg;
    ended->tick(ended->tick_arg);
    ended->round_ms = store_now_ms(ended->st);
    if (ended->again_ms > 0 && ended->again_ms < ended->since_ms)
        ended->since_ms = ended->again_ms;
    ended->again_ms = 0;
    ended_read(ended);
}

enum bt_err user_ended_start(struct net_loop *loop, struct store *st, int64_t token_life_ms, void (*tick)(void *arg), void *arg,
                             struct user_ended **out)
{
    struct user_ended *ended = bt_calloc(1, sizeof *ended);
    if (!ended)
        return BT_ENOMEM;
    ended->loop = loop;
    ended->st = st;
    ended->life_ms = token_life_ms;
    ended->tick = tick;
    ended->tick_arg = arg;
    ended->round_ms = store_now_ms(st);
    ended->since_ms = ended->round_ms - token_life_ms - USER_ENDED_SLACK_MS;
    if (ended->since_ms < 1)
        ended->since_ms = 1; /* 0 is the end of the living */
    ended_read(ended);
    *out = ended;
    return BT_OK;
}

static void ended_free(void *arg)
{
    struct user_ended *ended = arg;
    void (*cb)(void *) = ended->stopped_cb;
    void *cb_arg = ended->stopped_arg;
    ended_set_deinit(&ended->set);
    ended_set_deinit(&ended->doubtful);
    bt_free(ended);
    cb(cb_arg);
}

static bool ended_is_busy(const struct user_ended *ended)
{
    return ended->is_reading || ended->writing > 0;
}

void user_ended_stop(struct user_ended *ended, void (*stopped_cb)(void *arg), void *arg)
{
    ended->stopped_cb = stopped_cb;
    ended->stopped_arg = arg;
    net_timer_stop(ended->loop, &ended->timer);
    if (!ended_is_busy(ended))
        net_defer(ended->loop, &ended->stopped, ended_free, ended);
}

static void ended_read(struct user_ended *ended)
{
    ended->is_reading = true;
    store_session_ended(ended->st, ended->since_ms, ended_read_done, ended);
}

/* ---- sessions that were resumed on old knowledge ---- */

struct later_end {
    struct user_ended *ended;
    uint64_t session_id;
    int64_t ended_ms; /* as read */
};

static void later_end_written(const struct db_done *done, void *arg)
{
    struct later_end *w = arg;
    struct user_ended *ended = w->ended;

    ended->writing--;
    if (ended->stopped_cb) {
        if (!ended_is_busy(ended))
            ended_free(ended);
    } else if (done->err == BT_OK) {
        ended->doubtful.slots[set_slot(&ended->doubtful, w->session_id)].ended_ms = 1;
        log_info("a session had ended before it was resumed here: told again");
    } else if (ended->again_ms == 0 || w->ended_ms < ended->again_ms) {
        ended->again_ms = w->ended_ms;
    }
    bt_free(w);
}

/* Of a session that has ended: was it resumed here before that was known? Then its end is told again. */
static enum bt_err ended_check_doubt(struct user_ended *ended, const struct store_ended *e)
{
    if (!ended_set_has(&ended->doubtful, e->session_id) ||
        ended->doubtful.slots[set_slot(&ended->doubtful, e->session_id)].ended_ms != 0)
        return BT_OK;
    struct later_end *w = bt_calloc(1, sizeof *w);
    if (!w)
        return BT_ENOMEM;
    *w = (struct later_end){ ended, e->session_id, e->ended_ms };
    ended->writing++;
    store_session_end_later(ended->st, e->user_id, e->session_id, store_now_ms(ended->st), later_end_written, w);
    return BT_OK;
}

/* A round is complete that began after the last of them was resumed: there is no doubt any more. */
static void ended_settle_doubt(struct user_ended *ended)
{
    ended->read_ms = ended->round_ms;
    if (ended->writing == 0 && ended->again_ms == 0 && ended->doubt_ms + USER_ENDED_LATE_MAX_MS < ended->round_ms)
        ended_set_deinit(&ended->doubtful);
}

enum bt_err user_ended_resuming(struct user_ended *ended, uint64_t session_id)
{
    int64_t now_ms = store_now_ms(ended->st);

    if (now_ms - ended->read_ms <= USER_ENDED_STALE_MS)
        return BT_OK;
    enum bt_err err = ended_set_add(&ended->doubtful, session_id, 0, 0);
    if (err == BT_OK)
        ended->doubt_ms = now_ms;
    return err;
}

/* Take a page over; since_ms moves on only when all of it is in the set. */
static enum bt_err ended_take(struct user_ended *ended, const struct db_rows *rows)
{
    struct store_ended e = { 0 };
    int64_t oldest_ms = ended->round_ms - ended->life_ms;

    for (size_t r = 0; store_session_ended_at(rows, r, &e); r++) {
        enum bt_err err = ended_set_add(&ended->set, e.session_id, e.ended_ms, oldest_ms);
        if (err == BT_OK)
            err = ended_check_doubt(ended, &e);
        if (err != BT_OK)
            return err;
    }
    if (rows->nrows >= STORE_ENDED_PAGE)
        ended->since_ms = e.ended_ms + 1;
    return BT_OK;
}

static void ended_failed(struct user_ended *ended, enum bt_err err)
{
    if (!ended->is_failing)
        log_warn("sessions that ended can't be read (%s): sessions are resumed by what is known", bt_err_text(err));
    ended->is_failing = true;
    net_timer_start(ended->loop, &ended->timer, USER_ENDED_POLL_MS, ended_tick, ended);
}

static void ended_read_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct user_ended *ended = arg;

    ended->is_reading = false;
    if (ended->stopped_cb) {
        if (!ended_is_busy(ended))
            ended_free(ended);
        return;
    }
    if (err == BT_OK)
        err = ended_take(ended, rows);
    if (err != BT_OK) {
        ended_failed(ended, err);
        return;
    }
    if (rows->nrows >= STORE_ENDED_PAGE) {
        ended_read(ended);
        return;
    }
    if (!ended->is_known || ended->is_failing)
        log_info("knows %zu sessions that ended", ended->set.count);
    ended_settle_doubt(ended);
    ended->is_known = true;
    ended->is_failing = false;
    ended->since_ms = ended->round_ms - USER_ENDED_SLACK_MS;
    if (ended->since_ms < 1)
        ended->since_ms = 1;
    net_timer_start(ended->loop, &ended->timer, ended->must_read_again ? 0 : USER_ENDED_POLL_MS, ended_tick, ended);
    ended->must_read_again = false;
}

bool user_ended_is_known(const struct user_ended *ended)
{
    return ended->is_known;
}

bool user_ended_has(const struct user_ended *ended, uint64_t session_id)
{
    return ended_set_has(&ended->set, session_id);
}

void user_ended_add(struct user_ended *ended, uint64_t session_id, int64_t ended_ms)
{
    /* Without memory the next reading has it, or says so. */
    (void)ended_set_add(&ended->set, session_id, ended_ms, ended->round_ms - ended->life_ms);
}

void user_ended_poke(struct user_ended *ended)
{
    if (ended->stopped_cb)
        return;
    if (ended->is_reading)
        ended->must_read_again = true;
    else
        net_timer_start(ended->loop, &ended->timer, 0, ended_tick, ended);
}
