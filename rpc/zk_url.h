/* rpc/zk_url.h: what a ZooKeeper URL says: zookeeper://h1:2181,[::1]:2181,h3/root/path. */
#ifndef BT_RPC_ZK_URL_H
#define BT_RPC_ZK_URL_H

#include <stdbool.h>
#include <stddef.h>

#include "net/err.h"

enum { ZK_HOSTS_SIZE = 512, ZK_ROOT_SIZE = 128 };

struct zk_url {
    char hosts[ZK_HOSTS_SIZE]; /* "h1:2181,[::1]:2181": each with its port */
    char root[ZK_ROOT_SIZE];   /* "/bytetalk", without a slash at its end; "": the server's root */
    bool has_names;            /* not all hosts are numeric addresses */
};

/* Errors: BT_EINVAL, with why. */
enum bt_err zk_url_parse(const char *url, struct zk_url *out, char *why, size_t why_size);

/* May this be a node's name in ZooKeeper's tree? Not empty, without '/' and control characters, neither "." nor "..". */
bool zk_name_is_valid(const char *name);

/*
 * All addresses of hosts (as in struct zk_url) as the client library takes them, separated by commas. Asks the
 * resolver where there are names, and so may take long. Any thread. False: not one was found.
 */
bool zk_resolve(const char *hosts, char *out, size_t size);

#endif
