/* net/conn_in.c: input of a connection: from the socket through the layers to ops->bytes, and what waits meanwhile. */
#include <string.h>
#include <sys/ioctl.h>

#include "net/mem.h"
#include "net/net_internal.h"

enum {
    TAIL_MIN = 64,
    EOF_LINGER_MS = 2000, /* for what is still queued when the peer has ended its side */
};

static uint8_t *read_area(struct net_loop *loop)
{
    return loop->read_room + NET_READ_HEADROOM;
}

/* Keep bytes behind those that are kept already. Room doubles, so that a long frame in small pieces is copied twice at most. */
static enum bt_err tail_add(struct net_conn *c, const uint8_t *data, size_t len)
{
    struct net_tail *tail = c->tail;
    size_t need = (tail ? tail->len : 0) + len, cap;

    if (len == 0)
        return BT_OK;
    if (need > UINT32_MAX / 4)
        return BT_EPROTO;
    if (!tail || tail->start + need > tail->cap) {
        if (tail && need <= tail->cap && tail->start >= tail->cap / 2) {
            memmove(tail->data, tail->data + tail->start, tail->len);
            tail->start = 0;
        } else {
            struct net_tail *grown;

            cap = tail && tail->len ? 2 * (size_t)tail->len : TAIL_MIN;
            if (cap < need)
                cap = need;
            grown = bt_malloc(sizeof *grown + cap);
            if (!grown)
                return BT_ENOMEM;
            grown->cap = (uint32_t)cap;
            grown->start = 0;
            grown->len = tail ? tail->len : 0;
            if (tail)
                memcpy(grown->data, tail->data + tail->start, tail->len);
            bt_free(tail);
            c->tail = tail = grown;
        }
    }
    memcpy(tail->data + tail->start + tail->len, data, len);
    tail->len += (uint32_t)len;
    return BT_OK;
}

static void tail_consume(struct net_conn *c, size_t len)
{
    struct net_tail *tail = c->tail;

    if (!tail)
        return;
    assert(len <= tail->len);
    tail->start += (uint32_t)len;
    tail->len -= (uint32_t)len;
    if (tail->len == 0) {
        bt_free(tail);
        c->tail = NULL;
    }
}

/* Lend bytes to the framer. *used_out: how many it consumed. BT_ECLOSING: it closed the connection, touch nothing more. */
static enum bt_err lend(struct net_conn *c, const uint8_t *data, size_t len, size_t *used_out)
{
    *used_out = c->ops->bytes(c, data, len, c->tcp.data);
    assert(*used_out <= len);
    return c->is_closing || c->is_finishing ? BT_ECLOSING : BT_OK;
}

/* While the framer pauses, what it left may be whole frames; otherwise it is one unfinished frame, and has a limit. */
static enum bt_err check_limit(const struct net_conn *c)
{
    return c->tail && c->tail->len > c->limits->in_max_bytes && !c->is_paused && !c->must_show ? BT_EPROTO : BT_OK;
}

static enum bt_err show_tail(struct net_conn *c)
{
    size_t used;
    enum bt_err err;

    if (!c->tail)
        return BT_OK;
    err = lend(c, c->tail->data + c->tail->start, c->tail->len, &used);
    if (err != BT_OK)
        return err;
    tail_consume(c, used);
    return check_limit(c);
}

/* The kept start of a frame goes in front of what was read, where there is room for it: no copy of the larger part. */
static enum bt_err show_joined(struct net_conn *c, uint8_t *data, size_t len)
{
    size_t kept = c->tail ? c->tail->len : 0, used;
    enum bt_err err;

    if (kept > 0)
        memcpy(data - kept, c->tail->data + c->tail->start, kept);
    err = lend(c, data - kept, kept + len, &used);
    if (err != BT_OK)
        return err;
    tail_consume(c, used < kept ? used : kept);
    if (used > kept) {
        data += used - kept;
        len -= used - kept;
    }
    err = tail_add(c, data, len);
    return err != BT_OK ? err : check_limit(c);
}

enum bt_err net_conn_input(struct net_conn *c, const uint8_t *data, size_t len)
{
    struct net_loop *loop = net_loop_of(c);
    size_t used;
    enum bt_err err;

    if (c->is_closing || c->is_finishing)
        return BT_ECLOSING;
    if (c->is_paused || c->must_show)
        return tail_add(c, data, len);
    if (data == read_area(loop) && (!c->tail || c->tail->len <= NET_READ_HEADROOM))
        return show_joined(c, read_area(loop), len);
    if (c->tail) {
        err = tail_add(c, data, len);
        return err != BT_OK ? err : show_tail(c);
    }
    err = lend(c, data, len, &used);
    if (err == BT_OK)
        err = tail_add(c, data + used, len - used);
    return err != BT_OK ? err : check_limit(c);
}

/* libuv reads on as long as reads fill the buffer; given none, it goes on to the next connection and comes back later. */
static void read_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct net_loop *loop = handle->loop->data;

    (void)suggested;
    if (loop->reader != handle) {
        loop->reader = handle;
        loop->reads_in_row = 0;
    }
    if (++loop->reads_in_row > NET_READS_IN_ROW)
        *buf = uv_buf_init(NULL, 0);
    else
        *buf = uv_buf_init((char *)read_area(loop), NET_READ_SIZE);
}

static void read_ended(struct net_conn *c, int status)
{
    enum bt_err err = status == UV_EOF ? BT_OK : BT_EDOWN;

    c->is_eof = true;
    net_conn_read_sync(c);
    if (c->is_finishing) {
        if (c->is_shut || (err != BT_OK && c->is_shutting)) /* all was handed over: how the peer goes no longer matters */
            net_conn_fail(c, BT_OK);
        else if (err != BT_OK)
            net_conn_fail(c, err);
        return; /* otherwise the rest leaves first */
    }
    if (err == BT_OK)
        err = net_stack_ended(c);
    if (err == BT_OK && c->tail)
        err = BT_EDOWN; /* it broke off within a frame */
    if (err != BT_OK || net_conn_queued(c) == 0)
        net_conn_fail(c, err);
    else
        net_conn_finish(c, EOF_LINGER_MS);
}

static void read_done(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct net_conn *c = (struct net_conn *)stream;
    const uint8_t *data = (const uint8_t *)buf->base;
    enum bt_err err;

    if (n == 0 || n == UV_ENOBUFS) /* UV_ENOBUFS: it was not given a buffer, see read_room() */
        return;
    if (n < 0) {
        read_ended(c, (int)n);
        return;
    }
    if (c->is_finishing)
        return; /* read only to find the end */
    net_conn_note_read(c);
    if (c->stack) {
        err = c->stack->bottom->ops->in(c->stack->bottom, data, (size_t)n);
        net_stack_thin(c);
    } else {
        err = net_conn_input(c, data, (size_t)n);
    }
    if (err != BT_OK && !c->is_finishing)
        net_conn_fail(c, err);
    net_loop_run_early(net_loop_of(c));
}

void net_conn_read_sync(struct net_conn *c)
{
    bool wanted = !c->is_closing && !c->is_dialling && !c->is_eof && c->ops &&
                  (c->is_finishing || (!c->is_paused && !c->must_show));

    if (c->is_closing || wanted == c->is_reading)
        return;
    c->is_reading = wanted;
    if (!wanted)
        uv_read_stop((uv_stream_t *)&c->tcp);
    else if (uv_read_start((uv_stream_t *)&c->tcp, read_room, read_done) != 0)
        net_conn_fail(c, BT_EDOWN);
}

void net_conn_pause(struct net_conn *c)
{
    c->is_paused = true;
    net_conn_read_sync(c);
}

void net_conn_resume(struct net_conn *c)
{
    struct net_loop *loop = net_loop_of(c);

    if (!c->is_paused)
        return;
    c->is_paused = false;
    if (c->is_closing || c->is_finishing || c->is_dialling || c->must_show)
        return;
    c->must_show = true;
    c->is_spread = false;
    net_link_remove(&c->link); /* it comes back to the other list when it has shown */
    net_link_add(&loop->to_show, &c->link);
    net_loop_arouse(loop);
}

bool net_conn_has_input(const struct net_conn *c)
{
    uv_os_fd_t fd;
    int unread = 0;

    if (c->tail)
        return true;
    return uv_fileno((const uv_handle_t *)&c->tcp, &fd) == 0 && ioctl(fd, FIONREAD, &unread) == 0 && unread > 0;
}

void net_conn_show_all(struct net_loop *loop)
{
    struct net_link due;

    if (net_link_is_empty(&loop->to_show))
        return;
    net_link_init(&due);
    due = loop->to_show;
    due.next->prev = due.prev->next = &due;
    net_link_init(&loop->to_show);
    while (!net_link_is_empty(&due)) {
        struct net_conn *c = container_of(due.next, struct net_conn, link);
        enum bt_err err = BT_OK;

        net_link_remove(&c->link);
        net_conn_mark(c); /* it may have been taken off that list */
        c->must_show = false;
        if (!c->is_paused && !c->is_finishing)
            err = show_tail(c);
        if (err != BT_OK && !c->is_finishing)
            net_conn_fail(c, err);
        net_conn_read_sync(c);
    }
}
