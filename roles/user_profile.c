/* roles/user_profile.c: who somebody is: profiles, and finding users by name and by id. */
#include "roles/user.h"

static void profile_found(enum bt_err err, const struct db_rows *rows, void *arg);

/* ---- GetProfile, FindUser ---- */

void user_get_profile(struct rpc_call *call, const void *msg, void *self_arg)
{
    const struct rpc_header *h = rpc_call_header(call);
    struct user_role *self = self_arg;
    (void)msg;

    struct user_op *op = user_op_begin(self, call, sizeof *op);
    if (op)
        store_account_by_id(self->st, h->target ? h->target : h->caller, profile_found, op);
}

void user_find_user(struct rpc_call *call, const void *msg, void *self_arg)
{
    const FindUserRequest *req = msg;
    struct user_role *self = self_arg;
    uint8_t canon[USER_CANON_MAX];
    size_t canon_len;

    enum bt_err err = user_name_canon(self, req->name, canon, &canon_len);
    if (err != BT_OK) {
        rpc_fail(call, err == BT_EINVAL ? BT_ENOTFOUND : err, NULL);
        return;
    }
    struct user_op *op = user_op_begin(self, call, sizeof *op);
    if (op)
        store_account_by_name(self->st, (struct store_text){ canon, canon_len }, profile_found, op);
}

static void profile_found(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct user_op *op = arg;
    struct store_account a;

    if (err == BT_OK && !store_account_at(rows, 0, &a))
        err = BT_ENOTFOUND;
    if (err != BT_OK) {
        user_op_fail(op, err, err == BT_ENOTFOUND ? "no such user" : NULL);
        return;
    }
    rpc_reply(op->call, &(Profile){
        .user_id = a.user_id,
        .name = user_bytes(a.name),
        .about = user_bytes(a.about),
        .avatar = user_bytes(a.avatar),
        .created_ms = a.created_ms,
    });
    user_op_end(op);
}

/* ---- UpdateProfile ---- */

static void profile_updated(const struct db_done *done, void *arg);
static void profile_read_again(enum bt_err err, const struct db_rows *rows, void *arg);

static bool profile_text_is_fit(struct rpc_bytes text)
{
    return !text.data || (text.len <= USER_TEXT_MAX && name_is_utf8(text.data, text.len));
}

void user_update_profile(struct rpc_call *call, const void *msg, void *self_arg)
{
    const UpdateProfileRequest *req = msg;
    struct user_role *self = self_arg;

    if (!profile_text_is_fit(req->about) || !profile_text_is_fit(req->avatar)) {
        rpc_fail(call, BT_EINVAL, "about and avatar must have at most %d bytes of UTF-8", USER_TEXT_MAX);
        return;
    }
    struct user_op *op = user_op_begin(self, call, sizeof *op);
    if (op)
        store_account_set_profile(self->st, rpc_call_header(call)->caller, user_text(req->about), user_text(req->avatar),
                                  profile_updated, op);
}

static void profile_updated(const struct db_done *done, void *arg)
{
    struct user_op *op = arg;
    if (done->err == BT_OK)
        store_account_by_id(op->self->st, rpc_call_header(op->call)->caller, profile_read_again, op);
    else
        user_op_fail(op, done->err == BT_ECONFLICT ? BT_ENOTFOUND : done->err, NULL);
}

/* No failure may say now that nothing was done. */
static void profile_read_again(enum bt_err err, const struct db_rows *rows, void *arg)
{
    if (err == BT_OK)
        profile_found(err, rows, arg);
    else
        user_op_fail(arg, BT_EUNSURE, "written, but it could not be read again");
}

/* ---- GetUsers ---- */

static void users_found(enum bt_err err, const struct db_rows *rows, void *arg);

void user_get_users(struct rpc_call *call, const void *msg, void *self_arg)
{
    const GetUsersRequest *req = msg;
    struct user_role *self = self_arg;

    if (req->user_ids_count > STORE_ACCOUNT_NAMES_MAX) {
        rpc_fail(call, BT_EINVAL, "more than %d ids", STORE_ACCOUNT_NAMES_MAX);
        return;
    }
    if (req->user_ids_count == 0) {
        rpc_reply(call, &(GetUsersReply){ 0 });
        return;
    }
    struct user_op *op = user_op_begin(self, call, sizeof *op);
    if (op)
        store_account_names(self->st, req->user_ids, req->user_ids_count, users_found, op);
}

static void users_found(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct user_op *op = arg;
    UserName users[STORE_ACCOUNT_NAMES_MAX];
    GetUsersReply reply = { .users = users };
    struct store_text name;

    if (err != BT_OK) {
        user_op_fail(op, err, NULL);
        return;
    }
    for (pb_size_t i = 0; i < STORE_ACCOUNT_NAMES_MAX && store_account_names_at(rows, i, &users[i].user_id, &name); i++) {
        users[i].name = user_bytes(name);
        reply.users_count++;
    }
    rpc_reply(op->call, &reply);
    user_op_end(op);
}
