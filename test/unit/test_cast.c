/* test/unit/test_cast.c: the same bytes to many connections (net/cast.c): in order with what else is written, whole, and kept once. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "conn_aid.h"
#include "net/mem.h"
#include "net/net_internal.h"

/* Cast text, its first byte as the head, to one end or both. */
static void cast_to(struct aid *a, const char *text, bool to_client, bool to_server)
{
    struct net_cast cast;

    net_cast_begin(&cast, a->loop, text, 1, text + 1, (uint32_t)strlen(text) - 1);
    if (to_client)
        assert_int_equal(net_conn_cast(a->client.c, &cast), BT_OK);
    if (to_server)
        assert_int_equal(net_conn_cast(a->server.c, &cast), BT_OK);
}

static void assert_got(struct aid *a, const struct end *e, const char *text)
{
    wait_until(a, e->got_len >= strlen(text));
    assert_int_equal(e->got_len, strlen(text));
    assert_memory_equal(e->got, text, strlen(text));
}

static void assert_nothing_is_kept(const struct aid *a)
{
    assert_int_equal(a->loop->cast_users, 0);
    assert_int_equal(a->loop->casts_len, 0);
}

static void casts_of_a_turn_leave_in_one_write_for_each(void **state)
{
    struct aid *a = *state;
    uint64_t writes;

    aid_connect(a);
    writes = a->loop->writes;
    cast_to(a, "one ", true, true);
    cast_to(a, "two ", true, true);
    cast_to(a, "three", true, true);
    assert_int_equal(a->loop->casts_len, 13); /* once, and in nobody's own output */
    assert_null(a->client.c->out.first);
    assert_int_equal(net_conn_queued(a->client.c), 13);
    assert_got(a, &a->server, "one two three");
    assert_got(a, &a->client, "one two three");
    assert_int_equal(a->loop->writes, writes + 2);
    assert_int_equal(net_conn_queued(a->client.c), 0);
    assert_nothing_is_kept(a);
}

static void who_gets_not_all_of_them_gets_his_own_in_order(void **state)
{
    struct aid *a = *state;

    aid_connect(a);
    cast_to(a, "1", true, true);
    cast_to(a, "2", true, false);
    cast_to(a, "3", true, true);
    cast_to(a, "4", false, true);
    assert_got(a, &a->server, "123");
    assert_got(a, &a->client, "134");
    assert_nothing_is_kept(a);
}

static void what_is_written_among_casts_keeps_its_place(void **state)
{
    struct aid *a = *state;

    aid_connect(a);
    end_write(&a->client, "a", 1);
    cast_to(a, "b", true, true);
    end_write(&a->server, "c", 1);
    cast_to(a, "d", true, true);
    end_write(&a->client, "e", 1);
    assert_got(a, &a->server, "abde");
    assert_got(a, &a->client, "bcd");
    assert_nothing_is_kept(a);
}

static void a_cast_goes_through_layers_and_waits_for_a_dial(void **state)
{
    struct aid *a = *state;

    a->layers = 1;
    aid_dial(a);
    cast_to(a, "early ", true, false);
    wait_until(a, a->server.c && a->client.opened);
    cast_to(a, "late", true, true);
    assert_got(a, &a->server, "early late");
    assert_got(a, &a->client, "late");
    assert_nothing_is_kept(a);
}

static void more_than_is_kept_is_copied(void **state)
{
    enum { PIECE = 100000, PIECES = 7 };
    struct aid *a = *state;
    uint8_t *bytes = aid_pattern(PIECE * PIECES);
    struct net_cast cast;

    aid_connect(a);
    for (int i = 0; i < PIECES; i++) {
        net_cast_begin(&cast, a->loop, bytes + i * PIECE, 48, bytes + i * PIECE + 48, PIECE - 48);
        assert_false(cast.is_kept); /* nobody has taken it yet */
        assert_int_equal(net_conn_cast(a->client.c, &cast), BT_OK);
        assert_int_equal(cast.is_kept, i < NET_CAST_ROOM / PIECE);
    }
    wait_until(a, a->server.got_len == PIECE * PIECES);
    assert_memory_equal(a->server.got, bytes, PIECE * PIECES);
    wait_until(a, net_conn_queued(a->client.c) == 0);
    assert_nothing_is_kept(a);
    free(bytes);
}

/* Whoever reads nothing is refused at the limit; what was taken comes, whole, when he reads. */
static void what_the_kernel_does_not_take_survives_the_turn(void **state)
{
    enum { PIECE = 10000, MOST = 64 << 20 };
    struct aid *a = *state;
    uint8_t *bytes = aid_pattern(MOST), *got = malloc(MOST);
    size_t taken = 0, read_len = 0;
    enum bt_err err = BT_OK;
    int fd;

    a->limits.out_high_bytes = 1000000;
    a->limits.out_low_bytes = 200000;
    fd = aid_raw_connect(a);
    while (err == BT_OK && taken + 8 * PIECE <= MOST) {
        for (int i = 0; i < 8 && err == BT_OK; i++) {
            struct net_cast cast;
            net_cast_begin(&cast, a->loop, bytes + taken, PIECE, NULL, 0);
            err = net_conn_cast(a->server.c, &cast);
            taken += err == BT_OK ? PIECE : 0;
        }
        aid_turn(a);
        assert_nothing_is_kept(a);
    }
    assert_int_equal(err, BT_EBUSY);
    while (read_len < taken) {
        ssize_t n = recv(fd, got + read_len, MOST - read_len, MSG_DONTWAIT);

        aid_turn(a);
        if (n > 0)
            read_len += (size_t)n;
    }
    assert_memory_equal(got, bytes, taken);
    wait_until(a, a->server.drained == 1);
    close(fd);
    wait_until(a, a->server.closed);
    free(bytes);
    free(got);
}

static void who_closes_leaves_nothing_behind(void **state)
{
    struct aid *a = *state;
    struct net_cast cast;

    aid_connect(a);
    cast_to(a, "never", true, true);
    end_close(&a->client);
    assert_int_equal(a->loop->cast_users, 1);
    net_cast_begin(&cast, a->loop, "x", 1, NULL, 0);
    assert_int_equal(net_conn_cast(a->client.c, &cast), BT_ECLOSING);
    wait_until(a, a->client.closed && a->server.closed);
    assert_int_equal(a->server.got_len, 0);
    assert_nothing_is_kept(a);
}

static void without_memory_nothing_is_lost_or_doubled(void **state)
{
    struct aid *a = *state;
    struct net_cast cast;

    aid_connect(a);
    bt_mem_fail_after(0);
    cast_to(a, "copied ", true, false); /* no room to keep any: it is copied */
    bt_mem_fail_after(-1);
    assert_got(a, &a->server, "copied ");
    cast_to(a, "kept ", true, true);
    net_chunk_pool_free(a->loop);
    bt_mem_fail_after(0);
    assert_int_equal(net_conn_write(a->client.c, "no", 2), BT_ENOMEM);
    bt_mem_fail_after(-1);
    net_cast_begin(&cast, a->loop, "t", 1, "oo", 2);
    assert_int_equal(net_conn_cast(a->client.c, &cast), BT_OK);
    assert_got(a, &a->server, "copied kept too");
    assert_got(a, &a->client, "kept ");
    assert_nothing_is_kept(a);
}

static void note_room(struct aid *a, struct net_conn *c)
{
    uint64_t *room = net_conn_room(c);

    assert_true(room[0] == 0 && room[1] == 0);
    room[0] = room[1] = UINT64_MAX;
    a->server.c = c;
    net_conn_start(c, &end_ops, &a->limits, &a->server);
}

static void an_accepted_connection_has_room_for_its_owner(void **state)
{
    struct aid *a = *state;

    net_listener_reserve(a->listener, 16);
    a->accept_hook = note_room;
    aid_connect(a);
    cast_to(a, "hello", true, true);
    assert_got(a, &a->server, "hello");
    assert_got(a, &a->client, "hello");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, aid_setup, aid_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(casts_of_a_turn_leave_in_one_write_for_each),
        TEST(who_gets_not_all_of_them_gets_his_own_in_order),
        TEST(what_is_written_among_casts_keeps_its_place),
        TEST(a_cast_goes_through_layers_and_waits_for_a_dial),
        TEST(more_than_is_kept_is_copied),
        TEST(what_the_kernel_does_not_take_survives_the_turn),
        TEST(who_closes_leaves_nothing_behind),
        TEST(without_memory_nothing_is_lost_or_doubled),
        TEST(an_accepted_connection_has_room_for_its_owner),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
