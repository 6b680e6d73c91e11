/*
 * test/unit/redis_nodes.h: a few nodes whose presence is in one Redis, which a test may freeze, kill, empty or replace.
 */
#ifndef BT_TEST_REDIS_NODES_H
#define BT_TEST_REDIS_NODES_H

#include "test/unit/presence_cases.h"
#include "test/unit/redis_env.h"

#define HEAD "bytetalk:presence"

enum { NODES = 3, TIMEOUT_MS = 300 };

/* A node: its presence, and how often it was told to compare. */
struct node {
    struct presence *p;
    int told;
};

struct redis_nodes {
    struct presence_fixture base; /* first: the shared cases take it; base.p is node 0 */
    struct redis_env a, b;
    struct node nodes[NODES];
    char said[16384];             /* log lines */
};

/* cmocka fixtures: *state is a struct redis_nodes, of which node 0 runs; in the second case none does. */
int redis_nodes_setup(void **state);
int redis_nodes_setup_servers(void **state);
int redis_nodes_setup_pair(void **state); /* b is a replica, and both are in the list of addresses */
int redis_nodes_teardown(void **state);

/* "presence.key=value", for nodes that are opened after it. */
void put_setting(struct redis_nodes *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct presence *open_as(struct redis_nodes *f, struct net_loop *loop, const char *address, uint64_t epoch);
struct presence *open_node(struct redis_nodes *f, int i); /* "10.0.0.<4+i>:7500" in epoch 77+i */
void close_node(struct redis_nodes *f, int i);
void node_told(void *node); /* for presence_watch() */

enum bt_err set_user(struct redis_nodes *f, int node, uint64_t user_id, bool is_here);
enum bt_err read_by(struct redis_nodes *f, int node, struct presence_reader *r);
void turn_nodes_for(struct redis_nodes *f, uint64_t ms);

/* Each fails the test when it waits in vain. The first reads until user_id is seen (or not), as someone who asks again and
 * again; ms it took. */
uint64_t await_user(struct redis_nodes *f, int node, struct presence_reader *r, uint64_t user_id, bool is_here);
void await_told(struct redis_nodes *f, int node, int times);
void await_line(struct redis_nodes *f, const char *text);

#endif
