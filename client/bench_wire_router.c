/* client/bench_wire_router.c: what the bare router (test/bench/router.c) understands: two words, then the body. */
#include <stdlib.h>
#include <string.h>

#include "client/bench.h"

/* As in the router. Words are in the machine's order. */
enum { HEADER = 8, LOGIN = 0x01000000, JOIN, GROUP };

static void put_header(uint8_t *frame, uint32_t len, uint32_t to)
{
    uint32_t follows = len - 4;
    memcpy(frame, &follows, sizeof follows);
    memcpy(frame + 4, &to, sizeof to);
}

static bool wire_prepare(struct bench_run *run)
{
    for (unsigned n = 0; n < run->o->size_count; n++) {
        uint32_t len = HEADER + run->o->sizes[n].bytes;
        run->frame_lens[n] = len;
        run->frames[n] = malloc(len);
        if (!run->frames[n]) {
            bench_run_fail(run, "out of memory");
            return false;
        }
        memset(run->frames[n], 'x', len);
        put_header(run->frames[n], len, run->is_group ? GROUP : 0);
    }
    return true;
}

static uint8_t *room(struct bench_run *run, struct bench_peer *p, uint32_t len)
{
    uint8_t *out = bench_net_room(&run->net, &p->conn, len);
    if (!out)
        bench_run_fail(run, "out of memory");
    return out;
}

static void wire_login(struct bench_run *run, struct bench_peer *p)
{
    uint8_t *out = room(run, p, HEADER + 4);
    if (!out)
        return;
    put_header(out, HEADER + 4, LOGIN);
    memcpy(out + HEADER, &p->conn.index, 4);
    if (!run->is_group)
        return;
    out = room(run, p, HEADER);
    if (out)
        put_header(out, HEADER, JOIN);
}

static void wire_send(struct bench_run *run, struct bench_peer *from, uint32_t to, uint64_t due_us)
{
    unsigned size = run->o->size_count > 1 ? bench_size_pick(run) : 0;
    uint32_t len = run->frame_lens[size];
    uint8_t *out = room(run, from, len);
    if (!out)
        return;
    memcpy(out, run->frames[size], len);
    if (!run->is_group)
        memcpy(out + 4, &to, sizeof to);
    bench_stamp_write(out + len - BENCH_STAMP, due_us, run->counts.sent++);
}

static size_t wire_bytes(struct bench_run *run, struct bench_peer *p, const uint8_t *data, size_t len)
{
    size_t at = 0;
    uint32_t life = p->conn.life;
    uint32_t follows, to;
    while (len - at >= HEADER && p->conn.is_open && p->conn.life == life) {
        memcpy(&follows, data + at, sizeof follows);
        memcpy(&to, data + at + 4, sizeof to);
        if (len - at - 4 < follows)
            break;
        if (to == (run->is_group ? JOIN : LOGIN))
            bench_told_ready(run, p);
        else if (to != LOGIN)
            bench_told_delivery(run, p, data + at + HEADER, follows - 4);
        at += follows + 4;
    }
    return at;
}

const struct bench_wire bench_wire_router = {
    .prepare = wire_prepare,
    .login = wire_login,
    .send = wire_send,
    .bytes = wire_bytes,
};
