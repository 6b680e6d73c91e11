/* test/unit/test_presence_redis_down.c: presence in Redis, while servers are frozen, dead, or change their roles. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "test/unit/redis_nodes.h"

/* ---- silence ---------------------------------------------------------------------------------------------------------- */

static void a_frozen_server_costs_one_timeout_and_its_late_writes_are_void(void **state)
{
    struct redis_nodes *f = *state;
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
    turn_nodes_for(f, 2 * TIMEOUT_MS);
    redis_env_thaw(&f->a);
    await_told(f, 0, 1);
    assert_int_equal(read_by(f, 0, &r), BT_OK);
    assert_true(r.copy[5]);
    turn_nodes_for(f, 200);
    struct presence_reader fresh = { 0 };
    assert_int_equal(read_by(f, 0, &fresh), BT_OK);
    assert_true(fresh.copy[5]);
    assert_int_equal(fresh.generation, r.generation);
}

static void a_closed_port_and_a_frozen_server_do_not_hold_up_a_close(void **state)
{
    struct redis_nodes *f = *state;
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
    turn_nodes_for(f, 100);
    close_node(f, 0);
}

/* ---- replicas --------------------------------------------------------------------------------------------------------- */

static void a_promoted_replica_is_taken_in_place_of_a_dead_master(void **state)
{
    struct redis_nodes *f = *state;
    struct presence_reader r = { 0 };
    open_node(f, 1);
    assert_int_equal(set_user(f, 0, 5, true), BT_OK);
    assert_int_equal(read_by(f, 1, &r), BT_OK);
    uint64_t generation = r.generation;
    redis_env_kill(&f->a);
    turn_nodes_for(f, 300);
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
    struct redis_nodes *f = *state;
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
    struct redis_nodes *f = *state;
    struct presence_reader r = { 0 };
    assert_int_equal(set_user(f, 0, 5, true), BT_OK);
    redis_env_command(&f->b, "REPLICAOF NO ONE");
    turn_nodes_for(f, 1200);
    assert_int_equal(set_user(f, 0, 6, true), BT_OK); /* nobody is at the other one: stays */
    assert_int_equal(f->nodes[0].told, 0);
    put_setting(f, "presence.url=redis://127.0.0.1:%u/0", f->b.port);
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
    struct redis_nodes *f = *state;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_frozen_server_costs_one_timeout_and_its_late_writes_are_void, redis_nodes_setup, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(a_closed_port_and_a_frozen_server_do_not_hold_up_a_close, redis_nodes_setup, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(a_promoted_replica_is_taken_in_place_of_a_dead_master, redis_nodes_setup_pair, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(a_replica_that_lacks_the_last_writes_begins_anew, redis_nodes_setup_pair, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(of_two_masters_everyone_takes_the_one_with_the_newer_generation, redis_nodes_setup_pair, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(a_master_that_becomes_a_replica_is_left, redis_nodes_setup_pair, redis_nodes_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
