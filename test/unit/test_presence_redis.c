/* test/unit/test_presence_redis.c: presence in Redis: several nodes at real servers, which forget, and refuse. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "net/mem.h"
#include "test/unit/redis_nodes.h"

/* ---- several nodes ---------------------------------------------------------------------------------------------------- */

static void nodes_see_each_other_and_take_only_their_own_traces(void **state)
{
    struct redis_nodes *f = *state;
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
    struct redis_nodes *f = *state;
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
    struct redis_nodes *f = *state;
    struct net_loop *dead_loop;
    struct presence_reader r = { 0 };
    struct node dead = { 0 };
    assert_int_equal(net_loop_new(&dead_loop), BT_OK);
    dead.p = open_as(f, dead_loop, "10.0.0.9:7500", 9);
    presence_watch(dead.p, node_told, &dead);
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
    turn_nodes_for(f, 1500); /* a sweep or two */
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
    struct redis_nodes *f = *state;
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
    struct redis_nodes *f = *state;
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
    struct redis_nodes *f = *state;
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
    struct redis_nodes *f = *state;
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
    struct redis_nodes *f = *state;
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
    struct redis_nodes *f = *state;
    struct presence_reader r = { 0 };
    assert_int_equal(set_user(f, 0, 5, true), BT_OK);
    redis_env_command(&f->a, "SCRIPT FLUSH");
    presence_set(f->nodes[0].p, 6, true, NULL, NULL);
    assert_int_equal(set_user(f, 0, 7, true), BT_OK);
    redis_env_command(&f->a, "SCRIPT FLUSH");
    assert_int_equal(read_by(f, 0, &r), BT_OK);
    assert_true(r.copy[5] && r.copy[6] && r.copy[7]);
    redis_env_command(&f->a, "SCRIPT FLUSH");
    turn_nodes_for(f, 1200);
    redis_env_command(&f->a, "SCRIPT FLUSH");
    close_node(f, 0);
    assert_int_equal(redis_env_command(&f->a, "HLEN %s:%" PRIu64 ":nodes", HEAD, r.generation), 0);
}

/* ---- limits ----------------------------------------------------------------------------------------------------------- */

static void what_is_not_ours_is_an_error_and_no_more(void **state)
{
    struct redis_nodes *f = *state;
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
    struct redis_nodes *f = *state;
    int results[3] = { 0 };
    put_setting(f, "presence.queue=16");
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
    struct redis_nodes *f = *state;
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
        cmocka_unit_test_setup_teardown(a_reader_follows_by_the_log, redis_nodes_setup, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(setting_what_is_set_changes_nothing, redis_nodes_setup, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(a_reader_beyond_the_log_gets_all_again, redis_nodes_setup, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(another_generation_or_a_position_of_the_future_gets_all, redis_nodes_setup, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(a_copy_stays_right_over_many_changes, redis_nodes_setup, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(the_node_is_named, redis_nodes_setup, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(closing_answers_what_is_open, redis_nodes_setup, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(nodes_see_each_other_and_take_only_their_own_traces, redis_nodes_setup, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(traces_of_an_older_epoch_end_and_its_process_writes_no_more, redis_nodes_setup, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(a_dead_nodes_traces_go_after_its_time_and_come_back_with_it, redis_nodes_setup, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(after_flushall_all_is_written_again_before_the_watcher_is_told, redis_nodes_setup, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(traces_that_are_taken_behind_the_nodes_back_are_missed, redis_nodes_setup, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(a_position_that_went_back_is_a_loss, redis_nodes_setup, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(killed_and_started_empty_it_holds_what_was_wanted_meanwhile, redis_nodes_setup, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(a_server_that_comes_later_is_found, redis_nodes_setup_servers, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(forgotten_scripts_are_sent_again, redis_nodes_setup, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(what_is_not_ours_is_an_error_and_no_more, redis_nodes_setup, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(what_is_too_much_is_refused, redis_nodes_setup_servers, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(a_failed_allocation_is_told_and_nothing_is_lost, redis_nodes_setup, redis_nodes_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
