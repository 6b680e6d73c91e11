/* test/unit/test_client.c: the client's connections and sessions, against a scripted server. */
#include <string.h>

#include "client_device.h"
#include "net/mem.h"
#include "proto/methods.h"
#include "rpc/bytes.h"

/* ---- connecting ---- */

static void login_is_kept_and_resumed(void **state)
{
    struct device d;
    enum bt_status status = BT_STATUS_UNKNOWN;
    (void)state;
    device_init(&d);
    device_open(&d);
    WAIT_UNTIL(d.state == BT_STATE_CONNECTED && d.client && server.hellos == 1);
    assert_true(bt_login(d.client, "alice", "secret", "test", on_done, &status));
    assert_int_equal(status, BT_STATUS_UNKNOWN); /* never inside the call */
    WAIT_UNTIL(d.state == BT_STATE_READY && status == BT_STATUS_OK);
    assert_int_equal(bt_client_user_id(d.client), FAKE_USER);
    assert_string_equal(bt_client_user_name(d.client), "alice");
    assert_true(d.has_token);
    device_close(&d);
    d.closed = 0;
    device_open(&d);
    WAIT_UNTIL(d.state == BT_STATE_READY && server.resumes == 1);
    assert_int_equal(server.logins, 1);
    device_close(&d);
}

static void resume_travels_with_hello(void **state)
{
    struct device d;
    (void)state;
    device_init_logged_in(&d);
    server.holds_hello = true; /* answered only when Resume has come */
    device_open(&d);
    WAIT_UNTIL(d.state == BT_STATE_READY);
    device_close(&d);
}

static void who_is_put_off_asks_again_over_the_same_connection_when_told(void **state)
{
    struct device d;
    (void)state;
    device_init_logged_in(&d);
    server.put_off_resumes = 3;
    uint64_t began_ms = net_now_ms(loop);
    device_open(&d);
    WAIT_UNTIL(d.state == BT_STATE_READY);
    assert_true(net_now_ms(loop) - began_ms >= 3 * 50);
    assert_int_equal(server.resumes, 4);
    assert_int_equal(server.hellos, 1);
    device_close(&d);
}

static void who_is_put_off_for_ever_goes_elsewhere(void **state)
{
    struct device d;
    (void)state;
    device_init_logged_in(&d);
    server.put_off_resumes = 12;
    device_open(&d);
    WAIT_UNTIL(d.state == BT_STATE_READY);
    assert_int_equal(server.resumes, 13);
    assert_int_equal(server.hellos, 2);
    device_close(&d);
}

static void a_refused_token_ends_the_session(void **state)
{
    struct device d;
    (void)state;
    device_init_logged_in(&d);
    server.refuses_token = true;
    device_open(&d);
    WAIT_UNTIL(d.ended == 1 && d.state == BT_STATE_CONNECTED);
    assert_int_equal(d.ended_why, BT_SESSION_EXPIRED);
    assert_false(d.has_token);
    assert_int_equal(bt_client_user_id(d.client), 0);
    send_text(&d, 3, "to nobody");
    assert_int_equal(d.failed, 0);
    WAIT_UNTIL(d.failed == 1);
    assert_int_equal(d.status, BT_STATUS_UNAUTHENTICATED);
    device_close(&d);
}

static void a_server_without_a_common_version_is_final(void **state)
{
    struct device d;
    (void)state;
    device_init_logged_in(&d);
    server.refuses_version = true;
    device_open(&d);
    send_text(&d, 3, "hello");
    WAIT_UNTIL(d.state == BT_STATE_REFUSED && d.failed == 1);
    turn_for(150);
    assert_int_equal(server.hellos, 1);
    device_close(&d);
}

static void it_connects_again_and_goes_over_to_a_living_server(void **state)
{
    struct device d;
    struct fake_server other = { .idle_timeout_ms = 60000 };
    (void)state;
    fake_server_start(&other, loop);
    const char *servers[] = { server.address, other.address };
    device_init_logged_in(&d);
    device_open_with(&d, servers, 2, 10, 0);
    WAIT_UNTIL(d.state == BT_STATE_READY);
    struct fake_server *used = server.hellos ? &server : &other, *unused = server.hellos ? &other : &server;
    fake_server_refuse(used);
    WAIT_UNTIL(d.state != BT_STATE_READY);
    WAIT_UNTIL(d.state == BT_STATE_READY);
    assert_int_equal(unused->resumes, 1);
    device_close(&d);
    fake_server_stop(&other);
}

static void a_server_that_closes_after_resume_is_tried_more_and_more_rarely(void **state)
{
    struct device d;
    (void)state;
    device_init_logged_in(&d);
    server.drops_resumed = true;
    device_open_config(&d, (struct bt_config){ .servers = &server.address, .server_count = 1, .backoff_min_ms = 20, .backoff_max_ms = 10000 });
    turn_for(1500);
    assert_in_range(server.resumes, 2, 30); /* about seven */
    server.drops_resumed = false;
    device_close(&d);
}

static void a_session_of_its_own_ends_with_the_client(void **state)
{
    struct device d;
    enum bt_status status = BT_STATUS_UNKNOWN;
    (void)state;
    device_init(&d);
    d.positions[9] = 0;
    device_open_config(&d, (struct bt_config){ .servers = &server.address, .server_count = 1, .backfill = 10, .logs_out = true });
    assert_true(bt_login(d.client, "alice", "secret", "test", on_done, &status));
    WAIT_UNTIL(d.synced == 1);
    fake_server_write(&server, 9, false, 9, "hi", true);
    WAIT_UNTIL(d.seen == 1);
    device_close(&d);
    assert_int_equal(server.logouts, 1);
    assert_int_equal(server.marked_seq, 1);
}

static void login_as(struct device *d, uint64_t user_id)
{
    enum bt_status status = BT_STATUS_UNKNOWN;
    assert_true(bt_logout(d->client, on_done, &status));
    WAIT_UNTIL(status == BT_STATUS_OK);
    status = BT_STATUS_UNKNOWN;
    server.login_user = user_id;
    assert_true(bt_login(d->client, "bob", "secret", "test", on_done, &status));
    WAIT_UNTIL(status == BT_STATUS_OK && d->state == BT_STATE_READY);
    assert_int_equal(bt_client_user_id(d->client), user_id);
}

static void a_call_never_goes_out_as_another_user(void **state)
{
    struct device d;
    (void)state;
    device_init_logged_in(&d);
    server.ignores_sends = true;
    device_open(&d);
    WAIT_UNTIL(d.state == BT_STATE_READY);
    send_text(&d, 9, "of alice");
    WAIT_UNTIL(server.sends == 1);
    login_as(&d, 8);
    fake_server_drop(&server); /* it would be sent again over the next connection */
    WAIT_UNTIL(d.unsure + d.failed + d.sent == 1);
    assert_int_equal(d.unsure, 1); /* it left as alice's, and may have been written */
    assert_int_equal(d.status, BT_STATUS_UNAUTHENTICATED);
    WAIT_UNTIL(d.state == BT_STATE_READY);
    server.ignores_sends = false;
    turn_for(100);
    assert_int_equal(server.sends, 1);
    send_text(&d, 9, "of bob");
    WAIT_UNTIL(d.sent == 1);
    device_close(&d);
}

static void a_confirmation_of_another_user_confirms_nothing(void **state)
{
    struct device d;
    (void)state;
    device_init_logged_in(&d);
    server.holds_marks = true;
    fake_server_write(&server, 20, true, 9, "to all", false);
    device_open(&d);
    WAIT_UNTIL(d.seen == 1 && server.held_mark);
    login_as(&d, 8);
    WAIT_UNTIL(d.seen == 2 && d.synced == 2);
    server.holds_marks = false;
    fake_server_answer_mark(&server); /* alice has it; bob has not yet said that he does */
    WAIT_UNTIL(server.marks == 2);
    device_close(&d);
}

static void a_name_that_no_server_answers_to_is_told(void **state)
{
    struct device d;
    const char *servers[] = { "127.0.0.1:1" };
    (void)state;
    device_init(&d);
    device_open_with(&d, servers, 1, 10, 0);
    WAIT_UNTIL(d.waits >= 2);
    device_close(&d);
}

static void an_unanswered_ping_breaks_the_connection(void **state)
{
    struct device d;
    (void)state;
    device_init_logged_in(&d);
    server.idle_timeout_ms = 300;
    device_open(&d);
    WAIT_UNTIL(server.pings >= 3);
    assert_int_equal(d.state, BT_STATE_READY);
    assert_int_equal(server.hellos, 1);
    server.ignores_pings = true;
    uint64_t limit_ms = net_clock_us() / 1000 + 13000;
    while (server.hellos < 2 && net_clock_us() / 1000 < limit_ms)
        net_loop_turn(loop, 50);
    assert_int_equal(server.hellos, 2);
    device_close(&d);
}

static void go_away_connects_there_before_it_leaves_here(void **state)
{
    struct device d;
    struct fake_server other = { .idle_timeout_ms = 60000 };
    (void)state;
    fake_server_start(&other, loop);
    device_init_logged_in(&d);
    device_open(&d);
    WAIT_UNTIL(d.state == BT_STATE_READY && server.directories == 1);
    DirectoryEntry place = { .address = rpc_str(other.address), .weight = 1 };
    GoAwayEvent e = { .proxies = &place, .proxies_count = 1, .within_ms = 200 };
    other.holds_hello = false;
    fake_server_event(&server, RPC_ON_GO_AWAY, GoAwayEvent_fields, &e);
    int waits = d.waits;
    WAIT_UNTIL(other.resumes == 1);
    WAIT_UNTIL(server.open_links == 0);
    assert_int_equal(d.state, BT_STATE_READY); /* and never was anything else */
    assert_int_equal(d.waits, waits);
    send_text(&d, 3, "from the new place");
    WAIT_UNTIL(d.sent == 1);
    assert_int_equal(other.sends, 1);
    device_close(&d);
    fake_server_stop(&other);
}

static void go_away_from_a_shared_port_connects_there_again(void **state)
{
    struct device d;
    (void)state;
    device_init(&d);
    d.has_token = true;
    device_open(&d);
    WAIT_UNTIL(d.state == BT_STATE_READY && server.directories == 1);
    DirectoryEntry place = { .address = rpc_str(server.address), .weight = 1 };
    fake_server_event(&server, RPC_ON_GO_AWAY, GoAwayEvent_fields, &(GoAwayEvent){ .proxies = &place, .proxies_count = 1, .within_ms = 200 });
    int waits = d.waits;
    WAIT_UNTIL(server.resumes == 2);
    WAIT_UNTIL(server.open_links == 1);
    assert_int_equal(d.state, BT_STATE_READY); /* and never was anything else */
    assert_int_equal(d.waits, waits);
    fake_server_drop(&server); /* and it is not passed over afterwards */
    WAIT_UNTIL(server.resumes == 3 && d.state == BT_STATE_READY);
    turn_for(100);
    assert_int_equal(server.resumes, 3);
    device_close(&d);
}

static void a_session_that_was_ended_elsewhere_is_told(void **state)
{
    struct device d;
    (void)state;
    device_init_logged_in(&d);
    device_open(&d);
    WAIT_UNTIL(d.state == BT_STATE_READY);
    fake_server_event(&server, RPC_ON_SESSION_ENDED, SessionEndedEvent_fields, &(SessionEndedEvent){ .why = SessionEnd_PASSWORD_CHANGED });
    WAIT_UNTIL(d.ended == 1);
    assert_int_equal(d.ended_why, BT_SESSION_PASSWORD_CHANGED);
    assert_false(d.has_token);
    device_close(&d);
}

/* The connection that it left may stand for seconds, still bound to the session that has ended over the new one. */
static void what_comes_for_the_user_before_is_not_taken_for_this_one(void **state)
{
    struct device d;
    struct fake_server other = { .idle_timeout_ms = 60000 };
    (void)state;
    fake_server_start(&other, loop);
    device_init_logged_in(&d);
    server.ignores_sends = true;
    device_open(&d);
    WAIT_UNTIL(d.state == BT_STATE_READY && d.synced == 1);
    send_text(&d, 9, "keeps the connection open");
    WAIT_UNTIL(server.sends == 1);
    DirectoryEntry place = { .address = rpc_str(other.address), .weight = 1 };
    GoAwayEvent e = { .proxies = &place, .proxies_count = 1, .within_ms = 200 };
    fake_server_event(&server, RPC_ON_GO_AWAY, GoAwayEvent_fields, &e);
    WAIT_UNTIL(other.resumes == 1 && d.state == BT_STATE_READY);
    enum bt_status status = (enum bt_status)-1;
    assert_true(bt_logout(d.client, on_done, &status));
    WAIT_UNTIL(status == BT_STATUS_OK);
    status = (enum bt_status)-1;
    other.login_user = 8;
    assert_true(bt_login(d.client, "bob", "secret", "test", on_done, &status));
    WAIT_UNTIL(status == BT_STATUS_OK && d.state == BT_STATE_READY && d.synced >= 2);
    assert_int_equal(server.open_links, 1);
    fake_server_write(&server, 9, false, 9, "for alice", true);
    fake_server_event(&server, RPC_ON_SESSION_ENDED, SessionEndedEvent_fields, &(SessionEndedEvent){ .why = SessionEnd_ENDED });
    int pulls = other.pulls;
    turn_for(200);
    assert_int_equal(d.ended, 0);
    assert_true(d.has_token);
    assert_int_equal(bt_client_user_id(d.client), 8);
    assert_int_equal(other.pulls, pulls);
    device_close(&d);
    fake_server_stop(&other);
}

/* ---- the end, and no memory ---- */

static void closing_in_a_callback_ends_it(void **state)
{
    struct device d;
    (void)state;
    device_init_returning(&d, 0);
    d.closes_in_message = true;
    for (int n = 0; n < 5; n++)
        fake_server_write(&server, 9, false, 9, "hi", false);
    device_open(&d);
    WAIT_UNTIL(d.closed == 1);
    assert_int_equal(d.seen, 1);
    assert_int_equal(d.positions[9], 1); /* the rest is for the next time */
    d.closes_in_message = false;
    d.closed = 0;
    device_open(&d);
    WAIT_UNTIL(d.seen == 5);
    assert_in_order(&d, 9, 1, 5);
    device_close(&d);
}

static void it_may_be_closed_at_any_moment(void **state)
{
    (void)state;
    for (uint32_t turns = 0; turns < 25; turns++) {
        struct device d;
        device_init_logged_in(&d);
        device_open(&d);
        send_text(&d, 3, "x");
        for (uint32_t n = 0; n < turns; n++)
            net_loop_turn(loop, 1);
        device_close(&d);
        assert_int_equal(d.sent + d.failed + d.unsure, 1);
    }
}

static void any_allocation_may_fail(void **state)
{
    bool has_failed = true;
    (void)state;
    server.page = 3;
    for (int n = 0; n < 12; n++)
        fake_server_write(&server, 9, false, 9, "hi", false);
    for (long nth = 0; has_failed && nth < 400; nth++) {
        struct device d;
        struct bt_config config = { .servers = &server.address, .server_count = 1, .backoff_min_ms = 5, .backoff_max_ms = 10,
                                    .send_timeout_ms = 3000 };
        device_init_returning(&d, 0);
        bt_mem_fail_after(nth);
        if (device_try_open(&d, config)) {
            bool is_taken = bt_send(d.client, &(struct bt_outgoing){ .target = 9, .body = { "x", 1 } }, on_sent, &d);
            for (int turns = 0; turns < 60; turns++)
                net_loop_turn(loop, 1);
            has_failed = bt_mem_has_failed();
            bt_mem_fail_after(-1);
            if (is_taken) /* it recovers */
                WAIT_UNTIL(d.sent + d.failed + d.unsure == 1);
            WAIT_UNTIL(d.seen >= 12);
            assert_in_order(&d, 9, 1, d.seen);
            device_close(&d);
        }
        bt_mem_fail_after(-1);
    }
    assert_false(has_failed); /* the last round had all it asked for */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, device_setup, device_teardown)
    const struct CMUnitTest tests[] = {
        TEST(login_is_kept_and_resumed),
        TEST(resume_travels_with_hello),
        TEST(who_is_put_off_asks_again_over_the_same_connection_when_told),
        TEST(who_is_put_off_for_ever_goes_elsewhere),
        TEST(a_refused_token_ends_the_session),
        TEST(a_server_without_a_common_version_is_final),
        TEST(it_connects_again_and_goes_over_to_a_living_server),
        TEST(a_server_that_closes_after_resume_is_tried_more_and_more_rarely),
        TEST(a_session_of_its_own_ends_with_the_client),
        TEST(a_call_never_goes_out_as_another_user),
        TEST(a_confirmation_of_another_user_confirms_nothing),
        TEST(a_name_that_no_server_answers_to_is_told),
        TEST(an_unanswered_ping_breaks_the_connection),
        TEST(go_away_connects_there_before_it_leaves_here),
        TEST(go_away_from_a_shared_port_connects_there_again),
        TEST(a_session_that_was_ended_elsewhere_is_told),
        TEST(what_comes_for_the_user_before_is_not_taken_for_this_one),
        TEST(closing_in_a_callback_ends_it),
        TEST(it_may_be_closed_at_any_moment),
        TEST(any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
