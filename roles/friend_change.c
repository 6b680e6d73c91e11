/*
 * roles/friend_change.c: requests, friendships and blocks: read the pair, decide, write it if it is still so, then
 * make it known: push to both users, have the conversation's owner forget its rights, answer.
 *
 * Every change is repeatable by state: what stands already is OK and pushes nothing. Block and Unblock are in force
 * when answered, so they speak to the owner even when nothing changed: the try before may have got only half way.
 */
#include "roles/friend.h"

#include <string.h>

#include "proto/stubs.h"

#define LOG_MODULE "friend"
#include "net/log.h"

struct change_op;

/* What a method makes of a pair: new is a copy of what was read, to be changed; on an error *detail_out says why. */
typedef enum bt_err change_decide(const struct friend_role *self, const struct store_friend_facts *facts,
                                  struct store_friend_pair *new, const char **detail_out);

struct change_op {
    struct friend_role *self;
    struct rpc_call *call;
    change_decide *decide;
    bool is_block;             /* Block, Unblock: not done before the owner has heard */
    int tries;
    uint64_t user_id, peer_id;
    struct store_friend_pair old, new;
    size_t own_name_len, peer_name_len;
    uint8_t own_name[FRIEND_NAME_MAX], peer_name[FRIEND_NAME_MAX];
};

static void change_read(struct change_op *c);
static void change_found(enum bt_err err, const struct db_rows *rows, void *arg);
static void change_written(const struct db_done *done, void *arg);
static void change_tell(struct change_op *c);
static void change_told(const struct rpc_reply *reply, void *arg);

/* ---- what each method decides ---- */

static void make_friends(struct store_friend_pair *new)
{
    new->own.state = new->peer.state = STORE_FRIENDS;
}

static void make_strangers(struct store_friend_pair *new)
{
    new->own.state = new->peer.state = STORE_NO_FRIEND;
}

static enum bt_err decide_add(const struct friend_role *self, const struct store_friend_facts *facts,
                              struct store_friend_pair *new, const char **detail_out)
{
    if (!facts->peer_exists) {
        *detail_out = "no such user";
        return BT_ENOTFOUND;
    }
    if (new->own.blocked || new->peer.blocked) {
        *detail_out = "one of the two blocks the other";
        return BT_EDENIED;
    }
    if (new->own.state == STORE_FRIENDS || new->own.state == STORE_REQUEST_SENT)
        return BT_OK;
    if (facts->own_count >= self->max_friends) {
        *detail_out = "too many friends and requests";
        return BT_EBUSY;
    }
    if (new->own.state == STORE_REQUEST_RECEIVED) {
        make_friends(new);
        return BT_OK;
    }
    if (facts->peer_count >= self->max_friends) {
        *detail_out = "the other has too many friends and requests";
        return BT_EBUSY;
    }
    if (facts->peer_asked >= self->max_requests) {
        *detail_out = "the other has too many requests to answer";
        return BT_EBUSY;
    }
    new->own.state = STORE_REQUEST_SENT;
    new->peer.state = STORE_REQUEST_RECEIVED;
    return BT_OK;
}

static enum bt_err decide_accept(const struct friend_role *self, const struct store_friend_facts *facts,
                                 struct store_friend_pair *new, const char **detail_out)
{
    if (new->own.state == STORE_FRIENDS)
        return BT_OK;
    if (new->own.state != STORE_REQUEST_RECEIVED) {
        *detail_out = "the other has not asked";
        return BT_ESTATE;
    }
    if (facts->own_count >= self->max_friends) {
        *detail_out = "too many friends and requests";
        return BT_EBUSY;
    }
    make_friends(new);
    return BT_OK;
}

static enum bt_err decide_decline(const struct friend_role *self, const struct store_friend_facts *facts,
                                  struct store_friend_pair *new, const char **detail_out)
{
    (void)self, (void)facts;
    if (new->own.state == STORE_FRIENDS) {
        *detail_out = "the two are friends already";
        return BT_ESTATE;
    }
    make_strangers(new);
    return BT_OK;
}

static enum bt_err decide_remove(const struct friend_role *self, const struct store_friend_facts *facts,
                                 struct store_friend_pair *new, const char **detail_out)
{
    (void)self, (void)facts, (void)detail_out;
    if (new->own.state == STORE_FRIENDS)
        make_strangers(new);
    return BT_OK;
}

static enum bt_err decide_block(const struct friend_role *self, const struct store_friend_facts *facts,
                                struct store_friend_pair *new, const char **detail_out)
{
    (void)self;
    if (!facts->peer_exists) {
        *detail_out = "no such user";
        return BT_ENOTFOUND;
    }
    make_strangers(new);
    new->own.blocked = true;
    return BT_OK;
}

static enum bt_err decide_unblock(const struct friend_role *self, const struct store_friend_facts *facts,
                                  struct store_friend_pair *new, const char **detail_out)
{
    (void)self, (void)facts, (void)detail_out;
    new->own.blocked = false;
    return BT_OK;
}

/* ---- the road they share ---- */

static void change_begin(struct rpc_call *call, struct friend_role *self, change_decide *decide, bool is_block)
{
    const struct rpc_header *h = rpc_call_header(call);

    if (h->target == 0 || h->target == h->caller || h->target >= RPC_TARGET_GROUP) {
        rpc_fail(call, BT_EINVAL, "the target must be another user");
        return;
    }
    struct change_op *c = friend_op_begin(self, sizeof *c);
    if (!c) {
        rpc_fail(call, BT_ENOMEM, NULL);
        return;
    }
    c->self = self;
    c->call = call;
    c->decide = decide;
    c->is_block = is_block;
    c->user_id = h->caller;
    c->peer_id = h->target;
    change_read(c);
}

static void change_fail(struct change_op *c, enum bt_err err, const char *detail)
{
    if (detail)
        rpc_fail(c->call, err, "%s", detail);
    else
        rpc_fail(c->call, err, NULL);
    friend_op_end(c->self, c);
}

static void change_read(struct change_op *c)
{
    store_friend_facts(c->self->st, c->user_id, c->peer_id, change_found, c);
}

static size_t keep_name(uint8_t buf[FRIEND_NAME_MAX], struct store_text name)
{
    size_t len = name.len <= FRIEND_NAME_MAX ? name.len : 0;
    if (len > 0)
        memcpy(buf, name.p, len);
    return len;
}

static bool side_differs(const struct store_friend_side *a, const struct store_friend_side *b)
{
    return a->state != b->state || a->blocked != b->blocked;
}

static bool change_is_none(const struct change_op *c)
{
    return !side_differs(&c->old.own, &c->new.own) && !side_differs(&c->old.peer, &c->new.peer);
}

static void change_found(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct change_op *c = arg;
    struct store_friend_facts facts;
    const char *detail = NULL;

    if (err == BT_OK) {
        store_friend_facts_at(rows, c->user_id, &facts);
        c->old = c->new = facts.pair;
        c->own_name_len = keep_name(c->own_name, facts.own_name);
        c->peer_name_len = keep_name(c->peer_name, facts.peer_name);
        err = c->decide(c->self, &facts, &c->new, &detail);
    }
    if (err == BT_OK && rpc_call_is_late(c->call)) /* the state may be the same as when it was asked, and come from others */
        err = BT_EDOWN;
    if (err != BT_OK)
        change_fail(c, err, detail);
    else if (change_is_none(c))
        change_tell(c);
    else
        store_friend_change(c->self->st, c->user_id, c->peer_id, &c->old, &c->new, change_written, c);
}

/* Tell one of the two, as he sees it now. */
static void change_push(struct change_op *c, uint64_t to, uint64_t other, struct rpc_bytes name, enum store_friend_state state,
                        uint64_t except_session)
{
    const struct rpc_ctx ctx = rpc_ctx_of(c->call);
    const FriendEvent event = { .user_id = other, .name = name, .state = (FriendState)state };
    friend_push(c->self, &ctx, &to, 1, RPC_ON_FRIEND, FriendEvent_fields, &event, except_session);
}

static void change_written(const struct db_done *done, void *arg)
{
    struct change_op *c = arg;

    if ((done->err == BT_ECONFLICT || done->err == BT_EEXIST) && c->tries++ < FRIEND_TRIES) {
        change_read(c);
        return;
    }
    if (done->err != BT_OK) {
        change_fail(c, done->err == BT_EEXIST ? BT_ECONFLICT : done->err, NULL);
        return;
    }
    if (side_differs(&c->old.own, &c->new.own))
        change_push(c, c->user_id, c->peer_id, rpc_bytes(c->peer_name, c->peer_name_len), c->new.own.state,
                    rpc_call_header(c->call)->session);
    if (c->old.peer.state != c->new.peer.state) /* a block is not for his eyes */
        change_push(c, c->peer_id, c->user_id, rpc_bytes(c->own_name, c->own_name_len), c->new.peer.state, 0);
    change_tell(c);
}

static void change_reply(struct change_op *c)
{
    rpc_reply(c->call, &(FriendReply){ .state = (FriendState)c->new.own.state, .blocked = c->new.own.blocked });
    friend_op_end(c->self, c);
}

/* Have the owner of the conversation forget what the two may do, where that has changed. */
static void change_tell(struct change_op *c)
{
    struct rpc_ctx ctx = rpc_ctx_of(c->call);
    bool is_friendship_changed = (c->old.own.state == STORE_FRIENDS) != (c->new.own.state == STORE_FRIENDS);

    if (!c->is_block && !is_friendship_changed) {
        change_reply(c);
        return;
    }
    ctx.caller = c->user_id;
    ctx.target = c->peer_id;
    ctx.timeout_ms -= ctx.timeout_ms / 8; /* leave time for the answer */
    rpc_chat_drop_rights(c->self->rpc, &ctx, &(DropRightsRequest){ 0 }, change_told, c);
}

static void change_told(const struct rpc_reply *reply, void *arg)
{
    struct change_op *c = arg;

    if (reply->err != BT_OK && c->is_block) {
        /* Written, but perhaps not in force yet: that is no "nothing was done". */
        change_fail(c, BT_EUNSURE, "written, but whoever serves the conversation was not reached: try again");
        return;
    }
    if (reply->err != BT_OK)
        log_debug("rights of %llu and %llu were not dropped: %s", (unsigned long long)c->user_id,
                  (unsigned long long)c->peer_id, bt_err_text(reply->err));
    change_reply(c);
}

/* ---- the methods ---- */

void friend_add_friend(struct rpc_call *call, const void *msg, void *self)
{
    (void)msg;
    change_begin(call, self, decide_add, false);
}

void friend_accept_friend(struct rpc_call *call, const void *msg, void *self)
{
    (void)msg;
    change_begin(call, self, decide_accept, false);
}

void friend_decline_friend(struct rpc_call *call, const void *msg, void *self)
{
    (void)msg;
    change_begin(call, self, decide_decline, false);
}

void friend_remove_friend(struct rpc_call *call, const void *msg, void *self)
{
    (void)msg;
    change_begin(call, self, decide_remove, false);
}

void friend_block(struct rpc_call *call, const void *msg, void *self)
{
    (void)msg;
    change_begin(call, self, decide_block, true);
}

void friend_unblock(struct rpc_call *call, const void *msg, void *self)
{
    (void)msg;
    change_begin(call, self, decide_unblock, true);
}
