/*
 * rpc/frame.h: the frame: a header of 48 bytes, big-endian, then the payload. One format for clients and nodes.
 */
#ifndef BT_RPC_FRAME_H
#define BT_RPC_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/err.h"

enum { RPC_HEADER_SIZE = 48, RPC_LENGTH_SIZE = 4 };

/* Low 4 bits of the kind byte. 0 is no kind, so that zeroes are no frame. */
enum rpc_kind { RPC_REQUEST = 1, RPC_REPLY = 2, RPC_EVENT = 3, RPC_CANCEL = 4 };

/* High 4 bits. */
enum {
    RPC_FLAG_RESEND = 0x10, /* request: an earlier try of this call may have been done: look before writing */
    RPC_FLAG_PUSHED = 0x20, /* reply, between nodes: payload is u32 n, n bytes of reply, then a PushEvent; within the
                             * process the two as they stand in memory (push.c) */
    RPC_FLAGS_CLIENT = RPC_FLAG_RESEND,
    RPC_FLAGS_NODE = RPC_FLAG_RESEND | RPC_FLAG_PUSHED,
};

/* The target's top bit: a group. */
#define RPC_TARGET_GROUP (UINT64_C(1) << 63)

struct rpc_header {
    uint32_t length;     /* of all that follows the length word: 44 + payload */
    uint16_t method;
    uint8_t kind;        /* enum rpc_kind, without the flags */
    uint8_t flags;       /* RPC_FLAG_* */
    uint8_t status;      /* enum rpc_status, in replies */
    uint32_t call;       /* chosen by the requesting side; a reply and a cancel repeat it; 0 in events */
    uint32_t timeout_ms; /* what is left of the call's deadline; 0 in replies and events */
    uint64_t caller;     /* user on whose behalf; written by the proxy */
    uint64_t target;     /* user, or group with RPC_TARGET_GROUP */
    uint64_t session;    /* of the caller; written by the proxy */
    uint64_t trace;      /* written by the proxy; in every call made on its behalf and in log lines */
};

/* A frame as it arrived: payload is lent, h.length - 44 bytes. */
struct rpc_frame {
    struct rpc_header h;
    const uint8_t *payload;
    size_t len;
};

void rpc_header_encode(const struct rpc_header *h, uint8_t out[RPC_HEADER_SIZE]);

/*
 * Take one frame off the front of the bytes. *used_out: its size, or 0 when it is not whole yet (then *need_out is
 * the size it will have, 0 while unknown). allowed_flags: RPC_FLAGS_CLIENT or RPC_FLAGS_NODE. The length is checked
 * as soon as its four bytes are there. BT_EPROTO: too long, too short, unknown kind or flag: close the connection.
 */
enum bt_err rpc_frame_take(const uint8_t *data, size_t len, uint32_t max_frame_bytes, uint8_t allowed_flags,
                           struct rpc_frame *frame_out, size_t *used_out, size_t *need_out);

#endif
