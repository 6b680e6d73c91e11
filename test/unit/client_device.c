/* test/unit/client_device.c: a client of the fake server, as a device that keeps what it is told. */
#include <stdio.h>
#include <string.h>

#include "client_device.h"

struct net_loop *loop;
struct fake_server server;

/* ---- what it keeps and is told ---- */

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

/* ---- what it does ---- */

void device_init(struct device *d)
{
    memset(d, 0, sizeof *d);
    memset(d->positions, 0xff, sizeof d->positions);
    d->store = (struct bt_store){ load, save };
}

void device_init_logged_in(struct device *d)
{
    device_init(d);
    d->has_token = true;
}

void device_init_returning(struct device *d, uint64_t position)
{
    device_init_logged_in(d);
    d->is_synced_before = true;
    d->positions[9] = position;
}

bool device_try_open(struct device *d, struct bt_config config)
{
    struct bt_events events = { .state = on_state, .session_ended = on_ended, .conversation = on_conversation, .message = on_message,
                                .synced = on_synced, .receipt = on_receipt };
    config.store = &d->store;
    config.program = "test";
    d->client = bt_client_open(loop, &config, &events, d);
    return d->client != NULL;
}

void device_open_config(struct device *d, struct bt_config config)
{
    assert_true(device_try_open(d, config));
}

void device_open_with(struct device *d, const char *const *servers, size_t n, uint32_t backfill, uint32_t send_timeout_ms)
{
    device_open_config(d, (struct bt_config){ .servers = servers, .server_count = n, .backfill = backfill, .send_timeout_ms = send_timeout_ms,
                                              .backoff_min_ms = 10, .backoff_max_ms = 50 });
}

void device_open(struct device *d)
{
    device_open_with(d, &server.address, 1, 10, 0);
}

void turn_for(uint32_t ms)
{
    uint64_t limit_us = net_clock_us() + ms * 1000;
    while (net_clock_us() < limit_us)
        net_loop_turn(loop, 5);
}

void device_close(struct device *d)
{
    if (!d->closed)
        bt_client_close(d->client, on_closed, d);
    WAIT_UNTIL(d->closed == 1);
}

void on_sent(const struct bt_result *r, uint64_t seq, int64_t sent_ms, void *arg)
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

void send_text(struct device *d, uint64_t target, const char *text)
{
    assert_true(bt_send(d->client, &(struct bt_outgoing){ .target = target, .body = { text, strlen(text) } }, on_sent, d));
}

void on_done(const struct bt_result *r, void *arg)
{
    *(enum bt_status *)arg = r->status;
}

void assert_in_order(const struct device *d, uint64_t target, uint64_t from, uint64_t to)
{
    uint64_t next = from;
    for (size_t n = 0; n < d->seen; n++)
        if (d->seen_target[n] == target)
            assert_int_equal(d->seen_seq[n], next++);
    assert_int_equal(next, to + 1);
}

int device_setup(void **state)
{
    (void)state;
    memset(&server, 0, sizeof server);
    server.idle_timeout_ms = 60000;
    if (net_loop_new(&loop) != BT_OK)
        return -1;
    fake_server_start(&server, loop);
    return 0;
}

int device_teardown(void **state)
{
    (void)state;
    fake_server_stop(&server);
    for (int n = 0; n < 5; n++)
        net_loop_turn(loop, 1);
    net_loop_free(loop);
    return 0;
}
