/* test/unit/user_aid.h: the user role over a store of its own, and devices that register and log in at it. */
#ifndef BT_TEST_USER_AID_H
#define BT_TEST_USER_AID_H

#include "proto/client.pb.h"
#include "proto/methods.h"
#include "proto/node.pb.h"
#include "roles/token.h"
#include "rpc/bytes.h"
#include "test/unit/proxy_aid.h"

/* A device that has logged in. */
struct device {
    uint64_t user_id, session_id;
    uint8_t token[TOKEN_MAX];
    size_t token_len;
    char name[TOKEN_NAME_MAX + 1];
};

extern const struct proxy_from nobody;

/* cmocka fixtures: *state is a struct proxy_aid; hashing is quick, and nothing is logged. The first one for setups with settings. */
int user_setup_with(void **state, const char *const *settings); /* ended by NULL; or NULL */
int user_setup(void **state);
int user_teardown(void **state);

/* Each calls one method and gives its status; what it hands out may be NULL. */
enum rpc_status enrol(struct proxy_aid *aid, const char *name, const char *password, uint64_t *id_out);
enum rpc_status log_in(struct proxy_aid *aid, const char *name, const char *password, uint64_t device_id, struct device *d);
enum rpc_status resume(struct proxy_aid *aid, const struct device *d, struct device *out);
enum rpc_status change_password(struct proxy_aid *aid, const struct device *d, const char *old, const char *new);

struct proxy_from device_from(const struct device *d);              /* as whom it calls */
void enter(struct proxy_aid *aid, struct device *d);                /* registers Ann, and logs her in at device 5 */
void wait_until_refused(struct proxy_aid *aid, const struct device *d); /* fails the test after the promised two seconds */

#endif
