/* test/unit/test_user_tries.c: guessing at passwords: what is let through, what waits, and for how long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "net/mem.h"
#include "roles/user_tries.h"

enum { MAX = 10, WINDOW_MS = 60000, REST_MS = 900000 };

static struct user_tries *t;
static uint64_t now_ms;

static int setup(void **state)
{
    (void)state;
    now_ms = 1000000;
    assert_int_equal(user_tries_new(MAX, WINDOW_MS, &t), BT_OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    user_tries_free(t);
    return 0;
}

/* One try; how long it has to wait, 0 when it was let through. */
static uint32_t attempt(const char *name, enum user_try what)
{
    uint64_t key;
    uint32_t wait_ms = user_tries_begin(t, now_ms, USER_TRIES_BY_NAME, name, strlen(name), &key);

    if (wait_ms == 0)
        user_tries_end(t, key, what);
    return wait_ms;
}

static void wrong_times(const char *name, int n)
{
    for (int i = 0; i < n; i++)
        assert_int_equal(attempt(name, USER_TRY_WRONG), 0);
}

static void after_the_limit_each_try_waits_twice_as_long(void **state)
{
    uint32_t last = 0;

    (void)state;
    wrong_times("ann", MAX);
    for (int i = 0; i < 12; i++) {
        uint32_t wait_ms = attempt("ann", USER_TRY_WRONG);
        assert_in_range(wait_ms, last == 0 ? 1000 : last < REST_MS / 2 ? 2 * last - 2 : REST_MS, last == 0 ? WINDOW_MS / MAX + 1 : REST_MS);
        assert_int_equal(attempt("ann", USER_TRY_WRONG), wait_ms); /* asking makes it no longer */
        assert_int_equal(attempt("ben", USER_TRY_RIGHT), 0);
        now_ms += wait_ms;
        wrong_times("ann", 1);
        last = wait_ms;
    }
    assert_int_equal(last, REST_MS);
}

static void the_right_password_and_a_rest_forget_it(void **state)
{
    (void)state;
    wrong_times("ann", MAX);
    now_ms += attempt("ann", USER_TRY_NONE);
    assert_int_equal(attempt("ann", USER_TRY_RIGHT), 0);
    wrong_times("ann", MAX);
    now_ms += WINDOW_MS / MAX + 1 + REST_MS;
    wrong_times("ann", MAX);
    assert_true(attempt("ann", USER_TRY_NONE) > 0);
    wrong_times("ben", MAX - 1);
    now_ms += WINDOW_MS;
    wrong_times("ben", MAX - 1);
    assert_int_equal(attempt("ben", USER_TRY_NONE), 0);
}

static void what_was_not_looked_at_does_not_count(void **state)
{
    (void)state;
    for (int i = 0; i < 5 * MAX; i++)
        assert_int_equal(attempt("ann", USER_TRY_NONE), 0);
    wrong_times("ann", MAX);
    assert_true(attempt("ann", USER_TRY_NONE) > 0);
}

static void many_at_once_are_no_way_around_it(void **state)
{
    uint64_t keys[3 * MAX], key;
    int n = 0;

    (void)state;
    for (int i = 0; i < 3 * MAX; i++)
        if (user_tries_begin(t, now_ms, USER_TRIES_BY_NAME, "ann", 3, &key) == 0)
            keys[n++] = key;
    assert_int_equal(n, MAX);
    for (int i = 0; i < n; i++)
        user_tries_end(t, keys[i], USER_TRY_WRONG);
    assert_true(attempt("ann", USER_TRY_RIGHT) > 0);
}

/* As many names as hashes could be computed for in that time. */
static void many_other_names_do_not_push_one_out(void **state)
{
    char name[32];

    (void)state;
    wrong_times("ann", MAX);
    for (int i = 0; i < 4000; i++) {
        snprintf(name, sizeof name, "other %d", i);
        wrong_times(name, 1);
    }
    assert_true(attempt("ann", USER_TRY_NONE) > 0);
    for (int i = 0; i < 100000; i++) { /* the table does not grow, and goes on */
        snprintf(name, sizeof name, "more %d", i);
        wrong_times(name, 1);
    }
}

/* Whoever makes the server too busy to look at passwords costs it nothing, and must not make it forget. */
static void names_whose_passwords_were_not_looked_at_push_nobody_out(void **state)
{
    char name[16];

    (void)state;
    wrong_times("ann", MAX - 1);
    for (int i = 0; i < 200000; i++) {
        snprintf(name, sizeof name, "x%d", i);
        now_ms += i % 20 == 0;
        attempt(name, USER_TRY_NONE);
    }
    wrong_times("ann", 1);
    assert_true(attempt("ann", USER_TRY_WRONG) > 0);
}

/* Anybody may send a number's bytes as a name. */
static void a_number_is_not_held_up_by_a_name_of_the_same_bytes(void **state)
{
    uint64_t key;

    (void)state;
    wrong_times("12345678", MAX);
    assert_true(attempt("12345678", USER_TRY_NONE) > 0);
    assert_int_equal(user_tries_begin(t, now_ms, USER_TRIES_BY_NUMBER, "12345678", 8, &key), 0);
    user_tries_end(t, key, USER_TRY_RIGHT);
    assert_true(attempt("12345678", USER_TRY_NONE) > 0);
}

static void a_try_of_two_passwords_counts_as_two(void **state)
{
    uint64_t key;
    int n = 0;

    (void)state;
    while (user_tries_begin(t, now_ms, USER_TRIES_BY_NUMBER, "12345678", 8, &key) == 0) {
        user_tries_more(t, now_ms, key);
        user_tries_end(t, key, USER_TRY_WRONG);
        n++;
    }
    assert_int_equal(n, MAX / 2);
    now_ms += user_tries_begin(t, now_ms, USER_TRIES_BY_NUMBER, "12345678", 8, &key);
    assert_int_equal(user_tries_begin(t, now_ms, USER_TRIES_BY_NUMBER, "12345678", 8, &key), 0);
    user_tries_more(t, now_ms, key);
    assert_in_range(user_tries_begin(t, now_ms, USER_TRIES_BY_NUMBER, "12345678", 8, &(uint64_t){ 0 }), 3 * WINDOW_MS / MAX, 4 * WINDOW_MS / MAX + 4);
    user_tries_end(t, key, USER_TRY_RIGHT);
    assert_int_equal(user_tries_begin(t, now_ms, USER_TRIES_BY_NUMBER, "12345678", 8, &key), 0);
}

static void without_a_limit_nothing_is_refused(void **state)
{
    (void)state;
    user_tries_free(t);
    assert_int_equal(user_tries_new(0, WINDOW_MS, &t), BT_OK);
    wrong_times("ann", 1000);
}

static void without_memory_there_is_none(void **state)
{
    struct user_tries *none = NULL;

    (void)state;
    bt_mem_fail_after(0);
    assert_int_equal(user_tries_new(MAX, WINDOW_MS, &none), BT_ENOMEM);
    bt_mem_fail_after(-1);
    user_tries_free(none);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(after_the_limit_each_try_waits_twice_as_long),
        TEST(the_right_password_and_a_rest_forget_it),
        TEST(what_was_not_looked_at_does_not_count),
        TEST(many_at_once_are_no_way_around_it),
        TEST(many_other_names_do_not_push_one_out),
        TEST(names_whose_passwords_were_not_looked_at_push_nobody_out),
        TEST(a_number_is_not_held_up_by_a_name_of_the_same_bytes),
        TEST(a_try_of_two_passwords_counts_as_two),
        TEST(without_a_limit_nothing_is_refused),
        TEST(without_memory_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
