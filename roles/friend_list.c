/* roles/friend_list.c: a user's list of friends, and telling his friends that he came or went. */
#include "roles/friend.h"

#include <string.h>

#include "net/mem.h"
#include "proto/stubs.h"

#define LOG_MODULE "friend"
#include "net/log.h"

enum {
    LIST_LIMIT = 100,
    LIST_LIMIT_MAX = 500,
    LIST_ONLINE_MS = 1000, /* who is online is worth no longer a wait */
};

/* ---- ListFriends: read a page; ask who of the friends in it is online; answer, with or without that ---- */

struct list_op {
    struct friend_role *self;
    struct rpc_call *call;
    size_t limit;
    ListFriendsReply reply; /* its array and the names in it are in `memory` */
    void *memory;
};

static void list_read(enum bt_err err, const struct db_rows *rows, void *arg);
static void list_ask_online(struct list_op *l);
static void list_online(const struct rpc_reply *reply, void *arg);

void friend_list_friends(struct rpc_call *call, const void *msg, void *self_arg)
{
    const ListFriendsRequest *req = msg;
    struct friend_role *self = self_arg;

    if (req->limit > LIST_LIMIT_MAX || req->after_user_id > INT64_MAX) {
        rpc_fail(call, BT_EINVAL, "limit is at most %d", LIST_LIMIT_MAX);
        return;
    }
    struct list_op *l = friend_op_begin(self, sizeof *l);
    if (!l) {
        rpc_fail(call, BT_ENOMEM, NULL);
        return;
    }
    l->self = self;
    l->call = call;
    l->limit = req->limit ? req->limit : LIST_LIMIT;
    store_friend_list(self->st, rpc_call_header(call)->caller, req->after_user_id, l->limit + 1, list_read, l);
}

static void list_end(struct list_op *l)
{
    bt_free(l->memory);
    friend_op_end(l->self, l);
}

/* Copy the page out of the rows, which go before the answer does. */
static enum bt_err list_take(struct list_op *l, const struct db_rows *rows)
{
    size_t n = rows->nrows < l->limit ? rows->nrows : l->limit, names = 0;
    struct store_friend f;

    for (size_t r = 0; r < n && store_friend_list_at(rows, r, &f); r++)
        names += f.name.len;
    l->memory = bt_malloc(n * sizeof(FriendInfo) + names + 1);
    if (!l->memory)
        return BT_ENOMEM;
    FriendInfo *infos = l->memory;
    uint8_t *name = (uint8_t *)(infos + n);
    for (size_t r = 0; r < n && store_friend_list_at(rows, r, &f); r++) {
        memcpy(name, f.name.p, f.name.len);
        infos[r] = (FriendInfo){
            .user_id = f.user_id,
            .name = rpc_bytes(name, f.name.len),
            .state = (FriendState)f.side.state,
            .blocked = f.side.blocked,
            .changed_ms = f.changed_ms,
        };
        name += f.name.len;
    }
    l->reply = (ListFriendsReply){ .friends_count = (pb_size_t)n, .friends = infos, .more = rows->nrows > n };
    return BT_OK;
}

static void list_read(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct list_op *l = arg;

    if (err == BT_OK)
        err = list_take(l, rows);
    if (err != BT_OK) {
        rpc_fail(l->call, err, NULL);
        list_end(l);
        return;
    }
    list_ask_online(l);
}

static void list_reply(struct list_op *l)
{
    rpc_reply(l->call, &l->reply);
    list_end(l);
}

static void list_ask_online(struct list_op *l)
{
    struct rpc_ctx ctx = rpc_ctx_of(l->call);
    uint8_t ids[8 * LIST_LIMIT_MAX];
    size_t n = 0;

    for (size_t i = 0; i < l->reply.friends_count; i++) {
        const FriendInfo *f = &l->reply.friends[i];
        if (f->state != FriendState_FRIENDS)
            continue;
        for (int b = 0; b < 8; b++)
            ids[8 * n + (size_t)b] = (uint8_t)(f->user_id >> (8 * b));
        n++;
    }
    if (n == 0) {
        list_reply(l);
        return;
    }
    if (ctx.timeout_ms == 0 || ctx.timeout_ms / 2 > LIST_ONLINE_MS)
        ctx.timeout_ms = LIST_ONLINE_MS;
    else
        ctx.timeout_ms = ctx.timeout_ms / 2 + 1;
    rpc_chat_who_is_online(l->self->rpc, &ctx, &(WhoIsOnlineRequest){ .users = rpc_bytes(ids, 8 * n) }, list_online, l);
}

static void list_mark_online(struct list_op *l, uint64_t user_id)
{
    size_t low = 0, high = l->reply.friends_count; /* by rising id */

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        FriendInfo *f = &l->reply.friends[mid];
        if (f->user_id == user_id) {
            f->online = f->state == FriendState_FRIENDS;
            return;
        }
        if (f->user_id < user_id)
            low = mid + 1;
        else
            high = mid;
    }
}

static void list_online(const struct rpc_reply *reply, void *arg)
{
    struct list_op *l = arg;
    WhoIsOnlineReply online = { 0 };

    enum bt_err err = rpc_reply_decode(reply, WhoIsOnlineReply_fields, &online);
    if (err == BT_OK) {
        for (size_t i = 0; i < online.users.len / 8; i++)
            list_mark_online(l, rpc_bytes_u64(online.users, i));
        rpc_release(WhoIsOnlineReply_fields, &online);
    } else {
        log_debug("who is online can't be told: %s", bt_err_text(err));
    }
    list_reply(l);
}

/*
 * ---- PresenceChanged: ask whether the user is online anywhere; page through the friends, and push to each page ----
 *
 * The proxy that sends it knows of its own sessions only, and events of two proxies may overtake one another. So the answer is
 * told, not the event; the proxy has written it before.
 */

struct tell_op {
    struct friend_role *self;
    uint64_t user_id, after_id, trace;
    bool is_online;
};

static void tell_asked(const struct rpc_reply *reply, void *arg);
static void tell_read(enum bt_err err, const struct db_rows *rows, void *arg);

static void tell_next(struct tell_op *t)
{
    store_friend_ids(t->self->st, t->user_id, t->after_id, FRIEND_PAGE, tell_read, t);
}

static void tell_end(struct tell_op *t)
{
    t->self->telling--;
    friend_op_end(t->self, t);
}

static void tell_ask(struct tell_op *t)
{
    const struct rpc_ctx ctx = { .caller = t->user_id, .trace = t->trace, .timeout_ms = LIST_ONLINE_MS };
    uint8_t id[8];

    for (int b = 0; b < 8; b++)
        id[b] = (uint8_t)(t->user_id >> (8 * b));
    rpc_chat_who_is_online(t->self->rpc, &ctx, &(WhoIsOnlineRequest){ .users = rpc_bytes(id, sizeof id) }, tell_asked, t);
}

void friend_presence_changed(struct rpc_call *call, const void *msg, void *self_arg)
{
    const PresenceEvent *event = msg;
    struct friend_role *self = self_arg;

    if (event->user_id == 0 || event->user_id > INT64_MAX || self->is_closing)
        return;
    struct tell_op *t = self->telling < self->max_telling ? friend_op_begin(self, sizeof *t) : NULL;
    if (!t) { /* friends see it when they list, and at the next change */
        if (self->untold++ % 1000 == 0)
            log_warn("too much coming and going: %llu changes of presence were not told to friends",
                     (unsigned long long)self->untold);
        return;
    }
    self->telling++;
    t->self = self;
    t->user_id = event->user_id;
    t->trace = rpc_call_header(call)->trace;
    tell_ask(t);
}

static void tell_asked(const struct rpc_reply *reply, void *arg)
{
    struct tell_op *t = arg;
    WhoIsOnlineReply online = { 0 };

    enum bt_err err = rpc_reply_decode(reply, WhoIsOnlineReply_fields, &online);
    if (err != BT_OK) {
        log_debug("friends of %llu were not told of his presence, which can't be asked: %s", (unsigned long long)t->user_id,
                  bt_err_text(err));
        tell_end(t);
        return;
    }
    t->is_online = online.users.len > 0;
    rpc_release(WhoIsOnlineReply_fields, &online);
    tell_next(t);
}

static void tell_read(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct tell_op *t = arg;
    uint64_t ids[FRIEND_PAGE];
    size_t n = 0;

    while (err == BT_OK && n < FRIEND_PAGE && store_friend_ids_at(rows, n, &ids[n]))
        n++;
    if (n > 0) {
        const PresenceEvent event = { .user_id = t->user_id, .online = t->is_online };
        const struct rpc_ctx ctx = { .caller = t->user_id, .trace = t->trace };
        friend_push(t->self, &ctx, ids, n, RPC_ON_PRESENCE, PresenceEvent_fields, &event, 0);
    }
    if (n < FRIEND_PAGE) {
        if (err != BT_OK)
            log_debug("friends of %llu were not told of his presence: %s", (unsigned long long)t->user_id, bt_err_text(err));
        tell_end(t);
        return;
    }
    t->after_id = ids[n - 1];
    tell_next(t);
}
