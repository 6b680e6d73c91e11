/* test/unit/test_chat_op.c: what an op costs: memory that is used again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "roles/chat.h"
#include "rpc/status.h"
#include "test/unit/chat_aid.h"

/* The sanitizer is to see who uses one that has ended. */
static void an_op_is_used_again_unless_the_address_sanitizer_watches(void **state)
{
    struct chat_aid *c = *state;
    const struct chat *chat = c->chat;
    struct chat_answer *a;

    chat_aid_script(c, 4, 4);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    for (uint64_t id = 100; id < 103; id++) {
        a = chat_aid_send(c, id, 5000);
        chat_aid_wait(c, a);
        assert_int_equal(a->status, RPC_STATUS_OK);
    }
    assert_int_equal(chat->nops, 0);
#ifdef __SANITIZE_ADDRESS__
    assert_int_equal(chat->nspare, 0);
#else
    assert_int_equal(chat->nspare, 1);
#endif
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, chat_aid_setup, chat_aid_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_op_is_used_again_unless_the_address_sanitizer_watches),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
