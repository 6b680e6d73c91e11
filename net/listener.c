/* net/listener.c: accepts connections, and slows down rather than spin when the process has run out of something. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define LOG_MODULE "net"
#include "net/log.h"
#include "net/mem.h"
#include "net/net_internal.h"

enum {
    ACCEPTS_PER_TURN = 64, /* then the connections that stand have their turn */
    PAUSE_MS = 100,        /* after running out of descriptors or memory */
    WARN_EVERY_MS = 1000,
};

struct net_listener {
    uv_poll_t poll; /* first: handle and listener convert by a cast */
    struct net_timer pause;
    uint64_t warned_ms;
    int fd;
    bool is_closing;
    net_accept_cb *cb;
    void *arg;
    size_t room;
    char address[64];
};

static void listener_ready(uv_poll_t *handle, int status, int events);

static struct net_loop *loop_of(struct net_listener *l)
{
    return l->poll.loop->data;
}

static void listener_go_on(void *arg)
{
    struct net_listener *l = arg;

    uv_poll_start(&l->poll, UV_READABLE, listener_ready);
}

/* The kernel keeps who comes meanwhile, as far as the backlog goes. */
static void listener_pause(struct net_listener *l, const char *why)
{
    uint64_t now_ms = net_now_ms(loop_of(l));

    if (l->warned_ms == 0 || now_ms - l->warned_ms >= WARN_EVERY_MS) {
        l->warned_ms = now_ms;
        log_warn("listener %s: cannot accept: %s; trying again every %d ms", l->address, why, PAUSE_MS);
    }
    uv_poll_stop(&l->poll);
    net_timer_start(loop_of(l), &l->pause, PAUSE_MS, listener_go_on, l);
}

/* Returns false when there is nothing to accept now, or nothing can be. */
static bool listener_accept_one(struct net_listener *l)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    struct net_conn *c;
    int fd = accept4(l->fd, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return false;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM || errno == EBADF) {
            listener_pause(l, strerror(errno));
            return false;
        }
        return true; /* this one connection failed before it was ours */
    }
    c = net_conn_adopt(loop_of(l), fd, &peer, l->room);
    if (!c) {
        listener_pause(l, strerror(ENOMEM));
        return false;
    }
    l->cb(c, l->arg);
    assert(c->ops || c->is_closing); /* the callback has to decide */
    return true;
}

static void listener_ready(uv_poll_t *handle, int status, int events)
{
    struct net_listener *l = (struct net_listener *)handle;

    (void)events;
    if (status < 0) {
        listener_pause(l, uv_strerror(status));
        return;
    }
    for (int i = 0; i < ACCEPTS_PER_TURN && !l->is_closing; i++)
        if (!listener_accept_one(l))
            return;
}

static enum bt_err err_of_errno(int error)
{
    switch (error) {
    case EADDRINUSE:
        return BT_EEXIST;
    case EACCES:
    case EPERM:
        return BT_EDENIED;
    case EADDRNOTAVAIL:
        return BT_EINVAL;
    default:
        return BT_EINTERNAL;
    }
}

/* A bound and listening socket, or -1 with errno set. */
static int socket_listen(const struct sockaddr_storage *address, bool is_shared)
{
    int one = 1, shared = is_shared, saved_errno;
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &shared, sizeof shared) == 0 &&
        bind(fd, (const struct sockaddr *)address, net_address_size(address)) == 0 &&
        listen(fd, NET_LISTEN_BACKLOG) == 0)
        return fd;
    saved_errno = errno;
    close(fd);
    errno = saved_errno;
    return -1;
}

static void listener_note_address(struct net_listener *l)
{
    struct sockaddr_storage address = { 0 };
    socklen_t size = sizeof address;
    uint8_t ip[16];
    uint16_t port;

    getsockname(l->fd, (struct sockaddr *)&address, &size);
    net_address_split(&address, ip, &port);
    net_address_print(ip, port, l->address, sizeof l->address);
}

static enum bt_err listener_open(struct net_loop *loop, const char *address, bool is_shared, net_accept_cb *cb, void *arg,
                                 struct net_listener **out)
{
    struct sockaddr_storage parsed;
    struct net_listener *l;
    enum bt_err err;

    if (net_address_parse(address, &parsed) != BT_OK)
        return BT_EINVAL;
    l = bt_calloc(1, sizeof *l);
    if (!l)
        return BT_ENOMEM;
    l->fd = socket_listen(&parsed, is_shared);
    if (l->fd < 0) {
        err = err_of_errno(errno);
        log_error("listener %s: %s", address, strerror(errno));
        goto fail_socket;
    }
    if (uv_poll_init(&loop->uv, &l->poll, l->fd) != 0) {
        err = BT_EINTERNAL;
        goto fail_poll;
    }
    l->cb = cb;
    l->arg = arg;
    listener_note_address(l);
    listener_go_on(l);
    *out = l;
    return BT_OK;

fail_poll:
    close(l->fd);
fail_socket:
    bt_free(l);
    return err;
}

enum bt_err net_listen(struct net_loop *loop, const char *address, net_accept_cb *cb, void *arg, struct net_listener **out)
{
    return listener_open(loop, address, false, cb, arg, out);
}

enum bt_err net_listen_shared(struct net_loop *loop, const char *address, net_accept_cb *cb, void *arg, struct net_listener **out)
{
    return listener_open(loop, address, true, cb, arg, out);
}

const char *net_listener_address(const struct net_listener *l)
{
    return l->address;
}

void net_listener_reserve(struct net_listener *l, size_t size)
{
    assert(size % sizeof(uint64_t) == 0);
    l->room = size;
}

static void listener_closed(uv_handle_t *handle)
{
    bt_free(handle);
}

void net_listener_close(struct net_listener *l)
{
    if (l->is_closing)
        return;
    l->is_closing = true;
    net_timer_stop(loop_of(l), &l->pause);
    uv_close((uv_handle_t *)&l->poll, listener_closed);
    close(l->fd); /* libuv no longer looks at it */
}

/* As many as the queue can hold, and no more: where they come without end, it has to end somewhere. */
void net_listener_finish(struct net_listener *l)
{
    for (int i = 0; i < NET_LISTEN_BACKLOG && !l->is_closing; i++)
        if (!listener_accept_one(l))
            break;
    net_listener_close(l);
}
