/* test/unit/test_client_send.c: what the client sends is sent again when it was lost, once and in order. */
#include <stdio.h>
#include <string.h>

#include "client_device.h"

static void a_lost_answer_is_asked_for_under_the_same_id(void **state)
{
    struct device d;
    (void)state;
    device_init_logged_in(&d);
    server.lose_answers = 2;
    device_open(&d);
    send_text(&d, 3, "once");
    WAIT_UNTIL(d.sent == 1);
    assert_int_equal(d.order[0], 1);
    assert_int_equal(server.log_count, 1); /* stored once */
    assert_int_equal(server.sends, 3);
    assert_int_equal(server.resends, 2);
    WAIT_UNTIL(d.seen == 1);
    turn_for(300);
    assert_int_equal(d.seen, 1);
    assert_string_equal(d.seen_body[0], "once");
    device_close(&d);
}

static void order_survives_every_kind_of_failure(void **state)
{
    struct device d;
    char text[16];
    (void)state;
    device_init_logged_in(&d);
    server.lose_answers = 2;
    server.lose_sends = 2;
    server.refuse_sends = 3;
    server.unsure_sends = 2;
    device_open(&d);
    for (int n = 1; n <= 40; n++) {
        snprintf(text, sizeof text, "%d", n);
        send_text(&d, 3, text);
    }
    WAIT_UNTIL(d.sent == 40 && d.seen == 40);
    assert_int_equal(server.log_count, 40);
    for (int n = 1; n <= 40; n++) {
        snprintf(text, sizeof text, "%d", n);
        assert_int_equal(d.order[n - 1], n);
        assert_string_equal(server.log[n - 1].body, text);
        assert_true(n == 1 || server.log[n - 1].id > server.log[n - 2].id);
        assert_int_equal(d.seen_seq[n - 1], n);
    }
    device_close(&d);
}

static void conversations_do_not_wait_for_each_other(void **state)
{
    struct device d;
    (void)state;
    device_init_logged_in(&d);
    device_open(&d);
    WAIT_UNTIL(d.state == BT_STATE_READY);
    server.ignores_sends = true;
    send_text(&d, 3, "stuck");
    send_text(&d, 3, "behind it");
    WAIT_UNTIL(server.sends == 1);
    server.ignores_sends = false;
    send_text(&d, 4, "free");
    WAIT_UNTIL(d.sent == 1);
    assert_int_equal(server.sends, 2); /* the one behind waits */
    device_close(&d);
    assert_int_equal(d.unsure, 1);     /* the stuck one may have been done, the other was not */
    assert_int_equal(d.failed, 1);
}

static void a_deadline_tells_what_is_known(void **state)
{
    struct device d;
    const char *nowhere[] = { "127.0.0.1:1" };
    (void)state;
    device_init_logged_in(&d);
    device_open_with(&d, &server.address, 1, 10, 150);
    WAIT_UNTIL(d.state == BT_STATE_READY);
    server.ignores_sends = true;
    send_text(&d, 3, "handed over");
    WAIT_UNTIL(d.unsure == 1);
    assert_int_equal(d.status, BT_STATUS_DEADLINE_EXCEEDED);
    device_close(&d);
    device_init_logged_in(&d);
    device_open_with(&d, nowhere, 1, 10, 150);
    send_text(&d, 3, "never left");
    WAIT_UNTIL(d.failed == 1);
    assert_int_equal(d.status, BT_STATUS_UNAVAILABLE);
    device_close(&d);
}

static void queues_have_a_limit(void **state)
{
    struct device d;
    int taken = 0;
    (void)state;
    device_init_logged_in(&d);
    device_open_config(&d, (struct bt_config){ .servers = &server.address, .server_count = 1, .max_queued = 10 });
    for (int n = 0; n < 20; n++)
        taken += bt_send(d.client, &(struct bt_outgoing){ .target = 3, .body = { "x", 1 } }, on_sent, &d);
    assert_int_equal(taken, 10);
    WAIT_UNTIL(d.sent == 10);
    assert_true(bt_send(d.client, &(struct bt_outgoing){ .target = 3, .body = { "x", 1 } }, on_sent, &d));
    device_close(&d);
    assert_int_equal(d.sent + d.unsure + d.failed, 11); /* every callback ran */
}

static void own_and_others_messages_interleave_in_one_order(void **state)
{
    struct device d;
    (void)state;
    device_init_returning(&d, 0);
    device_open(&d);
    WAIT_UNTIL(d.synced == 1);
    for (int n = 0; n < 20; n++) {
        send_text(&d, 9, "mine");
        if (n % 3 == 0)
            fake_server_write(&server, 9, false, 9, "theirs", n % 2 == 0);
        turn_for(3);
    }
    WAIT_UNTIL(d.sent == 20 && d.seen == 27);
    assert_in_order(&d, 9, 1, 27);
    device_close(&d);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, device_setup, device_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_lost_answer_is_asked_for_under_the_same_id),
        TEST(order_survives_every_kind_of_failure),
        TEST(conversations_do_not_wait_for_each_other),
        TEST(a_deadline_tells_what_is_known),
        TEST(queues_have_a_limit),
        TEST(own_and_others_messages_interleave_in_one_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
