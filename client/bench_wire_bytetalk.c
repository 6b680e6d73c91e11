/* client/bench_wire_bytetalk.c: the client protocol as the load tool speaks it: frames made once, then patched in place. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/bench.h"
#include "proto/client.pb.h"
#include "proto/methods.h"
#include "rpc/bytes.h"
#include "rpc/frame.h"

enum {
    TIMEOUT_MS = 10000,
    CALL_AT = 8,             /* in a frame's header */
    TARGET_AT = 24,
    ID_AT = RPC_HEADER_SIZE + 1, /* in a SendRequest: client_msg_id is its first field, and always 9 bytes long */
    ID_BYTES = 9,
};

static void put_u32(uint8_t *at, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(at, &v, sizeof v);
}

static void put_u64(uint8_t *at, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(at, &v, sizeof v);
}

static uint32_t get_u32(const uint8_t *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof v);
    return __builtin_bswap32(v);
}

/* ---- frames ---- */

/* Milliseconds above, a counter below: rises from message to message, and stays 9 bytes long as a varint. */
static uint64_t first_id(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return ((uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000) << 22;
}

static size_t encode_body(enum bench_kind kind, const uint8_t *body, uint32_t bytes, uint64_t id, uint8_t *out, size_t size)
{
    if (kind == BENCH_MESSAGES) {
        SendRequest send = { .client_msg_id = id, .kind = MessageKind_TEXT, .body = rpc_bytes(body, bytes) };
        return rpc_encode(SendRequest_fields, &send, out, size);
    }
    SignalRequest signal = { .type = rpc_str("typing"), .body = rpc_bytes(body, bytes) };
    return rpc_encode(SignalRequest_fields, &signal, out, size);
}

static bool wire_prepare(struct bench_run *run)
{
    run->next_id = first_id();
    for (unsigned n = 0; n < run->o->size_count; n++) {
        uint32_t bytes = run->o->sizes[n].bytes;
        uint8_t *body = malloc(bytes), *frame = malloc(RPC_HEADER_SIZE + bytes + 64);
        size_t len = 0;
        if (body && frame) {
            memset(body, 'x', bytes);
            len = encode_body(run->kind, body, bytes, run->next_id, frame + RPC_HEADER_SIZE, bytes + 64);
        }
        free(body);
        run->frames[n] = frame;
        run->frame_lens[n] = (uint32_t)(RPC_HEADER_SIZE + len);
        if (len == 0) {
            bench_run_fail(run, "out of memory");
            return false;
        }
        struct rpc_header h = { .length = run->frame_lens[n] - RPC_LENGTH_SIZE, .kind = RPC_REQUEST, .timeout_ms = TIMEOUT_MS,
                                .method = run->kind == BENCH_MESSAGES ? RPC_CHAT_SEND : RPC_CHAT_SIGNAL };
        rpc_header_encode(&h, frame);
    }
    return true;
}

/* Calls rise, wrap, and skip those that are open. The caller knows that one is free. */
static uint32_t take_call(struct bench_peer *p, uint64_t due_us)
{
    do
        p->next_call++;
    while (p->due_us[p->next_call % BENCH_CALLS] != 0 || p->next_call == 0);
    p->due_us[p->next_call % BENCH_CALLS] = due_us;
    p->open++;
    return p->next_call;
}

void bench_call(struct bench_run *run, struct bench_peer *p, uint16_t method, uint64_t target, const void *fields, const void *msg)
{
    size_t len = rpc_size(fields, msg);
    struct rpc_header h = { .length = (uint32_t)(RPC_HEADER_SIZE - RPC_LENGTH_SIZE + len), .kind = RPC_REQUEST, .method = method,
                            .timeout_ms = TIMEOUT_MS, .call = take_call(p, run->net.now_us), .target = target };
    uint8_t *out = bench_net_room(&run->net, &p->conn, (uint32_t)(RPC_HEADER_SIZE + len));
    if (!out) {
        bench_run_fail(run, "out of memory");
        return;
    }
    rpc_header_encode(&h, out);
    rpc_encode(fields, msg, out + RPC_HEADER_SIZE, len);
}

static void wire_login(struct bench_run *run, struct bench_peer *p)
{
    const struct bench_user *u = &run->state->users[p->user];
    HelloRequest hello = { .version = 1, .client = rpc_str("bytetalk-bench " BT_VERSION) };
    ResumeRequest resume = { .token = rpc_bytes(u->token, u->token_len) };
    p->user_id = u->id;
    bench_call(run, p, RPC_PROXY_HELLO, 0, HelloRequest_fields, &hello);
    bench_call(run, p, RPC_USER_RESUME, 0, ResumeRequest_fields, &resume);
}

static void wire_ping(struct bench_run *run, struct bench_peer *p)
{
    PingRequest ping = { .nonce = 1 };
    if (bench_may_send(p))
        bench_call(run, p, RPC_PROXY_PING, 0, PingRequest_fields, &ping);
}

static void patch_id(uint8_t *at, uint64_t id)
{
    for (int n = 0; n < ID_BYTES - 1; n++, id >>= 7)
        at[n] = (uint8_t)(id | 0x80);
    at[ID_BYTES - 1] = (uint8_t)id;
}

static void wire_send(struct bench_run *run, struct bench_peer *from, uint32_t to, uint64_t due_us)
{
    unsigned size = run->o->size_count > 1 ? bench_size_pick(run) : 0;
    uint32_t len = run->frame_lens[size];
    uint8_t *out = bench_net_room(&run->net, &from->conn, len);
    if (!out) {
        bench_run_fail(run, "out of memory");
        return;
    }
    memcpy(out, run->frames[size], len);
    put_u32(out + CALL_AT, take_call(from, due_us));
    put_u64(out + TARGET_AT, run->is_group ? run->group_id | RPC_TARGET_GROUP : run->peers[to].user_id);
    if (run->kind == BENCH_MESSAGES)
        patch_id(out + ID_AT, ++run->next_id);
    bench_stamp_write(out + len - BENCH_STAMP, due_us, run->counts.sent++);
}

/* ---- what comes ---- */

static void login_answered(struct bench_run *run, struct bench_peer *p, uint16_t method, uint8_t status)
{
    if (status != RPC_STATUS_OK) {
        const char *hint = status == RPC_STATUS_UNAUTHENTICATED ? ". Are the accounts in the state file of another server? "
                                                                  "Then take another --state" : "";
        bench_run_fail(run, "%s is refused: %s%s", method == RPC_PROXY_HELLO ? "Hello" : "Resume", rpc_status_name(status), hint);
        return;
    }
    if (method == RPC_USER_RESUME)
        bench_told_ready(run, p);
}

static void reply(struct bench_run *run, struct bench_peer *p, uint16_t method, const uint8_t *frame, size_t len)
{
    uint32_t number = get_u32(frame + CALL_AT);
    uint64_t due_us = p->due_us[number % BENCH_CALLS];
    if (due_us == 0 || p->open == 0)
        return; /* to no open call */
    bool is_login = (method == RPC_PROXY_HELLO || method == RPC_USER_RESUME) && !run->login;
    if (!is_login && method != RPC_PROXY_PING) {
        bench_told_reply(run, p, number, frame[7], frame + RPC_HEADER_SIZE, len - RPC_HEADER_SIZE);
        return;
    }
    p->due_us[number % BENCH_CALLS] = 0;
    p->open--;
    if (is_login)
        login_answered(run, p, method, frame[7]);
}

static void event(struct bench_run *run, struct bench_peer *p, uint16_t method, const uint8_t *frame, size_t len)
{
    if (method == RPC_ON_MESSAGE || method == RPC_ON_SIGNAL)
        bench_told_delivery(run, p, frame + RPC_HEADER_SIZE, len - RPC_HEADER_SIZE);
    else if (method == RPC_ON_RESYNC)
        run->result->resyncs++;
}

static size_t wire_bytes(struct bench_run *run, struct bench_peer *p, const uint8_t *data, size_t len)
{
    size_t at = 0;
    uint32_t life = p->conn.life;
    while (len - at >= RPC_HEADER_SIZE && p->conn.is_open && p->conn.life == life) {
        const uint8_t *frame = data + at;
        size_t frame_len = RPC_LENGTH_SIZE + (size_t)get_u32(frame);
        if (frame_len < RPC_HEADER_SIZE) {
            bench_run_fail(run, "the server sent what is no frame");
            return len;
        }
        if (len - at < frame_len)
            break;
        uint16_t method = (uint16_t)(frame[4] << 8 | frame[5]);
        if ((frame[6] & 0x0f) == RPC_REPLY)
            reply(run, p, method, frame, frame_len);
        else if ((frame[6] & 0x0f) == RPC_EVENT)
            event(run, p, method, frame, frame_len);
        at += frame_len;
    }
    return at;
}

const struct bench_wire bench_wire_bytetalk = {
    .has_replies = true,
    .prepare = wire_prepare,
    .login = wire_login,
    .send = wire_send,
    .ping = wire_ping,
    .bytes = wire_bytes,
};
