/* test/unit/test_bench_stat.c: the load tool's medians, and what it reads about processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/bench_proc.h"
#include "client/bench_stat.h"

static void check(double *values, unsigned count, double median, double min, double max)
{
    struct bench_stat s = bench_stat_of(values, count);
    assert_true(s.median == median && s.min == min && s.max == max);
}

static void the_median_of_an_odd_number_is_the_middle_one(void **state)
{
    (void)state;
    check((double[]){ 7 }, 1, 7, 7, 7);
    check((double[]){ 9, 1, 5 }, 3, 5, 1, 9);
    check((double[]){ 3, 3, 100, -1, 4 }, 5, 3, -1, 100);
}

static void the_median_of_an_even_number_is_the_mean_of_the_middle_two(void **state)
{
    (void)state;
    check((double[]){ 4, 1 }, 2, 2.5, 1, 4);
    check((double[]){ 8, 2, 4, 1 }, 4, 3, 1, 8);
}

static void of_nothing_all_are_0(void **state)
{
    (void)state;
    check(NULL, 0, 0, 0, 0);
}

static void processes_are_named_with_and_without_a_label(void **state)
{
    struct bench_procs p = { 0 };
    (void)state;
    assert_true(bench_procs_parse("12,345", "server", &p));
    assert_true(bench_procs_parse("redis=7", "server", &p));
    assert_int_equal(p.count, 2);
    assert_string_equal(p.groups[0].label, "server");
    assert_int_equal(p.groups[0].count, 2);
    assert_int_equal(p.groups[0].pids[1], 345);
    assert_string_equal(p.groups[1].label, "redis");
    assert_int_equal(p.groups[1].pids[0], 7);
}

static void what_names_no_process_is_refused(void **state)
{
    static const char *const bad[] = { "", "x", "1,", ",1", "1;2", "0", "-3", "=3", "redis=", "a-label-that-is-too-long=1", "99999999999" };
    (void)state;
    for (size_t n = 0; n < sizeof bad / sizeof bad[0]; n++) {
        struct bench_procs p = { 0 };
        assert_false(bench_procs_parse(bad[n], "server", &p));
    }
}

static void more_groups_or_processes_than_there_is_room_for_are_refused(void **state)
{
    struct bench_procs p = { 0 };
    char list[4 * BENCH_PIDS + 8] = "1";
    (void)state;
    for (int n = 1; n < BENCH_PIDS; n++)
        strcat(list, ",1");
    for (int n = 0; n < BENCH_GROUPS; n++)
        assert_true(bench_procs_parse(list, "server", &p));
    assert_false(bench_procs_parse("1", "server", &p));
    p.count = 0;
    strcat(list, ",1");
    assert_false(bench_procs_parse(list, "server", &p));
}

static void own_processor_time_and_memory_rise(void **state)
{
    enum { SIZE = 16 * 1024 * 1024 };
    struct bench_group self = { .pids = { getpid() }, .count = 1 };
    uint64_t cpu = bench_own_cpu_ns(), memory = bench_group_memory(&self);
    (void)state;
    assert_true(memory > 0);
    while (bench_own_cpu_ns() - cpu < 50000000)
        continue;
    assert_true(bench_group_cpu_ns(&self) >= cpu + 40000000);
    char *block = malloc(SIZE);
    assert_non_null(block);
    memset(block, 1, SIZE);
    assert_true(bench_group_memory(&self) >= memory + SIZE / 2);
    free(block);
}

static void a_process_that_is_gone_counts_nothing(void **state)
{
    struct bench_group gone = { .pids = { 999999999 }, .count = 1 };
    (void)state;
    assert_int_equal(bench_group_cpu_ns(&gone), 0);
    assert_int_equal(bench_group_memory(&gone), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_median_of_an_odd_number_is_the_middle_one),
        cmocka_unit_test(the_median_of_an_even_number_is_the_mean_of_the_middle_two),
        cmocka_unit_test(of_nothing_all_are_0),
        cmocka_unit_test(processes_are_named_with_and_without_a_label),
        cmocka_unit_test(what_names_no_process_is_refused),
        cmocka_unit_test(more_groups_or_processes_than_there_is_room_for_are_refused),
        cmocka_unit_test(own_processor_time_and_memory_rise),
        cmocka_unit_test(a_process_that_is_gone_counts_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
