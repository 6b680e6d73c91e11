/* store/presence.c: what every presence backend shares: settings, the numbers of nodes, handing calls over. */
#include "store/presence.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "net/mem.h"
#include "store/db_internal.h"
#include "store/presence_internal.h"

const struct conf_key presence_keys[] = {
    { .section = "presence", .name = "url", .type = CONF_STRING, .def = "memory:", .min = 1, .max = 1024,
      .help = "Where it is kept which nodes hold whose sessions: memory: (the roles of this process) or "
              "redis://[user:password@]host:6379[,host:6379]/0." },
    { .section = "presence", .name = "password_file", .type = CONF_STRING, .def = "", .min = 0, .max = 1024,
      .help = "A file whose first line is the password for Redis; it may stand in url instead." },
    { .section = "presence", .name = "timeout_ms", .type = CONF_INT, .def = "1000", .min = 50, .max = 60000, .unit = "ms",
      .help = "How long Redis may be silent before the connection is given up." },
    { .section = "presence", .name = "forget_s", .type = CONF_INT, .def = "60", .min = 5, .max = 86400, .unit = "s",
      .help = "How long Redis keeps what a node wrote that is not heard of any more." },
    { .section = "presence", .name = "queue", .type = CONF_INT, .def = "65536", .min = 16, .max = 16777216, .unit = "calls",
      .help = "How many calls may wait for Redis; further ones are refused." },
    { .section = "presence", .name = "log", .type = CONF_INT, .def = "65536", .min = 16, .max = 16777216, .unit = "changes",
      .help = "How many changes are kept for readers; one that is further behind reads everything anew." },
    { .section = NULL },
};

enum bt_err presence_node_number(struct presence *p, const char *address, uint64_t epoch, uint32_t *node_out)
{
    for (uint32_t i = 0; i < p->nnodes; i++) {
        if (p->nodes[i]->epoch == epoch && strcmp(p->nodes[i]->address, address) == 0) {
            *node_out = i;
            return BT_OK;
        }
    }
    size_t cap = p->nodes_cap, size = strlen(address) + 1;
    if (!db_grow((void **)&p->nodes, &cap, p->nnodes + 1, sizeof(struct presence_node *)))
        return BT_ENOMEM;
    p->nodes_cap = (uint32_t)cap;
    struct presence_node *n = bt_malloc(sizeof *n + size);
    if (n == NULL)
        return BT_ENOMEM;
    n->epoch = epoch;
    memcpy(n->address, address, size);
    *node_out = p->nnodes;
    p->nodes[p->nnodes++] = n;
    return BT_OK;
}

void presence_nodes_free(struct presence *p)
{
    for (uint32_t i = 0; i < p->nnodes; i++)
        bt_free(p->nodes[i]);
    bt_free(p->nodes);
    p->nodes = NULL;
    p->nnodes = p->nodes_cap = 0;
}

enum bt_err presence_open(struct net_loop *loop, const struct conf *conf, const char *node_address, uint64_t node_epoch,
                          struct presence **out, char *why, size_t why_size)
{
    static const char redis[] = "redis:";
    const char *url = conf_str(conf, "presence", "url");
    snprintf(why, why_size, "no memory");
    if (strncmp(url, redis, strlen(redis)) == 0)
        return presence_redis_open(loop, conf, node_address, node_epoch, out, why, why_size);
    if (strcmp(url, "memory:") != 0) {
        /* The scheme alone: behind it a password may stand. */
        snprintf(why, why_size, "[presence] url = %.*s: not understood; write memory: or redis://host:6379/0",
                 (int)strcspn(url, "/@"), url);
        return BT_EINVAL;
    }
    return presence_memory_open(loop, (size_t)conf_int(conf, "presence", "log"), node_address, node_epoch, out);
}

void presence_close(struct presence *p, void (*closed_cb)(void *arg), void *arg)
{
    p->driver->close(p, closed_cb, arg);
}

void presence_set(struct presence *p, uint64_t user_id, bool is_here, presence_done_cb *cb, void *arg)
{
    p->driver->set(p, user_id, is_here, cb, arg);
}

const struct presence_node *presence_node(const struct presence *p, uint32_t node)
{
    assert(node < p->nnodes);
    return p->nodes[node];
}

uint32_t presence_self(const struct presence *p)
{
    return p->self;
}

void presence_read(struct presence *p, uint64_t generation, uint64_t position, presence_read_cb *cb, void *arg)
{
    p->driver->read(p, generation, position, cb, arg);
}

bool presence_is_current(const struct presence *p, uint64_t generation, uint64_t position)
{
    return p->driver->is_current(p, generation, position);
}

void presence_watch(struct presence *p, void (*cb)(void *arg), void *arg)
{
    p->watch_cb = cb;
    p->watch_arg = arg;
}

void presence_stats(const struct presence *p, struct presence_stats *out)
{
    p->driver->stats(p, out);
}
