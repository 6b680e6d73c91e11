/* test/unit/presence_cases.h: what every presence backend must show, and a reader with a copy to look through. */
#ifndef BT_TEST_PRESENCE_CASES_H
#define BT_TEST_PRESENCE_CASES_H

#include "net/conf.h"
#include "net/loop.h"
#include "store/presence.h"

enum { PRESENCE_USERS = 2000 };

/* What a case gets as *state: a backend opened as "10.0.0.4:7500" in epoch 77, with a log of 64 changes. */
struct presence_fixture {
    struct net_loop *loop;
    struct conf *conf;
    struct presence *p; /* NULL: closed */
    bool knows_current; /* presence_is_current() may say true */
};

/* A reader: its copy (by user, a bit per node number), and what the last read told. */
struct presence_reader {
    uint64_t generation, position;
    uint8_t copy[PRESENCE_USERS + 1];
    bool is_done, was_full;
    size_t n;
    enum bt_err err;
};

/* Turn the loop until *flag; fails the test after ten seconds. */
void presence_wait(struct net_loop *loop, const bool *flag);

void presence_read_done(enum bt_err err, const struct presence_delta *delta, void *reader);
enum bt_err presence_read_now(struct net_loop *loop, struct presence *p, struct presence_reader *r);
enum bt_err presence_set_now(struct net_loop *loop, struct presence *p, uint64_t user_id, bool is_here);
void presence_close_now(struct net_loop *loop, struct presence *p);

/* Settings with the keys of presence and a log of 64 changes. */
struct conf *presence_conf(void);

void a_reader_follows_by_the_log(void **state);
void setting_what_is_set_changes_nothing(void **state);
void a_reader_beyond_the_log_gets_all_again(void **state);
void another_generation_or_a_position_of_the_future_gets_all(void **state);
void a_copy_stays_right_over_many_changes(void **state);
void the_node_is_named(void **state);
void closing_answers_what_is_open(void **state);

#endif
