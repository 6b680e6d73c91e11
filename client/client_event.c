/* client/client_event.c: what the server pushes, handed to whom it concerns. */
#include "client/client_internal.h"

#define LOG_MODULE "client"
#include "net/log.h"

static void on_group(struct bt_client *c, const GroupEvent *e)
{
    struct bt_group_news news = {
        .group_id = e->group_id,
        .name = client_text(e->name),
        .user_id = e->user_id,
        .about_user_id = e->about_user_id,
        .pending = (enum bt_pending)e->pending,
    };
    if (c->events.group)
        c->events.group(c, &news, c->arg);
}

static void on_session_ended(struct bt_client *c, const SessionEndedEvent *e)
{
    client_session_over(c);
    if (!c->is_closing && c->events.session_ended)
        c->events.session_ended(c, e->why <= SessionEnd_DISABLED ? (enum bt_session_end)e->why : BT_SESSION_ENDED, c->arg);
}

union any_event {
    Message message;
    ReceiptEvent receipt;
    SignalEvent signal;
    PresenceEvent presence;
    FriendEvent friend_changed;
    GroupEvent group;
    SessionEndedEvent session_ended;
    ResyncEvent resync;
};

static void dispatch(struct bt_client *c, uint16_t method, const union any_event *e)
{
    switch (method) {
    case RPC_ON_MESSAGE:
        client_conv_learn(c, &e->message);
        break;
    case RPC_ON_RECEIPT:
        client_receipt_learn(c, &e->receipt);
        break;
    case RPC_ON_SIGNAL:
        if (c->events.signal)
            c->events.signal(c, client_target_of(c, e->signal.hi, e->signal.lo), e->signal.sender_id, client_text(e->signal.type),
                             client_text(e->signal.body), c->arg);
        break;
    case RPC_ON_PRESENCE:
        if (c->events.presence)
            c->events.presence(c, e->presence.user_id, e->presence.online, c->arg);
        break;
    case RPC_ON_FRIEND:
        if (c->events.friend_changed)
            c->events.friend_changed(c, e->friend_changed.user_id, client_text(e->friend_changed.name),
                                     (enum bt_friend_state)e->friend_changed.state, c->arg);
        break;
    case RPC_ON_GROUP:
        on_group(c, &e->group);
        break;
    case RPC_ON_RESYNC:
        client_pull_start(c);
        break;
    case RPC_ON_SESSION_ENDED:
        on_session_ended(c, &e->session_ended);
        break;
    default: /* of a later version */
        break;
    }
}

void client_event(struct bt_client *c, const struct rpc_frame *frame)
{
    const struct rpc_method_info *method = rpc_method_info(frame->h.method);
    union any_event e = { 0 };
    if (!method || method->role != RPC_ROLE_CLIENT || method->req_size > sizeof e)
        return;
    if (c->user_id == 0) /* what still comes of a session that is over */
        return;
    if (rpc_decode(method->req, frame->payload, frame->len, &e) != BT_OK) {
        log_debug("event %s: malformed, dropped", method->name);
        return;
    }
    client_pull_idle(c);
    dispatch(c, frame->h.method, &e);
    rpc_release(method->req, &e);
}
