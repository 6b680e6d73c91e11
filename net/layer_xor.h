/* net/layer_xor.h: a byte layer for tests: changes every byte and passes them on one at a time. */
#ifndef BT_NET_LAYER_XOR_H
#define BT_NET_LAYER_XOR_H

#include "net/conn.h"

/*
 * Every byte is xored with 0x5a and handed on alone, both ways: whatever stands above or below meets every split of
 * its input. For net_conn_push_layer(), which takes it. NULL: no memory.
 */
struct net_layer *net_layer_xor_new(void);

#endif
