/* rpc/method.c: the names of the roles, and which methods must not be done late. */
#include "rpc/method.h"

#include "proto/methods.h"

#include <string.h>

static const char *const role_names[RPC_ROLE_COUNT] = {
    [RPC_ROLE_NODE] = "node",   [RPC_ROLE_PROXY] = "proxy",     [RPC_ROLE_USER] = "user", [RPC_ROLE_FRIEND] = "friend",
    [RPC_ROLE_GROUP] = "group", [RPC_ROLE_OFFLINE] = "offline", [RPC_ROLE_CHAT] = "chat", [RPC_ROLE_CLIENT] = "client",
};

const char *rpc_role_name(enum rpc_role role)
{
    return (unsigned)role < RPC_ROLE_COUNT ? role_names[role] : NULL;
}

enum rpc_role rpc_role_parse(const char *word)
{
    for (int role = 0; role < RPC_ROLE_COUNT; role++) {
        if (strcmp(word, role_names[role]) == 0)
            return (enum rpc_role)role;
    }
    return RPC_ROLE_COUNT;
}

bool rpc_method_ages(const struct rpc_method_info *info)
{
    return info->repeat == RPC_STATE && info->access != RPC_ACCESS_PUBLIC && info->role != RPC_ROLE_NODE && info->id != RPC_CHAT_SIGNAL;
}
