/* roles/user_session.c: the sessions of a user, ending one, and telling proxies which have ended. */
#include "roles/user.h"

#include "net/mem.h"
#include "store/session.h"

/* ---- ListSessions ---- */

static void sessions_listed(enum bt_err err, const struct db_rows *rows, void *arg);

void user_list_sessions(struct rpc_call *call, const void *msg, void *self_arg)
{
    struct user_role *self = self_arg;
    (void)msg;

    struct user_op *op = user_op_begin(self, call, sizeof *op);
    if (op)
        store_session_live(self->st, rpc_call_header(call)->caller, sessions_listed, op);
}

static void sessions_listed(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct user_op *op = arg;
    uint64_t this_session = rpc_call_header(op->call)->session;
    ListSessionsReply reply = { 0 };
    struct store_session s;

    if (err == BT_OK && rows->nrows > 0) {
        reply.sessions = bt_calloc(rows->nrows, sizeof *reply.sessions);
        err = reply.sessions ? BT_OK : BT_ENOMEM;
    }
    if (err != BT_OK) {
        user_op_fail(op, err, NULL);
        return;
    }
    while (store_session_live_at(rows, reply.sessions_count, &s)) {
        reply.sessions[reply.sessions_count++] = (SessionInfo){
            .session_id = s.session_id,
            .device = user_bytes(s.device),
            .created_ms = s.created_ms,
            .is_this = s.session_id == this_session,
        };
    }
    rpc_reply(op->call, &reply);
    bt_free(reply.sessions);
    user_op_end(op);
}

/* ---- EndSession ---- */

struct end_op {
    struct user_op op;
    uint64_t session_id;
    int64_t ended_ms;
};

static void end_done(const struct db_done *done, void *arg);
static void end_found(enum bt_err err, const struct db_rows *rows, void *arg);

void user_end_session(struct rpc_call *call, const void *msg, void *self_arg)
{
    const EndSessionRequest *req = msg;
    struct user_role *self = self_arg;

    struct end_op *o = user_op_begin(self, call, sizeof *o);
    if (!o)
        return;
    o->session_id = req->session_id;
    o->ended_ms = store_now_ms(self->st);
    store_session_end(self->st, rpc_call_header(call)->caller, o->session_id, SessionEnd_ENDED, o->ended_ms, end_done, o);
}

static void end_reply(struct end_op *o)
{
    rpc_reply(o->op.call, &(EndSessionReply){ 0 });
    user_op_end(o);
}

static void end_done(const struct db_done *done, void *arg)
{
    struct end_op *o = arg;

    if (done->err != BT_OK) {
        user_op_fail(o, done->err, NULL);
    } else if (done->changed == 0) {
        store_session_find(o->op.self->st, rpc_call_header(o->op.call)->caller, o->session_id, end_found, o);
    } else {
        user_ended_add(o->op.self->ended, o->session_id, o->ended_ms);
        end_reply(o);
    }
}

/* No such live session: one that has ended is OK, as this may be a repeat. */
static void end_found(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct end_op *o = arg;
    int64_t ended_ms;

    if (err != BT_OK)
        user_op_fail(o, err, NULL);
    else if (!store_session_find_at(rows, 0, &ended_ms))
        user_op_fail(o, BT_ENOTFOUND, "no such session");
    else
        end_reply(o);
}

/* ---- EndedSince ---- */

struct since_op {
    struct user_op op;
    int64_t now_ms; /* before the reading: what is committed later has a later end, less the slack */
};

static void since_read(enum bt_err err, const struct db_rows *rows, void *arg);

void user_ended_since(struct rpc_call *call, const void *msg, void *self_arg)
{
    const EndedSinceRequest *req = msg;
    struct user_role *self = self_arg;
    int64_t now_ms = store_now_ms(self->st);

    if (req->since_ms < 0) {
        rpc_fail(call, BT_EINVAL, "since_ms is negative");
        return;
    }
    if (req->since_ms == 0) {
        rpc_reply(call, &(EndedSinceReply){ .now_ms = now_ms });
        return;
    }
    struct since_op *o = user_op_begin(self, call, sizeof *o);
    if (!o)
        return;
    o->now_ms = now_ms;
    store_session_ended(self->st, req->since_ms, since_read, o);
}

static void since_read(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct since_op *o = arg;
    EndedSinceReply reply = { .now_ms = o->now_ms };
    struct store_ended e;

    if (err == BT_OK && rows->nrows > 0) {
        reply.sessions = bt_calloc(rows->nrows, sizeof *reply.sessions);
        err = reply.sessions ? BT_OK : BT_ENOMEM;
    }
    if (err != BT_OK) {
        user_op_fail(o, err, NULL);
        return;
    }
    while (store_session_ended_at(rows, reply.sessions_count, &e)) {
        reply.sessions[reply.sessions_count++] = (EndedSession){
            .user_id = e.user_id,
            .session_id = e.session_id,
            .ended_ms = e.ended_ms,
            .why = (SessionEnd)e.reason,
        };
    }
    reply.more = rows->nrows >= STORE_ENDED_PAGE;
    rpc_reply(o->op.call, &reply);
    bt_free(reply.sessions);
    user_op_end(o);
}
