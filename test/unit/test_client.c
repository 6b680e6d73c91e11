/* test/unit/test_client.c: the client against a scripted server: what is lost is sent again, once and in order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/bytetalk.h"
#include "fake_server.h"
#include "net/loop.h"
#include "net/mem.h"
#include "proto/methods.h"

enum { MAX_SEEN = 512 };

/* A client and what it was told. */
struct device {
    struct bt_client *client;
    struct bt_store store; /* hands back and keeps the session and positions below */
    bool has_token, is_synced_before;
    uint64_t positions[64]; /* by peer; UINT64_MAX: none */
    int positions_saved;

    enum bt_state state;
    int waits, ended, conversations, synced, closed, receipts;
    uint64_t receipt_target, receipt_user, receipt_delivered_seq, receipt_read_seq; /* of the last one */
    enum bt_session_end ended_why;
    char server[64];
    uint64_t seen_target[MAX_SEEN], seen_seq[MAX_SEEN];
    char seen_body[MAX_SEEN][32];
    size_t seen;

    int sent, failed, unsure;   /* callbacks of bt_send */
    enum bt_status status;
    uint64_t order[MAX_SEEN];   /* seqs as answered */
    bool closes_in_message;
};

static struct net_loop *loop;
static struct fake_server server;

/* ---- a device ---- */

static bool load(struct bt_store *store, bt_record_cb *each, void *arg)
{
    struct device *d = (struct device *)((char *)store - offsetof(struct device, store));
    each(&(struct bt_record){ .kind = BT_RECORD_DEVICE, .number = 5 }, arg);
    if (d->has_token)
        each(&(struct bt_record){ .kind = BT_RECORD_SESSION, .number = FAKE_USER, .name = { "alice", 5 }, .token = { "token", 5 } }, arg);
    if (d->is_synced_before)
        each(&(struct bt_record){ .kind = BT_RECORD_SYNCED, .number = 1 }, arg);
    for (uint64_t peer = 1; peer < 64; peer++)
        if (d->positions[peer] != UINT64_MAX)
            each(&(struct bt_record){ .kind = BT_RECORD_POSITION, .hi = peer > FAKE_USER ? peer : FAKE_USER,
                                      .lo = peer > FAKE_USER ? FAKE_USER : peer, .number = d->positions[peer] }, arg);
    return true;
}

static bool save(struct bt_store *store, const struct bt_record *r)
{
    struct device *d = (struct device *)((char *)store - offsetof(struct device, store));
    if (r->kind == BT_RECORD_POSITION && r->hi < 64) {
        d->positions[r->hi] = r->number;
        d->positions_saved++;
    }
    if (r->kind == BT_RECORD_SESSION)
        d->has_token = r->token.len > 0;
    if (r->kind == BT_RECORD_SYNCED)
        d->is_synced_before = true;
    return true;
}

static void on_state(struct bt_client *c, const struct bt_state_info *info, void *arg)
{
    struct device *d = arg;
    (void)c;
    d->state = info->state;
    d->waits += info->state == BT_STATE_WAITING;
    snprintf(d->server, sizeof d->server, "%s", info->server);
}

static void on_ended(struct bt_client *c, enum bt_session_end why, void *arg)
{
    struct device *d = arg;
    (void)c;
    d->ended++;
    d->ended_why = why;
}

static void on_conversation(struct bt_client *c, const struct bt_conversation *conv, void *arg)
{
    struct device *d = arg;
    (void)c, (void)conv;
    d->conversations++;
}

static void on_closed(void *arg)
{
    struct device *d = arg;
    d->closed++;
}

static void on_message(struct bt_client *c, const struct bt_message *m, void *arg)
{
    struct device *d = arg;
    assert_true(d->seen < MAX_SEEN);
    d->seen_target[d->seen] = m->target;
    d->seen_seq[d->seen] = m->seq;
    snprintf(d->seen_body[d->seen], sizeof d->seen_body[0], "%.*s", (int)m->body.len, m->body.data);
    d->seen++;
    if (d->closes_in_message)
        bt_client_close(c, on_closed, d);
}

static void on_synced(struct bt_client *c, void *arg)
{
    (void)c;
    ((struct device *)arg)->synced++;
}

static void on_receipt(struct bt_client *c, uint64_t target, uint64_t user_id, uint64_t delivered_seq, uint64_t read_seq, void *arg)
{
    struct device *d = arg;
    (void)c;
    assert_true(delivered_seq >= read_seq);
    d->receipts++;
    d->receipt_target = target;
    d->receipt_user = user_id;
    d->receipt_delivered_seq = delivered_seq;
    d->receipt_read_seq = read_seq;
}

static void device_init(struct device *d)
{
    memset(d, 0, sizeof *d);
    memset(d->positions, 0xff, sizeof d->positions);
    d->store = (struct bt_store){ load, save };
}

static void device_open_config(struct device *d, struct bt_config config)
{
    struct bt_events events = { .state = on_state, .session_ended = on_ended, .conversation = on_conversation, .message = on_message,
                                .synced = on_synced, .receipt = on_receipt };
    config.store = &d->store;
    config.program = "test";
    d->client = bt_client_open(loop, &config, &events, d);
    assert_non_null(d->client);
}

static void device_open_with(struct device *d, const char *const *servers, size_t n, uint32_t backfill, uint32_t send_timeout_ms)
{
    device_open_config(d, (struct bt_config){ .servers = servers, .server_count = n, .backfill = backfill, .send_timeout_ms = send_timeout_ms,
                                              .backoff_min_ms = 10, .backoff_max_ms = 50 });
}

static void device_open(struct device *d)
{
    device_open_with(d, &server.address, 1, 10, 0);
}

#define WAIT_UNTIL(condition)                                                                                                \
    do {                                                                                                                     \
        uint64_t limit_ms = net_clock_us() / 1000 + 8000;                                                                    \
        while (!(condition)) {                                                                                               \
            if (net_clock_us() / 1000 > limit_ms)                                                                            \
                fail_msg("not in time: %s", #condition);                                                                     \
            net_loop_turn(loop, 10);                                                                                         \
        }                                                                                                                    \
    } while (0)

static void turn_for(uint32_t ms)
{
    uint64_t limit_us = net_clock_us() + ms * 1000;
    while (net_clock_us() < limit_us)
        net_loop_turn(loop, 5);
}

static void device_close(struct device *d)
{
    if (!d->closed)
        bt_client_close(d->client, on_closed, d);
    WAIT_UNTIL(d->closed == 1);
}

static void on_sent(const struct bt_result *r, uint64_t seq, int64_t sent_ms, void *arg)
{
    struct device *d = arg;
    (void)sent_ms;
    d->status = r->status;
    if (r->outcome == BT_DONE)
        d->order[d->sent++] = seq;
    else if (r->outcome == BT_UNSURE)
        d->unsure++;
    else
        d->failed++;
}

static void send_text(struct device *d, uint64_t target, const char *text)
{
    assert_true(bt_send(d->client, &(struct bt_outgoing){ .target = target, .body = { text, strlen(text) } }, on_sent, d));
}

static void on_done(const struct bt_result *r, void *arg)
{
    *(enum bt_status *)arg = r->status;
}

static int setup(void **state)
{
    (void)state;
    memset(&server, 0, sizeof server);
    server.idle_timeout_ms = 60000;
    if (net_loop_new(&loop) != BT_OK)
        return -1;
    fake_server_start(&server, loop);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_server_stop(&server);
    for (int n = 0; n < 5; n++)
        net_loop_turn(loop, 1);
    net_loop_free(loop);
    return 0;
}

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
    device_init(&d);
    d.has_token = true;
    server.holds_hello = true; /* answered only when Resume has come */
    device_open(&d);
    WAIT_UNTIL(d.state == BT_STATE_READY);
    device_close(&d);
}

static void who_is_put_off_asks_again_over_the_same_connection_when_told(void **state)
{
    struct device d;
    (void)state;
    device_init(&d);
    d.has_token = true;
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
    device_init(&d);
    d.has_token = true;
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
    device_init(&d);
    d.has_token = true;
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
    device_init(&d);
    d.has_token = true;
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
    device_init(&d);
    d.has_token = true;
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
    device_init(&d);
    d.has_token = true;
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
    device_init(&d);
    d.has_token = true;
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
    device_init(&d);
    d.has_token = true;
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
    device_init(&d);
    d.has_token = true;
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
    device_init(&d);
    d.has_token = true;
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

static void a_session_that_was_ended_elsewhere_is_told(void **state)
{
    struct device d;
    (void)state;
    device_init(&d);
    d.has_token = true;
    device_open(&d);
    WAIT_UNTIL(d.state == BT_STATE_READY);
    fake_server_event(&server, RPC_ON_SESSION_ENDED, SessionEndedEvent_fields, &(SessionEndedEvent){ .why = SessionEnd_PASSWORD_CHANGED });
    WAIT_UNTIL(d.ended == 1);
    assert_int_equal(d.ended_why, BT_SESSION_PASSWORD_CHANGED);
    assert_false(d.has_token);
    device_close(&d);
}

/* ---- sending ---- */

static void a_lost_answer_is_asked_for_under_the_same_id(void **state)
{
    struct device d;
    (void)state;
    device_init(&d);
    d.has_token = true;
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
    device_init(&d);
    d.has_token = true;
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
    device_init(&d);
    d.has_token = true;
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
    device_init(&d);
    d.has_token = true;
    device_open_with(&d, &server.address, 1, 10, 150);
    WAIT_UNTIL(d.state == BT_STATE_READY);
    server.ignores_sends = true;
    send_text(&d, 3, "handed over");
    WAIT_UNTIL(d.unsure == 1);
    assert_int_equal(d.status, BT_STATUS_DEADLINE_EXCEEDED);
    device_close(&d);
    device_init(&d);
    d.has_token = true;
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
    device_init(&d);
    d.has_token = true;
    struct bt_config config = { .servers = &server.address, .server_count = 1, .store = &d.store, .max_queued = 10 };
    struct bt_events events = { 0 };
    assert_non_null(d.client = bt_client_open(loop, &config, &events, &d));
    for (int n = 0; n < 20; n++)
        taken += bt_send(d.client, &(struct bt_outgoing){ .target = 3, .body = { "x", 1 } }, on_sent, &d);
    assert_int_equal(taken, 10);
    WAIT_UNTIL(d.sent == 10);
    assert_true(bt_send(d.client, &(struct bt_outgoing){ .target = 3, .body = { "x", 1 } }, on_sent, &d));
    device_close(&d);
    assert_int_equal(d.sent + d.unsure + d.failed, 11); /* every callback ran */
}

/* ---- receiving ---- */

static void assert_in_order(const struct device *d, uint64_t target, uint64_t from, uint64_t to)
{
    uint64_t next = from;
    for (size_t n = 0; n < d->seen; n++)
        if (d->seen_target[n] == target)
            assert_int_equal(d->seen_seq[n], next++);
    assert_int_equal(next, to + 1);
}

static void what_was_missed_is_pulled_page_by_page(void **state)
{
    struct device d;
    (void)state;
    device_init(&d);
    d.has_token = d.is_synced_before = true;
    d.positions[9] = 2;
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
    device_init(&d);
    d.has_token = d.is_synced_before = true;
    d.positions[9] = 0;
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

static void a_gap_is_given_200_ms_before_it_is_fetched(void **state)
{
    struct device d;
    (void)state;
    device_init(&d);
    d.has_token = d.is_synced_before = true;
    d.positions[9] = 0;
    device_open(&d);
    WAIT_UNTIL(d.synced == 1);
    fake_server_write(&server, 9, false, 9, "late", false);
    fake_server_write(&server, 9, false, 9, "early", true);
    turn_for(120);
    assert_int_equal(server.histories, 0);
    assert_int_equal(d.seen, 0);
    fake_server_push(&server, 9, FAKE_USER, 1);
    WAIT_UNTIL(d.seen == 2);
    turn_for(200);
    assert_int_equal(server.histories, 0); /* it came by itself */
    fake_server_write(&server, 9, false, 9, "lost", false);
    fake_server_write(&server, 9, false, 9, "four", true);
    WAIT_UNTIL(d.seen == 4);
    assert_int_equal(server.histories, 1);
    assert_in_order(&d, 9, 1, 4);
    device_close(&d);
}

static void a_device_new_to_the_account_gets_the_newest_few(void **state)
{
    struct device d;
    (void)state;
    device_init(&d);
    d.has_token = true;
    for (int n = 0; n < 50; n++)
        fake_server_write(&server, 9, false, 9, "old", false);
    server.delivered_seq = 50;
    device_open(&d); /* backfill 10 */
    WAIT_UNTIL(d.synced == 1);
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
    device_init(&d);
    d.has_token = true;
    for (int n = 0; n < 50; n++)
        fake_server_write(&server, 9, false, 9, "old", false);
    server.delivered_seq = 20;
    device_open(&d);
    WAIT_UNTIL(d.synced == 1);
    assert_in_order(&d, 9, 21, 50);
    device_close(&d);
}

static void held_messages_come_in_order_when_released(void **state)
{
    struct device d;
    (void)state;
    device_init(&d);
    d.has_token = d.is_synced_before = true;
    d.positions[9] = 0;
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
    device_init(&d);
    d.has_token = d.is_synced_before = true;
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
    device_init(&d);
    d.has_token = d.is_synced_before = true;
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
    device_init(&d);
    d.has_token = d.is_synced_before = true;
    d.positions[9] = 0;
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
    device_init(&d);
    d.has_token = d.is_synced_before = true;
    d.positions[9] = 0;
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
    device_init(&d);
    d.has_token = d.is_synced_before = true;
    d.positions[9] = 1;
    fake_server_write(&server, 9, false, 9, "had", false);
    server.pull_stalls = true;
    device_open(&d);
    WAIT_UNTIL(server.pulls >= 1);
    turn_for(500);
    assert_in_range(server.pulls, 1, 2);
    assert_int_equal(d.seen, 0);
    device_close(&d);
}

static void receipts_of_the_time_away_are_learnt_once(void **state)
{
    struct device d;
    (void)state;
    device_init(&d);
    d.has_token = d.is_synced_before = true;
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
    device_init(&d);
    d.has_token = d.is_synced_before = true;
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
    device_init(&d);
    d.has_token = d.is_synced_before = true;
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
    device_init(&d);
    d.has_token = d.is_synced_before = true;
    d.positions[9] = 1;
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

static void a_comparison_that_failed_is_made_again_soon(void **state)
{
    struct device d;
    uint64_t began_ms;
    (void)state;
    device_init(&d);
    d.has_token = d.is_synced_before = true;
    d.positions[9] = 0;
    fake_server_write(&server, 9, false, 9, "missed", false);
    server.refuse_pulls = 3;
    device_open(&d);
    began_ms = net_clock_us() / 1000;
    WAIT_UNTIL(d.seen == 1);
    assert_int_equal(server.pulls, 4);
    assert_in_range(net_clock_us() / 1000 - began_ms, 0, 250 + 500 + 1000 + 1000);
    device_close(&d);
}

static void own_and_others_messages_interleave_in_one_order(void **state)
{
    struct device d;
    (void)state;
    device_init(&d);
    d.has_token = d.is_synced_before = true;
    d.positions[9] = 0;
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

static void confirmations_are_gathered(void **state)
{
    struct device d;
    (void)state;
    device_init(&d);
    d.has_token = d.is_synced_before = true;
    d.positions[9] = 0;
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

static void closing_in_a_callback_ends_it(void **state)
{
    struct device d;
    (void)state;
    device_init(&d);
    d.has_token = d.is_synced_before = d.closes_in_message = true;
    d.positions[9] = 0;
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
        device_init(&d);
        d.has_token = true;
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
        struct bt_config config = { .servers = &server.address, .server_count = 1, .store = &d.store, .backoff_min_ms = 5,
                                    .backoff_max_ms = 10, .send_timeout_ms = 3000 };
        struct bt_events events = { .state = on_state, .message = on_message, .synced = on_synced };
        device_init(&d);
        d.has_token = d.is_synced_before = true;
        d.positions[9] = 0;
        bt_mem_fail_after(nth);
        d.client = bt_client_open(loop, &config, &events, &d);
        if (d.client) {
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
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
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
        TEST(a_session_that_was_ended_elsewhere_is_told),
        TEST(a_lost_answer_is_asked_for_under_the_same_id),
        TEST(order_survives_every_kind_of_failure),
        TEST(conversations_do_not_wait_for_each_other),
        TEST(a_deadline_tells_what_is_known),
        TEST(queues_have_a_limit),
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
        TEST(receipts_of_the_time_away_are_learnt_once),
        TEST(own_marks_of_other_devices_are_told_only_when_they_rise),
        TEST(no_mark_is_told_before_those_that_stand_are_known),
        TEST(a_mark_that_came_before_the_list_is_told_after_it),
        TEST(a_comparison_that_failed_is_made_again_soon),
        TEST(own_and_others_messages_interleave_in_one_order),
        TEST(confirmations_are_gathered),
        TEST(closing_in_a_callback_ends_it),
        TEST(it_may_be_closed_at_any_moment),
        TEST(any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
