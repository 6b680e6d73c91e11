/*
 * roles/proxy.c: the proxy role: what clients connect to. This file: settings, the listener, the sweep of idle connections, drain
 * and stop.
 */
#include "roles/proxy.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "net/layer_proxy.h"
#include "net/mem.h"
#include "net/own_address.h"
#include "proto/proxy_methods.h"
#include "store/presence.h"

#define LOG_MODULE "proxy"
#include "net/log.h"

static const struct conf_key proxy_keys[] = {
    { .section = "proxy", .name = "listen", .type = CONF_STRING, .def = "127.0.0.1:7400", .min = 3, .max = 63, .help = "where clients connect; port 0 takes a free one" },
    { .section = "proxy", .name = "advertise", .type = CONF_STRING, .def = "", .min = 0, .max = 63, .help = "the address that clients are told, where it is another than listen" },
    { .section = "proxy", .name = "share_port", .type = CONF_BOOL, .def = "no", .help = "listen on one port together with the other proxies of this host, all of which say yes here: the kernel spreads connections over them" },
    { .section = "proxy", .name = "trusted", .type = CONF_STRING, .def = "", .min = 0, .max = 150, .help = "addresses and prefixes, separated by commas, from which a PROXY protocol header (nginx, HAProxy) is believed" },
    { .section = "proxy", .name = "max_connections", .type = CONF_INT, .def = "100000", .min = 1, .max = 10000000, .unit = "connections", .help = "clients connected at once; more are closed at once" },
    { .section = "proxy", .name = "hello_timeout_ms", .type = CONF_INT, .def = "10000", .min = 100, .max = 3600000, .unit = "ms", .help = "a connection that does not say Hello in that time is closed" },
    { .section = "proxy", .name = "idle_timeout_ms", .type = CONF_INT, .def = "120000", .min = 1000, .max = 86400000, .unit = "ms", .help = "a connection from which nothing came for that long is closed" },
    { .section = "proxy", .name = "max_calls", .type = CONF_INT, .def = "64", .min = 1, .max = 65536, .unit = "calls", .help = "calls that one connection may have open; one more is answered RESOURCE_EXHAUSTED" },
    { .section = "proxy", .name = "max_frame_bytes", .type = CONF_INT, .def = "131072", .min = 4096, .max = 16777216, .unit = "bytes", .help = "longest frame that a client may send" },
    { .section = "proxy", .name = "out_high_bytes", .type = CONF_INT, .def = "1048576", .min = 65536, .max = 1073741824, .unit = "bytes", .help = "output queued for one client; who reads more slowly than that is closed" },
    { .section = "proxy", .name = "call_timeout_ms", .type = CONF_INT, .def = "30000", .min = 100, .max = 600000, .unit = "ms", .help = "longest deadline of a client's call, and that of a call without one" },
    { .section = "proxy", .name = "logins", .type = CONF_INT, .def = "512", .min = 1, .max = 1000000, .unit = "logins", .help = "logins under way at once, and as many resumed sessions; more are told by RESOURCE_EXHAUSTED when to come again" },
    { .section = "proxy", .name = "max_forwards", .type = CONF_INT, .def = "100000", .min = 1, .max = 100000000, .unit = "calls", .help = "calls of all clients under way at once; more are refused with RESOURCE_EXHAUSTED" },
    { .section = "proxy", .name = "login_tries", .type = CONF_INT, .def = "5", .min = 1, .max = 100, .unit = "logins", .help = "refused logins and wrong guesses after which a connection is closed" },
    { .section = "proxy", .name = "resync_spread_ms", .type = CONF_INT, .def = "3000", .min = 0, .max = 600000, .unit = "ms", .help = "at most, until all clients were told to compare positions; few are told sooner" },
    { .section = "proxy", .name = "drain_spread_ms", .type = CONF_INT, .def = "3000", .min = 0, .max = 600000, .unit = "ms", .help = "time over which clients are told to go elsewhere when the process ends" },
    { .section = "proxy", .name = "test_layer", .type = CONF_WORD, .def = "none", .words = "none|xor", .help = "for tests: scramble every byte between clients and the server" },
    { .section = NULL },
};

enum {
    SWEEP_EVERY_MS = 1000,
    GUEST_FRAME_MAX = 4096,
    DRAIN_STEP_MS = 20,
    DRAIN_QUIET_MS = 1000, /* a client that was told where to go may still ask */
    LINGER_MS = 2000,
};

/* ---- methods served here ------------------------------------------------------------------------------------------------------- */

void proxy_serve(struct proxy *proxy, struct rpc_call *call, const struct rpc_frame *frame)
{
    const struct rpc_method_info *info = rpc_method_info(frame->h.method);
    const struct rpc_method *m = proxy_client_methods;
    union {
        HelloRequest hello;
        PingRequest ping;
        DirectoryRequest directory;
    } msg = { .hello = { 0 } };

    while (m->id != 0 && m->id != frame->h.method)
        m++;
    assert(info != NULL && info->req_size <= sizeof msg);
    if (m->id == 0) {
        rpc_fail(call, BT_ENOMETHOD, NULL);
        return;
    }
    if (rpc_decode(info->req, frame->payload, frame->len, &msg) != BT_OK) {
        rpc_fail(call, BT_EINVAL, "the payload is not a %s request", info->name);
        return;
    }
    m->fn(call, &msg, proxy);
    rpc_release(info->req, &msg);
}

/* ---- idle connections ------------------------------------------------------------------------------------------------------------ */

static void sweep(void *arg)
{
    struct proxy *proxy = arg;
    uint64_t now_ms = net_now_ms(proxy->env.loop);
    struct proxy_client *c, *next;

    for (c = proxy->clients; c != NULL; c = next) {
        uint64_t quiet_ms = now_ms - net_conn_last_read_ms(proxy_client_conn(c));
        bool is_mute = c->state == CLIENT_NEW && now_ms - c->since_s * UINT64_C(1000) >= proxy->set.hello_timeout_ms + UINT64_C(1000);
        next = c->next;
        if ((is_mute || quiet_ms >= proxy->set.idle_timeout_ms) && c->state != CLIENT_LEAVING && rpc_link_open_calls(proxy_client_link(c)) == 0) {
            log_debug("client %u: nothing came for %llu ms, closing", net_conn_id(proxy_client_conn(c)), (unsigned long long)quiet_ms);
            proxy_unbind(c);
            c->state = CLIENT_LEAVING;
            rpc_link_close(proxy_client_link(c), BT_ETIMEOUT);
        }
    }
    net_timer_start(proxy->env.loop, &proxy->sweep_timer, SWEEP_EVERY_MS, sweep, proxy);
}

/* ---- start ------------------------------------------------------------------------------------------------------------------------ */

static void read_settings(struct proxy *proxy)
{
    const struct conf *conf = proxy->env.conf;
    uint32_t out_high = (uint32_t)conf_int(conf, "proxy", "out_high_bytes"), max_frame = (uint32_t)conf_int(conf, "proxy", "max_frame_bytes");

    proxy->set = (struct proxy_settings){
        .max_connections = (uint32_t)conf_int(conf, "proxy", "max_connections"),
        .idle_timeout_ms = (uint32_t)conf_int(conf, "proxy", "idle_timeout_ms"),
        .hello_timeout_ms = (uint32_t)conf_int(conf, "proxy", "hello_timeout_ms"),
        .max_forwards = (uint32_t)conf_int(conf, "proxy", "max_forwards"),
        .login_tries = (uint32_t)conf_int(conf, "proxy", "login_tries"),
        .call_timeout_ms = (uint32_t)conf_int(conf, "proxy", "call_timeout_ms"),
        .resync_spread_ms = (uint32_t)conf_int(conf, "proxy", "resync_spread_ms"),
        .drain_spread_ms = (uint32_t)conf_int(conf, "proxy", "drain_spread_ms"),
        .test_layer = conf_str(conf, "proxy", "test_layer")[0] == 'x',
    };
    for (int k = 0; k < PROXY_SHED_KINDS; k++)
        proxy->shed[k].limit = (uint32_t)conf_int(conf, "proxy", "logins");
    proxy->guest_limits = proxy->limits = (struct rpc_link_limits){
        .max_frame_bytes = max_frame,
        .max_calls = (uint32_t)conf_int(conf, "proxy", "max_calls"),
        .allowed_flags = RPC_FLAGS_CLIENT,
        .net = { .out_high_bytes = out_high, .out_low_bytes = out_high / 4, .in_max_bytes = max_frame + RPC_LENGTH_SIZE },
    };
    proxy->guest_limits.max_frame_bytes = GUEST_FRAME_MAX; /* a name, a password, a token: no more is kept for a stranger */
    proxy->guest_limits.net.in_max_bytes = GUEST_FRAME_MAX + RPC_LENGTH_SIZE;
}

/* A message of the longest body, and what comes with it, must fit in a frame. */
static enum bt_err check_frame(const struct proxy *proxy, char *why, size_t why_size)
{
    enum { BESIDE_BODY = 1024 };
    long long body = conf_int(proxy->env.conf, "chat", "body_max");

    if (body + BESIDE_BODY <= proxy->limits.max_frame_bytes)
        return BT_OK;
    snprintf(why, why_size, "[proxy] max_frame_bytes = %u has no room for [chat] body_max = %lld: set it to at least %lld",
             (unsigned)proxy->limits.max_frame_bytes, body, body + BESIDE_BODY);
    return BT_EINVAL;
}

static bool is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strncmp(address, "[::1]", 5) == 0;
}

static enum bt_err listen_for_clients(struct proxy *proxy, char *why, size_t why_size)
{
    const char *address = conf_str(proxy->env.conf, "proxy", "listen"), *advertise = conf_str(proxy->env.conf, "proxy", "advertise");
    bool is_shared = conf_bool(proxy->env.conf, "proxy", "share_port");
    char told[64];
    enum bt_err err = (is_shared ? net_listen_shared : net_listen)(proxy->env.loop, address, proxy_client_accept, proxy, &proxy->listener);

    if (err != BT_OK) {
        snprintf(why, why_size, "[proxy] listen = %s: %s", address,
                 err == BT_EEXIST && is_shared ? "another process listens there which does not share the port ([proxy] share_port), or is another user's; stop it, or set another port"
                 : err == BT_EEXIST            ? "another process listens there; stop it, or set another port"
                 : err == BT_EINVAL            ? "not an address like 127.0.0.1:7400"
                                               : bt_err_text(err));
        return err;
    }
    if (!is_loopback(address))
        log_warn("clients connect to %s without encryption: passwords and messages can be read on the way; keep it behind a TLS terminator or a private network", address);
    err = net_own_address(net_listener_address(proxy->listener), advertise, told, sizeof told);
    if (err != BT_OK) {
        snprintf(why, why_size, "[proxy] advertise = %s: not an address like 192.0.2.1:7400", advertise);
        net_listener_close(proxy->listener);
        return err;
    }
    rpc_set_client_address(proxy->env.rpc, told);
    net_listener_reserve(proxy->listener, RPC_LINK_SERVE_SIZE + sizeof(struct proxy_client));
    return BT_OK;
}

static enum bt_err proxy_start(const struct role_env *env, void **self_out, char *why, size_t why_size)
{
    struct proxy *proxy = bt_calloc(1, sizeof *proxy);
    struct timespec now;
    enum bt_err err;

    if (proxy == NULL) {
        snprintf(why, why_size, "proxy: %s", bt_err_text(BT_ENOMEM));
        return BT_ENOMEM;
    }
    proxy->env = *env;
    read_settings(proxy);
    err = net_trusted_parse(conf_str(env->conf, "proxy", "trusted"), &proxy->trusted);
    if (err != BT_OK)
        snprintf(why, why_size, "[proxy] trusted = %s: not a list like 127.0.0.1, 10.0.0.0/8", conf_str(env->conf, "proxy", "trusted"));
    else if ((err = check_frame(proxy, why, why_size)) == BT_OK)
        err = listen_for_clients(proxy, why, why_size);
    if (err != BT_OK) {
        net_trusted_free(proxy->trusted);
        bt_free(proxy);
        return err;
    }
    randombytes_buf(&proxy->next_trace, sizeof proxy->next_trace);
    clock_gettime(CLOCK_REALTIME, &now); /* until a user node tells the store's clock */
    proxy->clock_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 - (int64_t)net_now_ms(env->loop);
    rpc_watch_links(env->rpc, proxy_news, proxy);
    presence_watch(env->presence, proxy_presence_lost, proxy);
    proxy_ended_start(proxy);
    sweep(proxy);
    *self_out = proxy;
    return BT_OK;
}

/* ---- drain and stop -------------------------------------------------------------------------------------------------------------- */

static void finish_all(struct proxy *proxy)
{
    for (struct proxy_client *c = proxy->clients; c != NULL; c = c->next) {
        c->state = CLIENT_LEAVING;
        rpc_link_finish(proxy_client_link(c), LINGER_MS);
    }
}

/* Clients that know where to go are gone, or ask nothing any more, or have had their time. */
static bool is_quiet(const struct proxy *proxy)
{
    uint64_t now_ms = net_now_ms(proxy->env.loop);
    DirectoryEntry other;

    if (now_ms >= proxy->drain_until_ms || proxy_others(proxy, &other, 1, false) == 0)
        return true; /* nowhere to go: they wait for us to come back */
    for (const struct proxy_client *c = proxy->clients; c != NULL; c = c->next)
        if (c->state == CLIENT_BOUND && now_ms - net_conn_last_read_ms(proxy_client_conn(c)) < DRAIN_QUIET_MS)
            return false;
    return true;
}

static void drain_step(void *arg)
{
    struct proxy *proxy = arg;
    uint32_t steps = proxy->set.drain_spread_ms / DRAIN_STEP_MS + 1;
    uint32_t budget = proxy->nclients / steps + 1;

    for (; proxy->drain_next != NULL && budget > 0; budget--) {
        struct proxy_client *c = proxy->drain_next;
        proxy->drain_next = c->next;
        if (c->state != CLIENT_LEAVING)
            proxy_go_away(c, proxy->set.drain_spread_ms);
    }
    if (proxy->drain_next != NULL)
        proxy->drain_until_ms = net_now_ms(proxy->env.loop) + proxy->set.drain_spread_ms;
    if (proxy->drain_next == NULL && is_quiet(proxy)) /* no new calls; what was taken is answered */
        for (struct proxy_client *c = proxy->clients; c != NULL; c = c->next)
            c->state = CLIENT_LEAVING;
    if (proxy->drain_next != NULL || proxy->nforwards > 0 || (!is_quiet(proxy) && proxy->nclients > 0)) {
        net_timer_start(proxy->env.loop, &proxy->drain_timer, DRAIN_STEP_MS, drain_step, proxy);
        return;
    }
    proxy->is_seeing_off = false;
    finish_all(proxy);
    proxy_maybe_idle(proxy);
}

/* SIGTERM: clients are told where else to go, a few at a time; what they asked is answered; then they are let go. */
static void proxy_drain(void *self, void (*done_cb)(void *arg), void *arg)
{
    struct proxy *proxy = self;

    proxy->is_seeing_off = true;
    proxy->is_stopping = true; /* whoever goes now went because of us: friends are not told */
    proxy->idle_cb = done_cb;
    proxy->idle_arg = arg;
    net_listener_finish(proxy->listener); /* who has connected already is told where to go like the others */
    proxy->listener = NULL;
    proxy->drain_next = proxy->clients;
    proxy->drain_until_ms = net_now_ms(proxy->env.loop) + proxy->set.drain_spread_ms; /* moves on as long as some are yet to be told */
    net_timer_start(proxy->env.loop, &proxy->drain_timer, 0, drain_step, proxy);
}

static void proxy_free(void *arg)
{
    struct proxy *proxy = arg;
    void (*cb)(void *) = proxy->stopped_cb;
    void *cb_arg = proxy->stopped_arg;

    assert(proxy->nclients == 0 && proxy->nusers == 0);
    proxy_forward_free_spares(proxy);
    net_trusted_free(proxy->trusted);
    bt_free(proxy->users);
    bt_free(proxy);
    cb(cb_arg);
}

static void proxy_stop(void *self, void (*stopped_cb)(void *arg), void *arg)
{
    struct proxy *proxy = self;

    proxy->is_stopping = true;
    proxy->stopped_cb = stopped_cb;
    proxy->stopped_arg = arg;
    proxy->drain_next = NULL;
    proxy->is_seeing_off = false;
    rpc_watch_links(proxy->env.rpc, NULL, proxy);
    presence_watch(proxy->env.presence, NULL, NULL);
    proxy_bind_stop(proxy);
    net_timer_stop(proxy->env.loop, &proxy->sweep_timer);
    net_timer_stop(proxy->env.loop, &proxy->resync_timer);
    net_timer_stop(proxy->env.loop, &proxy->drain_timer);
    if (proxy->listener != NULL)
        net_listener_close(proxy->listener);
    proxy->listener = NULL;
    for (struct proxy_client *c = proxy->clients; c != NULL; c = c->next)
        rpc_link_close(proxy_client_link(c), BT_ECLOSING);
    proxy->idle_cb = proxy_free;
    proxy->idle_arg = proxy;
    proxy_maybe_idle(proxy);
}

const struct role role_proxy = {
    .name = "proxy",
    .id = RPC_ROLE_PROXY,
    .keys = proxy_keys,
    .methods = proxy_methods,
    .needs_presence = true,
    .start = proxy_start,
    .drain = proxy_drain,
    .stop = proxy_stop,
};
