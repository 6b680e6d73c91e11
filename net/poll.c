/* net/poll.c: watches file descriptors that other libraries own. */
#include "net/mem.h"
#include "net/net_internal.h"

struct net_poll {
    uv_poll_t poll; /* first: handle and watch convert by a cast */
    net_poll_cb *cb;
    void *arg;
    int events; /* what libuv watches now */
};

static void poll_free(uv_handle_t *handle)
{
    bt_free(handle);
}

static void poll_ready(uv_poll_t *handle, int status, int uv_events)
{
    struct net_poll *poll = (struct net_poll *)handle;
    int events = 0;

    if (status < 0) {
        poll->events = 0; /* libuv stopped watching; the owner finds the error with his next call, and sets it anew */
        events = NET_READABLE | NET_WRITABLE;
    } else {
        if (uv_events & UV_READABLE)
            events |= NET_READABLE;
        if (uv_events & UV_WRITABLE)
            events |= NET_WRITABLE;
    }
    poll->cb(events, poll->arg);
}

enum bt_err net_poll_new(struct net_loop *loop, int fd, net_poll_cb *cb, void *arg, struct net_poll **out)
{
    struct net_poll *poll = bt_malloc(sizeof *poll);

    if (!poll)
        return BT_ENOMEM;
    if (uv_poll_init(&loop->uv, &poll->poll, fd) != 0) { /* a plain file, or no descriptor at all */
        bt_free(poll);
        return BT_EINVAL;
    }
    poll->cb = cb;
    poll->arg = arg;
    poll->events = 0;
    *out = poll;
    return BT_OK;
}

void net_poll_set(struct net_poll *poll, int events)
{
    int uv_events = 0;

    if (events == poll->events) /* libuv would go to the kernel again */
        return;
    poll->events = events;
    if (events & NET_READABLE)
        uv_events |= UV_READABLE;
    if (events & NET_WRITABLE)
        uv_events |= UV_WRITABLE;
    if (uv_events)
        uv_poll_start(&poll->poll, uv_events, poll_ready);
    else
        uv_poll_stop(&poll->poll);
}

void net_poll_close(struct net_poll *poll)
{
    uv_close((uv_handle_t *)&poll->poll, poll_free);
}
