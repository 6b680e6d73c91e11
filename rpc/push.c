/*
 * rpc/push.c: answers with a push: between nodes encoded, as frame.h says; within the process as it stands in memory,
 * since who reads it is who wrote it.
 */
#include "rpc/push.h"

#include <string.h>

#include "net/mem.h"
#include "rpc/link_internal.h"
#include "rpc/rpc_internal.h"

/* Within the process: this, then the answer, the users, the event. */
struct in_memory {
    PushEvent push;    /* of its views only the lengths are meant */
    size_t answer_len;
};
_Static_assert(sizeof(PushEvent) == 2 * sizeof(struct rpc_bytes) + 16, "of a new field that is a view the bytes must be added");

static enum bt_err reply_in_memory(struct rpc_call *call, struct rpc_bytes answer, const PushEvent *push)
{
    const struct in_memory head = { *push, answer.len };
    const struct rpc_bytes parts[] = { rpc_bytes(&head, sizeof head), answer, push->users, push->event };

    return rpc_call_answer(call, RPC_STATUS_OK, RPC_FLAG_PUSHED, parts, 4);
}

/* answer: with room for its length before it. */
static enum bt_err reply_encoded(struct rpc_call *call, uint8_t *answer, size_t len, const PushEvent *push)
{
    struct rpc_encoded e;
    enum bt_err err = rpc_encode_msg(&e, PushEvent_fields, push);

    if (err != BT_OK)
        return err;
    answer[0] = answer[1] = answer[2] = 0;
    answer[3] = (uint8_t)len;
    const struct rpc_bytes parts[] = { rpc_bytes(answer, 4 + len), rpc_bytes(rpc_encoded_bytes(&e), e.len) };
    err = rpc_call_answer(call, RPC_STATUS_OK, RPC_FLAG_PUSHED, parts, 2);
    bt_free(e.heap);
    return err;
}

enum bt_err rpc_reply_with_push(struct rpc_call *call, const void *msg, const PushEvent *push)
{
    uint8_t answer[4 + RPC_PUSH_ANSWER_MAX];
    size_t len = 0;

    if (msg) {
        const pb_msgdesc_t *fields = rpc_call_method(call)->reply;
        len = rpc_encode(fields, msg, answer + 4, RPC_PUSH_ANSWER_MAX);
        if (len == 0 && rpc_size(fields, msg) > 0)
            return BT_EINVAL;
    }
    return call->link && call->link->pair ? reply_in_memory(call, rpc_bytes(answer + 4, len), push)
                                          : reply_encoded(call, answer, len, push);
}

static enum bt_err read_in_memory(const struct rpc_reply *reply, struct rpc_bytes *answer_out, PushEvent *push_out)
{
    struct in_memory head;

    if (reply->len < sizeof head)
        return BT_EPROTO;
    memcpy(&head, reply->payload, sizeof head);
    const uint8_t *at = reply->payload + sizeof head;
    size_t left = reply->len - sizeof head;
    if (head.answer_len > left || head.push.users.len > left - head.answer_len ||
        head.push.event.len != left - head.answer_len - head.push.users.len)
        return BT_EPROTO;
    *answer_out = rpc_bytes(at, head.answer_len);
    *push_out = head.push;
    push_out->users.data = at + head.answer_len;
    push_out->event.data = push_out->users.data + head.push.users.len;
    return BT_OK;
}

static uint32_t u32_of(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

enum bt_err rpc_reply_push(const struct rpc_reply *reply, struct rpc_bytes *answer_out, PushEvent *push_out)
{
    if (reply->is_local)
        return read_in_memory(reply, answer_out, push_out);
    if (reply->len < 4 || u32_of(reply->payload) > reply->len - 4)
        return BT_EPROTO;
    *answer_out = rpc_bytes(reply->payload + 4, u32_of(reply->payload));
    const uint8_t *at = answer_out->data + answer_out->len;
    return rpc_decode(PushEvent_fields, at, reply->len - 4 - answer_out->len, push_out) == BT_OK ? BT_OK : BT_EPROTO;
}
