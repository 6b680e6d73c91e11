/* test/unit/test_link_pair_memory.c: calls over a pair, at each point of which memory may be missing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "net/mem.h"
#include "rpc_ends.h"

enum { EVENTS = 600 }; /* more than are kept for reuse */

/* So many events wait: the next short frame needs memory. */
static void use_spares(struct rpc_link *l)
{
    for (int i = 0; i < EVENTS; i++)
        assert_int_equal(rpc_link_event(l, &(struct rpc_header){ .method = 7 }, NULL, 0), BT_OK);
}

static void without_memory_for_the_news_a_call_that_was_given_up_goes_on(void **state)
{
    struct ends *e = *state;
    struct asked q;

    asked_until_kept(e, &q, 0);
    use_spares(e->a.link);
    bt_mem_fail_after(0);
    rpc_link_cancel(&q.out);
    bt_mem_fail_after(-1);
    ends_until(e, &e->b.events, EVENTS);
    assert_int_equal(e->b.dead, 0);
    assert_int_equal(rpc_link_open_calls(e->b.link), 1);
    kept_answer(&e->b, 0, "for nobody");
    ends_turns(e, 3);
    assert_int_equal(q.done, 0);
    assert_int_equal(rpc_link_open_calls(e->b.link), 0);
}

/* There is none for i's answer. */
static void lose_answer(struct ends *e, size_t i, enum bt_err err)
{
    static uint8_t bytes[40000];
    struct rpc_call *call = e->b.kept[i];

    e->b.kept[i] = NULL;
    bt_mem_fail_after(0);
    if (err == BT_OK)
        rpc_reply_raw(call, RPC_STATUS_OK, 0, bytes, sizeof bytes);
    else
        rpc_fail(call, err, "for whom there is no memory");
    assert_true(bt_mem_has_failed());
    bt_mem_fail_after(-1);
}

static void without_memory_for_an_answer_its_call_fails_and_no_other(void **state)
{
    struct ends *e = *state;
    struct asked q[4];

    for (size_t i = 0; i < 4; i++)
        asked_until_kept(e, &q[i], i);
    rpc_link_cancel(&q[2].out);
    rpc_link_abandon(&q[3].out, ENDLESS_MS);
    lose_answer(e, 0, BT_OK);
    lose_answer(e, 2, BT_OK);
    lose_answer(e, 3, BT_OK);
    assert_int_equal(q[0].done, 0); /* never inside */
    assert_int_equal(rpc_link_open_calls(e->b.link), 1);
    ends_until_int(e, &q[0].done, 1);
    ends_until_int(e, &q[3].done, 1);
    assert_int_equal(q[0].err, BT_EUNSURE);
    assert_int_equal(q[0].status, RPC_STATUS_UNKNOWN);
    assert_true(q[0].was_sent);
    assert_int_equal(q[3].err, BT_EUNSURE);
    kept_answer(&e->b, 1, "first");
    ends_until_int(e, &q[1].done, 1);
    assert_string_equal(q[1].text, "first");
    assert_int_equal(q[2].done, 0);
    assert_int_equal(e->b.dead, 0);
    assert_int_equal(e->a.closed + e->b.closed, 0);
}

static void an_error_for_which_there_is_no_memory_is_still_that_error(void **state)
{
    struct ends *e = *state;
    struct asked refused, late;

    asked_until_kept(e, &refused, 0);
    asked_until_kept(e, &late, 1);
    use_spares(e->b.link);
    lose_answer(e, 0, BT_EBUSY);
    lose_answer(e, 1, BT_ETIMEOUT);
    ends_until_int(e, &refused.done, 1);
    ends_until_int(e, &late.done, 1);
    assert_int_equal(refused.err, BT_EBUSY);
    assert_false(refused.was_sent); /* nothing was done */
    assert_int_equal(late.err, BT_ETIMEOUT);
    assert_true(late.was_sent);
    ends_until(e, &e->a.events, EVENTS);
}

static void one_call_too_many_is_refused_without_memory(void **state)
{
    struct ends *e = *state;
    struct asked q[2];

    asked_until_kept(e, &q[0], 0);
    e->limits_a.max_calls = 1; /* both ends' */
    rpc_link_pause(e->a.link); /* so that the events go on waiting */
    use_spares(e->b.link);
    asked_start(&q[1], e->a.link, ENDLESS_MS, "x");
    bt_mem_fail_after(0);
    ends_until_int(e, &q[1].done, 1);
    assert_true(bt_mem_has_failed());
    bt_mem_fail_after(-1);
    assert_int_equal(q[1].err, BT_EBUSY);
    assert_false(q[1].was_sent);
    rpc_link_resume(e->a.link);
    kept_answer(&e->b, 0, "zeroth");
    ends_until_int(e, &q[0].done, 1);
    assert_string_equal(q[0].text, "zeroth");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, ends_pair_setup, ends_pair_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_memory_for_the_news_a_call_that_was_given_up_goes_on),
        TEST(without_memory_for_an_answer_its_call_fails_and_no_other),
        TEST(an_error_for_which_there_is_no_memory_is_still_that_error),
        TEST(one_call_too_many_is_refused_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
