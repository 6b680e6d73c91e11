/* test/unit/redis_nodes.c: a few nodes whose presence is in one Redis. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/log.h"
#include "test/unit/redis_nodes.h"

static void keep_line(enum log_level level, const char *line, void *arg)
{
    struct redis_nodes *f = arg;
    size_t len = strlen(f->said);
    (void)level;
    snprintf(f->said + len, sizeof f->said - len, "%s\n", line);
}

void put_setting(struct redis_nodes *f, const char *format, ...)
{
    char assignment[256], why[256];
    va_list args;
    va_start(args, format);
    vsnprintf(assignment, sizeof assignment, format, args);
    va_end(args);
    assert_int_equal(conf_set(f->base.conf, assignment, why, sizeof why), BT_OK);
}

void node_told(void *arg)
{
    ((struct node *)arg)->told++;
}

struct presence *open_as(struct redis_nodes *f, struct net_loop *loop, const char *address, uint64_t epoch)
{
    struct presence *p;
    char why[256] = "";
    enum bt_err err = presence_open(loop, f->base.conf, address, epoch, &p, why, sizeof why);
    if (err != BT_OK)
        fail_msg("%s", why);
    return p;
}

struct presence *open_node(struct redis_nodes *f, int i)
{
    char address[32];
    struct node *node = &f->nodes[i];
    snprintf(address, sizeof address, "10.0.0.%d:7500", 4 + i);
    node->p = open_as(f, f->base.loop, address, 77 + (uint64_t)i);
    node->told = 0;
    presence_watch(node->p, node_told, node);
    if (i == 0)
        f->base.p = node->p;
    return node->p;
}

void close_node(struct redis_nodes *f, int i)
{
    if (i == 0 && f->base.p == NULL)
        f->nodes[0].p = NULL; /* a shared case closed it */
    if (f->nodes[i].p != NULL)
        presence_close_now(f->base.loop, f->nodes[i].p);
    f->nodes[i].p = NULL;
    if (i == 0)
        f->base.p = NULL;
}

int redis_nodes_setup_servers(void **state)
{
    struct redis_nodes *f = calloc(1, sizeof *f);
    assert_int_equal(net_loop_new(&f->base.loop), BT_OK);
    f->base.conf = presence_conf();
    log_set_sink(keep_line, f);
    redis_env_start(&f->a, NULL, NULL);
    put_setting(f, "presence.url=redis://127.0.0.1:%u/0", f->a.port);
    put_setting(f, "presence.timeout_ms=%d", TIMEOUT_MS);
    put_setting(f, "presence.forget_s=5");
    *state = f;
    return 0;
}

int redis_nodes_setup(void **state)
{
    redis_nodes_setup_servers(state);
    open_node(*state, 0);
    return 0;
}

int redis_nodes_setup_pair(void **state)
{
    redis_nodes_setup_servers(state);
    struct redis_nodes *f = *state;
    redis_env_start(&f->b, NULL, NULL);
    redis_env_follow(&f->b, &f->a);
    put_setting(f, "presence.url=redis://127.0.0.1:%u,127.0.0.1:%u/0", f->a.port, f->b.port);
    open_node(f, 0);
    return 0;
}

int redis_nodes_teardown(void **state)
{
    struct redis_nodes *f = *state;
    for (int i = 0; i < NODES; i++)
        close_node(f, i);
    redis_env_stop(&f->b);
    redis_env_stop(&f->a);
    net_loop_free(f->base.loop);
    conf_free(f->base.conf);
    log_set_sink(NULL, NULL);
    free(f);
    return 0;
}

enum bt_err set_user(struct redis_nodes *f, int node, uint64_t user_id, bool is_here)
{
    return presence_set_now(f->base.loop, f->nodes[node].p, user_id, is_here);
}

enum bt_err read_by(struct redis_nodes *f, int node, struct presence_reader *r)
{
    return presence_read_now(f->base.loop, f->nodes[node].p, r);
}

void turn_nodes_for(struct redis_nodes *f, uint64_t ms)
{
    for (uint64_t end_us = net_clock_us() + ms * 1000; net_clock_us() < end_us;)
        net_loop_turn(f->base.loop, 5);
}

uint64_t await_user(struct redis_nodes *f, int node, struct presence_reader *r, uint64_t user_id, bool is_here)
{
    uint64_t start_us = net_clock_us();
    while (read_by(f, node, r) != BT_OK || (r->copy[user_id] != 0) != is_here) {
        if (net_clock_us() - start_us > 10000000)
            fail_msg("user %" PRIu64 " is not seen %s\n%s", user_id, is_here ? "here" : "away", f->said);
        turn_nodes_for(f, 5);
    }
    return (net_clock_us() - start_us) / 1000;
}

void await_told(struct redis_nodes *f, int node, int times)
{
    for (int i = 0; i < 2000 && f->nodes[node].told < times; i++)
        net_loop_turn(f->base.loop, 5);
    if (f->nodes[node].told < times)
        fail_msg("the watcher was not told\n%s", f->said);
}

void await_line(struct redis_nodes *f, const char *text)
{
    for (int i = 0; i < 2000 && strstr(f->said, text) == NULL; i++)
        net_loop_turn(f->base.loop, 5);
    if (strstr(f->said, text) == NULL)
        fail_msg("\"%s\" was not logged:\n%s", text, f->said);
}
