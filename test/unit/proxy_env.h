/* test/unit/proxy_env.h: a proxy with clients, beside a user role that lets everybody in and a presence that the test answers for. */
#ifndef BT_TEST_PROXY_ENV_H
#define BT_TEST_PROXY_ENV_H

#include "roles/role.h"
#include "rpc/link.h"
#include "rpc/rpc.h"
#include "store/presence.h"
#include "test/unit/store_env.h"

enum { PROXY_ENV_USER = 10, PROXY_ENV_KEPT_MAX = 16 };

/* A presence_set() that waits for its answer. */
struct proxy_kept {
    presence_done_cb *cb;
    void *arg;
};

struct proxy_env {
    struct store_env base;
    struct presence presence;
    struct proxy_kept kept[PROXY_ENV_KEPT_MAX];
    size_t nkept, nsets_here, nsets_gone;
    bool is_asked;  /* presence, for an answer */
    const char *setting;                /* "section.name=value", set before _init; NULL: none */
    const struct rpc_method *chat;      /* what a chat role beside it serves, set before _init: their self is this; NULL: nothing */
    size_t nlogins; /* the first is PROXY_ENV_USER's in session 1, each next one the next user's in the next session */
    bool has_ended; /* session 1, as the user role tells */
    uint64_t ended_asked_ms; /* net_now_ms() when it was asked for ended sessions; 0: not yet */
    struct rpc *rpc;
    void *proxy;
};

/* A client's connection; stays where it is until is_closed. */
struct proxy_client {
    struct rpc_link *link;
    bool is_closed;
    int resyncs, ends, pushes; /* events that came; pushes: messages */
};

struct proxy_answer {
    struct rpc_out out;
    bool is_there;
    uint8_t status; /* enum rpc_status */
    uint8_t payload[64];
    size_t len;     /* of the payload; 0: it is longer */
};

/* env is zeroed memory, but for what is set before. Logs nothing from here on. Asserts that all goes well. */
void proxy_env_init(struct proxy_env *env);
void proxy_env_deinit(struct proxy_env *env); /* the clients have gone; logs again */

/* Answer what presence has been asked; what is asked meanwhile waits for the next time. */
void proxy_env_answer(struct proxy_env *env, enum bt_err err);

/*
 * Turn the loop a little and answer for presence that all went well; the same until *flag, for at most 20 seconds.
 * env_wait() on base waits while presence keeps silent.
 */
void proxy_env_turn(struct proxy_env *env);
void proxy_env_wait(struct proxy_env *env, const bool *flag);

/* Connect, and say Hello. */
void proxy_client_come(struct proxy_env *env, struct proxy_client *c);

/* Call a method of whose request the fakes read nothing. Before it is answered, answer->out may be cancelled. */
void proxy_client_ask(struct proxy_client *c, struct proxy_answer *answer, uint16_t method, uint32_t timeout_ms);

/* Connect and log in, as the next user, while presence answers; hang up. */
void proxy_client_log_in(struct proxy_env *env, struct proxy_client *c);
void proxy_client_go(struct proxy_env *env, struct proxy_client *c);

/* For what tells its end by such a callback. */
void proxy_env_set_flag(void *is_done);

#endif
