/* test/unit/test_user.c: accounts, logins, sessions, tokens and profiles, over a real store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/log.h"
#include "net/mem.h"
#include "proto/client.pb.h"
#include "proto/methods.h"
#include "proto/node.pb.h"
#include "roles/token.h"
#include "roles/user_ended.h"
#include "roles/user_operate.h"
#include "rpc/bytes.h"
#include "test/unit/proxy_aid.h"

static const struct proxy_from nobody = { 0 };

/* A device that has logged in. */
struct device {
    uint64_t user_id, session_id;
    uint8_t token[TOKEN_MAX];
    size_t token_len;
    char name[TOKEN_NAME_MAX + 1];
};

static void quiet(enum log_level level, const char *line, void *arg)
{
    (void)level, (void)line, (void)arg;
}

static int setup_with(void **state, const char *const *settings)
{
    struct proxy_aid *aid = malloc(sizeof *aid);
    log_set_sink(quiet, NULL);
    proxy_aid_init(aid, &role_user);
    env_set(&aid->env, "user.hash_ops=1");
    env_set(&aid->env, "user.hash_memory=8");
    while (settings && *settings)
        env_set(&aid->env, *settings++);
    proxy_aid_start(aid);
    *state = aid;
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, NULL);
}

static int setup_two_sessions(void **state)
{
    return setup_with(state, (const char *const[]){ "user.max_sessions=2", NULL });
}

static int setup_few_tries(void **state)
{
    return setup_with(state, (const char *const[]){ "user.wrong_tries=3", "user.wrong_window_ms=1000", NULL });
}

static int setup_short_queue(void **state)
{
    return setup_with(state, (const char *const[]){ "user.hash_queue=1", "user.hash_parallel=1", NULL });
}

static int teardown(void **state)
{
    struct proxy_aid *aid = *state;
    proxy_aid_deinit(aid);
    free(aid);
    log_set_sink(NULL, NULL);
    return 0;
}

static enum rpc_status enrol(struct proxy_aid *aid, const char *name, const char *password, uint64_t *id_out)
{
    RegisterRequest req = { .name = rpc_str(name), .password = rpc_str(password) };
    RegisterReply reply = { 0 };
    enum rpc_status status = proxy_aid_call(aid, RPC_USER_REGISTER, nobody, &req, &reply);
    if (id_out)
        *id_out = reply.user_id;
    return status;
}

static void device_of(struct device *d, const LoginReply *reply)
{
    d->user_id = reply->user_id;
    d->session_id = reply->session_id;
    assert_in_range(reply->token.len, 1, TOKEN_MAX);
    memcpy(d->token, reply->token.data, d->token_len = reply->token.len);
    memcpy(d->name, reply->name.data, reply->name.len);
    d->name[reply->name.len] = '\0';
}

static enum rpc_status login(struct proxy_aid *aid, const char *name, const char *password, uint64_t device_id, struct device *d)
{
    LoginRequest req = { .name = rpc_str(name), .password = rpc_str(password), .device_id = device_id, .device = rpc_str("a phone") };
    LoginReply reply;
    enum rpc_status status = proxy_aid_call(aid, RPC_USER_LOGIN, nobody, &req, &reply);
    if (status == RPC_STATUS_OK && d)
        device_of(d, &reply);
    return status;
}

static enum rpc_status resume(struct proxy_aid *aid, const struct device *d, struct device *out)
{
    ResumeRequest req = { .token = rpc_bytes(d->token, d->token_len) };
    LoginReply reply;
    enum rpc_status status = proxy_aid_call(aid, RPC_USER_RESUME, nobody, &req, &reply);
    if (status == RPC_STATUS_OK && out)
        device_of(out, &reply);
    return status;
}

static struct proxy_from from(const struct device *d)
{
    return (struct proxy_from){ .caller = d->user_id, .session = d->session_id };
}

/* Registers ann and logs her in. */
static void enter(struct proxy_aid *aid, struct device *d)
{
    assert_int_equal(enrol(aid, "Ann", "password1", NULL), RPC_STATUS_OK);
    assert_int_equal(login(aid, "Ann", "password1", 5, d), RPC_STATUS_OK);
}

static enum rpc_status change(struct proxy_aid *aid, const struct device *d, const char *old, const char *new)
{
    ChangePasswordRequest req = { .old_password = rpc_str(old), .new_password = rpc_str(new) };
    return proxy_aid_call(aid, RPC_USER_CHANGE_PASSWORD, from(d), &req, NULL);
}

static void wait_until_refused(struct proxy_aid *aid, const struct device *d)
{
    enum rpc_status status = RPC_STATUS_OK;
    uint64_t end_us = net_clock_us() + 2 * 1000000; /* what is promised */
    while (net_clock_us() < end_us && (status = resume(aid, d, NULL)) == RPC_STATUS_OK)
        net_loop_turn(aid->env.loop, 50);
    assert_int_equal(status, RPC_STATUS_UNAUTHENTICATED);
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
    assert_int_equal(login(aid, "bob", password, 0, NULL), RPC_STATUS_OK);
}

static void a_changed_password_ends_the_other_sessions(void **state)
{
    struct proxy_aid *aid = *state;
    struct device phone, desk;

    enter(aid, &phone);
    assert_int_equal(login(aid, "Ann", "password1", 6, &desk), RPC_STATUS_OK);
    assert_int_equal(change(aid, &phone, "wrong one", "password2"), RPC_STATUS_PERMISSION_DENIED);
    assert_int_equal(change(aid, &phone, "password1", "short"), RPC_STATUS_INVALID_ARGUMENT);
    assert_int_equal(change(aid, &phone, "password1", "password2"), RPC_STATUS_OK);
    assert_int_equal(change(aid, &phone, "password1", "password2"), RPC_STATUS_OK); /* its answer was lost */
    assert_int_equal(change(aid, &phone, "password1", "password3"), RPC_STATUS_PERMISSION_DENIED);
    assert_int_equal(login(aid, "Ann", "password1", 7, NULL), RPC_STATUS_UNAUTHENTICATED);
    assert_int_equal(login(aid, "Ann", "password2", 7, NULL), RPC_STATUS_OK);
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
    assert_int_equal(login(aid, "Ann", "password2", 0, NULL), RPC_STATUS_UNAUTHENTICATED);
    strcpy(wrong, aid->detail);
    assert_int_equal(login(aid, "Bob", "password2", 0, NULL), RPC_STATUS_UNAUTHENTICATED);
    assert_string_equal(wrong, aid->detail);
    assert_int_equal(login(aid, "", "password2", 0, NULL), RPC_STATUS_UNAUTHENTICATED);
    assert_int_equal(login(aid, "Ann", "", 0, NULL), RPC_STATUS_UNAUTHENTICATED);
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
            assert_int_equal(login(aid, names[n], "a guess", 0, NULL), RPC_STATUS_UNAUTHENTICATED);
        assert_int_equal(login(aid, names[n], n < 2 ? "password1" : "a guess", 0, NULL), RPC_STATUS_RESOURCE_EXHAUSTED);
        waits[n] = aid->retry_after_ms;
        assert_in_range(waits[n], 1, 334);
    }
    assert_int_equal(enrol(aid, "Ann", "password1", NULL), RPC_STATUS_RESOURCE_EXHAUSTED); /* would tell it too */
    assert_int_equal(resume(aid, &d, NULL), RPC_STATUS_OK);
    while (login(aid, "Ann", "password1", 0, NULL) == RPC_STATUS_RESOURCE_EXHAUSTED)
        net_loop_turn(aid->env.loop, 10);
    assert_int_equal(login(aid, "Ann", "a guess", 0, NULL), RPC_STATUS_UNAUTHENTICATED); /* from the beginning */
    for (int i = 0; i < 3; i++)
        assert_int_equal(change(aid, &d, "a guess", "password2"), RPC_STATUS_PERMISSION_DENIED);
    assert_int_equal(change(aid, &d, "password1", "password2"), RPC_STATUS_RESOURCE_EXHAUSTED);
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
    assert_int_equal(login(aid, "Ann", "a guess", 5, NULL), RPC_STATUS_UNAUTHENTICATED);
    assert_int_equal(env_int(&aid->env, outdated), 1);
    assert_int_equal(login(aid, "Ann", "password1", 5, &d), RPC_STATUS_OK);
    for (int i = 0; i < 500 && env_int(&aid->env, outdated) != 0; i++)
        net_loop_turn(aid->env.loop, 10);
    assert_int_equal(env_int(&aid->env, outdated), 0);
    assert_int_equal(login(aid, "Ann", "a guess", 5, NULL), RPC_STATUS_UNAUTHENTICATED);
    assert_int_equal(login(aid, "Ann", "password1", 5, NULL), RPC_STATUS_OK);
    while (resume(aid, &d, NULL) == RPC_STATUS_UNAVAILABLE)
        net_loop_turn(aid->env.loop, 10);
    assert_int_equal(resume(aid, &d, NULL), RPC_STATUS_OK); /* no session ended */
}

static void a_device_finds_its_session_again(void **state)
{
    struct proxy_aid *aid = *state;
    struct device first, again, other, none, none2;

    enter(aid, &first);
    assert_string_equal(first.name, "Ann");
    assert_int_equal(login(aid, "ann", "password1", 5, &again), RPC_STATUS_OK);
    assert_string_equal(again.name, "Ann"); /* as it was typed when it was made */
    assert_true(again.session_id == first.session_id);
    assert_int_equal(login(aid, "ann", "password1", 6, &other), RPC_STATUS_OK);
    assert_true(other.session_id != first.session_id);
    assert_int_equal(login(aid, "ann", "password1", 0, &none), RPC_STATUS_OK);
    assert_int_equal(login(aid, "ann", "password1", 0, &none2), RPC_STATUS_OK);
    assert_true(none.session_id != none2.session_id);
    assert_int_equal(env_int(&aid->env, "SELECT COUNT(*) FROM session WHERE ended_ms = 0"), 4);
    assert_int_equal(login(aid, "ann", "password1", UINT64_MAX, &other), RPC_STATUS_OK);
    assert_int_equal(login(aid, "ann", "password1", UINT64_MAX, &again), RPC_STATUS_OK);
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
    assert_int_equal(login(aid, "Ann", "password1", 6, &second), RPC_STATUS_OK);
    assert_int_equal(login(aid, "Ann", "password1", 7, &third), RPC_STATUS_OK);
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
    assert_int_equal(login(aid, "Ann", "password1", 0, &d), RPC_STATUS_OK);
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

static void who_is_logged_in_cannot_log_in(void **state)
{
    struct proxy_aid *aid = *state;
    struct device d;
    LoginRequest req = { .name = rpc_str("Ann"), .password = rpc_str("password1") };

    enter(aid, &d);
    assert_int_equal(proxy_aid_call(aid, RPC_USER_LOGIN, from(&d), &req, NULL), RPC_STATUS_FAILED_PRECONDITION);
    ResumeRequest resume_req = { .token = rpc_bytes(d.token, d.token_len) };
    assert_int_equal(proxy_aid_call(aid, RPC_USER_RESUME, from(&d), &resume_req, NULL), RPC_STATUS_FAILED_PRECONDITION);
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

/* ---- sessions ---- */

static void a_session_that_logged_out_is_over(void **state)
{
    struct proxy_aid *aid = *state;
    struct device d, other;

    enter(aid, &d);
    assert_int_equal(login(aid, "Ann", "password1", 6, &other), RPC_STATUS_OK);
    assert_int_equal(proxy_aid_call(aid, RPC_USER_LOGOUT, from(&d), &(LogoutRequest){ 0 }, NULL), RPC_STATUS_OK);
    assert_int_equal(resume(aid, &d, NULL), RPC_STATUS_UNAUTHENTICATED);
    assert_int_equal(proxy_aid_call(aid, RPC_USER_LOGOUT, from(&d), &(LogoutRequest){ 0 }, NULL), RPC_STATUS_OK);
    assert_int_equal(resume(aid, &other, NULL), RPC_STATUS_OK);

    struct device again; /* the device's next login makes a new session, and may end in the same millisecond */
    for (int i = 0; i < 20; i++) {
        assert_int_equal(login(aid, "Ann", "password1", 5, &again), RPC_STATUS_OK);
        assert_true(again.session_id != d.session_id);
        assert_int_equal(proxy_aid_call(aid, RPC_USER_LOGOUT, from(&again), &(LogoutRequest){ 0 }, NULL), RPC_STATUS_OK);
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
    assert_int_equal(login(aid, "Ann", "password1", 6, &second), RPC_STATUS_OK);
    assert_int_equal(enrol(aid, "Bob", "password1", NULL), RPC_STATUS_OK);
    assert_int_equal(login(aid, "Bob", "password1", 5, &bob), RPC_STATUS_OK);

    assert_int_equal(proxy_aid_call(aid, RPC_USER_LIST_SESSIONS, from(&first), &(ListSessionsRequest){ 0 }, &list), RPC_STATUS_OK);
    assert_int_equal(list.sessions_count, 2);
    assert_true(list.sessions[0].session_id == second.session_id && !list.sessions[0].is_this);
    assert_true(list.sessions[1].session_id == first.session_id && list.sessions[1].is_this);
    assert_int_equal(list.sessions[0].device.len, 7);
    assert_memory_equal(list.sessions[0].device.data, "a phone", 7);
    assert_true(list.sessions[0].created_ms >= list.sessions[1].created_ms);
    proxy_aid_release(RPC_USER_LIST_SESSIONS, &list);

    EndSessionRequest end = { .session_id = second.session_id };
    assert_int_equal(proxy_aid_call(aid, RPC_USER_END_SESSION, from(&bob), &end, NULL), RPC_STATUS_NOT_FOUND);
    assert_int_equal(resume(aid, &second, NULL), RPC_STATUS_OK);
    assert_int_equal(proxy_aid_call(aid, RPC_USER_END_SESSION, from(&first), &end, NULL), RPC_STATUS_OK);
    assert_int_equal(proxy_aid_call(aid, RPC_USER_END_SESSION, from(&first), &end, NULL), RPC_STATUS_OK);
    assert_int_equal(resume(aid, &second, NULL), RPC_STATUS_UNAUTHENTICATED);
    end.session_id = 12345;
    assert_int_equal(proxy_aid_call(aid, RPC_USER_END_SESSION, from(&first), &end, NULL), RPC_STATUS_NOT_FOUND);
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
    assert_int_equal(proxy_aid_call(aid, RPC_USER_LOGOUT, from(&d), &(LogoutRequest){ 0 }, NULL), RPC_STATUS_OK);
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

/* ---- profiles ---- */

/* Its end was told to proxies while this node could not read; they have it again only by being told again. */
static void a_session_resumed_on_old_knowledge_is_ended_again(void **state)
{
    struct proxy_aid *aid = *state;
    struct device d, other;
    struct db_done done;

    enter(aid, &d);
    assert_int_equal(login(aid, "Ann", "password1", 6, &other), RPC_STATUS_OK);
    while (resume(aid, &d, NULL) == RPC_STATUS_UNAVAILABLE)
        net_loop_turn(aid->env.loop, 20);
    const int64_t end_ms = store_now_ms(aid->env.store);
    const struct db_val vals[] = { db_int(end_ms), db_int((int64_t)d.session_id) };
    log_set_sink(quiet, NULL);
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

static void a_profile_changes_where_it_is_told_to(void **state)
{
    struct proxy_aid *aid = *state;
    struct device d;
    Profile p;
    char text[1026];

    enter(aid, &d);
    UpdateProfileRequest req = { .about = rpc_str("likes tea") };
    assert_int_equal(proxy_aid_call(aid, RPC_USER_UPDATE_PROFILE, from(&d), &req, &p), RPC_STATUS_OK);
    assert_int_equal(p.about.len, 9);
    req = (UpdateProfileRequest){ .avatar = rpc_str("https://example.org/a.png") };
    assert_int_equal(proxy_aid_call(aid, RPC_USER_UPDATE_PROFILE, from(&d), &req, &p), RPC_STATUS_OK);
    assert_int_equal(p.about.len, 9); /* stays */
    assert_int_equal(p.avatar.len, 25);
    req = (UpdateProfileRequest){ .about = rpc_bytes("", 0) };
    assert_int_equal(proxy_aid_call(aid, RPC_USER_UPDATE_PROFILE, from(&d), &req, &p), RPC_STATUS_OK);
    assert_int_equal(p.about.len, 0); /* emptied */
    memset(text, 't', sizeof text);
    req = (UpdateProfileRequest){ .about = rpc_bytes(text, 1025) };
    assert_int_equal(proxy_aid_call(aid, RPC_USER_UPDATE_PROFILE, from(&d), &req, NULL), RPC_STATUS_INVALID_ARGUMENT);
    req = (UpdateProfileRequest){ .avatar = rpc_str("\xff") };
    assert_int_equal(proxy_aid_call(aid, RPC_USER_UPDATE_PROFILE, from(&d), &req, NULL), RPC_STATUS_INVALID_ARGUMENT);
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
    assert_int_equal(proxy_aid_call(aid, RPC_USER_FIND_USER, from(&d), &find, &p), RPC_STATUS_OK);
    assert_true(p.user_id == bob);
    assert_memory_equal(p.name.data, "B\xc3\xb6" "b", 4);
    find.name = rpc_str("carol");
    assert_int_equal(proxy_aid_call(aid, RPC_USER_FIND_USER, from(&d), &find, NULL), RPC_STATUS_NOT_FOUND);
    find.name = rpc_str("\xff");
    assert_int_equal(proxy_aid_call(aid, RPC_USER_FIND_USER, from(&d), &find, NULL), RPC_STATUS_NOT_FOUND);

    struct proxy_from about = from(&d);
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
        assert_int_equal(proxy_aid_call(aid, RPC_USER_GET_USERS, from(&d), &get, &users), RPC_STATUS_OK);
        assert_int_equal(users.users_count, n > 1);
        if (n > 1)
            assert_true(users.users[0].user_id == bob && users.users[0].name.len == 4);
        proxy_aid_release(RPC_USER_GET_USERS, &users);
    }
    GetUsersRequest get = { .user_ids = ids, .user_ids_count = 201 };
    assert_int_equal(proxy_aid_call(aid, RPC_USER_GET_USERS, from(&d), &get, NULL), RPC_STATUS_INVALID_ARGUMENT);
    get.user_ids_count = 0;
    assert_int_equal(proxy_aid_call(aid, RPC_USER_GET_USERS, from(&d), &get, NULL), RPC_STATUS_OK);
}

/* ---- the operator ---- */

static void an_operator_shuts_an_account_beside_the_server(void **state)
{
    struct proxy_aid *aid = *state;
    struct device d;

    enter(aid, &d);
    assert_int_equal(user_operate_disable(aid->env.conf, "ann"), 0);
    assert_int_equal(user_operate_disable(aid->env.conf, "ann"), 0);
    assert_int_equal(login(aid, "Ann", "password1", 5, NULL), RPC_STATUS_PERMISSION_DENIED);
    assert_int_equal(login(aid, "Ann", "password2", 5, NULL), RPC_STATUS_UNAUTHENTICATED); /* tells nobody else */
    wait_until_refused(aid, &d);
    assert_int_equal(env_int(&aid->env, "SELECT end_reason FROM session"), SessionEnd_DISABLED);
    assert_int_equal(user_operate_enable(aid->env.conf, "ANN"), 0);
    assert_int_equal(login(aid, "Ann", "password1", 5, &d), RPC_STATUS_OK);
    assert_int_equal(user_operate_passwd(aid->env.conf, "Ann", "password9"), 0);
    wait_until_refused(aid, &d);
    assert_int_equal(login(aid, "Ann", "password1", 5, NULL), RPC_STATUS_UNAUTHENTICATED);
    assert_int_equal(login(aid, "Ann", "password9", 5, NULL), RPC_STATUS_OK);
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
                    (n % 2 && status == RPC_STATUS_UNAUTHENTICATED)); /* before she is registered */
        assert_true(n < 1000);
    }
    assert_true(failed > 2);
    assert_int_equal(enrol(aid, "Ann", "password1", NULL), RPC_STATUS_OK);
    assert_int_equal(login(aid, "Ann", "password1", 5, NULL), RPC_STATUS_OK);
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
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(registering_again_is_found_by_the_password),
        T(two_who_register_one_name_at_once_get_one_account),
        T(names_and_passwords_have_limits),
        T(a_changed_password_ends_the_other_sessions),
        T(a_wrong_password_and_an_unknown_name_look_alike),
        cmocka_unit_test_setup_teardown(a_password_that_is_guessed_at_is_asked_for_less_and_less_often, setup_few_tries, teardown),
        T(a_hash_of_other_settings_is_made_anew_at_a_login),
        T(a_device_finds_its_session_again),
        T(one_device_that_logs_in_twice_at_once_has_one_session),
        cmocka_unit_test_setup_teardown(the_oldest_session_gives_way, setup_two_sessions, teardown),
        T(a_token_resumes_its_session_also_after_a_restart),
        T(a_token_by_a_new_key_is_good_at_once),
        T(a_token_past_half_its_life_is_replaced),
        T(who_is_logged_in_cannot_log_in),
        cmocka_unit_test_setup_teardown(a_queue_that_is_full_says_when_to_come_again, setup_short_queue, teardown),
        T(a_session_that_logged_out_is_over),
        T(sessions_are_listed_and_ended_by_their_owner_only),
        T(proxies_are_told_which_sessions_ended_and_why),
        T(many_ended_sessions_come_in_pages_without_a_gap),
        T(a_restarted_node_knows_all_that_ended),
        T(a_session_resumed_on_old_knowledge_is_ended_again),
        T(a_profile_changes_where_it_is_told_to),
        T(users_are_found_by_name_and_by_id),
        T(an_operator_shuts_an_account_beside_the_server),
        T(without_memory_calls_are_answered_all_the_same),
        T(a_profile_that_was_written_is_never_said_not_to_be),
        T(stopping_waits_for_what_was_begun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
