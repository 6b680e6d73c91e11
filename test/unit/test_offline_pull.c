/* test/unit/test_offline_pull.c: the offline role over a real store: what Pull holds, and when it is cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "test/unit/offline_aid.h"
#include "test/unit/seed.h"

/* ---- Pull ---------------------------------------------------------------------------------------------------------- */

static PullReply pull(uint64_t user, const PullRequest *req)
{
    PullReply reply = { 0 };
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_PULL, user, 0, req), RPC_STATUS_OK);
    aid_decode(&aid, PullReply_fields, &reply);
    return reply;
}

static void done(PullReply *reply)
{
    rpc_release(PullReply_fields, reply);
}

static void pull_brings_what_follows_the_positions_and_nothing_else(void **state)
{
    Position positions[] = { { 9, 4, 3 }, { 9, 9, 2 }, { 31, 0, 40 } };
    PullRequest req = { .positions_count = 3, .positions = positions };
    PullReply r;
    (void)state;
    seed_pair(&aid.env, 9, 4);
    seed_texts(&aid.env, 9, 4, 1, 5, 4);
    seed_pair(&aid.env, 9, 9);
    seed_texts(&aid.env, 9, 9, 1, 2, 9);
    seed_group(&aid.env, 30, 4, "choir", 0);
    seed_member(&aid.env, 30, 0, 9, 1, 3, 0);
    seed_texts(&aid.env, 30, 0, 1, 7, 4);
    seed_group(&aid.env, 31, 4, "left", 0);
    seed_member(&aid.env, 31, 0, 9, 0, 2, 6);
    seed_texts(&aid.env, 31, 0, 1, 9, 4);
    r = pull(9, &req);
    assert_int_equal(r.conversations_count, 2);
    assert_false(r.more);
    assert_int_equal(r.conversations[0].lo, 4);
    assert_int_equal(r.conversations[0].messages_count, 2);
    assert_int_equal(r.conversations[0].messages[0].seq, 4);
    assert_int_equal(r.conversations[0].messages[1].seq, 5);
    assert_memory_equal(r.conversations[0].messages[1].body.data, "m5", 2);
    assert_memory_equal(r.conversations[0].name.data, "anna", 4);
    assert_int_equal(r.conversations[0].unread, 0); /* a list counts, Pull does not */
    assert_int_equal(r.conversations[1].hi, 30); /* not named: a summary */
    assert_int_equal(r.conversations[1].messages_count, 0);
    assert_int_equal(r.conversations[1].head_seq, 7);
    assert_int_equal(r.conversations[1].first_seq, 3);
    assert_memory_equal(r.conversations[1].name.data, "choir", 5);
    done(&r);
}

static void pull_serves_the_time_of_membership_only(void **state)
{
    Position positions[] = { { 31, 0, 0 } };
    PullRequest req = { .positions_count = 1, .positions = positions };
    PullReply r;
    (void)state;
    seed_member(&aid.env, 31, 0, 9, 0, 3, 6);
    seed_texts(&aid.env, 31, 0, 1, 9, 4);
    r = pull(9, &req);
    assert_int_equal(r.conversations_count, 1);
    assert_int_equal(r.conversations[0].messages_count, 4);
    assert_int_equal(r.conversations[0].messages[0].seq, 3);
    assert_int_equal(r.conversations[0].messages[3].seq, 6);
    assert_int_equal(r.conversations[0].head_seq, 6);
    assert_int_equal(r.conversations[0].left_seq, 6);
    done(&r);
}

/* Pull as a client does until there is no more; returns how many messages came, each once and in order. */
static size_t pull_all(uint32_t limit, size_t nconversations, size_t *calls_out)
{
    Position positions[80];
    PullRequest req = { .limit = limit };
    size_t total = 0;
    assert_true(nconversations <= 80);
    for (size_t i = 0; i < nconversations; i++)
        positions[i] = (Position){ 100 + i, 9, 0 };
    for (*calls_out = 1;; ++*calls_out) {
        PullReply r;
        req.positions = positions;
        req.positions_count = (pb_size_t)nconversations;
        r = pull(9, &req);
        for (size_t c = 0; c < r.conversations_count; c++) {
            const Conversation *conv = &r.conversations[c];
            for (size_t m = 0; m < conv->messages_count; m++) {
                Position *p = &positions[conv->hi - 100];
                assert_int_equal(conv->messages[m].seq, p->seq + 1);
                p->seq++;
                total++;
            }
        }
        assert_int_equal(r.has_next_after, r.more);
        req.has_after = r.more;
        req.after = r.next_after;
        done(&r);
        if (!req.has_after)
            return total;
        assert_true(*calls_out < 200);
    }
}

static void a_long_pull_comes_in_parts_that_fit_together(void **state)
{
    size_t calls;
    (void)state;
    for (uint64_t i = 0; i < 40; i++) {
        seed_pair(&aid.env, 100 + i, 9);
        seed_texts(&aid.env, 100 + i, 9, 1, i % 5 == 0 ? 300 : 3, 100 + i);
    }
    assert_int_equal(pull_all(0, 40, &calls), 8 * 300 + 32 * 3);
    assert_int_equal(calls, 13);
    assert_int_equal(pull_all(7, 12, &calls), 3 * 300 + 9 * 3);
    assert_int_equal(pull_all(1000, 40, &calls), 8 * 300 + 32 * 3);
    assert_int_equal(calls, 3);
}

static void a_pull_is_cut_by_its_bytes(void **state)
{
    static char body[9001];
    size_t calls;
    (void)state;
    memset(body, 'x', 9000);
    for (uint64_t i = 0; i < 3; i++) {
        seed_pair(&aid.env, 100 + i, 9);
        for (uint64_t seq = 1; seq <= 3; seq++)
            seed_message(&aid.env, 100 + i, 9, seq, 9, 1, 0, body);
    }
    assert_int_equal(pull_all(0, 3, &calls), 9);
    assert_int_equal(calls, 9); /* two do not fit into 16 KiB */
}

static void a_message_longer_than_a_reply_comes_alone(void **state)
{
    static char body[20001];
    size_t calls;
    (void)state;
    memset(body, 'x', 20000);
    seed_pair(&aid.env, 100, 9);
    seed_message(&aid.env, 100, 9, 1, 9, 1, 0, body);
    seed_message(&aid.env, 100, 9, 2, 9, 1, 0, "short");
    assert_int_equal(pull_all(0, 1, &calls), 2);
    assert_int_equal(calls, 2);
}

static void summaries_are_cut_too(void **state)
{
    PullRequest req = { 0 };
    size_t total = 0, calls = 0;
    uint64_t last = 0;
    bool more = true;
    (void)state;
    for (uint64_t i = 0; i < 90; i++) {
        seed_pair(&aid.env, 100 + i, 9);
        seed_texts(&aid.env, 100 + i, 9, 1, 1, 9);
    }
    for (; more; calls++) {
        PullReply r = pull(9, &req);
        for (size_t c = 0; c < r.conversations_count; c++) {
            assert_true(r.conversations[c].hi > last);
            last = r.conversations[c].hi;
        }
        total += r.conversations_count;
        more = r.more;
        req.has_after = true;
        req.after = r.next_after;
        done(&r);
        assert_true(calls < 10);
    }
    assert_int_equal(total, 90);
    assert_int_equal(calls, 3); /* 40 fit into 16 KiB */
}

static void a_pull_ends_at_until(void **state)
{
    PullRequest req = { .has_after = true, .after = { 100, 9 }, .has_until = true, .until = { 102, 9 } };
    PullReply r;
    (void)state;
    for (uint64_t i = 0; i < 5; i++) {
        seed_pair(&aid.env, 100 + i, 9);
        seed_texts(&aid.env, 100 + i, 9, 1, 1, 9);
    }
    r = pull(9, &req);
    assert_int_equal(r.conversations_count, 2);
    assert_int_equal(r.conversations[0].hi, 101);
    assert_int_equal(r.conversations[1].hi, 102);
    assert_false(r.more);
    done(&r);
}

static void idle_conversations_cost_no_queries(void **state)
{
    static Position positions[700];
    PullRequest req = { .positions_count = 700, .positions = positions };
    uint64_t queries;
    PullReply r;
    (void)state;
    for (uint64_t i = 0; i < 700; i++) {
        seed_pair(&aid.env, 100 + i, 9);
        seed_texts(&aid.env, 100 + i, 9, 1, 4, 9);
        positions[i] = (Position){ 100 + i, 9, i % 300 == 7 ? 2 : 4 };
    }
    queries = store_db(aid.env.store)->stats.queries;
    r = pull(9, &req);
    assert_int_equal(r.conversations_count, 3);
    assert_int_equal(r.conversations[2].messages_count, 2);
    assert_int_equal(r.conversations[2].hi, 707);
    done(&r);
    assert_true(store_db(aid.env.store)->stats.queries - queries <= 5);
}

static void pull_refuses_positions_out_of_order_and_too_many(void **state)
{
    static Position many[101];
    Position same[] = { { 9, 4, 1 }, { 9, 4, 1 } }, falling[] = { { 9, 4, 1 }, { 9, 3, 1 } };
    PullRequest req = { .positions_count = 2, .positions = same };
    (void)state;
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_PULL, 9, 0, &req), RPC_STATUS_INVALID_ARGUMENT);
    req.positions = falling;
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_PULL, 9, 0, &req), RPC_STATUS_INVALID_ARGUMENT);
    for (size_t i = 0; i < 101; i++)
        many[i] = (Position){ 100 + i, 9, 1 };
    req = (PullRequest){ .positions_count = 101, .positions = many };
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_PULL, 9, 0, &req), RPC_STATUS_INVALID_ARGUMENT);
    req.positions_count = 100;
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_PULL, 9, 0, &req), RPC_STATUS_OK);
    req = (PullRequest){ .limit = 1001 };
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_PULL, 9, 0, &req), RPC_STATUS_INVALID_ARGUMENT);
}

static void reads_beyond_the_limit_are_refused(void **state)
{
    PullRequest req = { 0 };
    int counts[2] = { 0, 0 };
    (void)state;
    aid_call_at_once(&aid, RPC_OFFLINE_PULL, 9, 3, &req, counts);
    assert_int_equal(counts[0], 1);
    assert_int_equal(counts[1], 2);
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_PULL, 9, 0, &req), RPC_STATUS_OK); /* the place is free again */
}

/* ---- GetReceipts --------------------------------------------------------------------------------------------------- */

#define TEST(name) cmocka_unit_test_setup_teardown(name, offline_setup, offline_teardown)
#define SMALL(name) cmocka_unit_test_setup_teardown(name, offline_setup_small, offline_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pull_brings_what_follows_the_positions_and_nothing_else),
        TEST(pull_serves_the_time_of_membership_only),
        TEST(a_long_pull_comes_in_parts_that_fit_together),
        SMALL(a_pull_is_cut_by_its_bytes),
        SMALL(a_message_longer_than_a_reply_comes_alone),
        SMALL(summaries_are_cut_too),
        TEST(a_pull_ends_at_until),
        TEST(idle_conversations_cost_no_queries),
        SMALL(pull_refuses_positions_out_of_order_and_too_many),
        SMALL(reads_beyond_the_limit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
