/*
 * roles/proxy_here.c: who is connected here, for those who ask the proxy itself: chat nodes, while presence is away, and operators.
 *
 * The table of users with a numbered memory of who came or went last. A user is in it before his login is answered, so a chat node that
 * asks after a commit finds everybody who may not find the message by his own comparison of positions.
 */
#include "roles/proxy.h"

#include "net/mem.h"
#include "proto/proxy_methods.h"

void proxy_here_changed(struct proxy *proxy, uint64_t user_id)
{
    proxy->changed[proxy->nchanges++ % PROXY_CHANGES] = user_id;
}

static size_t all_users(const struct proxy *proxy, uint64_t *out)
{
    const struct proxy_client *c;
    size_t n = 0;

    for (size_t at = 0; (c = proxy_user_each(proxy, &at)) != NULL;)
        out[n++] = c->user_id;
    return n;
}

/* Position p of the asker is nchanges + 1 as it was: 0 is nobody's. */
static bool is_remembered(const struct proxy *proxy, const UsersHereRequest *req)
{
    return req->epoch == rpc_self(proxy->env.rpc)->epoch && req->position > 0 && req->position <= proxy->nchanges + 1 &&
           proxy->nchanges + 1 - req->position <= PROXY_CHANGES;
}

void proxy_users_here(struct rpc_call *call, const void *msg, void *self)
{
    const UsersHereRequest *req = msg;
    const struct proxy *proxy = self;
    bool is_full = !is_remembered(proxy, req);
    size_t most = is_full ? proxy->nusers : (size_t)(proxy->nchanges + 1 - req->position), nhere = 0, ngone = 0;
    uint64_t *users = bt_malloc((most + 1) * sizeof *users);

    if (users == NULL) {
        rpc_fail(call, BT_ENOMEM, NULL);
        return;
    }
    if (is_full)
        nhere = all_users(proxy, users);
    for (uint64_t at = req->position - 1; !is_full && at < proxy->nchanges; at++) { /* as they are now, from both ends */
        uint64_t user_id = proxy->changed[at % PROXY_CHANGES];
        if (proxy_user_find(proxy, user_id) != NULL)
            users[nhere++] = user_id;
        else
            users[most - ++ngone] = user_id;
    }
    rpc_reply(call, &(UsersHereReply){
        .epoch = rpc_self(proxy->env.rpc)->epoch,
        .position = proxy->nchanges + 1,
        .is_full = is_full,
        .here = rpc_bytes(users, nhere * sizeof *users),
        .gone = rpc_bytes(users + most - ngone, ngone * sizeof *users),
    });
    bt_free(users);
}

void proxy_sessions_here(struct rpc_call *call, const void *msg, void *self)
{
    enum { SESSIONS_MAX = 256, PEER_MAX = 64 };
    const SessionsHereRequest *req = msg;
    const struct proxy *proxy = self;
    SessionsHereReply reply = { .sessions = bt_calloc(SESSIONS_MAX, sizeof *reply.sessions + PEER_MAX) };
    char(*peers)[PEER_MAX] = reply.sessions != NULL ? (void *)(reply.sessions + SESSIONS_MAX) : NULL;

    if (reply.sessions == NULL) {
        rpc_fail(call, BT_ENOMEM, NULL);
        return;
    }
    for (const struct proxy_client *c = proxy_user_find(proxy, req->user_id); c != NULL && reply.sessions_count < SESSIONS_MAX; c = c->of_user) {
        pb_size_t i = reply.sessions_count++;
        net_conn_peer_name(proxy_client_conn(c), peers[i], sizeof peers[i]);
        reply.sessions[i] = (SessionHere){ .session_id = c->session, .since_ms = proxy->clock_ms + (int64_t)c->since_s * 1000, .from = rpc_str(peers[i]) };
    }
    rpc_reply(call, &reply);
    bt_free(reply.sessions);
}
