/* test/unit/test_chat_doors.c: pushing while presence is away: proxies are asked, little by little, who is connected to them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/mem.h"
#include "rpc/status.h"
#include "test/unit/chat_aid.h"
#include "test/unit/log_aid.h"

enum { GROUP = 7000000, FIRST_MEMBER = 3, MEMBERS_N = 5000, LATE = 4000 };

#define GROUP_STATE "SELECT join_mode"

/* ---- presence that is away ------------------------------------------------------------------------------------------------------- */

static struct presence_driver away_driver;
static const struct presence_driver *real_driver;
static struct {
    struct net_task task;
    presence_read_cb *cb;
    void *arg;
} asked;

static long allocations = -1; /* that succeed after the next read has failed; -1: all */

static void fail_now(void *arg)
{
    (void)arg;
    if (allocations >= 0)
        bt_mem_fail_after(allocations);
    asked.cb(BT_EDOWN, NULL, asked.arg);
}

static bool never_current(const struct presence *p, uint64_t generation, uint64_t position)
{
    (void)p, (void)generation, (void)position;
    return false;
}

static struct net_loop *loop;

static void fail_read(struct presence *p, uint64_t generation, uint64_t position, presence_read_cb *cb, void *arg)
{
    (void)p, (void)generation, (void)position;
    asked.cb = cb;
    asked.arg = arg;
    net_defer(loop, &asked.task, fail_now, NULL);
}

static void set_away(struct chat_aid *c, bool is_away)
{
    if (real_driver == NULL) {
        real_driver = c->presence->driver;
        away_driver = *real_driver;
        away_driver.read = fail_read;
        away_driver.is_current = never_current;
    }
    loop = c->loop;
    c->presence->driver = is_away ? &away_driver : real_driver;
}

/* ---- a large group ----------------------------------------------------------------------------------------------------------------- */

static void script_group(struct chat_aid *c)
{
    struct db_val *members = calloc((MEMBERS_N + 2) * 6, sizeof *members);
    const struct db_val group[] = { I(0), I(0), { .type = DB_BYTES, .p = "g", .len = 1 }, { .type = DB_BYTES, .p = "", .len = 0 } };

    assert_non_null(members);
    for (int64_t i = 0; i < MEMBERS_N + 2; i++) {
        const struct db_val row[] = { I(i < 2 ? ANN + i : FIRST_MEMBER + i - 2), I(1), I(0), I(0), I(1), I(0) };
        memcpy(members + 6 * i, row, sizeof row);
    }
    fake_db_rows(c->db, TAIL, FAKE_ALWAYS, 0, 7, NULL);
    fake_db_rows(c->db, MEMBERS, FAKE_ALWAYS, MEMBERS_N + 2, 6, members);
    fake_db_rows(c->db, GROUP_STATE, FAKE_ALWAYS, 1, 4, group);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    free(members);
}

static void say(struct chat_aid *c, uint64_t id)
{
    const SendRequest req = { .client_msg_id = id, .body = rpc_str("hello") };
    struct chat_answer *a = chat_aid_ask(c, RPC_CHAT_SEND, GROUP | UINT64_C(1) << 63, &req, 5000, NULL);

    chat_aid_wait(c, a);
    assert_int_equal(a->status, RPC_STATUS_OK);
}

static void a_message_to_a_large_group_costs_what_those_cost_who_are_connected(void **state)
{
    enum { N = 20 };
    struct chat_aid *c = *state;

    script_group(c);
    set_away(c, true);
    for (uint64_t i = 0; i < N; i++) {
        say(c, 100 + i);
        chat_aid_wait_count(c, &c->npushed, i + 1);
    }
    assert_int_equal(c->nreceivers, N); /* Ben each time, and nobody else of five thousand */
    assert_in_range(c->nasked, 1, N);
    assert_int_equal(c->nlost, 0);
    print_message("a group of %d, presence away: %zu bytes to a proxy for each message\n", MEMBERS_N + 2, c->push_bytes / N);
    assert_in_range(c->push_bytes / N, 10, 300);
}

static void who_comes_meanwhile_is_found_before_the_next_push(void **state)
{
    struct chat_aid *c = *state;

    script_group(c);
    set_away(c, true);
    say(c, 100);
    chat_aid_wait_count(c, &c->nreceivers, 1);
    c->late = LATE;
    say(c, 101);
    chat_aid_wait_count(c, &c->npushed, 2);
    assert_int_equal(c->nreceivers, 3);
}

static void a_proxy_that_does_not_say_who_is_there_is_told_that_pushes_are_lost(void **state)
{
    struct chat_aid *c = *state;

    script_group(c);
    set_away(c, true);
    c->is_mute = true;
    say(c, 100);
    chat_aid_wait_count(c, &c->nlost, 1);
    assert_int_equal(c->npushed, 0);
    c->is_mute = false;
    say(c, 101);
    chat_aid_wait_count(c, &c->npushed, 1);
}

/* Proxies have then had the time to write their users. */
static void when_presence_has_been_back_for_a_while_nobody_is_asked(void **state)
{
    struct chat_aid *c = *state;
    size_t before;
    uint64_t id = 100;

    script_group(c);
    set_away(c, true);
    say(c, id++);
    set_away(c, false);
    before = c->nasked;
    say(c, id++);
    assert_true(c->nasked > before); /* not yet */
    for (uint64_t due_ms = net_now_ms(c->loop) + 8000; before != c->nasked;) {
        before = c->nasked;
        chat_aid_turn_for(c, 500);
        say(c, id++);
        assert_true(net_now_ms(c->loop) < due_ms);
    }
    chat_aid_wait_count(c, &c->npushed, (size_t)(id - 100));
    assert_int_equal(c->nreceivers, id - 100);
}

/* What a round lacks for want of memory is told as lost; nobody waits for ever. */
static void without_memory_for_a_round_pushes_are_told_as_lost(void **state)
{
    enum { N = 10 };
    size_t nlosses = 0;

    (void)state;
    for (long n = 0; n < N; n++) {
        void *made;
        assert_int_equal(chat_aid_setup(&made), 0);
        struct chat_aid *c = made;
        script_group(c);
        say(c, 100); /* the group is open, its conversation known */
        chat_aid_wait_count(c, &c->npushed, 1);
        set_away(c, true);
        allocations = n;
        say(c, 101);
        for (int i = 0; i < 4; i++)
            net_loop_turn(c->loop, 0);
        bt_mem_fail_after(-1);
        allocations = -1;
        chat_aid_turn_for(c, 20);
        if (c->npushed < 2) {
            chat_aid_wait_count(c, &c->nlost, 1);
            nlosses++;
        }
        set_away(c, false);
        chat_aid_teardown(&made);
    }
    assert_in_range(nlosses, 1, N - 1);
}

static int setup(void **state)
{
    log_nothing();
    return chat_aid_setup(state);
}

static int teardown(void **state)
{
    set_away(*state, false);
    return chat_aid_teardown(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_message_to_a_large_group_costs_what_those_cost_who_are_connected),
        TEST(who_comes_meanwhile_is_found_before_the_next_push),
        TEST(a_proxy_that_does_not_say_who_is_there_is_told_that_pushes_are_lost),
        TEST(when_presence_has_been_back_for_a_while_nobody_is_asked),
        cmocka_unit_test(without_memory_for_a_round_pushes_are_told_as_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
