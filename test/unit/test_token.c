/* test/unit/test_token.c: what a token proves, what it does not, and the file with the keys. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/log.h"
#include "roles/token.h"

enum { DAY_MS = 24 * 3600 * 1000 };
static const int64_t now_ms = INT64_C(1763700000000);
static const int64_t life_ms = INT64_C(30) * DAY_MS;

struct env {
    char dir[64], path[128], why[1400];
    struct token_keys keys;
};

static int setup(void **state)
{
    struct env *env = calloc(1, sizeof *env);
    snprintf(env->dir, sizeof env->dir, "/tmp/bytetalk-test-XXXXXX");
    assert_non_null(mkdtemp(env->dir));
    snprintf(env->path, sizeof env->path, "%s/token.keys", env->dir);
    *state = env;
    return 0;
}

static int teardown(void **state)
{
    struct env *env = *state;
    unlink(env->path);
    assert_int_equal(rmdir(env->dir), 0); /* nothing else was left behind */
    free(env);
    return 0;
}

static enum bt_err open_keys(struct env *env)
{
    return token_keys_open(&env->keys, env->path, now_ms, env->why, sizeof env->why);
}

static void write_file(struct env *env, const char *text, mode_t mode)
{
    unlink(env->path);
    int fd = open(env->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

#define KEY_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define KEY_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static struct token sample(void)
{
    return (struct token){
        .user_id = UINT64_C(0x1122334455667788),
        .session_id = UINT64_C(0x2233445566778899),
        .issued_ms = now_ms,
        .expires_ms = now_ms + life_ms,
        .name = (const uint8_t *)"Ren\xc3\xa9",
        .name_len = 5,
    };
}

static void a_token_says_who_it_is_for(void **state)
{
    struct env *env = *state;
    uint8_t bytes[TOKEN_MAX];
    struct token t = sample(), got;

    assert_int_equal(open_keys(env), BT_OK);
    size_t len = token_sign(&env->keys, &t, bytes);
    assert_int_equal(token_verify(&env->keys, bytes, len, now_ms, life_ms, &got), BT_OK);
    assert_true(got.user_id == t.user_id && got.session_id == t.session_id);
    assert_true(got.issued_ms == t.issued_ms && got.expires_ms == t.expires_ms);
    assert_int_equal(got.name_len, 5);
    assert_memory_equal(got.name, t.name, 5);
}

static void the_longest_name_fits_and_the_empty_one_too(void **state)
{
    struct env *env = *state;
    uint8_t bytes[TOKEN_MAX], name[TOKEN_NAME_MAX];
    struct token t = sample(), got;

    memset(name, 'n', sizeof name);
    assert_int_equal(open_keys(env), BT_OK);
    t.name = name;
    t.name_len = sizeof name;
    size_t len = token_sign(&env->keys, &t, bytes);
    assert_true(len <= TOKEN_MAX);
    assert_int_equal(token_verify(&env->keys, bytes, len, now_ms, life_ms, &got), BT_OK);
    assert_int_equal(got.name_len, sizeof name);
    t.name = NULL;
    t.name_len = 0;
    len = token_sign(&env->keys, &t, bytes);
    assert_int_equal(token_verify(&env->keys, bytes, len, now_ms, life_ms, &got), BT_OK);
    assert_int_equal(got.name_len, 0);
}

static void no_bit_of_a_token_can_be_changed(void **state)
{
    struct env *env = *state;
    uint8_t bytes[TOKEN_MAX];
    struct token t = sample(), got;

    assert_int_equal(open_keys(env), BT_OK);
    size_t len = token_sign(&env->keys, &t, bytes);
    for (size_t bit = 0; bit < len * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        bool is_key_id = bit / 8 >= 1 && bit / 8 < 5;
        assert_int_equal(token_verify(&env->keys, bytes, len, now_ms, life_ms, &got), is_key_id ? BT_ENOTFOUND : BT_ENOAUTH);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(token_verify(&env->keys, bytes, len, now_ms, life_ms, &got), BT_OK);
}

static void a_token_cut_or_lengthened_is_none(void **state)
{
    struct env *env = *state;
    uint8_t bytes[TOKEN_MAX + 1] = { 0 };
    struct token t = sample(), got;

    assert_int_equal(open_keys(env), BT_OK);
    size_t whole = token_sign(&env->keys, &t, bytes);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        uint8_t *copy = malloc(len + !len); /* so that reading past the end shows */
        memcpy(copy, bytes, len);
        assert_int_equal(token_verify(&env->keys, copy, len, now_ms, life_ms, &got), len == whole ? BT_OK : BT_ENOAUTH);
        free(copy);
    }
    assert_int_equal(token_verify(&env->keys, NULL, 0, now_ms, life_ms, &got), BT_ENOAUTH);
}

static void a_token_expires_on_the_millisecond(void **state)
{
    struct env *env = *state;
    uint8_t bytes[TOKEN_MAX];
    struct token t = sample(), got;

    assert_int_equal(open_keys(env), BT_OK);
    size_t len = token_sign(&env->keys, &t, bytes);
    assert_int_equal(token_verify(&env->keys, bytes, len, t.expires_ms - 1, life_ms, &got), BT_OK);
    assert_int_equal(token_verify(&env->keys, bytes, len, t.expires_ms, life_ms, &got), BT_ENOAUTH);
}

static void a_shorter_life_counts_for_tokens_made_before(void **state)
{
    struct env *env = *state;
    uint8_t bytes[TOKEN_MAX];
    struct token t = sample(), got;
    int64_t week_ms = INT64_C(7) * DAY_MS;

    assert_int_equal(open_keys(env), BT_OK);
    size_t len = token_sign(&env->keys, &t, bytes);
    assert_int_equal(token_verify(&env->keys, bytes, len, now_ms + week_ms, week_ms, &got), BT_OK);
    assert_int_equal(token_verify(&env->keys, bytes, len, now_ms + week_ms + 1, week_ms, &got), BT_ENOAUTH);
}

static void another_key_proves_nothing(void **state)
{
    struct env *env = *state;
    uint8_t bytes[TOKEN_MAX];
    struct token t = sample(), got;

    write_file(env, "1 " KEY_A " 1000\n", 0600);
    assert_int_equal(open_keys(env), BT_OK);
    size_t len = token_sign(&env->keys, &t, bytes);
    write_file(env, "1 " KEY_B " 1000\n", 0600); /* the same id */
    assert_int_equal(open_keys(env), BT_OK);
    assert_int_equal(token_verify(&env->keys, bytes, len, now_ms, life_ms, &got), BT_ENOAUTH);
    write_file(env, "2 " KEY_A " 1000\n", 0600); /* the same key */
    assert_int_equal(open_keys(env), BT_OK);
    assert_int_equal(token_verify(&env->keys, bytes, len, now_ms, life_ms, &got), BT_ENOTFOUND);
}

static void the_newest_key_signs_and_all_verify(void **state)
{
    struct env *env = *state;
    uint8_t old[TOKEN_MAX], young[TOKEN_MAX];
    struct token t = sample(), got;

    write_file(env, "7 " KEY_A " 1000\n", 0600);
    assert_int_equal(open_keys(env), BT_OK);
    size_t old_len = token_sign(&env->keys, &t, old);

    write_file(env, "# added by hand\n3 " KEY_B " 2000\n\n7 " KEY_A " 1000\n", 0600);
    assert_int_equal(open_keys(env), BT_OK);
    assert_int_equal(env->keys.nkeys, 2);
    size_t young_len = token_sign(&env->keys, &t, young);
    assert_int_equal(token_verify(&env->keys, old, old_len, now_ms, life_ms, &got), BT_OK);
    assert_int_equal(token_verify(&env->keys, young, young_len, now_ms, life_ms, &got), BT_OK);

    write_file(env, "3 " KEY_B " 2000\n", 0600); /* the old one is taken out */
    assert_int_equal(open_keys(env), BT_OK);
    assert_int_equal(token_verify(&env->keys, old, old_len, now_ms, life_ms, &got), BT_ENOTFOUND);
    assert_int_equal(token_verify(&env->keys, young, young_len, now_ms, life_ms, &got), BT_OK);
}

static uint32_t signing_key(const struct env *env, int64_t issued_ms)
{
    uint8_t bytes[TOKEN_MAX];
    struct token t = sample();

    t.issued_ms = issued_ms;
    token_sign(&env->keys, &t, bytes);
    return (uint32_t)bytes[1] << 24 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 8 | bytes[4];
}

static void a_key_signs_from_the_time_that_stands_beside_it(void **state)
{
    struct env *env = *state;
    static const char *const orders[] = { "1 " KEY_A " 1000\n2 " KEY_B " 5000\n3 " KEY_A " 3000\n4 " KEY_A " 3000\n",
                                          "4 " KEY_A " 3000\n3 " KEY_A " 3000\n2 " KEY_B " 5000\n1 " KEY_A " 1000\n" };

    for (size_t i = 0; i < 2; i++) {
        write_file(env, orders[i], 0600);
        assert_int_equal(open_keys(env), BT_OK);
        assert_int_equal(signing_key(env, 2999), 1);
        assert_int_equal(signing_key(env, 3000), 4);
        assert_int_equal(signing_key(env, 4999), 4);
        assert_int_equal(signing_key(env, 5000), 2);
        assert_int_equal(signing_key(env, 999), 1); /* none is due: the oldest */
    }
}

static void the_first_start_makes_a_key_that_stays(void **state)
{
    struct env *env = *state;
    uint8_t bytes[TOKEN_MAX];
    struct token t = sample(), got;
    struct stat st;

    assert_int_equal(open_keys(env), BT_OK);
    assert_int_equal(stat(env->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    size_t len = token_sign(&env->keys, &t, bytes);
    struct env again = *env;
    assert_int_equal(open_keys(&again), BT_OK);
    assert_int_equal(token_verify(&again.keys, bytes, len, now_ms, life_ms, &got), BT_OK);
}

static void processes_that_start_together_share_one_key(void **state)
{
    struct env *env = *state;
    enum { CHILDREN = 8 };
    pid_t pids[CHILDREN];
    int ends[2];
    struct token_key first = { 0 }, key;

    assert_int_equal(pipe(ends), 0);
    for (int i = 0; i < CHILDREN; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            bool is_ok = open_keys(env) == BT_OK && write(ends[1], &env->keys.keys[0], sizeof first) == sizeof first;
            _exit(is_ok ? 0 : 1);
        }
    }
    for (int i = 0; i < CHILDREN; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
        assert_int_equal(read(ends[0], i ? &key : &first, sizeof key), sizeof key);
        if (i)
            assert_memory_equal(key.key, first.key, sizeof key.key);
    }
    close(ends[0]);
    close(ends[1]);
}

static void a_file_that_others_may_read_is_refused(void **state)
{
    struct env *env = *state;
    static const mode_t modes[] = { 0640, 0604, 0660, 0644, 0601 };

    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        write_file(env, "1 " KEY_A " 1000\n", modes[i]);
        assert_int_equal(open_keys(env), BT_EDENIED);
        assert_non_null(strstr(env->why, env->path));
        assert_non_null(strstr(env->why, "chmod 600"));
    }
}

static void a_broken_file_is_refused_by_line(void **state)
{
    struct env *env = *state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        { "", "no key" },
        { "# nothing\n", "no key" },
        { "1 " KEY_A " 1000\n1 " KEY_B " 2000\n", ":2: key id 1 is there twice" },
        { "1 " KEY_A " 1000\nx " KEY_B " 2000\n", ":2: not" },
        { "1 " KEY_A "00 1000\n", ":1: not" },
        { "1 abcd 1000\n", ":1: not" },
        { "1 " KEY_A "\n", ":1: not" },
        { "1 " KEY_A " 1000 more\n", ":1: not" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file(env, cases[i].text, 0600);
        assert_int_equal(open_keys(env), BT_EINVAL);
        assert_non_null(strstr(env->why, cases[i].says));
        assert_null(strstr(env->why, "aaaa")); /* no secret is shown */
    }
}

static void drop_line(enum log_level level, const char *line, void *arg)
{
    (void)line;
    if (level == LOG_LEVEL_ERROR)
        ++*(int *)arg;
}

static void a_changed_file_is_read_again_and_a_bad_one_changes_nothing(void **state)
{
    struct env *env = *state;
    int errors = 0;

    write_file(env, "1 " KEY_A " 1000\n", 0600);
    assert_int_equal(open_keys(env), BT_OK);
    assert_false(token_keys_refresh(&env->keys));
    log_set_sink(drop_line, &errors);
    write_file(env, "1 " KEY_A " 1000\n2 " KEY_B " 2000\n", 0600);
    assert_true(token_keys_refresh(&env->keys));
    assert_int_equal(env->keys.nkeys, 2);
    assert_false(token_keys_refresh(&env->keys));

    assert_true(token_keys_are_current(&env->keys));
    write_file(env, "rubbish\n", 0600);
    assert_false(token_keys_refresh(&env->keys));
    assert_false(token_keys_refresh(&env->keys));
    assert_false(token_keys_are_current(&env->keys));
    assert_int_equal(errors, 1); /* said once */
    write_file(env, "1 " KEY_A " 1000\n2 " KEY_B " 2000\n", 0600);
    assert_true(token_keys_refresh(&env->keys));
    assert_true(token_keys_are_current(&env->keys));
    unlink(env->path);
    assert_false(token_keys_refresh(&env->keys));
    assert_int_equal(env->keys.nkeys, 2);
    assert_false(token_keys_are_current(&env->keys));
    log_set_sink(NULL, NULL);
}

static void random_ids_are_positive_and_differ(void **state)
{
    (void)state;
    uint64_t last = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t id = token_random_id();
        assert_true(id > 0 && id < UINT64_C(1) << 62 && id != last);
        last = id;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_token_says_who_it_is_for, setup, teardown),
        cmocka_unit_test_setup_teardown(the_longest_name_fits_and_the_empty_one_too, setup, teardown),
        cmocka_unit_test_setup_teardown(no_bit_of_a_token_can_be_changed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_token_cut_or_lengthened_is_none, setup, teardown),
        cmocka_unit_test_setup_teardown(a_token_expires_on_the_millisecond, setup, teardown),
        cmocka_unit_test_setup_teardown(a_shorter_life_counts_for_tokens_made_before, setup, teardown),
        cmocka_unit_test_setup_teardown(another_key_proves_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(the_newest_key_signs_and_all_verify, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_signs_from_the_time_that_stands_beside_it, setup, teardown),
        cmocka_unit_test_setup_teardown(the_first_start_makes_a_key_that_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(processes_that_start_together_share_one_key, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_others_may_read_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_broken_file_is_refused_by_line, setup, teardown),
        cmocka_unit_test_setup_teardown(a_changed_file_is_read_again_and_a_bad_one_changes_nothing, setup, teardown),
        cmocka_unit_test(random_ids_are_positive_and_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
