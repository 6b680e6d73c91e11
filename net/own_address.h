/* net/own_address.h: the address that others are told of a listener that has several, or whose port was found. */
#ifndef BT_NET_OWN_ADDRESS_H
#define BT_NET_OWN_ADDRESS_H

#include <stddef.h>

#include "net/err.h"

/*
 * listens is a listener's numeric address with its true port. advertise, when it is not empty, is told instead: "10.0.0.4:7401", or without
 * a port, or with port 0, which then is the listener's. Else, when it listens on all addresses (0.0.0.0, [::]): the one by which this host
 * reaches others, or the loopback one when it reaches nobody. BT_EINVAL: advertise is no numeric address, or out is too small.
 */
enum bt_err net_own_address(const char *listens, const char *advertise, char *out, size_t size);

#endif
