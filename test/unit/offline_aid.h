/* test/unit/offline_aid.h: the offline role over a real store, with two users, beside a fake chat role. */
#ifndef BT_TEST_OFFLINE_AID_H
#define BT_TEST_OFFLINE_AID_H

#include "test/unit/owner_aid.h"

/* cmocka fixtures, with `aid`. settings: assignments, ends with NULL; NULL: none. In the third case every limit is soon reached. */
int offline_setup_with(void **state, const char *const *settings);
int offline_setup(void **state);
int offline_setup_small(void **state);
int offline_teardown(void **state);

#endif
