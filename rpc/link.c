/* rpc/link.c: a link's life: made on a connection, frames in, frames out, its end. */
#include "rpc/link.h"

#include <assert.h>
#include <string.h>

#include "net/mem.h"
#include "rpc/link_internal.h"

/* An Error must fit, out and, over a pair, in. */
static bool are_limits_fit(const struct rpc_link_limits *limits)
{
    enum { LEAST = 1024 };

    return (limits->max_out_bytes == 0 || limits->max_out_bytes >= LEAST) && limits->max_frame_bytes >= LEAST;
}

static void link_init(struct rpc_link *l, struct net_loop *loop, const struct rpc_link_ops *ops, const struct rpc_link_limits *limits, void *arg)
{
    assert(are_limits_fit(limits));
    l->loop = loop;
    l->ops = ops;
    l->limits = limits;
    l->arg = arg;
    rpc_calls_ref();
}

struct rpc_link *rpc_link_new(struct net_loop *loop, const struct rpc_link_ops *ops, const struct rpc_link_limits *limits, void *arg)
{
    struct rpc_link_whole *whole = bt_calloc(1, sizeof *whole);

    if (!whole)
        return NULL;
    whole->link.calls_out = true;
    link_init(&whole->link, loop, ops, limits, arg);
    return &whole->link;
}

uint32_t rpc_link_age_ms(struct rpc_link *l)
{
    uint32_t age_ms = l->paused_ms == 0 ? 0 : (uint32_t)net_now_ms(l->loop) - l->paused_ms;
    l->paused_ms = 0;
    return age_ms;
}

static void take_frame(struct rpc_link *l, const struct rpc_frame *frame, uint32_t age_ms)
{
    switch ((enum rpc_kind)frame->h.kind) {
    case RPC_REQUEST:
        rpc_link_take_request(l, frame, age_ms);
        break;
    case RPC_REPLY:
        rpc_link_take_reply(l, frame);
        break;
    case RPC_EVENT:
        if (l->ops->event)
            l->ops->event(l, frame, l->arg);
        break;
    case RPC_CANCEL:
        rpc_link_take_cancel(l, frame);
        break;
    }
}

/* ---- over a connection ---- */

/* Take frames apart; returns how many bytes were used. */
static size_t conn_bytes(struct net_conn *c, const uint8_t *data, size_t len, void *arg)
{
    struct rpc_link *l = arg;
    size_t at = 0;

    (void)c;
    if (!rpc_link_reads(l))
        return 0;
    uint32_t age_ms = rpc_link_age_ms(l);
    while (at < len && rpc_link_reads(l)) {
        struct rpc_frame frame;
        size_t used, need;
        enum bt_err err = rpc_frame_take(data + at, len - at, l->limits->max_frame_bytes, l->limits->allowed_flags, &frame, &used, &need);
        if (err != BT_OK) {
            rpc_link_fail(l, err);
            break;
        }
        if (used == 0)
            break;
        at += used;
        take_frame(l, &frame, age_ms);
    }
    return at;
}

static void conn_opened(struct net_conn *c, void *arg)
{
    (void)c;
    ((struct rpc_link *)arg)->was_opened = true;
}

void rpc_link_drained(struct rpc_link *l)
{
    rpc_link_set_paused(l, RPC_PAUSED_OUTPUT, false);
    if (!l->was_refused || l->is_closing)
        return;
    l->was_refused = false;
    if (l->ops->drained)
        l->ops->drained(l, l->arg);
}

uint64_t rpc_link_sent(struct rpc_link *l)
{
    const struct rpc_link_out *out = rpc_link_out_of(l);

    return l->is_closing ? out->sent : out->written - rpc_link_queued(l);
}

/*
 * Calls first, so that whoever hears of them may still see the link; they may fail further ones on it meanwhile.
 * After a break that the connection found, all of its output may have arrived, unless it never stood.
 */
void rpc_link_gone(struct rpc_link *l, enum bt_err why)
{
    struct rpc_link_out *out = l->calls_out ? rpc_link_out_of(l) : NULL;

    if (!l->is_closing) {
        if (out)
            out->sent = l->was_opened ? out->written : 0;
        l->is_closing = true;
    }
    rpc_link_drop_calls(l);
    if (out)
        rpc_link_fail_outs(l);
    l->ops->closed(l, why, l->arg);
    rpc_table_deinit(&l->calls);
    if (out) {
        rpc_link_fail_outs(l);
        net_defer_cancel(l->loop, &out->task);
        rpc_table_deinit(&out->outs);
        if (l->pair)
            rpc_pair_free(l);
        bt_free(l);
    }
    rpc_calls_unref();
}

static void conn_drained(struct net_conn *c, void *arg)
{
    (void)c;
    rpc_link_drained(arg);
}

static void conn_closed(struct net_conn *c, enum bt_err why, void *arg)
{
    (void)c;
    rpc_link_gone(arg, why);
}

static const struct net_conn_ops link_conn_ops = { conn_bytes, conn_opened, conn_drained, conn_closed };

static void link_start(struct rpc_link *l, struct net_conn *c)
{
    l->conn = c;
    l->is_server = true;
    l->was_opened = true;
    net_conn_start(c, &link_conn_ops, &l->limits->net, l);
}

enum bt_err rpc_link_accept(struct net_conn *c, const struct rpc_link_ops *ops, const struct rpc_link_limits *limits, void *arg, struct rpc_link **out)
{
    struct rpc_link *l = rpc_link_new(net_conn_loop(c), ops, limits, arg);
    if (!l) {
        net_conn_close(c);
        return BT_ENOMEM;
    }
    *out = l;
    link_start(l, c);
    return BT_OK;
}

struct rpc_link *rpc_link_serve(struct net_conn *c, const struct rpc_link_ops *ops, const struct rpc_link_limits *limits, void *arg)
{
    struct rpc_link *l = net_conn_room(c);

    link_init(l, net_conn_loop(c), ops, limits, arg);
    link_start(l, c);
    return l;
}

enum bt_err rpc_link_dial(struct net_loop *loop, const char *address, uint32_t timeout_ms, const struct rpc_link_ops *ops,
                          const struct rpc_link_limits *limits, void *arg, struct rpc_link **out)
{
    struct rpc_link *l = rpc_link_new(loop, ops, limits, arg);
    if (!l)
        return BT_ENOMEM;
    enum bt_err err = net_dial(loop, address, timeout_ms, &link_conn_ops, &limits->net, l, &l->conn);
    if (err != BT_OK) {
        bt_free(l);
        rpc_calls_unref();
        return err;
    }
    *out = l;
    return BT_OK;
}

/* ---- out ---- */

static void put_frame(uint8_t *at, const struct rpc_header *h, const struct rpc_bytes *parts, size_t n)
{
    rpc_header_encode(h, at);
    at += RPC_HEADER_SIZE;
    for (size_t i = 0; i < n; i++) {
        if (parts[i].len > 0)
            memcpy(at, parts[i].data, parts[i].len);
        at += parts[i].len;
    }
}

/* Where the last chunk has no room for all of it. Not inlined: what it needs kept would be saved for every write. */
__attribute__((noinline)) static enum bt_err write_pieces(struct rpc_link *l, const struct rpc_header *h, const struct rpc_bytes *parts, size_t n)
{
    uint8_t head[RPC_HEADER_SIZE];
    size_t written = RPC_HEADER_SIZE + parts[0].len;

    rpc_header_encode(h, head);
    enum bt_err err = net_conn_write2(l->conn, head, sizeof head, parts[0].data, parts[0].len);
    if (err != BT_OK)
        return err;
    for (size_t i = 1; i < n; i++) {
        if (parts[i].len > 0 && (err = net_conn_write_last(l->conn, parts[i].data, parts[i].len)) != BT_OK) {
            if (l->calls_out)
                rpc_link_out_of(l)->written += written; /* a part of a frame stands in the queue, and is counted there */
            rpc_link_fail(l, err);
            return BT_ECLOSING;
        }
        written += parts[i].len;
    }
    return BT_OK;
}

/* What the upper side must know of a write, or of its refusal. */
static enum bt_err wrote(struct rpc_link *l, enum bt_err err, size_t len)
{
    if (err == BT_OK && l->calls_out)
        rpc_link_out_of(l)->written += len;
    else if (err == BT_EBUSY)
        l->was_refused = true;
    return err;
}

enum bt_err rpc_link_measure(const struct rpc_link *l, const struct rpc_bytes *parts, size_t n, size_t *len_out)
{
    size_t len = parts[0].len; /* all of them stand in memory, so that no sum of them overflows */

    for (size_t i = 1; i < n; i++)
        len += parts[i].len;
    *len_out = len;
    return len <= rpc_link_payload_max(l) ? BT_OK : BT_EINVAL;
}

enum bt_err rpc_link_write(struct rpc_link *l, struct rpc_header *h, enum rpc_kind kind, const struct rpc_bytes *parts,
                           size_t n)
{
    size_t len;

    if (l->is_closing)
        return BT_ECLOSING;
    if (rpc_link_measure(l, parts, n, &len) != BT_OK)
        return BT_EINVAL;
    h->length = (uint32_t)(RPC_HEADER_SIZE - RPC_LENGTH_SIZE + len);
    h->kind = (uint8_t)kind;
    uint8_t *room = net_conn_reserve(l->conn, RPC_HEADER_SIZE + len);
    if (!room) /* seldom */
        return wrote(l, write_pieces(l, h, parts, n), RPC_HEADER_SIZE + len);
    put_frame(room, h, parts, n);
    return wrote(l, BT_OK, RPC_HEADER_SIZE + len);
}

enum bt_err rpc_link_event(struct rpc_link *l, const struct rpc_header *h, const uint8_t *payload, size_t len)
{
    struct rpc_header copy = *h;
    copy.call = 0;
    copy.timeout_ms = 0;
    copy.flags = 0;
    copy.status = 0;
    const struct rpc_bytes part = rpc_bytes(payload, len);
    return l->pair ? rpc_pair_event(l, &copy, part) : rpc_link_write(l, &copy, RPC_EVENT, &part, 1);
}

void rpc_cast_begin(struct rpc_cast *cast, struct net_loop *loop, const struct rpc_header *h, const uint8_t *payload, uint32_t len)
{
    cast->h = (struct rpc_header){
        .length = RPC_HEADER_SIZE - RPC_LENGTH_SIZE + len,
        .method = h->method,
        .kind = RPC_EVENT,
        .caller = h->caller,
        .target = h->target,
        .session = h->session,
        .trace = h->trace,
    };

    assert(len <= UINT32_MAX - RPC_HEADER_SIZE); /* it came in a frame */
    rpc_header_encode(&cast->h, cast->head);
    net_cast_begin(&cast->bytes, loop, cast->head, RPC_HEADER_SIZE, payload, len);
}

enum bt_err rpc_link_cast(struct rpc_link *l, struct rpc_cast *cast)
{
    struct net_cast *bytes = &cast->bytes;
    size_t size = RPC_HEADER_SIZE + (size_t)bytes->body_len;

    if (l->pair)
        return rpc_pair_event(l, &cast->h, rpc_bytes(bytes->body, bytes->body_len));
    if (l->is_closing)
        return BT_ECLOSING;
    if (bytes->body_len > rpc_link_payload_max(l))
        return BT_EINVAL;
    return wrote(l, net_conn_cast(l->conn, bytes), size);
}

/* ---- ending ---- */

/*
 * What was asked here and not answered may be done elsewhere now. It must not leave later, when a peer that did not read or was not
 * reached does and is again.
 */
static bool must_not_linger(struct rpc_link *l, enum bt_err why)
{
    return l->calls_out && (rpc_link_out_of(l)->outs.count > 0 || why == BT_ETIMEOUT || why == BT_EDOWN);
}

static void begin_close(struct rpc_link *l, enum bt_err why)
{
    if (l->calls_out && l->conn)
        rpc_link_out_of(l)->sent = rpc_link_out_of(l)->written - rpc_link_queued(l);
    l->is_closing = true;
    if (l->conn && must_not_linger(l, why))
        net_conn_abort(l->conn, why);
    else if (l->conn)
        net_conn_fail(l->conn, why);
    else
        rpc_pair_close(l, why);
}

void rpc_link_fail(struct rpc_link *l, enum bt_err why)
{
    if (!l->is_closing)
        begin_close(l, why);
}

void rpc_link_close(struct rpc_link *l, enum bt_err why)
{
    l->is_closed_here = true;
    rpc_link_fail(l, why);
}

void rpc_link_finish(struct rpc_link *l, uint32_t linger_ms)
{
    if (l->is_closing)
        return;
    l->is_closed_here = true;
    if (l->conn)
        net_conn_finish(l->conn, linger_ms);
    else
        rpc_pair_finish(l);
}

/* ---- reading ---- */

void rpc_link_set_paused(struct rpc_link *l, uint8_t bit, bool on)
{
    uint8_t before = l->paused;
    l->paused = (uint8_t)(on ? before | bit : before & ~bit);
    if (l->is_closing || (before == 0) == (l->paused == 0))
        return;
    if (l->paused) {
        l->paused_ms = (uint32_t)net_now_ms(l->loop);
        if (l->conn)
            net_conn_pause(l->conn);
    } else if (l->conn) {
        if (!net_conn_has_input(l->conn))
            l->paused_ms = 0; /* what comes from now on has not waited */
        net_conn_resume(l->conn);
    } else {
        rpc_pair_resumed(l);
    }
}

void rpc_link_pause(struct rpc_link *l)
{
    rpc_link_set_paused(l, RPC_PAUSED_ABOVE, true);
}

void rpc_link_resume(struct rpc_link *l)
{
    rpc_link_set_paused(l, RPC_PAUSED_ABOVE, false);
}

/* ---- asking ---- */

void rpc_link_set_limits(struct rpc_link *l, const struct rpc_link_limits *limits)
{
    assert(are_limits_fit(limits));
    l->limits = limits;
    if (l->conn)
        net_conn_set_limits(l->conn, &limits->net);
}

void *rpc_link_arg(const struct rpc_link *l)
{
    return l->arg;
}

void rpc_link_set_arg(struct rpc_link *l, const struct rpc_link_ops *ops, void *arg)
{
    l->ops = ops;
    l->arg = arg;
}

struct net_conn *rpc_link_conn(const struct rpc_link *l)
{
    return l->conn;
}

struct net_loop *rpc_link_loop(const struct rpc_link *l)
{
    return l->loop;
}

uint32_t rpc_link_open_calls(const struct rpc_link *l)
{
    return l->pair ? rpc_pair_open_calls(l) : l->calls.count;
}

size_t rpc_link_queued(const struct rpc_link *l)
{
    return l->conn ? net_conn_queued(l->conn) : rpc_pair_queued(l);
}

bool rpc_link_is_closing(const struct rpc_link *l)
{
    return l->is_closing || l->is_closed_here || (l->conn && net_conn_is_closing(l->conn));
}
