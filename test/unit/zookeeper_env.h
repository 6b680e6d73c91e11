/*
 * test/unit/zookeeper_env.h: real ZooKeeper servers for tests: one or three, in a scratch directory, on free loopback ports.
 *
 * They die with the test program, whatever becomes of it. What can't be done fails the test.
 */
#ifndef BT_TEST_ZOOKEEPER_ENV_H
#define BT_TEST_ZOOKEEPER_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { ZK_SERVERS_MAX = 3 };

struct zk_server {
    pid_t pid;              /* 0: does not run */
    uint16_t port;
    char dir[128];
};

struct zk_env {
    char dir[64];
    size_t count;
    struct zk_server servers[ZK_SERVERS_MAX];
    char hosts[128];        /* "127.0.0.1:4001,127.0.0.1:4002" */
};

/* Make the directories and settings of `count` servers, 1 or 3; none is started. */
void zk_env_init(struct zk_env *env, size_t count);
void zk_env_deinit(struct zk_env *env);             /* kills them, removes everything */

void zk_env_start(struct zk_env *env, size_t i);    /* does not wait */
void zk_env_kill(struct zk_env *env, size_t i);     /* with SIGKILL; what it had written stays */
void zk_env_freeze(struct zk_env *env, size_t i, bool on);
void zk_env_wait(const struct zk_env *env);         /* until all that run serve */
size_t zk_env_leader(const struct zk_env *env);
unsigned long zk_env_received(const struct zk_env *env, size_t i); /* how many packets it got from clients */

#endif
