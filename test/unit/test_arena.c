/* test/unit/test_arena.c: net/arena.c: pieces of any size, aligned, zeroed, and all given back. */
#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "net/arena.h"
#include "net/mem.h"

static void pieces_do_not_overlap_whatever_their_size(void **state)
{
    struct arena a = { 0 };
    uint8_t *at[400];
    (void)state;
    for (size_t i = 0; i < 400; i++) {
        size_t size = i % 37 == 0 ? 9000 + i : i * 7 % 300;
        at[i] = arena_alloc(&a, size);
        assert_non_null(at[i]);
        assert_int_equal((uintptr_t)at[i] % alignof(max_align_t), 0);
        for (size_t k = 0; k < size; k++)
            assert_int_equal(at[i][k], 0);
        memset(at[i], (int)(i % 251) + 1, size);
    }
    for (size_t i = 0; i < 400; i++) {
        size_t size = i % 37 == 0 ? 9000 + i : i * 7 % 300;
        for (size_t k = 0; k < size; k++)
            assert_int_equal(at[i][k], i % 251 + 1);
    }
    arena_free(&a);
    assert_null(a.blocks);
}

static void a_copy_of_nothing_is_a_pointer(void **state)
{
    struct arena a = { 0 };
    (void)state;
    assert_non_null(arena_copy(&a, NULL, 0));
    assert_memory_equal(arena_copy(&a, "abc", 3), "abc", 3);
    assert_non_null(arena_array(&a, 0, 8));
    arena_free(&a);
}

static void too_much_is_refused(void **state)
{
    struct arena a = { 0 };
    (void)state;
    assert_null(arena_array(&a, SIZE_MAX / 4, 8));
    assert_null(arena_alloc(&a, SIZE_MAX - 3));
    arena_free(&a);
}

static void lack_of_memory_leaves_the_rest_usable(void **state)
{
    struct arena a = { 0 };
    char *kept;
    (void)state;
    kept = arena_copy(&a, "kept", 5);
    bt_mem_fail_after(0);
    assert_null(arena_alloc(&a, 100000));
    assert_true(bt_mem_has_failed());
    bt_mem_fail_after(-1);
    assert_string_equal(kept, "kept");
    assert_non_null(arena_alloc(&a, 100000));
    assert_string_equal(kept, "kept");
    arena_free(&a);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_do_not_overlap_whatever_their_size),
        cmocka_unit_test(a_copy_of_nothing_is_a_pointer),
        cmocka_unit_test(too_much_is_refused),
        cmocka_unit_test(lack_of_memory_leaves_the_rest_usable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
