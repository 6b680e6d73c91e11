/* client/client_link.c: one connection to a server: Hello and Resume in one write, the heartbeat, leaving. */
#include <stdio.h>
#include <string.h>

#include "client/client_internal.h"
#include "net/mem.h"
#include "rpc/call.h"
#include "rpc/status.h"

#define LOG_MODULE "client"
#include "net/log.h"

static void greeted(struct rpc_out *out, const struct rpc_reply *reply);
static void resumed(struct rpc_out *out, const struct rpc_reply *reply);
static void ping_start(struct client_link *l);

/* ---- from below ---- */

static void link_request(struct rpc_link *rpc, struct rpc_call *call, const struct rpc_frame *frame, void *arg)
{
    (void)rpc, (void)frame, (void)arg;
    rpc_fail(call, BT_ENOMETHOD, "clients serve no methods");
}

static void link_event(struct rpc_link *rpc, const struct rpc_frame *frame, void *arg)
{
    struct client_link *l = arg;
    (void)rpc;
    if (l->client->is_closing)
        return;
    if (frame->h.method == RPC_ON_GO_AWAY) {
        GoAwayEvent e = { 0 };
        if (rpc_decode(GoAwayEvent_fields, frame->payload, frame->len, &e) != BT_OK)
            return;
        client_connect_go_away(l, &e);
        rpc_release(GoAwayEvent_fields, &e);
        return;
    }
    if (l->state == CLIENT_LINK_BOUND) /* else it is of a session that is over: the client's may be another user's by now */
        client_event(l->client, frame);
}

static void link_drained(struct rpc_link *rpc, void *arg)
{
    struct client_link *l = arg;
    (void)rpc;
    client_calls_try_all(l->client);
}

/* The one place where a link is freed: nothing of it is under way any more. */
static void link_closed(struct rpc_link *rpc, enum bt_err why, void *arg)
{
    struct client_link *l = arg;
    struct bt_client *c = l->client;
    (void)rpc;
    net_timer_stop(c->loop, &l->ping_timer);
    net_timer_stop(c->loop, &l->leave_timer);
    net_timer_stop(c->loop, &l->resume_timer);
    struct client_link **at = &c->links;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    client_connect_lost(l, why == BT_OK ? "the server closed the connection" : bt_err_text(why), false);
    bt_free(l);
    client_check_gone(c);
}

static const struct rpc_link_ops ops = {
    .request = link_request,
    .event = link_event,
    .drained = link_drained,
    .closed = link_closed,
};

/* ---- opening ---- */

static bool ask(struct client_link *l, uint16_t method, const void *msg, uint32_t timeout_ms, struct rpc_out *out, rpc_out_done_cb *done)
{
    const pb_msgdesc_t *fields = rpc_method_info(method)->req;
    size_t len = rpc_size(fields, msg);
    uint8_t *payload = bt_malloc(len + 1);
    if (!payload)
        return false;
    rpc_encode(fields, msg, payload, len);
    out->done = done;
    out->arg = l;
    rpc_link_request(l->rpc, &(struct rpc_header){ .method = method, .timeout_ms = timeout_ms }, payload, len, out);
    bt_free(payload);
    return true;
}

static bool hello(struct client_link *l)
{
    HelloRequest req = { .version = CLIENT_PROTOCOL, .client = rpc_str(l->client->program) };
    l->hello_out = ask(l, RPC_PROXY_HELLO, &req, CLIENT_GREET_MS, &l->hello, greeted);
    return l->hello_out;
}

void client_link_resume(struct client_link *l)
{
    struct bt_client *c = l->client;
    if (l->resume_out || l->state == CLIENT_LINK_BOUND || l->state == CLIENT_LINK_CLOSING)
        return;
    ResumeRequest req = { .token = rpc_bytes(c->token, c->token_len) };
    net_timer_stop(c->loop, &l->resume_timer);
    l->resumes++;
    l->resume_serial = c->token_serial;
    l->resume_out = ask(l, RPC_USER_RESUME, &req, CLIENT_GREET_MS, &l->resume, resumed);
    if (!l->resume_out)
        client_link_close(l, BT_ENOMEM);
}

struct client_link *client_link_open(struct bt_client *c, const char *server, const char *address)
{
    struct client_link *l = bt_calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->client = c;
    l->state = CLIENT_LINK_GREETING;
    l->max_calls = 1;
    snprintf(l->server, sizeof l->server, "%s", server);
    snprintf(l->address, sizeof l->address, "%s", address);
    enum bt_err err = rpc_link_dial(c->loop, address, CLIENT_DIAL_MS, &ops, &c->limits, l, &l->rpc);
    if (err != BT_OK) {
        log_debug("dial %s: %s", address, bt_err_text(err));
        bt_free(l);
        return NULL;
    }
    l->next = c->links;
    c->links = l;
    /* Both leave in one write, once the connection stands. */
    if (!hello(l))
        client_link_close(l, BT_ENOMEM);
    else if (c->token_len > 0)
        client_link_resume(l);
    return l;
}

/* ---- greeting ---- */

/* It can't be used: say why, and let another be tried. */
static void give_up(struct client_link *l, const char *what, const struct rpc_reply *reply)
{
    char why[384];
    Error error = { 0 };
    if (reply->came && rpc_decode(Error_fields, reply->payload, reply->len, &error) == BT_OK)
        snprintf(why, sizeof why, "%s: %s: %.*s", what, rpc_status_name(reply->status), (int)(error.detail.len < 256 ? error.detail.len : 256),
                 error.detail.data ? (const char *)error.detail.data : "");
    else
        snprintf(why, sizeof why, "%s: %s", what, bt_err_text(reply->err));
    client_connect_lost(l, why, l->state == CLIENT_LINK_GREETING && reply->came && reply->err == BT_ESTATE);
    client_link_close(l, reply->err);
}

/* The connection went: link_closed() follows and says so. */
static bool is_gone(struct client_link *l, const struct rpc_reply *reply)
{
    return l->client->is_closing || l->state == CLIENT_LINK_CLOSING ||
           (!reply->came && (reply->err == BT_EDOWN || reply->err == BT_ECLOSING));
}

static void greeted(struct rpc_out *out, const struct rpc_reply *reply)
{
    struct client_link *l = out->arg;
    struct bt_client *c = l->client;
    HelloReply hello_reply = { 0 };
    l->hello_out = false;
    if (is_gone(l, reply))
        return;
    if (reply->err != BT_OK) {
        give_up(l, "the server did not greet", reply);
        return;
    }
    if (rpc_decode(HelloReply_fields, reply->payload, reply->len, &hello_reply) != BT_OK || hello_reply.version != CLIENT_PROTOCOL) {
        client_connect_lost(l, "the server speaks another protocol", true);
        client_link_close(l, BT_EPROTO);
        return;
    }
    l->state = CLIENT_LINK_OPEN;
    l->max_calls = hello_reply.max_calls > 4 ? hello_reply.max_calls - 2 : 2; /* room for pings */
    l->max_frame_bytes = hello_reply.max_frame_bytes;
    l->idle_timeout_ms = hello_reply.idle_timeout_ms;
    c->max_body_bytes = hello_reply.max_body_bytes;
    ping_start(l);
    if (!l->resume_out)
        client_connect_ready(l);
}

static void resume_due(void *arg)
{
    struct client_link *l = arg;
    if (l->state != CLIENT_LINK_OPEN || l->client->is_closing)
        return;
    if (l->client->token_len > 0)
        client_link_resume(l);
    else
        client_connect_ready(l); /* logged out meanwhile */
}

/* The server has too much to do, and says when to come: over this connection, as another would only be one more to greet. */
static bool is_put_off(struct client_link *l, const struct rpc_reply *reply)
{
    enum { RESUMES_MAX = 10, PUT_OFF_MAX_MS = 60000 };
    Error error = { 0 };
    if (!reply->came || !rpc_status_is_not_done(reply->status) || l->resumes >= RESUMES_MAX ||
        rpc_decode(Error_fields, reply->payload, reply->len, &error) != BT_OK)
        return false;
    uint32_t after_ms = error.retry_after_ms;
    rpc_release(Error_fields, &error);
    if (after_ms == 0 || after_ms > PUT_OFF_MAX_MS)
        return false;
    log_debug("%s: asked to come again in %u ms", l->server, (unsigned)after_ms);
    net_timer_start(l->client->loop, &l->resume_timer, after_ms, resume_due, l);
    return true;
}

static void resumed(struct rpc_out *out, const struct rpc_reply *reply)
{
    struct client_link *l = out->arg;
    struct bt_client *c = l->client;
    LoginReply login_reply = { 0 };
    l->resume_out = false;
    if (is_gone(l, reply))
        return;
    if (l->state != CLIENT_LINK_OPEN) {
        client_connect_lost(l, "the server answered out of order", false);
        client_link_close(l, BT_EPROTO);
    } else if (reply->came && reply->err == BT_ENOAUTH) {
        if (l->resume_serial == c->token_serial && c->token_len > 0) {
            client_session_over(c);
            if (c->events.session_ended)
                c->events.session_ended(c, BT_SESSION_EXPIRED, c->arg);
        }
        client_connect_ready(l);
    } else if (is_put_off(l, reply)) {
        return;
    } else if (reply->err != BT_OK || rpc_decode(LoginReply_fields, reply->payload, reply->len, &login_reply) != BT_OK) {
        give_up(l, "the server did not resume the session", reply);
    } else if (l->resume_serial != c->token_serial) {
        /* Meanwhile another session began, or this one ended: not the one to be bound to. */
        client_connect_lost(l, "the session changed", false);
        client_link_close(l, BT_OK);
    } else {
        client_session_begun(l, &login_reply);
    }
}

void client_link_bound(struct client_link *l)
{
    struct bt_client *c = l->client;
    if (l->state == CLIENT_LINK_OPEN)
        l->state = CLIENT_LINK_BOUND;
    if (l == c->cur || l == c->coming) {
        client_connect_ready(l);
        return;
    }
    /* Logged in over a connection that is being left: the one in use resumes. */
    if (c->cur)
        client_connect_ready(c->cur);
}

/* ---- heartbeat ---- */

static void ponged(struct rpc_out *out, const struct rpc_reply *reply)
{
    struct client_link *l = out->arg;
    l->ping_out = false;
    if (!is_gone(l, reply) && reply->err == BT_ETIMEOUT && !reply->came)
        give_up(l, "the server does not answer", reply);
}

static void ping_due(void *arg)
{
    struct client_link *l = arg;
    if (l->state == CLIENT_LINK_CLOSING)
        return;
    PingRequest req = { .nonce = client_random() };
    if (!l->ping_out)
        l->ping_out = ask(l, RPC_PROXY_PING, &req, CLIENT_PING_ANSWER_MS, &l->ping, ponged);
    ping_start(l);
}

static void ping_start(struct client_link *l)
{
    uint32_t every_ms = l->idle_timeout_ms ? l->idle_timeout_ms / 3 : 20000;
    net_timer_start(l->client->loop, &l->ping_timer, every_ms < 100 ? 100 : every_ms, ping_due, l);
}

/* ---- the end ---- */

void client_link_close(struct client_link *l, enum bt_err why)
{
    l->state = CLIENT_LINK_CLOSING;
    rpc_link_close(l->rpc, why);
}

void client_link_finish(struct client_link *l, uint32_t linger_ms)
{
    l->state = CLIENT_LINK_CLOSING;
    rpc_link_finish(l->rpc, linger_ms);
}

static void leave_due(void *arg)
{
    client_link_finish(arg, 1000);
}

void client_link_leave(struct client_link *l, uint32_t wait_ms)
{
    l->is_leaving = true;
    if (l->calls == 0)
        client_link_finish(l, 1000);
    else
        net_timer_start(l->client->loop, &l->leave_timer, wait_ms, leave_due, l);
}

void client_link_call_done(struct client_link *l)
{
    struct bt_client *c = l->client;
    l->calls--;
    if (l->is_leaving && l->calls == 0 && l->state != CLIENT_LINK_CLOSING)
        client_link_finish(l, 1000);
    else if (c->is_choked && l == c->cur)
        client_calls_try_all(c);
}
