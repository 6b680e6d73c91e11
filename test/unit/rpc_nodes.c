/* test/unit/rpc_nodes.c: a few nodes in one process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "port_aid.h"
#include "rpc/bytes.h"
#include "rpc/link_internal.h"
#include "rpc/rpc_internal.h"
#include "rpc_nodes.h"

enum { UNTIL_MS = 8000 };

/* ---- handlers ---- */

static void call_died(void *arg)
{
    ((struct node *)arg)->dead++;
}

static void asked_on(const struct rpc_reply *reply, void *arg)
{
    struct rpc_call *call = arg;
    if (reply->err == BT_OK)
        rpc_reply_raw(call, reply->status, 0, reply->payload, reply->len);
    else
        rpc_fail_as(call, reply);
}

static void answer(struct rpc_call *call, const void *msg, void *self)
{
    struct node *node = self;
    static const uint8_t bytes[] = { 0, 0, 0, 0, 'p' };
    const struct rpc_bytes pushed = rpc_bytes(bytes, sizeof bytes);

    (void)msg;
    node->requests++;
    node->last = *rpc_call_header(call);
    node->last_left_ms = rpc_call_left_ms(call);
    node->resends += (node->last.flags & RPC_FLAG_RESEND) != 0;
    switch (node->answers) {
    case NODE_OK:
        rpc_reply_raw(call, RPC_STATUS_OK, 0, NULL, 0);
        break;
    case NODE_KEEPS:
        assert_true(node->kept_count < NODE_KEPT_MAX);
        rpc_call_on_dead(call, call_died, node);
        node->kept[node->kept_count++] = call;
        break;
    case NODE_FAILS:
        rpc_fail(call, node->err, "as the test says");
        break;
    case NODE_ASKS: {
        struct rpc_ctx ctx = rpc_ctx_of(call);
        rpc_send(node->rpc, RPC_CHAT_SEND, &ctx, NULL, 0, asked_on, call);
        break;
    }
    case NODE_PUSHED:
        assert_int_equal(rpc_call_answer(call, RPC_STATUS_OK, RPC_FLAG_PUSHED, &pushed, 1), BT_OK);
        break;
    }
}

static void take_event(struct rpc_call *call, const void *msg, void *self)
{
    struct node *node = self;
    (void)msg;
    node->events++;
    node->last = *rpc_call_header(call);
    rpc_fail(call, BT_EINTERNAL, "has no effect"); /* nobody waits for an event */
}

static const struct rpc_method user_rows[] = {
    { RPC_USER_GET_PROFILE, answer }, { RPC_USER_UPDATE_PROFILE, answer }, { RPC_USER_GET_USERS, answer },
    { RPC_USER_LOGOUT, answer },      { 0, NULL },
};
static const struct rpc_method friend_rows[] = { { RPC_FRIEND_PRESENCE_CHANGED, take_event }, { RPC_FRIEND_ADD_FRIEND, answer }, { 0, NULL } };
static const struct rpc_method group_rows[] = { { RPC_GROUP_CREATE_GROUP, answer }, { 0, NULL } };
static const struct rpc_method chat_rows[] = { { RPC_CHAT_SEND, answer },   { RPC_CHAT_NOTIFY, take_event },
                                              { RPC_CHAT_SIGNAL, answer }, { RPC_CHAT_DROP_RIGHTS, answer },  { 0, NULL } };
static const struct rpc_method proxy_rows[] = { { RPC_PROXY_PUSH, take_event }, { 0, NULL } };

static const struct {
    const char *name;
    enum rpc_role role;
    const struct rpc_method *rows;
} served[] = {
    { "user", RPC_ROLE_USER, user_rows },    { "friend", RPC_ROLE_FRIEND, friend_rows }, { "group", RPC_ROLE_GROUP, group_rows },
    { "chat", RPC_ROLE_CHAT, chat_rows },    { "proxy", RPC_ROLE_PROXY, proxy_rows },
};

static void link_news(const char *address, enum rpc_link_news news, void *arg)
{
    struct node *node = arg;
    (void)address;
    node->ups += news == RPC_LINK_UP;
    node->brokes += news == RPC_LINK_BROKE;
    node->draineds += news == RPC_LINK_DRAINED;
}

static void view_news(const struct registry_node *nodes, size_t n, void *arg)
{
    (void)nodes;
    (void)n;
    ((struct node *)arg)->views++;
}

/* ---- nodes ---- */

void nodes_init(struct nodes *all, const char *const roles[])
{
    memset(all, 0, sizeof *all);
    for (size_t i = 0; roles[i]; i++) {
        assert_true(i < NODES_MAX);
        struct node *node = &all->node[i];
        size_t len = strlen(all->list);
        node->all = all;
        node->roles = roles[i];
        all->count++;
        snprintf(node->address, sizeof node->address, "127.0.0.1:%d", port_hold());
        snprintf(all->list + len, sizeof all->list - len, "%s%s@%s", i > 0 ? "," : "", roles[i], node->address);
        assert_int_equal(net_loop_new(&node->loop), BT_OK);
    }
}

static void set(struct conf *conf, const char *what)
{
    char why[256];
    if (conf_set(conf, what, why, sizeof why) != BT_OK)
        fail_msg("%s: %s", what, why);
}

void nodes_start(struct nodes *all, size_t i, const char *const settings[])
{
    struct node *node = &all->node[i];
    char text[640], why[256];

    assert_int_equal(conf_new(&node->conf), BT_OK);
    conf_declare(node->conf, rpc_keys);
    conf_declare(node->conf, registry_keys);
    snprintf(text, sizeof text, "node.listen=%s", node->address);
    set(node->conf, text);
    snprintf(text, sizeof text, "registry.nodes=%s", all->count > 1 ? all->list : "");
    set(node->conf, text);
    for (size_t k = 0; settings && settings[k]; k++)
        set(node->conf, settings[k]);
    if (rpc_new(node->loop, node->conf, &node->rpc, why, sizeof why) != BT_OK)
        fail_msg("%s", why);
    for (size_t k = 0; k < sizeof served / sizeof *served; k++) {
        if (strstr(node->roles, served[k].name))
            rpc_serve(node->rpc, served[k].role, served[k].rows, node);
    }
    rpc_watch_links(node->rpc, link_news, node);
    rpc_watch_nodes(node->rpc, view_news, node);
    rpc_start(node->rpc);
    int views = node->views;
    nodes_until(all, &node->views, views + 1);
}

void nodes_open(struct nodes *all, const char *const roles[], const char *const settings[])
{
    nodes_init(all, roles);
    for (size_t i = 0; i < all->count; i++)
        nodes_start(all, i, settings);
}

static void node_closed(void *arg)
{
    struct node *node = arg;
    node->rpc = NULL;
    node->closed++;
}

void node_end_kept(struct node *node, enum bt_err err)
{
    for (size_t i = 0; i < node->kept_count; i++) {
        if (err == BT_OK)
            rpc_reply_raw(node->kept[i], RPC_STATUS_OK, 0, NULL, 0);
        else
            rpc_fail(node->kept[i], err, NULL);
    }
    node->kept_count = 0;
}

void nodes_stop(struct nodes *all, size_t i)
{
    struct node *node = &all->node[i];
    int closed = node->closed;
    node_end_kept(node, BT_EDOWN);
    rpc_close(node->rpc, node_closed, node);
    assert_int_equal(node->closed, closed); /* not inside the call */
    nodes_until(all, &node->closed, closed + 1);
    conf_free(node->conf);
}

void nodes_deinit(struct nodes *all)
{
    for (size_t i = 0; i < all->count; i++)
        all->node[i].is_frozen = false;
    for (size_t i = 0; i < all->count; i++) {
        if (all->node[i].rpc)
            nodes_stop(all, i);
    }
    for (size_t i = 0; i < all->count; i++)
        net_loop_free(all->node[i].loop);
}

/* No loop may wait for what another one is to do. */
void nodes_turn(struct nodes *all)
{
    for (size_t i = 0; i < all->count; i++) {
        if (!all->node[i].is_frozen)
            net_loop_turn(all->node[i].loop, 0);
    }
    usleep(300);
}

void nodes_for_ms(struct nodes *all, uint32_t ms)
{
    uint64_t start_us = net_clock_us();
    while (net_clock_us() - start_us < (uint64_t)ms * 1000)
        nodes_turn(all);
}

void nodes_until(struct nodes *all, const int *counter, int n)
{
    uint64_t start_us = net_clock_us();
    while (*counter < n && net_clock_us() - start_us < UNTIL_MS * 1000)
        nodes_turn(all);
    if (*counter < n)
        fail_msg("waited in vain: %d of %d", *counter, n);
}

static void told(const struct rpc_reply *reply, void *arg)
{
    struct told *t = arg;
    t->done++;
    t->err = reply->err;
    t->flags = reply->flags;
    t->len = reply->len;
    t->took_ms = net_now_ms(t->loop) - t->start_ms;
}

static struct rpc_pending *ask_ctx(struct node *from, uint16_t method, const struct rpc_ctx *ctx, const uint8_t *payload, size_t len, struct told *t)
{
    memset(t, 0, sizeof *t);
    t->loop = from->loop;
    t->start_ms = net_now_ms(from->loop);
    struct rpc_pending *p = rpc_send(from->rpc, method, ctx, payload, len, told, t);
    assert_non_null(p);
    assert_int_equal(t->done, 0); /* never inside the call */
    return p;
}

struct rpc_pending *ask(struct node *from, uint16_t method, uint64_t caller, uint64_t target, uint32_t timeout_ms, struct told *t)
{
    const struct rpc_ctx ctx = { .caller = caller, .target = target, .session = 5, .trace = 77, .timeout_ms = timeout_ms };
    return ask_ctx(from, method, &ctx, NULL, 0, t);
}

struct rpc_pending *ask_with(struct node *from, uint16_t method, const uint8_t *payload, size_t len, struct told *t)
{
    const struct rpc_ctx ctx = { .caller = 1, .timeout_ms = 1000 };
    return ask_ctx(from, method, &ctx, payload, len, t);
}

struct rpc_pending *ask_again(struct node *from, uint16_t method, struct told *t)
{
    const struct rpc_ctx ctx = { .caller = 1, .target = 2, .flags = RPC_FLAG_RESEND, .timeout_ms = 60000 };
    return ask_ctx(from, method, &ctx, NULL, 0, t);
}

void node_break_links(struct node *node)
{
    for (struct node_link *nl = node->rpc->links; nl; nl = nl->next)
        rpc_link_close(nl->link, BT_OK);
}

size_t node_ready_links(const struct node *node)
{
    size_t n = 0;
    for (const struct node_link *nl = node->rpc->links; nl; nl = nl->next)
        n += nl->is_ready;
    return n;
}
