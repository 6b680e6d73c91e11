/* client/bench_drive.c: the course of a run: warming up, measuring, ending; and sends that were refused for a while. */
#include "client/bench_drive.h"

#include <stdlib.h>

#include "proto/client.pb.h"
#include "rpc/bytes.h"

enum { TURN_US = 50000, SILENT_US = 5000000, RETRY_US = 100000 };

/* ---- refused for a while ---- */

static uint64_t retry_after_us(const uint8_t *payload, size_t len)
{
    Error error = { 0 };
    uint64_t us = RETRY_US;
    if (rpc_decode(Error_fields, payload, len, &error) == BT_OK) {
        if (error.retry_after_ms > 0)
            us = (uint64_t)error.retry_after_ms * 1000;
        rpc_release(Error_fields, &error);
    }
    return us;
}

void bench_later_add(struct bench_later *l, struct bench_run *run, struct bench_peer *p, const uint8_t *payload, size_t len)
{
    if (l->count == l->cap) {
        uint32_t cap = l->cap ? l->cap * 2 : 256;
        void *waits = realloc(l->waits, cap * sizeof *l->waits);
        if (!waits) {
            bench_run_fail(run, "out of memory");
            return;
        }
        l->waits = waits;
        l->cap = cap;
    }
    l->waits[l->count].due_us = run->net.now_us + retry_after_us(payload, len);
    l->waits[l->count++].peer = p->conn.index;
}

void bench_later_due(struct bench_later *l, struct bench_run *run, void (*send)(struct bench_run *run, struct bench_peer *p))
{
    for (uint32_t n = 0; n < l->count;) {
        uint32_t peer = l->waits[n].peer;
        if (l->waits[n].due_us > run->net.now_us) {
            n++;
        } else {
            l->waits[n] = l->waits[--l->count];
            send(run, &run->peers[peer]);
        }
    }
}

void bench_later_free(struct bench_later *l)
{
    free(l->waits);
}

/* ---- phases ---- */

static bool turn(struct bench_run *run, const struct bench_drive *ops, uint64_t until_us)
{
    uint64_t now_us = bench_clock_us(), wait_us = TURN_US;
    uint64_t next_us = ops->next_us ? ops->next_us(run) : UINT64_MAX;
    if (next_us < now_us + wait_us)
        wait_us = next_us > now_us ? next_us - now_us : 0;
    if (until_us < now_us + wait_us)
        wait_us = until_us > now_us ? until_us - now_us : 0;
    if (!bench_run_turn(run, wait_us))
        return false;
    ops->tick(run);
    return true;
}

static bool turn_until(struct bench_run *run, const struct bench_drive *ops, uint64_t until_us)
{
    do
        if (!turn(run, ops, until_us))
            return false;
    while (run->net.now_us < until_us);
    return true;
}

/* Until everything was answered and delivered, or nothing has come for long. */
static bool wait_for_rest(struct bench_run *run, const struct bench_drive *ops)
{
    struct bench_counts *c = &run->counts;
    uint64_t seen = 0, seen_us = bench_clock_us();
    for (;;) {
        bool is_answered = !run->target->wire->has_replies || c->ok + c->failed >= c->sent;
        if (is_answered && c->delivered >= ops->expected(run))
            return true;
        if (!bench_run_turn(run, TURN_US))
            return false;
        if (c->ok + c->failed + c->delivered != seen) {
            seen = c->ok + c->failed + c->delivered;
            seen_us = run->net.now_us;
        } else if (run->net.now_us - seen_us > SILENT_US) {
            return true; /* the counts will show it */
        }
    }
}

static bool measure(struct bench_run *run, const struct bench_drive *ops)
{
    uint64_t began = ops->units(run), from_us = bench_clock_us(), show_us = from_us + 1000000;
    uint64_t until_us = run->o->messages ? UINT64_MAX : from_us + (uint64_t)(run->o->seconds * 1e6);
    bench_run_measure(run);
    while (run->net.now_us < until_us && (run->o->messages == 0 || ops->units(run) - began < run->o->messages)) {
        if (!turn(run, ops, until_us))
            return false;
        if (run->net.now_us >= show_us) {
            bench_progress(run, (double)(run->net.now_us - from_us) / 1e6, ops->units(run) - began);
            show_us += 1000000;
        }
    }
    bench_run_measured(run, ops->units(run) - began);
    return true;
}

bool bench_drive(struct bench_run *run, const struct bench_drive *ops)
{
    if (!turn_until(run, ops, bench_clock_us() + (uint64_t)(run->o->warm_seconds * 1e6)) || !measure(run, ops))
        return false;
    ops->stop(run);
    if (!wait_for_rest(run, ops))
        return false;
    run->result->all = run->counts;
    run->result->expected = ops->expected(run);
    return true;
}
