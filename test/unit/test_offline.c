/* test/unit/test_offline.c: the offline role over a real store: lists, pages of history, marks and receipts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "test/unit/offline_aid.h"
#include "test/unit/seed.h"

static int setup_marks(void **state)
{
    static const char *const settings[] = { "offline.mark_batch_ms=50", NULL };
    return offline_setup_with(state, settings);
}

static int setup_slow_marks(void **state)
{
    static const char *const settings[] = { "offline.mark_queue=2", "offline.mark_batch_ms=1000", NULL };
    return offline_setup_with(state, settings);
}

/* ---- ListConversations --------------------------------------------------------------------------------------------- */

static void a_list_shows_the_last_message_and_pages(void **state)
{
    ListConversationsRequest req = { .limit = 2 };
    ListConversationsReply r = { 0 };
    (void)state;
    for (uint64_t i = 0; i < 3; i++) {
        seed_pair(&aid.env, 100 + i, 9);
        seed_texts(&aid.env, 100 + i, 9, 1, 10 + i, 100 + i);
        seed_marks(&aid.env, 100 + i, 9, 9, 8, 7);
        seed_marks(&aid.env, 100 + i, 9, 100 + i, 6, 5);
    }
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_LIST_CONVERSATIONS, 9, 0, &req), RPC_STATUS_OK);
    aid_decode(&aid, ListConversationsReply_fields, &r);
    assert_int_equal(r.conversations_count, 2);
    assert_true(r.more);
    assert_int_equal(r.conversations[1].hi, 101);
    assert_int_equal(r.conversations[1].head_seq, 11);
    assert_int_equal(r.conversations[1].delivered_seq, 8);
    assert_int_equal(r.conversations[1].read_seq, 7);
    assert_int_equal(r.conversations[1].peer_delivered_seq, 6);
    assert_int_equal(r.conversations[1].peer_read_seq, 5);
    assert_int_equal(r.conversations[1].unread, 4);
    assert_int_equal(r.conversations[1].messages_count, 1);
    assert_memory_equal(r.conversations[1].messages[0].body.data, "m11", 3);
    rpc_release(ListConversationsReply_fields, &r);
    req.brief = true;
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_LIST_CONVERSATIONS, 9, 0, &req), RPC_STATUS_OK);
    aid_decode(&aid, ListConversationsReply_fields, &r);
    assert_int_equal(r.conversations_count, 2);
    assert_true(r.more);
    assert_int_equal(r.conversations[1].head_seq, 11);
    assert_int_equal(r.conversations[1].read_seq, 7);
    assert_int_equal(r.conversations[1].peer_read_seq, 5);
    assert_int_equal(r.conversations[1].unread, 0);
    assert_int_equal(r.conversations[1].messages_count, 0);
    rpc_release(ListConversationsReply_fields, &r);
    req.brief = false;
    req.has_after = true;
    req.after = (ConversationKey){ 101, 9 };
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_LIST_CONVERSATIONS, 9, 0, &req), RPC_STATUS_OK);
    aid_decode(&aid, ListConversationsReply_fields, &r);
    assert_int_equal(r.conversations_count, 1);
    assert_false(r.more);
    rpc_release(ListConversationsReply_fields, &r);
    req.limit = 201;
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_LIST_CONVERSATIONS, 9, 0, &req), RPC_STATUS_INVALID_ARGUMENT);
}

static void unread_stops_at_a_thousand(void **state)
{
    ListConversationsRequest req = { 0 };
    ListConversationsReply r = { 0 };
    (void)state;
    seed_pair(&aid.env, 9, 4);
    seed_texts(&aid.env, 9, 4, 1, 1500, 4);
    seed_member(&aid.env, 30, 0, 9, 1, 2001, 0); /* came late: nothing before counts */
    seed_texts(&aid.env, 30, 0, 1, 2003, 4);
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_LIST_CONVERSATIONS, 9, 0, &req), RPC_STATUS_OK);
    aid_decode(&aid, ListConversationsReply_fields, &r);
    assert_int_equal(r.conversations[0].unread, 1000);
    assert_int_equal(r.conversations[1].unread, 3);
    rpc_release(ListConversationsReply_fields, &r);
}

/* ---- History ------------------------------------------------------------------------------------------------------- */

/* Asks for a page, and checks that it is first..last. */
static void page_is(uint64_t target, HistoryRequest req, uint64_t first, uint64_t last)
{
    HistoryReply r = { 0 };
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_HISTORY, 9, target, &req), RPC_STATUS_OK);
    aid_decode(&aid, HistoryReply_fields, &r);
    assert_int_equal(r.messages_count, last + 1 - first);
    for (size_t i = 0; i < r.messages_count; i++) {
        char body[16];
        int len = snprintf(body, sizeof body, "m%llu", (unsigned long long)(first + i));
        assert_int_equal(r.messages[i].seq, first + i);
        assert_int_equal(r.messages[i].body.len, len);
        assert_memory_equal(r.messages[i].body.data, body, (size_t)len);
    }
    assert_int_equal(r.head_seq, 420);
    assert_int_equal(r.first_seq, 11);
    rpc_release(HistoryReply_fields, &r);
}

static void history_pages_both_ways_within_the_membership(void **state)
{
    const uint64_t group = 30 | RPC_TARGET_GROUP;
    HistoryRequest too_many = { .limit = 501 }, any = { 0 };
    (void)state;
    seed_member(&aid.env, 30, 0, 9, 0, 11, 420);
    seed_pending(&aid.env, 30, 4, 1);
    seed_texts(&aid.env, 30, 0, 1, 500, 4);
    page_is(group, (HistoryRequest){ 0 }, 371, 420);
    page_is(group, (HistoryRequest){ .before_seq = 371, .limit = 300 }, 71, 370);
    page_is(group, (HistoryRequest){ .before_seq = 71, .limit = 500 }, 11, 70);
    page_is(group, (HistoryRequest){ .before_seq = 11 }, 11, 10);
    page_is(group, (HistoryRequest){ .before_seq = 1 }, 11, 10);
    page_is(group, (HistoryRequest){ .from_seq = 1, .limit = 500 }, 11, 420);
    page_is(group, (HistoryRequest){ .from_seq = 400, .limit = 10 }, 400, 409);
    page_is(group, (HistoryRequest){ .from_seq = 410 }, 410, 420);
    page_is(group, (HistoryRequest){ .from_seq = 421 }, 11, 10);
    page_is(group, (HistoryRequest){ .from_seq = 395, .before_seq = 400 }, 395, 399);
    page_is(group, (HistoryRequest){ .from_seq = UINT64_MAX, .before_seq = UINT64_MAX }, 11, 10);
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_HISTORY, 9, group, &too_many), RPC_STATUS_INVALID_ARGUMENT);
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_HISTORY, 4, group, &any), RPC_STATUS_NOT_FOUND); /* only invited */
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_HISTORY, 9, 4, &any), RPC_STATUS_NOT_FOUND);
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_HISTORY, 9, 0, &any), RPC_STATUS_NOT_FOUND);
}

static void a_history_page_is_cut_at_its_far_end(void **state)
{
    static char body[6001];
    HistoryRequest back = { 0 }, forth = { .from_seq = 1 };
    HistoryReply r = { 0 };
    (void)state;
    memset(body, 'x', 6000);
    seed_pair(&aid.env, 9, 4);
    for (uint64_t seq = 1; seq <= 5; seq++)
        seed_message(&aid.env, 9, 4, seq, 4, 1, 0, body);
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_HISTORY, 9, 4, &back), RPC_STATUS_OK);
    aid_decode(&aid, HistoryReply_fields, &r);
    assert_int_equal(r.messages_count, 2);
    assert_int_equal(r.messages[0].seq, 4);
    assert_int_equal(r.messages[1].seq, 5);
    rpc_release(HistoryReply_fields, &r);
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_HISTORY, 4, 9, &forth), RPC_STATUS_OK);
    aid_decode(&aid, HistoryReply_fields, &r);
    assert_int_equal(r.messages_count, 2);
    assert_int_equal(r.messages[0].seq, 1);
    rpc_release(HistoryReply_fields, &r);
}

/* ---- Mark ---------------------------------------------------------------------------------------------------------- */

static int64_t mark_of(const char *column, uint64_t hi, uint64_t user)
{
    char sql[128];
    snprintf(sql, sizeof sql, "SELECT %s FROM member WHERE hi = %llu AND user_id = %llu", column, (unsigned long long)hi, (unsigned long long)user);
    return env_int(&aid.env, sql);
}

static uint8_t mark(uint64_t user, const Mark *marks, size_t n)
{
    MarkRequest req = { .marks_count = (pb_size_t)n, .marks = (Mark *)marks };
    return aid_call(&aid, RPC_OFFLINE_MARK, user, 0, &req);
}

static void marks_stop_at_the_head_and_are_told(void **state)
{
    const Mark far[] = { { 9, 4, 3, 99 } }, again[] = { { 9, 4, 2, 1 } };
    ReceiptEvent event = { 0 };
    (void)state;
    seed_pair(&aid.env, 9, 4);
    seed_texts(&aid.env, 9, 4, 1, 5, 4);
    assert_int_equal(mark(9, far, 1), RPC_STATUS_OK);
    assert_int_equal(mark_of("read_seq", 9, 9), 5);
    assert_int_equal(mark_of("delivered_seq", 9, 9), 5); /* what is read is delivered */
    aid_wait_pushes(&aid, 1);
    assert_int_equal(aid.pushes[0].method, RPC_ON_RECEIPT);
    assert_int_equal(aid.pushes[0].nusers, 2);
    assert_int_equal(aid.pushes[0].users[0] + aid.pushes[0].users[1], 13);
    assert_int_equal(aid.pushes[0].except_session, aid_session(9));
    assert_int_equal(rpc_decode(ReceiptEvent_fields, aid.pushes[0].event, aid.pushes[0].event_len, &event), BT_OK);
    assert_int_equal(event.user_id, 9);
    assert_int_equal(event.read_seq, 5);
    assert_int_equal(event.delivered_seq, 5);
    rpc_release(ReceiptEvent_fields, &event);
    assert_int_equal(mark(9, again, 1), RPC_STATUS_OK);
    assert_int_equal(mark_of("read_seq", 9, 9), 5);
    assert_int_equal(aid.npushes, 1); /* nothing rose: nobody is told */
}

static void one_call_marks_many_and_passes_over_what_is_not_the_callers(void **state)
{
    const Mark marks[] = { { 30, 0, 9, 2 }, { 9, 4, 1, 0 }, { 77, 3, 5, 5 }, { 9, 4, 2, 1 }, { UINT64_MAX, UINT64_MAX, 1, 1 }, { 31, 0, 3, 3 } };
    (void)state;
    seed_pair(&aid.env, 9, 4);
    seed_texts(&aid.env, 9, 4, 1, 5, 4);
    seed_member(&aid.env, 30, 0, 9, 0, 1, 4); /* left at 4 */
    seed_texts(&aid.env, 30, 0, 1, 12, 4);
    seed_pending(&aid.env, 31, 9, 1);
    seed_texts(&aid.env, 31, 0, 1, 5, 4);
    assert_int_equal(mark(9, marks, 6), RPC_STATUS_OK);
    assert_int_equal(mark_of("delivered_seq", 9, 9), 2);
    assert_int_equal(mark_of("read_seq", 9, 9), 1);
    assert_int_equal(mark_of("delivered_seq", 30, 9), 4);
    assert_int_equal(mark_of("read_seq", 30, 9), 2);
    assert_int_equal(mark_of("delivered_seq", 31, 9), 0);
    aid_wait_pushes(&aid, 2);
    for (size_t i = 0; i < 2; i++)
        if (aid.pushes[i].nusers == 1)
            assert_int_equal(aid.pushes[i].users[0], 9); /* of a group the user's own sessions alone are told */
    assert_int_equal(aid.pushes[0].nusers + aid.pushes[1].nusers, 3);
    assert_int_equal(mark(9, NULL, 0), RPC_STATUS_OK);
}

static void marks_of_many_places_are_written(void **state)
{
    static Mark marks[70];
    (void)state;
    for (uint64_t i = 0; i < 70; i++) {
        seed_member(&aid.env, 200 + i, 0, 9, 1, 1, 0);
        seed_texts(&aid.env, 200 + i, 0, 1, 3, 4);
        marks[69 - i] = (Mark){ 200 + i, 0, 3, i % 3 };
    }
    aid.npushes = 0;
    for (size_t i = 0; i < 70; i += 14) { /* each part is answered before the next */
        assert_int_equal(mark(9, marks + i, 14), RPC_STATUS_OK);
        aid_wait_pushes(&aid, 14);
        aid.npushes = 0;
    }
    assert_int_equal(env_int(&aid.env, "SELECT SUM(delivered_seq) FROM member"), 210);
    assert_int_equal(env_int(&aid.env, "SELECT SUM(read_seq) FROM member"), 69);
}

static void marks_that_come_together_are_written_together(void **state)
{
    Mark one[] = { { 9, 4, 1, 4 } };
    MarkRequest req = { .marks_count = 1, .marks = one };
    int counts[2] = { 0, 0 };
    uint64_t writes;
    (void)state;
    seed_pair(&aid.env, 9, 4);
    seed_texts(&aid.env, 9, 4, 1, 5, 4);
    writes = store_db(aid.env.store)->stats.writes;
    aid_call_at_once(&aid, RPC_OFFLINE_MARK, 9, 6, &req, counts);
    assert_int_equal(counts[0], 6);
    assert_int_equal(store_db(aid.env.store)->stats.writes - writes, 1);
    assert_int_equal(mark_of("read_seq", 9, 9), 4);
    aid_wait_pushes(&aid, 1);
    assert_int_equal(aid.npushes, 1);
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

static void marks_beyond_the_queue_are_refused_and_stopping_writes_those_in_it(void **state)
{
    Mark two[] = { { 9, 4, 1, 3 }, { 9, 9, 1, 1 } };
    MarkRequest full = { .marks_count = 2, .marks = two }, one = { .marks_count = 1, .marks = two };
    struct rpc_ctx ctx = { .caller = 9, .session = 1, .timeout_ms = 9000 };
    int counts[2] = { 0, 0 };
    bool is_stopped = false;
    (void)state;
    seed_pair(&aid.env, 9, 4);
    seed_texts(&aid.env, 9, 4, 1, 5, 4);
    rpc_send_msg(aid.rpc, RPC_OFFLINE_MARK, &ctx, &full, aid_count_status, counts);
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_MARK, 4, 0, &one), RPC_STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(counts[0] + counts[1], 0); /* still waits for others to be written with */
    aid.role->stop(aid.self, set_flag, &is_stopped);
    env_wait(&aid.env, &is_stopped);
    while (counts[0] + counts[1] < 1)
        net_loop_turn(aid.env.loop, 10);
    assert_int_equal(counts[0], 1);
    assert_int_equal(mark_of("read_seq", 9, 9), 3);
    aid.self = NULL;
}

/* ---- GetReceipts --------------------------------------------------------------------------------------------------- */

static void receipts_are_paged_with_counts(void **state)
{
    const uint64_t group = 30 | RPC_TARGET_GROUP;
    GetReceiptsRequest req = { .seq = 4, .limit = 2 };
    GetReceiptsReply r = { 0 };
    (void)state;
    seed_texts(&aid.env, 30, 0, 1, 6, 1);
    for (uint64_t user = 1; user <= 5; user++)
        seed_member(&aid.env, 30, 0, user, 1, 1, 0);
    seed_marks(&aid.env, 30, 0, 2, 4, 4);
    seed_marks(&aid.env, 30, 0, 5, 6, 3);
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_GET_RECEIPTS, 1, group, &req), RPC_STATUS_OK);
    aid_decode(&aid, GetReceiptsReply_fields, &r);
    assert_int_equal(r.receipts_count, 2);
    assert_true(r.more);
    assert_int_equal(r.receipts[0].user_id, 2);
    assert_true(r.receipts[0].read);
    assert_int_equal(r.member_count, 4);
    assert_int_equal(r.delivered_count, 2);
    assert_int_equal(r.read_count, 1);
    rpc_release(GetReceiptsReply_fields, &r);
    req.after_user_id = 3;
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_GET_RECEIPTS, 1, group, &req), RPC_STATUS_OK);
    aid_decode(&aid, GetReceiptsReply_fields, &r);
    assert_int_equal(r.receipts_count, 2);
    assert_false(r.more);
    assert_true(r.receipts[1].delivered);
    assert_false(r.receipts[1].read);
    assert_int_equal(r.member_count + r.delivered_count + r.read_count, 0); /* counted once */
    rpc_release(GetReceiptsReply_fields, &r);
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_GET_RECEIPTS, 9, group, &req), RPC_STATUS_NOT_FOUND);
    req.seq = 7;
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_GET_RECEIPTS, 1, group, &req), RPC_STATUS_NOT_FOUND);
    req = (GetReceiptsRequest){ .seq = 1, .limit = 501 };
    assert_int_equal(aid_call(&aid, RPC_OFFLINE_GET_RECEIPTS, 1, group, &req), RPC_STATUS_INVALID_ARGUMENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, offline_setup, offline_teardown)
#define SMALL(name) cmocka_unit_test_setup_teardown(name, offline_setup_small, offline_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_list_shows_the_last_message_and_pages),
        TEST(unread_stops_at_a_thousand),
        TEST(history_pages_both_ways_within_the_membership),
        SMALL(a_history_page_is_cut_at_its_far_end),
        TEST(marks_stop_at_the_head_and_are_told),
        TEST(one_call_marks_many_and_passes_over_what_is_not_the_callers),
        TEST(marks_of_many_places_are_written),
        cmocka_unit_test_setup_teardown(marks_that_come_together_are_written_together, setup_marks, offline_teardown),
        cmocka_unit_test_setup_teardown(marks_beyond_the_queue_are_refused_and_stopping_writes_those_in_it, setup_slow_marks, offline_teardown),
        TEST(receipts_are_paged_with_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
