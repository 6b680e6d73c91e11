/* test/unit/test_presence.c: presence in memory, as a reader with a copy sees it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/loop.h"
#include "net/mem.h"
#include "store/presence.h"

enum { USERS = 2000 };

struct fixture {
    struct net_loop *loop;
    struct conf *conf;
    struct presence *p;
};

/* A reader: its copy, and what the last read told. */
struct reader {
    uint64_t generation, position;
    bool copy[USERS + 1];
    bool is_done, was_full;
    size_t n;
    enum bt_err err;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    char why[128];
    assert_int_equal(net_loop_new(&f->loop), BT_OK);
    assert_int_equal(conf_new(&f->conf), BT_OK);
    conf_declare(f->conf, presence_keys);
    assert_int_equal(conf_set(f->conf, "presence.log=64", why, sizeof why), BT_OK);
    assert_int_equal(presence_open(f->loop, f->conf, "10.0.0.4:7500", 77, &f->p, why, sizeof why), BT_OK);
    *state = f;
    return 0;
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

static void close_now(struct fixture *f)
{
    bool closed = false;
    presence_close(f->p, set_flag, &closed);
    assert_false(closed);
    f->p = NULL;
    for (int i = 0; i < 10 && !closed; i++)
        net_loop_turn(f->loop, 10);
    assert_true(closed);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->p != NULL)
        close_now(f);
    net_loop_free(f->loop);
    conf_free(f->conf);
    free(f);
    return 0;
}

static void read_done(enum bt_err err, const struct presence_delta *delta, void *arg)
{
    struct reader *r = arg;
    r->is_done = true;
    r->err = err;
    if (err != BT_OK) {
        assert_null(delta);
        return;
    }
    if (delta->is_full)
        memset(r->copy, 0, sizeof r->copy);
    for (size_t i = 0; i < delta->n; i++) {
        assert_int_equal(delta->items[i].node, 0);
        r->copy[delta->items[i].user_id] = delta->items[i].is_here;
    }
    r->generation = delta->generation;
    r->position = delta->position;
    r->was_full = delta->is_full;
    r->n = delta->n;
}

static void read_now(struct fixture *f, struct reader *r)
{
    r->is_done = false;
    presence_read(f->p, r->generation, r->position, read_done, r);
    assert_false(r->is_done);
    for (int i = 0; i < 10 && !r->is_done; i++)
        net_loop_turn(f->loop, 10);
    assert_true(r->is_done);
}

static void set_done(enum bt_err err, void *arg)
{
    *(enum bt_err *)arg = err;
}

static void a_reader_follows_by_the_log(void **state)
{
    struct fixture *f = *state;
    struct reader r = { 0 };
    enum bt_err set = BT_EINTERNAL;
    assert_false(presence_is_current(f->p, 0, 0));
    read_now(f, &r);
    assert_true(r.was_full);
    assert_int_equal(r.n, 0);
    assert_true(r.generation != 0);
    assert_true(presence_is_current(f->p, r.generation, r.position));

    presence_set(f->p, 5, true, set_done, &set);
    assert_int_equal(set, BT_EINTERNAL);
    presence_set(f->p, 6, true, NULL, NULL);
    assert_false(presence_is_current(f->p, r.generation, r.position));
    read_now(f, &r);
    assert_int_equal(set, BT_OK);
    assert_false(r.was_full);
    assert_int_equal(r.n, 2);
    assert_true(r.copy[5] && r.copy[6]);

    presence_set(f->p, 5, false, NULL, NULL);
    read_now(f, &r);
    assert_int_equal(r.n, 1);
    assert_true(!r.copy[5] && r.copy[6]);
    read_now(f, &r);
    assert_int_equal(r.n, 0);
}

static void setting_what_is_set_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct reader r = { 0 };
    enum bt_err set = BT_EINTERNAL;
    presence_set(f->p, 5, true, NULL, NULL);
    read_now(f, &r);
    presence_set(f->p, 5, true, set_done, &set);
    presence_set(f->p, 9, false, NULL, NULL);
    assert_true(presence_is_current(f->p, r.generation, r.position));
    read_now(f, &r);
    assert_int_equal(set, BT_OK);
    assert_int_equal(r.n, 0);
}

static void a_reader_beyond_the_log_gets_all_again(void **state)
{
    struct fixture *f = *state;
    struct reader r = { 0 };
    read_now(f, &r);
    for (uint64_t u = 1; u <= 64; u++)
        presence_set(f->p, u, true, NULL, NULL);
    struct reader within = r, beyond = r;
    read_now(f, &within);
    assert_false(within.was_full); /* just reaches */
    assert_int_equal(within.n, 64);
    presence_set(f->p, 1, false, NULL, NULL);
    read_now(f, &beyond);
    assert_true(beyond.was_full);
    assert_int_equal(beyond.n, 63);
    assert_true(!beyond.copy[1] && beyond.copy[2] && beyond.copy[64]);
}

static void another_generation_or_a_position_of_the_future_gets_all(void **state)
{
    struct fixture *f = *state;
    struct reader r = { 0 }, other, future;
    presence_set(f->p, 3, true, NULL, NULL);
    read_now(f, &r);
    other = future = r;
    other.generation++;
    read_now(f, &other);
    assert_true(other.was_full && other.copy[3]);
    assert_int_equal(other.generation, r.generation);
    future.position += 10;
    read_now(f, &future);
    assert_true(future.was_full && future.copy[3]);
    assert_int_equal(future.position, r.position);
}

static void a_copy_stays_right_over_many_changes(void **state)
{
    struct fixture *f = *state;
    static struct reader r;
    static bool truth[USERS + 1];
    unsigned rnd = 1;
    size_t here = 0;
    for (int i = 0; i < 20000; i++) {
        rnd = rnd * 1103515245 + 12345;
        uint64_t user = 1 + (rnd >> 8) % USERS;
        bool is_here = (rnd >> 4) % 3 != 0;
        presence_set(f->p, user, is_here, NULL, NULL);
        here += (size_t)is_here - (size_t)truth[user];
        truth[user] = is_here;
        if (i % 61 == 0) {
            read_now(f, &r);
            assert_memory_equal(r.copy, truth, sizeof truth);
        }
    }
    struct reader all = { 0 };
    read_now(f, &all);
    assert_memory_equal(all.copy, truth, sizeof truth);
    assert_int_equal(all.n, here);
    struct presence_stats stats;
    presence_stats(f->p, &stats);
    assert_int_equal(stats.traces, here);
    assert_int_equal(stats.full_reads, 2);
}

static void the_node_is_named(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(presence_self(f->p), 0);
    assert_string_equal(presence_node(f->p, 0)->address, "10.0.0.4:7500");
    assert_int_equal(presence_node(f->p, 0)->epoch, 77);
}

static void closing_answers_what_is_open(void **state)
{
    struct fixture *f = *state;
    struct reader r = { 0 }, late = { 0 };
    enum bt_err set = BT_EINTERNAL, late_set = BT_EINTERNAL;
    bool closed = false;
    presence_set(f->p, 5, true, set_done, &set);
    presence_read(f->p, 0, 0, read_done, &r);
    struct presence *p = f->p;
    f->p = NULL;
    presence_close(p, set_flag, &closed);
    presence_set(p, 6, true, set_done, &late_set);
    presence_read(p, 0, 0, read_done, &late);
    for (int i = 0; i < 10 && !closed; i++)
        net_loop_turn(f->loop, 10);
    assert_true(closed);
    assert_int_equal(set, BT_OK);
    assert_int_equal(r.err, BT_OK);
    assert_true(r.copy[5]);
    assert_int_equal(late_set, BT_ECLOSING);
    assert_int_equal(late.err, BT_ECLOSING);
}

static void a_failed_allocation_is_told(void **state)
{
    struct fixture *f = *state;
    presence_set(f->p, 5, true, NULL, NULL);
    for (long n = 0; n < 3; n++) {
        struct reader r = { 0 };
        bt_mem_fail_after(n);
        read_now(f, &r);
        bool has_failed = bt_mem_has_failed();
        bt_mem_fail_after(-1);
        /* the record of the call has a spare; the rows have none */
        assert_int_equal(r.err, has_failed && n == 1 ? BT_ENOMEM : BT_OK);
    }
}

static void an_unknown_url_is_refused_with_a_reason(void **state)
{
    struct fixture *f = *state;
    struct presence *p = NULL;
    char why[128] = "";
    assert_int_equal(conf_set(f->conf, "presence.url=carrier-pigeon:", why, sizeof why), BT_OK);
    assert_int_equal(presence_open(f->loop, f->conf, "a:1", 1, &p, why, sizeof why), BT_EINVAL);
    assert_non_null(strstr(why, "carrier-pigeon"));
    assert_null(p);
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
        cmocka_unit_test_setup_teardown(a_failed_allocation_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unknown_url_is_refused_with_a_reason, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
