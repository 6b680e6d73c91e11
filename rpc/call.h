/*
 * rpc/call.h: a call that came in: what its header says, and how it is ended. Loop thread only.
 */
#ifndef BT_RPC_CALL_H
#define BT_RPC_CALL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/err.h"
#include "rpc/bytes.h"
#include "rpc/frame.h"
#include "rpc/method.h"

struct rpc_link;
struct rpc_call;

/* The request's header; caller and session are true on a node's listener, and meaningless on a client's. Valid until the call is ended. */
const struct rpc_header *rpc_call_header(const struct rpc_call *call);
const struct rpc_method_info *rpc_call_method(const struct rpc_call *call);

/* Milliseconds that are left of the deadline, 0 when it has passed, UINT32_MAX when there is none. */
uint32_t rpc_call_left_ms(const struct rpc_call *call);

/*
 * True when this process has stood still (net_loop_stood_ms) since the call came, and doing it late might do harm (rpc_method_ages):
 * whoever made it may have given it up, had it done elsewhere, and seen it undone since. It is not begun any more then.
 */
bool rpc_call_is_late(const struct rpc_call *call);

/*
 * Of a call that has just come, before anything is done for it: end it if doing it late might do harm, and it may have waited in a
 * socket while this process stood still. That is so for a moment after every standstill, of methods that age (rpc_method_ages()). The caller
 * is told that nothing was done, and when to come again. True: it was ended.
 */
bool rpc_call_refuse_late(struct rpc_call *call);

/* True when the caller cancelled, or its connection has gone: work that changes nothing may stop. */
bool rpc_call_is_dead(const struct rpc_call *call);

/* The link it came on; NULL when that has gone, or the caller cancelled. */
struct rpc_link *rpc_call_link(const struct rpc_call *call);

/* Call cb(arg) when the caller cancels or its connection goes; NULL: no more. At most once, before the call is ended; not inside this call (nor ever, when it is dead already). */
void rpc_call_on_dead(struct rpc_call *call, void (*cb)(void *arg), void *arg);

/* End the call with the message that its method declares as reply. msg is encoded before this returns. */
void rpc_reply(struct rpc_call *call, const void *msg);

/*
 * End it with a payload and a status as they are (what a router does). A payload under RPC_FLAG_PUSHED can't be passed on, as it
 * stands otherwise within the process than between nodes (push.h): with that flag it is ended with BT_EINTERNAL.
 */
void rpc_reply_raw(struct rpc_call *call, uint8_t status, uint8_t flags, const uint8_t *payload, size_t len);

/* The same from one or more pieces, joined behind one header. */
void rpc_reply_parts(struct rpc_call *call, uint8_t status, uint8_t flags, const struct rpc_bytes *parts, size_t n);

/* End it with an error: detail is printf-like, in English for a programmer, no secrets; cut at 256 bytes, what is not ASCII becomes '?'. fmt NULL: bt_err_text(err). */
void rpc_fail(struct rpc_call *call, enum bt_err err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The same, saying when to come again. */
void rpc_fail_retry(struct rpc_call *call, enum bt_err err, uint32_t retry_after_ms, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* End it as another call, made on its behalf, was answered: status, Error and all. */
struct rpc_reply;
void rpc_fail_as(struct rpc_call *call, const struct rpc_reply *reply);

#endif
