/*
 * test/unit/test_chat_owner.c: conversations that another node owns by the ring, or has owned: when the end of their log is
 * read before the next write, and that it is not read for ever.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "roles/chat.h"
#include "rpc/rpc_internal.h"
#include "rpc/status.h"
#include "test/unit/chat_aid.h"

enum { HEAD = 4 };

static void wait_status(struct chat_aid *c, const struct chat_answer *a, uint8_t status)
{
    chat_aid_wait(c, a);
    assert_int_equal(a->status, status);
}

/* ---- the view ---------------------------------------------------------------------------------------------------------- */

/* This node, and n - 1 others that serve conversations too; nobody is there, so what they own comes here. */
static void see(struct chat_aid *c, size_t n)
{
    struct registry_node nodes[2] = { *rpc_self(c->rpc), *rpc_self(c->rpc) };

    assert_in_range(n, 1, 2);
    nodes[0].weight = nodes[1].weight = 1;
    nodes[0].is_self = true;
    nodes[1].is_self = false;
    nodes[1].epoch++;
    for (int port = 1; port == 1 || (n > 1 && rpc_owns(c->rpc, BEN, ANN)); port++) {
        assert_true(port < 64);
        snprintf(nodes[1].address, sizeof nodes[1].address, "127.0.0.1:%d", port);
        rpc_peer_get(c->rpc, nodes[1].address)->is_passed_over = true;
        rpc_view_changed(nodes, n, c->rpc);
    }
    assert_int_equal(rpc_owns(c->rpc, BEN, ANN), n == 1);
}

/* So long ago that another node may have written since. */
static void let_grow_old(struct chat_conv *conv)
{
    conv->known_ms -= CHAT_FRESH_MS;
    conv->owned_ms = 0;
}

static struct chat_conv *find_conv(struct chat_aid *c)
{
    struct chat_conv *conv = chat_conv_find(c->chat, BEN, ANN);

    assert_non_null(conv);
    return conv;
}

/* ---- what another node owns --------------------------------------------------------------------------------------------- */

static void a_message_is_written_though_each_read_of_its_log_takes_long(void **state)
{
    struct chat_aid *c = *state;
    struct chat_answer *a;

    chat_aid_script(c, HEAD, HEAD);
    fake_db_done(c->db, INSERT, FAKE_ALWAYS, BT_OK, 0, 1);
    see(c, 2);
    fake_db_hold(c->db, true);
    a = chat_aid_send(c, 100, 9000);
    for (size_t i = 1; i <= 3 && fake_db_count(c->db, INSERT) == 0; i++) {
        chat_aid_wait_asked(c, TAIL, i);
        let_grow_old(find_conv(c));
        while (fake_db_count(c->db, TAIL) == i && fake_db_count(c->db, INSERT) == 0) {
            fake_db_release(c->db, 1);
            chat_aid_turn_for(c, 5);
        }
    }
    fake_db_hold(c->db, false);
    wait_status(c, a, RPC_STATUS_OK);
    assert_int_equal(fake_db_count(c->db, TAIL), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, chat_aid_setup, chat_aid_teardown)
        T(a_message_is_written_though_each_read_of_its_log_takes_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
