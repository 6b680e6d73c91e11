/* test/unit/test_bench_random.c: the load tool's random numbers and its Zipf distribution. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/bench_random.h"

enum { DRAWS = 400000 };

static void seeds_that_differ_little_begin_differently(void **state)
{
    struct bench_random a, b;
    (void)state;
    bench_random_init(&a, 0);
    bench_random_init(&b, 1);
    assert_true(a.state != 0 && b.state != 0);
    assert_true(__builtin_popcountll(bench_random_next(&a) ^ bench_random_next(&b)) > 12);
}

static void numbers_below_a_limit_are_below_it_and_even(void **state)
{
    struct bench_random r;
    uint32_t seen[7] = { 0 };
    (void)state;
    bench_random_init(&r, 3);
    for (int n = 0; n < DRAWS; n++)
        seen[bench_random_below(&r, 7)]++;
    for (int n = 0; n < 7; n++)
        assert_in_range(seen[n], DRAWS / 7 * 97 / 100, DRAWS / 7 * 103 / 100);
    assert_int_equal(bench_random_below(&r, 1), 0);
}

static void fractions_are_at_least_0_and_below_1(void **state)
{
    struct bench_random r;
    double sum = 0;
    (void)state;
    bench_random_init(&r, 4);
    for (int n = 0; n < DRAWS; n++) {
        double x = bench_random_unit(&r);
        assert_true(x >= 0 && x < 1);
        sum += x;
    }
    assert_true(fabs(sum / DRAWS - 0.5) < 0.01);
}

/* The shares of the first ranks, against the formula. */
static void check_shares(uint32_t count, double s)
{
    struct bench_random r;
    struct bench_zipf z;
    static uint32_t seen[1000];
    double sum = 0;
    bench_random_init(&r, 5);
    assert_int_equal(bench_zipf_init(&z, count, s), BT_OK);
    for (uint32_t n = 0; n < count; n++) {
        seen[n] = 0;
        sum += 1 / pow(n + 1, s);
    }
    for (int n = 0; n < DRAWS; n++) {
        uint32_t rank = bench_zipf_draw(&z, &r);
        assert_true(rank < count);
        seen[rank]++;
    }
    for (uint32_t n = 0; n < count && n < 10; n++) {
        double share = 1 / pow(n + 1, s) / sum;
        assert_true(fabs((double)seen[n] / DRAWS - share) < 0.02 * share + 0.001);
    }
    bench_zipf_free(&z);
}

static void a_rank_is_drawn_as_often_as_zipf_says(void **state)
{
    (void)state;
    check_shares(1000, 1);
    check_shares(1000, 0.7);
    check_shares(100, 2);
}

static void with_s_0_all_ranks_are_alike(void **state)
{
    (void)state;
    check_shares(10, 0);
    check_shares(1, 0);
}

static void nothing_to_draw_from_is_refused(void **state)
{
    struct bench_zipf z;
    (void)state;
    assert_int_equal(bench_zipf_init(&z, 0, 1), BT_EINVAL);
    assert_int_equal(bench_zipf_init(&z, 5, -1), BT_EINVAL);
    assert_int_equal(bench_zipf_init(&z, 5, NAN), BT_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeds_that_differ_little_begin_differently),
        cmocka_unit_test(numbers_below_a_limit_are_below_it_and_even),
        cmocka_unit_test(fractions_are_at_least_0_and_below_1),
        cmocka_unit_test(a_rank_is_drawn_as_often_as_zipf_says),
        cmocka_unit_test(with_s_0_all_ranks_are_alike),
        cmocka_unit_test(nothing_to_draw_from_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
