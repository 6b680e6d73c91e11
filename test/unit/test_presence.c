/* test/unit/test_presence.c: presence in memory, as a reader with a copy sees it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/mem.h"
#include "test/unit/presence_cases.h"

static int setup(void **state)
{
    struct presence_fixture *f = calloc(1, sizeof *f);
    char why[128];
    assert_int_equal(net_loop_new(&f->loop), BT_OK);
    f->conf = presence_conf();
    f->knows_current = true;
    assert_int_equal(presence_open(f->loop, f->conf, "10.0.0.4:7500", 77, &f->p, why, sizeof why), BT_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct presence_fixture *f = *state;
    if (f->p != NULL)
        presence_close_now(f->loop, f->p);
    net_loop_free(f->loop);
    conf_free(f->conf);
    free(f);
    return 0;
}

static void a_failed_allocation_is_told(void **state)
{
    struct presence_fixture *f = *state;
    presence_set(f->p, 5, true, NULL, NULL);
    for (long n = 0; n < 3; n++) {
        struct presence_reader r = { 0 };
        bt_mem_fail_after(n);
        enum bt_err err = presence_read_now(f->loop, f->p, &r);
        bool has_failed = bt_mem_has_failed();
        bt_mem_fail_after(-1);
        /* the record of the call has a spare; the rows have none */
        assert_int_equal(err, has_failed && n == 1 ? BT_ENOMEM : BT_OK);
    }
}

static void an_unknown_url_is_refused_with_a_reason(void **state)
{
    struct presence_fixture *f = *state;
    struct presence *p = NULL;
    char why[128] = "";
    assert_int_equal(conf_set(f->conf, "presence.url=carrier-pigeon://me:secret@loft", why, sizeof why), BT_OK);
    assert_int_equal(presence_open(f->loop, f->conf, "a:1", 1, &p, why, sizeof why), BT_EINVAL);
    assert_non_null(strstr(why, "carrier-pigeon"));
    assert_null(strstr(why, "secret"));
    assert_null(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_reader_follows_by_the_log, setup, teardown),
        cmocka_unit_test_setup_teardown(setting_what_is_set_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reader_beyond_the_log_gets_all_again, setup, teardown),
        cmocka_unit_test_setup_teardown(another_generation_or_a_position_of_the_future_gets_all, setup, teardown),
        cmocka_unit_test_setup_teardown(a_copy_stays_right_over_many_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(the_node_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_answers_what_is_open, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failed_allocation_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unknown_url_is_refused_with_a_reason, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
