/* test/unit/test_proxy_shed.c: how many logins are taken at once, and when the others are told to come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "roles/proxy.h"

static void no_more_than_the_limit_are_taken(void **state)
{
    struct proxy_shed_queue q = { .limit = 3 };

    (void)state;
    for (int n = 0; n < 3; n++)
        assert_true(proxy_shed_takes(&q, 1000));
    assert_false(proxy_shed_takes(&q, 1000));
    proxy_shed_done(&q, 1001);
    assert_true(proxy_shed_takes(&q, 1001));
    assert_false(proxy_shed_takes(&q, 1001));
}

static void the_longer_the_queue_the_later_one_is_to_come(void **state)
{
    struct proxy_shed_queue q = { .limit = 1 };
    uint32_t first_ms = proxy_shed_when(&q, 1000, 0), last_ms = first_ms;

    (void)state;
    for (int n = 0; n < 1000; n++) {
        uint32_t when_ms = proxy_shed_when(&q, 1000, 0);
        assert_true(when_ms >= last_ms);
        last_ms = when_ms;
    }
    assert_int_equal(last_ms - first_ms, 1000);
    assert_true(proxy_shed_when(&q, 9000, 0) <= first_ms); /* they have had their times */
}

static void no_two_draws_need_be_alike_but_none_is_early(void **state)
{
    struct proxy_shed_queue q = { .limit = 1 };

    (void)state;
    for (int n = 0; n < 1000; n++)
        (void)proxy_shed_when(&q, 1000, 0);
    struct proxy_shed_queue same = q;
    uint32_t early_ms = proxy_shed_when(&q, 1000, 0), late_ms = proxy_shed_when(&same, 1000, early_ms / 4);
    assert_true(late_ms > early_ms && late_ms <= early_ms + early_ms / 4);
}

static void nobody_waits_longer_than_ten_seconds_and_a_jitter(void **state)
{
    struct proxy_shed_queue q = { .limit = 1 };

    (void)state;
    for (int n = 0; n < 100000; n++)
        assert_in_range(proxy_shed_when(&q, 1000, (uint32_t)n * 7919u), 50, 12600);
}

static void times_are_as_far_apart_as_logins_were_done(void **state)
{
    struct proxy_shed_queue q = { .limit = 1 };
    uint64_t now_ms = 1000;

    (void)state;
    for (int n = 0; n < 200; n++, now_ms += 10) { /* one in ten milliseconds, and there is always one more */
        assert_true(proxy_shed_takes(&q, now_ms));
        assert_false(proxy_shed_takes(&q, now_ms));
        if (n % 50 == 0)
            (void)proxy_shed_when(&q, now_ms, 0);
        proxy_shed_done(&q, now_ms + 9);
    }
    q.has_shed = true;
    for (int n = 0; n < 20; n++, now_ms += 10) {
        assert_true(proxy_shed_takes(&q, now_ms));
        (void)proxy_shed_when(&q, now_ms, 0);
        proxy_shed_done(&q, now_ms + 9);
    }
    now_ms += 60000;
    uint32_t first_ms = proxy_shed_when(&q, now_ms, 0), last_ms = first_ms;
    for (int n = 0; n < 100; n++)
        last_ms = proxy_shed_when(&q, now_ms, 0);
    assert_in_range(last_ms - first_ms, 800, 1200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_more_than_the_limit_are_taken),
        cmocka_unit_test(the_longer_the_queue_the_later_one_is_to_come),
        cmocka_unit_test(no_two_draws_need_be_alike_but_none_is_early),
        cmocka_unit_test(nobody_waits_longer_than_ten_seconds_and_a_jitter),
        cmocka_unit_test(times_are_as_far_apart_as_logins_were_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
