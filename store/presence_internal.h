/* store/presence_internal.h: what the presence backends get from presence.c, and it from them. */
#ifndef BT_STORE_PRESENCE_INTERNAL_H
#define BT_STORE_PRESENCE_INTERNAL_H

#include "store/presence.h"

void presence_nodes_free(struct presence *p);

/* presence_memory.c. log_len: changes that are kept. */
enum bt_err presence_memory_open(struct net_loop *loop, size_t log_len, const char *node_address, uint64_t node_epoch,
                                 struct presence **out);

/* presence_redis.c. As presence_open(). */
enum bt_err presence_redis_open(struct net_loop *loop, const struct conf *conf, const char *node_address, uint64_t node_epoch,
                                struct presence **out, char *why, size_t why_size);

#endif
