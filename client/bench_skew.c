/* client/bench_skew.c: a closed loop over conversations of which few are busy and most are quiet (Zipf). */
#include "client/bench_drive.h"

enum { TRIES = 32 };

struct skew {
    struct bench_zipf zipf;
    uint64_t under_way;
    bool is_stopping;
    struct bench_later later;
};

/*
 * The two of a conversation: clients on a circle, the first N conversations between neighbours, the next N between those
 * two apart, and so on. That makes every pair once, up to N * (N - 1) / 2 conversations.
 */
static void members(const struct bench_run *run, uint32_t conversation, uint32_t *a_out, uint32_t *b_out)
{
    *a_out = conversation % run->peer_count;
    *b_out = (*a_out + 1 + conversation / run->peer_count) % run->peer_count;
}

/* One whose calls are all open does not send: then the other one, then another conversation. */
static bool send_one(struct bench_run *run)
{
    struct skew *s = run->load;
    for (int n = 0; n < TRIES; n++) {
        uint32_t a, b, other;
        members(run, bench_zipf_draw(&s->zipf, &run->random), &a, &b);
        if (bench_random_below(&run->random, 2)) {
            other = a;
            a = b;
            b = other;
        }
        if (!bench_may_send(&run->peers[a])) {
            other = a;
            a = b;
            b = other;
        }
        if (bench_may_send(&run->peers[a])) {
            run->target->wire->send(run, &run->peers[a], b, run->net.now_us);
            return true;
        }
    }
    return false;
}

static void send_later(struct bench_run *run, struct bench_peer *p)
{
    struct skew *s = run->load;
    (void)p;
    s->under_way--;
}

static void tick(struct bench_run *run)
{
    struct skew *s = run->load;
    bench_later_due(&s->later, run, send_later);
    while (!s->is_stopping && s->under_way < (uint64_t)run->peer_count * run->result->window && send_one(run))
        s->under_way++;
}

static void replied(struct bench_run *run, struct bench_peer *p, uint8_t status, const uint8_t *payload, size_t len)
{
    struct skew *s = run->load;
    if (status == RPC_STATUS_OK)
        s->under_way--;
    else
        bench_later_add(&s->later, run, p, payload, len);
}

static void delivered(struct bench_run *run, struct bench_peer *p)
{
    struct skew *s = run->load;
    (void)p;
    s->under_way--;
}

static void stop(struct bench_run *run)
{
    struct skew *s = run->load;
    s->is_stopping = true;
}

static uint64_t units(const struct bench_run *run)
{
    return run->target->wire->has_replies ? run->counts.ok : run->counts.delivered;
}

static uint64_t expected(const struct bench_run *run)
{
    return run->target->wire->has_replies ? run->counts.ok : run->counts.sent;
}

bool bench_load_skew(struct bench_run *run)
{
    static const struct bench_drive ops = { .tick = tick, .stop = stop, .units = units, .expected = expected };
    struct skew s = { 0 };
    uint32_t clients = run->result->clients, most = clients / 2 * (clients - 1), count = run->o->conversations;
    run->load = &s;
    run->replied = replied;
    if (!run->target->wire->has_replies)
        run->delivered = delivered;
    if (bench_zipf_init(&s.zipf, count < most ? count : most, run->o->zipf) != BT_OK)
        return false;
    bool is_ok = bench_run_begin(run, clients) && bench_run_connect(run, run->peer_count) && bench_drive(run, &ops);
    bench_zipf_free(&s.zipf);
    bench_later_free(&s.later);
    return is_ok;
}
