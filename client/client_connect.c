/* client/client_connect.c: which connection is in use: dialling, waiting, going over to another server. */
#include <stdio.h>
#include <string.h>

#include "client/client_internal.h"

#define LOG_MODULE "client"
#include "net/log.h"

enum { GO_AWAY_SHUN_MS = 60000, GO_AWAY_SPREAD_MS = 500 };

static void connect_try(void *arg);

/* Try again after a while, unless there is nothing to try for. */
static void schedule(struct bt_client *c, const char *why)
{
    if (c->is_closing || c->state == BT_STATE_REFUSED || c->coming || c->looking_up[0] || (c->cur && !c->must_move))
        return;
    uint32_t wait_ms = client_backoff_next(&c->backoff, client_random());
    net_timer_start(c->loop, &c->connect_timer, wait_ms, connect_try, c);
    if (!c->cur)
        client_set_state(c, BT_STATE_WAITING, why, wait_ms);
}

static void resolved(struct bt_client *c, const char *address, void *arg)
{
    char server[CLIENT_SERVER_MAX], why[CLIENT_SERVER_MAX + 64];
    (void)arg;
    memcpy(server, c->looking_up, sizeof server);
    c->looking_up[0] = '\0';
    if (address)
        c->coming = client_link_open(c, server, address);
    if (c->coming)
        return;
    snprintf(why, sizeof why, address ? "%s can't be dialled" : "%s is no address that is known", server);
    client_servers_failed(&c->servers, server, net_now_ms(c->loop));
    schedule(c, why);
}

static void connect_try(void *arg)
{
    struct bt_client *c = arg;
    if (c->coming || c->looking_up[0] || (c->cur && !c->must_move))
        return;
    const char *server = client_servers_pick(&c->servers, net_now_ms(c->loop), client_random());
    if (c->cur && !c->cur->is_shared && (strcmp(server, c->cur->server) == 0 || strcmp(server, c->cur->address) == 0)) {
        schedule(c, ""); /* no other place is known: stay as long as it stands */
        return;
    }
    snprintf(c->looking_up, sizeof c->looking_up, "%s", server);
    if (!c->cur)
        client_set_state(c, BT_STATE_CONNECTING, "", 0);
    if (c->is_closing)
        return;
    if (!client_resolve(c, c->looking_up, resolved, NULL)) {
        c->looking_up[0] = '\0';
        schedule(c, "out of memory");
    }
}

void client_connect_start(struct bt_client *c)
{
    connect_try(c);
}

/* ---- the servers there are ---- */

static void directory_done(struct client_call *call, const struct bt_result *r, const void *msg)
{
    const DirectoryReply *reply = msg;
    (void)r; /* not told: those known stay */
    if (reply && reply->proxies_count > 0)
        client_servers_learn(&call->client->servers, reply->proxies, reply->proxies_count);
}

static void directory_ask(struct bt_client *c)
{
    static const DirectoryRequest req;
    if (!c->stay && !client_call(c, &(struct client_ask){
                        .method = RPC_PROXY_DIRECTORY, .msg = &req, .is_internal = true, .done = directory_done }))
        log_debug("directory: not asked");
}

/* ---- in use ---- */

static void in_use(struct client_link *l)
{
    struct bt_client *c = l->client;
    bool is_bound = l->state == CLIENT_LINK_BOUND;
    client_set_state(c, is_bound ? BT_STATE_READY : BT_STATE_CONNECTED, "", 0);
    if (c->is_closing)
        return;
    client_calls_try_all(c);
    if (is_bound && !c->is_closing) {
        c->must_tell_synced = c->must_list = true;
        client_pull_start(c);
        client_mark_wake(c);
    }
}

void client_connect_ready(struct client_link *l)
{
    struct bt_client *c = l->client;
    if (c->is_closing)
        return;
    if (l->state == CLIENT_LINK_OPEN && c->token_len > 0) {
        client_link_resume(l); /* somebody logged in meanwhile */
        return;
    }
    if (l == c->coming) {
        struct client_link *old = c->cur;
        c->coming = NULL;
        c->cur = l;
        c->must_move = false;
        l->ready_ms = net_now_ms(c->loop);
        client_servers_worked(&c->servers, l->server);
        log_debug("in use: %s (%s)", l->server, l->address);
        if (old)
            client_link_leave(old, CLIENT_LEAVE_MS);
        directory_ask(c);
    }
    if (l == c->cur)
        in_use(l);
}

void client_connect_lost(struct client_link *l, const char *why, bool is_final)
{
    struct bt_client *c = l->client;
    uint64_t now_ms = net_now_ms(c->loop);
    l->state = CLIENT_LINK_CLOSING;
    if (l == c->coming)
        c->coming = NULL;
    else if (l == c->cur)
        c->cur = NULL;
    else
        return;
    log_debug("%s: %s", l->server, why);
    if (l->ready_ms)
        client_backoff_held(&c->backoff, now_ms - l->ready_ms, CLIENT_STABLE_MS);
    client_servers_failed(&c->servers, l->server, now_ms);
    if (is_final && !c->cur && !c->is_closing) {
        client_set_state(c, BT_STATE_REFUSED, why, 0);
        client_calls_try_all(c); /* they fail */
        return;
    }
    schedule(c, why);
}

/* Whether another serves at the address of this one: whoever connects there again comes to him, as this one takes nobody any more. */
static bool is_named(const struct client_link *l, const GoAwayEvent *e)
{
    for (size_t n = 0; n < e->proxies_count; n++) {
        struct rpc_bytes a = e->proxies[n].address;
        if ((a.len == strlen(l->server) && memcmp(a.data, l->server, a.len) == 0) ||
            (a.len == strlen(l->address) && memcmp(a.data, l->address, a.len) == 0))
            return true;
    }
    return false;
}

void client_connect_go_away(struct client_link *l, const GoAwayEvent *e)
{
    struct bt_client *c = l->client;
    uint64_t now_ms = net_now_ms(c->loop);
    if (l->is_leaving)
        return;
    if (!c->stay && e->proxies_count > 0)
        client_servers_learn(&c->servers, e->proxies, e->proxies_count);
    l->is_shared = is_named(l, e);
    if (!l->is_shared) {
        client_servers_shun(&c->servers, l->server, now_ms + GO_AWAY_SHUN_MS);
        client_servers_shun(&c->servers, l->address, now_ms + GO_AWAY_SHUN_MS);
    }
    if (l != c->cur)
        return; /* still greeting: it will be told again, or be closed */
    c->must_move = true;
    if (c->coming || c->looking_up[0])
        return;
    uint64_t spread_ms = e->within_ms / 4 < GO_AWAY_SPREAD_MS ? e->within_ms / 4 : GO_AWAY_SPREAD_MS;
    net_timer_start(c->loop, &c->connect_timer, client_random() % (spread_ms + 1), connect_try, c);
}

void client_connect_stop(struct bt_client *c)
{
    net_timer_stop(c->loop, &c->connect_timer);
    for (struct client_link *l = c->links; l; l = l->next) {
        if (l == c->cur && l->state != CLIENT_LINK_CLOSING)
            client_link_leave(l, CLIENT_LAST_MS);
        else if (l->state != CLIENT_LINK_CLOSING || !l->is_leaving)
            client_link_close(l, BT_OK);
    }
}
