/* net/conn.c: the life of a connection: accepted or dialled, started, finished, closed. */
#include "net/conn.h"

#include <string.h>
#include <unistd.h>

#include "net/mem.h"
#include "net/net_internal.h"

struct net_conn *net_conn_new(struct net_loop *loop, const struct sockaddr_storage *peer, bool is_server, size_t room)
{
    struct net_conn *c = bt_calloc(1, sizeof *c + room);

    if (!c)
        return NULL;
    uv_tcp_init(&loop->uv, &c->tcp); /* cannot fail without a family: no socket is made */
    uv_tcp_nodelay(&c->tcp, 1);      /* remembered until there is one */
    net_address_split(peer, c->peer_ip, &c->peer_port);
    c->id = ++loop->next_conn_id;
    c->is_server = is_server;
    net_conn_note_read(c);
    return c;
}

static void conn_closed(uv_handle_t *handle)
{
    struct net_conn *c = (struct net_conn *)handle;

    if (c->ops)
        c->ops->closed(c, (enum bt_err)c->why, c->tcp.data);
    net_stack_free(c);
    bt_free(c->tail);
    bt_free(c->wait);
    bt_free(c);
}

struct net_conn *net_conn_adopt(struct net_loop *loop, int fd, const struct sockaddr_storage *peer, size_t room)
{
    struct net_conn *c = net_conn_new(loop, peer, true, room);

    if (c && uv_tcp_open(&c->tcp, fd) == 0)
        return c;
    close(fd);
    if (c)
        net_conn_close(c);
    return NULL;
}

static void conn_waited_out(void *arg)
{
    struct net_conn *c = arg;

    net_conn_fail(c, c->is_dialling ? BT_ETIMEOUT : BT_OK);
}

/* Both ends of a new connection come here once it stands. */
static void conn_begin(struct net_conn *c)
{
    enum bt_err err = net_stack_open(c);

    if (err != BT_OK)
        net_conn_fail(c, err);
    if (c->is_closing)
        return;
    net_conn_read_sync(c);
}

static void conn_dialled(uv_connect_t *req, int status)
{
    struct net_conn *c = (struct net_conn *)req->handle;

    if (c->is_closing)
        return;
    if (status < 0) {
        net_conn_fail(c, BT_EDOWN);
        return;
    }
    c->is_dialling = false;
    if (!c->is_finishing) {
        net_timer_stop(net_loop_of(c), &c->wait->timer);
        bt_free(c->wait);
        c->wait = NULL;
    }
    net_conn_note_read(c);
    conn_begin(c);
    if (c->is_closing)
        return;
    net_conn_mark(c); /* what was written meanwhile */
    if (c->ops->opened && !c->is_finishing)
        c->ops->opened(c, c->tcp.data);
}

enum bt_err net_dial(struct net_loop *loop, const char *address, uint32_t timeout_ms, const struct net_conn_ops *ops,
                     const struct net_conn_limits *limits, void *arg, struct net_conn **out)
{
    struct sockaddr_storage peer;
    struct net_conn *c;

    if (net_address_parse(address, &peer) != BT_OK)
        return BT_EINVAL;
    c = net_conn_new(loop, &peer, false, 0);
    if (!c)
        return BT_ENOMEM;
    c->wait = bt_calloc(1, sizeof *c->wait);
    if (!c->wait) {
        net_conn_close(c);
        return BT_ENOMEM;
    }
    c->ops = ops;
    c->limits = limits;
    c->tcp.data = arg;
    c->is_dialling = true;
    net_timer_start(loop, &c->wait->timer, timeout_ms, conn_waited_out, c);
    if (uv_tcp_connect(&c->wait->connect, &c->tcp, (const struct sockaddr *)&peer, conn_dialled) != 0)
        net_conn_fail(c, BT_EDOWN); /* no route, no descriptors: told like any other failure to connect */
    *out = c;
    return BT_OK;
}

void net_conn_start(struct net_conn *c, const struct net_conn_ops *ops, const struct net_conn_limits *limits, void *arg)
{
    assert(!c->ops);
    c->ops = ops;
    c->limits = limits;
    c->tcp.data = arg;
    if (!c->is_closing)
        conn_begin(c);
}

void net_conn_fail(struct net_conn *c, enum bt_err why)
{
    struct net_loop *loop = net_loop_of(c);

    if (c->is_closing)
        return;
    c->is_closing = true;
    c->why = (uint8_t)why;
    net_link_remove(&c->link);
    if (c->wait)
        net_timer_stop(loop, &c->wait->timer);
    net_chain_drop(loop, &c->out);
    net_cast_drop(c);
    c->queued = 0;
    uv_close((uv_handle_t *)&c->tcp, conn_closed); /* input that is lent right now stays until then */
}

void net_conn_abort(struct net_conn *c, enum bt_err why)
{
    static const struct linger at_once = { .l_onoff = 1, .l_linger = 0 };
    uv_os_fd_t fd;

    if (!c->is_closing && uv_fileno((const uv_handle_t *)&c->tcp, &fd) == 0)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once); /* should it fail, it closes as any other */
    net_conn_fail(c, why);
}

void net_conn_close(struct net_conn *c)
{
    net_conn_fail(c, BT_OK);
}

void net_conn_finish(struct net_conn *c, uint32_t linger_ms)
{
    if (c->is_closing || c->is_finishing)
        return;
    if (!c->wait && !(c->wait = bt_calloc(1, sizeof *c->wait))) {
        net_conn_fail(c, BT_ENOMEM);
        return;
    }
    c->is_finishing = true;
    net_timer_start(net_loop_of(c), &c->wait->timer, linger_ms, conn_waited_out, c);
    net_conn_read_sync(c); /* even when paused: the peer's end is waited for */
    net_conn_hurry(c);
}

bool net_conn_is_closing(const struct net_conn *c)
{
    return c->is_closing || c->is_finishing;
}

uint32_t net_conn_id(const struct net_conn *c)
{
    return c->id;
}

uint64_t net_conn_last_read_ms(const struct net_conn *c)
{
    uint64_t now_ms = net_now_ms(net_loop_of(c));

    return now_ms - (uint32_t)((uint32_t)now_ms - c->last_read_ms);
}

void net_conn_set_limits(struct net_conn *c, const struct net_conn_limits *limits)
{
    c->limits = limits;
}

bool net_conn_is_loopback(const struct net_conn *c)
{
    static const uint8_t v6_loopback[16] = { [15] = 1 };
    static const uint8_t v4_loopback[13] = { [10] = 0xff, [11] = 0xff, [12] = 127 };

    return memcmp(c->peer_ip, v6_loopback, sizeof v6_loopback) == 0 ||
           memcmp(c->peer_ip, v4_loopback, sizeof v4_loopback) == 0;
}

void net_conn_peer_name(const struct net_conn *c, char *buf, size_t size)
{
    net_address_print(c->peer_ip, c->peer_port, buf, size);
}

struct net_loop *net_conn_loop(const struct net_conn *c)
{
    return net_loop_of(c);
}

void *net_conn_arg(const struct net_conn *c)
{
    return c->tcp.data;
}

void *net_conn_room(struct net_conn *c)
{
    return c->room;
}
