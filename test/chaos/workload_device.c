/* test/chaos/workload_device.c: a device: open, log in, leave, come back elsewhere; and what it is handed. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "test/chaos/workload.h"
#include "test/chaos/workload_body.h"

enum { DEVICE_RANDOM = 100, AWAY_LEAST_MS = 100, AWAY_MOST_MS = 20000, LOGIN_AGAIN_MS = 1000, MAX_QUEUED = 64 };
enum { CRASH_PERCENT = 40, SYNC_EVERY = 50, USER_AWAY_LEAST_MS = 10000, USER_AWAY_MOST_MS = 60000, USER_STAYS = 3 };

static void open_due(void *arg);
static void leave_due(void *arg);
static void login(struct wl_device *d);

void wl_device_init(struct wl_device *d, struct workload *w, struct wl_user *user, uint32_t number)
{
    d->w = w;
    d->user = user;
    d->number = number;
    d->random = wl_random_of(w->o.seed, DEVICE_RANDOM, number);
    wl_store_init(&d->store);
}

static void note(struct wl_device *d, struct history_record record)
{
    record.device = d->number;
    wl_history_add(&d->w->history, &record);
}

/* ---- what it is told ---- */

static void on_state(struct bt_client *c, const struct bt_state_info *info, void *arg)
{
    struct wl_device *d = arg;
    (void)c;
    if (info->state == d->state && info->state == BT_STATE_WAITING)
        return; /* only tells how long */
    d->state = info->state;
    if (info->server[0])
        snprintf(d->server, sizeof d->server, "%s", info->server);
    note(d, (struct history_record){ .type = HISTORY_STATE, .what = (uint8_t)info->state });
    if (info->state == BT_STATE_CONNECTED && d->store.has_session && d->store.token_len == 0 && !d->is_logging_in)
        login(d);
}

static void on_session_ended(struct bt_client *c, enum bt_session_end why, void *arg)
{
    struct wl_device *d = arg;
    (void)c;
    fprintf(stderr, "chaos-workload: device %u: its session ended (%d): logs in again\n", d->number, (int)why);
    if (!d->is_logging_in)
        login(d);
}

static struct history_record record_of(const struct bt_message *m)
{
    struct history_record r = {
        .target = m->target, .seq = m->seq, .user = m->sender_id, .what = (uint8_t)m->kind, .refers = m->refers_to_seq,
        .id = m->client_msg_id,
    };
    if (m->membership) {
        r.outcome = (uint8_t)m->membership->change;
        r.refers = m->membership->user_id;
        r.status = m->membership->change == BT_MUTED ? m->membership->until_ms != 0 : (uint8_t)m->membership->role;
    } else {
        r.op = wl_body_op(m->body.data, m->body.len);
    }
    return r;
}

static void on_message(struct bt_client *c, const struct bt_message *m, void *arg)
{
    struct wl_device *d = arg;
    struct history_record r = record_of(m);
    struct wl_chat *chat = wl_chat_of_target(d->w, d->user, m->target);
    (void)c;
    r.type = HISTORY_MESSAGE;
    note(d, r);
    d->w->counts.messages++;
    if (chat)
        wl_chat_heard(d->w, chat, m);
    if (d->drops_saves && wl_random_below(&d->random, SYNC_EVERY) == 0)
        wl_store_sync(&d->store);
}

static void on_synced(struct bt_client *c, void *arg)
{
    (void)c;
    note(arg, (struct history_record){ .type = HISTORY_SYNCED });
}

static void on_receipt(struct bt_client *c, uint64_t target, uint64_t user_id, uint64_t delivered_seq, uint64_t read_seq, void *arg)
{
    (void)c;
    note(arg, (struct history_record){ .type = HISTORY_RECEIPT, .target = target, .user = user_id, .seq = delivered_seq, .refers = read_seq });
}

static const struct bt_events events = {
    .state = on_state,
    .session_ended = on_session_ended,
    .message = on_message,
    .synced = on_synced,
    .receipt = on_receipt,
};

void wl_history_rows(struct workload *w, struct wl_device *d, uint64_t op, const struct bt_message *rows, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        struct history_record r = record_of(&rows[k]);
        r.type = HISTORY_PAGE;
        r.device = d->number;
        r.id = op;
        wl_history_add(&w->history, &r);
    }
}

void wl_list_rows(struct workload *w, struct wl_device *d, uint64_t op, const struct bt_conversation *rows, size_t n)
{
    for (size_t k = 0; k < n; k++)
        wl_history_add(&w->history, &(struct history_record){
            .type = HISTORY_MARKS, .device = d->number, .op = op, .target = rows[k].target, .seq = rows[k].delivered_seq,
            .refers = rows[k].read_seq, .id = rows[k].head_seq,
        });
}

/* ---- coming ---- */

static void login_due(void *arg)
{
    struct wl_device *d = arg;
    if (d->client && !d->is_closing && !d->is_logging_in && d->state != BT_STATE_READY)
        login(d);
}

static void login_done(void *arg, bool is_done)
{
    struct wl_device *d = arg;
    d->is_logging_in = false;
    if (!is_done && d->client && !d->is_closing)
        net_timer_start(d->w->loop, &d->timer, LOGIN_AGAIN_MS, login_due, d);
    else if (is_done && d->w->phase == HISTORY_LOAD)
        wl_device_stay(d);
}

static void login(struct wl_device *d)
{
    char name[32];
    struct wl_op *op = wl_op_begin(d->w, d, &(struct wl_call){ .what = HISTORY_LOGIN, .user = d->user->id });
    op->then = login_done;
    op->arg = d;
    d->is_logging_in = true;
    snprintf(name, sizeof name, "device %u", d->number);
    if (!bt_login(d->client, d->user->name, d->user->password, name, wl_op_end_plain, op))
        wl_op_refused(op);
}

/* Those given, but for the one it was connected to last, if there are others. */
static size_t servers_of(const struct wl_device *d, const char *servers[WL_MAX_SERVERS])
{
    size_t count = 0;
    for (size_t n = 0; n < d->w->o.server_count; n++)
        if (strcmp(d->w->o.servers[n], d->server) != 0)
            servers[count++] = d->w->o.servers[n];
    if (count == 0)
        servers[count++] = d->server;
    return count;
}

void wl_device_open(struct wl_device *d)
{
    const char *servers[WL_MAX_SERVERS];
    struct bt_config config = {
        .servers = servers,
        .server_count = servers_of(d, servers),
        .program = "chaos-workload",
        .store = &d->store.base,
        .inbox = d->is_fresh ? BT_INBOX_FRESH : BT_INBOX_KEEP,
        .backfill = d->w->o.backfill,
        .send_timeout_ms = d->w->o.send_timeout_ms,
        .max_queued = MAX_QUEUED,
        .stay = d->w->o.stay,
    };
    d->state = BT_STATE_CONNECTING;
    d->opens++;
    note(d, (struct history_record){ .type = HISTORY_OPEN, .op = d->opens });
    d->client = bt_client_open(d->w->loop, &config, &events, d);
    if (!d->client)
        wl_fail("out of memory for a client");
    if (!d->store.has_session)
        login(d);
    else if (d->w->phase == HISTORY_LOAD)
        wl_device_stay(d);
}

static void open_due(void *arg)
{
    struct wl_device *d = arg;
    d->is_wanted = d->client != NULL; /* it has not yet gone: as soon as it has */
    if (!d->client)
        wl_device_open(d);
}

/* ---- leaving ---- */

static uint64_t away_ms(struct wl_device *d)
{
    double unit = wl_random_unit(wl_random_next(&d->random));
    return (uint64_t)(AWAY_LEAST_MS * pow((double)AWAY_MOST_MS / AWAY_LEAST_MS, unit));
}

static void closed(void *arg)
{
    struct wl_device *d = arg;
    d->client = NULL;
    d->is_closing = false;
    d->state = BT_STATE_CONNECTING;
    note(d, (struct history_record){ .type = HISTORY_CLOSED });
    bool crashes = d->drops_saves && wl_random_chance(&d->random, CRASH_PERCENT);
    if (crashes)
        wl_store_crash(&d->store);
    else
        wl_store_sync(&d->store);
    if (d->is_wanted)
        open_due(d);
}

void wl_device_leave(struct wl_device *d, uint64_t ms)
{
    net_timer_stop(d->w->loop, &d->timer);
    if (ms != UINT64_MAX)
        net_timer_start(d->w->loop, &d->timer, ms, open_due, d);
    if (!d->client || d->is_closing)
        return;
    d->is_closing = true;
    bt_client_close(d->client, closed, d);
}

void wl_device_again(struct wl_device *d)
{
    wl_device_leave(d, UINT64_MAX);
    open_due(d);
}

static void leave_due(void *arg)
{
    struct wl_device *d = arg;
    if (d->w->phase == HISTORY_LOAD && !d->user->is_away)
        wl_device_leave(d, away_ms(d));
}

/* From a quarter of the average on, seldom much longer. */
void wl_device_stay(struct wl_device *d)
{
    double unit = wl_random_unit(wl_random_next(&d->random)), average = d->w->o.stay_ms;
    net_timer_start(d->w->loop, &d->timer, (uint64_t)(average / 4 - average * 0.75 * log(1 - unit)), leave_due, d);
}

/* ---- a user with all devices ---- */

static void user_back(void *arg)
{
    struct wl_user *u = arg;
    u->is_away = false;
    for (size_t n = 0; n < u->device_count; n++)
        if (!u->devices[n]->client || u->devices[n]->is_closing)
            open_due(u->devices[n]);
    wl_user_stay(u);
}

static void user_away(void *arg)
{
    struct wl_user *u = arg;
    if (u->w->phase != HISTORY_LOAD)
        return;
    u->is_away = true;
    for (size_t n = 0; n < u->device_count; n++)
        wl_device_leave(u->devices[n], UINT64_MAX);
    net_timer_start(u->w->loop, &u->timer,
                    USER_AWAY_LEAST_MS + wl_random_below(&u->random, USER_AWAY_MOST_MS - USER_AWAY_LEAST_MS), user_back, u);
}

void wl_user_stay(struct wl_user *u)
{
    if (u->goes_away && u->w->phase == HISTORY_LOAD)
        net_timer_start(u->w->loop, &u->timer, u->w->o.stay_ms + wl_random_below(&u->random, USER_STAYS * (uint64_t)u->w->o.stay_ms),
                        user_away, u);
}

/* ---- asking ---- */

bool wl_device_can(const struct wl_device *d)
{
    return d->client && !d->is_closing && d->store.token_len > 0 && d->open_ops < WL_DEVICE_OPEN;
}

struct wl_device *wl_user_device(const struct wl_user *u, uint64_t n)
{
    for (size_t k = 0; k < u->device_count; k++) {
        struct wl_device *d = u->devices[(n + k) % u->device_count];
        if (wl_device_can(d))
            return d;
    }
    return NULL;
}
