/* test/unit/test_chat_late.c: a change of a group that waited while the process stood still is not made any more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/loop.h"
#include "proto/node.pb.h"
#include "rpc/status.h"
#include "test/unit/chat_aid.h"

enum { GROUP = 50 };

static void script_group(struct chat_aid *c)
{
    const struct db_val tail[] = { I(GROUP), I(0), I(BEN), I(900), I(4), I(7), I(1000) };
    const struct db_val members[] = { I(ANN), I(3), I(0), I(0), I(1), I(0), I(BEN), I(1), I(0), I(0), I(1), I(0) };
    const struct db_val group[] = { I(0), I(0), { .type = DB_BYTES, .len = 1, .p = "g" }, { .type = DB_BYTES, .len = 1, .p = "g" } };

    fake_db_rows(c->db, TAIL, FAKE_ALWAYS, 1, 7, tail);
    fake_db_rows(c->db, MEMBERS, FAKE_ALWAYS, 2, 6, members);
    fake_db_rows(c->db, "SELECT join_mode", FAKE_ALWAYS, 1, 4, group);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    fake_db_done(c->db, "UPDATE chat_group", FAKE_ALWAYS, BT_OK, 0, 1);
}

/* Of a change that waits for the group to be read. */
static uint8_t change_after(struct chat_aid *c, uint32_t still_ms)
{
    const ApplyRequest update = { .has_change = true, .change = { .change = MembershipChange_UPDATED, .name = rpc_str("new") }, .keep_about = true, .keep_join_mode = true };
    struct chat_answer *change;

    script_group(c);
    fake_db_hold(c->db, true);
    change = chat_aid_ask(c, RPC_CHAT_APPLY, GROUP | RPC_TARGET_GROUP, &update, 20000, NULL);
    chat_aid_wait_asked(c, TAIL, 1);
    usleep(still_ms * 1000);
    fake_db_hold(c->db, false);
    chat_aid_wait(c, change);
    return change->status;
}

static void a_change_that_waited_through_a_standstill_is_not_made(void **state)
{
    struct chat_aid *c = *state;

    assert_int_equal(change_after(c, NET_STOOD_MS + 50), RPC_STATUS_UNAVAILABLE);
    assert_int_equal(fake_db_count(c->db, INSERT), 0);
}

static void a_change_that_merely_waited_is_made(void **state)
{
    struct chat_aid *c = *state;

    assert_int_equal(change_after(c, 10), RPC_STATUS_OK);
    assert_int_equal(fake_db_count(c->db, INSERT), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, chat_aid_setup, chat_aid_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_change_that_waited_through_a_standstill_is_not_made),
        TEST(a_change_that_merely_waited_is_made),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
