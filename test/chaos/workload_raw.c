/*
 * test/chaos/workload_raw.c: senders that speak the protocol by themselves, to repeat what the library would not: the same
 * message to two servers at once, or again over another connection after the first was broken without waiting for its answer.
 *
 * A sender has two connections, each with a session of its own. A message goes out as one of three kinds (see raw_kind),
 * and again and again, flagged, until a server answers it or its time is up.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "net/mem.h"
#include "proto/client.pb.h"
#include "proto/methods.h"
#include "rpc/bytes.h"
#include "rpc/call.h"
#include "rpc/link.h"
#include "test/chaos/workload.h"
#include "test/chaos/workload_body.h"

enum { ENDS = 2, MESSAGES = 8, TRY_MS = 4000, AGAIN_MS = 150, GIVE_UP_US = 25000000, DIAL_MS = 3000, RECONNECT_MS = 300, SKEW_MS = 20 };

enum raw_kind {
    AT_ONCE,    /* over both connections, the second flagged as a repeat */
    SHIFTED,    /* the second some milliseconds later, when the first may be half way */
    BROKEN,     /* over one, which is broken at once; then over the other */
};
enum end_state { DOWN, DIALLING, UP };

struct end {                     /* one connection */
    struct wl_raw *raw;
    uint64_t device_id;
    struct rpc_link *link;       /* NULL: none */
    enum end_state state;
    uint32_t turn;               /* which server */
    uint8_t token[256];
    size_t token_len;
    struct rpc_out hello, login;
    struct net_timer timer;
};

struct message {
    struct wl_raw *raw;
    struct wl_op *op;            /* NULL: its DONE was written */
    bool is_used;
    uint64_t id, target;
    uint8_t *payload;
    size_t len;
    bool was_sent;               /* what goes out from now on is a repeat */
    bool maybe_done;
    uint64_t seqs[ENDS];         /* that answers named, each once */
    size_t seq_count;
    uint32_t number;             /* the device's */
    uint64_t op_number;
    struct rpc_out out[ENDS];
    uint8_t last_status;
    bool is_refused;             /* for good, by every server that answered */
    bool was_put_off;            /* told that nothing was done, and not sent since */
    uint64_t until_us;
    enum raw_kind kind;
    size_t first;                /* the connection that begins */
    struct net_timer timer;
};

struct wl_raw {
    struct workload *w;
    struct wl_user *user;
    uint32_t number;
    uint64_t last_id;
    struct end ends[ENDS];
    struct message messages[MESSAGES];
    struct rpc_link_limits limits;
};

struct wl_raw *wl_raw_new(struct workload *w, struct wl_user *user, uint32_t number)
{
    struct wl_raw *r = wl_alloc(1, sizeof *r);
    r->w = w;
    r->user = user;
    r->number = number;
    r->limits = (struct rpc_link_limits){
        .max_frame_bytes = 16 * 1024 * 1024, .max_calls = 1, .allowed_flags = RPC_FLAGS_CLIENT,
        .net = { .out_high_bytes = 1 << 20, .out_low_bytes = 1 << 18, .in_max_bytes = 17 << 20 },
    };
    for (size_t n = 0; n < ENDS; n++)
        r->ends[n] = (struct end){
            .raw = r, .turn = number + (uint32_t)n, .device_id = wl_random_mix(w->o.seed ^ (uint64_t)number << 8 ^ n) >> 1 };
    for (size_t n = 0; n < MESSAGES; n++)
        r->messages[n].raw = r;
    return r;
}

uint32_t wl_raw_number(const struct wl_raw *r)
{
    return r->number;
}

/* ---- a connection ---- */

static void end_dial(void *arg);

static void end_request(struct rpc_link *link, struct rpc_call *call, const struct rpc_frame *frame, void *arg)
{
    (void)link, (void)frame, (void)arg;
    rpc_fail(call, BT_ENOMETHOD, "clients serve no methods");
}

static void end_closed(struct rpc_link *link, enum bt_err why, void *arg)
{
    struct end *e = arg;
    (void)link, (void)why;
    e->link = NULL;
    e->state = DOWN;
    e->turn++;
    net_timer_start(e->raw->w->loop, &e->timer, RECONNECT_MS, end_dial, e);
}

static void link_drop(struct end *e)
{
    if (e->link && !rpc_link_is_closing(e->link))
        rpc_link_close(e->link, BT_EDOWN);
}

static const struct rpc_link_ops end_ops = { .request = end_request, .closed = end_closed };

static void ask(struct end *e, uint16_t method, const void *msg, struct rpc_out *out, rpc_out_done_cb *done)
{
    uint8_t payload[1024];
    size_t len = rpc_encode(rpc_method_info(method)->req, msg, payload, sizeof payload);
    out->done = done;
    out->arg = e;
    rpc_link_request(e->link, &(struct rpc_header){ .method = method, .timeout_ms = TRY_MS }, payload, len, out);
}

static void end_up(struct rpc_out *out, const struct rpc_reply *reply)
{
    struct end *e = out->arg;
    LoginReply login = { 0 };
    if (reply->err == BT_OK && rpc_decode(LoginReply_fields, reply->payload, reply->len, &login) == BT_OK) {
        if (login.token.len > 0 && login.token.len <= sizeof e->token) {
            memcpy(e->token, login.token.data, login.token.len);
            e->token_len = login.token.len;
        }
        e->state = UP;
    } else {
        if (reply->came && reply->err == BT_ENOAUTH)
            e->token_len = 0;
        link_drop(e);
    }
}

static void greeted(struct rpc_out *out, const struct rpc_reply *reply)
{
    struct end *e = out->arg;
    if (reply->err != BT_OK)
        link_drop(e);
}

static void end_dial(void *arg)
{
    struct end *e = arg;
    struct workload *w = e->raw->w;
    if (w->phase >= HISTORY_FINAL)
        return;
    const char *server = w->o.servers[e->turn % w->o.server_count];
    if (rpc_link_dial(w->loop, server, DIAL_MS, &end_ops, &e->raw->limits, e, &e->link) != BT_OK) {
        e->link = NULL;
        net_timer_start(w->loop, &e->timer, RECONNECT_MS, end_dial, e);
        return;
    }
    e->state = DIALLING;
    ask(e, RPC_PROXY_HELLO, &(HelloRequest){ .version = 1, .client = rpc_str("chaos-workload raw") }, &e->hello, greeted);
    if (e->token_len > 0)
        ask(e, RPC_USER_RESUME, &(ResumeRequest){ .token = rpc_bytes(e->token, e->token_len) }, &e->login, end_up);
    else
        ask(e, RPC_USER_LOGIN, &(LoginRequest){ .name = rpc_str(e->raw->user->name), .password = rpc_str(e->raw->user->password),
                                                .device_id = e->device_id, .device = rpc_str("raw") }, &e->login, end_up);
}

void wl_raw_start(struct wl_raw *r)
{
    for (size_t n = 0; n < ENDS; n++)
        end_dial(&r->ends[n]);
}

/* ---- a message ---- */

static void message_try(void *arg);

static bool is_under_way(const struct message *m)
{
    return rpc_out_is_open(&m->out[0]) || rpc_out_is_open(&m->out[1]);
}

static void done_write(struct message *m, enum bt_outcome outcome, uint8_t status, uint64_t seq)
{
    struct bt_result r = { .outcome = outcome, .status = (enum bt_status)status, .detail = "" };
    if (m->op) {
        wl_op_end(m->op, &r, &(struct wl_made){ .seq = seq });
        m->op = NULL;
        return;
    }
    fprintf(stderr, "chaos-workload: operation %llu stands at two places\n", (unsigned long long)m->op_number);
    wl_history_add(&m->raw->w->history, &(struct history_record){
        .type = HISTORY_DONE, .what = HISTORY_SEND, .device = m->number, .op = m->op_number, .outcome = (uint8_t)outcome,
        .status = status, .seq = seq,
    });
}

static void message_over(struct message *m)
{
    net_timer_stop(m->raw->w->loop, &m->timer);
    bt_free(m->payload);
    *m = (struct message){ .raw = m->raw };
}

static void seq_note(struct message *m, const struct rpc_reply *reply)
{
    SendReply sent = { 0 };
    if (rpc_decode(SendReply_fields, reply->payload, reply->len, &sent) != BT_OK)
        return;
    for (size_t n = 0; n < m->seq_count; n++)
        if (m->seqs[n] == sent.seq)
            return;
    m->seqs[m->seq_count++ % ENDS] = sent.seq;
    done_write(m, BT_DONE, RPC_STATUS_OK, sent.seq);
}

/* Is it settled? Not while an answer is waited for, or something is still to be tried. */
static void settle(struct message *m)
{
    if (is_under_way(m) || net_timer_is_running(&m->timer))
        return;
    if (m->seq_count > 0) {
        message_over(m);
    } else if (m->is_refused || net_clock_us() > m->until_us) {
        /* Refused now, it may all the same be on its way by the other road, or stand already unseen. */
        done_write(m, m->maybe_done ? BT_UNSURE : BT_NOT_DONE, m->last_status ? m->last_status : RPC_STATUS_UNAVAILABLE, 0);
        message_over(m);
    } else {
        net_timer_start(m->raw->w->loop, &m->timer, AGAIN_MS, message_try, m);
    }
}

static void answered(struct rpc_out *out, const struct rpc_reply *reply)
{
    struct message *m = out->arg;
    uint8_t status = reply->status;
    bool is_perhaps = status == RPC_STATUS_UNKNOWN || status == RPC_STATUS_DEADLINE_EXCEEDED || status == RPC_STATUS_CANCELLED ||
                      status == RPC_STATUS_INTERNAL;
    if (reply->err == BT_OK) {
        seq_note(m, reply);
    } else {
        m->last_status = status;
        m->maybe_done |= reply->came ? is_perhaps : out->was_sent;
        m->is_refused |= reply->came && !is_perhaps && !rpc_status_is_not_done(status) && status != RPC_STATUS_UNAUTHENTICATED;
        m->was_put_off |= reply->came && rpc_status_is_not_done(status);
    }
    if (!reply->came && reply->err == BT_ETIMEOUT)
        link_drop(&m->raw->ends[out - m->out]); /* it may be dead */
    settle(m);
}

static void send_over(struct message *m, size_t n)
{
    struct end *e = &m->raw->ends[n];
    struct rpc_header h = {
        .method = RPC_CHAT_SEND, .flags = m->was_sent ? RPC_FLAG_RESEND : 0, .timeout_ms = TRY_MS, .target = m->target,
    };
    if (e->state != UP || rpc_out_is_open(&m->out[n]))
        return;
    m->out[n] = (struct rpc_out){ .done = answered, .arg = m };
    rpc_link_request(e->link, &h, m->payload, m->len, &m->out[n]);
    m->was_sent = true;
    m->raw->w->counts.retried += m->was_put_off;
    m->was_put_off = false;
}

/* Again: over whatever is there. */
static void message_try(void *arg)
{
    struct message *m = arg;
    send_over(m, m->first);
    send_over(m, (m->first + 1) % ENDS);
    settle(m);
}

static void message_second(void *arg)
{
    struct message *m = arg;
    send_over(m, (m->first + 1) % ENDS);
    settle(m);
}

static void message_break(void *arg)
{
    struct message *m = arg;
    if (rpc_out_is_open(&m->out[m->first]))
        link_drop(&m->raw->ends[m->first]); /* answered() is told, and it goes on over the other */
    else
        settle(m);
}

static void message_first(struct message *m, uint64_t random)
{
    struct net_loop *loop = m->raw->w->loop;
    send_over(m, m->first);
    if (m->kind == AT_ONCE)
        send_over(m, (m->first + 1) % ENDS);
    else if (m->kind == SHIFTED)
        net_timer_start(loop, &m->timer, random % SKEW_MS, message_second, m);
    else
        net_timer_start(loop, &m->timer, 0, message_break, m); /* when its bytes have left */
}

static uint64_t next_id(struct wl_raw *r, uint64_t random)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t id = ((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000) << 22 | (random & 0x3fffff);
    r->last_id = id > r->last_id ? id : r->last_id + 1;
    return r->last_id;
}

static bool payload_make(struct message *m, uint64_t op)
{
    char body[WL_BODY_MAX];
    SendRequest req = { .client_msg_id = m->id, .kind = MessageKind_TEXT };
    req.body = rpc_bytes(body, wl_body_make(op, body));
    m->len = rpc_size(SendRequest_fields, &req);
    m->payload = wl_alloc(m->len, 1);
    return rpc_encode(SendRequest_fields, &req, m->payload, m->len) == m->len;
}

bool wl_raw_send(struct wl_raw *r, struct wl_chat *chat, uint64_t random)
{
    struct message *m = NULL;
    for (size_t n = 0; n < MESSAGES && !m; n++)
        m = r->messages[n].is_used ? NULL : &r->messages[n];
    if (!m || r->ends[0].state != UP || r->ends[1].state != UP)
        return false;
    m->is_used = true;
    m->target = wl_chat_target(chat, r->user);
    m->id = next_id(r, random);
    m->number = r->number;
    m->kind = (enum raw_kind)(random >> 32 & 3 ? (random >> 34) % BROKEN : BROKEN);
    m->first = random >> 40 & 1;
    m->until_us = net_clock_us() + GIVE_UP_US;
    m->op = wl_op_begin_raw(r->w, r->number, &(struct wl_call){ .what = HISTORY_SEND, .target = m->target });
    m->op_number = m->op->number;
    if (!payload_make(m, m->op_number)) {
        done_write(m, BT_NOT_DONE, RPC_STATUS_INTERNAL, 0);
        message_over(m);
        return true;
    }
    message_first(m, random >> 48);
    return true;
}
