/*
 * node.c: the life of a node: start what it serves, run, drain, stop.
 *
 * What was started is stopped in reverse, by a chain of callbacks: roles, rpc, presence, store. A start that fails halfway
 * goes down the same road.
 */
#include "node.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define LOG_MODULE "node"
#include "net/log.h"
#include "net/loop.h"
#include "net/timer.h"
#include "rpc/rpc.h"
#include "settings.h"
#include "store/presence.h"
#include "store/store.h"

enum {
    NODE_ROLES_MAX = RPC_ROLE_COUNT,
    NODE_QUIET_MS = 1000, /* other nodes still route here for a while after we left the registry */
    NODE_POLL_MS = 20,
    NODE_LOAD_MS = 1000,
};

/* In this order; a failed start goes from STARTING to STOPPING. */
enum node_state {
    NODE_STARTING,
    NODE_SERVING,
    NODE_SEEING_OFF,  /* the proxy tells its clients to go */
    NODE_WAITING,     /* until no node asks any more and all that was taken is answered */
    NODE_SETTLING,    /* the other roles finish */
    NODE_STOPPING,
    NODE_STOPPED,
};

struct node_role {
    const struct role *role;
    void *self;
};

struct node {
    const struct options *options;
    const struct role *const *roles;
    const struct conf *conf;
    struct net_loop *loop;
    struct store *store;
    struct presence *presence;
    struct rpc *rpc;
    struct node_role started[NODE_ROLES_MAX];
    size_t nstarted;
    size_t next_drain;           /* started[next_drain - 1] settles next */
    enum node_state state;
    int exit_code;
    struct net_timer limit, poll; /* of the drain */
    struct net_timer load;
    struct net_signal *term, *interrupt, *hangup;
};

static void node_stop(struct node *node);

static void node_set_state(struct node *node, enum node_state state)
{
    assert(state > node->state);
    node->state = state;
}

/* ---- drain --------------------------------------------------------------------------------------------------------- */

static void node_drain_expired(void *arg)
{
    struct node *node = arg;

    log_warn("drain: not done within [node] drain_ms=%lld; stopping with %u calls open",
             (long long)conf_int(node->conf, "node", "drain_ms"), rpc_open_calls(node->rpc));
    node_stop(node);
}

/* The roles but the proxy, last started first. */
static void node_settle_next(void *arg)
{
    struct node *node = arg;

    if (node->state != NODE_SETTLING)
        return; /* the limit came first */
    while (node->next_drain > 0) {
        struct node_role *r = &node->started[--node->next_drain];

        if (r->role->drain && r->role->id != RPC_ROLE_PROXY) {
            r->role->drain(r->self, node_settle_next, node);
            return;
        }
    }
    node_stop(node);
}

static bool node_has_others(const struct node *node)
{
    size_t n;
    const struct registry_node *nodes = rpc_nodes(node->rpc, &n);

    for (size_t i = 0; i < n; i++) {
        if (!nodes[i].is_self)
            return true;
    }
    return false;
}

static bool node_is_quiet(const struct node *node)
{
    if (rpc_open_calls(node->rpc) > 0)
        return false;
    return !node_has_others(node) || net_now_ms(node->loop) - rpc_last_request_ms(node->rpc) >= NODE_QUIET_MS;
}

static void node_wait(void *arg)
{
    struct node *node = arg;

    if (!node_is_quiet(node)) {
        net_timer_start(node->loop, &node->poll, NODE_POLL_MS, node_wait, node);
        return;
    }
    node_set_state(node, NODE_SETTLING);
    node->next_drain = node->nstarted;
    node_settle_next(node);
}

static void node_seen_off(void *arg)
{
    struct node *node = arg;

    if (node->state != NODE_SEEING_OFF)
        return;
    node_set_state(node, NODE_WAITING);
    /* Not at once: requests that came with the last clients have yet to be counted. */
    net_timer_start(node->loop, &node->poll, NODE_POLL_MS, node_wait, node);
}

static void node_drain(struct node *node)
{
    struct node_role *proxy = NULL;

    log_info("drain: finishing what was begun");
    node_set_state(node, NODE_SEEING_OFF);
    net_timer_start(node->loop, &node->limit, (uint64_t)conf_int(node->conf, "node", "drain_ms"), node_drain_expired, node);
    if (node_has_others(node)) /* alone, what was taken can be done by nobody else */
        rpc_leave(node->rpc);
    for (size_t i = 0; i < node->nstarted; i++) {
        if (node->started[i].role->id == RPC_ROLE_PROXY)
            proxy = &node->started[i];
    }
    if (proxy && proxy->role->drain)
        proxy->role->drain(proxy->self, node_seen_off, node);
    else
        node_seen_off(node);
}

/* ---- stop ---------------------------------------------------------------------------------------------------------- */

static void node_stopped(void *arg)
{
    struct node *node = arg;

    node->store = NULL;
    if (node->term)
        net_signal_close(node->term);
    if (node->interrupt)
        net_signal_close(node->interrupt);
    if (node->hangup)
        net_signal_close(node->hangup);
    node_set_state(node, NODE_STOPPED); /* nothing is open any more: the loop returns */
}

static void node_presence_closed(void *arg)
{
    struct node *node = arg;

    node->presence = NULL;
    if (node->store)
        store_close(node->store, node_stopped, node);
    else
        node_stopped(node);
}

static void node_rpc_closed(void *arg)
{
    struct node *node = arg;

    node->rpc = NULL;
    if (node->presence)
        presence_close(node->presence, node_presence_closed, node);
    else
        node_presence_closed(node);
}

static void node_stop_next(void *arg)
{
    struct node *node = arg;

    if (node->nstarted > 0) {
        struct node_role *r = &node->started[--node->nstarted];

        rpc_unserve(node->rpc, r->role->id);
        r->role->stop(r->self, node_stop_next, node);
    } else if (node->rpc) {
        rpc_close(node->rpc, node_rpc_closed, node);
    } else {
        node_rpc_closed(node);
    }
}

static void node_stop(struct node *node)
{
    node_set_state(node, NODE_STOPPING);
    net_timer_stop(node->loop, &node->limit);
    net_timer_stop(node->loop, &node->poll);
    net_timer_stop(node->loop, &node->load);
    node_stop_next(node);
}

/* ---- load ---------------------------------------------------------------------------------------------------------- */

/* What others, and operators, are told of a node without clients of its own. A proxy tells its clients' number. */
static void node_tell_load(void *arg)
{
    struct node *node = arg;

    rpc_set_load(node->rpc, rpc_open_calls(node->rpc));
    net_timer_start(node->loop, &node->load, NODE_LOAD_MS, node_tell_load, node);
}

/* ---- signals ------------------------------------------------------------------------------------------------------- */

static void node_end_asked(int signum, void *arg)
{
    struct node *node = arg;

    if (node->state != NODE_SERVING) {
        log_warn("signal %d again: ending at once", signum);
        _exit(EXIT_FAILED);
    }
    node_drain(node);
}

/* As by a signal, but asking twice does not end it at once: the second one may be the first, repeated. */
static void node_drain_asked(void *arg)
{
    struct node *node = arg;

    if (node->state == NODE_SERVING)
        node_drain(node);
}

static void node_reload_asked(int signum, void *arg)
{
    struct node *node = arg;
    struct conf *conf;
    char why[512];

    (void)signum;
    if (settings_load(node->options, node->roles, &conf, why, sizeof why) != BT_OK) {
        log_error("reload: %s; nothing was changed", why);
        return;
    }
    settings_apply_log(conf);
    log_info("reload: log level is %s", conf_str(conf, "log", "level"));
    conf_free(conf);
}

/* ---- start --------------------------------------------------------------------------------------------------------- */

/* Every client is a descriptor; the soft limit is often 1024. */
static void node_raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        log_warn("can't raise the limit of open files");
}

static enum bt_err node_open_backends(struct node *node, char *why, size_t why_size)
{
    bool needs_store = false, needs_presence = false;
    const struct registry_node *self;
    enum bt_err err = BT_OK;

    for (size_t i = 0; node->roles[i]; i++) {
        if (options_wants(node->options, node->roles[i])) {
            needs_store |= node->roles[i]->needs_store;
            needs_presence |= node->roles[i]->needs_presence;
        }
    }
    if (needs_store)
        err = store_open(node->loop, node->conf, STORE_SERVE, &node->store, why, why_size);
    if (err == BT_OK)
        err = rpc_new(node->loop, node->conf, &node->rpc, why, why_size);
    if (err != BT_OK)
        return err;
    self = rpc_self(node->rpc);
    log_set_node(self->name);
    if (needs_presence)
        err = presence_open(node->loop, node->conf, self->address, self->epoch, &node->presence, why, why_size);
    return err;
}

static enum bt_err node_start_roles(struct node *node, char *why, size_t why_size)
{
    struct role_env env = { .loop = node->loop, .conf = node->conf, .rpc = node->rpc };

    for (size_t i = 0; node->roles[i]; i++) {
        const struct role *role = node->roles[i];
        struct node_role *slot = &node->started[node->nstarted];
        enum bt_err err;

        if (!options_wants(node->options, role))
            continue;
        assert(node->nstarted < NODE_ROLES_MAX);
        env.store = role->needs_store ? node->store : NULL;
        env.presence = role->needs_presence ? node->presence : NULL;
        err = role->start(&env, &slot->self, why, why_size);
        if (err != BT_OK)
            return err;
        slot->role = role;
        node->nstarted++;
        rpc_serve(node->rpc, role->id, role->methods, slot->self);
    }
    return BT_OK;
}

static enum bt_err node_watch_signals(struct node *node, char *why, size_t why_size)
{
    enum bt_err err = net_signal_new(node->loop, SIGTERM, node_end_asked, node, &node->term);

    if (err == BT_OK)
        err = net_signal_new(node->loop, SIGINT, node_end_asked, node, &node->interrupt);
    if (err == BT_OK)
        err = net_signal_new(node->loop, SIGHUP, node_reload_asked, node, &node->hangup);
    if (err != BT_OK)
        snprintf(why, why_size, "can't watch signals: %s", bt_err_text(err));
    return err;
}

static enum bt_err node_start(struct node *node, char *why, size_t why_size)
{
    enum bt_err err = node_watch_signals(node, why, why_size);

    if (err == BT_OK)
        err = node_open_backends(node, why, why_size);
    if (err == BT_OK)
        err = node_start_roles(node, why, why_size);
    if (err != BT_OK)
        return err;
    rpc_on_drain(node->rpc, node_drain_asked, node);
    rpc_start(node->rpc);
    if (!(rpc_self(node->rpc)->roles & UINT32_C(1) << RPC_ROLE_PROXY))
        node_tell_load(node);
    node_set_state(node, NODE_SERVING);
    return BT_OK;
}

/* The line that says that clients and nodes are served; scripts wait for it. A node that nobody dials has a name as its address. */
static void node_log_ready(const struct node *node)
{
    const struct registry_node *self = rpc_self(node->rpc);
    char names[128] = "";

    for (size_t i = 0; i < node->nstarted; i++) {
        size_t len = strlen(names);

        snprintf(names + len, sizeof names - len, "%s%s", len > 0 ? "," : "", node->started[i].role->name);
    }
    log_info("ready roles=%s clients=%s nodes=%s data=%s", names, *self->client_address ? self->client_address : "-",
             strchr(self->address, ':') ? self->address : "-", node->store ? store_data_dir(node->store) : "-");
}

int node_run(const struct options *options, const struct role *const *roles, const struct conf *conf)
{
    struct node node = { .options = options, .roles = roles, .conf = conf };
    char why[512] = "";

    node_raise_file_limit();
    if (net_loop_new(&node.loop) != BT_OK) {
        log_error("start: no event loop: out of memory or file descriptors");
        return EXIT_FAILED;
    }
    if (node_start(&node, why, sizeof why) == BT_OK) {
        node_log_ready(&node);
    } else {
        log_error("start: %s", why);
        node.exit_code = EXIT_FAILED;
        node_stop(&node);
    }
    net_loop_run(node.loop); /* returns when everything has closed */
    assert(node.state == NODE_STOPPED);
    net_loop_free(node.loop);
    if (node.exit_code == EXIT_DONE)
        log_info("ended");
    return node.exit_code;
}
