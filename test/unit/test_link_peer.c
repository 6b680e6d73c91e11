/* test/unit/test_link_peer.c: what a peer may do to a link that is ours, with bare bytes over a socket. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "rpc_ends.h"

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

/* b keeps what it is asked; returns the socket that it is joined to. */
static int open_raw(struct ends *e)
{
    int fd;
    ends_init(e);
    e->b.answers = END_KEEPS;
    ends_join_raw(e, &fd);
    return fd;
}

static void frames_survive_any_split(void **state)
{
    uint8_t wire[256];
    struct ends e;
    (void)state;
    size_t len = request_bytes(wire, 1, "abc");
    len += request_bytes(wire + len, 2, "");
    for (size_t cut = 1; cut < len; cut++) {
        int fd = open_raw(&e);
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
    int fd = open_raw(&e);
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
    fd = open_raw(&e);
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
    fd = open_raw(&e);
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

/* Calls that a peer gets while it does not read, more than the kernels hold. How many bytes of them it finds when it does, and how it ends. */
static void give_up(enum bt_err why, uint32_t timeout_ms, size_t *left_out, size_t *came_out, int *end_out)
{
    enum { CALLS = 400, LEN = 32 * 1024 };
    static struct asked q[CALLS];
    static uint8_t sink[65536];
    char *text = calloc(1, LEN + 1);
    struct ends e;
    ssize_t n;
    int fd;

    ends_init(&e);
    e.limits_b.net.out_high_bytes = 2 * CALLS * LEN;
    ends_join_raw(&e, &fd);
    memset(text, 'x', LEN);
    for (int i = 0; i < CALLS; i++)
        asked_start(&q[i], e.b.link, timeout_ms, text);
    for (int i = 0; i < CALLS && timeout_ms < ENDLESS_MS; i++)
        ends_until_int(&e, &q[i].done, 1);
    ends_turns(&e, 100);
    assert_true(rpc_link_queued(e.b.link) > 0); /* the kernel is full */
    *left_out = (size_t)CALLS * (RPC_HEADER_SIZE + LEN) - rpc_link_queued(e.b.link);
    rpc_link_close(e.b.link, why);
    ends_until_int(&e, &e.b.closed, 1);
    for (int i = 0; i < CALLS; i++)
        assert_int_equal(q[i].done, 1);
    for (*came_out = 0; (n = recv(fd, sink, sizeof sink, 0)) > 0; *came_out += (size_t)n)
        ;
    *end_out = n < 0 ? errno : 0;
    close(fd);
    ends_deinit(&e);
    free(text);
}

static void what_was_asked_of_a_peer_that_is_given_up_leaves_no_more(void **state)
{
    size_t left, came;
    int end;
    (void)state;
    give_up(BT_OK, ENDLESS_MS, &left, &came, &end); /* calls are open */
    assert_int_equal(end, ECONNRESET);
    assert_true(came < left);
    give_up(BT_ETIMEOUT, 50, &left, &came, &end); /* they have been given up already */
    assert_int_equal(end, ECONNRESET);
    assert_true(came < left);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_survive_any_split),
        cmocka_unit_test(what_is_no_frame_closes_the_link),
        cmocka_unit_test(a_second_request_with_an_open_id_closes_the_link),
        cmocka_unit_test(an_id_is_free_again_after_reply_and_cancel),
        cmocka_unit_test(replies_and_cancels_of_unknown_calls_are_dropped),
        cmocka_unit_test(a_peer_that_reads_nothing_is_asked_nothing_more),
        cmocka_unit_test(replies_beyond_the_limit_close_the_link),
        cmocka_unit_test(what_was_asked_of_a_peer_that_is_given_up_leaves_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
