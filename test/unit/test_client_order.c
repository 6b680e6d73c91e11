/* test/unit/test_client_order.c: messages in order, without gaps, each once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/client_order.h"
#include "net/mem.h"

static struct bt_message message(uint64_t seq)
{
    return (struct bt_message){ .target = 9, .seq = seq, .sender_id = 9, .kind = BT_TEXT, .body = { "body", 4 } };
}

/* Offer, and note in `out` what was handed over. Returns how many that were. */
static size_t offer(struct client_order *o, uint64_t seq, uint64_t *out)
{
    struct bt_message m = message(seq);
    struct client_kept *k;
    size_t n = 0;
    if (client_order_offer(o, &m) == CLIENT_ORDER_NOW)
        out[n++] = seq;
    while ((k = client_order_pop(o))) {
        assert_int_equal(k->m.body.len, 4);
        assert_memory_equal(k->m.body.data, "body", 4);
        out[n++] = k->m.seq;
        bt_free(k);
    }
    return n;
}

static void messages_in_order_are_handed_over_at_once(void **state)
{
    struct client_order o = { 0 };
    uint64_t out[8];
    (void)state;
    client_order_open(&o, 0);
    for (uint64_t seq = 1; seq <= 5; seq++) {
        assert_int_equal(offer(&o, seq, out), 1);
        assert_int_equal(out[0], seq);
        assert_int_equal(o.position, seq);
    }
    assert_int_equal(o.kept_count, 0);
}

static void any_arrival_comes_out_sorted_and_once(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 200; seed++) {
        struct client_order o = { 0 };
        uint64_t out[64], handed = 0;
        srand(seed);
        client_order_open(&o, 0);
        for (int n = 0; n < 2000 && handed < 50; n++) {
            size_t count = offer(&o, 1 + (uint64_t)(rand() % 50), out);
            for (size_t k = 0; k < count; k++)
                assert_int_equal(out[k], ++handed);
        }
        assert_int_equal(handed, 50);
        assert_int_equal(o.kept_count, 0);
        client_order_deinit(&o);
    }
}

static void a_message_is_known_whether_handed_over_or_kept(void **state)
{
    struct client_order o = { 0 };
    struct bt_message three = message(3), one = message(1), none = message(0);
    (void)state;
    client_order_open(&o, 1);
    assert_int_equal(client_order_offer(&o, &three), CLIENT_ORDER_KEPT);
    assert_int_equal(client_order_offer(&o, &three), CLIENT_ORDER_OLD);
    assert_int_equal(client_order_offer(&o, &one), CLIENT_ORDER_OLD);
    assert_int_equal(client_order_offer(&o, &none), CLIENT_ORDER_OLD);
    assert_int_equal(o.kept_count, 1);
    client_order_deinit(&o);
}

static void a_gap_is_seen_until_it_is_filled(void **state)
{
    struct client_order o = { 0 };
    uint64_t out[8], from;
    (void)state;
    client_order_open(&o, 4);
    assert_false(client_order_gap(&o, &from));
    assert_int_equal(offer(&o, 7, out), 0);
    assert_true(client_order_gap(&o, &from));
    assert_int_equal(from, 5);
    assert_int_equal(offer(&o, 5, out), 1);
    assert_true(client_order_gap(&o, &from));
    assert_int_equal(from, 6);
    assert_int_equal(offer(&o, 6, out), 2);
    assert_false(client_order_gap(&o, &from));
}

static void a_head_heard_of_is_a_gap_too(void **state)
{
    struct client_order o = { 0 };
    uint64_t from;
    (void)state;
    client_order_open(&o, 4);
    client_order_note_head(&o, 6);
    client_order_note_head(&o, 2);
    assert_true(client_order_gap(&o, &from));
    assert_int_equal(from, 5);
    assert_int_equal(o.head, 6);
}

static void before_the_position_is_known_everything_is_kept(void **state)
{
    struct client_order o = { 0 };
    uint64_t out[8], from;
    (void)state;
    assert_int_equal(offer(&o, 12, out), 0);
    assert_int_equal(offer(&o, 11, out), 0);
    assert_int_equal(offer(&o, 9, out), 0);
    assert_false(client_order_gap(&o, &from));
    assert_int_equal(client_order_lowest(&o), 9);
    client_order_open(&o, 10); /* 9 is below it */
    struct client_kept *k = client_order_pop(&o);
    assert_non_null(k);
    assert_int_equal(k->m.seq, 11);
    bt_free(k);
    k = client_order_pop(&o);
    assert_int_equal(k->m.seq, 12);
    bt_free(k);
    assert_null(client_order_pop(&o));
    assert_int_equal(o.position, 12);
}

static void the_floor_moves_the_position_up_and_never_down(void **state)
{
    struct client_order o = { 0 };
    uint64_t out[8];
    (void)state;
    assert_false(client_order_floor(&o, 5)); /* not open: not known yet */
    client_order_open(&o, 3);
    assert_int_equal(offer(&o, 5, out), 0);
    assert_int_equal(offer(&o, 20, out), 0);
    assert_false(client_order_floor(&o, 4));
    assert_false(client_order_floor(&o, 0));
    assert_true(client_order_floor(&o, 20));
    assert_int_equal(o.position, 19);
    struct client_kept *k = client_order_pop(&o);
    assert_int_equal(k->m.seq, 20);
    bt_free(k);
    assert_int_equal(o.kept_count, 0);
}

static void what_is_kept_has_a_limit_and_the_latest_are_forgotten(void **state)
{
    struct client_order o = { 0 };
    uint64_t from;
    (void)state;
    client_order_open(&o, 0);
    for (uint64_t seq = CLIENT_ORDER_MAX_KEPT + 500; seq >= 2; seq--) {
        struct bt_message m = message(seq);
        client_order_offer(&o, &m);
        assert_true(o.kept_count <= CLIENT_ORDER_MAX_KEPT);
    }
    assert_int_equal(client_order_lowest(&o), 2);
    assert_int_equal(o.head, CLIENT_ORDER_MAX_KEPT + 500);
    assert_true(client_order_gap(&o, &from)); /* what was forgotten is fetched */
    client_order_deinit(&o);
    assert_int_equal(o.kept_bytes, 0);
}

static void large_messages_are_limited_by_their_bytes(void **state)
{
    struct client_order o = { 0 };
    static char big[1024 * 1024];
    (void)state;
    client_order_open(&o, 0);
    for (uint64_t seq = 2; seq < 12; seq++) {
        struct bt_message m = message(seq);
        m.body = (struct bt_text){ big, sizeof big };
        client_order_offer(&o, &m);
    }
    assert_true(o.kept_bytes <= CLIENT_ORDER_MAX_BYTES);
    assert_int_equal(client_order_lowest(&o), 2);
    client_order_deinit(&o);
}

static void without_memory_a_message_stays_a_gap(void **state)
{
    struct client_order o = { 0 };
    struct bt_message m = message(5);
    uint64_t from;
    (void)state;
    client_order_open(&o, 3);
    bt_mem_fail_after(0);
    assert_int_equal(client_order_offer(&o, &m), CLIENT_ORDER_KEPT);
    bt_mem_fail_after(-1);
    assert_null(o.kept);
    assert_true(client_order_gap(&o, &from));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_in_order_are_handed_over_at_once),
        cmocka_unit_test(any_arrival_comes_out_sorted_and_once),
        cmocka_unit_test(a_message_is_known_whether_handed_over_or_kept),
        cmocka_unit_test(a_gap_is_seen_until_it_is_filled),
        cmocka_unit_test(a_head_heard_of_is_a_gap_too),
        cmocka_unit_test(before_the_position_is_known_everything_is_kept),
        cmocka_unit_test(the_floor_moves_the_position_up_and_never_down),
        cmocka_unit_test(what_is_kept_has_a_limit_and_the_latest_are_forgotten),
        cmocka_unit_test(large_messages_are_limited_by_their_bytes),
        cmocka_unit_test(without_memory_a_message_stays_a_gap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
