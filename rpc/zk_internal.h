/*
 * rpc/zk_internal.h: what the files of the ZooKeeper registry share. registry_zookeeper.c: opening, closing, and what
 * the session does. zk_tree.c: the tree as last read, kept true by watches. zk_view.c: the view that is told, made from it.
 * zk_own.c: this node's own entries.
 *
 * The tree: <root>/<unit>/<role>/<node>; the nodes are ephemeral, what is above them stays.
 */
#ifndef BT_RPC_ZK_INTERNAL_H
#define BT_RPC_ZK_INTERNAL_H

#include "net/loop.h"
#include "net/timer.h"
#include "rpc/registry_internal.h"
#include "rpc/zk_pump.h"
#include "rpc/zk_url.h"

enum {
    ZK_PATH_SIZE = ZK_ROOT_SIZE + 256,
    ZK_RETRY_MS = 1000,      /* after something that went wrong while connected */
};

enum zk_depth { ZK_ROOT, ZK_UNIT, ZK_ROLE, ZK_NODE };

enum zk_item_state {
    ITEM_STALE,              /* to be read */
    ITEM_READING,
    ITEM_STALE_READING,      /* it changed while it was read */
    ITEM_READ,
    ITEM_GONE,               /* no longer there, but shown for a while: see zk_tree.c */
};

/* A place in the tree. What was last read stays until something newer is known. */
struct zk_item {
    struct zk_item *next, *parent, *children;
    enum zk_depth depth;
    enum zk_item_state state;
    enum rpc_role role;          /* ZK_ROLE, ZK_NODE */
    bool is_listed;              /* in the parent's list that is just being taken over */
    bool has_node;               /* ZK_NODE: its data was read, and is good */
    uint64_t seen_ms;            /* when it was first listed */
    struct registry_node node;
    char name[64];
};

enum own_state { OWN_NONE, OWN_BUSY, OWN_MADE };

/* This node's entry under one of its roles. */
struct zk_own {
    struct zk_registry *r;
    enum rpc_role role;
    enum own_state state;
    bool is_dirty;               /* its data is not what is told by now */
    int32_t version;             /* of the data that was written last */
    uint64_t taken_since_ms;     /* since when another process has the name; 0: none */
    uint64_t taken_said_ms;
};

struct zk_registry {
    struct registry base;
    struct net_loop *loop;
    registry_changed_cb *changed;
    void *arg;
    struct registry_node self;
    struct zk_url url;
    char *auth;                  /* "user:password"; NULL: none */
    const struct ACL_vector *acl;
    uint32_t session_ms;
    struct zk_pump *pump;
    uint64_t connected_ms;       /* when it last became connected; 0: never */
    uint64_t denied_said_ms;
    struct net_timer away_timer; /* says that ZooKeeper is not reached */
    bool is_away_said;

    /* ---- zk_tree.c ---- */
    struct zk_item *tree;
    uint32_t reads;              /* under way */
    bool is_root_missing;
    struct net_timer tree_timer; /* to read again what could not be read, and to forget what is gone */
    struct net_timer refresh_timer;
    uint64_t refreshed_ms;

    /* ---- zk_view.c ---- */
    struct registry_node *view;  /* as last told */
    size_t view_count;
    bool is_view_told;
    struct net_task view_task;
    struct net_timer view_timer;

    /* ---- zk_own.c ---- */
    struct zk_own own[RPC_ROLE_COUNT];
    bool is_wanted;              /* between join and leave */
    bool is_shown;               /* was made once since it is wanted: it stays in this process's own view */
    struct net_timer own_timer;
    struct net_timer load_timer;
    uint32_t told_load;
    uint64_t told_load_ms;

    /* ---- closing ---- */
    bool is_closing;
    struct net_timer close_timer;
    struct net_task close_task;
    void (*closed_cb)(void *arg);
    void *closed_arg;
};

/* ---- registry_zookeeper.c ---- */

void zk_say_denied(struct zk_registry *r, const char *path);     /* once a minute */

/* ---- zk_tree.c ---- */

enum bt_err zk_tree_init(struct zk_registry *r);
void zk_tree_deinit(struct zk_registry *r);
void zk_tree_connected(struct zk_registry *r, bool is_new);      /* read what is stale; of a new session, everything */
void zk_tree_event(struct zk_registry *r, const char *path);     /* its watch fired */
void zk_tree_refresh(struct zk_registry *r);                     /* read all lists anew, soon */
bool zk_tree_is_read(const struct zk_registry *r);               /* what it holds may be told */

/* ---- zk_view.c ---- */

void zk_view_update(struct zk_registry *r);                      /* tell the view if it changed: of members at once, of loads soon */
void zk_view_deinit(struct zk_registry *r);

/* ---- zk_own.c ---- */

void zk_own_init(struct zk_registry *r);
void zk_own_deinit(struct zk_registry *r);
void zk_own_go_on(struct zk_registry *r);                        /* make, write or delete what is to be */
void zk_own_session_ended(struct zk_registry *r);
void zk_own_seen(struct zk_registry *r, enum rpc_role role, int64_t session); /* the entry of this node's name belongs to that session; 0: is gone */
void zk_own_load_changed(struct zk_registry *r);

#endif
