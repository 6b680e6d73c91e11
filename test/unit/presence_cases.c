/* test/unit/presence_cases.c: see presence_cases.h. */
#include "test/unit/presence_cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void presence_wait(struct net_loop *loop, const bool *flag)
{
    uint64_t end_us = net_clock_us() + 10000000;
    while (!*flag && net_clock_us() < end_us)
        net_loop_turn(loop, 10);
    assert_true(*flag);
}

void presence_read_done(enum bt_err err, const struct presence_delta *delta, void *reader)
{
    struct presence_reader *r = reader;
    assert_false(r->is_done);
    r->is_done = true;
    r->err = err;
    if (err != BT_OK) {
        assert_null(delta);
        return;
    }
    if (delta->is_full)
        memset(r->copy, 0, sizeof r->copy);
    for (size_t i = 0; i < delta->n; i++) {
        const struct presence_item *item = &delta->items[i];
        assert_true(item->node < 8);
        if (item->user_id > PRESENCE_USERS)
            continue; /* only counted */
        if (item->is_here)
            r->copy[item->user_id] |= (uint8_t)(1u << item->node);
        else
            r->copy[item->user_id] &= (uint8_t)~(1u << item->node);
    }
    r->generation = delta->generation;
    r->position = delta->position;
    r->was_full = delta->is_full;
    r->n = delta->n;
}

enum bt_err presence_read_now(struct net_loop *loop, struct presence *p, struct presence_reader *r)
{
    r->is_done = false;
    presence_read(p, r->generation, r->position, presence_read_done, r);
    assert_false(r->is_done);
    presence_wait(loop, &r->is_done);
    return r->err;
}

static void read_now(struct presence_fixture *f, struct presence_reader *r)
{
    assert_int_equal(presence_read_now(f->loop, f->p, r), BT_OK);
}

struct set_answer {
    bool is_done;
    enum bt_err err;
};

static void set_answered(enum bt_err err, void *arg)
{
    struct set_answer *a = arg;
    assert_false(a->is_done);
    a->is_done = true;
    a->err = err;
}

enum bt_err presence_set_now(struct net_loop *loop, struct presence *p, uint64_t user_id, bool is_here)
{
    struct set_answer a = { false, BT_OK };
    presence_set(p, user_id, is_here, set_answered, &a);
    assert_false(a.is_done);
    presence_wait(loop, &a.is_done);
    return a.err;
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

void presence_close_now(struct net_loop *loop, struct presence *p)
{
    bool closed = false;
    presence_close(p, set_flag, &closed);
    assert_false(closed);
    presence_wait(loop, &closed);
}

struct conf *presence_conf(void)
{
    struct conf *conf;
    char why[128];
    assert_int_equal(conf_new(&conf), BT_OK);
    conf_declare(conf, presence_keys);
    assert_int_equal(conf_set(conf, "presence.log=64", why, sizeof why), BT_OK);
    return conf;
}

/* ---- the cases -------------------------------------------------------------------------------------------------------- */

void a_reader_follows_by_the_log(void **state)
{
    struct presence_fixture *f = *state;
    struct presence_reader r = { 0 };
    struct set_answer set = { false, BT_EINTERNAL };
    assert_false(presence_is_current(f->p, 0, 0));
    read_now(f, &r);
    assert_true(r.was_full);
    assert_int_equal(r.n, 0);
    assert_true(r.generation != 0);
    assert_int_equal(presence_is_current(f->p, r.generation, r.position), f->knows_current);

    presence_set(f->p, 5, true, set_answered, &set);
    assert_false(set.is_done);
    presence_set(f->p, 6, true, NULL, NULL);
    assert_false(presence_is_current(f->p, r.generation, r.position));
    read_now(f, &r);
    presence_wait(f->loop, &set.is_done);
    assert_int_equal(set.err, BT_OK);
    assert_false(r.was_full);
    assert_int_equal(r.n, 2);
    assert_true(r.copy[5] && r.copy[6]);

    presence_set(f->p, 5, false, NULL, NULL);
    read_now(f, &r);
    assert_int_equal(r.n, 1);
    assert_true(!r.copy[5] && r.copy[6]);
    read_now(f, &r);
    assert_int_equal(r.n, 0);
    assert_false(r.was_full);
}

void setting_what_is_set_changes_nothing(void **state)
{
    struct presence_fixture *f = *state;
    struct presence_reader r = { 0 };
    presence_set(f->p, 5, true, NULL, NULL);
    read_now(f, &r);
    uint64_t position = r.position;
    assert_int_equal(presence_set_now(f->loop, f->p, 5, true), BT_OK);
    presence_set(f->p, 5, true, NULL, NULL);
    presence_set(f->p, 9, false, NULL, NULL);
    assert_int_equal(presence_is_current(f->p, r.generation, r.position), f->knows_current);
    assert_int_equal(presence_set_now(f->loop, f->p, 9, false), BT_OK);
    read_now(f, &r);
    assert_int_equal(r.n, 0);
    assert_int_equal(r.position, position);
}

void a_reader_beyond_the_log_gets_all_again(void **state)
{
    struct presence_fixture *f = *state;
    struct presence_reader r = { 0 };
    read_now(f, &r);
    for (uint64_t u = 1; u <= 64; u++)
        presence_set(f->p, u, true, NULL, NULL);
    struct presence_reader within = r, beyond = r;
    read_now(f, &within);
    assert_false(within.was_full); /* just reaches */
    assert_int_equal(within.n, 64);
    presence_set(f->p, 1, false, NULL, NULL);
    read_now(f, &beyond);
    assert_true(beyond.was_full);
    assert_int_equal(beyond.n, 63);
    assert_true(!beyond.copy[1] && beyond.copy[2] && beyond.copy[64]);
}

void another_generation_or_a_position_of_the_future_gets_all(void **state)
{
    struct presence_fixture *f = *state;
    struct presence_reader r = { 0 }, other, future;
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

void a_copy_stays_right_over_many_changes(void **state)
{
    struct presence_fixture *f = *state;
    static struct presence_reader r, all;
    static uint8_t truth[PRESENCE_USERS + 1];
    unsigned rnd = 1;
    size_t here = 0;
    memset(&r, 0, sizeof r);
    memset(&all, 0, sizeof all);
    memset(truth, 0, sizeof truth);
    for (int i = 0; i < 20000; i++) {
        rnd = rnd * 1103515245 + 12345;
        uint64_t user = 1 + (rnd >> 8) % PRESENCE_USERS;
        bool is_here = (rnd >> 4) % 3 != 0;
        presence_set(f->p, user, is_here, NULL, NULL);
        here += (size_t)is_here - (size_t)truth[user];
        truth[user] = is_here; /* the node's number is 0, its bit 1 */
        if (i % 61 == 0) {
            read_now(f, &r);
            assert_memory_equal(r.copy, truth, sizeof truth);
        }
    }
    read_now(f, &all);
    assert_memory_equal(all.copy, truth, sizeof truth);
    assert_int_equal(all.n, here);
    struct presence_stats stats;
    presence_stats(f->p, &stats);
    assert_int_equal(stats.traces, here);
    assert_int_equal(stats.full_reads, 2);
}

void the_node_is_named(void **state)
{
    struct presence_fixture *f = *state;
    assert_int_equal(presence_self(f->p), 0);
    assert_string_equal(presence_node(f->p, 0)->address, "10.0.0.4:7500");
    assert_int_equal(presence_node(f->p, 0)->epoch, 77);
}

void closing_answers_what_is_open(void **state)
{
    struct presence_fixture *f = *state;
    struct presence_reader r = { 0 }, late = { 0 };
    struct set_answer set = { 0 }, late_set = { 0 };
    bool closed = false;
    presence_set(f->p, 5, true, set_answered, &set);
    presence_read(f->p, 0, 0, presence_read_done, &r);
    struct presence *p = f->p;
    f->p = NULL;
    presence_close(p, set_flag, &closed);
    presence_set(p, 6, true, set_answered, &late_set);
    presence_read(p, 0, 0, presence_read_done, &late);
    presence_wait(f->loop, &closed);
    assert_true(set.is_done && late_set.is_done && r.is_done && late.is_done);
    assert_int_equal(set.err, BT_OK);
    assert_int_equal(r.err, BT_OK);
    assert_true(r.copy[5]);
    assert_int_equal(late_set.err, BT_ECLOSING);
    assert_int_equal(late.err, BT_ECLOSING);
}
