/* test/unit/test_chat_op.c: what an op costs: the bytes it counts for, memory that is used again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "roles/chat.h"
#include "rpc/status.h"
#include "test/unit/chat_aid.h"

static void send_bytes(struct chat_aid *c, uint64_t id, size_t len)
{
    static uint8_t text[4000];
    const SendRequest req = { .client_msg_id = id, .body = rpc_bytes(text, len) };

    memset(text, 'x', sizeof text);
    chat_aid_ask(c, RPC_CHAT_SEND, BEN, &req, 5000, NULL);
}

/* Not the room that it has because it may be used again: a queue of short messages would be full too soon. */
static void an_op_counts_for_its_own_length(void **state)
{
    static const size_t lens[] = { 1, 2, 100, 200, 300, 4000, 1 };
    struct chat_aid *c = *state;
    const struct chat *chat = c->chat;
    size_t before, first = 0;

    chat_aid_script(c, 4, 4);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    fake_db_hold(c->db, true);
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        before = chat->op_bytes;
        send_bytes(c, 100 + i, lens[i]);
        chat_aid_wait_count(c, &chat->nops, i + 1);
        if (i == 0)
            first = chat->op_bytes;
        assert_int_equal(chat->op_bytes - before, first - 1 + lens[i]);
    }
    assert_in_range(first, sizeof(struct chat_op), sizeof(struct chat_op) + 64);
    fake_db_hold(c->db, false);
    for (size_t i = 0; i < c->ncalls; i++)
        chat_aid_wait(c, &c->answers[i]);
    assert_int_equal(chat->op_bytes, 0);
}

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
        TEST(an_op_counts_for_its_own_length),
        TEST(an_op_is_used_again_unless_the_address_sanitizer_watches),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
