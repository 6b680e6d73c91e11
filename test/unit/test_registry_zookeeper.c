/*
 * test/unit/test_registry_zookeeper.c: the registry in ZooKeeper, against real servers: one, and an ensemble of three.
 *
 * Several registries live on one loop here, each as if in a process of its own; one that is to be killed is a process: this
 * program, started again with arguments.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/mem.h"
#include "test/unit/zk_members.h"

/* ---- a node that is a process ---- */

static pid_t spawn(const char *name, const char *path)
{
    pid_t parent = getpid(), pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        execl("/proc/self/exe", "test_registry_zookeeper", zk.env.hosts, name, path, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static int run_as_node(char **argv)
{
    struct member m;
    snprintf(zk.env.hosts, sizeof zk.env.hosts, "%s", argv[1]);
    assert_int_equal(net_loop_new(&zk.loop), BT_OK);
    member_join(&m, argv[2], 99, argv[3]);
    net_loop_run(zk.loop);
    return 1;
}

static void kill_node(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* ---- one server ---- */

static void a_join_is_seen_by_others_within_a_second(void **state)
{
    struct member a, b;
    (void)state;
    member_join(&a, "a", 1, "join");
    WAIT_FOR(a.count == 1 && a.view[0].is_self, 5000);
    member_join(&b, "b", 2, "join");
    WAIT_FOR(member_find(&b, "b"), 5000);
    WAIT_FOR(member_find(&a, "b"), 1000);
    WAIT_FOR(member_find(&b, "a"), 1000);
    const struct registry_node *node = member_find(&a, "b");
    assert_string_equal(node->address, "10.0.0.2:7400");
    assert_string_equal(node->unit, "unit1");
    assert_int_equal(node->epoch, 2);
    assert_int_equal(node->roles, 1u << RPC_ROLE_CHAT);
    assert_false(node->is_self);
    assert_true(node->since_ms > 0 && node->since_ms >= member_find(&a, "a")->since_ms);
    member_close(&b);
    WAIT_FOR(!member_find(&a, "b"), 1000); /* closed in order: not only when the session's time is over */
    member_close(&a);
}

static void a_node_of_several_roles_is_one_node(void **state)
{
    const uint32_t roles = 1u << RPC_ROLE_PROXY | 1u << RPC_ROLE_USER | 1u << RPC_ROLE_OFFLINE;
    struct member a, b;
    (void)state;
    member_prepare(&a, "a", 1, roles, "roles/deeper/root", SESSION_MS);
    snprintf(a.self.client_address, sizeof a.self.client_address, "10.0.0.1:7000");
    member_open(&a);
    registry_set_self(a.registry, &a.self);
    registry_join(a.registry);
    member_join(&b, "b", 2, "roles/deeper/root");
    WAIT_FOR(member_find(&b, "a") && member_find(&b, "a")->roles == roles, 5000);
    assert_int_equal(b.count, 2);
    assert_string_equal(member_find(&b, "a")->client_address, "10.0.0.1:7000");
    member_close(&a);
    member_close(&b);
}

static void a_node_that_left_is_gone_at_once_and_may_come_back(void **state)
{
    struct member a, b;
    (void)state;
    member_join(&a, "a", 1, "leave");
    member_join(&b, "b", 2, "leave");
    WAIT_FOR(member_find(&a, "b") && member_find(&b, "a"), 5000);
    registry_leave(b.registry);
    WAIT_FOR(!member_find(&a, "b"), 1000);
    WAIT_FOR(!member_find(&b, "b"), 1000);
    assert_non_null(member_find(&b, "a"));
    registry_join(b.registry);
    WAIT_FOR(member_find(&a, "b") && member_find(&b, "b"), 1000);
    member_close(&b);
    member_close(&a);
}

static void a_killed_process_is_gone_a_second_after_its_session_at_most(void **state)
{
    struct member a;
    (void)state;
    member_join(&a, "a", 1, "kill");
    pid_t pid = spawn("b", "kill");
    WAIT_FOR(member_find(&a, "b"), 5000);
    zk_turn_for(SESSION_MS); /* so that it is not spared as one that was known before the connection came */
    kill_node(pid);
    uint64_t killed_us = net_clock_us();
    WAIT_FOR(!member_find(&a, "b"), SESSION_MS + 1000);
    print_message("a killed process was gone after %u ms, with sessions of %u ms\n", (unsigned)((net_clock_us() - killed_us) / 1000), SESSION_MS);
    member_close(&a);
}

static void an_expired_session_is_made_anew(void **state)
{
    struct member a, b;
    (void)state;
    member_join(&a, "a", 1, "expiry");
    member_prepare(&b, "b", 2, 1u << RPC_ROLE_CHAT, "expiry", 20000);
    member_open(&b);
    WAIT_FOR(member_find(&b, "a"), 5000);
    usleep((SESSION_MS + 1200) * 1000); /* the whole loop stands still; b's session is long enough for that */
    uint64_t back_us = net_clock_us();
    WAIT_FOR(strstr(zk.said, "had expired"), 2000);
    pid_t pid = spawn("c", "expiry"); /* it knows only what stands there now */
    WAIT_FOR(member_find(&b, "c"), 5000);
    WAIT_FOR(member_find(&b, "a") && member_find(&a, "c") && member_find(&a, "a"), 1000);
    print_message("registered again %u ms after the loop went on\n", (unsigned)((net_clock_us() - back_us) / 1000));
    kill_node(pid);
    member_close(&a);
    WAIT_FOR(!member_find(&b, "a"), 1000); /* what b saw was the new entry: it went with the new session */
    member_close(&b);
}

static void the_entry_of_an_earlier_process_is_replaced_and_that_of_a_later_one_is_not(void **state)
{
    struct member old, new, watching;
    (void)state;
    member_join(&watching, "w", 1, "name");
    member_join(&old, "n", 2, "name");
    WAIT_FOR(member_find(&watching, "n"), 5000);
    member_join(&new, "n", 3, "name");
    WAIT_FOR(member_find(&watching, "n") && member_find(&watching, "n")->epoch == 3, 2000);
    watching.changes = 0;
    WAIT_FOR(strstr(zk.said, "error") && strstr(zk.said, "give each its own [node] name"), 5000);
    assert_int_equal(member_find(&watching, "n")->epoch, 3);
    assert_int_equal(watching.changes, 0); /* the two do not take it from each other in turns */
    member_close(&new);
    WAIT_FOR(member_find(&watching, "n") && member_find(&watching, "n")->epoch == 2, 3000);
    member_close(&old);
    member_close(&watching);
}

static void who_does_not_know_the_password_sees_and_changes_nothing(void **state)
{
    struct member a, b, stranger;
    char path[256];
    (void)state;
    member_prepare(&a, "a", 1, 1u << RPC_ROLE_CHAT, "secret", SESSION_MS);
    member_set(&a, "auth", "bytetalk:right");
    member_open(&a);
    registry_join(a.registry);
    WAIT_FOR(a.count == 1, 5000);

    snprintf(path, sizeof path, "%s/auth", zk.env.dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("bytetalk:right\n", f);
    fclose(f);
    chmod(path, 0600);
    member_prepare(&b, "b", 2, 1u << RPC_ROLE_CHAT, "secret", SESSION_MS);
    member_set(&b, "auth_file", path);
    member_open(&b);
    registry_join(b.registry);
    WAIT_FOR(member_find(&a, "b") && member_find(&b, "a"), 2000);
    assert_null(strstr(zk.said, "does not allow"));

    member_prepare(&stranger, "s", 3, 1u << RPC_ROLE_CHAT, "secret", SESSION_MS);
    member_set(&stranger, "auth", "bytetalk:wrong");
    member_open(&stranger);
    registry_join(stranger.registry);
    WAIT_FOR(strstr(zk.said, "does not allow"), 2000);
    zk_turn_for(500);
    assert_null(member_find(&a, "s"));
    assert_null(member_find(&stranger, "a"));
    assert_null(strstr(zk.said, "right"));
    assert_null(strstr(zk.said, "wrong"));
    member_close(&stranger);
    member_close(&a);
    member_close(&b);
}

static void a_bad_secret_stops_the_start_with_a_reason(void **state)
{
    struct member m;
    char path[256], why[512];
    (void)state;
    member_prepare(&m, "a", 1, 1u << RPC_ROLE_CHAT, "bad", SESSION_MS);
    snprintf(path, sizeof path, "%s/open-to-all", zk.env.dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("user:password", f);
    fclose(f);
    chmod(path, 0644);
    member_set(&m, "auth_file", path);
    assert_int_equal(member_try_open(&m, why, sizeof why), BT_EDENIED);
    assert_non_null(strstr(why, "chmod 600"));
    member_set(&m, "auth", "user:password");
    assert_int_equal(member_try_open(&m, why, sizeof why), BT_EINVAL);
    member_set(&m, "auth_file", "");
    member_set(&m, "auth", "password");
    assert_int_equal(member_try_open(&m, why, sizeof why), BT_EINVAL);
    assert_non_null(strstr(why, "user:password"));
    member_set(&m, "auth", "");
    snprintf(m.self.name, sizeof m.self.name, "a/b");
    assert_int_equal(member_try_open(&m, why, sizeof why), BT_EINVAL);
    assert_non_null(strstr(why, "[node] name"));
    conf_free(m.conf);
}

static void opening_without_memory_is_refused(void **state)
{
    bool has_failed = true;
    (void)state;
    for (long n = 0; has_failed; n++) {
        struct member m;
        char why[512];
        member_prepare(&m, "a", 1, 1u << RPC_ROLE_CHAT, "memory", SESSION_MS);
        member_set(&m, "auth", "user:password");
        bt_mem_fail_after(n);
        enum bt_err err = member_try_open(&m, why, sizeof why);
        has_failed = bt_mem_has_failed();
        bt_mem_fail_after(-1);
        assert_int_equal(err, has_failed ? BT_ENOMEM : BT_OK);
        if (err == BT_OK)
            member_close(&m);
        else
            conf_free(m.conf);
    }
}

static void loads_are_told_once_a_second(void **state)
{
    struct member a, b;
    (void)state;
    member_join(&a, "a", 1, "load");
    member_join(&b, "b", 2, "load");
    WAIT_FOR(member_find(&a, "b") && member_find(&b, "a"), 5000);
    a.changes = 0;
    for (uint32_t load = 1; load <= 120; load++) {
        registry_set_load(b.registry, load * 100);
        zk_turn_for(10);
    }
    assert_in_range(a.changes, 1, 3);
    registry_set_load(b.registry, 7);
    WAIT_FOR(member_find(&a, "b")->load == 7, 2500);
    WAIT_FOR(member_find(&b, "b")->load == 7, 1000);
    member_close(&a);
    member_close(&b);
}

static void looking_anew_again_and_again_asks_a_few_times_a_second(void **state)
{
    struct member a;
    (void)state;
    member_join(&a, "a", 1, "refresh");
    WAIT_FOR(a.count == 1, 5000);
    zk_turn_for(300);
    unsigned long before = zk_env_received(&zk.env, 0);
    for (int i = 0; i < 100; i++) {
        registry_refresh(a.registry);
        zk_turn_for(4);
    }
    zk_turn_for(100);
    /* Some three times a sync and three lists; besides these pings, and the questions of the tests themselves. */
    assert_in_range(zk_env_received(&zk.env, 0) - before, 8, 32);
    assert_int_equal(a.count, 1);
    member_close(&a);
}

static void what_is_no_entry_of_a_node_is_passed_over(void **state)
{
    struct member a, junk;
    (void)state;
    member_join(&a, "a", 1, "junk");
    WAIT_FOR(a.count == 1, 5000);
    member_prepare(&junk, "junk", 2, 1u << RPC_ROLE_CHAT, "junk", SESSION_MS);
    junk.self.address[0] = '\0';
    member_open(&junk);
    registry_join(junk.registry);
    WAIT_FOR(strstr(zk.said, "is none of a node"), 2000);
    zk_turn_for(100);
    assert_null(member_find(&a, "junk"));
    member_close(&junk);
    member_close(&a);
}

static void closing_does_not_wait_for_a_server_that_hangs(void **state)
{
    struct member a, b;
    (void)state;
    member_join(&a, "a", 1, "hang");
    member_join(&b, "b", 2, "hang");
    WAIT_FOR(member_find(&a, "b") && member_find(&b, "a"), 5000);
    zk_env_freeze(&zk.env, 0, true);
    uint64_t began_us = net_clock_us();
    member_close(&a);
    uint64_t took_ms = (net_clock_us() - began_us) / 1000;
    zk_env_freeze(&zk.env, 0, false);
    assert_in_range(took_ms, 0, 1000);
    WAIT_FOR(!member_find(&b, "a"), SESSION_MS + 3000);
    member_close(&b);
}

static void joining_waits_for_a_server_that_is_not_there_yet(void **state)
{
    struct member a;
    (void)state;
    zk_env_kill(&zk.env, 0);
    member_join(&a, "a", 1, "late");
    WAIT_FOR(strstr(zk.said, "is not reached"), 3000);
    assert_int_equal(a.changes, 0);
    zk_env_start(&zk.env, 0);
    WAIT_FOR(member_find(&a, "a"), 10000);
    member_close(&a);
}

static void closing_without_a_server_is_no_trouble(void **state)
{
    struct member a;
    (void)state;
    zk_env_kill(&zk.env, 0);
    member_join(&a, "a", 1, "never");
    zk_turn_for(100);
    member_close(&a);
    member_prepare(&a, "a", 1, 1u << RPC_ROLE_CHAT, "never", SESSION_MS);
    member_set(&a, "url", "zookeeper://no-such-host.invalid/never");
    member_open(&a);
    registry_join(a.registry);
    zk_turn_for(100);
    member_close(&a);
    zk_env_start(&zk.env, 0);
    zk_env_wait(&zk.env);
}

/* ---- an ensemble ---- */

static void a_leader_that_is_killed_changes_nothing(void **state)
{
    struct member a, b, c;
    (void)state;
    member_join(&a, "a", 1, "ensemble");
    member_join(&b, "b", 2, "ensemble");
    WAIT_FOR(member_find(&a, "b") && member_find(&b, "a"), 10000);
    size_t leader = zk_env_leader(&zk.env);
    a.smallest = b.smallest = VIEW_MAX;
    zk_env_kill(&zk.env, leader);
    uint64_t killed_us = net_clock_us();
    member_join(&c, "c", 3, "ensemble");
    WAIT_FOR(member_find(&a, "c") && member_find(&b, "c") && member_find(&c, "a") && member_find(&c, "b"), 10000);
    print_message("a node joined %u ms after the leader was killed\n", (unsigned)((net_clock_us() - killed_us) / 1000));
    zk_turn_for(SESSION_MS);
    assert_true(a.smallest >= 2 && b.smallest >= 2);
    member_close(&c);
    member_close(&b);
    member_close(&a);
    zk_env_start(&zk.env, leader);
    zk_env_wait(&zk.env);
}

static void the_view_is_kept_while_all_of_zookeeper_is_away(void **state)
{
    struct member a, b, late;
    (void)state;
    member_join(&a, "a", 1, "away");
    member_join(&b, "b", 2, "away");
    pid_t pid = spawn("c", "away");
    WAIT_FOR(member_find(&a, "b") && member_find(&a, "c") && member_find(&b, "c") && member_find(&b, "a"), 10000);
    for (size_t i = 0; i < zk.env.count; i++)
        zk_env_kill(&zk.env, i);
    a.smallest = b.smallest = VIEW_MAX;
    WAIT_FOR(strstr(zk.said, "ZooKeeper is away"), 4000);
    kill_node(pid); /* nobody can say that it is gone now; those who call it find out */
    member_join(&late, "late", 4, "away");
    zk_turn_for(500);
    assert_int_equal(a.count, 3);
    assert_int_equal(late.changes, 0);
    for (size_t i = 0; i < zk.env.count; i++)
        zk_env_start(&zk.env, i);
    uint64_t started_us = net_clock_us();
    WAIT_FOR(member_find(&a, "late") && member_find(&b, "late") && member_find(&late, "a") && member_find(&late, "b"), 15000);
    print_message("registered %u ms after the servers were started\n", (unsigned)((net_clock_us() - started_us) / 1000));
    WAIT_FOR(!member_find(&a, "c") && !member_find(&b, "c"), SESSION_MS + 3000);
    assert_true(a.smallest >= 3 || !member_find(&a, "c"));
    assert_non_null(member_find(&a, "b"));
    assert_non_null(member_find(&b, "a"));
    member_close(&late);
    member_close(&b);
    member_close(&a);
}

static int start_one(void **state)
{
    (void)state;
    return zk_start_servers(1);
}

static int start_three(void **state)
{
    (void)state;
    return zk_start_servers(3);
}

int main(int argc, char **argv)
{
    if (argc == 4)
        return run_as_node(argv);
    const struct CMUnitTest one[] = {
        cmocka_unit_test_setup(a_join_is_seen_by_others_within_a_second, zk_clear_log),
        cmocka_unit_test_setup(a_node_of_several_roles_is_one_node, zk_clear_log),
        cmocka_unit_test_setup(a_node_that_left_is_gone_at_once_and_may_come_back, zk_clear_log),
        cmocka_unit_test_setup(a_killed_process_is_gone_a_second_after_its_session_at_most, zk_clear_log),
        cmocka_unit_test_setup(an_expired_session_is_made_anew, zk_clear_log),
        cmocka_unit_test_setup(the_entry_of_an_earlier_process_is_replaced_and_that_of_a_later_one_is_not, zk_clear_log),
        cmocka_unit_test_setup(who_does_not_know_the_password_sees_and_changes_nothing, zk_clear_log),
        cmocka_unit_test_setup(a_bad_secret_stops_the_start_with_a_reason, zk_clear_log),
        cmocka_unit_test_setup(opening_without_memory_is_refused, zk_clear_log),
        cmocka_unit_test_setup(loads_are_told_once_a_second, zk_clear_log),
        cmocka_unit_test_setup(looking_anew_again_and_again_asks_a_few_times_a_second, zk_clear_log),
        cmocka_unit_test_setup(what_is_no_entry_of_a_node_is_passed_over, zk_clear_log),
        cmocka_unit_test_setup(closing_does_not_wait_for_a_server_that_hangs, zk_clear_log),
        cmocka_unit_test_setup(joining_waits_for_a_server_that_is_not_there_yet, zk_clear_log),
        cmocka_unit_test_setup(closing_without_a_server_is_no_trouble, zk_clear_log),
    };
    const struct CMUnitTest three[] = {
        cmocka_unit_test_setup(a_leader_that_is_killed_changes_nothing, zk_clear_log),
        cmocka_unit_test_setup(the_view_is_kept_while_all_of_zookeeper_is_away, zk_clear_log),
    };
    int failed = cmocka_run_group_tests_name("one server", one, start_one, zk_stop_servers);
    return failed + cmocka_run_group_tests_name("an ensemble", three, start_three, zk_stop_servers);
}
