/* test/unit/test_bench_hist.c: the load tool's histogram of latencies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/bench_hist.h"
#include "client/bench_random.h"

static struct bench_hist hist, other;

static int clear(void **state)
{
    (void)state;
    memset(&hist, 0, sizeof hist);
    memset(&other, 0, sizeof other);
    return 0;
}

static void an_empty_one_answers_0(void **state)
{
    (void)state;
    assert_int_equal(bench_hist_quantile(&hist, 0), 0);
    assert_int_equal(bench_hist_quantile(&hist, 0.5), 0);
    assert_int_equal(bench_hist_quantile(&hist, 1), 0);
}

static void values_below_64_are_exact(void **state)
{
    (void)state;
    for (uint64_t v = 0; v < 64; v++) {
        clear(NULL);
        bench_hist_add(&hist, v);
        bench_hist_add(&hist, 1000000);
        assert_int_equal(bench_hist_quantile(&hist, 0.5), v);
    }
}

static void no_value_is_told_too_low_nor_more_than_a_32nd_too_high(void **state)
{
    struct bench_random r;
    (void)state;
    bench_random_init(&r, 1);
    for (int n = 0; n < 100000; n++) {
        uint64_t v = bench_random_next(&r) >> (n % 64), told;
        clear(NULL);
        bench_hist_add(&hist, v);
        bench_hist_add(&hist, UINT64_MAX);
        told = bench_hist_quantile(&hist, 0.5);
        assert_true(told >= v);
        assert_true(told - v <= v / BENCH_HIST_SUB);
    }
}

static void the_largest_values_have_a_bucket(void **state)
{
    (void)state;
    bench_hist_add(&hist, UINT64_MAX);
    bench_hist_add(&hist, UINT64_MAX - 1);
    assert_int_equal(hist.buckets[BENCH_HIST_BUCKETS - 1], 2);
    assert_true(bench_hist_quantile(&hist, 0.5) == UINT64_MAX);
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void quantiles_are_those_of_the_sorted_values(void **state)
{
    enum { COUNT = 10000 };
    static const double shares[] = { 0.001, 0.5, 0.9, 0.99, 0.999, 1 };
    static uint64_t values[COUNT];
    struct bench_random r;
    (void)state;
    bench_random_init(&r, 2);
    for (int n = 0; n < COUNT; n++) {
        values[n] = bench_random_next(&r) >> (24 + n % 40);
        bench_hist_add(&hist, values[n]);
    }
    qsort(values, COUNT, sizeof values[0], by_size);
    for (size_t n = 0; n < sizeof shares / sizeof shares[0]; n++) {
        uint64_t exact = values[(size_t)(shares[n] * COUNT + 0.5) - 1], told = bench_hist_quantile(&hist, shares[n]);
        assert_in_range(told, exact, exact + exact / BENCH_HIST_SUB);
    }
}

static void the_highest_quantile_is_the_maximum(void **state)
{
    (void)state;
    for (uint64_t v = 1; v < 2000; v += 7)
        bench_hist_add(&hist, v);
    assert_int_equal(bench_hist_quantile(&hist, 1), hist.max);
    assert_int_equal(bench_hist_quantile(&hist, 0), 1);
}

static void merging_two_is_as_adding_all_to_one(void **state)
{
    struct bench_hist all = { 0 };
    (void)state;
    for (uint64_t v = 1; v < 100000; v += 13) {
        bench_hist_add(v % 2 ? &hist : &other, v);
        bench_hist_add(&all, v);
    }
    bench_hist_merge(&hist, &other);
    assert_memory_equal(&hist, &all, sizeof all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_empty_one_answers_0, clear),
        cmocka_unit_test_setup(values_below_64_are_exact, clear),
        cmocka_unit_test_setup(no_value_is_told_too_low_nor_more_than_a_32nd_too_high, clear),
        cmocka_unit_test_setup(the_largest_values_have_a_bucket, clear),
        cmocka_unit_test_setup(quantiles_are_those_of_the_sorted_values, clear),
        cmocka_unit_test_setup(the_highest_quantile_is_the_maximum, clear),
        cmocka_unit_test_setup(merging_two_is_as_adding_all_to_one, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
