/*
 * test/unit/rpc_nodes.h: a few nodes in one process, each with a loop of its own so that one can be frozen, joined by the
 * local registry's list. Their handlers do as the test says and note what came.
 */
#ifndef BT_TEST_RPC_NODES_H
#define BT_TEST_RPC_NODES_H

#include "net/conf.h"
#include "net/loop.h"
#include "proto/client.pb.h"
#include "proto/methods.h"
#include "proto/node.pb.h"
#include "rpc/rpc.h"

enum { NODES_MAX = 4, NODE_KEPT_MAX = 64 };

enum node_answers {
    NODE_OK,     /* replies at once */
    NODE_KEEPS,  /* keeps the call until the test ends it */
    NODE_FAILS,  /* with `err` */
    NODE_ASKS,   /* makes the same call itself, of the next role on, and replies as it was replied to */
    NODE_PUSHED, /* replies with RPC_FLAG_PUSHED */
};

struct node {
    struct nodes *all;
    struct net_loop *loop;
    struct conf *conf;
    struct rpc *rpc;                 /* NULL: not running */
    char address[64];
    const char *roles;               /* "user+chat" */
    bool is_frozen;
    enum node_answers answers;
    enum bt_err err;
    struct rpc_call *kept[NODE_KEPT_MAX];
    size_t kept_count;
    int requests, events, dead, ups, brokes, draineds, views, resends;
    struct rpc_header last;
    uint32_t last_left_ms;
    int closed;
};

struct nodes {
    struct node node[NODES_MAX];
    size_t count;
    char list[512];
};

/* A call, and what came of it. */
struct told {
    int done;
    enum bt_err err;
    uint8_t flags;
    size_t len;
    uint64_t took_ms;
    struct net_loop *loop;
    uint64_t start_ms;
};

/* What each node serves, in the order of `node`; the strings are borrowed until nodes_deinit(). */
#define ROLES(...) (const char *const[]){ __VA_ARGS__, NULL }

void nodes_open(struct nodes *all, const char *const roles[], const char *const set[]); /* inits and starts all */
void nodes_init(struct nodes *all, const char *const roles[]);             /* holds ports, lists all, starts none */
void nodes_start(struct nodes *all, size_t i, const char *const set[]);   /* settings, ended by NULL; or NULL */
void nodes_stop(struct nodes *all, size_t i);                              /* in order, as rpc_close() */
void nodes_deinit(struct nodes *all);

void nodes_turn(struct nodes *all);
void nodes_for_ms(struct nodes *all, uint32_t ms);
void nodes_until(struct nodes *all, const int *counter, int n);            /* fails the test after some seconds */

struct rpc_pending *ask(struct node *from, uint16_t method, uint64_t caller, uint64_t target, uint32_t timeout_ms, struct told *told);
struct rpc_pending *ask_with(struct node *from, uint16_t method, const uint8_t *payload, size_t len, struct told *told);
struct rpc_pending *ask_again(struct node *from, uint16_t method, struct told *told); /* of caller 1 to 2, who asked before and heard nothing */
void node_end_kept(struct node *node, enum bt_err err);                    /* BT_OK: replies */
void node_break_links(struct node *node);                                  /* as if the network did */
size_t node_ready_links(const struct node *node);

#endif
