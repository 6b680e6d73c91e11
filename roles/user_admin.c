/* roles/user_admin.c: the sessions of any user, for operators. */
#include <string.h>

#include "net/mem.h"
#include "roles/user.h"
#include "store/session.h"

struct sessions_op {
    struct user_op op;
    uint64_t user_id;
    int64_t disabled_ms;
    size_t name_len;
    uint8_t name[TOKEN_NAME_MAX];
};

static void sessions_user_found(enum bt_err err, const struct db_rows *rows, void *arg);
static void sessions_read(enum bt_err err, const struct db_rows *rows, void *arg);

void user_sessions_of(struct rpc_call *call, const void *msg, void *self_arg)
{
    const SessionsOfRequest *req = msg;
    struct user_role *self = self_arg;
    uint8_t canon[USER_CANON_MAX];
    size_t canon_len = 0;
    enum bt_err err = req->user_id != 0 ? BT_OK : user_name_canon(self, req->name, canon, &canon_len);

    if (err == BT_EINVAL || req->user_id > INT64_MAX) {
        rpc_fail(call, BT_ENOTFOUND, "no such user");
        return;
    }
    if (err != BT_OK) {
        rpc_fail(call, err, NULL);
        return;
    }
    struct sessions_op *o = user_op_begin(self, call, sizeof *o);
    if (!o)
        return;
    if (req->user_id != 0)
        store_account_by_id(self->st, req->user_id, sessions_user_found, o);
    else
        store_account_by_name(self->st, (struct store_text){ canon, canon_len }, sessions_user_found, o);
}

static void sessions_user_found(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct sessions_op *o = arg;
    struct store_account a;

    if (err == BT_OK && !store_account_at(rows, 0, &a))
        err = BT_ENOTFOUND;
    if (err != BT_OK) {
        user_op_fail(o, err, err == BT_ENOTFOUND ? "no such user" : NULL);
        return;
    }
    o->user_id = a.user_id;
    o->disabled_ms = a.disabled_ms;
    o->name_len = a.name.len < sizeof o->name ? a.name.len : sizeof o->name;
    memcpy(o->name, a.name.p, o->name_len);
    store_session_live(o->op.self->st, o->user_id, sessions_read, o);
}

static void sessions_read(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct sessions_op *o = arg;
    SessionsOfReply reply = { .user_id = o->user_id, .name = rpc_bytes(o->name, o->name_len), .disabled_ms = o->disabled_ms };
    struct store_session s;

    if (err == BT_OK && rows->nrows > 0) {
        reply.sessions = bt_calloc(rows->nrows, sizeof *reply.sessions);
        err = reply.sessions ? BT_OK : BT_ENOMEM;
    }
    if (err != BT_OK) {
        user_op_fail(o, err, NULL);
        return;
    }
    while (store_session_live_at(rows, reply.sessions_count, &s))
        reply.sessions[reply.sessions_count++] =
            (SessionOf){ .session_id = s.session_id, .device = user_bytes(s.device), .created_ms = s.created_ms };
    rpc_reply(o->op.call, &reply);
    bt_free(reply.sessions);
    user_op_end(o);
}
