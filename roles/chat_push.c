/*
 * roles/chat_push.c: pushing: to each proxy that holds receivers one event, encoded once, however many they are.
 *
 * A push is not a promise: what a full queue refuses is lost, and its proxy is told so as soon as there is room.
 */
#include "roles/chat.h"

#include <string.h>

#include "net/mem.h"
#include "net/planted.h"
#include "proto/methods.h"
#include "rpc/push.h"

#define LOG_MODULE "chat"
#include "net/log.h"

enum {
    LARGE_GROUP = 64,     /* members, from which on a group keeps a list of those who are connected */
    LOST_RETRY_MS = 1000,
};

/* ---- lost pushes ---------------------------------------------------------------------------------------------------------------- */

static bool is_proxy(const struct registry_node *node)
{
    return (node->roles & 1u << RPC_ROLE_PROXY) != 0;
}

static const struct registry_node *live_proxy(struct chat *chat, const char *address)
{
    size_t n;
    const struct registry_node *nodes = rpc_nodes(chat->env.rpc, &n);

    for (size_t i = 0; i < n; i++)
        if (is_proxy(&nodes[i]) && strcmp(nodes[i].address, address) == 0)
            return &nodes[i];
    return NULL;
}

/* Its sessions compare positions then. True: it is told, or it is gone with all its sessions. */
static bool tell_lost(struct chat *chat, const char *address)
{
    const struct rpc_ctx ctx = { 0 };

    return live_proxy(chat, address) == NULL || rpc_event_to(chat->env.rpc, address, RPC_PROXY_PUSH_LOST, &ctx, NULL, 0) == BT_OK;
}

static void tell_all_lost(struct chat *chat)
{
    size_t n;
    const struct registry_node *nodes = rpc_nodes(chat->env.rpc, &n);
    const struct rpc_ctx ctx = { 0 };

    chat->has_lost_everywhere = false;
    for (size_t i = 0; i < n; i++)
        if (is_proxy(&nodes[i]) && rpc_event_to(chat->env.rpc, nodes[i].address, RPC_PROXY_PUSH_LOST, &ctx, NULL, 0) != BT_OK)
            chat->has_lost_everywhere = true;
}

static void lost_retry(void *arg)
{
    struct chat *chat = arg;
    bool is_left;

    if (chat->has_lost_everywhere)
        tell_all_lost(chat);
    is_left = chat->has_lost_everywhere;
    for (size_t i = 0; i < chat->nfan; i++)
        if (chat->fan[i].has_lost) {
            chat->fan[i].has_lost = !tell_lost(chat, presence_node(chat->env.presence, (uint32_t)i)->address);
            is_left |= chat->fan[i].has_lost;
        }
    if (is_left)
        net_timer_start(chat->env.loop, &chat->lost_timer, LOST_RETRY_MS, lost_retry, chat);
}

static void lost_soon(struct chat *chat)
{
    if (!net_timer_is_running(&chat->lost_timer) && !chat->is_stopping)
        net_timer_start(chat->env.loop, &chat->lost_timer, LOST_RETRY_MS, lost_retry, chat);
}

static void lost_at(struct chat *chat, uint32_t node)
{
    chat->fan[node].has_lost = true;
    lost_soon(chat);
}

static void lost_everywhere(struct chat *chat)
{
    chat->has_lost_everywhere = true;
    lost_soon(chat);
}

/* ---- receivers ---------------------------------------------------------------------------------------------------------------- */

static void fan_clear(struct chat *chat)
{
    for (size_t i = 0; i < chat->nfan_used; i++)
        chat->fan[chat->fan_used[i]].n = 0;
    chat->nfan_used = 0;
}

static enum bt_err fan_grow(struct chat *chat, uint32_t node)
{
    size_t n = chat->nfan != 0 ? chat->nfan : 4;
    struct chat_fan *fan;
    uint32_t *used;

    while (n <= node)
        n *= 2;
    fan = bt_realloc(chat->fan, n * sizeof *fan);
    if (fan == NULL)
        return BT_ENOMEM;
    chat->fan = fan;
    used = bt_realloc(chat->fan_used, n * sizeof *used);
    if (used == NULL)
        return BT_ENOMEM;
    chat->fan_used = used;
    memset(fan + chat->nfan, 0, (n - chat->nfan) * sizeof *fan);
    chat->nfan = n;
    return BT_OK;
}

static enum bt_err fan_reach(struct chat *chat, uint32_t node)
{
    return node < chat->nfan ? BT_OK : fan_grow(chat, node);
}

void chat_push_lost(struct chat *chat, uint32_t node)
{
    if (fan_reach(chat, node) == BT_OK)
        lost_at(chat, node);
    else
        lost_everywhere(chat);
}

static enum bt_err fan_widen(struct chat_fan *f)
{
    size_t cap = f->cap != 0 ? f->cap * 2 : 8;
    uint64_t *users = bt_realloc(f->users, cap * sizeof *users);

    if (users == NULL)
        return BT_ENOMEM;
    f->users = users;
    f->cap = cap;
    return BT_OK;
}

/* The list of a node, with room for one more. NULL: no memory; it is told later that it has lost something. Seldom: it stays out of line. */
__attribute__((noinline)) static struct chat_fan *fan_room(struct chat *chat, uint32_t node)
{
    struct chat_fan *f;

    if (fan_reach(chat, node) != BT_OK) {
        lost_everywhere(chat);
        return NULL;
    }
    f = &chat->fan[node];
    if (f->n == f->cap && fan_widen(f) != BT_OK) {
        lost_at(chat, node);
        return NULL;
    }
    return f;
}

static void fan_put(struct chat *chat, uint32_t node, uint64_t user_id)
{
    struct chat_fan *f = node < chat->nfan ? &chat->fan[node] : NULL;

    if (f == NULL || f->n == f->cap)
        f = fan_room(chat, node);
    if (f == NULL)
        return;
    if (f->n == 0)
        chat->fan_used[chat->nfan_used++] = node;
    f->users[f->n++] = user_id;
}

static void fan_user(struct chat *chat, uint64_t user_id)
{
    for (const struct chat_trace *t = chat_presence_first(chat, user_id); t != NULL; t = chat_presence_next(chat, t))
        fan_put(chat, t->node, user_id);
}

/* The connected members of a large group, gathered once and then kept up with presence. */
static enum bt_err know_online(struct chat_conv *c)
{
    struct chat *chat = c->chat;

    if (!c->is_large) {
        c->is_large = true;
        c->large_next = chat->large;
        chat->large = c;
    }
    if (c->online_known)
        return BT_OK;
    if (c->online_cap < c->nmembers) {
        size_t cap = c->nmembers + c->nmembers / 8;
        uint64_t *online = bt_realloc(c->online, cap * sizeof *online);
        if (online == NULL)
            return BT_ENOMEM;
        c->online = online;
        c->online_cap = cap;
    }
    c->nonline = 0;
    for (size_t i = 0; i < c->nmembers; i++)
        if (chat_presence_has(chat, c->members[i].user_id))
            c->online[c->nonline++] = c->members[i].user_id;
    c->online_known = true;
    return BT_OK;
}

/* Those who are members as of seq (0: now), and are connected. */
static void fan_members(struct chat_conv *c, uint64_t seq)
{
    if (c->lo != 0 && c->nmembers == 0) { /* a signal before the first message */
        fan_user(c->chat, c->hi);
        if (c->lo != c->hi)
            fan_user(c->chat, c->lo);
    } else if (c->nmembers <= LARGE_GROUP || know_online(c) != BT_OK) {
        for (size_t i = 0; i < c->nmembers; i++)
            if (seq == 0 || c->members[i].joined_seq <= seq)
                fan_user(c->chat, c->members[i].user_id);
    } else {
        for (size_t i = 0; i < c->nonline; i++) {
            const struct chat_member *m = seq != 0 && seq < c->newest_joined_seq ? chat_conv_member(c, c->online[i]) : NULL;
            if (m == NULL || m->joined_seq <= seq)
                fan_user(c->chat, c->online[i]);
        }
    }
}

/* ---- sending -------------------------------------------------------------------------------------------------------------------- */

static enum bt_err reach(uint8_t **buf, size_t *cap, size_t size)
{
    uint8_t *bigger = bt_realloc(*buf, size * 2);

    if (bigger == NULL)
        return BT_ENOMEM;
    *buf = bigger;
    *cap = size * 2;
    return BT_OK;
}

_Static_assert(sizeof(PushEvent) == 2 * sizeof(struct rpc_bytes) + 16 && sizeof(SignalEvent) == 2 * sizeof(struct rpc_bytes) + 24 &&
                   sizeof(Message) == 2 * sizeof(struct rpc_bytes) + 64,
               "of a new field that is a view or a message the bytes must be added");

/* struct_size, shown: of the message, and of all that its views show. So how long it becomes need not be asked first. */
static inline enum bt_err encode(const pb_msgdesc_t *fields, const void *msg, size_t struct_size, size_t shown, uint8_t **buf, size_t *cap,
                                 size_t *len_out)
{
    size_t most = RPC_WIDEST * struct_size + shown;

    if (most > *cap && reach(buf, cap, most) != BT_OK)
        return BT_ENOMEM;
    *len_out = rpc_encode_sure(fields, msg, *buf, *cap);
    return BT_OK;
}

/* The same push, to the receivers at one node. */
static PushEvent push_for(const struct chat *chat, uint32_t node, const PushEvent *like)
{
    const struct chat_fan *f = &chat->fan[node];
    PushEvent push = *like;

    push.users = rpc_bytes(f->users, f->n * sizeof f->users[0]); /* little-endian, as the machines that this runs on */
    return push;
}

static void send_to(struct chat *chat, uint32_t node, const struct rpc_ctx *ctx, enum bt_err err, size_t len)
{
    const char *address = presence_node(chat->env.presence, node)->address;

    if (err == BT_OK)
        err = rpc_event_to(chat->env.rpc, address, RPC_PROXY_PUSH, ctx, chat->push, len);
    if (err != BT_OK) {
        log_debug("push to %s: %s", address, bt_err_text(err));
        lost_at(chat, node);
    }
}

static void send_all(struct chat *chat, const PushEvent *push, uint64_t trace)
{
    const struct rpc_ctx ctx = { .trace = trace };

    for (size_t i = 0; i < chat->nfan_used; i++) {
        const PushEvent at_node = push_for(chat, chat->fan_used[i], push);
        size_t len = 0;
        enum bt_err err = encode(PushEvent_fields, &at_node, sizeof at_node, at_node.users.len + at_node.event.len, &chat->push, &chat->push_cap, &len);
        send_to(chat, chat->fan_used[i], &ctx, err, len);
    }
}

/* What is told of an op, into chat->event. */
static enum bt_err encode_event(struct chat *chat, const struct chat_op *op, PushEvent *push)
{
    const struct store_message *m = &op->row;
    const Message event = { .hi = m->hi,
                            .lo = m->lo,
                            .seq = m->seq,
                            .sender_id = m->sender_id,
                            .client_msg_id = m->client_msg_id,
                            .sent_ms = m->sent_ms,
                            .kind = (MessageKind)m->kind,
                            .refers_to_seq = m->refers_to_seq,
                            .content_type = rpc_bytes(m->content_type, m->content_type_len),
                            .body = rpc_bytes(m->body, m->body_len) };
    size_t len = 0;
    enum bt_err err = encode(Message_fields, &event, sizeof event, m->content_type_len + m->body_len, &chat->event, &chat->event_cap, &len);

    push->method = RPC_ON_MESSAGE;
    push->event = rpc_bytes(chat->event, len);
    return err;
}

static enum bt_err encode_signal(struct chat *chat, const SignalEvent *event, PushEvent *push)
{
    size_t len = 0;
    enum bt_err err = encode(SignalEvent_fields, event, sizeof *event, event->type.len + event->body.len, &chat->event, &chat->event_cap, &len);

    push->method = RPC_ON_SIGNAL;
    push->event = rpc_bytes(chat->event, len);
    return err;
}

/* caller: as rpc_call_node() gives it, which is the same string for all calls of a node: compared once, it is known again. */
static bool is_node(struct chat *chat, uint32_t node, const char *caller)
{
    struct chat_fan *f = &chat->fan[node];

    if (f->caller == caller)
        return true;
    if (strcmp(presence_node(chat->env.presence, node)->address, caller) != 0)
        return false;
    f->caller = caller;
    return true;
}

/*
 * Where the sender's own proxy holds receivers too, his answer and their push are one frame. False: nothing was done.
 * reply NULL: it has no fields.
 */
static bool answer_with_push(struct chat *chat, struct rpc_call *call, const void *reply, const PushEvent *like)
{
    enum {
        SURE_MS = 1000,       /* an answer that comes after the deadline is dropped, and the push would be with it */
        PUSH_MAX = 32 * 1024, /* half of the least that [rpc] max_frame_bytes allows: a longer one has a frame of its own */
    };
    const char *caller = rpc_call_left_ms(call) >= SURE_MS ? rpc_call_node(call) : NULL;
    PushEvent push;
    size_t i;

    for (i = 0; caller != NULL && i < chat->nfan_used; i++)
        if (is_node(chat, chat->fan_used[i], caller))
            break;
    if (caller == NULL || i == chat->nfan_used)
        return false;
    push = push_for(chat, chat->fan_used[i], like);
    if (push.users.len + push.event.len > PUSH_MAX || rpc_reply_with_push(call, reply, &push) != BT_OK)
        return false;
    chat->fan[chat->fan_used[i]].n = 0; /* has got it */
    chat->fan_used[i] = chat->fan_used[--chat->nfan_used];
    return true;
}

static void lose_all(struct chat *chat)
{
    for (size_t i = 0; i < chat->nfan_used; i++)
        lost_at(chat, chat->fan_used[i]);
    fan_clear(chat);
}

/* To the members of now. call NULL: it was answered. */
static void push_signal(struct chat_conv *c, struct rpc_call *call, const SignalEvent *event, uint64_t except_session,
                        uint64_t trace)
{
    struct chat *chat = c->chat;
    const SignalReply reply = { 0 };
    PushEvent push = { .except_session = except_session };

    fan_clear(chat);
    fan_members(c, 0);
    if (chat->nfan_used > 0 && encode_signal(chat, event, &push) != BT_OK)
        lose_all(chat);
    if (call != NULL && !answer_with_push(chat, call, NULL, &push))
        rpc_reply(call, &reply);
    if (chat->nfan_used > 0) /* at other proxies */
        send_all(chat, &push, trace);
}

void chat_push_signal(struct chat_conv *c, struct rpc_call *call, const SignalEvent *event)
{
    const struct rpc_header *h = rpc_call_header(call);

    push_signal(c, call, event, h->session, h->trace);
}

static void push_waiting_signal(struct chat_op *op)
{
    const struct store_message *m = &op->row;
    const SignalEvent event = { .hi = m->hi,
                                .lo = m->lo,
                                .sender_id = m->sender_id,
                                .type = rpc_bytes(m->content_type, m->content_type_len),
                                .body = rpc_bytes(m->body, m->body_len) };

    push_signal(op->conv, op->call, &event, op->except_session, op->trace);
    op->call = NULL;
}

static void push_committed(struct chat *chat, struct chat_op *op)
{
    const SendReply reply = { .seq = op->row.seq, .sent_ms = op->row.sent_ms };
    PushEvent push = { .except_session = op->except_session };

    fan_clear(chat);
    fan_members(op->conv, op->row.seq);
    if (op->also_push != 0)
        fan_user(chat, op->also_push);
    if (chat->nfan_used > 0 && encode_event(chat, op, &push) != BT_OK)
        lose_all(chat);
    if (op->kind != OP_APPLY && op->call != NULL && answer_with_push(chat, op->call, &reply, &push))
        op->call = NULL;
    chat_op_reply(op);
    send_all(chat, &push, op->trace);
}

static void push_op(struct chat *chat, struct chat_wait *w, enum bt_err presence_err)
{
    struct chat_op *op = (struct chat_op *)w;

    if (presence_err != BT_OK) {
        chat_op_reply(op);
        lost_everywhere(chat);
    } else if (op->kind == OP_SIGNAL) {
        push_waiting_signal(op);
    } else {
        push_committed(chat, op);
    }
    op->conv->pins--;
    chat_op_free(chat, op);
}

/*
 * The sender does not wait for a read of presence: only where none is needed does his answer carry the push. But who takes text back
 * does: what waits to be pushed before his recall still carries it.
 */
void chat_push_op(struct chat *chat, struct chat_op *op)
{
    if (!chat_presence_is_current(chat) && op->kind != OP_RECALL && op->kind != OP_EDIT)
        chat_op_reply(op);
    op->wait.run = push_op;
    chat_presence_look(chat, &op->wait);
}

void chat_push_users(struct chat *chat, const PushEvent *push, uint64_t trace, enum bt_err presence_err)
{
    fan_clear(chat);
    if (presence_err != BT_OK) {
        lost_everywhere(chat);
        return;
    }
    for (size_t i = 0; i < push->users.len / 8; i++)
        fan_user(chat, rpc_bytes_u64(push->users, i));
    send_all(chat, push, trace);
}

/* A link has room again, stands again, or broke, perhaps with pushes that waited for it. */
void chat_push_news(const char *address, enum rpc_link_news news, void *chat_arg)
{
    struct chat *chat = chat_arg;

    for (size_t i = 0; i < chat->nfan; i++)
        if (chat->fan[i].cap > 0 && strcmp(presence_node(chat->env.presence, (uint32_t)i)->address, address) == 0) {
            if (news == RPC_LINK_BROKE && !planted(PLANTED_NO_RESYNC))
                lost_at(chat, (uint32_t)i);
            else if (chat->fan[i].has_lost)
                chat->fan[i].has_lost = !tell_lost(chat, address);
        }
}

void chat_push_stop(struct chat *chat)
{
    net_timer_stop(chat->env.loop, &chat->lost_timer);
    for (size_t i = 0; i < chat->nfan; i++)
        bt_free(chat->fan[i].users);
    bt_free(chat->fan);
    bt_free(chat->fan_used);
    bt_free(chat->event);
    bt_free(chat->push);
}
