/*
 * roles/chat.c: the chat role: a conversation has one owner, who gives its messages their numbers. This file: settings, start and
 * stop, and the handlers, which check a request's form and make an op of it.
 */
#include "roles/chat.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "net/mem.h"
#include "proto/chat_methods.h"
#include "store/name.h"
#include "store/store.h"

#define LOG_MODULE "chat"
#include "net/log.h"

static const struct conf_key chat_keys[] = {
    { .section = "chat", .name = "strangers", .type = CONF_BOOL, .def = "yes", .help = "users may write to users who are not their friends" },
    { .section = "chat", .name = "body_max", .type = CONF_INT, .def = "65536", .min = 1, .max = 1048576, .unit = "bytes", .help = "longest body of a message" },
    { .section = "chat", .name = "signal_max", .type = CONF_INT, .def = "4096", .min = 0, .max = 65536, .unit = "bytes", .help = "longest body of a signal" },
    { .section = "chat", .name = "window", .type = CONF_INT, .def = "64", .min = 0, .max = 65536, .unit = "messages", .help = "newest messages per conversation whose ids are remembered in memory, to answer repeats at once" },
    { .section = "chat", .name = "repeats", .type = CONF_INT, .def = "256", .min = 16, .max = 1000000, .unit = "messages", .help = "repeats of one sender in a second that are looked for in the store, as the window does not know them; more wait" },
    { .section = "chat", .name = "repeats_waiting", .type = CONF_INT, .def = "1024", .min = 64, .max = 1000000, .unit = "messages", .help = "messages of one sender that wait for that; more are refused with RESOURCE_EXHAUSTED" },
    { .section = "chat", .name = "conversations", .type = CONF_INT, .def = "100000", .min = 1, .max = 100000000, .unit = "conversations", .help = "conversations kept open; the least used is closed beyond that" },
    { .section = "chat", .name = "queue", .type = CONF_INT, .def = "50000", .min = 16, .max = 10000000, .unit = "messages", .help = "messages under way; more are refused with RESOURCE_EXHAUSTED" },
    { .section = "chat", .name = "queue_bytes", .type = CONF_INT, .def = "134217728", .min = 1048576, .max = 1099511627776, .unit = "bytes", .help = "the same in bytes" },
    { .section = "chat", .name = "wait_ms", .type = CONF_INT, .def = "1000", .min = 10, .max = 600000, .unit = "ms", .help = "a message that would wait longer than that, or than half of its deadline, is refused with RESOURCE_EXHAUSTED" },
    { .section = "chat", .name = "batch_rows", .type = CONF_INT, .def = "2000", .min = 1, .max = 50000, .unit = "messages", .help = "messages written in one commit" },
    { .section = "chat", .name = "batch_bytes", .type = CONF_INT, .def = "8388608", .min = 65536, .max = 268435456, .unit = "bytes", .help = "the same in bytes" },
    { .section = "chat", .name = "batches", .type = CONF_INT, .def = "1", .min = 1, .max = 64, .unit = "commits", .help = "commits under way at once; more than 1 helps a database server, not SQLite" },
    { .section = NULL },
};

/* Longest content type, and longest type of a signal: what the table and the protocol say. */
enum { CONTENT_TYPE_MAX = 128, SIGNAL_TYPE_MAX = 64 };

static_assert((int)STORE_TEXT == (int)MessageKind_TEXT && (int)STORE_EDIT == (int)MessageKind_EDIT && (int)STORE_RECALL == (int)MessageKind_RECALL &&
                  (int)STORE_MEMBERSHIP == (int)MessageKind_MEMBERSHIP && (int)STORE_APPLICATION == (int)MessageKind_APPLICATION,
              "kinds are stored as they are sent");
static_assert((int)STORE_MEMBER == (int)MemberRole_MEMBER && (int)STORE_ADMIN == (int)MemberRole_ADMIN && (int)STORE_OWNER == (int)MemberRole_GROUP_OWNER &&
                  (int)STORE_INVITED == (int)Pending_INVITED && (int)STORE_ASKING == (int)Pending_ASKING,
              "roles are stored as they are sent");

/* ---- from a request to an op ---------------------------------------------------------------------------------------------------- */

/* What every request about a conversation must have. False: answered. */
static bool is_sound(struct chat *chat, struct rpc_call *call)
{
    const struct rpc_header *h = rpc_call_header(call);
    uint64_t target = h->target & ~RPC_TARGET_GROUP;
    uint32_t retry_ms;

    if (h->caller == 0) {
        rpc_fail(call, BT_ENOAUTH, NULL);
        return false;
    }
    if (target == 0 || target > INT64_MAX || h->caller > INT64_MAX) {
        rpc_fail(call, BT_EINVAL, "the header's target names no user or group");
        return false;
    }
    if (!chat_load_takes(chat, rpc_call_left_ms(call), &retry_ms)) {
        rpc_fail_retry(call, BT_EBUSY, retry_ms, "too many messages under way");
        return false;
    }
    return true;
}

void chat_submit_now(struct chat *chat, struct chat_op *op)
{
    struct chat_conv *c = chat_conv_get(chat, op->row.hi, op->row.lo);

    if (c == NULL)
        chat_op_end(chat, op, BT_ENOMEM, NULL);
    else
        chat_conv_submit(c, op);
}

/* Send the op on its way; NULL: there was no memory for it. */
static void submit(struct chat *chat, struct rpc_call *call, struct chat_op *op)
{
    if (op == NULL)
        rpc_fail(call, BT_ENOMEM, NULL);
    else if (!chat_sender_holds(chat, op))
        chat_submit_now(chat, op);
}

static bool is_text_ok(struct rpc_bytes b, size_t max)
{
    return b.len <= max && (b.len == 0 || name_is_utf8(b.data, b.len));
}

/* A message, an edit or a recall. */
static void submit_message(struct chat *chat, struct rpc_call *call, enum chat_op_kind op_kind, MessageKind kind, uint64_t client_msg_id,
                           uint64_t refers_to_seq, struct rpc_bytes content_type, struct rpc_bytes body)
{
    struct chat_op *op;

    if (!is_sound(chat, call))
        return;
    if (client_msg_id == 0) {
        rpc_fail(call, BT_EINVAL, "client_msg_id is missing");
        return;
    }
    if (!is_text_ok(content_type, CONTENT_TYPE_MAX)) {
        rpc_fail(call, BT_EINVAL, "content_type is longer than %d bytes, or not UTF-8", CONTENT_TYPE_MAX);
        return;
    }
    if (body.len > chat->set.body_max) {
        rpc_fail(call, BT_EINVAL, "the body is longer than %u bytes", (unsigned)chat->set.body_max);
        return;
    }
    if (kind != MessageKind_APPLICATION && !is_text_ok(body, chat->set.body_max)) {
        rpc_fail(call, BT_EINVAL, "the body is not UTF-8");
        return;
    }
    op = chat_op_new(chat, op_kind, call, (int32_t)kind, refers_to_seq, content_type, body);
    if (op != NULL)
        op->row.client_msg_id = client_msg_id;
    submit(chat, call, op);
}

void chat_send(struct rpc_call *call, const void *msg, void *self)
{
    const SendRequest *req = msg;
    MessageKind kind = req->kind == MessageKind_NO_KIND ? MessageKind_TEXT : req->kind;

    if (kind != MessageKind_TEXT && kind != MessageKind_APPLICATION) {
        rpc_fail(call, BT_EINVAL, "clients send text or application messages");
        return;
    }
    submit_message(self, call, OP_SEND, kind, req->client_msg_id, 0, req->content_type, req->body);
}

void chat_edit(struct rpc_call *call, const void *msg, void *self)
{
    const EditRequest *req = msg;

    submit_message(self, call, OP_EDIT, MessageKind_EDIT, req->client_msg_id, req->refers_to_seq, req->content_type, req->body);
}

void chat_recall(struct rpc_call *call, const void *msg, void *self)
{
    const RecallRequest *req = msg;

    submit_message(self, call, OP_RECALL, MessageKind_RECALL, req->client_msg_id, req->refers_to_seq, rpc_bytes("", 0), rpc_bytes("", 0));
}

void chat_signal(struct rpc_call *call, const void *msg, void *self)
{
    struct chat *chat = self;
    const SignalRequest *req = msg;

    if (!is_sound(chat, call))
        return;
    if (!is_text_ok(req->type, SIGNAL_TYPE_MAX) || req->body.len > chat->set.signal_max) {
        rpc_fail(call, BT_EINVAL, "type is at most %d bytes of UTF-8, the body at most %u bytes", SIGNAL_TYPE_MAX, (unsigned)chat->set.signal_max);
        return;
    }
    const struct rpc_header *h = rpc_call_header(call);
    SignalEvent event = { .sender_id = h->caller, .type = req->type, .body = req->body };
    rpc_key_of(h->caller, h->target, &event.hi, &event.lo);
    struct chat_conv *c = chat_conv_get(chat, event.hi, event.lo);
    if (c == NULL || !chat_signal_at_once(c, call, &event))
        submit(chat, call, chat_op_new(chat, OP_SIGNAL, call, 0, 0, req->type, req->body));
}

enum { MEMBERSHIP_MAX = 4096 };

/*
 * An id for the message that tells a change: the same for all tries of one call, whichever nodes they come by. So the unique key
 * knows a try that comes late, when another was done and perhaps undone since. A call that nobody traces has one try.
 * It is below all ids that devices make by their clocks, for chat_conv_recall() is quick with ids that are above those before.
 */
static uint64_t change_id(uint64_t trace, const uint8_t *change, size_t len)
{
    static const unsigned char key[crypto_shorthash_KEYBYTES] = "bytetalk change";
    unsigned char out[crypto_shorthash_BYTES];
    uint8_t said[sizeof trace + MEMBERSHIP_MAX];
    uint64_t id;

    if (trace == 0)
        randombytes_buf(&trace, sizeof trace);
    memcpy(said, &trace, sizeof trace);
    memcpy(said + sizeof trace, change, len);
    crypto_shorthash(out, said, sizeof trace + len, key);
    memcpy(&id, out, sizeof id);
    return id >> 2 | 1; /* 0 is none */
}

void chat_apply(struct rpc_call *call, const void *msg, void *self)
{
    struct chat *chat = self;
    const ApplyRequest *req = msg;
    uint8_t body[MEMBERSHIP_MAX];
    size_t len = rpc_size(Membership_fields, &req->change);
    struct chat_op *op;

    if (!is_sound(chat, call))
        return;
    if (!(rpc_call_header(call)->target & RPC_TARGET_GROUP) || len == 0 || len > sizeof body || req->change.user_id > INT64_MAX) {
        rpc_fail(call, BT_EINVAL, "not a change of a group");
        return;
    }
    len = rpc_encode(Membership_fields, &req->change, body, sizeof body);
    op = chat_op_new(chat, OP_APPLY, call, STORE_MEMBERSHIP, 0, rpc_bytes("", 0), rpc_bytes(body, len));
    if (op != NULL) {
        op->look = false; /* an earlier try, if it was done, shows in the state, or meets the key of its id */
        op->except_session = 0;
        op->request_id = req->request_id;
        op->keep_name = req->keep_name;
        op->keep_about = req->keep_about;
        op->keep_join_mode = req->keep_join_mode;
        op->row.client_msg_id = change_id(op->trace, body, len);
        if (rpc_decode(Membership_fields, op->row.body, op->row.body_len, &op->change) != BT_OK) {
            chat_op_end(chat, op, BT_EINTERNAL, NULL);
            return;
        }
    }
    submit(chat, call, op);
}

void chat_drop_rights(struct rpc_call *call, const void *msg, void *self)
{
    struct chat *chat = self;
    uint64_t hi, lo;
    struct chat_conv *c;

    (void)msg;
    if (!is_sound(chat, call))
        return;
    rpc_key_of(rpc_call_header(call)->caller, rpc_call_header(call)->target, &hi, &lo);
    c = chat_conv_find(chat, hi, lo);
    if (c == NULL) { /* nothing is remembered */
        rpc_reply(call, &(DropRightsReply){ 0 });
        return;
    }
    submit(chat, call, chat_op_new(chat, OP_DROP, call, 0, 0, rpc_bytes("", 0), rpc_bytes("", 0)));
}

/* ---- what other roles ask ---------------------------------------------------------------------------------------------------------- */

/* A notification or a question that waits for presence. */
struct ask {
    struct chat_wait wait;
    struct rpc_call *call; /* a question's */
    PushEvent push;
    uint64_t trace;
    uint8_t bytes[];       /* users, then the event */
};

static struct ask *ask_new(struct rpc_bytes users, struct rpc_bytes event)
{
    struct ask *a = bt_calloc(1, sizeof *a + users.len + event.len);

    if (a == NULL)
        return NULL;
    if (users.len > 0)
        memcpy(a->bytes, users.data, users.len);
    if (event.len > 0)
        memcpy(a->bytes + users.len, event.data, event.len);
    a->push.users = rpc_bytes(a->bytes, users.len);
    a->push.event = rpc_bytes(a->bytes + users.len, event.len);
    return a;
}

static void notify_run(struct chat *chat, struct chat_wait *w, enum bt_err err)
{
    struct ask *a = (struct ask *)w;

    chat_push_users(chat, &a->push, a->trace, err);
    bt_free(a);
}

void chat_notify(struct rpc_call *call, const void *msg, void *self)
{
    struct chat *chat = self;
    const PushEvent *event = msg;
    struct ask *a = ask_new(event->users, event->event);

    if (a == NULL)
        return;
    a->push.method = event->method;
    a->push.except_session = event->except_session;
    a->trace = rpc_call_header(call)->trace;
    a->wait.run = notify_run;
    chat_presence_look(chat, &a->wait);
}

static void online_run(struct chat *chat, struct chat_wait *w, enum bt_err err)
{
    struct ask *a = (struct ask *)w;
    uint64_t *users = (uint64_t *)a->bytes;
    size_t n = 0;

    if (err != BT_OK) {
        rpc_fail(a->call, BT_EDOWN, "presence is away");
        bt_free(a);
        return;
    }
    for (size_t i = 0; i < a->push.users.len / 8; i++) {
        uint64_t user_id = rpc_bytes_u64(a->push.users, i);
        if (chat_presence_has(chat, user_id))
            users[n++] = user_id; /* n <= i: the list shrinks in place */
    }
    rpc_reply(a->call, &(WhoIsOnlineReply){ .users = rpc_bytes(users, n * sizeof users[0]) });
    bt_free(a);
}

void chat_who_is_online(struct rpc_call *call, const void *msg, void *self)
{
    struct chat *chat = self;
    const WhoIsOnlineRequest *req = msg;
    struct ask *a = ask_new(req->users, rpc_bytes("", 0));

    if (a == NULL) {
        rpc_fail(call, BT_ENOMEM, NULL);
        return;
    }
    a->call = call;
    a->wait.run = online_run;
    chat_presence_look(chat, &a->wait);
}

/* ---- start and stop ------------------------------------------------------------------------------------------------------------------ */

static void read_settings(struct chat *chat)
{
    const struct conf *conf = chat->env.conf;

    chat->set = (struct chat_settings){
        .window = (uint32_t)conf_int(conf, "chat", "window"),
        .repeats = (uint32_t)conf_int(conf, "chat", "repeats"),
        .repeats_waiting = (size_t)conf_int(conf, "chat", "repeats_waiting"),
        .body_max = (uint32_t)conf_int(conf, "chat", "body_max"),
        .signal_max = (uint32_t)conf_int(conf, "chat", "signal_max"),
        .wait_ms = (uint32_t)conf_int(conf, "chat", "wait_ms"),
        .queue = (size_t)conf_int(conf, "chat", "queue"),
        .queue_bytes = (size_t)conf_int(conf, "chat", "queue_bytes"),
        .conversations = (size_t)conf_int(conf, "chat", "conversations"),
        .batch_rows = (uint32_t)conf_int(conf, "chat", "batch_rows"),
        .batch_bytes = (size_t)conf_int(conf, "chat", "batch_bytes"),
        .batches = (uint32_t)conf_int(conf, "chat", "batches"),
        .max_members = (size_t)conf_int(conf, "group", "max_members"),
        .strangers = conf_bool(conf, "chat", "strangers"),
    };
}

static enum bt_err chat_start(const struct role_env *env, void **self_out, char *why, size_t why_size)
{
    struct chat *chat = bt_calloc(1, sizeof *chat);

    if (chat == NULL)
        goto no_memory;
    chat->env = *env;
    read_settings(chat);
    chat->rows = bt_malloc(chat->set.batch_rows * sizeof *chat->rows);
    if (chat->rows == NULL)
        goto no_memory;
    chat_batch_init(chat);
    chat->waits_last = &chat->waits;
    rpc_watch_links(env->rpc, chat_push_news, chat);
    rpc_watch_nodes(env->rpc, chat_owner_view, chat);
    *self_out = chat;
    return BT_OK;

no_memory:
    bt_free(chat);
    snprintf(why, why_size, "chat: %s", bt_err_text(BT_ENOMEM));
    return BT_ENOMEM;
}

static bool is_idle(const struct chat *chat)
{
    return chat->nops == 0 && chat->nflying == 0 && !chat->presence_reading && chat->waits == NULL;
}

static void idle_now(void *arg)
{
    struct chat *chat = arg;
    void (*cb)(void *) = chat->idle_cb;

    if (cb == NULL || !is_idle(chat))
        return;
    chat->idle_cb = NULL;
    cb(chat->idle_arg);
}

void chat_maybe_idle(struct chat *chat)
{
    if (chat->idle_cb != NULL && is_idle(chat))
        net_defer(chat->env.loop, &chat->idle_task, idle_now, chat);
}

/* Wait until everything that was taken is answered and pushed. */
static void chat_drain(void *self, void (*done_cb)(void *arg), void *arg)
{
    struct chat *chat = self;

    assert(chat->idle_cb == NULL);
    chat->idle_cb = done_cb;
    chat->idle_arg = arg;
    chat_senders_free(chat);
    chat_maybe_idle(chat);
}

struct stopping {
    struct chat *chat;
    void (*stopped_cb)(void *arg);
    void *arg;
};

static void chat_stop_done(void *arg)
{
    struct stopping s = *(struct stopping *)arg;
    struct chat *chat = s.chat;

    while (chat->lru_first != NULL) {
        chat_conv_free(chat->lru_first);
    }
    chat_push_stop(chat);
    chat_senders_stop(chat);
    chat_doors_free(chat);
    chat_op_free_spares(chat);
    bt_free(chat->convs);
    bt_free(chat->ids);
    bt_free(chat->rows);
    bt_free(chat->traces);
    bt_free(chat);
    bt_free(arg);
    s.stopped_cb(s.arg);
}

static void chat_stop(void *self, void (*stopped_cb)(void *arg), void *arg)
{
    struct chat *chat = self;
    struct stopping *s = bt_malloc(sizeof *s);

    rpc_watch_links(chat->env.rpc, NULL, chat);
    rpc_watch_nodes(chat->env.rpc, NULL, chat);
    chat_owner_stop(chat);
    if (s == NULL) { /* the process ends: better a leak than a wait for ever */
        stopped_cb(arg);
        return;
    }
    *s = (struct stopping){ chat, stopped_cb, arg };
    chat_batch_stop(chat);
    for (struct chat_conv *c = chat->lru_first, *next; c != NULL; c = next) {
        next = c->lru_next;
        chat_change_stop(c);
        chat_rival_stop(c);
    }
    chat->idle_cb = NULL;
    chat_drain(chat, chat_stop_done, s);
}

const struct role role_chat = {
    .name = "chat",
    .id = RPC_ROLE_CHAT,
    .keys = chat_keys,
    .methods = chat_methods,
    .needs_store = true,
    .needs_presence = true,
    .start = chat_start,
    .drain = chat_drain,
    .stop = chat_stop,
};
