/* test/unit/test_layer.c: byte layers: stacking, order of open and finish, errors, and what the framer sees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conn_aid.h"
#include "net/layer_xor.h"
#include "net/mem.h"
#include "net/net_internal.h"

/* A layer that puts a letter in front when it opens and another behind when it finishes, and else passes on. */
struct letter_layer {
    struct net_layer base;
    char open_letter, finish_letter;
    enum bt_err in_err, out_err, ended_err, open_err;
    unsigned outs; /* calls of out */
    bool is_brief; /* done after the first bytes */
};

static struct {
    int freed;
    unsigned outs; /* of the layer freed last */
    bool was_server;
} seen;

static enum bt_err letter_open(struct net_layer *l)
{
    struct letter_layer *letter = (struct letter_layer *)l;

    if (letter->open_err != BT_OK)
        return letter->open_err;
    return letter->open_letter ? net_layer_down(l, (const uint8_t *)&letter->open_letter, 1) : BT_OK;
}

static enum bt_err letter_in(struct net_layer *l, const uint8_t *data, size_t len)
{
    struct letter_layer *letter = (struct letter_layer *)l;

    l->is_done = letter->is_brief;
    return letter->in_err != BT_OK ? letter->in_err : net_layer_up(l, data, len);
}

static enum bt_err letter_out(struct net_layer *l, const uint8_t *data, size_t len)
{
    struct letter_layer *letter = (struct letter_layer *)l;

    letter->outs++;
    return letter->out_err != BT_OK ? letter->out_err : net_layer_down(l, data, len);
}

static void letter_finish(struct net_layer *l)
{
    struct letter_layer *letter = (struct letter_layer *)l;

    if (letter->finish_letter)
        net_layer_down(l, (const uint8_t *)&letter->finish_letter, 1);
}

static enum bt_err letter_ended(struct net_layer *l)
{
    return ((struct letter_layer *)l)->ended_err;
}

static void letter_free(struct net_layer *l)
{
    seen.freed++;
    seen.outs = ((struct letter_layer *)l)->outs;
    seen.was_server = l->is_server;
    free(l);
}

static const struct net_layer_ops letter_ops = {
    .name = "letter",
    .open = letter_open,
    .in = letter_in,
    .out = letter_out,
    .finish = letter_finish,
    .ended = letter_ended,
    .free = letter_free,
};

static struct letter_layer *push_letter(struct net_conn *c, char open_letter, char finish_letter)
{
    struct letter_layer *letter = calloc(1, sizeof *letter);

    letter->base.ops = &letter_ops;
    letter->open_letter = open_letter;
    letter->finish_letter = finish_letter;
    net_conn_push_layer(c, &letter->base);
    return letter;
}

static int setup(void **state)
{
    memset(&seen, 0, sizeof seen);
    return aid_setup(state);
}

static void bytes_come_back_through_stacked_layers(void **state)
{
    enum { LEN = 200000 };
    struct aid *a = *state;
    uint8_t *bytes = aid_pattern(LEN);

    a->layers = 3;
    a->server.echoes = true;
    aid_connect(a);
    end_write(&a->client, bytes, LEN);
    wait_until(a, a->client.got_len == LEN);
    assert_memory_equal(a->client.got, bytes, LEN);
    assert_true(a->server.shown >= LEN); /* a byte at a time */
    free(bytes);
}

static void a_layer_changes_what_is_on_the_wire(void **state)
{
    struct aid *a = *state;
    uint8_t got[3];
    int fd;

    a->layers = 1;
    a->server.echoes = true;
    fd = aid_raw_connect(a);
    assert_int_equal(send(fd, "\x3b\x38\x39", 3, 0), 3); /* "abc" ^ 0x5a */
    wait_until(a, recv(fd, got, 3, MSG_DONTWAIT | MSG_PEEK) == 3);
    assert_memory_equal(a->server.got, "abc", 3);
    assert_memory_equal(got, "\x3b\x38\x39", 3);
    close(fd);
}

static void frames_survive_being_cut_into_bytes(void **state)
{
    static const uint8_t wire[] = { 0, 0, 0, 3, 'a', 'b', 'c', 0, 0, 0, 0, 0, 0, 0, 1, 'd' };
    struct aid *a = *state;

    a->layers = 2;
    a->server.takes_frames = true;
    aid_connect(a);
    end_write(&a->client, wire, sizeof wire);
    wait_until(a, a->server.got_len == sizeof wire);
    assert_memory_equal(a->server.got, wire, sizeof wire);
    assert_null(a->server.c->tail);
}

static void what_a_layer_passes_up_during_a_pause_is_kept(void **state)
{
    struct aid *a = *state;

    a->layers = 1;
    a->server.pause_at = 2;
    aid_connect(a);
    end_write(&a->client, "abcdef", 6);
    wait_until(a, a->server.got_len == 2);
    aid_turn(a);
    assert_int_equal(a->server.got_len, 2);
    a->server.pause_at = 0;
    net_conn_resume(a->server.c);
    wait_until(a, a->server.got_len == 6);
    assert_memory_equal(a->server.got, "abcdef", 6);
}

static void layers_open_from_below_and_finish_from_above_around_the_data(void **state)
{
    struct aid *a = *state;

    aid_dial(a);
    push_letter(a->client.c, '1', '9');
    push_letter(a->client.c, '2', '8');
    end_write(&a->client, "data", 4);
    net_conn_finish(a->client.c, 5000);
    wait_until(a, a->client.closed && a->server.closed);
    assert_int_equal(a->server.got_len, 8);
    assert_memory_equal(a->server.got, "12data89", 8);
    assert_int_equal(seen.freed, 2);
    assert_false(seen.was_server);
}

static void layers_get_a_turns_output_in_one_piece(void **state)
{
    struct aid *a = *state;
    uint64_t writes;

    aid_dial(a);
    push_letter(a->client.c, 0, 0);
    wait_until(a, a->client.opened);
    aid_turn(a);
    writes = a->loop->writes;
    for (int i = 0; i < 30; i++)
        assert_int_equal(net_conn_write2(a->client.c, "head", 4, "body", 4), BT_OK);
    wait_until(a, a->server.got_len == 240);
    assert_int_equal(a->loop->writes, writes + 1);
    end_close(&a->client);
    wait_until(a, a->client.closed);
    assert_int_equal(seen.outs, 1);
}

static struct letter_layer *server_layer;

static void hook_push(struct aid *a, struct net_conn *c)
{
    a->server.c = c;
    server_layer = push_letter(c, 0, 0);
    net_conn_start(c, &end_ops, &a->limits, &a->server);
}

static void a_layers_objection_closes_with_it(void **state)
{
    struct aid *a = *state;

    a->accept_hook = hook_push;
    aid_connect(a);
    server_layer->in_err = BT_EDENIED;
    end_write(&a->client, "x", 1);
    wait_until(a, a->server.closed);
    assert_int_equal(a->server.why, BT_EDENIED);
    assert_int_equal(a->server.shown, 0);
    assert_int_equal(seen.freed, 1);
    assert_true(seen.was_server);
}

static void a_layer_that_cannot_write_closes(void **state)
{
    struct aid *a = *state;

    a->accept_hook = hook_push;
    aid_connect(a);
    server_layer->out_err = BT_ENOMEM;
    end_write(&a->server, "x", 1);
    wait_until(a, a->server.closed);
    assert_int_equal(a->server.why, BT_ENOMEM);
}

static void a_layer_tells_a_cut_off_end_from_an_orderly_one(void **state)
{
    struct aid *a = *state;

    a->accept_hook = hook_push;
    aid_connect(a);
    server_layer->ended_err = BT_EPROTO;
    end_close(&a->client);
    wait_until(a, a->server.closed);
    assert_int_equal(a->server.why, BT_EPROTO);
}

static void hook_push_brief(struct aid *a, struct net_conn *c)
{
    a->server.c = c;
    push_letter(c, '(', 0)->is_brief = true;
    net_conn_start(c, &end_ops, &a->limits, &a->server);
}

static void a_layer_that_is_done_goes_and_what_was_written_keeps_its_order(void **state)
{
    struct aid *a = *state;

    a->accept_hook = hook_push_brief;
    a->server.echoes = true;
    aid_connect(a);
    assert_non_null(a->server.c->stack);
    end_write(&a->server, "1", 1);
    end_write(&a->client, "23", 2);
    wait_until(a, a->client.got_len == 4);
    assert_null(a->server.c->stack);
    assert_int_equal(seen.freed, 1);
    end_write(&a->client, "45", 2);
    wait_until(a, a->client.got_len == 6);
    assert_memory_equal(a->client.got, "(12345", 6);
    assert_int_equal(net_conn_queued(a->server.c), 0);
}

static void what_waited_for_a_layer_that_is_done_leaves_behind_what_passed_it(void **state)
{
    struct aid *a = *state;
    struct net_layer *l;

    a->accept_hook = hook_push;
    aid_connect(a);
    l = &server_layer->base;
    end_write(&a->server, "cd", 2);
    assert_int_equal(net_layer_down(l, (const uint8_t *)"ab", 2), BT_OK);
    l->is_done = true;
    net_stack_thin(a->server.c);
    assert_null(a->server.c->stack);
    end_write(&a->server, "ef", 2);
    wait_until(a, a->client.got_len == 6);
    assert_memory_equal(a->client.got, "abcdef", 6);
}

static void hook_push_brief_among_others(struct aid *a, struct net_conn *c)
{
    a->server.c = c;
    push_letter(c, '1', '9');
    push_letter(c, '2', '8')->is_brief = true;
    push_letter(c, '3', '7');
    net_conn_start(c, &end_ops, &a->limits, &a->server);
}

static void layers_around_one_that_is_done_stay(void **state)
{
    struct aid *a = *state;

    a->accept_hook = hook_push_brief_among_others;
    a->server.echoes = true;
    aid_connect(a);
    end_write(&a->client, "ab", 2);
    wait_until(a, a->client.got_len == 5);
    assert_int_equal(seen.freed, 1);
    net_conn_finish(a->server.c, 5000);
    wait_until(a, a->server.closed);
    assert_int_equal(seen.freed, 3);
    assert_int_equal(a->client.got_len, 7);
    assert_memory_equal(a->client.got, "123ab79", 7);
}

static void hook_push_refusing(struct aid *a, struct net_conn *c)
{
    a->server.c = c;
    push_letter(c, 0, 0)->open_err = BT_EINTERNAL;
    net_conn_start(c, &end_ops, &a->limits, &a->server);
}

static void a_layer_that_cannot_open_closes(void **state)
{
    struct aid *a = *state;

    a->accept_hook = hook_push_refusing;
    aid_dial(a);
    wait_until(a, a->server.closed);
    assert_int_equal(a->server.why, BT_EINTERNAL);

    a->accept_hook = NULL;
    a->client.closed = 0;
    wait_until(a, !a->client.c);
    aid_dial(a);
    push_letter(a->client.c, 0, 0)->open_err = BT_EINTERNAL;
    a->client.closed = a->client.opened = 0;
    wait_until(a, a->client.closed);
    assert_int_equal(a->client.why, BT_EINTERNAL);
    assert_int_equal(a->client.opened, 0);
}

static void without_memory_a_pushed_layer_is_freed_and_the_connection_closed(void **state)
{
    struct aid *a = *state;

    aid_dial(a);
    bt_mem_fail_after(0);
    push_letter(a->client.c, 0, 0);
    bt_mem_fail_after(-1);
    assert_int_equal(seen.freed, 1);
    wait_until(a, a->client.closed);
    assert_int_equal(a->client.why, BT_ENOMEM);
    bt_mem_fail_after(0);
    assert_null(net_layer_xor_new());
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, aid_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bytes_come_back_through_stacked_layers),
        TEST(a_layer_changes_what_is_on_the_wire),
        TEST(frames_survive_being_cut_into_bytes),
        TEST(what_a_layer_passes_up_during_a_pause_is_kept),
        TEST(layers_open_from_below_and_finish_from_above_around_the_data),
        TEST(layers_get_a_turns_output_in_one_piece),
        TEST(a_layers_objection_closes_with_it),
        TEST(a_layer_that_cannot_write_closes),
        TEST(a_layer_tells_a_cut_off_end_from_an_orderly_one),
        TEST(a_layer_that_is_done_goes_and_what_was_written_keeps_its_order),
        TEST(what_waited_for_a_layer_that_is_done_leaves_behind_what_passed_it),
        TEST(layers_around_one_that_is_done_stay),
        TEST(a_layer_that_cannot_open_closes),
        TEST(without_memory_a_pushed_layer_is_freed_and_the_connection_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
