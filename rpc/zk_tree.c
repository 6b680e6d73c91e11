/*
 * rpc/zk_tree.c: ZooKeeper's tree as last read. Every read leaves a watch; when it fires, that place is read again.
 *
 * A read that fails leaves its place stale, to be read when the connection is back, and what was known of it stands
 * meanwhile. When the connection was away, other nodes' sessions may have ended for no fault of theirs, and they need a moment to
 * register again: what was known before and is missing now is shown until a session's time has passed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/mem.h"
#include "rpc/zk_data.h"
#include "rpc/zk_internal.h"

#define LOG_MODULE "registry"
#include "net/log.h"

enum { REFRESH_EVERY_MS = 250, FIRST_VIEW_MS = 2000 };

/* A read under way; the item may go meanwhile, so it is found by its path again. */
struct zk_read {
    struct zk_registry *r;
    char path[ZK_PATH_SIZE];
};

static void read_item(struct zk_registry *r, struct zk_item *item);
static void tree_timer_due(void *arg);

/* ---- items ---- */

static struct zk_item *find_child(const struct zk_item *parent, const char *name, size_t len)
{
    struct zk_item *child = parent->children;
    while (child && (strlen(child->name) != len || memcmp(child->name, name, len) != 0))
        child = child->next;
    return child;
}

static struct zk_item *find_path(const struct zk_registry *r, const char *path)
{
    struct zk_item *item = r->tree;
    size_t root_len = strlen(r->url.root);

    if (strncmp(path, r->url.root, root_len) != 0)
        return NULL;
    path += root_len;
    while (item && *path == '/' && path[1] != '\0') {
        size_t len = strcspn(path + 1, "/");
        item = find_child(item, path + 1, len);
        path += 1 + len;
    }
    return item;
}

/* False: too long, and not to be read. */
static bool path_of(const struct zk_registry *r, const struct zk_item *item, char out[ZK_PATH_SIZE])
{
    const char *names[ZK_NODE + 1] = { "" };
    int n = 0;

    for (const struct zk_item *i = item; i->depth != ZK_ROOT; i = i->parent)
        names[n++] = i->name;
    int len = snprintf(out, ZK_PATH_SIZE, "%s", r->url.root);
    while (n > 0 && len < ZK_PATH_SIZE)
        len += snprintf(out + len, (size_t)(ZK_PATH_SIZE - len), "/%s", names[--n]);
    if (len == 0)
        len = snprintf(out, ZK_PATH_SIZE, "/");
    return len < ZK_PATH_SIZE;
}

static struct zk_item *add_child(struct zk_registry *r, struct zk_item *parent, const char *name)
{
    struct zk_item *item = bt_calloc(1, sizeof *item);

    if (!item)
        return NULL;
    snprintf(item->name, sizeof item->name, "%s", name);
    item->parent = parent;
    item->depth = parent->depth + 1;
    item->role = item->depth == ZK_ROLE ? rpc_role_parse(name) : parent->role;
    item->seen_ms = net_now_ms(r->loop);
    item->next = parent->children;
    parent->children = item;
    return item;
}

static bool is_own_role(const struct zk_registry *r, const struct zk_item *item)
{
    return item->depth == ZK_ROLE && strcmp(item->parent->name, r->self.unit) == 0;
}

static bool is_own(const struct zk_registry *r, const struct zk_item *item)
{
    return item->depth == ZK_NODE && strcmp(item->name, r->self.name) == 0 && is_own_role(r, item->parent);
}

static uint64_t grace_ends_ms(const struct zk_registry *r)
{
    return r->connected_ms + r->session_ms;
}

static bool is_spared(const struct zk_registry *r, const struct zk_item *item)
{
    return item->has_node && item->seen_ms < r->connected_ms && net_now_ms(r->loop) < grace_ends_ms(r);
}

/* It is not there any more, and nothing below it. True: freed. Else it is shown a while longer, and taken out of no list. */
static bool remove_item(struct zk_registry *r, struct zk_item *item)
{
    if (is_own(r, item))
        zk_own_seen(r, item->role, 0);
    for (struct zk_item **at = &item->children; *at;) {
        struct zk_item *next = (*at)->next;
        if (remove_item(r, *at))
            *at = next;
        else
            at = &(*at)->next;
    }
    if (item->children || is_spared(r, item)) {
        item->state = ITEM_GONE;
        return false;
    }
    bt_free(item);
    return true;
}

/* Of its children those that are not listed, or that are gone for long enough. */
static void remove_children(struct zk_registry *r, struct zk_item *parent, bool gone_only)
{
    for (struct zk_item **at = &parent->children; *at;) {
        struct zk_item *next = (*at)->next;
        bool is_out = gone_only ? (*at)->state == ITEM_GONE : !(*at)->is_listed;
        if (is_out && remove_item(r, *at)) {
            *at = next;
            continue;
        }
        if (gone_only && !is_out)
            remove_children(r, *at, true);
        at = &(*at)->next;
    }
}

static bool has_state(const struct zk_item *item, enum zk_item_state state)
{
    if (item->state == state)
        return true;
    for (const struct zk_item *child = item->children; child; child = child->next) {
        if (has_state(child, state))
            return true;
    }
    return false;
}

static void set_stale(struct zk_item *item)
{
    if (item->state == ITEM_READING)
        item->state = ITEM_STALE_READING;
    else if (item->state == ITEM_READ)
        item->state = ITEM_STALE;
}

static void set_all_stale(struct zk_item *item, enum zk_depth down_to)
{
    set_stale(item);
    for (struct zk_item *child = item->children; child && item->depth < down_to; child = child->next)
        set_all_stale(child, down_to);
}

/* ---- reading ---- */

static void read_stale(struct zk_registry *r, struct zk_item *item)
{
    if (item->state == ITEM_STALE)
        read_item(r, item);
    for (struct zk_item *child = item->children; child; child = child->next)
        read_stale(r, child);
}

static void look_later(struct zk_registry *r, uint64_t delay_ms)
{
    if (!net_timer_is_running(&r->tree_timer))
        net_timer_start(r->loop, &r->tree_timer, delay_ms, tree_timer_due, r);
}

static void tree_timer_due(void *arg)
{
    struct zk_registry *r = arg;

    if (!zk_pump_is_connected(r->pump))
        return;
    if (net_now_ms(r->loop) >= grace_ends_ms(r))
        remove_children(r, r->tree, true);
    else if (has_state(r->tree, ITEM_GONE))
        look_later(r, grace_ends_ms(r) - net_now_ms(r->loop) + NET_TICK_MS);
    if (r->is_root_missing)
        set_stale(r->tree);
    read_stale(r, r->tree);
    zk_view_update(r);
}

/* Take what a read said; the item that it was about, or NULL. */
static struct zk_item *read_done(struct zk_read *read, int rc)
{
    struct zk_registry *r = read->r;
    struct zk_item *item = find_path(r, read->path);

    r->reads--;
    if (!item || (item->state != ITEM_READING && item->state != ITEM_STALE_READING))
        return NULL;
    bool is_stale = item->state == ITEM_STALE_READING;
    item->state = is_stale || (rc != ZOK && rc != ZNONODE) ? ITEM_STALE : ITEM_READ;
    if (rc == ZNOAUTH)
        zk_say_denied(r, read->path);
    if (rc != ZOK && rc != ZNONODE)
        look_later(r, ZK_RETRY_MS);
    else if (is_stale)
        read_item(r, item);
    return item;
}

static void take_none(struct zk_registry *r, struct zk_item *item)
{
    if (item->depth != ZK_ROOT) {
        item->state = ITEM_GONE; /* the parent's list, which has changed too, removes it or says that it is back */
        set_stale(item->parent);
        if (item->parent->state == ITEM_STALE)
            read_item(r, item->parent);
        return;
    }
    for (struct zk_item *child = item->children; child; child = child->next)
        child->is_listed = false;
    remove_children(r, item, false);
    r->is_root_missing = true; /* nothing tells when it is made: it is looked for */
    look_later(r, ZK_RETRY_MS);
}

static bool is_of_interest(const struct zk_item *parent, const char *name)
{
    enum rpc_role role;

    if (strlen(name) >= sizeof parent->name)
        return false;
    if (parent->depth != ZK_UNIT)
        return parent->depth != ZK_ROOT || strcmp(name, "zookeeper") != 0;
    role = rpc_role_parse(name);
    return role != RPC_ROLE_COUNT && role != RPC_ROLE_NODE && role != RPC_ROLE_CLIENT;
}

static void take_children(struct zk_registry *r, struct zk_item *item, const struct String_vector *names)
{
    if (item->depth == ZK_ROOT)
        r->is_root_missing = false;
    for (struct zk_item *child = item->children; child; child = child->next)
        child->is_listed = false;
    for (int32_t i = 0; i < names->count; i++) {
        if (!is_of_interest(item, names->data[i]))
            continue;
        struct zk_item *child = find_child(item, names->data[i], strlen(names->data[i]));
        if (!child)
            child = add_child(r, item, names->data[i]);
        if (!child) { /* no memory: once more, later */
            set_stale(item);
            look_later(r, ZK_RETRY_MS);
            continue;
        }
        child->is_listed = true;
        if (child->state == ITEM_GONE)
            child->state = ITEM_STALE;
    }
    remove_children(r, item, false);
    if (is_own_role(r, item) && !find_child(item, r->self.name, strlen(r->self.name)))
        zk_own_seen(r, item->role, 0);
    if (has_state(item, ITEM_GONE))
        look_later(r, grace_ends_ms(r) - net_now_ms(r->loop) + NET_TICK_MS);
    read_stale(r, item);
}

static void children_done(int rc, const struct String_vector *names, const void *data)
{
    struct zk_read *read = (struct zk_read *)data;
    struct zk_registry *r = read->r;
    struct zk_item *item = read_done(read, rc);

    if (item && rc == ZOK)
        take_children(r, item, names);
    else if (item && rc == ZNONODE)
        take_none(r, item);
    bt_free(read);
    zk_view_update(r);
}

static void take_data(struct zk_registry *r, struct zk_item *item, const char *value, int len, const struct Stat *stat)
{
    struct registry_node node = item->node;
    uint64_t epoch = item->has_node ? item->node.epoch : 0;

    if (zk_data_read(value, len > 0 ? (size_t)len : 0, &node) != BT_OK) {
        log_warn("the entry %s/%s of unit %s is none of a node: passed over", rpc_role_name(item->role), item->name, item->parent->parent->name);
        item->has_node = false;
    } else {
        snprintf(node.name, sizeof node.name, "%s", item->name);
        snprintf(node.unit, sizeof node.unit, "%.31s", item->parent->parent->name);
        node.roles = UINT32_C(1) << item->role;
        if (node.epoch != epoch)
            node.since_ms = net_now_ms(r->loop);
        item->node = node;
        item->has_node = true;
    }
    if (is_own(r, item))
        zk_own_seen(r, item->role, stat->ephemeralOwner);
}

static void data_done(int rc, const char *value, int len, const struct Stat *stat, const void *data)
{
    struct zk_read *read = (struct zk_read *)data;
    struct zk_registry *r = read->r;
    struct zk_item *item = read_done(read, rc);

    if (item && rc == ZOK)
        take_data(r, item, value, len, stat);
    else if (item && rc == ZNONODE)
        take_none(r, item);
    bt_free(read);
    zk_view_update(r);
}

static void read_item(struct zk_registry *r, struct zk_item *item)
{
    zhandle_t *zh = zk_pump_handle(r->pump);
    struct zk_read *read;
    int rc;

    if (!zh || !zk_pump_is_connected(r->pump) || r->is_closing)
        return;
    read = bt_calloc(1, sizeof *read);
    if (!read || !path_of(r, item, read->path)) {
        bt_free(read);
        look_later(r, ZK_RETRY_MS);
        return;
    }
    read->r = r;
    if (item->depth == ZK_NODE)
        rc = zoo_aget(zh, read->path, 1, data_done, read);
    else
        rc = zoo_aget_children(zh, read->path, 1, children_done, read);
    if (rc != ZOK) {
        bt_free(read);
        look_later(r, ZK_RETRY_MS);
        return;
    }
    item->state = ITEM_READING;
    r->reads++;
    zk_pump_kick(r->pump);
}

/* ---- what happens ---- */

void zk_tree_connected(struct zk_registry *r, bool is_new)
{
    if (is_new)
        set_all_stale(r->tree, ZK_NODE);
    read_stale(r, r->tree);
}

void zk_tree_event(struct zk_registry *r, const char *path)
{
    struct zk_item *item = find_path(r, path);

    if (!item)
        return;
    set_stale(item);
    if (item->state == ITEM_STALE)
        read_item(r, item);
}

/* That the server has caught up with the others is asked first: what is read after that is no older than this call. */
static void synced(int rc, const char *value, const void *data)
{
    (void)value;
    (void)data;
    if (rc != ZOK)
        log_debug("sync: %s", zerror(rc));
}

static void refresh(void *arg)
{
    struct zk_registry *r = arg;

    r->refreshed_ms = net_now_ms(r->loop);
    if (!zk_pump_is_connected(r->pump) || r->is_closing)
        return; /* everything is read when it is back */
    (void)zoo_async(zk_pump_handle(r->pump), *r->url.root ? r->url.root : "/", synced, NULL);
    set_all_stale(r->tree, ZK_ROLE);
    read_stale(r, r->tree);
}

void zk_tree_refresh(struct zk_registry *r)
{
    uint64_t due_ms = r->refreshed_ms + REFRESH_EVERY_MS, now_ms = net_now_ms(r->loop);

    if (!net_timer_is_running(&r->refresh_timer))
        net_timer_start(r->loop, &r->refresh_timer, due_ms > now_ms ? due_ms - now_ms : 0, refresh, r);
}

bool zk_tree_is_read(const struct zk_registry *r)
{
    if (r->reads > 0 || r->connected_ms == 0)
        return false;
    /* What can't be read for a while, because it is not allowed for instance, does not hold up the rest. */
    return r->is_view_told || !has_state(r->tree, ITEM_STALE) || net_now_ms(r->loop) - r->connected_ms > FIRST_VIEW_MS;
}

enum bt_err zk_tree_init(struct zk_registry *r)
{
    r->tree = bt_calloc(1, sizeof *r->tree);
    return r->tree ? BT_OK : BT_ENOMEM;
}

static void free_item(struct zk_item *item)
{
    while (item->children) {
        struct zk_item *child = item->children;
        item->children = child->next;
        free_item(child);
    }
    bt_free(item);
}

void zk_tree_deinit(struct zk_registry *r)
{
    net_timer_stop(r->loop, &r->tree_timer);
    net_timer_stop(r->loop, &r->refresh_timer);
    if (r->tree)
        free_item(r->tree);
    r->tree = NULL;
}
