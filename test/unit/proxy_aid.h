/* test/unit/proxy_aid.h: a role over a store of its own, called as by a proxy, one call after the other. */
#ifndef BT_TEST_PROXY_AID_H
#define BT_TEST_PROXY_AID_H

#include "roles/role.h"
#include "rpc/link.h"
#include "rpc/status.h"
#include "test/unit/store_env.h"

struct proxy_aid {
    struct store_env env;
    const struct role *role;
    void *self;                     /* NULL: stopped */
    struct rpc *rpc;                /* set by a test whose role calls others */
    struct rpc_link *caller, *served;
    bool caller_closed, served_closed;
    uint8_t payload[64 * 1024];     /* the last reply's */
    size_t payload_len;
    char detail[257];               /* of its Error */
    uint32_t retry_after_ms;
};

/* env is ready (env_init, settings); declares the role's keys. Between _init and _start a test may set some. */
void proxy_aid_init(struct proxy_aid *aid, const struct role *role);
void proxy_aid_start(struct proxy_aid *aid);  /* opens the store, starts the role; asserts that all goes well */
void proxy_aid_stop(struct proxy_aid *aid);   /* stops both; may be started again */
void proxy_aid_deinit(struct proxy_aid *aid);

/* Who calls, about whom. */
struct proxy_from {
    uint64_t caller, target, session;
};

/*
 * Call a method and wait. On OK the reply is decoded into reply_out (NULL: not wanted); views in it are valid until
 * the next call, its repeated fields until proxy_aid_release().
 */
enum rpc_status proxy_aid_call(struct proxy_aid *aid, uint16_t method, struct proxy_from from, const void *req, void *reply_out);
void proxy_aid_release(uint16_t method, void *reply);

/* The same without waiting: ended by proxy_aid_wait(), which gives its status. Any number of them. */
struct proxy_call {
    struct rpc_out out;
    struct proxy_aid *aid;
    uint16_t method;
    bool is_done;
    enum rpc_status status;
    void *reply_out;
};
void proxy_aid_begin(struct proxy_aid *aid, struct proxy_call *call, uint16_t method, struct proxy_from from, const void *req, void *reply_out);
void proxy_aid_begin_in(struct proxy_aid *aid, struct proxy_call *call, uint16_t method, struct proxy_from from, const void *req,
                       void *reply_out, uint32_t timeout_ms);
enum rpc_status proxy_aid_wait(struct proxy_call *call);

#endif
