/* test/unit/test_accept.c: addresses, and what accepting meets: why one cannot listen, listeners that end, no descriptors left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_MODULE "test"
#include "conn_aid.h"
#include "net/log.h"
#include "net/net_internal.h"

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
        TEST(addresses_are_read_and_printed),
        TEST(listening_fails_with_its_reason),
        TEST(connections_outlive_their_listener),
        TEST(a_listener_may_close_inside_its_callback),
        TEST(without_descriptors_accepting_waits_and_does_not_spin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
