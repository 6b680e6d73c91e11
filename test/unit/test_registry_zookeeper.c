/*
 * test/unit/test_registry_zookeeper.c: the registry in ZooKeeper, against real servers: one, and an ensemble of three.
 *
 * Several registries live on one loop here, each as if in a process of its own; one that is to be killed is a process: this
 * program, started again with arguments.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/log.h"
#include "net/loop.h"
#include "net/mem.h"
#include "rpc/registry.h"
#include "test/unit/zookeeper_env.h"

enum { SESSION_MS = 1500, VIEW_MAX = 16 };

static struct zk_env env;
static struct net_loop *loop;
static char said[16384]; /* what was logged since the test began */

/* ---- a node ---- */

struct member {
    struct registry *registry;
    struct conf *conf;
    struct registry_node self;
    struct registry_node view[VIEW_MAX];
    size_t count, smallest;  /* smallest: of all views since it was set */
    unsigned changes;
    bool is_closed;
};

static void view_changed(const struct registry_node *nodes, size_t n, void *arg)
{
    struct member *m = arg;
    assert_true(n <= VIEW_MAX);
    if (n > 0)
        memcpy(m->view, nodes, n * sizeof *nodes);
    m->count = n;
    m->changes++;
    if (n < m->smallest)
        m->smallest = n;
}

static void set(struct member *m, const char *key, const char *value)
{
    char line[400], why[512];
    snprintf(line, sizeof line, "registry.%s=%s", key, value);
    assert_int_equal(conf_set(m->conf, line, why, sizeof why), BT_OK);
}

static void prepare(struct member *m, const char *name, uint64_t epoch, uint32_t roles, const char *path, uint32_t session_ms)
{
    char text[256];
    memset(m, 0, sizeof *m);
    assert_int_equal(conf_new(&m->conf), BT_OK);
    conf_declare(m->conf, registry_keys);
    snprintf(text, sizeof text, "zookeeper://%s/%s", env.hosts, path);
    set(m, "url", text);
    snprintf(text, sizeof text, "%u", session_ms);
    set(m, "session_ms", text);
    snprintf(m->self.name, sizeof m->self.name, "%s", name);
    snprintf(m->self.unit, sizeof m->self.unit, "unit1");
    snprintf(m->self.address, sizeof m->self.address, "10.0.0.%u:%s", (unsigned)epoch, "7400");
    snprintf(m->self.version, sizeof m->self.version, "0.1.0");
    m->self.epoch = epoch;
    m->self.roles = roles;
    m->self.weight = 1;
}

static void open_member(struct member *m)
{
    char why[512] = "";
    enum bt_err err = registry_open(loop, m->conf, &m->self, view_changed, m, &m->registry, why, sizeof why);
    if (err != BT_OK)
        fail_msg("%s: %s", bt_err_name(err), why);
}

static void join(struct member *m, const char *name, uint64_t epoch, const char *path)
{
    prepare(m, name, epoch, 1u << RPC_ROLE_CHAT, path, SESSION_MS);
    open_member(m);
    registry_join(m->registry);
}

static void member_closed(void *arg)
{
    ((struct member *)arg)->is_closed = true;
}

static void close_member(struct member *m)
{
    uint64_t end = net_clock_us() + 5000000;
    registry_close(m->registry, member_closed, m);
    assert_false(m->is_closed);
    while (!m->is_closed && net_clock_us() < end)
        net_loop_turn(loop, 20);
    assert_true(m->is_closed);
    conf_free(m->conf);
}

static const struct registry_node *find(const struct member *m, const char *name)
{
    for (size_t i = 0; i < m->count; i++) {
        if (strcmp(m->view[i].name, name) == 0)
            return &m->view[i];
    }
    return NULL;
}

/* ---- waiting ---- */

#define WAIT_FOR(condition, limit_ms)                                                              \
    do {                                                                                           \
        uint64_t wait_end_us = net_clock_us() + (limit_ms) * UINT64_C(1000);                       \
        while (!(condition)) {                                                                     \
            if (net_clock_us() > wait_end_us)                                                      \
                fail_msg("not within %d ms: %s\n%s", (int)(limit_ms), #condition, said);           \
            net_loop_turn(loop, 10);                                                               \
        }                                                                                          \
    } while (0)

static void turn_for(uint32_t ms)
{
    uint64_t end = net_clock_us() + ms * UINT64_C(1000);
    while (net_clock_us() < end)
        net_loop_turn(loop, 10);
}

static void keep_line(enum log_level level, const char *line, void *arg)
{
    size_t used = strlen(said);
    (void)level;
    (void)arg;
    snprintf(said + used, sizeof said - used, "%s\n", line);
}

/* ---- a node that is a process ---- */

static pid_t spawn(const char *name, const char *path)
{
    pid_t parent = getpid(), pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        execl("/proc/self/exe", "test_registry_zookeeper", env.hosts, name, path, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static int run_as_node(char **argv)
{
    struct member m;
    snprintf(env.hosts, sizeof env.hosts, "%s", argv[1]);
    assert_int_equal(net_loop_new(&loop), BT_OK);
    join(&m, argv[2], 99, argv[3]);
    net_loop_run(loop);
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
    join(&a, "a", 1, "join");
    WAIT_FOR(a.count == 1 && a.view[0].is_self, 5000);
    join(&b, "b", 2, "join");
    WAIT_FOR(find(&b, "b"), 5000);
    WAIT_FOR(find(&a, "b"), 1000);
    WAIT_FOR(find(&b, "a"), 1000);
    const struct registry_node *node = find(&a, "b");
    assert_string_equal(node->address, "10.0.0.2:7400");
    assert_string_equal(node->unit, "unit1");
    assert_int_equal(node->epoch, 2);
    assert_int_equal(node->roles, 1u << RPC_ROLE_CHAT);
    assert_false(node->is_self);
    assert_true(node->since_ms > 0 && node->since_ms >= find(&a, "a")->since_ms);
    close_member(&b);
    WAIT_FOR(!find(&a, "b"), 1000); /* closed in order: not only when the session's time is over */
    close_member(&a);
}

static void a_node_of_several_roles_is_one_node(void **state)
{
    const uint32_t roles = 1u << RPC_ROLE_PROXY | 1u << RPC_ROLE_USER | 1u << RPC_ROLE_OFFLINE;
    struct member a, b;
    (void)state;
    prepare(&a, "a", 1, roles, "roles/deeper/root", SESSION_MS);
    snprintf(a.self.client_address, sizeof a.self.client_address, "10.0.0.1:7000");
    open_member(&a);
    registry_set_self(a.registry, &a.self);
    registry_join(a.registry);
    join(&b, "b", 2, "roles/deeper/root");
    WAIT_FOR(find(&b, "a") && find(&b, "a")->roles == roles, 5000);
    assert_int_equal(b.count, 2);
    assert_string_equal(find(&b, "a")->client_address, "10.0.0.1:7000");
    close_member(&a);
    close_member(&b);
}

static void a_node_that_left_is_gone_at_once_and_may_come_back(void **state)
{
    struct member a, b;
    (void)state;
    join(&a, "a", 1, "leave");
    join(&b, "b", 2, "leave");
    WAIT_FOR(find(&a, "b") && find(&b, "a"), 5000);
    registry_leave(b.registry);
    WAIT_FOR(!find(&a, "b"), 1000);
    WAIT_FOR(!find(&b, "b"), 1000);
    assert_non_null(find(&b, "a"));
    registry_join(b.registry);
    WAIT_FOR(find(&a, "b") && find(&b, "b"), 1000);
    close_member(&b);
    close_member(&a);
}

static void a_killed_process_is_gone_a_second_after_its_session_at_most(void **state)
{
    struct member a;
    (void)state;
    join(&a, "a", 1, "kill");
    pid_t pid = spawn("b", "kill");
    WAIT_FOR(find(&a, "b"), 5000);
    turn_for(SESSION_MS); /* so that it is not spared as one that was known before the connection came */
    kill_node(pid);
    uint64_t killed_us = net_clock_us();
    WAIT_FOR(!find(&a, "b"), SESSION_MS + 1000);
    print_message("a killed process was gone after %u ms, with sessions of %u ms\n", (unsigned)((net_clock_us() - killed_us) / 1000), SESSION_MS);
    close_member(&a);
}

static void an_expired_session_is_made_anew(void **state)
{
    struct member a, b;
    (void)state;
    join(&a, "a", 1, "expiry");
    prepare(&b, "b", 2, 1u << RPC_ROLE_CHAT, "expiry", 20000);
    open_member(&b);
    WAIT_FOR(find(&b, "a"), 5000);
    usleep((SESSION_MS + 1200) * 1000); /* the whole loop stands still; b's session is long enough for that */
    uint64_t back_us = net_clock_us();
    WAIT_FOR(strstr(said, "had expired"), 2000);
    pid_t pid = spawn("c", "expiry"); /* it knows only what stands there now */
    WAIT_FOR(find(&b, "c"), 5000);
    WAIT_FOR(find(&b, "a") && find(&a, "c") && find(&a, "a"), 1000);
    print_message("registered again %u ms after the loop went on\n", (unsigned)((net_clock_us() - back_us) / 1000));
    kill_node(pid);
    close_member(&a);
    WAIT_FOR(!find(&b, "a"), 1000); /* what b saw was the new entry: it went with the new session */
    close_member(&b);
}

static void the_entry_of_an_earlier_process_is_replaced_and_that_of_a_later_one_is_not(void **state)
{
    struct member old, new, watching;
    (void)state;
    join(&watching, "w", 1, "name");
    join(&old, "n", 2, "name");
    WAIT_FOR(find(&watching, "n"), 5000);
    join(&new, "n", 3, "name");
    WAIT_FOR(find(&watching, "n") && find(&watching, "n")->epoch == 3, 2000);
    watching.changes = 0;
    WAIT_FOR(strstr(said, "error") && strstr(said, "give each its own [node] name"), 5000);
    assert_int_equal(find(&watching, "n")->epoch, 3);
    assert_int_equal(watching.changes, 0); /* the two do not take it from each other in turns */
    close_member(&new);
    WAIT_FOR(find(&watching, "n") && find(&watching, "n")->epoch == 2, 3000);
    close_member(&old);
    close_member(&watching);
}

static void who_does_not_know_the_password_sees_and_changes_nothing(void **state)
{
    struct member a, b, stranger;
    char path[256];
    (void)state;
    prepare(&a, "a", 1, 1u << RPC_ROLE_CHAT, "secret", SESSION_MS);
    set(&a, "auth", "bytetalk:right");
    open_member(&a);
    registry_join(a.registry);
    WAIT_FOR(a.count == 1, 5000);

    snprintf(path, sizeof path, "%s/auth", env.dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("bytetalk:right\n", f);
    fclose(f);
    chmod(path, 0600);
    prepare(&b, "b", 2, 1u << RPC_ROLE_CHAT, "secret", SESSION_MS);
    set(&b, "auth_file", path);
    open_member(&b);
    registry_join(b.registry);
    WAIT_FOR(find(&a, "b") && find(&b, "a"), 2000);
    assert_null(strstr(said, "does not allow"));

    prepare(&stranger, "s", 3, 1u << RPC_ROLE_CHAT, "secret", SESSION_MS);
    set(&stranger, "auth", "bytetalk:wrong");
    open_member(&stranger);
    registry_join(stranger.registry);
    WAIT_FOR(strstr(said, "does not allow"), 2000);
    turn_for(500);
    assert_null(find(&a, "s"));
    assert_null(find(&stranger, "a"));
    assert_null(strstr(said, "right"));
    assert_null(strstr(said, "wrong"));
    close_member(&stranger);
    close_member(&a);
    close_member(&b);
}

static void a_bad_secret_stops_the_start_with_a_reason(void **state)
{
    struct member m;
    char path[256], why[512];
    (void)state;
    prepare(&m, "a", 1, 1u << RPC_ROLE_CHAT, "bad", SESSION_MS);
    snprintf(path, sizeof path, "%s/open-to-all", env.dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("user:password", f);
    fclose(f);
    chmod(path, 0644);
    set(&m, "auth_file", path);
    assert_int_equal(registry_open(loop, m.conf, &m.self, view_changed, &m, &m.registry, why, sizeof why), BT_EDENIED);
    assert_non_null(strstr(why, "chmod 600"));
    set(&m, "auth", "user:password");
    assert_int_equal(registry_open(loop, m.conf, &m.self, view_changed, &m, &m.registry, why, sizeof why), BT_EINVAL);
    set(&m, "auth_file", "");
    set(&m, "auth", "password");
    assert_int_equal(registry_open(loop, m.conf, &m.self, view_changed, &m, &m.registry, why, sizeof why), BT_EINVAL);
    assert_non_null(strstr(why, "user:password"));
    set(&m, "auth", "");
    snprintf(m.self.name, sizeof m.self.name, "a/b");
    assert_int_equal(registry_open(loop, m.conf, &m.self, view_changed, &m, &m.registry, why, sizeof why), BT_EINVAL);
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
        prepare(&m, "a", 1, 1u << RPC_ROLE_CHAT, "memory", SESSION_MS);
        set(&m, "auth", "user:password");
        bt_mem_fail_after(n);
        enum bt_err err = registry_open(loop, m.conf, &m.self, view_changed, &m, &m.registry, why, sizeof why);
        has_failed = bt_mem_has_failed();
        bt_mem_fail_after(-1);
        assert_int_equal(err, has_failed ? BT_ENOMEM : BT_OK);
        if (err == BT_OK)
            close_member(&m);
        else
            conf_free(m.conf);
    }
}

static void loads_are_told_once_a_second(void **state)
{
    struct member a, b;
    (void)state;
    join(&a, "a", 1, "load");
    join(&b, "b", 2, "load");
    WAIT_FOR(find(&a, "b") && find(&b, "a"), 5000);
    a.changes = 0;
    for (uint32_t load = 1; load <= 120; load++) {
        registry_set_load(b.registry, load * 100);
        turn_for(10);
    }
    assert_in_range(a.changes, 1, 3);
    registry_set_load(b.registry, 7);
    WAIT_FOR(find(&a, "b")->load == 7, 2500);
    WAIT_FOR(find(&b, "b")->load == 7, 1000);
    close_member(&a);
    close_member(&b);
}

static void looking_anew_again_and_again_asks_a_few_times_a_second(void **state)
{
    struct member a;
    (void)state;
    join(&a, "a", 1, "refresh");
    WAIT_FOR(a.count == 1, 5000);
    turn_for(300);
    unsigned long before = zk_env_received(&env, 0);
    for (int i = 0; i < 100; i++) {
        registry_refresh(a.registry);
        turn_for(4);
    }
    turn_for(100);
    /* Some three times a sync and three lists; besides these pings, and the questions of the tests themselves. */
    assert_in_range(zk_env_received(&env, 0) - before, 8, 32);
    assert_int_equal(a.count, 1);
    close_member(&a);
}

static void what_is_no_entry_of_a_node_is_passed_over(void **state)
{
    struct member a, junk;
    (void)state;
    join(&a, "a", 1, "junk");
    WAIT_FOR(a.count == 1, 5000);
    prepare(&junk, "junk", 2, 1u << RPC_ROLE_CHAT, "junk", SESSION_MS);
    junk.self.address[0] = '\0';
    open_member(&junk);
    registry_join(junk.registry);
    WAIT_FOR(strstr(said, "is none of a node"), 2000);
    turn_for(100);
    assert_null(find(&a, "junk"));
    close_member(&junk);
    close_member(&a);
}

static void closing_does_not_wait_for_a_server_that_hangs(void **state)
{
    struct member a, b;
    (void)state;
    join(&a, "a", 1, "hang");
    join(&b, "b", 2, "hang");
    WAIT_FOR(find(&a, "b") && find(&b, "a"), 5000);
    zk_env_freeze(&env, 0, true);
    uint64_t began_us = net_clock_us();
    close_member(&a);
    uint64_t took_ms = (net_clock_us() - began_us) / 1000;
    zk_env_freeze(&env, 0, false);
    assert_in_range(took_ms, 0, 1000);
    WAIT_FOR(!find(&b, "a"), SESSION_MS + 3000);
    close_member(&b);
}

static void joining_waits_for_a_server_that_is_not_there_yet(void **state)
{
    struct member a;
    (void)state;
    zk_env_kill(&env, 0);
    join(&a, "a", 1, "late");
    WAIT_FOR(strstr(said, "is not reached"), 3000);
    assert_int_equal(a.changes, 0);
    zk_env_start(&env, 0);
    WAIT_FOR(find(&a, "a"), 10000);
    close_member(&a);
}

static void closing_without_a_server_is_no_trouble(void **state)
{
    struct member a;
    (void)state;
    zk_env_kill(&env, 0);
    join(&a, "a", 1, "never");
    turn_for(100);
    close_member(&a);
    prepare(&a, "a", 1, 1u << RPC_ROLE_CHAT, "never", SESSION_MS);
    set(&a, "url", "zookeeper://no-such-host.invalid/never");
    open_member(&a);
    registry_join(a.registry);
    turn_for(100);
    close_member(&a);
    zk_env_start(&env, 0);
    zk_env_wait(&env);
}

/* ---- an ensemble ---- */

static void a_leader_that_is_killed_changes_nothing(void **state)
{
    struct member a, b, c;
    (void)state;
    join(&a, "a", 1, "ensemble");
    join(&b, "b", 2, "ensemble");
    WAIT_FOR(find(&a, "b") && find(&b, "a"), 10000);
    size_t leader = zk_env_leader(&env);
    a.smallest = b.smallest = VIEW_MAX;
    zk_env_kill(&env, leader);
    uint64_t killed_us = net_clock_us();
    join(&c, "c", 3, "ensemble");
    WAIT_FOR(find(&a, "c") && find(&b, "c") && find(&c, "a") && find(&c, "b"), 10000);
    print_message("a node joined %u ms after the leader was killed\n", (unsigned)((net_clock_us() - killed_us) / 1000));
    turn_for(SESSION_MS);
    assert_true(a.smallest >= 2 && b.smallest >= 2);
    close_member(&c);
    close_member(&b);
    close_member(&a);
    zk_env_start(&env, leader);
    zk_env_wait(&env);
}

static void the_view_is_kept_while_all_of_zookeeper_is_away(void **state)
{
    struct member a, b, late;
    (void)state;
    join(&a, "a", 1, "away");
    join(&b, "b", 2, "away");
    pid_t pid = spawn("c", "away");
    WAIT_FOR(find(&a, "b") && find(&a, "c") && find(&b, "c") && find(&b, "a"), 10000);
    for (size_t i = 0; i < env.count; i++)
        zk_env_kill(&env, i);
    a.smallest = b.smallest = VIEW_MAX;
    WAIT_FOR(strstr(said, "ZooKeeper is away"), 4000);
    kill_node(pid); /* nobody can say that it is gone now; those who call it find out */
    join(&late, "late", 4, "away");
    turn_for(500);
    assert_int_equal(a.count, 3);
    assert_int_equal(late.changes, 0);
    for (size_t i = 0; i < env.count; i++)
        zk_env_start(&env, i);
    uint64_t started_us = net_clock_us();
    WAIT_FOR(find(&a, "late") && find(&b, "late") && find(&late, "a") && find(&late, "b"), 15000);
    print_message("registered %u ms after the servers were started\n", (unsigned)((net_clock_us() - started_us) / 1000));
    WAIT_FOR(!find(&a, "c") && !find(&b, "c"), SESSION_MS + 3000);
    assert_true(a.smallest >= 3 || !find(&a, "c"));
    assert_non_null(find(&a, "b"));
    assert_non_null(find(&b, "a"));
    close_member(&late);
    close_member(&b);
    close_member(&a);
}

/* ---- */

static int clear_log(void **state)
{
    (void)state;
    said[0] = '\0';
    return 0;
}

static int start_servers(size_t count)
{
    log_set_sink(keep_line, NULL);
    zk_env_init(&env, count);
    for (size_t i = 0; i < count; i++)
        zk_env_start(&env, i);
    assert_int_equal(net_loop_new(&loop), BT_OK);
    zk_env_wait(&env);
    return 0;
}

static int start_one(void **state)
{
    (void)state;
    return start_servers(1);
}

static int start_three(void **state)
{
    (void)state;
    return start_servers(3);
}

static int stop_servers(void **state)
{
    (void)state;
    net_loop_turn(loop, 0);
    net_loop_turn(loop, 0);
    net_loop_free(loop);
    zk_env_deinit(&env);
    log_set_sink(NULL, NULL);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4)
        return run_as_node(argv);
    const struct CMUnitTest one[] = {
        cmocka_unit_test_setup(a_join_is_seen_by_others_within_a_second, clear_log),
        cmocka_unit_test_setup(a_node_of_several_roles_is_one_node, clear_log),
        cmocka_unit_test_setup(a_node_that_left_is_gone_at_once_and_may_come_back, clear_log),
        cmocka_unit_test_setup(a_killed_process_is_gone_a_second_after_its_session_at_most, clear_log),
        cmocka_unit_test_setup(an_expired_session_is_made_anew, clear_log),
        cmocka_unit_test_setup(the_entry_of_an_earlier_process_is_replaced_and_that_of_a_later_one_is_not, clear_log),
        cmocka_unit_test_setup(who_does_not_know_the_password_sees_and_changes_nothing, clear_log),
        cmocka_unit_test_setup(a_bad_secret_stops_the_start_with_a_reason, clear_log),
        cmocka_unit_test_setup(opening_without_memory_is_refused, clear_log),
        cmocka_unit_test_setup(loads_are_told_once_a_second, clear_log),
        cmocka_unit_test_setup(looking_anew_again_and_again_asks_a_few_times_a_second, clear_log),
        cmocka_unit_test_setup(what_is_no_entry_of_a_node_is_passed_over, clear_log),
        cmocka_unit_test_setup(closing_does_not_wait_for_a_server_that_hangs, clear_log),
        cmocka_unit_test_setup(joining_waits_for_a_server_that_is_not_there_yet, clear_log),
        cmocka_unit_test_setup(closing_without_a_server_is_no_trouble, clear_log),
    };
    const struct CMUnitTest three[] = {
        cmocka_unit_test_setup(a_leader_that_is_killed_changes_nothing, clear_log),
        cmocka_unit_test_setup(the_view_is_kept_while_all_of_zookeeper_is_away, clear_log),
    };
    int failed = cmocka_run_group_tests_name("one server", one, start_one, stop_servers);
    return failed + cmocka_run_group_tests_name("an ensemble", three, start_three, stop_servers);
}
