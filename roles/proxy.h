/*
 * roles/proxy.h: what the files of the proxy role share. proxy.c: settings, listener, start, drain, stop. proxy_client.c: one client's
 * connection, and what is served here. proxy_forward.c: everything else goes to the role that serves it. proxy_shed.c: what is too
 * much at once. proxy_bind.c: logins, and which sessions have ended. proxy_users.c: which connections are whose. proxy_here.c: who is
 * here, for those who ask. proxy_push.c: events to clients.
 *
 * A client is one piece of memory: its connection, its link and its struct proxy_client, which is gone when the link is. No timer, no
 * buffer. Loop thread only.
 */
#ifndef BT_ROLES_PROXY_H
#define BT_ROLES_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/conn.h"
#include "net/loop.h"
#include "net/timer.h"
#include "proto/client.pb.h"
#include "proto/node.pb.h"
#include "roles/role.h"
#include "rpc/call.h"
#include "rpc/link.h"
#include "rpc/rpc.h"

struct proxy;
struct net_trusted;
struct proxy_forward;
struct proxy_binding;

enum proxy_client_state {
    CLIENT_NEW,      /* nothing but Hello */
    CLIENT_GREETED,  /* public methods */
    CLIENT_BINDING,  /* a login is under way: what comes after it waits */
    CLIENT_BOUND,    /* user and session are known */
    CLIENT_LEAVING,  /* told to go, or thrown out: nothing more is taken */
};

/* What a push looks at comes first: it stands next to the link. */
struct proxy_client {
    uint64_t user_id;                          /* 0: not bound */
    uint64_t session;
    struct proxy_client *of_user;              /* the user's next one */
    uint8_t state;                             /* enum proxy_client_state */
    uint8_t refusals;                          /* logins refused */
    bool wants_resync;                         /* still to be told to compare positions */
    bool is_told;                              /* the user's first one: friends were told that he came */
    uint32_t since_s;                          /* net_now_ms() / 1000 when it connected */
    struct proxy *proxy;
    struct proxy_client *prev, *next;          /* proxy->clients */
    struct proxy_binding *binding;             /* CLIENT_BINDING: its login or logout */
};
_Static_assert(sizeof(struct proxy_client) <= 64, "each connection has one: it must stay small");

/* They are one piece of memory: the link stands before the client. */
static inline struct rpc_link *proxy_client_link(const struct proxy_client *client)
{
    return (struct rpc_link *)(void *)((char *)client - RPC_LINK_SERVE_SIZE);
}

static inline struct net_conn *proxy_client_conn(const struct proxy_client *client)
{
    return rpc_link_conn(proxy_client_link(client));
}

enum { PROXY_CHANGES = 1024 }; /* comings and goings that are remembered, a power of two */

/* Logins, or resumed sessions: those under way, and when who is told to come again is to come (proxy_shed.c). */
struct proxy_shed_queue {
    uint32_t limit, under_way;
    uint32_t each_us;                          /* how far apart they were done lately; 0: not known */
    uint64_t slot_us;                          /* the last time that was given away, by net_now_ms() */
    uint64_t since_ms;                         /* of this span: */
    uint32_t done;
    bool has_shed;                             /* some were refused in it, so it shows what can be done */
};
enum proxy_shed_kind { PROXY_LOGINS, PROXY_RESUMES, PROXY_SHED_KINDS };

struct proxy_settings {
    uint32_t max_forwards;
    uint32_t max_connections, idle_timeout_ms, hello_timeout_ms, login_tries, call_timeout_ms, resync_spread_ms, drain_spread_ms;
    bool test_layer;
};

struct proxy {
    struct role_env env;
    struct proxy_settings set;
    struct rpc_link_limits limits, guest_limits; /* of who has logged in, and of who has not */
    struct net_listener *listener;
    struct net_trusted *trusted;               /* who may say whom a connection comes from */
    struct proxy_client *clients;              /* newest first */
    uint32_t nclients;
    struct proxy_client **users;               /* each user's first one, by a hash of his id: open addressing, at most 3/4 full, a power of two */
    size_t nusers, users_cap;
    uint64_t changed[PROXY_CHANGES];           /* users who came or went last */
    uint64_t nchanges;                         /* all of them, since the start */
    struct proxy_forward *spare;               /* for reuse */
    uint32_t nspare;
    uint32_t nforwards;                        /* calls under way, bindings included */
    struct proxy_shed_queue shed[PROXY_SHED_KINDS];
    uint64_t next_trace;

    struct net_timer sweep_timer;              /* idle connections */
    struct net_timer ended_timer;              /* ask for ended sessions */
    struct rpc_pending *ended_call;
    int64_t ended_since_ms;                    /* of the store's clock; 0: not known yet */
    int64_t clock_ms;                          /* the store's clock less net_now_ms() */
    struct net_timer resync_timer;             /* the next of those with wants_resync */
    struct proxy_client *resync_next;          /* from here on; NULL: from the newest on */
    bool must_resync_again;                    /* more got lost while clients were told */

    bool is_stopping;                          /* draining too: friends are not told who goes */
    struct net_timer drain_timer;
    struct proxy_client *drain_next;           /* the next to be told to go */
    bool is_seeing_off;                        /* drain: some have not been told, or still ask */
    uint64_t drain_until_ms;                   /* then nothing more is taken */
    void (*idle_cb)(void *arg);                /* nothing is under way any more */
    void *idle_arg;
    struct net_task idle_task;
    void (*stopped_cb)(void *arg);
    void *stopped_arg;
};

/* ---- proxy.c ------------------------------------------------------------------------------------------------------------------ */

/* Handlers (proto/proxy_methods.h lists them). */
rpc_handler proxy_hello, proxy_ping, proxy_directory, proxy_push, proxy_push_lost;

/* A method that the proxy itself serves. */
void proxy_serve(struct proxy *proxy, struct rpc_call *call, const struct rpc_frame *frame);

/* ---- proxy_client.c ---------------------------------------------------------------------------------------------------------- */

void proxy_client_accept(struct net_conn *c, void *proxy_arg);

/* Tell why, then close after what is queued has left. The client is unbound at once. */
void proxy_client_end(struct proxy_client *client, SessionEnd why);

/* A password was refused: closes the connection when that was one too many. */
void proxy_client_refused(struct proxy_client *client);

/* ---- proxy_forward.c --------------------------------------------------------------------------------------------------------- */

/* Send a call to whoever serves it, and its answer back as it comes. */
void proxy_forward(struct proxy_client *client, struct rpc_call *call, const struct rpc_frame *frame);
struct rpc_ctx proxy_ctx(struct proxy_client *client, const struct rpc_header *h);
void proxy_forward_free_spares(struct proxy *proxy);
void proxy_maybe_idle(struct proxy *proxy);

/* ---- proxy_shed.c ------------------------------------------------------------------------------------------------------------ */

/* True: there is room, which is taken until proxy_shed_done(). Else proxy_shed_when() says in how many ms one more is to come again. */
bool proxy_shed_takes(struct proxy_shed_queue *q, uint64_t now_ms);
uint32_t proxy_shed_when(struct proxy_shed_queue *q, uint64_t now_ms, uint32_t random);
void proxy_shed_done(struct proxy_shed_queue *q, uint64_t now_ms);

/* The queue in which a login has taken room; NULL: there was none, and it was refused. */
struct proxy_shed_queue *proxy_shed_login(struct proxy_client *client, struct rpc_call *call);

/* True: as many calls are under way as may be, and it was refused. */
bool proxy_shed_forward(struct proxy *proxy, struct rpc_call *call);

/* ---- proxy_bind.c -------------------------------------------------------------------------------------------------------------- */

/* Login, Resume, Logout: forwarded too, and their answer binds or unbinds the connection. */
void proxy_bind(struct proxy_client *client, struct rpc_call *call, const struct rpc_frame *frame);
void proxy_bind_ended(struct proxy_client *client); /* it was unbound for good: a login that still waits for presence is refused */
void proxy_unbind(struct proxy_client *client); /* no longer a session of its user; presence is told after the last one */
void proxy_ended_start(struct proxy *proxy);    /* ask every second which sessions have ended */
void proxy_bind_stop(struct proxy *proxy);
void proxy_presence_lost(void *proxy_arg);      /* presence was made anew: write all users again */

/* ---- proxy_users.c ------------------------------------------------------------------------------------------------------------- */

/* The first of a user's connected sessions, the others by of_user; NULL: none. */
struct proxy_client *proxy_user_find(const struct proxy *proxy, uint64_t user_id);
enum bt_err proxy_user_add(struct proxy_client *client, uint64_t user_id, uint64_t session); /* becomes the first one; BT_ENOMEM: nothing was done */
void proxy_user_remove(struct proxy_client *client);                                       /* its user_id and session become 0 */

/* All users' first ones: from *at = 0 until NULL. Not while any is added or removed. */
struct proxy_client *proxy_user_each(const struct proxy *proxy, size_t *at);

/* About to be looked for: his place in the table; a little later, what is pushed to. */
void proxy_user_soon(const struct proxy *proxy, uint64_t user_id);
void proxy_user_next(const struct proxy *proxy, uint64_t user_id);

/* proxy_here.c: a user came, or went. */
void proxy_here_changed(struct proxy *proxy, uint64_t user_id);

/* ---- proxy_push.c -------------------------------------------------------------------------------------------------------------- */

void proxy_event(struct proxy_client *client, uint16_t method, const pb_msgdesc_t *fields, const void *msg);
void proxy_push_users(struct proxy *proxy, const PushEvent *push, uint64_t trace);
void proxy_resync_all(struct proxy *proxy);     /* tell every session to compare positions, spread over time */
void proxy_news(const char *address, enum rpc_link_news news, void *proxy_arg);
void proxy_go_away(struct proxy_client *client, uint32_t within_ms);
size_t proxy_others(const struct proxy *proxy, DirectoryEntry *out, size_t max, bool with_self);

#endif
