/* test/unit/test_conn_in.c: how connections show bytes that came in: in frames however split, in turn, with pauses. */
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
#include "net/net_internal.h"

static void put_frame(uint8_t *at, uint32_t len, uint8_t fill)
{
    at[0] = (uint8_t)(len >> 24);
    at[1] = (uint8_t)(len >> 16);
    at[2] = (uint8_t)(len >> 8);
    at[3] = (uint8_t)len;
    memset(at + 4, fill, len);
}

static void frames_survive_any_split(void **state)
{
    enum { TOTAL = 4 + 3 + 4 + 0 + 4 + 9 };
    struct aid *a = *state;
    uint8_t wire[TOTAL];
    int fd;

    put_frame(wire, 3, 'a');
    put_frame(wire + 7, 0, 0);
    put_frame(wire + 11, 9, 'b');
    a->server.takes_frames = true;
    fd = aid_raw_connect(a);
    for (size_t one = 0; one <= TOTAL; one++) {
        for (size_t two = one; two <= TOTAL; two++) {
            size_t before = a->server.got_len, cuts[] = { 0, one, two, TOTAL };

            for (int i = 0; i < 3; i++) {
                size_t shown = a->server.shown, n = cuts[i + 1] - cuts[i];

                if (n == 0)
                    continue;
                assert_int_equal(send(fd, wire + cuts[i], n, 0), n);
                wait_until(a, a->server.shown > shown);
            }
            assert_int_equal(a->server.got_len, before + TOTAL);
            assert_memory_equal(a->server.got + before, wire, TOTAL);
            assert_null(a->server.c->tail);
        }
    }
    close(fd);
}

static void a_long_frame_in_small_pieces_is_put_together(void **state)
{
    enum { BODY = 1 << 20, PIECE = 1000 };
    struct aid *a = *state;
    uint8_t *wire = malloc(4 + BODY);
    size_t sent = 0;
    int fd;

    put_frame(wire, BODY, 'z');
    a->server.takes_frames = true;
    fd = aid_raw_connect(a);
    while (sent < 4 + BODY) {
        size_t n = 4 + BODY - sent < PIECE ? 4 + BODY - sent : PIECE;

        assert_int_equal(send(fd, wire + sent, n, 0), n);
        sent += n;
        aid_turn(a);
    }
    wait_until(a, a->server.got_len == 4 + BODY);
    assert_memory_equal(a->server.got, wire, 4 + BODY);
    assert_null(a->server.c->tail);
    free(wire);
    close(fd);
}

static void many_frames_across_read_buffers_stay_whole(void **state)
{
    enum { FRAMES = 3000, BODY = 777 };
    struct aid *a = *state;
    uint8_t *wire = malloc(FRAMES * (4 + BODY));

    for (int i = 0; i < FRAMES; i++)
        put_frame(wire + i * (4 + BODY), BODY, (uint8_t)i);
    a->server.takes_frames = true;
    aid_connect(a);
    end_write(&a->client, wire, FRAMES * (4 + BODY));
    wait_until(a, a->server.got_len == FRAMES * (4 + BODY));
    assert_memory_equal(a->server.got, wire, FRAMES * (4 + BODY));
    free(wire);
}

static int flood_fd;
static size_t flood_sent;

/* Refill the kernel's buffers from within the read callback, so that there is always more to read. */
static void flood(struct end *e)
{
    static const uint8_t bytes[NET_READ_SIZE];
    ssize_t n;

    (void)e;
    while (flood_sent < 8 << 20 && (n = send(flood_fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
        flood_sent += (size_t)n;
}

static void a_flooding_peer_gets_its_share_of_a_turn_only(void **state)
{
    struct aid *a = *state;
    size_t most = 0;

    flood_fd = aid_raw_connect(a);
    flood_sent = 0;
    a->server.on_bytes = flood;
    flood(NULL);
    while (a->server.got_len < 8 << 20) {
        size_t shown = a->server.shown;

        net_loop_turn(a->loop, 10);
        most = a->server.shown - shown > most ? a->server.shown - shown : most;
    }
    assert_int_equal(most, NET_READS_IN_ROW); /* reached, and not passed */
    close(flood_fd);
}

static void too_long_an_unfinished_frame_closes(void **state)
{
    struct aid *a = *state;
    uint8_t wire[4 + 1000];

    a->limits.in_max_bytes = 500;
    a->server.takes_frames = true;
    aid_connect(a);
    put_frame(wire, 1000, 'a');
    end_write(&a->client, wire, 500);
    wait_until(a, a->server.shown);
    assert_int_equal(a->server.closed, 0);
    end_write(&a->client, wire + 500, 1);
    wait_until(a, a->server.closed);
    assert_int_equal(a->server.why, BT_EPROTO);
}

static struct net_task early[2], late;
static char told[8], *told_at;

static void tell(void *arg)
{
    *told_at++ = *(const char *)arg;
}

static void defer_both(struct end *e)
{
    *told_at++ = 'r';
    net_defer_early(e->aid->loop, &early[e == &e->aid->client], tell, "e");
    net_defer(e->aid->loop, &late, tell, "l");
}

static void early_tasks_run_when_the_read_is_over_and_others_after_all_reads(void **state)
{
    struct aid *a = *state;

    aid_connect(a);
    told_at = told;
    a->server.on_bytes = a->client.on_bytes = defer_both;
    end_write(&a->client, "x", 1);
    end_write(&a->server, "y", 1);
    wait_until(a, told_at >= told + 5);
    assert_string_equal(told, "rerel");
}

/* Until the server has consumed the first n bytes of the text, and pauses. */
static void connect_until_paused(struct aid *a, size_t n, const char *text)
{
    a->server.pause_at = n;
    aid_connect(a);
    end_write(&a->client, text, strlen(text));
    wait_until(a, a->server.got_len == n);
}

static void a_paused_end_is_shown_nothing_and_then_the_rest(void **state)
{
    struct aid *a = *state;
    size_t shown;

    connect_until_paused(a, 4, "abcdefgh");
    shown = a->server.shown;
    end_write(&a->client, "ij", 2);
    for (int i = 0; i < 20; i++)
        net_loop_turn(a->loop, 2);
    assert_int_equal(a->server.shown, shown);

    a->server.pause_at = 6; /* resumed without new bytes, it pauses once more within what is kept */
    net_conn_resume(a->server.c);
    assert_int_equal(a->server.shown, shown);
    wait_until(a, a->server.got_len == 6);
    a->server.pause_at = 0;
    net_conn_resume(a->server.c);
    net_conn_resume(a->server.c);
    wait_until(a, a->server.got_len == 10);
    assert_memory_equal(a->server.got, "abcdefghij", 10);
}

static void resume_then_pause_shows_nothing(void **state)
{
    struct aid *a = *state;
    size_t shown;

    connect_until_paused(a, 1, "ab");
    shown = a->server.shown;
    a->server.pause_at = 0;
    net_conn_resume(a->server.c);
    net_conn_pause(a->server.c);
    for (int i = 0; i < 5; i++)
        aid_turn(a);
    assert_int_equal(a->server.shown, shown);
    net_conn_resume(a->server.c);
    wait_until(a, a->server.got_len == 2);
}

static void the_end_is_seen_only_after_what_a_pause_kept(void **state)
{
    struct aid *a = *state;

    connect_until_paused(a, 1, "abc");
    end_close(&a->client);
    wait_until(a, a->client.closed);
    for (int i = 0; i < 5; i++)
        aid_turn(a);
    assert_int_equal(a->server.closed, 0);
    a->server.pause_at = 0;
    net_conn_resume(a->server.c);
    wait_until(a, a->server.closed);
    assert_memory_equal(a->server.got, "abc", 3);
    assert_int_equal(a->server.why, BT_OK);
}

static void pause_and_resume(struct end *e)
{
    net_conn_pause(e->c);
    net_conn_resume(e->c);
}

static void a_pause_taken_back_at_once_loses_nothing(void **state)
{
    struct aid *a = *state;
    uint8_t *bytes = aid_pattern(300000);

    a->server.on_bytes = pause_and_resume;
    aid_connect(a);
    end_write(&a->client, bytes, 300000);
    wait_until(a, a->server.got_len == 300000);
    assert_memory_equal(a->server.got, bytes, 300000);
    free(bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, aid_setup, aid_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(frames_survive_any_split),
        TEST(a_long_frame_in_small_pieces_is_put_together),
        TEST(many_frames_across_read_buffers_stay_whole),
        TEST(a_flooding_peer_gets_its_share_of_a_turn_only),
        TEST(too_long_an_unfinished_frame_closes),
        TEST(early_tasks_run_when_the_read_is_over_and_others_after_all_reads),
        TEST(a_paused_end_is_shown_nothing_and_then_the_rest),
        TEST(resume_then_pause_shows_nothing),
        TEST(the_end_is_seen_only_after_what_a_pause_kept),
        TEST(a_pause_taken_back_at_once_loses_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
