/*
 * client/bench_load.c: closed loops: so many messages are always under way; who hears that one arrived sends the next.
 *
 * In pairs each client keeps a window of its own, and its answers let it send; with the router, which answers nothing, a
 * message that arrives lets its sender send the next. In a group one member sends, and a message is done when it was
 * answered and has reached everybody.
 */
#include <stdlib.h>

#include "client/bench.h"
#include "client/bench_drive.h"

struct load {
    uint32_t window;
    uint32_t receivers;      /* of each message */
    bool is_stopping;
    struct bench_later later;
};

static void send_pair(struct bench_run *run, struct bench_peer *p)
{
    struct load *l = run->load;
    if (!l->is_stopping && bench_may_send(p))
        run->target->wire->send(run, p, p->conn.index ^ 1, run->net.now_us);
}

static void pair_replied(struct bench_run *run, struct bench_peer *p, uint8_t status, const uint8_t *payload, size_t len)
{
    struct load *l = run->load;
    if (status == RPC_STATUS_OK)
        send_pair(run, p);
    else
        bench_later_add(&l->later, run, p, payload, len);
}

/* With the router, which answers nothing: it has arrived, so its sender may send the next. */
static void pair_arrived(struct bench_run *run, struct bench_peer *p)
{
    send_pair(run, &run->peers[p->conn.index ^ 1]);
}

static void pair_start(struct bench_run *run)
{
    struct load *l = run->load;
    for (uint32_t n = 0; n < run->peer_count; n++)
        for (uint32_t k = 0; k < l->window; k++)
            send_pair(run, &run->peers[n]);
}

/* ---- one group ---- */

/* Messages that were answered, and of which every member has heard. */
static uint64_t group_done(const struct bench_run *run)
{
    const struct load *l = run->load;
    uint64_t heard = run->counts.delivered / l->receivers, answered = run->counts.ok + run->counts.failed;
    heard += run->counts.failed;
    return run->target->wire->has_replies && answered < heard ? answered : heard;
}

static void send_group(struct bench_run *run)
{
    struct load *l = run->load;
    struct bench_peer *p = &run->peers[0];
    uint64_t done = group_done(run);
    while (!l->is_stopping && bench_may_send(p) && run->counts.sent + l->later.count < done + l->window)
        run->target->wire->send(run, p, 0, run->net.now_us);
}

static void group_replied(struct bench_run *run, struct bench_peer *p, uint8_t status, const uint8_t *payload, size_t len)
{
    struct load *l = run->load;
    if (status == RPC_STATUS_OK)
        send_group(run);
    else
        bench_later_add(&l->later, run, p, payload, len);
}

static void group_delivered(struct bench_run *run, struct bench_peer *p)
{
    const struct load *l = run->load;
    (void)p;
    if (run->counts.delivered % l->receivers == 0)
        send_group(run);
}

/* ---- driving ---- */

static void later_pair(struct bench_run *run, struct bench_peer *p)
{
    send_pair(run, p);
}

static void later_group(struct bench_run *run, struct bench_peer *p)
{
    (void)p;
    send_group(run);
}

static uint64_t units(const struct bench_run *run)
{
    return run->is_group || !run->target->wire->has_replies ? run->counts.delivered : run->counts.ok;
}

static uint64_t expected(const struct bench_run *run)
{
    const struct load *l = run->load;
    return (run->target->wire->has_replies ? run->counts.ok : run->counts.sent) * l->receivers;
}

static void tick(struct bench_run *run)
{
    struct load *l = run->load;
    bench_later_due(&l->later, run, run->is_group ? later_group : later_pair);
}

static void stop(struct bench_run *run)
{
    struct load *l = run->load;
    l->is_stopping = true;
}

static bool drive(struct bench_run *run, struct load *l, void (*start)(struct bench_run *run))
{
    static const struct bench_drive ops = { .tick = tick, .stop = stop, .units = units, .expected = expected };
    run->load = l;
    bool is_ok = bench_run_connect(run, run->peer_count);
    if (is_ok)
        start(run);
    is_ok = is_ok && bench_drive(run, &ops);
    bench_later_free(&l->later);
    return is_ok;
}

bool bench_load_pairs(struct bench_run *run)
{
    struct load l = { .window = run->result->window, .receivers = 1 };
    run->replied = pair_replied;
    if (!run->target->wire->has_replies)
        run->delivered = pair_arrived;
    return bench_run_begin(run, run->result->clients) && drive(run, &l, pair_start);
}

bool bench_load_group(struct bench_run *run)
{
    struct load l = { .window = run->result->window, .receivers = run->result->clients - 1 };
    run->is_group = true;
    if (run->target->wire->has_replies) {
        uint32_t members = run->o->members > run->result->clients ? run->o->members : run->result->clients;
        run->group_id = bench_group_make(run->o, run->target, run->state, members);
        if (run->group_id == 0)
            return false;
        run->replied = group_replied;
    }
    run->delivered = group_delivered;
    return bench_run_begin(run, run->result->clients) && drive(run, &l, send_group);
}
