/* rpc/method.c: the names of the roles. */
#include "rpc/method.h"

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
