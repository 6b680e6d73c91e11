/* test/unit/chat_aid.c: see chat_aid.h. */
#include "test/unit/chat_aid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "net/mem.h"
#include "proto/node.pb.h"
#include "rpc/push.h"

enum { UNTIL_MS = 10000 };

/* ---- the proxy ------------------------------------------------------------------------------------------------------------------- */

static void take_push(struct chat_aid *c, const PushEvent *push)
{
    Message m = { 0 };

    assert_true(c->npushed < CHAT_AID_PUSHES);
    c->push_bytes += push->users.len + push->event.len;
    c->nreceivers += push->users.len / 8;
    if (push->method != RPC_ON_MESSAGE) {
        assert_int_equal(push->method, RPC_ON_SIGNAL);
        c->pushed[c->npushed++] = 0;
        return;
    }
    assert_int_equal(rpc_decode(Message_fields, push->event.data, push->event.len, &m), BT_OK);
    c->pushed[c->npushed++] = m.seq;
    rpc_release(Message_fields, &m);
}

static void fake_push(struct rpc_call *call, const void *msg, void *self)
{
    (void)call;
    take_push(self, msg);
}

static void fake_lost(struct rpc_call *call, const void *msg, void *self)
{
    struct chat_aid *c = self;

    (void)call;
    (void)msg;
    c->nlost++;
}

/* Ben is there from the start, and at the second position whoever is late. */
static void fake_users_here(struct rpc_call *call, const void *msg, void *self)
{
    struct chat_aid *c = self;
    const UsersHereRequest *req = msg;
    bool is_full = req->epoch != rpc_self(c->rpc)->epoch || req->position == 0;
    uint64_t users[2] = { BEN, c->late };
    size_t from = is_full ? 0 : 1, n = c->late != 0 && (is_full || req->position < 2) ? 2 : 1;

    c->nasked++;
    if (c->is_mute) {
        rpc_fail(call, BT_EDOWN, "mute");
        return;
    }
    c->push_bytes += (n - from) * sizeof users[0];
    rpc_reply(call, &(UsersHereReply){ .epoch = rpc_self(c->rpc)->epoch, .position = c->late != 0 ? 2 : 1, .is_full = is_full,
                                       .here = rpc_bytes(users + from, (n - from) * sizeof users[0]) });
}

static const struct rpc_method fake_proxy_methods[] = {
    { RPC_PROXY_PUSH, fake_push }, { RPC_PROXY_PUSH_LOST, fake_lost }, { RPC_PROXY_USERS_HERE, fake_users_here }, { 0, NULL }
};

/* ---- turning ----------------------------------------------------------------------------------------------------------------------- */

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

void chat_aid_turn_until(struct chat_aid *c, const bool *flag)
{
    uint64_t due_ms = net_now_ms(c->loop) + UNTIL_MS;

    while (!*flag) {
        assert_true(net_now_ms(c->loop) < due_ms);
        net_loop_turn(c->loop, 10);
    }
}

void chat_aid_turn_for(struct chat_aid *c, uint32_t ms)
{
    uint64_t due_ms = net_now_ms(c->loop) + ms;

    while (net_now_ms(c->loop) < due_ms)
        net_loop_turn(c->loop, 5);
}

void chat_aid_wait(struct chat_aid *c, const struct chat_answer *a)
{
    chat_aid_turn_until(c, &a->is_done);
}

void chat_aid_wait_asked(struct chat_aid *c, const char *prefix, size_t n)
{
    uint64_t due_ms = net_now_ms(c->loop) + UNTIL_MS;

    while (fake_db_count(c->db, prefix) < n) {
        assert_true(net_now_ms(c->loop) < due_ms);
        net_loop_turn(c->loop, 10);
    }
}

void chat_aid_wait_count(struct chat_aid *c, const size_t *count, size_t n)
{
    uint64_t due_ms = net_now_ms(c->loop) + UNTIL_MS;

    while (*count < n) {
        assert_true(net_now_ms(c->loop) < due_ms);
        net_loop_turn(c->loop, 10);
    }
}

/* ---- the node ------------------------------------------------------------------------------------------------------------------------ */

static void presence_done(enum bt_err err, void *arg)
{
    assert_int_equal(err, BT_OK);
    set_flag(arg);
}

int chat_aid_setup_with(void **state, const char *const settings[])
{
    struct chat_aid *c = bt_calloc(1, sizeof *c);
    char why[256] = "";
    struct role_env env;
    bool is_present = false;

    assert_non_null(c);
    assert_int_equal(net_loop_new(&c->loop), BT_OK);
    assert_int_equal(conf_new(&c->conf), BT_OK);
    conf_declare(c->conf, rpc_keys);
    conf_declare(c->conf, registry_keys);
    conf_declare(c->conf, presence_keys);
    conf_declare(c->conf, role_chat.keys);
    conf_declare(c->conf, role_group.keys);
    for (size_t i = 0; settings != NULL && settings[i] != NULL; i++)
        assert_int_equal(conf_set(c->conf, settings[i], why, sizeof why), BT_OK);
    c->db = fake_db_new(c->loop);
    fake_db_set_now(c->db, 1700000000000);
    assert_int_equal(store_over(c->loop, fake_db_base(c->db), &c->store), BT_OK);
    assert_int_equal(rpc_new(c->loop, c->conf, &c->rpc, why, sizeof why), BT_OK);
    assert_int_equal(presence_open(c->loop, c->conf, rpc_self(c->rpc)->address, 1, &c->presence, why, sizeof why), BT_OK);
    env = (struct role_env){ .loop = c->loop, .conf = c->conf, .rpc = c->rpc, .store = c->store, .presence = c->presence };
    assert_int_equal(role_chat.start(&env, &c->chat, why, sizeof why), BT_OK);
    rpc_serve(c->rpc, RPC_ROLE_CHAT, role_chat.methods, c->chat);
    rpc_serve(c->rpc, RPC_ROLE_PROXY, fake_proxy_methods, c);
    rpc_start(c->rpc);
    presence_set(c->presence, BEN, true, presence_done, &is_present);
    chat_aid_turn_until(c, &is_present);
    *state = c;
    return 0;
}

int chat_aid_setup(void **state)
{
    return chat_aid_setup_with(state, NULL);
}

static void chat_stopped(void *arg)
{
    ((struct chat_aid *)arg)->chat = NULL;
}

bool chat_aid_stop(struct chat_aid *c, uint32_t limit_ms)
{
    uint64_t due_ms = net_now_ms(c->loop) + limit_ms;

    rpc_unserve(c->rpc, RPC_ROLE_CHAT);
    role_chat.stop(c->chat, chat_stopped, c);
    while (c->chat != NULL && net_now_ms(c->loop) < due_ms)
        net_loop_turn(c->loop, 10);
    return c->chat == NULL;
}

int chat_aid_teardown(void **state)
{
    struct chat_aid *c = *state;
    bool is_rpc_closed = false, is_presence_closed = false, is_closed = false;

    if (c->chat != NULL)
        assert_true(chat_aid_stop(c, UNTIL_MS));
    rpc_close(c->rpc, set_flag, &is_rpc_closed);
    chat_aid_turn_until(c, &is_rpc_closed);
    presence_close(c->presence, set_flag, &is_presence_closed);
    chat_aid_turn_until(c, &is_presence_closed);
    store_close(c->store, set_flag, &is_closed);
    chat_aid_turn_until(c, &is_closed);
    conf_free(c->conf);
    net_loop_free(c->loop);
    bt_free(c);
    return 0;
}

/* ---- the script, and asking ------------------------------------------------------------------------------------------------------ */

void chat_aid_script(struct chat_aid *c, int64_t head, int64_t later)
{
    const struct db_val tail[] = { I(BEN), I(ANN), I(BEN), I(900), I(head), I(7), I(1000) };
    const struct db_val then[] = { I(BEN), I(ANN), I(BEN), I(901), I(later), I(7), I(1000) };
    const struct db_val members[] = { I(ANN), I(1), I(0), I(0), I(1), I(0), I(BEN), I(1), I(0), I(0), I(1), I(0) };
    const struct db_val pair[] = { I(1), I(ANN), I(0), I(0), I(1), I(BEN), I(0), I(0) };

    fake_db_rows(c->db, TAIL, 1, 1, 7, tail);
    fake_db_rows(c->db, TAIL, FAKE_ALWAYS, 1, 7, then);
    fake_db_rows(c->db, MEMBERS, FAKE_ALWAYS, 2, 6, members);
    fake_db_rows(c->db, PAIR, FAKE_ALWAYS, 2, 4, pair);
}

/* With a push for the receivers at the same proxy. */
static void ask_done(const struct rpc_reply *reply, void *arg)
{
    struct chat_answer *a = arg;
    struct rpc_bytes answer = rpc_bytes(reply->payload, reply->len);
    SendReply msg = { 0 };
    PushEvent push = { 0 };

    assert_false(a->is_done);
    a->is_done = true;
    a->status = reply->status;
    a->npushed = a->aid->npushed;
    if (reply->err != BT_OK)
        return;
    if (reply->flags & RPC_FLAG_PUSHED) {
        assert_int_equal(rpc_reply_push(reply, &answer, &push), BT_OK);
        take_push(a->aid, &push);
    }
    assert_int_equal(rpc_decode(SendReply_fields, answer.data, answer.len, &msg), BT_OK); /* a signal's answer is empty */
    a->seq = msg.seq;
}

struct chat_answer *chat_aid_ask(struct chat_aid *c, uint16_t method, uint64_t target, const void *req, uint32_t timeout_ms,
                                 struct rpc_pending **pending_out)
{
    const struct rpc_ctx ctx = { .caller = ANN, .target = target, .session = 11, .timeout_ms = timeout_ms };
    struct chat_answer *a = &c->answers[c->ncalls++];
    struct rpc_pending *pending;

    assert_true(c->ncalls <= CHAT_AID_CALLS);
    a->aid = c;
    pending = rpc_send_msg(c->rpc, method, &ctx, req, ask_done, a);
    if (pending_out != NULL)
        *pending_out = pending;
    return a;
}

struct chat_answer *chat_aid_send(struct chat_aid *c, uint64_t client_msg_id, uint32_t timeout_ms)
{
    const SendRequest req = { .client_msg_id = client_msg_id, .body = rpc_str("hello") };

    return chat_aid_ask(c, RPC_CHAT_SEND, BEN, &req, timeout_ms, NULL);
}

int64_t chat_aid_inserted(struct chat_aid *c, size_t row, size_t col)
{
    const struct fake_call *call = fake_db_last(c->db, INSERT);

    return call->stmts[0].vals[row * (call->stmts[0].nvals / call->stmts[0].nrows) + col].i;
}
