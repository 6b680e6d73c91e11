/* client/bench_run.c: one run of a workload against one target: its connections, what they are told, what is counted. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/bench.h"

enum {
    CONNECTING = 128,           /* at once */
    CONNECT_S = 60,             /* the longest that logging in may take without any progress */
    QUIET_PING_US = 40 * 1000000,
    LOST_MAX = 100,             /* connections that may break before the run is given up */
};

void bench_run_fail(struct bench_run *run, const char *format, ...)
{
    va_list args;
    if (run->has_failed)
        return;
    run->has_failed = true;
    va_start(args, format);
    fprintf(stderr, "bytetalk-bench: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
}

/* ---- events ---- */

static size_t on_bytes(struct bench_conn *c, const uint8_t *data, size_t len, void *arg)
{
    struct bench_run *run = arg;
    return run->target->wire->bytes(run, (struct bench_peer *)c, data, len);
}

static void on_closed(struct bench_conn *c, int error, void *arg)
{
    struct bench_run *run = arg;
    struct bench_peer *p = (struct bench_peer *)c;
    bool was_ready = p->is_ready;
    p->is_ready = false;
    if (was_ready)
        run->ready_count--;
    run->result->lost++;
    if (!was_ready || run->result->lost > LOST_MAX)
        bench_run_fail(run, "a connection to the %s broke%s: %s", run->target->name, was_ready ? "" : " before it was logged in",
                       error ? strerror(error) : "closed by the other side");
    else if (run->broke)
        run->broke(run, p);
}

static const struct bench_net_ops net_ops = { .bytes = on_bytes, .closed = on_closed };

void bench_told_ready(struct bench_run *run, struct bench_peer *p)
{
    p->is_ready = true;
    run->ready_count++;
    if (run->ready)
        run->ready(run, p);
}

void bench_told_reply(struct bench_run *run, struct bench_peer *p, uint32_t call, uint8_t status, const uint8_t *payload, size_t len)
{
    uint64_t due_us = p->due_us[call % BENCH_CALLS];
    p->due_us[call % BENCH_CALLS] = 0;
    p->open--;
    if (status == RPC_STATUS_OK) {
        run->counts.ok++;
        if (run->is_measuring)
            bench_hist_add(&run->result->answer, run->net.now_us - due_us);
    } else {
        run->counts.failed++;
        run->result->errors[status < BENCH_STATUSES ? status : RPC_STATUS_UNKNOWN]++;
    }
    if (run->replied)
        run->replied(run, p, status, payload, len);
}

void bench_told_delivery(struct bench_run *run, struct bench_peer *p, const uint8_t *payload, size_t len)
{
    uint64_t due_us;
    if (len < BENCH_STAMP || !bench_stamp_read(payload + len - BENCH_STAMP, &due_us) || due_us < run->begun_us ||
        due_us > run->net.now_us) {
        run->result->stray++; /* of an earlier run, or a change of a group's members */
        return;
    }
    run->counts.delivered++;
    if (run->is_measuring)
        bench_hist_add(&run->result->delivery, run->net.now_us - due_us);
    if (run->delivered)
        run->delivered(run, p);
}

/* ---- stamps: 6 bits a byte, 8 bytes for the time and 8 for a number that tells messages apart ---- */

static void put_48_bits(uint8_t *out, uint64_t v)
{
    for (int n = 7; n >= 0; n--, v >>= 6)
        out[n] = (uint8_t)(0x40 | (v & 0x3f));
}

void bench_stamp_write(uint8_t *out, uint64_t due_us, uint64_t number)
{
    put_48_bits(out, due_us);
    put_48_bits(out + 8, number);
}

bool bench_stamp_read(const uint8_t *at, uint64_t *due_us_out)
{
    uint64_t v = 0;
    for (int n = 0; n < 8; n++) {
        if ((at[n] & 0xc0) != 0x40)
            return false;
        v = v << 6 | (at[n] & 0x3f);
    }
    *due_us_out = v;
    return true;
}

unsigned bench_size_pick(struct bench_run *run)
{
    double x = bench_random_unit(&run->random);
    unsigned n = 0;
    while (n + 1 < run->o->size_count && run->o->sizes[n].share <= x)
        n++;
    return n;
}

/* ---- connections ---- */

bool bench_run_begin(struct bench_run *run, uint32_t clients)
{
    run->peers = calloc(clients, sizeof *run->peers);
    run->peer_count = clients;
    run->begun_us = bench_clock_us();
    bench_random_init(&run->random, run->begun_us);
    for (uint32_t n = 0; run->peers && n < clients; n++)
        run->peers[n].conn.index = run->peers[n].user = n;
    if (!run->peers || bench_net_init(&run->net, &net_ops, run) != BT_OK) {
        free(run->peers);
        run->peers = NULL;
        bench_run_fail(run, "out of memory or descriptors");
        return false;
    }
    return run->target->wire->prepare(run);
}

void bench_run_dial(struct bench_run *run, struct bench_peer *p)
{
    const struct bench_target *t = run->target;
    memset(p->due_us, 0, sizeof p->due_us);
    p->open = 0;
    p->is_ready = false;
    if (bench_net_dial(&run->net, &p->conn, &t->addresses[p->conn.index % t->address_count]) != BT_OK) {
        bench_run_fail(run, "the %s can't be reached, or there are too few descriptors (ulimit -n)", t->name);
        return;
    }
    (run->login ? run->login : t->wire->login)(run, p);
}

bool bench_run_connect(struct bench_run *run, uint32_t count)
{
    uint32_t done = 0, dialled = 0, first = 0;
    uint64_t progress_us = bench_clock_us();
    while (first < run->peer_count && run->peers[first].conn.is_open)
        first++;
    uint32_t base = run->ready_count;
    while (done < count) {
        while (dialled < count && dialled - done < CONNECTING && !run->has_failed)
            bench_run_dial(run, &run->peers[first + dialled++]);
        if (!bench_run_turn(run, 100000))
            return false;
        if (run->ready_count - base > done) {
            done = run->ready_count - base;
            progress_us = run->net.now_us;
        } else if (run->net.now_us - progress_us > (uint64_t)CONNECT_S * 1000000) {
            bench_run_fail(run, "the %s does not answer", run->target->name);
        }
    }
    return !run->has_failed;
}

/* A server closes a connection of which it hears nothing. */
static void ping_quiet(struct bench_run *run)
{
    for (uint32_t n = 0; n < run->peer_count; n++) {
        struct bench_peer *p = &run->peers[n];
        if (p->is_ready && run->net.now_us - p->conn.written_us > QUIET_PING_US)
            run->target->wire->ping(run, p);
    }
}

bool bench_run_turn(struct bench_run *run, uint64_t wait_us)
{
    if (run->has_failed)
        return false;
    bench_net_turn(&run->net, wait_us);
    if (run->target->wire->ping && run->net.now_us - run->looked_us > 1000000) {
        run->looked_us = run->net.now_us;
        ping_quiet(run);
    }
    return !run->has_failed;
}

void bench_run_end(struct bench_run *run)
{
    if (!run->peers)
        return;
    for (uint32_t n = 0; n < run->peer_count; n++)
        bench_net_close(&run->net, &run->peers[n].conn);
    for (unsigned n = 0; n < BENCH_SIZES; n++)
        free(run->frames[n]);
    bench_net_free(&run->net);
    free(run->peers);
    run->peers = NULL;
}

/* ---- figures ---- */

void bench_run_measure(struct bench_run *run)
{
    const struct bench_procs *procs = &run->target->procs;
    struct bench_result *r = run->result;
    memset(&r->answer, 0, sizeof r->answer);
    memset(&r->delivery, 0, sizeof r->delivery);
    run->is_measuring = true;
    run->measure_us = bench_clock_us();
    for (unsigned n = 0; n < procs->count; n++)
        r->cpu_ns[n] = bench_group_cpu_ns(&procs->groups[n]);
    r->own_cpu_ns = bench_own_cpu_ns();
}

void bench_run_measured(struct bench_run *run, uint64_t units)
{
    const struct bench_procs *procs = &run->target->procs;
    struct bench_result *r = run->result;
    run->is_measuring = false;
    r->own_cpu_ns = bench_own_cpu_ns() - r->own_cpu_ns;
    for (unsigned n = 0; n < procs->count; n++)
        r->cpu_ns[n] = bench_group_cpu_ns(&procs->groups[n]) - r->cpu_ns[n];
    r->seconds = (double)(bench_clock_us() - run->measure_us) / 1e6;
    r->units = units;
    if (procs->count > 0)
        r->memory = bench_group_memory(&procs->groups[0]);
}
