/*
 * rpc/zk_pump.c: drives the single-threaded ZooKeeper client from the loop.
 *
 * The library names one descriptor, the events that it waits for, and a time; whenever one of them comes it is called:
 * first to process, then to say what it waits for next. It closes and opens sockets inside of these calls, and the new one
 * often has the old one's number: what is watched is known by its inode too. Nothing in between opens a descriptor.
 */
#include "rpc/zk_pump.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "net/loop.h"
#include "net/mem.h"
#include "net/timer.h"
#include "rpc/zk_url.h"

#define LOG_MODULE "registry"
#include "net/log.h"

enum {
    RETRY_MS = 20,         /* after the library reported an error: it goes to the next server then */
    REOPEN_MS = 1000,      /* after no handle could be made */
    DENIED_MS = 5000,
    RESOLVE_AGAIN_MS = 15000, /* without a connection: the names may mean other addresses by now */
    WAIT_MAX_MS = 60000,
};

struct zk_pump {
    struct net_loop *loop;
    const struct zk_url *url;
    const char *auth;
    uint32_t session_ms;
    const struct zk_pump_ops *ops;
    void *arg;
    zhandle_t *zh;
    int64_t session;
    struct net_poll *poll;    /* of fd; NULL: none is watched */
    int fd;
    ino_t inode;
    struct net_timer timer;
    struct net_task task;
    uint64_t lost_ms;         /* since when there is no connection */
    bool is_connected, is_pumping, is_resolving, is_closing, is_denied;
    char addresses[2 * ZK_HOSTS_SIZE];
    bool is_resolved;
    void (*closed_cb)(void *arg);
    void *closed_arg;
};

static void pump(struct zk_pump *p, int events);
static void open_handle(void *arg);

/* ---- the descriptor ---- */

static void unwatch(struct zk_pump *p)
{
    if (p->poll)
        net_poll_close(p->poll);
    p->poll = NULL;
}

static void poll_ready(int events, void *arg)
{
    pump(arg, (events & NET_READABLE ? ZOOKEEPER_READ : 0) | (events & NET_WRITABLE ? ZOOKEEPER_WRITE : 0));
}

/* False: it can't be watched. fd < 0: there is none. */
static bool watch(struct zk_pump *p, int fd, int interest)
{
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0) {
        unwatch(p);
        return true;
    }
    if (p->poll && (p->fd != fd || p->inode != st.st_ino))
        unwatch(p);
    if (!p->poll && net_poll_new(p->loop, fd, poll_ready, p, &p->poll) != BT_OK) {
        p->poll = NULL;
        return false;
    }
    p->fd = fd;
    p->inode = st.st_ino;
    net_poll_set(p->poll, (interest & ZOOKEEPER_READ ? NET_READABLE : 0) | (interest & ZOOKEEPER_WRITE ? NET_WRITABLE : 0));
    return true;
}

/* ---- the handle ---- */

/* The library's lines come with a time and a level of their own; only who looks for faults in it wants them. */
static void library_said(const char *message)
{
    log_debug("client library: %s", message);
}

static void became_lost(struct zk_pump *p)
{
    if (!p->is_connected)
        return;
    p->is_connected = false;
    p->lost_ms = net_now_ms(p->loop);
    p->ops->lost(p->arg);
}

static void became_connected(struct zk_pump *p)
{
    int64_t session = zoo_client_id(p->zh)->client_id;
    bool is_new = session != p->session;

    p->session = session;
    p->is_connected = true;
    p->ops->connected(is_new, p->arg);
}

static void watcher(zhandle_t *zh, int type, int state, const char *path, void *arg)
{
    struct zk_pump *p = arg;

    if (p->zh != zh || p->is_closing) /* on its way out */
        return;
    if (type != ZOO_SESSION_EVENT)
        p->ops->event(type, path, p->arg);
    else if (state == ZOO_CONNECTED_STATE)
        became_connected(p);
    else
        became_lost(p);
    if (type == ZOO_SESSION_EVENT && state == ZOO_AUTH_FAILED_STATE)
        p->is_denied = true;
}

static void auth_done(int rc, const void *data)
{
    (void)data; /* told by the session's state */
    if (rc != ZOK)
        log_debug("user and password: %s", zerror(rc));
}

static void drop_handle(struct zk_pump *p)
{
    zhandle_t *zh = p->zh;
    p->zh = NULL;
    unwatch(p);
    net_timer_stop(p->loop, &p->timer);
    net_defer_cancel(p->loop, &p->task);
    zookeeper_close(zh);
}

static void reopen(struct zk_pump *p, uint32_t pause_ms)
{
    if (p->zh)
        drop_handle(p);
    became_lost(p);
    net_timer_start(p->loop, &p->timer, pause_ms, open_handle, p);
}

static void session_ended(struct zk_pump *p)
{
    bool is_denied = p->is_denied;
    p->is_denied = false;
    if (is_denied)
        p->ops->denied(p->arg);
    reopen(p, is_denied ? DENIED_MS : 0);
}

static void make_handle(struct zk_pump *p)
{
    zoo_set_debug_level(log_enabled(LOG_LEVEL_DEBUG) ? ZOO_LOG_LEVEL_INFO : ZOO_LOG_LEVEL_ERROR);
    p->zh = zookeeper_init2(p->addresses, watcher, (int)p->session_ms, NULL, p, ZOO_NO_LOG_CLIENTENV, library_said);
    if (!p->zh) {
        log_warn("no ZooKeeper client for %s: %s", p->addresses, strerror(errno));
        reopen(p, REOPEN_MS);
        return;
    }
    p->lost_ms = net_now_ms(p->loop);
    if (p->auth)
        zoo_add_auth(p->zh, "digest", p->auth, (int)strlen(p->auth), auth_done, NULL);
    pump(p, 0);
}

/* ---- names: the library would ask the resolver on the loop's thread ---- */

static void resolve(void *arg)
{
    struct zk_pump *p = arg;
    p->is_resolved = zk_resolve(p->url->hosts, p->addresses, sizeof p->addresses);
}

static void tell_closed(void *arg)
{
    struct zk_pump *p = arg;
    p->closed_cb(p->closed_arg);
    bt_free(p);
}

static void resolve_done(void *arg, enum bt_err err)
{
    struct zk_pump *p = arg;

    p->is_resolving = false;
    if (p->is_closing) {
        tell_closed(p);
    } else if (err != BT_OK || !p->is_resolved) {
        log_warn("[registry] url: no address is found for any of %s", p->url->hosts);
        reopen(p, REOPEN_MS);
    } else {
        make_handle(p);
    }
}

static void open_handle(void *arg)
{
    struct zk_pump *p = arg;

    if (!p->url->has_names) {
        resolve(p);
        make_handle(p);
    } else if (net_work(p->loop, resolve, resolve_done, p) == BT_OK) {
        p->is_resolving = true;
    } else {
        reopen(p, REOPEN_MS);
    }
}

/* ---- pumping ---- */

static void timer_due(void *arg)
{
    struct zk_pump *p = arg;

    if (p->url->has_names && !p->is_connected && net_now_ms(p->loop) - p->lost_ms > RESOLVE_AGAIN_MS)
        reopen(p, 0);
    else
        pump(p, 0);
}

static uint32_t wait_ms(const struct timeval *tv)
{
    int64_t ms = (int64_t)tv->tv_sec * 1000 + (tv->tv_usec + 999) / 1000;
    return ms < NET_TICK_MS ? NET_TICK_MS : ms > WAIT_MAX_MS ? WAIT_MAX_MS : (uint32_t)ms;
}

static void pump(struct zk_pump *p, int events)
{
    struct timeval tv = { 0 };
    int fd = -1, interest = 0, rc;

    p->is_pumping = true;
    zookeeper_process(p->zh, events); /* what failed is told to the callbacks, and by the next call */
    rc = is_unrecoverable(p->zh) ? ZINVALIDSTATE : zookeeper_interest(p->zh, &fd, &interest, &tv);
    p->is_pumping = false;
    if (is_unrecoverable(p->zh)) {
        session_ended(p);
        return;
    }
    bool is_watched = watch(p, rc == ZOK ? fd : -1, interest);
    net_timer_start(p->loop, &p->timer, rc == ZOK && is_watched ? wait_ms(&tv) : RETRY_MS, timer_due, p);
}

static void pump_again(void *arg)
{
    struct zk_pump *p = arg;
    if (p->zh)
        pump(p, 0);
}

/* ---- for the owner ---- */

enum bt_err zk_pump_new(struct net_loop *loop, const struct zk_url *url, const char *auth, uint32_t session_ms, const struct zk_pump_ops *ops,
                        void *arg, struct zk_pump **out)
{
    struct zk_pump *p = bt_calloc(1, sizeof *p);

    if (!p)
        return BT_ENOMEM;
    p->loop = loop;
    p->url = url;
    p->auth = auth;
    p->session_ms = session_ms;
    p->ops = ops;
    p->arg = arg;
    net_timer_start(loop, &p->timer, 0, open_handle, p);
    *out = p;
    return BT_OK;
}

zhandle_t *zk_pump_handle(const struct zk_pump *p)
{
    return p->zh;
}

bool zk_pump_is_connected(const struct zk_pump *p)
{
    return p->is_connected;
}

int64_t zk_pump_session(const struct zk_pump *p)
{
    return p->session;
}

void zk_pump_kick(struct zk_pump *p)
{
    if (!p->is_pumping && p->zh)
        net_defer(p->loop, &p->task, pump_again, p);
}

void zk_pump_close(struct zk_pump *p, bool is_hung, void (*closed_cb)(void *arg), void *arg)
{
    p->is_closing = true;
    p->closed_cb = closed_cb;
    p->closed_arg = arg;
    /* Closing writes a farewell and waits for the answer. On a socket that is shut down both fail at once. */
    if (p->zh && p->poll && is_hung)
        shutdown(p->fd, SHUT_RDWR);
    if (p->zh)
        drop_handle(p);
    p->is_connected = false;
    net_timer_stop(p->loop, &p->timer);
    if (!p->is_resolving)
        net_defer(p->loop, &p->task, tell_closed, p);
}
