/* test/unit/test_conn.c: bytes in and out of connections: echo, splits, limits, pauses, listening. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_MODULE "test"
#include "conn_aid.h"
#include "net/log.h"
#include "net/net_internal.h"
#include "net/timer.h"

static void echo_of(struct aid *a, size_t len)
{
    uint8_t *bytes = aid_pattern(len);

    a->server.echoes = true;
    aid_connect(a);
    end_write(&a->client, bytes, len);
    wait_until(a, a->client.got_len >= len);
    assert_int_equal(a->client.got_len, len);
    assert_memory_equal(a->client.got, bytes, len);
    assert_int_equal(net_conn_queued(a->client.c), 0);
    free(bytes);
}

static void a_few_bytes_come_back(void **state)
{
    echo_of(*state, 3);
}

static void megabytes_come_back(void **state)
{
    echo_of(*state, 5 << 20);
}

static void an_idle_connection_holds_nothing_but_its_record(void **state)
{
    struct aid *a = *state;

    echo_of(a, 100000);
    aid_turn(a);
    assert_null(a->server.c->tail);
    assert_null(a->server.c->out.first);
    assert_null(a->server.c->wait);
    assert_null(a->server.c->stack);
    assert_null(a->client.c->wait);
    assert_int_equal(a->loop->wheel.count, 0);
}

static void what_is_written_while_dialling_leaves_once_connected(void **state)
{
    struct aid *a = *state;

    aid_dial(a);
    end_write(&a->client, "ab", 2);
    assert_int_equal(net_conn_write2(a->client.c, "c", 1, "de", 2), BT_OK);
    assert_int_equal(net_conn_queued(a->client.c), 5);
    wait_until(a, a->server.got_len == 5);
    assert_memory_equal(a->server.got, "abcde", 5);
    assert_int_equal(a->client.opened, 1);
    assert_int_equal(a->server.opened, 0);
}

static void a_turn_writes_once(void **state)
{
    struct aid *a = *state;
    uint64_t writes;
    uint8_t *bytes = aid_pattern(100000);

    aid_connect(a);
    writes = a->loop->writes;
    for (int i = 0; i < 1000; i++) /* several chunks */
        assert_int_equal(net_conn_write2(a->client.c, bytes + 100 * i, 48, bytes + 100 * i + 48, 52), BT_OK);
    assert_int_equal(a->loop->writes, writes);
    wait_until(a, a->server.got_len == 100000);
    assert_int_equal(a->loop->writes, writes + 1);
    assert_memory_equal(a->server.got, bytes, 100000);
    free(bytes);
}

static void check_reserve(struct aid *a)
{
    uint8_t *room;

    aid_connect(a);
    assert_null(net_conn_reserve(a->client.c, 3)); /* there is no buffer yet */
    assert_int_equal(net_conn_queued(a->client.c), 0);
    end_write(&a->client, "ab", 2);
    room = net_conn_reserve(a->client.c, 3);
    assert_non_null(room);
    memcpy(room, "cde", 3);
    end_write(&a->client, "f", 1);
    assert_int_equal(net_conn_queued(a->client.c), 6);
    assert_null(net_conn_reserve(a->client.c, 1 << 20)); /* more than a buffer has */
    wait_until(a, a->server.got_len == 6);
    assert_memory_equal(a->server.got, "abcdef", 6);
    assert_int_equal(net_conn_queued(a->client.c), 0);
}

static void what_is_reserved_leaves_in_its_place(void **state)
{
    check_reserve(*state);
}

static void what_is_reserved_passes_the_layers(void **state)
{
    struct aid *a = *state;

    a->layers = 2;
    check_reserve(a);
}

static void nothing_is_reserved_where_nothing_would_be_taken(void **state)
{
    struct aid *a = *state;

    a->limits.out_high_bytes = 100;
    aid_connect(a);
    end_write(&a->client, "a", 1);
    assert_non_null(memset(net_conn_reserve(a->client.c, 100), 'b', 100));
    assert_null(net_conn_reserve(a->client.c, 1));
    assert_int_equal(net_conn_write(a->client.c, "c", 1), BT_EBUSY);
    wait_until(a, a->server.got_len == 101);
    end_write(&a->client, "d", 1);
    net_conn_finish(a->client.c, 1000);
    assert_null(net_conn_reserve(a->client.c, 1));
    wait_until(a, a->server.closed == 1);
    assert_int_equal(a->server.got_len, 102);
    wait_until(a, a->client.closed == 1);
}

static void put_frame(uint8_t *at, uint32_t len, uint8_t fill)
{
    at[0] = (uint8_t)(len >> 24);
    at[1] = (uint8_t)(len >> 16);
    at[2] = (uint8_t)(len >> 8);
    at[3] = (uint8_t)len;
    memset(at + 4, fill, len);
}

static void frames_survive_any_split(void **state)
{
    enum { TOTAL = 4 + 3 + 4 + 0 + 4 + 9 };
    struct aid *a = *state;
    uint8_t wire[TOTAL];
    int fd;

    put_frame(wire, 3, 'a');
    put_frame(wire + 7, 0, 0);
    put_frame(wire + 11, 9, 'b');
    a->server.takes_frames = true;
    fd = aid_raw_connect(a);
    for (size_t one = 0; one <= TOTAL; one++) {
        for (size_t two = one; two <= TOTAL; two++) {
            size_t before = a->server.got_len, cuts[] = { 0, one, two, TOTAL };

            for (int i = 0; i < 3; i++) {
                size_t shown = a->server.shown, n = cuts[i + 1] - cuts[i];

                if (n == 0)
                    continue;
                assert_int_equal(send(fd, wire + cuts[i], n, 0), n);
                wait_until(a, a->server.shown > shown);
            }
            assert_int_equal(a->server.got_len, before + TOTAL);
            assert_memory_equal(a->server.got + before, wire, TOTAL);
            assert_null(a->server.c->tail);
        }
    }
    close(fd);
}

static void a_long_frame_in_small_pieces_is_put_together(void **state)
{
    enum { BODY = 1 << 20, PIECE = 1000 };
    struct aid *a = *state;
    uint8_t *wire = malloc(4 + BODY);
    size_t sent = 0;
    int fd;

    put_frame(wire, BODY, 'z');
    a->server.takes_frames = true;
    fd = aid_raw_connect(a);
    while (sent < 4 + BODY) {
        size_t n = 4 + BODY - sent < PIECE ? 4 + BODY - sent : PIECE;

        assert_int_equal(send(fd, wire + sent, n, 0), n);
        sent += n;
        aid_turn(a);
    }
    wait_until(a, a->server.got_len == 4 + BODY);
    assert_memory_equal(a->server.got, wire, 4 + BODY);
    assert_null(a->server.c->tail);
    free(wire);
    close(fd);
}

static void many_frames_across_read_buffers_stay_whole(void **state)
{
    enum { FRAMES = 3000, BODY = 777 };
    struct aid *a = *state;
    uint8_t *wire = malloc(FRAMES * (4 + BODY));

    for (int i = 0; i < FRAMES; i++)
        put_frame(wire + i * (4 + BODY), BODY, (uint8_t)i);
    a->server.takes_frames = true;
    aid_connect(a);
    end_write(&a->client, wire, FRAMES * (4 + BODY));
    wait_until(a, a->server.got_len == FRAMES * (4 + BODY));
    assert_memory_equal(a->server.got, wire, FRAMES * (4 + BODY));
    free(wire);
}

static int flood_fd;
static size_t flood_sent;

/* Refill the kernel's buffers from within the read callback, so that there is always more to read. */
static void flood(struct end *e)
{
    static const uint8_t bytes[NET_READ_SIZE];
    ssize_t n;

    (void)e;
    while (flood_sent < 8 << 20 && (n = send(flood_fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
        flood_sent += (size_t)n;
}

static void a_flooding_peer_gets_its_share_of_a_turn_only(void **state)
{
    struct aid *a = *state;
    size_t most = 0;

    flood_fd = aid_raw_connect(a);
    flood_sent = 0;
    a->server.on_bytes = flood;
    flood(NULL);
    while (a->server.got_len < 8 << 20) {
        size_t shown = a->server.shown;

        net_loop_turn(a->loop, 10);
        most = a->server.shown - shown > most ? a->server.shown - shown : most;
    }
    assert_int_equal(most, NET_READS_IN_ROW); /* reached, and not passed */
    close(flood_fd);
}

static void too_long_an_unfinished_frame_closes(void **state)
{
    struct aid *a = *state;
    uint8_t wire[4 + 1000];

    a->limits.in_max_bytes = 500;
    a->server.takes_frames = true;
    aid_connect(a);
    put_frame(wire, 1000, 'a');
    end_write(&a->client, wire, 500);
    wait_until(a, a->server.shown);
    assert_int_equal(a->server.closed, 0);
    end_write(&a->client, wire + 500, 1);
    wait_until(a, a->server.closed);
    assert_int_equal(a->server.why, BT_EPROTO);
}

/* Fill the server's queue towards a client that does not read, until it is refused; returns how much was taken. */
static size_t fill_up(struct aid *a, const uint8_t *bytes, size_t piece)
{
    size_t taken = 0;
    enum bt_err err;

    do {
        err = net_conn_write(a->server.c, bytes + taken, piece);
        if (err == BT_OK)
            taken += piece;
        aid_turn(a);
    } while (err == BT_OK);
    assert_int_equal(err, BT_EBUSY);
    return taken;
}

static void a_slow_reader_is_refused_then_drained(void **state)
{
    enum { PIECE = 10000, MOST = 64 << 20 };
    struct aid *a = *state;
    uint8_t *bytes = aid_pattern(MOST), *got = malloc(MOST);
    size_t taken, read_len = 0;
    int fd;

    a->limits.out_high_bytes = 1000000;
    a->limits.out_low_bytes = 200000;
    fd = aid_raw_connect(a);
    taken = fill_up(a, bytes, PIECE);
    assert_in_range(net_conn_queued(a->server.c), 1000001, 1000000 + PIECE);
    assert_int_equal(a->server.drained, 0);
    assert_int_equal(net_conn_write_last(a->server.c, bytes + taken, 7), BT_OK); /* past the limit */
    while (read_len < taken + 7) {
        ssize_t n;

        aid_turn(a);
        n = recv(fd, got + read_len, MOST - read_len, MSG_DONTWAIT);
        if (n > 0)
            read_len += (size_t)n;
        assert_true(a->server.drained <= (net_conn_queued(a->server.c) <= 200000));
    }
    wait_until(a, net_conn_queued(a->server.c) == 0);
    aid_turn(a);
    assert_int_equal(a->server.drained, 1);
    assert_int_equal(read_len, taken + 7);
    assert_memory_equal(got, bytes, read_len);
    end_write(&a->server, bytes, PIECE); /* and it is taken again */
    close(fd);
    free(bytes);
    free(got);
}

static void a_reader_too_slow_is_dropped_with_its_reason(void **state)
{
    struct aid *a = *state;
    uint8_t *bytes = aid_pattern(64 << 20);
    int fd;

    a->limits.out_high_bytes = 100000;
    fd = aid_raw_connect(a);
    fill_up(a, bytes, 50000);
    net_conn_fail(a->server.c, BT_EBUSY);
    wait_until(a, a->server.closed);
    assert_int_equal(a->server.why, BT_EBUSY);
    close(fd);
    free(bytes);
}

static void a_write_beyond_the_limit_takes_nothing(void **state)
{
    struct aid *a = *state;

    a->limits.out_high_bytes = 10;
    aid_connect(a);
    end_write(&a->client, "0123456789", 10); /* not over it yet */
    end_write(&a->client, "x", 1);
    assert_int_equal(net_conn_write(a->client.c, "y", 1), BT_EBUSY);
    assert_int_equal(net_conn_write2(a->client.c, "y", 1, "z", 1), BT_EBUSY);
    wait_until(a, a->server.got_len == 11);
    assert_memory_equal(a->server.got, "0123456789x", 11);
}

static struct net_task early[2], late;
static char told[8], *told_at;

static void tell(void *arg)
{
    *told_at++ = *(const char *)arg;
}

static void defer_both(struct end *e)
{
    *told_at++ = 'r';
    net_defer_early(e->aid->loop, &early[e == &e->aid->client], tell, "e");
    net_defer(e->aid->loop, &late, tell, "l");
}

static void early_tasks_run_when_the_read_is_over_and_others_after_all_reads(void **state)
{
    struct aid *a = *state;

    aid_connect(a);
    told_at = told;
    a->server.on_bytes = a->client.on_bytes = defer_both;
    end_write(&a->client, "x", 1);
    end_write(&a->server, "y", 1);
    wait_until(a, told_at >= told + 5);
    assert_string_equal(told, "rerel");
}

static void a_paused_end_is_shown_nothing_and_then_the_rest(void **state)
{
    struct aid *a = *state;
    size_t shown;

    a->server.pause_at = 4;
    aid_connect(a);
    end_write(&a->client, "abcdefgh", 8);
    wait_until(a, a->server.got_len == 4);
    shown = a->server.shown;
    end_write(&a->client, "ij", 2);
    for (int i = 0; i < 20; i++)
        net_loop_turn(a->loop, 2);
    assert_int_equal(a->server.shown, shown);

    a->server.pause_at = 6; /* resumed without new bytes, it pauses once more within what is kept */
    net_conn_resume(a->server.c);
    assert_int_equal(a->server.shown, shown);
    wait_until(a, a->server.got_len == 6);
    a->server.pause_at = 0;
    net_conn_resume(a->server.c);
    net_conn_resume(a->server.c);
    wait_until(a, a->server.got_len == 10);
    assert_memory_equal(a->server.got, "abcdefghij", 10);
}

static void resume_then_pause_shows_nothing(void **state)
{
    struct aid *a = *state;
    size_t shown;

    a->server.pause_at = 1;
    aid_connect(a);
    end_write(&a->client, "ab", 2);
    wait_until(a, a->server.got_len == 1);
    shown = a->server.shown;
    a->server.pause_at = 0;
    net_conn_resume(a->server.c);
    net_conn_pause(a->server.c);
    for (int i = 0; i < 5; i++)
        aid_turn(a);
    assert_int_equal(a->server.shown, shown);
    net_conn_resume(a->server.c);
    wait_until(a, a->server.got_len == 2);
}

static void the_end_is_seen_only_after_what_a_pause_kept(void **state)
{
    struct aid *a = *state;

    a->server.pause_at = 1;
    aid_connect(a);
    end_write(&a->client, "abc", 3);
    wait_until(a, a->server.got_len == 1);
    end_close(&a->client);
    wait_until(a, a->client.closed);
    for (int i = 0; i < 5; i++)
        aid_turn(a);
    assert_int_equal(a->server.closed, 0);
    a->server.pause_at = 0;
    net_conn_resume(a->server.c);
    wait_until(a, a->server.closed);
    assert_memory_equal(a->server.got, "abc", 3);
    assert_int_equal(a->server.why, BT_OK);
}

static void pause_and_resume(struct end *e)
{
    net_conn_pause(e->c);
    net_conn_resume(e->c);
}

static void a_pause_taken_back_at_once_loses_nothing(void **state)
{
    struct aid *a = *state;
    uint8_t *bytes = aid_pattern(300000);

    a->server.on_bytes = pause_and_resume;
    aid_connect(a);
    end_write(&a->client, bytes, 300000);
    wait_until(a, a->server.got_len == 300000);
    assert_memory_equal(a->server.got, bytes, 300000);
    free(bytes);
}

static void a_connection_knows_its_peer(void **state)
{
    struct aid *a = *state;
    char name[64];

    aid_connect(a);
    net_conn_peer_name(a->client.c, name, sizeof name);
    assert_string_equal(name, net_listener_address(a->listener));
    net_conn_peer_name(a->server.c, name, sizeof name);
    assert_memory_equal(name, "127.0.0.1:", 10);
    assert_true(net_conn_is_loopback(a->server.c));
    assert_true(net_conn_is_loopback(a->client.c));
    assert_int_not_equal(net_conn_id(a->client.c), net_conn_id(a->server.c));
    assert_ptr_equal(net_conn_loop(a->server.c), a->loop);
    assert_ptr_equal(net_conn_arg(a->server.c), &a->server);
    assert_true(net_conn_last_read_ms(a->server.c) > 0);
}

static void addresses_are_read_and_printed(void **state)
{
    static const char *const good[] = { "1.2.3.4:5", "[::1]:65535", "0.0.0.0:0", "[2001:db8::7]:80" };
    static const char *const bad[] = { "",         "1.2.3.4",    "1.2.3.4:",     "1.2.3.4:65536", "1.2.3.4:-1",
                                       ":80",      "::1:80",     "[::1]",        "[::1:80",       "localhost:80",
                                       "1.2.3:80", "1.2.3.4:8x", "1.2.3.4:123456", "[]:1",        "1.2.3.4 :80" };
    struct sockaddr_storage address;
    char text[64];
    uint8_t ip[16];
    uint16_t port;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(net_address_parse(good[i], &address), BT_OK);
        net_address_split(&address, ip, &port);
        net_address_print(ip, port, text, sizeof text);
        assert_string_equal(text, good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(net_address_parse(bad[i], &address), BT_EINVAL);
}

static void no_log(enum log_level level, const char *line, void *arg)
{
    int *lines = arg;

    (void)level;
    (void)line;
    ++*lines;
}

static void listening_fails_with_its_reason(void **state)
{
    struct aid *a = *state;
    struct net_listener *l;
    int lines = 0;

    log_set_sink(no_log, &lines);
    assert_int_equal(net_listen(a->loop, net_listener_address(a->listener), NULL, NULL, &l), BT_EEXIST);
    assert_int_equal(net_listen(a->loop, "203.0.113.7:0", NULL, NULL, &l), BT_EINVAL);
    assert_int_equal(net_listen(a->loop, "nonsense", NULL, NULL, &l), BT_EINVAL);
    log_set_sink(NULL, NULL);
    assert_int_equal(lines, 2);
}

static void connections_outlive_their_listener(void **state)
{
    struct aid *a = *state;

    a->server.echoes = true;
    aid_connect(a);
    net_listener_close(a->listener);
    a->listener = NULL;
    end_write(&a->client, "x", 1);
    wait_until(a, a->client.got_len == 1);
}

static void close_listener_and_conn(struct aid *a, struct net_conn *c)
{
    net_listener_close(a->listener);
    a->listener = NULL;
    net_conn_close(c);
}

static void a_listener_may_close_inside_its_callback(void **state)
{
    struct aid *a = *state;

    a->accept_hook = close_listener_and_conn;
    aid_dial(a);
    wait_until(a, a->client.closed);
    assert_int_equal(a->accepted, 1);
}

static void without_descriptors_accepting_waits_and_does_not_spin(void **state)
{
    struct aid *a = *state;
    struct rlimit saved, tight;
    int fd, fds[8], lines = 0, turns = 0;
    uint64_t start_us;
    struct sockaddr_storage address;

    assert_int_equal(net_address_parse(net_listener_address(a->listener), &address), BT_OK);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    for (int i = 0; i < 8; i++)
        fds[i] = dup(fd);
    log_set_sink(no_log, &lines);
    getrlimit(RLIMIT_NOFILE, &saved);
    tight = saved;
    tight.rlim_cur = (rlim_t)fds[7] + 1; /* all below are taken, or soon will be */
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    for (int i = 0; i < 8; i++)
        fds[i] = dup(fd);
    setrlimit(RLIMIT_NOFILE, &tight);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, net_address_size(&address)), 0);
    start_us = net_clock_us();
    while (net_clock_us() - start_us < 350000) {
        net_loop_turn(a->loop, 1000);
        turns++;
    }
    setrlimit(RLIMIT_NOFILE, &saved);
    log_set_sink(NULL, NULL);
    assert_int_equal(a->accepted, 0);
    assert_in_range(turns, 2, 20);
    assert_int_equal(lines, 1);
    wait_until(a, a->accepted == 1);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, aid_setup, aid_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_few_bytes_come_back),
        TEST(megabytes_come_back),
        TEST(an_idle_connection_holds_nothing_but_its_record),
        TEST(what_is_written_while_dialling_leaves_once_connected),
        TEST(a_turn_writes_once),
        TEST(what_is_reserved_leaves_in_its_place),
        TEST(what_is_reserved_passes_the_layers),
        TEST(nothing_is_reserved_where_nothing_would_be_taken),
        TEST(frames_survive_any_split),
        TEST(a_long_frame_in_small_pieces_is_put_together),
        TEST(many_frames_across_read_buffers_stay_whole),
        TEST(a_flooding_peer_gets_its_share_of_a_turn_only),
        TEST(too_long_an_unfinished_frame_closes),
        TEST(a_slow_reader_is_refused_then_drained),
        TEST(a_reader_too_slow_is_dropped_with_its_reason),
        TEST(a_write_beyond_the_limit_takes_nothing),
        TEST(early_tasks_run_when_the_read_is_over_and_others_after_all_reads),
        TEST(a_paused_end_is_shown_nothing_and_then_the_rest),
        TEST(resume_then_pause_shows_nothing),
        TEST(the_end_is_seen_only_after_what_a_pause_kept),
        TEST(a_pause_taken_back_at_once_loses_nothing),
        TEST(a_connection_knows_its_peer),
        TEST(addresses_are_read_and_printed),
        TEST(listening_fails_with_its_reason),
        TEST(connections_outlive_their_listener),
        TEST(a_listener_may_close_inside_its_callback),
        TEST(without_descriptors_accepting_waits_and_does_not_spin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
