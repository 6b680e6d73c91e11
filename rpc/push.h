/*
 * rpc/push.h: an answer that has a push with it, for users at the node that made the call: one frame for both.
 * Loop thread only.
 */
#ifndef BT_RPC_PUSH_H
#define BT_RPC_PUSH_H

#include "net/err.h"
#include "proto/node.pb.h"
#include "rpc/bytes.h"
#include "rpc/call.h"
#include "rpc/link.h"

/*
 * End a call of a role with OK, its method's reply, of which RPC_PUSH_ANSWER_MAX bytes may be, and a push. All is lent.
 * msg NULL: a reply without fields.
 * BT_ENOMEM, BT_EINVAL (the reply is longer): nothing was done.
 */
enum { RPC_PUSH_ANSWER_MAX = 64 };
enum bt_err rpc_reply_with_push(struct rpc_call *call, const void *msg, const PushEvent *push);

/*
 * The two, of a reply with RPC_FLAG_PUSHED. push_out: zeroed by the caller; what it and answer_out show stands in the
 * reply, and nothing is to be released. BT_EPROTO: there are no such two.
 */
enum bt_err rpc_reply_push(const struct rpc_reply *reply, struct rpc_bytes *answer_out, PushEvent *push_out);

#endif
