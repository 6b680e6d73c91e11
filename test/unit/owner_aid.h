/*
 * test/unit/owner_aid.h: a role over a real store and a real rpc, beside a fake chat role: what is asked of conversations' owners
 * is recorded, and answered as the test says.
 */
#ifndef BT_TEST_OWNER_AID_H
#define BT_TEST_OWNER_AID_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/client.pb.h"
#include "proto/methods.h"
#include "roles/role.h"
#include "rpc/rpc.h"
#include "test/unit/store_env.h"

enum { AID_PUSHES = 32 };

/* A Notify that came. */
struct aid_push {
    size_t nusers;
    uint64_t users[8];
    uint32_t method;
    uint64_t except_session;
    uint8_t event[256];
    size_t event_len;
};

struct owner_aid {
    struct store_env env;
    struct rpc *rpc;
    const struct role *role;
    void *self;                       /* NULL: the test has stopped it */
    struct aid_push pushes[AID_PUSHES];
    size_t npushes;
    size_t napplies;
    MembershipChange change;          /* of the last Apply */
    uint64_t applied_user, applied_actor, applied_target, applied_request;
    char applied_name[64];
    bool keep_name, keep_about, keep_join_mode;
    enum bt_err apply_err;            /* what Apply is answered; BT_OK: */
    uint64_t apply_seq;
    void (*on_apply)(struct owner_aid *a); /* before it is answered; NULL: nothing */
    /* the last answer */
    bool is_done;
    uint8_t status;
    uint8_t payload[1 << 20];
    size_t payload_len;
};

extern struct owner_aid aid; /* one for each test program, since it is large */

/* settings: assignments, ends with NULL; NULL: none. Asserts that all goes well. */
void aid_start(struct owner_aid *a, const struct role *role, const char *const *settings);
void aid_stop(struct owner_aid *a);

/* Make a call and wait for the answer, which is left in payload; returns its status. */
uint8_t aid_call(struct owner_aid *a, uint16_t method, uint64_t caller, uint64_t target, const void *req);
/* The same, but the process stands still once the role has begun with it. */
uint8_t aid_call_and_stand_still(struct owner_aid *a, uint16_t method, uint64_t caller, uint64_t target, const void *req);
/*
 * Make n calls at once, with a deadline too short for repeating them, and wait for all answers, of which so many were OK
 * (counts[0]) and so many refused for want of room (counts[1]). The second is what counts one reply; its arg is counts.
 */
void aid_call_at_once(struct owner_aid *a, uint16_t method, uint64_t caller, size_t n, const void *req, int counts[2]);
void aid_count_status(const struct rpc_reply *reply, void *arg);

/* Its message; the caller releases it. */
void aid_decode_into(struct owner_aid *a, const pb_msgdesc_t *fields, void *msg_out, size_t size);
#define aid_decode(a, fields, msg_out) aid_decode_into((a), (fields), (msg_out), sizeof *(msg_out))

/* Turn the loop until n pushes have come; fails the test after ten seconds. */
void aid_wait_pushes(struct owner_aid *a, size_t n);

/* The session that a caller calls from. */
static inline uint64_t aid_session(uint64_t caller) { return caller * 10 + 1; }

#endif
