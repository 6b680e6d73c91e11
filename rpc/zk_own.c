/*
 * rpc/zk_own.c: this node's own entries, one per role: made, kept up to date, made again, taken back.
 *
 * What is wanted is compared with what is there, and one step is taken: create, write or delete; its answer leads to the next.
 * An entry of this node's name that is there already: of this session, it is its own, and only the answer had been lost;
 * of an older process or session, it is replaced; of a process that was started later, it stands, and is complained of.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "rpc/zk_data.h"
#include "rpc/zk_internal.h"

#define LOG_MODULE "registry"
#include "net/log.h"

enum {
    LOAD_EVERY_MS = 1000,
    LOAD_LITTLE_MS = 5000,     /* for a change that changes nobody's mind */
    TAKEN_MORE_MS = 1000,      /* beyond a session's time, in which a process that is gone would vanish */
    TAKEN_SAY_EVERY_MS = 60000,
};

static void go_on(struct zk_own *own);
static void create(struct zk_own *own);
static void retry_due(void *arg);

static bool is_wanted(const struct zk_own *own)
{
    return own->r->is_wanted && !own->r->is_closing && (own->r->self.roles & UINT32_C(1) << own->role);
}

static bool path_of(const struct zk_own *own, char out[ZK_PATH_SIZE])
{
    const struct zk_registry *r = own->r;
    return snprintf(out, ZK_PATH_SIZE, "%s/%s/%s/%s", r->url.root, r->self.unit, rpc_role_name(own->role), r->self.name) < ZK_PATH_SIZE;
}

/* ---- one step's end ---- */

static void retry_later(struct zk_registry *r)
{
    if (!net_timer_is_running(&r->own_timer))
        net_timer_start(r->loop, &r->own_timer, ZK_RETRY_MS, retry_due, r);
}

/* It did not work. While the connection is away, its return is waited for. */
static void step_failed(struct zk_own *own, int rc, const char *what)
{
    struct zk_registry *r = own->r;
    char path[ZK_PATH_SIZE] = "";

    own->state = OWN_NONE;
    if (rc == ZCLOSING || !zk_pump_is_connected(r->pump))
        return;
    (void)path_of(own, path);
    if (rc == ZNOAUTH || rc == ZINVALIDACL)
        zk_say_denied(r, path);
    else
        log_warn("can't %s %s: %s; trying again", what, path, zerror(rc));
    retry_later(r);
}

static void made(struct zk_own *own, int32_t version, bool is_dirty)
{
    struct zk_registry *r = own->r;

    own->state = OWN_MADE;
    own->version = version;
    own->is_dirty = is_dirty;
    own->taken_since_ms = 0;
    log_debug("registered as %s %s", rpc_role_name(own->role), r->self.name);
    if (is_wanted(own) && !r->is_shown) {
        r->is_shown = true;
        zk_view_update(r);
    }
    if (r->is_root_missing)
        zk_tree_refresh(r);
    go_on(own);
}

/* ---- what is above it ---- */

static void parent_done(int rc, const char *value, const void *data)
{
    (void)value;
    (void)data;
    if (rc != ZOK && rc != ZNODEEXISTS)
        log_debug("making the tree: %s", zerror(rc)); /* the last one's answer decides */
}

static void last_parent_done(int rc, const char *value, const void *data)
{
    struct zk_own *own = (struct zk_own *)data;

    (void)value;
    if (rc == ZOK || rc == ZNODEEXISTS)
        create(own);
    else
        step_failed(own, rc, "make the tree for");
}

/* All of them in one go: the server does them in order, and says that one exists already where it does. */
static void make_parents(struct zk_own *own)
{
    zhandle_t *zh = zk_pump_handle(own->r->pump);
    char path[ZK_PATH_SIZE];
    char *last, *slash;
    int rc = ZOK;

    if (!path_of(own, path) || !zh) {
        step_failed(own, ZINVALIDSTATE, "make the tree for");
        return;
    }
    last = strrchr(path, '/');
    for (slash = strchr(path + 1, '/'); slash && rc == ZOK; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        rc = zoo_acreate(zh, path, "", 0, own->r->acl, ZOO_PERSISTENT, slash == last ? last_parent_done : parent_done, own);
        *slash = '/';
    }
    if (rc != ZOK)
        step_failed(own, rc, "make the tree for");
    zk_pump_kick(own->r->pump);
}

/* ---- there is one already ---- */

static void replaced(int rc, const void *data)
{
    struct zk_own *own = (struct zk_own *)data;

    if (rc == ZOK || rc == ZNONODE)
        create(own);
    else if (rc == ZBADVERSION)
        step_failed(own, rc, "replace");
    else
        step_failed(own, rc, "remove the old entry");
}

static void name_is_taken(struct zk_own *own, const struct registry_node *other)
{
    struct zk_registry *r = own->r;
    uint64_t now_ms = net_now_ms(r->loop);

    own->state = OWN_NONE;
    if (own->taken_since_ms == 0) {
        own->taken_since_ms = now_ms;
        own->taken_said_ms = 0;
    }
    if (now_ms - own->taken_since_ms > r->session_ms + TAKEN_MORE_MS &&
        (own->taken_said_ms == 0 || now_ms - own->taken_said_ms > TAKEN_SAY_EVERY_MS)) {
        own->taken_said_ms = now_ms;
        log_error("another process, at %s, was started later with this node's name and is registered as %s/%s: give each its own [node] name; "
                  "this one is not registered",
                  other->address, rpc_role_name(own->role), r->self.name);
    }
    retry_later(r);
}

static void looked(int rc, const char *value, int len, const struct Stat *stat, const void *data)
{
    struct zk_own *own = (struct zk_own *)data;
    struct zk_registry *r = own->r;
    struct registry_node other = { .epoch = 0 };
    char path[ZK_PATH_SIZE];

    if (rc == ZNONODE) {
        create(own);
        return;
    }
    if (rc != ZOK || !path_of(own, path)) {
        step_failed(own, rc, "look at");
        return;
    }
    if (stat->ephemeralOwner == zk_pump_session(r->pump)) {
        made(own, stat->version, true);
        return;
    }
    if (zk_data_read(value, len > 0 ? (size_t)len : 0, &other) == BT_OK && other.epoch > r->self.epoch) {
        name_is_taken(own, &other);
        return;
    }
    log_info("replacing the entry of an earlier process or session: %s", path);
    rc = zoo_adelete(zk_pump_handle(r->pump), path, stat->version, replaced, own);
    if (rc != ZOK)
        step_failed(own, rc, "replace");
}

/* ---- making it ---- */

static void created(int rc, const char *value, const void *data)
{
    struct zk_own *own = (struct zk_own *)data;
    char path[ZK_PATH_SIZE];

    (void)value;
    if (rc == ZOK) {
        made(own, 0, own->is_dirty);
    } else if (rc == ZNONODE) {
        make_parents(own);
    } else if (rc == ZNODEEXISTS && path_of(own, path)) {
        rc = zoo_aget(zk_pump_handle(own->r->pump), path, 0, looked, own);
        if (rc != ZOK)
            step_failed(own, rc, "look at");
    } else {
        step_failed(own, rc, "register");
    }
}

static void create(struct zk_own *own)
{
    struct zk_registry *r = own->r;
    zhandle_t *zh = zk_pump_handle(r->pump);
    char path[ZK_PATH_SIZE], text[ZK_DATA_SIZE];
    size_t len = zk_data_write(&r->self, text);

    own->state = OWN_BUSY;
    own->is_dirty = false;
    if (!is_wanted(own)) {
        own->state = OWN_NONE;
        return;
    }
    int rc = zh && path_of(own, path) ? zoo_acreate(zh, path, text, (int)len, r->acl, ZOO_EPHEMERAL, created, own) : ZINVALIDSTATE;
    if (rc != ZOK)
        step_failed(own, rc, "register");
    zk_pump_kick(r->pump);
}

/* ---- writing and deleting it ---- */

static void written(int rc, const struct Stat *stat, const void *data)
{
    struct zk_own *own = (struct zk_own *)data;

    own->state = OWN_MADE;
    if (rc == ZOK) {
        own->version = stat->version;
        go_on(own);
    } else if (rc == ZNONODE || rc == ZBADVERSION) { /* somebody else had a hand in it */
        own->state = OWN_NONE;
        go_on(own);
    } else {
        own->is_dirty = true;
        if (zk_pump_is_connected(own->r->pump) && rc != ZCLOSING)
            retry_later(own->r);
    }
}

static void write_data(struct zk_own *own, zhandle_t *zh, const char *path)
{
    char text[ZK_DATA_SIZE];
    size_t len = zk_data_write(&own->r->self, text);

    own->state = OWN_BUSY;
    own->is_dirty = false;
    int rc = zoo_aset(zh, path, text, (int)len, own->version, written, own);
    if (rc != ZOK)
        written(rc, NULL, own);
}

static void deleted(int rc, const void *data)
{
    struct zk_own *own = (struct zk_own *)data;

    own->state = rc == ZOK || rc == ZNONODE || rc == ZBADVERSION ? OWN_NONE : OWN_MADE;
    if (own->state == OWN_NONE)
        go_on(own); /* it may be wanted again by now */
    else if (zk_pump_is_connected(own->r->pump) && rc != ZCLOSING)
        retry_later(own->r);
}

static void delete(struct zk_own *own, zhandle_t *zh, const char *path)
{
    own->state = OWN_BUSY;
    int rc = zoo_adelete(zh, path, own->version, deleted, own);
    if (rc != ZOK)
        deleted(rc, own);
}

static void go_on(struct zk_own *own)
{
    struct zk_registry *r = own->r;
    zhandle_t *zh = zk_pump_handle(r->pump);
    char path[ZK_PATH_SIZE];

    if (own->state == OWN_BUSY || !zh || !zk_pump_is_connected(r->pump) || !path_of(own, path))
        return;
    if (own->state == OWN_NONE && is_wanted(own))
        create(own);
    else if (own->state == OWN_MADE && !is_wanted(own))
        delete(own, zh, path);
    else if (own->state == OWN_MADE && own->is_dirty)
        write_data(own, zh, path);
    zk_pump_kick(r->pump);
}

/* ---- what happens ---- */

void zk_own_go_on(struct zk_registry *r)
{
    for (int role = 0; role < RPC_ROLE_COUNT; role++)
        go_on(&r->own[role]);
}

static void retry_due(void *arg)
{
    zk_own_go_on(arg);
}

void zk_own_session_ended(struct zk_registry *r)
{
    for (int role = 0; role < RPC_ROLE_COUNT; role++) {
        if (r->own[role].state == OWN_MADE) /* a step under way hears of it by itself */
            r->own[role].state = OWN_NONE;
    }
}

void zk_own_seen(struct zk_registry *r, enum rpc_role role, int64_t session)
{
    struct zk_own *own = &r->own[role];

    if (own->state != OWN_MADE || session == zk_pump_session(r->pump))
        return;
    own->state = OWN_NONE;
    go_on(own);
}

static void load_due(void *arg)
{
    struct zk_registry *r = arg;

    if (r->told_load == r->self.load)
        return;
    r->told_load = r->self.load;
    r->told_load_ms = net_now_ms(r->loop);
    for (int role = 0; role < RPC_ROLE_COUNT; role++)
        r->own[role].is_dirty = true;
    zk_own_go_on(r);
    zk_view_update(r);
}

void zk_own_load_changed(struct zk_registry *r)
{
    uint32_t load = r->self.load, told = r->told_load, change = load > told ? load - told : told - load;
    uint64_t now_ms = net_now_ms(r->loop);
    uint64_t due_ms = r->told_load_ms + (change > told / 16 ? LOAD_EVERY_MS : LOAD_LITTLE_MS);
    uint64_t delay_ms = due_ms > now_ms ? due_ms - now_ms : 0;

    if (!net_timer_is_running(&r->load_timer) || now_ms + delay_ms < r->load_timer.due_ms)
        net_timer_start(r->loop, &r->load_timer, delay_ms, load_due, r);
}

void zk_own_init(struct zk_registry *r)
{
    for (int role = 0; role < RPC_ROLE_COUNT; role++) {
        r->own[role].r = r;
        r->own[role].role = (enum rpc_role)role;
    }
}

void zk_own_deinit(struct zk_registry *r)
{
    net_timer_stop(r->loop, &r->own_timer);
    net_timer_stop(r->loop, &r->load_timer);
}
