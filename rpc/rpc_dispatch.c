/* rpc/rpc_dispatch.c: calls and events that came, decoded and handed to the handlers of this node's roles. */
#include <assert.h>
#include <stdalign.h>

#include "net/mem.h"
#include "rpc/codec.h"
#include "rpc/link_internal.h"
#include "rpc/rpc_internal.h"

enum { MESSAGE_MAX = 1024 }; /* bytes of the largest request as a C struct: checked at start */

/* A decoded message with room for any method's. */
struct message {
    alignas(max_align_t) uint8_t room[MESSAGE_MAX];
};

static size_t method_count(void)
{
    size_t n = 0;
    while (rpc_method_infos[n].id != 0) {
        assert(rpc_method_infos[n].req_size <= MESSAGE_MAX);
        n++;
    }
    return n;
}

enum bt_err rpc_dispatch_init(struct rpc *rpc)
{
    size_t n = method_count();
    rpc->handlers = bt_calloc(n, sizeof *rpc->handlers);
    rpc->selves = bt_calloc(n, sizeof *rpc->selves);
    return rpc->handlers && rpc->selves ? BT_OK : BT_ENOMEM;
}

void rpc_dispatch_deinit(struct rpc *rpc)
{
    bt_free(rpc->handlers);
    bt_free(rpc->selves);
}

void rpc_serve(struct rpc *rpc, enum rpc_role role, const struct rpc_method *methods, void *self)
{
    assert(!rpc->is_started);
    if (role != RPC_ROLE_NODE)
        rpc->self.roles |= UINT32_C(1) << role;
    for (const struct rpc_method *m = methods; m->id != 0; m++) {
        const struct rpc_method_info *info = rpc_method_info(m->id);
        assert(info && info->role == role);
        rpc->handlers[info - rpc_method_infos] = m;
        rpc->selves[info - rpc_method_infos] = self;
    }
}

void rpc_unserve(struct rpc *rpc, enum rpc_role role)
{
    rpc->stopped_roles |= UINT32_C(1) << role;
}

/* Another node may serve it, so that is not the same as a method that nobody has. */
static bool is_stopped(const struct rpc *rpc, const struct rpc_method_info *info)
{
    return info && rpc->stopped_roles & UINT32_C(1) << info->role;
}

static const struct rpc_method *handler_of(const struct rpc *rpc, const struct rpc_method_info *info, bool is_event)
{
    if (!info || info->is_event != is_event || is_stopped(rpc, info))
        return NULL;
    return rpc->handlers[info - rpc_method_infos];
}

/* As rpc_decode() and rpc_release(), but the codec is known without being looked for. */
static enum bt_err message_decode(const struct rpc_method_info *info, const struct rpc_frame *frame, struct message *msg)
{
    memset(msg->room, 0, info->req_size);
    return info->req_codec ? rpc_codec_decode(info->req_codec, frame->payload, frame->len, msg->room)
                           : rpc_decode(info->req, frame->payload, frame->len, msg->room);
}

static void message_release(const struct rpc_method_info *info, struct message *msg)
{
    if (!info->req_codec || info->req_codec->release)
        rpc_release(info->req, msg->room);
}

/* The handler may end the call: it is not touched afterwards. */
static enum bt_err hand_over(struct rpc *rpc, const struct rpc_method *m, const struct rpc_method_info *info, struct rpc_call *call,
                             const struct rpc_frame *frame)
{
    struct message msg;

    if (message_decode(info, frame, &msg) != BT_OK)
        return BT_EINVAL;
    m->fn(call, msg.room, rpc->selves[info - rpc_method_infos]);
    message_release(info, &msg);
    return BT_OK;
}

void rpc_dispatch_request(struct rpc *rpc, struct rpc_call *call, const struct rpc_frame *frame)
{
    const struct rpc_method_info *info = rpc_method_info(frame->h.method);
    const struct rpc_method *m = handler_of(rpc, info, false);

    rpc->stats.requests++;
    if (!m && is_stopped(rpc, info)) {
        rpc_fail(call, BT_ECLOSING, NULL);
    } else if (!m) {
        rpc_fail(call, BT_ENOMETHOD, "method 0x%04x is not served here", (unsigned)frame->h.method);
    } else if (rpc_call_left_ms(call) == 0) {
        rpc->stats.expired++;
        rpc_fail(call, BT_ETIMEOUT, "too late to begin");
    } else if (rpc_call_refuse_late(call)) {
        rpc->stats.late++;
    } else if (hand_over(rpc, m, info, call, frame) != BT_OK) {
        rpc_fail(call, BT_EINVAL, "the payload is no request of %s.%s", info->service, info->name);
    }
}

void rpc_dispatch_event(struct rpc *rpc, struct rpc_link *l, const struct rpc_frame *frame)
{
    const struct rpc_method_info *info = rpc_method_info(frame->h.method);
    const struct rpc_method *m = handler_of(rpc, info, true);
    struct rpc_call call = { .link = l, .loop = rpc->loop, .h = frame->h, .is_event = true };

    if (m)
        (void)hand_over(rpc, m, info, &call, frame); /* what is no event of that method is dropped like an unknown one */
}

struct rpc_ctx rpc_ctx_of(const struct rpc_call *call)
{
    const struct rpc_header *h = rpc_call_header(call);
    uint32_t left_ms = rpc_call_left_ms(call);
    return (struct rpc_ctx){
        .caller = h->caller,
        .target = h->target,
        .session = h->session,
        .trace = h->trace,
        .timeout_ms = left_ms == UINT32_MAX ? 0 : left_ms > 0 ? left_ms : 1,
        .flags = h->flags & RPC_FLAG_RESEND,
        .since_ms = call->came_ms,
    };
}
