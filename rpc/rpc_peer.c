/*
 * rpc/rpc_peer.c: one connection to each other node that is needed, and whether the node at its end answers.
 *
 * A node that was not reached, or has left a ping unanswered for silent_ms, is passed over until a connection to it says
 * hello again; dialling goes on with pauses meanwhile. The registry is asked anew, but has no say in this.
 */
#include <stdio.h>
#include <string.h>

#include "net/mem.h"
#include "rpc/rpc_internal.h"

#define LOG_MODULE "rpc"
#include "net/log.h"
#include "proto/methods.h"

static void tick(void *arg);

/* ---- records ---- */

struct node_peer *rpc_peer_find(struct rpc *rpc, const char *address)
{
    struct node_peer *peer = rpc->peers;
    while (peer && strcmp(peer->address, address) != 0)
        peer = peer->next;
    return peer;
}

struct node_peer *rpc_peer_get(struct rpc *rpc, const char *address)
{
    struct node_peer *peer = rpc_peer_find(rpc, address);

    if (peer || strlen(address) >= sizeof peer->address)
        return peer;
    peer = bt_calloc(1, sizeof *peer);
    if (!peer)
        return NULL;
    peer->rpc = rpc;
    snprintf(peer->address, sizeof peer->address, "%s", address);
    peer->redial_ms = RPC_REDIAL_MIN_MS;
    peer->is_self = strcmp(address, rpc->self.address) == 0;
    peer->next = rpc->peers;
    rpc->peers = peer;
    return peer;
}

void rpc_peer_stop_all(struct rpc *rpc)
{
    net_timer_stop(rpc->loop, &rpc->tick_timer);
    for (struct node_peer *peer = rpc->peers; peer; peer = peer->next)
        net_timer_stop(rpc->loop, &peer->redial_timer);
}

void rpc_peer_free_all(struct rpc *rpc)
{
    while (rpc->peers) {
        struct node_peer *peer = rpc->peers;
        rpc->peers = peer->next;
        bt_free(peer);
    }
}

struct rpc_link *rpc_peer_link(const struct node_peer *peer)
{
    return peer->link ? peer->link->link : NULL;
}

void rpc_peer_news(struct node_peer *peer, enum rpc_link_news news)
{
    struct rpc *rpc = peer->rpc;
    if (rpc->is_closing)
        return;
    for (size_t i = 0; i < rpc->link_watcher_count; i++)
        rpc->link_watchers[i].cb(peer->address, news, rpc->link_watchers[i].arg);
}

/* ---- connecting ---- */

static void pass_over(struct node_peer *peer, const char *why)
{
    if (peer->is_passed_over)
        return;
    peer->is_passed_over = true;
    log_warn("node %s: %s: passed over until it answers", peer->address, why);
    registry_refresh(peer->rpc->registry);
}

static void redial(void *arg)
{
    struct node_peer *peer = arg;
    if (peer->is_in_view || peer->first)
        rpc_peer_want(peer);
}

static void redial_later(struct node_peer *peer)
{
    if (peer->rpc->is_closing)
        return;
    uint32_t pause_ms = peer->redial_ms / 2 + rpc_random(peer->rpc, peer->redial_ms / 2 + 1);
    net_timer_start(peer->rpc->loop, &peer->redial_timer, pause_ms, redial, peer);
    peer->redial_ms = peer->redial_ms * 2 < RPC_REDIAL_MAX_MS ? peer->redial_ms * 2 : RPC_REDIAL_MAX_MS;
}

static void dial_failed(void *arg)
{
    struct node_peer *peer = arg;
    pass_over(peer, "not reached");
    redial_later(peer);
    rpc_pending_fail_waiting(peer);
}

void rpc_peer_want(struct node_peer *peer)
{
    struct rpc *rpc = peer->rpc;

    if (peer->link || peer->dialling || rpc->is_closing || net_timer_is_running(&peer->redial_timer))
        return;
    enum bt_err err = peer->is_self && rpc->is_direct ? rpc_node_pair(rpc) : rpc_node_dial(peer);
    if (err != BT_OK) /* a call is just being made: it hears of it later, like of any failure */
        net_timer_start(rpc->loop, &peer->redial_timer, 0, dial_failed, peer);
}

static void start_ticking(struct rpc *rpc)
{
    if (net_timer_is_running(&rpc->tick_timer))
        return;
    rpc->ticked_ms = net_now_ms(rpc->loop);
    net_timer_start(rpc->loop, &rpc->tick_timer, RPC_TICK_MS, tick, rpc);
}

/* A link has said hello: calls go there. Any other one to the same node is closed, and what it had open is tried again. */
void rpc_peer_up(struct node_peer *peer, struct node_link *nl)
{
    struct node_link *old = peer->link, *dialling = peer->dialling;

    if (rpc_out_is_open(&peer->ping))
        rpc_link_cancel(&peer->ping);
    peer->link = nl;
    peer->dialling = NULL;
    peer->is_ping_open = false;
    peer->ping_sent_ms = net_now_ms(peer->rpc->loop);
    peer->redial_ms = RPC_REDIAL_MIN_MS;
    net_timer_stop(peer->rpc->loop, &peer->redial_timer);
    if (old && old != nl)
        rpc_node_close(old, BT_EDOWN);
    if (dialling && dialling != nl)
        rpc_node_close(dialling, BT_EDOWN);
    if (peer->is_passed_over)
        log_info("node %s: answers again", peer->address);
    peer->is_passed_over = false;
    if (rpc_pending_flush(peer))
        rpc_peer_news(peer, RPC_LINK_BROKE); /* who gave the event was told that it was taken */
    if (peer->is_self)
        return;
    start_ticking(peer->rpc);
    if (old && old != nl)
        rpc_peer_news(peer, RPC_LINK_BROKE); /* its end is not told: it is no longer the peer's */
    rpc_peer_news(peer, RPC_LINK_UP);
}

void rpc_peer_link_gone(struct node_peer *peer, struct node_link *nl)
{
    if (peer->rpc->is_closing) {
        if (peer->link == nl)
            peer->link = NULL;
        if (peer->dialling == nl)
            peer->dialling = NULL;
    } else if (peer->dialling == nl) {
        peer->dialling = NULL;
        /* When the other end's own connection is about to stand, there is nothing wrong with it. */
        if (nl->was_refused)
            redial_later(peer);
        else
            dial_failed(peer);
    } else if (peer->link == nl) {
        peer->link = NULL;
        rpc_peer_news(peer, RPC_LINK_BROKE);
        if (peer->is_in_view && !peer->is_self)
            rpc_peer_want(peer); /* to know at once whether it is still there */
    }
}

void rpc_peer_drained(struct node_peer *peer)
{
    if (!peer->was_refused)
        return;
    peer->was_refused = false;
    rpc_peer_news(peer, RPC_LINK_DRAINED);
}

/* ---- pings ---- */

static void ping_done(struct rpc_out *out, const struct rpc_reply *reply)
{
    struct node_peer *peer = out->arg;
    /* One that could not even be queued stays unanswered: that the node reads nothing is what it is to find out. */
    if (reply->err != BT_EBUSY)
        peer->is_ping_open = false;
}

static void ping(struct node_peer *peer, uint64_t now_ms)
{
    const struct rpc_header h = { .method = RPC_NODE_PING };
    peer->is_ping_open = true;
    peer->ping_sent_ms = now_ms;
    peer->ping = (struct rpc_out){ .done = ping_done, .arg = peer };
    rpc_link_request(rpc_peer_link(peer), &h, NULL, 0, &peer->ping);
}

static uint64_t last_heard_ms(const struct node_peer *peer)
{
    return net_conn_last_read_ms(rpc_link_conn(rpc_peer_link(peer)));
}

static bool is_silent(const struct node_peer *peer, uint64_t now_ms)
{
    uint32_t silent_ms = peer->rpc->silent_ms;
    return now_ms - peer->ping_sent_ms >= silent_ms && now_ms - last_heard_ms(peer) >= silent_ms;
}

static void look_after(struct node_peer *peer, uint64_t now_ms, bool is_on_time)
{
    if (peer->is_ping_open && is_on_time && is_silent(peer, now_ms)) {
        pass_over(peer, "silent");
        rpc_node_close(peer->link, BT_ETIMEOUT); /* what is open there is lost, and may be tried elsewhere */
    } else if (peer->is_ping_open && !rpc_out_is_open(&peer->ping) && now_ms - peer->ping_sent_ms >= peer->rpc->silent_ms) {
        ping(peer, now_ms); /* the one that could not be queued */
    } else if (!peer->is_ping_open && now_ms - peer->ping_sent_ms >= RPC_PING_EVERY_MS) {
        ping(peer, now_ms);
    }
}

static void tick(void *arg)
{
    struct rpc *rpc = arg;
    uint64_t now_ms = net_now_ms(rpc->loop);
    /* After a turn that took long, answers may have come and not been read yet: judge nobody now. */
    bool is_on_time = now_ms - rpc->ticked_ms < 3 * RPC_TICK_MS;
    bool is_needed = false;

    rpc->ticked_ms = now_ms;
    for (struct node_peer *peer = rpc->peers; peer; peer = peer->next) {
        if (!peer->link || peer->is_self)
            continue;
        is_needed = true;
        if (!rpc_link_is_closing(peer->link->link))
            look_after(peer, now_ms, is_on_time);
    }
    if (is_needed)
        net_timer_start(rpc->loop, &rpc->tick_timer, RPC_TICK_MS, tick, rpc);
}
