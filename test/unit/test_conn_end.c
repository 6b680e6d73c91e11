/* test/unit/test_conn_end.c: how connections begin to fail and end: dialling, closing anywhere, finishing, no memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_MODULE "test"
#include "conn_aid.h"
#include "net/log.h"
#include "net/mem.h"
#include "net/net_internal.h"

/* A bound loopback socket, and its address as text. */
static int bound_socket(char *text, size_t size)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    snprintf(text, size, "127.0.0.1:%d", ntohs(address.sin_port));
    return fd;
}

static enum bt_err dial(struct aid *a, const char *address, uint32_t timeout_ms)
{
    enum bt_err err;

    a->client.is_inside = true;
    err = net_dial(a->loop, address, timeout_ms, &end_ops, &a->limits, &a->client, &a->client.c);
    a->client.is_inside = false;
    return err;
}

static void a_refused_dial_is_told_as_down(void **state)
{
    struct aid *a = *state;
    char address[64];
    int fd = bound_socket(address, sizeof address); /* bound, but it does not listen */

    assert_int_equal(dial(a, address, 5000), BT_OK);
    end_write(&a->client, "lost", 4);
    wait_until(a, a->client.closed);
    assert_int_equal(a->client.why, BT_EDOWN);
    assert_int_equal(a->client.opened, 0);
    close(fd);
}

static void a_dial_without_answer_times_out(void **state)
{
    enum { FILLERS = 8 };
    struct aid *a = *state;
    char address[64];
    int fd = bound_socket(address, sizeof address), fillers[FILLERS];
    struct sockaddr_storage parsed;
    uint64_t start_us;

    /* With its backlog full, Linux ignores who knocks. */
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(net_address_parse(address, &parsed), BT_OK);
    for (int i = 0; i < FILLERS; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(fillers[i], (struct sockaddr *)&parsed, net_address_size(&parsed));
    }
    start_us = net_clock_us();
    assert_int_equal(dial(a, address, 60), BT_OK);
    wait_until(a, a->client.closed);
    assert_int_equal(a->client.why, BT_ETIMEOUT);
    assert_in_range(net_clock_us() - start_us, 60000, 3000000);
    for (int i = 0; i < FILLERS; i++)
        close(fillers[i]);
    close(fd);
}

static void an_impossible_dial_is_told_later(void **state)
{
    struct aid *a = *state;

    assert_int_equal(dial(a, "not an address", 1000), BT_EINVAL);
    assert_null(a->client.c);
    assert_int_equal(dial(a, "255.255.255.255:9", 1000), BT_OK); /* the kernel refuses at once */
    assert_int_equal(a->client.closed, 0);
    wait_until(a, a->client.closed);
    assert_int_equal(a->client.why, BT_EDOWN);
}

static void closing_while_dialling_is_told_once(void **state)
{
    struct aid *a = *state;

    aid_dial(a);
    end_write(&a->client, "x", 1);
    end_close(&a->client);
    end_close(&a->client);
    assert_true(net_conn_is_closing(a->client.c));
    wait_until(a, a->client.closed);
    assert_int_equal(a->client.why, BT_OK);
    assert_int_equal(a->client.opened, 0);
}

static void close_twice(struct end *e)
{
    end_close(e);
    end_close(e);
    e->is_inside = true;
    assert_int_equal(net_conn_write(e->c, "x", 1), BT_ECLOSING);
    net_conn_finish(e->c, 1000);
    net_conn_pause(e->c);
    net_conn_resume(e->c);
    e->is_inside = false;
}

static void closing_inside_bytes_is_safe(void **state)
{
    struct aid *a = *state;

    for (a->layers = 0; a->layers <= 2; a->layers++) {
        a->server.closed = a->client.closed = a->client.opened = 0;
        a->server.on_bytes = close_twice;
        aid_connect(a);
        end_write(&a->client, "abc", 3);
        wait_until(a, a->server.closed && a->client.closed);
        assert_int_equal(a->server.closed, 1);
        assert_int_equal(a->server.why, BT_OK);
    }
}

static void closing_inside_bytes_with_a_kept_start_is_safe(void **state)
{
    static const uint8_t frame[] = { 0, 0, 0, 2, 'a', 'b' };
    struct aid *a = *state;

    a->server.takes_frames = true;
    aid_connect(a);
    end_write(&a->client, frame, 3);
    wait_until(a, a->server.shown == 1);
    a->server.on_bytes = close_twice;
    end_write(&a->client, frame + 3, 3);
    wait_until(a, a->server.closed);
    assert_int_equal(a->server.got_len, 6);
}

static void closing_inside_opened_is_safe(void **state)
{
    struct aid *a = *state;

    a->client.on_opened = close_twice;
    aid_dial(a);
    end_write(&a->client, "x", 1);
    wait_until(a, a->client.closed);
    assert_int_equal(a->client.closed, 1);
}

static void hook_close(struct aid *a, struct net_conn *c)
{
    (void)a;
    net_conn_close(c);
    net_conn_close(c);
}

static void closing_inside_accept_is_safe(void **state)
{
    struct aid *a = *state;

    a->accept_hook = hook_close;
    aid_dial(a);
    wait_until(a, a->client.closed);
    assert_int_equal(a->server.closed, 0); /* never started: nobody to tell */
}

static void hook_start_closed(struct aid *a, struct net_conn *c)
{
    net_conn_close(c);
    a->server.c = c;
    net_conn_start(c, &end_ops, &a->limits, &a->server);
}

static void starting_what_is_closed_is_told(void **state)
{
    struct aid *a = *state;

    a->accept_hook = hook_start_closed;
    aid_dial(a);
    wait_until(a, a->server.closed && a->client.closed);
}

static void closing_inside_drained_is_safe(void **state)
{
    struct aid *a = *state;
    uint8_t *bytes = aid_pattern(1 << 20);

    a->limits.out_low_bytes = 100;
    a->client.on_drained = close_twice;
    aid_connect(a);
    end_write(&a->client, bytes, 1 << 20);
    wait_until(a, a->client.closed);
    assert_int_equal(a->client.drained, 1);
    wait_until(a, a->server.closed);
    assert_int_equal(a->server.got_len, 1 << 20);
    free(bytes);
}

static void write_more(struct end *e)
{
    if (e->drained < 20)
        end_write(e, "0123456789abcdef", 16);
}

static void drained_may_write_more(void **state)
{
    struct aid *a = *state;

    a->limits.out_low_bytes = 3;
    a->client.on_drained = write_more;
    aid_connect(a);
    end_write(&a->client, "0123456789abcdef", 16);
    wait_until(a, a->server.got_len == 20 * 16);
    aid_turn(a);
    assert_int_equal(a->client.drained, 20);
}

static void closing_with_a_write_pending_is_safe(void **state)
{
    struct aid *a = *state;
    uint8_t *bytes = aid_pattern(32 << 20);
    int fd = aid_raw_connect(a); /* never reads */

    end_write(&a->server, bytes, 32 << 20);
    aid_turn(a);
    assert_true(a->server.c->is_writing);
    end_close(&a->server);
    wait_until(a, a->server.closed);
    assert_int_equal(a->server.why, BT_OK);
    close(fd);
    free(bytes);
}

static void a_peer_that_resets_is_down(void **state)
{
    struct aid *a = *state;
    struct linger abort_it = { .l_onoff = 1, .l_linger = 0 };
    int fd = aid_raw_connect(a);

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort_it, sizeof abort_it);
    close(fd);
    wait_until(a, a->server.closed);
    assert_int_equal(a->server.why, BT_EDOWN);
}

static void a_peer_that_goes_while_written_to_is_down(void **state)
{
    struct aid *a = *state;
    uint8_t *bytes = aid_pattern(32 << 20);
    struct linger abort_it = { .l_onoff = 1, .l_linger = 0 };
    int fd = aid_raw_connect(a);

    net_conn_pause(a->server.c); /* so that the write is what finds out */
    end_write(&a->server, bytes, 32 << 20);
    aid_turn(a);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort_it, sizeof abort_it);
    close(fd);
    wait_until(a, a->server.closed);
    assert_int_equal(a->server.why, BT_EDOWN);
    free(bytes);
}

static void an_orderly_end_is_ok_and_a_broken_frame_is_not(void **state)
{
    struct aid *a = *state;
    int fd = aid_raw_connect(a);

    close(fd);
    wait_until(a, a->server.closed);
    assert_int_equal(a->server.why, BT_OK);

    a->server.closed = 0;
    a->server.takes_frames = true;
    fd = aid_raw_connect(a);
    assert_int_equal(send(fd, "\0\0\0\7ab", 6, 0), 6);
    close(fd);
    wait_until(a, a->server.closed);
    assert_int_equal(a->server.why, BT_EDOWN);
}

static void the_peers_end_lets_answers_leave_first(void **state)
{
    enum { LEN = 8 << 20 };
    struct aid *a = *state;
    uint8_t *bytes = aid_pattern(LEN), *got = malloc(LEN);
    size_t n = 0;
    ssize_t part;
    int fd = aid_raw_connect(a);

    end_write(&a->server, bytes, LEN);
    shutdown(fd, SHUT_WR); /* as `nc -N` does */
    for (int i = 0; i < 10; i++)
        net_loop_turn(a->loop, 1);
    while ((part = recv(fd, got + n, LEN - n, MSG_DONTWAIT)) != 0 && n < LEN) {
        if (part > 0)
            n += (size_t)part;
        net_loop_turn(a->loop, 1);
    }
    assert_int_equal(n, LEN);
    assert_memory_equal(got, bytes, LEN);
    wait_until(a, a->server.closed);
    assert_int_equal(a->server.why, BT_OK);
    close(fd);
    free(bytes);
    free(got);
}

static void finish_flushes_everything_then_ends(void **state)
{
    enum { LEN = 8 << 20 };
    struct aid *a = *state;
    uint8_t *bytes = aid_pattern(LEN);

    for (a->layers = 0; a->layers <= 2; a->layers++) {
        a->server.closed = a->client.closed = a->client.opened = 0;
        a->client.got_len = 0;
        aid_connect(a);
        end_write(&a->server, bytes, LEN);
        net_conn_finish(a->server.c, 9000);
        assert_true(net_conn_is_closing(a->server.c));
        assert_int_equal(net_conn_write(a->server.c, "x", 1), BT_ECLOSING);
        wait_until(a, a->server.closed && a->client.closed);
        assert_int_equal(a->client.got_len, LEN);
        assert_memory_equal(a->client.got, bytes, LEN);
        assert_int_equal(a->server.why, BT_OK);
        assert_int_equal(a->client.why, BT_OK);
    }
    free(bytes);
}

static void finish_while_dialling_still_delivers(void **state)
{
    struct aid *a = *state;

    aid_dial(a);
    end_write(&a->client, "last words", 10);
    net_conn_finish(a->client.c, 5000);
    wait_until(a, a->client.closed && a->server.closed);
    assert_int_equal(a->client.why, BT_OK);
    assert_int_equal(a->client.opened, 0);
    assert_int_equal(a->server.got_len, 10);
}

static void finish_waits_for_the_peer_but_not_for_ever(void **state)
{
    struct aid *a = *state;
    uint64_t start_us;
    char byte;
    int fd = aid_raw_connect(a);

    net_conn_pause(a->server.c);
    net_conn_finish(a->server.c, 80);
    start_us = net_clock_us();
    assert_int_equal(send(fd, "ignored", 7, 0), 7);
    wait_until(a, recv(fd, &byte, 1, MSG_DONTWAIT) == 0); /* our end is told at once */
    wait_until(a, a->server.closed);
    assert_int_equal(a->server.why, BT_OK);
    assert_int_equal(a->server.shown, 0);
    assert_in_range(net_clock_us() - start_us, 80000, 3000000);
    close(fd);
}

static void finish_of_a_peer_that_does_not_read_ends_too(void **state)
{
    struct aid *a = *state;
    uint8_t *bytes = aid_pattern(32 << 20);
    int fd = aid_raw_connect(a);

    end_write(&a->server, bytes, 32 << 20);
    net_conn_finish(a->server.c, 60);
    wait_until(a, a->server.closed);
    close(fd);
    free(bytes);
}

static void finish_inside(struct end *e)
{
    assert_int_equal(net_conn_write_last(e->c, "bye", 3), BT_OK);
    net_conn_finish(e->c, 5000);
    net_conn_finish(e->c, 1);
}

static void finish_inside_bytes_shows_no_more(void **state)
{
    struct aid *a = *state;

    for (a->layers = 0; a->layers <= 1; a->layers++) {
        a->server.closed = a->client.closed = a->client.opened = 0;
        a->server.shown = a->client.got_len = 0;
        a->server.on_bytes = finish_inside;
        aid_connect(a);
        end_write(&a->client, "abc", 3);
        wait_until(a, a->server.closed && a->client.closed);
        assert_int_equal(a->server.shown, 1);
        assert_int_equal(a->client.got_len, 3);
        assert_memory_equal(a->client.got, "bye", 3);
        assert_int_equal(a->server.why, BT_OK);
    }
}

static void close_cuts_a_finish_short(void **state)
{
    struct aid *a = *state;
    int fd = aid_raw_connect(a);

    net_conn_finish(a->server.c, 60000);
    aid_turn(a);
    end_close(&a->server);
    wait_until(a, a->server.closed);
    close(fd);
}

static void ignore_line(enum log_level level, const char *line, void *arg)
{
    (void)level;
    (void)line;
    (void)arg;
}

/* One exchange that keeps tails, overflows buffers and finishes, with the n-th allocation failing. True: none failed. */
static bool exchange_with_failure(struct aid *a, long n, unsigned layers)
{
    static const uint8_t frame[20000] = { 0, 0, 0x4e, 0x1c };
    uint64_t until_us = net_clock_us() + AID_DEADLINE_MS * UINT64_C(1000);
    bool has_failed;
    enum bt_err err;

    a->layers = layers;
    a->server.closed = a->client.closed = a->client.opened = a->accepted = 0;
    a->server.got_len = a->client.got_len = 0;
    a->server.takes_frames = a->server.echoes = true;
    bt_mem_fail_after(n);
    err = net_dial(a->loop, net_listener_address(a->listener), 5000, &end_ops, &a->limits, &a->client, &a->client.c);
    if (err == BT_OK) {
        aid_push_layers(a, a->client.c);
        for (size_t at = 0; at < sizeof frame && err == BT_OK; at += 5000)
            err = net_conn_write(a->client.c, frame + at, 5000);
        if (err != BT_OK)
            net_conn_close(a->client.c);
    } else {
        assert_int_equal(err, BT_ENOMEM);
        a->client.c = NULL;
    }
    while (a->client.c && a->client.got_len < sizeof frame && net_clock_us() < until_us)
        net_loop_turn(a->loop, 10);
    if (a->client.c)
        net_conn_finish(a->client.c, 3000);
    while ((a->client.c || a->server.c) && net_clock_us() < until_us)
        net_loop_turn(a->loop, 10);
    has_failed = bt_mem_has_failed();
    bt_mem_fail_after(-1);
    assert_null(a->client.c);
    assert_null(a->server.c);
    if (!has_failed)
        assert_int_equal(a->client.got_len, sizeof frame);
    return !has_failed;
}

static void every_failing_allocation_ends_in_an_error_or_a_close(void **state)
{
    struct aid *a = *state;

    log_set_sink(ignore_line, NULL);
    for (unsigned layers = 0; layers <= 2; layers += 2) {
        long n = 0;

        while (!exchange_with_failure(a, n, layers)) {
            net_chunk_pool_free(a->loop); /* so that the next one has to allocate as well */
            n++;
        }
        assert_in_range(n, 4, 500);
    }
    log_set_sink(NULL, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, aid_setup, aid_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_refused_dial_is_told_as_down),
        TEST(a_dial_without_answer_times_out),
        TEST(an_impossible_dial_is_told_later),
        TEST(closing_while_dialling_is_told_once),
        TEST(closing_inside_bytes_is_safe),
        TEST(closing_inside_bytes_with_a_kept_start_is_safe),
        TEST(closing_inside_opened_is_safe),
        TEST(closing_inside_accept_is_safe),
        TEST(starting_what_is_closed_is_told),
        TEST(closing_inside_drained_is_safe),
        TEST(drained_may_write_more),
        TEST(closing_with_a_write_pending_is_safe),
        TEST(a_peer_that_resets_is_down),
        TEST(a_peer_that_goes_while_written_to_is_down),
        TEST(an_orderly_end_is_ok_and_a_broken_frame_is_not),
        TEST(the_peers_end_lets_answers_leave_first),
        TEST(finish_flushes_everything_then_ends),
        TEST(finish_while_dialling_still_delivers),
        TEST(finish_waits_for_the_peer_but_not_for_ever),
        TEST(finish_of_a_peer_that_does_not_read_ends_too),
        TEST(finish_inside_bytes_shows_no_more),
        TEST(close_cuts_a_finish_short),
        TEST(every_failing_allocation_ends_in_an_error_or_a_close),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
