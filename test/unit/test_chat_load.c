/* test/unit/test_chat_load.c: which messages are let in, and when the others are told to come again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/loop.h"
#include "net/timer.h"
#include "roles/chat.h"

static void stop(void *loop)
{
    net_loop_stop(loop);
}

static void pass(struct chat *chat, uint64_t ms)
{
    struct net_timer timer = { 0 };

    net_timer_start(chat->env.loop, &timer, ms, stop, chat->env.loop);
    net_loop_run(chat->env.loop);
}

static int setup(void **state)
{
    static struct chat chat;

    chat = (struct chat){ .set = { .queue = 50000, .queue_bytes = 1 << 20, .wait_ms = 1000 } };
    if (net_loop_new(&chat.env.loop) != BT_OK)
        return -1;
    chat.load.was_idle = true;
    *state = &chat;
    return 0;
}

static int teardown(void **state)
{
    struct chat *chat = *state;

    net_loop_free(chat->env.loop);
    return 0;
}

/* So many in each millisecond, for a while in which there is always something to do. */
static void work(struct chat *chat, uint32_t per_ms, int spans)
{
    for (int n = 0; n <= spans; n++) {
        pass(chat, 210);
        for (uint32_t k = 0; k < per_ms * 210; k++)
            chat_load_end(chat, true);
    }
}

static void what_is_not_known_yet_refuses_nobody(void **state)
{
    struct chat *chat = *state;
    uint32_t retry_ms;

    chat->nops = 40000;
    assert_true(chat_load_takes(chat, 5000, &retry_ms));
}

static void who_would_wait_too_long_is_refused(void **state)
{
    struct chat *chat = *state;
    uint32_t retry_ms = 0;

    chat->nops = 2000;
    work(chat, 10, 12);
    assert_in_range(chat_load_wait_ms(chat), 120, 350); /* 200, and what a busy machine makes of it */
    assert_true(chat_load_takes(chat, 5000, &retry_ms));
    chat->nops = 30000;
    assert_false(chat_load_takes(chat, 5000, &retry_ms));
    assert_in_range(retry_ms, 900, 5000 * 3 / 2);
    chat->nops = 5000; /* half a second: as much as half of this deadline is less */
    assert_true(chat_load_takes(chat, 5000, &retry_ms));
    assert_false(chat_load_takes(chat, 400, &retry_ms));
}

static void while_nothing_is_done_only_a_few_come_in(void **state)
{
    struct chat *chat = *state;
    uint32_t retry_ms;

    chat->nops = 2000;
    work(chat, 10, 12);
    for (int n = 0; n < 15; n++) { /* the database hangs */
        pass(chat, 210);
        chat_load_wait_ms(chat);
    }
    assert_false(chat_load_takes(chat, 5000, &retry_ms));
    chat->nops = 500;
    assert_true(chat_load_takes(chat, 5000, &retry_ms));
    chat->nops = 2000; /* it goes on, and is believed soon */
    work(chat, 10, 3);
    assert_true(chat_load_takes(chat, 5000, &retry_ms));
}

/* Somebody sends where he may not: he is answered at once, and the store hangs all the same. */
static void what_is_refused_does_not_pass_for_done(void **state)
{
    struct chat *chat = *state;
    uint32_t retry_ms;

    chat->nops = 2000;
    work(chat, 10, 12);
    for (int n = 0; n < 15; n++) {
        pass(chat, 210);
        for (int k = 0; k < 100000; k++)
            chat_load_end(chat, false);
    }
    assert_false(chat_load_takes(chat, 5000, &retry_ms));
}

static void a_full_queue_refuses_whatever_the_rate(void **state)
{
    struct chat *chat = *state;
    uint32_t retry_ms;

    chat->nops = 50000;
    assert_false(chat_load_takes(chat, 5000, &retry_ms));
    chat->nops = 1;
    chat->op_bytes = 1 << 20;
    assert_false(chat_load_takes(chat, 5000, &retry_ms));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_not_known_yet_refuses_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(who_would_wait_too_long_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(while_nothing_is_done_only_a_few_come_in, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_refused_does_not_pass_for_done, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_queue_refuses_whatever_the_rate, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
