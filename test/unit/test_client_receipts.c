/* test/unit/test_client_receipts.c: the client's confirmations, and the receipts and marks that it tells. */
#include "client_device.h"
#include "proto/methods.h"

static void receipts_of_the_time_away_are_learnt_once(void **state)
{
    struct device d;
    (void)state;
    device_init_logged_in(&d);
    d.is_synced_before = true;
    d.positions[9] = d.positions[20] = 1;
    fake_server_write(&server, 20, true, 9, "in a group", false);
    fake_server_write(&server, 9, false, FAKE_USER, "mine", false);
    server.peer_seq = 1;
    device_open(&d);
    WAIT_UNTIL(d.receipts == 1);
    assert_int_equal(d.receipt_target, 9);
    assert_int_equal(d.receipt_user, 9);
    assert_int_equal(d.receipt_read_seq, 1);
    WAIT_UNTIL(server.lists == 2); /* both pages */
    turn_for(50);                  /* and had */
    fake_server_drop(&server);
    WAIT_UNTIL(server.lists == 4); /* nothing new */
    turn_for(50);
    assert_int_equal(d.receipts, 1);
    fake_server_event(&server, RPC_ON_RECEIPT, ReceiptEvent_fields,
                      &(ReceiptEvent){ .hi = 9, .lo = FAKE_USER, .user_id = 9, .delivered_seq = 1, .read_seq = 1 });
    fake_server_event(&server, RPC_ON_RECEIPT, ReceiptEvent_fields,
                      &(ReceiptEvent){ .hi = 9, .lo = FAKE_USER, .user_id = 9, .delivered_seq = 2, .read_seq = 1 });
    WAIT_UNTIL(d.receipts == 2); /* what is known already is not told again */
    fake_server_write(&server, 9, false, 9, "theirs", false);
    server.peer_seq = 3;
    fake_server_event(&server, RPC_ON_RESYNC, ResyncEvent_fields, &(ResyncEvent){ 0 });
    WAIT_UNTIL(d.receipts == 3 && d.receipt_read_seq == 3); /* Pull names the marks too */
    turn_for(50);
    assert_int_equal(server.lists, 4);
    device_close(&d);
}

static void own_marks_of_other_devices_are_told_only_when_they_rise(void **state)
{
    static const uint64_t marks[][2] = { { 5, 2 }, { 3, 2 }, { 5, 1 }, { 4, 3 }, { 5, 3 }, { 6, 1 } };
    struct device d;
    (void)state;
    device_init_logged_in(&d);
    d.is_synced_before = true;
    d.positions[20] = 9;
    device_open(&d);
    WAIT_UNTIL(d.synced == 1 && server.lists == 1);
    turn_for(50);
    for (size_t n = 0; n < sizeof marks / sizeof *marks; n++)
        fake_server_event(&server, RPC_ON_RECEIPT, ReceiptEvent_fields,
                          &(ReceiptEvent){ .hi = 20, .user_id = FAKE_USER, .delivered_seq = marks[n][0], .read_seq = marks[n][1] });
    WAIT_UNTIL(d.receipt_delivered_seq == 6); /* the last; and of those before it the first, and the one that had more read */
    assert_int_equal(d.receipts, 3);
    assert_int_equal(d.receipt_user, FAKE_USER);
    assert_int_equal(d.receipt_read_seq, 3);
    device_close(&d);
}

/* An earlier client of this device may have been told as much as stands in the list; a push may have been under way since before. */
static void no_mark_is_told_before_those_that_stand_are_known(void **state)
{
    struct device d;
    (void)state;
    device_init_logged_in(&d);
    d.is_synced_before = true;
    d.positions[20] = 1;
    fake_server_write(&server, 20, true, 9, "in a group", false);
    server.delivered_seq = 9;
    server.holds_lists = true;
    device_open(&d);
    WAIT_UNTIL(server.held_list != NULL);
    fake_server_event(&server, RPC_ON_RECEIPT, ReceiptEvent_fields, &(ReceiptEvent){ .hi = 20, .user_id = FAKE_USER, .delivered_seq = 5 });
    turn_for(50);
    assert_int_equal(d.receipts, 0);
    fake_server_answer_list(&server);
    turn_for(50);
    assert_int_equal(d.receipts, 0);
    fake_server_event(&server, RPC_ON_RECEIPT, ReceiptEvent_fields, &(ReceiptEvent){ .hi = 20, .user_id = FAKE_USER, .delivered_seq = 11 });
    WAIT_UNTIL(d.receipts == 1);
    assert_int_equal(d.receipt_delivered_seq, 11);
    device_close(&d);
}

static void a_mark_that_came_before_the_list_is_told_after_it(void **state)
{
    struct device d;
    (void)state;
    device_init_returning(&d, 1);
    fake_server_write(&server, 9, false, 9, "in a chat", false);
    server.delivered_seq = 1;
    server.holds_lists = true;
    device_open(&d);
    WAIT_UNTIL(server.held_list != NULL);
    fake_server_event(&server, RPC_ON_RECEIPT, ReceiptEvent_fields,
                      &(ReceiptEvent){ .hi = 9, .lo = FAKE_USER, .user_id = 9, .delivered_seq = 1, .read_seq = 1 });
    turn_for(50);
    assert_int_equal(d.receipts, 0);
    fake_server_answer_list(&server);
    WAIT_UNTIL(d.receipts == 1);
    assert_int_equal(d.receipt_user, 9);
    assert_int_equal(d.receipt_read_seq, 1);
    device_close(&d);
}

static void confirmations_are_gathered(void **state)
{
    struct device d;
    (void)state;
    device_init_returning(&d, 0);
    device_open(&d);
    WAIT_UNTIL(d.synced == 1);
    for (int n = 0; n < 30; n++) {
        fake_server_write(&server, 9, false, 9, "hi", true);
        turn_for(10);
    }
    WAIT_UNTIL(server.marked_seq == 30);
    assert_true(server.marks <= 2);
    bt_mark_read(d.client, 9, 30);
    device_close(&d); /* what is due leaves with it */
    WAIT_UNTIL(server.read_seq == 30);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, device_setup, device_teardown)
    const struct CMUnitTest tests[] = {
        TEST(receipts_of_the_time_away_are_learnt_once),
        TEST(own_marks_of_other_devices_are_told_only_when_they_rise),
        TEST(no_mark_is_told_before_those_that_stand_are_known),
        TEST(a_mark_that_came_before_the_list_is_told_after_it),
        TEST(confirmations_are_gathered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
