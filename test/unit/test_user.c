/* test/unit/test_user.c: accounts, logins, profiles and what an operator does, over a real store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "net/mem.h"
#include "roles/user_operate.h"
#include "test/unit/user_aid.h"

static int setup_few_tries(void **state)
{
    return user_setup_with(state, (const char *const[]){ "user.wrong_tries=3", "user.wrong_window_ms=1000", NULL });
}

static int setup_short_queue(void **state)
{
    return user_setup_with(state, (const char *const[]){ "user.hash_queue=1", "user.hash_parallel=1", NULL });
}

/* ---- accounts ---- */

static void registering_again_is_found_by_the_password(void **state)
{
    struct proxy_aid *aid = *state;
    uint64_t id, again;

    assert_int_equal(enrol(aid, "Ann", "password1", &id), RPC_STATUS_OK);
    assert_true(id > 0 && id < UINT64_C(1) << 62);
    assert_int_equal(enrol(aid, "Ann", "password1", &again), RPC_STATUS_OK);
    assert_true(again == id);
    assert_int_equal(enrol(aid, "aNN", "password1", &again), RPC_STATUS_OK);
    assert_true(again == id);
    assert_int_equal(enrol(aid, "ann", "password2", NULL), RPC_STATUS_ALREADY_EXISTS);
    assert_int_equal(env_int(&aid->env, "SELECT COUNT(*) FROM account"), 1);
}

static void two_who_register_one_name_at_once_get_one_account(void **state)
{
    struct proxy_aid *aid = *state;
    RegisterRequest req = { .name = rpc_str("Ann"), .password = rpc_str("password1") };
    RegisterRequest other = { .name = rpc_str("ANN"), .password = rpc_str("password2") };
    RegisterReply replies[3];
    struct proxy_call calls[3];
    int ok = 0;

    proxy_aid_begin(aid, &calls[0], RPC_USER_REGISTER, nobody, &req, &replies[0]);
    proxy_aid_begin(aid, &calls[1], RPC_USER_REGISTER, nobody, &req, &replies[1]);
    proxy_aid_begin(aid, &calls[2], RPC_USER_REGISTER, nobody, &other, &replies[2]);
    for (int i = 0; i < 3; i++) {
        enum rpc_status status = proxy_aid_wait(&calls[i]);
        assert_true(status == RPC_STATUS_OK || status == RPC_STATUS_ALREADY_EXISTS);
        ok += status == RPC_STATUS_OK;
    }
    assert_int_equal(env_int(&aid->env, "SELECT COUNT(*) FROM account"), 1);
    assert_int_equal(env_int(&aid->env, "SELECT COUNT(*) FROM account_name"), 1);
    assert_true(calls[0].status == calls[1].status && calls[0].status != calls[2].status);
    if (calls[0].status == RPC_STATUS_OK)
        assert_true(replies[0].user_id == replies[1].user_id);
    assert_int_equal(ok, calls[0].status == RPC_STATUS_OK ? 2 : 1);
}

static void names_and_passwords_have_limits(void **state)
{
    struct proxy_aid *aid = *state;
    char name[80], password[1100];

    memset(name, 'n', sizeof name);
    memset(password, 'p', sizeof password);
    name[65] = '\0';
    assert_int_equal(enrol(aid, name, "password1", NULL), RPC_STATUS_INVALID_ARGUMENT);
    name[64] = '\0';
    assert_int_equal(enrol(aid, name, "password1", NULL), RPC_STATUS_OK);
    assert_int_equal(enrol(aid, "", "password1", NULL), RPC_STATUS_INVALID_ARGUMENT);
    assert_int_equal(enrol(aid, "bad\xff", "password1", NULL), RPC_STATUS_INVALID_ARGUMENT);
    assert_int_equal(enrol(aid, "li\nne", "password1", NULL), RPC_STATUS_INVALID_ARGUMENT);
    assert_int_equal(enrol(aid, "bob", "7 bytes", NULL), RPC_STATUS_INVALID_ARGUMENT);
    assert_int_equal(enrol(aid, "bob", "bad utf8 \xc3", NULL), RPC_STATUS_INVALID_ARGUMENT);
    password[1025] = '\0';
    assert_int_equal(enrol(aid, "bob", password, NULL), RPC_STATUS_INVALID_ARGUMENT);
    password[1024] = '\0';
    assert_int_equal(enrol(aid, "bob", password, NULL), RPC_STATUS_OK);
    assert_int_equal(log_in(aid, "bob", password, 0, NULL), RPC_STATUS_OK);
}

static void a_changed_password_ends_the_other_sessions(void **state)
{
    struct proxy_aid *aid = *state;
    struct device phone, desk;

    enter(aid, &phone);
    assert_int_equal(log_in(aid, "Ann", "password1", 6, &desk), RPC_STATUS_OK);
    assert_int_equal(change_password(aid, &phone, "wrong one", "password2"), RPC_STATUS_PERMISSION_DENIED);
    assert_int_equal(change_password(aid, &phone, "password1", "short"), RPC_STATUS_INVALID_ARGUMENT);
    assert_int_equal(change_password(aid, &phone, "password1", "password2"), RPC_STATUS_OK);
    assert_int_equal(change_password(aid, &phone, "password1", "password2"), RPC_STATUS_OK); /* its answer was lost */
    assert_int_equal(change_password(aid, &phone, "password1", "password3"), RPC_STATUS_PERMISSION_DENIED);
    assert_int_equal(log_in(aid, "Ann", "password1", 7, NULL), RPC_STATUS_UNAUTHENTICATED);
    assert_int_equal(log_in(aid, "Ann", "password2", 7, NULL), RPC_STATUS_OK);
    wait_until_refused(aid, &desk);
    assert_int_equal(resume(aid, &phone, NULL), RPC_STATUS_OK);
    assert_int_equal(env_int(&aid->env, "SELECT end_reason FROM session WHERE ended_ms <> 0"), SessionEnd_PASSWORD_CHANGED);
}

/* ---- login and resume ---- */

static void a_wrong_password_and_an_unknown_name_look_alike(void **state)
{
    struct proxy_aid *aid = *state;
    char wrong[257];

    assert_int_equal(enrol(aid, "Ann", "password1", NULL), RPC_STATUS_OK);
    assert_int_equal(log_in(aid, "Ann", "password2", 0, NULL), RPC_STATUS_UNAUTHENTICATED);
    strcpy(wrong, aid->detail);
    assert_int_equal(log_in(aid, "Bob", "password2", 0, NULL), RPC_STATUS_UNAUTHENTICATED);
    assert_string_equal(wrong, aid->detail);
    assert_int_equal(log_in(aid, "", "password2", 0, NULL), RPC_STATUS_UNAUTHENTICATED);
    assert_int_equal(log_in(aid, "Ann", "", 0, NULL), RPC_STATUS_UNAUTHENTICATED);
    assert_int_equal(env_int(&aid->env, "SELECT COUNT(*) FROM session"), 0);
}

static void a_password_that_is_guessed_at_is_asked_for_less_and_less_often(void **state)
{
    struct proxy_aid *aid = *state;
    struct device d;
    static const char *const names[] = { "Ann", "ANN", "Nobody" };
    uint32_t waits[3];

    enter(aid, &d);
    for (int n = 0; n < 3; n++) {
        for (int i = 0; i < (n == 1 ? 0 : 3); i++)
            assert_int_equal(log_in(aid, names[n], "a guess", 0, NULL), RPC_STATUS_UNAUTHENTICATED);
        assert_int_equal(log_in(aid, names[n], n < 2 ? "password1" : "a guess", 0, NULL), RPC_STATUS_RESOURCE_EXHAUSTED);
        waits[n] = aid->retry_after_ms;
        assert_in_range(waits[n], 1, 334);
    }
    assert_int_equal(enrol(aid, "Ann", "password1", NULL), RPC_STATUS_RESOURCE_EXHAUSTED); /* would tell it too */
    assert_int_equal(resume(aid, &d, NULL), RPC_STATUS_OK);
    while (log_in(aid, "Ann", "password1", 0, NULL) == RPC_STATUS_RESOURCE_EXHAUSTED)
        net_loop_turn(aid->env.loop, 10);
    assert_int_equal(log_in(aid, "Ann", "a guess", 0, NULL), RPC_STATUS_UNAUTHENTICATED); /* from the beginning */
    for (int i = 0; i < 2; i++) /* each guesses twice */
        assert_int_equal(change_password(aid, &d, "a guess", "password2"), RPC_STATUS_PERMISSION_DENIED);
    assert_int_equal(change_password(aid, &d, "password1", "password2"), RPC_STATUS_RESOURCE_EXHAUSTED);
}

/* Who knows somebody's number can send its bytes as the name of an account. */
static void nobody_elses_logins_hold_up_a_change_of_password(void **state)
{
    struct proxy_aid *aid = *state;
    struct device d;
    LoginRequest req = { .password = rpc_str("a guess") };

    enter(aid, &d);
    req.name = rpc_bytes(&d.user_id, sizeof d.user_id);
    for (int i = 0; i < 3; i++)
        assert_int_equal(proxy_aid_call(aid, RPC_USER_LOGIN, nobody, &req, NULL), RPC_STATUS_UNAUTHENTICATED);
    assert_int_equal(proxy_aid_call(aid, RPC_USER_LOGIN, nobody, &req, NULL), RPC_STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(change_password(aid, &d, "password1", "password2"), RPC_STATUS_OK);
}

/* Somebody has set other costs since the account was made. */
static void a_hash_of_other_settings_is_made_anew_at_a_login(void **state)
{
    static const char outdated[] = "SELECT COUNT(*) FROM account WHERE CAST(password_hash AS TEXT) LIKE '%m=8,t=1,%'";
    struct proxy_aid *aid = *state;
    struct device d;

    enter(aid, &d);
    assert_int_equal(env_int(&aid->env, outdated), 1);
    proxy_aid_stop(aid);
    env_close(&aid->env);
    env_set(&aid->env, "user.hash_memory=16");
    proxy_aid_start(aid);
    assert_int_equal(log_in(aid, "Ann", "a guess", 5, NULL), RPC_STATUS_UNAUTHENTICATED);
    assert_int_equal(env_int(&aid->env, outdated), 1);
    assert_int_equal(log_in(aid, "Ann", "password1", 5, &d), RPC_STATUS_OK);
    for (int i = 0; i < 500 && env_int(&aid->env, outdated) != 0; i++)
        net_loop_turn(aid->env.loop, 10);
    assert_int_equal(env_int(&aid->env, outdated), 0);
    assert_int_equal(log_in(aid, "Ann", "a guess", 5, NULL), RPC_STATUS_UNAUTHENTICATED);
    assert_int_equal(log_in(aid, "Ann", "password1", 5, NULL), RPC_STATUS_OK);
    while (resume(aid, &d, NULL) == RPC_STATUS_UNAVAILABLE)
        net_loop_turn(aid->env.loop, 10);
    assert_int_equal(resume(aid, &d, NULL), RPC_STATUS_OK); /* no session ended */
}

static void who_is_logged_in_cannot_log_in(void **state)
{
    struct proxy_aid *aid = *state;
    struct device d;
    LoginRequest req = { .name = rpc_str("Ann"), .password = rpc_str("password1") };

    enter(aid, &d);
    assert_int_equal(proxy_aid_call(aid, RPC_USER_LOGIN, device_from(&d), &req, NULL), RPC_STATUS_FAILED_PRECONDITION);
    ResumeRequest resume_req = { .token = rpc_bytes(d.token, d.token_len) };
    assert_int_equal(proxy_aid_call(aid, RPC_USER_RESUME, device_from(&d), &resume_req, NULL), RPC_STATUS_FAILED_PRECONDITION);
}

static void a_queue_that_is_full_says_when_to_come_again(void **state)
{
    struct proxy_aid *aid = *state;
    LoginRequest req = { .name = rpc_str("Ann"), .password = rpc_str("password1") };
    struct proxy_call calls[20];
    int refused = 0, ok = 0;

    assert_int_equal(enrol(aid, "Ann", "password1", NULL), RPC_STATUS_OK);
    for (int i = 0; i < 20; i++)
        proxy_aid_begin(aid, &calls[i], RPC_USER_LOGIN, nobody, &req, NULL);
    for (int i = 0; i < 20; i++) {
        enum rpc_status status = proxy_aid_wait(&calls[i]);
        ok += status == RPC_STATUS_OK;
        refused += status == RPC_STATUS_RESOURCE_EXHAUSTED;
    }
    assert_int_equal(ok + refused, 20);
    assert_true(ok > 0 && refused > 0);
    struct proxy_call more[4];
    for (int i = 0; i < 4; i++)
        proxy_aid_begin(aid, &more[i], RPC_USER_LOGIN, nobody, &req, NULL);
    for (int i = 0; i < 4; i++)
        if (proxy_aid_wait(&more[i]) == RPC_STATUS_RESOURCE_EXHAUSTED)
            return;
    fail_msg("four logins at once went through a queue of one");
}

/* ---- profiles ---- */

static void a_profile_changes_where_it_is_told_to(void **state)
{
    struct proxy_aid *aid = *state;
    struct device d;
    Profile p;
    char text[1026];

    enter(aid, &d);
    UpdateProfileRequest req = { .about = rpc_str("likes tea") };
    assert_int_equal(proxy_aid_call(aid, RPC_USER_UPDATE_PROFILE, device_from(&d), &req, &p), RPC_STATUS_OK);
    assert_int_equal(p.about.len, 9);
    req = (UpdateProfileRequest){ .avatar = rpc_str("https://example.org/a.png") };
    assert_int_equal(proxy_aid_call(aid, RPC_USER_UPDATE_PROFILE, device_from(&d), &req, &p), RPC_STATUS_OK);
    assert_int_equal(p.about.len, 9); /* stays */
    assert_int_equal(p.avatar.len, 25);
    req = (UpdateProfileRequest){ .about = rpc_bytes("", 0) };
    assert_int_equal(proxy_aid_call(aid, RPC_USER_UPDATE_PROFILE, device_from(&d), &req, &p), RPC_STATUS_OK);
    assert_int_equal(p.about.len, 0); /* emptied */
    memset(text, 't', sizeof text);
    req = (UpdateProfileRequest){ .about = rpc_bytes(text, 1025) };
    assert_int_equal(proxy_aid_call(aid, RPC_USER_UPDATE_PROFILE, device_from(&d), &req, NULL), RPC_STATUS_INVALID_ARGUMENT);
    req = (UpdateProfileRequest){ .avatar = rpc_str("\xff") };
    assert_int_equal(proxy_aid_call(aid, RPC_USER_UPDATE_PROFILE, device_from(&d), &req, NULL), RPC_STATUS_INVALID_ARGUMENT);
}

static void users_are_found_by_name_and_by_id(void **state)
{
    struct proxy_aid *aid = *state;
    struct device d;
    Profile p;
    uint64_t bob, ids[201];

    enter(aid, &d);
    assert_int_equal(enrol(aid, "B\xc3\xb6" "b", "password1", &bob), RPC_STATUS_OK);
    FindUserRequest find = { .name = rpc_str("bo\xcc\x88" "B") }; /* decomposed, other case */
    assert_int_equal(proxy_aid_call(aid, RPC_USER_FIND_USER, device_from(&d), &find, &p), RPC_STATUS_OK);
    assert_true(p.user_id == bob);
    assert_memory_equal(p.name.data, "B\xc3\xb6" "b", 4);
    find.name = rpc_str("carol");
    assert_int_equal(proxy_aid_call(aid, RPC_USER_FIND_USER, device_from(&d), &find, NULL), RPC_STATUS_NOT_FOUND);
    find.name = rpc_str("\xff");
    assert_int_equal(proxy_aid_call(aid, RPC_USER_FIND_USER, device_from(&d), &find, NULL), RPC_STATUS_NOT_FOUND);

    struct proxy_from about = device_from(&d);
    assert_int_equal(proxy_aid_call(aid, RPC_USER_GET_PROFILE, about, &(GetProfileRequest){ 0 }, &p), RPC_STATUS_OK);
    assert_true(p.user_id == d.user_id);
    about.target = bob;
    assert_int_equal(proxy_aid_call(aid, RPC_USER_GET_PROFILE, about, &(GetProfileRequest){ 0 }, &p), RPC_STATUS_OK);
    assert_true(p.user_id == bob && p.created_ms > 0);
    about.target = bob | RPC_TARGET_GROUP;
    assert_int_equal(proxy_aid_call(aid, RPC_USER_GET_PROFILE, about, &(GetProfileRequest){ 0 }, NULL), RPC_STATUS_NOT_FOUND);

    for (size_t i = 0; i < 201; i++)
        ids[i] = i % 2 ? bob : UINT64_C(1) << 40;
    for (pb_size_t n = 1; n <= 200; n += 9) {
        GetUsersRequest get = { .user_ids = ids, .user_ids_count = n };
        GetUsersReply users;
        assert_int_equal(proxy_aid_call(aid, RPC_USER_GET_USERS, device_from(&d), &get, &users), RPC_STATUS_OK);
        assert_int_equal(users.users_count, n > 1);
        if (n > 1)
            assert_true(users.users[0].user_id == bob && users.users[0].name.len == 4);
        proxy_aid_release(RPC_USER_GET_USERS, &users);
    }
    GetUsersRequest get = { .user_ids = ids, .user_ids_count = 201 };
    assert_int_equal(proxy_aid_call(aid, RPC_USER_GET_USERS, device_from(&d), &get, NULL), RPC_STATUS_INVALID_ARGUMENT);
    get.user_ids_count = 0;
    assert_int_equal(proxy_aid_call(aid, RPC_USER_GET_USERS, device_from(&d), &get, NULL), RPC_STATUS_OK);
}

/* ---- the operator ---- */

static void an_operator_shuts_an_account_beside_the_server(void **state)
{
    struct proxy_aid *aid = *state;
    struct device d;

    enter(aid, &d);
    assert_int_equal(user_operate_disable(aid->env.conf, "ann"), 0);
    assert_int_equal(user_operate_disable(aid->env.conf, "ann"), 0);
    assert_int_equal(log_in(aid, "Ann", "password1", 5, NULL), RPC_STATUS_PERMISSION_DENIED);
    assert_int_equal(log_in(aid, "Ann", "password2", 5, NULL), RPC_STATUS_UNAUTHENTICATED); /* tells nobody else */
    wait_until_refused(aid, &d);
    assert_int_equal(env_int(&aid->env, "SELECT end_reason FROM session"), SessionEnd_DISABLED);
    assert_int_equal(user_operate_enable(aid->env.conf, "ANN"), 0);
    assert_int_equal(log_in(aid, "Ann", "password1", 5, &d), RPC_STATUS_OK);
    assert_int_equal(user_operate_passwd(aid->env.conf, "Ann", "password9"), 0);
    wait_until_refused(aid, &d);
    assert_int_equal(log_in(aid, "Ann", "password1", 5, NULL), RPC_STATUS_UNAUTHENTICATED);
    assert_int_equal(log_in(aid, "Ann", "password9", 5, NULL), RPC_STATUS_OK);
    assert_int_equal(user_operate_passwd(aid->env.conf, "Ann", "short"), 1);
    assert_int_equal(user_operate_enable(aid->env.conf, "nobody"), 1);
    assert_int_equal(user_operate_disable(aid->env.conf, "\xff"), 1);
}

/* ---- the end ---- */

static void a_profile_that_was_written_is_never_said_not_to_be(void **state)
{
    struct proxy_aid *aid = *state;
    uint64_t ann = 0;
    bool has_failed = true;
    int unsure = 0;

    assert_int_equal(enrol(aid, "Ann", "password1", &ann), RPC_STATUS_OK);
    for (long n = 0; has_failed; n++) {
        UpdateProfileRequest req = { .about = rpc_str(n % 2 ? "odd" : "even") };
        struct proxy_call call;
        proxy_aid_begin(aid, &call, RPC_USER_UPDATE_PROFILE, (struct proxy_from){ .caller = ann }, &req, NULL);
        bt_mem_fail_after(n);
        enum rpc_status status = proxy_aid_wait(&call);
        has_failed = bt_mem_has_failed();
        bt_mem_fail_after(-1);
        bool is_written = env_int(&aid->env, n % 2 ? "SELECT COUNT(*) FROM account WHERE about = x'6f6464'"
                                                   : "SELECT COUNT(*) FROM account WHERE about = x'6576656e'") == 1;
        unsure += status == RPC_STATUS_UNKNOWN;
        assert_true(is_written ? status == RPC_STATUS_OK || status == RPC_STATUS_UNKNOWN : status != RPC_STATUS_OK);
        assert_true(n < 1000);
    }
    assert_true(unsure > 0);
}

/* Whatever allocation fails, the call is answered, and nothing half is left behind. */
static void without_memory_calls_are_answered_all_the_same(void **state)
{
    struct proxy_aid *aid = *state;
    RegisterRequest enrol_req = { .name = rpc_str("Ann"), .password = rpc_str("password1") };
    LoginRequest login_req = { .name = rpc_str("Ann"), .password = rpc_str("password1"), .device_id = 5 };
    struct proxy_call call;
    int failed = 0;
    bool has_failed = true;

    for (long n = 0; has_failed; n++) {
        proxy_aid_begin(aid, &call, n % 2 ? RPC_USER_LOGIN : RPC_USER_REGISTER, nobody,
                        n % 2 ? (const void *)&login_req : (const void *)&enrol_req, NULL);
        bt_mem_fail_after(n / 2);
        enum rpc_status status = proxy_aid_wait(&call);
        has_failed = bt_mem_has_failed();
        bt_mem_fail_after(-1);
        failed += status == RPC_STATUS_RESOURCE_EXHAUSTED;
        assert_true(status == RPC_STATUS_OK || status == RPC_STATUS_RESOURCE_EXHAUSTED || status == RPC_STATUS_UNAVAILABLE ||
                    status == RPC_STATUS_UNKNOWN ||                   /* its answer was lost */
                    (n % 2 && status == RPC_STATUS_UNAUTHENTICATED)); /* before she is registered */
        assert_true(n < 1000);
    }
    assert_true(failed > 2);
    assert_int_equal(enrol(aid, "Ann", "password1", NULL), RPC_STATUS_OK);
    assert_int_equal(log_in(aid, "Ann", "password1", 5, NULL), RPC_STATUS_OK);
    assert_int_equal(env_int(&aid->env, "SELECT COUNT(*) FROM account"), 1);
    assert_int_equal(env_int(&aid->env, "SELECT COUNT(*) FROM session"), 1);
}

static void stopping_waits_for_what_was_begun(void **state)
{
    struct proxy_aid *aid = *state;
    RegisterRequest req = { .name = rpc_str("Ann"), .password = rpc_str("password1") };
    struct proxy_call calls[8];

    for (int i = 0; i < 8; i++)
        proxy_aid_begin(aid, &calls[i], RPC_USER_REGISTER, nobody, &req, NULL);
    net_loop_turn(aid->env.loop, 0);
    net_loop_turn(aid->env.loop, 0);
    proxy_aid_stop(aid); /* the callers are gone by then: their replies go nowhere */
    for (int i = 0; i < 8; i++)
        assert_true(calls[i].is_done);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, user_setup, user_teardown)
    const struct CMUnitTest tests[] = {
        T(registering_again_is_found_by_the_password),
        T(two_who_register_one_name_at_once_get_one_account),
        T(names_and_passwords_have_limits),
        T(a_changed_password_ends_the_other_sessions),
        T(a_wrong_password_and_an_unknown_name_look_alike),
        cmocka_unit_test_setup_teardown(a_password_that_is_guessed_at_is_asked_for_less_and_less_often, setup_few_tries, user_teardown),
        cmocka_unit_test_setup_teardown(nobody_elses_logins_hold_up_a_change_of_password, setup_few_tries, user_teardown),
        T(a_hash_of_other_settings_is_made_anew_at_a_login),
        T(who_is_logged_in_cannot_log_in),
        cmocka_unit_test_setup_teardown(a_queue_that_is_full_says_when_to_come_again, setup_short_queue, user_teardown),
        T(a_profile_changes_where_it_is_told_to),
        T(users_are_found_by_name_and_by_id),
        T(an_operator_shuts_an_account_beside_the_server),
        T(without_memory_calls_are_answered_all_the_same),
        T(a_profile_that_was_written_is_never_said_not_to_be),
        T(stopping_waits_for_what_was_begun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
