/* rpc/status.c: our errors to statuses on the wire, and back. */
#include "rpc/status.h"

#include <stddef.h>

enum rpc_status rpc_status_of(enum bt_err err)
{
    switch (err) {
    case BT_OK: return RPC_STATUS_OK;
    case BT_EINVAL: return RPC_STATUS_INVALID_ARGUMENT;
    case BT_ENOAUTH: return RPC_STATUS_UNAUTHENTICATED;
    case BT_EDENIED: return RPC_STATUS_PERMISSION_DENIED;
    case BT_ENOTFOUND: return RPC_STATUS_NOT_FOUND;
    case BT_EEXIST: return RPC_STATUS_ALREADY_EXISTS;
    case BT_ESTATE: return RPC_STATUS_FAILED_PRECONDITION;
    case BT_ERANGE: return RPC_STATUS_OUT_OF_RANGE;
    case BT_ENOMETHOD: return RPC_STATUS_UNIMPLEMENTED;
    case BT_ETIMEOUT: return RPC_STATUS_DEADLINE_EXCEEDED;
    case BT_EDOWN: return RPC_STATUS_UNAVAILABLE;
    case BT_EBUSY: return RPC_STATUS_RESOURCE_EXHAUSTED;
    case BT_ENOMEM: return RPC_STATUS_RESOURCE_EXHAUSTED;
    case BT_ECONFLICT: return RPC_STATUS_ABORTED;
    case BT_EFULL: return RPC_STATUS_RESOURCE_EXHAUSTED; /* another instance has the same disk: no use to try there */
    case BT_ECANCELLED: return RPC_STATUS_CANCELLED;
    case BT_ECLOSING: return RPC_STATUS_UNAVAILABLE;
    case BT_EUNSURE: return RPC_STATUS_UNKNOWN;
    case BT_EPROTO: return RPC_STATUS_INTERNAL;
    case BT_EINTERNAL: return RPC_STATUS_INTERNAL;
    }
    return RPC_STATUS_INTERNAL;
}

enum bt_err rpc_err_of_status(uint8_t status)
{
    static const enum bt_err errs[] = {
        [RPC_STATUS_OK] = BT_OK,
        [RPC_STATUS_CANCELLED] = BT_ECANCELLED,
        [RPC_STATUS_UNKNOWN] = BT_EUNSURE,
        [RPC_STATUS_INVALID_ARGUMENT] = BT_EINVAL,
        [RPC_STATUS_DEADLINE_EXCEEDED] = BT_ETIMEOUT,
        [RPC_STATUS_NOT_FOUND] = BT_ENOTFOUND,
        [RPC_STATUS_ALREADY_EXISTS] = BT_EEXIST,
        [RPC_STATUS_PERMISSION_DENIED] = BT_EDENIED,
        [RPC_STATUS_RESOURCE_EXHAUSTED] = BT_EBUSY,
        [RPC_STATUS_FAILED_PRECONDITION] = BT_ESTATE,
        [RPC_STATUS_ABORTED] = BT_ECONFLICT,
        [RPC_STATUS_OUT_OF_RANGE] = BT_ERANGE,
        [RPC_STATUS_UNIMPLEMENTED] = BT_ENOMETHOD,
        [RPC_STATUS_INTERNAL] = BT_EINTERNAL,
        [RPC_STATUS_UNAVAILABLE] = BT_EDOWN,
        [RPC_STATUS_DATA_LOSS] = BT_EINTERNAL,
        [RPC_STATUS_UNAUTHENTICATED] = BT_ENOAUTH,
    };
    return status < sizeof errs / sizeof *errs ? errs[status] : BT_EINTERNAL;
}

const char *rpc_status_name(uint8_t status)
{
    static const char *const names[] = {
#define RPC_STATUS_NAME(name, number) [number] = #name,
        RPC_STATUS_MAP(RPC_STATUS_NAME)
#undef RPC_STATUS_NAME
    };
    return status < sizeof names / sizeof *names ? names[status] : "?";
}

bool rpc_status_is_not_done(uint8_t status)
{
    return status == RPC_STATUS_UNAVAILABLE || status == RPC_STATUS_RESOURCE_EXHAUSTED || status == RPC_STATUS_ABORTED;
}
