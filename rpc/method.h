/*
 * rpc/method.h: what the .proto files declare about methods. The tables are generated (proto/methods.c); nothing
 * about a method is written down by hand, but for the handler that has its name.
 */
#ifndef BT_RPC_METHOD_H
#define BT_RPC_METHOD_H

#include <pb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The numbers of options.proto. */
enum rpc_role { RPC_ROLE_NODE, RPC_ROLE_PROXY, RPC_ROLE_USER, RPC_ROLE_FRIEND, RPC_ROLE_GROUP, RPC_ROLE_OFFLINE, RPC_ROLE_CHAT, RPC_ROLE_CLIENT, RPC_ROLE_COUNT };
enum rpc_route { RPC_ANY, RPC_OWNER, RPC_DIRECT };
enum rpc_repeat { RPC_READ, RPC_ID, RPC_STATE, RPC_ONCE };
enum rpc_access { RPC_ACCESS_SESSION, RPC_ACCESS_PUBLIC, RPC_ACCESS_NODE };

struct rpc_codec;

struct rpc_method_info {
    uint16_t id;
    const char *service, *name;       /* "Chat", "Send" */
    enum rpc_role role;
    enum rpc_route route;
    enum rpc_repeat repeat;
    enum rpc_access access;
    bool is_event;
    bool may_be_late;                 /* options.proto: late */
    const pb_msgdesc_t *req, *reply;  /* payloads */
    size_t req_size, reply_size;      /* sizeof the C structs */
    const struct rpc_codec *req_codec; /* rpc_codec_of(req); NULL: it has none */
};

/* Whether doing it long after it was asked may do harm: it makes a state so, which others may have changed since. */
static inline bool rpc_method_ages(const struct rpc_method_info *info)
{
    return info->repeat == RPC_STATE && !info->may_be_late;
}

/* NULL: no such method. O(1). */
const struct rpc_method_info *rpc_method_info(uint16_t id);

/* All methods, by rising id; ends with an id of 0. For tests and --help. */
extern const struct rpc_method_info rpc_method_infos[];

/* "proxy", "user", ...; NULL outside the list. rpc_role_parse: RPC_ROLE_COUNT for an unknown word. */
const char *rpc_role_name(enum rpc_role role);
enum rpc_role rpc_role_parse(const char *word);

/*
 * A handler: reads the request, and sooner or later ends the call with exactly one of rpc_reply() and rpc_fail().
 * msg is the decoded request (of the type the .proto names), lent until the handler returns; views in it too.
 * For events, call is still given (header fields), must not be kept, and nothing is replied.
 */
struct rpc_call;
typedef void rpc_handler(struct rpc_call *call, const void *msg, void *self);

/*
 * One row of a role's dispatch table. The generator declares a handler for each method of the role,
 * `rpc_handler user_register;` (role, then the method's name in snake case), and makes the table that lists them,
 * user_methods, in proto/user_methods.h, for the one file that describes the role; a method without a handler does not link.
 */
struct rpc_method {
    uint16_t id;                      /* 0 ends the table */
    rpc_handler *fn;
};

#endif
