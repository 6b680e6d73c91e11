/* test/unit/test_link.c: links over sockets and as pairs: calls, events, cancels, limits, ends. */
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

#include "net/mem.h"
#include "proto/client.pb.h"
#include "rpc/bytes.h"
#include "rpc/link_internal.h"
#include "rpc_ends.h"

typedef void join_fn(struct ends *e);

/* ---- the same over both roads ---- */

static void check_call_and_event(join_fn *join)
{
    struct ends e;
    struct asked q, back;
    const struct rpc_header h = { .method = 0x0701 };
    ends_init(&e);
    join(&e);
    asked_start(&q, e.a.link, 1000, "ping");
    asked_start(&back, e.b.link, 1000, "pong");
    assert_int_equal(rpc_link_event(e.a.link, &h, (const uint8_t *)"news", 4), BT_OK);
    ends_until_int(&e, &q.done, 1);
    ends_until_int(&e, &back.done, 1);
    ends_until(&e, &e.b.events, 1);
    assert_int_equal(q.err, BT_OK);
    assert_true(q.came);
    assert_string_equal(q.text, "ping");
    assert_string_equal(back.text, "pong");
    assert_string_equal(e.b.last_event, "news");
    ends_deinit(&e);
}

static void either_end_calls_and_sends_events(void **state)
{
    (void)state;
    check_call_and_event(ends_join_sockets);
    check_call_and_event(ends_join_pair);
}

static void check_many(join_fn *join)
{
    enum { N = 1000 };
    struct ends e;
    struct asked *q = calloc(2 * N, sizeof *q);
    ends_init(&e);
    e.a.answers = e.b.answers = END_KEEPS;
    join(&e);
    for (int i = 0; i < N; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        asked_start(&q[i], e.a.link, 20000, text);
        asked_start(&q[N + i], e.b.link, 0, text);
    }
    ends_until(&e, &e.b.kept_count, N);
    ends_until(&e, &e.a.kept_count, N);
    for (size_t i = 0; i < N; i++) { /* in another order than they came */
        size_t k = (i * 7919) % N;
        char text[16];
        snprintf(text, sizeof text, "%zu", k);
        kept_answer(&e.b, k, text);
        kept_answer(&e.a, k, text);
    }
    for (int i = 0; i < 2 * N; i++) {
        char text[16];
        ends_until_int(&e, &q[i].done, 1);
        snprintf(text, sizeof text, "%d", i % N);
        assert_string_equal(q[i].text, text);
    }
    ends_turns(&e, 3);
    for (int i = 0; i < 2 * N; i++)
        assert_int_equal(q[i].done, 1);
    assert_int_equal(rpc_link_open_calls(e.a.link), 0);
    assert_int_equal(rpc_link_open_calls(e.b.link), 0);
    ends_deinit(&e);
    free(q);
}

static void a_thousand_calls_each_way_find_their_answers(void **state)
{
    (void)state;
    check_many(ends_join_sockets);
    check_many(ends_join_pair);
}

static void check_deadline(join_fn *join)
{
    struct ends e;
    struct asked q;
    ends_init(&e);
    e.b.answers = END_KEEPS;
    join(&e);
    asked_start(&q, e.a.link, 60, "slow");
    ends_until(&e, &e.b.kept_count, 1);
    uint32_t left = rpc_call_left_ms(e.b.kept[0]);
    assert_in_range(left, 1, 60);
    ends_until_int(&e, &q.done, 1);
    assert_int_equal(q.err, BT_ETIMEOUT);
    assert_false(q.came);
    assert_true(q.was_sent);
    ends_until(&e, &e.b.dead, 1); /* the other end is told */
    assert_true(rpc_call_is_dead(e.b.kept[0]));
    assert_null(rpc_call_link(e.b.kept[0]));
    assert_int_equal(rpc_link_open_calls(e.b.link), 0);
    kept_answer(&e.b, 0, "late");
    ends_turns(&e, 5);
    assert_int_equal(q.done, 1);
    asked_start(&q, e.a.link, 1000, "again");
    ends_until(&e, &e.b.kept_count, 2);
    kept_answer(&e.b, 1, "fine");
    ends_until_int(&e, &q.done, 1);
    assert_string_equal(q.text, "fine");
    ends_deinit(&e);
}

static void a_call_past_its_deadline_ends_here_and_is_cancelled_there(void **state)
{
    (void)state;
    check_deadline(ends_join_sockets);
    check_deadline(ends_join_pair);
}

static void check_cancel(join_fn *join)
{
    struct ends e;
    struct asked q, other;
    ends_init(&e);
    e.b.answers = END_KEEPS;
    join(&e);
    asked_start(&q, e.a.link, 1000, "never mind");
    asked_start(&other, e.a.link, 1000, "this one stays");
    ends_until(&e, &e.b.kept_count, 2);
    rpc_link_cancel(&q.out);
    ends_until(&e, &e.b.dead, 1);
    kept_answer(&e.b, 0, "too late");
    kept_answer(&e.b, 1, "ok");
    ends_until_int(&e, &other.done, 1);
    assert_int_equal(q.done, 0);
    assert_string_equal(other.text, "ok");
    ends_deinit(&e);
}

static void a_cancelled_call_is_dead_there_and_silent_here(void **state)
{
    (void)state;
    check_cancel(ends_join_sockets);
    check_cancel(ends_join_pair);
}

static void check_close(join_fn *join, bool here)
{
    struct ends e;
    struct asked q, incoming;
    ends_init(&e);
    e.a.answers = e.b.answers = END_KEEPS;
    join(&e);
    asked_start(&q, e.a.link, 1000, "x");
    asked_start(&incoming, e.b.link, 1000, "y");
    ends_until(&e, &e.b.kept_count, 1);
    ends_until(&e, &e.a.kept_count, 1);
    struct rpc_link *l = here ? e.a.link : e.b.link;
    rpc_link_close(l, BT_OK);
    assert_int_equal(q.done, 0);
    assert_int_equal(e.a.closed + e.b.closed, 0);
    ends_until_int(&e, &e.a.closed, 1);
    ends_until_int(&e, &e.b.closed, 1);
    assert_int_equal(q.done, 1);
    assert_int_equal(q.err, here ? BT_ECLOSING : BT_EDOWN);
    assert_true(q.was_sent);
    assert_int_equal(incoming.done, 1);
    assert_int_equal(incoming.err, here ? BT_EDOWN : BT_ECLOSING);
    assert_int_equal(e.a.dead, 1);
    assert_int_equal(e.b.dead, 1);
    kept_answer(&e.b, 0, "nobody listens");
    ends_deinit(&e);
}

static void closing_tells_every_call_of_both_ends_once(void **state)
{
    (void)state;
    check_close(ends_join_sockets, true);
    check_close(ends_join_sockets, false);
    check_close(ends_join_pair, true);
    check_close(ends_join_pair, false);
}

static void check_finish(join_fn *join)
{
    struct ends e;
    const struct rpc_header h = { .method = 0x0709 };
    ends_init(&e);
    join(&e);
    assert_int_equal(rpc_link_event(e.a.link, &h, (const uint8_t *)"bye", 3), BT_OK);
    rpc_link_finish(e.a.link, 1000);
    assert_true(rpc_link_is_closing(e.a.link));
    assert_int_equal(rpc_link_event(e.a.link, &h, (const uint8_t *)"more", 4), BT_ECLOSING);
    ends_until_int(&e, &e.b.closed, 1);
    ends_until_int(&e, &e.a.closed, 1);
    assert_string_equal(e.b.last_event, "bye");
    assert_int_equal(e.b.why, BT_OK);
    ends_deinit(&e);
}

static void finishing_lets_out_what_was_queued(void **state)
{
    (void)state;
    check_finish(ends_join_sockets);
    check_finish(ends_join_pair);
}

static void check_max_calls(join_fn *join)
{
    struct ends e;
    struct asked q[3];
    Error error = { .detail = { NULL, 0 } };
    ends_init(&e);
    e.limits_a.max_calls = e.limits_b.max_calls = 2;
    e.b.answers = END_KEEPS;
    join(&e);
    for (int i = 0; i < 3; i++)
        asked_start(&q[i], e.a.link, 1000, "x");
    ends_until_int(&e, &q[2].done, 1);
    assert_int_equal(q[2].err, BT_EBUSY);
    assert_int_equal(q[2].status, RPC_STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(rpc_decode(Error_fields, (uint8_t *)q[2].text, strlen(q[2].text), &error), BT_OK);
    assert_int_equal(q[0].done + q[1].done, 0);
    kept_answer(&e.b, 0, "ok");
    ends_until_int(&e, &q[0].done, 1);
    asked_start(&q[2], e.a.link, 1000, "now there is room");
    ends_until(&e, &e.b.kept_count, 3);
    ends_deinit(&e);
}

static void one_call_too_many_is_refused_and_the_link_stays(void **state)
{
    (void)state;
    check_max_calls(ends_join_sockets);
    check_max_calls(ends_join_pair);
}

static void check_full(join_fn *join)
{
    struct ends e;
    static uint8_t bulk[32 * 1024];
    const struct rpc_header h = { .method = 0x0701 };
    enum bt_err err = BT_OK;
    struct asked q;
    size_t sent = 0;
    ends_init(&e);
    e.limits_a.net.out_high_bytes = 256 * 1024;
    e.limits_a.net.out_low_bytes = 64 * 1024;
    join(&e);
    rpc_link_pause(e.b.link);
    while (err == BT_OK && sent < 10000) {
        err = rpc_link_event(e.a.link, &h, bulk, sizeof bulk);
        if (err == BT_OK && ++sent % 8 == 0)
            net_loop_turn(e.loop, 0);
    }
    assert_int_equal(err, BT_EBUSY);
    asked_start(&q, e.a.link, 1000, "no room");
    ends_until_int(&e, &q.done, 1);
    assert_int_equal(q.err, BT_EBUSY);
    assert_false(q.was_sent);
    assert_int_equal(e.b.events, 0);
    rpc_link_resume(e.b.link);
    ends_until(&e, &e.b.events, sent); /* all that was taken arrives */
    assert_int_equal(e.a.drained, 1);
    asked_start(&q, e.a.link, 1000, "room");
    ends_until_int(&e, &q.done, 1);
    assert_int_equal(q.err, BT_OK);
    ends_deinit(&e);
}

static void a_full_queue_refuses_and_says_when_there_is_room(void **state)
{
    (void)state;
    check_full(ends_join_sockets);
    check_full(ends_join_pair);
}

static void check_too_long(join_fn *join)
{
    struct ends e;
    char *text = calloc(1, 3001);
    struct asked q;
    const struct rpc_header h = { .method = 0x0701 };
    ends_init(&e);
    e.limits_a.max_out_bytes = e.limits_b.max_out_bytes = 2048;
    e.b.answers = END_KEEPS;
    join(&e);
    memset(text, 'x', 3000);
    asked_start(&q, e.a.link, 1000, text);
    ends_until_int(&e, &q.done, 1);
    assert_int_equal(q.err, BT_EINVAL);
    assert_int_equal(rpc_link_event(e.a.link, &h, (uint8_t *)text, 3000), BT_EINVAL);
    asked_start(&q, e.a.link, 1000, "give me much");
    ends_until(&e, &e.b.kept_count, 1);
    kept_answer(&e.b, 0, text);
    ends_until_int(&e, &q.done, 1);
    assert_int_equal(q.err, BT_EINTERNAL);
    assert_true(q.came);
    ends_deinit(&e);
    free(text);
}

static void frames_over_the_sending_limit_do_not_leave(void **state)
{
    (void)state;
    check_too_long(ends_join_sockets);
    check_too_long(ends_join_pair);
}

static void check_late_in_the_queue(join_fn *join)
{
    struct ends e;
    static uint8_t bulk[32 * 1024];
    const struct rpc_header h = { .method = 0x0701 };
    struct asked q;
    ends_init(&e);
    e.limits_a.net.out_high_bytes = 256 * 1024;
    join(&e);
    rpc_link_pause(e.b.link);
    for (size_t i = 0; i < 10000 && rpc_link_queued(e.a.link) < 128 * 1024; i++) {
        assert_int_equal(rpc_link_event(e.a.link, &h, bulk, sizeof bulk), BT_OK);
        if (i % 4 == 3)
            ends_turns(&e, 1);
    }
    asked_start(&q, e.a.link, 30, "late");
    ends_until_int(&e, &q.done, 1);
    assert_int_equal(q.err, BT_ETIMEOUT);
    assert_int_equal(e.b.requests, 0);
    rpc_link_resume(e.b.link);
    ends_until(&e, &e.b.requests, 1); /* it has come after all */
    assert_true(q.was_sent);
    ends_deinit(&e);
}

static void what_waits_to_be_written_past_its_deadline_may_still_arrive(void **state)
{
    (void)state;
    check_late_in_the_queue(ends_join_sockets);
    check_late_in_the_queue(ends_join_pair);
}

static void call_ids_wrap_and_skip_open_ones(void **state)
{
    struct ends e;
    struct asked old[2], q;
    (void)state;
    ends_init(&e);
    e.b.answers = END_KEEPS;
    ends_join_pair(&e);
    asked_start(&old[0], e.a.link, 0, "1");
    asked_start(&old[1], e.a.link, 0, "2");
    assert_int_equal(old[0].out.entry.id, 1);
    assert_int_equal(old[1].out.entry.id, 2);
    e.a.link->out->next_call = UINT32_MAX - 1;
    asked_start(&q, e.a.link, 0, "last before the wrap");
    assert_int_equal(q.out.entry.id, UINT32_MAX);
    struct asked next;
    asked_start(&next, e.a.link, 0, "after it");
    assert_int_equal(next.out.entry.id, 3); /* 0 is none, 1 and 2 are open */
    ends_until(&e, &e.b.kept_count, 4);
    assert_int_equal(e.b.closed, 0);
    ends_deinit(&e);
}

static void a_deadline_runs_on_while_reading_is_paused(void **state)
{
    struct ends e;
    struct asked q;
    (void)state;
    ends_init(&e);
    e.b.answers = END_KEEPS;
    ends_join_pair(&e);
    rpc_link_pause(e.b.link);
    asked_start(&q, e.a.link, 5000, "x");
    uint64_t start_ms = net_now_ms(e.loop);
    while (net_now_ms(e.loop) < start_ms + 60)
        ends_turns(&e, 1);
    assert_int_equal(e.b.requests, 0);
    rpc_link_resume(e.b.link);
    ends_until(&e, &e.b.kept_count, 1);
    assert_in_range(rpc_call_left_ms(e.b.kept[0]), 4000, 4945);
    ends_deinit(&e);
}

/* ---- what a peer may do ---- */

static size_t request_bytes(uint8_t *out, uint32_t call, const char *text)
{
    size_t len = strlen(text);
    const struct rpc_header h = { .length = (uint32_t)(44 + len), .method = 0x0601, .kind = RPC_REQUEST, .call = call };
    rpc_header_encode(&h, out);
    memcpy(out + RPC_HEADER_SIZE, text, len);
    return RPC_HEADER_SIZE + len;
}

static void put(int fd, const void *data, size_t len)
{
    assert_int_equal(write(fd, data, len), len);
}

static void frames_survive_any_split(void **state)
{
    uint8_t wire[256];
    struct ends e;
    int fd;
    (void)state;
    size_t len = request_bytes(wire, 1, "abc");
    len += request_bytes(wire + len, 2, "");
    for (size_t cut = 1; cut < len; cut++) {
        ends_init(&e);
        e.b.answers = END_KEEPS;
        ends_join_raw(&e, &fd);
        put(fd, wire, cut);
        ends_turns(&e, 2);
        put(fd, wire + cut, len - cut);
        ends_until(&e, &e.b.kept_count, 2);
        assert_int_equal(rpc_call_header(e.b.kept[0])->call, 1);
        assert_int_equal(rpc_call_header(e.b.kept[1])->call, 2);
        close(fd);
        ends_deinit(&e);
    }
}

static void check_closes(const uint8_t *wire, size_t len)
{
    struct ends e;
    int fd;
    ends_init(&e);
    e.b.answers = END_KEEPS;
    ends_join_raw(&e, &fd);
    put(fd, wire, len);
    ends_until_int(&e, &e.b.closed, 1);
    assert_int_equal(e.b.why, BT_EPROTO);
    close(fd);
    ends_deinit(&e);
}

static void what_is_no_frame_closes_the_link(void **state)
{
    uint8_t wire[256] = { 0 };
    (void)state;
    check_closes(wire, 4);
    check_closes((const uint8_t *)"GET / HTTP/1.1\r\n\r\n", 18);
    size_t len = request_bytes(wire, 1, "x");
    wire[6] |= 0x80;
    check_closes(wire, len);
}

static void a_second_request_with_an_open_id_closes_the_link(void **state)
{
    uint8_t wire[256];
    (void)state;
    size_t len = request_bytes(wire, 7, "one");
    len += request_bytes(wire + len, 7, "two");
    check_closes(wire, len);
}

static void an_id_is_free_again_after_reply_and_cancel(void **state)
{
    uint8_t wire[256];
    const struct rpc_header cancel = { .length = 44, .kind = RPC_CANCEL, .call = 7 };
    struct ends e;
    int fd;
    (void)state;
    ends_init(&e);
    e.b.answers = END_KEEPS;
    ends_join_raw(&e, &fd);
    size_t len = request_bytes(wire, 7, "one");
    put(fd, wire, len);
    ends_until(&e, &e.b.kept_count, 1);
    kept_answer(&e.b, 0, "done");
    put(fd, wire, len);
    ends_until(&e, &e.b.kept_count, 2);
    uint8_t bytes[RPC_HEADER_SIZE];
    rpc_header_encode(&cancel, bytes);
    put(fd, bytes, sizeof bytes);
    put(fd, wire, len);
    ends_until(&e, &e.b.kept_count, 3);
    assert_int_equal(e.b.dead, 1);
    assert_int_equal(e.b.closed, 0);
    close(fd);
    ends_deinit(&e);
}

static void drop_unknown(bool b_only_serves)
{
    struct rpc_header h = { .length = 44, .kind = RPC_REPLY, .call = 1234 };
    uint8_t bytes[2 * RPC_HEADER_SIZE], wire[64];
    struct ends e;
    int fd;
    ends_init(&e);
    e.b.answers = END_KEEPS;
    e.b_only_serves = b_only_serves;
    ends_join_raw(&e, &fd);
    rpc_header_encode(&h, bytes);
    h.kind = RPC_CANCEL;
    rpc_header_encode(&h, bytes + RPC_HEADER_SIZE);
    put(fd, bytes, sizeof bytes);
    put(fd, wire, request_bytes(wire, 1, "x"));
    ends_until(&e, &e.b.kept_count, 1);
    close(fd);
    ends_deinit(&e);
}

static void replies_and_cancels_of_unknown_calls_are_dropped(void **state)
{
    (void)state;
    drop_unknown(false);
    drop_unknown(true);
}

static void a_link_that_only_serves_answers_until_it_ends(void **state)
{
    struct asked q[3];
    struct ends e;
    (void)state;
    ends_init(&e);
    e.b_only_serves = true;
    ends_join_sockets(&e);
    asked_start(&q[0], e.a.link, 0, "one");
    ends_until_int(&e, &q[0].done, 1);
    assert_int_equal(q[0].err, BT_OK);
    e.b.answers = END_KEEPS;
    asked_start(&q[1], e.a.link, 0, "two");
    asked_start(&q[2], e.a.link, 0, "three");
    ends_until(&e, &e.b.kept_count, 2);
    kept_answer(&e.b, 0, "answered");
    ends_until_int(&e, &q[1].done, 1);
    rpc_link_close(e.b.link, BT_ECLOSING);
    ends_until_int(&e, &q[2].done, 1);
    assert_int_equal(q[2].err, BT_EDOWN);
    assert_int_equal(e.b.dead, 1);
    ends_deinit(&e);
}

static void check_cast(bool is_pair)
{
    const struct rpc_header h = { .method = 7, .call = 9, .timeout_ms = 5, .trace = 3 };
    const char *text = "to all";
    struct rpc_cast cast;
    struct ends e;
    ends_init(&e);
    if (is_pair)
        ends_join_pair(&e);
    else
        ends_join_sockets(&e);
    for (size_t i = 1; i <= 3; i++) {
        rpc_cast_begin(&cast, e.loop, &h, (const uint8_t *)text, (uint32_t)strlen(text));
        assert_int_equal(rpc_link_cast(e.a.link, &cast), BT_OK);
        assert_int_equal(rpc_link_cast(e.b.link, &cast), BT_OK);
        if (i == 2) /* in its place among others */
            assert_int_equal(rpc_link_event(e.a.link, &h, (const uint8_t *)"to one", 6), BT_OK);
    }
    ends_until(&e, &e.b.events, 4);
    ends_until(&e, &e.a.events, 3);
    assert_string_equal(e.b.last_event, text);
    assert_string_equal(e.a.last_event, text);
    e.limits_a.max_out_bytes = 1024;
    rpc_cast_begin(&cast, e.loop, &h, (const uint8_t *)"x", 1);
    cast.bytes.body_len = 2000; /* too long for this link; nothing is read of it */
    assert_int_equal(rpc_link_cast(e.a.link, &cast), BT_EINVAL);
    rpc_link_close(e.a.link, BT_OK);
    assert_int_equal(rpc_link_cast(e.a.link, &cast), BT_ECLOSING);
    ends_deinit(&e);
}

static void a_cast_is_an_event_at_every_link(void **state)
{
    (void)state;
    check_cast(false);
    check_cast(true);
}

/* Asks for a long echo again and again, and reads nothing. */
static void a_peer_that_reads_nothing_is_asked_nothing_more(void **state)
{
    enum { ASKED = 4000, LEN = 8 * 1024 };
    uint8_t *wire = malloc(RPC_HEADER_SIZE + LEN + 1);
    char *text = calloc(1, LEN + 1);
    struct ends e;
    int fd;
    (void)state;
    ends_init(&e);
    e.limits_b.net.out_high_bytes = 256 * 1024;
    e.limits_b.net.out_low_bytes = 32 * 1024;
    ends_join_raw(&e, &fd);
    memset(text, 'x', LEN);
    size_t at = 0, len = 0, most = 0;
    uint32_t call = 0;
    for (int quiet = 0; call < ASKED && quiet < 50;) {
        if (at == len) {
            len = request_bytes(wire, ++call, text);
            at = 0;
        }
        ssize_t n = send(fd, wire + at, len - at, MSG_DONTWAIT);
        quiet = n > 0 ? 0 : quiet + 1;
        at += n > 0 ? (size_t)n : 0;
        ends_turns(&e, 1);
        most = rpc_link_queued(e.b.link) > most ? rpc_link_queued(e.b.link) : most;
    }
    assert_int_equal(e.b.closed, 0);
    assert_true(call < ASKED);            /* it was stopped by the queues being full */
    assert_in_range(most, 1, 256 * 1024); /* and ours had its limit */
    uint8_t sink[65536];
    size_t before = e.b.requests;
    for (int i = 0; i < 20000 && e.b.requests <= before; i++) {
        while (recv(fd, sink, sizeof sink, MSG_DONTWAIT) > 0)
            ;
        ends_turns(&e, 1);
    }
    assert_true(e.b.requests > before); /* and goes on when it reads */
    close(fd);
    ends_deinit(&e);
    free(wire);
    free(text);
}

/* The calls were taken while there was room; their replies come all at once. */
static void replies_beyond_the_limit_close_the_link(void **state)
{
    enum { CALLS = 900 };
    static uint8_t wire[CALLS * (RPC_HEADER_SIZE + 1)];
    char *text = calloc(1, 60001);
    struct ends e;
    size_t len = 0;
    int fd;
    (void)state;
    ends_init(&e);
    e.b.answers = END_KEEPS;
    ends_join_raw(&e, &fd);
    for (uint32_t i = 0; i < CALLS; i++)
        len += request_bytes(wire + len, i + 1, "x");
    put(fd, wire, len);
    ends_until(&e, &e.b.kept_count, CALLS);
    memset(text, 'x', 60000);
    for (size_t i = 0; i < CALLS; i++)
        kept_answer(&e.b, i, text);
    assert_in_range(rpc_link_queued(e.b.link), 0, 1024 * 1024 + 60100);
    ends_until_int(&e, &e.b.closed, 1);
    assert_int_equal(e.b.why, BT_EBUSY);
    close(fd);
    ends_deinit(&e);
    free(text);
}

static void a_call_that_never_left_is_told_so(void **state)
{
    struct ends e;
    struct asked q;
    (void)state;
    ends_init(&e);
    ends_join_sockets(&e);
    asked_start(&q, e.a.link, 1000, "x");
    rpc_link_close(e.a.link, BT_OK); /* before the turn's write */
    ends_until_int(&e, &q.done, 1);
    assert_int_equal(q.err, BT_ECLOSING);
    assert_false(q.was_sent);
    ends_deinit(&e);
}

static void failing_to_connect_tells_the_calls(void **state)
{
    struct ends e;
    struct asked q;
    (void)state;
    ends_init(&e);
    ends_join_sockets(&e);
    rpc_link_close(e.a.link, BT_OK);
    ends_until_int(&e, &e.a.closed, 1);
    ends_until_int(&e, &e.b.closed, 1);
    char address[64];
    snprintf(address, sizeof address, "%s", net_listener_address(e.listener));
    net_listener_close(e.listener);
    e.listener = NULL;
    ends_turns(&e, 2);
    e.a.closed = 0;
    struct rpc_link *l;
    assert_int_equal(rpc_link_dial(e.loop, address, 1000, ends_ops(), &e.limits_a, &e.a, &l), BT_OK);
    e.a.link = l;
    asked_start(&q, l, 1000, "x");
    ends_until_int(&e, &e.a.closed, 1);
    assert_int_equal(q.err, BT_EDOWN);
    assert_false(q.was_sent);
    assert_int_equal(e.a.why, BT_EDOWN);
    ends_deinit(&e);
}

/* ---- memory ---- */

static void check_memory(join_fn *join)
{
    for (long n = 0; n < 60; n++) {
        struct ends e;
        struct asked q[20];
        int told = 0;
        ends_init(&e);
        join(&e);
        bt_mem_fail_after(n);
        for (int i = 0; i < 20; i++)
            asked_start(&q[i], e.a.link, 500, "x");
        for (int turn = 0; turn < 600 && told < 20; turn++) {
            ends_turns(&e, 1);
            told = 0;
            for (int i = 0; i < 20; i++)
                told += q[i].done;
        }
        bt_mem_fail_after(-1);
        assert_int_equal(told, 20); /* one way or the other */
        ends_deinit(&e);
    }
}

static void every_call_ends_whichever_allocation_fails(void **state)
{
    (void)state;
    check_memory(ends_join_sockets);
    check_memory(ends_join_pair);
}

static void without_memory_there_is_no_pair(void **state)
{
    struct ends e;
    (void)state;
    ends_init(&e);
    for (long n = 0; n < 4; n++) {
        struct rpc_link *a, *b;
        bt_mem_fail_after(n);
        assert_int_equal(rpc_link_pair(e.loop, ends_ops(), &e.a, ends_ops(), &e.b, &e.limits_a, &a, &b), BT_ENOMEM);
        bt_mem_fail_after(-1);
    }
    ends_deinit(&e);
}

static void a_link_is_small(void **state)
{
    (void)state;
    assert_true(sizeof(struct rpc_link) <= RPC_LINK_SERVE_SIZE);
    assert_true(sizeof(struct rpc_call) <= 160);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(either_end_calls_and_sends_events),
        cmocka_unit_test(a_thousand_calls_each_way_find_their_answers),
        cmocka_unit_test(a_call_past_its_deadline_ends_here_and_is_cancelled_there),
        cmocka_unit_test(a_cancelled_call_is_dead_there_and_silent_here),
        cmocka_unit_test(closing_tells_every_call_of_both_ends_once),
        cmocka_unit_test(finishing_lets_out_what_was_queued),
        cmocka_unit_test(one_call_too_many_is_refused_and_the_link_stays),
        cmocka_unit_test(a_full_queue_refuses_and_says_when_there_is_room),
        cmocka_unit_test(frames_over_the_sending_limit_do_not_leave),
        cmocka_unit_test(what_waits_to_be_written_past_its_deadline_may_still_arrive),
        cmocka_unit_test(call_ids_wrap_and_skip_open_ones),
        cmocka_unit_test(a_deadline_runs_on_while_reading_is_paused),
        cmocka_unit_test(frames_survive_any_split),
        cmocka_unit_test(what_is_no_frame_closes_the_link),
        cmocka_unit_test(a_second_request_with_an_open_id_closes_the_link),
        cmocka_unit_test(an_id_is_free_again_after_reply_and_cancel),
        cmocka_unit_test(replies_and_cancels_of_unknown_calls_are_dropped),
        cmocka_unit_test(a_peer_that_reads_nothing_is_asked_nothing_more),
        cmocka_unit_test(replies_beyond_the_limit_close_the_link),
        cmocka_unit_test(a_call_that_never_left_is_told_so),
        cmocka_unit_test(failing_to_connect_tells_the_calls),
        cmocka_unit_test(every_call_ends_whichever_allocation_fails),
        cmocka_unit_test(without_memory_there_is_no_pair),
        cmocka_unit_test(a_link_is_small),
        cmocka_unit_test(a_link_that_only_serves_answers_until_it_ends),
        cmocka_unit_test(a_cast_is_an_event_at_every_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
