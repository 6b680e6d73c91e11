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
      .help = "Where it is kept which nodes hold whose sessions: memory: serves the roles of this process." },
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
    const char *url = conf_str(conf, "presence", "url");
    if (strcmp(url, "memory:") != 0) {
        snprintf(why, why_size, "[presence] url = %s: not understood; write memory:", url);
        return BT_EINVAL;
    }
    snprintf(why, why_size, "no memory");
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
