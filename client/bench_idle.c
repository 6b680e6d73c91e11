/* client/bench_idle.c: what connections cost that come and do nothing: memory while they stay, CPU when they log in. */
#include "client/bench_drive.h"

enum { FIRST = 5000, TURN_US = 100000 };

/* What a login sets going is done after a while. */
static bool settle(struct bench_run *run)
{
    uint64_t until_us = bench_clock_us() + (uint64_t)(run->o->warm_seconds * 1e6);
    while (bench_clock_us() < until_us)
        if (!bench_run_turn(run, TURN_US))
            return false;
    return true;
}

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
    return true;
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
