/* test/unit/test_conn.c: bytes that leave by connections and come back: one write a turn, reserved room, limits, slow readers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conn_aid.h"
#include "net/net_internal.h"

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
        TEST(a_slow_reader_is_refused_then_drained),
        TEST(a_reader_too_slow_is_dropped_with_its_reason),
        TEST(a_write_beyond_the_limit_takes_nothing),
        TEST(a_connection_knows_its_peer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
