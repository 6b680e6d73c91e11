/* test/unit/test_own_address.c: what others are told of a listener. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "net/net_internal.h"
#include "net/own_address.h"

static void check(const char *listens, const char *advertise, const char *told)
{
    char out[64];
    assert_int_equal(net_own_address(listens, advertise, out, sizeof out), BT_OK);
    assert_string_equal(out, told);
}

static void one_address_is_told_as_it_is(void **state)
{
    (void)state;
    check("10.0.0.4:7401", "", "10.0.0.4:7401");
    check("[fe80::1]:7401", "", "[fe80::1]:7401");
}

static void what_is_set_is_told_with_the_port_that_was_found(void **state)
{
    (void)state;
    check("0.0.0.0:4711", "192.0.2.7:7401", "192.0.2.7:7401");
    check("0.0.0.0:4711", "192.0.2.7", "192.0.2.7:4711");
    check("0.0.0.0:4711", "192.0.2.7:0", "192.0.2.7:4711");
    check("[::]:4711", "[2001:db8::7]:1", "[2001:db8::7]:1");
    check("[::]:4711", "[2001:db8::7]", "[2001:db8::7]:4711");
    check("[::]:4711", "[2001:db8::7]:0", "[2001:db8::7]:4711");
}

static void what_is_no_address_is_refused(void **state)
{
    static const char *const bad[] = { "host", "host:7401", "1.2.3:7401", "1.2.3.4:70000", "1.2.3.4:", "[::1", "2001:db8::7", ":", ":7401", "[]:1", "]:1" };
    char out[64], small[8];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(net_own_address("0.0.0.0:4711", bad[i], out, sizeof out), BT_EINVAL);
    assert_int_equal(net_own_address("10.0.0.4:7401", "", small, sizeof small), BT_EINVAL);
    assert_int_equal(net_own_address("0.0.0.0:4711", "10.0.0.4", small, sizeof small), BT_EINVAL);
}

static void of_all_addresses_one_that_can_be_dialled_is_told(void **state)
{
    static const char *const all[] = { "0.0.0.0:4711", "[::]:4711" };
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct sockaddr_storage parsed;
        char out[64];
        assert_int_equal(net_own_address(all[i], "", out, sizeof out), BT_OK);
        assert_int_equal(net_address_parse(out, &parsed), BT_OK);
        assert_string_equal(strrchr(out, ':'), ":4711");
        assert_string_not_equal(out, all[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_address_is_told_as_it_is),
        cmocka_unit_test(what_is_set_is_told_with_the_port_that_was_found),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(of_all_addresses_one_that_can_be_dialled_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
