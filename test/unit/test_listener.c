/* test/unit/test_listener.c: several listeners on one port, and the end of one of them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "log_aid.h"
#include "net/log.h"
#include "net/net_internal.h"

enum { CLIENTS = 64, DEADLINE_MS = 10000 };

/* One that accepts, counts and closes. */
struct door {
    struct net_listener *l;
    int accepted;
    bool closes_itself; /* in its callback */
};

struct fixture {
    struct net_loop *loop;
    struct door doors[2];
    int clients[CLIENTS], nclients;
};

static void accepted(struct net_conn *c, void *arg)
{
    struct door *d = arg;

    d->accepted++;
    net_conn_close(c);
    if (d->closes_itself)
        net_listener_close(d->l);
}

static int setup(void **state)
{
    static struct fixture f;

    f = (struct fixture){ 0 };
    *state = &f;
    log_nothing();
    return net_loop_new(&f.loop) == BT_OK ? 0 : -1;
}

static void door_shut(struct door *d)
{
    if (d->l)
        net_listener_close(d->l);
    d->l = NULL;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < f->nclients; i++)
        close(f->clients[i]);
    door_shut(&f->doors[0]);
    door_shut(&f->doors[1]);
    net_loop_run(f->loop);
    net_loop_free(f->loop);
    log_set_sink(NULL, NULL);
    return 0;
}

static void open_both(struct fixture *f)
{
    assert_int_equal(net_listen_shared(f->loop, "127.0.0.1:0", accepted, &f->doors[0], &f->doors[0].l), BT_OK);
    assert_int_equal(net_listen_shared(f->loop, net_listener_address(f->doors[0].l), accepted, &f->doors[1], &f->doors[1].l), BT_OK);
    assert_string_equal(net_listener_address(f->doors[1].l), net_listener_address(f->doors[0].l));
}

/* Blocking: they stand as soon as the kernel has them, accepted or not. */
static void connect_clients(struct fixture *f, const char *to, int n)
{
    struct sockaddr_storage address;

    assert_int_equal(net_address_parse(to, &address), BT_OK);
    while (n-- > 0) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_in_range(fd, 0, INT32_MAX);
        f->clients[f->nclients++] = fd;
        assert_int_equal(connect(fd, (struct sockaddr *)&address, net_address_size(&address)), 0);
    }
}

static void turn_until(struct fixture *f, int naccepted)
{
    uint64_t deadline_us = net_clock_us() + DEADLINE_MS * UINT64_C(1000);

    while (f->doors[0].accepted + f->doors[1].accepted < naccepted && net_clock_us() < deadline_us)
        net_loop_turn(f->loop, 10);
    assert_int_equal(f->doors[0].accepted + f->doors[1].accepted, naccepted);
}

static void connections_spread_over_those_who_share_a_port(void **state)
{
    struct fixture *f = *state;

    open_both(f);
    connect_clients(f, net_listener_address(f->doors[0].l), CLIENTS);
    turn_until(f, CLIENTS);
    assert_in_range(f->doors[0].accepted, 1, CLIENTS - 1); /* all to one: once in 2^63 */
}

static void a_port_is_shared_only_when_all_say_so(void **state)
{
    struct fixture *f = *state;
    struct net_listener *l;

    assert_int_equal(net_listen_shared(f->loop, "127.0.0.1:0", accepted, &f->doors[0], &f->doors[0].l), BT_OK);
    assert_int_equal(net_listen(f->loop, net_listener_address(f->doors[0].l), accepted, NULL, &l), BT_EEXIST);
    assert_int_equal(net_listen(f->loop, "127.0.0.1:0", accepted, &f->doors[1], &f->doors[1].l), BT_OK);
    assert_int_equal(net_listen_shared(f->loop, net_listener_address(f->doors[1].l), accepted, NULL, &l), BT_EEXIST);
}

static void who_waits_is_accepted_at_the_end_and_the_rest_goes_to_the_others(void **state)
{
    struct fixture *f = *state;
    char address[64], byte;

    open_both(f);
    snprintf(address, sizeof address, "%s", net_listener_address(f->doors[0].l));
    connect_clients(f, address, CLIENTS / 2);
    assert_int_equal(f->doors[0].accepted + f->doors[1].accepted, 0);
    net_listener_finish(f->doors[0].l);
    f->doors[0].l = NULL;
    int at_the_end = f->doors[0].accepted;
    assert_in_range(at_the_end, 1, CLIENTS / 2 - 1);
    connect_clients(f, address, CLIENTS / 2);
    turn_until(f, CLIENTS);
    assert_int_equal(f->doors[0].accepted, at_the_end);
    for (int i = 0; i < f->nclients; i++) /* closed in order: none was reset */
        assert_int_equal(recv(f->clients[i], &byte, 1, 0), 0);
}

static void who_waits_is_reset_when_it_just_closes(void **state)
{
    struct fixture *f = *state;
    int nreset = 0;
    char byte;

    open_both(f);
    connect_clients(f, net_listener_address(f->doors[0].l), CLIENTS);
    door_shut(&f->doors[0]);
    net_loop_turn(f->loop, 0);
    door_shut(&f->doors[1]);
    for (int i = 0; i < f->nclients; i++)
        nreset += recv(f->clients[i], &byte, 1, MSG_DONTWAIT) < 0 && errno == ECONNRESET;
    assert_in_range(nreset, 1, CLIENTS);
}

static void finishing_may_be_cut_short_by_its_callback(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(net_listen(f->loop, "127.0.0.1:0", accepted, &f->doors[0], &f->doors[0].l), BT_OK);
    connect_clients(f, net_listener_address(f->doors[0].l), 3);
    f->doors[0].closes_itself = true;
    net_listener_finish(f->doors[0].l);
    f->doors[0].l = NULL;
    assert_int_equal(f->doors[0].accepted, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(connections_spread_over_those_who_share_a_port),
        TEST(a_port_is_shared_only_when_all_say_so),
        TEST(who_waits_is_accepted_at_the_end_and_the_rest_goes_to_the_others),
        TEST(who_waits_is_reset_when_it_just_closes),
        TEST(finishing_may_be_cut_short_by_its_callback),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
