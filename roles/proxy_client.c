/* roles/proxy_client.c: one client's connection: greeted, told apart by method, watched; and the few methods served here. */
#include "roles/proxy.h"

#include <string.h>

#include "net/layer_proxy.h"
#include "net/layer_xor.h"
#include "net/mem.h"
#include "proto/methods.h"

#define LOG_MODULE "proxy"
#include "net/log.h"

enum { PROTOCOL_VERSION = 1, LINGER_MS = 2000 };

/* ---- the link's side ------------------------------------------------------------------------------------------------------------ */

static void client_request(struct rpc_link *l, struct rpc_call *call, const struct rpc_frame *frame, void *arg)
{
    struct proxy_client *client = arg;
    uint16_t method = frame->h.method;
    const struct rpc_method_info *info = rpc_method_info(method);

    (void)l;
    if (client->state == CLIENT_LEAVING) {
        rpc_fail(call, BT_EDOWN, "this connection is closing");
    } else if (client->state == CLIENT_NEW && method != RPC_PROXY_HELLO) {
        log_debug("client %u: %s before Hello", net_conn_id(proxy_client_conn(client)), info != NULL ? info->name : "unknown method");
        rpc_fail(call, BT_EPROTO, NULL);
        rpc_link_close(proxy_client_link(client), BT_EPROTO);
    } else if (info == NULL || info->is_event || info->access == RPC_ACCESS_NODE) {
        rpc_fail(call, BT_ENOMETHOD, NULL);
    } else if (info->access == RPC_ACCESS_SESSION && client->state != CLIENT_BOUND) {
        rpc_fail(call, BT_ENOAUTH, "log in first");
    } else if (rpc_call_refuse_late(call)) {
        log_debug("client %u: %s is to be asked again, as this proxy stood still", net_conn_id(proxy_client_conn(client)), info->name);
    } else if (info->role == RPC_ROLE_PROXY) {
        proxy_serve(client->proxy, call, frame);
    } else if (method == RPC_USER_LOGIN || method == RPC_USER_RESUME || method == RPC_USER_LOGOUT) {
        proxy_bind(client, call, frame);
    } else {
        proxy_forward(client, call, frame);
    }
}

static void client_event(struct rpc_link *l, const struct rpc_frame *frame, void *arg)
{
    struct proxy_client *client = arg;

    (void)l;
    (void)frame;
    if (client->state == CLIENT_NEW) /* clients send no events; one before Hello is not a client */
        rpc_link_close(proxy_client_link(client), BT_EPROTO);
}

static void client_closed(struct rpc_link *l, enum bt_err why, void *arg)
{
    struct proxy_client *client = arg;
    struct proxy *proxy = client->proxy;
    char peer[64];

    (void)l;
    if (log_enabled(LOG_LEVEL_DEBUG)) {
        net_conn_peer_name(proxy_client_conn(client), peer, sizeof peer);
        log_debug("client %u %s: closed: %s", net_conn_id(proxy_client_conn(client)), peer, bt_err_text(why));
    }
    proxy_unbind(client);
    if (proxy->drain_next == client)
        proxy->drain_next = client->next;
    if (proxy->resync_next == client)
        proxy->resync_next = client->next;
    *(client->prev != NULL ? &client->prev->next : &proxy->clients) = client->next;
    if (client->next != NULL)
        client->next->prev = client->prev;
    proxy->nclients--;
    rpc_set_load(proxy->env.rpc, proxy->nclients);
    proxy_maybe_idle(proxy);
}

static const struct rpc_link_ops client_ops = {
    .request = client_request,
    .event = client_event,
    .closed = client_closed,
};

/* The byte layers of a new connection, the one nearest to the socket first. False: no memory. */
static bool push_layers(const struct proxy *proxy, struct net_conn *c)
{
    struct net_layer *l;

    if (net_trusted_has(proxy->trusted, c)) {
        if ((l = net_layer_proxy_new()) == NULL)
            return false;
        net_conn_push_layer(c, l);
    }
    if (proxy->set.test_layer) {
        if ((l = net_layer_xor_new()) == NULL)
            return false;
        net_conn_push_layer(c, l);
    }
    return true;
}

void proxy_client_accept(struct net_conn *c, void *proxy_arg)
{
    struct proxy *proxy = proxy_arg;
    struct proxy_client *client = (void *)((char *)net_conn_room(c) + RPC_LINK_SERVE_SIZE);

    if (proxy->nclients >= proxy->set.max_connections) {
        log_warn("refusing a client: [proxy] max_connections=%u are connected", (unsigned)proxy->set.max_connections);
        net_conn_close(c);
        return;
    }
    if (!push_layers(proxy, c)) {
        net_conn_close(c);
        return;
    }
    client->proxy = proxy;
    client->since_s = (uint32_t)(net_now_ms(proxy->env.loop) / 1000);
    rpc_link_serve(c, &client_ops, &proxy->guest_limits, client);
    client->next = proxy->clients;
    if (client->next != NULL)
        client->next->prev = client;
    proxy->clients = client;
    proxy->nclients++;
    rpc_set_load(proxy->env.rpc, proxy->nclients);
}

void proxy_client_end(struct proxy_client *client, SessionEnd why)
{
    const SessionEndedEvent event = { .why = why };

    proxy_unbind(client);
    client->state = CLIENT_LEAVING;
    proxy_bind_ended(client); /* nothing is taken from here once the link finishes, not even answers */
    proxy_event(client, RPC_ON_SESSION_ENDED, SessionEndedEvent_fields, &event);
    rpc_link_finish(proxy_client_link(client), LINGER_MS);
}

void proxy_client_refused(struct proxy_client *client)
{
    if (++client->refusals < client->proxy->set.login_tries)
        return;
    log_info("client %u: %u passwords refused, closing", net_conn_id(proxy_client_conn(client)), (unsigned)client->refusals);
    client->state = CLIENT_LEAVING;
    rpc_link_finish(proxy_client_link(client), LINGER_MS);
}

/* ---- served here ------------------------------------------------------------------------------------------------------------------ */

static struct proxy_client *client_of(const struct rpc_call *call)
{
    return rpc_link_arg(rpc_call_link(call));
}

void proxy_hello(struct rpc_call *call, const void *msg, void *self)
{
    struct proxy *proxy = self;
    struct proxy_client *client = client_of(call);
    const HelloRequest *req = msg;
    const HelloReply reply = {
        .version = PROTOCOL_VERSION,
        .max_frame_bytes = proxy->limits.max_frame_bytes,
        .max_body_bytes = (uint32_t)conf_int(proxy->env.conf, "chat", "body_max"),
        .max_calls = proxy->limits.max_calls,
        .idle_timeout_ms = proxy->set.idle_timeout_ms,
        .now_ms = proxy->clock_ms + (int64_t)net_now_ms(proxy->env.loop),
        .server = rpc_str("ByteTalk " BT_VERSION),
    };

    if (req->version < PROTOCOL_VERSION) {
        rpc_fail(call, BT_ESTATE, "this server speaks protocol version %d", PROTOCOL_VERSION);
        client->state = CLIENT_LEAVING;
        rpc_link_finish(proxy_client_link(client), LINGER_MS);
        return;
    }
    if (client->state == CLIENT_NEW)
        client->state = CLIENT_GREETED;
    log_debug("client %u: says hello as %.*s", net_conn_id(proxy_client_conn(client)), (int)(req->client.len < 64 ? req->client.len : 64),
              req->client.len > 0 ? (const char *)req->client.data : "");
    rpc_reply(call, &reply);
}

void proxy_ping(struct rpc_call *call, const void *msg, void *self)
{
    const PingRequest *req = msg;

    (void)self;
    rpc_reply(call, &(PingReply){ .nonce = req->nonce });
}

void proxy_directory(struct rpc_call *call, const void *msg, void *self)
{
    enum { DIRECTORY_MAX = 256 };
    DirectoryEntry entries[DIRECTORY_MAX];
    DirectoryReply reply = { .proxies = entries };

    (void)msg;
    reply.proxies_count = (pb_size_t)proxy_others(self, entries, DIRECTORY_MAX, true);
    rpc_reply(call, &reply);
}
