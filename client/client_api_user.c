/* client/client_api_user.c: typed calls: accounts, sessions, friends, servers. */
#include <string.h>

#include "client/client_internal.h"
#include "net/mem.h"

#define CALL(c, method_, target_, msg_, done_, cb_, arg_)                                                                    \
    client_call((c), &(struct client_ask){ .method = (method_), .target = (target_), .msg = (msg_), .done = (done_),          \
                                           .cb = (client_any_cb *)(cb_), .arg = (arg_) })

static struct rpc_bytes str(const char *s)
{
    return s ? rpc_str(s) : (struct rpc_bytes){ 0 };
}

static void plain_done(struct client_call *call, const struct bt_result *r, const void *msg)
{
    (void)msg;
    if (call->cb)
        ((bt_done_cb *)call->cb)(r, call->arg);
}

/* ---- accounts ---- */

static void registered(struct client_call *call, const struct bt_result *r, const void *msg)
{
    const RegisterReply *reply = msg;
    struct bt_user user = { .user_id = reply ? reply->user_id : 0 };
    if (call->cb)
        ((bt_user_cb *)call->cb)(r, reply ? &user : NULL, call->arg);
}

bool bt_register(struct bt_client *c, const char *name, const char *password, bt_user_cb *cb, void *arg)
{
    RegisterRequest req = { .name = rpc_str(name), .password = rpc_str(password) };
    return CALL(c, RPC_USER_REGISTER, 0, &req, registered, cb, arg);
}

/* The connection it came over is the session's from now on, whichever is in use meanwhile. */
static void logged_in(struct client_call *call, const struct bt_result *r, const void *msg)
{
    struct bt_client *c = call->client;
    bt_done_cb *cb = (bt_done_cb *)call->cb;
    if (msg && !c->is_closing)
        client_session_begun(call->came_on, msg);
    if (cb)
        cb(r, call->arg);
}

bool bt_login(struct bt_client *c, const char *name, const char *password, const char *device, bt_done_cb *cb, void *arg)
{
    LoginRequest req = { .name = rpc_str(name), .password = rpc_str(password), .device_id = c->device_id, .device = str(device) };
    return CALL(c, RPC_USER_LOGIN, 0, &req, logged_in, cb, arg);
}

static void logged_out(struct client_call *call, const struct bt_result *r, const void *msg)
{
    if (msg && !call->client->is_closing)
        client_session_over(call->client);
    plain_done(call, r, msg);
}

bool bt_logout(struct bt_client *c, bt_done_cb *cb, void *arg)
{
    static const LogoutRequest req;
    return CALL(c, RPC_USER_LOGOUT, 0, &req, logged_out, cb, arg);
}

static void user_done(struct client_call *call, const struct bt_result *r, const void *msg)
{
    struct bt_user user = msg ? client_user_of(msg) : (struct bt_user){ 0 };
    if (call->cb)
        ((bt_user_cb *)call->cb)(r, msg ? &user : NULL, call->arg);
}

bool bt_user_get(struct bt_client *c, uint64_t user_id, bt_user_cb *cb, void *arg)
{
    static const GetProfileRequest req;
    return CALL(c, RPC_USER_GET_PROFILE, user_id, &req, user_done, cb, arg);
}

bool bt_user_find(struct bt_client *c, const char *name, bt_user_cb *cb, void *arg)
{
    FindUserRequest req = { .name = rpc_str(name) };
    return CALL(c, RPC_USER_FIND_USER, 0, &req, user_done, cb, arg);
}

bool bt_profile_update(struct bt_client *c, const char *about, const char *avatar, bt_user_cb *cb, void *arg)
{
    UpdateProfileRequest req = { .about = str(about), .avatar = str(avatar) };
    return CALL(c, RPC_USER_UPDATE_PROFILE, 0, &req, user_done, cb, arg);
}

bool bt_password_change(struct bt_client *c, const char *old_password, const char *new_password, bt_done_cb *cb, void *arg)
{
    ChangePasswordRequest req = { .old_password = rpc_str(old_password), .new_password = rpc_str(new_password) };
    return CALL(c, RPC_USER_CHANGE_PASSWORD, 0, &req, plain_done, cb, arg);
}

static void users_done(struct client_call *call, const struct bt_result *r, const void *msg)
{
    const GetUsersReply *reply = msg;
    size_t n = reply ? reply->users_count : 0;
    struct bt_user *users = n ? bt_calloc(n, sizeof *users) : NULL;
    if (n && !users)
        r = &client_no_memory, n = 0;
    for (size_t k = 0; k < n; k++)
        users[k] = (struct bt_user){ .user_id = reply->users[k].user_id, .name = client_text(reply->users[k].name) };
    if (call->cb)
        ((bt_users_cb *)call->cb)(r, users, n, call->arg);
    bt_free(users);
}

bool bt_users_get(struct bt_client *c, const uint64_t *user_ids, size_t n, bt_users_cb *cb, void *arg)
{
    GetUsersRequest req = { .user_ids = (uint64_t *)(uintptr_t)user_ids, .user_ids_count = (pb_size_t)n }; /* only read */
    return CALL(c, RPC_USER_GET_USERS, 0, &req, users_done, cb, arg);
}

/* ---- sessions ---- */

static void sessions_done(struct client_call *call, const struct bt_result *r, const void *msg)
{
    const ListSessionsReply *reply = msg;
    size_t n = reply ? reply->sessions_count : 0;
    struct bt_session *rows = n ? bt_calloc(n, sizeof *rows) : NULL;
    if (n && !rows)
        r = &client_no_memory, n = 0;
    for (size_t k = 0; k < n; k++)
        rows[k] = (struct bt_session){
            .session_id = reply->sessions[k].session_id,
            .device = client_text(reply->sessions[k].device),
            .created_ms = reply->sessions[k].created_ms,
            .is_this = reply->sessions[k].is_this,
        };
    if (call->cb)
        ((bt_sessions_cb *)call->cb)(r, rows, n, call->arg);
    bt_free(rows);
}

bool bt_sessions_list(struct bt_client *c, bt_sessions_cb *cb, void *arg)
{
    static const ListSessionsRequest req;
    return CALL(c, RPC_USER_LIST_SESSIONS, 0, &req, sessions_done, cb, arg);
}

bool bt_session_end(struct bt_client *c, uint64_t session_id, bt_done_cb *cb, void *arg)
{
    EndSessionRequest req = { .session_id = session_id };
    return CALL(c, RPC_USER_END_SESSION, 0, &req, plain_done, cb, arg);
}

/* ---- friends ---- */

static void friend_done(struct client_call *call, const struct bt_result *r, const void *msg)
{
    const FriendReply *reply = msg;
    if (call->cb)
        ((bt_friend_cb *)call->cb)(r, reply ? (enum bt_friend_state)reply->state : BT_NO_FRIEND, reply && reply->blocked, call->arg);
}

bool bt_friend_do(struct bt_client *c, enum bt_friend_action action, uint64_t user_id, bt_friend_cb *cb, void *arg)
{
    static const uint16_t methods[] = {
        [BT_FRIEND_ADD] = RPC_FRIEND_ADD_FRIEND,         [BT_FRIEND_ACCEPT] = RPC_FRIEND_ACCEPT_FRIEND,
        [BT_FRIEND_DECLINE] = RPC_FRIEND_DECLINE_FRIEND, [BT_FRIEND_REMOVE] = RPC_FRIEND_REMOVE_FRIEND,
        [BT_FRIEND_BLOCK] = RPC_FRIEND_BLOCK,            [BT_FRIEND_UNBLOCK] = RPC_FRIEND_UNBLOCK,
    };
    static const AddFriendRequest req; /* all six are empty: whom it is about is the target */
    return CALL(c, methods[action], user_id, &req, friend_done, cb, arg);
}

static void friends_done(struct client_call *call, const struct bt_result *r, const void *msg)
{
    const ListFriendsReply *reply = msg;
    size_t n = reply ? reply->friends_count : 0;
    struct bt_friend *rows = n ? bt_calloc(n, sizeof *rows) : NULL;
    if (n && !rows)
        r = &client_no_memory, n = 0;
    for (size_t k = 0; k < n; k++) {
        const FriendInfo *f = &reply->friends[k];
        rows[k] = (struct bt_friend){
            .user_id = f->user_id,
            .name = client_text(f->name),
            .state = (enum bt_friend_state)f->state,
            .blocked = f->blocked,
            .online = f->online,
            .changed_ms = f->changed_ms,
        };
    }
    if (call->cb)
        ((bt_friends_cb *)call->cb)(r, rows, n, reply && reply->more, call->arg);
    bt_free(rows);
}

bool bt_friends_list(struct bt_client *c, uint64_t after_user_id, uint32_t limit, bt_friends_cb *cb, void *arg)
{
    ListFriendsRequest req = { .after_user_id = after_user_id, .limit = limit };
    return CALL(c, RPC_FRIEND_LIST_FRIENDS, 0, &req, friends_done, cb, arg);
}

/* ---- servers ---- */

static void proxies_done(struct client_call *call, const struct bt_result *r, const void *msg)
{
    const DirectoryReply *reply = msg;
    size_t n = reply ? reply->proxies_count : 0;
    struct bt_proxy *rows = n ? bt_calloc(n, sizeof *rows) : NULL;
    if (n && !rows)
        r = &client_no_memory, n = 0;
    for (size_t k = 0; k < n; k++)
        rows[k] = (struct bt_proxy){
            .address = client_text(reply->proxies[k].address),
            .unit = client_text(reply->proxies[k].unit),
            .connections = reply->proxies[k].connections,
            .weight = reply->proxies[k].weight,
        };
    if (call->cb)
        ((bt_proxies_cb *)call->cb)(r, rows, n, call->arg);
    bt_free(rows);
}

bool bt_directory(struct bt_client *c, bt_proxies_cb *cb, void *arg)
{
    static const DirectoryRequest req;
    return CALL(c, RPC_PROXY_DIRECTORY, 0, &req, proxies_done, cb, arg);
}
