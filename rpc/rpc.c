/* rpc/rpc.c: a node's rpc: made from the settings, started, left, closed. */
#include "rpc/rpc.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "net/mem.h"
#include "net/own_address.h"
#include "rpc/rpc_internal.h"

#define LOG_MODULE "rpc"
#include "net/log.h"

enum { FAREWELL_MS = 500 };

const struct conf_key rpc_keys[] = {
    { .section = "node", .name = "name", .type = CONF_STRING, .def = "", .min = 0, .max = 63,
      .help = "This node's name, unique in the cluster; empty: host name and process id." },
    { .section = "node", .name = "unit", .type = CONF_STRING, .def = "unit1", .min = 1, .max = 31,
      .help = "The unit that this node belongs to: nodes ask those of their own unit first." },
    { .section = "node", .name = "listen", .type = CONF_STRING, .def = "127.0.0.1:0", .min = 1, .max = 63,
      .help = "Where other nodes connect, a numeric address; port 0: a free one." },
    { .section = "node", .name = "secret_file", .type = CONF_STRING, .def = "", .min = 0, .max = 180,
      .help = "A file with at least 16 bytes that only nodes know, readable by nobody else; empty: nodes connect over loopback addresses only." },
    { .section = "node", .name = "advertise", .type = CONF_STRING, .def = "", .min = 0, .max = 63,
      .help = "The address that other nodes are told; empty: the one it listens on, or, of all addresses, the one by which this host reaches others." },
    { .section = "node", .name = "weight", .type = CONF_INT, .def = "1", .min = 0, .max = 100,
      .help = "Its share of calls and conversations, compared with other nodes; 0: none." },
    { .section = "rpc", .name = "local", .type = CONF_WORD, .def = "direct", .words = "direct|socket",
      .help = "How roles of one process reach each other: directly, or over a loopback connection as if they were apart." },
    { .section = "rpc", .name = "timeout_ms", .type = CONF_INT, .def = "5000", .min = 10, .max = 600000, .unit = "ms",
      .help = "Deadline of calls that were given none." },
    { .section = "rpc", .name = "silent_ms", .type = CONF_INT, .def = "1500", .min = 200, .max = 60000, .unit = "ms",
      .help = "A node that leaves a ping unanswered for that long is passed over until it answers." },
    { .section = "rpc", .name = "max_frame_bytes", .type = CONF_INT, .def = "16777216", .min = 65536, .max = 268435456, .unit = "bytes",
      .help = "Longest frame between nodes; the same on all of them." },
    { .section = "rpc", .name = "queue_bytes", .type = CONF_INT, .def = "67108864", .min = 65536, .max = 1073741824, .unit = "bytes",
      .help = "Output that may wait for one node; calls and events beyond it are refused." },
    { .section = "rpc", .name = "max_calls", .type = CONF_INT, .def = "65536", .min = 16, .max = 1048576, .unit = "calls",
      .help = "Calls that one other node may have open here." },
    { .section = NULL },
};

/* ---- making ---- */

static void set_limits(struct rpc *rpc, const struct conf *conf)
{
    uint32_t frame = (uint32_t)conf_int(conf, "rpc", "max_frame_bytes"), queue = (uint32_t)conf_int(conf, "rpc", "queue_bytes");

    rpc->limits = (struct rpc_link_limits){
        .max_frame_bytes = frame,
        .max_calls = (uint32_t)conf_int(conf, "rpc", "max_calls"),
        .allowed_flags = RPC_FLAGS_NODE,
        .max_out_bytes = frame,
        .net = { .out_high_bytes = queue, .out_low_bytes = queue / 4, .in_max_bytes = frame + RPC_LENGTH_SIZE },
    };
    rpc->hello_limits = rpc->limits;
    rpc->hello_limits.max_frame_bytes = RPC_HELLO_BYTES;
}

/* Rises with every start on one machine, as long as its clock does. */
static uint64_t new_epoch(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static enum bt_err set_address(struct rpc *rpc, const struct conf *conf, char *why, size_t why_size)
{
    struct registry_node *self = &rpc->self;
    const char *advertise = conf_str(conf, "node", "advertise");

    if (!rpc->listener) {
        snprintf(self->address, sizeof self->address, "%s", *advertise ? advertise : "local");
        return BT_OK;
    }
    enum bt_err err = net_own_address(net_listener_address(rpc->listener), advertise, self->address, sizeof self->address);
    if (err != BT_OK)
        snprintf(why, why_size, "[node] advertise: not a numeric address: %s", advertise);
    return err;
}

static void set_self(struct rpc *rpc, const struct conf *conf)
{
    struct registry_node *self = &rpc->self;
    const char *name = conf_str(conf, "node", "name");
    char host[40] = "";

    gethostname(host, sizeof host - 1);
    if (*name)
        snprintf(self->name, sizeof self->name, "%s", name);
    else
        snprintf(self->name, sizeof self->name, "%s-%ld", host, (long)getpid());
    snprintf(self->unit, sizeof self->unit, "%s", conf_str(conf, "node", "unit"));
    snprintf(self->version, sizeof self->version, "%s", BT_VERSION);
    self->weight = (uint32_t)conf_int(conf, "node", "weight");
    self->epoch = new_epoch();
    self->is_self = true;
    rpc->random = self->epoch ^ (uint64_t)getpid() << 40;
}

static bool needs_listener(const struct rpc *rpc, const struct conf *conf)
{
    return !rpc->is_direct || *conf_str(conf, "registry", "nodes") || strncmp(conf_str(conf, "registry", "url"), "local:", 6) != 0;
}

static enum bt_err build(struct rpc *rpc, const struct conf *conf, char *why, size_t why_size)
{
    const char *secret_file = conf_str(conf, "node", "secret_file");
    enum bt_err err = rpc_dispatch_init(rpc);

    if (err == BT_OK && *secret_file)
        err = rpc_secret_read(secret_file, &rpc->secret, why, why_size);
    if (err == BT_OK && needs_listener(rpc, conf))
        err = rpc_node_listen(rpc, conf_str(conf, "node", "listen"), why, why_size);
    if (err == BT_OK)
        err = set_address(rpc, conf, why, why_size);
    if (err != BT_OK)
        return err;
    set_self(rpc, conf);
    rpc->self_peer = rpc_peer_get(rpc, rpc->self.address);
    if (!rpc->self_peer)
        return BT_ENOMEM;
    rpc_node_serve(rpc);
    err = registry_open(rpc->loop, conf, &rpc->self, rpc_view_changed, rpc, &rpc->registry, why, why_size);
    rpc->is_registry_open = err == BT_OK;
    return err;
}

static void destroy(struct rpc *rpc)
{
    if (rpc->listener)
        net_listener_close(rpc->listener);
    rpc_view_deinit(rpc);
    rpc_dispatch_deinit(rpc);
    rpc_pending_free_spare(rpc);
    rpc_peer_free_all(rpc);
    rpc_secret_free(rpc->secret);
    bt_free(rpc);
}

enum bt_err rpc_new(struct net_loop *loop, const struct conf *conf, struct rpc **out, char *why, size_t why_size)
{
    struct rpc *rpc = bt_calloc(1, sizeof *rpc);

    snprintf(why, why_size, "rpc: out of memory");
    if (!rpc)
        return BT_ENOMEM;
    rpc->loop = loop;
    net_loop_watch(loop);
    rpc->retry_tenths = RPC_RETRY_TENTHS_MAX;
    rpc->is_direct = strcmp(conf_str(conf, "rpc", "local"), "direct") == 0;
    rpc->timeout_ms = (uint32_t)conf_int(conf, "rpc", "timeout_ms");
    rpc->silent_ms = (uint32_t)conf_int(conf, "rpc", "silent_ms");
    set_limits(rpc, conf);
    enum bt_err err = build(rpc, conf, why, why_size);
    if (err != BT_OK) {
        destroy(rpc);
        return err;
    }
    *out = rpc;
    return BT_OK;
}

void rpc_set_client_address(struct rpc *rpc, const char *address)
{
    assert(!rpc->is_started);
    snprintf(rpc->self.client_address, sizeof rpc->self.client_address, "%s", address);
}

void rpc_start(struct rpc *rpc)
{
    rpc->is_started = true;
    log_info("node %s: joins as %s", rpc->self.name, rpc->self.address);
    registry_set_self(rpc->registry, &rpc->self);
    registry_join(rpc->registry);
}

void rpc_leave(struct rpc *rpc)
{
    if (!rpc->is_closing)
        registry_leave(rpc->registry);
}

void rpc_set_load(struct rpc *rpc, uint32_t load)
{
    rpc->self.load = load;
    if (!rpc->is_closing)
        registry_set_load(rpc->registry, load);
}

/* ---- closing ---- */

static void close_done(void *arg)
{
    struct rpc *rpc = arg;
    if (rpc->links || rpc->pendings || rpc->is_registry_open)
        return;
    void (*closed_cb)(void *) = rpc->closed_cb;
    void *closed_arg = rpc->closed_arg;
    destroy(rpc);
    closed_cb(closed_arg);
}

void rpc_closing_step(struct rpc *rpc)
{
    if (!rpc->links && !rpc->pendings && !rpc->is_registry_open)
        net_defer(rpc->loop, &rpc->close_task, close_done, rpc);
}

static void registry_closed(void *arg)
{
    struct rpc *rpc = arg;
    rpc->is_registry_open = false;
    rpc_closing_step(rpc);
}

/* Replies that were given leave first; the other ends hear of the end by the connection's. */
static void close_links(struct rpc *rpc)
{
    for (struct node_link *nl = rpc->links; nl; nl = nl->next) {
        if (nl->is_ready && rpc_link_conn(nl->link))
            rpc_link_finish(nl->link, FAREWELL_MS);
        else
            rpc_link_close(nl->link, BT_OK);
    }
}

static void close_begin(void *arg)
{
    struct rpc *rpc = arg;
    rpc_pending_close_all(rpc);
    close_links(rpc);
    registry_close(rpc->registry, registry_closed, rpc);
}

void rpc_close(struct rpc *rpc, void (*closed_cb)(void *arg), void *arg)
{
    assert(!rpc->is_closing);
    rpc->is_closing = true;
    rpc->closed_cb = closed_cb;
    rpc->closed_arg = arg;
    rpc_peer_stop_all(rpc);
    if (rpc->listener)
        net_listener_close(rpc->listener);
    rpc->listener = NULL;
    net_defer(rpc->loop, &rpc->close_task, close_begin, rpc);
}

/* ---- asking ---- */

uint32_t rpc_open_calls(const struct rpc *rpc)
{
    uint32_t n = 0;
    for (const struct node_link *nl = rpc->links; nl; nl = nl->next)
        n += rpc_link_open_calls(nl->link);
    return n;
}

uint64_t rpc_last_request_ms(const struct rpc *rpc)
{
    return rpc->last_request_ms;
}

const struct registry_node *rpc_self(const struct rpc *rpc)
{
    return &rpc->self;
}

const struct registry_node *rpc_nodes(const struct rpc *rpc, size_t *n_out)
{
    *n_out = rpc->node_count;
    return rpc->nodes;
}

const struct rpc_stats *rpc_stats(const struct rpc *rpc)
{
    return &rpc->stats;
}

void rpc_refresh(struct rpc *rpc)
{
    registry_refresh(rpc->registry);
}

void rpc_watch_links(struct rpc *rpc, rpc_link_news_cb *cb, void *arg)
{
    size_t kept = 0;

    for (size_t i = 0; i < rpc->link_watcher_count; i++)
        if (rpc->link_watchers[i].arg != arg)
            rpc->link_watchers[kept++] = rpc->link_watchers[i];
    rpc->link_watcher_count = kept;
    if (cb == NULL)
        return;
    assert(rpc->link_watcher_count < RPC_WATCHERS_MAX);
    rpc->link_watchers[rpc->link_watcher_count++] = (struct link_watcher){ cb, arg };
}

void rpc_watch_nodes(struct rpc *rpc, registry_changed_cb *cb, void *arg)
{
    size_t kept = 0;

    for (size_t i = 0; i < rpc->node_watcher_count; i++)
        if (rpc->node_watchers[i].arg != arg)
            rpc->node_watchers[kept++] = rpc->node_watchers[i];
    rpc->node_watcher_count = kept;
    if (cb == NULL)
        return;
    assert(rpc->node_watcher_count < RPC_WATCHERS_MAX);
    rpc->node_watchers[rpc->node_watcher_count++] = (struct node_watcher){ cb, arg };
}

uint32_t rpc_random(struct rpc *rpc, uint32_t below)
{
    uint64_t v = rpc->random += UINT64_C(0x9e3779b97f4a7c15);
    v = (v ^ v >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    v = (v ^ v >> 27) * UINT64_C(0x94d049bb133111eb);
    return below == 0 ? 0 : (uint32_t)(((v >> 32) * below) >> 32);
}
