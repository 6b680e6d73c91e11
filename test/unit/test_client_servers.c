/* test/unit/test_client_servers.c: which of the servers that the client library knows it takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "client/client_internal.h"

enum { NOW_MS = 1000000 };

static int setup(void **state)
{
    static struct client_servers s;

    s = (struct client_servers){ 0 };
    *state = &s;
    return 0;
}

static int teardown(void **state)
{
    client_servers_deinit(*state);
    return 0;
}

static DirectoryEntry entry(const char *address, uint32_t connections, uint32_t weight)
{
    return (DirectoryEntry){ .address = rpc_str(address), .connections = connections, .weight = weight };
}

/* Of two servers both are looked at, whatever the dice say. */
static void assert_taken(const struct client_servers *s, const char *wanted)
{
    for (uint64_t random = 0; random < 4; random++)
        assert_string_equal(client_servers_pick(s, NOW_MS, random), wanted);
}

static void the_less_loaded_of_two_is_taken(void **state)
{
    struct client_servers *s = *state;
    DirectoryEntry rows[] = { entry("192.0.2.1:1", 60, 1), entry("192.0.2.2:1", 50, 1) };

    client_servers_learn(s, rows, 2);
    assert_taken(s, "192.0.2.2:1");
    rows[0].weight = 2;
    client_servers_learn(s, rows, 2);
    assert_taken(s, "192.0.2.1:1");
}

static void servers_that_share_an_address_are_one_with_the_load_of_all(void **state)
{
    struct client_servers *s = *state;
    DirectoryEntry rows[] = { entry("192.0.2.1:1", 100, 1), entry("192.0.2.2:1", 50, 1), entry("192.0.2.1:1", 10, 1) };

    for (int times = 0; times < 2; times++) { /* what was learnt before is forgotten */
        client_servers_learn(s, rows, 3);
        assert_int_equal(s->count, 2);
        assert_int_equal(s->rows[0].connections, 110);
        assert_int_equal(s->rows[0].weight, 2);
        assert_taken(s, "192.0.2.2:1");
    }
    rows[1].connections = 56;
    client_servers_learn(s, rows, 3);
    assert_taken(s, "192.0.2.1:1");
}

static void loads_of_many_do_not_overflow(void **state)
{
    struct client_servers *s = *state;
    DirectoryEntry rows[] = { entry("192.0.2.1:1", UINT32_MAX, 1), entry("192.0.2.1:1", UINT32_MAX, 1), entry("192.0.2.2:1", UINT32_MAX - 1, 1) };

    client_servers_learn(s, rows, 3);
    assert_taken(s, "192.0.2.2:1");
}

static void who_is_passed_over_is_taken_only_when_there_is_nobody_else(void **state)
{
    struct client_servers *s = *state;
    DirectoryEntry rows[] = { entry("192.0.2.1:1", 0, 1), entry("192.0.2.2:1", 50, 1) };

    client_servers_learn(s, rows, 2);
    client_servers_shun(s, "192.0.2.1:1", NOW_MS + 1);
    assert_taken(s, "192.0.2.2:1");
    client_servers_shun(s, "192.0.2.2:1", NOW_MS + 1);
    assert_taken(s, "192.0.2.1:1");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_less_loaded_of_two_is_taken),
        TEST(servers_that_share_an_address_are_one_with_the_load_of_all),
        TEST(loads_of_many_do_not_overflow),
        TEST(who_is_passed_over_is_taken_only_when_there_is_nobody_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
