/* client/bench_idle.c: what connections cost that come and do nothing: memory while they stay, CPU when they log in. */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "client/bench_drive.h"

enum { FIRST = 5000, TURN_US = 100000, UNDER_WAY = 200, SILENT_US = 15000000 };

/* What a login sets going is done after a while. */
static bool settle(struct bench_run *run)
{
    uint64_t until_us = bench_clock_us() + (uint64_t)(run->o->warm_seconds * 1e6);
    while (bench_clock_us() < until_us)
        if (!bench_run_turn(run, TURN_US))
            return false;
    return true;
}

/* ---- a message to each ---- */

struct each {
    uint32_t next;
    struct bench_later later;
};

static void send_one(struct bench_run *run, struct bench_peer *p)
{
    run->target->wire->send(run, p, p->conn.index ^ 1, run->net.now_us);
}

static void send_next(struct bench_run *run)
{
    struct each *e = run->load;
    if (e->next < run->peer_count)
        send_one(run, &run->peers[e->next++]);
}

static void each_replied(struct bench_run *run, struct bench_peer *p, uint8_t status, const uint8_t *payload, size_t len)
{
    struct each *e = run->load;
    if (status == RPC_STATUS_OK)
        send_next(run);
    else
        bench_later_add(&e->later, run, p, payload, len);
}

static void each_delivered(struct bench_run *run, struct bench_peer *p)
{
    (void)p;
    send_next(run);
}

/* Everybody sends one message and gets one, a few at once. What does not come the counts will show. */
static bool message_each(struct bench_run *run)
{
    struct each e = { 0 };
    struct bench_counts *c = &run->counts;
    bool has_replies = run->target->wire->has_replies;
    uint64_t seen = 0, seen_us = bench_clock_us();
    run->load = &e;
    run->replied = each_replied;
    run->delivered = has_replies ? NULL : each_delivered;
    run->is_measuring = true;
    for (int n = 0; n < UNDER_WAY; n++)
        send_next(run);
    while (c->delivered < run->peer_count || (has_replies && c->ok < run->peer_count)) {
        if (!bench_run_turn(run, TURN_US))
            break;
        bench_later_due(&e.later, run, send_one);
        if (c->ok + c->failed + c->delivered != seen) {
            seen = c->ok + c->failed + c->delivered;
            seen_us = run->net.now_us;
        } else if (run->net.now_us - seen_us > SILENT_US) {
            break;
        }
    }
    run->is_measuring = false;
    bench_later_free(&e.later);
    run->result->all = *c;
    run->result->expected = run->peer_count;
    return !run->has_failed;
}

/* Until whoever started this has looked at what he wants to look at. */
static bool wait_for_line(struct bench_run *run)
{
    struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
    char line[64];
    printf("connected %" PRIu32 "\n", run->ready_count);
    fflush(stdout);
    while (poll(&in, 1, 0) == 0)
        if (!bench_run_turn(run, TURN_US))
            return false;
    return read(STDIN_FILENO, line, sizeof line) >= 0;
}

/* ---- staying ---- */

/* The difference between many and some: what a process needs anyway, and what grows in steps, falls out. */
bool bench_idle(struct bench_run *run)
{
    const struct bench_procs *procs = &run->target->procs;
    struct bench_result *r = run->result;
    uint32_t first = r->clients / 4 < FIRST ? r->clients / 4 : FIRST;
    uint64_t before = 0;
    if (!bench_run_begin(run, r->clients) || !bench_run_connect(run, first) || !settle(run))
        return false;
    if (procs->count > 0)
        before = bench_group_memory(&procs->groups[0]);
    bench_run_measure(run);
    if (!bench_run_connect(run, r->clients - first))
        return false;
    bench_run_measured(run, r->clients - first);
    if (!settle(run))
        return false;
    if (procs->count > 0) {
        r->memory = bench_group_memory(&procs->groups[0]);
        r->bytes_each = ((double)r->memory - (double)before) / (r->clients - first);
    }
    return !run->o->is_held || (wait_for_line(run) && message_each(run));
}

/* ---- logging in ---- */

struct login {
    uint64_t done;
    uint32_t next;
    bool is_stopping;
};

/* The next user, on the same record: who left and who comes are never the same one. */
static void again(struct bench_run *run, struct bench_peer *p)
{
    struct login *l = run->load;
    uint32_t users = run->o->users && run->workload->users ? run->o->users : run->workload->users;
    if (run->target->wire == &bench_wire_bytetalk)
        p->user = l->next++ % (users > run->peer_count ? users : run->peer_count);
    bench_run_dial(run, p);
}

static void came(struct bench_run *run, struct bench_peer *p)
{
    struct login *l = run->load;
    l->done++;
    bench_net_close(&run->net, &p->conn);
    p->is_ready = false;
    run->ready_count--;
    if (!l->is_stopping)
        again(run, p);
}

static void tick(struct bench_run *run)
{
    (void)run;
}

static void stop(struct bench_run *run)
{
    struct login *l = run->load;
    l->is_stopping = true;
}

static uint64_t units(const struct bench_run *run)
{
    const struct login *l = run->load;
    return l->done;
}

static uint64_t expected(const struct bench_run *run)
{
    (void)run;
    return 0;
}

bool bench_login(struct bench_run *run)
{
    static const struct bench_drive ops = { .tick = tick, .stop = stop, .units = units, .expected = expected };
    struct login l = { 0 };
    run->load = &l;
    run->ready = came;
    if (!bench_run_begin(run, run->result->clients))
        return false;
    for (uint32_t n = 0; n < run->peer_count; n++)
        again(run, &run->peers[n]);
    return bench_drive(run, &ops);
}
