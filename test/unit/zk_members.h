/*
 * test/unit/zk_members.h: registries in one ZooKeeper or an ensemble, each as if in a process of its own but all on one loop,
 * and what they see.
 */
#ifndef BT_TEST_ZK_MEMBERS_H
#define BT_TEST_ZK_MEMBERS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/loop.h"
#include "rpc/registry.h"
#include "test/unit/zookeeper_env.h"

enum { SESSION_MS = 1500, VIEW_MAX = 16 };

/* What the tests of one program run on. */
extern struct zk_ground {
    struct zk_env env;
    struct net_loop *loop;
    char said[16384]; /* what was logged since the test began */
} zk;

struct member {
    struct registry *registry;
    struct conf *conf;
    struct registry_node self;
    struct registry_node view[VIEW_MAX];
    size_t count, smallest;  /* smallest: of all views since it was set */
    unsigned changes;
    bool is_closed;
};

int zk_start_servers(size_t count); /* and waits until they serve; for a group's setup */
int zk_stop_servers(void **state);  /* a group's teardown */
int zk_clear_log(void **state);     /* a test's setup */

/* Each in unit1 at 10.0.0.<epoch>:7400. member_join() prepares, opens and joins a chat node. */
void member_prepare(struct member *m, const char *name, uint64_t epoch, uint32_t roles, const char *path, uint32_t session_ms);
void member_set(struct member *m, const char *key, const char *value); /* [registry] key */
enum bt_err member_try_open(struct member *m, char *why, size_t why_size);
void member_open(struct member *m);
void member_join(struct member *m, const char *name, uint64_t epoch, const char *path);
void member_close(struct member *m); /* in order; waits for it */

/* As it stands in what m sees; NULL: it does not. */
const struct registry_node *member_find(const struct member *m, const char *name);

void zk_turn_for(uint32_t ms);

#define WAIT_FOR(condition, limit_ms)                                                              \
    do {                                                                                           \
        uint64_t wait_end_us = net_clock_us() + (limit_ms) * UINT64_C(1000);                       \
        while (!(condition)) {                                                                     \
            if (net_clock_us() > wait_end_us)                                                      \
                fail_msg("not within %d ms: %s\n%s", (int)(limit_ms), #condition, zk.said);        \
            net_loop_turn(zk.loop, 10);                                                            \
        }                                                                                          \
    } while (0)

#endif
