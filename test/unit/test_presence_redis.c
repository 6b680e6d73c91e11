/* test/unit/test_presence_redis.c: presence in Redis, over real servers that forget, die, freeze and change their roles. */
#include <inttypes.h>
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
#include "test/unit/presence_cases.h"
#include "test/unit/redis_env.h"

#define HEAD "bytetalk:presence"

enum { NODES = 3, TIMEOUT_MS = 300 };

/* A node: its presence, and how often it was told to compare. */
struct node {
    struct presence *p;
    int told;
};

struct fixture {
    struct presence_fixture base; /* first: the shared cases take it; base.p is node 0 */
    struct redis_env a, b;
    struct node nodes[NODES];
    char said[16384];             /* log lines */
};

static void keep_line(enum log_level level, const char *line, void *arg)
{
    struct fixture *f = arg;
    size_t len = strlen(f->said);
    (void)level;
    snprintf(f->said + len, sizeof f->said - len, "%s\n", line);
}

static void conf_put(struct fixture *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void conf_put(struct fixture *f, const char *format, ...)
{
    char assignment[256], why[256];
    va_list args;
    va_start(args, format);
    vsnprintf(assignment, sizeof assignment, format, args);
    va_end(args);
    assert_int_equal(conf_set(f->base.conf, assignment, why, sizeof why), BT_OK);
}

static void told(void *arg)
{
    ((struct node *)arg)->told++;
}

static struct presence *open_as(struct fixture *f, struct net_loop *loop, const char *address, uint64_t epoch)
{
    struct presence *p;
    char why[256] = "";
    enum bt_err err = presence_open(loop, f->base.conf, address, epoch, &p, why, sizeof why);
    if (err != BT_OK)
        fail_msg("%s", why);
    return p;
}

/* Node i, "10.0.0.<4+i>:7500" in epoch 77+i. */
static struct presence *open_node(struct fixture *f, int i)
{
    char address[32];
    struct node *node = &f->nodes[i];
    snprintf(address, sizeof address, "10.0.0.%d:7500", 4 + i);
    node->p = open_as(f, f->base.loop, address, 77 + (uint64_t)i);
    node->told = 0;
    presence_watch(node->p, told, node);
    if (i == 0)
        f->base.p = node->p;
    return node->p;
}

static void close_node(struct fixture *f, int i)
{
    if (i == 0 && f->base.p == NULL)
        f->nodes[0].p = NULL; /* a shared case closed it */
    if (f->nodes[i].p != NULL)
        presence_close_now(f->base.loop, f->nodes[i].p);
    f->nodes[i].p = NULL;
    if (i == 0)
        f->base.p = NULL;
}

static int setup_servers(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_int_equal(net_loop_new(&f->base.loop), BT_OK);
    f->base.conf = presence_conf();
    log_set_sink(keep_line, f);
    redis_env_start(&f->a, NULL, NULL);
    conf_put(f, "presence.url=redis://127.0.0.1:%u/0", f->a.port);
    conf_put(f, "presence.timeout_ms=%d", TIMEOUT_MS);
    conf_put(f, "presence.forget_s=5");
    *state = f;
    return 0;
}

static int setup(void **state)
{
    setup_servers(state);
    open_node(*state, 0);
    return 0;
}

/* A replica besides, and both in the list of addresses. */
static int setup_pair(void **state)
{
    setup_servers(state);
    struct fixture *f = *state;
    redis_env_start(&f->b, NULL, NULL);
    redis_env_follow(&f->b, &f->a);
    conf_put(f, "presence.url=redis://127.0.0.1:%u,127.0.0.1:%u/0", f->a.port, f->b.port);
    open_node(f, 0);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < NODES; i++)
        close_node(f, i);
    redis_env_stop(&f->b);
    redis_env_stop(&f->a);
    net_loop_free(f->base.loop);
    conf_free(f->base.conf);
    log_set_sink(NULL, NULL);
    free(f);
    return 0;
}

static enum bt_err set_user(struct fixture *f, int node, uint64_t user_id, bool is_here)
{
    return presence_set_now(f->base.loop, f->nodes[node].p, user_id, is_here);
}

static enum bt_err read_by(struct fixture *f, int node, struct presence_reader *r)
{
    return presence_read_now(f->base.loop, f->nodes[node].p, r);
}

static void turn_for(struct fixture *f, uint64_t ms)
{
    for (uint64_t end_us = net_clock_us() + ms * 1000; net_clock_us() < end_us;)
        net_loop_turn(f->base.loop, 5);
}

/* Read until user_id is seen (or not) by that reader, as someone who asks again and again; ms it took. */
static uint64_t await_user(struct fixture *f, int node, struct presence_reader *r, uint64_t user_id, bool is_here)
{
    uint64_t start_us = net_clock_us();
    while (read_by(f, node, r) != BT_OK || (r->copy[user_id] != 0) != is_here) {
        if (net_clock_us() - start_us > 10000000)
            fail_msg("user %" PRIu64 " is not seen %s\n%s", user_id, is_here ? "here" : "away", f->said);
        turn_for(f, 5);
    }
    return (net_clock_us() - start_us) / 1000;
}

static void await_told(struct fixture *f, int node, int times)
{
    for (int i = 0; i < 2000 && f->nodes[node].told < times; i++)
        net_loop_turn(f->base.loop, 5);
    if (f->nodes[node].told < times)
        fail_msg("the watcher was not told\n%s", f->said);
}

static void await_line(struct fixture *f, const char *text)
{
    for (int i = 0; i < 2000 && strstr(f->said, text) == NULL; i++)
        net_loop_turn(f->base.loop, 5);
    if (strstr(f->said, text) == NULL)
        fail_msg("\"%s\" was not logged:\n%s", text, f->said);
}

/* ---- several nodes ---------------------------------------------------------------------------------------------------- */

static void nodes_see_each_other_and_take_only_their_own_traces(void **state)
{
    struct fixture *f = *state;
    struct presence_reader r = { 0 };
    open_node(f, 1);
    assert_int_equal(set_user(f, 0, 5, true), BT_OK);
    assert_int_equal(read_by(f, 1, &r), BT_OK);
    assert_int_equal(set_user(f, 1, 5, true), BT_OK);
    assert_int_equal(set_user(f, 1, 6, true), BT_OK);
    assert_int_equal(set_user(f, 0, 6, false), BT_OK); /* not its trace */
    assert_int_equal(read_by(f, 1, &r), BT_OK);
    assert_false(r.was_full);
    assert_int_equal(r.n, 2);
    assert_int_equal(r.copy[5], 3);
    assert_int_equal(r.copy[6], 1);
    assert_string_equal(presence_node(f->nodes[1].p, 1)->address, "10.0.0.4:7500");
    assert_int_equal(presence_node(f->nodes[1].p, 1)->epoch, 77);

    close_node(f, 1);
    struct presence_reader after = { 0 };
    assert_int_equal(read_by(f, 0, &after), BT_OK);
    assert_int_equal(after.n, 1);
    assert_int_equal(after.copy[5], 1);
    assert_int_equal(f->nodes[0].told, 0);
}

static void traces_of_an_older_epoch_end_and_its_process_writes_no_more(void **state)
{
    struct fixture *f = *state;
    struct net_loop *old_loop;
    struct presence_reader r = { 0 };
    assert_int_equal(net_loop_new(&old_loop), BT_OK);
    struct presence *old = open_as(f, old_loop, "10.0.0.9:7500", 9), *renewed;
    assert_int_equal(presence_set_now(old_loop, old, 7, true), BT_OK);
    assert_int_equal(presence_set_now(old_loop, old, 8, true), BT_OK);
    assert_int_equal(read_by(f, 0, &r), BT_OK);
    assert_true(r.copy[7] && r.copy[8]);

    renewed = open_as(f, f->base.loop, "10.0.0.9:7500", 10); /* as if the other had been killed */
    assert_int_equal(presence_set_now(f->base.loop, renewed, 8, true), BT_OK);
    await_user(f, 0, &r, 7, false);
    assert_false(r.was_full);
    assert_true(r.copy[8]);

    /* It lives still. */
    assert_int_equal(presence_set_now(old_loop, old, 7, true), BT_EDOWN);
    assert_non_null(strstr(f->said, "another process is node 10.0.0.9:7500"));
    assert_int_equal(read_by(f, 0, &r), BT_OK);
    assert_false(r.copy[7]);

    /* The one with the greater epoch is dead: it was started by a clock that was ahead. */
    redis_env_command(&f->a, "PEXPIRE %s:%" PRIu64 ":alive:10.0.0.9:7500/10 1", HEAD, r.generation);
    enum bt_err err = BT_EDOWN;
    for (int i = 0; i < 500 && err != BT_OK; i++) {
        net_loop_turn(old_loop, 5);
        err = presence_set_now(old_loop, old, 7, true);
    }
    assert_int_equal(err, BT_OK);
    presence_close_now(old_loop, old);
    presence_close_now(f->base.loop, renewed);
    assert_int_equal(read_by(f, 0, &r), BT_OK);
    assert_false(r.copy[7] || r.copy[8]);
    net_loop_free(old_loop);
}

static void a_dead_nodes_traces_go_after_its_time_and_come_back_with_it(void **state)
{
    struct fixture *f = *state;
    struct net_loop *dead_loop;
    struct presence_reader r = { 0 };
    struct node dead = { 0 };
    assert_int_equal(net_loop_new(&dead_loop), BT_OK);
    dead.p = open_as(f, dead_loop, "10.0.0.9:7500", 9);
    presence_watch(dead.p, told, &dead);
    for (uint64_t u = 1; u <= 1500; u++) /* more than are taken away at once */
        presence_set(dead.p, u, true, NULL, NULL);
    assert_int_equal(presence_set_now(dead_loop, dead.p, 1501, true), BT_OK);
    assert_int_equal(read_by(f, 0, &r), BT_OK);
    assert_true(r.copy[1] && r.copy[1501]);
    const char *generation = redis_env_text(&f->a, "HGET %s generation", HEAD);
    char alive[128];
    snprintf(alive, sizeof alive, "%s:%s:alive:10.0.0.9:7500/9", HEAD, generation);
    long long left_ms = redis_env_command(&f->a, "PTTL %s", alive);
    assert_true(left_ms > 3000 && left_ms <= 5000);
    turn_for(f, 1500); /* a sweep or two */
    assert_int_equal(read_by(f, 0, &r), BT_OK);
    assert_true(r.copy[1]);

    redis_env_command(&f->a, "PEXPIRE %s 1", alive); /* its time is over */
    await_user(f, 0, &r, 1, false);
    await_user(f, 0, &r, 1501, false);
    assert_int_equal(redis_env_command(&f->a, "HLEN %s:%" PRIu64 ":nodes", HEAD, r.generation), 1);

    for (int i = 0; i < 2000 && dead.told == 0; i++) /* it was only away */
        net_loop_turn(dead_loop, 5);
    assert_int_equal(dead.told, 1);
    assert_int_equal(read_by(f, 0, &r), BT_OK);
    assert_true(r.copy[1] && r.copy[1501]);
    presence_close_now(dead_loop, dead.p);
    net_loop_free(dead_loop);
}

/* ---- loss ------------------------------------------------------------------------------------------------------------- */

static void after_flushall_all_is_written_again_before_the_watcher_is_told(void **state)
{
    struct fixture *f = *state;
    static struct presence_reader r, fresh;
    enum { MANY = 10000 };
    memset(&r, 0, sizeof r);
    memset(&fresh, 0, sizeof fresh);
    open_node(f, 1);
    for (uint64_t u = 1; u <= MANY; u++)
        presence_set(f->nodes[0].p, u, true, NULL, NULL);
    assert_int_equal(set_user(f, 0, 1, true), BT_OK);
    assert_int_equal(read_by(f, 1, &r), BT_OK);
    uint64_t generation = r.generation, start_us = net_clock_us();
    redis_env_command(&f->a, "FLUSHALL");
    assert_int_equal(read_by(f, 1, &r), BT_OK); /* at once the new one */
    assert_true(r.was_full);
    assert_true(r.generation > generation);
    await_told(f, 0, 1);
    uint64_t took_ms = (net_clock_us() - start_us) / 1000;
    assert_int_equal(read_by(f, 1, &fresh), BT_OK);
    assert_int_equal(fresh.n, MANY);
    print_message("%d users written again %" PRIu64 " ms after FLUSHALL\n", MANY, took_ms);
    assert_true(took_ms < 3000);
    await_told(f, 1, 1);
    assert_int_equal(set_user(f, 0, 3, false), BT_OK);
    assert_int_equal(read_by(f, 1, &fresh), BT_OK);
    assert_int_equal(fresh.n, 1);
}

static void traces_that_are_taken_behind_the_nodes_back_are_missed(void **state)
{
    struct fixture *f = *state;
    struct presence_reader r = { 0 };
    assert_int_equal(set_user(f, 0, 5, true), BT_OK);
    assert_int_equal(read_by(f, 0, &r), BT_OK);
    redis_env_command(&f->a, "DEL %s:%" PRIu64 ":users:10.0.0.4:7500/77", HEAD, r.generation);
    struct presence_reader fresh = { 0 };
    assert_int_equal(read_by(f, 0, &fresh), BT_OK);
    assert_int_equal(fresh.n, 0);
    await_told(f, 0, 1);
    assert_int_equal(read_by(f, 0, &r), BT_OK);
    assert_true(r.copy[5]);
    struct presence_reader again = { 0 };
    assert_int_equal(read_by(f, 0, &again), BT_OK);
    assert_true(again.copy[5]);
}

static void a_position_that_went_back_is_a_loss(void **state)
{
    struct fixture *f = *state;
    struct presence_reader r = { 0 };
    for (uint64_t u = 1; u <= 5; u++)
        assert_int_equal(set_user(f, 0, u, true), BT_OK);
    assert_int_equal(read_by(f, 0, &r), BT_OK);
    uint64_t generation = r.generation;
    redis_env_command(&f->a, "HSET %s position 2", HEAD);
    await_told(f, 0, 1);
    assert_int_equal(read_by(f, 0, &r), BT_OK);
    assert_true(r.was_full && r.generation > generation && r.copy[5]);
}

static void killed_and_started_empty_it_holds_what_was_wanted_meanwhile(void **state)
{
    struct fixture *f = *state;
    struct presence_reader r = { 0 };
    assert_int_equal(set_user(f, 0, 5, true), BT_OK);
    assert_int_equal(set_user(f, 0, 6, true), BT_OK);
    redis_env_kill(&f->a);
    enum bt_err err = read_by(f, 0, &r);
    assert_true(err == BT_EDOWN || err == BT_ETIMEOUT);
    uint64_t start_us = net_clock_us();
    assert_int_equal(read_by(f, 0, &r), BT_EDOWN);
    assert_int_equal(set_user(f, 0, 7, true), BT_EDOWN);
    assert_int_equal(set_user(f, 0, 6, false), BT_EDOWN);
    presence_set(f->nodes[0].p, 8, true, NULL, NULL);
    assert_true(net_clock_us() - start_us < 100000); /* nobody waits for what is known to be away */
    await_line(f, "presence is away");
    redis_env_restart(&f->a);
    start_us = net_clock_us();
    await_told(f, 0, 1);
    print_message("back %" PRIu64 " ms after the restart\n", (net_clock_us() - start_us) / 1000);
    assert_int_equal(read_by(f, 0, &r), BT_OK);
    assert_int_equal(r.n, 3);
    assert_true(r.copy[5] && r.copy[7] && r.copy[8] && !r.copy[6]);
}

static void a_server_that_comes_later_is_found(void **state)
{
    struct fixture *f = *state;
    struct presence_reader r = { 0 };
    redis_env_kill(&f->a);
    open_node(f, 0);
    presence_set(f->nodes[0].p, 5, true, NULL, NULL);
    assert_int_equal(read_by(f, 0, &r), BT_EDOWN);
    redis_env_restart(&f->a);
    await_user(f, 0, &r, 5, true);
    await_told(f, 0, 1);
}

static void forgotten_scripts_are_sent_again(void **state)
{
    struct fixture *f = *state;
    struct presence_reader r = { 0 };
    assert_int_equal(set_user(f, 0, 5, true), BT_OK);
    redis_env_command(&f->a, "SCRIPT FLUSH");
    presence_set(f->nodes[0].p, 6, true, NULL, NULL);
    assert_int_equal(set_user(f, 0, 7, true), BT_OK);
    redis_env_command(&f->a, "SCRIPT FLUSH");
    assert_int_equal(read_by(f, 0, &r), BT_OK);
    assert_true(r.copy[5] && r.copy[6] && r.copy[7]);
    redis_env_command(&f->a, "SCRIPT FLUSH");
    turn_for(f, 1200);
    redis_env_command(&f->a, "SCRIPT FLUSH");
    close_node(f, 0);
    assert_int_equal(redis_env_command(&f->a, "HLEN %s:%" PRIu64 ":nodes", HEAD, r.generation), 0);
}

/* ---- silence ---------------------------------------------------------------------------------------------------------- */

static void a_frozen_server_costs_one_timeout_and_its_late_writes_are_void(void **state)
{
    struct fixture *f = *state;
    struct presence_reader r = { 0 };
    assert_int_equal(set_user(f, 0, 5, true), BT_OK);
    assert_int_equal(read_by(f, 0, &r), BT_OK);
    redis_env_freeze(&f->a);
    uint64_t start_us = net_clock_us();
    assert_int_equal(set_user(f, 0, 5, false), BT_ETIMEOUT); /* stands in the server's socket */
    uint64_t took_ms = (net_clock_us() - start_us) / 1000;
    print_message("silence was noticed after %" PRIu64 " ms\n", took_ms);
    assert_true(took_ms >= TIMEOUT_MS && took_ms < 3 * TIMEOUT_MS);
    start_us = net_clock_us();
    assert_int_equal(read_by(f, 0, &r), BT_EDOWN);
    assert_int_equal(set_user(f, 0, 5, true), BT_EDOWN); /* the last wish */
    assert_true(net_clock_us() - start_us < 100000);
    turn_for(f, 2 * TIMEOUT_MS);
    redis_env_thaw(&f->a);
    await_told(f, 0, 1);
    assert_int_equal(read_by(f, 0, &r), BT_OK);
    assert_true(r.copy[5]);
    turn_for(f, 200);
    struct presence_reader fresh = { 0 };
    assert_int_equal(read_by(f, 0, &fresh), BT_OK);
    assert_true(fresh.copy[5]);
    assert_int_equal(fresh.generation, r.generation);
}

static void a_closed_port_and_a_frozen_server_do_not_hold_up_a_close(void **state)
{
    struct fixture *f = *state;
    struct presence_reader r = { 0 };
    assert_int_equal(set_user(f, 0, 5, true), BT_OK);
    redis_env_freeze(&f->a);
    presence_read(f->nodes[0].p, 0, 0, presence_read_done, &r);
    uint64_t start_us = net_clock_us();
    close_node(f, 0);
    assert_true(net_clock_us() - start_us < 1000000);
    assert_true(r.is_done);
    assert_true(r.err == BT_ETIMEOUT || r.err == BT_EDOWN || r.err == BT_ECLOSING);
    redis_env_kill(&f->a);
    open_node(f, 0);
    close_node(f, 0);
    open_node(f, 0);
    turn_for(f, 100);
    close_node(f, 0);
}

/* ---- replicas --------------------------------------------------------------------------------------------------------- */

static void a_promoted_replica_is_taken_in_place_of_a_dead_master(void **state)
{
    struct fixture *f = *state;
    struct presence_reader r = { 0 };
    open_node(f, 1);
    assert_int_equal(set_user(f, 0, 5, true), BT_OK);
    assert_int_equal(read_by(f, 1, &r), BT_OK);
    uint64_t generation = r.generation;
    redis_env_kill(&f->a);
    turn_for(f, 300);
    assert_int_equal(read_by(f, 1, &r), BT_EDOWN); /* a replica is not read */
    uint64_t start_us = net_clock_us();
    redis_env_command(&f->b, "REPLICAOF NO ONE");
    await_told(f, 0, 1);
    print_message("everyone written again %" PRIu64 " ms after the promotion\n", (net_clock_us() - start_us) / 1000);
    await_user(f, 1, &r, 5, true);
    assert_true(r.generation > generation);
    int before = f->nodes[0].told;
    await_told(f, 0, before + 1); /* once more when nobody can be reading the old server */
}

static void a_replica_that_lacks_the_last_writes_begins_anew(void **state)
{
    struct fixture *f = *state;
    struct presence_reader r = { 0 };
    assert_int_equal(set_user(f, 0, 5, true), BT_OK);
    redis_env_command(&f->a, "WAIT 1 1000");
    assert_int_equal(read_by(f, 0, &r), BT_OK);
    redis_env_freeze(&f->b);
    assert_int_equal(set_user(f, 0, 5, false), BT_OK);
    assert_int_equal(set_user(f, 0, 6, true), BT_OK);
    struct presence_reader stale = r;
    redis_env_kill(&f->a);
    redis_env_thaw(&f->b);
    redis_env_command(&f->b, "REPLICAOF NO ONE");
    await_user(f, 0, &stale, 6, true);
    assert_true(stale.generation > r.generation);
    assert_false(stale.copy[5]);
    assert_int_equal(redis_env_command(&f->b, "EXISTS %s:%" PRIu64 ":log", HEAD, r.generation), 0);
}

static void of_two_masters_everyone_takes_the_one_with_the_newer_generation(void **state)
{
    struct fixture *f = *state;
    struct presence_reader r = { 0 };
    assert_int_equal(set_user(f, 0, 5, true), BT_OK);
    redis_env_command(&f->b, "REPLICAOF NO ONE");
    turn_for(f, 1200);
    assert_int_equal(set_user(f, 0, 6, true), BT_OK); /* nobody is at the other one: stays */
    assert_int_equal(f->nodes[0].told, 0);
    conf_put(f, "presence.url=redis://127.0.0.1:%u/0", f->b.port);
    open_node(f, 1); /* one that sees only the promoted one */
    assert_int_equal(set_user(f, 1, 7, true), BT_OK);
    uint64_t start_us = net_clock_us();
    await_user(f, 0, &r, 7, true);
    await_user(f, 1, &r, 5, true);
    print_message("together again after %" PRIu64 " ms\n", (net_clock_us() - start_us) / 1000);
    assert_true(r.copy[6]);
}

static void a_master_that_becomes_a_replica_is_left(void **state)
{
    struct fixture *f = *state;
    struct presence_reader r = { 0 };
    assert_int_equal(set_user(f, 0, 5, true), BT_OK);
    redis_env_command(&f->b, "REPLICAOF NO ONE");
    redis_env_follow(&f->a, &f->b);
    enum bt_err err = set_user(f, 0, 6, true); /* READONLY */
    assert_true(err == BT_EDOWN || err == BT_OK);
    await_user(f, 0, &r, 6, true);
    assert_true(r.copy[5]);
    assert_int_equal(redis_env_command(&f->b, "HGET %s generation", HEAD), (long long)r.generation);
}

/* ---- logging in ------------------------------------------------------------------------------------------------------- */

static void a_wrong_password_is_said_with_what_to_do(void **state)
{
    struct fixture *f = *state;
    struct presence_reader r = { 0 };
    redis_env_stop(&f->a);
    redis_env_start(&f->a, "requirepass", "right:@/pw");
    conf_put(f, "presence.url=redis://:wrong@127.0.0.1:%u/0", f->a.port);
    open_node(f, 0);
    assert_int_equal(read_by(f, 0, &r), BT_EDOWN);
    await_line(f, "WRONGPASS");
    await_line(f, "correct user and password in [presence] url or password_file");
    turn_for(f, 500);
    assert_null(strstr(strstr(f->said, "correct user") + 1, "correct user")); /* once, not once per try */
    close_node(f, 0);

    conf_put(f, "presence.url=redis://127.0.0.1:%u/0", f->a.port);
    open_node(f, 0);
    await_line(f, "its path into [presence] password_file");
    close_node(f, 0);

    conf_put(f, "presence.url=redis://:right%%3a%%40%%2fpw@127.0.0.1:%u/0", f->a.port);
    open_node(f, 0);
    assert_int_equal(set_user(f, 0, 5, true), BT_OK);
    close_node(f, 0);
    assert_null(strstr(f->said, "right"));

    char path[96];
    snprintf(path, sizeof path, "%s/password", f->a.dir);
    FILE *file = fopen(path, "w");
    fputs("right:@/pw\n", file);
    fclose(file);
    conf_put(f, "presence.url=redis://127.0.0.1:%u/0", f->a.port);
    conf_put(f, "presence.password_file=%s", path);
    open_node(f, 0);
    assert_int_equal(set_user(f, 0, 5, true), BT_OK);
    close_node(f, 0);
    unlink(path);
}

static void a_user_with_the_named_rights_suffices(void **state)
{
    struct fixture *f = *state;
    struct presence_reader r = { 0 };
    redis_env_command(&f->a, "ACL SETUSER chat on >pw ~bytetalk:presence* +@all -@admin -@dangerous +info +role");
    redis_env_command(&f->a, "ACL SETUSER nobody on >pw ~elsewhere* +@all");
    conf_put(f, "presence.url=redis://chat:pw@localhost:%u/3", f->a.port); /* by name, and another database */
    open_node(f, 0);
    close_node(f, 0); /* before the name is known */
    open_node(f, 0);
    assert_int_equal(set_user(f, 0, 5, true), BT_OK);
    assert_int_equal(read_by(f, 0, &r), BT_OK);
    assert_true(r.copy[5]);
    turn_for(f, 1200);
    redis_env_command(&f->a, "FLUSHALL");
    await_told(f, 0, 1);
    close_node(f, 0);
    assert_int_equal(redis_env_command(&f->a, "EXISTS %s", HEAD), 0);
    conf_put(f, "presence.url=redis://nobody:pw@localhost:%u/3", f->a.port);
    open_node(f, 0);
    await_line(f, "the user needs ~bytetalk:presence*");
}

static void refuses(struct fixture *f, const char *url, const char *reason)
{
    struct presence *p = NULL;
    char why[256] = "";
    conf_put(f, "presence.url=%s", url);
    assert_int_equal(presence_open(f->base.loop, f->base.conf, "a:1", 1, &p, why, sizeof why), BT_EINVAL);
    if (strstr(why, reason) == NULL)
        fail_msg("%s: %s", url, why);
    assert_null(strstr(why, "secret"));
}

static void a_bad_url_is_refused_with_a_reason(void **state)
{
    struct fixture *f = *state;
    refuses(f, "redis:", "is no redis:// url");
    refuses(f, "redis://", "address is malformed");
    refuses(f, "redis://h:0/0", "address is malformed");
    refuses(f, "redis://h:65536/0", "address is malformed");
    refuses(f, "redis://h:6379x", "address is malformed");
    refuses(f, "redis://h,,i/0", "address is malformed");
    refuses(f, "redis://[::1:6379", "address is malformed");
    refuses(f, "redis://[::1]6379", "address is malformed");
    refuses(f, "redis://h:6379/presence", "number of a database");
    refuses(f, "redis://:secret%2@h", "malformed");
    refuses(f, "redis://:secret%zz@h", "malformed");
    refuses(f, "redis://user@h", "no password");
    refuses(f, "redis://a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", "too many");
    refuses(f, "rediss://:secret@h", "not understood");
    conf_put(f, "presence.password_file=/nonexistent/pw");
    refuses(f, "redis://h", "/nonexistent/pw");
    refuses(f, "redis://:secret@h", "leave one out");
    conf_put(f, "presence.password_file=/dev/null");
    refuses(f, "redis://h", "empty");
}

/* ---- limits ----------------------------------------------------------------------------------------------------------- */

static void what_is_not_ours_is_an_error_and_no_more(void **state)
{
    struct fixture *f = *state;
    struct presence_reader r = { 0 };
    static const char *const lines[] = { "nonsense", "+", "+5", "+x 10.0.0.4:7500/77", "+5 10.0.0.4:7500", "+5 a/", "+5 /x",
                                         "*5 a/1", "+99999999999999999999 a/1", "+0 a/1" };
    assert_int_equal(set_user(f, 0, 5, true), BT_OK);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct presence_reader fresh = { 0 };
        assert_int_equal(read_by(f, 0, &fresh), BT_OK);
        char script[256];
        snprintf(script, sizeof script, "redis.call('RPUSH',KEYS[1],(ARGV[1]:gsub('_','\\32')))redis.call('HINCRBY','%s','position',1)", HEAD);
        char line[64];
        snprintf(line, sizeof line, "%s", lines[i]);
        for (char *c = line; *c != '\0'; c++)
            if (*c == ' ')
                *c = '_';
        redis_env_command(&f->a, "EVAL %s 1 %s:%" PRIu64 ":log %s", script, HEAD, fresh.generation, line);
        if (read_by(f, 0, &fresh) != BT_EDOWN)
            fail_msg("accepted: %s", lines[i]);
    }
    redis_env_command(&f->a, "DEL %s", HEAD);
    redis_env_command(&f->a, "SET %s x", HEAD);
    assert_int_equal(read_by(f, 0, &r), BT_EDOWN);
    await_line(f, "WRONGTYPE");
    redis_env_command(&f->a, "DEL %s", HEAD);
    await_user(f, 0, &r, 5, true);
}

static void count_busy(enum bt_err err, const struct presence_delta *delta, void *arg)
{
    (void)delta;
    ((int *)arg)[err == BT_EBUSY ? 1 : err == BT_OK ? 0 : 2]++;
}

static void what_is_too_much_is_refused(void **state)
{
    struct fixture *f = *state;
    int results[3] = { 0 };
    conf_put(f, "presence.queue=16");
    open_node(f, 0);
    for (int i = 0; i < 40; i++)
        presence_read(f->nodes[0].p, 0, 0, count_busy, results);
    for (int i = 0; i < 1000 && results[0] + results[1] + results[2] < 40; i++)
        net_loop_turn(f->base.loop, 5);
    assert_int_equal(results[0], 16);
    assert_int_equal(results[1], 24);
}

static void a_failed_allocation_is_told_and_nothing_is_lost(void **state)
{
    struct fixture *f = *state;
    uint64_t user = 100;
    bool has_failed = true;
    assert_int_equal(set_user(f, 0, 5, true), BT_OK);
    for (long n = 0; has_failed || n < 5; n++, user++) {
        struct presence_reader r = { 0 };
        bt_mem_fail_after(n);
        enum bt_err set = set_user(f, 0, user, true), read = read_by(f, 0, &r);
        has_failed = bt_mem_has_failed();
        bt_mem_fail_after(-1);
        assert_true(set == BT_OK || set == BT_ENOMEM);
        assert_true(read == BT_OK || read == BT_ENOMEM);
        assert_true(has_failed || (set == BT_OK && read == BT_OK));
        if (set == BT_OK) {
            struct presence_reader fresh = { 0 };
            assert_int_equal(read_by(f, 0, &fresh), BT_OK);
            assert_true(fresh.copy[5] && fresh.copy[user]);
        }
        assert_true(n < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_reader_follows_by_the_log, setup, teardown),
        cmocka_unit_test_setup_teardown(setting_what_is_set_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reader_beyond_the_log_gets_all_again, setup, teardown),
        cmocka_unit_test_setup_teardown(another_generation_or_a_position_of_the_future_gets_all, setup, teardown),
        cmocka_unit_test_setup_teardown(a_copy_stays_right_over_many_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(the_node_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_answers_what_is_open, setup, teardown),
        cmocka_unit_test_setup_teardown(nodes_see_each_other_and_take_only_their_own_traces, setup, teardown),
        cmocka_unit_test_setup_teardown(traces_of_an_older_epoch_end_and_its_process_writes_no_more, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dead_nodes_traces_go_after_its_time_and_come_back_with_it, setup, teardown),
        cmocka_unit_test_setup_teardown(after_flushall_all_is_written_again_before_the_watcher_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(traces_that_are_taken_behind_the_nodes_back_are_missed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_position_that_went_back_is_a_loss, setup, teardown),
        cmocka_unit_test_setup_teardown(killed_and_started_empty_it_holds_what_was_wanted_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(a_server_that_comes_later_is_found, setup_servers, teardown),
        cmocka_unit_test_setup_teardown(forgotten_scripts_are_sent_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_frozen_server_costs_one_timeout_and_its_late_writes_are_void, setup, teardown),
        cmocka_unit_test_setup_teardown(a_closed_port_and_a_frozen_server_do_not_hold_up_a_close, setup, teardown),
        cmocka_unit_test_setup_teardown(a_promoted_replica_is_taken_in_place_of_a_dead_master, setup_pair, teardown),
        cmocka_unit_test_setup_teardown(a_replica_that_lacks_the_last_writes_begins_anew, setup_pair, teardown),
        cmocka_unit_test_setup_teardown(of_two_masters_everyone_takes_the_one_with_the_newer_generation, setup_pair, teardown),
        cmocka_unit_test_setup_teardown(a_master_that_becomes_a_replica_is_left, setup_pair, teardown),
        cmocka_unit_test_setup_teardown(a_wrong_password_is_said_with_what_to_do, setup_servers, teardown),
        cmocka_unit_test_setup_teardown(a_user_with_the_named_rights_suffices, setup_servers, teardown),
        cmocka_unit_test_setup_teardown(a_bad_url_is_refused_with_a_reason, setup_servers, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_ours_is_an_error_and_no_more, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_too_much_is_refused, setup_servers, teardown),
        cmocka_unit_test_setup_teardown(a_failed_allocation_is_told_and_nothing_is_lost, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
