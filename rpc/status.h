/*
 * rpc/status.h: statuses on the wire: gRPC's names and numbers.
 */
#ifndef BT_RPC_STATUS_H
#define BT_RPC_STATUS_H

#include <stdbool.h>
#include <stdint.h>

#include "net/err.h"

#define RPC_STATUS_MAP(X)                                                                          \
    X(OK, 0) X(CANCELLED, 1) X(UNKNOWN, 2) X(INVALID_ARGUMENT, 3) X(DEADLINE_EXCEEDED, 4)          \
    X(NOT_FOUND, 5) X(ALREADY_EXISTS, 6) X(PERMISSION_DENIED, 7) X(RESOURCE_EXHAUSTED, 8)          \
    X(FAILED_PRECONDITION, 9) X(ABORTED, 10) X(OUT_OF_RANGE, 11) X(UNIMPLEMENTED, 12)              \
    X(INTERNAL, 13) X(UNAVAILABLE, 14) X(DATA_LOSS, 15) X(UNAUTHENTICATED, 16)

enum rpc_status {
#define RPC_STATUS_ENUM(name, number) RPC_STATUS_##name = number,
    RPC_STATUS_MAP(RPC_STATUS_ENUM)
#undef RPC_STATUS_ENUM
};

/* The one place where our errors become statuses. */
enum rpc_status rpc_status_of(enum bt_err err);

/* And back, for a caller: an unknown number is BT_EINTERNAL. */
enum bt_err rpc_err_of_status(uint8_t status);

/* "UNAVAILABLE"; "?" for an unknown number. */
const char *rpc_status_name(uint8_t status);

/* UNAVAILABLE, RESOURCE_EXHAUSTED, ABORTED: nothing was done, so it may be tried elsewhere whatever it was. */
bool rpc_status_is_not_done(uint8_t status);

#endif
