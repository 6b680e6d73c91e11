/*
 * rpc/registry_zookeeper.c: the registry in ZooKeeper: opening and closing it, and what its session does.
 *
 * Nothing waits for ZooKeeper but joining: a node starts and serves without it, and goes on with the last view when it goes away.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/mem.h"
#include "rpc/zk_internal.h"

#define LOG_MODULE "registry"
#include "net/log.h"

enum {
    AWAY_SAY_MS = 2000,
    AWAY_SAY_EVERY_MS = 60000,
    DENIED_SAY_EVERY_MS = 60000,
    FAREWELL_MS = 500, /* for the answer to the last request; a server that takes longer is left without a word */
    AUTH_MAX = 255,
};

static struct zk_registry *zk_of(struct registry *r)
{
    return (struct zk_registry *)r;
}

/* ---- the session ---- */

static void say_away(void *arg)
{
    struct zk_registry *r = arg;

    r->is_away_said = true;
    if (r->connected_ms == 0)
        log_warn("ZooKeeper is not reached at %s: is it running, and is [registry] url right? Joining waits for it", r->url.hosts);
    else
        log_warn("ZooKeeper is away: going on with the %zu nodes last known; joining waits for it", r->view_count);
    net_timer_start(r->loop, &r->away_timer, AWAY_SAY_EVERY_MS, say_away, r);
}

void zk_say_denied(struct zk_registry *r, const char *path)
{
    uint64_t now_ms = net_now_ms(r->loop);

    if (r->denied_said_ms != 0 && now_ms - r->denied_said_ms < DENIED_SAY_EVERY_MS)
        return;
    r->denied_said_ms = now_ms;
    log_error("ZooKeeper does not allow it: %s: set [registry] auth or auth_file to the user and password that made it", path);
}

static void session_connected(bool is_new, void *arg)
{
    struct zk_registry *r = arg;

    net_timer_stop(r->loop, &r->away_timer);
    if (r->is_away_said || r->connected_ms == 0)
        log_info("ZooKeeper is reached: %s", is_new ? "a new session" : "the session goes on");
    else if (is_new)
        log_warn("the session in ZooKeeper had expired: registering again");
    r->is_away_said = false;
    r->connected_ms = net_now_ms(r->loop);
    if (is_new)
        zk_own_session_ended(r);
    zk_own_go_on(r);
    zk_tree_connected(r, is_new);
}

static void session_lost(void *arg)
{
    struct zk_registry *r = arg;
    if (!r->is_closing)
        net_timer_start(r->loop, &r->away_timer, AWAY_SAY_MS, say_away, r);
}

static void session_denied(void *arg)
{
    zk_say_denied(arg, "the session");
}

static void session_event(int type, const char *path, void *arg)
{
    if (type != ZOO_NOTWATCHING_EVENT)
        zk_tree_event(arg, path);
}

static const struct zk_pump_ops session_ops = { session_connected, session_lost, session_denied, session_event };

/* ---- what the registry is asked ---- */

static void zk_set_self(struct registry *base, const struct registry_node *self)
{
    struct zk_registry *r = zk_of(base);
    r->self = *self;
    r->self.is_self = true;
    r->self.since_ms = net_now_ms(r->loop);
}

static void zk_join(struct registry *base)
{
    struct zk_registry *r = zk_of(base);
    r->is_wanted = true;
    r->told_load = r->self.load;
    zk_own_go_on(r);
}

static void zk_leave(struct registry *base)
{
    struct zk_registry *r = zk_of(base);
    r->is_wanted = r->is_shown = false;
    zk_own_go_on(r);
    zk_view_update(r);
}

static void zk_set_load(struct registry *base, uint32_t load)
{
    struct zk_registry *r = zk_of(base);
    if (r->self.load == load)
        return;
    r->self.load = load;
    zk_own_load_changed(r);
}

static void zk_refresh(struct registry *base)
{
    zk_tree_refresh(zk_of(base));
}

/* ---- closing ---- */

static void free_registry(struct zk_registry *r)
{
    if (r->auth)
        explicit_bzero(r->auth, strlen(r->auth));
    bt_free(r->auth);
    bt_free(r);
}

static void pump_closed(void *arg)
{
    struct zk_registry *r = arg;
    r->closed_cb(r->closed_arg);
    free_registry(r);
}

static void close_now(struct zk_registry *r, bool is_hung)
{
    net_timer_stop(r->loop, &r->close_timer);
    net_defer_cancel(r->loop, &r->close_task);
    zk_pump_close(r->pump, is_hung, pump_closed, r);
    zk_own_deinit(r); /* the pump's last completions still looked at these */
    zk_tree_deinit(r);
}

static void close_answered(void *arg)
{
    close_now(arg, false);
}

static void close_hung(void *arg)
{
    close_now(arg, true);
}

/* Everything asked before has been answered too. */
static void farewell_done(int rc, const struct Stat *stat, const void *data)
{
    struct zk_registry *r = (struct zk_registry *)data;

    (void)stat;
    if (rc == ZOK || rc == ZNONODE || rc == ZNOAUTH)
        net_defer(r->loop, &r->close_task, close_answered, r);
    else if (rc != ZCLOSING)
        net_defer(r->loop, &r->close_task, close_hung, r);
}

static void zk_close(struct registry *base, void (*closed_cb)(void *arg), void *arg)
{
    struct zk_registry *r = zk_of(base);
    const char *root = *r->url.root ? r->url.root : "/";

    r->is_closing = true;
    r->closed_cb = closed_cb;
    r->closed_arg = arg;
    net_timer_stop(r->loop, &r->away_timer);
    zk_view_deinit(r);
    zk_own_go_on(r); /* nothing is wanted any more: its entries go even if the session stays */
    if (zk_pump_is_connected(r->pump) && zoo_aexists(zk_pump_handle(r->pump), root, 0, farewell_done, r) == ZOK) {
        zk_pump_kick(r->pump);
        net_timer_start(r->loop, &r->close_timer, FAREWELL_MS, close_hung, r);
    } else {
        net_defer(r->loop, &r->close_task, close_hung, r);
    }
}

static const struct registry_ops zk_ops = {
    zk_set_self, zk_join, zk_leave, zk_set_load, zk_refresh, zk_close,
};

/* ---- opening ---- */

static enum bt_err read_auth_file(const char *path, char out[AUTH_MAX + 1], char *why, size_t why_size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    ssize_t n;

    if (fd < 0 || fstat(fd, &st) != 0 || (n = read(fd, out, AUTH_MAX)) < 0) {
        snprintf(why, why_size, "[registry] auth_file: %s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return BT_ENOTFOUND;
    }
    close(fd);
    out[n] = '\0';
    out[strcspn(out, "\r\n")] = '\0';
    if (st.st_mode & (S_IRWXG | S_IRWXO)) {
        snprintf(why, why_size, "[registry] auth_file: %s can be read by others: chmod 600 %s", path, path);
        return BT_EDENIED;
    }
    return BT_OK;
}

static enum bt_err read_auth(struct zk_registry *r, const struct conf *conf, char *why, size_t why_size)
{
    const char *text = conf_str(conf, "registry", "auth"), *path = conf_str(conf, "registry", "auth_file");
    char buf[AUTH_MAX + 1] = "";
    enum bt_err err = BT_OK;

    if (*text && *path) {
        snprintf(why, why_size, "[registry] auth and auth_file are both set: which of them is meant?");
        return BT_EINVAL;
    }
    if (*path)
        err = read_auth_file(path, buf, why, why_size);
    else
        snprintf(buf, sizeof buf, "%s", text);
    if (err == BT_OK && (*buf || *path)) {
        const char *colon = strchr(buf, ':');
        if (!colon || colon == buf || colon[1] == '\0') {
            snprintf(why, why_size, "[registry] %s: not user:password", *path ? "auth_file" : "auth");
            err = BT_EINVAL;
        } else if (!(r->auth = bt_strdup(buf))) {
            err = BT_ENOMEM;
        }
    }
    explicit_bzero(buf, sizeof buf);
    r->acl = r->auth ? &ZOO_CREATOR_ALL_ACL : &ZOO_OPEN_ACL_UNSAFE;
    return err;
}

static enum bt_err check_names(const struct registry_node *self, char *why, size_t why_size)
{
    if (!zk_name_is_valid(self->name)) {
        snprintf(why, why_size, "[node] name: \"%s\" can't stand in ZooKeeper's tree: no '/', no control characters, neither . nor ..", self->name);
        return BT_EINVAL;
    }
    if (!zk_name_is_valid(self->unit) || strcmp(self->unit, "zookeeper") == 0) {
        snprintf(why, why_size, "[node] unit: \"%s\" can't stand in ZooKeeper's tree", self->unit);
        return BT_EINVAL;
    }
    return BT_OK;
}

enum bt_err registry_zookeeper_open(const struct registry_open_args *args, struct registry **out, char *why, size_t why_size)
{
    struct zk_registry *r = bt_calloc(1, sizeof *r);
    enum bt_err err;

    snprintf(why, why_size, "registry: out of memory");
    if (!r)
        return BT_ENOMEM;
    r->base.ops = &zk_ops;
    r->loop = args->loop;
    r->changed = args->changed;
    r->arg = args->arg;
    r->session_ms = (uint32_t)conf_int(args->conf, "registry", "session_ms");
    zk_set_self(&r->base, args->self);
    zk_own_init(r);
    err = check_names(&r->self, why, why_size);
    if (err == BT_OK)
        err = zk_url_parse(conf_str(args->conf, "registry", "url"), &r->url, why, why_size);
    if (err == BT_OK)
        err = read_auth(r, args->conf, why, why_size);
    if (err == BT_OK)
        err = zk_tree_init(r);
    if (err == BT_OK)
        err = zk_pump_new(r->loop, &r->url, r->auth, r->session_ms, &session_ops, r, &r->pump);
    if (err != BT_OK) {
        zk_tree_deinit(r);
        free_registry(r);
        return err;
    }
    net_timer_start(r->loop, &r->away_timer, AWAY_SAY_MS, say_away, r);
    *out = &r->base;
    return BT_OK;
}
