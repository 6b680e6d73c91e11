/* test/unit/rpc_ends.c: two ends of a link for tests. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "rpc_ends.h"

static void turn(struct ends *e)
{
    net_loop_turn(e->loop, 0);
    usleep(300);
}

static void call_died(void *arg)
{
    ((struct end *)arg)->dead++;
}

static void end_request(struct rpc_link *l, struct rpc_call *call, const struct rpc_frame *frame, void *arg)
{
    struct end *end = arg;
    (void)l;
    end->requests++;
    if (end->answers == END_ECHOES) {
        rpc_reply_raw(call, RPC_STATUS_OK, 0, frame->payload, frame->len);
        return;
    }
    assert_true(end->kept_count < ENDS_CALLS_MAX);
    rpc_call_on_dead(call, call_died, end);
    end->kept[end->kept_count++] = call;
}

static void end_event(struct rpc_link *l, const struct rpc_frame *frame, void *arg)
{
    struct end *end = arg;
    (void)l;
    end->events++;
    snprintf(end->last_event, sizeof end->last_event, "%.*s", (int)(frame->len < 63 ? frame->len : 63), (const char *)frame->payload);
}

static void end_drained(struct rpc_link *l, void *arg)
{
    (void)l;
    ((struct end *)arg)->drained++;
}

static void end_lost(struct rpc_link *l, void *arg)
{
    (void)l;
    ((struct end *)arg)->lost++;
}

static void end_closed(struct rpc_link *l, enum bt_err why, void *arg)
{
    struct end *end = arg;
    assert_ptr_equal(end->link, l);
    end->link = NULL;
    end->closed++;
    end->why = why;
}

static const struct rpc_link_ops end_ops = {
    .request = end_request, .event = end_event, .drained = end_drained, .closed = end_closed, .push_lost = end_lost,
};

const struct rpc_link_ops *ends_ops(void)
{
    return &end_ops;
}

static void accepted(struct net_conn *c, void *arg)
{
    struct ends *e = arg;
    if (e->b_only_serves)
        e->b.link = rpc_link_serve(c, &end_ops, &e->limits_b, &e->b);
    else if (rpc_link_accept(c, &end_ops, &e->limits_b, &e->b, &e->b.link) != BT_OK)
        e->b.closed++;
}

void ends_init(struct ends *e)
{
    memset(e, 0, sizeof *e);
    assert_int_equal(net_loop_new(&e->loop), BT_OK);
    e->limits_a = e->limits_b = (struct rpc_link_limits){
        .max_frame_bytes = 64 * 1024,
        .max_calls = ENDS_CALLS_MAX,
        .allowed_flags = RPC_FLAGS_NODE,
        .net = { .out_high_bytes = 1024 * 1024, .out_low_bytes = 256 * 1024, .in_max_bytes = 64 * 1024 + 4 },
    };
}

void ends_join_sockets(struct ends *e)
{
    assert_int_equal(net_listen(e->loop, "127.0.0.1:0", accepted, e, &e->listener), BT_OK);
    net_listener_reserve(e->listener, e->b_only_serves ? RPC_LINK_SERVE_SIZE : 0);
    assert_int_equal(rpc_link_dial(e->loop, net_listener_address(e->listener), 2000, &end_ops, &e->limits_a, &e->a, &e->a.link), BT_OK);
    for (int i = 0; i < ENDS_TURNS_MAX && !e->b.link; i++)
        turn(e);
    assert_non_null(e->b.link);
}

void ends_join_pair(struct ends *e)
{
    assert_int_equal(rpc_link_pair(e->loop, &end_ops, &e->a, &end_ops, &e->b, &e->limits_a, &e->a.link, &e->b.link), BT_OK);
}

void ends_join_raw(struct ends *e, int *fd_out)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    assert_int_equal(net_listen(e->loop, "127.0.0.1:0", accepted, e, &e->listener), BT_OK);
    net_listener_reserve(e->listener, e->b_only_serves ? RPC_LINK_SERVE_SIZE : 0);
    to.sin_port = htons((uint16_t)atoi(strrchr(net_listener_address(e->listener), ':') + 1));
    *fd_out = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(*fd_out, (struct sockaddr *)&to, sizeof to), 0);
    for (int i = 0; i < ENDS_TURNS_MAX && !e->b.link; i++)
        turn(e);
    assert_non_null(e->b.link);
}

void ends_open(struct ends *e, ends_join_fn *join, enum end_answers answers)
{
    ends_init(e);
    e->a.answers = e->b.answers = answers;
    join(e);
}

static void end_finish(struct end *end)
{
    if (end->link)
        rpc_link_close(end->link, BT_OK);
}

static void end_check(struct end *end)
{
    for (size_t i = 0; i < end->kept_count; i++) {
        if (end->kept[i])
            rpc_reply_raw(end->kept[i], RPC_STATUS_OK, 0, NULL, 0); /* into nothing */
    }
    assert_null(end->link);
}

void ends_deinit(struct ends *e)
{
    int want_a = e->a.link || e->a.closed, want_b = e->b.link || e->b.closed;
    end_finish(&e->a);
    end_finish(&e->b);
    if (e->listener)
        net_listener_close(e->listener);
    for (int i = 0; i < ENDS_TURNS_MAX && (e->a.link || e->b.link); i++)
        turn(e);
    end_check(&e->a);
    end_check(&e->b);
    assert_int_equal(e->a.closed, want_a);
    assert_int_equal(e->b.closed, want_b);
    net_loop_free(e->loop);
}

int ends_pair_setup(void **state)
{
    struct ends *e = calloc(1, sizeof *e);

    *state = e;
    ends_open(e, ends_join_pair, END_KEEPS);
    return 0;
}

int ends_pair_teardown(void **state)
{
    ends_deinit(*state);
    free(*state);
    return 0;
}

void ends_until(struct ends *e, const size_t *counter, size_t n)
{
    for (int i = 0; i < ENDS_TURNS_MAX && *counter < n; i++)
        turn(e);
    assert_true(*counter >= n);
}

void ends_until_int(struct ends *e, const int *counter, int n)
{
    for (int i = 0; i < ENDS_TURNS_MAX && *counter < n; i++)
        turn(e);
    assert_true(*counter >= n);
}

void ends_turns(struct ends *e, int n)
{
    for (int i = 0; i < n; i++)
        turn(e);
}

static void asked_done(struct rpc_out *out, const struct rpc_reply *reply)
{
    struct asked *q = out->arg;
    q->done++;
    q->err = reply->err;
    q->status = reply->status;
    q->came = reply->came;
    q->was_sent = out->was_sent;
    q->len = reply->len;
    snprintf(q->text, sizeof q->text, "%.*s", (int)(reply->len < 63 ? reply->len : 63), reply->payload ? (const char *)reply->payload : "");
}

void asked_start(struct asked *q, struct rpc_link *l, uint32_t timeout_ms, const char *text)
{
    const struct rpc_header h = { .method = 0x0601, .timeout_ms = timeout_ms, .trace = 99 };
    memset(q, 0, sizeof *q);
    q->out = (struct rpc_out){ .done = asked_done, .arg = q };
    rpc_link_request(l, &h, (const uint8_t *)text, strlen(text), &q->out);
    assert_int_equal(q->done, 0); /* never inside the call */
}

void asked_until_kept(struct ends *e, struct asked *q, size_t i)
{
    asked_start(q, e->a.link, ENDLESS_MS, "x");
    ends_until(e, &e->b.kept_count, i + 1);
    assert_int_equal(rpc_link_open_calls(e->b.link), i + 1);
}

void kept_answer(struct end *end, size_t i, const char *text)
{
    rpc_reply_raw(end->kept[i], RPC_STATUS_OK, 0, (const uint8_t *)text, strlen(text));
    end->kept[i] = NULL;
}
