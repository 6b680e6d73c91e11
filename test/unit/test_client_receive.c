/* test/unit/test_client_receive.c: the client is told every message once and in order, whatever it missed. */
#include <stdlib.h>

#include "client_device.h"
#include "proto/methods.h"

static void what_was_missed_is_pulled_page_by_page(void **state)
{
    struct device d;
    (void)state;
    device_init_returning(&d, 2);
    server.page = 7;
    for (int n = 0; n < 50; n++)
        fake_server_write(&server, 9, false, 9, "hi", false);
    device_open(&d);
    WAIT_UNTIL(d.synced == 1);
    assert_in_order(&d, 9, 3, 50);
    assert_int_equal(d.positions[9], 50);
    WAIT_UNTIL(server.marked_seq == 50); /* confirmed as delivered */
    device_close(&d);
}

static void pushes_in_any_order_twice_or_never_come_out_in_order_and_once(void **state)
{
    struct device d;
    (void)state;
    device_init_returning(&d, 0);
    device_open(&d);
    WAIT_UNTIL(d.synced == 1);
    for (int n = 0; n < 100; n++)
        fake_server_write(&server, 9, false, 9, "hi", false);
    srand(3);
    for (int n = 0; n < 150; n++)
        fake_server_push(&server, 9, FAKE_USER, 1 + (uint64_t)(rand() % 100));
    fake_server_push(&server, 9, FAKE_USER, 100);
    WAIT_UNTIL(d.seen == 100);
    turn_for(300);
    assert_in_order(&d, 9, 1, 100);
    assert_true(server.histories > 0);
    device_close(&d);
}

/*
 * Somebody's first message comes 120 ms after the second; true: it was all over in less than 200 ms, in which nothing may have
 * been fetched. A machine that was slower proves nothing.
 */
static bool fill_a_gap_in_time(void)
{
    struct device d;
    const uint64_t seq = fake_server_head(&server, 9, FAKE_USER);
    const int histories = server.histories;
    device_init_returning(&d, seq);
    device_open(&d);
    WAIT_UNTIL(d.synced == 1);
    const uint64_t began_us = net_clock_us();
    fake_server_write(&server, 9, false, 9, "late", false);
    fake_server_write(&server, 9, false, 9, "early", true);
    turn_for(120);
    const size_t seen = d.seen;
    fake_server_push(&server, 9, FAKE_USER, seq + 1);
    WAIT_UNTIL(d.seen == 2);
    const bool is_in_time = net_clock_us() - began_us < 200 * 1000;
    assert_in_order(&d, 9, seq + 1, seq + 2);
    if (is_in_time) {
        assert_int_equal(seen, 0);
        turn_for(200);
        assert_int_equal(server.histories, histories); /* it came by itself */
    }
    device_close(&d);
    WAIT_UNTIL(server.open_links == 0);
    return is_in_time;
}

static void a_gap_is_given_200_ms_before_it_is_fetched(void **state)
{
    struct device d;
    int rounds = 1;
    (void)state;
    while (!fill_a_gap_in_time())
        assert_true(++rounds <= 50);
    const uint64_t seq = fake_server_head(&server, 9, FAKE_USER);
    const int histories = server.histories;
    device_init_returning(&d, seq);
    device_open(&d);
    WAIT_UNTIL(d.synced == 1);
    const uint64_t began_us = net_clock_us();
    fake_server_write(&server, 9, false, 9, "lost", false);
    fake_server_write(&server, 9, false, 9, "found", true);
    WAIT_UNTIL(server.histories == histories + 1);
    assert_true(net_clock_us() - began_us >= 200 * 1000);
    WAIT_UNTIL(d.seen == 2);
    assert_int_equal(server.histories, histories + 1);
    assert_in_order(&d, 9, seq + 1, seq + 2);
    device_close(&d);
}

/* Open a device that has seen nothing of 50 messages, of which other devices have received those up to delivered_seq. */
static void open_new_to_50_messages(struct device *d, uint64_t delivered_seq)
{
    device_init_logged_in(d);
    for (int n = 0; n < 50; n++)
        fake_server_write(&server, 9, false, 9, "old", false);
    server.delivered_seq = delivered_seq;
    device_open(d);
    WAIT_UNTIL(d->synced == 1);
}

static void a_device_new_to_the_account_gets_the_newest_few(void **state)
{
    struct device d;
    (void)state;
    open_new_to_50_messages(&d, 50); /* backfill 10 */
    assert_int_equal(d.conversations, 1);
    assert_in_order(&d, 9, 41, 50);
    assert_true(d.is_synced_before);
    device_close(&d);
    d.closed = 0;
    device_open(&d);
    WAIT_UNTIL(d.synced == 2);
    assert_int_equal(d.seen, 10); /* nothing is told twice */
    assert_int_equal(d.conversations, 1);
    device_close(&d);
}

static void a_device_new_to_the_account_gets_what_no_device_has_received(void **state)
{
    struct device d;
    (void)state;
    open_new_to_50_messages(&d, 20);
    assert_in_order(&d, 9, 21, 50);
    device_close(&d);
}

static void held_messages_come_in_order_when_released(void **state)
{
    struct device d;
    (void)state;
    device_init_returning(&d, 0);
    for (int n = 0; n < 20; n++)
        fake_server_write(&server, 9, false, 9, "hi", false);
    device_open(&d);
    bt_client_hold(d.client, true);
    WAIT_UNTIL(d.state == BT_STATE_READY);
    fake_server_write(&server, 9, false, 9, "pushed", true);
    send_text(&d, 9, "mine");
    WAIT_UNTIL(d.sent == 1);
    turn_for(300);
    assert_int_equal(d.seen, 0);
    assert_int_equal(d.positions[9], 0);
    bt_client_hold(d.client, false);
    WAIT_UNTIL(d.seen == 22);
    assert_in_order(&d, 9, 1, 22);
    device_close(&d);
}

static void a_conversation_that_began_while_away_is_had_from_its_first_message(void **state)
{
    struct device d;
    (void)state;
    device_init_logged_in(&d);
    d.is_synced_before = true;
    for (int n = 0; n < 50; n++)
        fake_server_write(&server, 9, false, 9, "new", false);
    device_open(&d); /* backfill 10, but this is no backfill */
    WAIT_UNTIL(d.synced == 1);
    assert_in_order(&d, 9, 1, 50);
    device_close(&d);
}

static void a_push_of_an_unknown_conversation_is_looked_up_and_never_lost(void **state)
{
    struct device d;
    (void)state;
    device_init_logged_in(&d);
    d.is_synced_before = true;
    device_open(&d);
    WAIT_UNTIL(d.synced == 1);
    fake_server_write(&server, 30, true, 9, "before", false);
    fake_server_write(&server, 30, true, 9, "first heard", true);
    WAIT_UNTIL(d.seen == 2);
    assert_int_equal(d.conversations, 1);
    assert_in_order(&d, BT_GROUP | 30, 1, 2);
    device_close(&d);
}

static void resync_finds_what_no_push_brought(void **state)
{
    struct device d;
    (void)state;
    device_init_returning(&d, 0);
    device_open(&d);
    WAIT_UNTIL(d.synced == 1);
    fake_server_write(&server, 9, false, 9, "unheard", false);
    turn_for(300);
    assert_int_equal(d.seen, 0);
    fake_server_event(&server, RPC_ON_RESYNC, ResyncEvent_fields, &(ResyncEvent){ 0 });
    WAIT_UNTIL(d.seen == 1);
    device_close(&d);
}

static void a_busy_device_compares_too(void **state)
{
    struct device d;
    (void)state;
    device_init_returning(&d, 0);
    device_open_config(&d, (struct bt_config){ .servers = &server.address, .server_count = 1, .compare_ms = 100 });
    WAIT_UNTIL(d.synced == 1);
    fake_server_write(&server, 9, false, 9, "unheard", false);
    for (int n = 0; n < 100 && d.seen == 0; n++) {
        fake_server_event(&server, RPC_ON_PRESENCE, PresenceEvent_fields, &(PresenceEvent){ .user_id = 9, .online = true });
        turn_for(20);
    }
    assert_int_equal(d.seen, 1);
    assert_int_equal(server.pulls, 2);
    device_close(&d);
}

static void a_server_whose_answers_do_not_get_on_is_asked_more_rarely(void **state)
{
    struct device d;
    (void)state;
    device_init_returning(&d, 1);
    fake_server_write(&server, 9, false, 9, "had", false);
    server.pull_stalls = true;
    device_open(&d);
    WAIT_UNTIL(server.pulls >= 1);
    turn_for(500);
    assert_in_range(server.pulls, 1, 2);
    assert_int_equal(d.seen, 0);
    device_close(&d);
}

static void a_comparison_that_failed_is_made_again_soon(void **state)
{
    struct device d;
    uint64_t began_ms;
    (void)state;
    device_init_returning(&d, 0);
    fake_server_write(&server, 9, false, 9, "missed", false);
    server.refuse_pulls = 3;
    device_open(&d);
    began_ms = net_clock_us() / 1000;
    WAIT_UNTIL(d.seen == 1);
    assert_int_equal(server.pulls, 4);
    assert_in_range(net_clock_us() / 1000 - began_ms, 0, 250 + 500 + 1000 + 1000);
    device_close(&d);
}

/* As a database does that is away for seconds: every device would be left without its messages for as long as connections wait. */
static void however_patient_with_connections_a_refused_call_is_made_again_soon(void **state)
{
    struct device d;
    uint64_t tried_us;
    (void)state;
    device_init_returning(&d, 0);
    fake_server_write(&server, 9, false, 9, "missed", false);
    server.refuse_pulls = 3;
    device_open_config(&d, (struct bt_config){ .servers = &server.address, .server_count = 1, .backoff_min_ms = 15000, .backoff_max_ms = 15000 });
    WAIT_UNTIL(server.pulls == 1);
    for (int n = 2; n <= 4; n++) {
        tried_us = net_clock_us();
        WAIT_UNTIL(server.pulls == n);
        assert_in_range((net_clock_us() - tried_us) / 1000, 0, 2000 + 500);
    }
    WAIT_UNTIL(d.seen == 1);
    device_close(&d);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, device_setup, device_teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_was_missed_is_pulled_page_by_page),
        TEST(pushes_in_any_order_twice_or_never_come_out_in_order_and_once),
        TEST(a_gap_is_given_200_ms_before_it_is_fetched),
        TEST(a_device_new_to_the_account_gets_the_newest_few),
        TEST(a_device_new_to_the_account_gets_what_no_device_has_received),
        TEST(held_messages_come_in_order_when_released),
        TEST(a_conversation_that_began_while_away_is_had_from_its_first_message),
        TEST(a_push_of_an_unknown_conversation_is_looked_up_and_never_lost),
        TEST(resync_finds_what_no_push_brought),
        TEST(a_busy_device_compares_too),
        TEST(a_server_whose_answers_do_not_get_on_is_asked_more_rarely),
        TEST(a_comparison_that_failed_is_made_again_soon),
        TEST(however_patient_with_connections_a_refused_call_is_made_again_soon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
