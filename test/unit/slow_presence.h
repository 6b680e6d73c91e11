/* test/unit/slow_presence.h: a presence whose reads the test lets go. One such at a time, and one read of it. */
#ifndef BT_TEST_SLOW_PRESENCE_H
#define BT_TEST_SLOW_PRESENCE_H

#include "net/loop.h"
#include "store/presence.h"

/* No copy of it is current from now on, and the next read waits. */
void slow_presence_hold(struct presence *p);

/* Turn until there is one; asserts that it comes soon. */
void slow_presence_wait(struct net_loop *loop);

/* It goes on, or ends with err; presence is what it was. */
void slow_presence_release(struct presence *p);
void slow_presence_fail(struct presence *p, enum bt_err err);

#endif
