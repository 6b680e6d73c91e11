/* roles/proxy_push.c: events to clients: pushes, and what the proxy itself has to tell. */
#include "roles/proxy.h"

#include <string.h>

#include "net/mem.h"
#include "net/planted.h"
#include "proto/methods.h"

#define LOG_MODULE "proxy"
#include "net/log.h"

enum { RESYNC_SLICE_MS = 50, RESYNC_LEAST = 10 };

/* What came of writing an event: a client that can't take it goes. */
static void event_written(struct proxy_client *client, enum bt_err err)
{
    if (err == BT_OK || err == BT_ECLOSING)
        return;
    log_info("client %u: %s, closing; it finds what it missed by its positions", net_conn_id(proxy_client_conn(client)),
             err == BT_EBUSY ? "reads too slowly" : bt_err_text(err));
    proxy_unbind(client);
    client->state = CLIENT_LEAVING;
    rpc_link_close(proxy_client_link(client), err);
}

void proxy_event(struct proxy_client *client, uint16_t method, const pb_msgdesc_t *fields, const void *msg)
{
    enum { EVENT_MAX = 32768 };
    uint8_t small[256], *buf = small;
    size_t size = rpc_size(fields, msg);

    if (size > EVENT_MAX)
        return;
    if (size > sizeof small && (buf = bt_malloc(size)) == NULL)
        return;
    size = rpc_encode(fields, msg, buf, size > sizeof small ? size : sizeof small);
    event_written(client, rpc_link_event(proxy_client_link(client), &(struct rpc_header){ .method = method }, buf, size));
    if (buf != small)
        bt_free(buf);
}

/* One whose login is under way gets nothing yet: it compares positions when it is done. */
static bool is_receiver(const struct proxy_client *c, uint64_t except_session)
{
    return c->state == CLIENT_BOUND && (except_session == 0 || c->session != except_session);
}

/* To a user's sessions. */
static void push_user(struct proxy *proxy, uint64_t user_id, uint64_t except_session, struct rpc_cast *cast)
{
    struct proxy_client *c, *next;

    for (c = proxy_user_find(proxy, user_id); c != NULL; c = next) {
        next = c->of_user; /* a slow reader is unbound */
        if (is_receiver(c, except_session))
            event_written(c, rpc_link_cast(proxy_client_link(c), cast));
    }
}

/* To so few that what is kept for all of them would cost more than to write it for each. */
static void push_few(struct proxy *proxy, const PushEvent *push, const struct rpc_header *h)
{
    for (size_t i = 0; i < push->users.len / 8; i++) {
        struct proxy_client *c = proxy_user_find(proxy, rpc_bytes_u64(push->users, i)), *next;

        for (; c != NULL; c = next) {
            next = c->of_user; /* a slow reader is unbound */
            if (is_receiver(c, push->except_session))
                event_written(c, rpc_link_event(proxy_client_link(c), h, push->event.data, push->event.len));
        }
    }
}

void proxy_push_users(struct proxy *proxy, const PushEvent *push, uint64_t trace)
{
    enum { SOON = 8, NEXT = 4, FEW = 2 }; /* receivers ahead, whose memory is called for; FEW: a pair */
    const struct rpc_method_info *info = rpc_method_info((uint16_t)push->method);
    const struct rpc_header h = { .method = (uint16_t)push->method, .trace = trace };
    size_t n = push->users.len / 8;
    struct rpc_cast cast;

    if (info == NULL || info->role != RPC_ROLE_CLIENT || n == 0)
        return;
    if (n <= FEW) {
        push_few(proxy, push, &h);
        return;
    }
    rpc_cast_begin(&cast, proxy->env.loop, &h, push->event.data, (uint32_t)push->event.len);
    for (size_t i = 0; i < n; i++) {
        if (i + SOON < n)
            proxy_user_soon(proxy, rpc_bytes_u64(push->users, i + SOON));
        if (i + NEXT < n)
            proxy_user_next(proxy, rpc_bytes_u64(push->users, i + NEXT));
        push_user(proxy, rpc_bytes_u64(push->users, i), push->except_session, &cast);
    }
}

void proxy_push(struct rpc_call *call, const void *msg, void *self)
{
    proxy_push_users(self, msg, rpc_call_header(call)->trace);
}

void proxy_push_lost(struct rpc_call *call, const void *msg, void *self)
{
    (void)call;
    (void)msg;
    proxy_resync_all(self);
}

void proxy_news(const char *address, enum rpc_link_news news, void *proxy_arg)
{
    (void)address;
    if (news == RPC_LINK_BROKE && !planted(PLANTED_NO_RESYNC)) /* it may have carried pushes */
        proxy_resync_all(proxy_arg);
}

/* ---- Resync ---------------------------------------------------------------------------------------------------------------------- */

/*
 * A slice of those that are still to be told, from where the last one ended; few are told sooner than the setting allows, as they crowd
 * nobody. Whoever connects meanwhile compares positions anyway. Those who had been told when more got lost are told again behind all
 * others: losses that go on keep nobody waiting for ever.
 */
static void resync_slice(void *proxy_arg)
{
    struct proxy *proxy = proxy_arg;
    uint32_t slices = proxy->set.resync_spread_ms / RESYNC_SLICE_MS + 1;
    uint32_t share = proxy->nclients / slices + 1, budget = share > RESYNC_LEAST ? share : RESYNC_LEAST;
    struct proxy_client *c = proxy->resync_next != NULL ? proxy->resync_next : proxy->clients, *next;

    for (; c != NULL && budget > 0; c = next) {
        next = c->next;
        if (!c->wants_resync)
            continue;
        c->wants_resync = false;
        budget--;
        if (c->state == CLIENT_BOUND)
            proxy_event(c, RPC_ON_RESYNC, ResyncEvent_fields, &(ResyncEvent){ 0 });
    }
    proxy->resync_next = c;
    if (c == NULL && !proxy->must_resync_again)
        return;
    if (c == NULL)
        proxy->must_resync_again = false; /* from the newest on, with those that want it by now */
    net_timer_start(proxy->env.loop, &proxy->resync_timer, RESYNC_SLICE_MS, resync_slice, proxy);
}

void proxy_resync_all(struct proxy *proxy)
{
    if (proxy->is_stopping)
        return;
    for (struct proxy_client *c = proxy->clients; c != NULL; c = c->next)
        c->wants_resync = c->state == CLIENT_BOUND;
    if (net_timer_is_running(&proxy->resync_timer))
        proxy->must_resync_again = true;
    else
        net_timer_start(proxy->env.loop, &proxy->resync_timer, 0, resync_slice, proxy);
}

/* ---- where else to go ---------------------------------------------------------------------------------------------------------------- */

size_t proxy_others(const struct proxy *proxy, DirectoryEntry *out, size_t max, bool with_self)
{
    size_t nnodes, n = 0;
    const struct registry_node *nodes = rpc_nodes(proxy->env.rpc, &nnodes);

    for (size_t i = 0; i < nnodes && n < max; i++) {
        const struct registry_node *node = &nodes[i];
        if (!(node->roles & 1u << RPC_ROLE_PROXY) || node->client_address[0] == '\0' || (node->is_self && !with_self))
            continue;
        out[n++] = (DirectoryEntry){
            .address = rpc_str(node->client_address),
            .unit = rpc_str(node->unit),
            .connections = node->is_self ? proxy->nclients : node->load,
            .weight = node->weight,
        };
    }
    return n;
}

void proxy_go_away(struct proxy_client *client, uint32_t within_ms)
{
    enum { PLACES_MAX = 16 };
    DirectoryEntry places[PLACES_MAX];
    GoAwayEvent event = { .proxies = places, .within_ms = within_ms };

    event.proxies_count = (pb_size_t)proxy_others(client->proxy, places, PLACES_MAX, false);
    proxy_event(client, RPC_ON_GO_AWAY, GoAwayEvent_fields, &event);
}
