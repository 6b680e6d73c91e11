/* test/unit/test_client_backoff.c: waiting before trying again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/client_backoff.h"

/* The longest wait that the next try can draw: a random that is span modulo span + 1. */
static uint32_t longest(struct client_backoff b)
{
    uint32_t most = 0;
    for (uint64_t random = 0; random < 20000; random++) {
        struct client_backoff copy = b;
        uint32_t wait_ms = client_backoff_next(&copy, random);
        if (wait_ms > most)
            most = wait_ms;
    }
    return most;
}

static void waits_double_up_to_the_limit(void **state)
{
    static const uint32_t spans[] = { 100, 200, 400, 800, 1600, 3200, 6400, 12800, 15000, 15000 };
    struct client_backoff b = { .min_ms = 100, .max_ms = 15000 };
    (void)state;
    for (size_t n = 0; n < sizeof spans / sizeof *spans; n++) {
        assert_int_equal(longest(b), spans[n]);
        client_backoff_next(&b, 0);
    }
}

static void jitter_is_full(void **state)
{
    struct client_backoff b = { .min_ms = 100, .max_ms = 15000, .tries = 3 };
    int low = 0, high = 0;
    (void)state;
    for (uint64_t random = 0; random < 801; random++) {
        struct client_backoff copy = b;
        uint32_t wait_ms = client_backoff_next(&copy, random);
        low += wait_ms < 80;
        high += wait_ms > 720;
    }
    assert_int_equal(low, 80);
    assert_int_equal(high, 80);
}

static void success_starts_it_anew(void **state)
{
    struct client_backoff b = { .min_ms = 100, .max_ms = 15000, .tries = 9 };
    (void)state;
    client_backoff_reset(&b);
    assert_int_equal(longest(b), 100);
}

static void a_success_must_hold_longer_than_the_longest_wait(void **state)
{
    struct client_backoff b = { .min_ms = 100, .max_ms = 15000, .tries = 9 };
    (void)state;
    client_backoff_held(&b, 15000, 5000);
    assert_int_equal(b.tries, 9);
    client_backoff_held(&b, 15001, 5000);
    assert_int_equal(b.tries, 0);
    b = (struct client_backoff){ .min_ms = 10, .max_ms = 50, .tries = 9 };
    client_backoff_held(&b, 4999, 5000);
    assert_int_equal(b.tries, 9);
}

static void it_never_overflows(void **state)
{
    struct client_backoff b = { .min_ms = UINT32_MAX, .max_ms = UINT32_MAX, .tries = UINT32_MAX };
    (void)state;
    assert_int_equal(client_backoff_next(&b, UINT32_MAX), UINT32_MAX);
    assert_int_equal(b.tries, UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_double_up_to_the_limit),
        cmocka_unit_test(jitter_is_full),
        cmocka_unit_test(success_starts_it_anew),
        cmocka_unit_test(a_success_must_hold_longer_than_the_longest_wait),
        cmocka_unit_test(it_never_overflows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
