/* test/unit/port_aid.h: ports for servers that a test starts, and perhaps starts again. */
#ifndef BT_TEST_PORT_AID_H
#define BT_TEST_PORT_AID_H

#include <stdint.h>

/*
 * A free port of 127.0.0.1. Until this process ends no other gets it from the system, neither to listen nor to dial from; but
 * whoever names it, and sets SO_REUSEADDR as servers do, may listen there, as often as he likes.
 */
uint16_t port_hold(void);

#endif
