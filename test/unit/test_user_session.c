/* test/unit/test_user_session.c: sessions from login to their end, and the tokens that resume them, over a real store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/log.h"
#include "roles/user_ended.h"
#include "test/unit/log_aid.h"
#include "test/unit/user_aid.h"

static int setup_two_sessions(void **state)
{
    return user_setup_with(state, (const char *const[]){ "user.max_sessions=2", NULL });
}

/* ---- login and resume ---- */

static void a_device_finds_its_session_again(void **state)
{
    struct proxy_aid *aid = *state;
    struct device first, again, other, none, none2;

    enter(aid, &first);
    assert_string_equal(first.name, "Ann");
    assert_int_equal(log_in(aid, "ann", "password1", 5, &again), RPC_STATUS_OK);
    assert_string_equal(again.name, "Ann"); /* as it was typed when it was made */
    assert_true(again.session_id == first.session_id);
    assert_int_equal(log_in(aid, "ann", "password1", 6, &other), RPC_STATUS_OK);
    assert_true(other.session_id != first.session_id);
    assert_int_equal(log_in(aid, "ann", "password1", 0, &none), RPC_STATUS_OK);
    assert_int_equal(log_in(aid, "ann", "password1", 0, &none2), RPC_STATUS_OK);
    assert_true(none.session_id != none2.session_id);
    assert_int_equal(env_int(&aid->env, "SELECT COUNT(*) FROM session WHERE ended_ms = 0"), 4);
    assert_int_equal(log_in(aid, "ann", "password1", UINT64_MAX, &other), RPC_STATUS_OK);
    assert_int_equal(log_in(aid, "ann", "password1", UINT64_MAX, &again), RPC_STATUS_OK);
    assert_true(other.session_id == again.session_id);
}

static void one_device_that_logs_in_twice_at_once_has_one_session(void **state)
{
    struct proxy_aid *aid = *state;
    LoginRequest req = { .name = rpc_str("Ann"), .password = rpc_str("password1"), .device_id = 9 };
    LoginReply replies[4];
    struct proxy_call calls[4];

    assert_int_equal(enrol(aid, "Ann", "password1", NULL), RPC_STATUS_OK);
    for (int i = 0; i < 4; i++)
        proxy_aid_begin(aid, &calls[i], RPC_USER_LOGIN, nobody, &req, &replies[i]);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(proxy_aid_wait(&calls[i]), RPC_STATUS_OK);
        assert_true(replies[i].session_id == replies[0].session_id);
    }
    assert_int_equal(env_int(&aid->env, "SELECT COUNT(*) FROM session"), 1);
}

static void the_oldest_session_gives_way(void **state)
{
    struct proxy_aid *aid = *state;
    struct device first, second, third;

    enter(aid, &first);
    net_loop_turn(aid->env.loop, 5); /* so that the second is younger by the clock */
    usleep(5000);
    assert_int_equal(log_in(aid, "Ann", "password1", 6, &second), RPC_STATUS_OK);
    assert_int_equal(log_in(aid, "Ann", "password1", 7, &third), RPC_STATUS_OK);
    wait_until_refused(aid, &first);
    assert_int_equal(resume(aid, &second, NULL), RPC_STATUS_OK);
    assert_int_equal(resume(aid, &third, NULL), RPC_STATUS_OK);
    assert_int_equal(env_int(&aid->env, "SELECT end_reason FROM session WHERE ended_ms <> 0"), SessionEnd_REPLACED);

    LoginRequest req = { .name = rpc_str("Ann"), .password = rpc_str("password1") };
    struct proxy_call calls[4];
    for (int i = 0; i < 4; i++)
        proxy_aid_begin(aid, &calls[i], RPC_USER_LOGIN, nobody, &req, NULL);
    for (int i = 0; i < 4; i++)
        assert_int_equal(proxy_aid_wait(&calls[i]), RPC_STATUS_OK);
    assert_int_equal(env_int(&aid->env, "SELECT COUNT(*) FROM session WHERE ended_ms = 0"), 2);
}

static void a_token_resumes_its_session_also_after_a_restart(void **state)
{
    struct proxy_aid *aid = *state;
    struct device d, got;

    enter(aid, &d);
    assert_int_equal(resume(aid, &d, &got), RPC_STATUS_OK);
    assert_true(got.user_id == d.user_id && got.session_id == d.session_id);
    assert_string_equal(got.name, "Ann");
    assert_int_equal(got.token_len, d.token_len);
    assert_memory_equal(got.token, d.token, d.token_len); /* young: the same again */
    proxy_aid_stop(aid);
    env_close(&aid->env);
    proxy_aid_start(aid);
    while (resume(aid, &d, &got) == RPC_STATUS_UNAVAILABLE) /* the sessions that ended are being read */
        net_loop_turn(aid->env.loop, 10);
    assert_int_equal(resume(aid, &d, &got), RPC_STATUS_OK);
    d.token[d.token_len - 1] ^= 1;
    assert_int_equal(resume(aid, &d, NULL), RPC_STATUS_UNAUTHENTICATED);
    d.token_len = 0;
    assert_int_equal(resume(aid, &d, NULL), RPC_STATUS_UNAUTHENTICATED);
}

/* Its maker has read the file before us. */
static void a_token_by_a_new_key_is_good_at_once(void **state)
{
    static const char new_key[] = "2 bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb 1\n";
    struct proxy_aid *aid = *state;
    struct device d;
    struct token_keys keys;
    char why[1400];
    const char *path = env_path(&aid->env, "token.keys");

    assert_int_equal(enrol(aid, "Ann", "password1", NULL), RPC_STATUS_OK);
    assert_int_equal(log_in(aid, "Ann", "password1", 0, &d), RPC_STATUS_OK);
    assert_int_equal(token_keys_open(&keys, path, 0, why, sizeof why), BT_OK);
    keys.keys[0].id = 2;
    memset(keys.keys[0].key, 0xbb, sizeof keys.keys[0].key);
    const struct token t = { .user_id = d.user_id, .session_id = d.session_id, .issued_ms = store_now_ms(aid->env.store),
                             .expires_ms = store_now_ms(aid->env.store) + 1000000, .name = (const uint8_t *)"Ann", .name_len = 3 };
    d.token_len = token_sign(&keys, &t, d.token);
    assert_int_equal(resume(aid, &d, NULL), RPC_STATUS_UNAUTHENTICATED); /* the file was read, and has no such key */

    FILE *f = fopen(path, "a");
    assert_non_null(f);
    assert_true(fputs("half of a li", f) >= 0 && fclose(f) == 0);
    assert_int_equal(resume(aid, &d, NULL), RPC_STATUS_UNAVAILABLE); /* being written */
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(new_key, f) >= 0 && fclose(f) == 0);
    assert_int_equal(resume(aid, &d, NULL), RPC_STATUS_OK);
}

static void a_token_past_half_its_life_is_replaced(void **state)
{
    struct proxy_aid *aid = *state;
    struct device d, got;
    struct token_keys keys;
    char why[1400];
    int64_t now_ms = store_now_ms(aid->env.store), day_ms = 24 * 3600 * 1000;

    enter(aid, &d);
    assert_int_equal(token_keys_open(&keys, env_path(&aid->env, "token.keys"), 0, why, sizeof why), BT_OK);
    struct token t = { .user_id = d.user_id, .session_id = d.session_id, .issued_ms = now_ms - 16 * day_ms,
                       .expires_ms = now_ms + 14 * day_ms, .name = (const uint8_t *)"Ann", .name_len = 3 };
    d.token_len = token_sign(&keys, &t, d.token);
    assert_int_equal(resume(aid, &d, &got), RPC_STATUS_OK);
    struct token fresh;
    assert_int_equal(token_verify(&keys, got.token, got.token_len, now_ms + 29 * day_ms, 30 * day_ms, &fresh), BT_OK);
    assert_true(fresh.session_id == d.session_id);
    t.expires_ms = now_ms;
    d.token_len = token_sign(&keys, &t, d.token);
    assert_int_equal(resume(aid, &d, NULL), RPC_STATUS_UNAUTHENTICATED);
}

/* ---- sessions ---- */

static void a_session_that_logged_out_is_over(void **state)
{
    struct proxy_aid *aid = *state;
    struct device d, other;

    enter(aid, &d);
    assert_int_equal(log_in(aid, "Ann", "password1", 6, &other), RPC_STATUS_OK);
    assert_int_equal(proxy_aid_call(aid, RPC_USER_LOGOUT, device_from(&d), &(LogoutRequest){ 0 }, NULL), RPC_STATUS_OK);
    assert_int_equal(resume(aid, &d, NULL), RPC_STATUS_UNAUTHENTICATED);
    assert_int_equal(proxy_aid_call(aid, RPC_USER_LOGOUT, device_from(&d), &(LogoutRequest){ 0 }, NULL), RPC_STATUS_OK);
    assert_int_equal(resume(aid, &other, NULL), RPC_STATUS_OK);

    struct device again; /* the device's next login makes a new session, and may end in the same millisecond */
    for (int i = 0; i < 20; i++) {
        assert_int_equal(log_in(aid, "Ann", "password1", 5, &again), RPC_STATUS_OK);
        assert_true(again.session_id != d.session_id);
        assert_int_equal(proxy_aid_call(aid, RPC_USER_LOGOUT, device_from(&again), &(LogoutRequest){ 0 }, NULL), RPC_STATUS_OK);
    }
    proxy_aid_stop(aid);
    proxy_aid_start(aid);
    while (resume(aid, &d, NULL) == RPC_STATUS_UNAVAILABLE)
        net_loop_turn(aid->env.loop, 10);
    assert_int_equal(resume(aid, &d, NULL), RPC_STATUS_UNAUTHENTICATED); /* known after a restart too */
}

static void sessions_are_listed_and_ended_by_their_owner_only(void **state)
{
    struct proxy_aid *aid = *state;
    struct device first, second, bob;
    ListSessionsReply list;

    enter(aid, &first);
    usleep(5000);
    net_loop_turn(aid->env.loop, 0);
    assert_int_equal(log_in(aid, "Ann", "password1", 6, &second), RPC_STATUS_OK);
    assert_int_equal(enrol(aid, "Bob", "password1", NULL), RPC_STATUS_OK);
    assert_int_equal(log_in(aid, "Bob", "password1", 5, &bob), RPC_STATUS_OK);

    assert_int_equal(proxy_aid_call(aid, RPC_USER_LIST_SESSIONS, device_from(&first), &(ListSessionsRequest){ 0 }, &list), RPC_STATUS_OK);
    assert_int_equal(list.sessions_count, 2);
    assert_true(list.sessions[0].session_id == second.session_id && !list.sessions[0].is_this);
    assert_true(list.sessions[1].session_id == first.session_id && list.sessions[1].is_this);
    assert_int_equal(list.sessions[0].device.len, 7);
    assert_memory_equal(list.sessions[0].device.data, "a phone", 7);
    assert_true(list.sessions[0].created_ms >= list.sessions[1].created_ms);
    proxy_aid_release(RPC_USER_LIST_SESSIONS, &list);

    EndSessionRequest end = { .session_id = second.session_id };
    assert_int_equal(proxy_aid_call(aid, RPC_USER_END_SESSION, device_from(&bob), &end, NULL), RPC_STATUS_NOT_FOUND);
    assert_int_equal(resume(aid, &second, NULL), RPC_STATUS_OK);
    assert_int_equal(proxy_aid_call(aid, RPC_USER_END_SESSION, device_from(&first), &end, NULL), RPC_STATUS_OK);
    assert_int_equal(proxy_aid_call(aid, RPC_USER_END_SESSION, device_from(&first), &end, NULL), RPC_STATUS_OK);
    assert_int_equal(resume(aid, &second, NULL), RPC_STATUS_UNAUTHENTICATED);
    end.session_id = 12345;
    assert_int_equal(proxy_aid_call(aid, RPC_USER_END_SESSION, device_from(&first), &end, NULL), RPC_STATUS_NOT_FOUND);
}

static EndedSinceReply ended_since(struct proxy_aid *aid, int64_t since_ms)
{
    EndedSinceRequest req = { .since_ms = since_ms };
    EndedSinceReply reply;
    assert_int_equal(proxy_aid_call(aid, RPC_USER_ENDED_SINCE, nobody, &req, &reply), RPC_STATUS_OK);
    return reply;
}

static void proxies_are_told_which_sessions_ended_and_why(void **state)
{
    struct proxy_aid *aid = *state;
    struct device d;

    enter(aid, &d);
    EndedSinceReply none = ended_since(aid, 0);
    assert_int_equal(none.sessions_count, 0);
    assert_true(none.now_ms > 0);
    assert_int_equal(proxy_aid_call(aid, RPC_USER_LOGOUT, device_from(&d), &(LogoutRequest){ 0 }, NULL), RPC_STATUS_OK);
    EndedSinceReply one = ended_since(aid, none.now_ms);
    assert_int_equal(one.sessions_count, 1);
    assert_true(one.sessions[0].session_id == d.session_id && one.sessions[0].user_id == d.user_id);
    assert_int_equal(one.sessions[0].why, SessionEnd_ENDED);
    assert_true(one.sessions[0].ended_ms >= none.now_ms && one.sessions[0].ended_ms <= one.now_ms);
    assert_false(one.more);
    EndedSinceReply later = ended_since(aid, one.sessions[0].ended_ms + 1);
    assert_int_equal(later.sessions_count, 0);
    proxy_aid_release(RPC_USER_ENDED_SINCE, &one);
    assert_int_equal(proxy_aid_call(aid, RPC_USER_ENDED_SINCE, nobody, &(EndedSinceRequest){ .since_ms = -1 }, NULL),
                     RPC_STATUS_INVALID_ARGUMENT);
}

/* 3000 sessions, 7 of which end in each millisecond from `first_ms`. */
static void seed_ended(struct proxy_aid *aid, int64_t first_ms)
{
    static const char head[] = "INSERT INTO session (user_id, session_id, device_id, device, created_ms, ended_ms, end_reason) VALUES "
                               "(?, ?, ?, 'x', 1, ?, 3)";
    for (int64_t i = 1; i <= 3000; i += 500) {
        struct db_list *list = db_list_new(aid->env.db);
        for (int64_t j = i; j < i + 500; j++) {
            const struct db_val v[] = { db_int(j), db_int(j), db_int(-j), db_int(first_ms + j / 7) };
            db_list_add(list, head, v, 4, 1);
        }
        assert_int_equal(env_list(&aid->env, list).err, BT_OK);
    }
}

static void many_ended_sessions_come_in_pages_without_a_gap(void **state)
{
    struct proxy_aid *aid = *state;
    int64_t first_ms = store_now_ms(aid->env.store) - 100000, since_ms = first_ms;
    uint64_t last = 0;
    int pages = 0;

    seed_ended(aid, first_ms);
    for (bool more = true; more; pages++) {
        EndedSinceReply reply = ended_since(aid, since_ms);
        for (size_t i = 0; i < reply.sessions_count; i++)
            assert_true(reply.sessions[i].session_id == ++last);
        more = reply.more;
        if (more)
            assert_in_range(reply.sessions_count, 1000, 1006);
        if (reply.sessions_count > 0)
            since_ms = reply.sessions[reply.sessions_count - 1].ended_ms + 1;
        proxy_aid_release(RPC_USER_ENDED_SINCE, &reply);
    }
    assert_int_equal(last, 3000);
    assert_int_equal(pages, 3);
}

static void a_restarted_node_knows_all_that_ended(void **state)
{
    struct proxy_aid *aid = *state;
    struct device d;
    struct token_keys keys;
    char why[1400];
    int64_t now_ms = store_now_ms(aid->env.store);

    enter(aid, &d);
    seed_ended(aid, now_ms - INT64_C(20) * 24 * 3600 * 1000);
    proxy_aid_stop(aid);
    proxy_aid_start(aid);
    assert_int_equal(resume(aid, &d, NULL), RPC_STATUS_UNAVAILABLE); /* rather than wrongly */
    while (resume(aid, &d, NULL) == RPC_STATUS_UNAVAILABLE)
        net_loop_turn(aid->env.loop, 10);
    assert_int_equal(token_keys_open(&keys, env_path(&aid->env, "token.keys"), 0, why, sizeof why), BT_OK);
    for (uint64_t id = 1; id <= 3000; id += 97) {
        struct token t = { .user_id = id, .session_id = id, .issued_ms = now_ms, .expires_ms = now_ms + 100000000 };
        d.token_len = token_sign(&keys, &t, d.token);
        assert_int_equal(resume(aid, &d, NULL), RPC_STATUS_UNAUTHENTICATED);
    }
}

/* Its end was told to proxies while this node could not read; they have it again only by being told again. */
static void a_session_resumed_on_old_knowledge_is_ended_again(void **state)
{
    struct proxy_aid *aid = *state;
    struct device d, other;
    struct db_done done;

    enter(aid, &d);
    assert_int_equal(log_in(aid, "Ann", "password1", 6, &other), RPC_STATUS_OK);
    while (resume(aid, &d, NULL) == RPC_STATUS_UNAVAILABLE)
        net_loop_turn(aid->env.loop, 20);
    const int64_t end_ms = store_now_ms(aid->env.store);
    const struct db_val vals[] = { db_int(end_ms), db_int((int64_t)d.session_id) };
    log_nothing();
    assert_int_equal(env_exec(&aid->env, "ALTER TABLE session RENAME TO hidden", NULL, 0, DB_ANY).err, BT_OK);
    done = env_exec(&aid->env, "UPDATE hidden SET ended_ms = ?, end_reason = 1, device_id = -session_id WHERE session_id = ?", vals, 2, 1);
    assert_int_equal(done.err, BT_OK);
    while (store_now_ms(aid->env.store) <= end_ms + USER_ENDED_STALE_MS)
        net_loop_turn(aid->env.loop, 100);
    assert_int_equal(resume(aid, &d, NULL), RPC_STATUS_OK); /* with the store away, what is known serves */
    assert_int_equal(resume(aid, &other, NULL), RPC_STATUS_OK);
    assert_int_equal(env_exec(&aid->env, "ALTER TABLE hidden RENAME TO session", NULL, 0, DB_ANY).err, BT_OK);

    wait_until_refused(aid, &d);
    for (int i = 0; i < 100 && env_int(&aid->env, "SELECT MAX(ended_ms) FROM session") == end_ms; i++)
        net_loop_turn(aid->env.loop, 20);
    log_set_sink(NULL, NULL);
    const int64_t again_ms = env_int(&aid->env, "SELECT MAX(ended_ms) FROM session");
    assert_true(again_ms > end_ms + USER_ENDED_STALE_MS);
    for (uint64_t end_us = net_clock_us() + 2500000; net_clock_us() < end_us;) /* once is enough */
        net_loop_turn(aid->env.loop, 100);
    assert_int_equal(env_int(&aid->env, "SELECT MAX(ended_ms) FROM session"), again_ms);
    assert_int_equal(resume(aid, &other, NULL), RPC_STATUS_OK);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, user_setup, user_teardown)
    const struct CMUnitTest tests[] = {
        T(a_device_finds_its_session_again),
        T(one_device_that_logs_in_twice_at_once_has_one_session),
        cmocka_unit_test_setup_teardown(the_oldest_session_gives_way, setup_two_sessions, user_teardown),
        T(a_token_resumes_its_session_also_after_a_restart),
        T(a_token_by_a_new_key_is_good_at_once),
        T(a_token_past_half_its_life_is_replaced),
        T(a_session_that_logged_out_is_over),
        T(sessions_are_listed_and_ended_by_their_owner_only),
        T(proxies_are_told_which_sessions_ended_and_why),
        T(many_ended_sessions_come_in_pages_without_a_gap),
        T(a_restarted_node_knows_all_that_ended),
        T(a_session_resumed_on_old_knowledge_is_ended_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
