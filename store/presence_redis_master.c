/*
 * store/presence_redis_master.c: which server is used, the generation it holds, and this node's place in it.
 *
 *   SEEKING -> ENTERING   a link is up and its server is master: choose()
 *   ENTERING -> READY     "tick" found the generation, made by this very server, and wrote the node into it
 *   ENTERING -> ENTERING  there was none, or another server's: "renew" made one; tick again
 *   READY -> ENTERING     a reply told that the generation or our place in it is gone: redis_reenter()
 *   any -> SEEKING        the link went down, or its server is a replica now, or a master with a newer generation came up
 *
 * Whoever is not READY for REDIS_AWAY_MS says that presence is away: calls are answered BT_EDOWN at once until it is back.
 * After each way back the users are written that are not, or all if the generation is another, and then the watcher is told:
 * in this order, so that a client who compares positions because of it is seen by all readers before.
 */
#define LOG_MODULE "presence"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sodium.h>

#include "net/log.h"
#include "store/presence_redis.h"

enum {
    DROP_MAX = 1000,        /* traces taken away by one script: it runs for about a millisecond */
    SETTLE_MS = 4000,       /* after a change of servers: by then every node has noticed, so that nobody reads the old one */
    SWEEP_MAX_MS = 10000,
};

static void tick(struct redis *r);

static uint64_t wall_clock_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* ---- away and back ---------------------------------------------------------------------------------------------------- */

static void set_away(struct redis *r)
{
    bool has_replica = false;
    for (size_t i = 0; i < r->target.nhosts; i++)
        has_replica |= r->links[i].state == REDIS_LINK_UP && !r->links[i].is_master;
    if (!r->is_away)
        log_warn("presence is away%s; who comes and goes meanwhile is written when it is back",
                 r->active == NULL && has_replica ? ": no server in [presence] url is master" : "");
    r->is_away = r->was_away = true;
    redis_users_fail(r, BT_EDOWN);
    redis_reads_fail(r, BT_EDOWN);
    redis_flush_soon(r); /* a close may wait for it */
}

static void away_due(void *arg)
{
    struct redis *r = arg;
    r->is_grace_over = true;
    if (r->phase != REDIS_READY)
        set_away(r);
    redis_choose_soon(r);
}

static void leave_ready(struct redis *r, enum redis_phase phase)
{
    if ((r->phase == REDIS_READY || phase == REDIS_SEEKING) && !net_timer_is_running(&r->away_timer))
        net_timer_start(r->loop, &r->away_timer, REDIS_AWAY_MS, away_due, r);
    r->phase = phase;
}

static void settled(void *arg)
{
    struct redis *r = arg;
    if (r->base.watch_cb != NULL)
        r->base.watch_cb(r->base.watch_arg);
}

void redis_restored(struct redis *r)
{
    r->must_tell = false;
    if (r->base.watch_cb != NULL)
        r->base.watch_cb(r->base.watch_arg);
}

/* ---- what the node does in a generation ------------------------------------------------------------------------------- */

static bool drop_send(struct redis *r, bool is_leave)
{
    char generation[24], connection[24], limit[24];
    snprintf(generation, sizeof generation, "%" PRIu64, r->generation);
    snprintf(connection, sizeof connection, "%" PRIu64, r->connection);
    snprintf(limit, sizeof limit, "%d", DROP_MAX);
    const char *argv[] = { generation, r->log_text, limit, is_leave ? "leave" : "sweep", r->node, r->address, r->epoch_text, connection };
    if (r->active == NULL || redis_link_run(r->active, &r->drop_cmd, REDIS_DROP, sizeof argv / sizeof *argv, argv) != BT_OK)
        return false;
    r->is_dropping = true;
    r->is_leaving = is_leave;
    return true;
}

static void sweep_due(void *arg)
{
    struct redis *r = arg;
    uint32_t every_ms = r->forget_s * 1000 / 6 < SWEEP_MAX_MS ? r->forget_s * 1000 / 6 : SWEEP_MAX_MS;
    if (r->phase == REDIS_READY && !r->is_dropping && !r->is_closing)
        drop_send(r, false);
    net_timer_start(r->loop, &r->sweep_timer, every_ms / 2 + randombytes_uniform(every_ms), sweep_due, r);
}

static void left(struct redis *r)
{
    if (r->is_closing)
        redis_left(r);
    else
        redis_reenter(r);
}

static void drop_done(struct redis_link *link, const redisReply *reply, struct redis_cmd *cmd)
{
    struct redis *r = (struct redis *)((char *)cmd - offsetof(struct redis, drop_cmd));
    bool is_leave = r->is_leaving, is_good, again = false;
    r->is_dropping = r->is_leaving = false;
    is_good = reply != NULL && redis_link_is_good(link, reply, 1, &again);
    if (is_good && reply->elements == 4 && strcmp(reply->element[3]->str, "0") != 0 && !is_leave)
        log_info("%s traces of nodes that are no more were removed", reply->element[3]->str);
    if ((again || (is_good && strcmp(reply->element[0]->str, "more") == 0)) && drop_send(r, is_leave))
        return;
    if (is_leave)
        left(r);
    else if (r->is_closing)
        redis_flush_soon(r); /* it waited for this */
}

bool redis_leave(struct redis *r)
{
    return r->phase != REDIS_SEEKING && !r->is_dropping && drop_send(r, true);
}

/* ---- the generation --------------------------------------------------------------------------------------------------- */

static void renew_done(struct redis_link *link, const redisReply *reply, struct redis_cmd *cmd)
{
    struct redis *r = (struct redis *)((char *)cmd - offsetof(struct redis, renew_cmd));
    bool again;
    r->is_renewing = false;
    if (reply == NULL || link != r->active)
        return;
    if (redis_link_is_good(link, reply, 1, &again) || again)
        tick(r); /* whoever made it: look again */
}

/* Begin a new generation, if what stands is still this. */
static void renew(struct redis *r, const char *seen, const char *seen_run)
{
    uint64_t generation = wall_clock_us(), seen_number = strtoull(seen, NULL, 10);
    char text[24];
    if (generation <= seen_number)
        generation = seen_number + 1;
    if (generation <= r->generation)
        generation = r->generation + 1;
    snprintf(text, sizeof text, "%" PRIu64, generation);
    const char *argv[] = { seen, seen_run, text };
    leave_ready(r, REDIS_ENTERING);
    if (r->is_renewing || redis_link_run(r->active, &r->renew_cmd, REDIS_RENEW, 3, argv) != BT_OK)
        return;
    r->is_renewing = true;
    log_info("redis %s:%u: %s; beginning a new generation", r->active->host->name, r->active->host->port,
             seen[0] == '\0' ? "holds no presence" : strcmp(seen_run, r->active->run) != 0 ? "holds another server's presence"
                                                                                         : "has lost changes");
}

static void entered(struct redis *r, uint64_t generation, uint64_t position, bool is_new)
{
    bool is_other = generation != r->generation || is_new, was_ready = r->phase == REDIS_READY;
    bool has_moved = r->run[0] != '\0' && strcmp(r->run, r->active->run) != 0;
    r->generation = r->active->generation = generation;
    r->position = position;
    memcpy(r->run, r->active->run, sizeof r->run);
    r->phase = REDIS_READY;
    net_timer_stop(r->loop, &r->away_timer);
    if (r->is_away || (is_other && r->has_entered) || !r->has_entered)
        log_info("presence is on redis %s:%u, generation %" PRIu64, r->active->host->name, r->active->host->port, generation);
    r->must_tell |= r->was_away || (is_other && r->has_entered);
    if (is_other || !was_ready)
        redis_users_restore(r, is_other);
    r->is_away = r->was_away = false;
    r->has_entered = true;
    if (has_moved) /* those who did not notice yet read the old server: what came meanwhile is found by comparing positions */
        net_timer_start(r->loop, &r->settle_timer, SETTLE_MS, settled, r);
    if (is_new && !r->is_dropping)
        drop_send(r, false);
    redis_flush_soon(r);
}

static void replaced(struct redis *r)
{
    if (!r->is_replaced)
        log_error("another process is node %s now; this one's sessions are not found any more: give each node an address of its own",
                  r->address);
    r->is_replaced = true;
    leave_ready(r, REDIS_ENTERING);
    set_away(r);
}

/* ---- the check of every second ---------------------------------------------------------------------------------------- */

static void tick_good(struct redis *r, const redisReply *reply)
{
    const char *word = reply->element[0]->str;
    uint64_t generation = strtoull(reply->element[1]->str, NULL, 10), position = strtoull(reply->element[2]->str, NULL, 10);
    if (strcmp(word, "lost") == 0) {
        renew(r, reply->element[1]->str, reply->element[2]->str);
    } else if (strcmp(word, "replaced") == 0) {
        replaced(r);
    } else if (generation == r->generation && position < r->position) {
        renew(r, reply->element[1]->str, r->active->run);
    } else if (strcmp(word, "kept") == 0 && generation == r->generation && r->tick_expects >= 0 && reply->elements > 3 &&
               strtoll(reply->element[3]->str, NULL, 10) != r->tick_expects && !r->is_dropping) {
        log_warn("presence holds %s users of this node instead of %" PRId64 ": writing them again", reply->element[3]->str,
                 r->tick_expects);
        leave_ready(r, REDIS_ENTERING);
        redis_leave(r);
    } else if (strcmp(word, "kept") == 0 || strcmp(word, "new") == 0) {
        r->is_replaced = false;
        entered(r, generation, position, word[0] == 'n');
    }
}

static void tick_done(struct redis_link *link, const redisReply *reply, struct redis_cmd *cmd)
{
    struct redis *r = (struct redis *)((char *)cmd - offsetof(struct redis, tick_cmd));
    bool again;
    r->is_ticking = false;
    if (reply == NULL || link != r->active)
        return;
    if (redis_link_is_good(link, reply, 3, &again))
        tick_good(r, reply);
    else if (again)
        tick(r);
}

static void tick(struct redis *r)
{
    char connection[24];
    if (r->is_ticking || r->is_renewing || r->is_leaving || r->is_cut)
        return;
    snprintf(connection, sizeof connection, "%" PRIu64, r->connection);
    r->tick_expects = redis_users_are_written(r) ? (int64_t)r->nhere : -1;
    const char *argv[] = { r->node, r->address, r->epoch_text, connection, r->forget_text };
    r->is_ticking = redis_link_run(r->active, &r->tick_cmd, REDIS_TICK, sizeof argv / sizeof *argv, argv) == BT_OK;
}

static void check_due(void *arg)
{
    struct redis *r = arg;
    for (size_t i = 0; i < r->target.nhosts; i++)
        if (r->links[i].state == REDIS_LINK_UP)
            redis_link_poll(&r->links[i]);
    if (r->active != NULL && !(r->is_closing && r->phase == REDIS_READY))
        tick(r);
    net_timer_start(r->loop, &r->check_timer, r->phase == REDIS_READY ? REDIS_CHECK_MS : REDIS_SEEK_MS, check_due, r);
}

void redis_reenter(struct redis *r)
{
    leave_ready(r, REDIS_ENTERING);
    if (r->active == NULL)
        r->phase = REDIS_SEEKING;
    else
        tick(r);
}

/* ---- which server ----------------------------------------------------------------------------------------------------- */

/* The master with the newest generation, the one in use if there are equals. *waiting_out: another one may show up yet. */
static struct redis_link *best_master(struct redis *r, bool *waiting_out)
{
    struct redis_link *best = NULL;
    *waiting_out = false;
    for (size_t i = 0; i < r->target.nhosts; i++) {
        struct redis_link *link = &r->links[i];
        if (link->state == REDIS_LINK_UP && link->is_master) {
            if (best == NULL || link->generation > best->generation || (link->generation == best->generation && link == r->active))
                best = link;
        } else if (link->state == REDIS_LINK_LOOKUP || link->state == REDIS_LINK_DIALLING || link->state == REDIS_LINK_GREETING) {
            *waiting_out = true;
        }
    }
    return best;
}

static void choose(void *arg)
{
    struct redis *r = arg;
    bool waiting;
    struct redis_link *best, *old = r->active;
    if (r->is_cut)
        return;
    best = best_master(r, &waiting);
    if (old != NULL && (best != old || old->state != REDIS_LINK_UP)) {
        leave_ready(r, REDIS_SEEKING);
        r->active = NULL;
        r->is_grace_over = best != NULL;
        /* What is under way there is over. */
        redis_link_drop(old, old->is_master ? "another master has a newer generation" : "it is no master any more");
    }
    if (best == NULL && !waiting)
        set_away(r);
    if (best == NULL || best == r->active || (waiting && !r->is_grace_over))
        return;
    r->active = best;
    r->connection++;
    r->phase = REDIS_ENTERING;
    tick(r);
}

void redis_choose_soon(struct redis *r)
{
    net_defer(r->loop, &r->choose_task, choose, r);
}

void redis_master_start(struct redis *r)
{
    r->tick_cmd.cb = tick_done;
    r->renew_cmd.cb = renew_done;
    r->drop_cmd.cb = drop_done;
    for (size_t i = 0; i < r->target.nhosts; i++)
        redis_link_start(&r->links[i], r, &r->target.hosts[i]);
    net_timer_start(r->loop, &r->away_timer, REDIS_AWAY_MS, away_due, r);
    net_timer_start(r->loop, &r->check_timer, REDIS_SEEK_MS, check_due, r);
    sweep_due(r);
}

void redis_master_stop(struct redis *r)
{
    net_timer_stop(r->loop, &r->away_timer);
    net_timer_stop(r->loop, &r->check_timer);
    net_timer_stop(r->loop, &r->settle_timer);
    net_timer_stop(r->loop, &r->sweep_timer);
    net_defer_cancel(r->loop, &r->choose_task);
    r->active = NULL;
    r->phase = REDIS_SEEKING;
}
