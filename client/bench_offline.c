/*
 * client/bench_offline.c: messages for those who are away: storing them, and fetching them afterwards.
 *
 * The first half of the clients write, each to one of the second half, who come only when all is stored, and pull from
 * where their conversation stood before.
 */
#include <stdlib.h>

#include "client/bench_drive.h"
#include "proto/client.pb.h"
#include "proto/methods.h"
#include "rpc/bytes.h"

enum { PULL_LIMIT = 1000, TURN_US = 50000, SILENT_US = 10000000 };

struct offline {
    bool is_stopping, is_draining;
    uint32_t done;           /* receivers that have everything */
    uint64_t fetched;
    uint64_t *from;          /* by sender: the lowest seq that was answered, 0: none */
    uint64_t *held;          /* by receiver: position */
    struct bench_later later;
};

static uint32_t half(const struct bench_run *run)
{
    return run->peer_count / 2;
}

/* ---- storing ---- */

static void send_one(struct bench_run *run, struct bench_peer *p)
{
    struct offline *o = run->load;
    if (!o->is_stopping && bench_may_send(p))
        run->target->wire->send(run, p, p->conn.index + half(run), run->net.now_us);
}

/* SendReply begins with its seq: a tag, then a varint. */
static uint64_t seq_of(const uint8_t *payload, size_t len)
{
    uint64_t seq = 0;
    for (size_t n = 1; n < len && n < 11; n++) {
        seq |= (uint64_t)(payload[n] & 0x7f) << (7 * (n - 1));
        if (payload[n] < 0x80)
            return seq;
    }
    return 0;
}

static void stored(struct bench_run *run, struct bench_peer *p, uint8_t status, const uint8_t *payload, size_t len)
{
    struct offline *o = run->load;
    if (status != RPC_STATUS_OK) {
        bench_later_add(&o->later, run, p, payload, len);
        return;
    }
    uint64_t seq = seq_of(payload, len), *from = &o->from[p->conn.index];
    if (*from == 0 || seq < *from)
        *from = seq;
    send_one(run, p);
}

static void tick(struct bench_run *run)
{
    struct offline *o = run->load;
    bench_later_due(&o->later, run, send_one);
}

static void stop(struct bench_run *run)
{
    struct offline *o = run->load;
    o->is_stopping = true;
}

static uint64_t units(const struct bench_run *run)
{
    return run->counts.ok;
}

static uint64_t nothing_expected(const struct bench_run *run)
{
    (void)run;
    return 0;
}

static bool store(struct bench_run *run)
{
    static const struct bench_drive ops = { .tick = tick, .stop = stop, .units = units, .expected = nothing_expected };
    run->replied = stored;
    if (!bench_run_connect(run, half(run)))
        return false;
    /* A receiver has no connection and so no id yet; it is known all the same. */
    for (uint32_t n = half(run); n < run->peer_count; n++)
        run->peers[n].user_id = run->state->users[n].id;
    for (uint32_t n = 0; n < half(run); n++)
        for (uint32_t k = 0; k < run->result->window; k++)
            send_one(run, &run->peers[n]);
    return bench_drive(run, &ops);
}

/* ---- fetching ---- */

static void pull(struct bench_run *run, struct bench_peer *p)
{
    struct offline *o = run->load;
    uint64_t me = p->user_id, other = run->peers[p->conn.index - half(run)].user_id;
    uint64_t hi = me > other ? me : other, lo = me > other ? other : me;
    Position position = { .hi = hi, .lo = lo, .seq = o->held[p->conn.index - half(run)] };
    PullRequest req = { .has_after = true, .after = { .hi = hi, .lo = lo - 1 }, .has_until = true, .until = { .hi = hi, .lo = lo },
                        .positions_count = 1, .positions = &position, .limit = PULL_LIMIT };
    bench_call(run, p, RPC_OFFLINE_PULL, 0, PullRequest_fields, &req);
}

static void receiver_came(struct bench_run *run, struct bench_peer *p)
{
    struct offline *o = run->load;
    if (!o->is_draining)
        return;
    uint32_t n = p->conn.index - half(run);
    o->held[n] = o->from[n] > 0 ? o->from[n] - 1 : 0;
    if (o->from[n] > 0)
        pull(run, p);
    else
        o->done++;
}

static void pulled(struct bench_run *run, struct bench_peer *p, uint8_t status, const uint8_t *payload, size_t len)
{
    struct offline *o = run->load;
    PullReply reply = { 0 };
    if (status != RPC_STATUS_OK) {
        bench_later_add(&o->later, run, p, payload, len);
        return;
    }
    if (rpc_decode(PullReply_fields, payload, len, &reply) != BT_OK) {
        bench_run_fail(run, "the server's answer to Pull can't be read");
        return;
    }
    for (pb_size_t n = 0; n < reply.conversations_count; n++) {
        const Conversation *c = &reply.conversations[n];
        o->fetched += c->messages_count;
        if (c->messages_count > 0)
            o->held[p->conn.index - half(run)] = c->messages[c->messages_count - 1].seq;
    }
    bool has_more = reply.more;
    rpc_release(PullReply_fields, &reply);
    if (has_more)
        pull(run, p);
    else
        o->done++;
}

static bool fetch(struct bench_run *run)
{
    struct offline *o = run->load;
    uint64_t began_us = bench_clock_us(), show_us = began_us + 1000000, seen = 0, seen_us = began_us;
    struct bench_counts stored_counts = run->counts;
    o->is_draining = true;
    run->replied = pulled;
    bench_run_measure(run);
    if (!bench_run_connect(run, half(run)))
        return false;
    while (o->done < half(run)) {
        if (!bench_run_turn(run, TURN_US))
            return false;
        bench_later_due(&o->later, run, pull);
        if (o->fetched != seen) {
            seen = o->fetched;
            seen_us = run->net.now_us;
        } else if (run->net.now_us - seen_us > SILENT_US) {
            bench_run_fail(run, "the server does not answer Pull");
        }
        if (run->net.now_us >= show_us) {
            bench_progress(run, (double)(run->net.now_us - began_us) / 1e6, o->fetched);
            show_us += 1000000;
        }
    }
    bench_run_measured(run, o->fetched);
    run->result->all = stored_counts;
    run->result->all.delivered = o->fetched;
    run->result->expected = stored_counts.ok;
    return true;
}

static bool run_offline(struct bench_run *run, bool has_drain)
{
    struct offline o = { 0 };
    run->load = &o;
    run->ready = receiver_came;
    if (!bench_run_begin(run, run->result->clients))
        return false;
    o.from = calloc(half(run), sizeof(uint64_t));
    o.held = calloc(half(run), sizeof(uint64_t));
    if (!o.from || !o.held)
        bench_run_fail(run, "out of memory");
    bool is_ok = !run->has_failed && store(run);
    if (is_ok && has_drain)
        is_ok = fetch(run);
    free(o.from);
    free(o.held);
    bench_later_free(&o.later);
    return is_ok;
}

bool bench_store(struct bench_run *run)
{
    return run_offline(run, false);
}

bool bench_drain(struct bench_run *run)
{
    return run_offline(run, true);
}
