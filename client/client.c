/* client/client.c: a client from open to close, its state, and whose session it holds. */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "client/client_internal.h"
#include "net/mem.h"
#include "rpc/status.h"

#define LOG_MODULE "client"
#include "net/log.h"

/* ---- loop ---- */

struct net_loop *bt_loop_new(void)
{
    struct net_loop *loop;
    return net_loop_new(&loop) == BT_OK ? loop : NULL;
}

void bt_loop_run(struct net_loop *loop)
{
    net_loop_run(loop);
}

void bt_loop_turn(struct net_loop *loop, uint32_t max_wait_ms)
{
    net_loop_turn(loop, max_wait_ms);
}

void bt_loop_stop(struct net_loop *loop)
{
    net_loop_stop(loop);
}

void bt_loop_free(struct net_loop *loop)
{
    net_loop_free(loop);
}

const char *bt_status_name(enum bt_status status)
{
    return rpc_status_name((uint8_t)status);
}

/* ---- randomness, time ---- */

uint64_t client_random(void)
{
    uint64_t value;
    while (getrandom(&value, sizeof value, 0) != (ssize_t)sizeof value)
        assert(errno == EINTR); /* eight bytes are given whole, or not at all while the pool fills at boot */
    return value;
}

uint64_t client_wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- the store ---- */

void client_save(struct bt_client *c, const struct bt_record *record)
{
    if (c->store && !c->store->save(c->store, record))
        log_warn("the store did not take a record of kind %d: what it says is forgotten at exit", (int)record->kind);
}

static bool name_set(struct bt_client *c, struct bt_text name)
{
    char *copy = bt_malloc(name.len + 1);
    if (!copy)
        return false;
    if (name.len > 0)
        memcpy(copy, name.data, name.len);
    copy[name.len] = '\0';
    bt_free(c->user_name);
    c->user_name = copy;
    return true;
}

static void restore(const struct bt_record *r, void *arg)
{
    struct bt_client *c = arg;
    switch (r->kind) {
    case BT_RECORD_DEVICE:
        c->device_id = r->number;
        break;
    case BT_RECORD_ID_RESERVE:
        client_ids_restore(&c->ids, r->number);
        break;
    case BT_RECORD_SESSION:
        c->position_user_id = r->number;
        if (r->token.len == 0 || r->token.len > sizeof c->token)
            break;
        c->lacks_memory = !name_set(c, r->name); /* a session is not dropped for that: opening fails */
        c->user_id = r->number;
        memcpy(c->token, r->token.data, r->token.len);
        c->token_len = r->token.len;
        break;
    case BT_RECORD_SYNCED:
        if (c->inbox == BT_INBOX_KEEP)
            c->is_synced = r->number != 0;
        break;
    case BT_RECORD_POSITION:
        if (c->inbox == BT_INBOX_KEEP)
            client_conv_restore(c, r->hi, r->lo, r->number);
        break;
    case BT_RECORD_FORGET:
        break;
    }
}

static void device_id_make(struct bt_client *c)
{
    while (c->device_id == 0)
        c->device_id = client_random() >> 1; /* the store's integers are signed */
    client_save(c, &(struct bt_record){ .kind = BT_RECORD_DEVICE, .number = c->device_id });
}

/* ---- open ---- */

static void started(void *arg)
{
    struct bt_client *c = arg;
    client_connect_start(c);
}

static uint32_t or_default(uint32_t value, uint32_t def)
{
    return value ? value : def;
}

static void configure(struct bt_client *c, const struct bt_config *config)
{
    c->store = config->store;
    c->inbox = config->inbox;
    c->backfill = config->backfill;
    c->stay = config->stay;
    c->logs_out = config->logs_out;
    c->call_timeout_ms = or_default(config->call_timeout_ms, 10000);
    c->send_timeout_ms = or_default(config->send_timeout_ms, 60000);
    c->max_queued = or_default(config->max_queued, 1024);
    c->backoff.min_ms = or_default(config->backoff_min_ms, 100);
    c->backoff.max_ms = or_default(config->backoff_max_ms, 15000);
    c->compare_ms = or_default(config->compare_ms, CLIENT_COMPARE_MS);
    c->pull_backoff.min_ms = CLIENT_PULL_MIN_MS;
    c->pull_backoff.max_ms = CLIENT_PULL_MAX_MS;
    if (c->backoff.max_ms < c->backoff.min_ms)
        c->backoff.max_ms = c->backoff.min_ms;
    strncpy(c->program, config->program ? config->program : "libbytetalk " BT_VERSION, sizeof c->program - 1);
    c->limits = (struct rpc_link_limits){
        .max_frame_bytes = 16 * 1024 * 1024, /* a page of long messages; the server decides what it sends */
        .max_calls = 1,                      /* servers do not call clients */
        .allowed_flags = RPC_FLAGS_CLIENT,
        .net = { .out_high_bytes = 4 * 1024 * 1024, .out_low_bytes = 1024 * 1024, .in_max_bytes = 17 * 1024 * 1024 },
    };
}

struct bt_client *bt_client_open(struct net_loop *loop, const struct bt_config *config, const struct bt_events *events, void *arg)
{
    struct bt_client *c = bt_calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->loop = loop;
    c->events = *events;
    c->arg = arg;
    configure(c, config);
    for (size_t n = 0; n < config->server_count; n++)
        if (!client_servers_give(&c->servers, config->servers[n]))
            goto fail;
    if (c->servers.count == 0)
        goto fail;
    if (c->store && (!c->store->load(c->store, restore, c) || c->lacks_memory))
        goto fail;
    if (c->device_id == 0)
        device_id_make(c);
    net_defer(loop, &c->start_task, started, c);
    return c;
fail:
    client_convs_clear(c);
    client_servers_deinit(&c->servers);
    bt_free(c->convs.rows);
    bt_free(c->user_name);
    bt_free(c);
    return NULL;
}

/* ---- close ---- */

void client_check_gone(struct bt_client *c)
{
    if (!c->is_closing || !c->has_closed || c->links || c->works > 0)
        return;
    void (*closed_cb)(void *arg) = c->closed_cb;
    void *closed_arg = c->closed_arg;
    client_convs_clear(c);
    client_servers_deinit(&c->servers);
    bt_free(c->convs.rows);
    bt_free(c->user_name);
    memset(c->token, 0, sizeof c->token);
    bt_free(c);
    if (closed_cb)
        closed_cb(closed_arg);
}

static void close_now(void *arg)
{
    struct bt_client *c = arg;
    client_calls_cancel_all(c);
    client_mark_now(c);
    if (c->logs_out)
        client_last_call(c, RPC_USER_LOGOUT, &(LogoutRequest){ 0 });
    client_convs_save(c);
    client_pull_stop(c);
    net_timer_stop(c->loop, &c->mark_timer);
    net_defer_cancel(c->loop, &c->save_task);
    net_defer_cancel(c->loop, &c->start_task);
    client_connect_stop(c);
    c->has_closed = true;
    client_check_gone(c);
}

void bt_client_close(struct bt_client *c, void (*closed_cb)(void *arg), void *arg)
{
    if (c->is_closing)
        return;
    c->is_closing = true;
    c->closed_cb = closed_cb;
    c->closed_arg = arg;
    net_defer(c->loop, &c->close_task, close_now, c);
}

/* ---- state ---- */

void client_set_state(struct bt_client *c, enum bt_state state, const char *why, uint32_t wait_ms)
{
    if (c->is_closing || (state == c->state && c->has_state && state != BT_STATE_WAITING))
        return;
    c->state = state;
    c->has_state = true;
    struct bt_state_info info = {
        .state = state,
        .server = c->cur ? c->cur->server : "",
        .why = why,
        .wait_ms = wait_ms,
    };
    if (c->events.state)
        c->events.state(c, &info, c->arg);
}

uint64_t bt_client_user_id(const struct bt_client *c)
{
    return c->user_id;
}

const char *bt_client_user_name(const struct bt_client *c)
{
    return c->user_name ? c->user_name : "";
}

enum bt_state bt_client_state(const struct bt_client *c)
{
    return c->state;
}

uint32_t bt_client_max_body(const struct bt_client *c)
{
    return c->max_body_bytes;
}

uint64_t bt_client_position(const struct bt_client *c, uint64_t target)
{
    uint64_t hi, lo;
    client_key_of(c, target, &hi, &lo);
    const struct client_conv *conv = client_conv_find(c, hi, lo);
    return conv ? conv->order.position : 0;
}

/* ---- the session ---- */

static void session_save(struct bt_client *c)
{
    const char *name = bt_client_user_name(c);
    client_save(c, &(struct bt_record){
        .kind = BT_RECORD_SESSION,
        .number = c->position_user_id,
        .name = { name, strlen(name) },
        .token = { (const char *)c->token, c->token_len },
    });
}

/* Another user's positions say nothing about this one's conversations. */
static void user_set(struct bt_client *c, uint64_t user_id)
{
    if (c->position_user_id != user_id) {
        client_convs_clear(c);
        client_mark_forget(c);
        c->is_synced = c->is_listed = false;
        client_save(c, &(struct bt_record){ .kind = BT_RECORD_FORGET });
    }
    c->user_id = c->position_user_id = user_id;
}

void client_session_begun(struct client_link *l, const LoginReply *reply)
{
    struct bt_client *c = l->client;
    bool is_new = reply->token.len > 0 && reply->token.len <= sizeof c->token &&
                  (reply->token.len != c->token_len || memcmp(reply->token.data, c->token, c->token_len) != 0);
    user_set(c, reply->user_id);
    if (reply->name.len > 0 && !name_set(c, client_text(reply->name)))
        log_warn("no memory for the user's name");
    if (is_new) {
        memcpy(c->token, reply->token.data, reply->token.len);
        c->token_len = reply->token.len;
        c->token_serial++;
        session_save(c);
    }
    client_link_bound(l);
}

void client_session_over(struct bt_client *c)
{
    if (c->token_len == 0)
        return;
    memset(c->token, 0, sizeof c->token);
    c->token_len = 0;
    c->token_serial++;
    c->user_id = 0;
    session_save(c);
    client_pull_stop(c);
    for (size_t n = 0; n < c->convs.count; n++)
        c->convs.rows[n]->is_fetching = false; /* its answer is nobody's */
    for (struct client_link *l = c->links; l; l = l->next)
        if (l->state == CLIENT_LINK_BOUND)
            l->state = CLIENT_LINK_OPEN;
    if (c->cur)
        client_set_state(c, BT_STATE_CONNECTED, "", 0);
    client_calls_no_session(c);
}
