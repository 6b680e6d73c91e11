/* test/unit/test_client_ids.c: ids of messages rise, whatever the clock does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/client_ids.h"

static void an_id_has_its_milliseconds_in_the_high_42_bits(void **state)
{
    struct client_ids ids = { 0 };
    bool must_reserve;
    (void)state;
    uint64_t id = client_ids_next(&ids, 1700000000123, UINT64_MAX, &must_reserve);
    assert_int_equal(id >> 22, 1700000000123);
    assert_int_equal(id & 0x3fffff, 0x3fffff);
}

static void ids_rise_when_the_clock_stands_still_or_goes_back(void **state)
{
    struct client_ids ids = { 0 };
    bool must_reserve;
    uint64_t last = 0;
    (void)state;
    for (uint64_t n = 0; n < 10000; n++) {
        uint64_t id = client_ids_next(&ids, 1700000000000 - n % 7 * 1000, n * UINT64_C(0x9e3779b97f4a7c15), &must_reserve);
        assert_true(id > last);
        last = id;
    }
}

static void a_stretch_is_reserved_before_it_is_used(void **state)
{
    struct client_ids ids = { 0 };
    bool must_reserve;
    (void)state;
    client_ids_next(&ids, 1000, 0, &must_reserve);
    assert_true(must_reserve);
    uint64_t reserved = ids.reserved;
    client_ids_next(&ids, 1000 + CLIENT_ID_RESERVE_MS - 1, 0, &must_reserve);
    assert_false(must_reserve);
    assert_int_equal(ids.reserved, reserved);
    uint64_t id = client_ids_next(&ids, 1001 + CLIENT_ID_RESERVE_MS, 0, &must_reserve);
    assert_true(must_reserve);
    assert_true(ids.reserved > id);
}

static void after_a_restart_numbering_goes_on_behind_what_was_reserved(void **state)
{
    struct client_ids before = { 0 }, after = { 0 };
    bool must_reserve;
    (void)state;
    uint64_t last = client_ids_next(&before, 1700000000000, 5, &must_reserve);
    client_ids_restore(&after, before.reserved);
    uint64_t next = client_ids_next(&after, 1600000000000, 5, &must_reserve); /* the clock was set back by years */
    assert_true(next > last);
    assert_true(next > before.reserved);
    assert_true(must_reserve);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_has_its_milliseconds_in_the_high_42_bits),
        cmocka_unit_test(ids_rise_when_the_clock_stands_still_or_goes_back),
        cmocka_unit_test(a_stretch_is_reserved_before_it_is_used),
        cmocka_unit_test(after_a_restart_numbering_goes_on_behind_what_was_reserved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
