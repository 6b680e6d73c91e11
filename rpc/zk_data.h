/*
 * rpc/zk_data.h: what stands in a node's entry in ZooKeeper: lines of key=value that a person can read.
 *
 *   address=10.0.0.4:7401
 *   client_address=10.0.0.4:7400
 *   epoch=1795328553012345
 *   version=0.1.0
 *   weight=1
 *   load=17
 *   roles=proxy,user
 */
#ifndef BT_RPC_ZK_DATA_H
#define BT_RPC_ZK_DATA_H

#include <stddef.h>

#include "net/err.h"
#include "rpc/registry.h"

enum { ZK_DATA_SIZE = 512 }; /* holds any node's */

/* Write it; returns its length, which is below ZK_DATA_SIZE. */
size_t zk_data_write(const struct registry_node *node, char out[ZK_DATA_SIZE]);

/*
 * Read address, client address, version, epoch, weight and load into *out, and leave the rest of it alone: name, unit and role are
 * said by the path. Unknown keys are skipped: later versions may say more. BT_EINVAL: no address or epoch, or a bad value.
 */
enum bt_err zk_data_read(const char *data, size_t len, struct registry_node *out);

#endif
