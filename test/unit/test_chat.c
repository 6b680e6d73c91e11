/*
 * The chat role over a database that answers from a script: what happens to messages when a write fails, when its outcome is
 * unknown, when the fence is met. (With a real store, and another writer: test/integration/test_fence.py.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "net/mem.h"
#include "proto/client.pb.h"
#include "proto/methods.h"
#include "proto/node.pb.h"
#include "roles/role.h"
#include "rpc/rpc.h"
#include "store/presence.h"
#include "store/store.h"
#include "test/unit/fake_db.h"

enum { ANN = 1, BEN = 2, CALLS = 32, PUSHES = 64 };

#define TAIL "SELECT hi, lo, sender_id, client_msg_id, seq, digest, sent_ms FROM message WHERE hi = ? AND lo = ? ORDER BY"
#define BY_ID "SELECT hi, lo, sender_id, client_msg_id, seq, digest, sent_ms FROM message WHERE hi = ? AND lo = ? AND sender_id"
#define BY_SEQ "SELECT hi, lo, sender_id, client_msg_id, seq, digest, sent_ms FROM message WHERE hi = ? AND lo = ? AND seq"
#define MEMBERS "SELECT user_id, role"
#define PAIR "SELECT 1, user_id"
#define INSERT "INSERT INTO message"
#define I(x) { .type = DB_INT, .i = (x) }

struct answer {
    bool is_done;
    uint8_t status;
    uint64_t seq;
};

struct ctx {
    struct net_loop *loop;
    struct conf *conf;
    struct fake_db *db;
    struct store *store;
    struct presence *presence;
    struct rpc *rpc;
    void *chat;
    struct answer answers[CALLS];
    size_t ncalls;
    uint64_t pushed[PUSHES]; /* seqs */
    size_t npushed;
};

/* ---- a node with the chat role, and a proxy that writes down what it is pushed ------------------------------------------------- */

static void fake_push(struct rpc_call *call, const void *msg, void *self)
{
    struct ctx *c = self;
    const PushEvent *push = msg;
    Message m = { 0 };

    (void)call;
    assert_int_equal(push->method, RPC_ON_MESSAGE);
    assert_int_equal(rpc_decode(Message_fields, push->event.data, push->event.len, &m), BT_OK);
    assert_true(c->npushed < PUSHES);
    c->pushed[c->npushed++] = m.seq;
    rpc_release(Message_fields, &m);
}

static const struct rpc_method fake_proxy_methods[] = { { RPC_PROXY_PUSH, fake_push }, { 0, NULL } };

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

static void presence_done(enum bt_err err, void *arg)
{
    assert_int_equal(err, BT_OK);
    set_flag(arg);
}

static void turn_until(struct ctx *c, const bool *flag)
{
    uint64_t due_ms = net_now_ms(c->loop) + 10000;

    while (!*flag) {
        assert_true(net_now_ms(c->loop) < due_ms);
        net_loop_turn(c->loop, 10);
    }
}

static int setup(void **state)
{
    struct ctx *c = bt_calloc(1, sizeof *c);
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
    turn_until(c, &is_present);
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *c = *state;
    bool is_stopped = false, is_rpc_closed = false, is_presence_closed = false, is_closed = false;

    rpc_unserve(c->rpc, RPC_ROLE_CHAT);
    role_chat.stop(c->chat, set_flag, &is_stopped);
    turn_until(c, &is_stopped);
    rpc_close(c->rpc, set_flag, &is_rpc_closed);
    turn_until(c, &is_rpc_closed);
    presence_close(c->presence, set_flag, &is_presence_closed);
    turn_until(c, &is_presence_closed);
    store_close(c->store, set_flag, &is_closed);
    turn_until(c, &is_closed);
    conf_free(c->conf);
    net_loop_free(c->loop);
    bt_free(c);
    return 0;
}

/* ---- the script, and asking ------------------------------------------------------------------------------------------------------ */

/* A 1:1 of Ann and Ben that stands at seq `head`; who reads it again finds `later`. */
static void script_conversation(struct ctx *c, int64_t head, int64_t later)
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

static void send_done(const struct rpc_reply *reply, void *arg)
{
    struct answer *a = arg;
    SendReply msg = { 0 };

    assert_false(a->is_done);
    a->is_done = true;
    a->status = reply->status;
    if (reply->err != BT_OK)
        return;
    if (reply->flags & RPC_FLAG_PUSHED) /* u32 n, then n bytes of answer */
        assert_int_equal(rpc_decode(SendReply_fields, reply->payload + 4, reply->payload[3], &msg), BT_OK);
    else
        assert_int_equal(rpc_decode(SendReply_fields, reply->payload, reply->len, &msg), BT_OK);
    a->seq = msg.seq;
}

static struct answer *send_from(struct ctx *c, uint64_t cmid, uint32_t timeout_ms)
{
    const struct rpc_ctx ctx = { .caller = ANN, .target = BEN, .session = 11, .timeout_ms = timeout_ms };
    const SendRequest req = { .client_msg_id = cmid, .body = rpc_str("hello") };
    struct answer *a = &c->answers[c->ncalls++];

    assert_true(c->ncalls <= CALLS);
    rpc_send_msg(c->rpc, RPC_CHAT_SEND, &ctx, &req, send_done, a);
    return a;
}

static void wait_for(struct ctx *c, const struct answer *a)
{
    turn_until(c, &a->is_done);
}

/* Turn until `prefix` was asked n times. */
static void wait_asked(struct ctx *c, const char *prefix, size_t n)
{
    uint64_t due_ms = net_now_ms(c->loop) + 10000;

    while (fake_db_count(c->db, prefix) < n) {
        assert_true(net_now_ms(c->loop) < due_ms);
        net_loop_turn(c->loop, 10);
    }
}

/* Value `col` of row `row` of the last insert of messages. */
static int64_t inserted(struct ctx *c, size_t row, size_t col)
{
    const struct fake_call *call = fake_db_last(c->db, INSERT);

    return call->stmts[0].vals[row * (call->stmts[0].nvals / call->stmts[0].nrows) + col].i;
}

/* ---- tests ---------------------------------------------------------------------------------------------------------------------------- */

static void messages_get_the_next_seqs_in_one_insert(void **state)
{
    struct ctx *c = *state;
    struct answer *a[3];

    script_conversation(c, 4, 4);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 3);
    for (size_t i = 0; i < 3; i++)
        a[i] = send_from(c, 100 + i, 5000);
    for (size_t i = 0; i < 3; i++) {
        wait_for(c, a[i]);
        assert_int_equal(a[i]->status, RPC_STATUS_OK);
        assert_int_equal(a[i]->seq, 5 + i);
    }
    assert_int_equal(fake_db_count(c->db, INSERT), 1);
    assert_int_equal(fake_db_last(c->db, INSERT)->stmts[0].nrows, 3);
    assert_int_equal(fake_db_count(c->db, TAIL), 1);
}

static void what_was_not_written_is_refused_and_its_seq_used_again(void **state)
{
    static const enum bt_err refusals[] = { BT_EDOWN, BT_ETIMEOUT, BT_EFULL, BT_EBUSY };
    struct ctx *c = *state;
    struct answer *a;

    script_conversation(c, 4, 4);
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
        fake_db_done(c->db, INSERT, 1, refusals[i], 0, 0);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    a = send_from(c, 100, 5000); /* the first two are UNAVAILABLE, which whoever calls tries again */
    wait_for(c, a);
    assert_int_equal(a->status, RPC_STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(fake_db_count(c->db, INSERT), 3);
    a = send_from(c, 101, 5000);
    wait_for(c, a);
    assert_int_equal(a->status, RPC_STATUS_RESOURCE_EXHAUSTED);
    a = send_from(c, 102, 5000);
    wait_for(c, a);
    assert_int_equal(a->status, RPC_STATUS_OK);
    assert_int_equal(a->seq, 5);
}

static void an_unknown_outcome_is_settled_by_writing_the_same_rows_again(void **state)
{
    struct ctx *c = *state;
    struct answer *a, *b;

    script_conversation(c, 4, 4);
    fake_db_done(c->db, INSERT, 2, BT_EUNSURE, 0, 0);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    a = send_from(c, 100, 5000);
    wait_asked(c, INSERT, 1);
    b = send_from(c, 101, 5000); /* waits: nothing else is written there before it is known */
    wait_asked(c, INSERT, 2);
    assert_int_equal(inserted(c, 0, 2), 5);
    assert_int_equal(inserted(c, 0, 4), 100);
    assert_int_equal(fake_db_last(c->db, INSERT)->stmts[0].nrows, 1);
    assert_false(a->is_done);
    wait_for(c, a);
    wait_for(c, b);
    assert_int_equal(a->seq, 5);
    assert_int_equal(b->seq, 6);
    assert_int_equal(fake_db_count(c->db, INSERT), 4);
}

static void an_unknown_outcome_that_was_a_success_is_found_and_pushed(void **state)
{
    struct ctx *c = *state;
    struct answer *a;
    uint64_t digest;

    script_conversation(c, 4, 5);
    fake_db_done(c->db, INSERT, 1, BT_EUNSURE, 0, 0);
    fake_db_done(c->db, INSERT, 1, BT_EEXIST, 0, 0);
    a = send_from(c, 100, 5000);
    wait_asked(c, INSERT, 1);
    digest = (uint64_t)inserted(c, 0, 8);
    const struct db_val found[] = { I(BEN), I(ANN), I(ANN), I(100), I(5), I((int64_t)digest), I(2000) };
    fake_db_rows(c->db, BY_ID, FAKE_ALWAYS, 1, 7, found);
    fake_db_rows(c->db, BY_SEQ, FAKE_ALWAYS, 1, 7, found);
    wait_for(c, a);
    assert_int_equal(a->status, RPC_STATUS_OK);
    assert_int_equal(a->seq, 5);
    assert_int_equal(fake_db_count(c->db, INSERT), 2);
}

static void a_seq_that_another_took_is_followed_by_a_fresh_one(void **state)
{
    struct ctx *c = *state;
    struct answer *a;
    const struct db_val others[] = { I(BEN), I(ANN), I(BEN), I(901), I(5), I(9), I(2000) };

    script_conversation(c, 4, 5);
    fake_db_done(c->db, INSERT, 1, BT_EEXIST, 0, 0);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    fake_db_rows(c->db, BY_ID, FAKE_ALWAYS, 0, 7, others);
    fake_db_rows(c->db, BY_SEQ, FAKE_ALWAYS, 1, 7, others);
    a = send_from(c, 100, 5000);
    wait_for(c, a);
    assert_int_equal(a->status, RPC_STATUS_OK);
    assert_int_equal(a->seq, 6);
    assert_int_equal(fake_db_count(c->db, TAIL), 2); /* read anew: members may have changed with it */
}

static void a_sender_whose_time_passes_in_doubt_is_told_unknown(void **state)
{
    struct ctx *c = *state;
    struct answer *a, *b;

    script_conversation(c, 4, 4);
    fake_db_done(c->db, INSERT, 3, BT_EUNSURE, 0, 0);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    a = send_from(c, 100, 120);
    wait_for(c, a);
    assert_true(a->status == RPC_STATUS_UNKNOWN || a->status == RPC_STATUS_DEADLINE_EXCEEDED);
    b = send_from(c, 100, 5000); /* the repeat joins what is being settled */
    wait_for(c, b);
    assert_int_equal(b->status, RPC_STATUS_OK);
    assert_int_equal(b->seq, 5);
    assert_int_equal(fake_db_count(c->db, INSERT), 4);
}

static void a_conversation_that_cannot_be_read_refuses(void **state)
{
    struct ctx *c = *state;
    struct answer *a;

    fake_db_fail(c->db, TAIL, FAKE_ALWAYS, BT_EDOWN);
    a = send_from(c, 100, 9000); /* and soon: that the store is away is no reason to wait for the deadline */
    wait_for(c, a);
    assert_int_equal(a->status, RPC_STATUS_UNAVAILABLE);
    assert_in_range(fake_db_count(c->db, TAIL), 2, 10);
    assert_int_equal(fake_db_count(c->db, INSERT), 0);
}

static void a_reconnected_store_is_read_anew(void **state)
{
    struct ctx *c = *state;
    struct answer *a;

    script_conversation(c, 4, 9);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    a = send_from(c, 100, 5000);
    wait_for(c, a);
    assert_int_equal(a->seq, 5);
    fake_db_set_up(c->db, false);
    fake_db_set_up(c->db, true);
    a = send_from(c, 101, 5000);
    wait_for(c, a);
    assert_int_equal(a->seq, 10);
}

static void time_does_not_fall_within_a_conversation(void **state)
{
    struct ctx *c = *state;
    struct answer *a;

    script_conversation(c, 4, 4);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    a = send_from(c, 100, 5000);
    wait_for(c, a);
    int64_t first_ms = inserted(c, 0, 5);
    fake_db_set_now(c->db, 1600000000000);
    a = send_from(c, 101, 5000);
    wait_for(c, a);
    assert_true(inserted(c, 0, 5) >= first_ms);
}

static void every_failing_allocation_is_an_answer(void **state)
{
    struct ctx *c = *state;

    script_conversation(c, 4, 4);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    for (long n = 0; n < 30; n++) {
        struct answer *a = send_from(c, 100 + (uint64_t)n, 2000);
        bt_mem_fail_after(n);
        wait_for(c, a);
        bt_mem_fail_after(-1);
        assert_true(a->status == RPC_STATUS_OK || a->status == RPC_STATUS_RESOURCE_EXHAUSTED || a->status == RPC_STATUS_UNAVAILABLE ||
                    a->status == RPC_STATUS_UNKNOWN || a->status == RPC_STATUS_DEADLINE_EXCEEDED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(messages_get_the_next_seqs_in_one_insert, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_not_written_is_refused_and_its_seq_used_again, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unknown_outcome_is_settled_by_writing_the_same_rows_again, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unknown_outcome_that_was_a_success_is_found_and_pushed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_seq_that_another_took_is_followed_by_a_fresh_one, setup, teardown),
        cmocka_unit_test_setup_teardown(a_sender_whose_time_passes_in_doubt_is_told_unknown, setup, teardown),
        cmocka_unit_test_setup_teardown(a_conversation_that_cannot_be_read_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reconnected_store_is_read_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(time_does_not_fall_within_a_conversation, setup, teardown),
        cmocka_unit_test_setup_teardown(every_failing_allocation_is_an_answer, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
