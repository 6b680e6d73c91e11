/* test/unit/test_push.c: answers with a push: over sockets encoded, within the process as they are; both read alike. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "net/mem.h"
#include "proto/client.pb.h"
#include "proto/methods.h"
#include "rpc/push.h"
#include "rpc_ends.h"

enum { USERS_MAX = 1000, EVENT_MAX = 5000 };

/* What came of a call. */
struct got {
    struct rpc_out out;
    int done;
    uint8_t flags, status;
    enum bt_err err;      /* of reading it */
    SendReply answer;
    PushEvent push;
    uint64_t users[USERS_MAX];
    uint8_t event[EVENT_MAX];
};

static uint64_t users[USERS_MAX];
static uint8_t event[EVENT_MAX];

static void copy(void *to, struct rpc_bytes from)
{
    if (from.len > 0)
        memcpy(to, from.data, from.len);
}

static void got_done(struct rpc_out *out, const struct rpc_reply *reply)
{
    struct got *g = out->arg;
    struct rpc_bytes answer;

    g->done++;
    g->flags = reply->flags;
    g->status = reply->status;
    if (!(reply->flags & RPC_FLAG_PUSHED))
        return;
    g->err = rpc_reply_push(reply, &answer, &g->push);
    if (g->err != BT_OK)
        return;
    assert_int_equal(rpc_decode(SendReply_fields, answer.data, answer.len, &g->answer), BT_OK);
    copy(g->users, g->push.users);
    copy(g->event, g->push.event);
}

/* A call of Send that has come to the other end. */
static struct rpc_call *ask(struct ends *e, struct got *g)
{
    memset(g, 0, sizeof *g);
    g->out = (struct rpc_out){ .done = got_done, .arg = g };
    rpc_link_request(e->a.link, &(struct rpc_header){ .method = RPC_CHAT_SEND, .timeout_ms = 20000 }, NULL, 0, &g->out);
    ends_until(e, &e->b.kept_count, 1);
    e->b.kept_count = 0;
    return e->b.kept[0];
}

static void start(struct ends *e, ends_join_fn *join)
{
    for (size_t i = 0; i < USERS_MAX; i++)
        users[i] = 1000 + i;
    for (size_t i = 0; i < EVENT_MAX; i++)
        event[i] = (uint8_t)(i * 7);
    ends_open(e, join, END_KEEPS);
}

static void check_whole(ends_join_fn *join)
{
    static const size_t nusers[] = { 0, 1, 3, USERS_MAX }, lens[] = { 0, 1, 100, EVENT_MAX };
    static struct got g;
    struct ends e;

    start(&e, join);
    for (size_t u = 0; u < 4; u++)
        for (size_t n = 0; n < 4; n++) {
            const SendReply answer = { .seq = u + n, .sent_ms = u == 0 ? 0 : 1700000000000 };
            const PushEvent push = { .users = rpc_bytes(users, nusers[u] * sizeof users[0]), .method = RPC_ON_MESSAGE,
                                     .event = rpc_bytes(event, lens[n]), .except_session = n == 0 ? 0 : UINT64_MAX - 5 };
            assert_int_equal(rpc_reply_with_push(ask(&e, &g), &answer, &push), BT_OK);
            ends_until_int(&e, &g.done, 1);
            assert_int_equal(g.flags, RPC_FLAG_PUSHED);
            assert_int_equal(g.err, BT_OK);
            assert_int_equal(g.answer.seq, answer.seq);
            assert_int_equal(g.answer.sent_ms, answer.sent_ms);
            assert_int_equal(g.push.method, push.method);
            assert_int_equal(g.push.except_session, push.except_session);
            assert_int_equal(g.push.users.len, push.users.len);
            assert_int_equal(g.push.event.len, push.event.len);
            assert_memory_equal(g.users, users, push.users.len);
            assert_memory_equal(g.event, event, push.event.len);
        }
    assert_int_equal(rpc_link_open_calls(e.b.link), 0);
    ends_deinit(&e);
}

static void an_answer_and_its_push_arrive_whole(void **state)
{
    (void)state;
    check_whole(ends_join_sockets);
    check_whole(ends_join_pair);
}

static void check_too_long(ends_join_fn *join)
{
    const PushEvent push = { .users = rpc_bytes(users, 8), .method = RPC_ON_MESSAGE, .event = rpc_bytes(event, 100) };
    static struct got g;
    struct ends e;

    start(&e, join);
    e.limits_a.max_out_bytes = e.limits_b.max_out_bytes = 2048;
    struct rpc_call *call = ask(&e, &g);
    assert_int_equal(rpc_reply_with_push(call, &(SendReply){ .seq = 1 }, &push), BT_OK);
    ends_until_int(&e, &g.done, 1);
    call = ask(&e, &g);
    const PushEvent longer = { .users = rpc_bytes(users, 8), .event = rpc_bytes(event, 3000) };
    assert_int_equal(rpc_reply_with_push(call, &(SendReply){ .seq = 1 }, &longer), BT_OK);
    ends_until_int(&e, &g.done, 1);
    assert_int_equal(g.status, RPC_STATUS_INTERNAL); /* as any reply that is too long */
    assert_int_equal(g.flags, 0);
    ends_deinit(&e);
}

static void a_push_over_the_sending_limit_is_an_error(void **state)
{
    (void)state;
    check_too_long(ends_join_sockets);
    check_too_long(ends_join_pair);
}

/* Over a pair it would be taken for one that stands in memory, and over a socket show where that was. */
static void check_passed_on(ends_join_fn *join)
{
    static const uint8_t bytes[] = { 0, 0, 0, 0, 'p' };
    static struct got g;
    struct ends e;

    start(&e, join);
    rpc_reply_raw(ask(&e, &g), RPC_STATUS_OK, RPC_FLAG_PUSHED, bytes, sizeof bytes);
    ends_until_int(&e, &g.done, 1);
    assert_int_equal(g.status, RPC_STATUS_INTERNAL);
    assert_int_equal(g.flags, 0);
    assert_int_equal(rpc_link_open_calls(e.b.link), 0);
    ends_deinit(&e);
}

static void an_answer_with_a_push_is_not_passed_on(void **state)
{
    (void)state;
    check_passed_on(ends_join_sockets);
    check_passed_on(ends_join_pair);
}

static struct rpc_bytes taken; /* the payload of a reply; to be freed */

static void take_done(struct rpc_out *out, const struct rpc_reply *reply)
{
    uint8_t *bytes = malloc(reply->len);

    memcpy(bytes, reply->payload, reply->len);
    taken = rpc_bytes(bytes, reply->len);
    *(int *)out->arg = 1;
}

static void add_to(uint8_t *word, uint64_t by)
{
    uint64_t v;

    memcpy(&v, word, sizeof v);
    v += by;
    memcpy(word, &v, sizeof v);
}

/* Too short, too long, or its lengths do not fit it. */
static void what_is_in_memory_need_not_be_an_answer_and_a_push(void **state)
{
    enum { HEAD = sizeof(PushEvent) + sizeof(size_t), SUM = 2 + 24 + 100 };
    const PushEvent push = { .users = rpc_bytes(users, 24), .method = RPC_ON_MESSAGE, .event = rpc_bytes(event, 100) };
    static struct got g;
    struct rpc_reply reply = { .came = true, .is_local = true, .flags = RPC_FLAG_PUSHED };
    struct rpc_bytes answer;
    PushEvent got = { 0 };
    struct ends e;
    int is_done = 0;
    (void)state;
    start(&e, ends_join_pair);
    struct rpc_call *call = ask(&e, &g);
    g.out.done = take_done;
    g.out.arg = &is_done;
    assert_int_equal(rpc_reply_with_push(call, &(SendReply){ .seq = 1 }, &push), BT_OK);
    ends_until_int(&e, &is_done, 1);
    assert_int_equal(taken.len, HEAD + SUM);
    for (size_t len = 0; len <= taken.len + 1; len++) {
        uint8_t *exact = malloc(len + 1); /* so that reading beyond is noticed */
        memcpy(exact + 1, taken.data, len < taken.len ? len : taken.len);
        if (len > taken.len)
            exact[len] = 0;
        reply.payload = exact + 1;
        reply.len = len;
        assert_int_equal(rpc_reply_push(&reply, &answer, &got), len == taken.len ? BT_OK : BT_EPROTO);
        free(exact);
    }
    /* Each two of its words, the three lengths among them: one more, one less, so that their sum may be what it was. */
    for (size_t more = 0; more < HEAD; more += 8)
        for (size_t less = 0; less < HEAD; less += 8)
            for (size_t by = 1; by <= 4096; by *= 16) {
                uint8_t *odd = malloc(taken.len);
                memcpy(odd, taken.data, taken.len);
                add_to(odd + more, by);
                add_to(odd + less, 0 - by);
                reply.payload = odd;
                reply.len = taken.len;
                enum bt_err err = rpc_reply_push(&reply, &answer, &got);
                assert_true(err == BT_EPROTO || (answer.len <= SUM && got.users.len <= SUM && got.event.len <= SUM &&
                                                 answer.len + got.users.len + got.event.len == SUM));
                free(odd);
            }
    free((uint8_t *)taken.data);
    ends_deinit(&e);
}

static void check_no_memory(ends_join_fn *join)
{
    const PushEvent push = { .users = rpc_bytes(users, 8), .method = RPC_ON_MESSAGE, .event = rpc_bytes(event, EVENT_MAX) };
    static struct got g;
    struct ends e;

    start(&e, join);
    struct rpc_call *call = ask(&e, &g);
    bt_mem_fail_after(0);
    assert_int_equal(rpc_reply_with_push(call, &(SendReply){ .seq = 1 }, &push), BT_ENOMEM);
    bt_mem_fail_after(-1);
    assert_int_equal(rpc_link_open_calls(e.b.link), 1);
    rpc_reply(call, &(SendReply){ .seq = 1 });
    ends_until_int(&e, &g.done, 1);
    assert_int_equal(g.status, RPC_STATUS_OK);
    assert_int_equal(g.flags, 0);
    ends_deinit(&e);
}

static void without_memory_nothing_is_done_and_the_call_is_still_open(void **state)
{
    (void)state;
    check_no_memory(ends_join_sockets);
    check_no_memory(ends_join_pair);
}

static void what_another_node_sends_need_not_be_an_answer_and_a_push(void **state)
{
    static const uint8_t no_length[] = { 0, 0, 0 }, too_long[] = { 0, 0, 0, 3, 1, 2 }, huge[] = { 0xff, 0xff, 0xff, 0xff, 1, 2 },
                         no_push[] = { 0, 0, 0, 1, 8, 0x0a, 9, 1 }, nothing[] = { 0, 0, 0, 0 };
    static const struct rpc_bytes odd[] = { { no_length, 0 }, { no_length, sizeof no_length }, { too_long, sizeof too_long }, { huge, sizeof huge },
                                            { no_push, sizeof no_push } };
    struct rpc_reply reply = { .came = true, .flags = RPC_FLAG_PUSHED, .payload = nothing, .len = sizeof nothing };
    struct rpc_bytes answer;
    PushEvent push = { 0 };
    (void)state;
    assert_int_equal(rpc_reply_push(&reply, &answer, &push), BT_OK); /* both empty */
    assert_int_equal(answer.len + push.users.len + push.event.len, 0);
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        uint8_t *exact = malloc(odd[i].len + 1); /* so that reading beyond is noticed */
        memcpy(exact + 1, odd[i].data, odd[i].len);
        reply.payload = exact + 1;
        reply.len = odd[i].len;
        assert_int_equal(rpc_reply_push(&reply, &answer, &push), BT_EPROTO);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_and_its_push_arrive_whole),
        cmocka_unit_test(a_push_over_the_sending_limit_is_an_error),
        cmocka_unit_test(an_answer_with_a_push_is_not_passed_on),
        cmocka_unit_test(what_is_in_memory_need_not_be_an_answer_and_a_push),
        cmocka_unit_test(without_memory_nothing_is_done_and_the_call_is_still_open),
        cmocka_unit_test(what_another_node_sends_need_not_be_an_answer_and_a_push),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
