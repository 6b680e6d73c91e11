/* test/unit/conn_aid.c: two ends of connections over real loopback sockets, for the tests of net/. */
#include "conn_aid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/layer_xor.h"
#include "net/mem.h"
#include "net/net_internal.h"

static void end_keep(struct end *e, const uint8_t *data, size_t len)
{
    while (e->got_len + len > e->got_cap) {
        e->got_cap = e->got_cap ? 2 * e->got_cap : 4096;
        e->got = realloc(e->got, e->got_cap);
        assert_non_null(e->got);
    }
    if (len > 0)
        memcpy(e->got + e->got_len, data, len);
    e->got_len += len;
}

/* How many of the bytes this end wants to consume now. */
static size_t end_appetite(const struct end *e, const uint8_t *data, size_t len)
{
    size_t used = 0;

    if (!e->takes_frames)
        return e->pause_at && e->got_len + len > e->pause_at ? e->pause_at - e->got_len : len;
    while (len - used >= 4) {
        size_t body = (size_t)data[used] << 24 | (size_t)data[used + 1] << 16 | (size_t)data[used + 2] << 8 |
                      data[used + 3];

        if (body > len - used - 4)
            break;
        used += 4 + body;
    }
    return used;
}

static size_t end_bytes(struct net_conn *c, const uint8_t *data, size_t len, void *arg)
{
    struct end *e = arg;
    size_t used = end_appetite(e, data, len);

    assert_ptr_equal(c, e->c);
    assert_int_equal(e->closed, 0);
    assert_true(len > 0);
    e->shown++;
    e->last_shown_len = len;
    end_keep(e, data, used);
    if (e->echoes && used > 0 && net_conn_write(c, data, used) == BT_ENOMEM)
        net_conn_fail(c, BT_ENOMEM);
    if (e->pause_at && e->got_len >= e->pause_at)
        net_conn_pause(c);
    if (e->on_bytes)
        e->on_bytes(e);
    return used;
}

static void end_opened(struct net_conn *c, void *arg)
{
    struct end *e = arg;

    assert_ptr_equal(c, e->c);
    e->opened++;
    if (e->on_opened)
        e->on_opened(e);
}

static void end_drained(struct net_conn *c, void *arg)
{
    struct end *e = arg;

    assert_ptr_equal(c, e->c);
    e->drained++;
    if (e->on_drained)
        e->on_drained(e);
}

static void end_closed(struct net_conn *c, enum bt_err why, void *arg)
{
    struct end *e = arg;

    assert_ptr_equal(c, e->c);
    assert_false(e->is_inside);
    assert_true(net_conn_is_closing(c));
    assert_int_equal(net_conn_write(c, "x", 1), BT_ECLOSING);
    net_conn_close(c);
    e->closed++;
    e->why = why;
    e->c = NULL;
}

const struct net_conn_ops end_ops = {
    .bytes = end_bytes,
    .opened = end_opened,
    .drained = end_drained,
    .closed = end_closed,
};

void aid_push_layers(struct aid *a, struct net_conn *c)
{
    for (unsigned i = 0; i < a->layers; i++) {
        struct net_layer *l = net_layer_xor_new();

        if (l)
            net_conn_push_layer(c, l);
        else
            net_conn_fail(c, BT_ENOMEM);
    }
}

static void aid_accept(struct net_conn *c, void *arg)
{
    struct aid *a = arg;

    a->accepted++;
    if (a->accept_hook) {
        a->accept_hook(a, c);
        return;
    }
    a->server.c = c;
    aid_push_layers(a, c);
    net_conn_start(c, &end_ops, &a->limits, &a->server);
}

int aid_setup(void **state)
{
    struct aid *a = calloc(1, sizeof *a);

    *state = a;
    a->limits = (struct net_conn_limits){ .out_high_bytes = 256 << 20, .out_low_bytes = 65536, .in_max_bytes = 4 << 20 };
    a->server.aid = a->client.aid = a;
    if (net_loop_new(&a->loop) != BT_OK)
        return -1;
    return net_listen(a->loop, "127.0.0.1:0", aid_accept, a, &a->listener) == BT_OK ? 0 : -1;
}

int aid_teardown(void **state)
{
    struct aid *a = *state;

    bt_mem_fail_after(-1);
    if (a->listener)
        net_listener_close(a->listener);
    if (a->server.c)
        net_conn_close(a->server.c);
    if (a->client.c)
        net_conn_close(a->client.c);
    net_loop_free(a->loop);
    assert_null(a->server.c);
    assert_null(a->client.c);
    assert_true(a->server.closed <= 1 || a->accepted > 1);
    free(a->server.got);
    free(a->client.got);
    free(a);
    return 0;
}

void aid_dial(struct aid *a)
{
    assert_int_equal(net_dial(a->loop, net_listener_address(a->listener), 5000, &end_ops, &a->limits, &a->client,
                              &a->client.c),
                     BT_OK);
    aid_push_layers(a, a->client.c);
}

void aid_connect(struct aid *a)
{
    aid_dial(a);
    wait_until(a, a->client.opened && a->server.c);
}

int aid_raw_connect(struct aid *a)
{
    struct sockaddr_storage address;
    int fd = socket(AF_INET, SOCK_STREAM, 0), accepted = a->accepted;

    assert_int_equal(net_address_parse(net_listener_address(a->listener), &address), BT_OK);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, net_address_size(&address)), 0);
    wait_until(a, a->accepted > accepted);
    return fd;
}

void aid_turn(struct aid *a)
{
    net_loop_turn(a->loop, 0);
}

void end_write(struct end *e, const void *data, size_t len)
{
    e->is_inside = true;
    assert_int_equal(net_conn_write(e->c, data, len), BT_OK);
    e->is_inside = false;
}

void end_close(struct end *e)
{
    e->is_inside = true;
    net_conn_close(e->c);
    e->is_inside = false;
}

uint8_t *aid_pattern(size_t len)
{
    uint8_t *bytes = malloc(len);

    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    return bytes;
}
