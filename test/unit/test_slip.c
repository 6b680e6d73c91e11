/* test/unit/test_slip.c: the memory of frames within the process: got once and used again, but not without end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#include "net/mem.h"
#include "rpc/slip.h"

static struct rpc_slip *slip_new(struct rpc_spare_slips *spare, size_t len)
{
    struct rpc_slip *slip = rpc_slip_new(spare, len);

    assert_non_null(slip);
    memset(slip->bytes, 'x', len);
    return slip;
}

static void a_slip_is_used_again_for_whatever_it_has_room_for(void **state)
{
    static const size_t lens[][2] = { { 0, 1024 }, { 1024, 1 }, { 1025, 8192 }, { 8192, 5000 }, { 8193, 65536 }, { 65536, 40000 } };
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* none is: it would hide that one is used after it was freed */
#endif
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        struct rpc_spare_slips spare = { 0 };
        rpc_slip_free(&spare, slip_new(&spare, lens[i][0]));
        bt_mem_fail_after(0);
        struct rpc_slip *again = slip_new(&spare, lens[i][1]);
        assert_false(bt_mem_has_failed());
        assert_null(rpc_slip_new(&spare, lens[i][1])); /* there was one */
        bt_mem_fail_after(-1);
        rpc_slip_free(&spare, again);
        rpc_slip_free_spare(&spare);
    }
}

static void no_more_are_kept_than_a_megabyte(void **state)
{
    enum { N = 600 };
    static const size_t lens[] = { 1, 1024, 5000, 8192, 10000, 65536, 65537, 1000000 };
    static struct rpc_slip *slips[N];
    struct rpc_spare_slips spare = { 0 };
    (void)state;
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        for (size_t n = 0; n < N; n++)
            slips[n] = rpc_slip_new(&spare, lens[i]);
        for (size_t n = 0; n < N; n++)
            rpc_slip_free(&spare, slips[n]);
    }
    assert_true(spare.of[0].count * 1024 + spare.of[1].count * 8192 + spare.of[2].count * 65536 <= 1 << 20);
    rpc_slip_free_spare(&spare);
    for (size_t i = 0; i < RPC_SLIP_SIZES; i++)
        assert_int_equal(spare.of[i].count, 0);
}

static void the_address_sanitizer_sees_who_uses_one_that_was_freed_or_goes_beyond(void **state)
{
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    static const size_t lens[] = { 1, 1024, 5000, 65536, 65537 };
    struct rpc_spare_slips spare = { 0 };
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        struct rpc_slip *slip = slip_new(&spare, lens[i]);
        assert_true(__asan_address_is_poisoned(slip->bytes + lens[i]));
        rpc_slip_free(&spare, slip);
        assert_true(__asan_address_is_poisoned(slip->bytes));
    }
#else
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slip_is_used_again_for_whatever_it_has_room_for),
        cmocka_unit_test(the_address_sanitizer_sees_who_uses_one_that_was_freed_or_goes_beyond),
        cmocka_unit_test(no_more_are_kept_than_a_megabyte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
