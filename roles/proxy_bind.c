/*
 * roles/proxy_bind.c: logins, resumed and ended sessions, and presence.
 *
 * The answer of a login goes to the client only after his presence is written: from then on he compares positions, and what is
 * sent from then on is pushed to him. It does not wait for long, though: when presence is silent the client is let in without it,
 * and compares again when it was written.
 */
#include "roles/proxy.h"

#include <assert.h>
#include <string.h>

#include "net/mem.h"
#include "proto/methods.h"
#include "proto/stubs.h"
#include "store/presence.h"

#define LOG_MODULE "proxy"
#include "net/log.h"

enum {
    ENDED_EVERY_MS = 1000,
    ENDED_SLACK_MS = 10000, /* a write may have been under way that long when the list was read past it */
    PRESENCE_WAIT_MS = 1000, /* a login waits that long for presence, but never longer than half of what its caller still waits */
};

/* ---- coming and going ------------------------------------------------------------------------------------------------------ */

/* Tell the user's friends. */
static void tell_presence(struct proxy *proxy, uint64_t user_id, bool is_online)
{
    const struct rpc_ctx ctx = { .caller = user_id, .trace = proxy->next_trace++ };
    const PresenceEvent event = { .user_id = user_id, .online = is_online };

    rpc_friend_presence_changed_event(proxy->env.rpc, &ctx, &event);
}

/* A user whose last session has gone, while that is being written. */
struct going {
    struct proxy *proxy;
    uint64_t user_id;
};

static void gone_written(enum bt_err err, void *arg)
{
    struct going g = *(struct going *)arg;

    bt_free(arg);
    if (err != BT_OK)
        log_debug("that user %llu has gone is not written yet: %s", (unsigned long long)g.user_id, bt_err_text(err));
    if (!g.proxy->is_stopping)
        tell_presence(g.proxy, g.user_id, false);
    g.proxy->nforwards--;
    proxy_maybe_idle(g.proxy);
}

/* His friends are told when whoever asks on hearing it finds it written, or that it can't be. Without memory they see it when they list. */
static void user_has_gone(struct proxy *proxy, uint64_t user_id, bool is_told)
{
    struct going *g = !proxy->is_stopping && is_told ? bt_malloc(sizeof *g) : NULL;

    if (g != NULL) {
        *g = (struct going){ proxy, user_id };
        proxy->nforwards++;
    }
    presence_set(proxy->env.presence, user_id, false, g != NULL ? gone_written : NULL, g);
}

void proxy_unbind(struct proxy_client *client)
{
    struct proxy *proxy = client->proxy;
    uint64_t user_id = client->user_id;
    bool is_told = client->is_told;

    if (user_id == 0)
        return;
    proxy_user_remove(client);
    if (proxy_user_find(proxy, user_id) == NULL)
        user_has_gone(proxy, user_id, is_told);
}

/* A session has one connection: an older one has been given up by the client, whether or not we have seen its end. */
static void drop_older(struct proxy_client *newer)
{
    for (struct proxy_client *c = newer->of_user; c != NULL; c = c->of_user)
        if (c->session == newer->session) {
            proxy_user_remove(c);
            c->state = CLIENT_LEAVING;
            rpc_link_finish(proxy_client_link(c), 0);
            return;
        }
}

/* ---- binding ------------------------------------------------------------------------------------------------------------------ */

struct proxy_binding {
    struct proxy *proxy;
    struct proxy_client *client; /* NULL: it has gone */
    struct rpc_call *call;       /* NULL: it has gone */
    struct rpc_pending *pending; /* NULL: answered; presence is being written */
    struct proxy_shed_queue *queue; /* a login's; NULL: a logout */
    struct net_timer wait_timer; /* for presence */
    uint64_t user_id, session;
    bool is_let_in; /* answered before presence was written */
    uint8_t *reply;
    size_t len;
};

static void binding_free(struct proxy_binding *b)
{
    struct proxy *proxy = b->proxy;

    proxy->nforwards--;
    net_timer_stop(proxy->env.loop, &b->wait_timer);
    if (b->queue != NULL)
        proxy_shed_done(b->queue, net_now_ms(proxy->env.loop));
    bt_free(b->reply);
    bt_free(b);
    proxy_maybe_idle(proxy);
}

/* The client takes calls again. */
static void binding_over(struct proxy_binding *b, enum proxy_client_state state)
{
    struct proxy_client *client = b->client;

    client->binding = NULL;
    if (client->state == CLIENT_BINDING)
        client->state = (uint8_t)state;
    rpc_link_resume(proxy_client_link(client));
}

static void binding_dead(void *arg)
{
    struct proxy_binding *b = arg;

    rpc_fail(b->call, BT_ECANCELLED, NULL);
    b->call = NULL;
    binding_over(b, b->client->user_id != 0 ? CLIENT_BOUND : CLIENT_GREETED);
    b->client = NULL;
    net_timer_stop(b->proxy->env.loop, &b->wait_timer);
    if (b->pending == NULL)
        return; /* presence_written frees it */
    rpc_cancel(b->pending);
    binding_free(b);
}

/* Answer a login whose session is bound, or was until it ended. The binding lasts until presence is written. */
static void login_answer(struct proxy_binding *b)
{
    struct proxy_client *client = b->client, *first;

    net_timer_stop(b->proxy->env.loop, &b->wait_timer);
    rpc_call_on_dead(b->call, NULL, NULL);
    if (client->user_id != 0) {
        rpc_reply_raw(b->call, RPC_STATUS_OK, 0, b->reply, b->len);
        first = proxy_user_find(b->proxy, b->user_id);
        if (!first->is_told)
            tell_presence(b->proxy, b->user_id, true);
        first->is_told = true;
        rpc_link_set_limits(proxy_client_link(client), &b->proxy->limits);
    } else {
        rpc_fail(b->call, BT_ENOAUTH, "the session has ended");
    }
    b->call = NULL;
    binding_over(b, CLIENT_BOUND);
    b->client = NULL;
}

static void presence_is_late(void *arg)
{
    struct proxy_binding *b = arg;

    b->is_let_in = true;
    login_answer(b);
}

static struct proxy_client *client_find(const struct proxy *proxy, uint64_t user_id, uint64_t session)
{
    struct proxy_client *c = proxy_user_find(proxy, user_id);

    while (c != NULL && c->session != session)
        c = c->of_user;
    return c;
}

/* Written at last, with nobody told that presence was away: what was sent meanwhile was perhaps not pushed. */
static void let_in_compares(struct proxy_binding *b)
{
    struct proxy_client *client = client_find(b->proxy, b->user_id, b->session);

    if (client != NULL && client->state == CLIENT_BOUND)
        proxy_event(client, RPC_ON_RESYNC, ResyncEvent_fields, &(ResyncEvent){ 0 });
}

static void presence_written(enum bt_err err, void *arg)
{
    struct proxy_binding *b = arg;

    if (err != BT_OK)
        log_warn("presence of user %llu not written yet: %s", (unsigned long long)b->user_id, bt_err_text(err));
    if (b->client != NULL)
        login_answer(b);
    else if (b->is_let_in && err == BT_OK)
        let_in_compares(b);
    binding_free(b);
}

void proxy_bind_ended(struct proxy_client *client)
{
    if (client->binding != NULL && client->binding->pending == NULL)
        login_answer(client->binding);
}

static void presence_write(struct proxy_binding *b)
{
    uint32_t half_ms = rpc_call_left_ms(b->call) / 2;

    net_timer_start(b->proxy->env.loop, &b->wait_timer, half_ms < PRESENCE_WAIT_MS ? half_ms : PRESENCE_WAIT_MS, presence_is_late, b);
    presence_set(b->proxy->env.presence, b->user_id, true, presence_written, b);
}

/* Bind the connection to the session that a login's answer names. */
static enum bt_err bind(struct proxy_binding *b, const struct rpc_reply *reply)
{
    struct proxy_client *client = b->client;
    LoginReply login = { 0 };
    enum bt_err err = rpc_reply_decode(reply, LoginReply_fields, &login);

    if (err != BT_OK)
        return err;
    b->user_id = login.user_id;
    b->session = login.session_id;
    rpc_release(LoginReply_fields, &login);
    if (b->user_id == 0)
        return BT_EPROTO;
    b->reply = bt_malloc(reply->len > 0 ? reply->len : 1);
    if (b->reply == NULL || proxy_user_add(client, b->user_id, b->session) != BT_OK)
        return BT_ENOMEM;
    memcpy(b->reply, reply->payload, reply->len);
    b->len = reply->len;
    drop_older(client);
    presence_write(b);
    return BT_OK;
}

static void binding_done(const struct rpc_reply *reply, void *arg)
{
    struct proxy_binding *b = arg;
    struct proxy_client *client = b->client;
    bool is_logout = rpc_call_header(b->call)->method == RPC_USER_LOGOUT;
    enum bt_err err = reply->err;

    b->pending = NULL;
    if (err == BT_OK && !is_logout) {
        err = bind(b, reply);
        if (err == BT_OK)
            return; /* goes on in presence_written or presence_is_late */
    }
    rpc_call_on_dead(b->call, NULL, NULL);
    if (err == BT_OK) {
        proxy_unbind(client);
        rpc_reply_raw(b->call, reply->status, 0, reply->payload, reply->len);
    } else if (reply->err == BT_OK) {
        rpc_fail(b->call, err, NULL);
    } else if (reply->came) {
        rpc_reply_raw(b->call, reply->status, 0, reply->payload, reply->len);
    } else {
        rpc_fail_as(b->call, reply);
    }
    binding_over(b, client->user_id != 0 ? CLIENT_BOUND : CLIENT_GREETED);
    if (client->state == CLIENT_BOUND) /* a logout that failed: what was pushed meanwhile was left out */
        proxy_event(client, RPC_ON_RESYNC, ResyncEvent_fields, &(ResyncEvent){ 0 });
    if (err == BT_ENOAUTH || err == BT_EDENIED)
        proxy_client_refused(client);
    binding_free(b);
}

void proxy_bind(struct proxy_client *client, struct rpc_call *call, const struct rpc_frame *frame)
{
    struct proxy *proxy = client->proxy;
    struct rpc_ctx ctx = proxy_ctx(client, &frame->h);
    struct proxy_shed_queue *queue = NULL;
    struct proxy_binding *b;

    if (client->state == CLIENT_BOUND && frame->h.method != RPC_USER_LOGOUT) {
        rpc_fail(call, BT_ESTATE, "this connection is logged in already");
        return;
    }
    if (frame->h.method != RPC_USER_LOGOUT && (queue = proxy_shed_login(client, call)) == NULL)
        return;
    b = bt_calloc(1, sizeof *b);
    if (b == NULL) {
        if (queue != NULL)
            proxy_shed_done(queue, net_now_ms(proxy->env.loop));
        rpc_fail(call, BT_ENOMEM, NULL);
        return;
    }
    proxy->nforwards++;
    b->queue = queue;
    b->proxy = proxy;
    b->client = client;
    b->call = call;
    client->binding = b;
    client->state = CLIENT_BINDING;
    rpc_link_pause(proxy_client_link(client));
    rpc_call_on_dead(call, binding_dead, b);
    b->pending = rpc_send(proxy->env.rpc, frame->h.method, &ctx, frame->payload, frame->len, binding_done, b);
}

/* ---- ended sessions ------------------------------------------------------------------------------------------------------------ */

static void ended_ask(void *proxy_arg);

static void ended_one(struct proxy *proxy, const EndedSession *s)
{
    struct proxy_client *client = client_find(proxy, s->user_id, s->session_id);

    if (client != NULL)
        proxy_client_end(client, s->why);
}

static void ended_done(const struct rpc_reply *reply, void *arg)
{
    struct proxy *proxy = arg;
    EndedSinceReply list = { 0 };
    bool more = false;

    proxy->ended_call = NULL;
    if (rpc_reply_decode(reply, EndedSinceReply_fields, &list) == BT_OK) {
        for (pb_size_t i = 0; i < list.sessions_count; i++)
            ended_one(proxy, &list.sessions[i]);
        more = list.more && list.sessions_count > 0;
        if (more) {
            int64_t last_ms = list.sessions[list.sessions_count - 1].ended_ms;
            proxy->ended_since_ms = last_ms > proxy->ended_since_ms ? last_ms : last_ms + 1;
        } else {
            proxy->ended_since_ms = list.now_ms - ENDED_SLACK_MS;
        }
        proxy->clock_ms = list.now_ms - (int64_t)net_now_ms(proxy->env.loop);
        rpc_release(EndedSinceReply_fields, &list);
    }
    net_timer_start(proxy->env.loop, &proxy->ended_timer, more ? 0 : ENDED_EVERY_MS, ended_ask, proxy);
}

static void ended_ask(void *proxy_arg)
{
    struct proxy *proxy = proxy_arg;
    const struct rpc_ctx ctx = { .trace = proxy->next_trace++, .timeout_ms = 2 * ENDED_EVERY_MS };
    const EndedSinceRequest req = { .since_ms = proxy->ended_since_ms };

    proxy->ended_call = rpc_user_ended_since(proxy->env.rpc, &ctx, &req, ended_done, proxy);
}

void proxy_ended_start(struct proxy *proxy)
{
    net_timer_start(proxy->env.loop, &proxy->ended_timer, 0, ended_ask, proxy);
}

void proxy_bind_stop(struct proxy *proxy)
{
    net_timer_stop(proxy->env.loop, &proxy->ended_timer);
    if (proxy->ended_call != NULL)
        rpc_cancel(proxy->ended_call);
    proxy->ended_call = NULL;
}

void proxy_presence_lost(void *proxy_arg)
{
    struct proxy *proxy = proxy_arg;
    const struct proxy_client *c;

    log_warn("presence was made anew: writing %zu users again", proxy->nusers);
    for (size_t at = 0; (c = proxy_user_each(proxy, &at)) != NULL;)
        presence_set(proxy->env.presence, c->user_id, true, NULL, NULL);
    proxy_resync_all(proxy);
}
