/*
 * net/layer_proxy.h: the PROXY protocol, versions 1 and 2: who really connects, told by a load balancer in front.
 *
 * The header is understood from trusted addresses only, and only at the very beginning. A trusted address that sends none is taken
 * as it is: the header's first bytes can't begin a frame. Loop thread.
 */
#ifndef BT_NET_LAYER_PROXY_H
#define BT_NET_LAYER_PROXY_H

#include <stdbool.h>

#include "net/err.h"

struct net_conn;
struct net_layer;
struct net_trusted;

/*
 * Parse "127.0.0.1, 10.0.0.0/8, ::1" ("": nobody). *out is the caller's, for net_trusted_free().
 * Errors: BT_EINVAL (not a list of numeric addresses and prefixes), BT_ENOMEM.
 */
enum bt_err net_trusted_parse(const char *text, struct net_trusted **out);
void net_trusted_free(struct net_trusted *t);

/* Does the connection come from one of them? */
bool net_trusted_has(const struct net_trusted *t, const struct net_conn *c);

/*
 * The layer, for net_conn_push_layer() on an accepted connection, before any other. Once the header is read, the connection's peer name
 * is the true one; a header that is cut or malformed closes it with BT_EPROTO. NULL: no memory.
 */
struct net_layer *net_layer_proxy_new(void);

#endif
