/* test/unit/test_status.c: errors and statuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "rpc/status.h"

static void every_error_has_a_status_and_only_ok_is_ok(void **state)
{
    static const enum bt_err errs[] = {
#define ERR(name, text) name,
        BT_ERR_MAP(ERR)
#undef ERR
    };
    (void)state;
    for (size_t i = 0; i < sizeof errs / sizeof *errs; i++) {
        enum rpc_status s = rpc_status_of(errs[i]);
        assert_true(s <= RPC_STATUS_UNAUTHENTICATED);
        assert_int_equal(s == RPC_STATUS_OK, errs[i] == BT_OK);
    }
}

static void a_status_keeps_its_meaning_on_the_way_to_an_error_and_back(void **state)
{
    (void)state;
    for (uint8_t s = 0; s <= RPC_STATUS_UNAUTHENTICATED; s++) {
        uint8_t back = (uint8_t)rpc_status_of(rpc_err_of_status(s));
        assert_int_equal(back, s == RPC_STATUS_DATA_LOSS ? RPC_STATUS_INTERNAL : s);
    }
}

static void an_unknown_status_is_an_internal_error(void **state)
{
    (void)state;
    assert_int_equal(rpc_err_of_status(17), BT_EINTERNAL);
    assert_int_equal(rpc_err_of_status(255), BT_EINTERNAL);
    assert_string_equal(rpc_status_name(17), "?");
    assert_string_equal(rpc_status_name(14), "UNAVAILABLE");
}

static void three_statuses_promise_that_nothing_was_done(void **state)
{
    int n = 0;
    (void)state;
    for (int s = 0; s < 256; s++)
        n += rpc_status_is_not_done((uint8_t)s);
    assert_int_equal(n, 3);
    assert_true(rpc_status_is_not_done(RPC_STATUS_UNAVAILABLE));
    assert_true(rpc_status_is_not_done(RPC_STATUS_RESOURCE_EXHAUSTED));
    assert_true(rpc_status_is_not_done(RPC_STATUS_ABORTED));
}

static void what_may_have_been_done_never_promises_that_it_was_not(void **state)
{
    (void)state;
    assert_false(rpc_status_is_not_done((uint8_t)rpc_status_of(BT_EUNSURE)));
    assert_false(rpc_status_is_not_done((uint8_t)rpc_status_of(BT_ETIMEOUT)));
    assert_false(rpc_status_is_not_done((uint8_t)rpc_status_of(BT_EINTERNAL)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_a_status_and_only_ok_is_ok),
        cmocka_unit_test(a_status_keeps_its_meaning_on_the_way_to_an_error_and_back),
        cmocka_unit_test(an_unknown_status_is_an_internal_error),
        cmocka_unit_test(three_statuses_promise_that_nothing_was_done),
        cmocka_unit_test(what_may_have_been_done_never_promises_that_it_was_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
