/*
 * client/bench_paced.c: an open loop: messages fall due at a steady pace, whatever became of those before.
 *
 * Latency counts from when a message was due. What could not be sent then, because this program was late or no call was
 * free, is sent as soon as it can be and has waited since: a server that stalls is seen to stall (no coordinated omission).
 */
#include "client/bench_drive.h"

enum { IN_ROW = 256 }; /* sent before the answers are looked at again */

struct paced {
    uint64_t begun_us, due; /* due: messages that have been sent, or given up */
    uint32_t next;
    bool is_stopping;
    bool is_full;           /* no call is free: there is nothing to do before an answer comes */
};

static uint64_t due_us(const struct bench_run *run)
{
    const struct paced *p = run->load;
    return p->begun_us + p->due * 1000000 / run->o->rate;
}

static uint64_t next_us(const struct bench_run *run)
{
    const struct paced *p = run->load;
    return p->is_full || p->is_stopping ? UINT64_MAX : due_us(run);
}

/* The next client in turn that has a call free; NULL: none has. */
static struct bench_peer *next_sender(struct bench_run *run, struct paced *p)
{
    for (uint32_t n = 0; n < run->peer_count; n++) {
        struct bench_peer *peer = &run->peers[p->next++ % run->peer_count];
        if (bench_may_send(peer))
            return peer;
    }
    return NULL;
}

static void tick(struct bench_run *run)
{
    struct paced *p = run->load;
    uint64_t now_us = bench_clock_us();
    p->is_full = false;
    for (int n = 0; n < IN_ROW && !p->is_stopping && due_us(run) <= now_us; n++) {
        struct bench_peer *peer = next_sender(run, p);
        p->is_full = peer == NULL;
        if (!peer)
            return;
        run->target->wire->send(run, peer, peer->conn.index ^ 1, due_us(run));
        p->due++;
    }
}

static void stop(struct bench_run *run)
{
    struct paced *p = run->load;
    p->is_stopping = true;
}

static uint64_t units(const struct bench_run *run)
{
    return run->target->wire->has_replies ? run->counts.ok : run->counts.delivered;
}

static uint64_t expected(const struct bench_run *run)
{
    return run->target->wire->has_replies ? run->counts.ok : run->counts.sent;
}

bool bench_paced(struct bench_run *run)
{
    static const struct bench_drive ops = { .tick = tick, .next_us = next_us, .stop = stop, .units = units, .expected = expected };
    struct paced p = { 0 };
    run->load = &p;
    if (!bench_run_begin(run, run->result->clients) || !bench_run_connect(run, run->peer_count))
        return false;
    p.begun_us = bench_clock_us();
    return bench_drive(run, &ops);
}
